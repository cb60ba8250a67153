//! Looking for work a little longer before sleeping, as long as that pays.
//!
//! Knows: the clock. Does not know: what it looks for.
//!
//! A sleep and its wake cost tens of microseconds, a look a nanosecond. Whether to look depends on how long work stays
//! away: a sleep shorter than the longest spin would have been caught by one, so it earns credit; a spin in vain costs
//! credit, and so does one that found its work only near its end: it burned what a sleep would have cost. Without credit
//! the thread sleeps at once. An idle runtime stops spinning after a few sleeps.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::sync::hint::spin_loop;

/// Credit is capped here, so that a busy hour does not buy a long spin at its end.
const MOST_CREDIT: u8 = 8;
/// A spin in vain costs this much.
const PRICE: u8 = 2;
/// The clock costs as much as twenty looks: it is read this seldom.
const LOOKS_PER_CLOCK: u32 = 32;

/// How long a thread sleeps at most that waits for one which has to be woken for it: if it is less, both might as well
/// have been awake.
const TWO_WAKES: Duration = Duration::from_micros(100);

/// No spin is longer, so that the clock can say when it ends.
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

/// Decides whether to spin, and spins.
#[derive(Debug)]
pub(crate) struct Spin {
    /// Zero: never.
    longest: Duration,
    credit: Cell<u8>,
}

impl Spin {
    pub(crate) fn new(longest: Duration) -> Self {
        Self { longest: longest.min(FOREVER), credit: Cell::new(MOST_CREDIT) }
    }

    /// Looks until there is work or the deadline is reached: `true`. `false`: neither within the longest spin.
    pub(crate) fn run(&self, deadline: Option<Instant>, work: impl Fn() -> bool) -> bool {
        let credit = self.credit.get();
        if self.longest.is_zero() || credit == 0 {
            return false;
        }
        let mut give_up = None;
        loop {
            for _ in 0..LOOKS_PER_CLOCK {
                if work() {
                    self.found(give_up);
                    return true;
                }
                spin_loop();
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return true; // neither a success nor in vain
            }
            if now >= *give_up.get_or_insert(now + self.longest) {
                self.credit.set(credit.saturating_sub(PRICE));
                return false;
            }
        }
    }

    /// There was work before the spin was to be given up; `None`: before the clock was read at all.
    fn found(&self, give_up: Option<Instant>) {
        let late = give_up.is_some_and(|give_up| Instant::now() + self.longest / 4 > give_up);
        if late {
            self.credit.set(self.credit.get().saturating_sub(1));
        } else {
            self.earn();
        }
    }

    /// When a sleep begins, if its length matters.
    pub(crate) fn sleeps(&self) -> Option<Instant> {
        (!self.longest.is_zero()).then(Instant::now)
    }

    /// A sleep that began then is over; `by_thread`: because another thread left word.
    ///
    /// That thread may itself have slept, and then most of this sleep was the two waking each other up, which they will not
    /// have to once both spin. A device is as slow the next time.
    pub(crate) fn slept(&self, since: Option<Instant>, by_thread: bool) {
        if let Some(since) = since {
            self.slept_for(since.elapsed(), by_thread);
        }
    }

    fn slept_for(&self, time: Duration, by_thread: bool) {
        let worth = if by_thread { self.longest.max(TWO_WAKES) } else { self.longest };
        if time < worth {
            self.earn();
        }
    }

    fn earn(&self) {
        self.credit.set((self.credit.get() + 1).min(MOST_CREDIT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_in_vain_ends() {
        let spin = Spin::new(Duration::from_micros(1));
        let spins = (0..100).filter(|_| {
            let looks = Cell::new(0);
            spin.run(None, || {
                looks.set(looks.get() + 1);
                false
            });
            looks.get() > 0
        });
        assert_eq!(spins.count(), usize::from(MOST_CREDIT.div_ceil(PRICE)));
    }

    #[test]
    fn a_short_sleep_earns_a_spin() {
        let spin = Spin::new(Duration::from_secs(60));
        spin.credit.set(0);
        assert!(!spin.run(None, || true), "no credit: it does not even look");
        spin.slept(spin.sleeps(), false);
        assert!(spin.run(None, || true));
    }

    #[test]
    fn two_threads_that_wake_each_other_earn_a_spin() {
        let spin = Spin::new(Duration::from_nanos(1));
        spin.credit.set(0);
        spin.slept_for(TWO_WAKES / 2, false);
        assert_eq!(spin.credit.get(), 0);
        spin.slept_for(TWO_WAKES / 2, true);
        spin.slept_for(TWO_WAKES, true);
        assert_eq!(spin.credit.get(), 1);
    }

    #[test]
    fn a_find_near_the_end_of_a_spin_does_not_pay() {
        let spin = Spin::new(Duration::from_secs(60));
        spin.credit.set(2);
        spin.found(Some(Instant::now() + Duration::from_secs(1))); // 59 of 60 seconds are over
        assert_eq!(spin.credit.get(), 1);
        spin.found(Some(Instant::now() + Duration::from_secs(59)));
        spin.found(None);
        assert_eq!(spin.credit.get(), 3);
    }

    #[test]
    fn a_deadline_ends_the_spin() {
        let spin = Spin::new(Duration::from_secs(60));
        assert!(spin.run(Some(Instant::now() + Duration::from_millis(1)), || false));
        assert_eq!(spin.credit.get(), MOST_CREDIT);
    }

    #[test]
    fn no_spin_means_no_look() {
        let spin = Spin::new(Duration::ZERO);
        assert!(!spin.run(None, || panic!("looked")));
        assert_eq!(spin.sleeps(), None);
    }
}
