//! Sending a message: to an address, from several buffers, with control data.
//!
//! Knows: `IORING_OP_SENDMSG`. Does not know: how a message becomes an entry, nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::task::{Context, Poll};

use super::address::Address;
use super::buf::Buf;
use super::control::Control;
use super::fd::{AnyFd, Fd, IntoFd};
use super::message::{Addressed, Message, Several};
use super::op::Op;
use super::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`send_to`] and [`sendmsg`].
#[derive(Debug)]
pub struct SendMsg<M: Message, F: AnyFd = Fd> {
    fd: F,
    message: M,
}

// SAFETY: (I1) the entry points where the message's does, which the request owns; the descriptor is held.
unsafe impl<M: Message, F: AnyFd> Request for SendMsg<M, F> {
    type Output = (io::Result<usize>, M::Buf);

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        let answer = Prepared::AnswerShort(-libc::EBADF);
        Poll::Ready(if self.fd.is_elsewhere() { answer } else { Prepared::Submit })
    }

    fn sqe(&mut self) -> Sqe {
        let entry = self.message.copying(self.fd.number());
        self.fd.address(entry)
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> Self::Output {
        let Self { fd, message } = self;
        (fd.explain(result.map(|n| n as usize)), message.into_buf())
    }
}

impl<M: Message, F: AnyFd> Op<SendMsg<M, F>> {
    /// `MSG_*`.
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    pub fn flags(mut self, flags: i32) -> Self {
        self.request_mut().message.set_flags(flags);
        self
    }
}

/// Sends a buffer to an address.
///
/// As [`send`](super::send), for a socket that is not connected, such as a datagram socket. Resolves to how many bytes were
/// sent, all of them of a datagram, and the buffer.
///
/// # Kernel
///
/// `IORING_OP_SENDMSG`, Linux 5.3. One entry, one completion.
///
/// # Errors
///
/// What `sendto(2)` returns; `EMSGSIZE` of a datagram that is too long; `ECANCELED` when it was cancelled. The buffer comes
/// back with the error.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; the datagram may have been sent all the same.
///
/// # Examples
///
/// See [`recv_from`](super::recv_from).
pub fn send_to<F: IntoFd, B: Buf>(fd: F, buf: B, to: impl Into<Address>) -> Op<SendMsg<Addressed<B>, F::Fd>> {
    Op::new(SendMsg { fd: fd.into_fd(), message: Addressed::new(buf, to.into()) })
}

/// Sends several buffers as one message, with an address and control data if need be.
///
/// Resolves to how many bytes of all of them, in order, were sent, and the buffers. Up to eight buffers cost no allocation;
/// of more than 1024 the first 1024 are sent.
///
/// # Kernel
///
/// `IORING_OP_SENDMSG`, Linux 5.3. One entry, one completion; at most 2 147 479 552 bytes.
///
/// # Errors
///
/// What `sendmsg(2)` returns; `ECANCELED` when it was cancelled. The buffers come back with the error.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; the message may have been sent all the same, with the descriptors in it.
///
/// # Examples
///
/// See [`recvmsg`](super::recvmsg).
pub fn sendmsg<F: IntoFd, B: Buf>(fd: F, bufs: Vec<B>) -> Op<SendMsg<Several<B>, F::Fd>> {
    Op::new(SendMsg { fd: fd.into_fd(), message: Several::new(bufs) })
}

impl<B: Buf, F: AnyFd> Op<SendMsg<Several<B>, F>> {
    /// Sends to this address, on a socket that is not connected.
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    pub fn to(mut self, to: impl Into<Address>) -> Self {
        self.request_mut().message.set_address(to.into());
        self
    }

    /// Sends control data with the message. The descriptors in it stay open until it is sent.
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    pub fn control(mut self, control: Control) -> Self {
        self.request_mut().message.set_control(control);
        self
    }
}
