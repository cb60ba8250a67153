//! Accepting one connection after the other with one entry.
//!
//! Knows: `IORING_OP_ACCEPT` and its multishot flag, the salvage of its descriptor. Does not know: nodes, rings.
#![allow(unsafe_code, reason = "implements the unsafe source trait")]

use std::any::Any;
use std::io;
use std::ptr;
use std::task::{Context, Poll};

use io_uring::opcode;

use super::Multishot;
use super::pooled::From;
use super::source::{Came, Shot, Source, Then};
use crate::ops::accept::{Gift, leave};
use crate::ops::adopt::adopt;
use crate::ops::fd::salvage::{Connection, Place};
use crate::ops::fd::{AnyFd, Fd, IntoFd};
use crate::ops::features::Feature;
use crate::runtime::driver::Sqe;

/// The source of [`accept_multishot`].
#[derive(Debug)]
pub struct AcceptMultishot<F: AnyFd = Fd> {
    from: From<F>,
}

// SAFETY: (I1) the entry has no pointers; the descriptor is held.
unsafe impl<F: AnyFd> Source for AcceptMultishot<F> {
    type Item = Fd;
    type Home = From<F>;

    const FEATURE: Feature = Feature::AcceptMultishot;

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Place, Fd)>> {
        let left = self.from.fd().left_behind();
        if !left.concerns_accepts() || self.from.fd().is_elsewhere() {
            return Poll::Ready(None);
        }
        // One in a slot waits on for an accept that can make a descriptor for it.
        let has_fd = |connection: &Connection| matches!(connection, Connection::Fd(_));
        let found = left.poll_connection(cx, has_fd);
        found.map(|found| {
            found.and_then(|(place, connection)| Some((place, connection.into_fd().ok()?.into())))
        })
    }

    fn sqe(&mut self, shot: Shot) -> Sqe {
        let number = self.from.number();
        let entry = match shot {
            Shot::Multi => opcode::AcceptMulti::new(number).flags(libc::SOCK_CLOEXEC).build(),
            Shot::Single => opcode::Accept::new(number, ptr::null_mut(), ptr::null_mut())
                .flags(libc::SOCK_CLOEXEC)
                .build(),
        };
        self.from.fd().address(entry)
    }

    fn came(&mut self, result: io::Result<u32>, _flags: u32) -> Came<Fd> {
        match adopt(result) {
            Ok(connection) => Came::Item(connection.into()),
            Err(error) => match self.from.fd().explain(Err::<(), _>(error)) {
                Err(error) => Came::Failed(error),
                Ok(()) => Came::Nothing,
            },
        }
    }

    fn after(&mut self, error: &io::Error) -> Then {
        after_accept(error)
    }

    fn home(&self) -> &From<F> {
        &self.from
    }

    fn give_back(home: &From<F>, item: Fd, place: Option<Place>) {
        // Held twice only if somebody has cloned it, who has it then.
        if let Ok(connection) = item.try_into_owned() {
            leave(home.fd(), home.tenant(), Some((place, connection.into())), false);
        }
    }

    fn orphaned(&mut self) {
        self.from.fd().left_behind().accept_orphaned();
    }

    fn ended(home: &From<F>) {
        home.fd().abandon_accept(home.tenant(), None, true, None);
    }

    fn offer(&mut self, gift: &mut dyn Any) -> Option<(Option<Place>, Fd)> {
        let gift = gift.downcast_mut::<Gift<F>>()?;
        let (place, connection) = gift.take(self.from.fd(), self.from.tenant(), Connection::into_fd)?;
        Some((place, connection.into()))
    }
}

/// What an accept that goes on does after an error.
pub(crate) fn after_accept(error: &io::Error) -> Then {
    match error.raw_os_error() {
        // Of the connection, not of the listener: it was gone before it could be accepted.
        Some(
            libc::ECONNABORTED
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENONET
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EINTR,
        ) => Then::Again,
        // The connection is in the listener's backlog as before.
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS) => Then::Later,
        _ => Then::End,
    }
}

/// Accepts connections on a listening socket, one after the other, until it is stopped.
///
/// Every result is a connection, always with `SOCK_CLOEXEC`. Its peer's address: [`Fd::peer_addr`]. Give it a destination:
/// see [`Multishot`].
///
/// A connection that its peer has given up before it was accepted is no result and no error: the next one comes. At a limit
/// of open files or of memory (`EMFILE`, `ENFILE`, `ENOMEM`, `ENOBUFS`) it rests and tries again, at first after a
/// millisecond, later four times a second; the connections wait in the listener's backlog.
///
/// # Kernel
///
/// `IORING_OP_ACCEPT` with `IORING_ACCEPT_MULTISHOT`, Linux 5.19: one entry for any number of connections. Where the kernel
/// lacks it, one entry for each. The limit of open files is that of the moment when the entry was queued.
///
/// # Errors
///
/// What else `accept4(2)` returns: `EINVAL` of a socket that does not listen, or that was shut down. `ECANCELED` when it was
/// cancelled. `InvalidInput` when the listener is in a slot of another runtime.
///
/// # Cancel safety
///
/// Dropped, it is cancelled. Connections that it had accepted and that nobody has taken wait on the listening descriptor, in
/// order, and are what the next accept on it gets, as for [`accept`](super::super::accept).
///
/// # Cost
///
/// A connection costs about what an accept in flight costs; what is saved is the entry and the node of each. While results
/// wait for their receiver they hold descriptors, at most [`backlog`](Multishot::backlog) and what the kernel had accepted
/// by the time it was told to pause.
pub fn accept_multishot<F: IntoFd>(fd: F) -> Multishot<AcceptMultishot<F::Fd>> {
    Multishot::new(AcceptMultishot { from: From::new(fd.into_fd()) })
}
