//! The op that does nothing.
//!
//! Knows: `IORING_OP_NOP`. Does not know: anything else.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;

use io_uring::opcode;

use super::op::Op;
use super::request::Request;
use crate::runtime::driver::Sqe;

/// The request of [`nop`].
#[derive(Debug)]
pub struct Nop(());

// SAFETY: (I1) the entry has no pointers and no descriptor.
unsafe impl Request for Nop {
    type Output = io::Result<()>;

    const REPEATABLE: bool = true;

    fn sqe(&mut self) -> Sqe {
        opcode::Nop::new().build().into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<()> {
        result.map(drop)
    }
}

/// Goes through the kernel and back.
///
/// Ends as soon as the kernel has seen it: a way to measure the ring, to hold a place in a chain, or to yield until
/// everything queued so far has been submitted.
///
/// # Kernel
///
/// `IORING_OP_NOP`, Linux 5.1. One entry, one completion.
///
/// # Errors
///
/// `ECANCELED` when it was cancelled or a chain broke before it.
///
/// # Cancel safety
///
/// Nothing can be lost.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// millstream::ops::nop().await?;
/// # Ok(())
/// # })
/// # }
/// ```
pub fn nop() -> Op<Nop> {
    Op::new(Nop(()))
}
