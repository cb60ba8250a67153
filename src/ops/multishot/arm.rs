//! One entry of a multishot op, from when it is queued until its terminal completion, with the results that wait.
//!
//! Knows: the request contract, the source. Does not know: when another entry follows, who gets the results.
#![allow(unsafe_code, reason = "implements the unsafe request trait")]

use std::any::Any;
use std::fmt;
use std::io;
use std::mem;
use std::task::{Context, Poll, ready};

use super::source::{Came, Shot, Source};
use super::waiting::Waiting;
use crate::ops::fd::salvage::Place;
use crate::ops::features;
use crate::ops::request::{More, Prepared, Request};
use crate::runtime::driver::Sqe;

/// The request of a [`Multishot`](super::Multishot). While no entry is out, that has it.
///
/// In an order of ours: with hundreds of ops in flight what a result goes through is in no near cache any more, so all of
/// that comes first, and for the usual sources is one line.
#[repr(C)]
pub(crate) struct Arm<S: Source> {
    /// Results in the order they came, and where one stood that had waited on the descriptor.
    pub(super) waiting: Waiting<(Option<Place>, S::Item)>,
    /// How many may wait before the kernel is asked to pause.
    pub(super) backlog: u32,
    /// Which entry is the next, or is out.
    pub(super) shot: Shot,
    /// Something has come of the entry that is out, or was.
    pub(super) came: bool,
    /// The entry that is out was asked to stop, by this crate itself and not for good.
    pausing: bool,
    /// `prepare` has found a result: nothing was asked of the kernel.
    found: bool,
    pub(super) source: S,
    /// A completion that was not the terminal one has said that this is the end.
    over: Option<io::Result<()>>,
    /// The terminal completion has come.
    ended: Option<Why>,
}

/// An entry has ended.
pub(crate) struct Ended<S: Source> {
    pub(super) arm: Arm<S>,
    pub(super) why: Why,
}

/// Why an entry has ended.
#[derive(Debug)]
pub(super) enum Why {
    /// It was not even queued: a result was to be had without it.
    Spared,
    /// With a result, or without one and without an error: there may be more to come.
    Used,
    /// It was to pause.
    Paused,
    /// There is nothing more to come.
    Over(io::Result<()>),
    /// The kernel has refused the entry as one it does not understand, before anything came of it.
    Refused(io::Error),
    /// For another reason, of which the source knows what to do about it.
    Failed(io::Error),
}

impl<S: Source> Arm<S> {
    pub(super) fn new(source: S, backlog: u32) -> Self {
        Self {
            waiting: Waiting::new(),
            backlog,
            shot: Shot::Multi,
            came: false,
            pausing: false,
            found: false,
            source,
            over: None,
            ended: None,
        }
    }

    /// Takes note of a completion; why it is the end, if the source says that it is.
    #[inline]
    fn take(&mut self, came: Came<S::Item>) -> Option<Why> {
        match came {
            Came::Item(item) => {
                self.put(item);
                None
            }
            Came::Last(item) => {
                self.put(item);
                Some(Why::Over(Ok(())))
            }
            Came::Nothing => None,
            Came::End => Some(Why::Over(Ok(()))),
            Came::Failed(error) => Some(self.failed(error)),
        }
    }

    #[inline]
    fn put(&mut self, item: S::Item) {
        let new = match self.waiting.back_mut() {
            Some((_, last)) if S::JOINS => self.source.join(last, item).err(),
            _ => Some(item),
        };
        if let Some(new) = new {
            self.waiting.push_back((None, new));
        }
    }

    #[cold]
    fn failed(&self, error: io::Error) -> Why {
        match error.raw_os_error() {
            Some(libc::ECANCELED) if self.pausing => Why::Paused,
            _ if !self.came && self.shot == Shot::Multi && features::may_be_lacking(&error) => {
                Why::Refused(error)
            }
            _ => Why::Failed(error),
        }
    }

    /// A completion that was not the terminal one has said why there is to be no other.
    #[cold]
    fn stop(&mut self, why: Why) -> More {
        self.over.get_or_insert(match why {
            Why::Refused(error) | Why::Failed(error) => Err(error),
            Why::Over(end) => end,
            Why::Spared | Why::Used | Why::Paused => Ok(()),
        });
        More::Stop
    }

    /// Gives back what waits, oldest first.
    fn give_back(&mut self) {
        while let Some((place, item)) = self.waiting.pop_front() {
            S::give_back(self.source.home(), item, place);
        }
    }

    /// Why it has ended. The terminal completion was taken note of already, unless the kernel never ran the entry.
    fn end(&mut self, result: io::Result<u32>, flags: u32) -> Why {
        if let Some(why) = self.ended.take() {
            return why;
        }
        if mem::take(&mut self.found) && result.is_ok() {
            return Why::Spared;
        }
        let came = self.source.came(result, flags); // first: it may carry a result although it is the end
        let why = self.take(came).unwrap_or(Why::Used);
        self.over.take().map_or(why, Why::Over)
    }
}

// SAFETY: (I1) the entry is the source's, whose contract is the same.
unsafe impl<S: Source> Request for Arm<S> {
    type Output = Ended<S>;

    const REPEATABLE: bool = S::REPEATABLE;

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        let Some((place, item)) = ready!(self.source.prepare(cx)) else {
            return Poll::Ready(Prepared::Submit);
        };
        self.waiting.push_back((Some(place), item));
        self.found = true;
        Poll::Ready(Prepared::Answer(0))
    }

    fn sqe(&mut self) -> Sqe {
        (self.came, self.pausing) = (false, false);
        let entry = self.source.sqe(self.shot);
        if self.shot == Shot::Multi { S::FEATURE.entry(entry) } else { entry }
    }

    fn orphaned(&mut self) {
        self.source.orphaned();
        self.give_back();
    }

    fn withdrawn(&mut self) {
        self.give_back(); // not only when the entry has come back: who comes next would overtake it
    }

    fn offer(&mut self, gift: &mut dyn Any) -> bool {
        let Some(item) = self.source.offer(gift) else { return false };
        self.waiting.push_back(item);
        self.pausing = true; // whoever takes a gift is stopped
        true
    }

    fn more(&mut self, result: io::Result<u32>, flags: u32, orphaned: bool) -> More {
        self.came = true;
        let before = self.waiting.len();
        let came = self.source.came(result, flags);
        let end = self.take(came);
        if orphaned {
            self.give_back();
            return More::Quiet; // it is being stopped already
        }
        if let Some(why) = end {
            return self.stop(why);
        }
        match self.waiting.len() {
            now if now == before => More::Quiet, // it brought nothing, or was joined to one that waits
            now if now >= self.backlog as usize && !S::JOINS => {
                self.pausing = true;
                More::Stop
            }
            1 => More::Wake,
            _ => More::Quiet, // who knows that something waits comes back without being told
        }
    }

    const NOTES_LAST: bool = true;

    fn last(&mut self, result: io::Result<u32>, flags: u32) {
        self.ended = Some(self.end(result, flags));
    }

    fn finish(mut self, result: io::Result<u32>, flags: u32) -> Ended<S> {
        let why = self.end(result, flags);
        Ended { arm: self, why }
    }

    fn abandon(mut self, result: io::Result<u32>, flags: u32, orphaned: bool) {
        self.end(result, flags);
        self.give_back();
        if orphaned {
            S::ended(self.source.home());
        }
    }
}

impl<S: Source> Drop for Arm<S> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<S: Source> fmt::Debug for Arm<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arm")
            .field("waiting", &self.waiting.len())
            .field("shot", &self.shot)
            .finish_non_exhaustive()
    }
}

impl<S: Source> fmt::Debug for Ended<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended").field("arm", &self.arm).field("why", &self.why).finish()
    }
}
