//! The pop of one value.
//!
//! Knows: the popping end. Does not know: how values and wakes travel.
#![allow(unsafe_code, reason = "pops where it has seen that there is a value")]

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::either::{Kind, begun};
use super::head::Head;
use super::turn::{Go, Turn};
use crate::channel;
use crate::channel::error::PopError;
use crate::channel::receiver::Receiver;
use crate::operation::Operation;
use crate::util::executor;
use crate::util::level::Want;

pin_project! {
    /// The pop of one value: what [`Consumer::pop`](super::Consumer::pop) returns.
    ///
    /// Nothing happens before the first poll.
    ///
    /// # Errors
    ///
    /// [`PopError::Closed`] once the channel is closed and drained; [`PopError::Cancelled`] if the pop was asked to stop
    /// before it had a value.
    ///
    /// # Cancel safety
    ///
    /// It takes a value in the poll that resolves and nowhere else. Dropping it at any time loses nothing.
    ///
    /// # Panics
    ///
    /// When polled after it has resolved.
    #[must_use = "a pop does nothing until it is awaited"]
    pub struct Pop<'a, T> {
        end: Kind<&'a mut Head<T>, &'a Receiver<T>>,
        turn: Turn,
        // At capacity 0, once it was polled. It is made late because it is large.
        #[pin]
        meet: Option<channel::Pop<'a, T>>,
    }

    impl<T> PinnedDrop for Pop<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Kind::Ring(head) = this.end {
                this.turn.stop_waiting(*head);
            }
        }
    }
}

impl<'a, T> Pop<'a, T> {
    #[inline]
    pub(super) fn new(end: Kind<&'a mut Head<T>, &'a Receiver<T>>) -> Self {
        Self { end, turn: Turn::Idle, meet: None }
    }
}

impl<T> Pop<'_, T> {
    #[inline(never)]
    fn poll_on(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, PopError>> {
        let mut this = self.project();
        match this.end {
            Kind::Ring(head) => {
                if matches!(this.turn, Turn::Waiting(_)) && head.filled(1) != 0 {
                    // First of all the slot is given back: the other side may be looking for it at this moment.
                    let popped = head.try_pop();
                    this.turn.finish(*head);
                    return Poll::Ready(popped.map_err(|_| PopError::Closed));
                }
                match this.turn.poll(*head, Want::Progress, cx, Head::is_ready) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Go::On) => Poll::Ready(head.try_pop().map_err(|_| PopError::Closed)),
                    Poll::Ready(Go::Back) => Poll::Ready(Err(PopError::Cancelled)),
                }
            }
            Kind::Meet(receiver) => begun(&mut this.meet, || receiver.pop()).poll(cx),
        }
    }
}

impl<T> Future for Pop<'_, T> {
    type Output = Result<T, PopError>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        // What is likely, for whoever polls it to see through.
        if let Kind::Ring(head) = this.end
            && matches!(this.turn, Turn::Idle)
            && head.has_value()
        {
            if !executor::spend(cx) {
                return Poll::Pending;
            }
            *this.turn = Turn::Finished;
            // SAFETY: (I3) there is a value.
            return Poll::Ready(Ok(unsafe { head.pop() }));
        }
        self.poll_on(cx)
    }
}

impl<T> Operation for Pop<'_, T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        match this.end {
            Kind::Ring(head) => this.turn.request_cancel(*head),
            Kind::Meet(receiver) => begun(&mut this.meet, || receiver.pop()).request_cancel(),
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        match this.end {
            Kind::Ring(head) => {
                this.turn.finish(*head);
                Poll::Ready(())
            }
            Kind::Meet(receiver) => begun(&mut this.meet, || receiver.pop()).poll_discard(cx),
        }
    }

    fn commit_on_poll(self: Pin<&mut Self>) {
        let mut this = self.project();
        if let Kind::Meet(receiver) = this.end {
            begun(&mut this.meet, || receiver.pop()).commit_on_poll();
        }
    }
}

impl<T> fmt::Debug for Pop<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.end, &self.meet) {
            (Kind::Meet(_), Some(pop)) => pop.fmt(f),
            _ => f.debug_struct("Pop").field("state", &self.turn).finish_non_exhaustive(),
        }
    }
}
