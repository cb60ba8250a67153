//! Reading into and writing from several buffers at once.
//!
//! Knows: `IORING_OP_READV`, `IORING_OP_WRITEV` and their forms for registered memory, the salvage of its descriptor. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::task::{Context, Poll};

use io_uring::opcode;

use super::buf::{Buf, BufMut, IoVecs, asked, bytes, scatter, scatter_written};
use super::fd::salvage::Place;
use super::fd::{AnyFd, Fd, IntoFd};
use super::features::Feature;
use super::op::Op;
use super::read::{CURRENT, position};
use super::received::prepare_read;
use super::request::{Prepared, Request};
use crate::runtime::context;
use crate::runtime::driver::Sqe;

/// The slot that all of the buffers are registered in, if there is one and the kernel can use it: it takes no part of length 0.
pub(super) fn common_slot<B: Buf>(bufs: &[B], len: impl Fn(&B) -> usize, opcode: u8) -> Option<u16> {
    let slot = bufs.first()?.registered()?;
    let in_it = bufs.iter().all(|buf| buf.registered() == Some(slot) && len(buf) > 0);
    let known = || context::with(|core| core.is_some_and(|core| core.inflight.supports(opcode)));
    (in_it && known() && !Feature::VectoredFixed.is_hidden()).then_some(slot)
}

/// The request of [`readv`].
#[derive(Debug)]
pub struct Readv<B, F: AnyFd = Fd> {
    fd: F,
    bufs: Vec<B>,
    iovecs: IoVecs,
    offset: u64,
    /// The file that was there when it began.
    tenant: F::Tenant,
    /// Where the bytes stood that an earlier read had left.
    taken: Option<Place>,
}

// SAFETY: (I1) the entry points to the iovec array, inline or on the heap, which points into the buffers; the request
// owns them all, and the vector is not changed. The descriptor is held.
unsafe impl<B: BufMut, F: AnyFd> Request for Readv<B, F> {
    type Output = (io::Result<usize>, Vec<B>);

    const REPEATABLE: bool = true;

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        if self.fd.is_elsewhere() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        self.tenant = self.fd.tenant();
        if self.offset != CURRENT || !self.fd.left_behind().concerns_reads() {
            return Poll::Ready(Prepared::Submit);
        }
        let asked = asked(&self.bufs, Buf::capacity);
        prepare_read(&self.fd, cx, &mut self.taken, asked, |bytes| scatter(&mut self.bufs, bytes))
    }

    fn sqe(&mut self) -> Sqe {
        let parts = self.bufs.iter_mut().map(|buf| (buf.stable_mut_ptr(), buf.capacity()));
        let (iovecs, count) = self.iovecs.set(parts);
        let number = self.fd.number();
        self.fd.address(match common_slot(&self.bufs, Buf::capacity, opcode::ReadvFixed::CODE) {
            None => opcode::Readv::new(number, iovecs, count).offset(self.offset).build(),
            Some(slot) => opcode::ReadvFixed::new(number, iovecs, count, slot).offset(self.offset).build(),
        })
    }

    fn orphaned(&mut self) {
        if self.offset == CURRENT {
            self.fd.left_behind().read_orphaned();
        }
    }

    fn finish(mut self, result: io::Result<u32>, _flags: u32) -> Self::Output {
        let result = result.map(|n| self.filled(n));
        let Self { fd, bufs, .. } = self;
        (fd.explain(result), bufs)
    }

    fn abandon(mut self, result: io::Result<u32>, _flags: u32, orphaned: bool) {
        if self.offset == CURRENT {
            let n = result.map_or(0, |n| self.filled(n));
            let mut received = Vec::with_capacity(n);
            for buf in &self.bufs {
                let bytes = bytes(buf);
                received.extend_from_slice(&bytes[..bytes.len().min(n - received.len())]);
            }
            self.fd.abandon_read(self.tenant, &received, orphaned, self.taken);
        }
    }
}

impl<B: BufMut, F: AnyFd> Readv<B, F> {
    /// Takes note of how much was read.
    fn filled(&mut self, n: u32) -> usize {
        let n = (n as usize).min(asked(&self.bufs, Buf::capacity));
        // SAFETY: (I1) the kernel, or `scatter`, has filled the buffers in order with this many bytes.
        unsafe { scatter_written(&mut self.bufs, n) };
        n
    }
}

/// Reads from a descriptor into several buffers, one after the other.
///
/// As [`read`](super::read), for a vector of buffers: each is filled up to its capacity before the next one begins,
/// and each `Vec` has the length of what came into it. Up to eight buffers cost no allocation; of more than 1024 the
/// first 1024 take part.
///
/// # Kernel
///
/// `IORING_OP_READV`, Linux 5.1. If all of the buffers are parts of the same [registered memory](super::FixedBuf), it is
/// `IORING_OP_READV_FIXED` from Linux 6.15 on. One entry, one completion; at most 2 147 479 552 bytes.
///
/// # Errors
///
/// What `preadv(2)` returns; `ECANCELED` when it was cancelled. The buffers come back with the error, unchanged in
/// length.
///
/// # Cancel safety
///
/// As [`read`](super::read): dropped in flight, what it had read at the current position is what the next read gets.
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
/// ops::writev(writer, vec!["head", "body"]).await.0?;
/// let (n, bufs) = ops::readv(reader, vec![Vec::with_capacity(4), Vec::with_capacity(9)]).await;
/// assert_eq!((n?, &bufs[0][..], &bufs[1][..]), (8, &b"head"[..], &b"body"[..]));
/// # Ok(())
/// # })
/// # }
/// ```
pub fn readv<F: IntoFd, B: BufMut>(fd: F, bufs: Vec<B>) -> Op<Readv<B, F::Fd>> {
    let iovecs = IoVecs::with_room(bufs.len());
    let tenant = Default::default();
    Op::new(Readv { fd: fd.into_fd(), bufs, iovecs, offset: CURRENT, tenant, taken: None })
}

impl<B: BufMut, F: AnyFd> Op<Readv<B, F>> {
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

/// The request of [`writev`].
#[derive(Debug)]
pub struct Writev<B, F: AnyFd = Fd> {
    fd: F,
    bufs: Vec<B>,
    iovecs: IoVecs,
    offset: u64,
}

// SAFETY: (I1) as for `Readv`; the kernel only reads.
unsafe impl<B: Buf, F: AnyFd> Request for Writev<B, F> {
    type Output = (io::Result<usize>, Vec<B>);

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        let answer = Prepared::AnswerShort(-libc::EBADF);
        Poll::Ready(if self.fd.is_elsewhere() { answer } else { Prepared::Submit })
    }

    fn sqe(&mut self) -> Sqe {
        let parts = self.bufs.iter().map(|buf| (buf.stable_ptr().cast_mut(), buf.init_len()));
        let (iovecs, count) = self.iovecs.set(parts);
        let number = self.fd.number();
        self.fd.address(match common_slot(&self.bufs, Buf::init_len, opcode::WritevFixed::CODE) {
            None => opcode::Writev::new(number, iovecs, count).offset(self.offset).build(),
            Some(slot) => opcode::WritevFixed::new(number, iovecs, count, slot).offset(self.offset).build(),
        })
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> Self::Output {
        let Self { fd, bufs, .. } = self;
        (fd.explain(result.map(|n| n as usize)), bufs)
    }
}

/// Writes several buffers to a descriptor, one after the other.
///
/// As [`write`](super::write), for a vector of buffers: resolves to how many bytes of all of them, in order, were
/// written. Up to eight buffers cost no allocation; of more than 1024 the first 1024 are written.
///
/// # Kernel
///
/// `IORING_OP_WRITEV`, Linux 5.1; `IORING_OP_WRITEV_FIXED` as for [`readv`]. One entry, one completion; at most
/// 2 147 479 552 bytes.
///
/// # Errors
///
/// What `pwritev(2)` returns; `ECANCELED` when it was cancelled. The buffers come back with the error.
///
/// # Cancel safety
///
/// As [`write`](super::write): dropped in flight, some of the bytes may have been written.
///
/// # Examples
///
/// See [`readv`].
pub fn writev<F: IntoFd, B: Buf>(fd: F, bufs: Vec<B>) -> Op<Writev<B, F::Fd>> {
    let iovecs = IoVecs::with_room(bufs.len());
    Op::new(Writev { fd: fd.into_fd(), bufs, iovecs, offset: CURRENT })
}

impl<B: Buf, F: AnyFd> Op<Writev<B, F>> {
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
