//! One ring: queue entries, enter the kernel, hand out completions.
//!
//! Knows: submission entries, completions, kernel features, errnos of the ring itself. Does not know: ops, tasks,
//! channels, or what any `user_data` means.
//!
//! The trait [`Driver`] is all the rest of the runtime sees of the kernel. [`Ring`] implements it over a real ring;
//! the fault shim in the tests stands between the two and fails chosen calls.

#![allow(unsafe_code, reason = "`push` is unsafe to call: an entry carries pointers the kernel will follow")]

pub(crate) mod sqe;

use std::io;
use std::time::Instant;

pub(crate) use sqe::{LinkKind, Sqe};

/// The position of an entry in the submission queue: a count that only grows, as the queue's tail does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) u32);

/// One completion queue entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    /// What the entry carried.
    pub(crate) user_data: u64,
    /// The result: a count or descriptor, or minus an errno.
    pub(crate) res: i32,
    /// `IORING_CQE_F_*`.
    pub(crate) flags: u32,
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
}

/// What the runtime asks of the kernel. It knows no op kinds.
pub(crate) trait Driver {
    /// How many entries can be queued before the next `enter`.
    fn room(&self) -> usize;

    /// How many entries the queue holds in all; no chain can be longer.
    fn capacity(&self) -> usize;

    /// How many entries are queued and not yet consumed by the kernel.
    fn queued(&self) -> usize;

    /// Queues one entry. The caller has checked `room`; entries pushed without an `enter` between them are contiguous.
    ///
    /// # Safety
    ///
    /// What the entry points to stays valid until its terminal completion was handed out (I1).
    unsafe fn push(&mut self, sqe: Sqe) -> Ticket;

    /// Turns an entry the kernel has not consumed into a no-op that keeps its link, drain and async flags and its
    /// `user_data`. `false` when the kernel has it already.
    fn neutralize(&mut self, ticket: Ticket) -> bool;

    /// Cuts the link between an entry the kernel has not consumed and the next one.
    fn unlink(&mut self, ticket: Ticket);

    /// Submits everything queued, and waits as told. `Ok` also when the wait ended by its deadline or by a signal.
    ///
    /// # Errors
    ///
    /// `EBUSY`, `EAGAIN`, `ENOMEM`: nothing is lost, reap and try again. Anything else is a ring that cannot go on.
    fn enter(&mut self, wait: Wait) -> io::Result<()>;

    /// Whether the kernel has deferred work or overflowed completions that only an `enter` brings (TASKRUN, CQ_OVERFLOW).
    fn needs_enter(&self) -> bool;

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

    /// Whether the kernel knows this opcode.
    fn supports(&self, opcode: u8) -> bool;

    /// Completions the kernel could not place and dropped. Stays 0 on every kernel with `FEAT_NODROP`.
    fn dropped(&self) -> u32;
}
