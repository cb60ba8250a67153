//! What the integration tests share: skips that are heard, hangs that fail, seeds that replay, descriptors that count.
//!
//! Knows: std, and the `io-uring` crate to ask the kernel what it has. Does not know: millstream, so that it stays
//! true whatever the crate does.

#![allow(dead_code, reason = "every test binary compiles this file and uses its own part of it")]

pub(crate) mod quarantine;
pub(crate) mod sources;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

// --- how much -------------------------------------------------------------------------------------------------------

/// How many rounds a stress test runs, `full` being what the crate promises to survive.
///
/// All of them in a release build or with `MILLSTREAM_FULL=1`; a fifth in a debug build; a hundredth, at most, with
/// `MILLSTREAM_QUICK=1` (an emulated processor).
pub(crate) fn rounds(full: u64) -> u64 {
    let rounds = if is_set("MILLSTREAM_QUICK") {
        full / 100
    } else if is_set("MILLSTREAM_FULL") || !cfg!(debug_assertions) {
        full
    } else {
        full / 5
    };
    rounds.max(1)
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0")
}

// --- skipping -------------------------------------------------------------------------------------------------------

/// Says on standard error, past the test harness's capture, that the calling test does not run here and why.
///
/// # Panics
///
/// With `MILLSTREAM_NO_SKIP=1`: where everything is expected to be there, a skip is a failure.
pub(crate) fn skip(reason: impl AsRef<str>) {
    let test = thread::current().name().unwrap_or("?").to_owned();
    let line = format!("SKIPPED: {test}: {}\n", reason.as_ref());
    // Not `eprintln!`, which the harness captures and throws away when the test passes.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
    assert!(
        !is_set("MILLSTREAM_NO_SKIP"),
        "MILLSTREAM_NO_SKIP is set, and a test was to be skipped: {}",
        reason.as_ref()
    );
}

/// Whether the running kernel knows this opcode.
pub(crate) fn kernel_has(opcode: u8) -> bool {
    static PROBE: OnceLock<Option<Vec<bool>>> = OnceLock::new();
    let known = PROBE.get_or_init(|| {
        let ring = io_uring::IoUring::new(2).ok()?;
        let mut probe = io_uring::Probe::new();
        ring.submitter().register_probe(&mut probe).ok()?;
        Some((0..=u8::MAX).map(|opcode| probe.is_supported(opcode)).collect())
    });
    known.as_ref().is_some_and(|known| known[usize::from(opcode)])
}

/// The running kernel's version, major and minor. For messages and for facts no probe can ask.
pub(crate) fn kernel_version() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Leaves the calling test, loudly, unless the kernel has every opcode named (`require_op!(Accept, Send)`).
#[macro_export]
macro_rules! require_op {
    ($($op:ident),+ $(,)?) => {
        $(if !$crate::support::kernel_has(io_uring::opcode::$op::CODE) {
            $crate::support::skip(concat!("this kernel has no ", stringify!($op)));
            return;
        })+
    };
}

// --- chance that can be replayed ------------------------------------------------------------------------------------

/// A small seeded generator (splitmix64): enough to choose, and the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// Seeds from `MILLSTREAM_SEED`, else from the clock, and says which; the line shows when the test fails.
    pub(crate) fn from_env() -> Self {
        let seed = match env::var("MILLSTREAM_SEED") {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("MILLSTREAM_SEED={text} is not a number")),
            Err(_) => {
                let now =
                    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                u64::from(now.subsec_nanos()) << 32 | u64::from(process::id())
            }
        };
        eprintln!("replay with MILLSTREAM_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which must not be zero.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next_u64() % n
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

// --- hangs ----------------------------------------------------------------------------------------------------------

/// Ends the process with a message when it is not dropped in time: a hang fails and does not block.
#[derive(Debug)]
pub(crate) struct Watchdog {
    done: Arc<(Mutex<bool>, Condvar)>,
}

impl Watchdog {
    /// Allows `limit`, ten times that on an emulated processor.
    pub(crate) fn new(limit: Duration) -> Self {
        let limit = if is_set("MILLSTREAM_GUEST") { limit * 10 } else { limit };
        let done = Arc::new((Mutex::new(false), Condvar::new()));
        let test = thread::current().name().unwrap_or("?").to_owned();
        let theirs = Arc::clone(&done);
        thread::spawn(move || {
            let began = Instant::now();
            let mut finished = theirs.0.lock().unwrap_or_else(PoisonError::into_inner);
            while !*finished {
                let Some(left) = limit.checked_sub(began.elapsed()) else {
                    let line = format!("WATCHDOG: {test} did not end within {limit:?}\n");
                    let _ = std::io::stderr().lock().write_all(line.as_bytes());
                    process::exit(101);
                };
                finished = theirs.1.wait_timeout(finished, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        });
        Self { done }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *self.done.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.done.1.notify_all();
    }
}

// --- descriptors ----------------------------------------------------------------------------------------------------

/// Held by a test whose counts would be wrong if another test of the binary ran beside it.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every open descriptor of the process and what it stands for.
pub(crate) fn open_descriptors() -> BTreeMap<i32, String> {
    let mut open = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").expect("proc is mounted").flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // The directory's own descriptor is in the listing, and gone when its link is read after the walk.
        if let Ok(what) = fs::read_link(entry.path()) {
            open.insert(number, what.display().to_string());
        }
    }
    // Its number may be another file's by then: the C library opens some for a moment as a thread begins.
    open.retain(|number, what| {
        fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(|now| now.display().to_string() == *what)
    });
    open
}

/// Remembers which descriptors are open, to say later which were left behind.
#[derive(Debug)]
pub(crate) struct Descriptors(BTreeMap<i32, String>);

impl Descriptors {
    pub(crate) fn now() -> Self {
        Self(open_descriptors())
    }

    /// # Panics
    ///
    /// When a descriptor is open that was not, or one is gone. The kernel may close late, so this waits a little.
    #[track_caller]
    pub(crate) fn assert_same(&self) {
        let began = Instant::now();
        loop {
            let now = open_descriptors();
            if now.len() == self.0.len() && now.keys().eq(self.0.keys()) {
                return;
            }
            if began.elapsed() > Duration::from_secs(2) {
                let left: Vec<_> = now.iter().filter(|(n, _)| !self.0.contains_key(n)).take(20).collect();
                let gone: Vec<_> = self.0.iter().filter(|(n, _)| !now.contains_key(n)).take(20).collect();
                panic!(
                    "{} descriptors before, {} now; left behind: {left:?}; closed by mistake: {gone:?}",
                    self.0.len(),
                    now.len()
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

// --- files and children ---------------------------------------------------------------------------------------------

/// A directory that is removed with what is in it.
#[derive(Debug)]
pub(crate) struct TempDir(tempfile::TempDir);

impl TempDir {
    pub(crate) fn new() -> Self {
        Self(tempfile::Builder::new().prefix("millstream-").tempdir().expect("a directory for a test"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }
}

/// Set in a child that [`run_again`] started.
const ROLE: &str = "MILLSTREAM_ROLE";

/// Runs one test of this binary again in a child process, which sees `role` in [`role`]: for what must be seen from
/// outside, such as an abort, a fork, or a bug that was planted.
pub(crate) fn run_again(test: &str, role: impl AsRef<OsStr>) -> Output {
    Command::new(env::current_exe().expect("a test binary has a path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .output()
        .expect("the test binary starts again")
}

/// The part this process plays if [`run_again`] started it.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}
