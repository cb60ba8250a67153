//! The future of a pop.
//!
//! Knows: the shared channel, waiters, the operation contract. Does not know: endpoints.
#![allow(unsafe_code, reason = "owns a waiter that the channel links to")]

use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::error::PopError;
use super::shared::Shared;
use super::sharing::{Sharing, Threads};
use super::waiter::{State, Waiter};
use super::wake::discard;
use crate::operation::Operation;
use crate::util::executor;

/// The pop of one value: what [`Receiver::pop`](super::Receiver::pop) returns.
///
/// Nothing happens before the first poll. A pop that finds no value stands in line, first come, first served; on a runtime,
/// for what another thread is to bring, it may first be polled some times more, as long as nobody stands in line. A value
/// pushed for it is only counted as its: it stays in the channel until the pop is polled and takes it.
///
/// # Errors
///
/// [`PopError::Closed`] once the channel is closed and drained; [`PopError::Cancelled`] if the pop was asked to stop
/// before a value was there for it.
///
/// # Cancel safety
///
/// Dropping it at any time loses nothing: a value that was counted for it goes to the next pop in line, or stays
/// in the channel for the next that comes. While a pop that has a value counted is neither polled nor dropped, that
/// value waits with it.
///
/// # Panics
///
/// When polled after it has resolved.
#[must_use = "a pop does nothing until it is awaited"]
pub struct Pop<'a, T, S: Sharing = Threads> {
    shared: &'a Shared<T, S>,
    waiter: Waiter<()>,
}

impl<'a, T, S: Sharing> Pop<'a, T, S> {
    pub(super) fn new(shared: &'a Shared<T, S>) -> Self {
        Self { shared, waiter: Waiter::new(()) }
    }
}

/// A pop that has not begun: two words less, and nothing to drop. For an arm of a `select!`, most of which never begin.
#[doc(hidden)]
pub struct Untried<'a, T, S: Sharing> {
    shared: &'a Shared<T, S>,
}

impl<'a, T, S: Sharing> Untried<'a, T, S> {
    /// What is left of a pop that was not polled. By value, none was: it would be pinned.
    #[inline(always)]
    pub(crate) fn new(pop: Pop<'a, T, S>) -> Self {
        debug_assert!(pop.waiter.is_idle());
        let shared = pop.shared;
        mem::forget(pop); // it owns nothing
        Self { shared }
    }

    /// Whether an attempt is worth while: without the lock, which each of many arms would take from those who push.
    #[inline(always)]
    pub(crate) fn may_resolve(&self) -> bool {
        self.shared.is_stirred()
    }

    /// What the pop's first poll would do, except to wait. Cheap also where nobody has looked whether there is anything.
    /// `None`: the budget of the task's poll is spent.
    #[inline(always)]
    pub(crate) fn try_now(&mut self) -> Option<Poll<Result<T, PopError>>> {
        executor::try_spend().then(|| self.shared.pop_at_once().map_or(Poll::Pending, Poll::Ready))
    }

    #[inline(always)]
    pub(crate) fn begin(self) -> Pop<'a, T, S> {
        Pop::new(self.shared)
    }
}

impl<T, S: Sharing> fmt::Debug for Untried<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Untried").finish_non_exhaustive()
    }
}

impl<T, S: Sharing> Future for Pop<'_, T, S> {
    type Output = Result<T, PopError>;

    #[inline(always)] // what is likely is short; the rest is not inlined
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.into_ref().get_ref();
        // SAFETY: (I3) the waiter is pinned in the future and withdrawn by its `Drop`.
        unsafe { this.shared.poll_pop(&this.waiter, cx) }
    }
}

impl<T, S: Sharing> Operation for Pop<'_, T, S> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.into_ref().get_ref();
        // SAFETY: (I3) as in `poll`.
        unsafe { this.shared.cancel_pop(&this.waiter) }
    }

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref().get_ref();
        // SAFETY: (I3) as in `poll`.
        discard(unsafe { this.shared.withdraw_pop(&this.waiter) });
        this.waiter.set(State::Finished);
        Poll::Ready(())
    }

    #[inline]
    fn may_resolve(&self) -> bool {
        self.shared.may_pop(&self.waiter)
    }

    #[inline]
    fn may_be_put_off(&self) -> bool {
        self.waiter.is_idle()
    }

    #[inline]
    fn waits(&self) -> bool {
        self.waiter.state() == State::Queued
    }

    #[inline]
    fn is_inert(&self) -> bool {
        true // its drop withdraws it
    }
}

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
impl<T, S: Sharing> Pop<'_, T, S> {
    pub(super) fn state(&self) -> State {
        self.waiter.state()
    }
}

impl<T, S: Sharing> Drop for Pop<'_, T, S> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.waiter.waits() {
            // SAFETY: (I3) this is the withdrawal that `poll` promises.
            unsafe { self.shared.leave_pop(&self.waiter) }
        }
    }
}

impl<T, S: Sharing> fmt::Debug for Pop<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pop").field("state", &self.waiter.state()).finish_non_exhaustive()
    }
}
