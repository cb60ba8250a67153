//! Receiving a message: with the address of its sender, into several buffers, with control data.
//!
//! Knows: `IORING_OP_RECVMSG`, the salvage of its descriptor. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::mem;
use std::task::{Context, Poll, ready};

use io_uring::opcode;

use super::address::Address;
use super::buf::{Buf, BufMut, IoVecs, asked, bytes, clamp, fill, scatter, scatter_written};
use super::control::Control;
use super::fd::salvage::{Envelope, Place, Take};
use super::fd::{AnyFd, Fd, IntoFd};
use super::message::{Header, Part};
use super::op::Op;
use super::recv::ASIDE;
use super::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// What [`recvmsg`] brings beside the bytes in the buffers.
#[derive(Debug)]
#[non_exhaustive]
pub struct Received {
    /// How many bytes came into the buffers; with `MSG_TRUNC`, how many the datagram had.
    pub len: usize,
    /// Who sent it: of the family `AF_UNSPEC` where nobody says, as on a connected stream.
    pub from: Address,
    /// `MSG_*`: `MSG_TRUNC` when a datagram was longer than the buffers, `MSG_CTRUNC` when there was more control data than
    /// room for it.
    pub flags: i32,
    /// The control data. Descriptors that nobody takes out of it are closed with it.
    pub control: Control,
}

/// The buffers of a message that is received. Sealed: [`One`], [`Many`].
pub trait Parts: Gather {}

impl<G: Gather> Parts for G {}

/// How buffers are given to the kernel and taken back.
///
/// # Safety
///
/// The array that `set` returns, and what it points to, belong to `self` and stay valid and unmoved until that is moved,
/// changed or dropped; all of it may be written.
pub unsafe trait Gather: 'static {
    /// What the op resolves to.
    type Output;

    /// How many bytes there is room for.
    fn asked(&self) -> usize;

    /// The array of the parts.
    fn set(&mut self) -> (*const libc::iovec, u32);

    /// Writes zeros to all of it.
    fn zero(&mut self);

    /// Copies the front of `from` into the buffers, and says how many bytes.
    fn fill(&mut self, from: &[u8]) -> usize;

    /// Takes note that the first `n` bytes have been filled.
    ///
    /// # Safety
    ///
    /// They are initialised, and at most as many as were asked for.
    unsafe fn set_filled(&mut self, n: usize);

    /// A copy of the first `n` bytes.
    fn copy(&self, n: usize) -> Vec<u8>;

    /// The outcome.
    fn finish(self, received: io::Result<Received>) -> Self::Output;
}

/// One buffer.
#[derive(Debug)]
pub struct One<B> {
    buf: B,
    part: Part,
}

// SAFETY: (I1) the array lies inside and points into the buffer, which stays where it is as `BufMut` promises.
unsafe impl<B: BufMut> Gather for One<B> {
    type Output = (io::Result<(usize, Address)>, B);

    fn asked(&self) -> usize {
        clamp(self.buf.capacity()) as usize
    }

    fn set(&mut self) -> (*const libc::iovec, u32) {
        let len = clamp(self.buf.capacity());
        self.part.set(self.buf.stable_mut_ptr(), len)
    }

    fn zero(&mut self) {
        let len = self.buf.capacity();
        // SAFETY: (local) a buffer can be written up to its capacity.
        unsafe { self.buf.stable_mut_ptr().write_bytes(0, len) };
    }

    fn fill(&mut self, from: &[u8]) -> usize {
        fill(&mut self.buf, from)
    }

    unsafe fn set_filled(&mut self, n: usize) {
        // SAFETY: (local) the caller's promise.
        unsafe { self.buf.set_filled(n) };
    }

    fn copy(&self, n: usize) -> Vec<u8> {
        bytes(&self.buf)[..n].to_vec()
    }

    fn finish(self, received: io::Result<Received>) -> Self::Output {
        (received.map(|received| (received.len, received.from)), self.buf)
    }
}

/// Several buffers.
#[derive(Debug)]
pub struct Many<B> {
    bufs: Vec<B>,
    iovecs: IoVecs,
}

// SAFETY: (I1) the array lies inside or on the heap, and points into the buffers, which stay where they are as `BufMut`
// promises, for the vector is not changed.
unsafe impl<B: BufMut> Gather for Many<B> {
    type Output = (io::Result<Received>, Vec<B>);

    fn asked(&self) -> usize {
        asked(&self.bufs, Buf::capacity)
    }

    fn set(&mut self) -> (*const libc::iovec, u32) {
        self.iovecs.set(self.bufs.iter_mut().map(|buf| (buf.stable_mut_ptr(), buf.capacity())))
    }

    fn zero(&mut self) {
        for buf in &mut self.bufs {
            let len = buf.capacity();
            // SAFETY: (local) a buffer can be written up to its capacity.
            unsafe { buf.stable_mut_ptr().write_bytes(0, len) };
        }
    }

    fn fill(&mut self, from: &[u8]) -> usize {
        scatter(&mut self.bufs, from)
    }

    unsafe fn set_filled(&mut self, n: usize) {
        // SAFETY: (local) the caller's promise.
        unsafe { scatter_written(&mut self.bufs, n) };
    }

    fn copy(&self, n: usize) -> Vec<u8> {
        let mut copy = Vec::with_capacity(n);
        for buf in &self.bufs {
            let bytes = bytes(buf);
            copy.extend_from_slice(&bytes[..bytes.len().min(n - copy.len())]);
        }
        copy
    }

    fn finish(self, received: io::Result<Received>) -> Self::Output {
        (received, self.bufs)
    }
}

/// The request of [`recv_from`] and [`recvmsg`].
#[derive(Debug)]
pub struct RecvMsg<P: Parts, F: AnyFd = Fd> {
    fd: F,
    parts: P,
    flags: i32,
    header: Header,
    from: Address,
    /// Where the kernel writes control data. All of it is initialised: the kernel leaves gaps.
    control: Vec<u8>,
    /// The file that was there when it began.
    tenant: F::Tenant,
    /// Where the message stood that an earlier receive had left, and what came with it.
    taken: Option<(Place, Envelope)>,
}

// SAFETY: (I1) the entry points to the header, which lies in the request, as does the address it points to; the array of
// the parts and what it points to belong to the request as `Gather` promises, and the control data is on the heap, in a
// vector that is not changed. The descriptor is held.
unsafe impl<P: Parts, F: AnyFd> Request for RecvMsg<P, F> {
    type Output = P::Output;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        if self.fd.is_elsewhere() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        self.tenant = self.fd.tenant();
        if !self.fd.left_behind().concerns_reads() || self.flags & ASIDE != 0 {
            return Poll::Ready(Prepared::Submit);
        }
        let asked = self.parts.asked();
        let take = if self.flags & libc::MSG_PEEK != 0 { Take::Peek } else { Take::Consume };
        let keeps_boundaries = || self.fd.keeps_boundaries();
        let left = self.fd.left_behind().poll_message(cx, keeps_boundaries, take, asked);
        let Some((place, bytes, envelope)) = ready!(left) else {
            return Poll::Ready(Prepared::Submit);
        };
        let n = self.parts.fill(&bytes);
        self.taken = Some((place, envelope));
        // As with `recv`: a short one breaks no chain, unless it was to wait for everything.
        let short = n < asked && self.flags & libc::MSG_WAITALL != 0;
        Poll::Ready(if short { Prepared::AnswerShort(n as i32) } else { Prepared::Answer(n as i32) })
    }

    fn sqe(&mut self) -> Sqe {
        if self.flags & libc::MSG_TRUNC != 0 {
            // TCP then drops the bytes and answers how many: what it says is there must be initialised all the same.
            self.parts.zero();
        }
        let parts = self.parts.set();
        let header = self.header.receive(&mut self.from, parts, &mut self.control);
        // No descriptor that comes with the message may leak into a program that another thread starts meanwhile.
        let flags = self.flags | libc::MSG_CMSG_CLOEXEC;
        self.fd.address(opcode::RecvMsg::new(self.fd.number(), header).flags(flags as u32).build())
    }

    fn orphaned(&mut self) {
        if self.consumes() {
            self.fd.left_behind().read_orphaned();
        }
    }

    fn finish(mut self, result: io::Result<u32>, _flags: u32) -> Self::Output {
        let received = result.map(|n| {
            let (_, Envelope { from, flags, control }) = self.received(n);
            Received { len: n as usize, from, flags, control }
        });
        let Self { fd, parts, .. } = self;
        parts.finish(fd.explain(received))
    }

    fn abandon(mut self, result: io::Result<u32>, _flags: u32, orphaned: bool) {
        // Also of one that only looked: descriptors that came along are to be closed.
        let received = result.ok().map(|n| self.received(n));
        if !self.consumes() {
            return;
        }
        let place = self.taken.as_ref().map(|(place, _)| *place);
        let (n, envelope) = received.unzip();
        let mut n = n.unwrap_or(0);
        if self.flags & libc::MSG_TRUNC != 0 && !self.fd.keeps_boundaries() {
            n = 0; // a stream's bytes, dropped as was asked for
        }
        self.fd.abandon_message(self.tenant, &self.parts.copy(n), envelope, orphaned, place);
    }
}

impl<P: Parts, F: AnyFd> RecvMsg<P, F> {
    fn new(fd: F, parts: P) -> Self {
        Self {
            fd,
            parts,
            flags: 0,
            header: Header::new(),
            from: Address::unnamed(),
            control: Vec::new(),
            tenant: Default::default(),
            taken: None,
        }
    }

    /// Whether what it receives is gone from the socket, and was next in its order.
    fn consumes(&self) -> bool {
        self.flags & (libc::MSG_PEEK | ASIDE) == 0
    }

    /// Takes note of how much was received, and takes out what came with it. Once, and of a success.
    fn received(&mut self, n: u32) -> (usize, Envelope) {
        let n = (n as usize).min(self.parts.asked());
        // SAFETY: (I1) the kernel, `fill` or the zeros of `sqe` have initialised this many bytes.
        unsafe { self.parts.set_filled(n) };
        if let Some((_, envelope)) = &mut self.taken {
            return (n, mem::take(envelope));
        }
        self.from.set_len(self.header.address_len());
        let mut control = mem::take(&mut self.control);
        control.truncate(self.header.control_len());
        // SAFETY: (I1) the request has succeeded, so that the kernel has just written this; it is taken out here alone.
        let control = unsafe { Control::received(control) };
        (n, Envelope { from: self.from, flags: self.header.flags() & !libc::MSG_CMSG_CLOEXEC, control })
    }
}

/// Receives from a socket into a buffer, with the address of the sender.
///
/// As [`recv`](super::recv), and resolves to how many bytes came and from whom. The address has the family `AF_UNSPEC`
/// where nobody says, as on a connected stream, or of a unix socket that is not bound. Of a datagram longer than the buffer
/// the rest is lost.
///
/// # Kernel
///
/// `IORING_OP_RECVMSG`, Linux 5.3. One entry, one completion.
///
/// # Errors
///
/// What `recvfrom(2)` returns; `ECANCELED` when it was cancelled. The buffer comes back with the error, unchanged in length.
///
/// # Cancel safety
///
/// As [`recv`](super::recv): dropped in flight, what it had received all the same is what the next receive on the descriptor
/// gets, with the address.
///
/// # Examples
///
/// ```
/// use std::net::UdpSocket;
/// use millstream::ops::{self, Fd, IntoResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
/// let (a, b) = (Fd::from(a), Fd::from(b));
/// ops::send_to(&a, "what?", b.local_addr()?).await.into_result()?;
/// let ((n, from), buf) = ops::recv_from(&b, Vec::with_capacity(64)).await.into_result()?;
/// assert_eq!((n, &buf[..], from.to_socket_addr()?), (5, &b"what?"[..], a.local_addr()?));
/// ops::send_to(&b, "flour", from).await.into_result()?; // an answer
/// # Ok(())
/// # })
/// # }
/// ```
pub fn recv_from<F: IntoFd, B: BufMut>(fd: F, buf: B) -> Op<RecvMsg<One<B>, F::Fd>> {
    Op::new(RecvMsg::new(fd.into_fd(), One { buf, part: Part::new() }))
}

/// Receives a message into several buffers, with the address of its sender, its flags and its control data.
///
/// Each buffer is filled up to its capacity before the next one begins, and each `Vec` has the length of what came into it.
/// Up to eight buffers cost no allocation; of more than 1024 the first 1024 take part. Without
/// [`control_room`](Op::control_room) control data is cut off, and descriptors in it are closed.
///
/// # Kernel
///
/// `IORING_OP_RECVMSG`, Linux 5.3, always with `MSG_CMSG_CLOEXEC`. One entry, one completion; at most 2 147 479 552 bytes.
///
/// # Errors
///
/// What `recvmsg(2)` returns; `ECANCELED` when it was cancelled. The buffers come back with the error, unchanged in length.
///
/// # Cancel safety
///
/// As [`recv`](super::recv): dropped in flight, what it had received all the same is what the next receive on the descriptor
/// gets, with address and control data if that asks for them; else descriptors are closed.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use std::fs::File;
/// use std::os::unix::net::UnixStream;
/// use millstream::ops::{self, Control, Fd, IntoResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let (a, b) = UnixStream::pair()?;
/// let (mut reader, writer) = std::io::pipe()?;
/// // A descriptor goes with the message.
/// let mut control = Control::new();
/// control.push_fd(writer)?;
/// ops::sendmsg(a, vec!["the ", "pipe"]).control(control).await.into_result()?;
///
/// let room = Control::space_for_fds(1);
/// let received = ops::recvmsg(b, vec![Vec::with_capacity(64)]).control_room(room).await;
/// let (mut received, bufs) = received.into_result()?;
/// assert_eq!((received.len, &bufs[0][..]), (8, &b"the pipe"[..]));
/// let writer = received.control.take_fds().remove(0);
/// ops::write_all(&writer, "flour").await.0?;
/// # drop(writer);
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// assert_eq!(text, "flour");
/// # Ok(())
/// # })
/// # }
/// ```
pub fn recvmsg<F: IntoFd, B: BufMut>(fd: F, bufs: Vec<B>) -> Op<RecvMsg<Many<B>, F::Fd>> {
    let iovecs = IoVecs::with_room(bufs.len());
    Op::new(RecvMsg::new(fd.into_fd(), Many { bufs, iovecs }))
}

impl<P: Parts, F: AnyFd> Op<RecvMsg<P, F>> {
    /// `MSG_*`. With `MSG_TRUNC` the count may be larger than the buffers.
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    pub fn flags(mut self, flags: i32) -> Self {
        self.request_mut().flags = flags;
        self
    }
}

impl<B: BufMut, F: AnyFd> Op<RecvMsg<Many<B>, F>> {
    /// How many bytes of control data there is room for: the sum of what [`Control::space`] says for each message. Allocates.
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    pub fn control_room(mut self, bytes: usize) -> Self {
        self.request_mut().control = vec![0; bytes];
        self
    }
}
