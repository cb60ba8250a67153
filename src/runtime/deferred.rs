//! Wakes for other threads, gathered during a poll and delivered at its end, once per target.
//!
//! Knows: wakers. Does not know: whose they are.
#![allow(
    unsafe_code,
    reason = "a fixed array behind an UnsafeCell: a RefCell would be borrowed on every poll"
)]

use std::cell::{Cell, UnsafeCell};
use std::task::Waker;

/// How many targets are gathered; with more, the earlier ones are woken before the end of the poll.
const ROOM: usize = 16;

/// A short queue without doubles.
#[derive(Debug)]
pub(crate) struct Deferred {
    /// `wakers[next..len]` are there; empty is 0..0. No reference into it is kept across user code.
    wakers: UnsafeCell<[Option<Waker>; ROOM]>,
    next: Cell<usize>,
    len: Cell<usize>,
}

impl Deferred {
    pub(crate) fn new() -> Self {
        Self { wakers: UnsafeCell::new([const { None }; ROOM]), next: Cell::new(0), len: Cell::new(0) }
    }

    /// Queues the waker unless one for the same target is queued. Gives it back when there is no room.
    pub(crate) fn push(&self, waker: Waker) -> Result<(), Waker> {
        let (next, len) = (self.next.get(), self.len.get());
        // SAFETY: (I5, I7) one thread, and the block of this reference runs no user code: `will_wake` compares words.
        let wakers = unsafe { &mut *self.wakers.get() };
        if wakers[next..len].iter().flatten().any(|queued| queued.will_wake(&waker)) {
            return Ok(()); // `waker` is dropped after the last use of the reference
        }
        if len == ROOM {
            return Err(waker);
        }
        wakers[len] = Some(waker);
        self.len.set(len + 1);
        Ok(())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len.get() == 0
    }

    /// Takes the oldest out.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Waker> {
        let next = self.next.get();
        if next == self.len.get() {
            return None;
        }
        // SAFETY: (I5, I7) one thread, and taking a value out runs no user code.
        let waker = unsafe { (*self.wakers.get())[next].take() };
        if next + 1 == self.len.get() {
            self.next.set(0);
            self.len.set(0);
        } else {
            self.next.set(next + 1);
        }
        waker
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_wake_per_target_in_order_and_no_more_than_fit() {
        let deferred = Deferred::new();
        let targets: Vec<_> = (0..=ROOM).map(|_| Arc::new(Count::default())).collect();
        for target in &targets[..ROOM] {
            assert!(deferred.push(target.clone().into()).is_ok());
            assert!(deferred.push(target.clone().into()).is_ok());
        }
        assert!(deferred.push(targets[ROOM].clone().into()).is_err());
        for target in &targets[..ROOM] {
            deferred.pop().unwrap().wake();
            assert_eq!(target.0.load(Ordering::Relaxed), 1);
            assert_eq!(Arc::strong_count(target), 1, "a double was kept");
        }
        assert!(deferred.pop().is_none());
        assert!(deferred.push(targets[ROOM].clone().into()).is_ok());
    }
}
