//! Every interleaving of two or three threads around one channel. Each model names the planted bug (`planted!`
//! in the source, a row in `ci/loom.sh`) under which it must fail: by its own assertion, or by a thread that sleeps for
//! ever, which loom reports as a deadlock.

mod ends;
mod many;
mod permit;
mod sides;

use core::future::Future;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use std::task::Wake;

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

use crate::channel::{PopError, PushError, TryPopError, TryPushError, bounded};
use crate::operation::Operation;

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// One value crosses to a thread that may be asleep: `parks-on-an-old-look`.
fn one_crosses(capacity: usize) {
    loom::model(move || {
        let (tx, rx) = bounded(capacity);
        let consumer = thread::spawn(move || block_on(rx.pop()));
        block_on(tx.push(1)).unwrap();
        assert_eq!(consumer.join().unwrap(), Ok(1));
    });
}

#[test]
fn one_crosses_by_rendezvous() {
    one_crosses(0);
}

#[test]
fn one_crosses_through_a_slot() {
    one_crosses(1);
}

/// More values than slots, so that either side sleeps; the close at the end is by the last sender's drop.
fn many_cross(capacity: usize, values: u32) {
    loom::model(move || {
        let (tx, rx) = bounded(capacity);
        let producer = thread::spawn(move || {
            for n in 0..values {
                block_on(tx.push(n)).unwrap();
            }
        });
        for n in 0..values {
            assert_eq!(block_on(rx.pop()), Ok(n));
        }
        assert_eq!(block_on(rx.pop()), Err(PopError::Closed));
        producer.join().unwrap();
    });
}

#[test]
fn two_cross_by_rendezvous() {
    many_cross(0, 2);
}

#[test]
fn three_cross_through_one_slot() {
    many_cross(1, 3);
}

#[test]
fn three_cross_through_two_slots() {
    many_cross(2, 3);
}

/// Two producers, one consumer.
fn two_to_one(capacity: usize) {
    loom::model(move || {
        let (tx, rx) = bounded(capacity);
        let other = tx.clone();
        let first = thread::spawn(move || block_on(tx.push(1)).unwrap());
        let second = thread::spawn(move || block_on(other.push(2)).unwrap());
        let got = block_on(rx.pop()).unwrap() + block_on(rx.pop()).unwrap();
        assert_eq!(got, 3);
        first.join().unwrap();
        second.join().unwrap();
    });
}

/// The same with one of the producers in line from the start, so that two threads are enough, and all of it can be explored:
/// the other one comes before, between or after the pops. `parks-on-an-old-look`.
fn one_behind_another_to_one(capacity: usize) {
    loom::model(move || {
        let (tx, rx) = bounded(capacity);
        (0..capacity).for_each(|_| tx.try_push(0).unwrap());
        let mut first = Box::pin(tx.push(1));
        assert!(poll(first.as_mut()).is_pending());
        let other = tx.clone();
        let second = thread::spawn(move || (block_on(other.push(2)), other));
        for expected in core::iter::repeat_n(0, capacity).chain([1, 2]) {
            assert_eq!(block_on(rx.pop()), Ok(expected));
        }
        assert_eq!(second.join().unwrap().0, Ok(()));
        assert_eq!(poll(first.as_mut()), Poll::Ready(Ok(())));
    });
}

#[test]
fn one_behind_another_to_one_by_rendezvous() {
    one_behind_another_to_one(0);
}

#[test]
fn one_behind_another_to_one_through_a_slot() {
    one_behind_another_to_one(1);
}

#[test]
fn one_behind_another_to_one_through_two_slots() {
    one_behind_another_to_one(2);
}

#[test]
fn two_to_one_by_rendezvous() {
    two_to_one(0);
}

#[test]
fn two_to_one_through_a_slot() {
    two_to_one(1);
}

/// One producer, two consumers.
fn one_to_two(capacity: usize) {
    loom::model(move || {
        let (tx, rx) = bounded(capacity);
        let other = rx.clone();
        let first = thread::spawn(move || block_on(rx.pop()).unwrap());
        let second = thread::spawn(move || block_on(other.pop()).unwrap());
        block_on(tx.push(1)).unwrap();
        block_on(tx.push(2)).unwrap();
        assert_eq!(first.join().unwrap() + second.join().unwrap(), 3);
    });
}

#[test]
fn one_to_two_by_rendezvous() {
    one_to_two(0);
}

#[test]
fn one_to_two_through_a_slot() {
    one_to_two(1);
}

/// The same with one of the consumers in line from the start: the other one comes before, between or after the pushes.
/// `parks-on-an-old-look`.
fn one_to_one_behind_another(capacity: usize) {
    loom::model(move || {
        let (tx, rx) = bounded(capacity);
        let mut first = Box::pin(rx.pop());
        assert!(poll(first.as_mut()).is_pending());
        let other = rx.clone();
        let second = thread::spawn(move || (block_on(other.pop()), other));
        block_on(tx.push(1)).unwrap();
        block_on(tx.push(2)).unwrap();
        // What is counted is how many may pop: the oldest value is whose poll comes first.
        let Poll::Ready(Ok(value)) = poll(first.as_mut()) else {
            panic!("it was in line before both pushes")
        };
        assert_eq!(second.join().unwrap().0, Ok(3 - value));
    });
}

#[test]
fn one_to_one_behind_another_by_rendezvous() {
    one_to_one_behind_another(0);
}

#[test]
fn one_to_one_behind_another_through_a_slot() {
    one_to_one_behind_another(1);
}

#[test]
fn one_to_one_behind_another_through_two_slots() {
    one_to_one_behind_another(2);
}

/// Counts its wakes, unseen by the model.
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A pop that may be notified at the moment it is dropped, before one that sleeps: `value-dies-with-its-pop`.
#[test]
fn a_dropped_pop_wakes_the_one_behind_it() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        let (mut leaves, mut stays) = (Box::pin(rx.pop()), Box::pin(rx.pop()));
        let bell = std::sync::Arc::new(Bell(AtomicUsize::new(0)));
        assert!(poll(leaves.as_mut()).is_pending());
        assert!(stays.as_mut().poll(&mut Context::from_waker(&bell.clone().into())).is_pending());
        let producer = thread::spawn(move || tx.try_push(7).map(|()| tx));
        drop(leaves);
        let _tx = producer.join().unwrap().unwrap();
        assert_eq!(bell.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(stays.as_mut()), Poll::Ready(Ok(7)));
    });
}

/// An arm that may be granted a slot at the moment it is dropped, before a push that sleeps: `grant-dies-with-its-push`.
fn a_dropped_arm_wakes_the_push_behind_it(capacity: usize) {
    loom::model(move || {
        let (tx, rx) = bounded(capacity);
        (0..capacity).for_each(|_| tx.try_push(0).unwrap());
        let (mut leaves, mut stays) = (Box::pin(tx.push(1)), Box::pin(tx.push(2)));
        leaves.as_mut().commit_on_poll();
        let bell = std::sync::Arc::new(Bell(AtomicUsize::new(0)));
        assert!(poll(leaves.as_mut()).is_pending());
        assert!(stays.as_mut().poll(&mut Context::from_waker(&bell.clone().into())).is_pending());
        let consumer = thread::spawn(move || {
            let expected = if capacity == 0 { 2 } else { 0 };
            (block_on(rx.pop()) == Ok(expected), rx)
        });
        drop(leaves);
        let (as_expected, _rx) = consumer.join().unwrap();
        assert!(as_expected);
        assert_eq!(bell.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(stays.as_mut()), Poll::Ready(Ok(())));
    });
}

#[test]
fn a_dropped_arm_wakes_the_push_behind_it_at_a_slot() {
    a_dropped_arm_wakes_the_push_behind_it(1);
}

#[test]
fn a_dropped_arm_wakes_the_push_behind_it_at_a_rendezvous() {
    a_dropped_arm_wakes_the_push_behind_it(0);
}

/// A pop that may be notified at the moment it is dropped: `value-dies-with-its-pop`.
#[test]
fn a_dropped_pop_passes_its_value_on() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        let mut leaves = Box::pin(rx.pop());
        assert!(poll(leaves.as_mut()).is_pending());
        let other = rx.clone();
        let stays = thread::spawn(move || block_on(other.pop()));
        let producer = thread::spawn(move || {
            tx.try_push(7).unwrap();
            tx // a close would wake the other one
        });
        drop(leaves);
        assert_eq!(stays.join().unwrap(), Ok(7));
        producer.join().unwrap();
    });
}

/// An arm of a race that may be granted a slot at the moment it is dropped: `grant-dies-with-its-push`.
fn a_dropped_arm_passes_its_grant_on(capacity: usize) {
    loom::model(move || {
        let (tx, rx) = bounded(capacity);
        (0..capacity).for_each(|_| tx.try_push(0).unwrap());
        let mut leaves = Box::pin(tx.push(1));
        leaves.as_mut().commit_on_poll();
        assert!(poll(leaves.as_mut()).is_pending());
        let other = tx.clone();
        let stays = thread::spawn(move || block_on(other.push(2)));
        let consumer = thread::spawn(move || {
            let expected = if capacity == 0 { 2 } else { 0 };
            assert_eq!(block_on(rx.pop()), Ok(expected));
            rx // a close would end the other one
        });
        drop(leaves);
        stays.join().unwrap().unwrap();
        consumer.join().unwrap();
    });
}

#[test]
fn a_dropped_arm_passes_its_slot_on() {
    a_dropped_arm_passes_its_grant_on(1);
}

#[test]
fn a_dropped_arm_passes_its_waiting_pop_on() {
    a_dropped_arm_passes_its_grant_on(0);
}

/// A close beside a pop on its way to sleep: `close-forgets-poppers`.
#[test]
fn close_wakes_a_pop() {
    loom::model(|| {
        let (tx, rx) = bounded::<u32>(1);
        let consumer = thread::spawn(move || block_on(rx.pop()));
        tx.close();
        assert_eq!(consumer.join().unwrap(), Err(PopError::Closed));
    });
}

/// A close beside a push on its way to sleep: `close-forgets-pushers`.
#[test]
fn close_gives_a_push_its_value_back() {
    loom::model(|| {
        let (tx, rx) = bounded(0);
        let producer = thread::spawn(move || block_on(tx.push(1)));
        rx.close();
        assert_eq!(producer.join().unwrap(), Err(PushError::Closed(1)));
    });
}

/// A counted value taken, or given back, while another pop waits for the end: `the-end-is-not-passed-on`.
#[test]
fn the_end_comes_after_the_last_counted_value() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        let mut first = Box::pin(rx.pop());
        assert!(poll(first.as_mut()).is_pending());
        tx.try_push(1).unwrap();
        let other = rx.clone();
        let second = thread::spawn(move || block_on(other.pop()));
        tx.close();
        assert_eq!(block_on(first), Ok(1));
        assert_eq!(second.join().unwrap(), Err(PopError::Closed));
    });
}

/// Two senders go at once: `ends-counted-apart`.
#[test]
fn the_last_sender_closes() {
    loom::model(|| {
        let (tx, rx) = bounded::<u32>(1);
        let other = tx.clone();
        let first = thread::spawn(move || drop(tx));
        drop(other);
        assert_eq!(block_on(rx.pop()), Err(PopError::Closed));
        first.join().unwrap();
    });
}

/// The last receiver goes beside a push: the value comes back or is dropped, never neither (loom counts the `Arc`s).
/// `drains-before-it-closes`.
#[test]
fn the_last_receiver_leaves_nothing_behind() {
    loom::model(|| {
        let value = Arc::new(());
        let (tx, rx) = bounded(1);
        let sent = value.clone();
        let producer = thread::spawn(move || {
            let result = tx.try_push(sent);
            (tx, matches!(result, Err(TryPushError::Closed(_))))
        });
        drop(rx);
        let (tx, _came_back) = producer.join().unwrap();
        assert!(tx.is_closed());
        assert_eq!((tx.len(), Arc::strong_count(&value)), (0, 1));
    });
}

/// A push answers exactly while it is being pulled: `told-before-pulled`.
#[test]
fn a_pulled_push_knows_it_at_once() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        tx.try_push(1).unwrap();
        let mut push = Box::pin(tx.push(2));
        assert!(poll(push.as_mut()).is_pending());
        let consumer = thread::spawn(move || (rx.try_pop(), rx));
        let pushed = push.as_mut().cancel();
        let (first, rx) = consumer.join().unwrap();
        assert_eq!(first, Ok(1));
        match pushed {
            Ok(()) => assert_eq!(rx.try_pop(), Ok(2)),
            Err(error) => {
                assert_eq!(error, PushError::Cancelled(2));
                assert!(rx.is_empty());
            }
        }
    });
}

/// A pop is polled with another waker while it is being notified: `keeps-its-first-waker`.
#[test]
fn a_new_waker_misses_nothing() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        let producer = thread::spawn(move || tx.try_push(1).map(|()| tx));
        let mut pop = pin!(rx.pop());
        match poll(pop.as_mut()) {
            Poll::Ready(result) => assert_eq!(result, Ok(1)),
            Poll::Pending => assert_eq!(block_on(pop), Ok(1)),
        }
        producer.join().unwrap().unwrap();
    });
}

/// A cancel beside the push that would notify: the pop has the value or the channel does. `cancel-keeps-the-value`.
#[test]
fn a_cancelled_pop_has_the_value_or_leaves_it() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        let mut pop = pin!(rx.pop());
        assert!(poll(pop.as_mut()).is_pending());
        let producer = thread::spawn(move || tx.try_push(1).map(|()| tx));
        pop.as_mut().request_cancel();
        let popped = poll(pop);
        let tx = producer.join().unwrap().unwrap();
        match popped {
            Poll::Ready(Ok(1)) => assert!(rx.is_empty()),
            Poll::Ready(Err(PopError::Cancelled)) => assert_eq!(rx.try_pop(), Ok(1)),
            other => panic!("{other:?}"),
        }
        drop(tx);
    });
}

/// Plain threads park and are unparked: `wake-forgets-to-unpark`.
#[test]
fn blocking_ends_meet() {
    loom::model(|| {
        let (tx, rx) = bounded(0);
        let producer = thread::spawn(move || tx.push_blocking(1));
        assert_eq!(rx.pop_blocking(), Ok(1));
        producer.join().unwrap().unwrap();
    });
}
