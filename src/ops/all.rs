//! Writing and sending everything, however often the kernel takes only a part.
//!
//! Knows: `write`, `send`, `send_zc`, slices of buffers. Does not know: entries, nodes.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::buf::{Buf, BufExt, Slice};
use super::fd::{AnyFd, Fd, IntoFd};
use super::op::Op;
use super::send::{Send, send};
use super::send_zc::{SendZc, send_rest};
use super::write::{Write, write};
use crate::operation::Operation;

/// Ops one after the other, each for what the ones before have left of a buffer: [`send_all`], [`send_all_zc`] and [`write_all`].
#[must_use = "an op does nothing until it is awaited"]
pub struct All<B: Buf, O: Operation<Output = (io::Result<usize>, Slice<B>)> + Unpin, F: AnyFd = Fd> {
    fd: F,
    options: Options,
    make: fn(F, &Options, Slice<B>) -> O,
    state: State<B, O>,
    done: usize,
    cancelled: bool,
}

/// The future of [`send_all`].
pub type SendAll<B, F = Fd> = All<B, Op<Send<Slice<B>, F>>, F>;

/// The future of [`send_all_zc`].
pub type SendAllZc<B, F = Fd> = All<B, SendZc<Slice<B>, F>, F>;

/// The future of [`write_all`].
pub type WriteAll<B, F = Fd> = All<B, Op<Write<Slice<B>, F>>, F>;

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    flags: i32,
    offset: Option<u64>,
    done: usize,
}

enum State<B, O> {
    Idle(B),
    Busy(O),
    Finished,
}

impl<B: Buf, O: Operation<Output = (io::Result<usize>, Slice<B>)> + Unpin, F: AnyFd> All<B, O, F> {
    /// How many bytes have gone so far: exact once it has resolved, and after it was asked to stop.
    pub fn done(&self) -> usize {
        self.done
    }

    fn options(&mut self) -> &mut Options {
        assert!(matches!(self.state, State::Idle(_)), "an op's options are set before it is first polled");
        &mut self.options
    }
}

impl<B: Buf, O: Operation<Output = (io::Result<usize>, Slice<B>)> + Unpin, F: AnyFd> Unpin for All<B, O, F> {}

impl<B: Buf, O: Operation<Output = (io::Result<usize>, Slice<B>)> + Unpin, F: AnyFd> Future for All<B, O, F> {
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
            this.state = State::Busy((this.make)(this.fd.clone(), &this.options, buf.slice(this.done..)));
        }
    }
}

impl<B: Buf, O: Operation<Output = (io::Result<usize>, Slice<B>)> + Unpin, F: AnyFd> Operation
    for All<B, O, F>
{
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

impl<B: Buf, O: Operation<Output = (io::Result<usize>, Slice<B>)> + Unpin, F: AnyFd> fmt::Debug
    for All<B, O, F>
{
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
pub fn send_all<F: IntoFd, B: Buf>(fd: F, buf: B) -> SendAll<B, F::Fd> {
    All {
        fd: fd.into_fd(),
        options: Options::default(),
        make: |fd, options, rest| send(fd, rest).flags(options.flags),
        state: State::Idle(buf),
        done: 0,
        cancelled: false,
    }
}

/// Sends a whole buffer on a connected socket, without a copy.
///
/// As [`send_all`], by [`send_zc`](super::send_zc): resolves to the length of the buffer and the buffer, when the kernel has
/// let go of it. To have the buffer go elsewhere, use `send_zc` with `MSG_WAITALL` and a destination, and look at the count.
///
/// # Kernel
///
/// [`send_zc`](super::send_zc) with `MSG_WAITALL` until everything is sent: mostly once, because the kernel itself goes on
/// after a short send.
///
/// # Errors
///
/// As [`send_zc`](super::send_zc); what was sent before the error is told by [`done`](All::done), to be asked of a future
/// that was awaited by `&mut`. `ECANCELED` when it was asked to stop before the end.
///
/// # Cancel safety
///
/// Dropped, some of the bytes may have been sent; the buffer stays with the runtime until the kernel has let go of it. Asked
/// to stop and awaited, `done` tells how many.
///
/// # Examples
///
/// ```
/// use std::io::Read;
/// use std::net::{TcpListener, TcpStream};
/// use millstream::ops::{self, IntoResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let socket = TcpStream::connect(listener.local_addr()?)?;
/// let (mut peer, _) = listener.accept()?;
/// let reader = std::thread::spawn(move || peer.read_to_end(&mut Vec::new()));
/// let (n, _buf) = ops::send_all_zc(socket, vec![7_u8; 1 << 20]).await.into_result()?;
/// assert_eq!(n, 1 << 20);
/// assert_eq!(reader.join().unwrap()?, 1 << 20);
/// # Ok(())
/// # })
/// # }
/// ```
pub fn send_all_zc<F: IntoFd, B: Buf>(fd: F, buf: B) -> SendAllZc<B, F::Fd> {
    All {
        fd: fd.into_fd(),
        options: Options::default(),
        make: |fd, options, rest| send_rest(fd, rest, options.flags),
        state: State::Idle(buf),
        done: 0,
        cancelled: false,
    }
}

impl<B: Buf, F: AnyFd> SendAllZc<B, F> {
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

impl<B: Buf, F: AnyFd> SendAll<B, F> {
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
pub fn write_all<F: IntoFd, B: Buf>(fd: F, buf: B) -> WriteAll<B, F::Fd> {
    All {
        fd: fd.into_fd(),
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

impl<B: Buf, F: AnyFd> WriteAll<B, F> {
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
