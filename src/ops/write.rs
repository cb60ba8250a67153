//! Writing one buffer.
//!
//! Knows: `IORING_OP_WRITE`, `IORING_OP_WRITE_FIXED`. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::task::{Context, Poll};

use io_uring::opcode;

use super::buf::{Buf, clamp};
use super::fd::{AnyFd, Fd, IntoFd};
use super::op::Op;
use super::read::{CURRENT, position};
use super::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`write()`].
#[derive(Debug)]
pub struct Write<B, F: AnyFd = Fd> {
    fd: F,
    buf: B,
    offset: u64,
}

// SAFETY: (I1) the entry points into the buffer, which the request owns and which stays where it is as `Buf` promises;
// the descriptor is held.
unsafe impl<B: Buf, F: AnyFd> Request for Write<B, F> {
    type Output = (io::Result<usize>, B);

    const REPEATABLE: bool = true;

    #[inline]
    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        let answer = Prepared::AnswerShort(-libc::EBADF);
        Poll::Ready(if self.fd.is_elsewhere() { answer } else { Prepared::Submit })
    }

    fn sqe(&mut self) -> Sqe {
        let len = clamp(self.buf.init_len());
        let (number, start) = (self.fd.number(), self.buf.stable_ptr());
        match self.buf.registered() {
            None => self.fd.address(opcode::Write::new(number, start, len).offset(self.offset).build()),
            Some(slot) => {
                let entry = opcode::WriteFixed::new(number, start, len, slot).offset(self.offset);
                self.fd.address(entry.build())
            }
        }
    }

    #[inline]
    fn finish(self, result: io::Result<u32>, _flags: u32) -> Self::Output {
        let Self { fd, buf, .. } = self;
        (fd.explain(result.map(|n| n as usize)), buf)
    }
}

/// Writes a buffer to a descriptor.
///
/// Resolves to how many bytes, from the start of the buffer, were written, and the buffer. Fewer than it has are no
/// error, though they break a chain; [`write_all`](super::write_all) writes the rest too. Without
/// `at` it writes at the current position and advances it.
///
/// # Kernel
///
/// `IORING_OP_WRITE`, Linux 5.6; from [registered memory](super::FixedBuf) `IORING_OP_WRITE_FIXED`, Linux 5.1. One entry, one
/// completion; at most 2 147 479 552 bytes.
///
/// # Errors
///
/// What `write(2)` returns; `ECANCELED` when it was cancelled. The buffer comes back with the error.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; some or all of the bytes may have been written, and nobody learns how many. To
/// learn it, ask it to stop ([`Operation::request_cancel`](crate::Operation::request_cancel), or a race) and await it.
///
/// # Examples
///
/// ```
/// use millstream::ops;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let (reader, writer) = std::io::pipe()?;
/// let (n, _) = ops::write(writer, "grist").await;
/// assert_eq!(n?, 5);
/// let (n, buf) = ops::read(reader, [0; 8]).await;
/// assert_eq!(&buf[..n?], b"grist");
/// # Ok(())
/// # })
/// # }
/// ```
pub fn write<F: IntoFd, B: Buf>(fd: F, buf: B) -> Op<Write<B, F::Fd>> {
    Op::new(Write { fd: fd.into_fd(), buf, offset: CURRENT })
}

impl<B: Buf, F: AnyFd> Op<Write<B, F>> {
    /// Writes at `offset` in the file, and leaves its position alone. On a stream the offset means nothing.
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    pub fn at(mut self, offset: u64) -> Self {
        self.request_mut().offset = position(offset);
        self
    }
}
