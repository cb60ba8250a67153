//! The channels under tokio, with no runtime of ours in the process: tasks on several threads, a plain thread, time, and
//! tokio's own `select!`, which drops the arms that lose.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use millstream::channel::{self, PopError};
use support::Watchdog;
use tokio::runtime::{Builder, Runtime};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

fn tokio() -> (Runtime, Watchdog) {
    let runtime = Builder::new_multi_thread().worker_threads(2).build().expect("threads can be started");
    (runtime, Watchdog::new(Duration::from_secs(60)))
}

/// From a plain thread through tasks on two threads back to it. Each pop stands in a `select!` beside another one that
/// often wins, so a pop is dropped at every stage of its life.
#[test]
fn a_foreign_select_loses_nothing() {
    let (tokio, _watchdog) = tokio();
    let numbers = support::rounds(100_000);
    let (numbers_tx, numbers_rx) = channel::bounded(4);
    let (noise_tx, noise) = channel::bounded(1);
    let (back_tx, back) = channel::bounded(2);
    for _ in 0..3 {
        let (numbers, noise, back) = (numbers_rx.clone(), noise.clone(), back_tx.clone());
        tokio.spawn(async move {
            let mut noises = 0_u64;
            loop {
                tokio::select! {
                    number = numbers.pop() => match number {
                        Ok(number) => back.push(number).await.expect("the thread pops until all have gone"),
                        Err(_) => break noises,
                    },
                    Ok(()) = noise.pop() => noises += 1,
                }
            }
        });
    }
    drop((numbers_rx, back_tx));
    tokio.spawn(async move { while noise_tx.push(()).await.is_ok() {} });
    let feeder = thread::spawn(move || {
        for number in 0..numbers {
            numbers_tx.push_blocking(number).expect("the tasks are there");
        }
    });
    let mut seen = vec![false; usize::try_from(numbers).expect("fits")];
    while let Ok(number) = back.pop_blocking() {
        let seen = &mut seen[usize::try_from(number).expect("fits")];
        assert!(!*seen, "{number} came twice");
        *seen = true;
    }
    assert!(seen.iter().all(|seen| *seen), "a number was lost");
    feeder.join().expect("it does not panic");
}

/// A tick that lost a `select!` is there for the next one.
#[test]
fn ticks_and_deadlines_work_and_lose_nothing() {
    let (tokio, _watchdog) = tokio();
    tokio.block_on(async {
        let mut ticks = channel::tick(MS);
        let start = ticks.next_due().expect("it ticks") - MS;
        let mut deadline = channel::after(HOUR);
        let (tx, rx) = channel::bounded(1);
        let noise = tokio::spawn(async move { while tx.push(()).await.is_ok() {} });
        let (mut popped, mut last) = (0_u32, start);
        while popped < 20 {
            tokio::select! {
                due = ticks.pop() => {
                    let due = due.expect("it ticks for ever");
                    assert!(due > last && due <= Instant::now());
                    (popped, last) = (popped + 1, due);
                }
                () = async { rx.pop().await.expect("the noise goes on") } => tokio::task::yield_now().await,
                _ = deadline.pop() => unreachable!("an hour"),
            }
        }
        let passed = u32::try_from(ticks.missed()).expect("few") + popped + 1;
        assert_eq!(ticks.next_due(), Some(start + MS * passed), "each tick was popped or counted as missed");
        drop(rx);
        noise.await.expect("it does not panic");
        assert!(channel::after(MS).pop().await.is_ok());
        assert!(deadline.close());
        assert_eq!(deadline.pop().await, Err(PopError::Closed));
    });
}

/// Tasks move between threads while they wait, and their timers fire on a third.
#[test]
fn many_tasks_wait_at_once() {
    let (tokio, _watchdog) = tokio();
    let done = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..support::rounds(5000))
        .map(|n| {
            let done = Arc::clone(&done);
            tokio.spawn(async move {
                let mut first = channel::after(Duration::from_micros(n * 37 % 20_000));
                let mut never = channel::never();
                let due = tokio::select! {
                    due = first.pop() => due.expect("it is due once"),
                    _ = never.pop() => unreachable!("it never is"),
                };
                assert!(due <= Instant::now());
                done.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    let count = tasks.len() as u64;
    tokio.block_on(async {
        for task in tasks {
            task.await.expect("no panic");
        }
    });
    assert_eq!(done.load(Ordering::Relaxed), count);
}
