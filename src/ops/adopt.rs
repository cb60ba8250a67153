//! A result that is a new descriptor.
//!
//! Knows: descriptors. Does not know: which op made one.
#![allow(unsafe_code, reason = "takes the ownership of a descriptor from a number")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The descriptor that an op of this kind has made. Dropping it closes it.
pub(super) fn adopt(result: io::Result<u32>) -> io::Result<OwnedFd> {
    // SAFETY: (I2) the kernel has just made this descriptor for the request that calls this with its one result, so
    // that nobody else owns it.
    result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
