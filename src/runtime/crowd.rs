//! Whether completions come in crowds, so that it does not pay to look for the next one.
//!
//! Knows: how many have come. Does not know: the clock, rings, what they belong to.
//!
//! One conversation at a time is quickest when its thread stays awake: the answer is all there is to wait for, and each
//! look that finds it saves a sleep. With many at once, who looks takes up one or two, soon, and pays an `enter` for so
//! few; the time in between counts as CPU time as well. There a sleep costs little, since it is rare, and what comes
//! meanwhile comes at once. Time does not tell the two apart, the next completion is equally near in both; how many come
//! between two times that there is nothing to do does: one or two of a conversation, however many others are silent.

use std::cell::Cell;

/// So many completions a time are a crowd. A request and its answer are two.
const CROWD: u32 = 4;
/// The mean follows by one part in so many.
const INERTIA: u32 = 8;
/// The mean is counted in parts of one completion.
const ONE: u32 = 16;
/// More at a time count as so many, so that the mean comes down from there within a few dozen times.
const MOST: u64 = 256;

/// How many completions come at a time, of late.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    /// Completions at the last look.
    seen: Cell<u64>,
    mean: Cell<u32>,
}

impl Crowd {
    /// Nothing is left to do, after so many completions since the ring was made. `true`: they come in crowds.
    #[inline]
    pub(crate) fn comes(&self, completions: u64) -> bool {
        let came = (completions - self.seen.replace(completions)).min(MOST) as u32;
        let mean = self.mean.get();
        let mean = mean - mean / INERTIA + came * ONE / INERTIA;
        self.mean.set(mean);
        mean >= CROWD * ONE
    }

    /// Another thread has left word: it may wait for the answer.
    pub(crate) fn disperse(&self) {
        self.mean.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `times` were of a crowd, with so many completions each.
    fn crowded(crowd: &Crowd, times: u32, each: u64) -> u32 {
        let is_one = |_: &u32| crowd.comes(crowd.seen.get() + each);
        (0..times).filter(is_one).count() as u32
    }

    #[test]
    fn a_conversation_is_no_crowd() {
        let crowd = Crowd::default();
        assert_eq!(crowded(&crowd, 1000, 1), 0);
        assert_eq!(crowded(&crowd, 1000, 2), 0);
    }

    #[test]
    fn a_crowd_is_noticed_soon_and_forgotten_soon() {
        let crowd = Crowd::default();
        assert!(!crowd.comes(8), "one time is none");
        assert!(crowded(&crowd, 100, 8) > 90);
        assert!(crowded(&crowd, 100, 1) < 20);
        assert_eq!(crowded(&crowd, 100, 1), 0);
        assert!(crowded(&crowd, 100, u64::MAX / 1000) > 90, "however many");
        assert!(crowded(&crowd, 100, 1) < 50);
        assert_eq!(crowded(&crowd, 100, 0), 0);
    }

    #[test]
    fn word_from_another_thread_ends_a_crowd() {
        let crowd = Crowd::default();
        assert!(crowded(&crowd, 100, 8) > 90);
        crowd.disperse();
        assert!(!crowd.comes(crowd.seen.get() + 8));
    }
}
