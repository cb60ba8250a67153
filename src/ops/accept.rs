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
use super::fd::{AnyFd, Fd, FixedFd, Hold, IntoFd};
use super::op::Op;
use super::request::{Prepared, Request};
use crate::runtime::context;
use crate::runtime::driver::Sqe;

/// The request of [`accept`].
#[derive(Debug)]
pub struct Accept<F: AnyFd = Fd> {
    fd: F,
    /// The listener that was there when it began.
    tenant: F::Tenant,
    /// A connection that an earlier accept had left, and where it stood.
    taken: Option<(Place, OwnedFd)>,
    /// One that it had left in a slot: the entry makes a descriptor for it.
    found: Option<(Place, FixedFd)>,
    /// A connection that one beside it has left, while this one was in flight.
    offered: Option<Left<OwnedFd>>,
}

/// A connection that nobody awaits, and where it stood, if it had been left before.
pub(super) type Left<C = Connection> = (Option<Place>, C);

/// A connection that an accept on `listener` has left.
pub(super) struct Gift<F: AnyFd> {
    listener: F,
    tenant: F::Tenant,
    left: Option<Left>,
}

impl<F: AnyFd> Gift<F> {
    /// The connection, if it came from this listener and `wanted` can make something of it.
    pub(super) fn take<C>(
        &mut self,
        listener: &F,
        tenant: F::Tenant,
        wanted: impl FnOnce(Connection) -> Result<C, Connection>,
    ) -> Option<Left<C>> {
        let same = ptr::eq(self.listener.left_behind(), listener.left_behind()) && self.tenant == tenant;
        let (place, connection) = self.left.take_if(|_| same)?;
        match wanted(connection) {
            Ok(connection) => Some((place, connection)),
            Err(connection) => {
                self.left = Some((place, connection));
                None
            }
        }
    }
}

/// Gives a connection that nobody awaits to an accept in flight on the same listener, else leaves it there. `orphaned`
/// if the accept that had got it was told so.
pub(super) fn leave<F: AnyFd>(listener: &F, tenant: F::Tenant, left: Option<Left>, orphaned: bool) {
    let mut gift = Gift { listener: listener.clone(), tenant, left };
    if let Some((place, _)) = &mut gift.left {
        // It is left now, also if whoever is given it gives it back: what is left after it comes after it.
        place.get_or_insert_with(|| listener.left_behind().place_for_connection());
        context::with(|core| core.is_some_and(|core| core.inflight.offer(&mut gift)));
    }
    let (place, connection) = gift.left.unzip();
    listener.abandon_accept(tenant, connection, orphaned, place.flatten());
}

// SAFETY: (I1) the entry has no pointers; the descriptor is held.
unsafe impl<F: AnyFd> Request for Accept<F> {
    type Output = io::Result<Fd>;

    const REPEATABLE: bool = true;

    #[inline]
    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        if self.fd.is_elsewhere() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        self.tenant = self.fd.tenant();
        if !self.fd.left_behind().concerns_accepts() {
            return Poll::Ready(Prepared::Submit);
        }
        if self.found.is_some() {
            return Poll::Ready(Prepared::Submit); // there was no room in the queue
        }
        let usable = |connection: &Connection| match connection {
            Connection::Fd(_) => true,
            Connection::Direct(slot) => !slot.is_elsewhere() && can_install(),
        };
        Poll::Ready(match ready!(self.fd.left_behind().poll_connection(cx, usable)) {
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
        let entry = opcode::Accept::new(self.fd.number(), ptr::null_mut(), ptr::null_mut());
        self.fd.address(entry.flags(libc::SOCK_CLOEXEC).build())
    }

    fn orphaned(&mut self) {
        self.fd.left_behind().accept_orphaned();
    }

    fn offer(&mut self, gift: &mut dyn Any) -> bool {
        if self.offered.is_none() {
            let gift = gift.downcast_mut::<Gift<F>>();
            self.offered = gift.and_then(|gift| gift.take(&self.fd, self.tenant, Connection::into_fd));
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
                leave(&self.fd, self.tenant, Some((None, own.into())), false);
            }
            return Ok(connection.into());
        }
        match result {
            // Cancelled while it was in flight beside an older one that was dropped and left a connection.
            Err(error)
                if error.raw_os_error() == Some(libc::ECANCELED) && self.fd.tenant() == self.tenant =>
            {
                self.fd.left_behind().take_connection().map(Fd::from).ok_or(error)
            }
            result => self.fd.explain(adopt(result).map(Fd::from)),
        }
    }

    fn abandon(mut self, result: io::Result<u32>, _flags: u32, orphaned: bool) {
        self.leave_slot(&result);
        let own = match self.taken {
            Some((place, connection)) => Some((Some(place), connection.into())),
            None => adopt(result).ok().map(|connection| (None, connection.into())),
        };
        if let Some((place, connection)) = self.offered {
            leave(&self.fd, self.tenant, Some((place, connection.into())), false);
        }
        leave(&self.fd, self.tenant, own, orphaned);
    }
}

impl<F: AnyFd> Accept<F> {
    /// The connection in a slot, if there was one, stays where it was unless it has a descriptor now.
    fn leave_slot(&mut self, result: &io::Result<u32>) {
        if let Some((place, slot)) = self.found.take()
            && result.is_err()
        {
            leave(&self.fd, self.tenant, Some((Some(place), Connection::Direct(slot))), false);
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
/// `ECANCELED` when it was cancelled. `InvalidInput` when the listener is in a slot of another runtime.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled. A connection that it had accepted all the same waits on the listening
/// descriptor, and is what the next accept on it gets; that one first waits for the end of this one. An accept that was
/// in flight on it at the same time gets it at once, if this runtime runs it; another runtime's waits for the next
/// client. (One with something linked behind it is stopped for that as by a cancel, and what is behind it does not run.)
/// The connection is closed only when the descriptor is.
///
/// Where several runtimes accept on one listening socket, the kernel wakes one of them for a connection. If that one's accept is
/// cancelled before it has got it, nobody else is woken: the connection stays in the backlog until another accept is started, or
/// the next client comes. A listener for each runtime (`SO_REUSEPORT`) has no such gap.
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
pub fn accept<F: IntoFd>(fd: F) -> Op<Accept<F::Fd>> {
    let tenant = Default::default();
    Op::new(Accept { fd: fd.into_fd(), tenant, taken: None, found: None, offered: None })
}
