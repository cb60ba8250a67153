//! Batches of pushes and pops: lock, as much as one hold allows, unlock, wake; again only if that was not all.
//!
//! Knows: the engine, the lock, wakes, the poll budget. Does not know: futures, endpoint types.
#![allow(unsafe_code, reason = "hands waiters that live in futures to the engine")]

use core::task::{Context, Poll};
use std::collections::VecDeque;

use super::Shared;
use crate::channel::engine::{Closed, Engine, Offer, Progress, Refused, Step};
use crate::channel::error::{PopError, PushError, TryPopError, TryPushError};
use crate::channel::sharing::{Gate, Sharing};
use crate::channel::waiter::{State, Waiter};
use crate::channel::wake::{Batch, Keep, Wakes, discard};
use crate::util::executor;

/// How much room a batch of pops makes in its caller's buffer before it knows how much there is to pop.
const FIRST_ROOM: usize = 32;

/// Makes room for at least one of `most` values, outside the lock; how many fit.
fn make_room<T>(out: &mut Vec<T>, most: usize, expected: usize) -> usize {
    if out.capacity() - out.len() < most.min(expected) {
        out.reserve(most.min(expected));
    }
    most.min(out.capacity() - out.len())
}

impl<T, S: Sharing> Shared<T, S> {
    // ---- push ----

    /// Pushes, front first, what there is room for; how many that were.
    pub(in crate::channel) fn try_push_many(
        &self,
        values: &mut VecDeque<T>,
    ) -> Result<usize, TryPushError<()>> {
        let before = values.len();
        loop {
            let Some(mut engine) = self.engine.push_many_or_lock(values) else { return Ok(before) };
            let mut wakes = Batch::new();
            let outcome = engine.try_push_many(values, &mut wakes);
            drop(engine);
            wakes.deliver();
            match (outcome, before - values.len()) {
                (Ok(true), _) => {}
                (_, pushed) if pushed > 0 || before == 0 => return Ok(pushed),
                (Err(Refused::Closed), _) => return Err(TryPushError::Closed(())),
                (Ok(false) | Err(Refused::Full), _) => return Err(TryPushError::Full(())),
            }
        }
    }

    /// Polls a batch of pushes.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push). `ticket` belongs to the waiter and begins as `false`.
    pub(in crate::channel) unsafe fn poll_push_many(
        &self,
        waiter: &Waiter<Offer<T>>,
        values: &mut VecDeque<T>,
        ticket: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PushError<()>>> {
        let mut first = match waiter.state() {
            State::Idle if values.is_empty() => {
                waiter.set(State::Finished);
                return Poll::Ready(Ok(()));
            }
            State::Idle => {
                if !executor::spend(cx) {
                    return Poll::Pending;
                }
                let Some(engine) = self.engine.push_many_or_lock(values) else {
                    waiter.set(State::Finished);
                    return Poll::Ready(Ok(()));
                };
                Some(engine)
            }
            State::Queued | State::Notified => None,
            state @ (State::Closed | State::Cancelled) => {
                waiter.set(State::Finished);
                let closed = state == State::Closed;
                return Poll::Ready(Err(if closed {
                    PushError::Closed(())
                } else {
                    PushError::Cancelled(())
                }));
            }
            State::Taken | State::Finished => panic!("a push of many was polled after it had resolved"),
        };
        let mut keep = Keep::new(cx.waker());
        loop {
            let mut wakes = Batch::new();
            let mut engine = first.take().unwrap_or_else(|| self.engine.lock());
            // SAFETY: (I3) by this function's contract.
            let progress = unsafe { engine.poll_push_many(waiter, values, ticket, &mut keep, &mut wakes) };
            drop(engine);
            wakes.deliver();
            match progress {
                Progress::Again => {}
                Progress::NeedsWaker => keep.clone = Some(cx.waker().clone()),
                Progress::Parked => {
                    discard(keep.clone);
                    executor::about_to_wait(cx.waker());
                    return Poll::Pending;
                }
                Progress::Over(outcome) => {
                    discard(keep.clone);
                    waiter.set(State::Finished);
                    return Poll::Ready(outcome.map_err(|Closed| PushError::Closed(())));
                }
            }
        }
    }

    // ---- pop ----

    /// Pops what is there, up to `most`; how many that were.
    pub(in crate::channel) fn try_pop_many(
        &self,
        out: &mut Vec<T>,
        most: usize,
    ) -> Result<usize, TryPopError> {
        let popped = self.pop_more(out, most, FIRST_ROOM, |engine| engine.try_pop().ok());
        if popped > 0 || most == 0 {
            return Ok(popped);
        }
        // What has come since, has come since; that the channel has ended stays true.
        Err(if self.look(Engine::has_ended) { TryPopError::Closed } else { TryPopError::Empty })
    }

    /// Pops up to `most` values, of which there may be `expected`, as long as `pop` finds one.
    fn pop_more(
        &self,
        out: &mut Vec<T>,
        most: usize,
        expected: usize,
        pop: impl Fn(&mut Engine<T>) -> Option<(T, Wakes)> + Copy,
    ) -> usize {
        let before = out.len();
        let (mut most, mut expected) = (most, expected);
        while most > 0 && expected > 0 {
            let (room, had) = (make_room(out, most, expected), out.len());
            expected = match self.engine.pop_many_or_lock(out, room) {
                Ok(more) => more,
                Err(mut engine) => {
                    let mut wakes = Batch::new();
                    let more = engine.pop_some(out, room, &mut wakes, pop);
                    drop(engine);
                    wakes.deliver();
                    more
                }
            };
            // What may be left now is all that will be taken, so that nobody who goes on pushing keeps us here.
            most = (most - (out.len() - had)).min(expected);
        }
        out.len() - before
    }

    /// Polls a batch of pops.
    ///
    /// # Safety
    /// As for [`poll_pop`](Self::poll_pop).
    pub(in crate::channel) unsafe fn poll_pop_many(
        &self,
        waiter: &Waiter<()>,
        out: &mut Vec<T>,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, PopError>> {
        let (room, before) = (make_room(out, most, FIRST_ROOM), out.len());
        let engine = match waiter.state() {
            State::Idle if most == 0 => {
                waiter.set(State::Finished);
                return Poll::Ready(Ok(0));
            }
            State::Idle => {
                if !executor::spend(cx) {
                    return Poll::Pending;
                }
                match self.engine.pop_many_or_lock(out, room) {
                    Ok(more) => {
                        waiter.set(State::Finished);
                        let left = most - (out.len() - before);
                        self.pop_more(out, left.min(more), more, Engine::pop_due);
                        return Poll::Ready(Ok(out.len() - before));
                    }
                    Err(engine) => engine,
                }
            }
            State::Queued | State::Notified => self.engine.lock(),
            state @ (State::Closed | State::Cancelled) => {
                waiter.set(State::Finished);
                let closed = state == State::Closed;
                return Poll::Ready(Err(if closed { PopError::Closed } else { PopError::Cancelled }));
            }
            State::Taken | State::Finished => panic!("a pop of many was polled after it had resolved"),
        };
        let (mut more, mut wakes) = (0, Batch::new());
        let step = self.attempt(engine, cx, |engine, keep| {
            // SAFETY: (I3) by this function's contract.
            let step = unsafe { engine.poll_pop(waiter, keep) };
            match step {
                Step::Ready(Ok((value, others_ended)), woken) => {
                    out.push(value);
                    more = engine.pop_some(out, room - 1, &mut wakes, Engine::pop_due);
                    Step::Ready(Ok(others_ended), woken)
                }
                Step::Ready(Err(Closed), woken) => Step::Ready(Err(Closed), woken),
                Step::Parked(woken) => Step::Parked(woken),
                Step::NeedsWaker => Step::NeedsWaker,
            }
        });
        wakes.deliver();
        step.map(|popped| {
            waiter.set(State::Finished);
            let Ok(others_ended) = popped else { return Err(PopError::Closed) };
            if others_ended {
                self.end_waiters();
            }
            let left = most - (out.len() - before);
            self.pop_more(out, left.min(more), more, Engine::pop_due);
            Ok(out.len() - before)
        })
    }
}
