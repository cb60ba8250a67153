//! Waiting for the close.
//!
//! Knows: ends. Does not know: how wakes travel.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::consumer::Consumer;
use super::either::{Kind, begun};
use super::producer::Producer;
use super::turn::Turn;
use crate::channel;
use crate::channel::receiver::Receiver;
use crate::channel::sender::Sender;
use crate::operation::Operation;
use crate::util::level::Want;
use crate::util::post::Post;

impl<T> Producer<T> {
    /// Waits until the channel is closed: explicitly, or because the consumer is gone.
    ///
    /// Resolves at once if it is closed already. For a producer that should stop when nobody wants its values.
    ///
    /// # Cancel safety
    ///
    /// It only looks: dropping it changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let (mut tx, rx) = millstream::channel::spsc::<u8>(1);
    /// let wait = tx.closed();
    /// drop(rx);
    /// wait.await;
    /// assert!(tx.is_closed());
    /// # });
    /// ```
    pub fn closed(&mut self) -> Closed<'_, T> {
        let end = match &mut self.kind {
            Kind::Ring(tail) => Kind::Ring(tail.post()),
            Kind::Meet(sender) => Kind::Meet(Meeting::Sender(sender)),
        };
        Closed { end, turn: Turn::Idle, meet: None }
    }
}

impl<T> Consumer<T> {
    /// Waits until the channel is closed: explicitly, or because the producer is gone.
    ///
    /// Resolves at once if it is closed already. What is in the channel can still be popped; it is
    /// [`pop`](Self::pop) that says when there is nothing left.
    ///
    /// # Cancel safety
    ///
    /// It only looks: dropping it changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let (mut tx, mut rx) = millstream::channel::spsc(1);
    /// tx.push("the last").await?;
    /// drop(tx);
    /// rx.closed().await;
    /// assert_eq!(rx.pop().await?, "the last");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn closed(&mut self) -> Closed<'_, T> {
        let end = match &mut self.kind {
            Kind::Ring(head) => Kind::Ring(head.post()),
            Kind::Meet(receiver) => Kind::Meet(Meeting::Receiver(receiver)),
        };
        Closed { end, turn: Turn::Idle, meet: None }
    }
}

/// An end at capacity 0.
enum Meeting<'a, T> {
    Sender(&'a Sender<T>),
    Receiver(&'a Receiver<T>),
}

impl<'a, T> Meeting<'a, T> {
    fn closed(&self) -> channel::Closed<'a, T> {
        match self {
            Self::Sender(sender) => sender.closed(),
            Self::Receiver(receiver) => receiver.closed(),
        }
    }
}

pin_project! {
    /// The wait for the close of a channel: what [`Producer::closed`](super::Producer::closed) and
    /// [`Consumer::closed`](super::Consumer::closed) return.
    ///
    /// As an operation that is asked to stop it resolves at once, whether the channel is closed or not.
    ///
    /// # Cancel safety
    ///
    /// It only looks: dropping it changes nothing.
    ///
    /// # Panics
    ///
    /// When polled after it has resolved.
    #[must_use = "waits for nothing until it is awaited"]
    pub struct Closed<'a, T> {
        end: Kind<&'a mut Post, Meeting<'a, T>>,
        turn: Turn,
        #[pin]
        meet: Option<channel::Closed<'a, T>>,
    }

    impl<T> PinnedDrop for Closed<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Kind::Ring(post) = this.end {
                this.turn.stop_waiting(*post);
            }
        }
    }
}

impl<T> Future for Closed<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        match this.end {
            Kind::Ring(post) => {
                let closed = |post: &mut Post| post.level().is_closed();
                this.turn.poll(*post, Want::Close, cx, closed).map(drop)
            }
            Kind::Meet(meeting) => begun(&mut this.meet, || meeting.closed()).poll(cx),
        }
    }
}

impl<T> Operation for Closed<'_, T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        match this.end {
            Kind::Ring(post) => this.turn.request_cancel(*post),
            Kind::Meet(meeting) => begun(&mut this.meet, || meeting.closed()).request_cancel(),
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        match this.end {
            Kind::Ring(post) => {
                this.turn.finish(*post);
                Poll::Ready(())
            }
            Kind::Meet(meeting) => begun(&mut this.meet, || meeting.closed()).poll_discard(cx),
        }
    }

    fn may_resolve(&self) -> bool {
        match &self.end {
            Kind::Ring(post) => self.turn.may_resolve(post.level().is_closed()),
            Kind::Meet(_) => self.meet.as_ref().is_none_or(Operation::may_resolve),
        }
    }

    fn waits(&self) -> bool {
        match &self.end {
            Kind::Ring(post) => self.turn.waits(post.level().is_closed()),
            Kind::Meet(_) => self.meet.as_ref().is_some_and(Operation::waits),
        }
    }

    fn is_inert(&self) -> bool {
        true // its drop ends the wait
    }
}

impl<T> fmt::Debug for Closed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.meet {
            Some(closed) => closed.fmt(f),
            None => f.debug_struct("Closed").field("state", &self.turn).finish_non_exhaustive(),
        }
    }
}
