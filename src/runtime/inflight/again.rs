//! Requests that the kernel gives up by itself, and that are made again.
//!
//! Knows: nodes, what a given-up request ends with. Does not know: which op it is, why a cancel was asked for.
//!
//! What cannot be done at once goes to a worker thread of the kernel. Where none can be made, all requests that wait for one
//! end with `ECANCELED`: none of them was begun, and of one that had been in part before, its result is that part. It
//! cannot be made while a signal is pending on this thread (three tries, which before 6.14 follow one another so closely that
//! they meet the same signal), or beyond a limit of threads (`RLIMIT_NPROC`, `pids.max`).
//!
//! The same word answers a cancel, so a request is made again only where nobody can have asked for one. It keeps its node and its
//! key, and to whoever awaits it nothing has happened. Its entry is queued at once: there is no time in which a node is
//! neither ours nor the kernel's, and so nothing new to stop, to wait for at the end, or to drop.
#![allow(unsafe_code, reason = "nodes are reached by pointer, and an entry is queued")]

use std::cell::Cell;
use std::ptr::NonNull;

use io_uring::opcode;
use io_uring::squeue::Flags;

use super::super::driver::{Driver, Outcome};
use super::Inflight;
use super::node::{Kind, Node, flag, payload};

/// How often one request is made again. A storm of signals spares one try in a few; want of threads is no matter of tries.
const MOST: u8 = 32;

/// How a request ends that the kernel has given up. One that carries flags has a buffer with it, or is part of more.
pub(super) const GIVEN_UP: Outcome = Outcome::new(-libc::ECANCELED, 0);

/// What tells whether a cancel may have been asked for.
#[derive(Debug, Default)]
pub(super) struct Again {
    made: Cell<u64>,
    /// Requests in flight that may stop others.
    stoppers: Cell<usize>,
    /// Entries before this position may have been stopped by one of those.
    stopped: Cell<u64>,
    /// The runtime is about to end.
    never: Cell<bool>,
}

impl Again {
    /// How often a request was made again.
    pub(super) fn made(&self) -> u64 {
        self.made.get()
    }
}

impl Inflight {
    /// The request of this node, just queued, may stop others.
    #[cold]
    pub(crate) fn stops_others(&self, node: NonNull<Node>) {
        // SAFETY: (I5) the caller's node is live; shared access only.
        unsafe { node.as_ref() }.set(flag::STOPS_OTHERS);
        self.again.stoppers.set(self.again.stoppers.get() + 1);
    }

    /// Such a request has ended.
    #[cold]
    pub(super) fn others_were_stopped(&self) {
        self.again.stoppers.set(self.again.stoppers.get() - 1);
        self.again.stopped.set(self.driver().submitted());
    }

    /// From here on, what the kernel gives up is over: the runtime ends.
    pub(super) fn make_none_again(&self) {
        self.again.never.set(true);
    }

    /// Makes the request of a node again that has ended as [`GIVEN_UP`]. `false`: it has ended for good.
    #[cold]
    pub(super) fn make_again(&self, node: NonNull<Node>) -> bool {
        // SAFETY: (I5) the caller's node is live; shared access only.
        let head = unsafe { node.as_ref() };
        let asked = flag::CANCELLING | flag::NEUTRALIZED | flag::PRESET | flag::CHAINED | flag::SETTLED;
        let maybe_asked = self.again.stoppers.get() > 0 || head.ticket.get() < self.again.stopped.get();
        // What a drain waits for may have been this: it has begun, and nothing is to be ordered before it any more.
        let passed = self.is_draining() && !head.has(flag::DRAIN);
        if head.has(asked) || maybe_asked || passed || self.again.never.get() || head.attempts.get() >= MOST {
            return false;
        }
        // Before 6.1 the kernel did not tell what had been done in part.
        let tells = self.supports(opcode::SendMsgZc::CODE);
        let Some(again) = head.vtable.get().and_then(|vtable| vtable.again).filter(|_| tells) else {
            return false;
        };
        let mut sqe = None;
        // SAFETY: (I1) the request is in the node, and the kernel has let go of it; the vtable is its own.
        self.contained(|| sqe = Some(unsafe { again(payload(node)) })); // a buffer that says where it is may be the user's
        let Some(sqe) = sqe else { return false };
        if self.driver().room() == 0 {
            self.submit();
            if self.driver().room() == 0 {
                return false;
            }
        }
        // Not the drain: what was before it has ended, and what is after it is still held back.
        let flags = if head.has(flag::ASYNC) { Flags::ASYNC } else { Flags::empty() };
        let sqe = sqe.user_data(head.key().user_data(Kind::Op)).flags(flags);
        // SAFETY: (I1) the node owns what the entry points to until its terminal completion, which is still to come.
        let ticket = unsafe { self.driver().push(sqe) };
        head.ticket.set(ticket.0);
        head.attempts.set(head.attempts.get() + 1);
        self.again.made.set(self.again.made.get() + 1);
        true
    }
}
