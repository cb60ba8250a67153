//! Two sides that go their own ways until somebody has to wait.
//!
//! The first push of a channel needs both sides and sets the terms; so each model begins with one, on one thread. A slot
//! is marked as used by both who fills and who empties it: loom sees two at once.

use super::*;

/// A channel of two slots with one value in it, and terms under which both sides may go on.
fn with_terms() -> (crate::channel::Sender<u32>, crate::channel::Receiver<u32>) {
    let (tx, rx) = bounded(2);
    tx.try_push(1).unwrap();
    (tx, rx)
}

/// A push that fills a slot beside a pop that looks for it: `sides-push-relaxed`.
#[test]
fn a_pop_finds_what_a_push_has_filled() {
    loom::model(|| {
        let (tx, rx) = with_terms();
        let consumer = thread::spawn(move || {
            assert_eq!(rx.try_pop(), Ok(1));
            (rx.try_pop(), rx)
        });
        tx.try_push(2).unwrap();
        let (second, rx) = consumer.join().unwrap();
        match second {
            Ok(value) => assert_eq!((value, rx.try_pop()), (2, Err(TryPopError::Empty))),
            Err(error) => assert_eq!((error, rx.try_pop()), (TryPopError::Empty, Ok(2))),
        }
    });
}

/// A pop that empties a slot beside the push that fills it next: `sides-pop-relaxed`.
#[test]
fn a_push_finds_what_a_pop_has_emptied() {
    loom::model(|| {
        let (tx, rx) = with_terms();
        tx.try_push(2).unwrap();
        let producer = thread::spawn(move || (tx.try_push(3).is_ok(), tx));
        let first = rx.try_pop();
        let (third, _tx) = producer.join().unwrap();
        let rest: Vec<_> = rx.try_iter().collect();
        assert_eq!((first, rest), (Ok(1), if third { vec![2, 3] } else { vec![2] }));
    });
}

/// A pop on its way to sleep beside a push that may go on alone: `sides-part-with-poppers`.
#[test]
fn a_push_wakes_a_pop() {
    loom::model(|| {
        let (tx, rx) = with_terms();
        assert_eq!(rx.try_pop(), Ok(1));
        let consumer = thread::spawn(move || block_on(rx.pop()));
        tx.try_push(2).unwrap();
        assert_eq!(consumer.join().unwrap(), Ok(2));
        drop(tx);
    });
}

/// A push on its way to sleep beside a pop that may go on alone: `sides-part-with-pushers`.
#[test]
fn a_pop_wakes_a_push() {
    loom::model(|| {
        let (tx, rx) = with_terms();
        tx.try_push(2).unwrap();
        let producer = thread::spawn(move || block_on(tx.push(3)).map(|()| tx));
        assert_eq!(rx.try_pop(), Ok(1));
        let tx = producer.join().unwrap().unwrap();
        assert_eq!((rx.try_pop(), rx.try_pop()), (Ok(2), Ok(3)));
        drop(tx);
    });
}

/// A close beside a push that may go on alone: what the push says is so. `sides-part-when-closed`.
#[test]
fn a_push_beside_a_close_counts_or_comes_back() {
    loom::model(|| {
        let (tx, rx) = with_terms();
        let producer = thread::spawn(move || tx.try_push(2).map_err(TryPushError::into_inner).map(|()| tx));
        rx.close();
        let popped: Vec<_> = rx.try_iter().collect(); // and the channel has ended
        match producer.join().unwrap() {
            Ok(_) => assert_eq!(popped, [1, 2]),
            Err(value) => assert_eq!((popped, value), (vec![1], 2)),
        }
    });
}

/// A counted value is taken without the other side, but not in a closed channel, where it may be the last:
/// `counted-pops-end-alone`.
#[test]
fn the_end_comes_after_the_last_counted_value() {
    loom::model(|| {
        let (tx, rx) = bounded(2);
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

/// A permit is handed out beside pushes that may go on alone: together they fit. `sides-forget-permits`.
#[test]
fn a_permit_counts_for_a_push_beside_it() {
    loom::model(|| {
        let (tx, rx) = with_terms();
        let other = tx.clone();
        let producer = thread::spawn(move || other.try_push(2).is_ok());
        let permit = tx.try_reserve();
        let pushed = producer.join().unwrap();
        assert!(permit.is_ok() != pushed, "one slot was left");
        drop(permit);
        drop(rx);
    });
}

/// A batch that takes all there is goes by what is left, not by what another pop makes of it meanwhile:
/// `the-rest-is-of-two-moments`.
#[test]
fn a_batch_without_a_limit_passes_another_pop() {
    loom::model(|| {
        let (tx, rx) = with_terms();
        let other = rx.clone();
        let passing = thread::spawn(move || (tx.try_push(2), other.try_pop(), tx));
        let mut out = Vec::new();
        let taken = rx.try_pop_many(&mut out, usize::MAX).unwrap_or(0);
        let (pushed, popped, _tx) = passing.join().unwrap();
        assert_eq!((pushed, taken), (Ok(()), out.len()));
        let _ = rx.try_pop_many(&mut out, usize::MAX);
        out.extend(popped);
        out.sort_unstable();
        assert_eq!(out, [1, 2]);
    });
}

/// Batches on both sides: nothing is lost, and the order stays.
#[test]
fn batches_pass_each_other() {
    loom::model(|| {
        let (tx, rx) = with_terms();
        let producer = thread::spawn(move || {
            let mut values = [2, 3].into();
            let pushed = tx.try_push_many(&mut values).unwrap_or(0);
            (pushed, tx)
        });
        let mut out = Vec::with_capacity(4);
        let _ = rx.try_pop_many(&mut out, 2);
        let (pushed, _tx) = producer.join().unwrap();
        let _ = rx.try_pop_many(&mut out, 4);
        assert_eq!(out, (1..=1 + pushed as u32).collect::<Vec<_>>());
    });
}
