//! Every flavor as an arm: of a race, of several operations at once, under a timeout.
//!
//! Knows: the public API. Does not know: how channels work.

use std::pin::pin;
use std::time::Duration;

use futures::executor::block_on;
use millstream::channel::broadcast::{self, Overflow};
use millstream::channel::{self, PopError, PushError};
use millstream::combinators::{OneOf2, OneOf5, OperationExt, when_all, when_any};
use millstream::{Runtime, race};

use crate::{begin, poll, ready};

#[test]
fn of_arms_that_are_all_ready_the_first_takes_effect_and_no_other() {
    let (tx, rx) = channel::bounded(1);
    let (event_tx, mut events) = channel::broadcast(1, Overflow::Wait);
    let (state_tx, mut state) = channel::watch(3);
    let (reply, mut answer) = channel::oneshot();
    let mut due = channel::after(Duration::ZERO);
    tx.try_push(1).unwrap();
    event_tx.try_push(2).unwrap();
    reply.push(4).unwrap();
    let outcome =
        block_on(async { race!(rx.pop() || events.pop() || state.pop() || answer.pop() || due.pop()).await });
    assert!(matches!(outcome, OneOf5::A(Ok(1))));
    assert_eq!(
        (rx.len(), events.len(), state.has_changed(), answer.is_empty(), due.len()),
        (0, 1, true, false, 1)
    );
    for n in 1..5 {
        let outcome = block_on(async {
            race!(rx.pop() || events.pop() || state.pop() || answer.pop() || due.pop()).await
        });
        match (n, outcome) {
            (1, OneOf5::B(Ok(2))) | (2, OneOf5::C(Ok(3))) | (3, OneOf5::D(Ok(4))) => {}
            // The answer has been taken: the channel is closed, which is an outcome, too.
            (4, OneOf5::D(Err(PopError::Closed))) => {}
            (n, outcome) => panic!("turn {n}: {outcome:?}"),
        }
    }
    assert_eq!(due.len(), 1);
    drop(state_tx);
}

#[test]
fn pushes_to_two_broadcasts_end_up_in_one() {
    let (a_tx, mut a) = channel::broadcast(1, Overflow::Wait);
    let (b_tx, mut b) = channel::broadcast(1, Overflow::Wait);
    let outcome = block_on(async { race!(a_tx.push(1) || b_tx.push(1)).await });
    assert!(matches!(outcome, OneOf2::A(Ok(()))));
    b_tx.try_push(1).unwrap();
    {
        let mut race = pin!(async { race!(a_tx.push(2) || b_tx.push(2)).await });
        assert!(poll(race.as_mut()).is_pending());
        assert_eq!((a.try_pop(), b.try_pop()), (Ok(1), Ok(1)));
        assert!(matches!(ready(race), OneOf2::A(Ok(())) | OneOf2::B(Ok(()))));
    }
    assert_eq!(a.len() + b.len(), 1, "both had room");
    assert!(a.try_pop().is_ok() != b.try_pop().is_ok());
    // A race that is dropped has pushed nothing, though there is room by then.
    a_tx.try_push(3).unwrap();
    b_tx.try_push(3).unwrap();
    {
        let mut race = pin!(async { race!(a_tx.push(4) || b_tx.push(4)).await });
        assert!(poll(race.as_mut()).is_pending());
        assert_eq!((a.try_pop(), b.try_pop()), (Ok(3), Ok(3)));
    }
    assert_eq!((a.len(), b.len()), (0, 0));
    a_tx.try_push(5).unwrap();
    assert_eq!(a.try_pop(), Ok(5), "the place that it was granted is free");
}

#[test]
fn any_and_all_over_many() {
    let ends: Vec<_> = (0..20).map(|_| channel::bounded(1)).collect();
    for (n, (tx, _)) in ends.iter().enumerate().rev() {
        tx.try_push(n).unwrap();
    }
    for n in 0..20 {
        let (which, value) = block_on(when_any(ends.iter().map(|(_, rx)| rx.pop()).collect::<Vec<_>>()));
        assert_eq!((which, value), (n, Ok(n)), "those that lost kept theirs");
    }
    let pushed = block_on(when_all(ends.iter().map(|(tx, _)| tx.push(7)).collect::<Vec<_>>()));
    assert!(pushed.iter().all(Result::is_ok));
    let (a, b) = (&ends[0].1, &ends[1].1);
    assert_eq!(block_on(a.pop() & b.pop()), (Ok(7), Ok(7)));
    assert!(matches!(block_on(ends[2].1.pop() | a.pop()), OneOf2::A(Ok(7))));
}

#[test]
fn a_timeout_gives_back_and_an_end_in_time_wins() {
    let _watchdog = begin();
    Runtime::new().unwrap().block_on(async {
        let brief = Duration::from_millis(1);
        let (tx, mut rx) = channel::broadcast(1, Overflow::Wait);
        tx.push("first").await.unwrap();
        let late = tx.push("second").timeout(brief).await.unwrap_err();
        assert_eq!(late.into_outcome(), Err(PushError::Cancelled("second")));
        assert_eq!(rx.pop().timeout(Duration::ZERO).await.ok(), Some(Ok("first")), "ready at its first poll");
        let late = rx.pop().timeout(brief).await.unwrap_err();
        assert_eq!(late.into_outcome(), Err(broadcast::PopError::Cancelled));
        let (_state_tx, mut state) = channel::watch(1);
        assert_eq!(state.pop().timeout(brief).await.ok(), Some(Ok(1)));
        assert_eq!(state.pop().timeout(brief).await.unwrap_err().into_outcome(), Err(PopError::Cancelled));
        let (reply, mut answer) = channel::oneshot::<u8>();
        assert_eq!(answer.pop().timeout(brief).await.unwrap_err().into_outcome(), Err(PopError::Cancelled));
        reply.push(1).unwrap();
        assert_eq!(answer.pop().timeout(brief).await.ok(), Some(Ok(1)));
        let (tx, rx) = channel::bounded::<u8>(1);
        assert!(tx.closed().timeout(brief).await.is_err());
        let permit = tx.reserve().timeout(brief).await.unwrap_or_else(|_| panic!("there is room")).unwrap();
        assert!(tx.reserve().timeout(brief).await.is_err());
        drop(permit);
        assert!(!tx.is_full());
        drop(rx);
        assert!(tx.closed().timeout(brief).await.is_ok());
    });
}
