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
use super::{BufPool, Pool};
use crate::runtime::context;
use crate::runtime::driver::Sqe;

/// An op that was, or may be, refused for want of a buffer.
#[derive(Debug)]
pub(crate) struct Hungry {
    pool: Arc<Pool>,
    place: Place,
}

impl Hungry {
    pub(crate) fn new(pool: &BufPool) -> Self {
        Self { pool: Arc::clone(&pool.0), place: Place::new() }
    }

    /// The same pool, for another op.
    pub(crate) fn another(&self) -> Self {
        Self { pool: Arc::clone(&self.pool), place: Place::new() }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The kernel has refused the op (`ENOBUFS`): waits until it is worth asking again. To be asked again after each
    /// refusal, until the op [has got](Self::fed) what it wanted.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let turn = ready!(self.pool.desk.poll_turn(cx, &mut self.place));
        if turn.others {
            pass_on_after(&self.pool);
        }
        Poll::Ready(())
    }

    /// The kernel has not refused the op.
    #[inline]
    pub(crate) fn fed(&mut self) {
        self.pool.desk.leave(&mut self.place);
    }
}

impl Drop for Hungry {
    fn drop(&mut self) {
        self.fed();
    }
}

/// Passes a turn on when the kernel has come to what is queued now: the op whose turn it is may find that it needs no
/// buffer yet, and others must not wait for it then.
fn pass_on_after(pool: &Arc<Pool>) {
    context::with(|core| {
        let marker = PassOn { pool: Arc::clone(pool) };
        if let Some(core) = core
            && Op::start_detached(marker, core).is_err()
        {
            pool.desk.pass_on(); // no room for a marker: too early is only in vain
        }
    });
}

/// Does nothing in the ring, and passes the turn on when it comes back.
struct PassOn {
    pool: Arc<Pool>,
}

// SAFETY: (I1) the entry points to nothing.
unsafe impl Request for PassOn {
    type Output = ();

    fn sqe(&mut self) -> Sqe {
        opcode::Nop::new().build().into()
    }

    fn finish(self, _result: io::Result<u32>, _flags: u32) {}

    fn abandon(self, _result: io::Result<u32>, _flags: u32, _orphaned: bool) {
        self.pool.desk.pass_on();
    }
}
