//! Seeds of rounds, and an end to a process in which no round goes on.
//!
//! Knows: std. Does not know: what the rounds do.
//!
//! A long test has no sensible limit on its time, but it always has one on how long nothing at all may happen. On a
//! stall the process ends with the seed of the round, which a panic could not say: nobody would be there to catch it.

#![allow(dead_code, reason = "every test that includes this file uses its own part of it")]

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{env, process, thread};

const LIMIT: Duration = Duration::from_secs(60);

/// The seed to begin with: `MILLSTREAM_SEED`, else one from the clock. A round that fails names its own; given that, it
/// is the first to run.
pub(crate) fn seed() -> u64 {
    match env::var("MILLSTREAM_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("MILLSTREAM_SEED={text} is not a number")),
        Err(_) => {
            let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
            now.as_secs() << 20 ^ u64::from(now.subsec_nanos())
        }
    }
}

#[derive(Default)]
struct Shared {
    progress: AtomicU64,
    seed: AtomicU64,
    over: AtomicBool,
}

impl Shared {
    /// Ends the process with a word past the test harness's capture.
    fn end(&self, why: &str) -> ! {
        let seed = self.seed.load(Ordering::Relaxed);
        let line = format!("{why}, MILLSTREAM_SEED={seed}\n");
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
        process::exit(101)
    }
}

/// Ends the process when [`progress`](Self::progress) was not called for a minute (ten on an emulated processor).
#[derive(Clone)]
pub(crate) struct Stalls(Arc<Shared>);

impl Stalls {
    pub(crate) fn watch() -> Self {
        let shared = Arc::new(Shared::default());
        let (theirs, test) = (shared.clone(), thread::current().name().unwrap_or("?").to_owned());
        let limit = if env::var_os("MILLSTREAM_GUEST").is_some() { LIMIT * 10 } else { LIMIT };
        thread::spawn(move || {
            let (mut last, mut idle) = (0, Duration::ZERO);
            let nap = Duration::from_millis(250);
            while !theirs.over.load(Ordering::Relaxed) {
                thread::sleep(nap);
                let now = theirs.progress.load(Ordering::Relaxed);
                idle = if now == last { idle + nap } else { Duration::ZERO };
                last = now;
                if idle >= limit {
                    let seed = theirs.seed.load(Ordering::Relaxed);
                    let line =
                        format!("STALLED: {test}: nothing happened for {limit:?}, MILLSTREAM_SEED={seed}\n");
                    let _ = std::io::stderr().lock().write_all(line.as_bytes());
                    process::exit(101);
                }
            }
        });
        Self(shared)
    }

    /// A round begins.
    pub(crate) fn round(&self, seed: u64) {
        self.0.seed.store(seed, Ordering::Relaxed);
        self.progress();
    }

    /// Does the part of one thread. If it panics the process ends: the other threads would wait for it for ever.
    pub(crate) fn guard<R>(&self, part: impl FnOnce() -> R) -> R {
        catch_unwind(AssertUnwindSafe(part)).unwrap_or_else(|payload| {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
            self.0.end(&format!("FAILED: {}", text.unwrap_or_default()))
        })
    }

    /// Something happened.
    pub(crate) fn progress(&self) {
        self.0.progress.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn over(&self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}
