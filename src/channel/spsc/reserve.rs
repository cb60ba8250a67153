//! A slot now, the value later.
//!
//! Knows: producers, the ring's tail. Does not know: how values and wakes travel.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::either::{Kind, begun};
use super::producer::Producer;
use super::tail::Tail;
use super::turn::{Go, Turn};
use crate::channel;
use crate::channel::error::{PushError, TryPushError};
use crate::channel::sender::Sender;
use crate::operation::Operation;
use crate::util::level::Want;

impl<T> Producer<T> {
    /// Waits for room for one value, and keeps it.
    ///
    /// The producer being one, room that was seen stays; the permit borrows it until it is used or dropped.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] if the channel is closed, or is closed while the reservation waits.
    ///
    /// # Cancel safety
    ///
    /// Dropping it is as if it had never been. Under a foreign `select!` this is the exact way to push: the value is made,
    /// or moved, only once nothing can go wrong but a close.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let (mut tx, mut rx) = millstream::channel::spsc(1);
    /// let permit = tx.reserve().await?;
    /// permit.push("made late")?;
    /// assert_eq!(rx.pop().await?, "made late");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn reserve(&mut self) -> Reserve<'_, T> {
        Reserve { end: Some(self.end()), turn: Turn::Idle, meet: None }
    }

    /// As [`reserve`](Self::reserve), if there is room now. At capacity 0 there is when the consumer waits.
    ///
    /// # Errors
    ///
    /// [`TryPushError::Full`] or [`TryPushError::Closed`].
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// let (mut tx, mut rx) = millstream::channel::spsc(1);
    /// tx.try_reserve()?.push(7)?;
    /// assert!(tx.try_reserve().unwrap_err().is_full());
    /// assert_eq!(rx.try_pop()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_reserve(&mut self) -> Result<Permit<'_, T>, TryPushError<()>> {
        let slot = match &mut self.kind {
            Kind::Ring(tail) => match (tail.is_ready(), tail.level().is_closed()) {
                (_, true) => return Err(TryPushError::Closed(())),
                (false, _) => return Err(TryPushError::Full(())),
                (true, false) => Kind::Ring(tail),
            },
            Kind::Meet(sender) => Kind::Meet(sender.try_reserve()?),
        };
        Ok(Permit { slot })
    }
}

/// Room for one value: from [`Producer::reserve`](super::Producer::reserve) or
/// [`Producer::try_reserve`](super::Producer::try_reserve). Dropping it gives the room back.
#[must_use = "nothing is pushed until it is used"]
pub struct Permit<'a, T> {
    slot: Kind<&'a mut Tail<T>, channel::Permit<'a, T>>,
}

impl<T> Permit<'_, T> {
    /// Puts `value` at the end of the channel. Never waits.
    ///
    /// # Errors
    ///
    /// The value comes back in [`PushError::Closed`] if the channel was closed meanwhile.
    ///
    /// # Cancel safety
    ///
    /// There is nothing to cancel.
    ///
    /// # Examples
    ///
    /// ```
    /// let (mut tx, rx) = millstream::channel::spsc(1);
    /// let permit = tx.try_reserve()?;
    /// drop(rx);
    /// assert_eq!(permit.push("back").unwrap_err().into_inner(), "back");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "send")]
    pub fn push(self, value: T) -> Result<(), PushError<T>> {
        match self.slot {
            Kind::Ring(tail) => tail.try_push(value).map_err(|error| PushError::Closed(error.into_inner())),
            Kind::Meet(permit) => permit.push(value),
        }
    }
}

impl<T> fmt::Debug for Permit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

pin_project! {
    /// The wait for a slot: what [`Producer::reserve`](super::Producer::reserve) returns.
    ///
    /// Nothing happens before the first poll.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] if the channel is or becomes closed before there is a slot; [`PushError::Cancelled`] if the
    /// reservation was asked to stop before.
    ///
    /// # Cancel safety
    ///
    /// Dropping it at any time is as if it had never been.
    ///
    /// # Panics
    ///
    /// When polled after it has resolved.
    #[must_use = "a reservation does nothing until it is awaited"]
    pub struct Reserve<'a, T> {
        // Goes over into the permit.
        end: Option<Kind<&'a mut Tail<T>, &'a Sender<T>>>,
        turn: Turn,
        #[pin]
        meet: Option<channel::Reserve<'a, T>>,
    }

    impl<T> PinnedDrop for Reserve<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(Kind::Ring(tail)) = this.end {
                this.turn.stop_waiting(*tail);
            }
        }
    }
}

impl<'a, T> Future for Reserve<'a, T> {
    type Output = Result<Permit<'a, T>, PushError<()>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let tail = match this.end {
            Some(Kind::Ring(tail)) => tail,
            Some(Kind::Meet(sender)) => {
                let reserved = ready!(begun(&mut this.meet, || sender.reserve()).poll(cx));
                return Poll::Ready(reserved.map(|permit| Permit { slot: Kind::Meet(permit) }));
            }
            None => panic!("a reservation was polled after it had resolved"),
        };
        if ready!(this.turn.poll(*tail, Want::Progress, cx, Tail::is_ready)) == Go::Back {
            return Poll::Ready(Err(PushError::Cancelled(())));
        }
        Poll::Ready(match this.end.take() {
            Some(Kind::Ring(tail)) if !tail.level().is_closed() => Ok(Permit { slot: Kind::Ring(tail) }),
            _ => Err(PushError::Closed(())),
        })
    }
}

impl<T> Operation for Reserve<'_, T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        match this.end {
            Some(Kind::Ring(tail)) => this.turn.request_cancel(*tail),
            Some(Kind::Meet(sender)) => begun(&mut this.meet, || sender.reserve()).request_cancel(),
            None => {}
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        match this.end {
            Some(Kind::Ring(tail)) => {
                this.turn.finish(*tail);
                Poll::Ready(())
            }
            Some(Kind::Meet(sender)) => begun(&mut this.meet, || sender.reserve()).poll_discard(cx),
            None => Poll::Ready(()),
        }
    }

    fn may_resolve(&self) -> bool {
        match &self.end {
            Some(Kind::Ring(tail)) => self.turn.may_resolve(tail.looks_ready()),
            Some(Kind::Meet(_)) => self.meet.as_ref().is_none_or(Operation::may_resolve),
            None => true,
        }
    }

    fn waits(&self) -> bool {
        match &self.end {
            Some(Kind::Ring(tail)) => self.turn.waits(tail.looks_ready()),
            Some(Kind::Meet(_)) => self.meet.as_ref().is_some_and(Operation::waits),
            None => false,
        }
    }

    fn is_inert(&self) -> bool {
        true // its drop ends the wait
    }
}

impl<T> fmt::Debug for Reserve<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.meet {
            Some(reserve) => reserve.fmt(f),
            None => f.debug_struct("Reserve").field("state", &self.turn).finish_non_exhaustive(),
        }
    }
}
