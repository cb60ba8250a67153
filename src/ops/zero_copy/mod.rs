//! Sends from where the bytes are: the result comes when they are sent, the buffer when the kernel has let go of it.
//!
//! Knows: the request behind it, operations. Does not know: channels, tasks, entries.

mod delivery;
mod request;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pub use delivery::{Back, Delivery, Recycle, Reported, To};
pub use request::SendingZc;

use super::chain::{Chain, EntryFlags, Link, RingOperation};
use super::fd::{AnyFd, Fd};
use super::message::Message;
use super::op::Op;
use crate::operation::Operation;
use request::Ended;

/// What the kernel did with the bytes of a zero-copy send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Usage {
    /// It sent them from where they were.
    ZeroCopy,
    /// It copied them on the way, wholly or in part: to a socket on this machine, or because the device needed it.
    Copied,
    /// An ordinary send was made instead, because the kernel, the socket or the limit on locked memory allows no other.
    Fallback,
    /// It does not say: it is older than 6.2, or nothing was sent.
    Unknown,
}

/// A send without a copy, as a future: [`send_zc`](super::send_zc), [`send_to_zc`](super::send_to_zc),
/// [`sendmsg_zc`](super::sendmsg_zc).
///
/// The kernel completes such a send twice: once to say how much it has sent, and once, when the peer has acknowledged the
/// bytes or the connection is gone, to say that it will not look at the buffer any more. Until then the buffer belongs to
/// the runtime. Where it goes then, and so what is awaited, is chosen before the first poll:
///
/// | | resolves | to | the buffer |
/// |---|---|---|---|
/// | as it is | with the notification | `(io::Result<usize>, B)` | comes back |
/// | [`.report_usage()`](Self::report_usage) | with the notification | `(io::Result<(usize, Usage)>, B)` | comes back |
/// | [`.will_push(tx)`](Self::will_push) | when the bytes are sent | `io::Result<usize>` | goes into a channel |
/// | [`.will_spawn(f)`](Self::will_spawn) | when the bytes are sent | `io::Result<usize>` | goes to a task |
/// | [`.recycle(r)`](Self::recycle) | when the bytes are sent | `io::Result<usize>` | goes to anything that is [`Recycle`] |
///
/// # Kernel
///
/// Where it is refused, an ordinary send is made instead, once, with the same outcome: by a kernel that lacks the opcode, by
/// a socket that cannot (`EOPNOTSUPP`, as of unix sockets; remembered on an [`Fd`]), by the limit on locked memory
/// (`ENOMEM`). Not in a chain, which is broken by then; there only what is known beforehand counts: the kernel, and what
/// the `Fd` is.
///
/// # Cancel safety
///
/// Dropped before it was started, in flight or between the two completions, it leaves the buffer with the runtime until the
/// kernel has let go of it; then it goes to its destination, or is dropped. Before the first completion some or all of the
/// bytes may have been sent, and nobody learns how many. After it there is nothing left to stop: losing a race then takes no
/// time. But to *await* the buffer takes as long as the peer does; a deadline on that is kept only as well as the peer keeps
/// it. Where a peer may be slow, give the buffer a destination.
///
/// # Panics
///
/// As an [`Op`].
#[must_use = "an op does nothing until it is awaited"]
pub struct ZeroCopy<M: Message, F: AnyFd = Fd, D: Delivery<M::Buf> = Back> {
    op: Op<SendingZc<M, F, D>>,
    flags: EntryFlags,
    /// What comes first counts: it was asked to stop, or it is part of a chain.
    last: bool,
}

impl<M: Message, F: AnyFd> ZeroCopy<M, F> {
    pub(super) fn new(fd: F, message: M) -> Self {
        Self::of(SendingZc::new(fd, message, Back), EntryFlags::default())
    }

    /// Says with the result what the kernel did with the bytes.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn report_usage(self) -> ZeroCopy<M, F, Reported> {
        self.redirected(Reported)
    }

    /// Resolves when the bytes are sent; `recycler` gets the buffer when the kernel has let go of it.
    ///
    /// It gets it exactly once, whatever becomes of the send and of this future: at the notification; if that has come before
    /// this future has resolved, then when it resolves or is dropped.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn recycle<T: Recycle<M::Buf>>(self, recycler: T) -> ZeroCopy<M, F, To<T>> {
        self.redirected(To(recycler))
    }

    fn redirected<D: Delivery<M::Buf>>(self, delivery: D) -> ZeroCopy<M, F, D> {
        ZeroCopy::of(self.op.into_request().redirected(|Back| delivery), self.flags)
    }
}

impl<M: Message, F: AnyFd, D: Delivery<M::Buf>> ZeroCopy<M, F, D> {
    fn of(mut request: SendingZc<M, F, D>, flags: EntryFlags) -> Self {
        if flags.drains() {
            request.copy();
        }
        let mut op = Op::new(request);
        Pin::new(&mut op).add_flags(flags);
        Self { op, flags, last: false }
    }

    /// `MSG_*`. With `MSG_WAITALL` a short send goes on until everything is sent.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn flags(mut self, flags: i32) -> Self {
        self.message().set_flags(flags);
        self
    }

    pub(super) fn message(&mut self) -> &mut M {
        self.op.request_mut().message()
    }

    /// The outcome, if it is to be had before the notification and has come.
    fn at_once(&mut self) -> Option<D::Output> {
        if !D::AT_ONCE {
            return None;
        }
        let last = self.last;
        let sent = self.op.with_request(|request| request.answer(last))??;
        // Once the notification is there too, it ends as any other.
        if self.op.let_go() { D::at_once(sent) } else { None }
    }
}

impl<M: Message, F: AnyFd, D: Delivery<M::Buf>> Future for ZeroCopy<M, F, D> {
    type Output = D::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<D::Output> {
        let this = &mut *self;
        loop {
            if let Some(outcome) = this.at_once() {
                return Poll::Ready(outcome);
            }
            match ready!(Pin::new(&mut this.op).poll(cx)) {
                Ended::Over(outcome) => return Poll::Ready(outcome),
                Ended::Refused(next, error) if this.last => {
                    return Poll::Ready(next.conclude(Err(error), Usage::Unknown));
                }
                Ended::Refused(next, _) => *this = Self::of(next, this.flags),
            }
        }
    }
}

impl<M: Message, F: AnyFd, D: Delivery<M::Buf>> Operation for ZeroCopy<M, F, D> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        self.last = true;
        Pin::new(&mut self.op).request_cancel();
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.op).poll_discard(cx)
    }

    /// In flight, its outcome may be there before the op has ended.
    fn may_resolve(&self) -> bool {
        self.op.may_resolve() || D::AT_ONCE && !self.op.is_inert()
    }

    fn is_inert(&self) -> bool {
        self.op.is_inert()
    }
}

impl<M: Message, F: AnyFd, D: Delivery<M::Buf>> RingOperation for ZeroCopy<M, F, D> {
    fn entries(&self) -> usize {
        self.op.entries()
    }

    fn poll_prepare(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.op).poll_prepare(cx)
    }

    fn stage(mut self: Pin<&mut Self>, chain: &mut Chain<'_>, tail: Option<Link>) {
        self.last = true;
        Pin::new(&mut self.op).stage(chain, tail);
    }

    fn poll_ended(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if D::AT_ONCE && self.op.with_request(|request| request.is_answered()) == Some(true) {
            return Poll::Ready(());
        }
        Pin::new(&mut self.op).poll_ended(cx)
    }

    fn refuse(mut self: Pin<&mut Self>, error: &dyn Fn() -> io::Error) {
        self.last = true;
        Pin::new(&mut self.op).refuse(error);
    }

    fn add_flags(mut self: Pin<&mut Self>, flags: EntryFlags) {
        self.flags = self.flags.with(flags);
        Pin::new(&mut self.op).add_flags(flags);
        if flags.drains()
            && let Some(request) = self.op.request_if_built()
        {
            request.copy();
        }
    }

    fn drains(self: Pin<&mut Self>) -> bool {
        self.flags.drains()
    }
}

impl<M: Message, F: AnyFd, D: Delivery<M::Buf>> fmt::Debug for ZeroCopy<M, F, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ZeroCopy").field(&self.op).finish()
    }
}
