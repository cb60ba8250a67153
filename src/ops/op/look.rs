//! Looking at the request of an op that is out.
//!
//! Knows: nodes, the runtime that polls on this thread. Does not know: what a request notes there, completions.
#![allow(unsafe_code, reason = "looks at the request inside its node")]

use std::task::{Context, Poll};

use super::{Held, Op, Request, Stage, elsewhere};
use crate::runtime::context;
use crate::runtime::inflight::State;

impl<R: Request> Op<R> {
    /// Looks at the request of an op that was queued and has not resolved: it has noted there what came so far. `None` of any
    /// other op. `look` runs no foreign code, which might drop the op.
    ///
    /// # Panics
    ///
    /// Away from the op's runtime.
    #[inline]
    pub(in crate::ops) fn with_request<T>(&mut self, look: impl FnOnce(&mut R) -> T) -> Option<T> {
        let Stage::Started(started) = &*self.stage else { return None };
        context::with(|core| {
            let core = core.filter(|core| core.id == started.runtime).unwrap_or_else(|| elsewhere());
            started.head(core)?;
            // SAFETY: (I1, I5) the node is this op's and holds the request. The kernel touches what that points to, never its
            // own bookkeeping; the dispatcher, the other one to look at it, does not run during a poll.
            Some(look(unsafe { &mut *Held::<R>::at(started.node) }))
        })
    }

    /// Looks at the request, wherever it is, and is told whether its terminal completion is there: see
    /// [`with_request`](Self::with_request). `None` once the op has resolved, or its runtime is about to end.
    #[inline]
    pub(in crate::ops) fn look<T>(&mut self, look: impl FnOnce(&mut R, bool) -> T) -> Option<T> {
        self.look_from(look, || elsewhere())
    }

    /// What the request of an op that is out has noted: `take` takes it, or finds nothing, and then whoever polls is woken by the
    /// next completion that is worth it. `None` of an op that is to be polled itself: it is not out, or is over. `take` is as
    /// the `look` of [`with_request`](Self::with_request).
    ///
    /// # Panics
    ///
    /// Away from the op's runtime.
    #[inline]
    pub(in crate::ops) fn poll_noted<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut R) -> Option<T>,
    ) -> Option<Poll<T>> {
        let Stage::Started(started) = &*self.stage else { return None };
        // SAFETY: (local) not kept beyond this call.
        let core = unsafe { context::current() }
            .filter(|core| core.id == started.runtime)
            .unwrap_or_else(|| elsewhere());
        if started.head(core)?.state() != State::Queued {
            return None;
        }
        // SAFETY: (I1, I5) as in `with_request`.
        let noted = take(unsafe { &mut *Held::<R>::at(started.node) });
        if noted.is_none() {
            started.wait(core, cx);
        }
        Some(noted.map_or(Poll::Pending, Poll::Ready))
    }

    /// As [`look`](Self::look); `None` also away from the op's runtime.
    pub(in crate::ops) fn look_if_here<T>(&mut self, look: impl FnOnce(&mut R, bool) -> T) -> Option<T> {
        self.look_from(look, || None)
    }

    #[inline(always)]
    fn look_from<T>(
        &mut self,
        look: impl FnOnce(&mut R, bool) -> T,
        away: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        let started = match &mut *self.stage {
            Stage::Started(started) => *started,
            Stage::Built(request) | Stage::Answered(request, _) | Stage::Failed(request, _) => {
                return Some(look(request, false));
            }
            Stage::Finished => return None,
        };
        context::with(|core| {
            let Some(core) = core.filter(|core| core.id == started.runtime) else { return away() };
            let ended = started.head(core)?.state() == State::Done;
            // SAFETY: (I1, I5) as in `with_request`.
            Some(look(unsafe { &mut *Held::<R>::at(started.node) }, ended))
        })
    }
}
