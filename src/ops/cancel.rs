//! Cancelling everything on a descriptor.
//!
//! Knows: `IORING_OP_ASYNC_CANCEL` by descriptor. Does not know: how the runtime cancels single ops.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;

use io_uring::opcode;
use io_uring::types::CancelBuilder;

use super::fd::Fd;
use super::op::Op;
use super::request::Request;
use crate::runtime::driver::Sqe;

/// The request of [`cancel`].
#[derive(Debug)]
pub struct Cancel {
    fd: Fd,
}

// SAFETY: (I1) the entry has no pointers; the descriptor is held.
unsafe impl Request for Cancel {
    type Output = io::Result<u32>;

    fn sqe(&mut self) -> Sqe {
        opcode::AsyncCancel2::new(CancelBuilder::fd(self.fd.entry()).all()).build().into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<u32> {
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(0),
            result => result,
        }
    }
}

/// Asks every op in flight on a descriptor, on this runtime, to stop.
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
pub fn cancel(fd: impl Into<Fd>) -> Op<Cancel> {
    Op::new(Cancel { fd: fd.into() })
}
