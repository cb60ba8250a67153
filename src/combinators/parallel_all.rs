//! All of several operations at once, and the order in which they complete.
//!
//! Knows: [`Operation`]. Does not know: rings, channels, tasks.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::arms::{Arms, FlagArms, FlagSlots, IntoArms, Slots};
use super::flags::Flaggable;
use super::order::{Order, PollInOrder};
use super::visit::{Cancel, Commit, Discard, MustWait, all_wait};
use crate::operation::Operation;
use crate::ops::EntryFlags;

/// Runs operations concurrently, waits for all of them, and says in which order they completed.
///
/// Takes a tuple of up to 16 operations, an array, a `Vec`, or any iterator.
///
/// # Completion
///
/// * Ends when every arm has completed. An arm that fails stops nothing: each output is its own `Result`.
/// * Arms start in order, at the first poll.
/// * Output: [`Parallel`], with each output in its arm's place, and with the places in the order of completion. Arms that
///   one poll finds complete stand there in the order in which they were given. Of no arms at all: at once, with nothing
///   in it.
/// * [`request_cancel`](Operation::request_cancel) reaches every arm that has not completed, and the outputs say what
///   became of each.
///
/// # Cancel safety
///
/// As [`when_all`](super::when_all).
///
/// # Panics
///
/// When polled after completion.
///
/// # Cost
///
/// Tuples and arrays allocate nothing, a `Vec` one block for the arms, one for the outputs and one for their order. Every
/// poll polls each arm that has not completed. May change.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use millstream::combinators::{Parallel, parallel_all};
/// use millstream::time;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let sleep = |ms| time::sleep(Duration::from_millis(ms));
/// let Parallel { outputs: ((), (), ()), order } = parallel_all((sleep(20), sleep(0), sleep(10))).await;
/// assert_eq!(order, [1, 2, 0]);
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias("ParallelAllAwaiter", "as_completed"))]
#[must_use = "nothing starts until it is awaited"]
pub fn parallel_all<T: IntoArms<Form, Arms: Arms>, Form>(arms: T) -> ParallelAll<T::Arms> {
    ParallelAll::new(arms.into_arms())
}

/// What [`parallel_all`] resolves to: every output, and the order in which the arms completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallel<T, R> {
    /// The output of every arm, in its arm's place: a tuple, array or `Vec`.
    pub outputs: T,
    /// The places of the arms, counted from 0, the first one to complete first: an array or a `Vec`.
    pub order: R,
}

pin_project! {
    /// The operation that [`parallel_all`] returns.
    #[must_use = "nothing starts until it is awaited"]
    pub struct ParallelAll<T: Arms> {
        #[pin]
        slots: T::Slots,
        order: Order<T::Order>,
        asked_to_stop: bool,
        // Every arm has completed or decided.
        settled: bool,
    }
}

impl<T: Arms> ParallelAll<T> {
    pub(super) fn new(arms: T) -> Self {
        let slots = arms.into_slots();
        Self { order: Order::new(&slots), slots, asked_to_stop: false, settled: false }
    }

    /// The arms, to be built into another combinator.
    pub(super) fn into_slots(self) -> T::Slots {
        self.slots
    }
}

impl<T: Arms> Future for ParallelAll<T> {
    type Output = Parallel<T::Outputs, T::Order>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let pass = PollInOrder::pass(this.slots.as_mut(), cx, this.order);
        *this.settled = pass.settled;
        if !pass.completed {
            return Poll::Pending;
        }
        let order = this.order.take("parallel_all");
        Poll::Ready(Parallel { outputs: this.slots.take(), order })
    }
}

impl<T: Arms> Operation for ParallelAll<T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.project();
        if !core::mem::replace(this.asked_to_stop, true) {
            let _ = this.slots.visit(&mut Cancel { only: None });
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Discard::all(self.project().slots, cx)
    }

    fn commit_on_poll(self: Pin<&mut Self>) {
        let _ = self.project().slots.visit(&mut Commit);
    }

    fn is_decided(&self) -> bool {
        self.settled
    }

    fn may_resolve(&self) -> bool {
        !self.slots.any::<MustWait>()
    }

    fn waits(&self) -> bool {
        all_wait(&self.slots)
    }
}

impl<T: FlagArms> Flaggable for ParallelAll<T> {
    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
        self.project().slots.add_flags(flags);
    }
}

impl<T: Arms> fmt::Debug for ParallelAll<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParallelAll").field("settled", &self.settled).finish_non_exhaustive()
    }
}
