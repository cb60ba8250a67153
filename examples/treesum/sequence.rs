//! Puts results that arrive in any order back into the order of their numbers.
//!
//! Knows: numbers. Does not know: what is numbered, who numbers it, or how it is bounded: the ring of slots grows to the
//! distance between the oldest number missing and the newest one seen, and whoever hands out numbers bounds that.

use std::collections::VecDeque;

/// Items waiting for the ones before them.
pub(crate) struct Sequence<T> {
    /// The number of the item that leaves next.
    next: u64,
    /// The item number `next + i` at index `i`, if it is there.
    waiting: VecDeque<Option<T>>,
}

impl<T> Sequence<T> {
    /// A sequence that begins with number 0.
    pub(crate) fn new() -> Self {
        Self { next: 0, waiting: VecDeque::new() }
    }

    /// Takes in the item of a number.
    ///
    /// # Panics
    ///
    /// When that number was there before.
    pub(crate) fn insert(&mut self, number: u64, item: T) {
        let index = number.checked_sub(self.next).expect("a number that has left comes again") as usize;
        if index >= self.waiting.len() {
            self.waiting.resize_with(index + 1, || None);
        }
        let before = self.waiting[index].replace(item);
        assert!(before.is_none(), "a number that waits comes again");
    }

    /// The item whose turn it is, if it is there.
    pub(crate) fn next(&mut self) -> Option<T> {
        let item = self.waiting.front_mut()?.take()?;
        self.waiting.pop_front();
        self.next += 1;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(sequence: &mut Sequence<u64>) -> Vec<u64> {
        std::iter::from_fn(|| sequence.next()).collect()
    }

    #[test]
    fn every_item_leaves_once_and_in_order() {
        let mut sequence = Sequence::new();
        let mut left = Vec::new();
        for block in 0..100 {
            for i in 0..64 {
                let number = block * 64 + (i * 37) % 64;
                sequence.insert(number, number);
                left.extend(ready(&mut sequence));
            }
        }
        assert_eq!(left, (0..6400).collect::<Vec<_>>());
        assert!(sequence.waiting.is_empty());
    }

    #[test]
    fn nothing_leaves_before_the_one_in_front() {
        let mut sequence = Sequence::new();
        sequence.insert(2, 2);
        sequence.insert(1, 1);
        assert_eq!(ready(&mut sequence), []);
        sequence.insert(0, 0);
        assert_eq!(ready(&mut sequence), [0, 1, 2]);
    }

    #[test]
    #[should_panic(expected = "a number that has left comes again")]
    fn a_number_comes_once() {
        let mut sequence = Sequence::new();
        sequence.insert(0, ());
        assert_eq!(sequence.next(), Some(()));
        sequence.insert(0, ());
    }
}
