//! Results into a channel, in order, as there is room.
//!
//! Knows: what goes on giving results, the pushing ends of channels. Does not know: which op it is, which channel.

use core::fmt;
use core::future::Future;
use core::ops::ControlFlow;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use super::delivered::{Delivered, End};
use crate::channel::{Destination, Inlet};
use crate::combinators::operators::impl_operators;
use crate::operation::{Operation, Results};

/// The operation that [`will_push`](super::ResultsExt::will_push) returns.
///
/// ```text
///              a result                      no room
///   Taking ───────────────▶ pushed ──▶ ... ───────────▶ Holding one ──room──▶ Taking
///     │ the end                                            │
///     ▼                                                    │ the channel is closed, or it was asked to stop
///   resolves ◀── nothing is in flight ── Leaving ◀─────────┘ : what is held, then what waits, is given back
/// ```
#[must_use = "nothing starts until it is awaited"]
pub struct WillPush<R: Results, D: Destination<R::Item>> {
    results: R,
    inlet: D::Inlet,
    /// The oldest result that the channel has not taken.
    held: Option<R::Item>,
    count: u64,
    begun: bool,
    asked_to_stop: bool,
    /// Nothing more is delivered: how it ends, once nothing is in flight.
    leaving: Option<io::Result<End>>,
}

impl<R: Results, D: Destination<R::Item>> WillPush<R, D> {
    pub(super) fn new(results: R, end: D) -> Self {
        Self {
            results,
            inlet: end.into_inlet(),
            held: None,
            count: 0,
            begun: false,
            asked_to_stop: false,
            leaving: None,
        }
    }

    /// How many results the channel has taken so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn give_back(&mut self) {
        if let Some(item) = self.held.take() {
            self.results.give_back(item);
        }
    }

    /// Taking, Holding -> Leaving.
    fn leave(&mut self, end: io::Result<End>) {
        self.give_back(); // first: it is older than what waits
        self.leaving = Some(end);
    }

    /// Pushes what is held. Pending: it is held still.
    fn poll_deliver(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.asked_to_stop
            && let Some(item) = self.held.take()
        {
            match self.inlet.try_push(item) {
                Ok(()) => self.count += 1,
                Err(refused) => {
                    self.held = Some(refused.into_inner());
                    self.leave(Err(io::Error::from_raw_os_error(libc::ECANCELED)));
                }
            }
        } else if self.held.is_some() {
            if ready!(self.inlet.poll_push(&mut self.held, cx)) {
                self.count += 1;
            } else {
                self.leave(Ok(End::Closed));
            }
        }
        Poll::Ready(())
    }
}

impl<R: Results, D: Destination<R::Item>> Unpin for WillPush<R, D> {}

impl<R: Results<End = io::Result<()>>, D: Destination<R::Item>> Future for WillPush<R, D> {
    type Output = Delivered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Delivered> {
        let this = &mut *self;
        this.begun = true;
        loop {
            ready!(this.poll_deliver(cx));
            if this.leaving.is_some() {
                ready!(this.results.poll_discard(cx));
            }
            if let Some(end) = this.leaving.take() {
                return Poll::Ready(Delivered { count: this.count, end });
            }
            match this.results.poll_next(cx) {
                Poll::Ready(ControlFlow::Continue(item)) => this.held = Some(item),
                Poll::Ready(ControlFlow::Break(end)) => {
                    return Poll::Ready(Delivered { count: this.count, end: end.map(|()| End::Finished) });
                }
                Poll::Pending => {
                    // Nothing comes that would tell of the close: it is waited for as well.
                    ready!(this.inlet.poll_closed(cx));
                    this.leave(Ok(End::Closed));
                }
            }
        }
    }
}

impl<R: Results<End = io::Result<()>>, D: Destination<R::Item>> Operation for WillPush<R, D> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        self.asked_to_stop = true;
        self.results.request_cancel();
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.give_back();
        self.results.poll_discard(cx)
    }

    /// Not before it was begun: that would start the op.
    fn may_resolve(&self) -> bool {
        self.begun || self.asked_to_stop
    }
}

impl_operators! { all any: [R: Results<End = io::Result<()>>, D: Destination<R::Item>,] WillPush<R, D>; }

impl<R: Results, D: Destination<R::Item>> Drop for WillPush<R, D> {
    fn drop(&mut self) {
        self.give_back(); // before what waits is, with the fields
    }
}

impl<R: Results, D: Destination<R::Item>> fmt::Debug for WillPush<R, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WillPush")
            .field("count", &self.count)
            .field("holds_one", &self.held.is_some())
            .finish_non_exhaustive()
    }
}
