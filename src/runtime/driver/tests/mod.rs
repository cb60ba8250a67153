//! What a ring promises the runtime, tried on the kernel at hand.
//!
//! Knows: the driver's inside. Does not know: anything above it.
#![allow(unsafe_code, reason = "pushes entries that point to locals")]

mod build;
mod faults;
mod isolation;
mod submission;
mod waiting;

use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsRawFd;

use io_uring::squeue::Flags;
use io_uring::{opcode, types};

use super::{Completion, Driver, Ring, RingConfig, Sqe, Ticket, Wait};

fn ring(sq_entries: u32, cq_entries: u32) -> Ring {
    Ring::new(&RingConfig { sq_entries, cq_entries }).expect("a ring")
}

fn nop(user_data: u64) -> Sqe {
    Sqe::from(opcode::Nop::new().build()).user_data(user_data)
}

/// A read of one byte, which the caller keeps alive.
fn read(pipe: &impl AsRawFd, byte: &mut u8, user_data: u64) -> Sqe {
    Sqe::from(opcode::Read::new(types::Fd(pipe.as_raw_fd()), byte, 1).build()).user_data(user_data)
}

/// A write of one byte, which the caller keeps alive.
fn write(pipe: &PipeWriter, byte: &u8, user_data: u64) -> Sqe {
    Sqe::from(opcode::Write::new(types::Fd(pipe.as_raw_fd()), byte, 1).build()).user_data(user_data)
}

/// An entry that fails at once with `EBADF`.
fn failing(user_data: u64) -> Sqe {
    Sqe::from(opcode::Fsync::new(types::Fd(-1)).build()).user_data(user_data)
}

/// Queues an entry. What it points to is a local of the test that outlives the ring's last completion.
fn push(driver: &mut impl Driver, sqe: Sqe) -> Ticket {
    assert!(driver.room() > 0, "a test pushed into a full queue");
    // SAFETY: (I1) room was checked, and each test reaps, or drops the ring, before its buffers go.
    unsafe { driver.push(sqe) }
}

/// Everything that is there now, as `(user_data, res)`.
fn reap(driver: &mut impl Driver) -> Vec<(u64, i32)> {
    let mut all = Vec::new();
    while let Some(Completion { user_data, outcome }) = driver.next() {
        all.push((user_data, outcome.res()));
    }
    driver.publish();
    all
}

/// Waits until `count` completions were reaped.
fn collect(driver: &mut impl Driver, count: usize) -> Vec<(u64, i32)> {
    let mut all = reap(driver);
    while all.len() < count {
        driver.enter(Wait::Until(None)).expect("enter");
        all.extend(reap(driver));
    }
    all
}

/// Whether a byte can be read without waiting.
fn readable(pipe: &PipeReader) -> bool {
    let mut poll = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: (local) one live record.
    unsafe { libc::poll(&mut poll, 1, 0) == 1 }
}

const LINK: Flags = Flags::IO_LINK;
const HARDLINK: Flags = Flags::IO_HARDLINK;
