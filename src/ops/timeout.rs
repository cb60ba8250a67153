//! The kernel's timer.
//!
//! Knows: `IORING_OP_TIMEOUT`. Does not know: the runtime's own timers.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::{TimeoutFlags, Timespec};

use super::op::Op;
use super::request::Request;
use crate::runtime::driver::Sqe;

/// The request of [`timeout`].
#[derive(Debug)]
pub struct Timeout {
    after: Timespec,
}

// SAFETY: (I1) the entry points to the timespec inside of the request.
unsafe impl Request for Timeout {
    type Output = io::Result<()>;

    fn sqe(&mut self) -> Sqe {
        // Running out is what was asked for: a chain goes on after it.
        opcode::Timeout::new(&raw const self.after).flags(TimeoutFlags::ETIME_SUCCESS).build().into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<()> {
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => Ok(()),
            result => result.map(drop),
        }
    }
}

/// Ends after `duration`, measured by the kernel from when the entry is submitted.
///
/// It can be part of a chain, where it delays what comes after it. To sleep, [`time::sleep`](crate::time::sleep) costs
/// no system call.
///
/// # Kernel
///
/// `IORING_OP_TIMEOUT` with `ETIME_SUCCESS`, Linux 5.16. One entry, one completion.
///
/// # Errors
///
/// `ECANCELED` when it was cancelled before its time.
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
/// millstream::ops::timeout(std::time::Duration::from_millis(1)).await?;
/// # Ok(())
/// # })
/// # }
/// ```
pub fn timeout(duration: Duration) -> Op<Timeout> {
    Op::new(Timeout { after: timespec(duration) })
}

/// A duration as the kernel takes it. More than its clock can count is for ever all the same.
pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec::new().sec(duration.as_secs().min(i64::MAX as u64)).nsec(duration.subsec_nanos())
}
