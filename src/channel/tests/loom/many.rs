//! Batches beside other ends: whoever they notify is woken.

use std::collections::VecDeque;

use loom::future::block_on;
use loom::thread;

use super::poll;
use crate::channel::{PopError, bounded};

/// A batch of pushes for two pops that may be asleep: `a-batch-wakes-one`.
#[test]
fn a_batch_wakes_two_pops() {
    loom::model(|| {
        let (tx, rx) = bounded(2);
        let other = rx.clone();
        let first = thread::spawn(move || (block_on(rx.pop()).unwrap(), rx));
        let second = thread::spawn(move || (block_on(other.pop()).unwrap(), other));
        let mut values = VecDeque::from([1, 2]);
        block_on(tx.push_many(&mut values)).unwrap();
        // What they return keeps a close from waking anybody.
        let (first, second) = (first.join().unwrap(), second.join().unwrap());
        assert_eq!((first.0 + second.0, values.len()), (3, 0));
    });
}

/// A batch of pops frees slots for two pushes that may be asleep: `a-batch-pulls-nobody`.
#[test]
fn a_batch_wakes_two_pushes() {
    loom::model(|| {
        let (tx, rx) = bounded(2);
        tx.try_push(0).unwrap();
        tx.try_push(0).unwrap();
        let other = tx.clone();
        let first = thread::spawn(move || block_on(tx.push(1)));
        let second = thread::spawn(move || block_on(other.push(2)));
        let mut got = Vec::with_capacity(2);
        assert_eq!(block_on(rx.pop_many(&mut got, 2)), Ok(2));
        first.join().unwrap().unwrap();
        second.join().unwrap().unwrap();
        assert_eq!(rx.try_iter().sum::<u32>(), 3);
    });
}

/// A batch that waits for every slot crosses to batches that wait for every value; then the end comes.
fn batches_cross(capacity: usize, values: u32) {
    loom::model(move || {
        let (tx, rx) = bounded(capacity);
        let producer = thread::spawn(move || {
            let mut values: VecDeque<_> = (0..values).collect();
            block_on(tx.push_many(&mut values)).unwrap();
        });
        let mut got = Vec::with_capacity(8);
        while let Ok(count) = block_on(rx.pop_many(&mut got, 8)) {
            assert!(count > 0);
        }
        assert_eq!(block_on(rx.pop_many(&mut got, 8)), Err(PopError::Closed));
        assert!(got.into_iter().eq(0..values));
        producer.join().unwrap();
    });
}

#[test]
fn batches_cross_by_rendezvous() {
    batches_cross(0, 2);
}

#[test]
fn batches_cross_through_a_slot() {
    batches_cross(1, 3);
}

/// A batch of pops that may be notified at the moment it is dropped.
#[test]
fn a_dropped_batch_of_pops_passes_its_value_on() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        let mut got = Vec::new();
        let mut leaves = Box::pin(rx.pop_many(&mut got, 4));
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

/// A batch of pushes that may be granted a slot at the moment it is dropped, with all its values still its caller's.
#[test]
fn a_dropped_batch_of_pushes_passes_its_slot_on() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        tx.try_push(0).unwrap();
        let mut values = VecDeque::from([1]);
        let mut leaves = Box::pin(tx.push_many(&mut values));
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
        assert_eq!(values, [1]);
    });
}
