//! Results as a stream.
//!
//! Knows: what goes on giving results, `Stream`. Does not know: which op it is, who takes them.

use core::fmt;
use core::ops::ControlFlow;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use futures_core::{FusedStream, Stream};

use crate::operation::Results;

/// The stream that [`stream`](super::ResultsExt::stream) returns.
///
/// Every result is `Ok`. An error that ends the op is the last item, and the stream is over after it.
///
/// # Cancel safety
///
/// Nothing is lost by not polling it again: a future of its next item may be dropped at any time. Results that came meanwhile
/// wait, and when enough wait the kernel is asked to pause. When it is dropped, what was not taken goes where the results of
/// a dropped op go.
#[must_use = "nothing starts until it is polled"]
pub struct ResultStream<R: Results> {
    results: R,
    over: bool,
}

impl<R: Results> ResultStream<R> {
    pub(super) fn new(results: R) -> Self {
        Self { results, over: false }
    }

    /// Asks the op to stop: what has come by then is still in the stream, then the error `ECANCELED`.
    pub fn request_cancel(&mut self) {
        if !self.over {
            self.results.request_cancel();
        }
    }
}

impl<R: Results<End = io::Result<()>>> Stream for ResultStream<R> {
    type Item = io::Result<R::Item>;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.results.poll_next(cx)) {
            ControlFlow::Continue(item) => Some(Ok(item)),
            ControlFlow::Break(end) => {
                self.over = true;
                end.err().map(Err)
            }
        })
    }
}

impl<R: Results<End = io::Result<()>>> FusedStream for ResultStream<R> {
    fn is_terminated(&self) -> bool {
        self.over
    }
}

impl<R: Results> fmt::Debug for ResultStream<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultStream").field("over", &self.over).finish_non_exhaustive()
    }
}
