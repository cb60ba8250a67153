//! Making what was written durable.
//!
//! Knows: `IORING_OP_FSYNC`. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;

use io_uring::opcode;
use io_uring::types::FsyncFlags;

use super::fd::Fd;
use super::op::Op;
use super::request::Request;
use crate::runtime::driver::Sqe;

/// The request of [`fsync`].
#[derive(Debug)]
pub struct Fsync {
    fd: Fd,
    flags: FsyncFlags,
}

// SAFETY: (I1) the entry has no pointers; the descriptor is held.
unsafe impl Request for Fsync {
    type Output = io::Result<()>;

    fn sqe(&mut self) -> Sqe {
        opcode::Fsync::new(self.fd.entry()).flags(self.flags).build().into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<()> {
        result.map(drop)
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
pub fn fsync(fd: impl Into<Fd>) -> Op<Fsync> {
    Op::new(Fsync { fd: fd.into(), flags: FsyncFlags::empty() })
}

impl Op<Fsync> {
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
