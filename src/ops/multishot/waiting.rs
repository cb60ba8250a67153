//! Results that nobody has taken yet, in order.
//!
//! Knows: nothing. Does not know: what they are, when there are too many.

use std::collections::VecDeque;

/// A queue whose first element lies in it. Where each is taken before the next one comes, which is usual, nothing else is
/// touched, and an idle op keeps no memory for it.
pub(super) struct Waiting<T> {
    first: Option<T>,
    /// What is behind the first; empty without one. Its memory stays once it was needed.
    #[allow(
        clippy::box_collection,
        reason = "one word beside the first, in the line that every result goes through"
    )]
    rest: Option<Box<VecDeque<T>>>,
}

impl<T> Waiting<T> {
    pub(super) const fn new() -> Self {
        Self { first: None, rest: None }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    #[inline]
    pub(super) fn push_back(&mut self, new: T) {
        if self.first.is_none() {
            self.first = Some(new);
        } else {
            self.push_behind(new);
        }
    }

    #[cold]
    fn push_behind(&mut self, new: T) {
        self.rest.get_or_insert_default().push_back(new);
    }

    /// Puts it before all others.
    pub(super) fn push_front(&mut self, new: T) {
        if let Some(first) = self.first.replace(new) {
            self.rest.get_or_insert_default().push_front(first);
        }
    }

    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<T> {
        let first = self.first.take();
        if let Some(rest) = &mut self.rest {
            self.first = rest.pop_front();
        }
        first
    }

    /// The one that came last.
    pub(super) fn back_mut(&mut self) -> Option<&mut T> {
        self.rest.as_mut().and_then(|rest| rest.back_mut()).or(self.first.as_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_queue_whatever_is_done_in_whatever_order() {
        const STEPS: u32 = 7;
        for mut history in 0..4_u32.pow(STEPS) {
            let (mut waiting, mut model) = (Waiting::new(), VecDeque::new());
            for step in 0..STEPS {
                match history % 4 {
                    0 => {
                        waiting.push_back(step);
                        model.push_back(step);
                    }
                    1 => {
                        waiting.push_front(step);
                        model.push_front(step);
                    }
                    2 => assert_eq!(waiting.pop_front(), model.pop_front()),
                    _ => assert_eq!(waiting.back_mut(), model.back_mut()),
                }
                assert_eq!(waiting.len(), model.len());
                history /= 4;
            }
            let left: Vec<_> = std::iter::from_fn(|| waiting.pop_front()).collect();
            assert_eq!(left, Vec::from(model));
        }
    }
}
