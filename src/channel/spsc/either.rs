//! Two kinds of channel behind one face: the ring, and at capacity 0 the channel with a lock, where there is nothing to
//! store and both sides must agree.
//!
//! Knows: `Pin`. Does not know: channels.

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
