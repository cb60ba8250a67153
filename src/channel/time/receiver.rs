//! The end that pops instants.
//!
//! Knows: the clock, its futures. Does not know: who keeps a timer.

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::iter::{Iter, TryIter};
use super::pop::Pop;
use crate::channel::blocking;
use crate::channel::error::{PopError, TryPopError};
use crate::channel::wake::deliver;
use crate::sync::thread;
use crate::util::alarm::Alarm;
use crate::util::executor;

/// The popping end of a channel of time: what [`after`](super::after), [`at`](super::at), [`tick`](super::tick) and
/// [`never`](super::never()) give; also a [`Stream`](futures_core::Stream).
///
/// There is one end, and popping takes it by `&mut`: to let several tasks have the ticks, push them into a
/// [`bounded`](crate::channel::bounded) channel, or give each task ticks of its own.
#[derive(Debug)]
#[must_use = "time passes whether or not anybody pops"]
pub struct Receiver {
    /// When the next value is due; `None`: never.
    next: Option<Instant>,
    period: Option<Duration>,
    missed: u64,
    closed: bool,
    /// Of the pop, or of the receiver as a stream: there is one at a time.
    alarm: Alarm,
}

impl Receiver {
    pub(super) fn new(next: Option<Instant>, period: Option<Duration>) -> Self {
        Self { next, period, missed: 0, closed: false, alarm: Alarm::off() }
    }

    /// Takes the instant that is due, waiting for it first.
    ///
    /// The value is the instant it was due, which is not later than now. One that is due already resolves the first poll.
    /// After the one value of [`after`](super::after) and [`at`](super::at), and after a close, it fails.
    ///
    /// # Errors
    ///
    /// [`PopError::Closed`] once the channel is closed and nothing is due.
    ///
    /// # Cancel safety
    ///
    /// A dropped pop takes nothing and leaves no timer behind: what it waited for is still to come, or is there for the
    /// next pop.
    ///
    /// # Panics
    ///
    /// See [`Pop`].
    ///
    /// # Examples
    ///
    /// A deadline for a whole loop, under any executor:
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// use std::time::Duration;
    ///
    /// use millstream::combinators::OneOf2;
    /// use millstream::{channel, race};
    ///
    /// let (tx, rx) = channel::bounded(4);
    /// let mut deadline = channel::after(Duration::from_millis(5));
    /// tx.push("in time").await?;
    /// let mut seen = Vec::new();
    /// while let OneOf2::A(message) = race!(rx.pop() || deadline.pop()).await {
    ///     seen.push(message?);
    /// }
    /// assert_eq!(seen, ["in time"]);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[doc(alias("recv", "tick"))]
    pub fn pop(&mut self) -> Pop<'_> {
        self.alarm.clear(); // its place as a stream
        Pop::new(self)
    }

    /// Takes the instant that is due, if one is.
    ///
    /// # Errors
    ///
    /// [`TryPopError::Empty`] before it is due, [`TryPopError::Closed`] once the channel is closed and nothing is due.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use millstream::channel::{self, TryPopError};
    ///
    /// let mut deadline = channel::after(Duration::from_secs(3600));
    /// assert_eq!(deadline.try_pop(), Err(TryPopError::Empty));
    /// deadline.close();
    /// assert_eq!(deadline.try_pop(), Err(TryPopError::Closed));
    /// ```
    #[doc(alias = "try_recv")]
    pub fn try_pop(&mut self) -> Result<Instant, TryPopError> {
        self.alarm.clear();
        match self.due() {
            Some((due, now)) => {
                self.pass(due, now);
                Ok(due)
            }
            None if self.closed => Err(TryPopError::Closed),
            None => Err(TryPopError::Empty),
        }
    }

    /// As [`pop`](Self::pop), but blocks the calling thread: it sleeps until the instant, without a timer.
    ///
    /// On a channel that [never](super::never()) has a value it blocks for ever.
    ///
    /// # Errors
    ///
    /// [`PopError::Closed`] once the channel is closed.
    ///
    /// # Cancel safety
    ///
    /// It cannot be cancelled.
    ///
    /// # Panics
    ///
    /// On a thread where a runtime is polling, since blocking it would stop every task there.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut ticks = millstream::channel::tick(Duration::from_millis(1));
    /// for _ in 0..3 {
    ///     let due = ticks.pop_blocking()?;
    ///     assert!(due.elapsed() < Duration::from_secs(60));
    /// }
    /// # Ok::<(), millstream::channel::PopError>(())
    /// ```
    #[doc(alias("blocking_recv", "sleep"))]
    pub fn pop_blocking(&mut self) -> Result<Instant, PopError> {
        blocking::assert_plain_thread("pop_blocking", "pop().await");
        loop {
            match self.try_pop() {
                Ok(due) => return Ok(due),
                Err(TryPopError::Closed) => return Err(PopError::Closed),
                // Nobody else can pop or close meanwhile, so there is nothing to be woken for.
                Err(TryPopError::Empty) => thread::sleep(match self.next {
                    Some(next) => next.saturating_duration_since(Instant::now()),
                    None => Duration::MAX,
                }),
            }
        }
    }

    /// Closes the channel: nothing comes due from now on; what is due already can still be popped.
    ///
    /// Who waits for it as a stream is woken, on whichever thread.
    ///
    /// Returns whether this call closed it.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::time::Duration;
    ///
    /// use millstream::channel::{self, PopError};
    ///
    /// let mut ticks = channel::tick(Duration::from_secs(60));
    /// assert!(ticks.close());
    /// assert_eq!(ticks.pop().await, Err(PopError::Closed));
    /// # });
    /// ```
    #[doc(alias("stop", "Stop"))]
    pub fn close(&mut self) -> bool {
        if self.due().is_none() {
            self.next = None;
        }
        deliver(self.alarm.cancel()); // whoever polled it last as a stream is to see the end
        !std::mem::replace(&mut self.closed, true)
    }

    /// Whether the channel is closed: explicitly, or because its one value has been popped.
    ///
    /// What was due before it was closed can still be popped.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many values can be popped now: 1 when one is due, otherwise 0.
    pub fn len(&self) -> usize {
        usize::from(self.due().is_some())
    }

    /// How many values it holds at most: 1. What comes due beyond that is [`missed`](Self::missed).
    pub fn capacity(&self) -> usize {
        1
    }

    /// Whether nothing is due.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a value is due, so that the next tick would be missed.
    pub fn is_full(&self) -> bool {
        self.len() == 1
    }

    /// The value that comes next, which may be due already. `None` if none comes any more.
    pub fn next_due(&self) -> Option<Instant> {
        self.next
    }

    /// The time between two ticks; `None` if this is not a channel of [`tick`](super::tick)s.
    pub fn period(&self) -> Option<Duration> {
        self.period
    }

    /// How many ticks were left out because an older one had not been popped when they came due.
    ///
    /// They are counted by the pop of that older one, so no tick is in neither count: with `popped` ticks popped,
    /// [`next_due`](Self::next_due) is `start + (popped + missed + 1) * period`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut ticks = millstream::channel::tick(Duration::from_millis(1));
    /// std::thread::sleep(Duration::from_millis(10));
    /// ticks.try_pop()?; // the first, late
    /// assert!(ticks.missed() >= 9);
    /// # Ok::<(), millstream::channel::TryPopError>(())
    /// ```
    #[doc(alias("lagged", "skipped"))]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The values as they come due, for a plain thread; ends when the channel is closed and nothing is due.
    ///
    /// # Cancel safety
    ///
    /// Dropping the iterator loses nothing.
    ///
    /// # Panics
    ///
    /// As [`pop_blocking`](Self::pop_blocking), when asked for a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut ticks = millstream::channel::tick(Duration::from_millis(1));
    /// assert_eq!(ticks.iter().take(3).count(), 3);
    /// ```
    pub fn iter(&mut self) -> Iter<'_> {
        Iter::new(self)
    }

    /// What is due now; does not wait.
    ///
    /// # Cancel safety
    ///
    /// Dropping the iterator loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut ticks = millstream::channel::tick(Duration::from_secs(60));
    /// assert_eq!(ticks.try_iter().count(), 0);
    /// ```
    pub fn try_iter(&mut self) -> TryIter<'_> {
        TryIter::new(self)
    }

    /// One poll of a pop, or of the stream.
    pub(super) fn poll_pop(&mut self, cx: &mut Context<'_>) -> Poll<Result<Instant, PopError>> {
        match self.due() {
            Some(_) if !executor::spend(cx) => Poll::Pending,
            Some((due, now)) => {
                self.alarm.clear();
                self.pass(due, now);
                Poll::Ready(Ok(due))
            }
            None if self.closed => Poll::Ready(Err(PopError::Closed)),
            None => {
                self.alarm.set(self.next, cx.waker());
                Poll::Pending
            }
        }
    }

    /// Nothing will ever come out again.
    pub(super) fn has_ended(&self) -> bool {
        self.closed && self.next.is_none()
    }

    /// Gives up waiting. Whom a timer would have woken, if that can be had.
    pub(super) fn leave(&mut self) -> Option<Waker> {
        self.alarm.cancel()
    }

    /// Whether a pop would find a value now.
    pub(super) fn is_due(&self) -> bool {
        self.due().is_some()
    }

    /// The next value, if its instant has come, and what the clock says.
    fn due(&self) -> Option<(Instant, Instant)> {
        let (next, now) = (self.next?, Instant::now());
        (next <= now).then_some((next, now))
    }

    /// Moves on from the value that was due.
    fn pass(&mut self, due: Instant, now: Instant) {
        let Some(period) = self.period.filter(|_| !self.closed) else {
            self.closed = true;
            self.next = None;
            return;
        };
        let late = now - due;
        if late < period {
            self.next = due.checked_add(period);
            return;
        }
        let missed = late.as_nanos() / period.as_nanos();
        self.missed = self.missed.saturating_add(u64::try_from(missed).unwrap_or(u64::MAX));
        self.next = whole(period.as_nanos() * (missed + 1)).and_then(|ahead| due.checked_add(ahead));
    }
}

/// That many nanoseconds, if a duration can say it.
fn whole(nanos: u128) -> Option<Duration> {
    const SECOND: u128 = 1_000_000_000;
    Some(Duration::new(u64::try_from(nanos / SECOND).ok()?, (nanos % SECOND) as u32))
}
