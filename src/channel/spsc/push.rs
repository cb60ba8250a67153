//! The push of one value.
//!
//! Knows: the pushing end. Does not know: how values and wakes travel.
#![allow(unsafe_code, reason = "pushes where it has seen that there is room")]

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::either::{Kind, begun};
use super::tail::Tail;
use super::turn::{Go, Turn};
use crate::channel;
use crate::channel::error::PushError;
use crate::channel::sender::Sender;
use crate::operation::Operation;
use crate::util::executor;
use crate::util::level::Want;

pin_project! {
    /// The push of one value: what [`Producer::push`](super::Producer::push) returns.
    ///
    /// Nothing happens before the first poll. While it waits, the value is its own.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] with the value if the channel is or becomes closed before the value is in it;
    /// [`PushError::Cancelled`] with the value if the push was asked to stop before.
    ///
    /// # Cancel safety
    ///
    /// It takes effect in the poll that resolves and nowhere else. One that is dropped has not pushed, and its value is
    /// dropped with it; [`cancel`](Self::cancel) gives it back. (At capacity 0 a dropped one may have pushed, as in
    /// [`bounded`](crate::channel::bounded) channels, and `cancel` tells.)
    ///
    /// # Panics
    ///
    /// When polled after it has resolved.
    #[must_use = "a push does nothing until it is awaited"]
    pub struct Push<'a, T> {
        end: Kind<&'a mut Tail<T>, &'a Sender<T>>,
        turn: Turn,
        // Gone when finished.
        value: Option<T>,
        // At capacity 0, once it was polled; it has the value then. It is made late because it is large.
        #[pin]
        meet: Option<channel::Push<'a, T>>,
    }

    impl<T> PinnedDrop for Push<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Kind::Ring(tail) = this.end {
                this.turn.stop_waiting(*tail);
            }
        }
    }
}

impl<'a, T> Push<'a, T> {
    #[inline]
    pub(super) fn new(end: Kind<&'a mut Tail<T>, &'a Sender<T>>, value: T) -> Self {
        Self { end, turn: Turn::Idle, value: Some(value), meet: None }
    }

    /// Ends the push now and says exactly what became of it: `Ok` if the value is in the channel, the value otherwise.
    ///
    /// # Errors
    ///
    /// [`PushError::Cancelled`] with the value if the push had not taken effect, [`PushError::Closed`] with the value
    /// if the channel was closed while the push waited.
    ///
    /// # Cancel safety
    ///
    /// This is how to cancel: nothing is in doubt afterwards.
    ///
    /// # Panics
    ///
    /// If the push has resolved already: its value is in the channel or was given back then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    /// use std::task::{Context, Waker};
    ///
    /// let (mut tx, mut rx) = millstream::channel::spsc(1);
    /// tx.try_push("first")?;
    /// let mut second = pin!(tx.push("second"));
    /// assert!(second.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    /// assert_eq!(second.as_mut().cancel().unwrap_err().into_inner(), "second");
    /// assert_eq!(rx.try_pop()?, "first");
    /// assert!(rx.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(self: Pin<&mut Self>) -> Result<(), PushError<T>> {
        let mut this = self.project();
        match this.end {
            Kind::Ring(tail) => {
                let waited = matches!(this.turn, Turn::Waiting(_));
                this.turn.finish(*tail);
                match this.value.take() {
                    Some(value) if waited && tail.level().is_closed() => Err(PushError::Closed(value)),
                    Some(value) => Err(PushError::Cancelled(value)),
                    None => panic!("a push was cancelled after it had resolved"),
                }
            }
            Kind::Meet(sender) => begun(&mut this.meet, || meet(sender, this.value)).cancel(),
        }
    }
}

/// The push at capacity 0.
impl<T> Push<'_, T> {
    #[inline(never)]
    fn poll_on(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), PushError<T>>> {
        let mut this = self.project();
        match this.end {
            Kind::Ring(tail) => {
                if matches!(this.turn, Turn::Waiting(_))
                    && tail.room(1) != 0
                    && let Some(value) = this.value.take()
                {
                    // First of all the value goes: the other side may be looking for it at this moment.
                    let pushed = tail.try_push(value);
                    this.turn.finish_woken(*tail);
                    return Poll::Ready(pushed.map_err(|error| PushError::Closed(error.into_inner())));
                }
                match this.turn.poll(*tail, Want::Progress, cx, Tail::is_ready) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(go) => Poll::Ready(match this.value.take() {
                        Some(value) if go == Go::On => {
                            tail.try_push(value).map_err(|error| PushError::Closed(error.into_inner()))
                        }
                        Some(value) => Err(PushError::Cancelled(value)),
                        None => Ok(()), // the turn is over only once
                    }),
                }
            }
            Kind::Meet(sender) => begun(&mut this.meet, || meet(sender, this.value)).poll(cx),
        }
    }
}

fn meet<'a, T>(sender: &'a Sender<T>, value: &mut Option<T>) -> channel::Push<'a, T> {
    match value.take() {
        Some(value) => sender.push(value),
        None => unreachable!("the value is there until this has been called"),
    }
}

impl<T> Future for Push<'_, T> {
    type Output = Result<(), PushError<T>>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        // What is likely, for whoever polls it to see through.
        if let Kind::Ring(tail) = this.end
            && matches!(this.turn, Turn::Idle)
            && tail.has_room()
        {
            if !executor::spend(cx) {
                return Poll::Pending;
            }
            if let Some(value) = this.value.take() {
                *this.turn = Turn::Finished;
                // SAFETY: (I3) there is room.
                return Poll::Ready(unsafe { tail.push(value) }.map_err(PushError::Closed));
            }
        }
        self.poll_on(cx)
    }
}

impl<T> Operation for Push<'_, T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        match this.end {
            Kind::Ring(tail) => this.turn.request_cancel(*tail),
            Kind::Meet(sender) => begun(&mut this.meet, || meet(sender, this.value)).request_cancel(),
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        match this.end {
            Kind::Ring(tail) => {
                this.turn.finish(*tail);
                drop(this.value.take());
                Poll::Ready(())
            }
            Kind::Meet(sender) => begun(&mut this.meet, || meet(sender, this.value)).poll_discard(cx),
        }
    }

    fn commit_on_poll(self: Pin<&mut Self>) {
        let mut this = self.project();
        if let Kind::Meet(sender) = this.end {
            begun(&mut this.meet, || meet(sender, this.value)).commit_on_poll();
        }
    }

    fn may_resolve(&self) -> bool {
        match &self.end {
            Kind::Ring(tail) => self.turn.may_resolve(tail.looks_ready()),
            Kind::Meet(_) => self.meet.as_ref().is_none_or(Operation::may_resolve),
        }
    }

    fn waits(&self) -> bool {
        match &self.end {
            Kind::Ring(tail) => self.turn.waits(tail.looks_ready()),
            Kind::Meet(_) => self.meet.as_ref().is_some_and(Operation::waits),
        }
    }

    fn is_inert(&self) -> bool {
        true // its drop ends the wait
    }
}

impl<T> fmt::Debug for Push<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.end, &self.meet) {
            (Kind::Meet(_), Some(push)) => push.fmt(f),
            _ => f.debug_struct("Push").field("state", &self.turn).finish_non_exhaustive(),
        }
    }
}
