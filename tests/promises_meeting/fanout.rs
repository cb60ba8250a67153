//! Broadcast and watch: a clone that panics beside clones of the receiver, lags and closes; values that change while they
//! are cloned.
//!
//! Knows: the documentation of `broadcast` and `watch`. Does not know: engines.

use std::cell::Cell;
use std::pin::pin;

use futures::stream::FusedStream;
use millstream::channel::broadcast::{Overflow, TryPopError};
use millstream::channel::{self, PushError};

use super::{panics, poll, ready};

thread_local! {
    /// How many clones panic from now on.
    static FRAIL: Cell<u32> = const { Cell::new(0) };
}

/// A value whose clone panics when it is told to.
#[derive(Debug, PartialEq)]
struct Frail(u32);

impl Clone for Frail {
    fn clone(&self) -> Self {
        if let Some(left) = FRAIL.get().checked_sub(1) {
            FRAIL.set(left);
            panic!("as it was told");
        }
        Self(self.0)
    }
}

#[test]
fn a_value_whose_clone_panicked_is_kept_counted_and_passed_to_clones() {
    for overflow in [Overflow::Lag, Overflow::Wait] {
        let (tx, mut rx) = channel::broadcast(1, overflow);
        let _slow = rx.clone();
        tx.try_push(Frail(1)).unwrap();
        FRAIL.set(1);
        assert!(panics(|| _ = rx.try_pop()));
        assert_eq!((rx.len(), rx.is_empty()), (1, false));
        tx.close();
        assert!(!rx.is_terminated());
        let mut clone = rx.clone();
        assert_eq!(clone.len(), 1, "a clone begins at the same place");
        assert_eq!(rx.try_pop(), Ok(Frail(1)));
        assert_eq!(clone.try_pop(), Ok(Frail(1)));
        assert!(rx.is_terminated() && clone.is_terminated());
        assert_eq!(clone.try_pop(), Err(TryPopError::Closed));
    }
}

#[test]
fn a_receiver_that_goes_lets_pushes_in_and_who_subscribes_meanwhile_gets_them() {
    let (tx, rx) = channel::broadcast(1, Overflow::Wait);
    tx.try_push(1).unwrap();
    let mut push = pin!(tx.push(2));
    assert!(poll(push.as_mut()).is_pending());
    let mut late = tx.subscribe();
    assert_eq!(late.try_pop(), Err(TryPopError::Empty));
    drop(rx);
    assert_eq!(ready(push), Ok(()));
    assert_eq!(late.try_pop(), Ok(2));
    drop(late);
    assert_eq!((tx.receiver_count(), tx.is_closed(), tx.is_full()), (0, false, false));
}

#[test]
fn a_watched_value_whose_clone_panicked_is_not_seen_and_replaced_by_the_next() {
    let (tx, mut rx) = channel::watch(Frail(1));
    FRAIL.set(1);
    assert!(panics(|| _ = ready(pin!(rx.pop()))));
    assert!(rx.has_changed());
    tx.push(Frail(2)).unwrap();
    tx.close();
    assert_eq!(rx.try_pop(), Ok(Frail(2)));
    assert!(rx.is_terminated() && !rx.has_changed());
}

#[test]
fn an_update_that_pushes_is_asked_again_and_one_that_closes_gets_its_value_back() {
    let (tx, rx) = channel::watch(1);
    let mut calls = 0;
    tx.update(|&value| {
        calls += 1;
        if calls == 1 {
            tx.push(10).unwrap();
        }
        value + 1
    })
    .unwrap();
    assert_eq!((calls, rx.get()), (2, 11));
    let failed = tx.update(|&value| {
        tx.close();
        value + 1
    });
    assert_eq!((failed, rx.get()), (Err(PushError::Closed(12)), 11));
}
