//! Reading into one buffer.
//!
//! Knows: `IORING_OP_READ`, `IORING_OP_READ_FIXED`, the salvage of its descriptor. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::task::{Context, Poll};

use io_uring::opcode;

use super::buf::{BufMut, bytes, clamp, fill};
use super::fd::salvage::Place;
use super::fd::{AnyFd, Fd, IntoFd};
use super::op::Op;
use super::received::prepare_read;
use super::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The offset that stands for the current position of the file, which a read or write then advances.
pub(super) const CURRENT: u64 = u64::MAX;

/// The offset of `at`. The largest is no position of any file; the one before it is refused by the kernel as it
/// should.
pub(super) fn position(offset: u64) -> u64 {
    offset.min(CURRENT - 1)
}

/// The request of [`read`].
#[derive(Debug)]
pub struct Read<B, F: AnyFd = Fd> {
    fd: F,
    buf: B,
    offset: u64,
    /// The file that was there when it began.
    tenant: F::Tenant,
    /// Where the bytes stood that an earlier read had left.
    taken: Option<Place>,
}

// SAFETY: (I1) the entry points into the buffer, which the request owns and which stays where it is as `BufMut`
// promises; the descriptor is held.
unsafe impl<B: BufMut, F: AnyFd> Request for Read<B, F> {
    type Output = (io::Result<usize>, B);

    const REPEATABLE: bool = true;

    #[inline]
    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        if self.fd.is_elsewhere() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        self.tenant = self.fd.tenant();
        if self.offset != CURRENT || !self.fd.left_behind().concerns_reads() {
            return Poll::Ready(Prepared::Submit);
        }
        let asked = clamp(self.buf.capacity()) as usize;
        prepare_read(&self.fd, cx, &mut self.taken, asked, |bytes| fill(&mut self.buf, bytes))
    }

    fn sqe(&mut self) -> Sqe {
        let len = clamp(self.buf.capacity());
        let (number, start) = (self.fd.number(), self.buf.stable_mut_ptr());
        match self.buf.registered() {
            None => self.fd.address(opcode::Read::new(number, start, len).offset(self.offset).build()),
            Some(slot) => {
                let entry = opcode::ReadFixed::new(number, start, len, slot).offset(self.offset);
                self.fd.address(entry.build())
            }
        }
    }

    fn orphaned(&mut self) {
        if self.offset == CURRENT {
            self.fd.left_behind().read_orphaned();
        }
    }

    #[inline]
    fn finish(mut self, result: io::Result<u32>, _flags: u32) -> Self::Output {
        let result = result.map(|n| self.filled(n));
        let Self { fd, buf, .. } = self;
        (fd.explain(result), buf)
    }

    #[inline]
    fn abandon(mut self, result: io::Result<u32>, _flags: u32, orphaned: bool) {
        if self.offset == CURRENT {
            let n = result.map_or(0, |n| self.filled(n));
            self.fd.abandon_read(self.tenant, &bytes(&self.buf)[..n], orphaned, self.taken);
        }
    }
}

impl<B: BufMut, F: AnyFd> Read<B, F> {
    /// Takes note of how much was read.
    fn filled(&mut self, n: u32) -> usize {
        let n = (n as usize).min(self.buf.capacity());
        // SAFETY: (I1) the kernel, or `fill`, has written this many bytes from the start of the buffer.
        unsafe { self.buf.set_filled(n) };
        n
    }
}

/// Reads from a descriptor into a buffer.
///
/// Fills the buffer from its start, up to its capacity, and resolves to how many bytes came and the buffer; a `Vec`
/// has that length then. `Ok(0)` is the end of the file or stream, or a buffer without room. Fewer bytes than there is
/// room for are no error, though they break a chain. Without `at` it reads at the current position and advances it.
///
/// # Kernel
///
/// `IORING_OP_READ`, Linux 5.6; into [registered memory](super::FixedBuf) `IORING_OP_READ_FIXED`, Linux 5.1. One entry, one
/// completion; at most 2 147 479 552 bytes.
///
/// # Errors
///
/// What `read(2)` returns; `ECANCELED` when it was cancelled. The buffer comes back with the error, unchanged in
/// length.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled. What it had read all the same waits on the descriptor, and is what the next
/// read or receive on it gets; that one first waits for the end of this one, so that no byte overtakes another. A read
/// at an explicit offset has not moved the file's position, so its bytes are let go. `read` keeps a datagram's bounds,
/// but on a character device that hands out records the next read may see the rest of one.
///
/// # Examples
///
/// ```
/// use std::fs::File;
/// use millstream::ops;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let file = ops::Fd::from(File::open("Cargo.toml")?);
/// let (n, buf) = ops::read(&file, Vec::with_capacity(9)).at(0).await;
/// assert_eq!((n?, &buf[..]), (9, &b"[workspac"[..]));
/// # Ok(())
/// # })
/// # }
/// ```
pub fn read<F: IntoFd, B: BufMut>(fd: F, buf: B) -> Op<Read<B, F::Fd>> {
    Op::new(Read { fd: fd.into_fd(), buf, offset: CURRENT, tenant: Default::default(), taken: None })
}

impl<B: BufMut, F: AnyFd> Op<Read<B, F>> {
    /// Reads at `offset` in the file, and leaves its position alone. On a pipe the offset means nothing; a socket
    /// refuses any but 0 (`ESPIPE`).
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    pub fn at(mut self, offset: u64) -> Self {
        self.request_mut().offset = position(offset);
        self
    }
}
