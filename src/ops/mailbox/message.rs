//! Sending a number to a mailbox.
//!
//! Knows: `IORING_OP_MSG_RING` with data. Does not know: nodes, who receives.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use io_uring::{opcode, types};

use super::MailAddress;
use super::shared::{Content, Credit, Shared};
use crate::ops::op::Op;
use crate::ops::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`message`].
#[derive(Debug)]
pub struct SendMessage {
    to: Arc<Shared>,
    number: u64,
    credit: Option<Credit>,
}

// SAFETY: (I1) the entry has no pointers; the credit holds the descriptor of the ring.
unsafe impl Request for SendMessage {
    type Output = io::Result<()>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        if self.credit.is_none() {
            self.credit = ready!(self.to.poll_credit(cx));
        }
        let Some(credit) = &self.credit else { return Poll::Ready(Prepared::AnswerShort(-libc::EPIPE)) };
        credit.fill(Content::Number(self.number));
        if !self.to.is_here() {
            return Poll::Ready(Prepared::Submit);
        }
        self.credit.take().into_iter().for_each(Credit::deliver);
        Poll::Ready(Prepared::Answer(0))
    }

    fn sqe(&mut self) -> Sqe {
        let (ring, user_data) =
            self.credit.as_ref().map_or((-1, 0), |credit| (credit.ring.as_raw_fd(), credit.user_data()));
        opcode::MsgRingData::new(types::Fd(ring), 0, user_data, None).build().into()
    }

    fn finish(mut self, result: io::Result<u32>, _flags: u32) -> io::Result<()> {
        result.map_err(gone)?;
        self.credit.take().into_iter().for_each(Credit::sent);
        Ok(())
    }

    fn abandon(self, result: io::Result<u32>, _flags: u32, _orphaned: bool) {
        let _nobody_asks = self.finish(result, 0);
    }
}

/// Says what it means that the receiver's ring could not be posted to.
pub(super) fn gone(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EPIPE | libc::EBADFD | libc::EOWNERDEAD) => {
            io::Error::new(io::ErrorKind::BrokenPipe, "the mailbox, or the runtime it is on, is gone")
        }
        _ => error,
    }
}

/// Sends a number to a [`Mailbox`](super::Mailbox), on whichever runtime that is.
///
/// Ends when the kernel has put it among the receiver's completions. While the mailbox is full it waits for room.
///
/// # Kernel
///
/// `IORING_OP_MSG_RING`, Linux 5.18. One entry, one completion here and one there. To a mailbox of this runtime it goes without
/// the kernel.
///
/// # Errors
///
/// `BrokenPipe` when the mailbox or its runtime is gone; `ECANCELED` when it was cancelled, and then it was not sent.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; it was sent, or not, and nobody learns which.
///
/// # Examples
///
/// See [`Mailbox`](super::Mailbox).
pub fn message(to: &MailAddress, number: u64) -> Op<SendMessage> {
    Op::new(SendMessage { to: Arc::clone(&to.0), number, credit: None })
}
