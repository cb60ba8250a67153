//! TCP in one call: listening and connecting.
//!
//! Knows: std's resolver and listener, `connect`. Does not know: entries, nodes.
#![allow(unsafe_code, reason = "makes a socket that is not connected, which std does not offer")]

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{FromRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::connect::{Connect, connect};
use super::fd::Fd;
use super::op::Op;
use crate::operation::Operation;

/// A socket that listens at `address`, with `SO_REUSEADDR`, for [`accept`](super::accept).
///
/// It is there when this returns: nothing waits, except for a resolver if `address` names a host.
///
/// # Kernel
///
/// `socket(2)`, `bind(2)`, `listen(2)`.
///
/// # Errors
///
/// What these return; of several addresses, what the last one gave.
///
/// # Examples
///
/// See [`accept`](super::accept).
pub fn listen_tcp(address: impl ToSocketAddrs) -> io::Result<Fd> {
    TcpListener::bind(address).map(Fd::from)
}

/// Connects to `address` by TCP.
///
/// Resolves to the connection. Of several addresses each is tried in turn. A host's name is looked up when this is
/// called, and the thread waits for that: give a `SocketAddr` where this matters.
///
/// # Kernel
///
/// `socket(2)`, then [`connect`] for each address.
///
/// # Errors
///
/// What `socket(2)` and [`connect`] return for the last address; what the look-up returned; `InvalidInput` when it
/// found no address; `ECANCELED` when it was cancelled.
///
/// # Cancel safety
///
/// Dropped, the socket is closed.
///
/// # Examples
///
/// See [`accept`](super::accept).
pub fn connect_tcp(address: impl ToSocketAddrs) -> ConnectTcp {
    let (left, error) = match address.to_socket_addrs() {
        Ok(addresses) => (addresses.collect(), None),
        Err(error) => (Vec::new(), Some(error)),
    };
    ConnectTcp { left: left.into_iter(), error, current: None, cancelled: false, finished: false }
}

/// The future of [`connect_tcp`].
#[must_use = "an op does nothing until it is awaited"]
pub struct ConnectTcp {
    left: std::vec::IntoIter<SocketAddr>,
    /// What the last address gave, or the look-up.
    error: Option<io::Error>,
    current: Option<(Fd, Op<Connect>)>,
    cancelled: bool,
    finished: bool,
}

impl Future for ConnectTcp {
    type Output = io::Result<Fd>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Fd>> {
        assert!(!self.finished, "an op was polled after it had resolved");
        let result = ready!(self.poll_next(cx));
        self.finished = true;
        Poll::Ready(result)
    }
}

impl ConnectTcp {
    /// Goes from one address to the next, until one answers.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Fd>> {
        loop {
            if let Some((_, op)) = &mut self.current {
                let result = ready!(Pin::new(op).poll(cx));
                match (result, self.current.take()) {
                    (Ok(()), Some((fd, _))) => return Poll::Ready(Ok(fd)),
                    (result, _) => self.error = result.err(),
                }
            }
            if self.cancelled {
                return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ECANCELED)));
            }
            let Some(address) = self.left.next() else {
                let none = || io::Error::new(io::ErrorKind::InvalidInput, "no address to connect to");
                return Poll::Ready(Err(self.error.take().unwrap_or_else(none)));
            };
            match stream_socket(&address) {
                Ok(fd) => {
                    let op = connect(&fd, address);
                    self.current = Some((fd, op));
                }
                Err(error) => self.error = Some(error),
            }
        }
    }
}

impl Operation for ConnectTcp {
    fn request_cancel(mut self: Pin<&mut Self>) {
        self.cancelled = true;
        if let Some((_, op)) = &mut self.current {
            Pin::new(op).request_cancel();
        }
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((_, op)) = &mut self.current {
            ready!(Pin::new(op).poll_discard(cx));
        }
        self.current = None;
        self.finished = true;
        Poll::Ready(())
    }

    /// `false` before the first poll, as of any op.
    fn may_resolve(&self) -> bool {
        match &self.current {
            Some((_, op)) => op.may_resolve(),
            None => self.cancelled || self.left.as_slice().is_empty(),
        }
    }

    fn waits(&self) -> bool {
        self.current.as_ref().is_some_and(|(_, op)| op.waits())
    }
}

impl fmt::Debug for ConnectTcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectTcp").field("left", &self.left.as_slice()).finish_non_exhaustive()
    }
}

fn stream_socket(address: &SocketAddr) -> io::Result<Fd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: (local) no pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: (local) the descriptor was just made, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}
