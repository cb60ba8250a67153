//! Ops that go on giving results: one entry, many completions, and another entry when the kernel has ended the first.
//!
//! Knows: the op contract, arms, timers for when something is short. Does not know: what an op asks for (its source does),
//! channels, tasks.
//!
//! ```text
//!                    the source is ready, and at most half of the backlog waits
//!              ┌─────────────────────────────────────────────────────────────────┐
//!              │                                                                 ▼
//!            Idle                                                              Armed ──┐ results come: they wait in
//!              ▲                                                                 │  ▲  │ the arm, in order; a full
//!              │                       the terminal completion                   │  └──┘ backlog stops it
//!              │                                                                 │
//!              ├── with a result, or because the kernel had no room for one ─────┤
//!              ├── it was stopped because the backlog is full ───────────────────┤
//!              ├── it does not know multishot: single entries from now on ───────┤
//!              ├── no buffer: the source is ready when one is back ──────────────┤
//!   Resting ◀──┼── no descriptor, no memory: after a while ────────────────────┤
//!              │                                                                 │
//!              │                the end of the stream, an error, asked to stop   │
//!            asked to stop ──────────────────────▶ Over ◀────────────────────────┘
//!                                                   │ what waits is still given out
//!                                                   ▼
//!                                                 Told
//! ```
//!
//! The results lie in the arm: in its node while it is out, with the [`Multishot`] otherwise; they move with it and are never
//! copied between two queues. The terminal completion may carry a result, which is queued like any other before anything is
//! decided. Which of the ends above it was is nobody's business but this module's: whoever takes the results sees them come,
//! or sees the end.
//!
//! **Back-pressure.** At most `backlog` results wait, and those that the kernel had made when it learnt that it is to stop. It
//! starts again when half of them were taken. A source whose results can be [joined](Source::join) never gets so far.
//!
//! **Dropped at any moment** (I2): what waits is given back oldest first, in the order it came; what the kernel still
//! delivers follows it; and what was to be had only after that (a connection for the next accept) waits until the last of it is
//! there.

mod accept;
mod arm;
mod message;
mod poll;
mod pooled;
mod rest;
mod source;
mod timeout;
mod waiting;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::mem;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::fd::salvage::Place;
use super::op::Op;
use crate::operation::{Operation, Results};
use crate::runtime::time::{Sleep, sleep};
use arm::{Arm, Ended, Why};
pub(super) use rest::Rests;

pub(super) use accept::after_accept;
pub use accept::{AcceptMultishot, accept_multishot};
pub use message::{RecvmsgMultishot, recvmsg_multishot};
pub use poll::{PollMultishot, poll_multishot};
pub use pooled::{FillMultishot, ReadMultishot, RecvMultishot, read_multishot, recv_multishot};
pub use source::Source;
#[allow(unused_imports, reason = "for the sources of other families")]
pub(super) use source::{Came, Shot, Then};
pub use timeout::{TimeoutMultishot, timeout_multishot};

/// How many results may wait unless it was said.
const BACKLOG: u32 = 32;

/// An op that goes on giving results: what `…_multishot` functions return.
///
/// It needs a destination: [`will_push`](crate::combinators::ResultsExt::will_push) puts every result into a channel,
/// [`will_spawn`](crate::combinators::ResultsExt::will_spawn) makes a task of each, and
/// [`stream`](crate::combinators::ResultsExt::stream) is a `Stream` of them. Those are operations; this is not a future.
///
/// Results come in order and each exactly once, whatever the kernel does meanwhile: when it ends its part early it is asked
/// again, and where it lacks multishot it is asked for one result after the other.
///
/// # Cancel safety
///
/// It may be dropped at any time, and is cancelled then. What had come and was not taken goes where the results of a dropped
/// op go: a connection to the next accept on the descriptor, received bytes to the next read, anything else is released.
#[must_use = "a multishot op does nothing until it has a destination: `will_push`, `will_spawn` or `stream`"]
pub struct Multishot<S: Source> {
    stage: Stage<S>,
    home: S::Home,
    /// Where the result given out last had stood, should it be given back.
    handed: Option<Place>,
    rests: Rests,
    /// The kernel has refused the multishot entry: the single one shows whether that was the reason.
    doubted: bool,
    asked_to_stop: bool,
}

enum Stage<S: Source> {
    /// No entry is out.
    Idle(Arm<S>),
    /// As `Idle`, until the time has come.
    Resting(Arm<S>, Sleep),
    /// An entry is out, or waits for the source or for room in the queue.
    Armed(Op<Arm<S>>),
    /// No entry will be out any more.
    Over(Arm<S>, io::Result<()>),
    /// The end was told, or this was discarded.
    Told,
}

impl<S: Source> Multishot<S> {
    /// An op that takes its results from `source`.
    pub(super) fn new(source: S) -> Self {
        Self {
            home: source.home().clone(),
            stage: Stage::Idle(Arm::new(source, BACKLOG)),
            handed: None,
            rests: Rests::new(),
            doubted: false,
            asked_to_stop: false,
        }
    }

    /// How many results may wait for whoever takes them before the kernel is asked to pause. At least 1; 32 by default.
    ///
    /// What the kernel does until it has learnt of that comes in addition.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub fn backlog(mut self, results: usize) -> Self {
        self.idle().backlog = results.clamp(1, u32::MAX as usize) as u32;
        self
    }

    /// The source, to set options on it.
    ///
    /// # Panics
    ///
    /// Once it was polled.
    pub(super) fn source_mut(&mut self) -> &mut S {
        &mut self.idle().source
    }

    fn idle(&mut self) -> &mut Arm<S> {
        match &mut self.stage {
            Stage::Idle(arm) => arm,
            _ => panic!("an op's options are set before it is first polled"),
        }
    }

    /// Takes the oldest result that waits, wherever that is.
    fn take(&mut self) -> Option<S::Item> {
        let (place, item) = match &mut self.stage {
            Stage::Idle(arm) | Stage::Resting(arm, _) | Stage::Over(arm, _) => arm.waiting.pop_front()?,
            Stage::Armed(op) => op.look(|arm, _| arm.waiting.pop_front()).flatten()?,
            Stage::Told => return None,
        };
        self.handed = place;
        Some(item)
    }

    /// Goes on as far as it can without waiting: until the kernel works, or nothing may be asked of it, or this is over.
    fn settle(&mut self, cx: &mut Context<'_>) {
        loop {
            match &mut self.stage {
                Stage::Idle(arm) if arm.waiting.len() > arm.backlog as usize / 2 => return,
                Stage::Idle(_) => self.arm(),
                Stage::Resting(_, sleep) => match Pin::new(sleep).poll(cx) {
                    Poll::Ready(()) => self.arm(),
                    Poll::Pending => return,
                },
                Stage::Armed(op) => match Pin::new(op).poll(cx) {
                    Poll::Ready(ended) => self.ended(ended),
                    Poll::Pending => return,
                },
                Stage::Over(..) | Stage::Told => return,
            }
        }
    }

    /// Idle, Resting -> Armed.
    fn arm(&mut self) {
        self.stage = match mem::replace(&mut self.stage, Stage::Told) {
            Stage::Idle(mut arm) | Stage::Resting(mut arm, _) => {
                let multi = !self.doubted && S::FEATURE.may_be_there();
                arm.shot = if multi { Shot::Multi } else { Shot::Single };
                Stage::Armed(Op::new(arm))
            }
            other => other,
        };
    }

    /// Armed -> Idle, Resting, Over.
    fn ended(&mut self, Ended { arm, why }: Ended<S>) {
        if self.doubted {
            self.resolve_doubt(&why);
        }
        self.stage = match why {
            Why::Over(end) => Stage::Over(arm, end),
            _ if self.asked_to_stop => Stage::Over(arm, Err(cancelled())),
            Why::Spared | Why::Paused => Stage::Idle(arm),
            Why::Used => {
                self.rests.over();
                Stage::Idle(arm)
            }
            Why::Refused(_) => {
                self.doubted = true;
                Stage::Idle(arm)
            }
            Why::Failed(error) => self.failed(arm, error),
        };
    }

    /// The single entry has succeeded where the multishot entry was refused: the kernel lacks that. Or it failed as well: then
    /// the reason is another, and is the end.
    #[cold]
    fn resolve_doubt(&mut self, why: &Why) {
        if matches!(why, Why::Used | Why::Over(Ok(()))) {
            S::FEATURE.is_missing();
            self.doubted = false;
        }
    }

    #[cold]
    fn failed(&mut self, mut arm: Arm<S>, error: io::Error) -> Stage<S> {
        let then = arm.source.after(&error);
        if matches!(then, Then::End) {
            return Stage::Over(arm, Err(error));
        }
        if matches!(then, Then::WhenReady) {
            return Stage::Idle(arm);
        }
        if arm.came {
            self.rests.over(); // what came before it failed shows that it works
        }
        match self.rests.next(then) {
            Some(rest) => Stage::Resting(arm, sleep(rest)),
            None => Stage::Idle(arm),
        }
    }

    /// The next result, in an arm that is not simply out with results in it.
    fn poll_slowly(&mut self, cx: &mut Context<'_>) -> Poll<ControlFlow<io::Result<()>, S::Item>> {
        self.settle(cx);
        if let Some(item) = self.take() {
            return Poll::Ready(ControlFlow::Continue(item));
        }
        match &self.stage {
            Stage::Over(..) => Poll::Ready(ControlFlow::Break(self.tell())),
            Stage::Told => panic!("a multishot op was polled after its end"),
            Stage::Idle(_) | Stage::Resting(..) | Stage::Armed(_) => Poll::Pending,
        }
    }

    /// Over -> Told.
    #[cold]
    fn tell(&mut self) -> io::Result<()> {
        match mem::replace(&mut self.stage, Stage::Told) {
            Stage::Over(arm, end) => {
                self.home = arm.source.home().clone(); // which may have come to be another since it was made
                end
            }
            _ => unreachable!("the caller has seen it"),
        }
    }
}

impl<S: Source> Unpin for Multishot<S> {}

impl<S: Source> Results for Multishot<S> {
    type Item = S::Item;
    type End = io::Result<()>;

    #[inline]
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<ControlFlow<io::Result<()>, S::Item>> {
        if let Stage::Armed(op) = &mut self.stage {
            match op.poll_noted(cx, |arm| arm.waiting.pop_front()) {
                Some(Poll::Ready((place, item))) => {
                    self.handed = place;
                    return Poll::Ready(ControlFlow::Continue(item));
                }
                Some(Poll::Pending) => return Poll::Pending,
                None => {}
            }
        }
        self.poll_slowly(cx)
    }

    fn give_back(&mut self, item: S::Item) {
        let place = self.handed.take();
        let mut returned = Some((place, item));
        let mut put = |arm: &mut Arm<S>| {
            if let Some(returned) = returned.take() {
                arm.waiting.push_front(returned);
            }
        };
        // It goes before what came after it; the arm gives everything back in that order.
        match &mut self.stage {
            Stage::Idle(arm) | Stage::Resting(arm, _) | Stage::Over(arm, _) => put(arm),
            Stage::Armed(op) => drop(op.look_if_here(|arm, _| put(arm))),
            Stage::Told => {}
        }
        if let Some((place, item)) = returned {
            S::give_back(&self.home, item, place);
        }
    }

    fn request_cancel(&mut self) {
        self.asked_to_stop = true;
        self.stage = match mem::replace(&mut self.stage, Stage::Told) {
            Stage::Idle(arm) => Stage::Over(arm, Err(cancelled())),
            Stage::Resting(arm, mut sleep) => {
                Pin::new(&mut sleep).request_cancel(); // its last poll promised a wake
                Stage::Over(arm, Err(cancelled()))
            }
            Stage::Armed(mut op) => {
                Pin::new(&mut op).request_cancel();
                Stage::Armed(op)
            }
            over => over,
        };
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Stage::Armed(op) = &mut self.stage {
            std::task::ready!(Pin::new(op).poll_discard(cx));
        }
        self.stage = Stage::Told; // and what waited was given back
        Poll::Ready(())
    }
}

impl<S: Source> fmt::Debug for Multishot<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Idle(_) => "Idle",
            Stage::Resting(..) => "Resting",
            Stage::Armed(_) => "Armed",
            Stage::Over(..) => "Over",
            Stage::Told => "Told",
        };
        f.debug_struct("Multishot")
            .field("source", &std::any::type_name::<S>())
            .field("stage", &stage)
            .finish()
    }
}

#[cold]
fn cancelled() -> io::Error {
    io::Error::from_raw_os_error(libc::ECANCELED)
}
