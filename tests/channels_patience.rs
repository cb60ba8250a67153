//! How long an operation of a channel looks again before it stands in line, and that it then does.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::thread;

use futures::StreamExt;
use millstream::channel::{self, TryPopError, TryPushError};
use millstream::spawn;

/// More than a task looks, and few enough for one that has nothing to do.
const MANY: u32 = 32;

/// At least as many as there are in a turn of the runtime.
const POLLS: u32 = 64;

/// The future, and how often it was polled.
async fn polls<F: Future>(future: F) -> (F::Output, u32) {
    let mut future = pin!(future);
    let mut polls = 0;
    let output = poll_fn(|cx| {
        polls += 1;
        future.as_mut().poll(cx)
    })
    .await;
    (output, polls)
}

/// Looking again is for what another thread brings: so that is who used the channel last.
fn elsewhere<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| scope.spawn(f).join().unwrap())
}

async fn some_turns() {
    for _ in 0..4 * MANY * POLLS {
        millstream::yield_now().await;
    }
}

#[millstream::test]
async fn a_task_that_waits_long_is_polled_seldom() {
    let looks = 3..MANY;
    let (tx, rx) = channel::bounded(64);
    elsewhere(|| {
        (0..64).for_each(|n| tx.try_push(n).unwrap());
        assert_eq!(rx.try_pop(), Ok(0));
        tx.try_push(64).unwrap();
    });
    let push = spawn(async move { polls(tx.push(65)).await });
    some_turns().await;
    assert_eq!(rx.pop().await, Ok(1));
    let (pushed, times) = push.await.unwrap();
    assert!(pushed.is_ok() && looks.contains(&times), "{times} polls of a push");
    drop(rx);

    let (tx, rx) = channel::bounded(64);
    elsewhere(|| tx.try_push(0).unwrap());
    assert_eq!(rx.pop().await, Ok(0));
    let pop = spawn(async move { polls(rx.pop()).await });
    some_turns().await;
    tx.try_push(1).unwrap();
    let (popped, times) = pop.await.unwrap();
    assert!(popped == Ok(1) && looks.contains(&times), "{times} polls of a pop");

    let (tx, mut rx) = channel::bounded(64);
    elsewhere(|| tx.try_push(0).unwrap());
    assert_eq!(rx.next().await, Some(0));
    let next = spawn(async move { polls(rx.next()).await });
    some_turns().await;
    tx.try_push(1).unwrap();
    let (popped, times) = next.await.unwrap();
    assert!(popped == Some(1) && looks.contains(&times), "{times} polls of a stream");
}

#[millstream::test]
async fn who_has_looked_in_vain_is_not_overtaken() {
    let (tx, rx) = channel::bounded(64);
    elsewhere(|| tx.try_push(0).unwrap());
    assert_eq!(rx.try_pop(), Ok(0));
    let pops: Vec<_> = (0..3)
        .map(|_| {
            let rx = rx.clone();
            spawn(async move { rx.pop().await })
        })
        .collect();
    some_turns().await;
    for (n, pop) in pops.into_iter().enumerate() {
        tx.try_push(n).unwrap();
        assert_eq!(rx.try_pop(), Err(TryPopError::Empty), "it is counted as another's");
        assert_eq!(pop.await.unwrap(), Ok(n));
    }

    elsewhere(|| {
        (0..64).for_each(|n| tx.try_push(n).unwrap());
        assert_eq!(rx.try_pop(), Ok(0));
        tx.try_push(64).unwrap();
    });
    let push = spawn({
        let tx = tx.clone();
        async move { tx.push(65).await }
    });
    some_turns().await;
    assert_eq!(rx.try_pop(), Ok(1));
    assert_eq!(tx.try_push(66), Err(TryPushError::Full(66)), "the slot was another's");
    push.await.unwrap().unwrap();
    drop(tx);
    let mut left = 2..=65;
    while let Ok(n) = rx.pop().await {
        assert_eq!(Some(n), left.next());
    }
    assert_eq!(left.next(), None);
}

/// A task that looks again and is then dropped, cancelled or told of the close has nothing to give back.
#[millstream::test]
async fn a_wait_that_has_not_begun_ends_like_any_other() {
    let (tx, rx) = channel::bounded::<u32>(64);
    elsewhere(|| tx.try_push(0).unwrap());
    assert_eq!(rx.try_pop(), Ok(0));
    let dropped = spawn({
        let rx = rx.clone();
        async move {
            let mut pop = Box::pin(rx.pop());
            let polled = poll_fn(|cx| std::task::Poll::Ready(pop.as_mut().poll(cx))).await;
            polled.is_pending()
        }
    });
    assert!(dropped.await.unwrap());
    let told = spawn({
        let rx = rx.clone();
        async move { rx.pop().await }
    });
    millstream::yield_now().await;
    tx.close();
    assert_eq!(told.await.unwrap(), Err(channel::PopError::Closed));
    assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
}
