//! Failing system calls: nothing is lost, and nothing happens twice.
//!
//! Knows: the fault plan. Does not know: how a ring is made.

use std::collections::BTreeSet;
use std::io::{Write, pipe};
use std::iter;
use std::thread;
use std::time::Instant;

use io_uring::squeue::Flags;

use super::super::fault::{Fault, FaultCall, FaultKernel, FaultPlan};
use super::super::{AnyDriver, Driver, Ring, RingConfig, Wait};
use super::{collect, nop, push, read, readable, reap, write};

const CONFIG: RingConfig = RingConfig { sq_entries: 8, cq_entries: 64 };

fn faulty(plan: &FaultPlan) -> Ring<FaultKernel> {
    Ring::with_kernel(&CONFIG, FaultKernel(plan.clone())).expect("a ring")
}

/// Sends 40 no-ops through, retrying as the runtime does. Returns how often `enter` failed.
fn workload(driver: &mut impl Driver) -> usize {
    let mut failed = 0;
    let mut seen = Vec::new();
    let mut next = 0;
    while seen.len() < 40 {
        while next < 40 && driver.room() > 0 {
            push(driver, nop(next));
            next += 1;
        }
        if driver.enter(Wait::Until(None)).is_err() {
            failed += 1;
            assert!(failed < 100, "the ring does not recover");
        }
        seen.extend(reap(driver));
    }
    assert!(seen.into_iter().eq((0..40).map(|user_data| (user_data, 0))));
    failed
}

#[test]
fn each_errno_at_each_enter_loses_nothing() {
    for errno in [libc::EINTR, libc::ETIME, libc::EAGAIN, libc::EBUSY, libc::ENOMEM, libc::EIO] {
        // The first enter is the ring's trial at its making; it is met in the tests of building.
        for nth in 1..=5 {
            let plan = FaultPlan::new().fail(FaultCall::Enter, nth, 1, errno);
            let failed = workload(&mut faulty(&plan));
            let transparent = matches!(errno, libc::EINTR | libc::ETIME);
            assert_eq!((failed, plan.struck()), (usize::from(!transparent), 1), "errno {errno} at {nth}");
        }
    }
}

#[test]
fn an_entry_stays_ours_while_enter_fails() {
    let (source, mut sink) = pipe().expect("pipe");
    sink.write_all(b"x").expect("write");
    let mut byte = 0;
    let mut ring = faulty(&FaultPlan::new().fail(FaultCall::Enter, 1, 1, libc::EBUSY));
    let ticket = push(&mut ring, read(&source, &mut byte, 1));
    assert_eq!(ring.enter(Wait::Poll).expect_err("planned").raw_os_error(), Some(libc::EBUSY));
    assert_eq!((ring.queued(), ring.room()), (1, 7));
    // The tail is published by now, but the kernel reads entries only when entered.
    assert!(ring.neutralize(ticket));
    assert_eq!(collect(&mut ring, 1), [(1, 0)]);
    assert_eq!(byte, 0);
}

#[test]
fn a_short_submission_is_continued() {
    for limit in 1..=8 {
        let plan = FaultPlan::new().submit_at_most(limit);
        let mut ring = faulty(&plan);
        let before = plan.calls(FaultCall::Enter);
        for user_data in 0..8 {
            push(&mut ring, nop(user_data));
        }
        ring.enter(Wait::No).expect("enter");
        assert_eq!(
            (ring.queued(), plan.calls(FaultCall::Enter) - before),
            (0, 8_u64.div_ceil(u64::from(limit)))
        );
        assert_eq!(reap(&mut ring).len(), 8);
    }
}

/// What the kernel took of a chain runs, tied to nothing; the rest must not, for it did not wait for that. A chain
/// that stands behind is left alone.
#[test]
fn a_submission_that_ends_inside_a_chain_parts_its_rest_from_it() {
    for link in [Flags::IO_LINK, Flags::IO_HARDLINK] {
        for limit in 1..=6 {
            let (source, mut sink) = pipe().expect("pipe");
            let (mut byte, letter) = (0, b'w');
            let (other, other_sink) = pipe().expect("pipe");
            let mut ring = faulty(&FaultPlan::new().submit_at_most(limit));
            push(&mut ring, nop(0).flags(link));
            push(&mut ring, read(&source, &mut byte, 1).flags(link)); // nothing to read yet
            push(&mut ring, write(&other_sink, &letter, 2).flags(link));
            push(&mut ring, write(&other_sink, &letter, 3));
            push(&mut ring, nop(4).flags(link));
            push(&mut ring, nop(5));
            ring.enter(Wait::Poll).expect("enter");
            let severed: BTreeSet<_> = iter::from_fn(|| ring.take_severed()).collect();
            let expected = match limit {
                1 => vec![1, 2, 3, 5], // of the second chain as well
                2 | 3 => (u64::from(limit)..=3).collect(),
                5 => vec![5],
                _ => vec![],
            };
            assert!(severed.iter().copied().eq(expected), "{link:?}, {limit} at a time: {severed:?}");
            assert!(!readable(&other), "a write did not wait for the read before it");
            sink.write_all(b"x").expect("write");
            assert_eq!(collect(&mut ring, 6).len(), 6);
            assert_eq!(readable(&other), limit > 2, "a write ran alone, or not at all");
        }
    }
}

#[test]
fn a_short_submission_still_waits_at_its_end() {
    let (source, mut sink) = pipe().expect("pipe");
    let (mut first, mut second) = (0, 0);
    let mut ring = faulty(&FaultPlan::new().submit_at_most(1));
    push(&mut ring, read(&source, &mut first, 1));
    push(&mut ring, read(&source, &mut second, 2));
    let writer = thread::spawn(move || sink.write_all(b"xy"));
    ring.enter(Wait::Until(None)).expect("enter");
    assert!(ring.has_completion(), "the wait was skipped");
    assert_eq!(collect(&mut ring, 2).len(), 2);
    writer.join().expect("join").expect("write");
}

#[test]
fn a_kernel_that_takes_nothing_is_reported() {
    let plan = FaultPlan::new();
    let mut ring = faulty(&plan);
    let _same = plan.submit_at_most(0); // only now: the trial at the making of the ring had to pass
    push(&mut ring, nop(1));
    for wait in [Wait::No, Wait::Poll, Wait::Until(None)] {
        assert_eq!(ring.enter(wait).expect_err("no progress").raw_os_error(), Some(libc::EAGAIN));
        assert_eq!(ring.queued(), 1);
    }
}

#[test]
fn no_call_is_made_for_nothing() {
    let plan = FaultPlan::new().fail(FaultCall::Enter, 4, 1, libc::EINTR);
    let mut ring = faulty(&plan);
    let before = plan.calls(FaultCall::Enter);
    ring.enter(Wait::No).expect("enter");
    assert_eq!(plan.calls(FaultCall::Enter), before);
    ring.enter(Wait::Poll).expect("enter");
    push(&mut ring, nop(1));
    ring.enter(Wait::No).expect("enter");
    assert_eq!(plan.calls(FaultCall::Enter), before + 2);
    assert_eq!(reap(&mut ring), [(1, 0)]);
    ring.enter(Wait::Until(Some(Instant::now()))).expect("enter");
    assert_eq!(plan.calls(FaultCall::Enter), before + 3);
    ring.enter(Wait::Until(None)).expect("a signal is no error");
    assert_eq!((plan.calls(FaultCall::Enter), plan.struck()), (before + 4, 1));
}

#[test]
fn a_synchronous_cancel_can_be_failed() {
    let plan = FaultPlan::new().fail(FaultCall::SyncCancel, 0, 1, libc::EALREADY);
    let mut ring = faulty(&plan);
    assert_eq!(ring.sync_cancel(1).expect_err("planned").raw_os_error(), Some(libc::EALREADY));
    let second = ring.sync_cancel(1).expect_err("there is nothing to cancel").raw_os_error();
    assert!(matches!(second, Some(libc::ENOENT | libc::EINVAL)));
    assert_eq!(plan.calls(FaultCall::SyncCancel), 2);
}

#[test]
fn completions_are_repeated_by_plan() {
    let plan = FaultPlan::new().repeat_completion(2, 0).repeat_completion(3, 2);
    let ring = faulty(&plan);
    let mut driver = Fault::new(ring, plan.clone());
    for user_data in 0..6 {
        push(&mut driver, nop(user_data));
    }
    driver.enter(Wait::Poll).expect("enter");
    let seen: Vec<u64> = reap(&mut driver).into_iter().map(|(user_data, _)| user_data).collect();
    // The trial at the making of the ring was reaped below the shim and is not counted.
    assert_eq!(seen, [0, 1, 2, 2, 3, 4, 5, 3]);
    assert_eq!(plan.struck(), 2);
}

#[test]
fn both_drivers_do_the_same() {
    let mut plain = AnyDriver::new(&CONFIG).expect("a ring");
    let mut planned = AnyDriver::with_faults(&CONFIG, &FaultPlan::new()).expect("a ring");
    assert!(matches!(plain, AnyDriver::Ring(_)) && matches!(planned, AnyDriver::Other(_)));
    for driver in [&mut plain, &mut planned] {
        assert_eq!((driver.room(), driver.capacity(), driver.queued()), (8, 8, 0));
        assert_eq!(workload(driver), 0);
        let ticket = push(driver, nop(1));
        assert!(driver.neutralize(ticket));
        driver.unlink(ticket);
        assert!(!driver.has_completion());
        driver.enter(Wait::Poll).expect("enter");
        assert!(driver.has_completion() && !driver.needs_enter());
        assert_eq!((reap(driver), driver.dropped()), (vec![(1, 0)], 0));
    }
}
