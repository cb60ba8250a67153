//! A receiver of instants as a stream.
//!
//! Knows: the receiver. Does not know: who keeps a timer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_core::{FusedStream, Stream};

use super::receiver::Receiver;

/// The instants as they come due; ends when the channel is closed and nothing is due.
///
/// # Cancel safety
///
/// Nothing is lost by not polling it again. After a poll that was pending a timer stays armed until it has fired or the
/// receiver is popped from, closed or dropped.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use std::time::Duration;
///
/// use futures::StreamExt;
///
/// let ticks = millstream::channel::tick(Duration::from_millis(1));
/// assert_eq!(ticks.take(3).count().await, 3);
/// # });
/// ```
impl Stream for Receiver {
    type Item = Instant;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.get_mut().poll_pop(cx).map(Result::ok)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let goes_on = self.period().is_some() && !self.is_closed();
        (0, (!goes_on).then(|| self.next_due().iter().len()))
    }
}

impl FusedStream for Receiver {
    /// Whether the channel is closed and nothing is due.
    fn is_terminated(&self) -> bool {
        self.has_ended()
    }
}
