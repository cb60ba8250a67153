//! Waits: what ends them, what they bring, and what a full completion queue does.
//!
//! Knows: deadlines, signals, overflow. Does not know: chains, faults.
#![allow(unsafe_code, reason = "a signal handler, and signals to one thread")]

use std::io::{Write, pipe};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::super::fault::{FaultKernel, FaultPlan};
use super::super::sys::feature;
use super::super::{Batch, Driver, Ring, RingConfig, Wait};
use super::{collect, nop, push, read, reap, ring};

#[test]
fn completions_beyond_the_queue_are_kept() {
    let mut ring = ring(4, 4);
    let mut submitted = 0_u64;
    while submitted < 64 {
        for _ in 0..ring.room() {
            push(&mut ring, nop(submitted));
            submitted += 1;
        }
        ring.enter(Wait::No).expect("enter");
    }
    assert!(ring.needs_enter(), "the kernel says that it holds completions back");
    let mut seen = Vec::new();
    while seen.len() < 64 {
        let before = seen.len();
        seen.extend(reap(&mut ring).into_iter().map(|(user_data, _)| user_data));
        // `No` brings them too: the flag says that it must.
        ring.enter(Wait::No).expect("enter");
        assert!(seen.len() > before, "each turn brings some");
    }
    assert_eq!(seen, (0..64).collect::<Vec<_>>());
    assert_eq!((reap(&mut ring), ring.dropped()), (vec![], 0));
    assert!(!ring.needs_enter());
}

#[test]
fn a_flag_without_work_behind_it_is_not_believed_for_ever() {
    let (source, mut sink) = pipe().expect("pipe");
    let mut byte = 0;
    let mut ring = ring(4, 4);
    ring.plant_flag();
    let mut fruitless = 0;
    while ring.needs_enter() {
        ring.enter(Wait::Poll).expect("enter");
        fruitless += 1;
        assert!(fruitless < 100, "an idle thread would enter for ever");
    }
    assert!(ring.may_need_enter());
    // Real work is brought all the same, and clears the flag.
    push(&mut ring, read(&source, &mut byte, 7));
    ring.enter(Wait::Poll).expect("enter");
    sink.write_all(b"x").expect("write");
    ring.enter(Wait::Until(None)).expect("enter");
    assert_eq!(collect(&mut ring, 1), [(7, 1)]);
    assert!(!ring.may_need_enter() && !ring.needs_enter());
}

#[test]
fn space_is_given_back_before_waiting() {
    // With the queue's four places still counted as taken, the wait would find them full and return at once.
    let (source, mut sink) = pipe().expect("pipe");
    let mut byte = 0;
    let mut ring = ring(4, 4);
    for user_data in 0..4 {
        push(&mut ring, nop(user_data));
    }
    ring.enter(Wait::Poll).expect("enter");
    while ring.next().is_some() {}
    push(&mut ring, read(&source, &mut byte, 9));
    let deadline = Instant::now() + Duration::from_millis(5);
    ring.enter(Wait::Until(Some(deadline))).expect("enter");
    assert!(Instant::now() >= deadline && !ring.has_completion());
    sink.write_all(b"x").expect("write");
    assert_eq!(collect(&mut ring, 1), [(9, 1)]);
}

#[test]
fn a_deadline_ends_the_wait() {
    let (source, mut sink) = pipe().expect("pipe");
    let mut byte = 0;
    let mut ring = ring(4, 16);
    push(&mut ring, read(&source, &mut byte, 1));
    let deadline = Instant::now() + Duration::from_millis(20);
    ring.enter(Wait::Until(Some(deadline))).expect("enter");
    assert!(Instant::now() >= deadline);
    assert!(!ring.has_completion());
    // A deadline that has passed submits and looks, but does not wait.
    push(&mut ring, nop(2));
    ring.enter(Wait::Until(Some(deadline))).expect("enter");
    assert_eq!(reap(&mut ring), [(2, 0)]);
    sink.write_all(b"x").expect("write");
    assert_eq!(collect(&mut ring, 1), [(1, 1)]);
}

#[test]
fn a_deadline_beyond_all_clocks_is_waited_for() {
    let (source, mut sink) = pipe().expect("pipe");
    let mut byte = 0;
    let mut ring = ring(4, 16);
    push(&mut ring, read(&source, &mut byte, 1));
    let far = Instant::now() + Duration::from_secs(i64::MAX as u64 / 4);
    let writer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        sink.write_all(b"x")
    });
    ring.enter(Wait::Until(Some(far))).expect("enter");
    assert_eq!(reap(&mut ring), [(1, 1)], "the wait ended early");
    writer.join().expect("join").expect("write");
}

/// Two completions, waited for so long that a test hangs if the kernel waits for both without reason.
const TWO: Batch = Batch { completions: 2, patience: Duration::from_secs(600) };

/// Waits for [`TWO`] while another thread lets one read end, and a second one a little later, or only after the wait. What
/// the wait brought.
fn two_reads(ring: &mut impl Driver, second_comes: bool) -> Vec<(u64, i32)> {
    let [(first, mut sink), (second, mut later)] = [(); 2].map(|()| UnixStream::pair().expect("sockets"));
    let mut bytes = [0; 2];
    let [one, two] = &mut bytes;
    push(ring, read(&first, one, 1));
    push(ring, read(&second, two, 2));
    ring.enter(Wait::No).expect("enter");
    let (waits, waited) = mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        sink.write_all(b"x").expect("write");
        if second_comes {
            thread::sleep(Duration::from_millis(20));
        } else {
            let _ = waited.recv(); // nothing is sent
        }
        later.write_all(b"x").expect("write");
    });
    ring.enter(Wait::Batch(TWO, None)).expect("enter");
    let reaped = reap(ring);
    drop(waits);
    writer.join().expect("join");
    if reaped.len() < 2 {
        collect(ring, 2 - reaped.len()); // before the buffers go
    }
    reaped
}

#[test]
fn a_batch_is_waited_for() {
    let mut ring = ring(4, 16);
    if ring.gathers() {
        assert_eq!(two_reads(&mut ring, true), [(1, 1), (2, 1)]);
    }
}

#[test]
fn a_kernel_that_cannot_wait_for_a_batch_waits_for_one() {
    let plan = FaultPlan::new().without_features(feature::MIN_TIMEOUT);
    let config = RingConfig { sq_entries: 4, cq_entries: 16 };
    let mut ring = Ring::with_kernel(&config, FaultKernel(plan)).expect("a ring");
    assert!(!ring.gathers());
    assert_eq!(two_reads(&mut ring, false), [(1, 1)]);
}

#[test]
fn patience_ends_with_one_completion_or_the_deadline() {
    let (source, mut sink) = UnixStream::pair().expect("sockets");
    let mut byte = 0;
    let mut ring = ring(4, 16);
    push(&mut ring, read(&source, &mut byte, 1));
    // Neither of the two comes.
    let deadline = Instant::now() + Duration::from_millis(20);
    ring.enter(Wait::Batch(TWO, Some(deadline))).expect("enter");
    assert!(Instant::now() >= deadline);
    assert_eq!(reap(&mut ring), []);
    ring.enter(Wait::Batch(TWO, Some(deadline))).expect("enter"); // it has passed
    // One comes when patience is over.
    let writer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        sink.write_all(b"x").expect("write");
        sink
    });
    let impatient = Batch { patience: Duration::from_micros(10), ..TWO };
    ring.enter(Wait::Batch(impatient, None)).expect("enter");
    assert_eq!(reap(&mut ring), [(1, 1)], "patience ends the wait only once something is there");
    // One is there before.
    let mut sink = writer.join().expect("join");
    push(&mut ring, read(&source, &mut byte, 2));
    sink.write_all(b"x").expect("write");
    ring.enter(Wait::Batch(Batch { patience: Duration::from_millis(5), ..TWO }, None)).expect("enter");
    assert_eq!(reap(&mut ring), [(2, 1)]);
}

#[test]
fn deferred_work_is_announced_and_fetched() {
    // A socket, not a pipe: on older kernels a worker thread waits in the read of a pipe, and comes back when it likes.
    let (source, mut sink) = UnixStream::pair().expect("sockets");
    let mut byte = 0;
    let mut ring = ring(4, 16);
    push(&mut ring, read(&source, &mut byte, 1));
    ring.enter(Wait::No).expect("enter");
    assert!(!ring.needs_enter() && !ring.has_completion());
    sink.write_all(b"x").expect("write");
    assert!(ring.needs_enter() || ring.has_completion());
    ring.enter(Wait::Poll).expect("enter");
    assert!(ring.has_completion());
    assert_eq!(reap(&mut ring), [(1, 1)]);
}

#[test]
fn signals_lose_nothing() {
    static SIGNALS: AtomicU64 = AtomicU64::new(0);
    extern "C" fn count(_: libc::c_int) {
        SIGNALS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: (local) a zeroed sigaction has an empty mask and no flags, so no SA_RESTART; the handler touches one atomic, and
    // no other test uses this signal.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as extern "C" fn(libc::c_int) as libc::sighandler_t;
        assert_eq!(libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()), 0);
    }
    let (source, mut sink) = pipe().expect("pipe");
    let (go, gone) = mpsc::channel::<u8>();
    // SAFETY: (local) no arguments.
    let waiter = unsafe { libc::pthread_self() };
    let storm = thread::spawn(move || {
        for letter in gone {
            for _ in 0..5 {
                // SAFETY: (local) the waiting thread joins this one before it ends.
                unsafe { libc::pthread_kill(waiter, libc::SIGUSR2) };
                thread::yield_now();
            }
            sink.write_all(&[letter]).expect("write");
        }
    });
    let mut ring = ring(4, 16);
    let mut byte = 0;
    let mut empty_handed = 0;
    for round in 0..200_u8 {
        push(&mut ring, read(&source, &mut byte, u64::from(round)));
        go.send(round).expect("the storm goes on");
        let done = loop {
            ring.enter(Wait::Until(None)).expect("a signal is no error");
            assert_eq!(ring.queued(), 0);
            match reap(&mut ring) {
                done if done.is_empty() => empty_handed += 1,
                done => break done,
            }
        };
        assert_eq!((done, byte), (vec![(u64::from(round), 1)], round));
    }
    drop(go);
    storm.join().expect("the storm ends");
    assert!(SIGNALS.load(Ordering::Relaxed) > 0 && empty_handed > 0, "no wait was interrupted");
}
