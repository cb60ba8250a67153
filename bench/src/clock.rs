//! Clocks, CPUs, and what another process used of them.
//!
//! Knows: libc. Does not know: cases, rings, runtimes.
#![allow(unsafe_code, reason = "CPU clocks and affinity have no safe face in std")]

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
    /// How long a unit took from its beginning to its end, where many are under way at once.
    pub(crate) latency: Option<Latency>,
}

/// How long the units of a stretch took, in nanoseconds: half of them and 99 of 100 at most so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
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
        Sample { cpu: per_unit(cpu), wall: per_unit(wall), latency: None }
    }
}

fn process_cpu() -> Duration {
    read_clock(libc::CLOCK_PROCESS_CPUTIME_ID).expect("every kernel has a process CPU clock")
}

/// The CPU time another process has used so far, in user and kernel mode, its threads and kernel workers included.
///
/// The kernel adds a thread's time up when it stops running, so a process that sleeps is told exactly.
pub(crate) fn cpu_of_process(id: u32) -> io::Result<Duration> {
    let mut clock = 0;
    // SAFETY: the out parameter is ours; an id without a process is an error.
    match unsafe { libc::clock_getcpuclockid(id as libc::pid_t, &mut clock) } {
        0 => read_clock(clock),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn read_clock(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec of ours, and a clock that is not there is an error.
    check(unsafe { libc::clock_gettime(clock, &mut time) })?;
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
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

/// Waits for a child.
///
/// # Errors
///
/// The child failed.
pub(crate) fn wait_for(mut child: Child) -> io::Result<()> {
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("child ended: {status}"))) }
}

/// Turns the -1 of a libc call into its errno.
pub(crate) fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
