//! The engine by its first user: an accept that goes on.
//!
//! Knows: `accept_multishot`, polled by hand. Does not know: destinations.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use millstream::Runtime;
use millstream::ops::{self, Feature};

use crate::support::{
    begin, both, clients, errno, item, listener, own_ports, ports, rest, settle, turn, without,
};

#[test]
fn connections_come_in_order_with_one_entry() {
    let _held = begin();
    let runtime = Runtime::new().expect("io_uring");
    runtime.block_on(async {
        let (fd, address) = listener();
        let mut accepts = ops::accept_multishot(&fd);
        let mut accepted = Vec::new();
        let mut clients = clients(address, 3);
        for _ in 0..3 {
            accepted.push(item(&mut accepts).await);
        }
        clients.extend(crate::support::clients(address, 2));
        for _ in 0..2 {
            accepted.push(item(&mut accepts).await);
        }
        assert_eq!(ports(&accepted), own_ports(&clients));
    });
    // The read of the eventfd, the accept, its cancel when it was dropped.
    let submitted = runtime.stats().submitted;
    assert!(submitted <= 4, "{submitted} entries for one multishot accept");
}

#[test]
fn connections_come_in_order_however_they_are_asked_for() {
    both(async || {
        let (fd, address) = listener();
        let mut accepts = ops::accept_multishot(&fd);
        let clients = clients(address, 20);
        let mut accepted = Vec::new();
        for _ in 0..20 {
            accepted.push(item(&mut accepts).await);
        }
        assert_eq!(ports(&accepted), own_ports(&clients));
    });
}

#[test]
fn a_kernel_without_it_is_asked_once() {
    let _held = begin();
    let runtime = without(Feature::AcceptMultishot);
    let count = |listeners: usize| {
        let before = runtime.stats().submitted;
        runtime.block_on(async {
            for _ in 0..listeners {
                let (fd, address) = listener();
                let _clients = clients(address, 2);
                let mut accepts = ops::accept_multishot(&fd);
                item(&mut accepts).await;
                item(&mut accepts).await;
            }
        });
        runtime.stats().submitted - before
    };
    // Refused once, then two single entries and one that is cancelled; the eventfd's read may come in addition.
    let (first, ten) = (count(1), count(10));
    assert!((4..=6).contains(&first), "{first} entries where it was refused");
    assert!((20..=40).contains(&ten), "{ten} entries for ten listeners afterwards");
}

#[test]
fn what_is_wrong_with_the_socket_is_not_taken_for_an_old_kernel() {
    let _held = begin();
    let runtime = Runtime::new().expect("io_uring");
    runtime.block_on(async {
        let socket = ops::socket(libc::AF_INET, libc::SOCK_STREAM, 0).await.expect("a socket");
        let (none, end) = rest(&mut ops::accept_multishot(&socket)).await;
        assert!(none.is_empty());
        assert_eq!(errno(end), Some(libc::EINVAL)); // it does not listen
    });
    let before = runtime.stats().submitted;
    runtime.block_on(async {
        let (fd, address) = listener();
        let _clients = clients(address, 10);
        let mut accepts = ops::accept_multishot(&fd);
        for _ in 0..10 {
            item(&mut accepts).await;
        }
    });
    assert!(runtime.stats().submitted - before <= 3, "multishot is not used any more");
}

#[test]
fn a_full_backlog_pauses_it_and_it_goes_on_when_half_was_taken() {
    let _held = begin();
    let runtime = Runtime::new().expect("io_uring");
    runtime.block_on(async {
        let (fd, address) = listener();
        let mut accepts = ops::accept_multishot(&fd).backlog(4);
        let mut all = clients(address, 1);
        let mut accepted = vec![item(&mut accepts).await];
        for _ in 0..20 {
            all.extend(clients(address, 1));
            turn().await;
        }
        settle().await;
        for _ in 0..20 {
            accepted.push(item(&mut accepts).await);
        }
        assert_eq!(ports(&accepted), own_ports(&all));
        all.extend(clients(address, 1));
        accepted.push(item(&mut accepts).await);
        assert_eq!(ports(&accepted), own_ports(&all));
    });
}

/// Of clients that come one by one, it has as many as its backlog says, and not one more.
#[test]
fn a_backlog_that_is_full_takes_no_other() {
    let _held = begin();
    Runtime::new().expect("io_uring").block_on(async {
        for backlog in 1..4 {
            let (fd, address) = listener();
            let mut accepts = ops::accept_multishot(&fd).backlog(backlog);
            assert!(crate::support::poll_once(&mut accepts).await.is_none(), "nobody is there");
            let mut all = Vec::new();
            for client in 0..=backlog + 1 {
                for _ in 0..3 {
                    ops::nop().await.expect("a nop"); // it is with the kernel, and so is what followed from the last client
                }
                if client <= backlog {
                    all.extend(clients(address, 1));
                }
            }
            let mut other = ops::accept(&fd);
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut other).poll(&mut cx).is_pending());
            for _ in 0..3 {
                ops::nop().await.expect("a nop");
            }
            let Poll::Ready(last) = Pin::new(&mut other).poll(&mut cx) else {
                panic!("it has one more than {backlog}")
            };
            let mut accepted = Vec::new();
            for _ in 0..backlog {
                accepted.push(item(&mut accepts).await);
            }
            accepted.push(last.expect("a client"));
            assert_eq!(ports(&accepted), own_ports(&all));
        }
    });
}

#[test]
fn a_paused_one_leaves_the_rest_with_the_kernel() {
    let _held = begin();
    Runtime::new().expect("io_uring").block_on(async {
        let (fd, address) = listener();
        let mut accepts = ops::accept_multishot(&fd).backlog(4);
        let mut all = clients(address, 1);
        let before = crate::harness::open_descriptors().len();
        let mut accepted = vec![item(&mut accepts).await];
        for _ in 0..30 {
            all.extend(clients(address, 1)); // one by one, and it is in flight for each of them
            turn().await;
        }
        let held = crate::harness::open_descriptors().len() - before - 30;
        assert!((4..=10).contains(&held), "{held} of 31 connections are accepted, 1 was taken");
        for _ in 1..31 {
            accepted.push(item(&mut accepts).await);
        }
        assert_eq!(ports(&accepted), own_ports(&all));
    });
}
