//! Popping many values with one publish.
//!
//! Knows: consumers, the ring's head. Does not know: how values and wakes travel.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::consumer::Consumer;
use super::either::{Kind, begun};
use super::head::Head;
use super::turn::{Go, Turn};
use crate::channel;
use crate::channel::blocking;
use crate::channel::error::{PopError, TryPopError};
use crate::channel::receiver::Receiver;
use crate::operation::Operation;
use crate::util::level::Want;

impl<T> Consumer<T> {
    /// Takes up to `max` of the oldest values, waiting for the first one only, and appends them to `out`; returns how
    /// many.
    ///
    /// `max` of 0 resolves to 0 at once.
    ///
    /// # Errors
    ///
    /// [`PopError::Closed`] once the channel is closed and drained.
    ///
    /// # Cancel safety
    ///
    /// Nothing is appended before it resolves, and a dropped one leaves everything in the channel.
    ///
    /// # Cost
    ///
    /// One publish and one look at whether the producer waits, for all of them. `out` grows if it has no room.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let (mut tx, mut rx) = millstream::channel::spsc(4);
    /// for n in 0..4 {
    ///     tx.push(n).await?;
    /// }
    /// let mut got = Vec::with_capacity(3);
    /// assert_eq!(rx.pop_many(&mut got, 3).await?, 3);
    /// assert_eq!(rx.pop_many(&mut got, 3).await?, 1);
    /// assert_eq!(got, [0, 1, 2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "recv_many")]
    #[doc(alias = "drain_into")]
    pub fn pop_many<'a>(&'a mut self, out: &'a mut Vec<T>, max: usize) -> PopMany<'a, T> {
        PopMany { end: self.end(), turn: Turn::Idle, max, out: Some(out), meet: None }
    }

    /// Takes up to `max` of the oldest values and appends them to `out`; returns how many.
    ///
    /// `max` of 0 is `Ok(0)`. At capacity 0 it takes the values of pushes that wait, as [`try_pop`](Self::try_pop) does.
    ///
    /// # Errors
    ///
    /// [`TryPopError::Empty`], or [`TryPopError::Closed`] once the channel is closed and drained, if there was not even
    /// one.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// let (mut tx, mut rx) = millstream::channel::spsc(2);
    /// tx.try_push('a')?;
    /// tx.try_push('b')?;
    /// let mut got = Vec::new();
    /// assert_eq!(rx.try_pop_many(&mut got, usize::MAX)?, 2);
    /// assert_eq!(got, ['a', 'b']);
    /// assert!(rx.try_pop_many(&mut got, 1).unwrap_err().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_pop_many(&mut self, out: &mut Vec<T>, max: usize) -> Result<usize, TryPopError> {
        match &mut self.kind {
            Kind::Ring(head) => head.try_pop_many(out, max),
            Kind::Meet(receiver) => receiver.try_pop_many(out, max),
        }
    }

    /// As [`pop_many`](Self::pop_many), but blocks the calling thread: for plain threads beside a runtime.
    ///
    /// # Errors
    ///
    /// As for [`pop_many`](Self::pop_many).
    ///
    /// # Cancel safety
    ///
    /// It cannot be cancelled, but closing the channel ends it.
    ///
    /// # Panics
    ///
    /// On a thread where a runtime is polling, since blocking it would stop every task there.
    ///
    /// # Examples
    ///
    /// ```
    /// let (mut tx, mut rx) = millstream::channel::spsc(8);
    /// let producer = std::thread::spawn(move || (0..100).try_for_each(|n| tx.push_blocking(n)));
    /// let mut got = Vec::new();
    /// while rx.pop_many_blocking(&mut got, 8).is_ok() {}
    /// assert!(got.into_iter().eq(0..100));
    /// producer.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pop_many_blocking(&mut self, out: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        blocking::assert_plain_thread("pop_many_blocking", "pop_many(..).await");
        blocking::wait(self.pop_many(out, max))
    }
}

pin_project! {
    /// The pop of many values: what [`Consumer::pop_many`](super::Consumer::pop_many) returns.
    ///
    /// Nothing happens before the first poll. It waits for its first value only.
    ///
    /// # Errors
    ///
    /// [`PopError::Closed`] once the channel is closed and drained; [`PopError::Cancelled`] if it was asked to stop before
    /// a value was there.
    ///
    /// # Cancel safety
    ///
    /// Dropping it at any time loses nothing: values go to the caller's buffer in the poll that resolves, and not before.
    ///
    /// # Panics
    ///
    /// When polled after it has resolved; or if the buffer cannot grow, and then everything is still in the channel.
    #[must_use = "a pop does nothing until it is awaited"]
    pub struct PopMany<'a, T> {
        end: Kind<&'a mut Head<T>, &'a Receiver<T>>,
        turn: Turn,
        max: usize,
        // At capacity 0 the operation there has it once it was made.
        out: Option<&'a mut Vec<T>>,
        #[pin]
        meet: Option<channel::PopMany<'a, T>>,
    }

    impl<T> PinnedDrop for PopMany<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Kind::Ring(head) = this.end {
                this.turn.stop_waiting(*head);
            }
        }
    }
}

/// The pop at capacity 0.
fn meet<'a, T>(
    receiver: &'a Receiver<T>,
    out: &mut Option<&'a mut Vec<T>>,
    max: usize,
) -> channel::PopMany<'a, T> {
    match out.take() {
        Some(out) => receiver.pop_many(out, max),
        None => unreachable!("it is there until this has been called"),
    }
}

impl<T> Future for PopMany<'_, T> {
    type Output = Result<usize, PopError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let max = *this.max;
        let (head, out) = match (this.end, &mut *this.out) {
            (Kind::Ring(head), Some(out)) => (head, out),
            (Kind::Meet(receiver), out) => {
                return begun(&mut this.meet, || meet(receiver, out, max)).poll(cx);
            }
            (Kind::Ring(_), None) => unreachable!("taken at capacity 0 only"),
        };
        let ready = |head: &mut Head<T>| max == 0 || head.is_ready();
        match this.turn.poll(*head, Want::Progress, cx, ready) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Go::On) => Poll::Ready(head.try_pop_many(out, max).map_err(|_| PopError::Closed)),
            Poll::Ready(Go::Back) => Poll::Ready(Err(PopError::Cancelled)),
        }
    }
}

impl<T> Operation for PopMany<'_, T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        match this.end {
            Kind::Ring(head) => this.turn.request_cancel(*head),
            Kind::Meet(receiver) => {
                begun(&mut this.meet, || meet(receiver, this.out, *this.max)).request_cancel();
            }
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        match this.end {
            Kind::Ring(head) => {
                this.turn.finish(*head);
                Poll::Ready(())
            }
            Kind::Meet(receiver) => {
                begun(&mut this.meet, || meet(receiver, this.out, *this.max)).poll_discard(cx)
            }
        }
    }

    fn may_resolve(&self) -> bool {
        match &self.end {
            Kind::Ring(head) => self.turn.may_resolve(self.max == 0 || head.looks_ready()),
            Kind::Meet(_) => self.meet.as_ref().is_none_or(Operation::may_resolve),
        }
    }

    fn waits(&self) -> bool {
        match &self.end {
            Kind::Ring(head) => self.turn.waits(head.looks_ready()),
            Kind::Meet(_) => self.meet.as_ref().is_some_and(Operation::waits),
        }
    }

    fn is_inert(&self) -> bool {
        true // its drop ends the wait
    }
}

impl<T> fmt::Debug for PopMany<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.meet {
            Some(pop) => pop.fmt(f),
            None => f
                .debug_struct("PopMany")
                .field("state", &self.turn)
                .field("max", &self.max)
                .finish_non_exhaustive(),
        }
    }
}
