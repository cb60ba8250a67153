//! Cancelling everything on a descriptor.
//!
//! Knows: `IORING_OP_ASYNC_CANCEL` by descriptor. Does not know: how the runtime cancels single ops.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::task::{Context, Poll};

use io_uring::opcode;
use io_uring::types::{self, CancelBuilder};

use super::fd::{AnyFd, Fd, IntoFd};
use super::op::Op;
use super::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`cancel`].
#[derive(Debug)]
pub struct Cancel<F: AnyFd = Fd> {
    fd: F,
}

// SAFETY: (I1) the entry has no pointers; the descriptor is held.
unsafe impl<F: AnyFd> Request for Cancel<F> {
    type Output = io::Result<u32>;

    const STOPS_OTHERS: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        let answer = Prepared::AnswerShort(-libc::EBADF);
        Poll::Ready(if self.fd.is_elsewhere() { answer } else { Prepared::Submit })
    }

    fn sqe(&mut self) -> Sqe {
        let types::Fd(number) = self.fd.number();
        let whose = match self.fd.descriptor() {
            Some(_) => CancelBuilder::fd(types::Fd(number)),
            None => CancelBuilder::fd(types::Fixed(number as u32)),
        };
        opcode::AsyncCancel2::new(whose.all()).build().into() // the flag of a slot is among its own
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<u32> {
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(0),
            result => self.fd.explain(result),
        }
    }
}

/// Asks every op in flight on a descriptor, on this runtime, to stop: of a direct descriptor, those on the file that is in the
/// slot now.
///
/// Resolves to how many were asked. Each of them resolves by itself, with `ECANCELED` or with its result if it was
/// quicker, and gives back what it held.
///
/// # Kernel
///
/// `IORING_OP_ASYNC_CANCEL` with `FD` and `ALL`, Linux 5.19. One entry, one completion.
///
/// # Errors
///
/// `EALREADY` when one of them runs on a worker thread of the kernel and could not be stopped there; `ECANCELED` when
/// this op itself was cancelled.
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
/// let (reader, _writer) = std::io::pipe()?;
/// let reader = ops::Fd::from(reader);
/// let reading = millstream::spawn(ops::read(&reader, [0; 1]));
/// millstream::yield_now().await; // it starts
/// ops::nop().await?; // it is in flight
/// assert_eq!(ops::cancel(&reader).await?, 1);
/// let (result, _buf) = reading.await?;
/// assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
/// # Ok(())
/// # })
/// # }
/// ```
pub fn cancel<F: IntoFd>(fd: F) -> Op<Cancel<F::Fd>> {
    Op::new(Cancel { fd: fd.into_fd() })
}
