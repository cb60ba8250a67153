//! A runtime's timers: the wheel, tied to the clock and kept apart from user code.
//!
//! Knows: the wheel, `Instant`. Does not know: who awaits a timer.

mod wheel;

use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::{Duration, Instant};

use wheel::{Armed, LAST_TICK, Wheel};

pub(crate) use wheel::TimerKey;

/// The timers of one runtime.
///
/// A tick is a millisecond since the first timer was armed. A deadline is rounded up to its tick, and a tick has come
/// when it is wholly over: so no timer fires early.
#[derive(Debug)]
pub(crate) struct Timers {
    /// Made with the first timer: a runtime without timers pays nothing for them.
    wheel: RefCell<Option<Box<Wheel>>>,
    start: Cell<Option<Instant>>,
    armed: Cell<usize>,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self { wheel: RefCell::new(None), start: Cell::new(None), armed: Cell::new(0) }
    }

    /// How many timers have neither fired nor been disarmed.
    #[inline]
    pub(crate) fn armed(&self) -> usize {
        self.armed.get()
    }

    /// Runs `f` on the wheel. No user code inside (I7): wakers go in and come out by value.
    fn on<R>(&self, f: impl FnOnce(&mut Wheel) -> R) -> R {
        let mut wheel = self.wheel.borrow_mut();
        let wheel = wheel.get_or_insert_with(|| Box::new(Wheel::new()));
        let result = f(wheel);
        self.armed.set(wheel.armed());
        result
    }

    fn start(&self) -> Instant {
        self.start.get().unwrap_or_else(|| {
            let now = Instant::now();
            self.start.set(Some(now));
            now
        })
    }

    /// Arms a timer that wakes `waker` at the deadline or up to a tick later.
    pub(crate) fn arm(&self, deadline: Instant, waker: Waker) -> TimerKey {
        let since = deadline.saturating_duration_since(self.start());
        let tick = since.as_nanos().div_ceil(1_000_000);
        self.on(|wheel| wheel.arm(u64::try_from(tick).unwrap_or(LAST_TICK), waker))
    }

    /// Whether the timer is still armed.
    pub(crate) fn is_armed(&self, key: TimerKey) -> bool {
        self.on(|wheel| wheel.is_armed(key))
    }

    /// Whether the timer is still armed; if so, it is `waker` that it wakes.
    pub(crate) fn poll(&self, key: TimerKey, waker: &Waker) -> bool {
        match self.on(|wheel| wheel.update(key, waker)) {
            Armed::Fired => false,
            Armed::Same => true,
            Armed::Other => {
                let waker = waker.clone();
                let old = self.on(|wheel| wheel.replace(key, waker));
                drop(old);
                true
            }
        }
    }

    /// Disarms the timer if it has not fired, and gives its waker back.
    pub(crate) fn disarm(&self, key: TimerKey) -> Option<Waker> {
        self.on(|wheel| wheel.disarm(key))
    }

    /// When the thread should wake up for the timers: not later than the first deadline's tick.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.armed.get() == 0 {
            return None;
        }
        let tick = self.on(|wheel| wheel.next_tick())?;
        self.start().checked_add(Duration::from_millis(tick))
    }

    /// Lets time pass: what comes by `now` is due.
    pub(crate) fn advance(&self, now: Instant) {
        let tick = now.saturating_duration_since(self.start()).as_millis();
        self.on(|wheel| wheel.advance(u64::try_from(tick).unwrap_or(LAST_TICK)));
    }

    /// Takes the waker of the first timer that is due.
    pub(crate) fn pop_due(&self) -> Option<Waker> {
        self.on(Wheel::pop_due)
    }

    /// Takes the wakers out of all timers, one by one, for the end of the runtime.
    pub(crate) fn take_waker(&self, from: usize) -> Option<(usize, Waker)> {
        if self.armed.get() == 0 {
            return None;
        }
        self.on(|wheel| wheel.take_waker(from))
    }
}
