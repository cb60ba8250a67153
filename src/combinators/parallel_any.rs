//! The first of several operations, and what became of all the others.
//!
//! Knows: [`Operation`]. Does not know: rings, channels, tasks.

use core::fmt;
use core::future::Future;
use core::ops::ControlFlow;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::arms::{Arms, FlagArms, FlagSlots, IntoArms, NoArms, RaceArms, Slots, Visit};
use super::flags::Flaggable;
use super::order::{Order, PollInOrder};
use super::slot::Slot;
use super::visit::{Cancel, Commit, Discard, MayResolve, all_wait};
use crate::operation::Operation;
use crate::ops::EntryFlags;

/// Runs operations concurrently until one decides; the others are stopped, and say what they came to.
///
/// [`when_any`](super::when_any) with every outcome: a loser's buffer or value comes back, and a loser that completed all
/// the same is seen. Takes a tuple of 2 to 16 operations, an array, a `Vec`, or any iterator.
///
/// # Completion
///
/// * The first arm to complete decides, as in [`when_any`](super::when_any): arms are polled in order, and of several that
///   are ready in one poll the first one wins.
/// * Arms start in order, at the first poll. An arm that is ready at once wins and the arms after it are never started.
/// * The others are asked to stop and waited for until they resolve, and their outcome is what they resolve to: `ECANCELED`
///   and the buffer, [`Cancelled`](crate::channel::PushError::Cancelled) and the value, or their result if they were
///   quicker than the request, such as the message that a pop had been given already. An arm that was never started is not started now: its outcome is that of an operation that
///   is cancelled before it began, and so gives back what it holds, too.
/// * An arm by reference (`&mut op`) is asked to stop like the others: its outcome is wanted.
/// * Output: [`Raced`], with the winner's place, every output in its arm's place, and the places in the order of
///   completion.
/// * [`request_cancel`](Operation::request_cancel) reaches every arm that has not completed; the first to say so is the
///   winner.
///
/// # Cancel safety
///
/// Dropping it drops every arm, and each is as safe to drop as it is alone. Dropped after an arm has decided, while the
/// others end, it drops the outputs that are there.
///
/// # Panics
///
/// When given an empty `Vec` or iterator: nothing could ever decide. [`try_parallel_any`] makes an error of that; an empty
/// tuple or array does not compile. Also when polled after completion.
///
/// # Cost
///
/// As [`parallel_all`](super::parallel_all).
///
/// # Examples
///
/// ```
/// use millstream::channel::{self, PushError};
/// use millstream::combinators::{Raced, parallel_any};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let ((tx, _rx), (stop, stopped)) = (channel::bounded(1), channel::bounded(1));
/// tx.push("first").await?;
/// stop.push("enough").await?;
/// let Raced { winner, outputs: (pushed, why), .. } = parallel_any((tx.push("second"), stopped.pop())).await;
/// assert_eq!((winner, why), (1, Ok("enough")));
/// assert_eq!(pushed, Err(PushError::Cancelled("second"))); // nobody took it, here it is
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias("ParallelAnyAwaiter", "select", "race"))]
#[must_use = "nothing starts until it is awaited"]
#[track_caller]
pub fn parallel_any<T: IntoArms<Form, Arms: RaceArms>, Form>(arms: T) -> ParallelAny<T::Arms> {
    match try_parallel_any(arms) {
        Ok(any) => any,
        Err(NoArms) => panic!("`parallel_any` of nothing: a race needs at least one arm to decide it"),
    }
}

/// [`parallel_any`] of arms whose number only the data knows: of none, an error.
///
/// # Completion
///
/// What is in the `Ok` is a [`parallel_any`].
///
/// # Errors
///
/// [`NoArms`], there and then, when there is not a single arm: nothing could ever decide.
///
/// # Examples
///
/// ```
/// use millstream::channel::Receiver;
/// use millstream::combinators::{NoArms, try_parallel_any};
///
/// let feeds: Vec<Receiver<u8>> = Vec::new();
/// assert_eq!(try_parallel_any(feeds.iter().map(|feed| feed.pop())).unwrap_err(), NoArms);
/// ```
pub fn try_parallel_any<T: IntoArms<Form, Arms: RaceArms>, Form>(
    arms: T,
) -> Result<ParallelAny<T::Arms>, NoArms> {
    let arms = arms.into_arms();
    if arms.has_arms() { Ok(ParallelAny::new(arms)) } else { Err(NoArms) }
}

/// What [`parallel_any`] resolves to: who won, every output, and the order in which the arms completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raced<T, R> {
    /// The place of the arm that decided, counted from 0.
    pub winner: usize,
    /// The output of every arm, in its arm's place: a tuple, array or `Vec`.
    pub outputs: T,
    /// The places of the arms, the first one to complete first: an array or a `Vec`. The winner is the first, unless it
    /// is a race itself, which decides before it has waited for its own losers.
    pub order: R,
}

pin_project! {
    /// The operation that [`parallel_any`] returns.
    #[must_use = "nothing starts until it is awaited"]
    pub struct ParallelAny<T: Arms> {
        #[pin]
        slots: T::Slots,
        order: Order<T::Order>,
        // So many arms, in their order, were asked to stop, by whomever.
        asked: usize,
        asked_to_stop: bool,
        phase: Phase,
    }
}

/// ```text
/// Fresh ──first poll──▶ Racing ──an arm is ready or decided──▶ Ending ──every arm has completed──▶ (outputs taken)
/// ```
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Never polled: no arm knows that it races.
    Fresh,
    /// No arm has decided.
    Racing,
    /// This arm has decided; the others were asked to stop.
    Ending(usize),
}

impl<T: Arms> ParallelAny<T> {
    /// A race of arms of which there is one.
    pub(super) fn new(arms: T) -> Self {
        let slots = arms.into_slots();
        Self { order: Order::new(&slots), slots, asked: 0, asked_to_stop: false, phase: Phase::Fresh }
    }

    /// The arms, to be built into another combinator.
    pub(super) fn into_slots(self) -> T::Slots {
        self.slots
    }
}

impl<T: RaceArms> Future for ParallelAny<T> {
    type Output = Raced<T::Outputs, T::Order>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Phase::Fresh = *this.phase {
            let _ = this.slots.as_mut().visit(&mut Commit);
            *this.phase = Phase::Racing; // Fresh -> Racing
        }
        if let Phase::Racing = *this.phase {
            let mut race = Race { cx: &mut *cx, order: &mut *this.order, winner: None };
            let _ = this.slots.as_mut().visit(&mut race);
            if let Some(winner) = race.winner {
                *this.phase = Phase::Ending(winner); // Racing -> Ending
            }
        }
        let Phase::Ending(winner) = *this.phase else { return Poll::Pending };
        let _ = this.slots.as_mut().visit(&mut Stop { but: Some(winner), asked: this.asked });
        if !PollInOrder::pass(this.slots.as_mut(), cx, this.order).completed {
            return Poll::Pending;
        }
        let order = this.order.take("parallel_any");
        Poll::Ready(Raced { winner, outputs: this.slots.take(), order })
    }
}

impl<T: RaceArms> Operation for ParallelAny<T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.project();
        if core::mem::replace(this.asked_to_stop, true) {
            return;
        }
        if let Phase::Ending(winner) = *this.phase {
            // The others have been asked already.
            let _ = this.slots.visit(&mut Cancel { only: Some(winner) });
        } else {
            let _ = this.slots.visit(&mut Stop { but: None, asked: this.asked });
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Discard::all(self.project().slots, cx)
    }

    // `commit_on_poll` stays empty: the first poll tells every arm, whoever else races.

    fn is_decided(&self) -> bool {
        matches!(self.phase, Phase::Ending(_))
    }

    fn may_resolve(&self) -> bool {
        !matches!(self.phase, Phase::Fresh | Phase::Racing) || self.slots.any::<MayResolve>()
    }

    fn waits(&self) -> bool {
        matches!(self.phase, Phase::Racing) && all_wait(&self.slots)
    }
}

impl<T: FlagArms + RaceArms> Flaggable for ParallelAny<T> {
    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
        self.project().slots.add_flags(flags);
    }
}

impl<T: Arms> fmt::Debug for ParallelAny<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParallelAny").field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// Polls arms in order until one decides.
struct Race<'a, 'c, R> {
    cx: &'a mut Context<'c>,
    order: &'a mut Order<R>,
    winner: Option<usize>,
}

impl<R: AsRef<[usize]> + AsMut<[usize]>> Visit for Race<'_, '_, R> {
    fn visit<O: Operation>(&mut self, index: usize, mut arm: Pin<&mut Slot<O>>) -> ControlFlow<()> {
        if arm.peek().is_some() && arm.as_mut().poll(self.cx).is_ready() {
            self.order.note(index);
        } else if !arm.is_settled() {
            return ControlFlow::Continue(());
        }
        self.winner = Some(index);
        ControlFlow::Break(())
    }
}

/// Asks every arm to stop, but the winner. Each once: those that were asked before are counted.
struct Stop<'a> {
    but: Option<usize>,
    asked: &'a mut usize,
}

impl Visit for Stop<'_> {
    fn visit<O: Operation>(&mut self, index: usize, arm: Pin<&mut Slot<O>>) -> ControlFlow<()> {
        if index >= *self.asked {
            *self.asked = index + 1; // before it is asked, which may panic
            if self.but != Some(index)
                && let Some(op) = arm.op()
            {
                op.request_cancel();
            }
        }
        ControlFlow::Continue(())
    }
}
