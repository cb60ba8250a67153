//! A descriptor for what is in a slot of the ring's table.
//!
//! Knows: `IORING_OP_FIXED_FD_INSTALL`. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::task::{Context, Poll};

use io_uring::{opcode, types};

use crate::ops::adopt::adopt;
use crate::ops::fd::{Fd, FixedFd, Hold};
use crate::ops::features::Feature;
use crate::ops::op::Op;
use crate::ops::request::{Prepared, Request};
use crate::runtime::context;
use crate::runtime::driver::Sqe;

/// The request of [`fixed_fd_install`].
#[derive(Debug)]
pub struct FixedFdInstall(FixedFd);

/// Whether the kernel of the runtime that runs here can.
pub(crate) fn can_install() -> bool {
    let known = |opcode| context::with(|core| core.is_some_and(|core| core.inflight.supports(opcode)));
    known(opcode::FixedFdInstall::CODE) && !Feature::FixedFdInstall.is_hidden()
}

/// The entry that makes a descriptor for a slot, always close-on-exec.
pub(crate) fn install_entry(slot: &FixedFd) -> Sqe {
    Feature::FixedFdInstall.entry(opcode::FixedFdInstall::new(types::Fixed(slot.slot()), 0).build().into())
}

// SAFETY: (I1) the entry has no pointers; the slot is held.
unsafe impl Request for FixedFdInstall {
    type Output = io::Result<Fd>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        let answer = Prepared::AnswerShort(-libc::EBADF);
        Poll::Ready(if self.0.is_elsewhere() { answer } else { Prepared::Submit })
    }

    fn sqe(&mut self) -> Sqe {
        install_entry(&self.0)
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<Fd> {
        self.0.explain(adopt(result).map(Fd::from))
    }

    fn abandon(self, result: io::Result<u32>, _flags: u32, _orphaned: bool) {
        drop(adopt(result));
    }
}

/// Makes a descriptor of the process for the open file in a slot of the runtime's table.
///
/// For what takes descriptors alone: other runtimes, threads, libraries. It is always close-on-exec. The slot stays as it is, and
/// either may be closed without the other. The way back is [`FdTable::install`](crate::ops::FdTable::install).
///
/// # Kernel
///
/// `IORING_OP_FIXED_FD_INSTALL`, Linux 6.8. One entry, one completion. There is no other way to get at what is in a slot.
///
/// # Errors
///
/// `Unsupported` on older kernels; `EBADF` when the slot is empty; `EMFILE`; `ECANCELED` when it was cancelled. `InvalidInput`
/// when the slot belongs to another runtime.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; a descriptor that was made all the same is closed.
///
/// # Examples
///
/// ```
/// use millstream::ops::{self, FdTable};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let table = FdTable::new(2)?;
/// let file = ops::open_direct("Cargo.toml", table.reserve()?).await?;
/// let fd = match ops::fixed_fd_install(&file).await {
///     Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(()), // before Linux 6.8
///     fd => fd?,
/// };
/// drop(file);
/// let (n, _) = ops::read(&fd, [0; 11]).at(0).await;
/// assert_eq!(n?, 11);
/// # Ok(())
/// # })
/// # }
/// ```
pub fn fixed_fd_install(slot: impl Into<FixedFd>) -> Op<FixedFdInstall> {
    Op::new(FixedFdInstall(slot.into()))
}
