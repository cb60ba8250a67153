//! Senders as sinks.

use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::executor::block_on;
use futures::sink::SinkExt;
use futures::stream::{self, StreamExt};
use futures_sink::Sink;

use super::support::{Bell, Counts, audit, channel, on_every_channel, poll};
use crate::channel::{PushError, Sender, Sharing};

on_every_channel! {
    a_ready_sink_holds_a_slot
    a_sink_keeps_its_place_until_its_sender_does_something_else
    a_close_gives_the_value_back
    closing_a_sink_gives_up_this_end_only
    sending_without_room_panics
}

fn ready<T, S: Sharing>(tx: &mut Sender<T, S>, waker: &Waker) -> bool {
    let polled = Pin::new(tx).poll_ready(&mut Context::from_waker(waker));
    assert!(!matches!(polled, Poll::Ready(Err(_))), "`poll_ready` has no errors");
    polled.is_ready()
}

fn start<T, S: Sharing>(tx: &mut Sender<T, S>, value: T) -> Result<(), PushError<T>> {
    Pin::new(tx).start_send(value)
}

fn a_ready_sink_holds_a_slot<S: Sharing>(capacity: usize) {
    let (mut tx, rx) = channel::<_, S>(capacity);
    let mut pop = pin!(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    assert!(ready(&mut tx, Waker::noop()) && ready(&mut tx, Waker::noop()));
    assert_eq!(audit(&tx).granted, 1); // once
    assert_eq!(start(&mut tx, 7), Ok(()));
    assert_eq!((poll(pop), audit(&tx)), (Poll::Ready(Ok(7)), Counts::default()));

    (0..capacity).for_each(|_| assert!(ready(&mut tx, Waker::noop()) && start(&mut tx, 1).is_ok()));
    let (bell, waker) = Bell::new();
    assert!(!ready(&mut tx, &waker));
    let mut pop = pin!(rx.pop());
    let popped = poll(pop.as_mut());
    assert_eq!((popped.is_pending(), bell.rings()), (capacity == 0, 1));
    assert!(ready(&mut tx, &waker) && start(&mut tx, 2).is_ok());
    assert_eq!(
        if popped.is_pending() { poll(pop) } else { popped },
        Poll::Ready(Ok(if capacity == 0 { 2 } else { 1 }))
    );
}

fn a_sink_keeps_its_place_until_its_sender_does_something_else<S: Sharing>(capacity: usize) {
    let (mut tx, rx) = channel::<_, S>(capacity);
    let mut pop = pin!(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    let other = tx.clone();
    let permits: Vec<_> = (0..capacity).map(|_| other.try_reserve().unwrap()).collect();
    assert!(ready(&mut tx, Waker::noop())); // the last slot
    assert!(other.try_push(0).unwrap_err().is_full());
    assert!(tx.is_full());
    assert_eq!(tx.try_push(1), Ok(())); // the slot it held
    assert_eq!((poll(pop), audit(&tx).granted), (Poll::Ready(Ok(1)), capacity));
    drop(permits);

    let mut pop = pin!(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    assert!(ready(&mut tx, Waker::noop()));
    assert_eq!(audit(&other).granted, 1);
    drop(tx);
    assert_eq!(audit(&other).granted, 0);
}

fn a_close_gives_the_value_back<S: Sharing>(capacity: usize) {
    let (mut tx, rx) = channel::<_, S>(capacity);
    let mut waits = tx.clone();
    (1..capacity).for_each(|n| tx.try_push(n).unwrap());
    let (bell, waker) = Bell::new();
    assert_eq!(ready(&mut tx, &waker), capacity > 0);
    assert!(!ready(&mut waits, &waker));
    drop(rx);
    assert_eq!(bell.rings(), if capacity > 0 { 1 } else { 2 });
    for tx in [&mut tx, &mut waits] {
        assert!(ready(tx, &waker)); // so that the value comes back
        assert_eq!(start(tx, 5), Err(PushError::Closed(5)));
    }
    assert_eq!(audit(&tx), Counts::default());
}

fn closing_a_sink_gives_up_this_end_only<S: Sharing>(capacity: usize) {
    let (mut tx, rx) = channel::<_, S>(capacity);
    let mut other = tx.clone();
    ready(&mut tx, Waker::noop());
    for _ in 0..2 {
        assert!(block_on(SinkExt::<u8>::close(&mut tx)).is_ok());
        assert_eq!((rx.sender_count(), audit(&tx)), (1, Counts::default()));
    }
    assert!(ready(&mut tx, Waker::noop()));
    assert_eq!(start(&mut tx, 1), Err(PushError::Closed(1)));
    let beside = tx.clone();
    assert_eq!(rx.sender_count(), 1);
    drop((tx, beside));
    assert_eq!((rx.sender_count(), rx.is_closed()), (1, false));
    assert!(block_on(SinkExt::<u8>::close(&mut other)).is_ok());
    assert!(rx.is_closed());
}

fn sending_without_room_panics<S: Sharing>(capacity: usize) {
    let (mut tx, _rx) = channel::<_, S>(capacity);
    (0..capacity).for_each(|n| assert_eq!(start(&mut tx, n), Ok(()))); // there is room
    assert!(catch_unwind(AssertUnwindSafe(|| start(&mut tx, 0))).is_err());
}

#[test]
fn streams_are_forwarded() {
    for capacity in [0, 1, 2, 64] {
        let (tx, rx) = crate::channel::bounded(capacity);
        let values = stream::iter(0..100).map(Ok);
        let (sent, got) = block_on(futures::future::join(values.forward(tx), rx.collect::<Vec<_>>()));
        assert!(sent.is_ok() && got.into_iter().eq(0..100), "capacity {capacity}");
    }
}
