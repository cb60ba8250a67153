//! How long an operation of a channel looks again before it stands in line, and that it then does.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use millstream::channel::{self, TryPopError, TryPushError};
use millstream::{spawn, time};

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

async fn some_turns() {
    for _ in 0..MANY * POLLS {
        millstream::yield_now().await;
    }
}

#[millstream::test]
async fn a_task_that_waits_long_is_polled_seldom() {
    let (tx, rx) = channel::bounded(64);
    (0..64).for_each(|n| tx.try_push(n).unwrap());
    let push = spawn(async move { polls(tx.push(64)).await });
    time::sleep(Duration::from_millis(20)).await;
    assert_eq!(rx.pop().await, Ok(0));
    let (pushed, times) = push.await.unwrap();
    assert!(pushed.is_ok() && times < MANY, "{times} polls of a push");
    drop(rx);

    let (tx, rx) = channel::bounded(64);
    let pop = spawn(async move { polls(rx.pop()).await });
    time::sleep(Duration::from_millis(20)).await;
    tx.try_push(1).unwrap();
    let (popped, times) = pop.await.unwrap();
    assert!(popped == Ok(1) && times < MANY, "{times} polls of a pop");
}

#[millstream::test]
async fn who_has_looked_in_vain_is_not_overtaken() {
    let (tx, rx) = channel::bounded(64);
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

    (0..64).for_each(|n| tx.try_push(n).unwrap());
    let push = spawn({
        let tx = tx.clone();
        async move { tx.push(64).await }
    });
    some_turns().await;
    assert_eq!(rx.try_pop(), Ok(0));
    assert_eq!(tx.try_push(65), Err(TryPushError::Full(65)), "the slot was another's");
    push.await.unwrap().unwrap();
    drop(tx);
    let mut left = 1..=64;
    while let Ok(n) = rx.pop().await {
        assert_eq!(Some(n), left.next());
    }
    assert_eq!(left.next(), None);
}

/// A task that looks again and is then dropped, cancelled or told of the close has nothing to give back.
#[millstream::test]
async fn a_wait_that_has_not_begun_ends_like_any_other() {
    let (tx, rx) = channel::bounded::<u32>(64);
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
