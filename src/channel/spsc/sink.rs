//! A producer as a sink.
//!
//! Knows: producers. Does not know: how values and wakes travel.

use core::pin::Pin;
use core::task::{Context, Poll};

use futures_sink::Sink;

use super::either::Kind;
use super::producer::Producer;
use super::tail::Tail;
use super::turn::Turn;
use crate::channel::error::{PushError, TryPushError};
use crate::util::level::Want;

/// Values go in at the end, each after its `poll_ready` was ready. Flushing is immediate: what was sent is in the channel.
/// Closing the sink closes the channel.
///
/// # Errors
///
/// `poll_ready` has none: it is ready when the channel is closed, and `start_send` then gives the value back in
/// [`PushError::Closed`]. So whatever drives the sink loses no value to an error.
///
/// # Cancel safety
///
/// Nothing is lost by not polling it again.
///
/// # Panics
///
/// `start_send` does if `poll_ready` was not ready before it and there is no room.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use futures::{SinkExt, StreamExt, stream};
///
/// let (mut tx, rx) = millstream::channel::spsc(8);
/// tx.send_all(&mut stream::iter([1, 2, 3]).map(Ok)).await?;
/// drop(tx);
/// assert_eq!(rx.collect::<Vec<_>>().await, [1, 2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
impl<T> Sink<T> for Producer<T> {
    type Error = PushError<T>;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match &mut self.get_mut().kind {
            // Each poll is a turn of its own: what an earlier one left behind is a wake more at most.
            Kind::Ring(tail) => Turn::Idle.poll(tail, Want::Progress, cx, Tail::is_ready).map(|_| Ok(())),
            Kind::Meet(sender) => Pin::new(sender).poll_ready(cx),
        }
    }

    fn start_send(self: Pin<&mut Self>, value: T) -> Result<(), Self::Error> {
        match &mut self.get_mut().kind {
            Kind::Ring(tail) => tail.try_push(value).map_err(|error| match error {
                TryPushError::Closed(value) => PushError::Closed(value),
                TryPushError::Full(_) => {
                    panic!("`start_send` without a `poll_ready` that was ready before it")
                }
            }),
            Kind::Meet(sender) => Pin::new(sender).start_send(value),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match &mut self.get_mut().kind {
            Kind::Ring(tail) => {
                tail.close();
                Poll::Ready(Ok(()))
            }
            Kind::Meet(sender) => Pin::new(sender).poll_close(cx),
        }
    }
}
