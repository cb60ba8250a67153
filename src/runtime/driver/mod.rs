//! One ring: queue entries, enter the kernel, hand out completions.
//!
//! Knows: submission entries, completions, kernel features, errnos of the ring itself. Does not know: ops, tasks,
//! channels, or what any `user_data` means.
//!
//! The trait [`Driver`] is all the rest of the runtime sees of the kernel. [`Ring`] implements it over a real ring;
//! the fault shim in the tests stands between the two and fails chosen calls.

#![allow(unsafe_code, reason = "`push` is unsafe to call: an entry carries pointers the kernel will follow")]

mod error;
pub(crate) mod fault;
mod fork;
mod queue;
mod ring;
pub(crate) mod sqe;
mod sys;
mod tables;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use libc::c_void;

use fault::{Fault, FaultKernel, FaultPlan};

pub use error::{BuildError, BuildErrorKind, BuildStep};
pub(crate) use fork::Home;
pub(crate) use queue::Known;
pub(crate) use ring::{Ring, RingConfig};
pub use sqe::Sqe;

/// The position of an entry in the submission queue: how many were pushed before it.
///
/// A count of 64 bits never wraps. The queue's own 32 bits do, within minutes on a busy ring, and an op may wait for
/// longer than that: its old position must not name another's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) u64);

/// One completion queue entry, as it lies in the queue (`struct io_uring_cqe`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Completion {
    /// What the entry carried.
    pub(crate) user_data: u64,
    pub(crate) outcome: Outcome,
}

/// What a completion says: one word, because it comes as one, and is handed on as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Outcome(u64);

impl Outcome {
    /// Where the result lies in the word: first in memory.
    const RES: u32 = if cfg!(target_endian = "little") { 0 } else { 32 };
    /// Where the flags lie.
    const FLAGS: u32 = 32 - Self::RES;

    #[inline]
    pub(crate) const fn new(res: i32, flags: u32) -> Self {
        Self((res as u32 as u64) << Self::RES | (flags as u64) << Self::FLAGS)
    }

    /// The result: a count or descriptor, or minus an errno.
    #[inline]
    pub(crate) fn res(self) -> i32 {
        (self.0 >> Self::RES) as i32
    }

    /// `IORING_CQE_F_*`.
    #[inline]
    pub(crate) fn flags(self) -> u32 {
        (self.0 >> Self::FLAGS) as u32
    }

    /// Whether more completions of the entry follow this one.
    #[inline]
    pub(crate) fn has_more(self) -> bool {
        io_uring::cqueue::more(self.flags())
    }
}

/// How long an `enter` waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    /// Submit and return (`want 0`), without running deferred work.
    No,
    /// Submit, run deferred work, and return (`want 0`, GETEVENTS).
    Poll,
    /// Submit and wait for one completion, at most until the deadline (EXT_ARG).
    Until(Option<Instant>),
    /// The same, but as long as the batch's patience lasts it waits for all of that.
    Batch(Batch, Option<Instant>),
}

/// How many completions are worth waking for, and how long that may delay the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) completions: u32,
    pub(crate) patience: Duration,
}

/// What the runtime asks of the kernel. It knows no op kinds.
pub(crate) trait Driver {
    /// Whether this is the process that made the ring, and not a child of it: there, completions never come.
    fn same_process(&self) -> bool;

    /// How many entries can be queued before the next `enter`.
    fn room(&self) -> usize;

    /// How many entries the queue holds in all; no chain can be longer.
    fn capacity(&self) -> usize;

    /// How many entries are queued for the next `enter`: not yet consumed by the kernel, and not withheld.
    fn queued(&self) -> usize;

    /// How many entries were ever queued.
    fn submitted(&self) -> u64;

    /// Queues one entry. The caller has checked `room`; entries pushed without an `enter` between them are contiguous.
    ///
    /// # Safety
    ///
    /// There is room, and what the entry points to stays valid until its terminal completion was handed out (I1), or
    /// until [`Driver::neutralize`] returned `true` for it.
    unsafe fn push(&mut self, sqe: Sqe) -> Ticket;

    /// Turns an entry the kernel has not consumed into one that does nothing, and keeps its link, drain and async flags
    /// and its `user_data`. With a soft link behind it it fails, so that what follows does not run after an op that did
    /// not. `false` when the kernel has it already.
    fn neutralize(&mut self, ticket: Ticket) -> bool;

    /// Submits nothing of what is queued from now on, until [`Driver::withhold_no_more`]. All of that waits in the queue.
    fn withhold(&mut self);

    /// Submits everything again.
    fn withhold_no_more(&mut self);

    /// Cuts the link between an entry the kernel has not consumed and the next one.
    fn unlink(&mut self, ticket: Ticket);

    /// Submits everything queued, and waits as told. `Ok` also when the wait ended by its deadline or by a signal.
    ///
    /// # Errors
    ///
    /// `EBUSY`, `EAGAIN`, `ENOMEM`: nothing is lost, reap and try again. `Unsupported`: this is a child process after
    /// `fork`, or another thread. Anything else is a ring that cannot go on.
    fn enter(&mut self, wait: Wait) -> io::Result<()>;

    /// `user_data` of an entry that will do nothing, because the kernel took what stood before it in its chain alone, in
    /// want of memory, and the last `enter` (or wait) had to part them. To be asked after each of those, until `None`, and
    /// before any completion is looked at: the entry completes like any other, and means that it did not run.
    fn take_severed(&mut self) -> Option<u64>;

    /// Waits, without entering, until an `enter` would bring something, or the eventfd is signalled by somebody else, or
    /// the deadline is there. For the time while a drain is pending: an entry queued now would start only after it.
    ///
    /// # Errors
    ///
    /// Those of registering the eventfd with the ring, and of `ppoll`, but never `EINTR`.
    fn wait_beside(&mut self, eventfd: RawFd, deadline: Option<Instant>) -> io::Result<()>;

    /// Whether the kernel has deferred work or overflowed completions that only an `enter` brings (TASKRUN, CQ_OVERFLOW).
    fn needs_enter(&self) -> bool;

    /// Whether the kernel may have something to do for an `enter`, as far as its flags say: true whenever
    /// [`needs_enter`](Self::needs_enter) is, and when that has come to disbelieve a flag. Worth an `enter` now and then.
    fn may_need_enter(&self) -> bool;

    /// The next completion, if one is there. Space is given back to the kernel by [`Driver::publish`].
    fn next(&mut self) -> Option<Completion>;

    /// Whether a completion is there, read from the shared tail.
    fn has_completion(&self) -> bool;

    /// Gives the space of all completions handed out back to the kernel.
    fn publish(&mut self);

    /// Cancels by `user_data` without the submission queue, which a pending drain would hold up. Does not wait.
    ///
    /// # Errors
    ///
    /// `ENOENT`, `EALREADY`, `ETIME`: try again unless the target has ended. `EINVAL`: this kernel lacks the call.
    fn sync_cancel(&mut self, user_data: u64) -> io::Result<()>;

    /// Registers something with the ring, or takes a registration back (`IORING_REGISTER_*`).
    ///
    /// # Errors
    ///
    /// Those of the call, and `Unsupported` in a child process or on another thread.
    ///
    /// # Safety
    ///
    /// `arg` and `count` are what `opcode` asks for, and memory that stays registered outlives the registration.
    unsafe fn register(&mut self, opcode: u32, arg: *mut c_void, count: u32) -> io::Result<u32>;

    /// The ring's own descriptor.
    fn ring(&self) -> BorrowedFd<'_>;

    /// Whether the kernel knows this opcode.
    fn supports(&self, opcode: u8) -> bool;

    /// Whether sends can take provided buffers, and several at once (`IORING_FEAT_RECVSEND_BUNDLE`).
    fn sends_bundles(&self) -> bool;

    /// Completions the kernel could not place and dropped. Stays 0 on every kernel with `FEAT_NODROP`.
    fn dropped(&self) -> u32;
}

/// The driver a runtime was built with.
///
/// The ring is called without indirection; the fault shim, and any driver to come, through a pointer.
#[allow(clippy::large_enum_variant, reason = "one per runtime, and the large variant is the usual one")]
#[repr(u8)] // a tag of its own: one in the niches of the ring takes each op more instructions to tell
pub(crate) enum AnyDriver {
    /// A real ring.
    Ring(Ring),
    /// Anything else.
    Other(Box<dyn Driver>),
}

impl AnyDriver {
    /// Limits the kernel's worker threads of this ring: those for regular files, and those for everything else.
    pub(crate) fn limit_workers(&mut self, bounded: u32, unbounded: u32) -> io::Result<()> {
        let mut limits = [bounded, unbounded];
        // SAFETY: two live numbers, which the kernel reads and fills with the old limits during the call.
        unsafe { self.register(sys::register::IOWQ_MAX_WORKERS, limits.as_mut_ptr().cast(), 2)? };
        Ok(())
    }

    /// Gives the ring a group of provided buffers: the `entries` at `ring`, a power of two.
    ///
    /// # Errors
    ///
    /// `EEXIST`: the group has a ring. `EINVAL`: the kernel cannot, or not incrementally. `ENOMEM`: it may lock no more
    /// memory.
    ///
    /// # Safety
    ///
    /// The memory at `ring` begins on a page, is not used for anything else and stays until the group is taken back. What
    /// is put there are buffers that the kernel may write to until it has named them in a completion.
    pub(crate) unsafe fn register_buffers(
        &mut self,
        ring: NonNull<u8>,
        entries: u32,
        group: u16,
        incremental: bool,
    ) -> io::Result<()> {
        let mut buffers = sys::BufferRing::new(ring, entries, group, incremental);
        // SAFETY: (I1) one live record, which the kernel only reads; the caller vouches for the memory it names.
        unsafe { self.register(sys::register::BUFFER_RING, ptr::from_mut(&mut buffers).cast(), 1)? };
        Ok(())
    }

    /// Takes a group of provided buffers back. No op that uses it may be in flight.
    ///
    /// # Errors
    ///
    /// Those of the call.
    pub(crate) fn unregister_buffers(&mut self, group: u16) -> io::Result<()> {
        let mut buffers = sys::BufferRing::of(group);
        // SAFETY: (local) one live record, which the kernel only reads; it names no memory.
        unsafe {
            self.register(sys::register::UNREGISTER_BUFFER_RING, ptr::from_mut(&mut buffers).cast(), 1)?
        };
        Ok(())
    }

    /// How many buffers of the group the kernel has taken out of its ring, in the 16 bits that its entries are counted in.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the kernel is older than 6.8.
    pub(crate) fn buffers_taken(&mut self, group: u16) -> io::Result<u16> {
        let mut status = sys::BufferRingStatus::of(group);
        // SAFETY: (local) one live record, which the kernel reads and fills during the call.
        unsafe { self.register(sys::register::BUFFER_RING_STATUS, ptr::from_mut(&mut status).cast(), 1)? };
        Ok(status.head as u16)
    }

    /// A ring of this size for the calling thread.
    ///
    /// # Errors
    ///
    /// See [`BuildErrorKind`].
    pub(crate) fn new(config: &RingConfig) -> Result<Self, BuildError> {
        Ring::new(config).map(Self::Ring)
    }

    /// The same, with what goes wrong by plan.
    ///
    /// # Errors
    ///
    /// See [`BuildErrorKind`].
    pub(crate) fn with_faults(config: &RingConfig, plan: &FaultPlan) -> Result<Self, BuildError> {
        let ring = Ring::with_kernel(config, FaultKernel(plan.clone()))?;
        Ok(Self::Other(Box::new(Fault::new(ring, plan.clone()))))
    }
}

/// What an [`AnyDriver`] has for whoever walks its completions.
pub(crate) enum Walk {
    /// These, where they lie. What was taken of them is told to [`AnyDriver::hand_out`].
    Known(Known),
    /// At most this one, which is handed out.
    One(Option<Completion>),
}

impl AnyDriver {
    /// The completions that are there: `most` of those that are known, or one at a time.
    #[inline]
    pub(crate) fn walk(&mut self, most: u32) -> Walk {
        match self {
            Self::Ring(ring) => match ring.known(most) {
                Some(known) => Walk::Known(known),
                None => Walk::One(None),
            },
            Self::Other(driver) => Walk::One(driver.next()),
        }
    }

    /// How many completions are known to be there and not handed out yet.
    #[inline]
    pub(crate) fn left(&self) -> u32 {
        match self {
            Self::Ring(ring) => ring.left(),
            Self::Other(_) => 0,
        }
    }

    /// Notes how far what was known is handed out. `known` came from the last [`AnyDriver::walk`].
    #[inline]
    pub(crate) fn hand_out(&mut self, known: Known) {
        if let Self::Ring(ring) = self {
            ring.hand_out(known);
        }
    }
}

macro_rules! either {
    ($driver:expr, $it:ident => $call:expr) => {
        match $driver {
            AnyDriver::Ring($it) => $call,
            AnyDriver::Other($it) => $call,
        }
    };
}

impl Driver for AnyDriver {
    fn same_process(&self) -> bool {
        either!(self, driver => driver.same_process())
    }

    #[inline]
    fn room(&self) -> usize {
        either!(self, driver => driver.room())
    }

    #[inline]
    fn capacity(&self) -> usize {
        either!(self, driver => driver.capacity())
    }

    #[inline]
    fn queued(&self) -> usize {
        either!(self, driver => driver.queued())
    }

    fn wait_beside(&mut self, eventfd: RawFd, deadline: Option<Instant>) -> io::Result<()> {
        either!(self, driver => driver.wait_beside(eventfd, deadline))
    }

    fn submitted(&self) -> u64 {
        either!(self, driver => driver.submitted())
    }

    #[inline]
    unsafe fn push(&mut self, sqe: Sqe) -> Ticket {
        match self {
            // SAFETY: (I1) the contract is the same, and passed on to the caller.
            Self::Ring(ring) => unsafe { ring.push(sqe) },
            Self::Other(driver) => {
                // A copy, because the call takes its address: that of `sqe` itself must not escape, or it would be
                // built on the stack for the ring as well, and copied from there.
                let copy = sqe.clone();
                // SAFETY: (I1) as above.
                unsafe { driver.push(copy) }
            }
        }
    }

    fn neutralize(&mut self, ticket: Ticket) -> bool {
        either!(self, driver => driver.neutralize(ticket))
    }

    fn withhold(&mut self) {
        either!(self, driver => driver.withhold());
    }

    fn withhold_no_more(&mut self) {
        either!(self, driver => driver.withhold_no_more());
    }

    fn unlink(&mut self, ticket: Ticket) {
        either!(self, driver => driver.unlink(ticket));
    }

    #[inline(always)]
    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        either!(self, driver => driver.enter(wait))
    }

    #[inline]
    fn take_severed(&mut self) -> Option<u64> {
        either!(self, driver => driver.take_severed())
    }

    #[inline]
    fn needs_enter(&self) -> bool {
        either!(self, driver => driver.needs_enter())
    }

    fn may_need_enter(&self) -> bool {
        either!(self, driver => driver.may_need_enter())
    }

    #[inline]
    fn next(&mut self) -> Option<Completion> {
        match self {
            AnyDriver::Ring(ring) => ring.next(),
            // By parts: were the place of the result shared with the ring's, that one would go through memory, too.
            AnyDriver::Other(other) => {
                let Completion { user_data, outcome } = other.next()?;
                Some(Completion { user_data, outcome })
            }
        }
    }

    #[inline]
    fn has_completion(&self) -> bool {
        either!(self, driver => driver.has_completion())
    }

    #[inline]
    fn publish(&mut self) {
        either!(self, driver => driver.publish())
    }

    fn sync_cancel(&mut self, user_data: u64) -> io::Result<()> {
        either!(self, driver => driver.sync_cancel(user_data))
    }

    unsafe fn register(&mut self, opcode: u32, arg: *mut c_void, count: u32) -> io::Result<u32> {
        // SAFETY: (I1) the contract is the same, and passed on to the caller.
        either!(self, driver => unsafe { driver.register(opcode, arg, count) })
    }

    fn ring(&self) -> BorrowedFd<'_> {
        either!(self, driver => driver.ring())
    }

    fn supports(&self, opcode: u8) -> bool {
        either!(self, driver => driver.supports(opcode))
    }

    fn sends_bundles(&self) -> bool {
        either!(self, driver => driver.sends_bundles())
    }

    fn dropped(&self) -> u32 {
        either!(self, driver => driver.dropped())
    }
}
