//! Wakers on their way out of the lock: collected under it, called and dropped after it (I7).
//!
//! Knows: `util::executor`. Does not know: channels.
#![allow(unsafe_code, reason = "keeps wakers in an array that is filled as far as it is needed")]

use core::mem::MaybeUninit;
use core::task::Waker;

use crate::util::{executor, marks};

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
    let Some(mut waker) = waker else { return };
    if marks::is_mark(&waker) {
        // It says at once which arm it was; what may be put off is the task's own waker.
        let Some(task) = marks::set(&waker) else { return };
        waker = task;
    }
    if let Err(waker) = executor::wake_later(waker) {
        wake_now(waker);
    }
}

/// Calls one waker, after the lock, and those that were put off: it was the last that this channel had to say, so there is
/// nothing to gather, and what follows in this poll may be a wait for the thread that is told.
#[inline]
pub(super) fn deliver_last(waker: Option<Waker>) {
    if waker.is_some() {
        deliver(waker);
        executor::deliver();
    }
}

/// Calls one waker, without waiting for the end of a poll.
#[cold] // to the executors of others it is a call like any other
pub(super) fn wake_now(waker: Waker) {
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

/// Who is to be woken after a change that may notify many: as many as are notified under one hold of the lock. They are
/// woken when this is dropped, so also by an unwinding; whoever makes one does so before the lock is taken.
#[must_use = "waiters were notified and must be woken"]
pub(super) struct Batch {
    /// The first `len` are there. (Not options: filling and looking through them costs more than a small batch.)
    wakers: [MaybeUninit<Waker>; Self::SIZE],
    len: usize,
}

impl Batch {
    const SIZE: usize = 16;

    #[inline]
    pub(super) fn new() -> Self {
        Self { wakers: [const { MaybeUninit::uninit() }; Self::SIZE], len: 0 }
    }

    /// Whether what one more change notifies might not fit.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len + 2 > Self::SIZE
    }

    /// Adds what one change notified, after [`is_full`](Self::is_full) was false.
    pub(super) fn add(&mut self, wakes: Wakes) {
        for waker in [wakes.pusher, wakes.popper].into_iter().flatten() {
            self.wakers[self.len].write(waker);
            self.len += 1;
        }
    }

    /// Wakes them, after the lock.
    #[inline]
    pub(super) fn deliver(self) {
        drop(self);
    }

    fn deliver_all(&mut self) {
        let len = core::mem::take(&mut self.len);
        let told = if planted!("a-batch-wakes-one") { len.min(1) } else { len };
        for waker in &self.wakers[..told] {
            // SAFETY: (local) one of the first `len`, and `len` is 0 by now, so nobody reads it again.
            deliver(Some(unsafe { waker.assume_init_read() }));
        }
    }
}

impl Drop for Batch {
    #[inline]
    fn drop(&mut self) {
        if self.len > 0 {
            self.deliver_all();
        }
    }
}
