//! Accepting connections.
//!
//! Knows: `IORING_OP_ACCEPT`, the salvage of its descriptor. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::any::Any;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::task::{Context, Poll, ready};

use io_uring::opcode;

use super::adopt::adopt;
use super::direct::{can_install, install_entry};
use super::fd::salvage::{Connection, Place};
use super::fd::{Fd, FixedFd, Hold};
use super::op::Op;
use super::request::{Prepared, Request};
use crate::runtime::context;
use crate::runtime::driver::Sqe;

/// The request of [`accept`].
#[derive(Debug)]
pub struct Accept {
    fd: Fd,
    /// A connection that an earlier accept had left, and where it stood.
    taken: Option<(Place, OwnedFd)>,
    /// One that it had left in a slot: the entry makes a descriptor for it.
    found: Option<(Place, FixedFd)>,
    /// A connection that one beside it has left, while this one was in flight.
    offered: Option<Left>,
}

/// A connection that nobody awaits, and where it stood, if it had been left before.
pub(super) type Left = (Option<Place>, OwnedFd);

/// A connection that an accept on `listener` has left.
pub(super) struct Gift {
    listener: Fd,
    left: Option<Left>,
}

impl Gift {
    /// The connection, if it came from this listener.
    pub(super) fn take(&mut self, listener: &Fd) -> Option<Left> {
        self.left.take_if(|_| ptr::eq(self.listener.salvage(), listener.salvage()))
    }
}

/// Gives a connection that nobody awaits to an accept in flight on the same listener, else leaves it there. `orphaned`
/// if the accept that had got it was told so.
pub(super) fn leave(listener: Fd, left: Option<Left>, orphaned: bool) {
    let mut gift = Gift { listener, left };
    if gift.left.is_some() {
        context::with(|core| core.is_some_and(|core| core.inflight.offer(&mut gift)));
    }
    let (place, connection) = gift.left.unzip();
    gift.listener.salvage().accept_abandoned(connection, orphaned, place.flatten());
}

// SAFETY: (I1) the entry has no pointers; the descriptor is held.
unsafe impl Request for Accept {
    type Output = io::Result<Fd>;

    #[inline]
    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        if !self.fd.salvage().concerns_accepts() {
            return Poll::Ready(Prepared::Submit);
        }
        if self.found.is_some() {
            return Poll::Ready(Prepared::Submit); // there was no room in the queue
        }
        let usable = |connection: &Connection| match connection {
            Connection::Fd(_) => true,
            Connection::Direct(slot) => !slot.is_elsewhere() && can_install(),
        };
        Poll::Ready(match ready!(self.fd.salvage().poll_connection(cx, usable)) {
            Some((place, Connection::Fd(connection))) => {
                let answer = Prepared::Answer(connection.as_raw_fd());
                self.taken = Some((place, connection));
                answer
            }
            Some((place, Connection::Direct(slot))) => {
                self.found = Some((place, slot));
                Prepared::Submit
            }
            None => Prepared::Submit,
        })
    }

    fn sqe(&mut self) -> Sqe {
        if let Some((_, slot)) = &self.found {
            return install_entry(slot);
        }
        opcode::Accept::new(self.fd.entry(), ptr::null_mut(), ptr::null_mut())
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .into()
    }

    fn orphaned(&mut self) {
        self.fd.salvage().accept_orphaned();
    }

    fn offer(&mut self, gift: &mut dyn Any) -> bool {
        if self.offered.is_none() {
            self.offered = gift.downcast_mut::<Gift>().and_then(|gift| gift.take(&self.fd));
            return self.offered.is_some();
        }
        false
    }

    fn finish(mut self, result: io::Result<u32>, _flags: u32) -> io::Result<Fd> {
        self.leave_slot(&result);
        if let Some((_, connection)) = self.taken {
            return Ok(connection.into()); // `result` is its number
        }
        if let Some((_, connection)) = self.offered {
            // It may have accepted another before it could be stopped.
            if let Ok(own) = adopt(result) {
                leave(self.fd, Some((None, own)), false);
            }
            return Ok(connection.into());
        }
        match result {
            // Cancelled while it was in flight beside an older one that was dropped and left a connection.
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => {
                self.fd.salvage().take_connection().map(Fd::from).ok_or(error)
            }
            result => adopt(result).map(Fd::from),
        }
    }

    fn abandon(mut self, result: io::Result<u32>, _flags: u32, orphaned: bool) {
        self.leave_slot(&result);
        let own = match self.taken {
            Some((place, connection)) => Some((Some(place), connection)),
            None => adopt(result).ok().map(|connection| (None, connection)),
        };
        if self.offered.is_some() {
            leave(self.fd.clone(), self.offered, false);
        }
        leave(self.fd, own, orphaned);
    }
}

impl Accept {
    /// The connection in a slot, if there was one, stays where it was unless it has a descriptor now.
    fn leave_slot(&mut self, result: &io::Result<u32>) {
        if let Some((place, slot)) = self.found.take()
            && result.is_err()
        {
            self.fd.salvage().accept_abandoned(Some(Connection::Direct(slot)), false, Some(place));
        }
    }
}

/// Accepts a connection on a listening socket.
///
/// Resolves to the connection, always with `SOCK_CLOEXEC`. Its peer's address: [`Fd::peer_addr`].
///
/// # Kernel
///
/// `IORING_OP_ACCEPT`, Linux 5.5. One entry, one completion.
///
/// # Errors
///
/// What `accept4(2)` returns. At the limit of open files that is `EMFILE`, and the connection waits in the backlog.
/// `ECANCELED` when it was cancelled.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled. A connection that it had accepted all the same waits on the listening
/// descriptor, and is what the next accept on it gets; that one first waits for the end of this one. An accept that was
/// in flight on it at the same time gets it at once, if this runtime runs it; another runtime's waits for the next
/// client. (One with something linked behind it is stopped for that as by a cancel, and what is behind it does not run.)
/// The connection is closed only when the descriptor is.
///
/// # Examples
///
/// ```
/// use millstream::ops;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = millstream::Runtime::new()?;
/// # runtime.block_on(async {
/// let listener = ops::listen_tcp("127.0.0.1:0")?;
/// let client = ops::connect_tcp(listener.local_addr()?).await?;
/// let server = ops::accept(&listener).await?;
/// assert_eq!(server.peer_addr()?, client.local_addr()?);
/// # Ok(())
/// # })
/// # }
/// ```
pub fn accept(fd: impl Into<Fd>) -> Op<Accept> {
    Op::new(Accept { fd: fd.into(), taken: None, found: None, offered: None })
}
