//! What the documentation of the ends promises, one promise a test.

use core::pin::{Pin, pin};
use core::task::Poll;
use std::thread;

use futures::executor::block_on;
use futures::future::FutureExt;
use futures::stream::{FusedStream, Stream, StreamExt};

use super::support::{Bell, Census, poll, poll_with};
use crate::channel::{PopError, PushError, Receiver, Sender, TryPopError, TryPushError, bounded};

#[test]
fn capacity_is_exact() {
    for capacity in [1, 2, 3, 5, 64, 100] {
        let (tx, rx) = bounded(capacity);
        for n in 0..capacity {
            assert!(!tx.is_full());
            tx.try_push(n).unwrap();
        }
        assert!(tx.is_full() && rx.is_full());
        assert_eq!(tx.try_push(99), Err(TryPushError::Full(99)));
        assert_eq!(
            (tx.len(), rx.len(), tx.capacity(), rx.capacity()),
            (capacity, capacity, capacity, capacity)
        );
        for n in 0..capacity {
            assert_eq!(rx.try_pop(), Ok(n));
        }
        assert!(rx.is_empty() && tx.is_empty());
        assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    }
}

#[test]
fn rendezvous_needs_both_sides() {
    let (tx, rx) = bounded(0);
    assert_eq!(tx.try_push(1), Err(TryPushError::Full(1)));
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    let mut pop = pin!(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    assert!(!tx.is_full());
    tx.try_push(2).unwrap();
    assert_eq!(tx.try_push(3), Err(TryPushError::Full(3)));
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty)); // it is the waiter's
    assert_eq!(poll(pop), Poll::Ready(Ok(2)));

    let mut push = pin!(tx.push(4));
    assert!(poll(push.as_mut()).is_pending());
    assert_eq!(rx.try_pop(), Ok(4));
    assert_eq!(poll(push), Poll::Ready(Ok(())));
}

#[test]
fn a_freed_slot_pulls_the_oldest_push() {
    let (tx, rx) = bounded(1);
    tx.try_push(0).unwrap();
    let (bell, waker) = Bell::new();
    let mut first = pin!(tx.push(1));
    let mut second = pin!(tx.push(2));
    assert!(poll_with(first.as_mut(), &waker).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    assert_eq!(rx.try_pop(), Ok(0));
    assert_eq!((bell.rings(), rx.len()), (1, 1));
    assert_eq!(rx.try_pop(), Ok(1)); // before its future was polled again
    assert_eq!(rx.try_pop(), Ok(2));
    assert_eq!(poll(first), Poll::Ready(Ok(())));
    assert_eq!(poll(second), Poll::Ready(Ok(())));
}

#[test]
fn waiting_pops_are_served_in_order_and_not_overtaken() {
    let (tx, rx) = bounded(4);
    let mut pops: Vec<_> = (0..3).map(|_| Box::pin(rx.pop())).collect();
    for pop in &mut pops {
        assert!(poll(pop.as_mut()).is_pending());
    }
    for n in 0..3 {
        tx.try_push(n).unwrap();
    }
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    let got: Vec<_> = pops.iter_mut().map(|pop| poll(pop.as_mut())).collect();
    assert_eq!(got, [0, 1, 2].map(|n| Poll::Ready(Ok(n))));
}

#[test]
fn a_dropped_notified_pop_passes_its_value_on() {
    let (tx, rx) = bounded(1);
    let mut first = Box::pin(rx.pop());
    let mut second = pin!(rx.pop());
    let (bell, waker) = Bell::new();
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll_with(second.as_mut(), &waker).is_pending());
    tx.try_push(7).unwrap();
    assert_eq!(bell.rings(), 0);
    drop(first);
    assert_eq!(bell.rings(), 1);
    assert_eq!(poll(second), Poll::Ready(Ok(7)));

    let mut only = Box::pin(rx.pop());
    assert!(poll(only.as_mut()).is_pending());
    tx.try_push(8).unwrap();
    drop(only);
    assert_eq!(rx.try_pop(), Ok(8));
}

#[test]
fn at_capacity_zero_a_pulled_value_does_not_overtake_a_counted_one() {
    let (tx, rx) = bounded(0);
    let mut notified = Box::pin(rx.pop());
    assert!(poll(notified.as_mut()).is_pending());
    tx.try_push(1).unwrap();
    let mut push = pin!(tx.push(2));
    assert!(poll(push.as_mut()).is_pending());
    assert_eq!(rx.try_pop(), Ok(1));
    drop(notified);
    assert_eq!(rx.try_pop(), Ok(2));
}

#[test]
fn close_drains_then_fails() {
    let (tx, rx) = bounded(2);
    tx.try_push(1).unwrap();
    tx.try_push(2).unwrap();
    let mut parked = pin!(tx.push(3));
    let (bell, waker) = Bell::new();
    assert!(poll_with(parked.as_mut(), &waker).is_pending());
    assert!(rx.close());
    assert!(!tx.close() && tx.is_closed() && rx.is_closed());
    assert_eq!(bell.rings(), 1);
    assert_eq!(poll(parked), Poll::Ready(Err(PushError::Closed(3))));
    assert_eq!(tx.try_push(4), Err(TryPushError::Closed(4)));
    assert_eq!(block_on(tx.push(5)), Err(PushError::Closed(5)));
    assert_eq!(block_on(rx.pop()), Ok(1));
    assert_eq!(rx.try_pop(), Ok(2));
    assert_eq!(block_on(rx.pop()), Err(PopError::Closed));
    assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
}

#[test]
fn close_tells_waiting_pops_only_once_counted_values_are_gone() {
    for give_back in [false, true] {
        let (tx, rx) = bounded(1);
        let mut first = Box::pin(rx.pop());
        let mut second = Box::pin(rx.pop());
        let mut third = Box::pin(rx.pop());
        let (bell, waker) = Bell::new();
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll_with(second.as_mut(), &waker).is_pending());
        assert!(poll_with(third.as_mut(), &waker).is_pending());
        tx.try_push(1).unwrap();
        tx.close();
        assert_eq!(bell.rings(), 0);
        assert!(poll_with(second.as_mut(), &waker).is_pending());
        assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
        if give_back {
            drop(first);
            assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(1)));
            assert_eq!(bell.rings(), 2);
        } else {
            assert_eq!(poll(first.as_mut()), Poll::Ready(Ok(1)));
            assert_eq!(bell.rings(), 2);
            assert_eq!(poll(second.as_mut()), Poll::Ready(Err(PopError::Closed)));
        }
        assert_eq!(poll(third.as_mut()), Poll::Ready(Err(PopError::Closed)));
    }
}

#[test]
fn close_tells_more_waiters_than_fit_into_one_batch() {
    let (tx, rx) = bounded::<u8>(0);
    let mut pops: Vec<_> = (0..100).map(|_| Box::pin(rx.pop())).collect();
    let (bell, waker) = Bell::new();
    pops.iter_mut().for_each(|pop| assert!(poll_with(pop.as_mut(), &waker).is_pending()));
    drop(tx);
    assert_eq!(bell.rings(), 100);
    pops.iter_mut().for_each(|pop| assert_eq!(poll(pop.as_mut()), Poll::Ready(Err(PopError::Closed))));
}

#[test]
fn the_last_sender_closes() {
    let (tx, rx) = bounded(1);
    let second = tx.clone();
    drop(tx);
    assert!(!rx.is_closed());
    second.try_push(1).unwrap();
    drop(second);
    assert!(rx.is_closed());
    assert_eq!(rx.try_pop(), Ok(1));
    assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
}

#[test]
fn the_last_receiver_closes_and_drops_what_is_queued() {
    let census = Census::default();
    let (tx, rx) = bounded(3);
    let second = rx.clone();
    for id in 0..3 {
        assert!(tx.try_push(census.token(id)).is_ok());
    }
    let mut parked = pin!(tx.push(census.token(3)));
    assert!(poll(parked.as_mut()).is_pending());
    drop(rx);
    assert_eq!(census.alive(), 4);
    drop(second);
    assert_eq!(census.alive(), 1);
    assert!(tx.is_closed());
    let Poll::Ready(Err(refused)) = poll(parked) else { panic!("the push should have failed") };
    assert_eq!(refused.into_inner().id, 3);
    assert_eq!(census.alive(), 0);
}

#[test]
fn a_dropped_push_was_pushed_or_drops_its_value() {
    let census = Census::default();
    let (tx, rx) = bounded(1);
    drop(tx.push(census.token(0)));
    assert_eq!((census.alive(), rx.len()), (0, 0));
    assert!(tx.try_push(census.token(1)).is_ok());
    let mut parked = Box::pin(tx.push(census.token(2)));
    assert!(poll(parked.as_mut()).is_pending());
    drop(parked);
    assert_eq!(census.alive(), 1);
    let mut parked = Box::pin(tx.push(census.token(3)));
    assert!(poll(parked.as_mut()).is_pending());
    assert_eq!(rx.try_pop().ok().map(|token| token.id), Some(1));
    drop(parked); // it was pulled
    assert_eq!(rx.try_pop().ok().map(|token| token.id), Some(3));
    assert_eq!(census.alive(), 0);
}

#[test]
fn the_newest_waker_is_told() {
    let (tx, rx) = bounded(1);
    let mut pop = pin!(rx.pop());
    let ((old_bell, old), (new_bell, new)) = (Bell::new(), Bell::new());
    assert!(poll_with(pop.as_mut(), &old).is_pending());
    assert!(poll_with(pop.as_mut(), &new).is_pending());
    tx.try_push(()).unwrap();
    assert_eq!((old_bell.rings(), new_bell.rings()), (0, 1));
}

#[test]
fn payloads_of_every_shape() {
    #[derive(Clone, Copy, PartialEq, Debug)]
    #[repr(align(256))]
    struct Aligned(u8);

    fn round_trip<T: Clone + PartialEq + core::fmt::Debug>(value: &T) {
        for capacity in [0, 1, 3] {
            let (tx, rx) = bounded(capacity);
            let mut pops: Vec<_> = (0..8).map(|_| Box::pin(rx.pop())).collect();
            pops.iter_mut().for_each(|pop| assert!(poll(pop.as_mut()).is_pending()));
            pops.iter().for_each(|_| tx.try_push(value.clone()).unwrap());
            pops.iter_mut().for_each(|pop| assert_eq!(poll(pop.as_mut()), Poll::Ready(Ok(value.clone()))));
            let mut pushes: Vec<_> = (0..8).map(|_| Box::pin(tx.push(value.clone()))).collect();
            pushes.iter_mut().for_each(|push| drop(poll(push.as_mut())));
            pushes.iter().for_each(|_| assert_eq!(rx.try_pop(), Ok(value.clone())));
        }
    }
    round_trip(&());
    round_trip(&[7_u64; 1024]);
    round_trip(&Aligned(3));
    round_trip(&String::from("heap"));
}

#[test]
fn zero_sized_values_take_any_capacity() {
    let (tx, rx) = bounded(isize::MAX as usize);
    tx.try_push(()).unwrap();
    assert_eq!((rx.len(), rx.capacity()), (1, isize::MAX as usize));
}

#[test]
#[should_panic(expected = "does not fit into memory")]
fn an_absurd_capacity_is_refused() {
    drop(bounded::<u64>(usize::MAX / 2));
}

#[test]
#[should_panic(expected = "does not fit into memory")]
fn an_absurd_capacity_is_refused_for_zero_sized_values_too() {
    drop(bounded::<()>(usize::MAX));
}

#[test]
fn ends_know_their_channel() {
    let (tx, rx) = bounded::<u8>(1);
    let (other_tx, other_rx) = bounded::<u8>(1);
    assert!(tx.same_channel(&tx.clone()) && rx.same_channel(&rx.clone()));
    assert!(!tx.same_channel(&other_tx) && !rx.same_channel(&other_rx));
    assert_eq!(format!("{tx:?}"), "Sender { capacity: 1, len: 0, closed: false, .. }");
}

#[test]
fn errors_speak() {
    let say = |error: &dyn std::error::Error| error.to_string();
    assert_eq!(say(&PushError::Closed(())), "push into a closed channel");
    assert_eq!(say(&TryPushError::Full(())), "push into a full channel");
    assert_eq!(say(&PopError::Closed), "pop from a closed and drained channel");
    assert_eq!(say(&TryPopError::Empty), "pop from an empty channel");
    assert!(PushError::Cancelled(1).is_cancelled() && !PushError::Cancelled(1).is_closed());
    assert_eq!(TryPushError::Closed(5).into_inner(), 5);
}

#[test]
fn ends_and_futures_are_send_and_sync() {
    fn send_sync<T: Send + Sync>(_: &T) {}
    // `Cell` is `Send` and not `Sync`: that is enough for a channel.
    let (tx, rx) = bounded::<core::cell::Cell<u8>>(1);
    send_sync(&tx);
    send_sync(&rx);
    send_sync(&tx.push(core::cell::Cell::new(1)));
    send_sync(&rx.pop());
}

#[test]
fn a_receiver_is_a_stream() {
    let (tx, mut rx) = bounded(4);
    tx.try_push(1).unwrap();
    tx.try_push(2).unwrap();
    assert_eq!(block_on(rx.next()), Some(1));
    assert!(!rx.is_terminated());
    drop(tx);
    assert_eq!(block_on(rx.next()), Some(2));
    assert!(rx.is_terminated());
    assert_eq!(rx.size_hint(), (0, Some(0)));
    assert_eq!(block_on(rx.next()), None);
    assert_eq!(block_on(rx.next()), None);
}

fn poll_stream<T>(rx: &mut Receiver<T>) -> Poll<Option<T>> {
    Pin::new(rx).poll_next(&mut core::task::Context::from_waker(core::task::Waker::noop()))
}

#[test]
fn a_stream_keeps_its_place_until_its_receiver_does_something_else() {
    let (tx, mut rx) = bounded(1);
    assert!(poll_stream(&mut rx).is_pending());
    tx.try_push(1).unwrap();
    assert_eq!(rx.clone().try_pop(), Err(TryPopError::Empty)); // counted for the stream
    assert_eq!(rx.try_pop(), Ok(1)); // which gave its place up
    tx.try_push(2).unwrap();
    assert_eq!(poll_stream(&mut rx), Poll::Ready(Some(2)));

    assert!(poll_stream(&mut rx).is_pending());
    tx.try_push(3).unwrap();
    assert_eq!(rx.pop().now_or_never(), Some(Ok(3)));

    let mut other = rx.clone();
    assert!(poll_stream(&mut rx).is_pending());
    assert!(poll_stream(&mut other).is_pending());
    tx.try_push(4).unwrap();
    drop(rx);
    assert_eq!(poll_stream(&mut other), Poll::Ready(Some(4)));
}

#[test]
fn blocking_ends_meet_async_ones() {
    let (tx, rx) = bounded(1);
    let producer = thread::spawn(move || (0..1000).try_for_each(|n| tx.push_blocking(n)));
    block_on(async {
        for n in 0..1000 {
            assert_eq!(rx.pop().await, Ok(n));
        }
        assert_eq!(rx.pop().await, Err(PopError::Closed));
    });
    producer.join().unwrap().unwrap();

    let (tx, rx): (Sender<u32>, _) = bounded(0);
    let consumer = thread::spawn(move || {
        let mut got = 0;
        while let Ok(n) = rx.pop_blocking() {
            assert_eq!(n, got);
            got += 1;
        }
        got
    });
    block_on(async {
        for n in 0..1000 {
            tx.push(n).await.unwrap();
        }
    });
    drop(tx);
    assert_eq!(consumer.join().unwrap(), 1000);
}
