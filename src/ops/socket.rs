//! Making sockets, and shutting them down.
//!
//! Knows: `IORING_OP_SOCKET`, `IORING_OP_SHUTDOWN`. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::io;
use std::net;
use std::task::{Context, Poll};

use io_uring::opcode;

use super::adopt::adopt;
use super::fd::{AnyFd, Fd, IntoFd};
use super::op::Op;
use super::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of [`socket`].
#[derive(Debug)]
pub struct Socket {
    domain: i32,
    kind: i32,
    protocol: i32,
}

// SAFETY: (I1) the entry has no pointers and no descriptor.
unsafe impl Request for Socket {
    type Output = io::Result<Fd>;

    const REPEATABLE: bool = true;

    fn sqe(&mut self) -> Sqe {
        opcode::Socket::new(self.domain, self.kind | libc::SOCK_CLOEXEC, self.protocol).build().into()
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<Fd> {
        adopt(result).map(Fd::from)
    }

    fn abandon(self, result: io::Result<u32>, _flags: u32, _orphaned: bool) {
        drop(adopt(result));
    }
}

/// Makes a socket: `AF_*`, `SOCK_*`, and a protocol, mostly 0. Always with `SOCK_CLOEXEC`.
///
/// # Kernel
///
/// `IORING_OP_SOCKET`, Linux 5.19. One entry, one completion.
///
/// # Errors
///
/// What `socket(2)` returns; `ECANCELED` when it was cancelled.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled; a socket that was made all the same is closed.
///
/// # Examples
///
/// ```
/// use std::net::SocketAddr;
/// use millstream::ops;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let listener = ops::socket(libc::AF_INET, libc::SOCK_STREAM, 0).await?;
/// ops::bind(&listener, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
/// ops::listen(&listener, 128).await?;
/// let client = ops::socket(libc::AF_INET, libc::SOCK_STREAM, 0).await?;
/// ops::connect(&client, listener.local_addr()?).await?;
/// let server = ops::accept(&listener).await?;
/// assert_eq!(server.peer_addr()?, client.local_addr()?);
/// ops::shutdown(&client, std::net::Shutdown::Write).await?;
/// assert_eq!(ops::recv(&server, [0; 1]).await.0?, 0);
/// # Ok(())
/// # })
/// # }
/// ```
pub fn socket(domain: i32, kind: i32, protocol: i32) -> Op<Socket> {
    Op::new(Socket { domain, kind, protocol })
}

/// The request of [`shutdown`].
#[derive(Debug)]
pub struct Shutdown<F: AnyFd = Fd> {
    fd: F,
    how: i32,
}

// SAFETY: (I1) the entry has no pointers; the descriptor is held.
unsafe impl<F: AnyFd> Request for Shutdown<F> {
    type Output = io::Result<()>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, _cx: &mut Context<'_>) -> Poll<Prepared> {
        let answer = Prepared::AnswerShort(-libc::EBADF);
        Poll::Ready(if self.fd.is_elsewhere() { answer } else { Prepared::Submit })
    }

    fn sqe(&mut self) -> Sqe {
        self.fd.address(opcode::Shutdown::new(self.fd.number(), self.how).build())
    }

    fn finish(self, result: io::Result<u32>, _flags: u32) -> io::Result<()> {
        self.fd.explain(result.map(drop))
    }
}

/// Ends one direction of a connection, or both.
///
/// The other side sees the end of the stream. Receives in flight here end with 0 bytes when reading is shut down.
///
/// # Kernel
///
/// `IORING_OP_SHUTDOWN`, Linux 5.11. One entry, one completion; it always runs on a worker thread of the kernel.
///
/// # Errors
///
/// What `shutdown(2)` returns; `ECANCELED` when it was cancelled.
///
/// # Cancel safety
///
/// Nothing can be lost.
///
/// # Examples
///
/// See [`socket`].
pub fn shutdown<F: IntoFd>(fd: F, how: net::Shutdown) -> Op<Shutdown<F::Fd>> {
    let how = match how {
        net::Shutdown::Read => libc::SHUT_RD,
        net::Shutdown::Write => libc::SHUT_WR,
        net::Shutdown::Both => libc::SHUT_RDWR,
    };
    Op::new(Shutdown { fd: fd.into_fd(), how })
}
