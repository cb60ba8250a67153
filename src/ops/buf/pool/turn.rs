//! Waiting for a buffer of a pool.
//!
//! Knows: the pool's line, the loop of this thread. Does not know: which op waits.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use io_uring::opcode;

use super::super::super::op::Op;
use super::super::super::request::Request;
use super::ledger::Place;
use super::{Lender, Pool};
use crate::runtime::context;
use crate::runtime::driver::Sqe;

/// An op that was, or may be, refused for want of a buffer.
#[derive(Debug)]
#[repr(C)] // whose buffers they are is asked for with every result, the place only by who was refused one
pub(crate) struct Hungry<L: Lender = Pool> {
    lender: Arc<L>,
    place: Place,
}

impl<L: Lender> Hungry<L> {
    pub(crate) fn new(lender: &Arc<L>) -> Self {
        Self { lender: Arc::clone(lender), place: Place::new() }
    }

    pub(crate) fn lender(&self) -> &Arc<L> {
        &self.lender
    }

    /// The kernel has refused the op (`ENOBUFS`): waits until it is worth asking again. To be asked again after each
    /// refusal, until the op [has got](Self::fed) what it wanted.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let turn = ready!(self.lender.poll_turn(cx, &mut self.place));
        if turn.others {
            pass_on_after(&self.lender);
        }
        Poll::Ready(())
    }

    /// The kernel has not refused the op.
    #[inline]
    pub(crate) fn fed(&mut self) {
        self.lender.desk().leave(&mut self.place);
    }
}

impl<L: Lender> Drop for Hungry<L> {
    fn drop(&mut self) {
        self.fed();
    }
}

/// Passes a turn on when the kernel has come to what is queued now: the op whose turn it is may find that it needs no
/// buffer yet, and others must not wait for it then.
fn pass_on_after<L: Lender>(lender: &Arc<L>) {
    context::with(|core| {
        let marker = PassOn { lender: Arc::clone(lender) };
        if let Some(core) = core
            && Op::start_detached(marker, core).is_err()
        {
            lender.desk().pass_on(); // no room for a marker: too early is only in vain
        }
    });
}

/// Does nothing in the ring, and passes the turn on when it comes back.
struct PassOn<L: Lender> {
    lender: Arc<L>,
}

// SAFETY: (I1) the entry points to nothing.
unsafe impl<L: Lender> Request for PassOn<L> {
    type Output = ();

    const REPEATABLE: bool = true;

    fn sqe(&mut self) -> Sqe {
        opcode::Nop::new().build().into()
    }

    fn finish(self, _result: io::Result<u32>, _flags: u32) {}

    fn abandon(self, _result: io::Result<u32>, _flags: u32, _orphaned: bool) {
        self.lender.desk().pass_on();
    }
}
