//! Writing one buffer.
//!
//! Knows: `IORING_OP_WRITE`. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;

use io_uring::opcode;

use super::buf::{Buf, clamp};
use super::fd::Fd;
use super::op::Op;
use super::read::{CURRENT, position};
use super::request::Request;
use crate::runtime::driver::Sqe;

/// The request of [`write()`].
#[derive(Debug)]
pub struct Write<B> {
    fd: Fd,
    buf: B,
    offset: u64,
}

// SAFETY: (I1) the entry points into the buffer, which the request owns and which stays where it is as `Buf` promises;
// the descriptor is held.
unsafe impl<B: Buf> Request for Write<B> {
    type Output = (io::Result<usize>, B);

    fn sqe(&mut self) -> Sqe {
        let len = clamp(self.buf.init_len());
        opcode::Write::new(self.fd.entry(), self.buf.stable_ptr(), len).offset(self.offset).build().into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> Self::Output {
        (result.map(|n| n as usize), self.buf)
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
/// `IORING_OP_WRITE`, Linux 5.6. One entry, one completion; at most 2 147 479 552 bytes.
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
pub fn write<B: Buf>(fd: impl Into<Fd>, buf: B) -> Op<Write<B>> {
    Op::new(Write { fd: fd.into(), buf, offset: CURRENT })
}

impl<B: Buf> Op<Write<B>> {
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
