//! Drains: what is queued after one starts when it has ended, and it starts when all that was queued before has ended.
//!
//! Knows: nodes, the queue's end. Does not know: which op drains.
//!
//! What comes after a drain is held back here, and not by the kernel, which would do it too: but on 6.18 a request that was
//! held back, once it runs, holds back all that come after it until it ends, be it an accept.
//!
//! What comes before it is waited for by the kernel (`IOSQE_IO_DRAIN`), except on a ring that [keeps its
//! drains](Inflight::keep_drains). There the entries of the drain stay in the queue, behind its end for the kernel, until the
//! last op before them has ended:
//!
//! ```text
//!            something before is in flight         the last of that ends
//! queued ──────────────────────────────▶ withheld ──────────────────────▶ submitted ──▶ ended: what comes after starts
//!    └──────────────────────── nothing is ────────────────────────────────────▲
//! ```
#![allow(unsafe_code, reason = "nodes are reached by pointer, and an entry is queued")]

use std::cell::Cell;

use io_uring::opcode;
use io_uring::squeue::Flags;

use super::super::driver::{Driver, Sqe};
use super::Inflight;
use super::node::{Kind, Node, State, flag};

/// The drains of one runtime.
#[derive(Default)]
pub(super) struct Drains {
    /// Nodes in flight that drain: while there is one, a cancel must not go through the queue.
    pending: Cell<usize>,
    /// The kernel cannot be trusted to know when everything before a drain has ended.
    kept: Cell<bool>,
    /// Ops in flight that a withheld drain waits for.
    before: Cell<usize>,
}

impl Inflight {
    /// From now on drains are kept here.
    ///
    /// The kernel goes by a count of requests and completions, which notifications spoil before Linux 6.16: what is drained
    /// after one waits for ever.
    pub(crate) fn keep_drains(&self) {
        self.drains.kept.set(true);
    }

    /// The flags with which the kernel is to be given an entry that drains, and is queued next.
    #[cold]
    pub(super) fn drain_begins(&self, flags: Flags) -> Flags {
        if !self.drains.kept.get() {
            return flags;
        }
        debug_assert!(!self.is_draining(), "one drain holds back the other");
        self.pool.for_each(|node| {
            // SAFETY: (I5) `for_each` gives initialised nodes; shared access only.
            let head = unsafe { node.as_ref() };
            if head.state() == State::Queued {
                head.set(flag::BEFORE_DRAIN);
                self.drains.before.set(self.drains.before.get() + 1);
            }
        });
        if self.drains.before.get() > 0 {
            self.driver().withhold();
        }
        flags - Flags::IO_DRAIN
    }

    /// An op that a withheld drain waits for has ended.
    #[cold]
    pub(super) fn ended_before_drain(&self) {
        self.drains.before.set(self.drains.before.get() - 1);
        if self.drains.before.get() == 0 {
            self.driver().withhold_no_more();
        }
    }

    /// Holds back what comes after a drain, until this node has ended, and ends what the drain would wait for in vain.
    #[cold]
    pub(crate) fn hold_back(&self, head: &Node) {
        head.set(flag::DRAIN);
        self.drains.pending.set(self.drains.pending.get() + 1);
        self.closed.set(self.closed.get() + 1);
        self.disarm_wake();
    }

    pub(super) fn drain_ends(&self) {
        self.drains.pending.set(self.drains.pending.get() - 1);
        self.closed.set(self.closed.get() - 1);
        if !self.is_draining() {
            self.follow_drain();
        }
        self.feed_starved();
    }

    /// Queues what nobody waits for, as the first after a drain: the kernel drains that as well, since it sees only then that
    /// the drain is over, and has a thread of its own do it. One that makes a notification would wait for that, for ever (6.18).
    fn follow_drain(&self) {
        if self.driver().room() == 0 {
            return; // a cancel is first
        }
        let entry = opcode::Nop::new().build();
        let sqe = Sqe::from(entry).user_data(Kind::Ignored as u64);
        // SAFETY: (I1) the entry points to nothing.
        unsafe { self.driver().push(sqe) };
    }

    /// Whether a drain is pending. Meanwhile the thread sleeps by [`Inflight::wait_beside`].
    pub(crate) fn is_draining(&self) -> bool {
        self.drains.pending.get() > 0
    }
}
