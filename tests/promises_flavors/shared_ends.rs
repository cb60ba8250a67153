//! What `bounded` and `local` promise beyond the others: ends that are cloned, weak ones, lines in order.
//!
//! Knows: the names that the two share. Does not know: which of them it asks.

macro_rules! asked_of {
    ($flavor:ident) => {
        mod $flavor {
            use std::collections::VecDeque;
            use std::mem;
            use std::pin::pin;
            use std::sync::Arc;

            use millstream::Operation;
            use millstream::channel::{PushError, TryPopError, TryPushError, $flavor as make};

            use crate::{Bell, Mine, gone, panics, poll, ready};

            #[test]
            fn the_last_end_of_a_kind_closes() {
                let (tx, rx) = make(2);
                let (tx2, rx2) = (tx.clone(), rx.clone());
                assert_eq!((rx.sender_count(), tx.receiver_count()), (2, 2));
                drop(tx);
                assert!(!rx.is_closed());
                tx2.try_push(1).unwrap();
                drop(rx);
                assert!(!tx2.is_closed());
                assert_eq!((tx2.sender_count(), tx2.receiver_count()), (1, 1));
                drop(tx2);
                assert!(rx2.is_closed());
                assert_eq!(rx2.try_pop(), Ok(1));
                assert_eq!(rx2.try_pop(), Err(TryPopError::Closed));
            }

            #[test]
            fn weak_ends_keep_neither_the_channel_open_nor_its_values() {
                let count = Arc::default();
                let (tx, rx) = make(2);
                let (weak_tx, weak_rx) = (tx.downgrade(), rx.downgrade());
                assert_eq!((tx.sender_count(), tx.receiver_count()), (1, 1));
                let (tx3, rx3) = (weak_tx.upgrade().unwrap(), weak_rx.clone().upgrade().unwrap());
                assert_eq!((tx.sender_count(), tx.receiver_count()), (2, 2));
                assert!(
                    tx3.same_channel(&tx) && rx3.same_channel(&rx) && weak_tx.same_channel(&tx3.downgrade())
                );
                tx3.try_push(Mine::new(&count)).unwrap();
                drop((tx, rx3));
                assert!(!rx.is_closed());
                rx.close();
                assert!(weak_tx.upgrade().is_some_and(|tx| tx.is_closed()), "one of a closed channel");
                drop(rx);
                assert_eq!(gone(&count), 1, "no receiver, no values");
                assert!(weak_rx.upgrade().is_none());
                assert!(weak_tx.upgrade().is_some(), "a sender is still there");
                drop(tx3);
                assert!(weak_tx.upgrade().is_none());

                let (tx, rx) = make(2);
                let (weak_tx, weak_rx) = (tx.downgrade(), rx.downgrade());
                tx.try_push(Mine::new(&count)).unwrap();
                drop(tx);
                assert!(weak_tx.upgrade().is_none() && rx.is_closed());
                drop(rx);
                assert_eq!(gone(&count), 2);
                assert!(weak_rx.upgrade().is_none());
                let (other, _rx) = make::<Mine>(1);
                assert!(!weak_tx.same_channel(&other.downgrade()));
            }

            #[test]
            fn a_push_that_was_taken_in_says_so() {
                let (tx, rx) = make(1);
                tx.try_push(1).unwrap();
                let mut push = pin!(tx.push(2));
                assert!(poll(push.as_mut()).is_pending());
                assert_eq!(rx.try_pop(), Ok(1));
                assert_eq!(push.as_mut().cancel(), Ok(()), "the pop took its value into the channel");
                assert_eq!(rx.try_pop(), Ok(2));

                tx.try_push(3).unwrap();
                let mut push = pin!(tx.push(4));
                assert!(poll(push.as_mut()).is_pending());
                assert_eq!(rx.try_pop(), Ok(3));
                rx.close();
                assert_eq!(ready(push), Ok(()), "it was in before the close");
                assert_eq!((rx.try_pop(), rx.try_pop()), (Ok(4), Err(TryPopError::Closed)));
            }

            #[test]
            fn waiting_pushes_are_served_in_order_and_not_overtaken() {
                let (tx, rx) = make(1);
                tx.try_push(0).unwrap();
                let mut values = VecDeque::from([2, 3]);
                let mut one = pin!(tx.push(1));
                let mut many = pin!(tx.push_many(&mut values));
                let mut place = pin!(tx.reserve());
                assert!(poll(one.as_mut()).is_pending());
                assert!(poll(many.as_mut()).is_pending());
                assert!(poll(place.as_mut()).is_pending());
                assert_eq!(rx.try_pop(), Ok(0));
                assert_eq!(tx.try_push(9), Err(TryPushError::Full(9)));
                assert_eq!(rx.try_pop(), Ok(1));
                assert_eq!(tx.try_push(9), Err(TryPushError::Full(9)), "the place is the batch's");
                assert!(poll(place.as_mut()).is_pending());
                assert!(poll(many.as_mut()).is_pending(), "one of two");
                assert_eq!(rx.try_pop(), Ok(2));
                assert!(poll(place.as_mut()).is_pending(), "the batch keeps its place in line");
                assert_eq!(ready(many), Ok(()));
                assert_eq!(rx.try_pop(), Ok(3));
                ready(place).unwrap().push(4).unwrap();
                assert_eq!((ready(one), rx.try_pop()), (Ok(()), Ok(4)));
            }

            #[test]
            fn a_value_goes_to_the_pop_that_waited_longest_and_on_when_that_is_dropped() {
                let bell = Arc::new(Bell::default());
                let (tx, rx) = make(1);
                let mut first = Box::pin(rx.pop());
                let mut second = pin!(rx.pop());
                assert!(poll(first.as_mut()).is_pending());
                assert!(bell.poll(second.as_mut()).is_pending());
                tx.try_push(1).unwrap();
                assert!(!bell.rang());
                assert_eq!(rx.try_pop(), Err(TryPopError::Empty), "a waiting pop is entitled to it");
                assert!(poll(second.as_mut()).is_pending());
                drop(first);
                assert_eq!(ready(second), Ok(1));
            }

            #[test]
            fn whoever_is_asked_to_stop_after_it_was_served_has_been_served() {
                let (tx, rx) = make(1);
                {
                    let mut pop = pin!(rx.pop());
                    assert!(poll(pop.as_mut()).is_pending());
                    tx.try_push(1).unwrap();
                    pop.as_mut().request_cancel();
                    assert_eq!(ready(pop), Ok(1), "a value was there for it before");
                }
                tx.try_push(2).unwrap();
                let mut reserve = pin!(tx.reserve());
                assert!(poll(reserve.as_mut()).is_pending());
                assert_eq!(rx.try_pop(), Ok(2));
                reserve.as_mut().request_cancel();
                assert!(
                    ready(reserve).is_err_and(|error| error.is_cancelled()),
                    "it takes effect in its own poll only"
                );
                tx.try_push(3).expect("the slot that it was granted is free again");
                let mut push = pin!(tx.push(4));
                assert!(poll(push.as_mut()).is_pending());
                assert_eq!(rx.try_pop(), Ok(3));
                push.as_mut().request_cancel();
                assert_eq!((ready(push), rx.try_pop()), (Ok(()), Ok(4)));
            }

            #[test]
            fn permits_count_and_come_last() {
                let (tx, rx) = make(3);
                let first = tx.try_reserve().unwrap();
                let second = tx.try_reserve().unwrap();
                assert!(!tx.is_full());
                tx.try_push('a').unwrap();
                assert!(tx.is_full() && rx.is_full() && rx.len() == 1);
                assert_eq!(tx.try_push('x'), Err(TryPushError::Full('x')));
                second.push('b').unwrap();
                first.push('c').unwrap();
                assert!(rx.try_iter().eq(['a', 'b', 'c']));

                // A permit that is given back lets the next in line have its place.
                let bell = Arc::new(Bell::default());
                let (tx, rx) = make(1);
                let permit = tx.try_reserve().unwrap();
                let mut push = pin!(tx.push(1));
                assert!(bell.poll(push.as_mut()).is_pending());
                drop(permit);
                assert!(bell.rang());
                assert_eq!(ready(push), Ok(()));
                assert_eq!(rx.try_pop(), Ok(1));

                // One that is forgotten takes its place along, and nothing else.
                mem::forget(tx.try_reserve().unwrap());
                assert!(tx.is_full() && rx.is_empty());
                assert_eq!(tx.try_push(2), Err(TryPushError::Full(2)));
                drop(rx);
                assert_eq!(tx.try_push(2), Err(TryPushError::Closed(2)));

                // Permits at a close: values pushed before it stay, the permit's does not go in.
                let (tx, rx) = make(2);
                let permit = tx.try_reserve().unwrap();
                tx.try_push(1).unwrap();
                tx.close();
                assert_eq!(permit.push(2), Err(PushError::Closed(2)));
                assert!(rx.iter().eq([1]));
            }

            #[test]
            fn a_rendezvous_permit_is_honoured_when_the_pop_has_left() {
                let (tx, rx) = make(0);
                let mut pop = Box::pin(rx.pop());
                assert!(poll(pop.as_mut()).is_pending());
                let permit = tx.try_reserve().unwrap();
                drop(pop);
                permit.push(1).unwrap();
                assert_eq!((rx.len(), rx.try_pop()), (1, Ok(1)));
                assert_eq!(tx.try_push(2), Err(TryPushError::Full(2)));
            }

            #[test]
            fn a_channel_within_itself_goes_with_its_ends() {
                // A sender in its own channel keeps it open, until the last receiver takes it along.
                let (tx, rx) = make(1);
                let weak = tx.downgrade();
                tx.try_push(Some(Box::new(tx.clone()) as Box<dyn std::any::Any>)).unwrap();
                drop(tx);
                assert!(!rx.is_closed());
                drop(rx);
                assert!(weak.upgrade().is_none());
            }

            #[test]
            fn a_drop_that_panics_comes_out_where_the_value_goes() {
                let count = Arc::default();
                let (tx, rx) = make(2);
                tx.try_push(Mine::new(&count)).unwrap();
                tx.try_push(Mine::new(&count)).unwrap();
                panics(|| {
                    let mut push = pin!(tx.push(Mine::explosive(&count)));
                    assert!(poll(push.as_mut()).is_pending());
                });
                assert_eq!((gone(&count), rx.len()), (1, 2));
                drop(rx.try_pop().unwrap());
                tx.try_push(Mine::new(&count)).unwrap();
                assert_eq!(rx.try_iter().count(), 2, "the channel goes on");
            }
        }
    };
}

asked_of!(bounded);
asked_of!(local);

#[test]
fn a_local_channel_refuses_to_block_where_it_would_wait() {
    use std::collections::VecDeque;

    use millstream::channel::local;

    use crate::panics;

    let (tx, rx) = local(1);
    panics(|| rx.pop_blocking());
    panics(|| rx.iter().next());
    panics(|| rx.pop_many_blocking(&mut Vec::new(), 1));
    tx.push_blocking(1).expect("there is room");
    panics(|| tx.push_blocking(2));
    let mut values = VecDeque::from([3]);
    panics(|| tx.push_many_blocking(&mut values));
    assert_eq!((values.len(), tx.len()), (1, 1), "and nothing has happened");
    assert_eq!(rx.pop_blocking(), Ok(1));
    panics(|| rx.pop_blocking());
    tx.try_push(4).expect("no waiter is left behind");
    assert_eq!(rx.try_pop(), Ok(4), "and none is entitled to it");
}
