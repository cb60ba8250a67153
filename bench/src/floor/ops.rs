//! Keeps a number of ops in flight: nops and reads.
//!
//! Knows: the floor's ring. Does not know: tasks.
#![allow(unsafe_code, reason = "queue entries carry pointers the kernel will follow")]

use std::io;
use std::os::fd::RawFd;

use io_uring::{Submitter, opcode, squeue, types};

use super::ring::{self, Loop};
use crate::clock::{Sample, Stopwatch};

/// A loop that keeps `depth` ops in flight until `units` have completed, after a tenth of that to warm up.
///
/// # Safety
///
/// What the entries of `entry` point to, and what is registered, is never freed (an error leaves ops in flight); the argument
/// is the slot, below `depth`, that is free.
unsafe fn keep_in_flight(
    depth: usize,
    units: u64,
    register: impl FnOnce(&Submitter<'_>) -> io::Result<()>,
    mut entry: impl FnMut(usize) -> squeue::Entry,
) -> io::Result<Sample> {
    let mut ring = ring::open(depth.next_power_of_two() as u32)?;
    let mut ring = Loop::new(&mut ring)?;
    register(ring.submitter())?;
    let mut pass = |units: u64| -> io::Result<()> {
        let units = units.max(depth as u64);
        let mut unstarted = units - depth as u64;
        let mut running = depth;
        for slot in 0..depth {
            // SAFETY: promised by the caller of `keep_in_flight`.
            unsafe { ring.queue().push(entry(slot), slot as u64) };
        }
        let mut failure = 0;
        while running > 0 {
            ring.turn(|queue, slot, result| {
                failure = failure.min(result);
                if unstarted > 0 {
                    unstarted -= 1;
                    // SAFETY: promised by the caller of `keep_in_flight`.
                    unsafe { queue.push(entry(slot as usize), slot) };
                } else {
                    running -= 1;
                }
            })?;
        }
        if failure < 0 { Err(io::Error::from_raw_os_error(-failure)) } else { Ok(()) }
    };
    pass(units / 10)?;
    let watch = Stopwatch::start();
    pass(units)?;
    Ok(watch.stop(units.max(depth as u64)))
}

/// Nops, so many at a time, perhaps linked; the next ones are queued when all of these have completed.
pub(crate) fn together(count: usize, linked: bool, units: u64) -> io::Result<Sample> {
    let mut ring = ring::open(count.next_power_of_two() as u32)?;
    let mut ring = Loop::new(&mut ring)?;
    let mut pass = |units: u64| -> io::Result<()> {
        let mut failure = 0;
        for _ in 0..units {
            for index in 0..count {
                let link =
                    if linked && index + 1 < count { squeue::Flags::IO_LINK } else { squeue::Flags::empty() };
                // SAFETY: a nop points nowhere.
                unsafe { ring.queue().push(opcode::Nop::new().build().flags(link), index as u64) };
            }
            let mut running = count;
            while running > 0 {
                ring.turn(|_, _, result| {
                    failure = failure.min(result);
                    running -= 1;
                })?;
            }
        }
        if failure < 0 { Err(io::Error::from_raw_os_error(-failure)) } else { Ok(()) }
    };
    pass(units / 10)?;
    let watch = Stopwatch::start();
    pass(units)?;
    Ok(watch.stop(units))
}

/// Ops that do nothing.
pub(crate) fn nop(depth: usize, units: u64) -> io::Result<Sample> {
    // SAFETY: a nop points nowhere.
    unsafe { keep_in_flight(depth, units, |_| Ok(()), |_| opcode::Nop::new().build()) }
}

/// Reads of `buffers[slot]`, each at the offset `offset` answers.
pub(crate) fn read(
    fd: RawFd,
    buffers: &'static mut [impl AsMut<[u8]>],
    units: u64,
    mut offset: impl FnMut() -> u64,
) -> io::Result<Sample> {
    let targets = targets(buffers);
    let entry = |slot: usize| {
        let (at, len) = targets[slot];
        opcode::Read::new(types::Fd(fd), at, len).offset(offset()).build()
    };
    // SAFETY: `buffers` is never freed, each slot has its own, and an op of a slot is queued when the one before has
    // completed.
    unsafe { keep_in_flight(targets.len(), units, |_| Ok(()), entry) }
}

/// The same with the descriptor and the buffers registered with the ring.
pub(crate) fn read_fixed(
    fd: RawFd,
    buffers: &'static mut [impl AsMut<[u8]>],
    units: u64,
    mut offset: impl FnMut() -> u64,
) -> io::Result<Sample> {
    let targets = targets(buffers);
    let register = |submitter: &Submitter<'_>| {
        let vector = |&(at, len): &(*mut u8, u32)| libc::iovec { iov_base: at.cast(), iov_len: len as usize };
        let vectors: Vec<_> = targets.iter().map(vector).collect();
        submitter.register_files(&[fd])?;
        // SAFETY: `buffers` is never freed.
        unsafe { submitter.register_buffers(&vectors) }
    };
    let entry = |slot: usize| {
        let (at, len) = targets[slot];
        opcode::ReadFixed::new(types::Fixed(0), at, len, slot as u16).offset(offset()).build()
    };
    // SAFETY: as above.
    unsafe { keep_in_flight(targets.len(), units, register, entry) }
}

fn targets(buffers: &'static mut [impl AsMut<[u8]>]) -> Vec<(*mut u8, u32)> {
    let target = |buffer: &mut [u8]| (buffer.as_mut_ptr(), buffer.len() as u32);
    buffers.iter_mut().map(|buffer| target(buffer.as_mut())).collect()
}
