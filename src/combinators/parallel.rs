//! All, or the first, of several operations, with every output and the order in which they completed.
//!
//! Knows: [`Operation`]. Does not know: rings, channels, tasks.

use core::ops::ControlFlow;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::arms::{Slots, Visit};
use super::slot::Slot;
use crate::operation::Operation;

mod all;
mod any;

pub use all::{Parallel, ParallelAll, parallel_all};
pub use any::{ParallelAny, Raced, parallel_any, try_parallel_any};

/// The places of arms, as they complete.
struct Order<R> {
    /// Room for all of them; the first `completed` count.
    places: R,
    completed: usize,
}

impl<R: AsRef<[usize]> + AsMut<[usize]>> Order<R> {
    fn new(places: R) -> Self {
        Self { places, completed: 0 }
    }

    /// The arm at this place has completed.
    fn note(&mut self, place: usize) {
        self.places.as_mut()[self.completed] = place;
        self.completed += 1;
    }

    /// The places of all arms, which have completed.
    fn take(&mut self, nothing: R) -> R {
        core::mem::replace(&mut self.places, nothing)
    }

    fn is_full(&self) -> bool {
        self.completed == self.places.as_ref().len()
    }
}
