//! The two queues in memory shared with the kernel: entries going in, completions coming out.
//!
//! Knows: where heads, tails and entries lie, and who may write which. Does not know: system calls, or any meaning of
//! an entry but the flags that tie it to its neighbours.
//!
//! ```text
//! submission:   head ........... published ........... tail          counts since the ring was made, 64 bits
//!               | seen by the kernel at enter | queued only |        the shared words are their low 32 bits
//! completion:   head ............. tail                              the kernel moves tail, we move head
//! ```
//!
//! What is withheld lies between `withheld` and `tail`: published like all, but each `enter` tells the kernel how many it may
//! take, and that is up to there.
//!
//! The kernel takes entries only inside `io_uring_enter`, called by the one thread that owns the ring: there is no
//! polling thread. So everything between `head` and `tail` is ours to rewrite whenever we are not inside that call,
//! and the head is read from shared memory only after it.
#![allow(unsafe_code, reason = "memory shared with the kernel")]

use std::mem;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use io_uring::squeue::{Entry, Flags};

use super::sys::{self, Mapping, Params};
use super::{Completion, Sqe, Ticket};

/// The flags a neutralized entry keeps: those which decide when its neighbours run.
const KEPT_FLAGS: u8 = LINK_FLAGS | Flags::IO_DRAIN.bits() | Flags::ASYNC.bits();

/// The flags that tie an entry to the next one.
const LINK_FLAGS: u8 = Flags::IO_LINK.bits() | Flags::IO_HARDLINK.bits();

/// The fields of `struct io_uring_sqe` that outlive its neutralization; the rest is zero.
#[repr(C)]
struct RawEntry {
    opcode: u8,
    flags: u8,
    ioprio_to_op_flags: [u8; 30],
    user_data: u64,
    rest: [u64; 3],
}

/// An entry as `push` takes it apart.
#[repr(C)]
struct Fields {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: u32,
    rest: [u64; 7],
}

/// An entry as `push` writes it: the first four fields, put together in a register, take one store instead of four.
#[repr(C)]
struct Words {
    first: u64,
    rest: [u64; 7],
}

impl Words {
    #[inline]
    fn of(fields: Fields) -> Self {
        let Fields { opcode, flags, ioprio, fd, rest } = fields;
        let first = if cfg!(target_endian = "little") {
            u64::from(opcode) | u64::from(flags) << 8 | u64::from(ioprio) << 16 | u64::from(fd) << 32
        } else {
            u64::from(opcode) << 56 | u64::from(flags) << 48 | u64::from(ioprio) << 32 | u64::from(fd)
        };
        Self { first, rest }
    }
}

/// Where `addr` lies in `ioprio_to_op_flags`: bytes 16 to 23 of the entry.
const ADDRESS: std::ops::Range<usize> = 14..22;

const _: () = assert!(size_of::<RawEntry>() == size_of::<Entry>());
const _: () = assert!(std::mem::offset_of!(RawEntry, user_data) == 32);

/// The submission queue. Only this side writes entries and the tail.
#[derive(Debug)]
pub(crate) struct SubmissionQueue {
    /// Entries the kernel had taken when the last `enter` returned.
    head: u64,
    /// Entries pushed.
    tail: u64,
    /// Where the room ends: entries taken, and as many as the queue holds.
    end: u64,
    /// From here on, entries are withheld from the kernel: usually no position that will ever be.
    withheld: u64,
    mask: u32,
    entries: u32,
    slots: NonNull<Entry>,
    shared_head: NonNull<AtomicU32>,
    shared_tail: NonNull<AtomicU32>,
    shared_flags: NonNull<AtomicU32>,
}

impl SubmissionQueue {
    /// The queue of a fresh ring. It points into both mappings and must not be used after either is gone.
    pub(crate) fn new(rings: &Mapping, slots: &Mapping, params: &Params) -> Self {
        let offsets = &params.sq_off;
        // SAFETY: (local) the kernel wrote both words before setup returned and never changes them.
        let (mask, entries) = unsafe {
            (rings.at::<u32>(offsets.ring_mask).read(), rings.at::<u32>(offsets.ring_entries).read())
        };
        assert!(entries == params.sq_entries && entries.is_power_of_two() && mask == entries - 1);
        if params.flags & sys::setup::NO_SQARRAY == 0 {
            // An older kernel takes entries through an index array; ours is the identity for good.
            for index in 0..entries {
                // SAFETY: (I5) an element of the index array, which the kernel reads only inside `enter`.
                unsafe { rings.at::<u32>(offsets.array + 4 * index).write(index) };
            }
        }
        Self {
            head: 0,
            tail: 0,
            end: entries.into(),
            withheld: u64::MAX,
            mask,
            entries,
            slots: slots.at(0),
            shared_head: rings.at(offsets.head),
            shared_tail: rings.at(offsets.tail),
            shared_flags: rings.at(offsets.flags),
        }
    }

    #[inline]
    pub(crate) fn capacity(&self) -> u32 {
        self.entries
    }

    /// How many entries the kernel may take.
    #[inline]
    pub(crate) fn queued(&self) -> u32 {
        (self.tail.min(self.withheld) - self.head) as u32
    }

    /// Withholds what is pushed from now on.
    pub(crate) fn withhold(&mut self) {
        self.withheld = self.withheld.min(self.tail);
    }

    pub(crate) fn withhold_no_more(&mut self) {
        self.withheld = u64::MAX;
    }

    /// How many entries were ever pushed.
    pub(crate) fn submitted(&self) -> u64 {
        self.tail
    }

    #[inline]
    pub(crate) fn room(&self) -> u32 {
        (self.end - self.tail) as u32
    }

    fn slot(&self, position: u64) -> NonNull<Entry> {
        // SAFETY: (local) the mask keeps the index below `entries`, and that many slots are mapped.
        unsafe { self.slots.add((position as u32 & self.mask) as usize) }
    }

    /// Writes one entry at the tail, not yet visible to the kernel.
    ///
    /// # Safety
    ///
    /// There is room, and the mapping is still there (no `fork` since).
    #[inline]
    pub(crate) unsafe fn push(&mut self, sqe: Sqe) -> Ticket {
        debug_assert!(self.room() > 0, "an entry was pushed without checking for room");
        let ticket = Ticket(self.tail);
        // SAFETY: (I5) with room, the slot at the tail is none of those the kernel may still take. An entry is the words it is
        // written as: 64 bytes of integers, without padding.
        unsafe {
            self.slot(self.tail).cast::<Words>().write(Words::of(mem::transmute::<Entry, Fields>(sqe.0)))
        };
        self.tail += 1;
        ticket
    }

    /// Turns an entry into one that does nothing if the kernel has not taken it: with a soft link behind it one that
    /// fails, else a no-op. The caller is not inside `enter`.
    pub(crate) fn neutralize(&mut self, ticket: Ticket) -> bool {
        if !(self.head..self.tail).contains(&ticket.0) {
            return false;
        }
        let soft = self.links_at(ticket.0) == Flags::IO_LINK.bits();
        self.blank(ticket.0, soft, KEPT_FLAGS);
        true
    }

    /// When the kernel has taken the first part of a chain only: turns the rest into no-ops, tied to nothing, and notes
    /// their `user_data`. To be called when it has taken something, and before anything else is pushed.
    #[cold]
    pub(crate) fn sever(&mut self, severed: &mut Vec<u64>) {
        let mut tied = self.links_at(self.head - 1) != 0;
        for position in self.head..self.tail {
            if !tied {
                return;
            }
            tied = self.links_at(position) != 0;
            severed.push(self.blank(position, false, KEPT_FLAGS & !LINK_FLAGS));
        }
    }

    /// The flags that tie the entry at this position to the next one. It is in the queue, or the last one taken.
    fn links_at(&self, position: u64) -> u8 {
        // SAFETY: (I5) the slot holds an entry written by `push` (64 initialized bytes, any pattern valid), which the kernel
        // only reads.
        unsafe { (*self.slot(position).cast::<RawEntry>().as_ptr()).flags & LINK_FLAGS }
    }

    /// Makes the entry at this position one that fails, or a no-op, with those of its flags that are `kept`. Returns its
    /// `user_data`.
    fn blank(&mut self, position: u64, fails: bool, kept: u8) -> u64 {
        // A cancel of nothing fails (`ENOENT`), and with it what a soft link ties to an op that was never run.
        let opcode = if fails { io_uring::opcode::AsyncCancel::CODE } else { io_uring::opcode::Nop::CODE };
        let mut ioprio_to_op_flags = [0; 30];
        ioprio_to_op_flags[ADDRESS].fill(if fails { 0xff } else { 0 });
        let slot = self.slot(position).cast::<RawEntry>();
        // SAFETY: (I5) as in `links_at`; the callers ask for a position the kernel reads at the earliest in the next `enter`.
        unsafe {
            let RawEntry { flags, user_data, .. } = slot.read();
            let rest = [0; 3];
            slot.write(RawEntry { opcode, flags: flags & kept, ioprio_to_op_flags, user_data, rest });
            user_data
        }
    }

    /// Cuts the link to the next entry, if the kernel has not taken this one. The caller is not inside `enter`.
    pub(crate) fn unlink(&mut self, ticket: Ticket) {
        if (self.head..self.tail).contains(&ticket.0) {
            let slot = self.slot(ticket.0).cast::<RawEntry>();
            // SAFETY: (I5) as in `blank`; one byte of the entry.
            unsafe { (*slot.as_ptr()).flags &= !LINK_FLAGS };
        }
    }

    /// Shows everything queued to the kernel.
    #[inline]
    pub(crate) fn publish(&mut self) {
        // SAFETY: (I5) a word of the mapping that only this side writes.
        let tail = unsafe { self.shared_tail.as_ref() };
        // ORDERING: pairs with the kernel's acquire load of the tail: it sees the entries written before.
        tail.store(self.tail as u32, Ordering::Release);
    }

    /// Learns what the kernel has taken since the last call, and returns how much that was.
    #[inline]
    pub(crate) fn refresh(&mut self) -> u32 {
        // SAFETY: (I5) a word of the mapping that the kernel writes and we only read.
        let head = unsafe { self.shared_head.as_ref() };
        // ORDERING: pairs with the kernel's release store of the head: it has read the entries before we write them anew.
        let taken = head.load(Ordering::Acquire).wrapping_sub(self.head as u32);
        debug_assert!(taken <= self.queued(), "the kernel took more than was queued");
        self.head += u64::from(taken);
        self.end += u64::from(taken);
        taken
    }

    /// `IORING_SQ_*`.
    #[inline]
    pub(crate) fn flags(&self) -> u32 {
        // SAFETY: (I5) a word of the mapping that only the kernel writes.
        let flags = unsafe { self.shared_flags.as_ref() };
        // ORDERING: a hint; what it announces is fetched by a system call.
        flags.load(Ordering::Relaxed)
    }

    /// Sets flags as the kernel would.
    #[cfg(test)]
    pub(super) fn set_flags(&self, flags: u32) {
        // SAFETY: (I5) as in `flags`; an atomic word, which the kernel changes atomically as well.
        unsafe { self.shared_flags.as_ref() }.fetch_or(flags, Ordering::Relaxed);
    }
}

/// Completions that are known to be there and not handed out yet, where they lie in the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    head: u32,
    tail: u32,
    mask: u32,
    completions: NonNull<Completion>,
}

impl Known {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head) as usize
    }

    /// The next one.
    ///
    /// # Safety
    ///
    /// The queue is still mapped, in this process, and since it said what is known it was neither walked nor published.
    #[inline]
    pub(crate) unsafe fn next(&mut self) -> Option<Completion> {
        if self.head == self.tail {
            return None;
        }
        let index = (self.head & self.mask) as usize;
        // SAFETY: (I5) the index is inside the queue; the kernel wrote this completion before it moved the tail past it, and
        // leaves it alone until we move the head past it.
        let completion = unsafe { self.completions.add(index).read() };
        self.head = self.head.wrapping_add(1);
        Some(completion)
    }
}

/// The completion queue. Only the kernel writes completions and the tail.
#[derive(Debug)]
pub(crate) struct CompletionQueue {
    /// Completions handed out.
    head: u32,
    /// Completions known to be there.
    tail: u32,
    mask: u32,
    completions: NonNull<Completion>,
    shared_head: NonNull<AtomicU32>,
    shared_tail: NonNull<AtomicU32>,
    shared_overflow: NonNull<AtomicU32>,
}

impl CompletionQueue {
    /// The queue of a fresh ring. It points into the mapping and must not be used after that is gone.
    pub(crate) fn new(rings: &Mapping, params: &Params) -> Self {
        let offsets = &params.cq_off;
        // SAFETY: (local) the kernel wrote both words before setup returned and never changes them.
        let (mask, entries) = unsafe {
            (rings.at::<u32>(offsets.ring_mask).read(), rings.at::<u32>(offsets.ring_entries).read())
        };
        assert!(entries == params.cq_entries && entries.is_power_of_two() && mask == entries - 1);
        Self {
            head: 0,
            tail: 0,
            mask,
            completions: rings.at(offsets.cqes),
            shared_head: rings.at(offsets.head),
            shared_tail: rings.at(offsets.tail),
            shared_overflow: rings.at(offsets.overflow),
        }
    }

    /// How many are known to be there and not handed out.
    #[inline]
    pub(crate) fn left(&self) -> u32 {
        self.tail.wrapping_sub(self.head)
    }

    /// The first `most` of what is known to be there. The tail is looked at again only when all that was known is handed out.
    #[inline]
    pub(crate) fn known(&mut self, most: u32) -> Known {
        if self.head == self.tail {
            self.tail = self.kernel_tail();
        }
        let count = self.tail.wrapping_sub(self.head).min(most);
        let tail = self.head.wrapping_add(count);
        Known { head: self.head, tail, mask: self.mask, completions: self.completions }
    }

    /// Notes how far what was known is handed out. `known` came from this queue, which was not walked since.
    #[inline]
    pub(crate) fn hand_out(&mut self, known: Known) {
        debug_assert!(known.head.wrapping_sub(self.head) <= self.tail.wrapping_sub(self.head));
        self.head = known.head;
    }

    /// The next completion.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Completion> {
        let mut known = self.known(1);
        // SAFETY: (I5) asked for a line ago; that there still is a mapping is asked of all who look into the queue.
        let completion = unsafe { known.next() };
        self.hand_out(known);
        completion
    }

    #[inline]
    pub(crate) fn has_completion(&self) -> bool {
        self.head != self.tail || self.head != self.kernel_tail()
    }

    /// Gives the slots of everything handed out back to the kernel.
    #[inline]
    pub(crate) fn publish(&mut self) {
        // SAFETY: (I5) a word of the mapping that only this side writes.
        let head = unsafe { self.shared_head.as_ref() };
        // ORDERING: pairs with the kernel's acquire load of the head: our reads of the completions come before its
        // next writes there.
        head.store(self.head, Ordering::Release);
    }

    /// Completions the kernel could not keep.
    pub(crate) fn dropped(&self) -> u32 {
        // SAFETY: (I5) a word of the mapping that only the kernel writes.
        let overflow = unsafe { self.shared_overflow.as_ref() };
        // ORDERING: a counter for reports.
        overflow.load(Ordering::Relaxed)
    }

    #[inline]
    fn kernel_tail(&self) -> u32 {
        // SAFETY: (I5) a word of the mapping that the kernel writes and we only read.
        let tail = unsafe { self.shared_tail.as_ref() };
        // ORDERING: pairs with the kernel's release store of the tail: the completions before it are written.
        tail.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::driver::Outcome;

    /// Memory laid out as a ring of four entries, and a kernel that is this test.
    struct Memory {
        words: [AtomicU32; 3],
        slots: [Entry; 4],
        completions: [Completion; 4],
    }

    impl Memory {
        fn new(start: u32) -> Box<Self> {
            let blank = Completion { user_data: 0, outcome: Outcome::new(0, 0) };
            Box::new(Self {
                words: [AtomicU32::new(start), AtomicU32::new(start), AtomicU32::new(0)],
                slots: std::array::from_fn(|_| Sqe::from_bytes([0; 64]).0),
                completions: [blank; 4],
            })
        }
    }

    fn nop(user_data: u64) -> Sqe {
        Sqe::from(io_uring::opcode::Nop::new().build()).user_data(user_data)
    }

    #[test]
    fn submission_counts_pass_the_end_of_32_bits() {
        for before in 0..8 {
            let start = u32::MAX - before;
            let memory = Box::into_raw(Memory::new(start));
            // SAFETY: (local) the allocation lives until the end of the loop, and is reached only through these pointers.
            let (words, slots) = unsafe { (&raw mut (*memory).words, &raw mut (*memory).slots) };
            let word = |index| NonNull::new(words.cast::<AtomicU32>().wrapping_add(index)).expect("not null");
            let mut queue = SubmissionQueue {
                head: u64::from(start),
                tail: u64::from(start),
                end: 4 + u64::from(start),
                withheld: u64::MAX,
                mask: 3,
                entries: 4,
                slots: NonNull::new(slots.cast()).expect("not null"),
                shared_head: word(0),
                shared_tail: word(1),
                shared_flags: word(2),
            };
            // SAFETY: (local) the words live as long as the allocation.
            let (head, tail) = unsafe { (word(0).as_ref(), word(1).as_ref()) };
            let mut position = start;
            for round in 0..6_u64 {
                let batch = (round % 4 + 1) as u32;
                // SAFETY: (local) the queue is empty at the start of each round, and a batch is at most four.
                let tickets: Vec<_> =
                    (0..batch).map(|n| unsafe { queue.push(nop(round * 10 + u64::from(n))) }).collect();
                assert_eq!((queue.queued(), queue.room()), (batch, 4 - batch));
                queue.publish();
                let end = position.wrapping_add(batch);
                assert_eq!(tail.load(Ordering::Relaxed), end);
                // The kernel takes all but one, then the last.
                head.store(end.wrapping_sub(1), Ordering::Relaxed);
                assert_eq!(queue.refresh(), batch - 1);
                let last = tickets.len() - 1;
                for (index, &ticket) in tickets.iter().enumerate() {
                    assert_eq!(queue.neutralize(ticket), index == last);
                    let earlier = Ticket(ticket.0.wrapping_sub(1 << 32));
                    assert!(!queue.neutralize(earlier), "a position of an earlier round of the 32 bits");
                }
                for n in 0..batch {
                    let at = (position.wrapping_add(n) & 3) as usize;
                    // SAFETY: (local) inside the four slots.
                    let entry = unsafe { &*slots.cast::<Entry>().add(at) };
                    assert_eq!(entry.get_user_data(), round * 10 + u64::from(n));
                }
                head.store(end, Ordering::Relaxed);
                assert_eq!((queue.refresh(), queue.queued(), queue.room()), (1, 0, 4));
                position = end;
            }
            // SAFETY: (local) made by `Box::into_raw` above; the queue is not used again.
            drop(unsafe { Box::from_raw(memory) });
        }
    }

    #[test]
    fn completion_counts_pass_the_end_of_32_bits() {
        for before in 0..8 {
            let start = u32::MAX - before;
            let memory = Box::into_raw(Memory::new(start));
            // SAFETY: (local) as above.
            let (words, completions) = unsafe { (&raw mut (*memory).words, &raw mut (*memory).completions) };
            let word = |index| NonNull::new(words.cast::<AtomicU32>().wrapping_add(index)).expect("not null");
            let mut queue = CompletionQueue {
                head: start,
                tail: start,
                mask: 3,
                completions: NonNull::new(completions.cast()).expect("not null"),
                shared_head: word(0),
                shared_tail: word(1),
                shared_overflow: word(2),
            };
            // SAFETY: (local) the words live as long as the allocation.
            let (head, tail) = unsafe { (word(0).as_ref(), word(1).as_ref()) };
            let mut position = start;
            for round in 0..6_u64 {
                assert!(!queue.has_completion() && queue.next().is_none());
                let batch = (round % 4 + 1) as u32;
                for n in 0..batch {
                    let at = (position & 3) as usize;
                    let user_data = round * 10 + u64::from(n);
                    // SAFETY: (local) inside the four completions.
                    unsafe {
                        completions
                            .cast::<Completion>()
                            .add(at)
                            .write(Completion { user_data, outcome: Outcome::new(0, 0) })
                    };
                    position = position.wrapping_add(1);
                    tail.store(position, Ordering::Relaxed);
                }
                for n in 0..batch {
                    assert!(queue.has_completion());
                    assert_eq!(queue.next().map(|done| done.user_data), Some(round * 10 + u64::from(n)));
                }
                assert_eq!(queue.next(), None);
                assert_eq!(head.load(Ordering::Relaxed), position.wrapping_sub(batch), "not before publish");
                queue.publish();
                assert_eq!(head.load(Ordering::Relaxed), position);
            }
            // SAFETY: (local) made by `Box::into_raw` above; the queue is not used again.
            drop(unsafe { Box::from_raw(memory) });
        }
    }
}
