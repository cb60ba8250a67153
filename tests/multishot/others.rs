//! Several that want the connections of one listener, and ops that give other results.
//!
//! Knows: multishot accept, poll and timeout. Does not know: destinations.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use millstream::combinators::{End, ResultsExt};
use millstream::ops::{self, Feature};
use millstream::{Results, Runtime, channel, spawn};

use crate::support::{
    begin, both, clients, errno, item, listener, own_ports, poll_once, ports, rest, settle, without,
};

#[test]
fn two_share_a_listener_and_a_plain_accept_beside_them() {
    both(async || {
        let (fd, address) = listener();
        let (tx, rx) = channel::bounded(1);
        let both: Vec<_> = [tx.clone(), tx.clone()]
            .into_iter()
            .map(|tx| spawn(ops::accept_multishot(&fd).backlog(3).will_push(tx)))
            .collect();
        let plain = spawn(async move {
            let connection = ops::accept(&fd).await.expect("a connection");
            tx.push(connection).await.expect("open");
        });
        settle().await;
        let clients = clients(address, 30);
        let mut accepted = Vec::new();
        for _ in 0..30 {
            accepted.push(rx.pop().await.expect("a connection"));
        }
        let (mut seen, mut all) = (ports(&accepted), own_ports(&clients));
        seen.sort_unstable();
        all.sort_unstable();
        assert_eq!(seen, all, "each goes to one of them");
        drop(rx);
        for one in both {
            assert_eq!(one.await.expect("no panic").end.expect("no error"), End::Closed);
        }
        drop(plain);
    });
}

#[test]
fn what_one_leaves_the_other_gets() {
    both(async || {
        let (fd, address) = listener();
        let mut one = ops::accept_multishot(&fd);
        assert!(poll_once(&mut one).await.is_none());
        settle().await;
        let clients = clients(address, 8);
        let mut seen = vec![item(&mut one).await];
        settle().await;
        let mut other = ops::accept_multishot(&fd);
        for _ in 0..3 {
            poll_once(&mut other).await.into_iter().for_each(|c| seen.push(c));
            settle().await;
        }
        drop(one); // what it had got goes to the other, which is in flight
        for _ in seen.len()..8 {
            seen.push(item(&mut other).await);
        }
        let (mut seen, mut all) = (ports(&seen), own_ports(&clients));
        seen.sort_unstable();
        all.sort_unstable();
        assert_eq!(seen, all);
    });
}

#[test]
fn a_poll_tells_of_every_change() {
    let _held = begin();
    for runtime in [Runtime::new().expect("io_uring"), without(Feature::PollMultishot)] {
        runtime.block_on(async {
            let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
            let fd = ops::Fd::from(reader.try_clone().expect("a descriptor"));
            let mut ready = ops::poll_multishot(&fd, libc::POLLIN);
            for _ in 0..100 {
                writer.write_all(b"x").expect("room");
                assert_eq!(item(&mut ready).await, libc::POLLIN as u32);
                let mut byte = [0];
                reader.read_exact(&mut byte).expect("a byte");
            }
            drop(writer);
            while item(&mut ready).await & libc::POLLHUP as u32 == 0 {}
            ready.request_cancel();
            assert_eq!(errno(rest(&mut ready).await.1), Some(libc::ECANCELED));
        });
    }
}

#[test]
fn a_poll_that_was_paused_tells_the_present_state() {
    let _held = begin();
    Runtime::new().expect("io_uring").block_on(async {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let fd = ops::Fd::from(reader);
        let mut ready = ops::poll_multishot(&fd, libc::POLLIN).backlog(1);
        assert!(poll_once(&mut ready).await.is_none());
        settle().await;
        for _ in 0..10 {
            writer.write_all(b"x").expect("room");
            settle().await;
        }
        for _ in 0..3 {
            // Nothing is read, so however often it begins anew it is told so.
            assert_eq!(item(&mut ready).await, libc::POLLIN as u32);
            settle().await;
        }
    });
}

#[test]
fn periods_are_counted_and_end() {
    let _held = begin();
    for runtime in [Runtime::new().expect("io_uring"), without(Feature::TimeoutMultishot)] {
        runtime.block_on(async {
            let began = Instant::now();
            let mut ticks = ops::timeout_multishot(Duration::from_millis(2)).count(10);
            let (told, end) = rest(&mut ticks).await;
            assert_eq!(told.iter().sum::<u64>(), 10, "{told:?}");
            end.expect("the last of a count is no error");
            assert!(began.elapsed() >= Duration::from_millis(20));
        });
    }
}

#[test]
fn whoever_is_late_is_told_how_many_periods_have_passed() {
    let _held = begin();
    for runtime in [Runtime::new().expect("io_uring"), without(Feature::TimeoutMultishot)] {
        runtime.block_on(async {
            let began = Instant::now();
            let mut ticks = ops::timeout_multishot(Duration::from_millis(1)).backlog(1);
            let mut passed = item(&mut ticks).await;
            // Nobody asks for a while; the periods are counted.
            millstream::time::sleep(Duration::from_millis(30)).await;
            let mut results = 0;
            while passed < 30 {
                passed += item(&mut ticks).await;
                results += 1;
            }
            assert!(results <= 5, "{results} results: what nobody took is one number");
            assert!(u128::from(passed) <= began.elapsed().as_millis(), "{passed} periods are too many");
            ticks.request_cancel();
            assert_eq!(errno(rest(&mut ticks).await.1), Some(libc::ECANCELED));
        });
    }
}
