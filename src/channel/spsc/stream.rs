//! A consumer as a stream.
//!
//! Knows: consumers. Does not know: how values and wakes travel.

use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::{FusedStream, Stream};

use super::consumer::Consumer;
use super::either::Kind;
use super::turn::Turn;
use crate::util::level::Want;

/// The values in order; ends when the channel is closed and drained.
///
/// # Cancel safety
///
/// Nothing is lost by not polling it again.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use futures::StreamExt;
///
/// let (mut tx, rx) = millstream::channel::spsc(8);
/// for n in 0..3 {
///     tx.push(n).await?;
/// }
/// drop(tx);
/// assert_eq!(rx.collect::<Vec<_>>().await, [0, 1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
impl<T> Stream for Consumer<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match &mut self.get_mut().kind {
            // Each poll is a turn of its own: what an earlier one left behind is a wake more at most.
            Kind::Ring(head) => match Turn::Idle.poll(head, Want::Progress, cx, |head| head.is_ready()) {
                Poll::Ready(_) => Poll::Ready(head.try_pop().ok()),
                Poll::Pending => Poll::Pending,
            },
            Kind::Meet(receiver) => Pin::new(receiver).poll_next(cx),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.kind {
            Kind::Ring(head) => (head.len(), head.has_ended().then_some(0)),
            Kind::Meet(receiver) => receiver.size_hint(),
        }
    }
}

impl<T> FusedStream for Consumer<T> {
    /// Whether the channel is closed and drained.
    fn is_terminated(&self) -> bool {
        match &self.kind {
            Kind::Ring(head) => head.has_ended(),
            Kind::Meet(receiver) => receiver.is_terminated(),
        }
    }
}
