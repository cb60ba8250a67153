//! The kernel's timer, again and again.
//!
//! Knows: `IORING_OP_TIMEOUT` and its multishot flag. Does not know: the runtime's own timers.
#![allow(unsafe_code, reason = "implements the unsafe source trait")]

use std::io;
use std::time::{Duration, Instant};

use io_uring::opcode;
use io_uring::types::{TimeoutFlags, Timespec};

use super::Multishot;
use super::source::{Came, Shot, Source};
use crate::ops::features::Feature;
use crate::ops::timeout::timespec;
use crate::runtime::driver::Sqe;

/// The source of [`timeout_multishot`].
#[derive(Debug)]
pub struct TimeoutMultishot {
    period: Duration,
    /// What the entry points to.
    spec: Timespec,
    /// When the first period began.
    began: Option<Instant>,
    /// How many periods were told since then.
    told: u64,
    /// At how many it is over; `None`: there is no end.
    count: Option<u64>,
}

impl TimeoutMultishot {
    /// How long the periods have lasted that begin with the first entry.
    fn elapsed(&mut self) -> Duration {
        self.began.get_or_insert_with(Instant::now).elapsed()
    }

    /// How long it is until the next one is over.
    fn until_next(&mut self) -> Duration {
        let due = self.period.as_nanos().saturating_mul(u128::from(self.told) + 1);
        let left = due.saturating_sub(self.elapsed().as_nanos());
        Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
    }
}

// SAFETY: (I1) the entry points to the timespec inside of the source.
unsafe impl Source for TimeoutMultishot {
    type Item = u64;
    type Home = ();

    const REPEATABLE: bool = false;
    const FEATURE: Feature = Feature::TimeoutMultishot;

    fn sqe(&mut self, shot: Shot) -> Sqe {
        let until_next = self.until_next();
        let entry = match shot {
            Shot::Multi => {
                self.spec = timespec(self.period);
                // 0 is without end. More than the kernel can count in one go is asked for in several.
                let left = self.count.map_or(0, |count| u32::try_from(count - self.told).unwrap_or(u32::MAX));
                opcode::Timeout::new(&raw const self.spec).count(left).flags(TimeoutFlags::MULTISHOT)
            }
            Shot::Single => {
                self.spec = timespec(until_next);
                opcode::Timeout::new(&raw const self.spec)
            }
        };
        entry.build().into()
    }

    fn came(&mut self, result: io::Result<u32>, _flags: u32) -> Came<u64> {
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => {}
            Err(error) => return Came::Failed(error),
            Ok(_) => return Came::Nothing,
        }
        // By the clock: the kernel begins a period when it has noted the end of the one before, which may be late.
        let elapsed = self.elapsed().as_nanos() / self.period.as_nanos();
        let all = u64::try_from(elapsed).unwrap_or(u64::MAX).min(self.count.unwrap_or(u64::MAX));
        let new = all.saturating_sub(self.told);
        self.told += new;
        match (new, self.count == Some(self.told)) {
            (0, true) => Came::End,
            (0, false) => Came::Nothing,
            (new, true) => Came::Last(new),
            (new, false) => Came::Item(new),
        }
    }

    const JOINS: bool = true;

    fn join(&mut self, waiting: &mut u64, new: u64) -> Result<(), u64> {
        *waiting += new;
        Ok(())
    }

    fn home(&self) -> &() {
        &()
    }
}

/// Tells each time that a period has passed, measured by the kernel, until it is stopped.
///
/// Every result is the number of periods that have passed since the last one: 1 for whoever keeps up, more for whoever does
/// not, so that nothing piles up and no period is missed. The first period begins with the first poll. The kernel begins each
/// further one when the runtime has let it note the end of the one before: a thread that is busy for long is told late. But
/// it is told how many, by the clock. A period of zero is one of a nanosecond. Give it a destination: see [`Multishot`]; for a timer in one task,
/// [`time::interval`](crate::time::interval) costs no system call.
///
/// # Kernel
///
/// `IORING_OP_TIMEOUT` with `IORING_TIMEOUT_MULTISHOT`, Linux 6.4: one entry for any number of periods. Where the kernel lacks
/// it, one entry for each, for what is left of its period.
///
/// # Errors
///
/// `ECANCELED` when it was cancelled.
///
/// # Cancel safety
///
/// Nothing can be lost but the count of periods that nobody was told of.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use millstream::combinators::ResultsExt;
/// use millstream::{channel, ops, spawn};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (tx, ticks) = channel::bounded(1);
/// let timer = spawn(ops::timeout_multishot(Duration::from_millis(1)).count(5).will_push(tx));
/// let mut periods = 0;
/// while let Ok(passed) = ticks.pop().await {
///     periods += passed;
/// }
/// assert_eq!(periods, 5);
/// assert!(timer.await?.end.is_ok());
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias = "interval")]
#[doc(alias = "ticker")]
pub fn timeout_multishot(period: Duration) -> Multishot<TimeoutMultishot> {
    let period = period.max(Duration::from_nanos(1));
    Multishot::new(TimeoutMultishot { period, spec: Timespec::new(), began: None, told: 0, count: None })
}

impl Multishot<TimeoutMultishot> {
    /// Ends after so many periods; without this it goes on for ever.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn count(mut self, periods: u64) -> Self {
        self.source_mut().count = Some(periods);
        self
    }
}
