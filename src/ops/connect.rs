//! Connecting sockets.
//!
//! Knows: `IORING_OP_CONNECT`. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::task::{Context, Poll};

use io_uring::opcode;

use super::address::Address;
use super::fd::{AnyFd, Fd, IntoFd};
use super::op::Op;
use super::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`connect`].
#[derive(Debug)]
pub struct Connect<F: AnyFd = Fd> {
    fd: F,
    address: Address,
}

// SAFETY: (I1) the entry points to the address inside of the request; the descriptor is held.
unsafe impl<F: AnyFd> Request for Connect<F> {
    type Output = io::Result<()>;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        let answer = Prepared::AnswerShort(-libc::EBADF);
        Poll::Ready(if self.fd.is_elsewhere() { answer } else { Prepared::Submit })
    }

    fn sqe(&mut self) -> Sqe {
        let entry = opcode::Connect::new(self.fd.number(), self.address.as_ptr(), self.address.len());
        self.fd.address(entry.build())
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<()> {
        self.fd.explain(result.map(drop))
    }
}

/// Connects a socket to an address.
///
/// Ends when the connection stands. [`connect_tcp`](super::connect_tcp) makes the socket too.
///
/// # Kernel
///
/// `IORING_OP_CONNECT`, Linux 5.5. One entry, one completion.
///
/// # Errors
///
/// What `connect(2)` returns; `ECANCELED` when it was cancelled.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; the socket may be connected all the same, or half way. Drop the socket too.
///
/// # Examples
///
/// See [`socket`](super::socket).
pub fn connect<F: IntoFd>(fd: F, address: impl Into<Address>) -> Op<Connect<F::Fd>> {
    Op::new(Connect { fd: fd.into_fd(), address: address.into() })
}
