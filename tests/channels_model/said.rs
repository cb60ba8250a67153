//! What operations came to, and the same in the model's terms.
//!
//! Knows: results and errors of channels. Does not know: which are right.

use millstream::channel::{PopError, PushError, TryPopError, TryPushError};

use crate::channel_model::Refused;
use crate::parts::Token;

/// What an operation came to; `P` is the permit of a reservation.
pub(crate) enum Out<P> {
    Pushed(Result<(), (Refused, Token)>),
    Popped(Result<Token, Refused>),
    Reserved(Result<P, Refused>),
    PushedMany(Result<(), Refused>),
    PoppedMany(Result<usize, Refused>),
    Closed,
    Won(usize, Box<Out<P>>),
}

/// The same, in the model's terms.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Pushed(Result<(), (Refused, u64)>),
    Popped(Result<u64, Refused>),
    Reserved(Result<(), Refused>),
    PushedMany(Result<(), Refused>),
    PoppedMany(Result<usize, Refused>),
    Closed,
    Won(usize, Box<Said>),
}

impl<P> Out<P> {
    pub(crate) fn said(&self) -> Said {
        match self {
            Self::Pushed(result) => {
                Said::Pushed(result.as_ref().map_err(|(why, token)| (*why, token.id)).copied())
            }
            Self::Popped(result) => Said::Popped(result.as_ref().map(|token| token.id).map_err(|why| *why)),
            Self::Reserved(result) => Said::Reserved(result.as_ref().map(drop).map_err(|why| *why)),
            Self::PushedMany(result) => Said::PushedMany(*result),
            Self::PoppedMany(result) => Said::PoppedMany(*result),
            Self::Closed => Said::Closed,
            Self::Won(arm, out) => Said::Won(*arm, Box::new(out.said())),
        }
    }

    /// How many values a pop of many got.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::PoppedMany(Ok(count)) => *count,
            Self::Won(_, out) => out.count(),
            _ => 0,
        }
    }
}

pub(crate) fn why_not_pushed<T>(error: PushError<T>) -> (Refused, T) {
    match error {
        PushError::Closed(value) => (Refused::Closed, value),
        PushError::Cancelled(value) => (Refused::Cancelled, value),
        other => panic!("an error that the documentation does not know: {other}"),
    }
}

pub(crate) fn why_not_popped(error: PopError) -> Refused {
    match error {
        PopError::Closed => Refused::Closed,
        PopError::Cancelled => Refused::Cancelled,
        other => panic!("an error that the documentation does not know: {other}"),
    }
}

pub(crate) fn why_not_now<T>(error: TryPushError<T>) -> (Refused, T) {
    match error {
        TryPushError::Full(value) => (Refused::NotNow, value),
        TryPushError::Closed(value) => (Refused::Closed, value),
    }
}

pub(crate) fn nothing_now(error: TryPopError) -> Refused {
    match error {
        TryPopError::Empty => Refused::NotNow,
        TryPopError::Closed => Refused::Closed,
    }
}
