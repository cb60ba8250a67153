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
    /// How many periods are still to be told; `None`: there is no end.
    left: Option<u64>,
    /// With single entries: when the period that is running ends.
    next: Option<Instant>,
}

impl TimeoutMultishot {
    /// How many periods have passed, of one at least that has.
    fn passed(&mut self) -> u64 {
        let Some(next) = self.next else { return 1 };
        let late = next.elapsed().as_nanos() / self.period.as_nanos();
        let passed = 1 + late as u64;
        let skip = u32::try_from(passed).ok().and_then(|passed| self.period.checked_mul(passed));
        self.next = skip.and_then(|skip| next.checked_add(skip));
        passed
    }
}

// SAFETY: (I1) the entry points to the timespec inside of the source.
unsafe impl Source for TimeoutMultishot {
    type Item = u64;
    type Home = ();

    const FEATURE: Feature = Feature::TimeoutMultishot;

    fn sqe(&mut self, shot: Shot) -> Sqe {
        let entry = match shot {
            Shot::Multi => {
                self.next = None;
                self.spec = timespec(self.period);
                // 0 is without end. More than the kernel can count in one go is asked for in several.
                let count = self.left.map_or(0, |left| u32::try_from(left).unwrap_or(u32::MAX));
                opcode::Timeout::new(&raw const self.spec).count(count).flags(TimeoutFlags::MULTISHOT)
            }
            Shot::Single => {
                let now = Instant::now();
                let next = *self.next.get_or_insert_with(|| now.checked_add(self.period).unwrap_or(now));
                self.spec = timespec(next.saturating_duration_since(now));
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
        let passed = self.passed();
        let Some(left) = &mut self.left else { return Came::Item(passed) };
        let told = passed.min(*left);
        *left -= told;
        match (told, *left) {
            (0, _) => Came::End,
            (_, 0) => Came::Last(told),
            _ => Came::Item(told),
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
/// not, so that nothing piles up and no period is missed. The first period begins when the entry is submitted. A period of
/// zero is one of a nanosecond. Give it a destination: see [`Multishot`]; for a timer in one task,
/// [`time::interval`](crate::time::interval) costs no system call.
///
/// # Kernel
///
/// `IORING_OP_TIMEOUT` with `IORING_TIMEOUT_MULTISHOT`, Linux 6.4: one entry for any number of periods, without drift. Where
/// the kernel lacks it, one entry for each, for what is left of its period, so that they do not drift either.
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
    Multishot::new(TimeoutMultishot { period, spec: Timespec::new(), left: None, next: None })
}

impl Multishot<TimeoutMultishot> {
    /// Ends after so many periods; without this it goes on for ever.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn count(mut self, periods: u64) -> Self {
        self.source_mut().left = Some(periods);
        self
    }
}
