//! A queue's buffers on their way out: the line, the ring that a send takes them from, and what was sent.
//!
//! Knows: places, the line, registering. Does not know: ops, sockets.
//!
//! The ring is filled anew by each send, with what stands in line then, and the kernel takes out of it as much as it likes. If
//! it took and sent everything, the next send goes on in the same ring. If not, nobody can say how far it got in the *ring*
//! (only how far in the line), so that ring is taken back, and the next send gets another.
#![allow(
    unsafe_code,
    reason = "lends memory to the kernel by address, takes what it has sent out of its place"
)]

use std::fmt;
use std::io;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::super::pool::group::Group;
use super::super::pool::ring::Ring;
use super::super::{Buf, MAX_LEN};
use super::outbox::{InFlight, Outbox, Piece, Settled};
use super::slots::Slots;
use crate::runtime::RuntimeId;
use crate::runtime::context;
use crate::runtime::core::Core;
use crate::sync::{Mutex, MutexGuard};
use crate::util::contain::contain;

/// What the handles of a queue, its sends and what they have sent share.
pub struct Sending<B> {
    home: RuntimeId,
    /// Before the buffers, which its ring names.
    lane: Mutex<Option<Lane>>,
    outbox: Mutex<Outbox>,
    slots: Slots<B>,
}

/// A ring that the kernel and the line agree on: everything that was put into it was sent.
struct Lane {
    group: Group<Ring>,
    tail: u16,
}

/// How a send was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The kernel takes what there is from this group.
    Group(u16),
    /// This one piece.
    Piece(*const u8, u32),
    /// There is not one byte.
    Nothing,
}

/// Buffers that were sent to their end, in order.
pub(crate) struct SentRun<B> {
    sending: Arc<Sending<B>>,
    next: u16,
    left: usize,
}

impl<B> Sending<B> {
    pub(super) fn new(core: &Core, places: u32) -> Self {
        Self {
            home: core.id,
            lane: Mutex::new(None),
            outbox: Mutex::new(Outbox::new(places)),
            slots: Slots::new(places),
        }
    }

    pub(super) fn slots(&self) -> &Slots<B> {
        &self.slots
    }

    /// Whether the ring that runs here is not the one it was made on.
    pub(crate) fn is_elsewhere(&self) -> bool {
        context::with(|core| core.is_none_or(|core| core.id != self.home))
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) // no step under it can be left half done
    }

    fn lane(&self) -> MutexGuard<'_, Option<Lane>> {
        self.lane.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) // as above
    }

    pub(super) fn len(&self) -> usize {
        self.outbox().len()
    }

    pub(super) fn gone(&self) -> usize {
        self.outbox().gone()
    }

    /// Whether a send may begin: no other is in flight.
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.outbox().is_lent() {
            return Poll::Ready(());
        }
        let mut waker = Some(cx.waker().clone()); // cloned, and dropped, outside of the lock (I7)
        self.outbox().poll_turn(&mut waker)
    }

    /// Whether a send would have nothing to do but to give back buffers without a byte.
    pub(crate) fn has_no_bytes(&self) -> bool {
        self.outbox().has_no_bytes()
    }

    /// Sees to it that there is a ring to put buffers into. On the runtime's thread, with no send in flight.
    pub(crate) fn open_lane(&self) -> io::Result<()> {
        let mut lane = self.lane();
        if lane.is_some() {
            return Ok(());
        }
        let places = self.slots.count() as u32;
        *lane = context::with(|core| {
            let core = core.filter(|core| core.id == self.home).ok_or(io::ErrorKind::InvalidInput)?;
            // SAFETY: (I1) what `lend` puts there are buffers in their places, which they leave only when a completion says that
            // they were sent, or when no send is in flight.
            let group = unsafe { Group::register(core, Ring::new(places, 0)?, false) }?;
            io::Result::Ok(Some(Lane { group, tail: 0 }))
        })?;
        Ok(())
    }

    /// Lends a send what it is to send: all there is if there is a ring to put it into, else one piece. To be
    /// [settled](Self::settle) when it has ended, whatever it was lent.
    pub(crate) fn lend(&self) -> Result<Way, InFlight> {
        let mut lane = self.lane();
        let mut way = Way::Nothing;
        let mut outbox = self.outbox();
        match &mut *lane {
            Some(Lane { group, tail }) => {
                outbox.lend(self.slots.count(), MAX_LEN, |Piece { place, start, len }| {
                    group.memory().write(*tail, ptr::with_exposed_provenance(start), len as u32, place);
                    *tail = tail.wrapping_add(1);
                    way = Way::Group(group.number());
                })?;
                group.memory().set_tail(*tail);
            }
            None => outbox.lend(1, MAX_LEN, |piece| {
                way = Way::Piece(ptr::with_exposed_provenance(piece.start), piece.len as u32);
            })?,
        }
        Ok(way)
    }

    /// As [`lend`](Self::lend), of no byte: only the buffers at the front that have none.
    pub(crate) fn lend_nothing(&self) -> Result<(), InFlight> {
        self.outbox().lend(0, MAX_LEN, |_| {})
    }

    /// A send that was lent something has ended, with so many bytes sent: says which buffers were sent whole.
    pub(crate) fn settle(self: &Arc<Self>, bytes: usize) -> SentRun<B> {
        let Settled { sent, all, wake } = self.outbox().settle(bytes);
        if !all {
            // The rest may have left the ring or not.
            let lane = self.lane().take();
            drop(lane);
        }
        for waker in wake {
            contain(|| waker.wake()); // one that panics must not keep the others asleep
        }
        SentRun { sending: Arc::clone(self), next: sent.first, left: sent.buffers }
    }

    /// Nothing was sent.
    pub(crate) fn nothing(self: &Arc<Self>) -> SentRun<B> {
        SentRun { sending: Arc::clone(self), next: 0, left: 0 }
    }

    /// Takes the last in line out that no send in flight was lent.
    pub(super) fn take_back(&self) -> Option<B> {
        let place = self.outbox().take_back()?;
        // SAFETY: (I1) it was in line, and no send in flight was lent it: it is nobody else's.
        Some(unsafe { self.slots.take(place) })
    }
}

impl<B: Buf> Sending<B> {
    /// The buffer is the last in line, if there is a place for it.
    pub(super) fn push(&self, buf: B) -> Result<(), B> {
        let place = self.slots.fill(buf)?;
        // SAFETY: (local) the buffer is in its place, and nobody else knows of it yet.
        let buf = unsafe { &*self.slots.at(place) };
        let (start, len) = (buf.stable_ptr().expose_provenance(), buf.init_len());
        self.outbox().put(place, start, len);
        Ok(())
    }
}

impl<B> SentRun<B> {
    /// How many are left.
    pub(crate) fn left(&self) -> usize {
        self.left
    }
}

impl<B> Iterator for SentRun<B> {
    type Item = B;

    fn next(&mut self) -> Option<B> {
        self.left = self.left.checked_sub(1)?;
        let place = self.next;
        self.next = self.sending.outbox().next(place);
        // SAFETY: (I1) it was sent to its end, has left the line for this run, and is taken once.
        Some(unsafe { self.sending.slots.take(place) })
    }
}

impl<B> Drop for SentRun<B> {
    fn drop(&mut self) {
        for buf in self.by_ref() {
            contain(|| drop(buf)); // one that panics must not keep the others
        }
    }
}

impl<B> fmt::Debug for Sending<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("len", &self.len()).finish_non_exhaustive()
    }
}
