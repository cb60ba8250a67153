//! All of several operations at once.
//!
//! Knows: [`Operation`]. Does not know: rings, channels, tasks.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::arms::{Arms, IntoArms, Slots};
use super::visit::{Cancel, Commit, Discard, MustWait, PollAll, all_wait};
use crate::operation::Operation;

/// Runs operations concurrently and waits for all of them.
///
/// Takes a tuple of up to 16 operations, an array, a `Vec`, or any iterator. `a & b` is the same for two, and
/// `a & b & c` gives one flat triple.
///
/// # Completion
///
/// * Ends when every arm has completed. An arm that fails stops nothing: each output is its own `Result`.
/// * Arms start in order, at the first poll.
/// * Output: a tuple, array or `Vec` with each output in its arm's place. Of no arms at all: at once, with `()`, `[]` or
///   an empty `Vec`.
/// * [`request_cancel`](Operation::request_cancel) reaches every arm that has not completed, and the outputs say what
///   became of each.
///
/// # Cancel safety
///
/// Dropping it drops every arm, and each is as safe to drop as it is alone. Outputs of arms that had completed are
/// dropped too: a message one of them had popped goes with it. To stop early and keep them, ask for cancellation, or use
/// [`timeout`](super::OperationExt::timeout), which does so and returns every outcome.
///
/// # Panics
///
/// When polled after completion.
///
/// # Cost
///
/// Tuples and arrays allocate nothing, a `Vec` one block for the arms and one for the outputs. Every poll polls each arm
/// that has not completed. May change.
///
/// # Examples
///
/// ```
/// use millstream::channel;
/// use millstream::combinators::when_all;
/// use millstream::ops::{self, IntoResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (tx, rx) = channel::bounded(1);
/// let (pushed, popped) = when_all((tx.push(7), rx.pop())).await;
/// pushed?;
/// assert_eq!(popped?, 7);
///
/// let zeros = ops::open("/dev/zero").await?;
/// let reads = when_all((1..4).map(|n| ops::read(&zeros, vec![0; n]))).await;
/// for (n, read) in (1..4).zip(reads) {
///     assert_eq!(read.into_result()?.0, n);
/// }
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias("join", "join_all", "try_join", "WaitGroup"))]
#[must_use = "nothing starts until it is awaited"]
pub fn when_all<T: IntoArms<Form, Arms: Arms>, Form>(arms: T) -> WhenAll<T::Arms> {
    WhenAll::new(arms.into_arms())
}

pin_project! {
    /// The operation that [`when_all`] and `&` return.
    #[must_use = "nothing starts until it is awaited"]
    pub struct WhenAll<T: Arms> {
        #[pin]
        slots: T::Slots,
        asked_to_stop: bool,
        // Every arm has completed or decided.
        settled: bool,
    }
}

impl<T: Arms> WhenAll<T> {
    pub(super) fn new(arms: T) -> Self {
        Self { slots: arms.into_slots(), asked_to_stop: false, settled: false }
    }

    /// The arms, to be built into a larger combinator.
    pub(super) fn into_slots(self) -> T::Slots {
        self.slots
    }

    /// The arms, where they are.
    pub(super) fn slots(self: Pin<&mut Self>) -> Pin<&mut T::Slots> {
        self.project().slots
    }
}

impl<T: Arms> Future for WhenAll<T> {
    type Output = T::Outputs;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Outputs> {
        let mut this = self.project();
        let pass = PollAll::pass(this.slots.as_mut(), cx);
        *this.settled = pass.settled;
        if pass.completed { Poll::Ready(this.slots.take()) } else { Poll::Pending }
    }
}

impl<T: Arms> Operation for WhenAll<T> {
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

impl<O: Operation> FromIterator<O> for WhenAll<Vec<O>> {
    fn from_iter<I: IntoIterator<Item = O>>(arms: I) -> Self {
        when_all(Vec::from_iter(arms))
    }
}

impl<T: Arms> fmt::Debug for WhenAll<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhenAll").field("settled", &self.settled).finish_non_exhaustive()
    }
}
