//! One thread that keeps the timers of futures which no runtime of ours polls.
//!
//! Knows: `sync`, wakers as values. Does not know: what is waited for, executors.
//!
//! It is started with the first timer that needs it and then lives as long as the process, asleep whenever nothing is
//! due; a process that never arms such a timer never has it. A timer is one entry in a sorted map: disarming takes the
//! entry out, so what was given up is neither kept nor woken for. A process forked from one that has the thread does not
//! have it, as it has none of the other threads.
//!
//! ```text
//!   arm ──► map ── its instant comes ──► taken out under the lock ──► woken after it, panics contained (I7)
//!            └── disarmed ──► taken out
//! ```

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

use super::contain::contain;
use super::executor::{Clock, Timer};
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError, thread};

/// The thread, as one who keeps timers.
pub(crate) static CLOCK: Clock = Clock {
    arm: |instant, waker| Some(arm(instant, waker)),
    keep: |timer, waker| keep(timer, waker),
    disarm,
};

static TIMERS: Mutex<Timers> =
    Mutex::new(Timers { armed: BTreeMap::new(), arms: 0, thread: Thread::NotStarted });
static CHANGED: Condvar = Condvar::new();

/// How many wakers are taken out under one lock.
const BATCH: usize = 64;

struct Timers {
    /// By instant, and of one instant in the order of arming.
    armed: BTreeMap<(Instant, u64), Waker>,
    /// How many were ever armed: what tells two of one instant apart.
    arms: u64,
    thread: Thread,
}

/// What the thread does. Only in `Asleep` it has to be told of a timer that comes before what it sleeps for.
enum Thread {
    NotStarted,
    Awake,
    Asleep { until: Option<Instant> },
}

/// No user code runs under this lock (I7): wakers are cloned before, called and dropped after.
fn timers() -> MutexGuard<'static, Timers> {
    TIMERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Arms a timer that wakes `waker` at the instant or later.
///
/// # Panics
///
/// If the thread has to be started and cannot be.
pub(crate) fn arm(instant: Instant, waker: &Waker) -> Timer {
    let waker = waker.clone();
    let mut timers = timers();
    if matches!(timers.thread, Thread::NotStarted) {
        if let Err(error) = thread::Builder::new().name("millstream-timer".into()).spawn(run) {
            drop(timers);
            panic!("the thread that keeps timers for other executors cannot be started: {error}");
        }
        timers.thread = Thread::Awake; // it is about to look
    }
    let key = timers.arms;
    timers.arms += 1;
    timers.armed.insert((instant, key), waker);
    if let Thread::Asleep { until } = timers.thread
        && until.is_none_or(|until| instant < until)
    {
        timers.thread = Thread::Awake; // told once, however many come before it runs
        CHANGED.notify_one();
    }
    Timer { instant, owner: 0, key }
}

/// Whether the timer has not fired; if so, it is `waker` that it wakes.
fn keep(timer: &Timer, waker: &Waker) -> bool {
    let key = (timer.instant, timer.key);
    match timers().armed.get(&key) {
        None => return false,
        Some(armed) if armed.will_wake(waker) => return true,
        Some(_) => {}
    }
    let mut other = Some(waker.clone());
    let armed = match timers().armed.get_mut(&key) {
        Some(armed) => {
            other = other.map(|waker| std::mem::replace(armed, waker));
            true
        }
        None => false, // it has fired meanwhile
    };
    contain(|| drop(other));
    armed
}

fn disarm(timer: &Timer) -> Option<Waker> {
    timers().armed.remove(&(timer.instant, timer.key))
}

fn run() {
    let mut due = Vec::with_capacity(BATCH);
    let mut timers = timers();
    loop {
        let now = Instant::now();
        while due.len() < BATCH
            && let Some(first) = timers.armed.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        if !due.is_empty() {
            drop(timers);
            for waker in due.drain(..) {
                contain(|| waker.wake());
            }
            timers = self::timers();
            continue;
        }
        let until = timers.armed.keys().next().map(|(instant, _)| *instant);
        timers.thread = Thread::Asleep { until };
        timers = match until {
            None => CHANGED.wait(timers).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                CHANGED.wait_timeout(timers, until - now).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        timers.thread = Thread::Awake;
    }
}

/// How many timers are armed here.
#[cfg(test)]
pub(crate) fn armed() -> usize {
    timers().armed.len()
}

/// Whether the thread was ever needed.
#[cfg(test)]
pub(crate) fn is_started() -> bool {
    !matches!(timers().thread, Thread::NotStarted)
}
