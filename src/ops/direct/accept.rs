//! Accepting connections into slots of the ring's table.
//!
//! Knows: `IORING_OP_ACCEPT` with a slot in place of a descriptor, the salvage of the listener. Does not know: nodes, rings.
//!
//! Only into a slot that was reserved before: where the kernel picks one and finds none, the connection is gone. That is why
//! there is no multishot entry here either, which always picks.
#![allow(unsafe_code, reason = "implements the unsafe request and source traits")]

use std::any::Any;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::task::{Context, Poll, ready};

use io_uring::{opcode, types};

use crate::ops::accept::{Gift, leave};
use crate::ops::fd::salvage::{Connection, Place, keeps_boundaries};
use crate::ops::fd::{Fd, FdTable, FixedFd, Hold};
use crate::ops::features::Feature;
use crate::ops::multishot::{Came, Multishot, Shot, Source, Then, after_accept};
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

fn entry(listener: &Fd, slot: &FixedFd) -> Sqe {
    let slot = types::DestinationSlot::try_from_slot_target(slot.slot());
    opcode::Accept::new(listener.entry(), ptr::null_mut(), ptr::null_mut())
        .file_index(slot.ok())
        .build()
        .into()
}

/// Leaves a connection that is in a slot to the listener. `orphaned` if the accept that had got it was told so.
fn leave_direct(listener: &Fd, connection: Option<FixedFd>, orphaned: bool, place: Option<Place>) {
    listener.salvage().accept_abandoned(connection.map(Connection::Direct), orphaned, place);
}

/// The request of [`accept_direct`].
#[derive(Debug)]
pub struct AcceptDirect {
    fd: Fd,
    slot: FixedFd,
    /// The kernel has it, and the slot knows.
    queued: bool,
    /// A connection that an earlier accept had left, and where it stood. It may be in another slot than was asked for.
    taken: Option<(Place, Connection)>,
    /// A connection that one beside it has left, while this one was in flight.
    offered: Option<(Option<Place>, OwnedFd)>,
}

// SAFETY: (I1) the entry has no pointers; the descriptor and the slot are held.
unsafe impl Request for AcceptDirect {
    type Output = io::Result<FixedFd>;

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        if self.slot.is_elsewhere() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EBADF));
        }
        if self.slot.is_picked() {
            return Poll::Ready(Prepared::AnswerShort(-libc::EINVAL));
        }
        if self.fd.salvage().concerns_accepts() {
            let Some((place, connection)) = ready!(self.fd.salvage().poll_connection(cx, usable_here)) else {
                self.slot.begin_tenancy();
                return Poll::Ready(Prepared::Submit);
            };
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
        self.slot.open_queued();
        self.queued = true;
        entry(&self.fd, &self.slot)
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

    fn finish(mut self, result: io::Result<u32>, _flags: u32) -> io::Result<FixedFd> {
        self.ended(&result);
        match self.taken.take() {
            Some((_, Connection::Direct(slot))) => {
                return match result {
                    Ok(_) => Ok(slot),
                    Err(error) => {
                        leave_direct(&self.fd, Some(slot), false, None);
                        Err(error)
                    }
                };
            }
            Some((place, Connection::Fd(connection))) => {
                if result.is_err() {
                    leave(self.fd, Some((Some(place), connection)), false);
                }
                return self.slot.explain(result).map(|_| self.slot);
            }
            None => {}
        }
        if let Some((place, connection)) = self.offered.take() {
            // It may have accepted another before it could be stopped; else the slot is free for this one.
            if result.is_ok() || self.slot.fill(connection.as_fd()).is_err() {
                leave(self.fd, Some((place, connection)), false);
            } else {
                return Ok(self.slot);
            }
        }
        self.slot.explain(result).map(|_| self.slot)
    }

    fn abandon(mut self, result: io::Result<u32>, _flags: u32, orphaned: bool) {
        self.ended(&result);
        if self.offered.is_some() {
            leave(self.fd.clone(), self.offered.take(), false);
        }
        match self.taken.take() {
            Some((place, Connection::Fd(connection))) => {
                leave(self.fd.clone(), Some((Some(place), connection)), orphaned); // the slot closes its own
            }
            Some((place, Connection::Direct(slot))) => {
                leave_direct(&self.fd, Some(slot), orphaned, Some(place))
            }
            None => leave_direct(&self.fd, result.is_ok().then_some(self.slot), orphaned, None),
        }
    }
}

impl AcceptDirect {
    fn ended(&self, result: &io::Result<u32>) {
        if self.queued {
            self.slot.open_ended(result.is_ok(), keeps_boundaries(self.fd.as_fd()));
        }
    }
}

/// Accepts a connection on a listening socket into a slot of the runtime's table.
///
/// As [`accept`](crate::ops::accept), but the connection gets no descriptor of the process. A file that is in the slot already is
/// closed when this succeeds. Resolves to a hold on the slot; on another one if an accept that was dropped has left a
/// connection there. [`FdTable::pick`] is not for this: a connection that finds no slot would be lost.
///
/// # Kernel
///
/// `IORING_OP_ACCEPT` with a slot, Linux 5.15. One entry, one completion.
///
/// # Errors
///
/// What `accept4(2)` returns; `ECANCELED` when it was cancelled. `InvalidInput` when the slot belongs to another runtime;
/// `EINVAL` when the kernel has picked it.
///
/// # Cancel safety
///
/// Dropped in flight, it is cancelled. A connection that it had accepted all the same waits on the listening descriptor, with
/// its slot, and is what the next `accept_direct` on it gets, or the next [`accept`](crate::ops::accept) of this runtime where the
/// kernel can make a descriptor for it (Linux 6.8); that one first waits for the end of this one.
///
/// # Examples
///
/// See [`socket_direct`](crate::ops::socket_direct).
pub fn accept_direct(fd: impl Into<Fd>, slot: impl Into<FixedFd>) -> Op<AcceptDirect> {
    Op::new(AcceptDirect { fd: fd.into(), slot: slot.into(), queued: false, taken: None, offered: None })
}

/// The source of [`accept_direct_multishot`].
#[derive(Debug)]
pub struct AcceptDirectMultishot {
    fd: Fd,
    table: FdTable,
    /// For the next connection, or in the entry that is out.
    slot: Option<FixedFd>,
    queued: bool,
}

// SAFETY: (I1) the entry has no pointers; the descriptor and the slot are held.
unsafe impl Source for AcceptDirectMultishot {
    type Item = FixedFd;
    type Home = Fd;

    const FEATURE: Feature = Feature::AcceptMultishot;

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Place, FixedFd)>> {
        if self.slot.is_none() {
            if !self.table.is_here() {
                return Poll::Ready(None); // without a slot, the entry fails
            }
            self.slot = Some(ready!(self.table.poll_reserve(cx)));
        }
        let Some(slot) = self.slot.take_if(|_| self.fd.salvage().concerns_accepts()) else {
            return Poll::Ready(None);
        };
        let found = match self.fd.salvage().poll_connection(cx, usable_here) {
            Poll::Ready(found) => found,
            Poll::Pending => {
                self.slot = Some(slot);
                return Poll::Pending;
            }
        };
        Poll::Ready(match found {
            Some((place, Connection::Fd(connection))) if slot.fill(connection.as_fd()).is_ok() => {
                Some((place, slot))
            }
            Some((place, Connection::Direct(other))) => {
                self.slot = Some(slot);
                Some((place, other))
            }
            Some((place, connection)) => {
                self.fd.salvage().accept_abandoned(Some(connection), false, Some(place));
                self.slot = Some(slot);
                None
            }
            None => {
                self.slot = Some(slot);
                None
            }
        })
    }

    /// The same for either kind: the kernel's own multishot picks the slot, and loses a connection that finds none.
    fn sqe(&mut self, _shot: Shot) -> Sqe {
        let Some(slot) = &self.slot else {
            return opcode::Accept::new(types::Fd(-1), ptr::null_mut(), ptr::null_mut()).build().into();
        };
        slot.begin_tenancy();
        slot.open_queued();
        self.queued = true;
        entry(&self.fd, slot)
    }

    fn came(&mut self, result: io::Result<u32>, _flags: u32) -> Came<FixedFd> {
        let queued = std::mem::take(&mut self.queued);
        if let Some(slot) = self.slot.as_ref().filter(|_| queued) {
            slot.open_ended(result.is_ok(), keeps_boundaries(self.fd.as_fd()));
        }
        match (result, self.slot.take()) {
            (Ok(_), Some(slot)) => Came::Item(slot),
            (Ok(_), None) => Came::Nothing,
            (Err(_), None) if !self.table.is_here() => Came::Failed(crate::ops::fd::elsewhere()),
            (Err(error), slot) => {
                self.slot = slot; // still ours: for the next entry
                Came::Failed(error)
            }
        }
    }

    fn after(&mut self, error: &io::Error) -> Then {
        after_accept(error)
    }

    fn home(&self) -> &Fd {
        &self.fd
    }

    fn give_back(home: &Fd, item: FixedFd, place: Option<Place>) {
        leave_direct(home, Some(item), false, place);
    }

    fn orphaned(&mut self) {
        self.fd.salvage().accept_orphaned();
    }

    fn ended(home: &Fd) {
        leave_direct(home, None, true, None);
    }

    fn offer(&mut self, gift: &mut dyn Any) -> Option<(Option<Place>, FixedFd)> {
        let gift = gift.downcast_mut::<Gift>()?;
        let slot = self.table.reserve().ok()?;
        let (place, connection) = gift.take(&self.fd)?;
        if slot.fill(connection.as_fd()).is_err() {
            self.fd.salvage().accept_abandoned(Some(connection), false, place);
            return None;
        }
        Some((place, slot))
    }
}

/// Accepts connections on a listening socket into slots of the runtime's table, one after the other, until it is stopped.
///
/// Every result is a connection in a slot of its own; give it a destination: see [`Multishot`]. As long as no slot is free it
/// waits, and so do clients, in the listener's backlog: no connection is ever accepted that there is no slot for. Of
/// connections that fail, and of limits, see [`accept_multishot`](crate::ops::accept_multishot).
///
/// # Kernel
///
/// `IORING_OP_ACCEPT` with a slot, Linux 5.15, one entry for each connection. The kernel has a multishot form
/// (`IORING_ACCEPT_MULTISHOT` with `IORING_FILE_INDEX_ALLOC`), but a connection that finds the table full is closed by it under the
/// eyes of its client; so it is not used.
///
/// # Errors
///
/// What else `accept4(2)` returns: `EINVAL` of a socket that does not listen, or that was shut down. `ECANCELED` when it was
/// cancelled. `InvalidInput` when the table belongs to another runtime.
///
/// # Cancel safety
///
/// Dropped, it is cancelled. Connections that it had accepted and that nobody has taken wait on the listening descriptor, in
/// their slots, as for [`accept_direct`].
///
/// # Examples
///
/// ```
/// use millstream::channel;
/// use millstream::combinators::ResultsExt;
/// use millstream::ops::{self, FdTable, IntoResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let listener = ops::listen_tcp("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let table = FdTable::new(2)?; // so many connections at once
/// let (sender, connections) = channel::local(1);
/// millstream::spawn(ops::accept_direct_multishot(&listener, &table).will_push(sender)).detach();
/// for _ in 0..8 {
///     let client = ops::connect_tcp(address).await?;
///     ops::send(&client, "hello").await.into_result()?;
///     let connection = connections.pop().await?;
///     let (n, buf) = ops::recv(&connection, [0; 8]).await.into_result()?;
///     assert_eq!(&buf[..n], b"hello");
/// } // closes the connection, through the ring: its slot is free for the next
/// # Ok(())
/// # })
/// # }
/// ```
pub fn accept_direct_multishot(fd: impl Into<Fd>, table: &FdTable) -> Multishot<AcceptDirectMultishot> {
    Multishot::new(AcceptDirectMultishot { fd: fd.into(), table: table.clone(), slot: None, queued: false })
}
