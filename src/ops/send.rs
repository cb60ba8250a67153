//! Sending on a socket.
//!
//! Knows: `IORING_OP_SEND`, `MSG_*`. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::task::{Context, Poll};

use io_uring::opcode;

use super::buf::{Buf, PoolBuf, Slice, clamp};
use super::fd::{AnyFd, Fd, FixedFd, IntoFd};
use super::op::Op;
use super::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`send`].
#[derive(Debug)]
pub struct Send<B, F: AnyFd = Fd> {
    fd: F,
    buf: B,
    flags: i32,
}

// With the head, the smallest node.
const _: () = assert!(size_of::<Send<Slice<PoolBuf>, FixedFd>>() <= 64);

// SAFETY: (I1) the entry points into the buffer, which the request owns and which stays where it is as `Buf` promises;
// the descriptor is held.
unsafe impl<B: Buf, F: AnyFd> Request for Send<B, F> {
    type Output = (io::Result<usize>, B);

    const REPEATABLE: bool = true;

    #[inline]
    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        let answer = Prepared::AnswerShort(-libc::EBADF);
        Poll::Ready(if self.fd.is_elsewhere() { answer } else { Prepared::Submit })
    }

    #[inline]
    fn sqe(&mut self) -> Sqe {
        let len = clamp(self.buf.init_len());
        let entry = opcode::Send::new(self.fd.number(), self.buf.stable_ptr(), len).flags(self.flags);
        self.fd.address(entry.build())
    }

    #[inline]
    fn finish(self, result: io::Result<u32>, _flags: u32) -> Self::Output {
        let Self { fd, buf, .. } = self;
        (fd.explain(result.map(|n| n as usize)), buf)
    }
}

/// Sends a buffer on a connected socket.
///
/// Resolves to how many bytes, from the start of the buffer, were sent, and the buffer. Fewer than it has are no
/// error; [`send_all`](super::send_all) sends the rest too. No `SIGPIPE` is raised.
///
/// # Kernel
///
/// `IORING_OP_SEND`, Linux 5.6. One entry, one completion; at most 2 147 479 552 bytes.
///
/// # Errors
///
/// What `send(2)` returns; `ECANCELED` when it was cancelled. The buffer comes back with the error.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; some or all of the bytes may have been sent, and nobody learns how many. To
/// learn it, ask it to stop ([`Operation::request_cancel`](crate::Operation::request_cancel), or a race) and await it.
///
/// # Examples
///
/// See [`recv`](super::recv).
#[inline]
pub fn send<F: IntoFd, B: Buf>(fd: F, buf: B) -> Op<Send<B, F::Fd>> {
    Op::new(Send { fd: fd.into_fd(), buf, flags: 0 })
}

impl<B: Buf, F: AnyFd> Op<Send<B, F>> {
    /// `MSG_*`. With `MSG_WAITALL` a short send goes on until everything is sent, and breaks a chain if it cannot.
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    #[inline]
    pub fn flags(mut self, flags: i32) -> Self {
        self.request_mut().flags = flags;
        self
    }
}
