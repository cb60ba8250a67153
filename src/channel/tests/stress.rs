//! Many threads, async and blocking ends mixed, futures dropped and cancelled at random: each value arrives once or not
//! at all, exactly as its push was told, and each producer's values in order.

use core::future::Future;
use core::pin::{Pin, pin};
use core::task::Poll;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use futures::executor::block_on;
use futures::future::poll_fn;

use super::support::{Census, Rng, Token, seed};
use crate::channel::{PopError, Receiver, Sender, bounded};
use crate::operation::Operation;

const PRODUCERS: usize = 3;
const CONSUMERS: usize = 3;
const PER_PRODUCER: u64 = if cfg!(miri) { 20 } else { 4000 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Pushed,
    Back,
    Nothing,
}

/// Awaits `future`, but gives up after it was pending `patience` times.
pub(super) async fn with_patience<F: Future>(
    mut future: Pin<&mut F>,
    mut patience: usize,
) -> Option<F::Output> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if patience == 0 => Poll::Ready(None),
        Poll::Pending => {
            patience -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

fn produce(tx: &Sender<Token>, census: &Census, producer: u64, rng: &mut Rng) -> Vec<Told> {
    let told = |result: Result<(), Token>| if result.is_ok() { Told::Pushed } else { Told::Back };
    (0..PER_PRODUCER)
        .map(|n| {
            let token = census.token(producer * PER_PRODUCER + n);
            match rng.below(8) {
                0 => told(tx.try_push(token).map_err(|error| error.into_inner())),
                1 | 2 => told(tx.push_blocking(token).map_err(|error| error.into_inner())),
                way => {
                    let mut push = Box::pin(tx.push(token));
                    if way % 2 == 0 {
                        push.as_mut().commit_on_poll();
                    }
                    let patience = rng.below(4);
                    match block_on(with_patience(push.as_mut(), patience)) {
                        Some(result) => told(result.map_err(|error| error.into_inner())),
                        None if way == 3 => Told::Nothing, // dropped: pulled meanwhile or not
                        None if way == 4 => Told::Back,    // dropped, but an arm is never pulled
                        None if way == 5 => told(push.as_mut().cancel().map_err(|error| error.into_inner())),
                        None => {
                            push.as_mut().request_cancel();
                            told(block_on(push).map_err(|error| error.into_inner()))
                        }
                    }
                }
            }
        })
        .collect()
}

fn consume(rx: &Receiver<Token>, rng: &mut Rng) -> Vec<u64> {
    let mut got = Vec::new();
    loop {
        let popped = match rng.below(6) {
            0 => rx
                .try_pop()
                .map_err(|error| if error.is_closed() { PopError::Closed } else { PopError::Cancelled }),
            1 => rx.pop_blocking(),
            2 => {
                let mut pop = pin!(rx.pop());
                match block_on(with_patience(pop.as_mut(), 1)) {
                    Some(result) => result,
                    None => {
                        pop.as_mut().request_cancel();
                        block_on(pop)
                    }
                }
            }
            _ => {
                let patience = rng.below(4);
                block_on(with_patience(pin!(rx.pop()), patience)).unwrap_or(Err(PopError::Cancelled))
            }
        };
        match popped {
            Ok(token) => got.push(token.id),
            Err(PopError::Closed) => return got,
            Err(PopError::Cancelled) => {}
        }
    }
}

fn run(capacity: usize, seed: u64) {
    let census = Census::default();
    let (tx, rx) = bounded(capacity);
    let told = Mutex::new(vec![Vec::new(); PRODUCERS]);
    let arrived: Vec<_> = (0..PRODUCERS as u64 * PER_PRODUCER).map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let (tx, census, told) = (tx.clone(), census.clone(), &told);
            scope.spawn(move || {
                let told_here = produce(&tx, &census, producer as u64, &mut Rng::new(seed + producer as u64));
                told.lock().unwrap()[producer] = told_here;
            });
        }
        for consumer in 0..CONSUMERS {
            let (rx, arrived) = (rx.clone(), &arrived);
            scope.spawn(move || {
                let mut last = [None; PRODUCERS];
                for id in consume(&rx, &mut Rng::new(!seed - consumer as u64)) {
                    arrived[id as usize].fetch_add(1, Ordering::Relaxed);
                    let producer = (id / PER_PRODUCER) as usize;
                    assert!(last[producer] < Some(id), "out of order, MILLSTREAM_SEED={seed}");
                    last[producer] = Some(id);
                }
            });
        }
        drop((tx, rx));
    });
    assert_eq!(census.alive(), 0, "values leaked, MILLSTREAM_SEED={seed}");
    for (id, told) in told.into_inner().unwrap().into_iter().flatten().enumerate() {
        let times = arrived[id].load(Ordering::Relaxed);
        let right = match told {
            Told::Pushed => times == 1,
            Told::Back => times == 0,
            Told::Nothing => times <= 1,
        };
        assert!(
            right,
            "value {id} arrived {times} times, its push was told {told:?}, MILLSTREAM_SEED={seed}"
        );
    }
}

#[test]
fn threads_conserve_values() {
    for (n, capacity) in [0, 1, 2, 64].into_iter().enumerate() {
        run(capacity, seed() + 100 * n as u64);
    }
}

#[test]
fn the_last_ends_may_go_at_the_same_time() {
    let rounds = if cfg!(miri) { 5 } else { 300 };
    let mut rng = Rng::new(seed());
    for _ in 0..rounds {
        let census = Census::default();
        let (tx, rx) = bounded(rng.below(3));
        thread::scope(|scope| {
            for _ in 0..2 {
                let (tx, rx, census) = (tx.clone(), rx.clone(), census.clone());
                scope.spawn(move || while tx.push_blocking(census.token(1)).is_ok() {});
                scope.spawn(move || drop(rx.pop_blocking()));
            }
            drop((tx, rx));
        });
        assert_eq!(census.alive(), 0);
    }
}
