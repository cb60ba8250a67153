//! Which buffers are to be sent, in which order, and how far that has got.
//!
//! Knows: numbers of places, lengths, wakers. Does not know: memory, rings, the kernel.
//!
//! ```text
//!     gone                    lent to the send in flight
//!    ┌────┐┌─────────────────────────────────────────────┐
//!    ┌──────────────┬───────────────┬─────────────────────┬──────────┬───────┐
//!    │ first        │               │                     │          │       │ ◀── put
//!    └──────────────┴───────────────┴─────────────────────┴──────────┴───────┘
//!    settled: as many of the lent as were sent whole leave the line; of the next, what was sent is gone
//! ```
//!
//! One send at a time: nobody can say in which order the kernel would do two. The line tells only what a completion has said
//! was sent: a send that fails, is cancelled, or whose owner is gone leaves the rest where it was, in order.

use std::collections::VecDeque;
use std::mem;
use std::task::{Poll, Waker};

/// Buffers in a line.
pub(super) struct Outbox {
    /// By place.
    records: Box<[Record]>,
    line: VecDeque<u16>,
    /// How many bytes of the first in line were sent.
    gone: usize,
    /// What the send in flight was lent.
    lent: Option<Lent>,
    /// Who waits for that to end.
    waiting: Vec<Waker>,
}

#[derive(Clone, Copy)]
struct Record {
    /// Where its bytes begin.
    start: usize,
    len: usize,
    /// The place behind it in what one send has sent.
    next: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lent {
    buffers: usize,
    bytes: usize,
}

/// A piece of one buffer, to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) place: u16,
    pub(super) start: usize,
    pub(super) len: usize,
}

/// Buffers that were sent, one behind the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// Of no use if there are none.
    pub(super) first: u16,
    pub(super) buffers: usize,
}

/// Another send is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InFlight;

/// What has come of a send.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// The buffers that were sent to their end.
    pub(super) sent: Run,
    /// Everything that was lent was sent.
    pub(super) all: bool,
    /// Whom to wake, with no lock held.
    pub(super) wake: Vec<Waker>,
}

impl Outbox {
    pub(super) fn new(places: u32) -> Self {
        let record = Record { start: 0, len: 0, next: 0 };
        Self {
            records: (0..places).map(|_| record).collect(),
            line: VecDeque::with_capacity(places as usize),
            gone: 0,
            lent: None,
            waiting: Vec::new(),
        }
    }

    /// How many are in line.
    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    /// How many bytes of the first in line were sent.
    pub(super) fn gone(&self) -> usize {
        self.gone
    }

    /// The buffer in this place is the last in line from now on.
    pub(super) fn put(&mut self, place: u16, start: usize, len: usize) {
        self.records[usize::from(place)] = Record { start, len, next: 0 };
        self.line.push_back(place);
    }

    /// Whether a send is in flight.
    pub(super) fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// Whether a send may begin. If not, the waker is taken, to be woken when it may; else it is left alone.
    pub(super) fn poll_turn(&mut self, waker: &mut Option<Waker>) -> Poll<()> {
        if !self.is_lent() {
            return Poll::Ready(());
        }
        // One for each task.
        if let Some(new) = waker.take_if(|new| !self.waiting.iter().any(|old| old.will_wake(new))) {
            self.waiting.push(new);
        }
        Poll::Pending
    }

    /// What is left to be sent of the buffer that stands there in the line.
    fn piece(&self, at: usize) -> Piece {
        let place = self.line[at];
        let Record { start, len, .. } = self.records[usize::from(place)];
        let gone = if at == 0 { self.gone } else { 0 };
        Piece { place, start: start + gone, len: len - gone }
    }

    /// Whether there is not one byte in line.
    pub(super) fn has_no_bytes(&self) -> bool {
        (0..self.line.len()).all(|at| self.piece(at).len == 0)
    }

    /// Lends a send what is in line: no more than `pieces`, and no more than `bytes`. Buffers without a byte go along, and have
    /// no piece.
    pub(super) fn lend(
        &mut self,
        pieces: usize,
        bytes: usize,
        mut lend: impl FnMut(Piece),
    ) -> Result<(), InFlight> {
        if self.is_lent() {
            return Err(InFlight);
        }
        let (mut lent, mut pieces) = (Lent { buffers: 0, bytes: 0 }, pieces);
        for at in 0..self.line.len() {
            let piece = self.piece(at);
            let len = piece.len.min(bytes - lent.bytes);
            if piece.len > 0 {
                if pieces == 0 || len == 0 {
                    break;
                }
                pieces -= 1;
                lend(Piece { len, ..piece });
            }
            lent = Lent { buffers: at + 1, bytes: lent.bytes + len };
            if len < piece.len {
                break;
            }
        }
        self.lent = Some(lent);
        Ok(())
    }

    /// The send has ended, with so many bytes sent.
    pub(super) fn settle(&mut self, sent: usize) -> Settled {
        let Some(lent) = self.lent.take() else { return Settled::default() };
        let mut left = sent.min(lent.bytes);
        let mut settled = Settled { all: left == lent.bytes, ..Settled::default() };
        let mut last = 0;
        for _ in 0..lent.buffers {
            let Some(place) = self.line.front().copied() else { break };
            let rest = self.records[usize::from(place)].len - self.gone;
            if left < rest {
                self.gone += left;
                break;
            }
            left -= rest;
            self.gone = 0;
            self.line.pop_front();
            match settled.sent.buffers {
                0 => settled.sent.first = place,
                _ => self.records[usize::from(last)].next = place,
            }
            settled.sent.buffers += 1;
            last = place;
        }
        settled.wake = mem::take(&mut self.waiting);
        settled
    }

    /// The place behind this one in what one send has sent.
    pub(super) fn next(&self, place: u16) -> u16 {
        self.records[usize::from(place)].next
    }

    /// Takes the last in line out that no send in flight was lent.
    pub(super) fn take_back(&mut self) -> Option<u16> {
        if self.line.len() <= self.lent.map_or(0, |lent| lent.buffers) {
            return None;
        }
        let place = self.line.pop_back();
        if self.line.is_empty() {
            self.gone = 0;
        }
        place
    }
}
