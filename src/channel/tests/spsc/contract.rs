//! What the documentation of the ends promises, one promise a test.

use core::pin::pin;
use core::task::Poll;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use futures::executor::block_on;
use futures::stream::{FusedStream, Stream, StreamExt};

use crate::channel::tests::support::{Bell, Census, poll, poll_with};
use crate::channel::{PopError, PushError, TryPopError, TryPushError, spsc};

const CAPACITIES: [usize; 7] = [1, 2, 3, 5, 64, 100, 1000];

#[test]
fn capacity_is_exact() {
    for capacity in CAPACITIES {
        let (mut tx, mut rx) = spsc(capacity);
        for round in 0..3 {
            for n in 0..capacity {
                assert!(!tx.is_full() && !rx.is_full());
                tx.try_push(n + round).unwrap();
            }
            assert!(tx.is_full() && rx.is_full());
            assert_eq!(tx.try_push(99), Err(TryPushError::Full(99)));
            assert_eq!(
                (tx.len(), rx.len(), tx.capacity(), rx.capacity()),
                (capacity, capacity, capacity, capacity)
            );
            for n in 0..capacity {
                assert_eq!(rx.try_pop(), Ok(n + round));
            }
            assert!(rx.is_empty() && tx.is_empty());
            assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
            tx.try_push(0).unwrap(); // so that each round begins at another slot
            assert_eq!(rx.try_pop(), Ok(0));
        }
    }
}

#[test]
fn rendezvous_needs_both_sides() {
    let (mut tx, mut rx) = spsc(0);
    assert_eq!(tx.try_push(1), Err(TryPushError::Full(1)));
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
    {
        let mut pop = pin!(rx.pop());
        assert!(poll(pop.as_mut()).is_pending());
        assert!(!tx.is_full());
        tx.try_push(2).unwrap();
        assert_eq!(tx.try_push(3), Err(TryPushError::Full(3)));
        assert_eq!(poll(pop), Poll::Ready(Ok(2)));
    }
    {
        let mut push = pin!(tx.push(4));
        assert!(poll(push.as_mut()).is_pending());
        assert_eq!(rx.try_pop(), Ok(4));
        assert_eq!(poll(push), Poll::Ready(Ok(())));
    }
    assert_eq!((tx.capacity(), tx.len(), rx.len()), (0, 0, 0));
    assert!(tx.same_channel(&rx) && rx.same_channel(&tx));
}

#[test]
fn a_wait_ends_with_one_wake() {
    let (mut tx, mut rx) = spsc(1);
    let (bell, waker) = Bell::new();
    {
        let mut pop = pin!(rx.pop());
        assert!(poll_with(pop.as_mut(), &waker).is_pending());
        assert!(poll_with(pop.as_mut(), &waker).is_pending());
        tx.try_push(1).unwrap();
        assert_eq!(bell.rings(), 1);
        assert_eq!(poll_with(pop, &waker), Poll::Ready(Ok(1)));
    }
    tx.try_push(2).unwrap();
    let mut push = pin!(tx.push(3));
    assert!(poll_with(push.as_mut(), &waker).is_pending());
    assert_eq!(rx.try_pop(), Ok(2));
    assert_eq!(bell.rings(), 1);
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty), "a waiting push is not pulled");
    assert_eq!(poll_with(push, &waker), Poll::Ready(Ok(())));
    assert_eq!(rx.try_pop(), Ok(3));
    assert_eq!(bell.rings(), 0);
}

#[test]
fn a_new_waker_replaces_the_old_one() {
    let (mut tx, mut rx) = spsc(1);
    let (first, old) = Bell::new();
    let (second, new) = Bell::new();
    let mut pop = pin!(rx.pop());
    assert!(poll_with(pop.as_mut(), &old).is_pending());
    assert!(poll_with(pop.as_mut(), &new).is_pending());
    drop(old);
    assert_eq!(std::sync::Arc::strong_count(&first), 1, "the old one was kept");
    tx.try_push(1).unwrap();
    assert_eq!((first.rings(), second.rings()), (0, 1));
}

#[test]
fn a_dropped_wait_leaves_no_waker_behind() {
    let (mut tx, mut rx) = spsc(1);
    tx.try_push(0).unwrap();
    let (bell, waker) = Bell::new();
    {
        let mut push = pin!(tx.push(1));
        assert!(poll_with(push.as_mut(), &waker).is_pending());
    }
    rx.try_pop().unwrap();
    {
        let mut pop = pin!(rx.pop());
        assert!(poll_with(pop.as_mut(), &waker).is_pending());
    }
    tx.try_push(2).unwrap();
    drop(waker);
    assert_eq!((bell.rings(), std::sync::Arc::strong_count(&bell)), (0, 1));
}

#[test]
fn close_drains_then_fails_from_either_end() {
    for capacity in [1, 2, 64] {
        for by_producer in [false, true] {
            let (mut tx, mut rx) = spsc(capacity);
            tx.try_push(1).unwrap();
            assert!(if by_producer { tx.close() } else { rx.close() });
            assert!(!rx.close() && !tx.close() && tx.is_closed() && rx.is_closed());
            assert_eq!(tx.try_push(4), Err(TryPushError::Closed(4)));
            assert_eq!(block_on(tx.push(5)), Err(PushError::Closed(5)));
            assert_eq!((tx.len(), rx.len()), (1, 1));
            assert_eq!(block_on(rx.pop()), Ok(1));
            assert_eq!(block_on(rx.pop()), Err(PopError::Closed));
            assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
            assert_eq!(
                (tx.sender_count(), tx.receiver_count(), rx.sender_count(), rx.receiver_count()),
                (1, 1, 1, 1)
            );
        }
    }
}

#[test]
fn close_wakes_whoever_waits() {
    for capacity in [0, 1, 2] {
        let (bell, waker) = Bell::new();
        let (mut tx, mut rx) = spsc(capacity);
        for n in 0..capacity {
            tx.try_push(n).unwrap();
        }
        {
            let mut push = pin!(tx.push(99));
            assert!(poll_with(push.as_mut(), &waker).is_pending());
            rx.close();
            assert_eq!(bell.rings(), 1);
            assert_eq!(poll(push), Poll::Ready(Err(PushError::Closed(99))));
        }
        let (mut tx, mut rx) = spsc::<usize>(capacity);
        let mut pop = pin!(rx.pop());
        assert!(poll_with(pop.as_mut(), &waker).is_pending());
        tx.close();
        assert_eq!(bell.rings(), 1);
        assert_eq!(poll(pop), Poll::Ready(Err(PopError::Closed)));
    }
}

#[test]
fn a_dropped_end_closes_and_is_counted_no_more() {
    for capacity in [0, 1, 64] {
        let (tx, rx) = spsc::<u8>(capacity);
        drop(rx);
        assert!(tx.is_closed());
        assert_eq!((tx.sender_count(), tx.receiver_count()), (1, 0));
        let (tx, rx) = spsc::<u8>(capacity);
        drop(tx);
        assert!(rx.is_closed());
        assert_eq!((rx.sender_count(), rx.receiver_count()), (0, 1));
    }
}

#[test]
fn values_left_are_dropped_with_the_consumer() {
    for capacity in [1, 2, 64] {
        for producer_first in [false, true] {
            let census = Census::default();
            let (mut tx, mut rx) = spsc(capacity);
            for id in 0..capacity {
                tx.try_push(census.token(id as u64)).map_err(drop).unwrap();
            }
            drop(rx.try_pop());
            let _ = tx.try_push(census.token(99));
            if producer_first {
                drop(tx);
                assert_eq!(census.alive(), capacity);
                drop(rx);
            } else {
                drop(rx);
                assert_eq!(census.alive(), 0, "at once, not only with the producer");
                let back = tx.try_push(census.token(100)).unwrap_err();
                assert!(back.is_closed());
                drop((back, tx));
            }
            assert_eq!(census.alive(), 0);
        }
    }
}

#[test]
fn a_panicking_drop_does_not_keep_the_others() {
    struct Bomb(
        Census,
        #[expect(dead_code, reason = "counts its drop")] crate::channel::tests::support::Token,
    );
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(self.0.alive() == 0, "on purpose");
        }
    }
    let census = Census::default();
    let (mut tx, rx) = spsc(3);
    for id in 0..3 {
        assert!(tx.try_push(Bomb(census.clone(), census.token(id))).is_ok());
    }
    assert!(catch_unwind(AssertUnwindSafe(|| drop(rx))).is_ok());
    assert_eq!(census.alive(), 0);
    assert!(tx.is_closed());
}

#[test]
fn a_batch_goes_in_and_out_in_pieces() {
    for capacity in [1, 2, 3, 64] {
        let (mut tx, mut rx) = spsc(capacity);
        let mut values = VecDeque::from_iter(0..10);
        let mut got = Vec::new();
        {
            let mut push = pin!(tx.push_many(&mut values));
            while poll(push.as_mut()).is_pending() {
                assert_eq!(rx.len(), capacity);
                let before = got.len();
                assert_eq!(rx.try_pop_many(&mut got, 4), Ok(4.min(capacity)));
                assert_eq!(got.len() - before, 4.min(capacity));
            }
        }
        while rx.try_pop_many(&mut got, 4).is_ok() {}
        assert_eq!(got, Vec::from_iter(0..10));
        assert!(values.is_empty());
    }
    let (mut tx, mut rx) = spsc(0);
    let (mut values, mut got) = (VecDeque::from_iter(0..10), Vec::new());
    block_on(async {
        let pop = async {
            while got.len() < 10 {
                rx.pop_many(&mut got, 4).await.unwrap();
            }
        };
        assert_eq!(futures::join!(tx.push_many(&mut values), pop).0, Ok(()));
    });
    assert_eq!((values.len(), got), (0, Vec::from_iter(0..10)));
}

#[test]
fn a_dropped_batch_leaves_what_it_did_not_push() {
    for capacity in [1, 2, 3] {
        let (mut tx, mut rx) = spsc(capacity);
        let mut values = VecDeque::from_iter(0..5);
        {
            let mut push = pin!(tx.push_many(&mut values));
            assert!(poll(push.as_mut()).is_pending());
        }
        assert_eq!(rx.len(), capacity);
        assert_eq!(values.front(), Some(&capacity));
        assert_eq!(tx.try_push_many(&mut values), Err(TryPushError::Full(())));
        rx.close();
        assert_eq!(tx.try_push_many(&mut values), Err(TryPushError::Closed(())));
        assert_eq!(block_on(tx.push_many(&mut values)), Err(PushError::Closed(())));
        assert_eq!(values.len(), 5 - capacity);
        assert_eq!(tx.try_push_many(&mut VecDeque::new()), Ok(0));
        let mut got = Vec::new();
        assert_eq!(block_on(rx.pop_many(&mut got, 0)), Ok(0));
        assert_eq!(block_on(rx.pop_many(&mut got, usize::MAX)), Ok(capacity));
        assert_eq!(block_on(rx.pop_many(&mut got, 1)), Err(PopError::Closed));
        assert_eq!(rx.try_pop_many(&mut got, 0), Ok(0));
        assert_eq!(rx.try_pop_many(&mut got, 1), Err(TryPopError::Closed));
    }
}

#[test]
fn a_permit_keeps_its_room() {
    for capacity in [1, 2] {
        let (mut tx, mut rx) = spsc(capacity);
        for n in 0..capacity {
            tx.try_reserve().unwrap().push(n).unwrap();
        }
        assert_eq!(tx.try_reserve().err(), Some(TryPushError::Full(())));
        let (bell, waker) = Bell::new();
        {
            let mut reserve = pin!(tx.reserve());
            assert!(poll_with(reserve.as_mut(), &waker).is_pending());
            assert_eq!(rx.try_pop(), Ok(0));
            assert_eq!(bell.rings(), 1);
            let Poll::Ready(Ok(permit)) = poll_with(reserve, &waker) else { panic!("there is room") };
            permit.push(9).unwrap();
        }
        drop(tx.try_reserve());
        rx.close();
        assert_eq!(tx.try_reserve().err(), Some(TryPushError::Closed(())));
        assert!(block_on(tx.reserve()).err() == Some(PushError::Closed(())));
        assert_eq!(rx.drain().last(), Some(9));
    }
    let (mut tx, mut rx) = spsc(0);
    assert!(tx.try_reserve().is_err());
    let mut pop = pin!(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    block_on(tx.reserve()).unwrap().push('x').unwrap();
    assert_eq!(poll(pop), Poll::Ready(Ok('x')));
}

#[test]
fn closed_ends_with_the_close_and_not_before() {
    for capacity in [0, 1, 2] {
        let (bell, waker) = Bell::new();
        let (mut tx, mut rx) = spsc(capacity);
        {
            let mut closed = pin!(rx.closed());
            assert!(poll_with(closed.as_mut(), &waker).is_pending());
            let _ = tx.try_push(1);
            if bell.rings() > 0 {
                assert!(poll_with(closed.as_mut(), &waker).is_pending(), "a value is not a close");
            }
            drop(tx);
            assert_eq!(bell.rings(), 1);
            assert!(poll(closed).is_ready());
        }
        assert_eq!(block_on(rx.pop()), if capacity == 0 { Err(PopError::Closed) } else { Ok(1) });
        let (mut tx, rx) = spsc::<u8>(capacity);
        let mut closed = pin!(tx.closed());
        assert!(poll_with(closed.as_mut(), &waker).is_pending());
        drop(rx);
        assert_eq!(bell.rings(), 1);
        assert!(poll(closed).is_ready());
    }
}

#[test]
fn a_stream_ends_and_stays_ended() {
    for capacity in [1, 2] {
        let (mut tx, mut rx) = spsc(capacity);
        let (bell, waker) = Bell::new();
        assert!(poll_with(pin!(rx.next()), &waker).is_pending());
        tx.try_push(1).unwrap();
        assert_eq!(bell.rings(), 1);
        assert_eq!(rx.size_hint(), (1, None));
        assert_eq!(block_on(rx.next()), Some(1));
        drop(tx);
        assert!(rx.is_terminated());
        assert_eq!(rx.size_hint(), (0, Some(0)));
        assert_eq!(block_on(rx.next()), None);
        assert_eq!(block_on(rx.next()), None);
    }
}

#[cfg(feature = "sink")]
#[test]
fn a_sink_takes_what_it_was_ready_for() {
    use futures::SinkExt;
    for capacity in [1, 2] {
        let (mut tx, mut rx) = spsc(capacity);
        block_on(async {
            for n in 0..capacity {
                tx.feed(n).await.unwrap();
            }
        });
        assert!(poll(pin!(tx.feed(9))).is_pending());
        rx.close();
        assert_eq!(block_on(tx.feed(9)), Err(PushError::Closed(9)));
        assert_eq!(rx.drain().len(), capacity);
    }
}

#[test]
fn iterators_over_what_is_there_and_what_comes() {
    let (mut tx, mut rx) = spsc(4);
    for n in 0..4 {
        tx.try_push(n).unwrap();
    }
    let mut drain = rx.drain();
    assert_eq!((drain.len(), drain.next()), (4, Some(0)));
    tx.try_push(4).unwrap();
    assert!(drain.eq(1..4));
    assert!(rx.try_iter().eq(4..5));
    let producer = thread::spawn(move || (5..100).try_for_each(|n| tx.push_blocking(n)));
    assert_eq!((&mut rx).into_iter().next(), Some(5));
    assert!(rx.into_iter().eq(6..100));
    producer.join().unwrap().unwrap();
}

#[test]
fn payloads_of_every_shape() {
    #[derive(Debug, PartialEq)]
    #[repr(align(256))]
    struct Aligned([u8; 300]);
    let (mut tx, mut rx) = spsc(3);
    for round in 0..7 {
        tx.try_push(Aligned([round; 300])).unwrap();
        assert_eq!(rx.try_pop(), Ok(Aligned([round; 300])));
    }
    let (mut tx, mut rx) = spsc(isize::MAX as usize);
    for _ in 0..1000 {
        tx.try_push(()).unwrap();
    }
    assert_eq!(rx.drain().count(), 1000);
    let census = Census::default();
    let (mut tx, mut rx) = spsc(2);
    for id in 0..20 {
        tx.try_push(Box::new(census.token(id))).map_err(drop).unwrap();
        assert_eq!(rx.try_pop().map(|token| token.id).unwrap(), id);
    }
    assert_eq!(census.alive(), 0);
}

#[test]
fn too_large_a_capacity_is_a_clear_panic() {
    for panicked in [
        catch_unwind(|| drop(spsc::<()>(isize::MAX as usize + 1))),
        catch_unwind(|| drop(spsc::<u64>(usize::MAX / 2))),
        catch_unwind(|| drop(spsc::<[u8; 4096]>(1 << 51))), // no allocator is asked: a sanitizer's would abort
    ] {
        let message = *panicked.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("does not fit into memory"), "{message}");
    }
}

#[test]
fn ends_and_futures_are_send_and_say_what_they_are() {
    fn send(_: &impl Send) {}
    for capacity in [0, 2] {
        let (mut tx, mut rx) = spsc::<u8>(capacity);
        send(&tx);
        send(&rx);
        send(&tx.push(1));
        send(&rx.pop());
        send(&tx.closed());
        send(&tx.reserve());
        send(&rx.pop_many(&mut Vec::new(), 1));
        send(&tx.push_many(&mut VecDeque::new()));
        for text in [
            format!("{tx:?}"),
            format!("{rx:?}"),
            format!("{:?}", tx.push(1)),
            format!("{:?}", rx.pop()),
            format!("{:?}", rx.drain()),
            format!("{:?}", tx.reserve()),
            format!("{:?}", tx.closed()),
        ] {
            assert!(text.contains('{'), "{text}");
        }
        assert!(tx.same_channel(&rx) && !tx.same_channel(&spsc(capacity).1));
    }
}

#[test]
fn blocking_ends_meet() {
    for capacity in [0, 1, 2, 64] {
        let (mut tx, mut rx) = spsc(capacity);
        let producer = thread::spawn(move || {
            for n in 0..1000 {
                tx.push_blocking(n).unwrap();
            }
            let mut many = VecDeque::from_iter(1000..2000);
            tx.push_many_blocking(&mut many).unwrap();
            tx
        });
        for n in 0..1500 {
            assert_eq!(rx.pop_blocking(), Ok(n));
        }
        let mut got = Vec::new();
        while got.len() < 500 {
            assert!(rx.pop_many_blocking(&mut got, 7).unwrap() <= 7);
        }
        assert!(got.into_iter().eq(1500..2000));
        let tx = producer.join().unwrap();
        let waits = thread::spawn(move || rx.pop_blocking());
        drop(tx);
        assert_eq!(waits.join().unwrap(), Err(PopError::Closed));
    }
}
