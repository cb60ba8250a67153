//! Accepting a connection into a slot of the ring's table.
//!
//! Knows: `IORING_OP_ACCEPT` with a slot in place of a descriptor, the salvage of the listener. Does not know: nodes, rings.
//!
//! Only into a slot that was reserved before: where the kernel picks one and finds none, the connection is gone.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::any::Any;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::ptr;
use std::task::{Context, Poll, ready};

use io_uring::{opcode, types};

use crate::ops::accept::{Gift, Left, leave};
use crate::ops::fd::salvage::{Connection, Gives, Place};
use crate::ops::fd::{AnyFd, Fd, FixedFd, Hold, IntoFd};
use crate::ops::op::Op;
use crate::ops::request::{Prepared, Request};
use crate::runtime::driver::Sqe;

/// Whether the connection can be had in a slot of the table of the runtime that runs here.
fn usable_here(connection: &Connection) -> bool {
    match connection {
        Connection::Fd(_) => true,
        Connection::Direct(slot) => !slot.is_elsewhere(),
    }
}

/// The request of [`accept_direct`].
#[derive(Debug)]
pub struct AcceptDirect<F: AnyFd = Fd> {
    fd: F,
    /// The listener that was there when it began.
    tenant: F::Tenant,
    slot: FixedFd,
    /// The kernel has it, and the slot knows.
    queued: bool,
    /// A connection that an earlier accept had left, and where it stood. It may be in another slot than was asked for.
    taken: Option<(Place, Connection)>,
    /// A connection that one beside it has left, while this one was in flight.
    offered: Option<Left>,
}

// SAFETY: (I1) the entry has no pointers; the descriptor and the slot are held.
unsafe impl<F: AnyFd> Request for AcceptDirect<F> {
    type Output = io::Result<FixedFd>;

    const REPEATABLE: bool = true;

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        if self.slot.is_elsewhere() || self.fd.is_elsewhere() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        if self.slot.is_picked() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EINVAL));
        }
        self.tenant = self.fd.tenant(); // before that of the slot begins, which may be the listener's own
        if self.fd.left_behind().concerns_accepts()
            && let Some((place, connection)) = ready!(self.fd.left_behind().poll_connection(cx, usable_here))
        {
            let filled = match &connection {
                Connection::Fd(fd) => self.slot.fill(fd.as_fd()),
                Connection::Direct(_) => Ok(()),
            };
            self.taken = Some((place, connection));
            return Poll::Ready(match filled {
                Ok(()) => Prepared::Answer(0),
                Err(error) => Prepared::AnswerShort(-error.raw_os_error().unwrap_or(libc::EINVAL)),
            });
        }
        self.slot.begin_tenancy();
        Poll::Ready(Prepared::Submit)
    }

    fn sqe(&mut self) -> Sqe {
        if !mem::replace(&mut self.queued, true) {
            self.slot.open_queued();
        }
        let slot = types::DestinationSlot::try_from_slot_target(self.slot.slot());
        let entry = opcode::Accept::new(self.fd.number(), ptr::null_mut(), ptr::null_mut());
        self.fd.address(entry.file_index(slot.ok()).build())
    }

    fn orphaned(&mut self) {
        self.fd.left_behind().accept_orphaned();
    }

    fn offer(&mut self, gift: &mut dyn Any) -> bool {
        let wanted = |connection| if usable_here(&connection) { Ok(connection) } else { Err(connection) };
        if self.offered.is_none() {
            let gift = gift.downcast_mut::<Gift<F>>();
            self.offered = gift.and_then(|gift| gift.take(&self.fd, self.tenant, wanted));
            return self.offered.is_some();
        }
        false
    }

    fn finish(mut self, result: io::Result<u32>, _flags: u32) -> io::Result<FixedFd> {
        self.ended(&result);
        match self.taken.take() {
            Some((_, Connection::Direct(slot))) if result.is_ok() => return Ok(slot),
            Some((place, connection)) if result.is_err() => self.leave(Some(place), connection, false),
            _ => {}
        }
        match self.offered.take() {
            // It may have accepted another before it could be stopped, which came later.
            Some((_, Connection::Direct(slot))) => {
                if result.is_ok() {
                    self.leave(None, Connection::Direct(self.slot.clone()), false);
                }
                return Ok(slot);
            }
            Some((place, Connection::Fd(connection))) => {
                if result.is_err() && self.slot.fill(connection.as_fd()).is_ok() {
                    return Ok(self.slot);
                }
                self.leave(place, Connection::Fd(connection), false);
            }
            None => {}
        }
        self.fd.explain(self.slot.explain(result)).map(|_| self.slot)
    }

    fn abandon(mut self, result: io::Result<u32>, _flags: u32, orphaned: bool) {
        self.ended(&result);
        if let Some((place, connection)) = self.offered.take() {
            self.leave(place, connection, false);
        }
        let left = match self.taken.take() {
            Some((place, connection)) => Some((Some(place), connection)), // the slot closes its own
            None => result.is_ok().then(|| (None, Connection::Direct(self.slot.clone()))),
        };
        leave(&self.fd, self.tenant, left, orphaned);
    }
}

impl<F: AnyFd> AcceptDirect<F> {
    pub(super) fn new(fd: F, slot: FixedFd) -> Self {
        Self { fd, tenant: Default::default(), slot, queued: false, taken: None, offered: None }
    }

    /// Where the connection stood that it has taken, if that had been left before.
    pub(super) fn place(&self) -> Option<Place> {
        self.taken.as_ref().map(|(place, _)| *place)
    }

    fn leave(&self, place: Option<Place>, connection: Connection, orphaned: bool) {
        leave(&self.fd, self.tenant, Some((place, connection)), orphaned);
    }

    fn ended(&self, result: &io::Result<u32>) {
        if self.queued {
            let gives = if result.is_ok() { self.fd.gives() } else { Gives::default() };
            self.slot.open_ended(result.is_ok(), gives);
        }
    }
}

/// Accepts a connection on a listening socket into a slot of the runtime's table.
///
/// As [`accept`](crate::ops::accept), but the connection gets no descriptor of the process. A file that is in the slot already is
/// closed when this succeeds. Resolves to a hold on the slot; on another one if an accept that was dropped has left a
/// connection there. [`FdTable::pick`](crate::ops::FdTable::pick) is not for this: a connection that finds no slot would be lost.
///
/// # Kernel
///
/// `IORING_OP_ACCEPT` with a slot, Linux 5.15. One entry, one completion.
///
/// # Errors
///
/// What `accept4(2)` returns; `ECANCELED` when it was cancelled. `InvalidInput` when the slot, or the one that the listener is
/// in, belongs to another runtime; `EINVAL` when the kernel has picked it.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled. A connection that it had accepted all the same waits on the listening descriptor, with
/// its slot, and is what the next `accept_direct` on it gets, or the next [`accept`](crate::ops::accept) of this runtime where the
/// kernel can make a descriptor for it (Linux 6.8); that one first waits for the end of this one. An `accept_direct` that was
/// in flight on it at the same time, on this runtime, gets it at once.
///
/// # Examples
///
/// See [`socket_direct`](crate::ops::socket_direct).
pub fn accept_direct<F: IntoFd>(fd: F, slot: impl Into<FixedFd>) -> Op<AcceptDirect<F::Fd>> {
    Op::new(AcceptDirect::new(fd.into_fd(), slot.into()))
}
