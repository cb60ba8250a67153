//! Giving a socket its address and letting it listen, on kernels that have no opcode for it too.
//!
//! Knows: `IORING_OP_BIND`, `IORING_OP_LISTEN`, the calls they stand for. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait, and makes the calls of older kernels")]

use std::io;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use io_uring::opcode;

use super::address::Address;
use super::fd::{AnyFd, Fd, IntoFd};
use super::op::Op;
use super::request::{Prepared, Request};
use crate::runtime::context;
use crate::runtime::driver::Sqe;

/// The request of [`bind`].
#[derive(Debug)]
pub struct Bind<F: AnyFd = Fd> {
    fd: F,
    address: Address,
}

// SAFETY: (I1) the entry points to the address inside of the request; the descriptor is held.
unsafe impl<F: AnyFd> Request for Bind<F> {
    type Output = io::Result<()>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        if self.fd.is_elsewhere() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        let Some(fd) = self.fd.descriptor() else { return Poll::Ready(Prepared::Submit) };
        Poll::Ready(submit_or(opcode::Bind::CODE, || {
            // SAFETY: (local) the address is in the request, and as long as it says.
            unsafe { libc::bind(fd.as_raw_fd(), self.address.as_ptr(), self.address.len()) }
        }))
    }

    fn sqe(&mut self) -> Sqe {
        let entry = opcode::Bind::new(self.fd.number(), self.address.as_ptr(), self.address.len());
        self.fd.address(entry.build())
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<()> {
        self.fd.explain(result.map(drop))
    }
}

/// Leaves it to the kernel, or makes the call here and now where this kernel has no opcode for it. Neither call waits.
fn submit_or(opcode: u8, call: impl FnOnce() -> libc::c_int) -> Prepared {
    if context::with(|core| core.is_none_or(|core| core.inflight.supports(opcode))) {
        return Prepared::Submit;
    }
    if call() < 0 {
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
        return Prepared::AnswerShort(-errno);
    }
    Prepared::Answer(0)
}

/// Gives a socket its address.
///
/// # Kernel
///
/// `IORING_OP_BIND`, Linux 6.11. One entry, one completion. On older kernels it is `bind(2)`, called at the first
/// poll; in a chain, before the chain starts. Of a direct descriptor they can do nothing: `Unsupported`.
///
/// # Errors
///
/// What `bind(2)` returns; `ECANCELED` when it was cancelled.
///
/// # Cancel safety
///
/// The socket has the address, or not.
///
/// # Examples
///
/// See [`socket`](super::socket).
pub fn bind<F: IntoFd>(fd: F, address: impl Into<Address>) -> Op<Bind<F::Fd>> {
    Op::new(Bind { fd: fd.into_fd(), address: address.into() })
}

/// The request of [`listen`].
#[derive(Debug)]
pub struct Listen<F: AnyFd = Fd> {
    fd: F,
    backlog: i32,
}

// SAFETY: (I1) the entry has no pointers; the descriptor is held.
unsafe impl<F: AnyFd> Request for Listen<F> {
    type Output = io::Result<()>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        if self.fd.is_elsewhere() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        let Some(fd) = self.fd.descriptor() else { return Poll::Ready(Prepared::Submit) };
        Poll::Ready(submit_or(opcode::Listen::CODE, || {
            // SAFETY: (local) the descriptor is open; no pointers.
            unsafe { libc::listen(fd.as_raw_fd(), self.backlog) }
        }))
    }

    fn sqe(&mut self) -> Sqe {
        self.fd.address(opcode::Listen::new(self.fd.number(), self.backlog).build())
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<()> {
        self.fd.explain(result.map(drop))
    }
}

/// Lets a socket take connections. `backlog` of them wait until they are accepted; the system has its own limit too.
///
/// # Kernel
///
/// `IORING_OP_LISTEN`, Linux 6.11. One entry, one completion. On older kernels it is `listen(2)`, called at the first
/// poll; in a chain, before the chain starts. Of a direct descriptor they can do nothing: `Unsupported`.
///
/// # Errors
///
/// What `listen(2)` returns; `ECANCELED` when it was cancelled.
///
/// # Cancel safety
///
/// The socket listens, or not.
///
/// # Examples
///
/// See [`socket`](super::socket).
pub fn listen<F: IntoFd>(fd: F, backlog: u32) -> Op<Listen<F::Fd>> {
    Op::new(Listen { fd: fd.into_fd(), backlog: i32::try_from(backlog).unwrap_or(i32::MAX) })
}
