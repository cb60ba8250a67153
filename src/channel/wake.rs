//! Wakers on their way out of the lock: collected under it, called and dropped after it (I7).
//!
//! Knows: `util::executor`. Does not know: channels.

use core::task::Waker;

use crate::util::executor;

/// Runs code of the user's in the middle of work of ours: a panic in it ends there, having been reported by the
/// panic hook, and what we were about to do still happens (I7).
#[inline]
pub(super) fn contain(f: impl FnOnce()) {
    // A model checker unwinds through us to end a failed execution; that must get out.
    #[cfg(any(millstream_loom, millstream_shuttle))]
    f();
    #[cfg(not(any(millstream_loom, millstream_shuttle)))]
    if let Err(payload) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        // The payload is the user's as well, and may panic when dropped.
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(payload)));
        core::mem::forget(dropped);
    }
}

/// Calls one waker, after the lock.
#[inline]
pub(super) fn deliver(waker: Option<Waker>) {
    if let Some(waker) = waker
        && let Err(waker) = executor::wake_later(waker)
    {
        wake_now(waker);
    }
}

#[cold] // to the executors of others it is a call like any other
fn wake_now(waker: Waker) {
    contain(|| waker.wake());
}

/// Drops a waker that is not needed, after the lock.
#[inline]
pub(super) fn discard(waker: Option<Waker>) {
    if let Some(waker) = waker {
        discard_one(waker);
    }
}

#[inline(never)] // as for `deliver`
fn discard_one(waker: Waker) {
    contain(|| drop(waker));
}

/// The waker of a poll, for a waiter to keep: a clone, which must not be made under the lock unless it is free.
pub(super) struct Keep<'a> {
    /// As it came with the poll.
    pub(super) waker: &'a Waker,
    /// A clone that was made outside the lock.
    pub(super) clone: Option<Waker>,
}

impl<'a> Keep<'a> {
    pub(super) fn new(waker: &'a Waker) -> Self {
        Self { waker, clone: None }
    }

    /// One to keep; `None`: come again with a clone.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Waker> {
        self.clone.take().or_else(|| executor::copy(self.waker))
    }
}

/// Who is to be woken once the lock is released. One change in a channel notifies at most one waiter on each side.
#[must_use = "a waiter was notified and must be woken"]
#[derive(Default)]
pub(super) struct Wakes {
    pub(super) pusher: Option<Waker>,
    pub(super) popper: Option<Waker>,
}

impl Wakes {
    #[inline]
    pub(super) fn deliver(self) {
        deliver(self.pusher);
        deliver(self.popper);
    }
}

/// Who is to be woken after a change that may notify many: as many as are notified under one hold of the lock.
#[must_use = "waiters were notified and must be woken"]
pub(super) struct Batch {
    wakers: [Option<Waker>; Self::SIZE],
    len: usize,
}

impl Batch {
    const SIZE: usize = 16;

    pub(super) fn new() -> Self {
        Self { wakers: [const { None }; Self::SIZE], len: 0 }
    }

    /// Whether what one more change notifies might not fit.
    pub(super) fn is_full(&self) -> bool {
        self.len + 2 > Self::SIZE
    }

    /// Adds what one change notified, after [`is_full`](Self::is_full) was false.
    pub(super) fn add(&mut self, wakes: Wakes) {
        for waker in [wakes.pusher, wakes.popper].into_iter().flatten() {
            self.wakers[self.len] = Some(waker);
            self.len += 1;
        }
    }

    pub(super) fn deliver(mut self) {
        let told = if cfg!(millstream_bug = "a-batch-wakes-one") { self.len.min(1) } else { self.len };
        self.wakers[..told].iter_mut().for_each(|waker| deliver(waker.take()));
    }
}
