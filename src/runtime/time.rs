//! Waiting for time to pass.
//!
//! Knows: timers of the runtime. Does not know: the wheel behind them, rings.
//!
//! Timers are kept in user space, in ticks of a millisecond: arming one makes no system call. A timer never fires
//! early, and up to two milliseconds late on an idle runtime. They belong to the runtime that first polled them.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::clock;
use super::context;
use super::core::Core;
use super::registry::RuntimeId;
use super::timer::TimerKey;
use crate::operation::Operation;

/// A deadline that never comes: a century away.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The instant that lies `duration` from now, or a century when that is more than the clock can say.
pub(super) fn after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration).unwrap_or_else(|| now + NEVER)
}

/// Waits until `duration` has passed, counted from this call.
///
/// # Completion
///
/// Ready at its deadline or up to two milliseconds later, never earlier. A duration of zero is ready at its first poll.
///
/// # Cancel safety
///
/// Dropping it disarms it, on any thread. A cancelled one resolves at once.
///
/// # Panics
///
/// When polled outside a runtime.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// millstream::Runtime::new()?.block_on(async {
///     let began = Instant::now();
///     millstream::time::sleep(Duration::from_millis(5)).await;
///     assert!(began.elapsed() >= Duration::from_millis(5));
/// });
/// # Ok(())
/// # }
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(after(duration))
}

/// Waits until the deadline; as [`sleep`] otherwise.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, state: State::Idle }
}

/// The future of [`sleep`] and [`sleep_until`].
#[must_use = "a sleep waits only while it is polled"]
#[derive(Debug)]
pub struct Sleep {
    deadline: Instant,
    state: State,
}

/// ```text
///   Idle ── poll ──► Armed ── fired, or cancelled ──► Over
///     └───────── deadline passed, or cancelled ────────►│
/// ```
#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    Armed(RuntimeId, TimerKey),
    Over,
}

impl Sleep {
    /// When it ends.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Moves the deadline. A sleep that is over can be awaited again after this.
    pub fn reset(&mut self, deadline: Instant) {
        drop(self.disarm());
        self.deadline = deadline;
        self.state = State::Idle;
    }

    /// Takes the timer back, from whichever thread; the waker it had, if this is its own.
    fn disarm(&mut self) -> Option<std::task::Waker> {
        let State::Armed(id, key) = std::mem::replace(&mut self.state, State::Over) else { return None };
        clock::disarm_on(id, key)
    }

    #[cold]
    fn arm(&mut self, core: &Core, cx: &mut Context<'_>) -> Poll<()> {
        drop(self.disarm()); // it was armed on another runtime
        if Instant::now() >= self.deadline {
            self.state = State::Over;
            return Poll::Ready(());
        }
        self.state = State::Armed(core.id, core.timers.arm(self.deadline, cx.waker().clone()));
        Poll::Pending
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.state, State::Over) {
            return Poll::Ready(());
        }
        context::with(|core| {
            let core = core.expect(
                "a timer was polled outside a millstream runtime: use `Runtime::block_on` or `#[millstream::main]`",
            );
            match self.state {
                State::Armed(id, key) if id == core.id => {
                    if core.timers.poll(key, cx.waker()) {
                        return Poll::Pending;
                    }
                    self.state = State::Over;
                    Poll::Ready(())
                }
                _ => self.arm(core, cx),
            }
        })
    }
}

impl Operation for Sleep {
    fn request_cancel(mut self: Pin<&mut Self>) {
        let waker = self.disarm();
        self.state = State::Over;
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll_discard(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        drop(self.disarm());
        Poll::Ready(())
    }

    fn may_resolve(&self) -> bool {
        match self.state {
            State::Idle => Instant::now() >= self.deadline,
            State::Armed(..) => !self.waits(),
            State::Over => true,
        }
    }

    fn waits(&self) -> bool {
        let State::Armed(id, key) = self.state else { return false };
        context::with(|core| core.is_some_and(|core| core.id == id && core.timers.is_armed(key)))
    }

    fn may_be_put_off(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    fn is_inert(&self) -> bool {
        true // its drop takes the timer back
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        drop(self.disarm());
    }
}

/// Lets `future` run for `duration` at most.
///
/// This is for any future, which is dropped at the deadline. An op or a channel operation is better served by the
/// combinator `timeout` of [`OperationExt`](crate::combinators), which gives back what it held.
///
/// # Completion
///
/// `Ok` with the future's output, also when it becomes ready in the very poll that sees the deadline.
///
/// # Errors
///
/// [`Elapsed`] when the deadline came first.
///
/// # Cancel safety
///
/// That of `future`.
///
/// # Panics
///
/// When polled outside a runtime, or again after it was ready.
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// millstream::Runtime::new()?.block_on(async {
///     let late = millstream::time::timeout(Duration::from_millis(1), pending::<()>());
///     assert!(late.await.is_err());
/// });
/// # Ok(())
/// # }
/// ```
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout { future: Some(future), sleep: sleep(duration) }
}

pin_project! {
    /// The future of [`timeout`].
    #[must_use = "a future does nothing unless it is polled"]
    #[derive(Debug)]
    pub struct Timeout<F> {
        #[pin]
        future: Option<F>,
        #[pin]
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let future = this.future.as_mut().as_pin_mut().expect("a timeout was polled after it was ready");
        let result = match future.poll(cx) {
            Poll::Ready(output) => Ok(output),
            Poll::Pending => {
                std::task::ready!(this.sleep.as_mut().poll(cx));
                Err(Elapsed(()))
            }
        };
        this.future.set(None);
        this.sleep.poll_discard(cx).map(|()| result)
    }
}

impl<F: Future> Operation for Timeout<F> {
    /// Moves the deadline to now.
    fn request_cancel(self: Pin<&mut Self>) {
        self.project().sleep.request_cancel();
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        this.future.set(None);
        this.sleep.poll_discard(cx)
    }
}

/// The time was over before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline passed before the future was ready")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// A clock that ticks every `period`, for the first time one period from now.
///
/// Ticks that nobody awaited in time are left out, not made up for: after a delay the next tick is the next multiple of
/// the period.
///
/// # Panics
///
/// When `period` is zero.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// millstream::Runtime::new()?.block_on(async {
///     let mut interval = millstream::time::interval(Duration::from_millis(2));
///     let (first, second) = (interval.tick().await, interval.tick().await);
///     assert!(second >= first + Duration::from_millis(2));
/// });
/// # Ok(())
/// # }
/// ```
pub fn interval(period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval's period must not be zero");
    Interval { period, sleep: sleep(period) }
}

/// A clock that ticks: see [`interval`].
#[derive(Debug)]
pub struct Interval {
    period: Duration,
    sleep: Sleep,
}

impl Interval {
    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Waits for the next tick, and tells for when it was due.
    ///
    /// # Cancel safety
    ///
    /// A tick that was not awaited to its end is still to come: dropping the future loses nothing.
    pub fn tick(&mut self) -> Tick<'_> {
        Tick { interval: self, given_up: false }
    }

    /// As [`Interval::tick`], for use in a `poll` function.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        std::task::ready!(Pin::new(&mut self.sleep).poll(cx));
        let due = self.sleep.deadline();
        let late = Instant::now().saturating_duration_since(due);
        let missed = late.as_nanos() / self.period.as_nanos();
        let periods = u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1);
        let next = self.period.checked_mul(periods).and_then(|ahead| due.checked_add(ahead));
        self.sleep.reset(next.unwrap_or_else(|| after(self.period)));
        Poll::Ready(due)
    }
}

/// The future of [`Interval::tick`].
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct Tick<'a> {
    interval: &'a mut Interval,
    given_up: bool,
}

impl Future for Tick<'_> {
    type Output = Instant;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        if self.given_up {
            return Poll::Ready(self.interval.sleep.deadline());
        }
        self.interval.poll_tick(cx)
    }
}

impl Operation for Tick<'_> {
    /// It resolves at once, to the instant of the tick that is still to come.
    fn request_cancel(mut self: Pin<&mut Self>) {
        self.given_up = true;
    }

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn may_resolve(&self) -> bool {
        self.given_up || self.interval.sleep.may_resolve()
    }

    fn waits(&self) -> bool {
        !self.given_up && self.interval.sleep.waits()
    }

    fn may_be_put_off(&self) -> bool {
        self.interval.sleep.may_be_put_off()
    }

    fn is_inert(&self) -> bool {
        true // the timer is the interval's
    }
}
