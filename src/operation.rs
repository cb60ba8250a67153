//! What every op, channel operation, timer, join and combinator has in common: it can be asked to stop.
//!
//! Knows: `core`. Does not know: rings, channels, tasks. This is the only thing `combinators/` sees, so a fake
//! operation tests them and whatever implements it composes at once.

use core::future::Future;
use core::ops::ControlFlow;
use core::pin::Pin;
use core::task::{Context, Poll};

/// A future that can be asked to stop, and then still resolves.
///
/// Every op, channel operation, timer, join and combinator is an `Operation`; [`adapters::future`] lifts any other
/// future. Started at most once (by its first poll), it completes exactly once.
///
/// [`adapters::future`]: crate::combinators::adapters::future
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an operation",
    label = "cannot be asked to stop, as an arm of a combinator must be",
    note = "any future becomes an operation with `millstream::combinators::adapters::future(…)`"
)]
pub trait Operation: Future {
    /// Asks the operation to stop.
    ///
    /// It still resolves, soon, with an outcome that gives back what it held: a buffer, a value, or, when it had
    /// finished all the same, its result. One that was never polled is not started by this. Asking twice is asking once.
    fn request_cancel(self: Pin<&mut Self>);

    /// Drives an operation that lost a race to its end, so that nothing of it is in flight once this is ready.
    ///
    /// It takes no effect it can still avoid, and what had happened all the same goes back to where it came from: a
    /// message stays in its channel, an accepted connection and received bytes go to the next op on their descriptor.
    /// An operation that is only borrowed (`&mut op`) is not stopped: it stays in flight for its owner. One that was never
    /// polled is not started by this, and is ready at once unless it stands for something that runs already, as a join
    /// does.
    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// Says that this is an arm of a race: from now on the operation may take effect only inside its own `poll`, never by
    /// a peer's hand, so that of several ready arms exactly one takes effect.
    ///
    /// It comes before the first poll, and again whenever a borrowed operation enters another race.
    fn commit_on_poll(self: Pin<&mut Self>) {}

    /// Whether the outcome is settled although `poll` still waits for something else to end.
    ///
    /// True of a race whose loser is being waited out. A race around it takes this as a decision: discarding it now would
    /// lose what its winner took.
    fn is_decided(&self) -> bool {
        false
    }

    /// Whether polling it now could resolve it: `false` if that would only begin to wait, or go on waiting.
    ///
    /// A hint, for those who would rather not begin: `select!` first polls the arms that may resolve, and makes the
    /// others wait only if none of them does. `true` is always right. `false` is a promise for as long as nothing else
    /// happens, and an operation that waits wakes its task when it ceases to hold.
    fn may_resolve(&self) -> bool {
        true
    }

    /// Whether it was begun, and polling it now would only go on waiting.
    ///
    /// For those who look for one that is ready among many: they poll none that waits before they have found that none is
    /// ready, and then all of them, so that each has the waker of this poll. `false` is always right. `true` is a promise for
    /// as long as nothing else happens.
    fn waits(&self) -> bool {
        false
    }

    /// Whether it may as well be begun a few turns later: nothing runs or is submitted by it, it would only stand in line
    /// somewhere.
    ///
    /// For those who would rather look again first. `false` is always right.
    fn may_be_put_off(&self) -> bool {
        false
    }

    /// Resolves an operation that was never polled, if it can be done here and now, without waiting and without a
    /// context; `None` leaves it as it was.
    ///
    /// For those who have found that it [may resolve](Self::may_resolve), as a poll for less. `None` is always right.
    fn try_now(&mut self) -> Option<Self::Output>
    where
        Self: Sized,
    {
        None
    }

    /// Whether to drop it now is as good as to [discard](Self::poll_discard) it: nothing of it runs or is in flight.
    ///
    /// `false` is always right.
    fn is_inert(&self) -> bool {
        false
    }
}

/// What goes on giving results until it ends: a multishot op, before it has a destination.
///
/// It is no future, because nobody would take its results if it were awaited as it is: a destination makes an
/// [`Operation`] of it.
///
/// [`ResultsExt`](crate::combinators::ResultsExt) has the destinations.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not go on giving results",
    label = "gives one result at most, so there is no stream of them to push, spawn or iterate"
)]
pub trait Results: Unpin {
    /// One result.
    type Item;

    /// How it ends.
    type End;

    /// The next result, in order, or how it has ended; started by the first poll.
    ///
    /// Whoever was given a result polls again before it waits for another: only `Pending` promises a wake.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<ControlFlow<Self::End, Self::Item>>;

    /// Takes back the result that was given out last, as if it had not been given out: it is the next one again, or goes
    /// where the results of a dropped op go.
    fn give_back(&mut self, item: Self::Item);

    /// Asks it to stop. What has come by then is still given out, and the end after it. Asking twice is asking once.
    fn request_cancel(&mut self);

    /// Drives it to its end, so that nothing of it is in flight once this is ready; results that were not taken are given
    /// back.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

impl<O: Operation + Unpin + ?Sized> Operation for &mut O {
    fn request_cancel(mut self: Pin<&mut Self>) {
        Pin::new(&mut **self).request_cancel();
    }

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(()) // borrowed: its owner will poll it again
    }

    fn commit_on_poll(mut self: Pin<&mut Self>) {
        Pin::new(&mut **self).commit_on_poll();
    }

    fn is_decided(&self) -> bool {
        (**self).is_decided()
    }

    /// Also of one that was not begun: it is to be in flight from the first turn of a loop on.
    #[inline]
    fn may_resolve(&self) -> bool {
        !(**self).waits()
    }

    #[inline]
    fn waits(&self) -> bool {
        (**self).waits()
    }

    fn may_be_put_off(&self) -> bool {
        (**self).may_be_put_off()
    }

    fn is_inert(&self) -> bool {
        true // borrowed: nothing of it ends with the reference
    }
}

impl<O: Operation + ?Sized> Operation for Pin<&mut O> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        (*self).as_mut().request_cancel();
    }

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(()) // borrowed: its owner will poll it again
    }

    fn commit_on_poll(mut self: Pin<&mut Self>) {
        (*self).as_mut().commit_on_poll();
    }

    fn is_decided(&self) -> bool {
        (**self).is_decided()
    }

    /// Also of one that was not begun: it is to be in flight from the first turn of a loop on.
    #[inline]
    fn may_resolve(&self) -> bool {
        !(**self).waits()
    }

    #[inline]
    fn waits(&self) -> bool {
        (**self).waits()
    }

    fn may_be_put_off(&self) -> bool {
        (**self).may_be_put_off()
    }

    fn is_inert(&self) -> bool {
        true // borrowed: nothing of it ends with the reference
    }
}

impl<O: Operation + ?Sized> Operation for Pin<Box<O>> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        (*self).as_mut().request_cancel();
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        (*self).as_mut().poll_discard(cx)
    }

    fn commit_on_poll(mut self: Pin<&mut Self>) {
        (*self).as_mut().commit_on_poll();
    }

    fn is_decided(&self) -> bool {
        (**self).is_decided()
    }

    fn may_resolve(&self) -> bool {
        (**self).may_resolve()
    }

    fn waits(&self) -> bool {
        (**self).waits()
    }

    fn may_be_put_off(&self) -> bool {
        (**self).may_be_put_off()
    }

    fn is_inert(&self) -> bool {
        (**self).is_inert()
    }
}

/// An error that says only that its operation has come to its end: nothing more will come, and nothing is lost with it.
///
/// An arm `Ok(value) = operation` of a `select!` takes no notice of such an error. Sealed: the `PopError` of channels
/// from which every value goes to one pop.
#[diagnostic::on_unimplemented(
    message = "this arm's error would be lost: match the whole outcome",
    label = "an `Ok(…)` arm leaves out its error, and a `{Self}` may say more than that a channel is closed",
    note = "write `outcome = operation => …` and look at both cases in the block"
)]
pub trait EndOfChannel: sealed::EndOfChannel {}

pub(crate) mod sealed {
    pub trait EndOfChannel {}
}
