//! Methods that every operation has.
//!
//! Knows: the adapters. Does not know: what the operation is.

use core::time::Duration;
use std::time::Instant;

use super::latch::Latch;
use super::lost_into::LostInto;
use super::timeout::Timeout;
use super::with_cancel::WithCancel;
use crate::operation::Operation;
use crate::runtime::time;

/// Methods of every operation.
pub trait OperationExt: Operation {
    /// Gives the operation this long, counted from this call; then it is stopped and waited out.
    ///
    /// # Completion
    ///
    /// * `Ok` of the output when the operation completes in time. What is there when the deadline passes was in time.
    /// * When the deadline passes, the operation is asked to stop and waited out, and whatever it resolves to comes as
    ///   [`Elapsed`](super::Elapsed): its buffer or value back, or its result if it completed all the same. So a timeout
    ///   loses nothing. It may take longer than the deadline: as long as the operation takes to stop.
    /// * [`request_cancel`](Operation::request_cancel) asks the operation to stop; its outcome comes as `Ok`.
    ///
    /// # Cancel safety
    ///
    /// That of the operation: dropping this drops it.
    ///
    /// # Panics
    ///
    /// When polled outside a runtime, or after completion.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use millstream::channel::{self, PushError};
    /// use millstream::combinators::OperationExt;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// let (tx, _rx) = channel::bounded(1);
    /// tx.push("first").await?;
    /// let late = tx.push("second").timeout(Duration::from_millis(1)).await.unwrap_err();
    /// assert_eq!(late.into_outcome(), Err(PushError::Cancelled("second"))); // nobody took it, here it is
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[doc(alias("within"))]
    #[must_use = "nothing starts until it is awaited"]
    fn timeout(self, limit: Duration) -> Timeout<Self>
    where
        Self: Sized,
    {
        Timeout::new(self, time::sleep(limit))
    }

    /// Gives the operation until this instant; then it is stopped and waited out.
    ///
    /// As [`timeout`](Self::timeout) otherwise. One instant may be the deadline of any number of operations, and a chain of
    /// calls can pass it on, where timeouts would add up.
    ///
    /// # Completion
    ///
    /// As [`timeout`](Self::timeout). A deadline that has passed already still lets through what is ready at the first poll.
    ///
    /// # Cancel safety
    ///
    /// That of the operation: dropping this drops it.
    ///
    /// # Panics
    ///
    /// When polled outside a runtime, or after completion.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    /// use std::time::{Duration, Instant};
    /// use millstream::combinators::OperationExt;
    /// use millstream::ops::{self, Fd, IntoResult};
    ///
    /// /// A length, and as many bytes, all of it by then.
    /// async fn message(socket: &Fd, by: Instant) -> io::Result<Vec<u8>> {
    ///     let (_, length) = ops::recv(socket, [0; 1]).deadline(by).await?.into_result()?;
    ///     let buffer = Vec::with_capacity(length[0].into());
    ///     Ok(ops::recv(socket, buffer).flags(libc::MSG_WAITALL).deadline(by).await?.into_result()?.1)
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// let (socket, peer) = std::os::unix::net::UnixStream::pair()?;
    /// let (socket, peer) = (Fd::from(socket), Fd::from(peer));
    /// ops::send(&peer, b"\x05hello\x05wor").await.into_result()?;
    /// let by = Instant::now() + Duration::from_millis(50);
    /// assert_eq!(message(&socket, by).await?, b"hello");
    /// assert_eq!(message(&socket, by).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[doc(alias("timeout_at", "until"))]
    #[must_use = "nothing starts until it is awaited"]
    fn deadline(self, at: Instant) -> Timeout<Self>
    where
        Self: Sized,
    {
        Timeout::new(self, time::sleep_until(at))
    }

    /// Stops the operation when `slot` resolves. The slot is any operation: a pop, `closed()` of a sender, a `oneshot`, a
    /// join, a timer, a race of several of these.
    ///
    /// What the slot resolves to does not matter, only that it does: a pop stops the operation when a message comes and
    /// also when the channel is closed.
    ///
    /// # Completion
    ///
    /// * Resolves when the operation does, to what the operation resolves to: its result, or, once it was asked to stop,
    ///   the outcome of that, with its buffer or value in it. An operation that was quicker than the request shows its
    ///   result.
    /// * The slot is looked at first, at every poll. If it has resolved before the operation is started, the operation is
    ///   not started, and resolves as one that was cancelled before it began.
    /// * When the operation has completed, a slot given by value is given up as the loser of a race is: stopped and waited
    ///   out, without having taken effect (a message stays in its channel; a *join cancels its task*).
    /// * A slot by reference (`&mut slot`, or `slot.as_mut()` of a pinned one) is left as it is, for its owner to go on with:
    ///   so one slot serves several operations, one after the other. An operation resolves only once, so make the slot a
    ///   [`latch`](Self::latch) if it may be looked at again after that. To stop operations that run at the same time, give
    ///   each a slot of its own: any number of pops may wait for one channel to be closed.
    /// * [`request_cancel`](Operation::request_cancel) asks the operation to stop, and the slot no longer matters.
    ///
    /// # Cancel safety
    ///
    /// Dropping this drops the operation and the slot, and each is as safe to drop as it is alone.
    ///
    /// # Panics
    ///
    /// When polled after completion.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel;
    /// use millstream::combinators::OperationExt;
    /// use millstream::ops::{self, Fd};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// let (stop, stopped) = channel::bounded::<()>(1);
    /// let (socket, _peer) = std::os::unix::net::UnixStream::pair()?;
    /// let socket = Fd::from(socket);
    /// let reader = millstream::spawn(async move {
    ///     ops::recv(&socket, vec![0; 64]).with_cancel(stopped.pop()).await
    /// });
    /// millstream::yield_now().await;
    /// drop(stop); // closes the channel, which stops every reader
    /// let (result, buffer) = reader.await?;
    /// assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
    /// assert_eq!(buffer.len(), 64); // and the buffer is back
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[doc(alias("CancellationToken", "Context", "stop_token", "until"))]
    #[must_use = "nothing starts until it is awaited"]
    fn with_cancel<C: Operation>(self, slot: C) -> WithCancel<Self, C>
    where
        Self: Sized,
    {
        WithCancel::new(self, slot)
    }

    /// Makes the operation stay resolved: a latch that is set when the operation resolves, and can be looked at again.
    ///
    /// An operation resolves once, and panics when it is polled after that. A latch, given by reference as the slot of
    /// several [`with_cancel`](Self::with_cancel)s or as the arm of several races, is ready for all that come after. It
    /// keeps what the operation resolved to.
    ///
    /// # Completion
    ///
    /// Ready from when the operation has resolved, at every poll.
    ///
    /// # Cancel safety
    ///
    /// That of the operation: dropping this drops it.
    ///
    /// # Panics
    ///
    /// Only if the operation does.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    /// use millstream::channel;
    /// use millstream::combinators::OperationExt;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// let ((jobs, job), (reason, stopped)) = (channel::bounded(4), channel::oneshot());
    /// let mut stop = pin!(stopped.latch());
    /// jobs.push(1).await?;
    /// assert_eq!(job.pop().with_cancel(stop.as_mut()).await, Ok(1));
    /// reason.push("closing time").unwrap();
    /// jobs.push(2).await?;
    /// assert!(job.pop().with_cancel(stop.as_mut()).await.is_err()); // takes nothing any more
    /// assert!(job.pop().with_cancel(stop.as_mut()).await.is_err());
    /// assert_eq!(stop.take(), Some(Ok("closing time")));
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[doc(alias("fuse", "shared"))]
    #[must_use = "nothing starts until it is awaited"]
    fn latch(self) -> Latch<Self>
    where
        Self: Sized,
    {
        Latch::new(self)
    }

    /// Keeps what becomes of the operation if it loses a race: it is left in `place`.
    ///
    /// A race stops its losers and drops what they come to. For a push that is its value, for a write its buffer. With this
    /// it is not dropped; all that an arm which lost still has is in `place` when the race is over.
    ///
    /// # Completion
    ///
    /// As the operation. `place` is emptied when this is called. When it is an arm of a race and loses, the operation is
    /// asked to stop and waited for until it resolves, and what it resolves to is in `place`, be it a result that came all
    /// the same. An arm that was never started is not started: it gives back what it holds.
    ///
    /// # Cancel safety
    ///
    /// That of the operation: dropping this drops it, and leaves `place` empty.
    ///
    /// # Panics
    ///
    /// When polled after completion.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel::{self, PushError};
    /// use millstream::combinators::{OneOf2, OperationExt};
    /// use millstream::race;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// let ((tx, _rx), (stop, stopped)) = (channel::bounded(1), channel::bounded::<()>(1));
    /// tx.push("first").await?;
    /// stop.close();
    /// let mut lost = None;
    /// match race!(tx.push("second").lost_into(&mut lost) || stopped.pop()).await {
    ///     OneOf2::A(pushed) => pushed?,
    ///     OneOf2::B(_closed) => assert_eq!(lost, Some(Err(PushError::Cancelled("second")))),
    /// }
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[must_use = "nothing starts until it is awaited"]
    fn lost_into(self, place: &mut Option<Self::Output>) -> LostInto<'_, Self>
    where
        Self: Sized,
    {
        LostInto::new(self, place)
    }
}

impl<O: Operation + ?Sized> OperationExt for O {}
