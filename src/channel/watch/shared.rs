//! What all ends share: the value behind a lock, and who waits for another one.
//!
//! Knows: the lock, cells, waiters, wakes, the poll budget. Does not know: futures, endpoint types.
#![allow(unsafe_code, reason = "links waiters that live in futures and receivers")]

use core::fmt;
use core::task::{Context, Poll, Waker};

use crate::channel::cell::{Held, Spare};
use crate::channel::condition::{poll_until, tell_all, tell_front, withdraw};
use crate::channel::lock::Lock;
use crate::channel::waiter::{Line, State, Waiter};
use crate::channel::wake::{contain, deliver};
use crate::util::executor;

/// The state behind the lock.
///
/// ```text
///   push      version + 1, the old value out        pop       version > seen: a hold on the value, and its version
///   close     nothing more is pushed                          version = seen: wait; closed: the end
/// ```
///
/// A version is seen when its value is returned, and not before: a pop that is dropped has seen nothing.
struct Engine<T> {
    current: Held<T>,
    /// The initial value is 1, so that somebody who has seen 0 has seen nothing.
    version: u64,
    spares: Vec<Spare<T>>,
    /// Receivers that wait for another version, each with the one it has seen: never decreasing.
    poppers: Line<u64>,
    /// Who waits for the channel to be closed.
    closers: Line<u64>,
    senders: usize,
    receivers: usize,
    closed: bool,
}

/// One watched value.
pub(super) struct Shared<T> {
    engine: Lock<Engine<T>>,
}

// SAFETY: (I5) values move between threads and are looked at on several, hence `T: Send + Sync`. The raw links of the
// engine lead to waiters that are pinned and followed only under the lock, which whoever unlinks and frees one takes too.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: (I5) as above.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

/// Why a push did not take effect.
pub(super) enum Refused<T> {
    /// The channel is closed.
    Closed(T),
    /// The value that was to be replaced is not there any more.
    Replaced(T),
}

/// A hold on a version of the value, outside the lock.
pub(super) struct Loan<'a, T> {
    shared: &'a Shared<T>,
    held: Option<Held<T>>,
    pub(super) version: u64,
}

impl<T> Loan<'_, T> {
    pub(super) fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        match &self.held {
            Some(held) => held.with(f),
            None => unreachable!("given back by the drop only"),
        }
    }
}

impl<T> Drop for Loan<'_, T> {
    fn drop(&mut self) {
        if let Some((value, place)) = self.held.take().and_then(Held::release) {
            self.shared.engine.lock().spares.push(place); // it was replaced meanwhile
            contain(|| drop(value));
        }
    }
}

impl<T> Shared<T> {
    /// One end of each kind.
    pub(super) fn new(initial: T) -> Self {
        Self {
            engine: Lock::new(Engine {
                current: Spare::new().fill(initial),
                version: 1,
                spares: Vec::new(),
                poppers: Line::new(),
                closers: Line::new(),
                senders: 1,
                receivers: 1,
                closed: false,
            }),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.engine.lock().closed
    }

    pub(super) fn version(&self) -> u64 {
        self.engine.lock().version
    }

    /// Whether who has seen this version will never see another.
    pub(super) fn has_ended(&self, seen: u64) -> bool {
        let engine = self.engine.lock();
        engine.closed && engine.version == seen
    }

    /// Whether there is something to tell who has seen this version: another one, or that none will come.
    pub(super) fn has_news(&self, seen: u64) -> bool {
        self.engine.lock().find(seen).is_ready()
    }

    /// The current value.
    pub(super) fn borrow(&self) -> Loan<'_, T> {
        let engine = self.engine.lock();
        Loan { shared: self, held: Some(engine.current.share()), version: engine.version }
    }

    /// Replaces the value; if a version is given, only that one.
    pub(super) fn push(&self, value: T, replacing: Option<u64>) -> Result<(), Refused<T>> {
        let mut engine = self.engine.lock();
        if engine.closed {
            return Err(Refused::Closed(value));
        }
        if replacing.is_some_and(|version| version != engine.version) {
            return Err(Refused::Replaced(value));
        }
        let (old, popper) = engine.replace(value);
        let limit = engine.version;
        let more = engine.poppers.front().is_some_and(|seen| *seen < limit);
        drop(engine);
        deliver(popper);
        contain(|| drop(old));
        if more && !planted!("watch-tells-one") {
            self.tell_others(limit);
        }
        Ok(())
    }

    /// Tells who has not seen any version from `limit` on. What others push meanwhile, they tell of.
    #[cold]
    fn tell_others(&self, limit: u64) {
        tell_all(&self.engine, |engine, wakers, _: &mut Option<()>| {
            wakers.iter_mut().all(|slot| {
                *slot = tell_front(&mut engine.poppers, limit);
                slot.is_some()
            });
            wakers.last().is_none_or(Option::is_none)
        });
    }

    /// A version that is not `seen`, if it is there. `None`: there will be none.
    pub(super) fn try_borrow(&self, seen: u64) -> Poll<Option<Loan<'_, T>>> {
        let found = self.engine.lock().find(seen);
        found.map(|found| found.map(|(held, version)| Loan { shared: self, held: Some(held), version }))
    }

    /// Polls for a version that is not `seen`. `None`: there will be none.
    ///
    /// # Safety
    /// The caller owns the waiter, uses it with this channel's values only, keeps it where it is in memory, and calls
    /// [`withdraw_pop`](Self::withdraw_pop) before freeing it.
    pub(super) unsafe fn poll_borrow(
        &self,
        seen: u64,
        waiter: &Waiter<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Loan<'_, T>>> {
        if waiter.state() == State::Idle && !executor::spend(cx) {
            return Poll::Pending;
        }
        let attempt = |engine: &mut Engine<T>| match engine.find(seen) {
            Poll::Ready(found) => Ok(found),
            Poll::Pending => Err(seen),
        };
        // SAFETY: (I3) by this function's contract; whoever is taken out of the line is `Notified`.
        let polled = unsafe { poll_until(&self.engine, poppers, waiter, cx, attempt, |at, seen| *at = seen) };
        polled.map(|found| found.map(|(held, version)| Loan { shared: self, held: Some(held), version }))
    }

    /// Takes a receiver's waiter out of the line of those who wait for values.
    ///
    /// # Safety
    /// As for [`poll_borrow`](Self::poll_borrow).
    pub(super) unsafe fn withdraw_pop(&self, waiter: &Waiter<u64>) -> Option<Waker> {
        // SAFETY: (I3) by this function's contract.
        unsafe { withdraw(&self.engine, poppers, waiter) }
    }

    // ---- ends ----

    pub(super) fn close(&self) -> bool {
        let first = !core::mem::replace(&mut self.engine.lock().closed, true);
        if first {
            self.end_waiters();
            executor::deliver();
        }
        first
    }

    #[cold]
    fn end_waiters(&self) {
        tell_all(&self.engine, |engine, wakers, _: &mut Option<()>| {
            wakers.iter_mut().all(|slot| {
                let ended = if planted!("watch-close-forgets-poppers") {
                    None
                } else {
                    engine.poppers.finish_front(State::Notified, |_| ())
                };
                let ended = ended.or_else(|| engine.closers.finish_front(State::Notified, |_| ()));
                *slot = ended.map(|((), waker)| waker);
                slot.is_some()
            });
            wakers.last().is_none_or(Option::is_none)
        });
    }

    /// Polls for the close.
    ///
    /// # Safety
    /// As for [`poll_borrow`](Self::poll_borrow), with [`withdraw_closed`](Self::withdraw_closed).
    pub(super) unsafe fn poll_closed(&self, waiter: &Waiter<u64>, cx: &mut Context<'_>) -> Poll<()> {
        if waiter.state() == State::Idle && !executor::spend(cx) {
            return Poll::Pending;
        }
        let attempt = |engine: &mut Engine<T>| if engine.closed { Ok(()) } else { Err(()) };
        // SAFETY: (I3) as in `poll_borrow`.
        unsafe { poll_until(&self.engine, closers, waiter, cx, attempt, |_, ()| ()) }
    }

    /// Takes a waiter out of the line of those who wait for the close.
    ///
    /// # Safety
    /// As for [`poll_closed`](Self::poll_closed).
    pub(super) unsafe fn withdraw_closed(&self, waiter: &Waiter<u64>) -> Option<Waker> {
        // SAFETY: (I3) by this function's contract.
        unsafe { withdraw(&self.engine, closers, waiter) }
    }

    pub(super) fn senders(&self) -> usize {
        self.engine.lock().senders
    }

    pub(super) fn receivers(&self) -> usize {
        self.engine.lock().receivers
    }

    pub(super) fn add_sender(&self) {
        self.engine.lock().senders += 1;
    }

    /// One sender less; the last closes.
    pub(super) fn remove_sender(&self) {
        let mut engine = self.engine.lock();
        engine.senders -= 1;
        let last = engine.senders == 0;
        drop(engine);
        if last {
            self.close();
        }
    }

    pub(super) fn add_receiver(&self) {
        self.engine.lock().receivers += 1;
    }

    pub(super) fn remove_receiver(&self) {
        self.engine.lock().receivers -= 1;
    }

    pub(super) fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name).field("closed", &self.is_closed()).finish_non_exhaustive()
    }

    /// Places for values that lie idle.
    #[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
    pub(super) fn spare_places(&self) -> usize {
        self.engine.lock().spares.len()
    }
}

impl<T> Engine<T> {
    /// A hold on the value if its version is not `seen`; `None` if no other will come.
    fn find(&self, seen: u64) -> Poll<Option<(Held<T>, u64)>> {
        let hidden = planted!("watch-close-hides-the-last-value") && self.closed;
        if self.version > seen && !hidden {
            Poll::Ready(Some((self.current.share(), self.version)))
        } else if self.closed {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }

    /// Replaces the value. Returns the old one if nobody looks at it, and who is first to be told.
    fn replace(&mut self, value: T) -> (Option<T>, Option<Waker>) {
        let place = self.spares.pop().unwrap_or_else(Spare::new);
        let old = core::mem::replace(&mut self.current, place.fill(value));
        self.version += 1;
        let old = old.release().map(|(value, place)| {
            self.spares.push(place);
            value
        });
        (old, tell_front(&mut self.poppers, self.version))
    }
}

fn poppers<T>(engine: &mut Engine<T>) -> &mut Line<u64> {
    &mut engine.poppers
}

fn closers<T>(engine: &mut Engine<T>) -> &mut Line<u64> {
    &mut engine.closers
}
