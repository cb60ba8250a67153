//! Closing a descriptor, and learning whether that went well.
//!
//! Knows: `IORING_OP_CLOSE`, that a descriptor may be held elsewhere. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::task::{Context, Poll};

use io_uring::{opcode, types};

use super::fd::{Fd, IntoDescriptor};
use super::op::Op;
use super::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`close`].
#[derive(Debug)]
pub struct Close(Hold);

#[derive(Debug)]
enum Hold {
    /// Not looked at yet.
    Counted(Fd),
    /// Nobody else holds it.
    Only(OwnedFd),
    /// Somebody else does; our hold is given up.
    Busy,
}

// SAFETY: (I1) the entry has no pointers; its descriptor is owned until the kernel has closed it.
unsafe impl Request for Close {
    type Output = io::Result<()>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        self.0 = match mem::replace(&mut self.0, Hold::Busy) {
            Hold::Counted(fd) => fd.try_into_owned().map_or(Hold::Busy, Hold::Only),
            hold => hold,
        };
        Poll::Ready(match self.0 {
            Hold::Only(_) => Prepared::Submit,
            _ => Prepared::AnswerShort(-libc::EBUSY),
        })
    }

    fn sqe(&mut self) -> Sqe {
        let fd = if let Hold::Only(fd) = &self.0 { fd.as_raw_fd() } else { -1 };
        opcode::Close::new(types::Fd(fd)).build().into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<()> {
        let busy = matches!(self.0, Hold::Busy);
        self.release(&result);
        result.map(drop).map_err(|error| match error.raw_os_error() {
            Some(libc::EBUSY) if busy => io::Error::new(
                io::ErrorKind::ResourceBusy,
                "the descriptor is held elsewhere too, by a clone or an op in flight: it closes when the last hold goes",
            ),
            _ => error,
        })
    }

    fn abandon(self, result: io::Result<u32>, _flags: u32, _orphaned: bool) {
        self.release(&result);
    }
}

impl Close {
    /// Lets go of the number of a descriptor that the kernel has closed, with or without an error. One that it never
    /// looked at is closed here.
    fn release(self, result: &io::Result<u32>) {
        let errno = result.as_ref().map_or_else(io::Error::raw_os_error, |_| Some(0));
        match (self.0, errno) {
            // Refused before it was submitted, withdrawn, cancelled on its way to a worker, or an unknown opcode.
            (Hold::Only(fd), None | Some(libc::ECANCELED | libc::EINVAL)) => drop(fd),
            (Hold::Only(fd), Some(_)) => {
                let _closed = fd.into_raw_fd();
            }
            (Hold::Counted(_) | Hold::Busy, _) => {}
        }
    }
}

/// Closes a descriptor through the ring, and reports the error that closing it gave.
///
/// Only the last hold can close: `Ok` means it is closed. Dropping the last `Fd` closes as well, on this thread and
/// without telling of an error.
///
/// # Kernel
///
/// `IORING_OP_CLOSE`, Linux 5.6. One entry, one completion; nothing is submitted while others hold the descriptor.
///
/// # Errors
///
/// `ResourceBusy` when something else holds the descriptor, a clone or an op in flight; this hold is given up, and the
/// descriptor closes when the last one goes. The same when the descriptor belongs to a runtime on another thread (the
/// one that cloned it first), which alone can tell. What `close(2)` returns (`EIO`, `ENOSPC`, `EDQUOT`): the
/// descriptor is closed all the same. `ECANCELED` when it was cancelled; it was closed without the ring then.
///
/// # Cancel safety
///
/// The descriptor is closed, or its hold given up, in any case.
///
/// # Examples
///
/// See [`open`](super::open).
pub fn close(fd: impl IntoDescriptor) -> Op<Close> {
    Op::new(Close(Hold::Counted(fd.into_descriptor())))
}
