//! A word passed back and forth between two threads: by looking at it, and by sleeping in a ring.
//!
//! Knows: the floor's ring, eventfd. Does not know: tasks.
#![allow(unsafe_code, reason = "eventfd, and a read into a word of ours")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use io_uring::{opcode, types};

use super::ring::{self, Loop};
use crate::clock::{self, Sample, Stopwatch};

/// Runs both sides on their own CPUs; `first` is timed.
fn two_sides(
    units: u64,
    first: impl FnOnce() -> io::Result<()>,
    second: impl FnOnce() -> io::Result<()> + Send,
) -> io::Result<Sample> {
    let (here, there) = clock::two_cpus()?;
    thread::scope(|scope| {
        let second = scope.spawn(move || {
            clock::pin(there)?;
            second()
        });
        clock::pin(here)?;
        let watch = Stopwatch::start();
        first()?;
        let sample = watch.stop(units);
        second.join().expect("the second side panicked")?;
        Ok(sample)
    })
}

/// Two threads that look at one word without pause. One unit is a round trip.
pub(crate) fn spin(units: u64) -> io::Result<Sample> {
    let word = AtomicU64::new(0);
    let pass = |parity: u64| {
        for trip in 0..units {
            while word.load(Ordering::Acquire) != 2 * trip + parity {
                std::hint::spin_loop();
            }
            word.store(2 * trip + parity + 1, Ordering::Release);
        }
        Ok(())
    };
    two_sides(units, || pass(0), || pass(1))
}

/// Two rings, each asleep in a read of its own eventfd until the other writes to it. One unit is a round trip.
pub(crate) fn park(units: u64) -> io::Result<Sample> {
    let (ping, pong) = (eventfd()?, eventfd()?);
    let side = |own: &OwnedFd, other: &OwnedFd, serves: bool| -> io::Result<()> {
        let mut ring = ring::open(8)?;
        let mut ring = Loop::new(&mut ring)?;
        let count: *mut u64 = Box::leak(Box::new(0)); // an error leaves a read in flight
        for _ in 0..units {
            let read = opcode::Read::new(types::Fd(own.as_raw_fd()), count.cast(), 8).build();
            // SAFETY: `count` is never freed, and the read before has completed.
            unsafe { ring.queue().push(read, 0) };
            if serves {
                signal(other)?;
            }
            let mut result = 0;
            ring.turn(|_, _, res| result = res)?;
            if result < 0 {
                return Err(io::Error::from_raw_os_error(-result));
            }
            if !serves {
                signal(other)?;
            }
        }
        Ok(())
    };
    two_sides(units, || side(&ping, &pong, true), || side(&pong, &ping, false))
}

fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: a system call without pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    clock::check(fd)?;
    // SAFETY: just opened, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn signal(eventfd: &OwnedFd) -> io::Result<()> {
    let one = 1_u64;
    // SAFETY: reads eight bytes of a word of ours.
    let written = unsafe { libc::write(eventfd.as_raw_fd(), (&raw const one).cast(), 8) };
    if written == 8 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
