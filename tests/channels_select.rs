//! The `select!`s of others over pops of two channels, a hundred thousand rounds each: they drop the arm that loses, at
//! whatever point it is, and no message and no wake-up goes with it.
//!
//! Knows: the public API, tokio's and futures' selects. Does not know: how channels work.
//!
//! Deterministic: one thread, readiness drawn by chance before, between and after the polls, each future polled only when
//! it was woken. Racing: producers on threads of their own; a lost wake-up is a hang, which names its seed.

mod support;
#[path = "support/stalls.rs"]
mod support_stalls;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use futures::executor::block_on;
use futures::future::{Either, select};
use futures::{FutureExt, StreamExt};
use millstream::channel::{self, PopError, Receiver, Sender, Sharing};
use support::{Rng, rounds};
use support_stalls::{Stalls, seed};

const ROUNDS: u64 = 100_000;

/// One round of one kind of select: which channel, and what it gave.
type Round<'a> = Pin<Box<dyn Future<Output = (usize, Result<u64, PopError>)> + 'a>>;

fn round<'a, S: Sharing>(kind: u64, a: &'a mut Receiver<u64, S>, b: &'a mut Receiver<u64, S>) -> Round<'a> {
    fn next(value: Option<u64>) -> Result<u64, PopError> {
        value.ok_or(PopError::Closed)
    }
    Box::pin(async move {
        match kind {
            0 => tokio::select! {
                popped = a.pop() => (0, popped),
                popped = b.pop() => (1, popped),
            },
            1 => tokio::select! {
                biased;
                popped = b.pop() => (1, popped),
                popped = a.pop() => (0, popped),
            },
            2 => {
                let (mut first, mut second) = (pin!(a.pop().fuse()), pin!(b.pop().fuse()));
                futures::select! {
                    popped = first => (0, popped),
                    popped = second => (1, popped),
                }
            }
            3 => {
                let (mut first, mut second) = (pin!(b.pop().fuse()), pin!(a.pop().fuse()));
                futures::select_biased! {
                    popped = first => (1, popped),
                    popped = second => (0, popped),
                }
            }
            4 => match select(pin!(a.pop()), pin!(b.pop())).await {
                Either::Left((popped, _)) => (0, popped),
                Either::Right((popped, _)) => (1, popped),
            },
            // As streams both keep their places in line, from round to round.
            5 => tokio::select! {
                value = a.next() => (0, next(value)),
                value = b.next() => (1, next(value)),
            },
            _ => futures::select! {
                value = a.next() => (0, next(value)),
                value = b.next() => (1, next(value)),
                complete => (0, Err(PopError::Closed)),
            },
        }
    })
}

const KINDS: u64 = 7;

/// A waker that counts.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// One channel as seen by somebody who counts what went in and what came out.
struct Side {
    pushed: u64,
    popped: u64,
}

impl Side {
    fn push<S: Sharing>(&mut self, tx: &Sender<u64, S>) {
        self.pushed += u64::from(tx.try_push(self.pushed).is_ok());
    }

    fn take(&mut self, value: u64) {
        assert_eq!(value, self.popped, "lost, doubled or out of order");
        self.popped += 1;
    }
}

type Ends<S> = (Sender<u64, S>, Receiver<u64, S>);

fn deterministic<S: Sharing>(make: fn(usize) -> Ends<S>) {
    let (first, stalls) = (seed(), Stalls::watch());
    for n in 0..rounds(ROUNDS / 100) {
        let seed = first.wrapping_add(n);
        stalls.round(seed);
        let mut rng = Rng::new(seed);
        let (mut channels, mut receivers): (Vec<_>, Vec<_>) =
            [0, 1].map(|_| make(rng.below(3) as usize)).into_iter().unzip();
        let mut sides = [Side { pushed: 0, popped: 0 }, Side { pushed: 0, popped: 0 }];
        for _ in 0..100 {
            let [a, b] = &mut receivers[..] else { unreachable!() };
            let mut future = round(rng.below(KINDS), a, b);
            let (mut bell, mut is_new) = (Arc::new(Bell::default()), true);
            for _ in 0..1 + rng.below(6) {
                if rng.one_in(2) {
                    let at = rng.below(2) as usize;
                    sides[at].push(&channels[at]);
                }
                let woken = bell.0.swap(0, Ordering::SeqCst) > 0;
                let before = [channels[0].len(), channels[1].len()];
                if is_new || woken || rng.one_in(3) {
                    if rng.one_in(3) {
                        bell = Arc::new(Bell::default());
                    }
                    let waker = Waker::from(bell.clone());
                    if let Poll::Ready((at, popped)) = future.as_mut().poll(&mut Context::from_waker(&waker))
                    {
                        assert!(is_new || woken, "ready, and nobody had been woken: {before:?}, seed {seed}");
                        sides[at].take(popped.expect("open"));
                        break;
                    }
                    assert_eq!(before, [0, 0], "pending with a message there, seed {seed}");
                    is_new = false;
                }
            }
        }
        // Whatever waits is dropped with the receivers' places; what is left is all that was not popped.
        for (at, (tx, rx)) in channels.drain(..).zip(receivers).enumerate() {
            drop(tx);
            rx.try_iter().for_each(|value| sides[at].take(value));
            assert_eq!(sides[at].popped, sides[at].pushed, "seed {seed}");
        }
    }
    stalls.over();
}

#[test]
fn selects_of_others_on_one_thread_lose_nothing() {
    deterministic(channel::bounded);
}

#[test]
fn selects_of_others_over_local_channels_lose_nothing() {
    deterministic(channel::local);
}

/// Two producers on threads of their own, one consumer that selects; on each of the executors.
fn racing(run: impl Fn(Pin<Box<dyn Future<Output = ()> + '_>>)) {
    let (seed, stalls) = (seed(), Stalls::watch());
    stalls.round(seed);
    for capacity in [0, 1, 64] {
        let mut rng = Rng::new(seed.wrapping_add(capacity as u64));
        let each = rounds(ROUNDS / 6);
        let ((tx_a, mut a), (tx_b, mut b)) = (channel::bounded(capacity), channel::bounded(capacity));
        thread::scope(|scope| {
            for (tx, mut rng) in [(tx_a, rng.clone()), (tx_b, Rng::new(!seed))] {
                scope.spawn(move || {
                    for n in 0..each {
                        if rng.one_in(4) {
                            (0..rng.below(200)).for_each(|_| std::hint::spin_loop());
                        }
                        tx.push_blocking(n).expect("open");
                    }
                });
            }
            let stalls = &stalls;
            run(Box::pin(async move {
                let mut seen = [0, 0];
                while seen[0] < each || seen[1] < each {
                    stalls.progress();
                    let kind = rng.below(KINDS);
                    // A channel that has ended is always ready; then the other is asked alone.
                    let (at, popped) = match seen {
                        [n, _] if n == each => (1, b.pop().await),
                        [_, n] if n == each => (0, a.pop().await),
                        _ => round(kind, &mut a, &mut b).await,
                    };
                    match popped {
                        Ok(value) => {
                            assert_eq!(value, seen[at], "lost, doubled or out of order");
                            seen[at] += 1;
                        }
                        Err(_) => assert_eq!(seen[at], each, "ended early"),
                    }
                }
                assert_eq!((a.pop().await, b.pop().await), (Err(PopError::Closed), Err(PopError::Closed)));
            }));
        });
    }
    stalls.over();
}

#[test]
fn selects_of_others_race_with_threads_on_tokio() {
    racing(|consumer| {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(consumer);
    });
}

#[test]
fn selects_of_others_race_with_threads_on_futures() {
    racing(|consumer| block_on(consumer));
}

#[test]
fn selects_of_others_race_with_threads_on_millstream() {
    racing(|consumer| millstream::Runtime::new().expect("a runtime").block_on(consumer));
}
