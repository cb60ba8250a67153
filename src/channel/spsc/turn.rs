//! How an operation waits for its turn at an end: the part that all of them share.
//!
//! Knows: posts, the poll budget. Does not know: what the operations do.
//!
//! ```text
//!             poll: not yet                  poll: done
//!   IDLE ───────────────────▶ WAITING ─────────────────────▶ FINISHED
//!    │ │                       │  ▲ poll: not yet                ▲
//!    │ └── poll: done ─────────┼──┘ ───────────────────────────▶ │
//!    │                         │ asked to stop: woken            │
//!    └── asked to stop ──▶ CANCELLED ──── poll: gives up ────────┘
//! ```
//!
//! Nothing happens to the channel but in a poll that finishes, so an operation may be dropped in any state.

use core::task::{Context, Poll, Waker};

use super::head::Head;
use super::tail::Tail;
use crate::channel::wake::{deliver, discard, wake_now};
use crate::util::executor;
use crate::util::level::Want;
use crate::util::plain::Plain;
use crate::util::post::{Post, Wait};

/// An end of the ring, to wait at.
pub(super) trait End {
    fn post(&mut self) -> &mut Post;
}

impl<T> End for Tail<T> {
    #[inline]
    fn post(&mut self) -> &mut Post {
        self.post()
    }
}

impl<T> End for Head<T> {
    #[inline]
    fn post(&mut self) -> &mut Post {
        self.post()
    }
}

impl End for Post {
    #[inline]
    fn post(&mut self) -> &mut Post {
        self
    }
}

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) enum Turn {
    Idle,
    /// With the waker, if it is one that can be remembered for nothing: a watch may have been left on another thread.
    Waiting(Option<Plain>),
    Cancelled,
    Finished,
}

/// What a poll may do now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    /// What it waited for is there: it takes effect now, and has finished.
    On,
    /// It was asked to stop: it takes no effect, and has finished.
    Back,
}

impl Turn {
    /// Asks whether the operation is `ready`, now and whenever it may be. Once this returns `Ready`, the turn is over.
    #[inline(always)]
    pub(super) fn poll<E: End>(
        &mut self,
        end: &mut E,
        want: Want,
        cx: &mut Context<'_>,
        ready: impl FnMut(&mut E) -> bool,
    ) -> Poll<Go> {
        let mut ready = ready;
        if matches!(self, Self::Idle) {
            if !executor::spend(cx) {
                return Poll::Pending;
            }
            if ready(end) {
                *self = Self::Finished;
                return Poll::Ready(Go::On);
            }
        }
        self.poll_on(end, want, cx, ready)
    }

    /// The part that may wait.
    #[inline(never)]
    fn poll_on<E: End>(
        &mut self,
        end: &mut E,
        want: Want,
        cx: &mut Context<'_>,
        mut ready: impl FnMut(&mut E) -> bool,
    ) -> Poll<Go> {
        match self {
            Self::Idle => {}
            Self::Waiting(_) => {
                if ready(end) {
                    self.stop_waiting(end);
                    *self = Self::Finished;
                    return Poll::Ready(Go::On);
                }
            }
            Self::Cancelled => {
                *self = Self::Finished;
                return Poll::Ready(Go::Back);
            }
            Self::Finished => panic!("a channel operation was polled after it had resolved"),
        }
        loop {
            match end.post().wait(want, cx.waker(), wake_now, discard_one) {
                Wait::Pending(plain) => {
                    *self = Self::Waiting(plain);
                    return Poll::Pending;
                }
                Wait::Ready => {
                    if ready(end) {
                        *self = Self::Finished;
                        return Poll::Ready(Go::On);
                    }
                }
            }
        }
    }

    /// Whether a poll may end it. `ready`: what it is for is there.
    pub(super) fn may_resolve(self, ready: bool) -> bool {
        ready || matches!(self, Self::Cancelled | Self::Finished)
    }

    /// Whether it waits, and will go on waiting.
    pub(super) fn waits(self, ready: bool) -> bool {
        !ready && matches!(self, Self::Waiting(_))
    }

    /// Ends the wait, if there is one.
    #[inline]
    pub(super) fn stop_waiting(&mut self, end: &mut impl End) {
        if matches!(self, Self::Waiting(_)) {
            stop_waiting(end.post());
        }
    }

    /// Ends the operation, which has not happened unless it had finished.
    pub(super) fn finish(&mut self, end: &mut impl End) {
        self.stop_waiting(end);
        *self = Self::Finished;
    }

    /// Ends the operation, which has happened, and mostly because a wake had ended its wait.
    #[inline]
    pub(super) fn finish_woken(&mut self, end: &mut impl End) {
        if matches!(self, Self::Waiting(_)) && end.post().waits() {
            stop_waiting(end.post());
        }
        *self = Self::Finished;
    }

    /// The next poll gives up.
    pub(super) fn request_cancel(&mut self, end: &mut impl End) {
        match *self {
            Self::Idle => *self = Self::Cancelled,
            Self::Waiting(plain) => {
                *self = Self::Cancelled;
                let left = end.post().stop_waiting();
                match plain {
                    Some(plain) => {
                        discard(left);
                        deliver(Some(plain.waker())); // its last poll promised a wake
                    }
                    None => deliver(left),
                }
            }
            Self::Cancelled | Self::Finished => {}
        }
    }
}

#[inline(never)] // so that the drop of a future is small
fn stop_waiting(post: &mut Post) {
    discard(post.stop_waiting());
}

fn discard_one(waker: Waker) {
    discard(Some(waker));
}
