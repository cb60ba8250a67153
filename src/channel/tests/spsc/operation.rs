//! Pushes and pops as arms: cancelled, discarded, polled too often.

use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::channel::tests::support::{Bell, Census, poll, poll_with};
use crate::channel::{PopError, PushError, spsc};
use crate::operation::Operation;

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[test]
fn what_is_asked_to_stop_is_woken_and_gives_up() {
    for capacity in [0, 1] {
        let (bell, waker) = Bell::new();
        let (mut tx, mut rx) = spsc(capacity);
        {
            let mut pop = pin!(rx.pop());
            assert!(poll_with(pop.as_mut(), &waker).is_pending());
            pop.as_mut().request_cancel();
            pop.as_mut().request_cancel();
            assert_eq!(bell.rings(), 1);
            if capacity == 1 {
                tx.try_push(1).unwrap();
            }
            assert_eq!(poll(pop.as_mut()), Poll::Ready(Err(PopError::Cancelled)));
        }
        assert_eq!(rx.len(), capacity);
        {
            let mut push = pin!(tx.push(2));
            assert!(poll_with(push.as_mut(), &waker).is_pending());
            push.as_mut().request_cancel();
            assert_eq!(bell.rings(), 1);
            assert_eq!(poll(push), Poll::Ready(Err(PushError::Cancelled(2))));
        }
        let mut values = VecDeque::from([3, 4]);
        {
            let mut push = pin!(tx.push_many(&mut values));
            assert!(poll_with(push.as_mut(), &waker).is_pending());
            push.as_mut().request_cancel();
            assert_eq!(bell.rings(), 1);
            assert_eq!(poll(push), Poll::Ready(Err(PushError::Cancelled(()))));
        }
        assert_eq!(values.len(), 2);
        let mut closed = pin!(tx.closed());
        assert!(poll_with(closed.as_mut(), &waker).is_pending());
        closed.as_mut().request_cancel();
        assert_eq!(bell.rings(), 1);
        assert!(poll(closed).is_ready());
    }
}

#[test]
fn what_is_asked_to_stop_before_its_first_poll_never_starts() {
    for capacity in [0, 1] {
        let (mut tx, mut rx) = spsc(capacity);
        {
            let mut push = pin!(tx.push(1));
            push.as_mut().request_cancel();
            assert_eq!(poll(push), Poll::Ready(Err(PushError::Cancelled(1))));
        }
        {
            let mut reserve = pin!(tx.reserve());
            reserve.as_mut().request_cancel();
            assert!(matches!(poll(reserve), Poll::Ready(Err(PushError::Cancelled(())))));
        }
        let _ = tx.try_push(2);
        let mut got = Vec::new();
        {
            let mut pop = pin!(rx.pop_many(&mut got, 3));
            pop.as_mut().request_cancel();
            assert_eq!(poll(pop), Poll::Ready(Err(PopError::Cancelled)));
        }
        assert_eq!((rx.len(), got.len()), (capacity, 0));
    }
}

#[test]
fn cancel_gives_the_value_back_and_says_why() {
    let (mut tx, mut rx) = spsc(1);
    assert_eq!(pin!(tx.push(0)).cancel(), Err(PushError::Cancelled(0)));
    tx.try_push(1).unwrap();
    {
        let mut push = pin!(tx.push(2));
        assert!(poll(push.as_mut()).is_pending());
        assert_eq!(rx.try_pop(), Ok(1));
        assert_eq!(push.cancel(), Err(PushError::Cancelled(2)), "it is not pulled");
    }
    tx.try_push(3).unwrap();
    let mut push = pin!(tx.push(4));
    assert!(poll(push.as_mut()).is_pending());
    rx.close();
    assert_eq!(push.as_mut().cancel(), Err(PushError::Closed(4)));
    let again = catch_unwind(AssertUnwindSafe(|| push.cancel()));
    assert!(again.is_err());

    let (mut tx, mut rx) = spsc(0);
    let mut push = pin!(tx.push(5));
    assert!(poll(push.as_mut()).is_pending());
    assert_eq!(rx.try_pop(), Ok(5));
    assert_eq!(push.cancel(), Ok(()), "at capacity 0 it was taken");
}

#[test]
fn a_discarded_arm_leaves_nothing() {
    let census = Census::default();
    for capacity in [0, 1] {
        let (mut tx, mut rx) = spsc(capacity);
        {
            let mut push = pin!(tx.push(census.token(1)));
            push.as_mut().commit_on_poll();
            if capacity == 0 {
                assert!(push.as_mut().poll(&mut cx()).is_pending());
            }
            assert!(push.as_mut().poll_discard(&mut cx()).is_ready());
            assert!(push.as_mut().poll_discard(&mut cx()).is_ready());
            assert_eq!(census.alive(), 0);
        }
        let mut pop = pin!(rx.pop());
        assert!(pop.as_mut().poll(&mut cx()).is_pending());
        assert!(pop.as_mut().poll_discard(&mut cx()).is_ready());
        assert!(tx.is_empty());
    }
}

#[test]
fn what_has_resolved_panics_when_polled() {
    let (mut tx, mut rx) = spsc(1);
    let panics = |poll: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(poll)).is_err();
    {
        let mut push = pin!(tx.push(1));
        assert!(poll(push.as_mut()).is_ready());
        assert!(panics(&mut || assert!(poll(push.as_mut()).is_pending())));
    }
    {
        let mut pop = pin!(rx.pop());
        assert!(poll(pop.as_mut()).is_ready());
        assert!(panics(&mut || assert!(poll(pop.as_mut()).is_pending())));
    }
    {
        let mut reserve = pin!(tx.reserve());
        assert!(poll(reserve.as_mut()).is_ready());
        assert!(panics(&mut || drop(poll(reserve.as_mut()))));
    }
    tx.close();
    let mut closed = pin!(tx.closed());
    assert!(poll(closed.as_mut()).is_ready());
    assert!(panics(&mut || assert!(poll(closed.as_mut()).is_pending())));
}
