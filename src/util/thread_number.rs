//! A number for each thread, other than 0, that no later thread has.
//!
//! Knows: `sync`. Does not know: what threads are told apart for.

use core::cell::Cell;

use crate::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// The number of this thread.
#[inline]
pub(crate) fn current() -> u64 {
    match NUMBER.get() {
        0 => assign(),
        number => number,
    }
}

/// The number of this thread, or 0 if nobody has asked for it yet: one load.
#[inline]
pub(crate) fn if_any() -> u64 {
    NUMBER.get()
}

#[cold]
fn assign() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NUMBER.set(NEXT.fetch_add(1, Ordering::Relaxed)); // ORDERING: a number is all that is taken from it
    NUMBER.get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_thread_keeps_its_number_and_leaves_it_to_nobody() {
        let number = || {
            let first = if_any();
            let number = current();
            assert_eq!((first, if_any(), current()), (0, number, number));
            number
        };
        let numbers: HashSet<u64> = (0..8).map(|_| std::thread::spawn(number).join().unwrap()).collect();
        assert_eq!(numbers.len(), 8, "one after the other, and each had its own");
        assert!(!numbers.contains(&0));
    }
}
