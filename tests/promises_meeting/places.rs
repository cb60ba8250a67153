//! The place of a receiver as a stream, the seat of a sender as a sink, a permit: kept between polls, and given up for
//! whatever the end does next.
//!
//! Knows: the documentation of `Receiver`, `Sender`, `Permit`. Does not know: waiters.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use futures::stream::FusedStream;
use millstream::channel::{self, PopError, PushError, Receiver, Sender, Sharing, TryPopError, TryPushError};
use millstream::combinators::{OneOf2, Select, when_any};
use millstream::{Operation, race, select};

use super::{bell, panics, poll, ready};

fn poll_next<T, S: Sharing>(rx: &mut Receiver<T, S>) -> Poll<Option<T>> {
    Pin::new(rx).poll_next(&mut Context::from_waker(Waker::noop()))
}

/// For each way to pop: a receiver that waits as a stream and has a value counted for it gets that value.
fn a_stream_gives_up_its_place<S: Sharing>(make: impl Fn(usize) -> (Sender<u32, S>, Receiver<u32, S>)) {
    type Way<S> = (&'static str, fn(&Receiver<u32, S>) -> Option<u32>);
    let ways: [Way<S>; 12] = [
        ("try_pop", |rx| rx.try_pop().ok()),
        ("pop", |rx| ready(pin!(rx.pop())).ok()),
        ("try_pop_many", |rx| {
            let mut out = Vec::new();
            rx.try_pop_many(&mut out, 4).ok()?;
            Some(out[0])
        }),
        ("pop_many", |rx| {
            let mut out = Vec::new();
            ready(pin!(rx.pop_many(&mut out, 4))).ok()?;
            Some(out[0])
        }),
        ("pop_blocking", |rx| rx.pop_blocking().ok()),
        ("pop_many_blocking", |rx| {
            let mut out = Vec::new();
            rx.pop_many_blocking(&mut out, 1).ok()?;
            Some(out[0])
        }),
        ("drain", |rx| rx.drain().next()),
        ("try_iter", |rx| rx.try_iter().next()),
        ("iter", |rx| rx.iter().next()),
        ("when_any", |rx| match ready(pin!(when_any((rx.pop(), rx.closed())))) {
            OneOf2::A(got) => got.ok(),
            OneOf2::B(()) => None,
        }),
        ("select!", |rx| {
            ready(pin!(async {
                select! {
                    got = rx.pop() => got.ok(),
                    default => None,
                }
            }))
        }),
        ("Select", |rx| {
            let mut select = Select::new();
            select.add(|| rx.pop());
            ready(pin!(select.next())).map(|(_, got)| got)
        }),
    ];
    for capacity in [0, 1, 3] {
        for (name, way) in ways {
            let (tx, mut rx) = make(capacity);
            assert!(poll_next(&mut rx).is_pending());
            tx.try_push(7).unwrap_or_else(|_| panic!("{name}, {capacity}: a receiver waits"));
            assert_eq!(way(&rx), Some(7), "{name}, {capacity}");
            assert_eq!(rx.try_pop(), Err(TryPopError::Empty), "{name}, {capacity}");
            // It waits no more: at capacity 0 there is no room now.
            assert_eq!(tx.is_full(), capacity == 0, "{name}, {capacity}");
        }
    }
}

#[test]
fn a_stream_gives_up_its_place_for_every_way_to_pop() {
    a_stream_gives_up_its_place(channel::bounded);
    a_stream_gives_up_its_place(channel::local);
}

/// What is counted for a stream is not for its clones, and comes to them when it goes.
fn a_counted_value_passes_on<S: Sharing>(make: impl Fn(usize) -> (Sender<u32, S>, Receiver<u32, S>)) {
    for capacity in [0, 1, 3] {
        let (tx, mut rx) = make(capacity);
        let other = rx.clone();
        assert!(poll_next(&mut rx).is_pending());
        tx.try_push(7).unwrap();
        assert_eq!(other.try_pop(), Err(TryPopError::Empty), "{capacity}");
        assert_eq!(other.drain().count(), 0);
        assert_eq!(other.try_iter().count(), 0);
        let (rung, waker) = bell();
        let mut pop = pin!(other.pop());
        assert!(pop.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(rx);
        assert_eq!(rung.rung(), 1, "{capacity}");
        assert_eq!(ready(pop), Ok(7));
    }
}

#[test]
fn a_value_that_was_counted_for_a_stream_passes_on_with_it() {
    a_counted_value_passes_on(channel::bounded);
    a_counted_value_passes_on(channel::local);
}

/// A stream that waits is not ended by a close before what is counted for it is taken; nor is it terminated.
fn a_close_behind_a_counted_value<S: Sharing>(make: impl Fn(usize) -> (Sender<u32, S>, Receiver<u32, S>)) {
    for capacity in [0, 1, 3] {
        let (tx, mut rx) = make(capacity);
        let other = rx.clone();
        assert!(poll_next(&mut rx).is_pending());
        tx.try_push(7).unwrap();
        assert!(tx.close());
        assert!(!rx.is_terminated() && !other.is_terminated(), "{capacity}");
        assert_eq!(other.try_pop(), Err(TryPopError::Empty), "it may still come back: {capacity}");
        let mut pop = pin!(other.pop());
        assert!(poll(pop.as_mut()).is_pending());
        assert_eq!(poll_next(&mut rx), Poll::Ready(Some(7)));
        assert_eq!(ready(pop), Err(PopError::Closed));
        assert!(rx.is_terminated() && other.is_terminated());
        assert_eq!(poll_next(&mut rx), Poll::Ready(None));
        assert_eq!(poll_next(&mut rx), Poll::Ready(None));
        let (_, made) = (tx, other.clone());
        assert!(made.is_terminated());
    }
}

#[test]
fn a_close_behind_a_counted_value_waits_for_it() {
    a_close_behind_a_counted_value(channel::bounded);
    a_close_behind_a_counted_value(channel::local);
}

/// A permit at capacity 0 outlives the pop on whose account it was given.
fn a_permit_for_a_pop_that_left<S: Sharing>(make: impl Fn(usize) -> (Sender<u32, S>, Receiver<u32, S>)) {
    let (tx, rx) = make(0);
    assert!(tx.try_reserve().unwrap_err().is_full());
    let mut pop = Box::pin(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    assert!(!tx.is_full());
    let permit = tx.try_reserve().unwrap();
    assert!(tx.is_full() && tx.is_empty());
    assert_eq!(tx.try_push(1), Err(TryPushError::Full(1)));
    assert!(tx.try_reserve().is_err());
    drop(pop);
    permit.push(2).unwrap();
    assert_eq!((tx.len(), tx.is_full(), rx.is_empty()), (1, true, false));
    assert_eq!(tx.try_push(3), Err(TryPushError::Full(3)));
    assert_eq!(rx.drain().collect::<Vec<_>>(), [2]);
    assert!(tx.is_empty());

    // Given back, it is there for the next push, as long as the pop waits.
    let mut pop = pin!(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    drop(tx.try_reserve().unwrap());
    tx.try_push(4).unwrap();
    assert_eq!(ready(pop), Ok(4));

    // Two pops, two permits; the first pop leaves, the second gets the first value.
    let (mut first, mut second) = (Box::pin(rx.pop()), pin!(rx.pop()));
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    let (a, b) = (tx.try_reserve().unwrap(), tx.try_reserve().unwrap());
    drop(first);
    b.push(5).unwrap();
    a.push(6).unwrap();
    assert_eq!((ready(second), rx.try_pop(), rx.try_pop()), (Ok(5), Ok(6), Err(TryPopError::Empty)));
}

#[test]
fn a_permit_outlives_the_pop_that_it_was_given_for() {
    a_permit_for_a_pop_that_left(channel::bounded);
    a_permit_for_a_pop_that_left(channel::local);
}

/// With a permit out and the channel closed, nothing more can come.
fn a_permit_and_a_close<S: Sharing>(make: impl Fn(usize) -> (Sender<u32, S>, Receiver<u32, S>)) {
    let (tx, rx) = make(2);
    let (a, b) = (tx.try_reserve().unwrap(), tx.try_reserve().unwrap());
    let mut pop = pin!(rx.pop());
    assert!(poll(pop.as_mut()).is_pending());
    assert!(rx.close());
    assert_eq!(ready(pop), Err(PopError::Closed));
    assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
    assert!(rx.is_terminated());
    assert_eq!(a.push(1), Err(PushError::Closed(1)));
    drop(b);
    assert_eq!((rx.len(), rx.try_pop()), (0, Err(TryPopError::Closed)));

    // The same by the last receiver; and another receiver cannot come from a weak one then.
    let (tx, rx) = make(1);
    let weak = rx.downgrade();
    let permit = tx.try_reserve().unwrap();
    drop(rx);
    assert!(weak.upgrade().is_none());
    assert_eq!(permit.push(1), Err(PushError::Closed(1)));
}

#[test]
fn a_permit_does_not_keep_a_closed_channel_from_ending() {
    a_permit_and_a_close(channel::bounded);
    a_permit_and_a_close(channel::local);
}

/// A slot that was granted to a reservation goes on, whoever is next: a push, a batch, a value of the caller's.
fn a_granted_slot_goes_on<S: Sharing>(make: impl Fn(usize) -> (Sender<u32, S>, Receiver<u32, S>)) {
    for how in ["dropped", "asked to stop"] {
        for next in ["push", "push_many", "push_from", "reserve", "nobody"] {
            let (tx, rx) = make(1);
            tx.try_push(0).unwrap();
            let mut reserve = Box::pin(tx.reserve());
            assert!(poll(reserve.as_mut()).is_pending());
            let (mut values, mut slot) = (VecDeque::from([1]), Some(1));
            let (mut push, mut many) = (pin!(tx.push(1)), pin!(tx.push_many(&mut values)));
            let (mut from, mut other) = (pin!(tx.push_from(&mut slot)), pin!(tx.reserve()));
            match next {
                "push" => assert!(poll(push.as_mut()).is_pending()),
                "push_many" => assert!(poll(many.as_mut()).is_pending()),
                "push_from" => assert!(poll(from.as_mut()).is_pending()),
                "reserve" => assert!(poll(other.as_mut()).is_pending()),
                _ => {}
            }
            assert_eq!(rx.try_pop(), Ok(0));
            assert!(tx.is_full(), "it is granted");
            assert_eq!(tx.try_push(9), Err(TryPushError::Full(9)));
            if how == "dropped" {
                drop(reserve);
            } else {
                reserve.as_mut().request_cancel();
                assert!(matches!(ready(reserve.as_mut()), Err(PushError::Cancelled(()))));
            }
            match next {
                "push" => assert_eq!(ready(push.as_mut()), Ok(())),
                "push_many" => assert_eq!(ready(many.as_mut()), Ok(())),
                "push_from" => assert_eq!(ready(from.as_mut()), Ok(())),
                "reserve" => ready(other.as_mut()).unwrap().push(1).unwrap(),
                _ => tx.try_push(1).unwrap(),
            }
            assert_eq!((rx.try_pop(), rx.try_pop()), (Ok(1), Err(TryPopError::Empty)), "{how}, {next}");
        }
    }
}

#[test]
fn a_granted_slot_goes_on_to_whoever_is_next() {
    a_granted_slot_goes_on(channel::bounded);
    a_granted_slot_goes_on(channel::local);
}

/// A `push_from` without a value is nothing at all, also in a closed channel and where it is granted nothing.
fn nothing_to_push<S: Sharing>(make: impl Fn(usize) -> (Sender<u32, S>, Receiver<u32, S>)) {
    let (tx, rx) = make(1);
    let mut empty = None;
    let mut from = Box::pin(tx.push_from(&mut empty));
    assert!(poll(from.as_mut()).is_pending());
    tx.try_push(1).unwrap();
    assert_eq!(rx.try_pop(), Ok(1));
    assert!(!tx.is_full(), "it was granted nothing");
    assert!(tx.close());
    assert!(poll(from.as_mut()).is_pending());
    from.as_mut().request_cancel();
    assert!(matches!(ready(from.as_mut()), Err(PushError::Cancelled(()))));
    drop(from);
    let mut slot = Some(2);
    assert_eq!(ready(pin!(tx.push_from(&mut slot))), Err(PushError::Closed(())));
    assert_eq!(slot, Some(2));
}

#[test]
fn nothing_to_push_is_never_ready() {
    nothing_to_push(channel::bounded);
    nothing_to_push(channel::local);
}

/// With more slots than memory where values take none; one more than can be counted is refused.
#[test]
fn as_many_slots_as_can_be_counted() {
    const MOST: usize = isize::MAX.unsigned_abs();
    fn uses<S: Sharing>((tx, rx): (Sender<(), S>, Receiver<(), S>)) {
        assert_eq!((tx.capacity(), tx.is_full()), (MOST, false));
        let mut values = VecDeque::from([(); 100]);
        assert_eq!(tx.try_push_many(&mut values), Ok(100));
        let mut out = Vec::new();
        assert_eq!(rx.try_pop_many(&mut out, usize::MAX), Ok(100));
        let mut waits = pin!(rx.pop());
        assert!(poll(waits.as_mut()).is_pending());
        tx.try_reserve().unwrap().push(()).unwrap();
        assert_eq!(ready(waits), Ok(()));
    }
    uses(channel::bounded(MOST));
    uses(channel::local(MOST));
    let (mut tx, mut rx) = channel::spsc::<()>(MOST);
    for _ in 0..100 {
        tx.try_push(()).unwrap();
    }
    assert_eq!((tx.capacity(), tx.is_full(), rx.len()), (MOST, false, 100));
    assert_eq!(rx.try_pop_many(&mut Vec::new(), usize::MAX), Ok(100));
    for most in [MOST + 1, usize::MAX] {
        assert!(panics(|| drop(channel::bounded::<()>(most))));
        assert!(panics(|| drop(channel::local::<()>(most))));
        assert!(panics(|| drop(channel::spsc::<()>(most))));
        assert!(panics(|| drop(channel::broadcast::<()>(most, channel::broadcast::Overflow::Lag))));
    }
    assert!(panics(|| drop(channel::bounded::<u64>(MOST))));
    assert!(panics(|| drop(channel::local::<u64>(MOST))));
    assert!(panics(|| drop(channel::spsc::<u64>(MOST))));
}

/// At capacity 0 values that met a pop which left are there; whoever comes next gets them in order.
fn met_and_left<S: Sharing>(make: impl Fn(usize) -> (Sender<u32, S>, Receiver<u32, S>)) {
    let (tx, rx) = make(0);
    let mut pops: Vec<_> = (0..3).map(|_| Box::pin(rx.pop())).collect();
    for pop in &mut pops {
        assert!(poll(pop.as_mut()).is_pending());
    }
    for n in 0..3 {
        tx.try_push(n).unwrap();
    }
    drop(pops);
    assert_eq!((rx.len(), tx.is_full(), rx.is_empty()), (3, true, false));
    let mut push = pin!(tx.push(3));
    assert!(poll(push.as_mut()).is_pending());
    let mut out = Vec::new();
    assert_eq!(rx.try_pop_many(&mut out, 2), Ok(2));
    tx.close();
    assert_eq!(ready(push), Err(PushError::Closed(3)));
    assert_eq!(rx.try_pop(), Ok(2));
    assert_eq!((out, rx.try_pop()), (vec![0, 1], Err(TryPopError::Closed)));
}

#[test]
fn values_whose_pops_left_are_there_for_the_next() {
    met_and_left(channel::bounded);
    met_and_left(channel::local);
}

#[test]
fn a_race_takes_what_the_same_receiver_waited_for_as_a_stream() {
    let (tx, mut rx) = channel::bounded(1);
    assert!(poll_next(&mut rx).is_pending());
    let (_quiet, other) = channel::bounded::<u32>(1);
    tx.try_push(1).unwrap();
    let got = ready(pin!(async { race!(other.pop() || rx.pop()).await }));
    assert_eq!(got, OneOf2::B(Ok(1)));
}

#[cfg(feature = "sink")]
mod sinks {
    use futures::Sink;

    use super::*;

    fn poll_ready<T, S: Sharing>(tx: &mut Sender<T, S>) -> bool {
        Pin::new(tx).poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// For each way to push: a sender that holds a slot as a sink has room.
    fn a_sink_gives_up_its_slot<S: Sharing>(make: impl Fn(usize) -> (Sender<u32, S>, Receiver<u32, S>)) {
        type Way<S> = (&'static str, fn(&Sender<u32, S>));
        let ways: [Way<S>; 9] = [
            ("try_push", |tx| tx.try_push(1).unwrap()),
            ("push", |tx| ready(pin!(tx.push(1))).unwrap()),
            ("push_blocking", |tx| tx.push_blocking(1).unwrap()),
            ("try_push_many", |tx| assert_eq!(tx.try_push_many(&mut VecDeque::from([1])), Ok(1))),
            ("push_many", |tx| ready(pin!(tx.push_many(&mut VecDeque::from([1])))).unwrap()),
            ("push_many_blocking", |tx| tx.push_many_blocking(&mut VecDeque::from([1])).unwrap()),
            ("push_from", |tx| ready(pin!(tx.push_from(&mut Some(1)))).unwrap()),
            ("reserve", |tx| ready(pin!(tx.reserve())).unwrap().push(1).unwrap()),
            ("try_reserve", |tx| tx.try_reserve().unwrap().push(1).unwrap()),
        ];
        for waited in [false, true] {
            for (name, way) in ways {
                let (mut tx, rx) = make(1);
                if waited {
                    tx.try_push(0).unwrap();
                    assert!(!poll_ready(&mut tx));
                    assert_eq!(rx.try_pop(), Ok(0));
                    assert!(tx.is_full(), "{name}: it is granted");
                } else {
                    assert!(poll_ready(&mut tx));
                    assert!(tx.is_full(), "{name}: it is held");
                    assert_eq!(tx.clone().try_push(9), Err(TryPushError::Full(9)));
                }
                way(&tx);
                assert_eq!((rx.try_pop(), rx.try_pop()), (Ok(1), Err(TryPopError::Empty)), "{name}");
                assert!(!tx.is_full());
            }
        }
    }

    #[test]
    fn a_sink_gives_up_its_slot_for_every_way_to_push() {
        a_sink_gives_up_its_slot(channel::bounded);
        a_sink_gives_up_its_slot(channel::local);
    }

    /// Closed as a sink it is counted no more, once; the channel goes on with the others.
    fn a_sink_that_was_closed<S: Sharing>(make: impl Fn(usize) -> (Sender<u32, S>, Receiver<u32, S>)) {
        let (mut tx, rx) = make(1);
        let other = tx.clone();
        assert!(poll_ready(&mut tx));
        for _ in 0..2 {
            assert!(Pin::new(&mut tx).poll_close(&mut Context::from_waker(Waker::noop())).is_ready());
            assert_eq!((rx.sender_count(), rx.is_closed(), rx.is_full()), (1, false, false));
        }
        let weak = tx.downgrade();
        let clone = tx.clone();
        let counted = rx.sender_count();
        drop((tx, clone));
        assert!(counted <= 2);
        assert_eq!((rx.sender_count(), rx.is_closed()), (1, false));
        other.try_push(1).unwrap();
        assert!(weak.upgrade().is_some());
        drop(other);
        assert!(rx.is_closed() && weak.upgrade().is_none());
        assert_eq!((rx.try_pop(), rx.try_pop()), (Ok(1), Err(TryPopError::Closed)));

        // The last one closes the channel by that.
        let (mut tx, rx) = make(1);
        assert!(Pin::new(&mut tx).poll_close(&mut Context::from_waker(Waker::noop())).is_ready());
        assert!(rx.is_closed() && tx.is_closed());
        assert!(tx.try_push(1).unwrap_err().is_closed());
        assert!(poll_ready(&mut tx));
        assert_eq!(Pin::new(&mut tx).start_send(1), Err(PushError::Closed(1)));
    }

    #[test]
    fn a_sink_that_was_closed_is_counted_no_more() {
        a_sink_that_was_closed(channel::bounded);
        a_sink_that_was_closed(channel::local);
    }

    /// A slot held as a sink is given up with the sender, to whoever waits.
    #[test]
    fn a_sink_that_goes_leaves_its_slot_to_the_next() {
        let (mut tx, rx) = channel::bounded(1);
        let other = tx.clone();
        assert!(poll_ready(&mut tx));
        let mut push = pin!(other.push(1));
        assert!(poll(push.as_mut()).is_pending());
        drop(tx);
        assert_eq!(ready(push), Ok(()));
        assert_eq!(rx.try_pop(), Ok(1));
    }
}
