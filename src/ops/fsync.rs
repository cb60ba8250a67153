//! Making what was written durable.
//!
//! Knows: `IORING_OP_FSYNC`. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::task::{Context, Poll};

use io_uring::opcode;
use io_uring::types::FsyncFlags;

use super::fd::{AnyFd, Fd, IntoFd};
use super::op::Op;
use super::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`fsync`].
#[derive(Debug)]
pub struct Fsync<F: AnyFd = Fd> {
    fd: F,
    flags: FsyncFlags,
}

// SAFETY: (I1) the entry has no pointers; the descriptor is held.
unsafe impl<F: AnyFd> Request for Fsync<F> {
    type Output = io::Result<()>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        let answer = Prepared::AnswerShort(-libc::EBADF);
        Poll::Ready(if self.fd.is_elsewhere() { answer } else { Prepared::Submit })
    }

    fn sqe(&mut self) -> Sqe {
        self.fd.address(opcode::Fsync::new(self.fd.number()).flags(self.flags).build())
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<()> {
        self.fd.explain(result.map(drop))
    }
}

/// Waits until what was written to a file is on its device, and what is known of the file with it.
///
/// It covers writes that have *completed* before it starts. Writes in flight have no order with it: await them first,
/// or chain it after them, or `drain` it.
///
/// # Kernel
///
/// `IORING_OP_FSYNC`, Linux 5.1. One entry, one completion; it always runs on a worker thread of the kernel. To the
/// kernel (6.18 and before) an `fsync` that failed is no failure in a chain: what is linked after it starts all the
/// same.
///
/// # Errors
///
/// What `fsync(2)` returns. An `EIO` is told once: what could not be written may be gone. `ECANCELED` when it was
/// cancelled.
///
/// # Cancel safety
///
/// Nothing can be lost, but what is durable is not known.
///
/// # Examples
///
/// ```
/// use millstream::ops;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let file = ops::open("/tmp").flags(libc::O_TMPFILE | libc::O_WRONLY).mode(0o600).await?;
/// ops::write_all(&file, "corn").await.0?;
/// ops::fsync(&file).data_only().await?;
/// # Ok(())
/// # })
/// # }
/// ```
pub fn fsync<F: IntoFd>(fd: F) -> Op<Fsync<F::Fd>> {
    Op::new(Fsync { fd: fd.into_fd(), flags: FsyncFlags::empty() })
}

impl<F: AnyFd> Op<Fsync<F>> {
    /// Only the data, and what is needed to read it back (`fdatasync(2)`): not the times.
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    pub fn data_only(mut self) -> Self {
        self.request_mut().flags = FsyncFlags::DATASYNC;
        self
    }
}
