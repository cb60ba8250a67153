//! Two plain threads, async and blocking, futures dropped and cancelled at random, closes at any time: each value arrives
//! once or comes back, exactly as its push was told, and in order.

use core::future::Future;
use core::pin::Pin;
use core::task::Poll;
use std::collections::VecDeque;
use std::thread;

use futures::executor::block_on;
use futures::future::poll_fn;

use crate::channel::spsc::{Consumer, Producer};
use crate::channel::tests::support::{Census, Rng, Token, seed};
use crate::channel::{PopError, TryPopError, spsc};
use crate::operation::Operation;

const VALUES: u64 = if cfg!(miri) { 30 } else { 3000 };

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

/// Pushes by every means and returns the ids of those that were pushed. Ends at a close.
pub(super) async fn produce(
    tx: &mut Producer<Token>,
    census: &Census,
    rng: &mut Rng,
    blocking: bool,
) -> Vec<u64> {
    let exact = tx.capacity() == 0; // where a push that is dropped may have been pushed
    let mut told = Vec::new();
    let mut next = 0;
    while next < VALUES && !tx.is_closed() {
        next += 1;
        let token = census.token(next);
        let result = match rng.below(8) {
            0 => tx.try_push(token).is_ok(),
            1 if blocking => tx.push_blocking(token).is_ok(),
            2 => match tx.reserve().await {
                Ok(permit) => permit.push(token).is_ok(),
                Err(_) => false,
            },
            3 => {
                let first = next;
                next += rng.below(20) as u64;
                let mut values = VecDeque::from([token]);
                values.extend((first + 1..=next).map(|id| census.token(id)));
                let patience = rng.below(20);
                let _ = with_patience(Box::pin(tx.push_many(&mut values)).as_mut(), patience).await;
                let left = values.len() as u64;
                told.extend(first..=next - left);
                continue;
            }
            way => {
                let mut push = Box::pin(tx.push(token));
                match with_patience(push.as_mut(), rng.below(30)).await {
                    Some(result) => result.is_ok(),
                    None if way == 4 && !exact => false,
                    None if way < 6 => push.as_mut().cancel().is_ok(),
                    None => {
                        push.as_mut().request_cancel();
                        push.await.is_ok()
                    }
                }
            }
        };
        if result {
            told.push(next);
        }
    }
    told
}

/// Pops by every means until the channel has ended, or until it has had enough and closes.
pub(super) async fn consume(
    rx: &mut Consumer<Token>,
    rng: &mut Rng,
    blocking: bool,
    enough: usize,
) -> Vec<u64> {
    let mut got = Vec::new();
    loop {
        if got.len() >= enough {
            rx.close();
        }
        let popped = match rng.below(6) {
            0 => rx.try_pop().map_err(|error| match error {
                TryPopError::Empty => PopError::Cancelled,
                TryPopError::Closed => PopError::Closed,
            }),
            1 if blocking => rx.pop_blocking(),
            2 => {
                let mut out = Vec::new();
                let patience = rng.below(10);
                let popped = with_patience(Box::pin(rx.pop_many(&mut out, 7)).as_mut(), patience).await;
                got.extend(out.iter().map(|token| token.id));
                match popped {
                    Some(Err(PopError::Closed)) => return got,
                    _ => continue,
                }
            }
            way => {
                let mut pop = Box::pin(rx.pop());
                match with_patience(pop.as_mut(), rng.below(30)).await {
                    Some(popped) => popped,
                    None if way == 3 => continue,
                    None => {
                        pop.as_mut().request_cancel();
                        pop.await
                    }
                }
            }
        };
        match popped {
            Ok(token) => got.push(token.id),
            Err(PopError::Closed) => return got,
            Err(_) => {}
        }
    }
}

/// What was told to be pushed is what was received.
pub(super) fn compare(told: &[u64], got: &[u64], census: &Census, what: &str) {
    if let Some(at) = (0..told.len().max(got.len())).find(|&at| told.get(at) != got.get(at)) {
        panic!("{what}: value {at} was {:?} when pushed and {:?} when popped", told.get(at), got.get(at));
    }
    assert_eq!(census.alive(), 0, "{what}");
}

fn run(capacity: usize, seed: u64, enough: usize) {
    let census = Census::default();
    let (mut tx, mut rx) = spsc(capacity);
    let theirs = census.clone();
    let producer = thread::spawn(move || {
        let mut rng = Rng::new(seed);
        block_on(produce(&mut tx, &theirs, &mut rng, true))
    });
    let mut rng = Rng::new(!seed);
    let got = block_on(consume(&mut rx, &mut rng, true, enough));
    let told = producer.join().unwrap();
    drop(rx);
    compare(&told, &got, &census, &format!("capacity {capacity}, seed {seed}"));
}

#[test]
fn two_threads_lose_nothing() {
    let seed = seed();
    eprintln!("MILLSTREAM_SEED={seed}");
    for capacity in [0, 1, 2, 64] {
        for round in 0..if cfg!(miri) { 1 } else { 6 } {
            run(capacity, seed + round, usize::MAX);
        }
    }
}

#[test]
fn a_close_at_any_moment_is_exact() {
    let seed = seed();
    eprintln!("MILLSTREAM_SEED={seed}");
    for capacity in [0, 1, 2, 64] {
        for round in 0..if cfg!(miri) { 2 } else { 200 } {
            run(capacity, seed + round, (round as usize * 7) % 100);
        }
    }
}
