//! Connecting sockets.
//!
//! Knows: `IORING_OP_CONNECT`. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;

use io_uring::opcode;

use super::address::Address;
use super::fd::Fd;
use super::op::Op;
use super::request::Request;
use crate::runtime::driver::Sqe;

/// The request of [`connect`].
#[derive(Debug)]
pub struct Connect {
    fd: Fd,
    address: Address,
}

// SAFETY: (I1) the entry points to the address inside of the request; the descriptor is held.
unsafe impl Request for Connect {
    type Output = io::Result<()>;

    fn sqe(&mut self) -> Sqe {
        opcode::Connect::new(self.fd.entry(), self.address.as_ptr(), self.address.len()).build().into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<()> {
        result.map(drop)
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
pub fn connect(fd: impl Into<Fd>, address: impl Into<Address>) -> Op<Connect> {
    Op::new(Connect { fd: fd.into(), address: address.into() })
}
