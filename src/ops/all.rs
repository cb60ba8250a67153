//! Writing and sending everything, however often the kernel takes only a part.
//!
//! Knows: `write`, `send`, `send_zc`, slices of buffers. Does not know: entries, nodes.

use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::buf::{Buf, BufExt, PoolBuf, Slice};
use super::fd::{AnyFd, Fd, FixedFd, IntoFd};
use super::op::Op;
use super::read::{CURRENT, position};
use super::send::{Send, send};
use super::send_zc::{REST_FLAGS, SendZc, send_rest};
use super::write::{Write, write};
use crate::operation::Operation;

/// Ops one after the other, each for what the ones before have left of a buffer: [`send_all`], [`send_all_zc`] and [`write_all`].
#[must_use = "an op does nothing until it is awaited"]
pub struct All<B: Buf, O: Operation<Output = (io::Result<usize>, Slice<B>)> + Unpin, F: AnyFd = Fd> {
    state: State<B, O>,
    fd: F,
    options: Options,
    /// Another op, for what is behind this many bytes.
    make: fn(F, &Options, Slice<B>, usize) -> O,
    done: usize,
    cancelled: bool,
}

/// The future of [`send_all`].
pub type SendAll<B, F = Fd> = All<B, Op<Send<Slice<B>, F>>, F>;

/// The future of [`send_all_zc`].
pub type SendAllZc<B, F = Fd> = All<B, SendZc<Slice<B>, F>, F>;

/// The future of [`write_all`].
pub type WriteAll<B, F = Fd> = All<B, Op<Write<Slice<B>, F>>, F>;

#[derive(Clone, Copy, Debug)]
struct Options {
    flags: i32,
    /// Where a write begins; `CURRENT` if it was not said.
    offset: u64,
}

// What is sent is mostly a few words, and so is this, which moves into the task that awaits it: up to here without a call.
const _: () = assert!(size_of::<SendAll<PoolBuf, FixedFd>>() <= 128);

enum State<B, O> {
    /// The first op is there from the beginning: mostly it is the only one, and moves straight into its node.
    Busy(O),
    /// There is nothing to do.
    Empty(B),
    Finished,
}

impl<B: Buf, O: Operation<Output = (io::Result<usize>, Slice<B>)> + Unpin, F: AnyFd> All<B, O, F> {
    #[inline]
    fn new(fd: F, buf: B, make: fn(F, &Options, Slice<B>, usize) -> O) -> Self {
        let options = Options { flags: 0, offset: CURRENT };
        let state = if buf.init_len() == 0 {
            State::Empty(buf)
        } else {
            State::Busy(make(fd.clone(), &options, buf.slice(..), 0))
        };
        Self { state, fd, options, make, done: 0, cancelled: false }
    }

    /// How many bytes have gone so far: exact once it has resolved, and after it was asked to stop.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Sets options on the first op, and for those after it.
    fn option(mut self, set: impl FnOnce(&mut Options), apply: impl FnOnce(O) -> O) -> Self {
        self.state = match mem::replace(&mut self.state, State::Finished) {
            State::Busy(op) => State::Busy(apply(op)),
            State::Empty(buf) => State::Empty(buf),
            State::Finished => panic!("an op's options are set before it is first polled"),
        };
        set(&mut self.options);
        self
    }

    /// An op has ended, and that is not the end.
    #[cold]
    fn go_on(
        &mut self,
        cx: &mut Context<'_>,
        mut result: io::Result<usize>,
        mut rest: Slice<B>,
    ) -> Poll<(io::Result<usize>, B)> {
        loop {
            self.state = State::Finished;
            let buf = rest.into_inner();
            match result {
                Ok(0) => return Poll::Ready((Err(io::ErrorKind::WriteZero.into()), buf)),
                Ok(n) => self.done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready((Err(error), buf)),
            }
            if self.done >= buf.init_len() {
                return Poll::Ready((Ok(self.done), buf));
            }
            if self.cancelled {
                return Poll::Ready((Err(io::Error::from_raw_os_error(libc::ECANCELED)), buf));
            }
            let mut op = (self.make)(self.fd.clone(), &self.options, buf.slice(self.done..), self.done);
            let Poll::Ready(ended) = Pin::new(&mut op).poll(cx) else {
                self.state = State::Busy(op);
                return Poll::Pending;
            };
            (result, rest) = ended;
        }
    }
}

impl<B: Buf, O: Operation<Output = (io::Result<usize>, Slice<B>)> + Unpin, F: AnyFd> Unpin for All<B, O, F> {}

impl<B: Buf, O: Operation<Output = (io::Result<usize>, Slice<B>)> + Unpin, F: AnyFd> Future for All<B, O, F> {
    type Output = (io::Result<usize>, B);

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let State::Busy(op) = &mut this.state {
            let (result, rest) = ready!(Pin::new(op).poll(cx));
            return match result {
                Ok(n) if n > 0 && n == rest.init_len() => {
                    this.state = State::Finished;
                    this.done += n;
                    Poll::Ready((Ok(this.done), rest.into_inner()))
                }
                result => this.go_on(cx, result, rest),
            };
        }
        match mem::replace(&mut this.state, State::Finished) {
            State::Empty(buf) => Poll::Ready((Ok(0), buf)),
            _ => panic!("an op was polled after it had resolved"),
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
#[inline]
pub fn send_all<F: IntoFd, B: Buf>(fd: F, buf: B) -> SendAll<B, F::Fd> {
    All::new(fd.into_fd(), buf, |fd, options, rest, _| send(fd, rest).flags(options.flags))
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
    All::new(fd.into_fd(), buf, |fd, options, rest, _| send_rest(fd, rest, options.flags))
}

impl<B: Buf, F: AnyFd> SendAllZc<B, F> {
    /// `MSG_*`, for each of the sends.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn flags(self, flags: i32) -> Self {
        self.option(|options| options.flags = flags, |op| op.flags(flags | REST_FLAGS))
    }
}

impl<B: Buf, F: AnyFd> SendAll<B, F> {
    /// `MSG_*`, for each of the sends.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn flags(self, flags: i32) -> Self {
        self.option(|options| options.flags = flags, |op| op.flags(flags))
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
#[inline]
pub fn write_all<F: IntoFd, B: Buf>(fd: F, buf: B) -> WriteAll<B, F::Fd> {
    All::new(fd.into_fd(), buf, |fd, options, rest, done| match options.offset {
        CURRENT => write(fd, rest),
        offset => write(fd, rest).at(offset.saturating_add(done as u64)),
    })
}

impl<B: Buf, F: AnyFd> WriteAll<B, F> {
    /// Writes at `offset` in the file, and leaves its position alone.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn at(self, offset: u64) -> Self {
        self.option(|options| options.offset = position(offset), |op| op.at(offset))
    }
}
