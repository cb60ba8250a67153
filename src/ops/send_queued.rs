//! Sending what stands in a queue of buffers, as much of it as there is, with one entry.
//!
//! Knows: `IORING_OP_SEND` with provided buffers and without, queues. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::fmt;
use std::io;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use io_uring::{opcode, types};

use super::buf::Buf;
use super::buf::queue::{BufQueue, Sending, SentRun, ToSend, Way};
use super::fd::{AnyFd, Fd, IntoFd};
use super::features::sends_bundles;
use super::op::Op;
use super::request::{More, Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`send_queued`].
#[derive(Debug)]
pub struct SendQueued<B: 'static, F: AnyFd = Fd> {
    fd: F,
    queue: Arc<Sending<B>>,
    flags: i32,
    stage: Stage,
    /// What was sent by completions that were not the last.
    sent: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It was lent nothing so far.
    Waits,
    /// Another send of the same chain was faster.
    Refused,
    /// It was lent what it is to send.
    Lent,
}

/// What [`send_queued`] has sent: an iterator over the buffers that are done, in order.
///
/// The buffer of which only a part was sent is not among them: it stays in the queue, at the front.
pub struct Sent<B: 'static> {
    run: SentRun<B>,
    bytes: usize,
}

impl<B> Sent<B> {
    /// How many bytes were sent, also if the send has failed after that: the bytes of these buffers and of those that were
    /// taken out already, and a part of the one that is in front of the queue now.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<B> Iterator for Sent<B> {
    type Item = B;

    fn next(&mut self) -> Option<B> {
        self.run.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.run.left(), Some(self.run.left()))
    }
}

impl<B> ExactSizeIterator for Sent<B> {}

impl<B> fmt::Debug for Sent<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").field("buffers", &self.len()).field("bytes", &self.bytes).finish()
    }
}

// SAFETY: (I1) the entry points into a buffer of the queue, or names the queue's group, in whose ring are buffers of the queue.
// They stay in their places until the request says that they were sent, which it does after its terminal completion; it holds
// the queue, and the descriptor.
unsafe impl<B: Buf, F: AnyFd> Request for SendQueued<B, F> {
    type Output = (io::Result<usize>, Sent<B>);

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        if self.fd.is_elsewhere() || self.queue.is_elsewhere() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        ready!(self.queue.poll_turn(cx));
        if self.queue.has_no_bytes() {
            if self.queue.lend_nothing().is_ok() {
                self.stage = Stage::Lent;
            }
            return Poll::Ready(Prepared::Answer(0));
        }
        if sends_bundles() {
            // Without a ring, for want of memory that may be locked, it is one buffer at a time.
            let _no_ring = self.queue.open_lane();
        }
        Poll::Ready(Prepared::Submit)
    }

    fn sqe(&mut self) -> Sqe {
        let Ok(way) = self.queue.lend() else {
            self.stage = Stage::Refused;
            return opcode::Send::new(types::Fd(-1), ptr::null(), 0).build().into();
        };
        self.stage = Stage::Lent;
        let number = self.fd.number();
        self.fd.address(match way {
            Way::Group(group) => opcode::SendBundle::new(number, group).flags(self.flags).build(),
            Way::Piece(start, len) => {
                opcode::Send::new(number, start, len).flags(self.flags | libc::MSG_WAITALL).build()
            }
            Way::Nothing => opcode::Send::new(number, ptr::null(), 0).flags(self.flags).build(),
        })
    }

    fn more(&mut self, result: io::Result<u32>, _flags: u32, _orphaned: bool) -> More {
        self.sent += result.map_or(0, |n| n as usize);
        More::Quiet
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> Self::Output {
        let bytes = self.sent + result.as_ref().map_or(0, |n| *n as usize);
        let run = match self.stage {
            Stage::Lent => self.queue.settle(bytes),
            Stage::Waits | Stage::Refused => self.queue.nothing(),
        };
        let result = match result {
            Ok(_) => Ok(bytes),
            Err(_) if self.stage == Stage::Refused => {
                let text = "two sends of one chain cannot send from the same queue of buffers";
                Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
            }
            Err(error) if error.raw_os_error() == Some(libc::EBADF) && self.queue.is_elsewhere() => {
                let text = "a queue of buffers can be used only on the runtime that it was made on";
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
            Err(error) => self.fd.explain(Err(error)),
        };
        (result, Sent { run, bytes })
    }

    fn abandon(self, result: io::Result<u32>, flags: u32, _orphaned: bool) {
        drop(self.finish(result, flags)); // and with it the buffers that were sent
    }
}

/// Sends what stands in a [`BufQueue`] on a connected socket: as many buffers as there are, in order, with one entry.
///
/// Resolves to how many bytes were sent, and the buffers that were sent to their end. What stood in the queue when the op was
/// started is sent, if the socket takes it all, as it does unless it fails or the op is stopped; then the rest stays in the
/// queue, in order, that of a buffer of which a part was sent included, and the next send goes on exactly there. Buffers
/// without a byte count as sent when they come to the front. With nothing to send it resolves at once, to 0.
///
/// One send of a queue is in flight at a time; a second waits for the first. For streams: several buffers make one message of a
/// socket that has messages.
///
/// # Kernel
///
/// `IORING_OP_SEND` with `IORING_RECVSEND_BUNDLE`, Linux 6.10: one entry, one completion for each 256 buffers. Before, one buffer
/// for each op, with `MSG_WAITALL`: ask again until the queue is empty.
///
/// # Errors
///
/// What `send(2)` returns; `ECANCELED` when it was cancelled before it had sent a byte; `InvalidInput` when the queue is another
/// runtime's; `ResourceBusy` for the second of two in one chain. What was sent before the error is told by [`Sent::bytes`].
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled. What it has sent all the same is known when it ends, which the next send of the queue
/// waits for: the rest stays, to the byte, and nothing is sent twice or left out. The buffers that it has sent are dropped.
///
/// # Examples
///
/// ```
/// use std::io::Read;
/// use std::os::unix::net::UnixStream;
/// use millstream::ops::{self, BufQueue, IntoResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (a, mut b) = UnixStream::pair()?;
/// let a = ops::Fd::from(a);
/// let queue = BufQueue::to_send(16)?;
/// for text in ["rye ", "wheat ", "barley"] {
///     queue.push(text)?;
/// }
/// let mut sent = Vec::new();
/// while !queue.is_empty() {
///     let (_, buffers) = ops::send_queued(&a, &queue).await.into_result()?; // mostly all at once
///     sent.extend(buffers);
/// }
/// assert_eq!(sent, ["rye ", "wheat ", "barley"]);
/// let mut all = [0; 16];
/// b.read_exact(&mut all)?;
/// assert_eq!(&all, b"rye wheat barley");
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias = "bundle")]
pub fn send_queued<F: IntoFd, B: Buf>(fd: F, queue: &BufQueue<B, ToSend>) -> Op<SendQueued<B, F::Fd>> {
    let queue = Arc::clone(queue.sending());
    Op::new(SendQueued { fd: fd.into_fd(), queue, flags: 0, stage: Stage::Waits, sent: 0 })
}

impl<B: Buf, F: AnyFd> Op<SendQueued<B, F>> {
    /// `MSG_*`.
    ///
    /// # Panics
    ///
    /// Once the op was polled.
    pub fn flags(mut self, flags: i32) -> Self {
        self.request_mut().flags = flags;
        self
    }
}
