//! Batches: what goes in or out together, what stays with whom, and who is woken.

use core::pin::pin;
use core::task::Poll;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::support::{Bell, Census, audit, channel, on_every_channel, poll, poll_with};
use crate::channel::{PopError, PushError, Sharing, TryPopError, TryPushError};
use crate::operation::Operation;

on_every_channel! {
    a_long_batch_crosses_in_order
    what_is_not_pushed_stays_with_the_caller
    a_batch_keeps_its_turn
    a_batch_that_gives_up_passes_its_slot_on
    a_batch_whose_room_left_keeps_its_place
    a_batch_leaves_slots_that_others_hold
    a_batch_of_pushes_wakes_every_pop
    a_batch_of_pops_wakes_every_push
    a_batch_of_pops_leaves_what_is_counted_for_others
    a_batch_of_pops_that_gives_up_loses_nothing
    a_batch_of_pops_grants_what_it_may_not_pull
    the_end_is_passed_on
    nothing_to_do_is_done
    tries_say_why_not
    resolved_batches_panic
    payloads_of_every_shape
}

fn a_long_batch_crosses_in_order<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    let mut values: VecDeque<_> = (0..200).collect();
    let mut got = Vec::new();
    {
        let mut push = pin!(tx.push_many(&mut values));
        let mut pushed = poll(push.as_mut()).is_ready();
        while got.len() < 200 {
            let before = got.len();
            let mut pop = Box::pin(rx.pop_many(&mut got, 7));
            let mut popped = poll(pop.as_mut());
            if popped.is_pending() {
                assert!(!pushed, "nothing to wait for");
                pushed = poll(push.as_mut()).is_ready();
                popped = poll(pop.as_mut());
            }
            drop(pop);
            audit(&tx);
            let Poll::Ready(Ok(count)) = popped else { panic!("{popped:?}") };
            assert_eq!(got.len(), before + count);
            assert!((1..=7).contains(&count));
        }
        assert!(pushed || poll(push).is_ready());
    }
    assert!(values.is_empty() && got.into_iter().eq(0..200));
}

fn what_is_not_pushed_stays_with_the_caller<S: Sharing>(capacity: usize) {
    for way in 0..4 {
        let (tx, rx) = channel::<_, S>(capacity);
        let mut values: VecDeque<_> = (0..capacity + 3).collect();
        let (bell, waker) = Bell::new();
        {
            let mut push = pin!(tx.push_many(&mut values));
            if way != 3 {
                assert!(poll_with(push.as_mut(), &waker).is_pending());
            }
            match way {
                0 => {
                    rx.close();
                    assert_eq!(bell.rings(), 1);
                    assert_eq!(poll(push), Poll::Ready(Err(PushError::Closed(()))));
                }
                1 => {
                    push.as_mut().request_cancel();
                    assert_eq!(bell.rings(), 1);
                    assert_eq!(poll(push), Poll::Ready(Err(PushError::Cancelled(()))));
                }
                2 => {} // dropped
                _ => {
                    push.as_mut().request_cancel(); // before its first poll
                    assert_eq!(poll(push), Poll::Ready(Err(PushError::Cancelled(()))));
                }
            }
        }
        let pushed = if way == 3 { 0 } else { capacity };
        assert!(values.into_iter().eq(pushed..capacity + 3), "way {way}");
        assert!(rx.try_iter().eq(0..pushed), "way {way}");
        assert_eq!(audit(&tx), Default::default());
    }
}

fn a_batch_keeps_its_turn<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    (0..capacity).for_each(|_| tx.try_push(0).unwrap());
    let mut values = VecDeque::from([1, 2, 3]);
    let mut batch = pin!(tx.push_many(&mut values));
    let mut later = pin!(tx.push(4));
    assert!(poll(batch.as_mut()).is_pending() && poll(later.as_mut()).is_pending());
    let mut got = Vec::new();
    for _ in 0..3 {
        let mut pop = pin!(rx.pop());
        let mut popped = poll(pop.as_mut()); // grants a slot, or is room itself
        let done = poll(batch.as_mut()).is_ready();
        if popped.is_pending() {
            popped = poll(pop);
        }
        got.push(popped);
        assert!(done || poll(later.as_mut()).is_pending(), "overtook the batch");
        audit(&tx);
    }
    while let Ok(value) = rx.try_pop() {
        got.push(Poll::Ready(Ok(value)));
    }
    let order = core::iter::repeat_n(0, capacity).chain(1..=4);
    assert!(got.into_iter().eq(order.map(|n| Poll::Ready(Ok(n)))));
    assert_eq!(poll(later), Poll::Ready(Ok(())));
}

fn a_batch_that_gives_up_passes_its_slot_on<S: Sharing>(capacity: usize) {
    for cancel in [false, true] {
        let (tx, rx) = channel::<_, S>(capacity);
        (0..capacity).for_each(|_| tx.try_push(0).unwrap());
        let mut values = VecDeque::from([1, 2]);
        let mut batch = Box::pin(tx.push_many(&mut values));
        assert!(poll(batch.as_mut()).is_pending());
        let mut next = pin!(tx.push(3));
        let (bell, waker) = Bell::new();
        assert!(poll_with(next.as_mut(), &waker).is_pending());
        let mut pop = pin!(rx.pop());
        assert_eq!(poll(pop.as_mut()).is_pending(), capacity == 0);
        assert_eq!((bell.rings(), audit(&tx).granted), (0, 1));
        if cancel {
            batch.as_mut().request_cancel();
            assert_eq!(poll(batch.as_mut()), Poll::Ready(Err(PushError::Cancelled(()))));
        }
        drop(batch);
        assert_eq!((bell.rings(), audit(&tx).granted), (1, 0));
        assert_eq!(poll(next), Poll::Ready(Ok(())));
        assert_eq!(values, [1, 2]);
    }
}

fn a_batch_whose_room_left_keeps_its_place<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    (0..capacity).for_each(|_| tx.try_push(0).unwrap());
    let mut values = VecDeque::from([1]);
    let mut batch = pin!(tx.push_many(&mut values));
    let mut later = pin!(tx.push(2));
    assert!(poll(batch.as_mut()).is_pending() && poll(later.as_mut()).is_pending());
    if capacity > 0 {
        return; // a slot that is granted does not go away
    }
    let mut gone = Box::pin(rx.pop());
    assert!(poll(gone.as_mut()).is_pending());
    drop(gone);
    assert_eq!(audit(&tx).granted, 1);
    assert!(poll(batch.as_mut()).is_pending());
    assert_eq!(audit(&tx).granted, 0);
    let mut first = pin!(rx.pop());
    let mut second = pin!(rx.pop());
    assert!(poll(first.as_mut()).is_pending() && poll(batch).is_ready());
    assert_eq!(poll(first), Poll::Ready(Ok(1)));
    assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(2)));
}

fn a_batch_leaves_slots_that_others_hold<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    let mut pop = pin!(rx.pop());
    assert!(poll(pop.as_mut()).is_pending()); // room for one more
    let permit = tx.try_reserve().unwrap();
    let mut values: VecDeque<_> = (0..capacity + 3).collect();
    if capacity > 0 {
        assert_eq!(tx.try_push_many(&mut values), Ok(capacity));
    }
    assert!(tx.try_push_many(&mut values).unwrap_err().is_full());
    assert!(poll(pin!(tx.push_many(&mut values))).is_pending());
    assert_eq!((values.len(), tx.len()), (3, capacity));
    permit.push(99).unwrap();
    assert_eq!(poll(pop), Poll::Ready(Ok(if capacity > 0 { 0 } else { 99 })));
}

fn a_batch_of_pushes_wakes_every_pop<S: Sharing>(capacity: usize) {
    for blocking in [false, true] {
        let (tx, rx) = channel::<_, S>(capacity);
        let mut pops: Vec<_> = (0..40).map(|_| (Box::pin(rx.pop()), Bell::new())).collect();
        pops.iter_mut().for_each(|(pop, (_, waker))| assert!(poll_with(pop.as_mut(), waker).is_pending()));
        let mut values: VecDeque<_> = (0..40 + capacity).collect();
        if blocking {
            assert_eq!(tx.try_push_many(&mut values), Ok(40 + capacity));
        } else {
            assert_eq!(poll(pin!(tx.push_many(&mut values))), Poll::Ready(Ok(())));
        }
        assert_eq!(audit(&tx).assigned, 40);
        for (n, (mut pop, (bell, _))) in pops.into_iter().enumerate() {
            assert_eq!((bell.rings(), poll(pop.as_mut())), (1, Poll::Ready(Ok(n))));
        }
        assert!(rx.drain().eq(40..40 + capacity));
    }
}

fn a_batch_of_pops_wakes_every_push<S: Sharing>(capacity: usize) {
    for asynchronous in [false, true] {
        let (tx, rx) = channel::<_, S>(capacity);
        (0..capacity).for_each(|n| tx.try_push(n).unwrap());
        let push = |n| (Box::pin(tx.push(n)), Bell::new());
        let mut pushes: Vec<_> = (capacity..capacity + 40).map(push).collect();
        pushes
            .iter_mut()
            .for_each(|(push, (_, waker))| assert!(poll_with(push.as_mut(), waker).is_pending()));
        let mut got = Vec::new();
        let all = capacity + 40;
        if asynchronous {
            assert_eq!(poll(pin!(rx.pop_many(&mut got, usize::MAX))), Poll::Ready(Ok(all)));
        } else {
            assert_eq!(rx.try_pop_many(&mut got, all), Ok(all));
        }
        assert!(got.into_iter().eq(0..all));
        for (mut push, (bell, _)) in pushes {
            assert_eq!((bell.rings(), poll(push.as_mut())), (1, Poll::Ready(Ok(()))));
        }
        assert_eq!(audit(&tx), Default::default());
    }
}

fn a_batch_of_pops_leaves_what_is_counted_for_others<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    let mut waits = pin!(rx.pop());
    assert!(poll(waits.as_mut()).is_pending());
    (0..=capacity).for_each(|n| tx.try_push(n).unwrap());
    let mut got = Vec::new();
    if capacity > 0 {
        assert_eq!(poll(pin!(rx.pop_many(&mut got, usize::MAX))), Poll::Ready(Ok(capacity)));
    } else {
        assert_eq!(rx.try_pop_many(&mut got, usize::MAX), Err(TryPopError::Empty));
    }
    assert_eq!(poll(waits), Poll::Ready(Ok(capacity)));
    assert!(got.into_iter().eq(0..capacity));
}

fn a_batch_of_pops_that_gives_up_loses_nothing<S: Sharing>(capacity: usize) {
    for way in 0..3 {
        let (tx, rx) = channel::<_, S>(capacity);
        let (mut got, mut more) = (Vec::new(), Vec::new());
        let mut leaves = Box::pin(rx.pop_many(&mut got, 9));
        let mut stays = Box::pin(rx.pop_many(&mut more, 9));
        let (bell, waker) = Bell::new();
        assert!(poll(leaves.as_mut()).is_pending() && poll_with(stays.as_mut(), &waker).is_pending());
        tx.try_push(7).unwrap();
        match way {
            0 => drop(leaves),
            1 => {
                let cx = &mut core::task::Context::from_waker(&waker);
                assert!(leaves.as_mut().poll_discard(cx).is_ready());
                drop(leaves);
            }
            _ => {
                leaves.as_mut().request_cancel(); // it has a value: it keeps it
                assert_eq!(poll(leaves.as_mut()), Poll::Ready(Ok(1)));
                drop(leaves);
                assert_eq!(got, [7]);
                tx.try_push(7).unwrap();
            }
        }
        assert_eq!((bell.rings(), poll(stays.as_mut())), (1, Poll::Ready(Ok(1))));
        drop(stays);
        assert_eq!(more, [7]);

        let mut cancelled = pin!(rx.pop_many(&mut more, 9));
        assert!(poll_with(cancelled.as_mut(), &waker).is_pending());
        cancelled.as_mut().request_cancel();
        assert_eq!((bell.rings(), poll(cancelled)), (1, Poll::Ready(Err(PopError::Cancelled))));
        assert_eq!(audit(&tx), Default::default());
    }
}

fn a_batch_of_pops_grants_what_it_may_not_pull<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    (0..capacity).for_each(|n| tx.try_push(n).unwrap());
    let mut arms: Vec<_> = (0..3).map(|_| (Box::pin(tx.push(99)), Bell::new())).collect();
    for (arm, (_, waker)) in &mut arms {
        arm.as_mut().commit_on_poll();
        assert!(poll_with(arm.as_mut(), waker).is_pending());
    }
    let mut got = Vec::new();
    {
        let mut pop = pin!(rx.pop_many(&mut got, 64));
        let granted = capacity.clamp(1, 3);
        assert_eq!(poll(pop.as_mut()).is_pending(), capacity == 0);
        assert_eq!(audit(&tx).granted, granted);
        let woken = arms.iter().filter(|(_, (bell, _))| bell.rings() > 0).count();
        assert_eq!(woken, granted);
        assert!(arms.iter_mut().take(granted).all(|(arm, _)| poll(arm.as_mut()).is_ready()));
        if capacity == 0 {
            assert_eq!(poll(pop), Poll::Ready(Ok(1)));
        }
    }
    assert!(got.into_iter().take(capacity).eq(0..capacity));
}

fn the_end_is_passed_on<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    let mut got = Vec::new();
    let mut batch = Box::pin(rx.pop_many(&mut got, 9));
    let mut pop = pin!(rx.pop());
    let (bell, waker) = Bell::new();
    assert!(poll(batch.as_mut()).is_pending() && poll_with(pop.as_mut(), &waker).is_pending());
    tx.try_push(1).unwrap();
    tx.close();
    assert_eq!(bell.rings(), 0);
    assert_eq!(poll(batch.as_mut()), Poll::Ready(Ok(1)));
    drop(batch);
    assert_eq!((bell.rings(), poll(pop)), (1, Poll::Ready(Err(PopError::Closed))));
    assert_eq!(poll(pin!(rx.pop_many(&mut got, 1))), Poll::Ready(Err(PopError::Closed)));
}

fn nothing_to_do_is_done<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<u8, S>(capacity);
    for _ in 0..2 {
        assert_eq!(poll(pin!(tx.push_many(&mut VecDeque::new()))), Poll::Ready(Ok(())));
        assert_eq!(poll(pin!(rx.pop_many(&mut Vec::new(), 0))), Poll::Ready(Ok(0)));
        assert_eq!(tx.try_push_many(&mut VecDeque::new()), Ok(0));
        assert_eq!(rx.try_pop_many(&mut Vec::new(), 0), Ok(0));
        assert_eq!(tx.push_many_blocking(&mut VecDeque::new()), Ok(()));
        tx.close();
    }
}

fn tries_say_why_not<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<_, S>(capacity);
    let mut values: VecDeque<_> = (0..=capacity).collect();
    let mut got = vec![];
    assert_eq!(rx.try_pop_many(&mut got, 2), Err(TryPopError::Empty));
    if capacity > 0 {
        assert_eq!(tx.try_push_many(&mut values), Ok(capacity));
    }
    assert_eq!(tx.try_push_many(&mut values), Err(TryPushError::Full(())));
    tx.close();
    assert_eq!(tx.try_push_many(&mut values), Err(TryPushError::Closed(())));
    assert_eq!(tx.push_many_blocking(&mut values), Err(PushError::Closed(())));
    assert_eq!(values, [capacity]);
    if capacity > 0 {
        assert_eq!(rx.pop_many_blocking(&mut got, usize::MAX), Ok(capacity));
    }
    assert_eq!(rx.try_pop_many(&mut got, 1), Err(TryPopError::Closed));
    assert_eq!(rx.pop_many_blocking(&mut got, 1), Err(PopError::Closed));
}

fn resolved_batches_panic<S: Sharing>(capacity: usize) {
    let (tx, rx) = channel::<u8, S>(capacity);
    let (mut values, mut out) = (VecDeque::new(), Vec::new());
    let mut push = pin!(tx.push_many(&mut values));
    let mut pop = pin!(rx.pop_many(&mut out, 0));
    assert!(poll(push.as_mut()).is_ready() && poll(pop.as_mut()).is_ready());
    assert!(catch_unwind(AssertUnwindSafe(|| poll(push).is_ready())).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| poll(pop).is_ready())).is_err());
}

fn payloads_of_every_shape<S: Sharing>(capacity: usize) {
    #[derive(Clone, Copy, PartialEq, Debug)]
    #[repr(align(256))]
    struct Aligned(u8);

    fn round_trip<T: Clone + PartialEq + core::fmt::Debug, S: Sharing>(capacity: usize, value: &T) {
        let (tx, rx) = channel::<_, S>(capacity);
        let mut pops: Vec<_> = (0..20).map(|_| Box::pin(rx.pop())).collect();
        pops.iter_mut().for_each(|pop| assert!(poll(pop.as_mut()).is_pending()));
        let mut values = VecDeque::from(vec![value.clone(); 20 + capacity]);
        assert!(poll(pin!(tx.push_many(&mut values))).is_ready());
        pops.iter_mut().for_each(|pop| assert_eq!(poll(pop.as_mut()), Poll::Ready(Ok(value.clone()))));
        let mut pushes: Vec<_> = (0..20).map(|_| Box::pin(tx.push(value.clone()))).collect();
        pushes.iter_mut().for_each(|push| assert!(poll(push.as_mut()).is_pending()));
        let mut got = Vec::new();
        assert_eq!(rx.try_pop_many(&mut got, usize::MAX), Ok(20 + capacity));
        assert_eq!(got, vec![value.clone(); 20 + capacity]);
    }
    round_trip::<_, S>(capacity, &());
    round_trip::<_, S>(capacity, &[7_u64; 512]);
    round_trip::<_, S>(capacity, &Aligned(3));
    round_trip::<_, S>(capacity, &String::from("heap"));
}

#[test]
fn the_last_receiver_drops_what_a_batch_pushed_and_the_caller_keeps_the_rest() {
    let census = Census::default();
    let (tx, rx) = crate::channel::bounded(2);
    let mut values: VecDeque<_> = (0..5).map(|id| census.token(id)).collect();
    {
        let mut push = pin!(tx.push_many(&mut values));
        assert!(poll(push.as_mut()).is_pending());
        drop(rx);
        assert_eq!(census.alive(), 3);
        assert!(matches!(poll(push), Poll::Ready(Err(PushError::Closed(())))));
    }
    assert!(values.iter().map(|token| token.id).eq(2..5));
}

#[test]
fn batches_cross_threads() {
    for capacity in [0, 1, 2, 64] {
        let (tx, rx) = crate::channel::bounded(capacity);
        let count = if cfg!(miri) { 50 } else { 5_000 };
        let producer = std::thread::spawn(move || {
            let mut values: VecDeque<_> = (0..count).collect();
            tx.push_many_blocking(&mut values)
        });
        let mut got = Vec::new();
        while rx.pop_many_blocking(&mut got, 32).is_ok() {}
        assert!(got.into_iter().eq(0..count));
        producer.join().unwrap().unwrap();
    }
}

#[test]
fn local_batches_refuse_to_block() {
    let (tx, rx) = crate::channel::local(1);
    let mut values = VecDeque::from([1, 2]);
    assert!(catch_unwind(AssertUnwindSafe(|| tx.push_many_blocking(&mut values))).is_err());
    let mut got = Vec::new();
    assert_eq!(rx.pop_many_blocking(&mut got, 9), Ok(1));
    assert!(catch_unwind(AssertUnwindSafe(|| rx.pop_many_blocking(&mut got, 9))).is_err());
    assert_eq!((values.len(), got), (1, vec![1]));
}
