//! The request of a zero-copy send, with its two completions.
//!
//! Knows: `IORING_OP_SEND_ZC` and its notification, messages. Does not know: who awaits it, nodes, rings.
//!
//! ```text
//!              result, more to come             notification
//!   in flight ──────────────────────▶ settled ──────────────▶ ended
//!       │                                                       ▲
//!       └─ result, and nothing to come: copied, or refused ─────┘
//! ```
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::fmt;
use std::io;
use std::task::{Context, Poll};

use io_uring::cqueue;

use super::Usage;
use super::delivery::Delivery;
use crate::ops::fd::AnyFd;
use crate::ops::features::{self, Feature, may_be_lacking};
use crate::ops::message::Message;
use crate::ops::request::{More, Prepared, Request};
use crate::runtime::context;
use crate::runtime::driver::Sqe;

/// `IORING_SEND_ZC_REPORT_USAGE`, Linux 6.2.
const REPORT_USAGE: u16 = 1 << 3;
/// `IORING_NOTIF_USAGE_ZC_COPIED`.
const COPIED: u32 = 1 << 31;

/// How the kernel is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To send from where the bytes are.
    ZeroCopy,
    /// As above, with a word about whether it did; to be asked once more without it if the kernel is too old.
    Reporting,
    /// To copy them first.
    Copying,
}

/// What may be the reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// The socket takes nothing without a copy.
    Socket,
    /// The kernel makes no reports.
    Report,
}

/// The request of every zero-copy send.
pub struct SendingZc<M: Message, F: AnyFd, D: Delivery<M::Buf>> {
    /// `None` once the bytes are sent: the kernel does not need the descriptor to let go of the buffer, and whoever closes it
    /// must not wait for that.
    fd: Option<F>,
    /// `None` only once it was taken out.
    parcel: Option<(M, D)>,
    way: Way,
    /// Why it was refused before, perhaps: it shows when this way works.
    doubt: Option<Doubt>,
    /// What the first completion said: how much, or an errno.
    answer: Option<Result<u32, i32>>,
}

/// What became of a [`SendingZc`] of which the kernel has let go.
#[derive(Debug)]
pub enum Ended<O, R> {
    /// Its outcome.
    Over(O),
    /// It was refused, and this is the next way to try.
    Refused(R, io::Error),
}

// SAFETY: (I1) the entry points where the message's does, which the request owns; the descriptor is held until the first
// completion, by which the kernel has resolved it for the last time.
unsafe impl<M: Message, F: AnyFd, D: Delivery<M::Buf>> Request for SendingZc<M, F, D> {
    type Output = Ended<D::Output, Self>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        let Some(fd) = &self.fd else { return Poll::Ready(Prepared::Submit) };
        if fd.is_elsewhere() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        if self.way == Way::Reporting && !Feature::UsageReport.may_be_there() {
            self.way = Way::ZeroCopy;
        }
        if self.way != Way::Copying && (fd.refuses_zero_copy() || !knows(M::ZERO_COPY)) {
            self.way = Way::Copying;
        }
        Poll::Ready(Prepared::Submit)
    }

    fn sqe(&mut self) -> Sqe {
        let (Some(fd), Some((message, _))) = (&self.fd, &mut self.parcel) else {
            unreachable!("a request has both until it is submitted")
        };
        let number = fd.number();
        if self.way != Way::Copying {
            features::makes_notification();
        }
        match self.way {
            Way::Copying => fd.address(message.copying(number)),
            Way::ZeroCopy => fd.address(message.zero_copy(number, 0)),
            Way::Reporting => {
                let entry = fd.address(message.zero_copy(number, REPORT_USAGE));
                Feature::UsageReport.entry(entry)
            }
        }
    }

    fn more(&mut self, result: io::Result<u32>, _flags: u32, _orphaned: bool) -> More {
        if result.is_ok() {
            // No foreign code: the last hold on a descriptor leaves nobody who could wait at it.
            self.fd = None;
        }
        self.answer = Some(result.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)));
        More::Settled { wake: D::AT_ONCE }
    }

    fn finish(mut self, result: io::Result<u32>, flags: u32) -> Self::Output {
        let mut usage = if self.way == Way::Copying { Usage::Fallback } else { Usage::Unknown };
        let sent = if cqueue::notif(flags) {
            if self.way == Way::Reporting {
                let copied = result.is_ok_and(|report| report & COPIED != 0);
                usage = if copied { Usage::Copied } else { Usage::ZeroCopy };
            }
            // The kernel's order is result, then notification. Were it ever another, the count would be lost, and nothing else.
            self.answer.unwrap_or(Err(libc::EIO)).map_err(io::Error::from_raw_os_error)
        } else {
            result
        };
        match sent {
            Err(error) => match self.next_way(&error) {
                Some(next) => Ended::Refused(next, error),
                None => Ended::Over(self.conclude(Err(error), usage)),
            },
            sent => Ended::Over(self.conclude(sent, usage)),
        }
    }
}

impl<M: Message, F: AnyFd, D: Delivery<M::Buf>> SendingZc<M, F, D> {
    pub(super) fn new(fd: F, message: M, delivery: D) -> Self {
        let way = if D::REPORTS { Way::Reporting } else { Way::ZeroCopy };
        Self { fd: Some(fd), parcel: Some((message, delivery)), way, doubt: None, answer: None }
    }

    /// The same message, for another delivery.
    pub(super) fn redirected<E: Delivery<M::Buf>>(mut self, make: impl FnOnce(D) -> E) -> SendingZc<M, F, E> {
        let (message, delivery) = self.parcel.take().unwrap_or_else(|| unreachable!("it was not sent yet"));
        let fd = self.fd.take().unwrap_or_else(|| unreachable!("it was not sent yet"));
        SendingZc::new(fd, message, make(delivery))
    }

    pub(super) fn message(&mut self) -> &mut M {
        match &mut self.parcel {
            Some((message, _)) => message,
            None => unreachable!("a request has its message until it ends"),
        }
    }

    /// Sends with a copy, whatever the kernel and the socket can. Where a drain is before it, or on it: the kernel makes the
    /// notification when it takes the entry, and the drain then waits for that as well, which is to say for ever (6.18).
    pub(super) fn copy(&mut self) {
        self.way = Way::Copying;
    }

    /// What was sent, once that is known. `last`: also when there is another way to try.
    pub(super) fn answer(&self, last: bool) -> Option<io::Result<usize>> {
        match self.answer? {
            Ok(sent) => Some(Ok(sent as usize)),
            Err(errno) if last || self.way_after(errno).is_none() => {
                Some(Err(io::Error::from_raw_os_error(errno)))
            }
            Err(_) => None,
        }
    }

    /// Whether the first completion has come.
    pub(super) fn is_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// How to ask after a refusal.
    fn way_after(&self, errno: i32) -> Option<Way> {
        match (self.way, errno) {
            (Way::Copying, _) => None,
            (Way::Reporting, libc::EINVAL) => Some(Way::ZeroCopy),
            // The socket cannot; or this user may not have the kernel hold so much memory.
            (_, libc::EOPNOTSUPP | libc::ENOMEM) => Some(Way::Copying),
            _ => None,
        }
    }

    /// The request as it is to be tried next, if what is left of this one was refused.
    fn next_way(&mut self, error: &io::Error) -> Option<Self> {
        let errno = if may_be_lacking(error) { libc::EINVAL } else { error.raw_os_error()? };
        let way = self.way_after(errno)?;
        let doubt = match errno {
            libc::EOPNOTSUPP => Some(Doubt::Socket),
            libc::EINVAL => Some(Doubt::Report),
            _ => None,
        };
        Some(Self { fd: self.fd.take(), parcel: self.parcel.take(), way, doubt, answer: None })
    }

    /// The outcome.
    pub(super) fn conclude(mut self, sent: io::Result<u32>, usage: Usage) -> D::Output {
        let sent = sent.map(|sent| sent as usize);
        match (self.doubt, &self.fd) {
            (Some(Doubt::Report), _) if sent.is_ok() => Feature::UsageReport.is_missing(),
            (Some(Doubt::Socket), Some(fd)) if sent.is_ok() => fd.note_zero_copy_refused(),
            _ => {}
        }
        let sent = match &self.fd {
            Some(fd) => fd.explain(sent),
            None => sent,
        };
        match self.parcel.take() {
            Some((message, delivery)) => delivery.outcome(sent, usage, message.into_buf()),
            None => unreachable!("a request has its message until it ends"),
        }
    }
}

impl<M: Message, F: AnyFd, D: Delivery<M::Buf>> Drop for SendingZc<M, F, D> {
    /// Whoever was to await it is gone, and so is the kernel, or it never came: the buffer goes where it was to go.
    fn drop(&mut self) {
        if let Some((message, delivery)) = self.parcel.take() {
            delivery.unawaited(message.into_buf());
        }
    }
}

impl<M: Message, F: AnyFd, D: Delivery<M::Buf>> fmt::Debug for SendingZc<M, F, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fd, way, answer, .. } = self;
        f.debug_struct("SendingZc")
            .field("fd", fd)
            .field("way", way)
            .field("answer", answer)
            .finish_non_exhaustive()
    }
}

/// Whether this runtime's kernel has the opcode, or so it is to seem.
fn knows((opcode, feature): (u8, Feature)) -> bool {
    !feature.is_hidden() && context::with(|core| core.is_none_or(|core| core.inflight.supports(opcode)))
}
