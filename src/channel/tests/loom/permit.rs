//! Permits and reservations beside other ends.

use loom::future::block_on;
use loom::thread;

use super::poll;
use crate::channel::{PushError, bounded};

/// Two producers, one consumer: one drops its permit while the other goes to sleep: `permit-dies-with-its-slot`.
#[test]
fn a_dropped_permit_gives_its_slot_to_the_next() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        let other = tx.clone();
        let permit = tx.try_reserve().unwrap();
        let next = thread::spawn(move || block_on(other.push(2)));
        drop(permit);
        next.join().unwrap().unwrap();
        assert_eq!(block_on(rx.pop()), Ok(2));
    });
}

/// One producer, two consumers: the one that a permit was given for leaves while it is used: `permit-tells-nobody`.
#[test]
fn a_permit_reaches_who_stays() {
    loom::model(|| {
        let (tx, rx) = bounded(0);
        let mut leaves = Box::pin(rx.pop());
        assert!(poll(leaves.as_mut()).is_pending());
        let other = rx.clone();
        let stays = thread::spawn(move || block_on(other.pop()));
        let producer = thread::spawn(move || {
            block_on(tx.reserve()).unwrap().push(7).unwrap();
            tx // a close would wake the other one
        });
        drop(leaves);
        assert_eq!(stays.join().unwrap(), Ok(7));
        producer.join().unwrap();
    });
}

/// A reservation that may be granted a slot at the moment it is dropped.
#[test]
fn a_dropped_reservation_passes_its_slot_on() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        tx.try_push(0).unwrap();
        let mut leaves = Box::pin(tx.reserve());
        assert!(poll(leaves.as_mut()).is_pending());
        let other = tx.clone();
        let stays = thread::spawn(move || block_on(other.push(2)));
        let consumer = thread::spawn(move || {
            assert_eq!(block_on(rx.pop()), Ok(0));
            rx // a close would end the other one
        });
        drop(leaves);
        stays.join().unwrap().unwrap();
        consumer.join().unwrap();
    });
}

/// Reservations wait, are granted slots and use them, by rendezvous or through a slot.
fn reserved_values_cross(capacity: usize) {
    loom::model(move || {
        let (tx, rx) = bounded(capacity);
        let producer = thread::spawn(move || {
            for n in 0..2 {
                block_on(tx.reserve()).unwrap().push(n).unwrap();
            }
        });
        assert_eq!((block_on(rx.pop()), block_on(rx.pop())), (Ok(0), Ok(1)));
        producer.join().unwrap();
    });
}

#[test]
fn reserved_values_cross_by_rendezvous() {
    reserved_values_cross(0);
}

#[test]
fn reserved_values_cross_through_a_slot() {
    reserved_values_cross(1);
}

/// A close beside a permit that is used: the value is in the channel or comes back:
/// `a-close-eats-the-permits-value`.
#[test]
fn a_permit_beside_a_close_answers_exactly() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        let closer = thread::spawn(move || {
            rx.close();
            rx
        });
        let pushed = tx.try_reserve().map(|permit| permit.push(1));
        let rx = closer.join().unwrap();
        match pushed {
            Ok(Ok(())) => assert_eq!(rx.try_pop(), Ok(1)),
            Ok(Err(error)) => {
                assert_eq!(error, PushError::Closed(1));
                assert!(rx.is_empty());
            }
            Err(error) => assert!(error.is_closed() && rx.is_empty()),
        }
    });
}
