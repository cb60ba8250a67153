//! What ends know of each other: the close that is waited for, weak handles, counts, iterators.

use core::pin::pin;
use core::task::Poll;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::support::{Bell, Census, audit, channel, on_every_channel, poll, poll_with};
use crate::channel::{PopError, Sharing, TryPopError};
use crate::operation::Operation;

on_every_channel! {
    the_close_is_told
    the_last_end_tells_the_other_side
    a_close_tells_more_than_fit_into_one_batch
    who_gives_up_waiting_is_not_told
    the_newest_waker_is_told
    weak_handles_do_not_keep_a_channel_open
    weak_handles_keep_no_values
    weak_handles_of_a_closed_channel
    ends_are_counted
    draining_takes_what_was_there
    draining_leaves_the_rest
    iterators_end_with_the_channel
}

fn the_close_is_told<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<u8, S>(capacity);
    let (bell, waker) = Bell::new();
    let (mut sees, mut too) = (pin!(tx.closed()), pin!(rx.closed()));
    assert!(poll_with(sees.as_mut(), &waker).is_pending());
    assert!(poll_with(too.as_mut(), &waker).is_pending());
    (0..capacity).for_each(|_| tx.try_push(1).unwrap());
    assert_eq!(bell.rings(), 0);
    rx.close();
    assert_eq!(bell.rings(), 2); // though there are values to pop
    assert!(poll(sees.as_mut()).is_ready() && poll(too).is_ready());
    assert!(poll(pin!(tx.closed())).is_ready());
    assert_eq!(rx.len(), capacity);
    assert!(catch_unwind(AssertUnwindSafe(|| poll(sees).is_ready())).is_err());
}

fn the_last_end_tells_the_other_side<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<u8, S>(capacity);
    let mut closed = pin!(tx.closed());
    let (bell, waker) = Bell::new();
    assert!(poll_with(closed.as_mut(), &waker).is_pending());
    drop(rx.clone());
    assert_eq!(bell.rings(), 0);
    drop(rx);
    assert_eq!((bell.rings(), poll(closed)), (1, Poll::Ready(())));

    let (tx, rx) = channel::<u8, S>(capacity);
    let mut closed = pin!(rx.closed());
    assert!(poll_with(closed.as_mut(), &waker).is_pending());
    drop(tx.clone());
    assert_eq!(bell.rings(), 0);
    drop(tx);
    assert_eq!((bell.rings(), poll(closed)), (1, Poll::Ready(())));
}

fn a_close_tells_more_than_fit_into_one_batch<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<u8, S>(capacity);
    let (bell, waker) = Bell::new();
    let mut all: Vec<_> = (0..50).map(|_| Box::pin(tx.closed())).collect();
    all.iter_mut().for_each(|closed| assert!(poll_with(closed.as_mut(), &waker).is_pending()));
    let mut pop = pin!(rx.pop());
    assert!(poll_with(pop.as_mut(), &waker).is_pending());
    tx.close();
    assert_eq!(bell.rings(), 51);
    assert!(all.iter_mut().all(|closed| poll(closed.as_mut()).is_ready()));
    assert_eq!(poll(pop), Poll::Ready(Err(PopError::Closed)));
}

fn who_gives_up_waiting_is_not_told<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<u8, S>(capacity);
    let (bell, waker) = Bell::new();
    let mut dropped = Box::pin(rx.closed());
    let mut discarded = pin!(rx.closed());
    let mut cancelled = pin!(rx.closed());
    let mut stays = pin!(rx.closed());
    assert!(poll_with(dropped.as_mut(), &waker).is_pending());
    assert!(poll_with(discarded.as_mut(), &waker).is_pending());
    assert!(poll_with(cancelled.as_mut(), &waker).is_pending());
    assert!(poll(stays.as_mut()).is_pending());
    drop(dropped);
    assert!(discarded.as_mut().poll_discard(&mut core::task::Context::from_waker(&waker)).is_ready());
    assert_eq!(bell.rings(), 0);
    cancelled.as_mut().request_cancel();
    assert_eq!((bell.rings(), poll(cancelled)), (1, Poll::Ready(())));
    let mut early = pin!(rx.closed());
    early.as_mut().request_cancel();
    assert!(poll(early).is_ready() && !rx.is_closed());
    tx.close();
    assert_eq!((bell.rings(), poll(stays)), (0, Poll::Ready(())));
}

fn the_newest_waker_is_told<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<u8, S>(capacity);
    let ((old_bell, old), (new_bell, new)) = (Bell::new(), Bell::new());
    let (mut closed, mut reserve) = (pin!(tx.closed()), pin!(tx.reserve()));
    let permits: Vec<_> = (0..capacity).map(|_| tx.try_reserve().unwrap()).collect();
    for waker in [&old, &new] {
        assert!(poll_with(closed.as_mut(), waker).is_pending());
        assert!(poll_with(reserve.as_mut(), waker).is_pending());
    }
    rx.close();
    assert_eq!((old_bell.rings(), new_bell.rings()), (0, 2));
    drop(permits);
}

fn weak_handles_do_not_keep_a_channel_open<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<u8, S>(capacity);
    let weak = tx.downgrade();
    let again = weak.upgrade().unwrap();
    assert!(again.same_channel(&tx) && weak.same_channel(&again.downgrade()));
    drop(tx);
    assert!(!rx.is_closed());
    drop(again);
    assert!(rx.is_closed() && weak.upgrade().is_none() && weak.clone().upgrade().is_none());

    let (tx, rx) = channel::<u8, S>(capacity);
    let weak = rx.downgrade();
    let again = weak.upgrade().unwrap();
    assert!(again.same_channel(&rx) && weak.same_channel(&again.downgrade()));
    drop(rx);
    assert!(!tx.is_closed());
    drop(again);
    assert!(tx.is_closed() && weak.upgrade().is_none() && weak.clone().upgrade().is_none());
    assert_eq!(
        format!("{weak:?}"),
        format!("WeakReceiver {{ capacity: {capacity}, len: 0, closed: true, .. }}")
    );
}

fn weak_handles_keep_no_values<S: Sharing>(capacity: usize) {
    let census = Census::default();
    let (tx, rx) = channel::<_, S>(capacity);
    (0..capacity).for_each(|id| assert!(tx.try_push(census.token(id as u64)).is_ok()));
    let (weak_tx, weak_rx) = (tx.downgrade(), rx.downgrade());
    drop((tx, rx));
    assert_eq!(census.alive(), 0);
    assert!(weak_tx.upgrade().is_none() && weak_rx.upgrade().is_none());
}

fn weak_handles_of_a_closed_channel<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    (0..capacity).for_each(|n| tx.try_push(n).unwrap());
    let (weak_tx, weak_rx) = (tx.downgrade(), rx.downgrade());
    tx.close();
    assert!(weak_tx.upgrade().unwrap().try_push(0).unwrap_err().is_closed());
    assert!(weak_rx.upgrade().unwrap().try_iter().eq(0..capacity));
}

fn ends_are_counted<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<u8, S>(capacity);
    let (_weak_tx, _weak_rx) = (tx.downgrade(), rx.downgrade());
    let counts = || (tx.sender_count(), tx.receiver_count(), rx.sender_count(), rx.receiver_count());
    assert_eq!(counts(), (1, 1, 1, 1));
    let more = (tx.clone(), tx.clone(), rx.clone());
    assert_eq!(counts(), (3, 2, 3, 2));
    drop(more);
    assert_eq!(counts(), (1, 1, 1, 1));
}

fn draining_takes_what_was_there<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    (0..capacity).for_each(|n| tx.try_push(n).unwrap());
    let mut push = pin!(tx.push(99));
    assert!(poll(push.as_mut()).is_pending());
    let drain = rx.drain();
    assert_eq!(drain.size_hint(), (0, Some(capacity)));
    assert!(drain.eq(0..capacity));
    assert_eq!(rx.try_pop(), Ok(99)); // it got a slot meanwhile; at capacity 0 it is not in the channel yet
    assert_eq!(poll(push), Poll::Ready(Ok(())));
    audit(&tx);
}

fn draining_leaves_the_rest<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    (0..capacity).for_each(|n| tx.try_push(n).unwrap());
    let mut drain = rx.drain();
    assert_eq!(drain.next(), (capacity > 0).then_some(0));
    let other = rx.clone();
    assert!(other.try_iter().take(1).eq((1..capacity).take(1)));
    drop(drain);
    assert!(rx.drain().eq(2..capacity.max(2)));
    let mut drain = rx.drain();
    tx.close();
    assert_eq!((drain.next(), drain.next()), (None, None));
}

fn iterators_end_with_the_channel<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    (0..capacity).for_each(|n| tx.try_push(n).unwrap());
    let mut now = rx.try_iter();
    assert!(now.by_ref().eq(0..capacity));
    assert_eq!(now.next(), None);
    if capacity > 0 {
        tx.try_push(7).unwrap();
        assert_eq!(now.next(), Some(7)); // not fused
        (0..capacity).for_each(|n| tx.try_push(n).unwrap());
    }
    drop(tx);
    let mut iter = (&rx).into_iter();
    assert!(iter.by_ref().take(1).eq((0..capacity).take(1)));
    assert_eq!(rx.len(), capacity.saturating_sub(1));
    let mut iter = rx.into_iter();
    assert!(iter.by_ref().eq((0..capacity).skip(1)));
    assert_eq!((iter.next(), iter.next()), (None, None));
}

#[test]
fn local_iterators_refuse_to_block() {
    let (tx, rx) = crate::channel::local(1);
    tx.try_push(1).unwrap();
    let mut iter = rx.iter();
    assert_eq!(iter.next(), Some(1));
    assert!(catch_unwind(AssertUnwindSafe(|| iter.next())).is_err());
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
}

#[test]
fn a_loop_over_a_receiver_runs_to_the_end() {
    let (tx, rx) = crate::channel::bounded(2);
    let producer = std::thread::spawn(move || (0..100).try_for_each(|n| tx.push_blocking(n)));
    let mut expected = 0;
    for n in rx {
        assert_eq!(n, expected);
        expected += 1;
    }
    assert_eq!(expected, 100);
    producer.join().unwrap().unwrap();
}

#[test]
fn what_waits_for_the_close_is_send_and_sync() {
    fn send_sync<T: Send + Sync>(_: &T) {}
    let (tx, rx) = crate::channel::bounded::<core::cell::Cell<u8>>(1);
    send_sync(&tx.closed());
    send_sync(&(tx.downgrade(), rx.downgrade()));
}
