//! What the tests share: wakers that count, tokens that count their drops, channels of every kind.
#![allow(unsafe_code, reason = "lends a buffer to a future that stands beside it")]

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use crate::channel::{Receiver, Sender, Sharing};

/// A waker that counts how often it was called.
#[derive(Default)]
pub(super) struct Bell(AtomicUsize);

impl Bell {
    pub(super) fn new() -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self::default());
        (bell.clone(), bell.into())
    }

    /// How often it rang since the last look.
    pub(super) fn rings(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once with a waker that nobody listens to.
pub(super) fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    poll_with(future, Waker::noop())
}

pub(super) fn poll_with<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

/// Counts tokens alive.
#[derive(Clone, Default)]
pub(super) struct Census(Arc<AtomicUsize>);

impl Census {
    pub(super) fn token(&self, id: u64) -> Token {
        self.0.fetch_add(1, Ordering::SeqCst);
        Token { id, census: self.clone() }
    }

    pub(super) fn alive(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A value whose double drop or loss shows in its census.
pub(super) struct Token {
    pub(super) id: u64,
    census: Census,
}

impl Token {
    pub(super) fn census(&self) -> &Census {
        &self.census
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let alive = self.census.0.fetch_sub(1, Ordering::SeqCst);
        assert!(alive > 0, "token {} dropped twice", self.id);
    }
}

/// A small generator: the same numbers for the same seed, for ever.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        // SplitMix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(super) fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// A seed from `MILLSTREAM_SEED`, or a fixed one: a failure prints it.
pub(super) fn seed() -> u64 {
    std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x6d69_6c6c)
}

/// Makes a test of each function `name<S: Sharing>(capacity)` for both kinds of sharing, at capacities that differ in kind.
macro_rules! on_every_channel {
    ($($name:ident)*) => {
        on_every_channel!(threads: Threads, $($name)*);
        on_every_channel!(local: Local, $($name)*);
    };
    ($module:ident: $sharing:ident, $($name:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $name() {
                    for capacity in [0, 1, 2, 64] {
                        super::$name::<$crate::channel::$sharing>(capacity);
                    }
                }
            )*
        }
    };
}
pub(super) use on_every_channel;

/// As [`bounded`](crate::channel::bounded) and [`local`](crate::channel::local()).
pub(super) fn channel<T, S: Sharing>(capacity: usize) -> (Sender<T, S>, Receiver<T, S>) {
    crate::channel::ends(capacity)
}

/// Holds the engine to its rules, and tells what it counts.
pub(super) fn audit<T, S: Sharing>(tx: &Sender<T, S>) -> Counts {
    tx.pointer().audit();
    tx.pointer().look(|engine| {
        let (assigned, granted, pushers, poppers) = engine.counts();
        Counts { assigned, granted, pushers, poppers }
    })
}

#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) assigned: usize,
    pub(super) granted: usize,
    pub(super) pushers: usize,
    pub(super) poppers: usize,
}

/// A buffer that a future beside it has borrowed.
pub(super) struct Lent<C>(*mut C);

impl<C> Lent<C> {
    pub(super) fn new(buffer: C) -> Self {
        Self(Box::into_raw(Box::new(buffer)))
    }

    /// # Safety
    /// The borrower is gone before this is asked for again, taken back or dropped.
    pub(super) unsafe fn lend<'a>(&self) -> &'a mut C {
        // SAFETY: (local) from a box, and nobody else has it, by this function's contract.
        unsafe { &mut *self.0 }
    }
}

impl<C> Drop for Lent<C> {
    fn drop(&mut self) {
        // SAFETY: (local) from a box, and nobody has it any more, by the contract of `lend`.
        drop(unsafe { Box::from_raw(self.0) });
    }
}
