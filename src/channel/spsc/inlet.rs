//! A producer as the place where results go.
//!
//! Knows: producers. Does not know: how values and wakes travel.

use core::fmt;
use core::task::{Context, Poll};

use super::either::Kind;
use super::producer::Producer;
use super::tail::Tail;
use super::turn::Turn;
use crate::channel::error::TryPushError;
use crate::channel::inlet::{Destination, Inlet, SenderInlet};
use crate::channel::sharing::Threads;
use crate::util::executor;
use crate::util::level::Want;
use crate::util::post::Post;

/// A producer, and whether it waits.
#[doc(hidden)]
pub struct ProducerInlet<T> {
    end: Kind<(Tail<T>, Turn), SenderInlet<T, Threads>>,
}

impl<T> Destination<T> for Producer<T> {
    type Inlet = ProducerInlet<T>;

    fn into_inlet(self) -> ProducerInlet<T> {
        let end = match self.kind {
            Kind::Ring(tail) => Kind::Ring((tail, Turn::Idle)),
            Kind::Meet(sender) => Kind::Meet(sender.into_inlet()),
        };
        ProducerInlet { end }
    }
}

impl<T> Unpin for ProducerInlet<T> {}

impl<T> Inlet<T> for ProducerInlet<T> {
    fn try_push(&mut self, value: T) -> Result<(), TryPushError<T>> {
        match &mut self.end {
            Kind::Ring((tail, _)) => tail.try_push(value),
            Kind::Meet(sender) => sender.try_push(value),
        }
    }

    #[inline]
    fn poll_push(&mut self, slot: &mut Option<T>, cx: &mut Context<'_>) -> Poll<bool> {
        let (tail, turn) = match &mut self.end {
            Kind::Ring((tail, turn)) => (tail, turn),
            Kind::Meet(sender) => return sender.poll_push(slot, cx),
        };
        loop {
            if matches!(turn, Turn::Idle) && !executor::spend(cx) {
                return Poll::Pending;
            }
            let Some(value) = slot.take() else { return Poll::Ready(true) };
            match tail.try_push(value) {
                Ok(()) => {
                    end(turn, tail);
                    return Poll::Ready(true);
                }
                Err(TryPushError::Closed(value)) => {
                    *slot = Some(value);
                    end(turn, tail);
                    return Poll::Ready(false);
                }
                Err(TryPushError::Full(value)) => *slot = Some(value),
            }
            if turn.poll(tail, Want::Progress, cx, Tail::is_ready).is_pending() {
                return Poll::Pending;
            }
            *turn = Turn::Idle; // room since the look above, or a close
        }
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.end {
            Kind::Ring((tail, turn)) => {
                if tail.level().is_closed() {
                    end(turn, tail);
                    return Poll::Ready(());
                }
                let closed = |post: &mut Post| post.level().is_closed();
                turn.poll(tail.post(), Want::Close, cx, closed).map(|_| *turn = Turn::Idle)
            }
            Kind::Meet(sender) => sender.poll_closed(cx),
        }
    }
}

/// Ends a wait, whatever it was for.
fn end<T>(turn: &mut Turn, tail: &mut Tail<T>) {
    turn.stop_waiting(tail);
    *turn = Turn::Idle;
}

impl<T> Drop for ProducerInlet<T> {
    fn drop(&mut self) {
        if let Kind::Ring((tail, turn)) = &mut self.end {
            turn.stop_waiting(tail);
        }
    }
}

impl<T> fmt::Debug for ProducerInlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            Kind::Ring((_, turn)) => {
                f.debug_struct("ProducerInlet").field("state", turn).finish_non_exhaustive()
            }
            Kind::Meet(sender) => sender.fmt(f),
        }
    }
}
