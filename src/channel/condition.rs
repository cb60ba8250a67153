//! Waiting until something behind a lock holds. For waiters that are handed nothing, and only told to look again.
//!
//! Knows: the lock, waiters, wakes. Does not know: what is waited for.
#![allow(unsafe_code, reason = "links waiters that their owners pin")]

use core::task::{Context, Poll, Waker};

use super::lock::Lock;
use super::waiter::{Line, State, Waiter};
use super::wake::{contain, deliver, discard};
use crate::util::executor;

/// Waiters told under one hold of the lock.
const BATCH: usize = 16;

/// Polls an operation that either takes effect now or waits in `line` to be told to look again.
///
/// `attempt` takes effect and returns the outcome, or says what it waits for, which `note` leaves with the waiter before
/// that joins the line. It is called once at least, and only under the lock.
///
/// # Safety
/// The caller owns the waiter, uses it with this lock and line only, keeps it where it is in memory, and calls
/// [`withdraw`] before freeing it. Whoever takes waiters out of the line moves them to another state than `Queued`.
pub(super) unsafe fn poll_until<E, P, W, R>(
    lock: &Lock<E>,
    line: fn(&mut E) -> &mut Line<P>,
    waiter: &Waiter<P>,
    cx: &mut Context<'_>,
    mut attempt: impl FnMut(&mut E) -> Result<R, W>,
    note: fn(&mut P, W),
) -> Poll<R> {
    let mut spare = None;
    let mut old_look = None; // used by a planted bug alone
    loop {
        let mut guard = lock.lock();
        let engine = &mut *guard;
        let awaited = match old_look.take().map_or_else(|| attempt(engine), Err) {
            Ok(outcome) => {
                let own = match waiter.state() {
                    // SAFETY: (I3) `Queued` under the lock is linked in its line.
                    State::Queued => Some(unsafe { line(engine).remove(waiter) }),
                    _ => None,
                };
                if matches!(waiter.state(), State::Queued | State::Notified) {
                    waiter.set(State::Idle);
                }
                drop(guard);
                discard(own);
                discard(spare);
                return Poll::Ready(outcome);
            }
            Err(awaited) => awaited,
        };
        if waiter.state() == State::Queued {
            // SAFETY: (I3) the lock is held, and the waiter is in line.
            let current = unsafe { waiter.waker() };
            if current.will_wake(cx.waker()) {
                break;
            }
            if let Some(newer) = spare.as_mut() {
                core::mem::swap(current, newer);
                break;
            }
        } else if let Some(waker) = spare.take().or_else(|| executor::copy(cx.waker())) {
            // SAFETY: (I3) not linked, so the payload is its owner's, who calls this; the rest is the caller's contract.
            unsafe {
                note(waiter.payload(), awaited);
                line(engine).push_back(waiter, waker, 0);
            }
            break;
        }
        if planted!("condition-parks-on-an-old-look") {
            old_look = Some(awaited);
        }
        drop(guard);
        spare = Some(cx.waker().clone()); // the user's code: not under the lock (I7)
    }
    discard(spare);
    executor::about_to_wait(cx.waker());
    Poll::Pending
}

/// Takes a waiter out of its line, and returns its waker for the caller to wake or to drop. Afterwards it is neither
/// `Queued` nor `Notified`.
///
/// # Safety
/// As for [`poll_until`].
pub(super) unsafe fn withdraw<E>(
    lock: &Lock<E>,
    line: fn(&mut E) -> &mut Line<u64>,
    waiter: &Waiter<u64>,
) -> Option<Waker> {
    let mut own = None;
    if waiter.state() == State::Queued {
        let mut guard = lock.lock();
        if waiter.state() == State::Queued {
            // SAFETY: (I3) `Queued` under the lock is linked in its line.
            own = Some(unsafe { line(&mut guard).remove(waiter) });
            waiter.set(State::Idle);
        }
    }
    if waiter.state() == State::Notified {
        waiter.set(State::Idle);
    }
    own
}

/// Tells the first in line to look again if it waits for a number below `limit`. Later ones wait for no smaller numbers.
pub(super) fn tell_front(line: &mut Line<u64>, limit: u64) -> Option<Waker> {
    if *line.front()? >= limit {
        return None;
    }
    line.finish_front(State::Notified, |_| ()).map(|((), waker)| waker)
}

/// Calls `some` under the lock for wakers and a value to drop, and does that after it, until it says that this was all.
#[cold]
pub(super) fn tell_all<E, G>(
    lock: &Lock<E>,
    mut some: impl FnMut(&mut E, &mut [Option<Waker>], &mut Option<G>) -> bool,
) {
    loop {
        let mut wakers = [const { None }; BATCH];
        let mut garbage = None;
        let all = some(&mut lock.lock(), &mut wakers, &mut garbage);
        wakers.into_iter().for_each(deliver);
        contain(|| drop(garbage));
        if all {
            return;
        }
    }
}
