//! Writing and sending everything, however often the kernel takes only a part.
//!
//! Knows: `write`, `send`, slices of buffers. Does not know: entries, nodes.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::buf::{Buf, BufExt, Slice};
use super::fd::Fd;
use super::op::Op;
use super::request::Request;
use super::send::{Send, send};
use super::write::{Write, write};
use crate::operation::Operation;

/// Ops one after the other, each for what the ones before have left of a buffer: [`send_all`] and [`write_all`].
#[must_use = "an op does nothing until it is awaited"]
pub struct All<B: Buf, R: Request<Output = (io::Result<usize>, Slice<B>)>> {
    fd: Fd,
    options: Options,
    make: fn(&Fd, &Options, Slice<B>) -> Op<R>,
    state: State<B, R>,
    done: usize,
    cancelled: bool,
}

/// The future of [`send_all`].
pub type SendAll<B> = All<B, Send<Slice<B>>>;

/// The future of [`write_all`].
pub type WriteAll<B> = All<B, Write<Slice<B>>>;

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    flags: i32,
    offset: Option<u64>,
    done: usize,
}

enum State<B, R: Request> {
    Idle(B),
    Busy(Op<R>),
    Finished,
}

impl<B: Buf, R: Request<Output = (io::Result<usize>, Slice<B>)>> All<B, R> {
    /// How many bytes have gone so far: exact once it has resolved, and after it was asked to stop.
    pub fn done(&self) -> usize {
        self.done
    }

    fn options(&mut self) -> &mut Options {
        assert!(matches!(self.state, State::Idle(_)), "an op's options are set before it is first polled");
        &mut self.options
    }
}

impl<B: Buf, R: Request<Output = (io::Result<usize>, Slice<B>)>> Unpin for All<B, R> {}

impl<B: Buf, R: Request<Output = (io::Result<usize>, Slice<B>)>> Future for All<B, R> {
    type Output = (io::Result<usize>, B);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let (result, buf) = match &mut this.state {
                State::Idle(_) => (Ok(None), None),
                State::Busy(op) => {
                    let (result, slice) = ready!(Pin::new(op).poll(cx));
                    (result.map(Some), Some(slice.into_inner()))
                }
                State::Finished => panic!("an op was polled after it had resolved"),
            };
            let buf = match (buf, std::mem::replace(&mut this.state, State::Finished)) {
                (Some(buf), _) | (None, State::Idle(buf)) => buf,
                (None, _) => unreachable!("only an op that was not started has given no buffer back"),
            };
            let failed = match result {
                Ok(Some(0)) => Some(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    this.done += n.unwrap_or(0);
                    None
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                Err(error) => Some(error),
            };
            if let Some(error) = failed {
                return Poll::Ready((Err(error), buf));
            }
            if this.done >= buf.init_len() {
                return Poll::Ready((Ok(this.done), buf));
            }
            if this.cancelled {
                return Poll::Ready((Err(io::Error::from_raw_os_error(libc::ECANCELED)), buf));
            }
            this.options.done = this.done;
            this.state = State::Busy((this.make)(&this.fd, &this.options, buf.slice(this.done..)));
        }
    }
}

impl<B: Buf, R: Request<Output = (io::Result<usize>, Slice<B>)>> Operation for All<B, R> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        self.cancelled = true;
        if let State::Busy(op) = &mut self.state {
            Pin::new(op).request_cancel();
        }
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let State::Busy(op) = &mut self.state {
            ready!(Pin::new(op).poll_discard(cx));
        }
        self.state = State::Finished;
        Poll::Ready(())
    }
}

impl<B: Buf, R: Request<Output = (io::Result<usize>, Slice<B>)>> fmt::Debug for All<B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("All").field("fd", &self.fd).field("done", &self.done).finish_non_exhaustive()
    }
}

/// Sends a whole buffer on a connected socket.
///
/// Resolves to the length of the buffer and the buffer, after as many sends as it takes. Other sends on the socket
/// meanwhile may come in between.
///
/// # Kernel
///
/// [`send`] until everything is sent: mostly once.
///
/// # Errors
///
/// As [`send`]; what was sent before the error is told by [`done`](All::done), to be asked of a future that was
/// awaited by `&mut`. `ECANCELED` when it was asked to stop before the end.
///
/// # Cancel safety
///
/// Dropped, some of the bytes may have been sent. Asked to stop and awaited, `done` tells how many.
///
/// # Examples
///
/// See [`recv`](super::recv).
pub fn send_all<B: Buf>(fd: impl Into<Fd>, buf: B) -> SendAll<B> {
    All {
        fd: fd.into(),
        options: Options::default(),
        make: |fd, options, rest| send(fd, rest).flags(options.flags),
        state: State::Idle(buf),
        done: 0,
        cancelled: false,
    }
}

impl<B: Buf> SendAll<B> {
    /// `MSG_*`, for each of the sends.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn flags(mut self, flags: i32) -> Self {
        self.options().flags = flags;
        self
    }
}

/// Writes a whole buffer to a descriptor.
///
/// Resolves to the length of the buffer and the buffer, after as many writes as it takes.
///
/// # Kernel
///
/// [`write()`] until everything is written: mostly once.
///
/// # Errors
///
/// As [`write()`]; `WriteZero` when the descriptor takes no more. What was written before the error is told by
/// [`done`](All::done), to be asked of a future that was awaited by `&mut`. `ECANCELED` when it was asked to stop
/// before the end.
///
/// # Cancel safety
///
/// Dropped, some of the bytes may have been written. Asked to stop and awaited, `done` tells how many.
///
/// # Examples
///
/// See [`fsync`](super::fsync).
pub fn write_all<B: Buf>(fd: impl Into<Fd>, buf: B) -> WriteAll<B> {
    All {
        fd: fd.into(),
        options: Options::default(),
        make: |fd, options, rest| match options.offset {
            Some(offset) => write(fd, rest).at(offset.saturating_add(options.done as u64)),
            None => write(fd, rest),
        },
        state: State::Idle(buf),
        done: 0,
        cancelled: false,
    }
}

impl<B: Buf> WriteAll<B> {
    /// Writes at `offset` in the file, and leaves its position alone.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn at(mut self, offset: u64) -> Self {
        self.options().offset = Some(offset);
        self
    }
}
