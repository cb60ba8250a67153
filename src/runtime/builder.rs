//! What can be chosen about a runtime.
//!
//! Knows: the ring's configuration, the registry, the core. Does not know: what the values do there.

use std::thread;
use std::time::Duration;

use super::core::{Config, Core};
use super::driver::fault::FaultPlan;
use super::driver::{AnyDriver, Batch, BuildError, BuildStep, RingConfig};
use super::registry;
use super::runtime::Runtime;

/// Builds a [`Runtime`]: see [`Runtime::builder`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rt = millstream::Runtime::builder()
///     .sq_entries(64)
///     .cq_entries(1024)
///     .no_spin()
///     .shutdown_deadline(Duration::from_secs(1))
///     .build()?;
/// rt.block_on(async {});
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    ring: RingConfig,
    spin: Option<Duration>,
    batch: Option<Batch>,
    poll_budget: u32,
    shutdown_deadline: Duration,
    workers: Option<(u32, u32)>,
    hidden_features: u64,
    faults: Option<FaultPlan>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            ring: RingConfig::default(),
            spin: None,
            batch: None,
            poll_budget: 128,
            shutdown_deadline: Duration::from_secs(5),
            workers: None,
            hidden_features: 0,
            faults: None,
        }
    }

    /// How many entries can be queued between two calls of the kernel; also the length of the longest chain.
    ///
    /// Default: 256. The kernel rounds up to a power of two.
    pub fn sq_entries(mut self, entries: u32) -> Self {
        self.ring.sq_entries = entries;
        self
    }

    /// How many completions the ring holds. More ops in flight than this cost several times as much each.
    ///
    /// Default: 4096. The kernel rounds up to a power of two.
    pub fn cq_entries(mut self, entries: u32) -> Self {
        self.ring.cq_entries = entries;
        self
    }

    /// How long the thread looks for work at most before it sleeps.
    ///
    /// It looks only as long as that pays: an idle runtime sleeps. Default: 20 µs, about what a sleep and its wake cost, so
    /// that a spin in vain costs no more than what it tried to save; zero on a machine with one CPU.
    pub fn spin(mut self, longest: Duration) -> Self {
        self.spin = Some(longest);
        self
    }

    /// Sleeps at once when there is nothing to do.
    pub fn no_spin(self) -> Self {
        self.spin(Duration::ZERO)
    }

    /// Sleeps for several completions at a time: until so many are there, or, once `patience` is over, until one is.
    ///
    /// For a thread with many connections and time to spare, which is otherwise woken for each packet. The price is latency,
    /// up to `patience` each time the thread sleeps: also for an op that is awaited alone, and for what another thread leaves
    /// it. Timers are on time, and as long as few completions come, what completes at once is taken up at once.
    ///
    /// Patience is counted in microseconds. One completion, or less than a microsecond, means no waiting for more, which is
    /// the default. Unless [`spin`](Self::spin) is chosen as well, the thread looks for nothing before it sleeps.
    ///
    /// Needs Linux 6.12. On an older kernel the thread sleeps until one completion is there.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let rt = millstream::Runtime::builder().gather(16, Duration::from_micros(50)).build()?;
    /// rt.block_on(async {});
    /// # Ok(())
    /// # }
    /// ```
    pub fn gather(mut self, completions: u32, patience: Duration) -> Self {
        let waits = completions > 1 && patience >= Duration::from_micros(1);
        self.batch = waits.then_some(Batch { completions, patience });
        self
    }

    /// How many operations one poll of a task may find ready before it has to let others run.
    ///
    /// Default: 128. At least 1.
    pub fn poll_budget(mut self, operations: u32) -> Self {
        self.poll_budget = operations.max(1);
        self
    }

    /// How long the runtime waits for the kernel when it ends, before it leaks what is left.
    ///
    /// Default: 5 s. Only an op the kernel cannot cancel takes that long, such as a read from a hung network disk.
    pub fn shutdown_deadline(mut self, deadline: Duration) -> Self {
        self.shutdown_deadline = deadline;
        self
    }

    /// How many threads the kernel may use at most for ops of this runtime that it cannot do without blocking: `bounded`
    /// for regular files and block devices, `unbounded` for everything else. 0 leaves a limit as it is.
    ///
    /// Default: the kernel's, which is 4 per CPU for the first and the process limit (`RLIMIT_NPROC`) for the second.
    pub fn kernel_workers(mut self, bounded: u32, unbounded: u32) -> Self {
        self.workers = Some((bounded, unbounded));
        self
    }

    /// Pretends a kernel without these abilities, a bit of [`Feature`](crate::ops::Feature) for each: for tests of this crate.
    #[doc(hidden)]
    pub fn without_features(mut self, features: u64) -> Self {
        self.hidden_features |= features;
        self
    }

    /// Lets chosen calls of the kernel fail, for tests of this crate.
    #[doc(hidden)]
    pub fn faults(mut self, plan: &FaultPlan) -> Self {
        self.faults = Some(plan.clone());
        self
    }

    /// Sets up the ring. The runtime belongs to the calling thread.
    ///
    /// # Errors
    ///
    /// [`BuildError`] says which step failed, what forbids or lacks io_uring, and what to do about it.
    pub fn build(self) -> Result<Runtime, BuildError> {
        let mut driver = match &self.faults {
            None => AnyDriver::new(&self.ring)?,
            Some(plan) => AnyDriver::with_faults(&self.ring, plan)?,
        };
        if let Some((bounded, unbounded)) = self.workers {
            driver
                .limit_workers(bounded, unbounded)
                .map_err(|error| BuildError::call(BuildStep::Register, error))?;
        }
        let (id, entry) = registry::acquire().map_err(|error| BuildError::call(BuildStep::System, error))?;
        let config = Config {
            poll_budget: self.poll_budget,
            spin: match (self.spin, self.batch) {
                (Some(longest), _) => longest,
                (None, Some(_)) => Duration::ZERO, // a spin takes up the first of a batch
                (None, None) => default_spin(),
            },
            batch: self.batch,
            shutdown_deadline: self.shutdown_deadline,
            hidden_features: self.hidden_features,
        };
        Ok(Runtime::with_core(Core::new(id, entry, driver, config)))
    }
}

/// With one CPU, whoever is to bring work cannot run while this thread looks for it.
fn default_spin() -> Duration {
    match thread::available_parallelism() {
        Ok(cpus) if cpus.get() > 1 => Duration::from_micros(20),
        _ => Duration::ZERO,
    }
}
