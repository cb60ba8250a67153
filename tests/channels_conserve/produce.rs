//! Workers that push, in every way there is, and note what they were told.
//!
//! Knows: the ends, the ledger. Does not know: who receives.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use futures::FutureExt;
use futures::future::{Either, poll_fn, select};
use millstream::channel::{PushError, TryPushError};
use millstream::combinators::{OneOf2, OperationExt, adapters, when_any};
use millstream::{Operation, race};

use crate::crew::{On, yields};
use crate::ends::Pushing;
use crate::ledger::{Ledger, Message, Told};
use crate::support::Rng;
use crate::support_stalls::Stalls;

/// What a producer is to do.
pub(crate) struct Shift {
    pub(crate) on: On,
    pub(crate) ids: std::ops::Range<usize>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rng: Rng,
    pub(crate) stalls: Stalls,
    /// After this many messages it closes one of its channels.
    pub(crate) closes_after: Option<usize>,
}

/// What one attempt came to, and whether the channel is closed.
type Outcome = (Told, bool);

impl Shift {
    fn message(&mut self, id: usize) -> Message {
        self.ledger.message(id)
    }

    fn told<P: Pushing>(&mut self, ends: &mut Vec<P>, at: usize, id: usize, (told, closed): Outcome) {
        self.ledger.told(id, told);
        if closed {
            ends.remove(at);
        }
        if let Some(left) = &mut self.closes_after {
            if *left == 0 && !ends.is_empty() {
                ends[0].close();
                self.closes_after = None;
            } else {
                *left = left.saturating_sub(1);
            }
        }
    }
}

fn outcome(id: usize, result: Result<(), PushError<Message>>) -> Outcome {
    match result {
        Ok(()) => (Told::Pushed, false),
        Err(error) => {
            let closed = error.is_closed();
            assert_eq!(error.into_inner().id, id, "what came back is another message");
            (Told::Back, closed)
        }
    }
}

fn outcome_of_try(id: usize, result: Result<(), TryPushError<Message>>) -> Outcome {
    match result {
        Ok(()) => (Told::Pushed, false),
        Err(error) => {
            let closed = error.is_closed();
            assert_eq!(error.into_inner().id, id, "what came back is another message");
            (Told::Back, closed)
        }
    }
}

/// Awaits `future`, but gives up after it was pending `patience` times.
pub(crate) async fn with_patience<F: Future>(
    mut future: Pin<&mut F>,
    mut patience: u64,
) -> Option<F::Output> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if patience == 0 => Poll::Ready(None),
        Poll::Pending => {
            patience -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// Returns the ends whose channels are still open, as far as is known.
pub(crate) async fn produce<P: Pushing>(mut ends: Vec<P>, mut shift: Shift) -> Vec<P> {
    let mut ids = shift.ids.clone();
    while let Some(id) = ids.next() {
        if ends.is_empty() {
            break;
        }
        shift.stalls.progress();
        if shift.rng.one_in(32) {
            yields(1 + shift.rng.below(3)).await;
        }
        if ends.len() == 2 && shift.rng.one_in(8) {
            let Some(other) = ids.next() else { break };
            race_of_both(&mut ends, &mut shift, [id, other]).await;
        } else if shift.rng.one_in(8) {
            let batch: Vec<_> =
                std::iter::once(id).chain(ids.by_ref().take(shift.rng.below(40) as usize)).collect();
            let at = shift.rng.below(ends.len() as u64) as usize;
            let closed = push_batch(&mut ends[at], &mut shift, &batch).await;
            // Told already; what is left is what it comes to for the last of them.
            let told = shift.ledger.what_was_told(id);
            shift.told(&mut ends, at, id, (told, closed));
        } else {
            let at = shift.rng.below(ends.len() as u64) as usize;
            let outcome = push_one(&mut ends[at], &mut shift, id).await;
            shift.told(&mut ends, at, id, outcome);
        }
    }
    ends
}

/// Two messages for two channels; the one that loses is dropped, and was certainly not pushed.
async fn race_of_both<P: Pushing>(ends: &mut Vec<P>, shift: &mut Shift, ids: [usize; 2]) {
    let messages = ids.map(|id| shift.message(id));
    let [first, second] = messages;
    let won = match &mut ends[..] {
        [a, b] if shift.rng.one_in(2) => match race!(a.push(first) || b.push(second)).await {
            OneOf2::A(result) => (0, result),
            OneOf2::B(result) => (1, result),
        },
        [a, b] => when_any([a.push(first), b.push(second)]).await,
        _ => unreachable!("two ends"),
    };
    let (winner, result) = won;
    shift.ledger.told(ids[1 - winner], Told::Back);
    let outcome = outcome(ids[winner], result);
    shift.told(ends, winner, ids[winner], outcome);
}

/// Many at once. Whatever becomes of it, the buffer says exactly what is in the channel. Whether that is closed.
async fn push_batch<P: Pushing>(end: &mut P, shift: &mut Shift, ids: &[usize]) -> bool {
    let mut messages: VecDeque<_> = ids.iter().map(|id| shift.message(*id)).collect();
    let patience = shift.rng.below(4);
    let result = match shift.rng.below(6) {
        0 => Some(end.try_push_many(&mut messages).map(drop).map_err(|error| error.is_closed())),
        1 => {
            let push = pin!(end.push_many(&mut messages));
            with_patience(push, patience).await.map(|result| result.map_err(|error| error.is_closed()))
        }
        2 => match race!(end.push_many(&mut messages) || adapters::future(yields(patience))).await {
            OneOf2::A(result) => Some(result.map_err(|error| error.is_closed())),
            OneOf2::B(_) => None,
        },
        3 => tokio::select! {
            result = end.push_many(&mut messages) => Some(result.map_err(|error| error.is_closed())),
            () = yields(patience) => None,
        },
        _ => Some(end.push_many(&mut messages).await.map_err(|error| error.is_closed())),
    };
    let left = messages.len();
    assert!(messages.iter().map(|message| message.id).eq(ids[ids.len() - left..].iter().copied()));
    for (n, id) in ids.iter().enumerate() {
        shift.ledger.told(*id, if n < ids.len() - left { Told::Pushed } else { Told::Back });
    }
    result == Some(Err(true))
}

async fn push_one<P: Pushing>(end: &mut P, shift: &mut Shift, id: usize) -> Outcome {
    const DOUBTFUL: Outcome = (Told::Doubtful, false);
    const LOST: Outcome = (Told::Back, false);
    let message = shift.message(id);
    let patience = shift.rng.below(4);
    match shift.rng.below(16) {
        0 => outcome_of_try(id, end.try_push(message)),
        // Given up while pending.
        1 => {
            let push = pin!(end.push(message));
            with_patience(push, patience).await.map_or(DOUBTFUL, |result| outcome(id, result))
        }
        2 => {
            let mut push = pin!(end.push(message));
            match with_patience(push.as_mut(), patience).await {
                Some(result) => outcome(id, result),
                None => outcome(id, P::cancel(push)),
            }
        }
        3 => {
            let mut push = pin!(end.push(message));
            match with_patience(push.as_mut(), patience).await {
                Some(result) => outcome(id, result),
                None => {
                    push.as_mut().request_cancel();
                    outcome(id, push.await)
                }
            }
        }
        // Races of ours.
        4 => match race!(end.push(message) || adapters::future(yields(patience))).await {
            OneOf2::A(result) => outcome(id, result),
            OneOf2::B(_) => LOST,
        },
        5 => {
            let mut push = pin!(end.push(message));
            match when_any((adapters::future(yields(patience)), push.as_mut())).await {
                OneOf2::A(_) => outcome(id, P::cancel(push)),
                OneOf2::B(result) => outcome(id, result),
            }
        }
        6 if shift.on == On::Millstream && shift.rng.one_in(16) => {
            let nap = std::time::Duration::from_micros(shift.rng.below(2000));
            match end.push(message).timeout(nap).await {
                Ok(result) => outcome(id, result),
                Err(late) => outcome(id, late.into_outcome()),
            }
        }
        // Races and deadlines of others, which drop what loses.
        6 if shift.on == On::Tokio && shift.rng.one_in(16) => {
            let nap = std::time::Duration::from_micros(shift.rng.below(2000));
            let pushed = tokio::time::timeout(nap, end.push(message)).await;
            pushed.map_or(DOUBTFUL, |result| outcome(id, result))
        }
        6 if shift.rng.one_in(16) => {
            let nap = pin!(shift.on.nap(&mut shift.rng));
            match select(pin!(end.push(message)), nap).await {
                Either::Left((result, _)) => outcome(id, result),
                Either::Right(((), _)) => DOUBTFUL,
            }
        }
        7 => tokio::select! {
            result = end.push(message) => outcome(id, result),
            () = yields(patience) => DOUBTFUL,
        },
        8 => {
            let mut push = pin!(end.push(message));
            let result = tokio::select! {
                result = &mut push => Some(result),
                () = yields(patience) => None,
            };
            outcome(id, result.unwrap_or_else(|| P::cancel(push)))
        }
        9 => {
            let (mut push, mut others) = (pin!(end.push(message).fuse()), pin!(yields(patience).fuse()));
            futures::select! {
                result = push => outcome(id, result),
                () = others => DOUBTFUL,
            }
        }
        // A slot first. The message is still here if there is none.
        10 => match end.reserve().await {
            Ok(permit) if shift.rng.one_in(4) => {
                yields(patience).await;
                drop(permit);
                LOST
            }
            Ok(permit) => outcome(id, P::redeem(permit, message)),
            Err(error) => (Told::Back, error.is_closed()),
        },
        11 => tokio::select! {
            reserved = end.reserve() => match reserved {
                Ok(permit) => outcome(id, P::redeem(permit, message)),
                Err(error) => (Told::Back, error.is_closed()),
            },
            () = yields(patience) => LOST,
        },
        _ => outcome(id, end.push(message).await),
    }
}

/// The same for a thread that blocks.
pub(crate) fn produce_blocking<P: Pushing>(mut ends: Vec<P>, mut shift: Shift) -> Vec<P> {
    for id in shift.ids.clone() {
        if ends.is_empty() {
            break;
        }
        shift.stalls.progress();
        let at = shift.rng.below(ends.len() as u64) as usize;
        let message = shift.message(id);
        let outcome = if shift.rng.one_in(4) {
            outcome_of_try(id, ends[at].try_push(message))
        } else {
            outcome(id, ends[at].push_blocking(message))
        };
        shift.told(&mut ends, at, id, outcome);
    }
    ends
}
