//! Waiting until a descriptor is ready.
//!
//! Knows: `IORING_OP_POLL_ADD`, `POLL*`. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::task::{Context, Poll};

use io_uring::opcode;

use super::fd::{AnyFd, Fd, IntoFd};
use super::op::Op;
use super::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`poll_add`].
#[derive(Debug)]
pub struct PollAdd<F: AnyFd = Fd> {
    fd: F,
    events: u32,
}

// SAFETY: (I1) the entry has no pointers; the descriptor is held.
unsafe impl<F: AnyFd> Request for PollAdd<F> {
    type Output = io::Result<u32>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        let answer = Prepared::AnswerShort(-libc::EBADF);
        Poll::Ready(if self.fd.is_elsewhere() { answer } else { Prepared::Submit })
    }

    fn sqe(&mut self) -> Sqe {
        self.fd.address(opcode::PollAdd::new(self.fd.number(), self.events).build())
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<u32> {
        self.fd.explain(result)
    }
}

/// Waits until a descriptor is ready for one of `events`, `libc::POLL*`.
///
/// Resolves to what it is ready for; `POLLERR` and `POLLHUP` are told whether asked for or not. For descriptors that
/// another library reads: the ops of this crate wait by themselves. Bytes that a dropped read has left on the `Fd` are
/// not seen by it.
///
/// # Kernel
///
/// `IORING_OP_POLL_ADD`, Linux 5.1. One entry, one completion.
///
/// # Errors
///
/// `ECANCELED` when it was cancelled. A kind of descriptor that is always ready, such as a file, is no error: it is
/// ready at once.
///
/// # Cancel safety
///
/// Nothing can be lost.
///
/// # Examples
///
/// ```
/// use millstream::ops;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let (reader, writer) = std::io::pipe()?;
/// drop(writer);
/// let events = ops::poll_add(reader, libc::POLLIN).await?;
/// assert_eq!(events, libc::POLLHUP as u32);
/// # Ok(())
/// # })
/// # }
/// ```
pub fn poll_add<F: IntoFd>(fd: F, events: libc::c_short) -> Op<PollAdd<F::Fd>> {
    Op::new(PollAdd { fd: fd.into_fd(), events: u32::from(events as u16) })
}
