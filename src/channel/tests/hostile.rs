//! Wakers and destructors that do what they should not: come back into the channel, or panic.
#![allow(unsafe_code, reason = "a waker whose clone and drop run code is a hand-made vtable")]

mod more;

use core::pin::pin;
use core::task::{Poll, RawWaker, RawWakerVTable, Waker};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::support::{Bell, Census, Token, poll, poll_with};
use crate::channel::{PopError, PushError, Sender, bounded};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Clone,
    Wake,
    Drop,
}

type React = Arc<dyn Fn(Event) + Send + Sync>;

/// A waker that runs `react` whatever is done to it.
pub(super) fn hostile(react: impl Fn(Event) + Send + Sync + 'static) -> Waker {
    fn raw(react: React) -> RawWaker {
        RawWaker::new(Box::into_raw(Box::new(react)).cast(), &VTABLE)
    }
    static VTABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            // SAFETY: a box of `raw`, borrowed for the call.
            let react = unsafe { &*data.cast::<React>() };
            react(Event::Clone);
            raw(react.clone())
        },
        |data| {
            // SAFETY: a box of `raw`, given up with this call.
            let react = unsafe { Box::from_raw(data.cast_mut().cast::<React>()) };
            react(Event::Wake);
        },
        |data| {
            // SAFETY: a box of `raw`, borrowed for the call.
            let react = unsafe { &*data.cast::<React>() };
            react(Event::Wake);
        },
        |data| {
            // SAFETY: a box of `raw`, given up with this call.
            let react = unsafe { Box::from_raw(data.cast_mut().cast::<React>()) };
            react(Event::Drop);
        },
    );
    // SAFETY: the vtable treats the data as `raw` made it, and `React` is `Send + Sync`.
    unsafe { Waker::from_raw(raw(Arc::new(react))) }
}

#[test]
fn wakers_may_use_the_channel_whatever_is_done_to_them() {
    for capacity in [0, 1, 2] {
        let (tx, rx) = bounded::<u32>(capacity);
        let visits = Arc::new(AtomicUsize::new(0));
        let waker = {
            let (tx, rx, visits) = (tx.clone(), rx.clone(), visits.clone());
            hostile(move |_| {
                visits.fetch_add(1, Ordering::SeqCst);
                let _ = (tx.len(), tx.is_full(), rx.is_closed());
                // Nothing is to come out: a push with room would be noticed below.
                let _ = poll(pin!(rx.pop()));
                drop(tx.push(99));
            })
        };
        {
            let mut pop = pin!(rx.pop());
            assert!(poll_with(pop.as_mut(), &waker).is_pending());
            let other = hostile(|_| {});
            assert!(poll_with(pop.as_mut(), &other).is_pending()); // drops the first one
            assert!(poll_with(pop.as_mut(), &waker).is_pending());
            tx.try_push(1).unwrap();
            assert_eq!(poll_with(pop, &waker), Poll::Ready(Ok(1)));
        }
        {
            let mut dropped = Box::pin(rx.pop());
            assert!(poll_with(dropped.as_mut(), &waker).is_pending());
        }
        assert!(visits.load(Ordering::SeqCst) >= 6);
        let mut pop = pin!(rx.pop());
        assert!(poll_with(pop.as_mut(), &waker).is_pending());
        tx.close();
        assert_eq!(poll(pop), Poll::Ready(Err(PopError::Closed)));
    }
}

#[test]
fn a_waker_may_take_the_value_its_pop_was_woken_for() {
    // On the way to parking, the clone of the waker closes the gap the pop is about to sleep in.
    let (tx, rx) = bounded::<u32>(1);
    let sender = tx.clone();
    let waker = hostile(move |event| {
        if event == Event::Clone {
            let _ = sender.try_push(5);
        }
    });
    assert_eq!(poll_with(pin!(rx.pop()), &waker), Poll::Ready(Ok(5)));
}

#[test]
fn a_panicking_wake_loses_no_value_and_stops_no_other_wake() {
    let (tx, rx) = bounded(1);
    let bomb = hostile(|event| assert!(event != Event::Wake, "a waker that panics"));
    let (bell, waker) = Bell::new();
    // The pop that wakes the pulled push still has its value.
    tx.try_push(1).unwrap();
    let mut push = pin!(tx.push(2));
    assert!(poll_with(push.as_mut(), &bomb).is_pending());
    assert_eq!(rx.try_pop(), Ok(1));
    assert_eq!(poll(push), Poll::Ready(Ok(())));
    assert_eq!(rx.try_pop(), Ok(2));
    // A close tells everybody.
    let mut pops: Vec<_> = (0..40).map(|_| Box::pin(rx.pop())).collect();
    for (n, pop) in pops.iter_mut().enumerate() {
        assert!(poll_with(pop.as_mut(), if n % 2 == 0 { &bomb } else { &waker }).is_pending());
    }
    tx.close();
    assert_eq!(bell.rings(), 20);
    pops.iter_mut().for_each(|pop| assert_eq!(poll(pop.as_mut()), Poll::Ready(Err(PopError::Closed))));
}

#[test]
fn a_panicking_clone_leaves_the_push_as_it_was() {
    let census = Census::default();
    let (tx, rx) = bounded(1);
    assert!(tx.try_push(census.token(0)).is_ok());
    let bomb = hostile(|event| assert!(event != Event::Clone, "a waker that cannot be cloned"));
    let mut push = Box::pin(tx.push(census.token(1)));
    assert!(catch_unwind(AssertUnwindSafe(|| poll_with(push.as_mut(), &bomb).is_ready())).is_err());
    assert_eq!((rx.len(), census.alive()), (1, 2));
    drop(rx.try_pop());
    assert!(matches!(poll(push.as_mut()), Poll::Ready(Ok(()))));
    drop(push);
    assert_eq!(rx.try_pop().ok().map(|token| token.id), Some(1));
}

#[test]
fn a_panicking_drop_of_a_waker_is_contained() {
    let (tx, rx) = bounded(1);
    let bomb = hostile(|event| assert!(event != Event::Drop, "a waker that cannot be dropped"));
    let mut pop = Box::pin(rx.pop());
    assert!(poll_with(pop.as_mut(), &bomb).is_pending());
    assert!(poll(pop.as_mut()).is_pending());
    tx.try_push(1).unwrap();
    assert_eq!(poll(pop.as_mut()), Poll::Ready(Ok(1)));
    std::mem::forget(bomb);
}

/// A value whose drop panics, with a payload whose drop panics.
struct Bomb {
    _token: Token,
}

impl Bomb {
    fn new(token: Token) -> Self {
        Self { _token: token }
    }
}

struct Splinter;

impl Drop for Splinter {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the payload as well");
        }
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic_any(Splinter);
    }
}

#[test]
fn the_last_receiver_drops_everything_once_whatever_panics() {
    let census = Census::default();
    let (tx, rx) = bounded(8);
    for id in 0..8 {
        assert!(tx.try_push(Bomb::new(census.token(id))).is_ok());
    }
    drop(rx);
    assert_eq!(census.alive(), 0);
}

/// A value that keeps its own channel alive, and uses it when it is dropped.
struct Loop {
    tx: Sender<Loop>,
    refused: Arc<Mutex<Vec<bool>>>,
}

impl Drop for Loop {
    fn drop(&mut self) {
        let (refused, closed) = (self.refused.clone(), self.tx.is_closed());
        refused.lock().unwrap().push(closed);
    }
}

#[test]
fn values_may_use_the_channel_they_are_dropped_from() {
    let refused = Arc::new(Mutex::new(Vec::new()));
    let (tx, rx) = bounded(2);
    for _ in 0..2 {
        assert!(tx.try_push(Loop { tx: tx.clone(), refused: refused.clone() }).is_ok());
    }
    drop(tx);
    assert!(!rx.is_closed());
    drop(rx);
    assert_eq!(*refused.lock().unwrap(), [true, true]);
}

#[test]
fn a_forgotten_waiter_keeps_its_place_and_breaks_nothing() {
    let (tx, rx) = bounded(1);
    let mut forgotten = Box::pin(rx.pop());
    assert!(poll(forgotten.as_mut()).is_pending());
    std::mem::forget(forgotten);
    tx.try_push(Box::new(1)).unwrap(); // counted for the forgotten one
    let mut next = Box::pin(rx.pop());
    assert!(poll(next.as_mut()).is_pending());
    drop(next);
    tx.try_push(Box::new(2)).unwrap();
    let mut push = Box::pin(tx.push(Box::new(3)));
    assert!(poll(push.as_mut()).is_pending());
    std::mem::forget(push);
    assert_eq!(rx.try_pop().as_deref(), Ok(&1)); // the head; the count stays
    drop(rx);
    assert_eq!(tx.try_push(Box::new(4)), Err(crate::channel::TryPushError::Closed(Box::new(4))));
}

#[test]
fn an_operation_outlives_a_panic_of_its_task() {
    let (tx, rx) = bounded(0);
    let census = Census::default();
    let mut waiting = pin!(rx.pop());
    let died = catch_unwind(AssertUnwindSafe(|| {
        let mut push = pin!(tx.push(census.token(1)));
        assert!(poll(push.as_mut()).is_pending());
        let mut pop = pin!(rx.pop());
        assert!(matches!(poll(pop.as_mut()), Poll::Ready(Ok(_)))); // pulled, so the push has taken effect
        let mut second = pin!(rx.pop());
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(waiting.as_mut()).is_pending());
        assert!(tx.try_push(census.token(2)).is_ok()); // counted for `second`
        panic!("the task ends here");
    }));
    assert!(died.is_err());
    assert!(matches!(poll(waiting), Poll::Ready(Ok(token)) if token.id == 2));
    assert_eq!(census.alive(), 0);
    rx.close();
    assert!(matches!(poll(pin!(tx.push(census.token(3)))), Poll::Ready(Err(PushError::Closed(_)))));
}
