//! One arm of a combinator, from its operation to its output.
//!
//! Knows: [`Operation`]. Does not know: how many arms there are, or what decides.
//!
//! ```text
//! Running(op) ──poll ready──▶ Done(output) ──take──▶ Taken
//!      └───────────────────discarded─────────────────▶ Taken
//! ```

use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::operation::Operation;
use crate::util::parcel::Parcel;

pin_project! {
    /// The state of one arm.
    #[project = Projected]
    #[project_replace = Replaced]
    pub enum Slot<O: Operation> {
        Running { #[pin] op: O },
        Done { output: Parcel<O::Output> },
        Taken,
    }
}

impl<O: Operation> Slot<O> {
    #[inline]
    pub(super) fn new(op: O) -> Self {
        // op-flow 2/8: wrapped by a combinator. Still a value: the op lies in the combinator, which lies in the task.
        Self::Running { op }
    }

    /// The operation back, to put it into a larger combinator.
    ///
    /// # Panics
    ///
    /// When the arm has completed already: its output belongs to the combinator that was polled.
    #[track_caller]
    pub(super) fn into_op(self) -> O {
        match self {
            Self::Running { op } => op,
            Self::Done { .. } | Self::Taken => {
                panic!("a combinator was extended after one of its arms had completed")
            }
        }
    }

    /// The operation, while the arm runs.
    #[inline]
    pub(super) fn op(self: Pin<&mut Self>) -> Option<Pin<&mut O>> {
        match self.project() {
            Projected::Running { op } => Some(op),
            Projected::Done { .. } | Projected::Taken => None,
        }
    }

    /// The operation by shared reference, while the arm runs.
    #[inline]
    pub(super) fn peek(&self) -> Option<&O> {
        match self {
            Self::Running { op } => Some(op),
            Self::Done { .. } | Self::Taken => None,
        }
    }

    /// The output by shared reference, from when the arm has completed until it is taken.
    pub(super) fn output(&self) -> Option<&O::Output> {
        match self {
            Self::Done { output } => Some(output.look()),
            Self::Running { .. } | Self::Taken => None,
        }
    }

    /// Whether the arm was begun, and polling it would only go on waiting.
    #[inline]
    pub(super) fn waits(&self) -> bool {
        self.peek().is_some_and(Operation::waits)
    }

    /// Whether polling the arm now could complete it, or it has completed.
    pub(super) fn may_resolve(&self) -> bool {
        self.peek().is_none_or(Operation::may_resolve)
    }

    /// Polls the arm unless it has completed.
    #[inline(always)] // an arm is polled at one place or two
    pub(super) fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(op) = self.as_mut().op() {
            match op.poll(cx) {
                // Running -> Done. A panic in the operation's destructor leaves `Done` behind all the same.
                Poll::Ready(output) => self.set(Self::Done { output: Parcel::new(output) }),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// As [`poll`](Self::poll), of an arm of a race: whether its outcome is settled now, though it may still wait something out.
    #[inline(always)] // as `poll`
    pub(super) fn settles(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let Some(mut op) = self.as_mut().op() else { return true };
        match op.as_mut().poll(cx) {
            // Running -> Done, as in `poll`.
            Poll::Ready(output) => {
                self.set(Self::Done { output: Parcel::new(output) });
                true
            }
            Poll::Pending => op.is_decided(),
        }
    }

    /// [`poll`](Self::poll) of an arm that has decided, and waits for its own losers: a race in a race.
    #[cold]
    pub(super) fn poll_decided(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx)
    }

    /// Drives a loser to its end, then drops it.
    #[inline]
    pub(super) fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(op) = self.as_mut().op()
            && op.poll_discard(cx).is_pending()
        {
            return Poll::Pending;
        }
        self.set(Self::Taken); // Running | Done -> Taken
        Poll::Ready(())
    }

    /// Whether the outcome is settled: completed, or waiting out what it decided against.
    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        self.peek().is_none_or(Operation::is_decided)
    }

    /// The output of a completed arm.
    ///
    /// # Panics
    ///
    /// When the arm is still running or its output was taken: the combinator above was polled after completion.
    #[track_caller]
    #[inline]
    pub(super) fn take(self: Pin<&mut Self>) -> O::Output {
        match self.project_replace(Self::Taken) {
            Replaced::Done { output } => output.open(), // Done -> Taken
            Replaced::Running { .. } | Replaced::Taken => {
                panic!("an arm's output was taken before it completed")
            }
        }
    }
}
