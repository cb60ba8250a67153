//! A queue's buffers on their way in: with the kernel, until it has filled them.
//!
//! Knows: places, the books of who has which, registering. Does not know: ops.
#![allow(unsafe_code, reason = "lends memory to the kernel by address")]

use std::fmt;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::super::pool::group::Group;
use super::super::pool::ledger::Desk;
use super::super::pool::ring::Ring;
use super::super::{BufMut, Claim, Lender, MAX_LEN};
use super::bundle::QueueBundle;
use super::guard::QueueBuf;
use super::slots::Slots;
use crate::runtime::core::Core;
use crate::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// What the handles of a queue, ops in flight and buffers in use share.
pub struct Receiving<B> {
    /// Before the buffers, which its ring names.
    group: Group<Ring>,
    desk: Desk,
    /// By place.
    spans: Box<[Span]>,
    slots: Slots<B>,
}

/// Where the memory of a buffer is, for who puts it into the ring with no eye for buffers.
struct Span {
    start: AtomicUsize,
    len: AtomicU32,
}

impl<B: 'static> Receiving<B> {
    pub(super) fn new(core: &Core, places: u32) -> io::Result<Self> {
        // SAFETY: (I1) what `lend` puts there are buffers in their places, which they leave only when the kernel has named them
        // in a completion, or when no op holds this.
        let group = unsafe { Group::register(core, Ring::new(places, 0)?, false) }?;
        let spans =
            (0..places).map(|_| Span { start: AtomicUsize::new(0), len: AtomicU32::new(0) }).collect();
        Ok(Self { group, desk: Desk::without_buffers(places), spans, slots: Slots::new(places) })
    }

    pub(super) fn slots(&self) -> &Slots<B> {
        &self.slots
    }

    /// Where the buffer in this place begins.
    pub(super) fn start(&self, place: u16) -> NonNull<u8> {
        // ORDERING: whoever owns the place has its number from who has written the address, through the books or the tray.
        let start = self.spans[usize::from(place)].start.load(Ordering::Relaxed);
        NonNull::new(ptr::with_exposed_provenance_mut(start)).expect("a buffer's address is not null")
    }

    /// What a completion has brought, as one buffer.
    pub(crate) fn claim_one(self: &Arc<Self>, result: &io::Result<u32>, flags: u32) -> Claim<QueueBuf<B>> {
        self.claim(result, flags, |clerk, place, len, goes_on| {
            clerk.claim(place, len, goes_on).map(|part| QueueBuf::of(Arc::clone(self), part))
        })
    }

    /// The same of the completion of a bundle.
    pub(crate) fn claim_bundle(
        self: &Arc<Self>,
        result: &io::Result<u32>,
        flags: u32,
    ) -> Claim<QueueBundle<B>> {
        self.claim(result, flags, |clerk, place, len, goes_on| {
            clerk.claim_run(place, len, goes_on).map(|run| QueueBundle::of(Arc::clone(self), run))
        })
    }

    /// All buffers, in the order in which the kernel would have taken them. Nobody else holds this.
    pub(super) fn into_buffers(mut self) -> Vec<B> {
        let places = self.desk.in_order();
        let Self { group, slots, .. } = self;
        drop(group); // first: what is in the ring is not the kernel's any more
        // SAFETY: (I1) they were with the kernel, and no op is in flight that could have it fill one: each holds this.
        places.into_iter().map(|place| unsafe { slots.take(place) }).collect()
    }
}

impl<B: BufMut> Receiving<B> {
    /// The buffer is the kernel's, behind all others, if there is a place for it.
    pub(super) fn push(&self, buf: B) -> Result<(), B> {
        let place = self.slots.fill(buf)?;
        // SAFETY: (local) the buffer is in its place, and nobody else knows of it yet.
        let buf = unsafe { &mut *self.slots.at(place) };
        let (start, room) = (buf.stable_mut_ptr(), buf.capacity().min(MAX_LEN) as u32);
        let span = &self.spans[usize::from(place)];
        // ORDERING: read by who gets the place from us, through the books or the tray.
        span.start.store(start.expose_provenance(), Ordering::Relaxed);
        span.len.store(room, Ordering::Relaxed);
        self.desk.set_size(place, room);
        self.give_back(place, 1);
        Ok(())
    }
}

impl<B: 'static> Lender for Receiving<B> {
    const NAME: &str = "a queue of buffers";

    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn group(&self) -> u16 {
        self.group.number()
    }

    fn is_elsewhere(&self) -> bool {
        self.group.is_elsewhere()
    }

    /// They may be of any size.
    fn most(&self) -> u32 {
        MAX_LEN as u32
    }

    fn is_incremental(&self) -> bool {
        false
    }

    fn taken(&self) -> Option<u16> {
        self.group.taken()
    }

    fn publish(&self, place: u16, position: u16) {
        let ring = self.group.memory();
        // ORDERING: as in `start`.
        let len = self.spans[usize::from(place)].len.load(Ordering::Relaxed);
        ring.write(position, self.start(place).as_ptr(), len, place);
        ring.set_tail(position.wrapping_add(1));
    }
}

impl<B> fmt::Debug for Receiving<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiving").field("group", &self.group.number()).finish_non_exhaustive()
    }
}
