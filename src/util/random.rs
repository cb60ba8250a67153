//! Numbers without order, for choices that must not favour anybody: fast, per thread, good for nothing else.
//!
//! Knows: nothing. Does not know: what is chosen.

use core::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

thread_local! {
    /// Where this thread's sequence is; 0: it has not begun.
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// The distance between two states (the golden ratio): odd, so that every state comes once.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A number below `bound`, every one as likely as any other (but for a bias of 2^-32 at most, which nobody will see).
#[inline]
pub(crate) fn below(bound: u32) -> u32 {
    ((u64::from(next()) * u64::from(bound)) >> 32) as u32
}

/// The next 32 bits of the sequence: a counter, mixed as wyhash does it.
#[inline]
fn next() -> u32 {
    let mut state = STATE.get();
    if state == 0 {
        state = RandomState::new().hash_one(STEP) | 1;
    }
    state = state.wrapping_add(STEP);
    STATE.set(state);
    let wide = u128::from(state) * u128::from(state ^ 0xe703_7ed1_a0b4_28db);
    (((wide >> 64) as u64) ^ (wide as u64)) as u32
}

/// Begins this thread's sequence at a place that the caller knows.
#[cfg(test)]
pub(crate) fn seed(state: u64) {
    STATE.set(state | 1);
}

#[cfg(test)]
mod tests {
    use super::{below, seed};

    #[test]
    fn every_number_below_the_bound_comes_as_often_as_any_other() {
        for bound in [1, 2, 3, 7, 64] {
            seed(7);
            let mut counts = vec![0_u32; bound as usize];
            (0..bound * 1000).for_each(|_| counts[below(bound) as usize] += 1);
            // Chi-square: its mean is the number of degrees of freedom, its variance twice that; five sigmas.
            let freedom = f64::from(bound - 1);
            let chi: f64 = counts.iter().map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0).sum();
            assert!(chi <= freedom + 5.0 * (2.0 * freedom).sqrt(), "{bound}: {chi}");
        }
    }

    #[test]
    fn two_threads_have_two_sequences() {
        let other = std::thread::spawn(|| [0; 4].map(|_: u32| below(u32::MAX))).join().unwrap();
        assert_ne!([0; 4].map(|_: u32| below(u32::MAX)), other);
    }
}
