//! The contract of an op: what it asks of the kernel, what it holds meanwhile, and what becomes of the answer.
//!
//! Knows: entries and results. Does not know: nodes, rings, tasks, combinators.
#![allow(
    unsafe_code,
    reason = "the trait is unsafe to implement: its entry carries pointers the kernel will follow"
)]

use std::any::Any;
use std::io;
use std::task::{Context, Poll};

use crate::runtime::driver::Sqe;
pub use crate::runtime::inflight::More;

/// What [`Request::prepare`] found before anything was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// Nothing is known yet: ask the kernel.
    Submit,
    /// The answer is there already, as the kernel would have given it. In a chain it counts as a success.
    Answer(i32),
    /// As `Answer`, but it breaks a chain as a short read does.
    AnswerShort(i32),
}

impl Prepared {
    /// What a completion with this answer would carry.
    pub(super) fn result(self) -> i32 {
        match self {
            Self::Submit => 0,
            Self::Answer(res) | Self::AnswerShort(res) => res,
        }
    }
}

/// One request to the ring: its entry, everything the kernel may touch while it runs, and how to read the answer.
///
/// A value of this type is moved into its node before `sqe` is called, and stays there, at one address, until the
/// terminal completion, whatever becomes of the future (I1).
///
/// # Safety
///
/// 1. Every pointer in the entry points into memory that `self` owns, inline or on the heap, and that stays valid and
///    unmoved until `self` is moved or dropped after the terminal completion.
/// 2. Every descriptor in the entry is kept open by `self`.
/// 3. `sqe` does not panic, and starts nothing: it only builds the entry.
pub unsafe trait Request: Sized + 'static {
    /// What the op resolves to.
    type Output;

    /// Looks, before the request is queued, whether the kernel need not or must not be asked yet.
    ///
    /// Asked at every poll until the request is queued or answered: there may be no room in the queue at first.
    ///
    /// A read or accept answers here from what an earlier one, dropped in flight, had already received (I2), and waits
    /// here while such a one has not ended.
    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Prepared> {
        let _ = cx;
        Poll::Ready(Prepared::Submit)
    }

    /// The entry. Called once, when `self` is at its final address; of one that is [`REPEATABLE`](Self::REPEATABLE), perhaps
    /// again.
    fn sqe(&mut self) -> Sqe;

    /// Whether the request is made again, by another call of `sqe`, when the kernel has given it up without having begun it:
    /// for want of a worker thread, with `ECANCELED`, which nobody has asked for. Not of one to which that is an answer like
    /// others, or of which something may have been done all the same.
    const REPEATABLE: bool = false;

    /// Whether the request may stop other ones, as a cancel by descriptor does: none that was in flight meanwhile is then made
    /// again.
    const STOPS_OTHERS: bool = false;

    /// The future is gone while the kernel works on the request; `abandon` will follow with the terminal completion.
    fn orphaned(&mut self) {}

    /// The future is gone, and the kernel has not seen the request and will not: its entry has become one that does nothing.
    /// `abandon` will follow with the completion of that. What the request has of others goes back now.
    fn withdrawn(&mut self) {}

    /// Something has come to light that may answer this request while the kernel works on it: takes it if it does, and
    /// says so. The kernel is then asked to stop, and `finish` or `abandon` follows with whatever came of that.
    fn offer(&mut self, gift: &mut dyn Any) -> bool {
        let _ = gift;
        false
    }

    /// A completion has come that is not the last one (`IORING_CQE_F_MORE`): the kernel still works on the request.
    ///
    /// It takes over what the completion carries, at once: there is no second look. `orphaned` tells whether the future is
    /// gone, so that nobody will ask for it. As long as it is not, this must not run foreign code (wake, or drop what is not
    /// its own), which might drop the future and so reach this very request.
    fn more(&mut self, result: io::Result<u32>, flags: u32, orphaned: bool) -> More {
        let _ = (result, flags, orphaned);
        More::Quiet
    }

    /// Whether [`Request::last`] is to be called.
    const NOTES_LAST: bool = false;

    /// The terminal completion has come: called at once, if [`NOTES_LAST`](Self::NOTES_LAST) asks for it, so that the request
    /// takes over what the completions of several requests carry in the order they came in. `finish` or `abandon` follows,
    /// with the same result, when somebody looks. Not called for a request that the kernel never ran.
    ///
    /// Runs no foreign code, as `more`.
    fn last(&mut self, result: io::Result<u32>, flags: u32) {
        let _ = (result, flags);
    }

    /// Reads the answer. `result` is the completion's result: a count or descriptor, or an errno. It is also called
    /// with an error when the request was never submitted.
    fn finish(self, result: io::Result<u32>, flags: u32) -> Self::Output;

    /// Nobody awaits the answer. What the kernel has done goes where it belongs: a connection to the next accept, bytes
    /// to the next read, another descriptor is closed. `orphaned` tells whether [`Request::orphaned`] came before.
    fn abandon(self, result: io::Result<u32>, flags: u32, orphaned: bool) {
        let _ = (result, flags, orphaned);
    }
}
