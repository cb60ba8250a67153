//! A crowd around one channel, more than loom can explore, under random and adversarial (PCT) schedules.

use core::future::Future;
use core::pin::{Pin, pin};
use core::task::Poll;
use std::future::poll_fn;

use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::{check_pct, check_random, thread};
use std::sync::Arc;

use crate::channel::{PopError, bounded};
use crate::operation::Operation;

const PER_PRODUCER: u64 = 4;

/// Awaits `future`, but gives up after it was pending `patience` times.
async fn with_patience<F: Future>(mut future: Pin<&mut F>, mut patience: usize) -> Option<F::Output> {
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

/// Producers and consumers that give up at random: what was told to have been pushed arrives, what came back does not.
fn crowd(capacity: usize) {
    let (tx, rx) = bounded::<u64>(capacity);
    let pushed = Arc::new(AtomicUsize::new(0));
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let mut threads = Vec::new();
    for producer in 0..2 {
        let (tx, pushed) = (tx.clone(), pushed.clone());
        threads.push(thread::spawn(move || {
            for n in 0..PER_PRODUCER {
                let mut push = Box::pin(tx.push(producer * PER_PRODUCER + n));
                if thread_rng().gen_bool(0.5) {
                    push.as_mut().commit_on_poll();
                }
                let patience = thread_rng().gen_range(0..3);
                let result = match block_on(with_patience(push.as_mut(), patience)) {
                    Some(result) => result,
                    None if thread_rng().gen_bool(0.5) => block_on(push),
                    None => push.as_mut().cancel(),
                };
                pushed.fetch_add(usize::from(result.is_ok()), Ordering::SeqCst);
            }
        }));
    }
    for _ in 0..2 {
        let (rx, arrived) = (rx.clone(), arrived.clone());
        threads.push(thread::spawn(move || {
            loop {
                let patience = thread_rng().gen_range(0..3);
                // Not in the `match` below: a pop that was given up must leave the line before the next one waits.
                let first = block_on(with_patience(pin!(rx.pop()), patience));
                let popped = match first {
                    Some(popped) => popped,
                    None if thread_rng().gen_bool(0.5) => block_on(rx.pop()),
                    None => continue,
                };
                match popped {
                    Ok(value) => arrived.lock().unwrap().push(value),
                    Err(PopError::Closed) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }));
    }
    drop((tx, rx));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut arrived = std::mem::take(&mut *arrived.lock().unwrap());
    let count = arrived.len();
    arrived.sort_unstable();
    arrived.dedup();
    assert_eq!((arrived.len(), count), (count, pushed.load(Ordering::SeqCst)));
}

#[test]
fn a_crowd_under_random_schedules() {
    for capacity in 0..3 {
        check_random(move || crowd(capacity), 400);
    }
}

#[test]
fn a_crowd_under_adversarial_schedules() {
    for capacity in 0..3 {
        check_pct(move || crowd(capacity), 400, 4);
    }
}
