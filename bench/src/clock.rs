//! Clocks, CPUs and what a child process used of them.
//!
//! Knows: libc. Does not know: cases, rings, runtimes.
#![allow(unsafe_code, reason = "CPU clocks, affinity and rusage have no safe face in std")]

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// What a measured stretch took, per unit of work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// CPU time of the process (of the server, in an echo), in nanoseconds.
    pub(crate) cpu: f64,
    /// Time on the wall, in nanoseconds.
    pub(crate) wall: f64,
}

/// Runs from `start` to `stop` on both clocks.
///
/// CPU time is that of the whole process, so work a kernel worker thread does on its behalf counts.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    cpu: Duration,
    wall: Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        Stopwatch { cpu: process_cpu(), wall: Instant::now() }
    }

    pub(crate) fn stop(self, units: u64) -> Sample {
        let wall = self.wall.elapsed();
        let cpu = process_cpu() - self.cpu;
        Sample::of(cpu, wall, units)
    }
}

impl Sample {
    pub(crate) fn of(cpu: Duration, wall: Duration, units: u64) -> Sample {
        let per_unit = |time: Duration| time.as_nanos() as f64 / units as f64;
        Sample { cpu: per_unit(cpu), wall: per_unit(wall) }
    }
}

fn process_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is always there and `time` is a timespec of ours.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "this kernel has no process CPU clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The CPUs this process may run on, which is what a `taskset` before the command leaves.
pub(crate) fn cpus() -> io::Result<Vec<usize>> {
    // SAFETY: a `cpu_set_t` is an array of words, so zeroes are a value of it, and the size given is its own.
    let set = unsafe {
        let mut set: libc::cpu_set_t = MaybeUninit::zeroed().assume_init();
        check(libc::sched_getaffinity(0, size_of_val(&set), &mut set))?;
        set
    };
    // SAFETY: `CPU_ISSET` reads the bit of a CPU below the set's size.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// Keeps the calling thread, and what it starts from now on, on one CPU.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: as in `cpus`; `cpu` came from there, so it lies within the set.
    unsafe {
        let mut set: libc::cpu_set_t = MaybeUninit::zeroed().assume_init();
        libc::CPU_SET(cpu, &mut set);
        check(libc::sched_setaffinity(0, size_of_val(&set), &set))
    }
}

/// Two CPUs for the two sides of a case that needs them.
pub(crate) fn two_cpus() -> io::Result<(usize, usize)> {
    match cpus()?[..] {
        [first, .., last] => Ok((first, last)),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "two CPUs are needed, one is allowed")),
    }
}

/// Starts a child that the kernel kills when the calling thread ends, so that the watchdog, which kills only the
/// process it started, leaves nothing behind.
pub(crate) fn spawn_dependent(command: &mut Command) -> io::Result<Child> {
    let die_with_parent = || {
        // SAFETY: an async-signal-safe system call without pointers.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
    };
    // SAFETY: between fork and exec the closure only makes a system call.
    unsafe { command.pre_exec(die_with_parent) }.spawn()
}

/// Waits for a child and returns the CPU time it used, in user and kernel mode.
///
/// # Errors
///
/// The child failed.
pub(crate) fn wait_for_cpu(child: Child) -> io::Result<Duration> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both out parameters are ours, and `Child` does not reap on drop, so the id is still this child's.
    let usage = unsafe {
        check(libc::wait4(child.id() as libc::pid_t, &mut status, 0, usage.as_mut_ptr()))?;
        usage.assume_init()
    };
    if status != 0 {
        return Err(io::Error::other(format!("child ended with wait status {status}")));
    }
    let duration = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    Ok(duration(usage.ru_utime) + duration(usage.ru_stime))
}

/// Turns the -1 of a libc call into its errno.
pub(crate) fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
