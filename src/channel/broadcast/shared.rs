//! What all ends of one broadcast share. Every operation goes through here: lock, let the engine decide, unlock, and
//! only then wake and drop.
//!
//! Knows: the engine, the lock, wakes, the poll budget. Does not know: futures, endpoint types.
#![allow(unsafe_code, reason = "hands waiters that live in futures to the engine")]

use core::fmt;
use core::task::{Context, Poll, Waker};

use super::engine::{After, Engine, Missing, Offer, Overflow, Refused, Taken};
use crate::channel::cell::{Held, Spare};
use crate::channel::condition::{poll_until, tell_all, withdraw};
use crate::channel::error::{PushError, TryPushError};
use crate::channel::lock::Lock;
use crate::channel::waiter::{Line, State, Waiter};
use crate::channel::wake::contain;
use crate::util::executor;

/// One broadcast.
pub(super) struct Shared<T> {
    engine: Lock<Engine<T>>,
    capacity: usize,
    overflow: Overflow,
}

// SAFETY: (I5) values move between threads and are looked at on several, hence `T: Send + Sync`. The raw links of the
// engine lead to waiters that are pinned and followed only under the lock, which whoever unlinks and frees one takes too.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: (I5) as above.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// A channel with one end of each kind; `None` if there is no memory for that many slots.
    pub(super) fn try_new(capacity: usize, overflow: Overflow) -> Option<Self> {
        Some(Self { engine: Lock::new(Engine::try_new(capacity, overflow)?), capacity, overflow })
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn overflow(&self) -> Overflow {
        self.overflow
    }

    /// Looks at the engine; `f` is ours and short.
    pub(super) fn look<R>(&self, f: impl FnOnce(&Engine<T>) -> R) -> R {
        f(&self.engine.lock())
    }

    /// Changes the engine, and does afterwards what that entails.
    fn change<R>(&self, f: impl FnOnce(&mut Engine<T>) -> (R, After<T>)) -> R {
        let (result, after) = f(&mut self.engine.lock());
        self.finish(after);
        result
    }

    /// Wakes and drops what a change left over.
    #[inline]
    fn finish(&self, after: After<T>) {
        let After { wakes, garbage, more, limit } = after;
        wakes.deliver();
        if let Some(value) = garbage {
            contain(|| drop(value));
        }
        if more {
            self.finish_others(limit);
        }
    }

    /// Tells a batch of waiters at a time: their wakers run outside the lock, and once it is released a waiter not yet
    /// told may be gone, so none can be remembered across it.
    #[cold]
    fn finish_others(&self, mut limit: u64) {
        tell_all(&self.engine, |engine, wakers, garbage| engine.tell_some(&mut limit, wakers, garbage));
    }

    pub(super) fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, closed) = self.look(|engine| (engine.len(), engine.is_closed()));
        let mut out = f.debug_struct(name);
        out.field("capacity", &self.capacity)
            .field("overflow", &self.overflow)
            .field("len", &len)
            .field("closed", &closed)
            .finish_non_exhaustive()
    }

    // ---- push ----

    #[inline]
    pub(super) fn try_push(&self, value: T) -> Result<(), TryPushError<T>> {
        let mut slot = Some(value);
        let outcome = self.engine.lock().try_push(&mut slot);
        match (outcome, slot) {
            (Err(Refused::Full), Some(value)) => Err(TryPushError::Full(value)),
            (Err(Refused::Closed), Some(value)) => Err(TryPushError::Closed(value)),
            (outcome, _) => {
                outcome.into_iter().for_each(|after| self.finish(after));
                Ok(())
            }
        }
    }

    /// Polls a push.
    ///
    /// # Safety
    /// The caller owns the waiter, uses it with this channel only, keeps it where it is in memory, and calls
    /// [`withdraw_push`](Self::withdraw_push) before freeing it.
    pub(super) unsafe fn poll_push(
        &self,
        waiter: &Waiter<Offer<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PushError<T>>> {
        match waiter.state() {
            State::Idle => {
                if !executor::spend(cx) {
                    return Poll::Pending;
                }
            }
            State::Queued | State::Notified => {}
            State::Taken | State::Closed | State::Cancelled => {
                // SAFETY: (I3) by this function's contract, and final.
                return Poll::Ready(unsafe { resolve(waiter) });
            }
            State::Finished => panic!("a push was polled after it had resolved"),
        }
        let attempt = |engine: &mut Engine<T>| {
            let granted = match waiter.state() {
                State::Queued => return Err(()),
                State::Notified => true,
                State::Idle => false,
                _ => return Ok(None),
            };
            // SAFETY: (I3) the lock is held, and the waiter not in line.
            match engine.push(&mut unsafe { waiter.payload() }.value, granted) {
                Ok(after) => {
                    waiter.set(State::Taken);
                    Ok(Some(after))
                }
                Err(Refused::Closed) => {
                    waiter.set(State::Closed);
                    Ok(None)
                }
                Err(Refused::Full) => Err(()),
            }
        };
        // SAFETY: (I3) by this function's contract; the engine moves whom it takes out of the line to another state.
        unsafe { poll_until(&self.engine, pushers, waiter, cx, attempt, |_, ()| ()) }.map(|after| {
            after.into_iter().for_each(|after| self.finish(after));
            // SAFETY: (I3) `Taken` or `Closed`, by the attempt or before it.
            unsafe { resolve(waiter) }
        })
    }

    /// Withdraws a push: afterwards it is `Taken`, or `Idle`/`Closed`/`Cancelled`/`Finished` with its value (if not
    /// handed out) still in the waiter.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push).
    pub(super) unsafe fn withdraw_push(&self, waiter: &Waiter<Offer<T>>) -> Option<Waker> {
        if !matches!(waiter.state(), State::Queued | State::Notified) {
            return None;
        }
        let mut engine = self.engine.lock();
        let (mut own, mut after) = (None, None);
        match waiter.state() {
            State::Queued => {
                // SAFETY: (I3) `Queued` under the lock is linked here.
                own = Some(unsafe { engine.pushers.remove(waiter) });
                waiter.set(State::Cancelled);
                after = Some(engine.leave_line());
            }
            State::Notified => {
                waiter.set(State::Cancelled);
                after = Some(engine.return_grant());
            }
            _ => {} // pulled, or told of the close, since the first look
        }
        drop(engine);
        after.into_iter().for_each(|after| self.finish(after));
        own
    }

    /// Makes a push one that only its own poll may complete.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push).
    pub(super) unsafe fn commit_push_on_poll(&self, waiter: &Waiter<Offer<T>>) {
        let parked = (waiter.state() != State::Idle).then(|| self.engine.lock());
        // SAFETY: (I3) never parked, so the owner's alone, or the lock is held.
        unsafe { waiter.payload() }.by_poll = true;
        drop(parked);
    }

    // ---- pop ----

    #[inline]
    pub(super) fn try_take(&self, position: &mut u64) -> Result<Taken<T>, Missing> {
        let (taken, after) = self.engine.lock().take(position)?;
        self.finish(after);
        Ok(taken)
    }

    /// Polls for the next value of the receiver at `position`.
    ///
    /// # Safety
    /// The caller owns the waiter, uses it with this channel's values only, keeps it where it is in memory, and calls
    /// [`withdraw_pop`](Self::withdraw_pop) before freeing it.
    pub(super) unsafe fn poll_take(
        &self,
        position: &mut u64,
        waiter: &Waiter<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Taken<T>, Missing>> {
        if waiter.state() == State::Idle && !executor::spend(cx) {
            return Poll::Pending;
        }
        let attempt = |engine: &mut Engine<T>| match engine.take(position) {
            Err(Missing::Empty) => Err(*position),
            outcome => Ok(outcome),
        };
        // SAFETY: (I3) by this function's contract; the engine moves whom it takes out of the line to another state.
        let polled =
            unsafe { poll_until(&self.engine, poppers, waiter, cx, attempt, |at, position| *at = position) };
        polled.map(|outcome| {
            let (taken, after) = outcome?;
            self.finish(after);
            Ok(taken)
        })
    }

    /// Takes a receiver's waiter out of the line of those who wait for values.
    ///
    /// # Safety
    /// As for [`poll_take`](Self::poll_take).
    pub(super) unsafe fn withdraw_pop(&self, waiter: &Waiter<u64>) -> Option<Waker> {
        // SAFETY: (I3) by this function's contract.
        unsafe { withdraw(&self.engine, poppers, waiter) }
    }

    /// A place for values comes back.
    pub(super) fn put_back(&self, place: Spare<T>) {
        self.engine.lock().put_back(place);
    }

    /// Gives up a hold on a value; the last one drops it.
    pub(super) fn release(&self, held: Held<T>) {
        if let Some((value, place)) = held.release() {
            self.put_back(place);
            contain(|| drop(value));
        }
    }

    // ---- ends ----

    pub(super) fn close(&self) -> bool {
        self.end(Engine::close)
    }

    /// Polls for the close.
    ///
    /// # Safety
    /// As for [`poll_take`](Self::poll_take), with [`withdraw_closed`](Self::withdraw_closed).
    pub(super) unsafe fn poll_closed(&self, waiter: &Waiter<u64>, cx: &mut Context<'_>) -> Poll<()> {
        if waiter.state() == State::Idle && !executor::spend(cx) {
            return Poll::Pending;
        }
        let attempt = |engine: &mut Engine<T>| if engine.is_closed() { Ok(()) } else { Err(()) };
        // SAFETY: (I3) as in `poll_take`.
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

    pub(super) fn add_sender(&self) {
        self.engine.lock().add_sender();
    }

    pub(super) fn remove_sender(&self) {
        self.end(Engine::remove_sender);
    }

    /// Whether the channel is closed by this. Then whoever waited is awake: as for the other flavors.
    fn end(&self, f: impl FnOnce(&mut Engine<T>) -> (bool, After<T>)) -> bool {
        let closed = self.change(f);
        if closed {
            executor::deliver();
        }
        closed
    }

    /// One more receiver: beside one at a position, or from now on. Returns its position.
    pub(super) fn add_receiver(&self, beside: Option<u64>) -> u64 {
        self.engine.lock().add_receiver(beside)
    }

    /// One receiver less; what only that one had still to pop is dropped.
    pub(super) fn remove_receiver(&self, position: u64) {
        let unneeded = self.change(|engine| engine.remove_receiver(position));
        for value in unneeded {
            contain(|| drop(value)); // the rest is dropped whatever this one does
        }
    }
}

fn pushers<T>(engine: &mut Engine<T>) -> &mut Line<Offer<T>> {
    &mut engine.pushers
}

fn poppers<T>(engine: &mut Engine<T>) -> &mut Line<u64> {
    &mut engine.poppers
}

fn closers<T>(engine: &mut Engine<T>) -> &mut Line<u64> {
    &mut engine.closers
}

/// Hands out the outcome of a push.
///
/// # Safety
/// The caller owns the waiter, which is in a final state other than `Finished`.
pub(super) unsafe fn resolve<T>(waiter: &Waiter<Offer<T>>) -> Result<(), PushError<T>> {
    let state = waiter.state();
    waiter.set(State::Finished);
    // SAFETY: (I3) not `Queued`, and a peer that ended the wait is done with the waiter: the owner's alone.
    match unsafe { waiter.payload() }.value.take() {
        None => Ok(()),
        Some(value) if state == State::Cancelled => Err(PushError::Cancelled(value)),
        Some(value) => Err(PushError::Closed(value)),
    }
}
