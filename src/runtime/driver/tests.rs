//! What a ring promises the runtime, tried on the kernel at hand.
#![allow(unsafe_code, reason = "pushes entries, which carry pointers")]

use io_uring::opcode;

use super::{Completion, Driver, Ring, RingConfig, Sqe, Wait};

fn ring(sq_entries: u32, cq_entries: u32) -> Ring {
    Ring::new(&RingConfig { sq_entries, cq_entries }).expect("a ring")
}

fn nop(user_data: u64) -> Sqe {
    Sqe::from(opcode::Nop::new().build()).user_data(user_data)
}

fn reap(driver: &mut impl Driver) -> Vec<Completion> {
    let mut all = Vec::new();
    while let Some(completion) = driver.next() {
        all.push(completion);
    }
    driver.publish();
    all
}

#[test]
fn a_batch_completes_in_one_enter() {
    let mut ring = ring(64, 128);
    for user_data in 0..64 {
        assert!(ring.room() > 0);
        // SAFETY: room was checked; a no-op points to nothing.
        unsafe { ring.push(nop(user_data)) };
    }
    assert_eq!((ring.room(), ring.queued()), (0, 64));
    ring.enter(Wait::Poll).expect("enter");
    assert_eq!((ring.room(), ring.queued()), (64, 0));
    let seen: Vec<u64> = reap(&mut ring).iter().map(|completion| completion.user_data).collect();
    assert_eq!(seen, (0..64).collect::<Vec<_>>());
}
