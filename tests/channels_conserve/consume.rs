//! Workers that pop, in every way there is, and see that each producer's messages come in order.
//!
//! Knows: the ends, the ledger. Does not know: who sends.

use std::pin::{Pin, pin};
use std::sync::Arc;

use futures::future::{Either, select};
use futures::{FutureExt, StreamExt};
use millstream::channel::{PopError, TryPopError};
use millstream::combinators::{OneOf2, OperationExt, adapters, when_any};
use millstream::{Operation, race};

use crate::crew::{On, yields};
use crate::ends::Popping;
use crate::ledger::{Ledger, Message};
use crate::produce::with_patience;
use crate::support::Rng;
use crate::support_stalls::Stalls;

/// What a consumer is to do.
pub(crate) struct Shift {
    pub(crate) on: On,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rng: Rng,
    pub(crate) stalls: Stalls,
    /// It leaves after this many messages, whatever there still is.
    pub(crate) quits_after: Option<usize>,
    /// After this many messages it closes one of its channels.
    pub(crate) closes_after: Option<usize>,
    /// Messages of each producer.
    pub(crate) quota: usize,
}

/// One consumer's view of one channel.
struct Line<R> {
    end: R,
    /// The newest message of each producer.
    last: Vec<Option<usize>>,
}

enum Got {
    One(usize, Message),
    Many(usize, Vec<Message>),
    End(usize),
    Nothing,
}

fn got(at: usize, popped: Result<Message, PopError>) -> Got {
    match popped {
        Ok(message) => Got::One(at, message),
        Err(error) if error.is_closed() => Got::End(at),
        Err(_) => Got::Nothing,
    }
}

fn got_at_once(at: usize, popped: Result<Message, TryPopError>) -> Got {
    match popped {
        Ok(message) => Got::One(at, message),
        Err(TryPopError::Closed) => Got::End(at),
        Err(TryPopError::Empty) => Got::Nothing,
    }
}

fn got_next(at: usize, next: Option<Message>) -> Got {
    next.map_or(Got::End(at), |message| Got::One(at, message))
}

/// What does not resolve has taken nothing.
fn got_many(at: usize, popped: Option<Result<usize, PopError>>, out: Vec<Message>) -> Got {
    match popped {
        Some(Ok(count)) => assert_eq!(out.len(), count),
        Some(Err(_)) | None => assert!(out.is_empty(), "a pop of many took and did not say so"),
    }
    if popped.is_some_and(|popped| popped.is_err_and(|error| error.is_closed())) {
        return Got::End(at);
    }
    if out.is_empty() { Got::Nothing } else { Got::Many(at, out) }
}

impl Shift {
    fn lines<R>(&self, ends: Vec<R>) -> Vec<Line<R>> {
        ends.into_iter().map(|end| Line { end, last: Vec::new() }).collect()
    }

    fn note_one<R>(&mut self, line: &mut Line<R>, message: Message) {
        self.stalls.progress();
        self.ledger.arrived(&message);
        let (last, producer) = (&mut line.last, message.id / self.quota);
        if last.len() <= producer {
            last.resize(producer + 1, None);
        }
        let before = last[producer].replace(message.id);
        assert!(before < Some(message.id), "message {} came after {before:?}", message.id);
    }

    /// Notes what was got; whether there is more to do.
    fn note<R: Popping>(&mut self, lines: &mut Vec<Line<R>>, got: Got) -> bool {
        match got {
            Got::Nothing => return true,
            Got::End(at) => {
                assert!(lines[at].end.is_terminated());
                lines.remove(at);
                return !lines.is_empty();
            }
            Got::One(at, message) => self.note_one(&mut lines[at], message),
            Got::Many(at, messages) => {
                messages.into_iter().for_each(|message| self.note_one(&mut lines[at], message));
            }
        }
        if let Some(left) = &mut self.closes_after {
            *left = left.saturating_sub(1);
            if *left == 0 {
                lines[0].end.close();
                self.closes_after = None;
            }
        }
        self.quits_after = self.quits_after.map(|left| left - 1);
        self.quits_after != Some(0)
    }
}

/// Returns the ends that have not ended.
pub(crate) async fn consume<R: Popping>(ends: Vec<R>, mut shift: Shift) -> Vec<R> {
    let mut lines = shift.lines(ends);
    loop {
        if shift.rng.one_in(32) {
            yields(1 + shift.rng.below(3)).await;
        }
        let got = match &mut lines[..] {
            [line] => pop_one(&mut line.end, 0, &mut shift, true).await,
            [_, _] if shift.rng.one_in(4) => {
                let at = shift.rng.below(2) as usize;
                pop_one(&mut lines[at].end, at, &mut shift, false).await
            }
            [a, b] => pop_either(&mut a.end, &mut b.end, &mut shift).await,
            _ => unreachable!("one or two channels"),
        };
        if matches!(got, Got::Nothing) {
            yields(1).await; // a producer may be on this thread
        }
        if !shift.note(&mut lines, got) {
            return lines.into_iter().map(|line| line.end).collect();
        }
    }
}

/// Pops from one channel; for as long as it takes only if that `may_wait`.
async fn pop_one<R: Popping>(end: &mut R, at: usize, shift: &mut Shift, may_wait: bool) -> Got {
    let patience = shift.rng.below(4);
    match shift.rng.below(16) {
        0 => got_at_once(at, end.try_pop()),
        1 => with_patience(pin!(end.pop()), patience).await.map_or(Got::Nothing, |popped| got(at, popped)),
        2 => {
            let mut pop = pin!(end.pop());
            match with_patience(pop.as_mut(), patience).await {
                Some(popped) => got(at, popped),
                None => {
                    pop.as_mut().request_cancel();
                    got(at, pop.await)
                }
            }
        }
        3 => match race!(end.pop() || adapters::future(yields(patience))).await {
            OneOf2::A(popped) => got(at, popped),
            OneOf2::B(_) => Got::Nothing,
        },
        4 if shift.on == On::Millstream && shift.rng.one_in(16) => {
            let nap = std::time::Duration::from_micros(shift.rng.below(2000));
            match end.pop().timeout(nap).await {
                Ok(popped) => got(at, popped),
                Err(late) => got(at, late.into_outcome()),
            }
        }
        4 if shift.on == On::Tokio && shift.rng.one_in(16) => {
            let nap = std::time::Duration::from_micros(shift.rng.below(2000));
            tokio::time::timeout(nap, end.pop()).await.map_or(Got::Nothing, |popped| got(at, popped))
        }
        4 if shift.rng.one_in(16) => {
            let nap = pin!(shift.on.nap(&mut shift.rng));
            match select(pin!(end.pop()), nap).await {
                Either::Left((popped, _)) => got(at, popped),
                Either::Right(((), _)) => Got::Nothing,
            }
        }
        5 => tokio::select! {
            popped = end.pop() => got(at, popped),
            () = yields(patience) => Got::Nothing,
        },
        6 => {
            let mut others = pin!(yields(patience).fuse());
            futures::select! {
                popped = pin!(end.pop().fuse()) => got(at, popped),
                () = others => Got::Nothing,
            }
        }
        // As a stream it stays in line when it is not polled any more, until it is used in another way.
        7 => with_patience(pin!(end.next()), patience).await.map_or(Got::Nothing, |next| got_next(at, next)),
        9 => {
            let mut out = Vec::new();
            let max = shift.rng.below(40) as usize;
            let popped = with_patience(pin!(end.pop_many(&mut out, max)), patience).await;
            got_many(at, popped, out)
        }
        10 => {
            let mut out = Vec::new();
            let popped = tokio::select! {
                popped = end.pop_many(&mut out, 4) => Some(popped),
                () = yields(patience) => None,
            };
            got_many(at, popped, out)
        }
        11 => {
            let most = shift.rng.below(8) as usize;
            Got::Many(at, end.drain().take(most).collect())
        }
        8 if may_wait => got_next(at, end.next().await),
        _ if may_wait => got(at, end.pop().await),
        _ => got_at_once(at, end.try_pop()),
    }
}

async fn pop_either<R: Popping>(a: &mut R, b: &mut R, shift: &mut Shift) -> Got {
    match shift.rng.below(8) {
        0 => match race!(a.pop() || b.pop()).await {
            OneOf2::A(popped) => got(0, popped),
            OneOf2::B(popped) => got(1, popped),
        },
        1 => {
            let (at, popped) = when_any(vec![b.pop(), a.pop()]).await;
            got(1 - at, popped)
        }
        2 => {
            // The loser stays in line while the winner's message is looked at, then goes.
            let (mut first, mut second) = (pin!(a.pop()), pin!(b.pop()));
            match when_any((first.as_mut(), second.as_mut())).await {
                OneOf2::A(popped) => got(0, popped),
                OneOf2::B(popped) => got(1, popped),
            }
        }
        3 => tokio::select! {
            popped = a.pop() => got(0, popped),
            popped = b.pop() => got(1, popped),
        },
        4 => tokio::select! {
            biased;
            popped = b.pop() => got(1, popped),
            popped = a.pop() => got(0, popped),
        },
        5 => {
            let (mut first, mut second) = (pin!(a.pop().fuse()), pin!(b.pop().fuse()));
            futures::select! {
                popped = first => got(0, popped),
                popped = second => got(1, popped),
            }
        }
        6 => match select(Pin::new(&mut a.next()), Pin::new(&mut b.next())).await {
            Either::Left((next, _)) => got_next(0, next),
            Either::Right((next, _)) => got_next(1, next),
        },
        _ => {
            // Both are left in line as streams, whoever wins.
            futures::select! {
                next = a.next() => got_next(0, next),
                next = b.next() => got_next(1, next),
                complete => Got::End(0), // an ended stream is not asked
            }
        }
    }
}

/// The same for a thread that blocks.
pub(crate) fn consume_blocking<R: Popping>(ends: Vec<R>, mut shift: Shift) -> Vec<R> {
    let mut lines = shift.lines(ends);
    loop {
        let at = shift.rng.below(lines.len() as u64) as usize;
        let got = match &mut lines[..] {
            _ if shift.rng.one_in(4) => got_at_once(at, lines[at].end.try_pop()),
            [line] => got(0, line.end.pop_blocking()),
            [a, b] => futures::executor::block_on(pop_either(&mut a.end, &mut b.end, &mut shift)),
            _ => unreachable!("one or two channels"),
        };
        if matches!(got, Got::Nothing) {
            std::thread::yield_now();
        }
        if !shift.note(&mut lines, got) {
            return lines.into_iter().map(|line| line.end).collect();
        }
    }
}
