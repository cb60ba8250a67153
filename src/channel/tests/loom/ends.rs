//! The close that is waited for, and weak handles.

use loom::future::block_on;
use loom::thread;

use crate::channel::{TryPopError, bounded};

/// A close beside who goes to sleep until it: `close-forgets-watchers`.
#[test]
fn a_close_is_told() {
    loom::model(|| {
        let (tx, rx) = bounded::<u32>(1);
        let watcher = thread::spawn(move || {
            block_on(rx.closed());
            assert!(rx.is_closed());
        });
        tx.close();
        watcher.join().unwrap();
    });
}

/// The same by the drop of the last end, on both sides at once.
#[test]
fn the_last_drop_is_told() {
    loom::model(|| {
        let (tx, rx) = bounded::<u32>(1);
        let weak = tx.downgrade();
        let watcher = thread::spawn(move || {
            block_on(rx.closed());
            assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
        });
        drop(tx);
        watcher.join().unwrap();
        assert!(weak.upgrade().is_none());
    });
}

/// A weak handle is upgraded beside the last sender's drop: it is a sender of an open channel, or none.
/// `upgrade-looks-then-counts`.
#[test]
fn an_upgrade_keeps_the_channel_open_or_fails() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        let weak = tx.downgrade();
        let last = thread::spawn(move || drop(tx));
        if let Some(tx) = weak.upgrade() {
            tx.try_push(1).unwrap();
            drop(tx);
            assert_eq!(rx.try_pop(), Ok(1));
        }
        last.join().unwrap();
        assert!(rx.is_closed() && weak.upgrade().is_none());
    });
}

/// The same for receivers: what is pushed through the open channel is popped, or dropped with the last.
#[test]
fn an_upgraded_receiver_pops() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        tx.try_push(1).unwrap();
        let weak = rx.downgrade();
        let last = thread::spawn(move || drop(rx));
        if let Some(rx) = weak.upgrade() {
            assert_eq!(rx.try_pop(), Ok(1));
        }
        last.join().unwrap();
        assert!(tx.is_closed() && tx.is_empty());
    });
}
