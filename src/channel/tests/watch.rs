//! What the documentation of the watch promises, one promise a test; hostile values; random steps against a model.

use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::executor::block_on;
use futures::stream::{FusedStream, Stream, StreamExt};

use super::support::{Bell, Census, Rng, Token, poll, poll_with, seed};
use crate::channel::watch::{Receiver, Sender};
use crate::channel::{PopError, PushError, TryPopError, watch};
use crate::operation::Operation;

#[test]
fn a_pop_returns_the_latest_value_once() {
    let (tx, mut rx) = watch(0);
    assert!(rx.has_changed());
    assert_eq!(rx.try_pop(), Ok(0));
    assert!(!rx.has_changed());
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    tx.push(1).unwrap();
    tx.push(2).unwrap();
    assert_eq!((rx.get(), tx.get(), rx.has_changed()), (2, 2, true));
    assert_eq!(block_on(rx.pop()), Ok(2));
    let mut same = rx.clone();
    assert_eq!(same.try_pop(), Err(TryPopError::Empty));
    assert_eq!(tx.subscribe().try_pop(), Ok(2));
    tx.push(3).unwrap();
    rx.mark_seen();
    assert_eq!((rx.try_pop(), same.try_pop()), (Err(TryPopError::Empty), Ok(3)));
}

#[test]
fn a_push_wakes_every_waiting_pop() {
    let (tx, mut rx) = watch(0);
    rx.mark_seen();
    let mut receivers: Vec<_> = (0..40).map(|_| rx.clone()).collect();
    let mut pops: Vec<_> = receivers.iter_mut().map(|rx| Box::pin(rx.pop())).collect();
    let (bell, waker) = Bell::new();
    for pop in &mut pops {
        assert!(poll_with(pop.as_mut(), &waker).is_pending());
    }
    tx.push(1).unwrap();
    assert_eq!(bell.rings(), 40);
    tx.push(2).unwrap();
    assert_eq!(bell.rings(), 0);
    assert!(pops.iter_mut().all(|pop| poll(pop.as_mut()) == Poll::Ready(Ok(2))));
}

#[test]
fn the_last_value_before_the_close_is_delivered() {
    for close in [false, true] {
        let (tx, mut rx) = watch(0);
        let mut other = rx.clone();
        rx.mark_seen();
        tx.push(1).unwrap();
        if close {
            assert!(tx.close() && !rx.close() && tx.is_closed());
            assert_eq!(tx.push(2), Err(PushError::Closed(2)));
            assert_eq!(tx.update(|n| n + 1), Err(PushError::Closed(2)));
        } else {
            let clone = tx.clone();
            drop(tx);
            assert!(!rx.is_closed());
            drop(clone);
        }
        assert!(rx.is_closed() && rx.has_changed() && !rx.is_terminated());
        assert_eq!(block_on(rx.pop()), Ok(1));
        assert!(rx.is_terminated());
        assert_eq!(block_on(rx.pop()), Err(PopError::Closed));
        assert_eq!((rx.try_pop(), rx.get()), (Err(TryPopError::Closed), 1));
        assert_eq!((other.try_pop(), other.try_pop()), (Ok(1), Err(TryPopError::Closed)));
    }
}

#[test]
fn close_wakes_everybody() {
    let (tx, mut rx) = watch(0);
    rx.mark_seen();
    let other = rx.clone();
    let (bell, waker) = Bell::new();
    let mut pop = pin!(rx.pop());
    let mut closed = pin!(tx.closed());
    let mut closed_too = pin!(other.closed());
    assert!(poll_with(pop.as_mut(), &waker).is_pending());
    assert!(poll_with(closed.as_mut(), &waker).is_pending());
    assert!(poll_with(closed_too.as_mut(), &waker).is_pending());
    assert!(other.close());
    assert_eq!(bell.rings(), 3);
    assert_eq!(poll(pop), Poll::Ready(Err(PopError::Closed)));
    assert!(poll(closed.as_mut()).is_ready() && poll(closed_too).is_ready());
    assert!(catch_unwind(AssertUnwindSafe(|| poll(closed.as_mut()))).is_err());
}

#[test]
fn without_receivers_it_goes_on() {
    let (tx, rx) = watch(0);
    assert_eq!((tx.receiver_count(), tx.sender_count()), (1, 1));
    assert!(tx.same_channel(&tx.clone()) && rx.same_channel(&tx.subscribe()));
    drop(rx);
    assert!(!tx.is_closed());
    tx.push(1).unwrap();
    let rx = tx.subscribe();
    assert_eq!((rx.get(), rx.receiver_count(), rx.sender_count()), (1, 1, 1));
}

#[test]
fn a_cancelled_pop_has_seen_nothing() {
    let (tx, mut rx) = watch(0);
    rx.mark_seen();
    let (bell, waker) = Bell::new();
    let mut pop = Box::pin(rx.pop());
    assert!(poll_with(pop.as_mut(), &waker).is_pending());
    tx.push(1).unwrap();
    assert_eq!(bell.rings(), 1);
    pop.as_mut().request_cancel();
    assert_eq!(poll(pop.as_mut()), Poll::Ready(Ok(1)), "it waited, and the value is there");
    drop(pop);

    tx.push(2).unwrap();
    let mut pop = Box::pin(rx.pop());
    pop.as_mut().request_cancel();
    assert_eq!(poll(pop.as_mut()), Poll::Ready(Err(PopError::Cancelled)), "it never started");
    assert!(catch_unwind(AssertUnwindSafe(|| poll(pop.as_mut()))).is_err());
    drop(pop);
    assert_eq!(rx.try_pop(), Ok(2));

    let mut pop = Box::pin(rx.pop());
    assert!(poll_with(pop.as_mut(), &waker).is_pending());
    pop.as_mut().request_cancel();
    assert_eq!(bell.rings(), 1);
    drop(pop);
    assert_eq!(Arc::strong_count(&bell), 2);

    let mut closed = pin!(tx.closed());
    assert!(poll_with(closed.as_mut(), &waker).is_pending());
    closed.as_mut().request_cancel();
    assert_eq!((bell.rings(), poll(closed)), (1, Poll::Ready(())));
    assert!(!tx.is_closed());
}

#[test]
fn a_stream_ends_with_the_last_value() {
    let (tx, mut rx) = watch(0);
    assert_eq!(rx.size_hint(), (1, None));
    assert_eq!(block_on(rx.next()), Some(0));
    let (bell, waker) = Bell::new();
    assert!(Pin::new(&mut rx).poll_next(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(Arc::strong_count(&bell), 3);
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty)); // leaves the line
    assert_eq!((Arc::strong_count(&bell), rx.size_hint()), (2, (0, None)));
    assert!(Pin::new(&mut rx).poll_next(&mut Context::from_waker(&waker)).is_pending());
    tx.push(1).unwrap();
    assert_eq!(bell.rings(), 1);
    drop(tx);
    assert_eq!(block_on(rx.by_ref().collect::<Vec<_>>()), [1]);
    assert_eq!((rx.is_terminated(), rx.size_hint()), (true, (0, Some(0))));
}

#[test]
fn places_are_used_again() {
    let (tx, rx) = watch(0);
    for n in 0..100 {
        tx.push(n).unwrap();
        assert_eq!(rx.get(), n);
    }
    assert_eq!(tx.spare_places(), 1);
}

#[test]
fn ends_and_futures_may_be_sent() {
    fn send<T: Send>(_: &T) {}
    fn sync<T: Sync>(_: &T) {}
    let (tx, mut rx) = watch(0_u8);
    send(&tx);
    sync(&tx);
    send(&rx);
    sync(&rx);
    send(&tx.closed());
    send(&rx.pop());
}

/// A value whose clone panics while it is armed.
struct Touchy(Token, Arc<AtomicBool>);

impl Clone for Touchy {
    fn clone(&self) -> Self {
        assert!(!self.1.swap(false, Ordering::SeqCst), "a value that cannot be cloned now");
        Self(self.0.census().token(self.0.id), self.1.clone())
    }
}

#[test]
fn a_panicking_clone_has_seen_nothing() {
    let census = Census::default();
    let armed = Arc::new(AtomicBool::new(true));
    let (tx, mut rx) = watch(Touchy(census.token(1), armed.clone()));
    assert!(catch_unwind(AssertUnwindSafe(|| rx.try_pop().is_ok())).is_err());
    armed.store(true, Ordering::SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| block_on(rx.pop()).is_ok())).is_err());
    armed.store(true, Ordering::SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(rx.get()))).is_err());
    assert!(rx.has_changed());
    assert_eq!(rx.try_pop().ok().map(|value| value.0.id), Some(1));
    assert!(tx.push(Touchy(census.token(2), armed)).is_ok());
    assert_eq!((census.alive(), tx.spare_places()), (1, 1));
    drop((tx, rx));
    assert_eq!(census.alive(), 0);
}

/// A value that pushes into its own channel, once, when it is cloned or dropped, and may panic as well.
struct Loop(Sender<Option<Loop>>, Arc<AtomicUsize>, bool);

impl Clone for Loop {
    fn clone(&self) -> Self {
        if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
            assert!(self.0.push(None).is_ok());
        }
        Self(self.0.clone(), self.1.clone(), false)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.1.fetch_add(self.0.receiver_count(), Ordering::SeqCst);
        assert!(!self.2, "a value that panics when dropped");
    }
}

#[test]
fn values_may_use_the_channel_they_are_in() {
    let visits = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = watch(None);
    assert!(tx.push(Some(Loop(tx.clone(), visits.clone(), true))).is_ok());
    assert!(rx.get().is_some()); // replaced while it is cloned, and dropped by the reader, which contains its panic
    assert!(rx.get().is_none());
    assert_eq!((visits.load(Ordering::SeqCst), tx.sender_count()), (3, 1));
}

#[test]
fn an_update_of_a_replaced_value_starts_again() {
    let (tx, rx) = watch(1);
    let mut calls = 0;
    tx.update(|n| {
        calls += 1;
        if calls == 1 {
            tx.push(10).unwrap();
        }
        n + 1
    })
    .unwrap();
    assert_eq!((calls, rx.get()), (2, 11));
    assert!(catch_unwind(AssertUnwindSafe(|| tx.update(|_| panic!("no next")))).is_err());
    tx.push(3).unwrap();
    assert_eq!((rx.get(), tx.spare_places()), (3, 1));
}

/// One receiver of the fuzz, and what the model knows of it.
struct Reader {
    rx: Receiver<u64>,
    seen: u64,
    /// Its bell, and whether it was pending as a stream when it was last polled.
    bell: Arc<Bell>,
    waits: bool,
}

/// Random pushes, pops, polls, clones, drops: each outcome is what a version number each would say.
#[test]
fn random_steps_agree_with_the_model() {
    let seed = seed();
    for round in 0..if cfg!(miri) { 3 } else { 300 } {
        let mut rng = Rng::new(seed + round);
        let (tx, rx) = watch(1_u64);
        let mut version = 1;
        let mut closed = false;
        let new = |rx, seen| Reader { rx, seen, bell: Bell::new().0, waits: false };
        let mut readers = vec![new(rx, 0)];
        for step in 0..200 {
            let context = format!("step {step} of round {round}, MILLSTREAM_SEED={seed}");
            match rng.below(12) {
                0..=2 => {
                    let result = if rng.chance(2) { tx.push(version + 1) } else { tx.update(|n| n + 1) };
                    assert_eq!(result.is_ok(), !closed, "{context}");
                    version += u64::from(!closed);
                }
                3 if readers.len() < 6 => {
                    let rx = tx.subscribe();
                    readers.push(new(rx, 0));
                }
                4 if !readers.is_empty() && readers.len() < 6 => {
                    let other = &readers[rng.below(readers.len())];
                    let clone = new(other.rx.clone(), other.seen);
                    readers.push(clone);
                }
                5 if !readers.is_empty() => drop(readers.swap_remove(rng.below(readers.len()))),
                6 if rng.chance(20) => {
                    assert_eq!(tx.close(), !closed, "{context}");
                    closed = true;
                }
                _ if readers.is_empty() => {}
                way => {
                    let at = rng.below(readers.len());
                    let reader = &mut readers[at];
                    let expected = if version > reader.seen {
                        Some(Ok(version))
                    } else if closed {
                        Some(Err(()))
                    } else {
                        None
                    };
                    if rng.chance(2) {
                        reader.bell = Bell::new().0;
                    }
                    let waker = Waker::from(reader.bell.clone());
                    reader.waits = false;
                    let got = match way {
                        6 | 7 => match reader.rx.try_pop() {
                            Err(TryPopError::Empty) => None,
                            other => Some(other.map_err(drop)),
                        },
                        8 => match poll_with(pin!(reader.rx.pop()), &waker) {
                            Poll::Pending => None,
                            Poll::Ready(other) => Some(other.map_err(drop)),
                        },
                        9 => {
                            reader.rx.mark_seen();
                            reader.seen = version;
                            continue;
                        }
                        _ => match Pin::new(&mut reader.rx).poll_next(&mut Context::from_waker(&waker)) {
                            Poll::Pending => {
                                reader.waits = true;
                                None
                            }
                            Poll::Ready(other) => Some(other.ok_or(())),
                        },
                    };
                    assert_eq!(got, expected, "{context}");
                    if got == Some(Ok(version)) {
                        reader.seen = version;
                    }
                    reader.bell.rings();
                }
            }
            for reader in &mut readers {
                assert_eq!(reader.rx.has_changed(), version > reader.seen, "{context}");
                let ready = version > reader.seen || closed;
                let rang = reader.bell.rings() > 0;
                assert!(!reader.waits || rang == ready, "woken {rang}, ready {ready}: {context}");
                reader.waits &= !rang;
            }
        }
    }
}
