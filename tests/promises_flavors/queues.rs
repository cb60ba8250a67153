//! What `bounded`, `local` and `spsc` promise alike.
//!
//! Knows: the names that they share. Does not know: which of them it asks.
//!
//! Each end is used as if there were one of it, by `&mut`.

macro_rules! by_reference {
    (spsc, $rx:ident) => {
        &mut $rx
    };
    ($flavor:ident, $rx:ident) => {
        &$rx
    };
}

macro_rules! end {
    (spsc) => { millstream::channel::spsc::Producer<usize> };
    (local) => { millstream::channel::local::Sender<usize> };
    (bounded) => { millstream::channel::Sender<usize> };
}

macro_rules! asked_of {
    ($flavor:ident) => {
        #[allow(unused_mut, reason = "only the ends of an `spsc` are used by `&mut`")]
        mod $flavor {
            use std::collections::VecDeque;
            use std::mem;
            use std::pin::pin;
            use std::sync::Arc;
            use std::task::Poll;

            use futures::executor::block_on;
            use futures::stream::{FusedStream, Stream, StreamExt};
            use millstream::Operation;
            use millstream::channel::{PopError, PushError, TryPopError, TryPushError, $flavor as make};

            use crate::{Bell, Mine, begin, gone, panics, poll, ready};

            #[test]
            fn the_capacity_is_exact_and_order_is_kept() {
                for capacity in [1, 2, 3, 5, 7, 64, 100] {
                    let (mut tx, mut rx) = make(capacity);
                    let (mut next_in, mut next_out) = (0, 0);
                    for round in 0..5 {
                        while tx.try_push(next_in).is_ok() {
                            next_in += 1;
                            assert!(next_in - next_out <= capacity, "more than {capacity} went in");
                        }
                        assert_eq!(next_in - next_out, capacity);
                        assert_eq!(tx.try_push(usize::MAX), Err(TryPushError::Full(usize::MAX)));
                        assert!(tx.is_full() && rx.is_full() && !tx.is_empty());
                        assert_eq!(
                            (tx.len(), rx.len(), tx.capacity(), rx.capacity()),
                            (capacity, capacity, capacity, capacity)
                        );
                        for _ in 0..=capacity / 2 + round % 2 {
                            let Ok(value) = rx.try_pop() else { break };
                            assert_eq!(value, next_out);
                            next_out += 1;
                        }
                        assert!(!tx.is_full() && !rx.is_full());
                    }
                    assert!(rx.try_iter().eq(next_out..next_in));
                    assert!(rx.is_empty() && tx.is_empty() && rx.len() == 0);
                    assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
                }
            }

            #[test]
            fn capacity_zero_holds_nothing_and_hands_over() {
                let (mut tx, mut rx) = make(0);
                assert_eq!((tx.capacity(), tx.len(), rx.len()), (0, 0, 0));
                assert!(tx.is_full() && rx.is_full() && tx.is_empty() && rx.is_empty());
                assert_eq!(tx.try_push(1), Err(TryPushError::Full(1)));
                assert!(tx.try_reserve().unwrap_err().is_full());
                assert!(tx.try_push_many(&mut VecDeque::from([1])).unwrap_err().is_full());
                assert_eq!(rx.try_pop(), Err(TryPopError::Empty));
                assert_eq!(rx.drain().count(), 0);
                {
                    let mut pop = pin!(rx.pop());
                    assert!(poll(pop.as_mut()).is_pending());
                    tx.try_push(2).expect("a receiver waits");
                    assert_eq!(tx.try_push(3), Err(TryPushError::Full(3)), "it waits for one");
                    assert_eq!(ready(pop), Ok(2));
                }
                {
                    let mut push = pin!(tx.push(4));
                    assert!(poll(push.as_mut()).is_pending());
                    assert_eq!(rx.drain().count(), 0, "there is nothing to drain");
                    assert_eq!(rx.try_pop(), Ok(4), "the value of a push that waits");
                    assert_eq!(ready(push), Ok(()));
                }
                {
                    let mut pop = pin!(rx.pop());
                    assert!(poll(pop.as_mut()).is_pending());
                    let permit = tx.try_reserve().expect("there is room for a receiver that waits");
                    permit.push(5).expect("open");
                    assert_eq!(ready(pop), Ok(5));
                }
                let mut values = VecDeque::from([6, 7, 8]);
                let mut got = Vec::new();
                block_on(async {
                    let (pushed, ()) = futures::join!(tx.push_many(&mut values), async {
                        for _ in 0..3 {
                            got.push(rx.pop().await.expect("open"));
                        }
                    });
                    pushed.expect("open");
                });
                assert_eq!((got, values.len()), (vec![6, 7, 8], 0));
            }

            #[test]
            fn after_a_close_pushes_give_back_and_pops_drain_again_and_again() {
                for by_receiver in [false, true] {
                    let (mut tx, mut rx) = make(3);
                    tx.try_push(1).unwrap();
                    tx.try_push(2).unwrap();
                    assert!(!tx.is_closed() && !rx.is_closed());
                    assert!(if by_receiver { rx.close() } else { tx.close() });
                    assert!(!rx.close() && !tx.close() && !rx.close(), "it was closed");
                    assert!(tx.is_closed() && rx.is_closed());
                    assert!(!rx.is_terminated(), "not drained");
                    assert_eq!(tx.try_push(3), Err(TryPushError::Closed(3)));
                    assert_eq!(tx.push_blocking(4), Err(PushError::Closed(4)));
                    let mut values = VecDeque::from([5, 6]);
                    assert!(tx.try_push_many(&mut values).unwrap_err().is_closed());
                    assert!(tx.push_many_blocking(&mut values).unwrap_err().is_closed());
                    assert!(tx.try_reserve().unwrap_err().is_closed());
                    block_on(async {
                        assert_eq!(tx.push(7).await, Err(PushError::Closed(7)));
                        assert_eq!(tx.push_many(&mut values).await, Err(PushError::Closed(())));
                        assert!(matches!(tx.reserve().await, Err(PushError::Closed(()))));
                        tx.closed().await;
                        rx.closed().await;
                        assert_eq!(values, [5, 6]);
                        assert_eq!(rx.pop().await, Ok(1));
                        let mut got = vec![0];
                        assert_eq!(rx.pop_many(&mut got, 9).await, Ok(1));
                        assert_eq!(got, [0, 2]);
                        for _ in 0..2 {
                            assert_eq!(rx.pop().await, Err(PopError::Closed));
                            assert_eq!(rx.pop_many(&mut got, 9).await, Err(PopError::Closed));
                            assert_eq!(rx.next().await, None);
                        }
                        assert_eq!(got.len(), 2);
                    });
                    assert!(rx.is_terminated());
                    assert_eq!(rx.pop_blocking(), Err(PopError::Closed));
                    assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
                    assert_eq!(rx.try_pop_many(&mut Vec::new(), 1), Err(TryPopError::Closed));
                    assert_eq!((rx.iter().count(), rx.try_iter().count(), rx.drain().count()), (0, 0, 0));
                    assert_eq!(rx.into_iter().count(), 0);
                }
            }

            #[test]
            fn a_close_ends_what_waits_and_gives_it_back() {
                let bell = Arc::new(Bell::default());
                for capacity in [0, 1, 2] {
                    let fill = |tx: &mut _| while_room(tx);
                    let (mut tx, mut rx) = make(capacity);
                    fill(&mut tx);
                    {
                        let mut push = pin!(tx.push(7));
                        assert!(bell.poll(push.as_mut()).is_pending());
                        assert!(rx.close());
                        assert!(bell.rang(), "a push that waits is told");
                        assert_eq!(ready(push), Err(PushError::Closed(7)));
                    }

                    let (mut tx, mut rx) = make(capacity);
                    fill(&mut tx);
                    {
                        let mut push = pin!(tx.push(7));
                        assert!(bell.poll(push.as_mut()).is_pending());
                        drop(rx);
                        assert!(bell.rang(), "a push that waits is told that nobody is left");
                        assert_eq!(push.as_mut().cancel(), Err(PushError::Closed(7)));
                    }

                    let (mut tx, mut rx) = make(capacity);
                    fill(&mut tx);
                    {
                        let mut reserve = pin!(tx.reserve());
                        assert!(bell.poll(reserve.as_mut()).is_pending());
                        rx.close();
                        assert!(bell.rang());
                        assert!(matches!(ready(reserve), Err(PushError::Closed(()))));
                    }

                    let (mut tx, mut rx) = make(capacity);
                    let mut values = (0..5).collect::<VecDeque<_>>();
                    {
                        let mut push = pin!(tx.push_many(&mut values));
                        assert!(bell.poll(push.as_mut()).is_pending());
                        rx.close();
                        assert!(bell.rang());
                        assert_eq!(ready(push), Err(PushError::Closed(())));
                    }
                    assert!(
                        values.into_iter().eq(capacity..5),
                        "what was not pushed is still there, in order"
                    );
                    assert!(rx.try_iter().eq(0..capacity));

                    let (mut tx, mut rx) = make::<usize>(capacity);
                    for drops in [false, true] {
                        let mut got = vec![];
                        let mut pop = pin!(rx.pop_many(&mut got, 5));
                        if !drops {
                            assert!(bell.poll(pop.as_mut()).is_pending());
                            assert!(tx.close());
                            assert!(bell.rang());
                        }
                        assert_eq!(ready(pop), Err(PopError::Closed));
                    }

                    let (tx, mut rx) = make::<usize>(capacity);
                    {
                        let mut pop = pin!(rx.pop());
                        assert!(bell.poll(pop.as_mut()).is_pending());
                        drop(tx);
                        assert!(bell.rang());
                        assert_eq!(ready(pop), Err(PopError::Closed));
                    }

                    let (mut tx, mut rx) = make::<usize>(capacity);
                    {
                        let mut closed = pin!(tx.closed());
                        assert!(bell.poll(closed.as_mut()).is_pending());
                        assert!(rx.close());
                        assert!(bell.rang());
                        ready(closed);
                        ready(pin!(rx.closed()));
                    }

                    let (tx, mut rx) = make::<usize>(capacity);
                    let mut closed = pin!(rx.closed());
                    assert!(bell.poll(closed.as_mut()).is_pending());
                    drop(tx);
                    assert!(bell.rang());
                    ready(closed);
                }
            }

            #[test]
            fn a_poll_after_the_end_panics_everywhere() {
                let (mut tx, mut rx) = make(2);
                {
                    let mut push = pin!(tx.push(1));
                    assert_eq!(ready(push.as_mut()), Ok(()));
                    panics(|| poll(push.as_mut()));
                    panics(|| push.as_mut().cancel());
                }
                let mut values = VecDeque::from([2]);
                {
                    let mut push = pin!(tx.push_many(&mut values));
                    assert_eq!(ready(push.as_mut()), Ok(()));
                    panics(|| poll(push.as_mut()));
                }
                {
                    let mut pop = pin!(rx.pop());
                    assert_eq!(ready(pop.as_mut()), Ok(1));
                    panics(|| poll(pop.as_mut()));
                }
                let mut got = Vec::new();
                {
                    let mut pop = pin!(rx.pop_many(&mut got, 4));
                    assert_eq!(ready(pop.as_mut()), Ok(1));
                    panics(|| poll(pop.as_mut()));
                }
                {
                    let mut reserve = pin!(tx.reserve());
                    drop(ready(reserve.as_mut()));
                    panics(|| poll(reserve.as_mut()));
                }
                assert!(rx.is_empty(), "a poll that panics does nothing");
                tx.try_push(3).unwrap();
                tx.try_push(4).unwrap();
                rx.close();
                let mut closed = pin!(tx.closed());
                ready(closed.as_mut());
                panics(|| poll(closed.as_mut()));
                assert!(rx.iter().eq([3, 4]));
            }

            #[test]
            fn asked_to_stop_everything_gives_back_what_it_held() {
                let (mut tx, mut rx) = make(1);
                for started in [false, true] {
                    {
                        let mut pop = pin!(rx.pop());
                        assert!(!started || poll(pop.as_mut()).is_pending());
                        pop.as_mut().request_cancel();
                        pop.as_mut().request_cancel();
                        assert_eq!(ready(pop), Err(PopError::Cancelled));
                    }
                    let mut got = vec![9];
                    {
                        let mut pop = pin!(rx.pop_many(&mut got, 2));
                        assert!(!started || poll(pop.as_mut()).is_pending());
                        pop.as_mut().request_cancel();
                        assert_eq!(ready(pop), Err(PopError::Cancelled));
                    }
                    assert_eq!(got, [9]);
                    let mut closed = pin!(tx.closed());
                    assert!(!started || poll(closed.as_mut()).is_pending());
                    closed.as_mut().request_cancel();
                    ready(closed);
                }
                assert!(!tx.is_closed());
                tx.try_push(0).unwrap();
                for started in [false, true] {
                    {
                        let mut push = pin!(tx.push(1));
                        assert!(!started || poll(push.as_mut()).is_pending());
                        push.as_mut().request_cancel();
                        assert_eq!(ready(push), Err(PushError::Cancelled(1)));
                    }
                    {
                        let mut push = pin!(tx.push(2));
                        assert!(!started || poll(push.as_mut()).is_pending());
                        assert_eq!(push.as_mut().cancel(), Err(PushError::Cancelled(2)));
                        panics(|| push.as_mut().cancel());
                        panics(|| poll(push.as_mut()));
                    }
                    let mut values = VecDeque::from([3, 4]);
                    {
                        let mut push = pin!(tx.push_many(&mut values));
                        assert!(!started || poll(push.as_mut()).is_pending());
                        push.as_mut().request_cancel();
                        assert_eq!(ready(push), Err(PushError::Cancelled(())));
                    }
                    assert_eq!(values, [3, 4]);
                    let mut reserve = pin!(tx.reserve());
                    assert!(!started || poll(reserve.as_mut()).is_pending());
                    reserve.as_mut().request_cancel();
                    assert!(matches!(ready(reserve), Err(PushError::Cancelled(()))));
                }
                assert!(rx.try_iter().eq([0]), "nothing of all that is in the channel");
            }

            #[test]
            fn what_is_dropped_unfinished_took_nothing_and_leaks_nothing() {
                let count = Arc::default();
                let (mut tx, mut rx) = make(1);
                drop(tx.push(Mine::new(&count)));
                assert_eq!((gone(&count), tx.len()), (1, 0), "never polled, never pushed");
                tx.try_push(Mine::new(&count)).unwrap();
                {
                    let mut push = pin!(tx.push(Mine::new(&count)));
                    assert!(poll(push.as_mut()).is_pending());
                }
                assert_eq!((gone(&count), rx.len()), (2, 1), "the value went with the push");
                {
                    let mut reserve = pin!(tx.reserve());
                    assert!(poll(reserve.as_mut()).is_pending());
                    drop(rx.try_pop());
                }
                assert!(!tx.is_full(), "the place that it was granted is free again");
                {
                    let mut pop = pin!(rx.pop());
                    assert!(poll(pop.as_mut()).is_pending());
                    tx.try_push(Mine::new(&count)).unwrap();
                }
                assert_eq!((rx.len(), gone(&count)), (1, 3), "a value on its way to a dropped pop stays");
                let mut got = Vec::new();
                drop(rx.try_pop().unwrap());
                {
                    let mut pop = pin!(rx.pop_many(&mut got, 4));
                    assert!(poll(pop.as_mut()).is_pending());
                    tx.try_push(Mine::new(&count)).unwrap();
                }
                assert_eq!((got.len(), rx.len()), (0, 1));
                let mut values: VecDeque<_> = (0..3).map(|_| Mine::new(&count)).collect();
                {
                    let mut push = pin!(tx.push_many(&mut values));
                    assert!(poll(push.as_mut()).is_pending());
                    drop(rx.try_pop().unwrap());
                    assert!(poll(push.as_mut()).is_pending());
                }
                assert_eq!((values.len(), rx.len()), (2, 1), "one went in");
                drop(tx);
                drop(rx);
                assert_eq!(gone(&count), 6, "the receiver took along what was in the channel");
                drop(values);
                assert_eq!(gone(&count), 8);
            }

            #[test]
            fn a_forgotten_future_stops_nobody_but_itself() {
                let bell = Arc::new(Bell::default());
                for capacity in [0, 1, 2] {
                    let (mut tx, mut rx) = make(capacity);
                    let mut pop = Box::pin(rx.pop());
                    assert!(bell.poll(pop.as_mut()).is_pending());
                    mem::forget(pop);
                    let mut closed = Box::pin(rx.closed());
                    assert!(bell.poll(closed.as_mut()).is_pending());
                    mem::forget(closed);
                    // At most one value waits with the pop that nobody polls; another pop gets what comes behind it.
                    let mut pop = Box::pin(rx.pop());
                    assert!(poll(pop.as_mut()).is_pending());
                    let first = tx.try_push(1);
                    let second = tx.try_push(2);
                    assert!(first.is_ok() || second.is_ok());
                    let got = ready(pop.as_mut()).expect("open");
                    assert!(got == 1 || got == 2);
                    drop(pop);
                    while_room(&mut tx);
                    let mut push = Box::pin(tx.push(3));
                    assert!(bell.poll(push.as_mut()).is_pending());
                    mem::forget(push);
                    let mut reserve = Box::pin(tx.reserve());
                    assert!(bell.poll(reserve.as_mut()).is_pending());
                    mem::forget(reserve);
                    assert!(tx.close(), "a close is heard beside them");
                    while rx.try_pop().is_ok() {}
                    drop(tx);
                    drop(rx);
                }
            }

            #[test]
            fn a_permit_is_a_place_until_it_is_used_or_given_back() {
                let (mut tx, mut rx) = make(2);
                tx.try_push(1).unwrap();
                let permit = tx.try_reserve().unwrap();
                permit.push(2).unwrap();
                assert_eq!(tx.try_push(3), Err(TryPushError::Full(3)));
                assert!(tx.try_reserve().unwrap_err().is_full());
                {
                    let mut reserve = pin!(tx.reserve());
                    assert!(poll(reserve.as_mut()).is_pending());
                    assert_eq!(rx.try_pop(), Ok(1));
                    let permit = ready(reserve).expect("open");
                    assert_eq!(rx.try_pop(), Ok(2));
                    drop(permit);
                }
                assert!(rx.is_empty());
                let permit = tx.try_reserve().unwrap();
                assert!(rx.close());
                assert_eq!(permit.push(4), Err(PushError::Closed(4)), "closed meanwhile");
                assert_eq!(rx.try_pop(), Err(TryPopError::Closed));

                let (mut tx, mut rx) = make::<u8>(2);
                let permit = tx.try_reserve().unwrap();
                let mut pop = Box::pin(rx.pop());
                assert!(poll(pop.as_mut()).is_pending());
                drop(pop);
                rx.close();
                drop(permit);
                drop(rx);
                assert!(tx.try_reserve().unwrap_err().is_closed());

                // Waiters are told that a place was given back.
                let (mut tx, rx) = make::<u8>(1);
                let permit = block_on(tx.reserve()).unwrap();
                drop(rx);
                assert_eq!(permit.push(5), Err(PushError::Closed(5)), "nobody is left");
            }

            #[test]
            fn batches_of_nothing_are_over_at_once() {
                let (mut tx, mut rx) = make::<u8>(1);
                for closed in [false, true] {
                    assert_eq!(tx.try_push_many(&mut VecDeque::new()), Ok(0));
                    assert_eq!(ready(pin!(tx.push_many(&mut VecDeque::new()))), Ok(()), "closed {closed}");
                    assert_eq!(tx.push_many_blocking(&mut VecDeque::new()), Ok(()));
                    assert_eq!(rx.try_pop_many(&mut Vec::new(), 0), Ok(0));
                    assert_eq!(ready(pin!(rx.pop_many(&mut Vec::new(), 0))), Ok(0));
                    assert_eq!(rx.pop_many_blocking(&mut Vec::new(), 0), Ok(0));
                    assert_eq!(tx.close(), !closed);
                }
            }

            #[test]
            fn batches_keep_order_and_bounds() {
                let _watchdog = begin();
                for capacity in [1, 2, 3, 16] {
                    for max in [1, 2, 5, usize::MAX] {
                        let (mut tx, mut rx) = make(capacity);
                        let mut values = (0..100).collect::<VecDeque<_>>();
                        let mut got = vec![];
                        block_on(async {
                            let (pushed, ()) = futures::join!(
                                async move {
                                    let pushed = tx.push_many(&mut values).await;
                                    assert!(values.is_empty());
                                    pushed
                                },
                                async {
                                    loop {
                                        let before = got.len();
                                        match rx.pop_many(&mut got, max).await {
                                            Ok(n) => {
                                                assert!((1..=max).contains(&n));
                                                assert_eq!(got.len(), before + n);
                                            }
                                            Err(error) => break assert_eq!(error, PopError::Closed),
                                        }
                                    }
                                }
                            );
                            pushed.expect("open");
                        });
                        assert!(got.into_iter().eq(0..100));
                    }
                }
            }

            #[test]
            fn a_drain_is_of_what_was_there() {
                let (mut tx, mut rx) = make(4);
                for n in 0..4 {
                    tx.try_push(n).unwrap();
                }
                assert!(rx.drain().take(1).eq([0]));
                assert_eq!(rx.len(), 3);
                let _ = rx.drain();
                assert_eq!(rx.len(), 3);
                let mut push = pin!(async {
                    tx.push(4).await.unwrap();
                    tx.push(5).await.unwrap();
                });
                assert!(poll(push.as_mut()).is_pending(), "one went in, the other waits");
                let mut drain = rx.drain();
                assert_eq!(drain.next(), Some(1));
                let _ = poll(push.as_mut());
                assert!(drain.by_ref().eq([2, 3, 4]), "and not 5, which came later");
                assert_eq!(drain.next(), None);
                assert_eq!(rx.try_pop(), Ok(5));
                assert_eq!(rx.drain().next(), None);
            }

            #[test]
            fn iterators_end_where_they_say() {
                let (mut tx, mut rx) = make(4);
                tx.try_push(1).unwrap();
                {
                    let mut now = rx.try_iter();
                    assert_eq!((now.next(), now.next()), (Some(1), None));
                    tx.try_push(2).unwrap();
                    assert_eq!(now.next(), Some(2), "it finds values again");
                }
                for n in 3..6 {
                    tx.try_push(n).unwrap();
                }
                drop(tx);
                assert!(rx.iter().take(1).eq([3]));
                assert_eq!(by_reference!($flavor, rx).into_iter().next(), Some(4));
                let mut rest = rx.into_iter();
                assert_eq!((rest.next(), rest.next(), rest.next()), (Some(5), None, None));
            }

            #[test]
            fn a_stream_is_fused_and_can_be_left() {
                let bell = Arc::new(Bell::default());
                let (mut tx, mut rx) = make(2);
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(pin!(&mut rx).poll_next(&mut cx).is_pending());
                assert!(!rx.is_terminated());
                tx.try_push(1).unwrap();
                assert_eq!(rx.try_pop(), Ok(1), "popping gives the place in line up");
                assert!(bell.poll(pin!(rx.next())).is_pending());
                tx.try_push(2).unwrap();
                assert!(bell.rang());
                tx.try_push(3).unwrap();
                let mut got = Vec::new();
                assert_eq!(block_on(rx.pop_many(&mut got, 9)), Ok(2));
                assert!(bell.poll(pin!(rx.next())).is_pending());
                drop(tx);
                assert!(bell.rang());
                assert!(rx.is_terminated());
                for _ in 0..3 {
                    assert_eq!(pin!(&mut rx).poll_next(&mut cx), Poll::Ready(None));
                }
                drop(rx);
                let (tx, mut rx) = make::<u8>(2);
                assert!(bell.poll(pin!(rx.next())).is_pending());
                drop(rx);
                drop(tx);
            }

            #[cfg(feature = "sink")]
            #[test]
            fn a_sender_is_a_sink() {
                use futures::{SinkExt, stream};
                let (mut tx, mut rx) = make(2);
                block_on(tx.feed(1)).unwrap();
                block_on(SinkExt::send(&mut tx, 2)).unwrap();
                assert!(poll(pin!(tx.feed(3))).is_pending(), "full");
                assert_eq!(rx.try_pop(), Ok(1));
                block_on(tx.feed(4)).unwrap();
                block_on(SinkExt::flush(&mut tx)).unwrap();
                rx.close();
                assert_eq!(block_on(tx.feed(5)), Err(PushError::Closed(5)));
                assert!(rx.iter().eq([2, 4]));
                let (mut tx, rx) = make(100);
                block_on(tx.send_all(&mut stream::iter(0..50).map(Ok))).unwrap();
                block_on(SinkExt::close(&mut tx)).unwrap();
                assert!(rx.into_iter().eq(0..50));
            }

            #[test]
            fn values_without_a_size_and_large_ones() {
                let (mut tx, mut rx) = make(3);
                for _ in 0..2 {
                    while tx.try_push(()).is_ok() {}
                    assert_eq!(tx.len(), 3);
                    assert_eq!(rx.try_iter().count(), 3);
                }
                let (mut tx, mut rx) = make(2);
                tx.try_push([7_u64; 1_000]).unwrap();
                tx.try_push([8; 1_000]).unwrap();
                assert!(tx.try_push([9; 1_000]).unwrap_err().into_inner().iter().all(|&n| n == 9));
                assert!(rx.try_pop().unwrap().iter().all(|&n| n == 7));
                drop(tx);
                assert!(rx.pop_blocking().unwrap().iter().all(|&n| n == 8));
            }

            #[test]
            fn impossible_capacities_panic_and_do_not_abort() {
                panics(|| make::<u8>(usize::MAX));
                panics(|| make::<u64>(isize::MAX as usize));
                panics(|| make::<u64>(isize::MAX as usize / 8 + 1));
                panics(|| make::<()>(usize::MAX));
                panics(|| make::<()>(isize::MAX as usize + 1));
            }

            #[test]
            fn what_takes_no_memory_may_have_any_capacity() {
                let (mut tx, mut rx) = make(isize::MAX as usize);
                assert_eq!(tx.capacity(), isize::MAX as usize);
                for _ in 0..3 {
                    tx.try_push(()).unwrap();
                }
                assert_eq!((rx.len(), tx.is_full()), (3, false));
                assert_eq!(rx.drain().count(), 3);
            }

            #[test]
            fn a_value_that_panics_when_it_goes_disturbs_nobody() {
                let count = Arc::default();
                let (mut tx, rx) = make(8);
                for n in 0..6 {
                    let value = if n == 2 { Mine::explosive(&count) } else { Mine::new(&count) };
                    assert!(tx.try_push(value).is_ok());
                }
                drop(rx);
                assert_eq!(gone(&count), 6);
                let back = tx.try_push(Mine::new(&count)).unwrap_err();
                assert!(back.is_closed());
                drop(back);
                drop(tx);
                assert_eq!(gone(&count), 7);
                // The same when the sender went first, and with a push that waits.
                let (mut tx, rx) = make(1);
                assert!(tx.try_push(Mine::explosive(&count)).is_ok());
                {
                    let bell = Arc::new(Bell::default());
                    let mut push = pin!(tx.push(Mine::new(&count)));
                    assert!(bell.poll(push.as_mut()).is_pending());
                    drop(rx);
                    assert!(bell.rang(), "whoever waits is told all the same");
                    assert!(ready(push).unwrap_err().is_closed());
                }
                assert_eq!(gone(&count), 9);
            }

            #[test]
            fn counts_and_kinship() {
                let (tx, rx) = make::<u8>(1);
                assert_eq!((tx.sender_count(), tx.receiver_count()), (1, 1));
                assert_eq!((rx.sender_count(), rx.receiver_count()), (1, 1));
                drop(tx);
                assert_eq!((rx.sender_count(), rx.receiver_count()), (0, 1));
                let (tx, rx) = make::<u8>(1);
                drop(rx);
                assert_eq!((tx.sender_count(), tx.receiver_count()), (1, 0));
            }

            #[test]
            fn a_race_of_pushes_and_pops_takes_one() {
                use millstream::combinators::OneOf2;
                use millstream::combinators::OperationExt;
                use std::time::Duration;
                let _watchdog = begin();
                let (mut a_tx, mut a) = make(1);
                let (mut b_tx, mut b) = make(1);
                let outcome = block_on(async { millstream::race!(a_tx.push(1) || b_tx.push(2)).await });
                assert!(matches!(outcome, OneOf2::A(Ok(()))));
                assert_eq!((a.len(), b.len()), (1, 0));
                b_tx.try_push(2).unwrap();
                let outcome = block_on(async { millstream::race!(b.pop() || a.pop()).await });
                assert!(matches!(outcome, OneOf2::A(Ok(2))));
                assert_eq!((a.len(), b.len()), (1, 0));
                // A push that waits and loses has not pushed, whatever came free meanwhile.
                let outcome = {
                    let mut race = pin!(async { millstream::race!(a_tx.push(3) || b.pop()).await });
                    assert!(poll(race.as_mut()).is_pending());
                    b_tx.try_push(4).unwrap();
                    assert_eq!(a.try_pop(), Ok(1));
                    ready(race)
                };
                match outcome {
                    OneOf2::A(pushed) => assert_eq!((pushed, a.len(), b.len()), (Ok(()), 1, 1)),
                    OneOf2::B(popped) => assert_eq!((popped, a.len(), b.len()), (Ok(4), 0, 0)),
                }
                while a.try_pop().is_ok() || b.try_pop().is_ok() {}
                a_tx.try_push(5).unwrap();
                let runtime = millstream::Runtime::new().unwrap();
                let late = runtime
                    .block_on(async { a_tx.push(6).timeout(Duration::from_millis(1)).await.unwrap_err() });
                assert_eq!(late.into_outcome(), Err(PushError::Cancelled(6)));
                assert_eq!(a.try_pop(), Ok(5));
                let late =
                    runtime.block_on(async { a.pop().timeout(Duration::from_millis(1)).await.unwrap_err() });
                assert_eq!(late.into_outcome(), Err(PopError::Cancelled));
            }

            #[test]
            fn blocking_where_a_runtime_polls_panics_even_without_a_wait() {
                let (mut tx, mut rx) = make(4);
                tx.try_push(1).unwrap();
                millstream::Runtime::new().unwrap().block_on(async {
                    panics(|| tx.push_blocking(2));
                    let mut values = VecDeque::from([3]);
                    panics(|| tx.push_many_blocking(&mut values));
                    assert_eq!(values.len(), 1);
                    panics(|| rx.pop_blocking());
                    panics(|| rx.pop_many_blocking(&mut Vec::new(), 1));
                    panics(|| rx.iter().next());
                    assert_eq!(rx.try_iter().next(), Some(1), "these do not block");
                    assert_eq!(rx.drain().next(), None);
                });
                tx.push_blocking(4).unwrap();
                assert_eq!(rx.pop_blocking(), Ok(4));
            }

            fn while_room(tx: &mut end!($flavor)) {
                while tx.try_push(0).is_ok() {}
            }
        }
    };
}

asked_of!(bounded);
asked_of!(local);
asked_of!(spsc);
