//! Being woken at an instant, wherever one is polled: by the runtime that polls here, or by a thread of ours.
//!
//! Knows: the hooks of whoever polls, the timer thread. Does not know: the runtime, what is waited for.

use std::task::Waker;
use std::time::Instant;

use super::contain::contain;
use super::executor::{self, Clock, Timer};
use super::timer_thread;

/// The timer of one future. Disarmed when dropped.
///
/// ```text
///   Off ── set ──► Armed ── set elsewhere, or for another instant ──► Armed there, disarmed here
///    │               └── cancel ──► Off
///    └── set without an instant ──► Quiet ── cancel ──► Off
/// ```
///
/// One that has fired is still `Armed`: the clock it names knows that it has, and disarming it finds nothing.
#[derive(Debug)]
pub(crate) struct Alarm(State);

#[derive(Debug)]
enum State {
    Off,
    /// Nothing but a cancel will wake it.
    Quiet(Waker),
    Armed(&'static Clock, Timer),
}

impl Alarm {
    pub(crate) const fn off() -> Self {
        Self(State::Off)
    }

    /// Sees to it that `waker` is called at the instant or later, and no other one. Without an instant it is only kept
    /// for [`cancel`](Self::cancel).
    ///
    /// # Panics
    ///
    /// If the timer thread is needed and cannot be started.
    pub(crate) fn set(&mut self, instant: Option<Instant>, waker: &Waker) {
        let kept = match (&self.0, instant) {
            (State::Quiet(kept), None) => kept.will_wake(waker),
            (State::Armed(clock, timer), Some(instant)) => {
                timer.instant == instant && (clock.keep)(timer, waker)
            }
            _ => false,
        };
        if kept {
            return;
        }
        self.clear();
        self.0 = match instant {
            None => State::Quiet(waker.clone()),
            Some(instant) => {
                let here = executor::clock().and_then(|clock| Some((clock, (clock.arm)(instant, waker)?)));
                let (clock, timer) =
                    here.unwrap_or_else(|| (&timer_thread::CLOCK, timer_thread::arm(instant, waker)));
                State::Armed(clock, timer)
            }
        };
    }

    /// Disarms it, and gives back whom it would have woken, unless it has, or is kept on another thread, which then does.
    pub(crate) fn cancel(&mut self) -> Option<Waker> {
        match std::mem::replace(&mut self.0, State::Off) {
            State::Off => None,
            State::Quiet(waker) => Some(waker),
            State::Armed(clock, timer) => (clock.disarm)(&timer),
        }
    }

    /// Disarms it, and wakes nobody here.
    pub(crate) fn clear(&mut self) {
        if let Some(waker) = self.cancel() {
            contain(|| drop(waker)); // user code, perhaps in the middle of a drop
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clear();
    }
}
