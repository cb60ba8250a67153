//! One thread that keeps the timers of futures which no runtime of ours polls.
//!
//! Knows: `sync`, wakers as values, forks. Does not know: what is waited for, executors.
//!
//! It is started with the first timer that needs it and then lives as long as the process, asleep whenever nothing is
//! due; a process that never arms such a timer never has it. A timer is one entry in a book: disarming takes the entry
//! out, so what was given up is neither kept nor woken for.
//!
//! ```text
//!   arm ──► book ── its instant comes ──► taken out under the lock ──► woken after it, panics contained (I7)
//!            └── disarmed ──► taken out
//! ```
//!
//! A child process after `fork` has neither the thread nor anybody who would release the lock, if that was held. So it
//! begins a book of its own, and a thread with it. What stands in its parent's is not armed there: whoever polls such a
//! future again arms it anew.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

#[cfg(not(millstream_loom))]
pub(crate) use process::{CLOCK, arm};
#[cfg(all(test, not(millstream_loom)))]
pub(crate) use process::{armed, is_started};

use super::contain::contain;
use super::executor::Timer;
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How many wakers are taken out under one lock.
const BATCH: usize = 64;

/// The timers of one process, and its thread that keeps them.
struct Book {
    /// Of the process: see [`forks`](super::forks).
    generation: u32,
    timers: Mutex<Timers>,
    changed: Condvar,
}

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

impl Book {
    fn new(generation: u32) -> Self {
        let timers = Timers { armed: BTreeMap::new(), arms: 0, thread: Thread::NotStarted };
        Self { generation, timers: Mutex::new(timers), changed: Condvar::new() }
    }

    /// No user code runs under this lock (I7): wakers are cloned before, called and dropped after.
    fn timers(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a timer, having called `start` if there is no thread yet.
    fn arm<E>(
        &self,
        instant: Instant,
        waker: &Waker,
        start: impl FnOnce() -> Result<(), E>,
    ) -> Result<Timer, E> {
        let waker = waker.clone();
        let mut timers = self.timers();
        if matches!(timers.thread, Thread::NotStarted) {
            if let Err(error) = start() {
                drop(timers); // before the waker
                return Err(error);
            }
            timers.thread = Thread::Awake; // it is about to look
        }
        let key = timers.arms;
        timers.arms += 1;
        timers.armed.insert((instant, key), waker);
        if let Thread::Asleep { until } = timers.thread
            && until.is_none_or(|until| instant < until && !planted!("timer-thread-is-told-of-the-first"))
        {
            timers.thread = Thread::Awake; // told once, however many come before it runs
            self.changed.notify_one();
        }
        Ok(Timer { instant, owner: self.generation.into(), key })
    }

    /// Whether the timer has not fired; if so, it is `waker` that it wakes.
    fn keep(&self, timer: &Timer, waker: &Waker) -> bool {
        let key = (timer.instant, timer.key);
        match self.timers().armed.get(&key) {
            None => return false,
            Some(armed) if armed.will_wake(waker) => return true,
            Some(_) => {}
        }
        let mut other = Some(waker.clone());
        let armed = match self.timers().armed.get_mut(&key) {
            Some(armed) => {
                other = other.map(|waker| std::mem::replace(armed, waker));
                true
            }
            None => false, // it has fired meanwhile
        };
        contain(|| drop(other));
        armed
    }

    fn disarm(&self, timer: &Timer) -> Option<Waker> {
        self.timers().armed.remove(&(timer.instant, timer.key))
    }

    /// Wakes who is due; sleeps if nobody is, until somebody may be. `due` is empty before and after.
    fn turn<'a>(
        &'a self,
        mut timers: MutexGuard<'a, Timers>,
        due: &mut Vec<Waker>,
    ) -> MutexGuard<'a, Timers> {
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
            return self.timers();
        }
        let until = timers.armed.keys().next().map(|(instant, _)| *instant);
        if planted!("timer-thread-sleeps-on-an-old-look") {
            drop(timers);
            timers = self.timers();
        }
        timers.thread = Thread::Asleep { until };
        timers = match until {
            None => self.changed.wait(timers).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                self.changed.wait_timeout(timers, until - now).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        timers.thread = Thread::Awake;
        timers
    }
}

#[cfg(not(millstream_loom))]
mod process {
    use super::{BATCH, Book, Instant, Timer, Waker};
    use crate::sync::thread;
    use crate::util::executor::Clock;
    use crate::util::forks::{self, PerProcess};

    /// The thread, as one who keeps timers.
    pub(crate) static CLOCK: Clock = Clock {
        arm: |instant, waker| Some(arm(instant, waker)),
        keep: |timer, waker| of(timer).is_some_and(|book| book.keep(timer, waker)),
        disarm: |timer| of(timer)?.disarm(timer),
    };

    static BOOK: PerProcess<Book> = PerProcess::new(|| Book::new(forks::generation()));

    /// The book that a timer stands in, if that is this process's.
    fn of(timer: &Timer) -> Option<&'static Book> {
        BOOK.find().filter(|book| u64::from(book.generation) == timer.owner)
    }

    /// Arms a timer that wakes `waker` at the instant or later.
    ///
    /// # Panics
    ///
    /// If the thread has to be started and cannot be.
    pub(crate) fn arm(instant: Instant, waker: &Waker) -> Timer {
        let book = BOOK.get();
        let start = || thread::Builder::new().name("millstream-timer".into()).spawn(|| run(book)).map(drop);
        book.arm(instant, waker, start).unwrap_or_else(|error| {
            panic!("the thread that keeps timers for other executors cannot be started: {error}")
        })
    }

    fn run(book: &'static Book) {
        let mut due = Vec::with_capacity(BATCH);
        let mut timers = book.timers();
        loop {
            timers = book.turn(timers, &mut due);
        }
    }

    /// How many timers are armed here.
    #[cfg(test)]
    pub(crate) fn armed() -> usize {
        BOOK.find().map_or(0, |book| book.timers().armed.len())
    }

    /// Whether the thread was ever needed.
    #[cfg(test)]
    pub(crate) fn is_started() -> bool {
        BOOK.find().is_some_and(|book| !matches!(book.timers().thread, super::Thread::NotStarted))
    }
}

#[cfg(all(test, millstream_loom))]
mod tests;
