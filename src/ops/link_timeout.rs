//! The kernel's timer for one op, as the entry behind it.
//!
//! Knows: `IORING_OP_LINK_TIMEOUT`. Does not know: the op it limits; `combinators/adapters` puts the two together, since
//! this alone, or behind anything else, means nothing.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::Timespec;

use super::op::Op;
use super::request::Request;
use super::timeout::timespec;
use crate::runtime::driver::Sqe;

/// The request of [`link_timer`].
#[derive(Debug)]
pub(crate) struct LinkTimer {
    after: Timespec,
}

// SAFETY: (I1) the entry points to the timespec inside of the request.
unsafe impl Request for LinkTimer {
    /// Whether it ran out while the op was in flight, and so asked the op to stop.
    type Output = bool;

    fn sqe(&mut self) -> Sqe {
        opcode::LinkTimeout::new(&raw const self.after).build().into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> bool {
        // `ECANCELED`: the op was quicker. `ENOENT`: it ran out, but found the op ended. `EALREADY`: it ran out, and found
        // the op with a worker, which it has interrupted.
        result.is_err_and(|error| matches!(error.raw_os_error(), Some(libc::ETIME | libc::EALREADY)))
    }
}

/// A timer that runs from when the op whose entry stands before it in its chain is started, and that stops it.
pub(crate) fn link_timer(after: Duration) -> Op<LinkTimer> {
    Op::new(LinkTimer { after: timespec(after) })
}
