//! Pushing many values with one publish.
//!
//! Knows: producers, the ring's tail. Does not know: how values and wakes travel.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::VecDeque;

use pin_project_lite::pin_project;

use super::either::{Kind, begun};
use super::producer::Producer;
use super::tail::Tail;
use super::turn::{Go, Turn};
use crate::channel;
use crate::channel::blocking;
use crate::channel::error::{PushError, TryPushError};
use crate::channel::sender::Sender;
use crate::operation::Operation;
use crate::util::level::Want;

impl<T> Producer<T> {
    /// Puts all of `values` at the end of the channel, front first, waiting for room as often as it takes.
    ///
    /// It resolves once `values` is empty; at once if it is so from the start, also when the channel is closed. As many
    /// values as there is room for go in together. What is not in the channel is in `values`, in order, at any time. At
    /// capacity 0 each value needs a consumer that waits.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] if the channel is closed, or is closed while the push waits; what had not been pushed is
    /// still in `values`.
    ///
    /// # Cancel safety
    ///
    /// A dropped push leaves what it has not pushed in `values`: nothing is lost, and nothing is in doubt.
    ///
    /// # Cost
    ///
    /// One publish and one look at whether the consumer waits, for as many values as there is room for.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::collections::VecDeque;
    ///
    /// let (mut tx, mut rx) = millstream::channel::spsc(16);
    /// let mut values = VecDeque::from([1, 2, 3]);
    /// tx.push_many(&mut values).await?;
    /// assert!(values.is_empty());
    ///
    /// let mut got = Vec::new();
    /// assert_eq!(rx.pop_many(&mut got, 10).await?, 3);
    /// assert_eq!(got, [1, 2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "send_many")]
    #[doc(alias = "send_all")]
    #[doc(alias = "reserve_many")]
    pub fn push_many<'a>(&'a mut self, values: &'a mut VecDeque<T>) -> PushMany<'a, T> {
        PushMany { end: self.end(), turn: Turn::Idle, values: Some(values), meet: None }
    }

    /// Puts as many of `values` as there is room for at the end of the channel, front first, and returns how many.
    ///
    /// Nothing to push is `Ok(0)`.
    ///
    /// # Errors
    ///
    /// [`TryPushError::Full`] or [`TryPushError::Closed`] if not even one was pushed.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::VecDeque;
    ///
    /// let (mut tx, _rx) = millstream::channel::spsc(2);
    /// let mut values = VecDeque::from(['a', 'b', 'c']);
    /// assert_eq!(tx.try_push_many(&mut values)?, 2);
    /// assert_eq!(values, ['c']);
    /// assert!(tx.try_push_many(&mut values).unwrap_err().is_full());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_push_many(&mut self, values: &mut VecDeque<T>) -> Result<usize, TryPushError<()>> {
        match &mut self.kind {
            Kind::Ring(tail) => tail.try_push_many(values),
            Kind::Meet(sender) => sender.try_push_many(values),
        }
    }

    /// As [`push_many`](Self::push_many), but blocks the calling thread: for plain threads beside a runtime.
    ///
    /// # Errors
    ///
    /// As for [`push_many`](Self::push_many).
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
    /// use std::collections::VecDeque;
    ///
    /// let (mut tx, mut rx) = millstream::channel::spsc(2);
    /// let producer = std::thread::spawn(move || tx.push_many_blocking(&mut VecDeque::from_iter(0..100)));
    /// assert!(rx.iter().eq(0..100));
    /// producer.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn push_many_blocking(&mut self, values: &mut VecDeque<T>) -> Result<(), PushError<()>> {
        blocking::assert_plain_thread("push_many_blocking", "push_many(..).await");
        blocking::wait(self.push_many(values))
    }
}

pin_project! {
    /// The push of many values: what [`Producer::push_many`](super::Producer::push_many) returns.
    ///
    /// Nothing happens before the first poll.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] if the channel is or becomes closed before all values are in it; [`PushError::Cancelled`] if
    /// the push was asked to stop before. What was not pushed is in the caller's buffer.
    ///
    /// # Cancel safety
    ///
    /// Dropping it is safe, and leaves what was not pushed in the caller's buffer. As an arm of a race it may have pushed
    /// some of its values in one poll and lose in a later one: the buffer tells.
    ///
    /// # Panics
    ///
    /// When polled after it has resolved.
    #[must_use = "a push does nothing until it is awaited"]
    pub struct PushMany<'a, T> {
        end: Kind<&'a mut Tail<T>, &'a Sender<T>>,
        turn: Turn,
        // At capacity 0 the operation there has it once it was made.
        values: Option<&'a mut VecDeque<T>>,
        #[pin]
        meet: Option<channel::PushMany<'a, T>>,
    }

    impl<T> PinnedDrop for PushMany<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Kind::Ring(tail) = this.end {
                this.turn.stop_waiting(*tail);
            }
        }
    }
}

/// The push at capacity 0.
fn meet<'a, T>(sender: &'a Sender<T>, values: &mut Option<&'a mut VecDeque<T>>) -> channel::PushMany<'a, T> {
    match values.take() {
        Some(values) => sender.push_many(values),
        None => unreachable!("they are there until this has been called"),
    }
}

impl<T> Future for PushMany<'_, T> {
    type Output = Result<(), PushError<()>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (tail, values) = match (this.end, &mut *this.values) {
            (Kind::Ring(tail), Some(values)) => (tail, values),
            (Kind::Meet(sender), values) => return begun(&mut this.meet, || meet(sender, values)).poll(cx),
            (Kind::Ring(_), None) => unreachable!("taken at capacity 0 only"),
        };
        loop {
            let ready = |tail: &mut Tail<T>| values.is_empty() || tail.is_ready();
            match this.turn.poll(*tail, Want::Progress, cx, ready) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Go::Back) => return Poll::Ready(Err(PushError::Cancelled(()))),
                Poll::Ready(Go::On) => {}
            }
            if tail.try_push_many(values).is_err() {
                return Poll::Ready(Err(PushError::Closed(())));
            }
            if values.is_empty() {
                return Poll::Ready(Ok(()));
            }
            *this.turn = Turn::Idle; // each ringful is charged as one operation
        }
    }
}

impl<T> Operation for PushMany<'_, T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        match this.end {
            Kind::Ring(tail) => this.turn.request_cancel(*tail),
            Kind::Meet(sender) => begun(&mut this.meet, || meet(sender, this.values)).request_cancel(),
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        match this.end {
            Kind::Ring(tail) => {
                this.turn.finish(*tail);
                Poll::Ready(())
            }
            Kind::Meet(sender) => begun(&mut this.meet, || meet(sender, this.values)).poll_discard(cx),
        }
    }

    fn may_resolve(&self) -> bool {
        match &self.end {
            Kind::Ring(tail) => {
                let nothing = self.values.as_ref().is_none_or(|values| values.is_empty());
                self.turn.may_resolve(nothing || tail.looks_ready())
            }
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

impl<T> fmt::Debug for PushMany<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.meet, &self.values) {
            (Some(push), _) => push.fmt(f),
            (None, values) => f
                .debug_struct("PushMany")
                .field("state", &self.turn)
                .field("left", &values.as_ref().map_or(0, |values| values.len()))
                .finish_non_exhaustive(),
        }
    }
}
