//! Receiving from a socket.
//!
//! Knows: `IORING_OP_RECV`, `MSG_*`, the salvage of its descriptor. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::task::{Context, Poll, ready};

use io_uring::opcode;

use super::buf::{BufMut, bytes, clamp, fill};
use super::fd::salvage::{Place, Take};
use super::fd::{AnyFd, Fd, IntoFd};
use super::op::Op;
use super::received::poll_received;
use super::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// Flags whose data is not in the order of the stream: it neither comes from an earlier receive nor goes to a later
/// one.
pub(super) const ASIDE: i32 = libc::MSG_OOB | libc::MSG_ERRQUEUE;

/// The request of [`recv`].
#[derive(Debug)]
pub struct Recv<B, F: AnyFd = Fd> {
    fd: F,
    buf: B,
    flags: i32,
    /// The file that was there when it began.
    tenant: F::Tenant,
    /// Where the bytes stood that an earlier receive had left.
    taken: Option<Place>,
}

// SAFETY: (I1) the entry points into the buffer, which the request owns and which stays where it is as `BufMut`
// promises; the descriptor is held.
unsafe impl<B: BufMut, F: AnyFd> Request for Recv<B, F> {
    type Output = (io::Result<usize>, B);

    const REPEATABLE: bool = true;

    #[inline]
    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        if self.fd.is_elsewhere() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        self.tenant = self.fd.tenant();
        if !self.fd.left_behind().concerns_reads() || self.flags & ASIDE != 0 {
            return Poll::Ready(Prepared::Submit);
        }
        self.prepare_received(cx)
    }

    fn sqe(&mut self) -> Sqe {
        let len = clamp(self.buf.capacity());
        let start = self.buf.stable_mut_ptr();
        if self.flags & libc::MSG_TRUNC != 0 {
            // TCP then drops the bytes and answers how many: what it says is there must be initialised all the same.
            // SAFETY: (local) the buffer can be written up to its capacity.
            unsafe { start.write_bytes(0, len as usize) };
        }
        self.fd.address(opcode::Recv::new(self.fd.number(), start, len).flags(self.flags).build())
    }

    fn orphaned(&mut self) {
        if self.consumes() {
            self.fd.left_behind().read_orphaned();
        }
    }

    #[inline]
    fn finish(mut self, result: io::Result<u32>, _flags: u32) -> Self::Output {
        let result = result.map(|n| {
            self.filled(n);
            n as usize
        });
        let Self { fd, buf, .. } = self;
        (fd.explain(result), buf)
    }

    fn abandon(mut self, result: io::Result<u32>, _flags: u32, orphaned: bool) {
        if !self.consumes() {
            return;
        }
        let mut n = result.map_or(0, |n| self.filled(n));
        if self.flags & libc::MSG_TRUNC != 0 && !self.fd.keeps_boundaries() {
            n = 0; // a stream's bytes, dropped as was asked for
        }
        self.fd.abandon_read(self.tenant, &bytes(&self.buf)[..n], orphaned, self.taken);
    }
}

impl<B: BufMut, F: AnyFd> Recv<B, F> {
    #[cold]
    fn prepare_received(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        let asked = clamp(self.buf.capacity()) as usize;
        let take = if self.flags & libc::MSG_PEEK != 0 { Take::Peek } else { Take::Consume };
        let Some((place, bytes)) = ready!(poll_received(&self.fd, cx, take, asked)) else {
            return Poll::Ready(Prepared::Submit);
        };
        let n = fill(&mut self.buf, &bytes);
        self.taken = Some(place);
        // A short receive breaks no chain, unless it was to wait for everything.
        let short = n < asked && self.flags & libc::MSG_WAITALL != 0;
        Poll::Ready(if short { Prepared::AnswerShort(n as i32) } else { Prepared::Answer(n as i32) })
    }

    /// Whether what it receives is gone from the socket, and was next in its order.
    fn consumes(&self) -> bool {
        self.flags & (libc::MSG_PEEK | ASIDE) == 0
    }

    /// Takes note of how much was received. With `MSG_TRUNC` a datagram may be longer than the buffer.
    fn filled(&mut self, n: u32) -> usize {
        let n = (n as usize).min(self.buf.capacity());
        // SAFETY: (I1) the kernel, `fill` or the zeros of `sqe` have initialised this many bytes from the start.
        unsafe { self.buf.set_filled(n) };
        n
    }
}

/// Receives from a socket into a buffer.
///
/// Fills the buffer from its start, up to its capacity, and resolves to how many bytes came and the buffer; a `Vec`
/// has that length then. `Ok(0)` on a stream is its end, or a buffer without room, for which it waits until bytes are
/// there and takes none. Of a datagram longer than the buffer the rest is lost.
///
/// # Kernel
///
/// `IORING_OP_RECV`, Linux 5.6. One entry, one completion; at most 2 147 479 552 bytes.
///
/// # Errors
///
/// What `recv(2)` returns; `ECANCELED` when it was cancelled. The buffer comes back with the error, unchanged in
/// length.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled. What it had received all the same waits on the descriptor, and is what the next
/// receive or read on it gets; that one first waits for the end of this one, so that no byte overtakes another.
/// Datagrams stay whole; an empty one is not kept. Two receives in flight at once on one stream have no order between
/// them, dropped or not.
///
/// # Examples
///
/// ```
/// use std::os::unix::net::UnixStream;
/// use millstream::ops;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let (a, b) = UnixStream::pair()?;
/// ops::send_all(a, "flour").await.0?;
/// let (n, buf) = ops::recv(b, Vec::with_capacity(64)).await;
/// assert_eq!((n?, &buf[..]), (5, &b"flour"[..]));
/// # Ok(())
/// # })
/// # }
/// ```
pub fn recv<F: IntoFd, B: BufMut>(fd: F, buf: B) -> Op<Recv<B, F::Fd>> {
    Op::new(Recv { fd: fd.into_fd(), buf, flags: 0, tenant: Default::default(), taken: None })
}

impl<B: BufMut, F: AnyFd> Op<Recv<B, F>> {
    /// `MSG_*`. With `MSG_WAITALL` it resolves when the buffer is full, at the end of the stream, and with what a
    /// dropped receive had left. With `MSG_TRUNC` the count may be larger than the buffer.
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    pub fn flags(mut self, flags: i32) -> Self {
        self.request_mut().flags = flags;
        self
    }
}
