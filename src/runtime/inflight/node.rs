//! The node: the pooled, address-stable record of one op from submission to its last completion.
//!
//! Knows: states, results, whom to wake, and the functions of whoever made it. Does not know: which op it is.
//!
//! ```text
//!            push                 terminal completion             claim
//!   Free ───────────▶ Queued ──────────────────────────▶ Done ───────────▶ Free
//!                       │                                  │
//!                       │ the future is dropped:           │ the future is dropped:
//!                       │   not entered yet: NEUTRALIZED   │   abandon
//!                       │   in flight: ORPHAN, cancel      ▼
//!                       └──── terminal completion ──▶ abandon ──▶ Free
//! ```
//!
//! `user_data` of an entry, and the key of a node everywhere else:
//!
//! ```text
//!   63            32 31             3 2    0
//!  ┌────────────────┬────────────────┬──────┐
//!  │   generation   │     index      │ kind │
//!  └────────────────┴────────────────┴──────┘
//! ```
//!
//! The generation grows each time a node is freed, so a completion that comes late or twice finds nobody.
//!
//! `life`, which says of what use a node is and how far along, is its key with other bits in the place of the kind:
//!
//! ```text
//!   63            32 31             3   2      1    0
//!  ┌────────────────┬────────────────┬────────┬───────┐
//!  │   generation   │     index      │ marked │ state │
//!  └────────────────┴────────────────┴────────┴───────┘
//! ```
//!
//! Marked is a node with flags, but for those that are only noted. One that is not marked and is `Queued` has the very word
//! in `life` that its completion brings, and one that is `Done` that word plus one: either is seen by one comparison.
#![allow(
    unsafe_code,
    reason = "whom a node wakes lies in an UnsafeCell that only the runtime's thread touches (I5)"
)]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::task::Waker;

use super::{Inflight, Outcome, Sqe};

/// What a completion's `user_data` stands for: its lowest three bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Kind {
    /// An op's node.
    Op = 0,
    /// The answer to a cancel; the rest of the key is the target's.
    Cancel = 1,
    /// The read of the eventfd through which other threads wake this one.
    Wake = 2,
    /// An entry whose completion means nothing to anybody.
    Ignored = 3,
    /// Another ring has posted it: the rest is not a node's key, see `posts`.
    Posted = 4,
}

pub(super) const KIND_BITS: u32 = 3;
const KIND_MASK: u64 = (1 << KIND_BITS) - 1;

/// The key of a node: `user_data` without the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(u64);

impl Key {
    /// The first key of the node with this index.
    pub(super) fn first(index: u32) -> Self {
        Self(u64::from(index) << KIND_BITS)
    }

    /// The key of the node's next use: the generation grows, and wraps without touching the index.
    #[inline]
    pub(super) fn next(self) -> Self {
        Self(self.0.wrapping_add(1 << 32))
    }

    /// The key in a completion's `user_data`, or in a message from another thread.
    #[inline]
    pub(crate) fn from_user_data(user_data: u64) -> Self {
        Self(user_data & !KIND_MASK)
    }

    /// What an entry about this node carries.
    #[inline]
    pub(crate) fn user_data(self, kind: Kind) -> u64 {
        self.0 | kind as u64
    }

    #[inline]
    pub(super) fn index(self) -> usize {
        (self.0 as u32 >> KIND_BITS) as usize
    }
}

/// The kind in a completion's `user_data`; `None` for a value this crate never writes.
#[inline]
pub(super) fn kind_of(user_data: u64) -> Option<Kind> {
    match user_data & KIND_MASK {
        0 => Some(Kind::Op),
        1 => Some(Kind::Cancel),
        2 => Some(Kind::Wake),
        3 => Some(Kind::Ignored),
        4 => Some(Kind::Posted),
        _ => None,
    }
}

/// How many nodes a runtime can have: what the key has bits for.
pub(super) const MAX_NODES: usize = 1 << (32 - KIND_BITS);

/// Where a node is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum State {
    /// Its entry is in the submission queue or with the kernel; the terminal completion is still to come.
    Queued = Kind::Op as u64, // see `life`
    /// The terminal completion is here, and the future has not claimed it yet.
    Done,
    /// In the pool's free list.
    Free,
}

/// The bits of `life` that are the state.
const STATE: u64 = 3;
/// The bit of `life` that says whether there are flags.
const MARKED: u64 = 1 << 2;

// The key's own bits are left alone.
const _: () = assert!(STATE | MARKED == KIND_MASK);

/// One bit each; see the drawing of the states.
pub(crate) mod flag {
    /// The future is gone: nobody claims the result.
    pub(crate) const ORPHAN: u16 = 1;
    /// The entry was made one that does nothing before the kernel saw it: whatever completes, the op was cancelled.
    pub(crate) const NEUTRALIZED: u16 = 1 << 1;
    /// A cancel was asked for; it is repeated until the terminal completion.
    pub(crate) const CANCELLING: u16 = 1 << 2;
    /// The op drains: what comes after it is held back.
    pub(crate) const DRAIN: u16 = 1 << 3;
    /// The answer was known before: the entry only keeps the op's place in a chain, and `res` is set already.
    pub(crate) const PRESET: u16 = 1 << 4;
    /// The request was told that it is an orphan.
    pub(crate) const TOLD: u16 = 1 << 5;
    /// Whom to wake is not a task of ours: it is a waker of somebody else's, or nobody.
    pub(crate) const OTHER: u16 = 1 << 6;
    /// The request takes note of its last completion as soon as that is there.
    pub(crate) const NOTES_LAST: u16 = 1 << 7;
    /// The op has done all it will: only the word that the kernel has let go of the request is still to come, and no
    /// cancel brings that sooner.
    pub(crate) const SETTLED: u16 = 1 << 8;
    /// The entry is one of a chain.
    pub(crate) const CHAINED: u16 = 1 << 9;
    /// The request may stop others, of which we are not told.
    pub(crate) const STOPS_OTHERS: u16 = 1 << 10;
    /// The entry carries `IOSQE_ASYNC`.
    pub(crate) const ASYNC: u16 = 1 << 11;
    /// A withheld drain waits for the op.
    pub(crate) const BEFORE_DRAIN: u16 = 1 << 12;
    /// Those that nobody asks for unless the kernel gives the op up: a node with no others is as plain as one without any.
    pub(crate) const NOTED: u16 = CHAINED | ASYNC;
}

/// What is to be done after a completion that was not the last of its op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Nothing: whoever awaits the op need not look yet.
    Quiet,
    /// Whoever awaits the op is woken.
    Wake,
    /// As `Wake`, and the kernel is asked to stop: enough has come.
    Stop,
    /// The op has done all it will, and only the word that the kernel has let go of the request is still to come. Nothing
    /// brings that sooner, so that from now on the op is not stopped, only let go. `wake`: as `Wake`, else as `Quiet`.
    Settled {
        /// Whether whoever awaits the op is woken.
        wake: bool,
    },
}

/// What the maker of a node does with it when nobody awaits it. The dispatcher knows no op; it calls these.
pub(crate) struct VTable {
    /// The future is gone while the kernel works on the request.
    pub(crate) orphaned: unsafe fn(*mut u8),
    /// The future is gone, and the kernel will not see the request.
    pub(crate) withdrawn: unsafe fn(*mut u8),
    /// Lets the request take a gift, if that answers it; the kernel works on it.
    pub(crate) offer: unsafe fn(*mut u8, &mut dyn Any) -> bool,
    /// Hands the request a completion that is not its last, and tells it whether the future is gone.
    pub(crate) more: unsafe fn(*mut u8, Outcome, bool) -> More,
    /// Tells a request with `NOTES_LAST` of its last completion, before whoever awaits it looks.
    pub(crate) last: unsafe fn(*mut u8, Outcome),
    /// The entry of a request that the kernel has given up, to make it again; `None` if that must not be done.
    pub(crate) again: Option<unsafe fn(*mut u8) -> Sqe>,
    /// Takes the request out of the node, releases the node, and disposes of the request and its result.
    pub(crate) abandon: unsafe fn(&Inflight, NonNull<Node>),
}

/// A task of the runtime that a node belongs to, by the number that the loop knows it by as long as it has not ended.
///
/// It takes less room than a waker, and less to wake: whose it is needs no look. Another task may have the number after
/// it, which is then polled in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct TaskNumber(pub(crate) u32);

/// Whom a node wakes. A task of ours takes no look to be woken: not whether there is one, nor whose the waker is, and
/// nothing has to be cleared.
#[repr(C)]
union Awaiter {
    task: TaskNumber,
    other: ManuallyDrop<Option<Waker>>,
}

/// The head of a node; the request follows it at [`PAYLOAD`]. Only the runtime's thread touches it (I5).
#[repr(C)]
pub(crate) struct Node {
    /// The maker's functions; set while not `Free`.
    pub(super) vtable: Cell<Option<&'static VTable>>,
    /// Whom to wake at the terminal completion; `OTHER` says which it is.
    awaiter: UnsafeCell<Awaiter>,
    /// Its key, by which a late completion is recognised, its state, and whether it has flags: see the drawing above.
    life: Cell<u64>,
    /// That of the terminal completion, meaningful when `Done`, or before when `PRESET`.
    pub(crate) outcome: Cell<Outcome>,
    /// Where the entry stands in the submission queue.
    pub(super) ticket: Cell<u64>,
    /// The next free node, while `Free`.
    pub(super) next: Cell<Option<NonNull<Node>>>,
    /// Meaningful while not `Free`.
    flags: Cell<u16>,
    /// `IORING_OP_*`, to name an op the kernel does not know.
    pub(crate) opcode: Cell<u8>,
    /// How often its cancel was sent, which spaces the repetitions; until then, how often its request was made again.
    pub(super) attempts: Cell<u8>,
    /// Its size class.
    pub(super) class: u8,
}

// A head is one cache line: the request begins on the next.
const _: () = assert!(size_of::<Node>() <= 64);

/// Where the request begins, in bytes from the node's start.
pub(crate) const PAYLOAD: usize = 64;

impl Node {
    pub(super) fn new(index: u32, class: u8) -> Self {
        Self {
            vtable: Cell::new(None),
            awaiter: UnsafeCell::new(Awaiter { other: ManuallyDrop::new(None) }),
            life: Cell::new(Key::first(index).0 | State::Free as u64),
            class,
            outcome: Cell::new(Outcome::new(0, 0)),
            ticket: Cell::new(0),
            next: Cell::new(None),
            flags: Cell::new(flag::OTHER),
            opcode: Cell::new(0),
            attempts: Cell::new(0),
        }
    }

    /// The node's key, as long as it is not freed.
    #[inline]
    pub(crate) fn key(&self) -> Key {
        Key::from_user_data(self.life.get())
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        match self.life.get() & STATE {
            0 => State::Queued,
            1 => State::Done,
            _ => State::Free,
        }
    }

    /// Whether the op that was given `user_data` has its terminal completion still to come, for a task of ours that awaits
    /// it, and has no flags.
    #[inline]
    pub(crate) fn is_plainly_queued_for(&self, user_data: u64) -> bool {
        self.life.get() == user_data
    }

    /// Queued -> Done, of a node without flags. `user_data` is what its entry carried.
    #[inline]
    pub(super) fn end_plainly(&self, user_data: u64) {
        self.life.set(user_data | State::Done as u64);
    }

    /// Queued -> Done. The flags stay.
    pub(super) fn end(&self) {
        self.life.set(self.life.get() & !STATE | State::Done as u64);
    }

    /// Whether the future that was given `user_data` finds its result here.
    #[inline]
    pub(crate) fn is_done_for(&self, user_data: u64) -> bool {
        self.life.get() == user_data | State::Done as u64 || self.is_done_and_marked_for(user_data)
    }

    /// [`is_done_for`](Self::is_done_for) when it is not as plain as can be.
    #[inline(never)]
    fn is_done_and_marked_for(&self, user_data: u64) -> bool {
        self.state() == State::Done && self.belongs_to(user_data)
    }

    /// Whether the future that was given `user_data` may still claim this node: not once a runtime that ends has
    /// orphaned it on its own, or has released it since.
    #[inline]
    pub(crate) fn belongs_to(&self, user_data: u64) -> bool {
        self.key().user_data(Kind::Op) == user_data && !self.has(flag::ORPHAN)
    }

    #[inline]
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags.get() & flag != 0
    }

    #[inline]
    pub(crate) fn set(&self, flag: u16) {
        self.flags.set(self.flags.get() | flag);
        self.life.set(self.life.get() | MARKED);
    }

    /// Sets a flag of those that are only [noted](flag::NOTED).
    #[inline]
    pub(crate) fn note(&self, flag: u16) {
        debug_assert_eq!(flag & !flag::NOTED, 0, "others make a difference");
        self.flags.set(self.flags.get() | flag);
    }

    /// Free -> Queued, without flags, for this task of ours; without one, nobody is woken. Returns what the entry is to
    /// carry.
    #[inline]
    pub(super) fn begin(&self, task: Option<TaskNumber>) -> u64 {
        debug_assert!(self.state() == State::Free, "a node is taken once");
        let user_data = self.key().user_data(Kind::Op);
        self.life.set(user_data | State::Queued as u64);
        self.flags.set(0);
        let awaiter = match task {
            Some(task) => Awaiter { task },
            None => {
                self.set(flag::OTHER);
                Awaiter { other: ManuallyDrop::new(None) }
            }
        };
        // SAFETY: (I5) only the runtime's thread gets here, and no reference into the cell outlives a call. A node that was
        // free held no waker.
        unsafe { self.awaiter.get().write(awaiter) };
        user_data
    }

    /// Done -> Free: the node's next use has another key, so this one finds nobody from here on. `user_data` is what its
    /// entry carried.
    #[inline]
    pub(super) fn free(&self, user_data: u64) {
        debug_assert!(self.state() == State::Done, "a node is freed once, when the kernel has let go of it");
        debug_assert!(self.key().user_data(Kind::Op) == user_data);
        self.life.set(Key(user_data).next().0 | State::Free as u64);
    }

    /// The task to wake, of a node without `OTHER`.
    #[inline]
    pub(super) fn own_task(&self) -> TaskNumber {
        debug_assert!(!self.has(flag::OTHER));
        // SAFETY: (I5) as in `begin`; without the flag it is a task of ours.
        unsafe { (*self.awaiter.get()).task }
    }

    /// The task to wake, if it is one of ours.
    #[inline]
    pub(crate) fn task(&self) -> Option<TaskNumber> {
        (!self.has(flag::OTHER)).then(|| self.own_task())
    }

    /// Nobody is woken from now on. Returns the waker if it was one of somebody else's: its drop is user code, for the
    /// caller to run.
    pub(crate) fn take_waker(&self) -> Option<Waker> {
        let waker = if self.has(flag::OTHER) {
            // SAFETY: (I5) as in `begin`; with the flag it is a waker or none, and the copy taken here is overwritten
            // without a drop below.
            unsafe { ManuallyDrop::take(&mut (*self.awaiter.get()).other) }
        } else {
            None
        };
        self.set(flag::OTHER);
        // SAFETY: (I5) as in `begin`: what was there was taken.
        unsafe { self.awaiter.get().write(Awaiter { other: ManuallyDrop::new(None) }) };
        waker
    }

    /// It is this task of ours that is woken. Returns the waker that was there: its drop is user code, for the caller to
    /// run.
    pub(crate) fn put_task(&self, task: TaskNumber) -> Option<Waker> {
        let old = self.take_waker();
        let flags = self.flags.get() & !flag::OTHER;
        self.flags.set(flags);
        if flags & !flag::NOTED == 0 {
            self.life.set(self.life.get() & !MARKED);
        }
        // SAFETY: (I5) as in `begin`: what was there was taken.
        unsafe { self.awaiter.get().write(Awaiter { task }) };
        old
    }

    /// Puts a waker in, and returns the one that was there: its drop is user code, for the caller to run.
    pub(crate) fn put_waker(&self, waker: Waker) -> Option<Waker> {
        let old = self.take_waker();
        // SAFETY: (I5) as in `begin`: what was there was taken.
        unsafe { self.awaiter.get().write(Awaiter { other: ManuallyDrop::new(Some(waker)) }) };
        old
    }

    /// Whether the stored waker, if it is none of a task of ours, wakes the same task as `waker`.
    #[inline]
    pub(crate) fn will_wake(&self, waker: &Waker) -> bool {
        // SAFETY: (I5) as in `begin`; with the flag it is a waker or none. A shared look for the length of a
        // comparison of two pointers; no user code runs.
        self.has(flag::OTHER)
            && unsafe { (*self.awaiter.get()).other.as_ref().is_some_and(|own| own.will_wake(waker)) }
    }
}

/// The request of a node.
#[inline]
pub(crate) fn payload(node: NonNull<Node>) -> *mut u8 {
    node.as_ptr().cast::<u8>().wrapping_add(PAYLOAD)
}
