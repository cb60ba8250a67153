//! The zero-copy sends.
//!
//! Knows: which message each of them sends. Does not know: how a zero-copy send goes on.

use super::address::Address;
use super::buf::{Buf, Slice};
use super::control::Control;
use super::fd::{AnyFd, Fd, IntoFd};
use super::message::{Addressed, Several, Single};
use super::zero_copy::{Back, Delivery, ZeroCopy};

/// The future of [`send_zc`].
pub type SendZc<B, F = Fd, D = Back> = ZeroCopy<Single<B>, F, D>;

/// The future of [`send_to_zc`].
pub type SendToZc<B, F = Fd, D = Back> = ZeroCopy<Addressed<B>, F, D>;

/// The future of [`sendmsg_zc`].
pub type SendMsgZc<B, F = Fd, D = Back> = ZeroCopy<Several<B>, F, D>;

/// Sends a buffer on a connected socket, without a copy.
///
/// As [`send`](super::send), but the kernel sends from the buffer itself, and needs it until the peer has acknowledged the
/// bytes. Awaited as it is, it resolves only then. [`ZeroCopy`] says what else can be done with the buffer. It pays for large
/// buffers on a network device that can gather; on the loopback device it costs more than it saves, for there the kernel
/// copies after all.
///
/// # Kernel
///
/// `IORING_OP_SEND_ZC`, Linux 6.0; before, and where it is refused, [`send`](super::send). One entry, two completions; one
/// when it fails early. At most 2 147 479 552 bytes.
///
/// # Errors
///
/// What `send(2)` returns; `ECANCELED` when it was cancelled. The buffer goes where it goes without an error.
///
/// # Cancel safety
///
/// That of [`ZeroCopy`]: the buffer stays with the runtime until the kernel has let go of it.
///
/// # Examples
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use millstream::channel;
/// use millstream::ops::{self, Fd, IntoResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let socket = Fd::from(TcpStream::connect(listener.local_addr()?)?);
/// let (peer, _) = listener.accept()?;
///
/// // The buffer comes back when the kernel has let go of it.
/// let (n, buf) = ops::send_zc(&socket, vec![7_u8; 4096]).await.into_result()?;
/// assert_eq!((n, buf.len()), (4096, 4096));
///
/// // Or the count comes now, and the buffer through a channel: a pool that fills itself again.
/// let (recycle, buffers) = channel::bounded(4);
/// let n = ops::send_zc(&socket, buf).will_push(recycle).await?;
/// assert_eq!(n, 4096);
/// let buf = buffers.pop().await?;
/// assert_eq!(buf.len(), 4096);
/// # drop(peer);
/// # Ok(())
/// # })
/// # }
/// ```
pub fn send_zc<F: IntoFd, B: Buf>(fd: F, buf: B) -> SendZc<B, F::Fd> {
    ZeroCopy::new(fd.into_fd(), Single::new(buf))
}

/// Sends a buffer to an address, without a copy.
///
/// As [`send_zc`], for a socket that is not connected, such as a datagram socket.
///
/// # Kernel
///
/// `IORING_OP_SEND_ZC`, Linux 6.0; before, and where it is refused, [`send_to`](super::send_to). One entry, two completions;
/// one when it fails early.
///
/// # Errors
///
/// What `sendto(2)` returns; `ECANCELED` when it was cancelled.
///
/// # Cancel safety
///
/// That of [`ZeroCopy`]: the buffer stays with the runtime until the kernel has let go of it.
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
/// let to = b.local_addr()?;
/// let (a, b) = (Fd::from(a), Fd::from(b));
/// ops::send_to_zc(&a, "grain", to).await.into_result()?;
/// let ((n, from), buf) = ops::recv_from(&b, Vec::with_capacity(64)).await.into_result()?;
/// assert_eq!((n, &buf[..], from.to_socket_addr()?), (5, &b"grain"[..], a.local_addr()?));
/// # Ok(())
/// # })
/// # }
/// ```
pub fn send_to_zc<F: IntoFd, B: Buf>(fd: F, buf: B, to: impl Into<Address>) -> SendToZc<B, F::Fd> {
    ZeroCopy::new(fd.into_fd(), Addressed::new(buf, to.into()))
}

/// Sends several buffers as one message, without a copy.
///
/// As [`sendmsg`](super::sendmsg) and [`send_zc`]: the buffers go where they go all together, when the kernel has let go of
/// the last of them.
///
/// # Kernel
///
/// `IORING_OP_SENDMSG_ZC`, Linux 6.1; before, and where it is refused, [`sendmsg`](super::sendmsg). One entry, two
/// completions; one when it fails early. At most 1024 buffers and 2 147 479 552 bytes. If all of the buffers are parts of the
/// same [registered memory](super::FixedBuf) it is sent by slot, from Linux 6.15 on; before, as any other.
///
/// # Errors
///
/// What `sendmsg(2)` returns; `ECANCELED` when it was cancelled.
///
/// # Cancel safety
///
/// That of [`ZeroCopy`]: the buffers stay with the runtime until the kernel has let go of them.
///
/// # Examples
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use millstream::ops::{self, Fd, IntoResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let socket = Fd::from(TcpStream::connect(listener.local_addr()?)?);
/// let (n, bufs) = ops::sendmsg_zc(&socket, vec!["head", "body"]).await.into_result()?;
/// assert_eq!((n, bufs), (8, vec!["head", "body"]));
/// # Ok(())
/// # })
/// # }
/// ```
pub fn sendmsg_zc<F: IntoFd, B: Buf>(fd: F, bufs: Vec<B>) -> SendMsgZc<B, F::Fd> {
    ZeroCopy::new(fd.into_fd(), Several::new(bufs))
}

impl<B: Buf, F: AnyFd, D: Delivery<Vec<B>>> SendMsgZc<B, F, D> {
    /// Sends to this address, on a socket that is not connected.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn to(mut self, to: impl Into<Address>) -> Self {
        self.message().set_address(to.into());
        self
    }

    /// Sends control data with the message.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn control(mut self, control: Control) -> Self {
        self.message().set_control(control);
        self
    }
}

/// Of each of the sends of a whole buffer: the kernel itself goes on after a short one.
pub(super) const REST_FLAGS: i32 = libc::MSG_WAITALL;

/// A whole buffer is the work of several sends: see [`send_all_zc`](super::send_all_zc).
pub(super) fn send_rest<F: IntoFd, B: Buf>(fd: F, rest: Slice<B>, flags: i32) -> SendZc<Slice<B>, F::Fd> {
    send_zc(fd, rest).flags(flags | REST_FLAGS)
}
