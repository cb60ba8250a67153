//! Time as channels: an instant comes out when it is due.
//!
//! Knows: the clock, alarms, the operation contract. Does not know: the other channels, the runtime.
//!
//! [`after`] and [`at`] give a channel with one value in the future, [`tick`] one with a value every period, [`never()`]
//! one without any. All four give a [`Receiver`], with the names that every channel has, so a deadline is an arm like any
//! other, and which of the four it is can be decided at run time:
//!
//! ```
//! use std::time::Duration;
//!
//! use millstream::channel;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limit = std::env::var("LIMIT").ok().map(|seconds| seconds.parse()).transpose()?;
//! let deadline = limit.map_or_else(channel::never, |seconds| channel::after(Duration::from_secs(seconds)));
//! assert!(deadline.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! Nobody pushes. A receiver knows when its next value is due; a pop looks at the clock, and takes the value when that
//! instant has come. When it has not, the pop has itself woken then. So a tick nobody pops costs nothing and wakes nobody,
//! and a value is taken by the poll that returns it, or not at all.
//!
//! ```text
//!   due ── pop, the instant has come ──► due one period later, or later by the whole periods that were missed
//!    │                              └──► closed, without a period
//!    ├── pop, it has not come: a timer is armed where the pop is polled
//!    └── close ──► closed, behind a value that is due already
//! ```
//!
//! A task of a runtime of this crate has its timer on that runtime's wheel: no system call, and up to two milliseconds
//! late. Any other future (under another executor, or inside something in a task that wakes by wakers of its own, such as
//! a `FuturesUnordered`) has it with one thread of this crate, started with the first such timer, asleep while nothing is
//! due; a child process after `fork` starts one of its own. [`Receiver::pop_blocking`] needs neither. No value ever comes early. A pop may move to another thread or executor
//! between polls, and its timer with it.
//!
//! In a loop around a race each turn gives up a pop and makes another: that disarms the timer and arms it again, without a
//! system call.

mod iter;
mod pop;
mod receiver;
mod stream;

use std::time::{Duration, Instant};

pub use iter::{IntoIter, Iter, TryIter};
pub use pop::Pop;
pub use receiver::Receiver;

/// Makes a channel whose one value comes when `duration` has passed, counted from this call.
///
/// The value is the instant it was due. When it has been popped the channel is closed. A duration of zero is due at once;
/// one that goes beyond what the clock can say never comes, as with [`never()`].
///
/// # Cost
///
/// A look at the clock. A timer exists only while a pop waits.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use std::time::{Duration, Instant};
///
/// use millstream::channel::{self, PopError};
///
/// let began = Instant::now();
/// let mut deadline = channel::after(Duration::from_millis(2));
/// assert!(deadline.pop().await? >= began + Duration::from_millis(2));
/// assert_eq!(deadline.pop().await, Err(PopError::Closed));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[doc(alias("After", "sleep", "timer", "NewTimer"))]
pub fn after(duration: Duration) -> Receiver {
    Receiver::new(Instant::now().checked_add(duration), None)
}

/// Makes a channel whose one value comes at `instant`, and is that instant.
///
/// When it has been popped the channel is closed. An instant that has passed is due at once.
///
/// # Cost
///
/// None. A timer exists only while a pop waits.
///
/// # Examples
///
/// ```
/// use std::time::Instant;
///
/// use millstream::channel::{self, TryPopError};
///
/// let now = Instant::now();
/// let mut deadline = channel::at(now);
/// assert_eq!(deadline.try_pop(), Ok(now));
/// assert_eq!(deadline.try_pop(), Err(TryPopError::Closed));
/// ```
#[doc(alias("sleep_until", "deadline"))]
pub fn at(instant: Instant) -> Receiver {
    Receiver::new(Some(instant), None)
}

/// Makes a channel with a value every `period`, for the first time one period from now.
///
/// The values are the instants `start + period`, `start + 2 * period` and so on, so late pops add up to no drift. There is
/// never more than one value to pop: what came due while an older one had not been popped is left out, and counted in
/// [`Receiver::missed`]. So a slow popper gets the oldest tick it missed, at once, and then the next one in step. A period
/// shorter than timers are late (two milliseconds in a task of a runtime) makes every popper a slow one. It never closes
/// by itself; when the next tick lies beyond what the clock can say, no more come.
///
/// # Panics
///
/// When `period` is zero.
///
/// # Cost
///
/// A look at the clock. A timer exists only while a pop waits.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use std::time::Duration;
///
/// use millstream::channel;
///
/// let period = Duration::from_millis(2);
/// let mut ticks = channel::tick(period);
/// let first = ticks.pop().await?;
/// let second = ticks.pop().await?;
/// assert_eq!((second - first).as_nanos() % period.as_nanos(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[doc(alias("Tick", "interval", "NewTicker"))]
#[track_caller]
pub fn tick(period: Duration) -> Receiver {
    assert!(!period.is_zero(), "the period of a channel of ticks must not be zero");
    Receiver::new(Instant::now().checked_add(period), Some(period))
}

/// Makes a channel that never has a value and does not close by itself.
///
/// It stands where a deadline may be and is not. A pop waits until it is given up; one that
/// [blocks](Receiver::pop_blocking) waits for ever.
///
/// # Cost
///
/// None, and no timer is ever armed.
///
/// # Examples
///
/// ```
/// use millstream::channel::{self, TryPopError};
///
/// let mut silence = channel::never();
/// assert_eq!(silence.try_pop(), Err(TryPopError::Empty));
/// ```
#[doc(alias("pending", "nil"))]
pub fn never() -> Receiver {
    Receiver::new(None, None)
}
