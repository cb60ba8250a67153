//! In which order arms complete.
//!
//! Knows: [`Operation`]. Does not know: what a combinator waits for.

use core::ops::ControlFlow;
use core::pin::Pin;
use core::task::Context;

use super::arms::{Slots, Visit};
use super::slot::Slot;
use crate::operation::Operation;

/// The places of the arms that have completed, the first one first.
pub(super) struct Order<R> {
    /// Room for every place; `completed` of them count. Taken with the outputs.
    places: Option<R>,
    completed: usize,
}

impl<R: AsRef<[usize]> + AsMut<[usize]>> Order<R> {
    pub(super) fn new(slots: &impl Slots<Order = R>) -> Self {
        Self { places: Some(slots.new_order()), completed: 0 }
    }

    fn places(&mut self) -> &mut [usize] {
        self.places.as_mut().map_or(&mut [], AsMut::as_mut)
    }

    /// The arm at this place has completed.
    pub(super) fn note(&mut self, place: usize) {
        let completed = self.completed;
        self.places()[completed] = place;
        self.completed += 1;
    }

    /// The places of all arms, each of which has completed.
    ///
    /// # Panics
    ///
    /// When they were taken before: the combinator above, whose name this is, was polled after completion.
    #[track_caller]
    pub(super) fn take(&mut self, name: &str) -> R {
        self.note_unnoted();
        match self.places.take() {
            Some(places) => places,
            None => panic!("`{name}` was polled after completion"),
        }
    }

    /// An arm whose operation panicked while it was dropped has completed, and could not be noted then.
    fn note_unnoted(&mut self) {
        for place in 0..self.places().len() {
            let completed = self.completed;
            if completed == self.places().len() {
                break;
            }
            if !self.places()[..completed].contains(&place) {
                self.note(place);
            }
        }
    }
}

/// Polls every arm that has not completed, and notes those that then have.
pub(super) struct PollInOrder<'a, 'c, R> {
    cx: &'a mut Context<'c>,
    order: &'a mut Order<R>,
    /// Every arm has completed.
    pub(super) completed: bool,
    /// Every arm has completed or decided.
    pub(super) settled: bool,
}

impl<'a, 'c, R: AsRef<[usize]> + AsMut<[usize]>> PollInOrder<'a, 'c, R> {
    /// One pass over `slots`.
    pub(super) fn pass(
        slots: Pin<&mut impl Slots>,
        cx: &'a mut Context<'c>,
        order: &'a mut Order<R>,
    ) -> Self {
        let mut pass = Self { cx, order, completed: true, settled: true };
        let _ = slots.visit(&mut pass);
        pass
    }
}

impl<R: AsRef<[usize]> + AsMut<[usize]>> Visit for PollInOrder<'_, '_, R> {
    fn visit<O: Operation>(&mut self, index: usize, mut arm: Pin<&mut Slot<O>>) -> ControlFlow<()> {
        if arm.peek().is_some() && arm.as_mut().poll(self.cx).is_ready() {
            self.order.note(index);
        }
        self.completed &= arm.peek().is_none();
        self.settled &= arm.is_settled();
        ControlFlow::Continue(())
    }
}
