//! Two kinds of channel behind one face: the ring, and at capacity 0 the channel with a lock, where there is nothing to
//! store and both sides must agree.
//!
//! Knows: `Pin`. Does not know: channels.
#![allow(unsafe_code, reason = "the rarer of two kinds of operation is dropped out of the way of the other")]

use core::mem::ManuallyDrop;
use core::pin::Pin;

/// An end, by kind.
pub(super) enum Kind<R, M> {
    Ring(R),
    Meet(M),
}

/// The operation in its place, where it is made now if it is not there yet.
pub(super) fn begun<'p, M>(place: &'p mut Pin<&mut Option<M>>, begin: impl FnOnce() -> M) -> Pin<&'p mut M> {
    if place.is_none() {
        place.set(Some(begin()));
    }
    match place.as_mut().as_pin_mut() {
        Some(operation) => operation,
        None => unreachable!("made above"),
    }
}

/// The operation in its place, which [`drop_rendezvous`] drops.
#[inline(always)]
pub(super) fn rendezvous<M>(operation: Pin<&mut ManuallyDrop<M>>) -> Pin<&mut M> {
    // SAFETY: (local) a field of what is pinned, which stays in its place until it is dropped there.
    unsafe { operation.map_unchecked_mut(|operation| &mut **operation) }
}

/// Drops the operation. As a field like any other, it would make the destructor of what it is in too large to be seen through
/// where there is nothing to drop.
///
/// # Safety
///
/// This is called by the destructor of what the operation is in, once, and by nobody else.
#[cold]
#[inline(never)]
pub(super) unsafe fn drop_rendezvous<M>(operation: Pin<&mut ManuallyDrop<M>>) {
    // SAFETY: (local) dropped in its place, and not used after that, by this function's contract.
    unsafe { ManuallyDrop::drop(operation.get_unchecked_mut()) }
}
