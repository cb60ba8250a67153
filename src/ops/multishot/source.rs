//! What one multishot op asks for, and what each of its completions means: the part that differs between them.
//!
//! Knows: entries, results. Does not know: nodes, the queue of results, who gets them.
#![allow(
    unsafe_code,
    reason = "the trait is unsafe to implement: its entry carries pointers the kernel will follow"
)]

use std::any::Any;
use std::io;
use std::task::{Context, Poll};

use crate::ops::fd::salvage::Place;
use crate::ops::features::Feature;
use crate::runtime::driver::Sqe;

/// Which entry is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shot {
    /// One that goes on completing.
    Multi,
    /// One that completes once: the kernel lacks the other.
    Single,
}

/// What a completion brought.
#[derive(Debug)]
pub enum Came<T> {
    /// A result.
    Item(T),
    /// A result, and there will be no other.
    Last(T),
    /// Nothing that anybody asked for.
    Nothing,
    /// The news that nothing will come any more, such as the end of a stream.
    End,
    /// An error. If the completion was the terminal one, [`Source::after`] says what is to be done.
    Failed(io::Error),
}

/// What to do after the kernel has ended an op with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing: the op ends with it.
    End,
    /// Ask again. Should that fail in turn, as `Later`.
    Again,
    /// Ask again after a while, which grows from failure to failure: something is short, and nobody will say when it no
    /// longer is.
    Later,
    /// Ask again as soon as [`Source::prepare`] is ready.
    WhenReady,
}

/// The differing part of a [`Multishot`](super::Multishot): what it asks for, and what a completion means.
///
/// # Safety
///
/// As for [`Request`](crate::ops::Request): what the entry of `sqe` points to is owned by `self` and stays valid and
/// unmoved until `self` is moved or dropped after the terminal completion; its descriptors are kept open by `self`; `sqe`
/// does not panic and starts nothing.
pub unsafe trait Source: Sized + Unpin + 'static {
    /// A result, as its receiver gets it. Dropping one releases it.
    type Item: 'static;

    /// Where results go that nobody will get: mostly the descriptor.
    type Home: Clone + Unpin + 'static;

    /// What the kernel must have for an entry that goes on completing.
    const FEATURE: Feature;

    /// Whether the kernel may be asked now. Pending: later, and the context's task is woken. An item: what is to be had
    /// without asking comes first, and where it stood.
    ///
    /// Asked at every poll until the entry is queued.
    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Place, Self::Item)>> {
        let _ = cx;
        Poll::Ready(None)
    }

    /// The entry. `self` is at its final address.
    fn sqe(&mut self, shot: Shot) -> Sqe;

    /// See [`Request::REPEATABLE`](crate::ops::Request::REPEATABLE).
    const REPEATABLE: bool = true;

    /// Takes over what a completion carries, whatever the sign of its result: there is no second look. Runs no foreign code.
    fn came(&mut self, result: io::Result<u32>, flags: u32) -> Came<Self::Item>;

    /// Whether two results can always be [joined](Self::join), so that it never has to pause.
    const JOINS: bool = false;

    /// Makes one of two results of which nobody has got the first yet. `Err`: they stay two.
    fn join(&mut self, waiting: &mut Self::Item, new: Self::Item) -> Result<(), Self::Item> {
        let _ = waiting;
        Err(new)
    }

    /// What to do after this error.
    fn after(&mut self, error: &io::Error) -> Then {
        let _ = error;
        Then::End
    }

    /// See [`Home`](Self::Home).
    fn home(&self) -> &Self::Home;

    /// Gives back a result that nobody will get, and where it stood if it was waiting there before. May run foreign code.
    fn give_back(home: &Self::Home, item: Self::Item, place: Option<Place>) {
        let _ = (home, place);
        drop(item);
    }

    /// The future is gone while the kernel works: others who want what this may still bring have to wait, until `ended`.
    fn orphaned(&mut self) {}

    /// The terminal completion is here, of an op that was orphaned. What it had brought was given back.
    fn ended(home: &Self::Home) {
        let _ = home;
    }

    /// As [`Request::offer`](crate::ops::Request::offer): a result that has come to light elsewhere.
    fn offer(&mut self, gift: &mut dyn Any) -> Option<(Option<Place>, Self::Item)> {
        let _ = gift;
        None
    }
}
