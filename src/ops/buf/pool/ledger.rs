//! Who has which buffer of a pool, and who waits for one.
//!
//! Knows: numbers, one lock, wakers. Does not know: memory, rings, ops; loom explores it without them.
//!
//! ```text
//!                    a completion names it, with bytes in it
//!   with the kernel ─────────────────────────────────────────▶ parts with the user
//!       ▲    ▲          (one that is incremental stays here,              │
//!       │    └──────────  with more parts, until it is full)              │
//!       └──────────────── the last of its parts is dropped ◀──────────────┘
//! ```
//!
//! The kernel takes buffers in the order in which they lie in its ring, but names them in completions that may come in
//! another order: worker threads take one early. So a completion's number is what counts. It is believed only when the
//! ledger says that the kernel has that buffer; one that it has not is counted, and left alone.
//!
//! An op that was refused for want of a buffer waits in a line. Each buffer that comes back gives the first in line a
//! turn. Whoever has a turn and does not use it passes it on; and since an op that has used its turn to ask the kernel may
//! find that it needs no buffer, it passes the turn on all the same, once the kernel has answered or not:
//!
//! > while a buffer is with the kernel and somebody waits, a turn is under way.

use std::collections::VecDeque;
use std::fmt;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard};
use crate::util::contain::contain;

/// The most buffers that one ring can have.
pub(crate) const MAX_BUFFERS: u32 = 1 << 15;

/// The books, and the lock they are under. No user code runs while it is held (I7).
pub struct Desk {
    ledger: Mutex<Ledger>,
}

struct Ledger {
    /// A buffer may be used up by several completions.
    incremental: bool,
    records: Box<[Record]>,
    /// Which buffer lies where in the ring, as far as the kernel may still be asking for it.
    order: Box<[u16]>,
    /// Where the next buffer is put.
    tail: u16,
    /// How many are with the kernel.
    available: u32,
    /// The least that ever were.
    lowest: u32,
    /// How many have come back so far.
    returned: u64,
    /// How often the kernel named a buffer that it did not have.
    disowned: u64,
    /// Who waits, by their numbers, which grow.
    line: VecDeque<(u64, Waker)>,
    next_number: u64,
}

#[derive(Clone, Copy)]
struct Record {
    /// Where in the ring it lay, or lies.
    position: u16,
    /// The buffer behind this one in a run.
    next: u16,
    with_kernel: bool,
    /// How many bytes the buffer has.
    size: u32,
    /// How many bytes, from the start, are parts already.
    used: u32,
    /// How many parts of it are with the user.
    parts: u32,
}

/// What the kernel has filled of one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) buffer: u16,
    /// Where it begins in the buffer.
    pub(crate) start: u32,
    pub(crate) len: u32,
}

/// What one completion has filled of several buffers: a part of the first, and all others from their starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: Part,
    /// How many buffers, the first included.
    pub(crate) buffers: u16,
    /// How many bytes in all of them together.
    pub(crate) len: usize,
}

/// Figures for who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) available: u32,
    pub(crate) lowest: u32,
    pub(crate) disowned: u64,
}

/// The place of one op in the line. Whoever has one [leaves](Desk::leave) the line in the end.
#[derive(Debug)]
pub(crate) struct Place {
    /// `None`: not in line.
    number: Option<u64>,
    /// How many buffers had come back when the kernel was last asked. It was refused since, so what is with the kernel
    /// without one more having come back is with an op in flight.
    asked_at: Option<u64>,
}

impl Place {
    pub(crate) const fn new() -> Self {
        Self { number: None, asked_at: None }
    }
}

/// A turn, and whether somebody else waits for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) others: bool,
}

impl Ledger {
    fn part(&mut self, buffer: u16, len: u32, goes_on: bool) -> Option<Part> {
        let incremental = self.incremental;
        let Some(record) = self.records.get_mut(usize::from(buffer)).filter(|record| record.with_kernel)
        else {
            self.disowned += 1;
            return None;
        };
        let start = record.used;
        let len = len.min(record.size - start);
        record.used += len;
        record.parts += 1;
        if !(incremental && goes_on && record.used < record.size) {
            record.with_kernel = false;
            self.available -= 1;
            self.lowest = self.lowest.min(self.available);
        }
        Some(Part { buffer, start, len })
    }

    fn slot(&self, position: u16) -> usize {
        usize::from(position) & (self.order.len() - 1)
    }

    /// A part is not needed any more. Says where in the ring its buffer was put, if that was its last.
    fn give_back(&mut self, buffer: u16) -> Option<u16> {
        let position = self.tail;
        let record = &mut self.records[usize::from(buffer)];
        record.parts -= 1;
        if record.parts > 0 || record.with_kernel {
            return None;
        }
        *record = Record { position, next: 0, with_kernel: true, size: record.size, used: 0, parts: 0 };
        let slot = self.slot(position);
        self.order[slot] = buffer;
        self.tail = self.tail.wrapping_add(1);
        self.available += 1;
        self.returned += 1;
        Some(position)
    }

    fn first_in_line(&mut self) -> Option<Waker> {
        self.line.pop_front().map(|(_, waker)| waker)
    }

    /// Where in the line a number stands, or would.
    fn find(&self, number: u64) -> Result<usize, usize> {
        self.line.binary_search_by_key(&number, |(other, _)| *other)
    }

    /// `waker` is left with what is to be dropped outside of the lock.
    fn poll_turn(&mut self, waker: &mut Option<Waker>, place: &mut Place) -> Poll<Turn> {
        let number = match place.number {
            Some(number) => match self.find(number) {
                Ok(at) => {
                    if let Some(new) = waker.take_if(|new| !self.line[at].1.will_wake(new)) {
                        *waker = Some(std::mem::replace(&mut self.line[at].1, new));
                    }
                    return Poll::Pending;
                }
                // Our turn; and if another was faster, we keep our place.
                Err(_) if self.available > 0 => return self.turn(place),
                Err(_) => number,
            },
            // Nobody is to be overtaken, and the kernel has not said no to the very buffers it has now.
            None if self.line.is_empty() && self.available > 0 && place.asked_at != Some(self.returned) => {
                return self.turn(place);
            }
            None => {
                self.next_number += 1;
                self.next_number
            }
        };
        place.number = Some(number);
        if let (Err(at), Some(waker)) = (self.find(number), waker.take()) {
            self.line.insert(at, (number, waker));
        }
        Poll::Pending
    }

    fn turn(&self, place: &mut Place) -> Poll<Turn> {
        *place = Place { number: None, asked_at: Some(self.returned) };
        Poll::Ready(Turn { others: !self.line.is_empty() })
    }
}

impl Desk {
    /// The books of so many buffers, all of them with the kernel in the order of their numbers.
    pub(crate) fn new(buffers: u32, size: u32, incremental: bool) -> Self {
        assert!(size > 0);
        let record = |position| Record { position, next: 0, with_kernel: true, size, used: 0, parts: 0 };
        Self::of((0..buffers as u16).map(record).collect(), buffers, incremental)
    }

    /// The books of places for so many buffers, none of which is there: whoever has a place [puts](Self::put) one into it.
    pub(crate) fn without_buffers(places: u32) -> Self {
        let record = Record { position: 0, next: 0, with_kernel: false, size: 0, used: 0, parts: 1 };
        Self::of((0..places).map(|_| record).collect(), 0, false)
    }

    /// The books of buffers of which the first `available` are with the kernel, in the order of their numbers.
    fn of(records: Box<[Record]>, available: u32, incremental: bool) -> Self {
        assert!((1..=MAX_BUFFERS as usize).contains(&records.len()));
        let mut order: Box<[u16]> = (0..records.len().next_power_of_two()).map(|_| 0).collect();
        (0..available as u16).for_each(|buffer| order[usize::from(buffer)] = buffer);
        let ledger = Ledger {
            incremental,
            records,
            order,
            tail: available as u16,
            available,
            lowest: available,
            returned: 0,
            disowned: 0,
            line: VecDeque::new(),
            next_number: 0,
        };
        Self { ledger: Mutex::new(ledger) }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) // no step under it can be left half done
    }

    /// A completion names a buffer and says how many bytes are new in it; `goes_on`: the kernel keeps the rest of it. `None`:
    /// it is not the kernel's to name.
    pub(crate) fn claim(&self, buffer: u16, len: u32, goes_on: bool) -> Option<Part> {
        self.lock().part(buffer, len, goes_on)
    }

    /// The same of one that says how many bytes are new in this buffer and those behind it in the ring.
    pub(crate) fn claim_run(&self, buffer: u16, len: u32, goes_on: bool) -> Option<Run> {
        let mut ledger = self.lock();
        let mut position = ledger.records.get(usize::from(buffer)).map_or(0, |record| record.position);
        // What is behind a buffer was put there later, so all but the last are full.
        let mut rest = len;
        let mut take = |ledger: &mut Ledger, buffer: u16| {
            let left = ledger.records.get(usize::from(buffer)).map_or(0, |record| record.size - record.used);
            let part = ledger.part(buffer, rest, goes_on && rest < left)?;
            rest -= part.len;
            Some((part, rest))
        };
        let (first, mut left) = take(&mut ledger, buffer)?;
        let mut run = Run { first, buffers: 1, len: first.len as usize };
        let mut before = buffer;
        while left > 0 {
            position = position.wrapping_add(1);
            let next = ledger.order[ledger.slot(position)];
            let lies_there = ledger.records[usize::from(next)].position == position;
            if !lies_there {
                ledger.disowned += 1;
                break;
            }
            let Some((part, rest)) = take(&mut ledger, next) else { break };
            ledger.records[usize::from(before)].next = next;
            run.buffers += 1;
            run.len += part.len as usize;
            (before, left) = (next, rest);
        }
        Some(run)
    }

    /// The buffer behind this one in its run, and how many bytes it has.
    pub(crate) fn next(&self, buffer: u16) -> (u16, u32) {
        let ledger = self.lock();
        let next = ledger.records[usize::from(buffer)].next;
        (next, ledger.records[usize::from(next)].size)
    }

    /// Whether a buffer that a failed completion names has left the ring, of which the kernel has taken `taken` so far.
    pub(crate) fn has_left(&self, buffer: u16, taken: u16) -> bool {
        let ledger = self.lock();
        let beyond =
            |record: &Record| (1..=MAX_BUFFERS as u16).contains(&taken.wrapping_sub(record.position));
        ledger.records.get(usize::from(buffer)).is_some_and(beyond)
    }

    /// A completion named a buffer, and the kernel has kept it.
    pub(crate) fn disown(&self) {
        self.lock().disowned += 1;
    }

    /// There is a buffer of `size` bytes in this place, which is its owner's: it is the kernel's from now on. `publish` as
    /// for [`give_back`](Self::give_back).
    pub(crate) fn put(&self, place: u16, size: u32, publish: impl FnMut(u16, u16)) {
        self.lock().records[usize::from(place)].size = size;
        self.give_back(place, 1, publish);
    }

    /// The buffers that are with the kernel, in the order in which it takes them.
    pub(crate) fn in_order(&self) -> Vec<u16> {
        let ledger = self.lock();
        let mut found: Vec<_> = (0..ledger.records.len() as u16)
            .map(|buffer| (ledger.records[usize::from(buffer)], buffer))
            .filter(|(record, _)| record.with_kernel)
            .map(|(record, buffer)| (record.position.wrapping_sub(ledger.tail), buffer))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, buffer)| buffer).collect()
    }

    /// `buffers` of a run that begins with `first` are not needed any more. `publish` is called, under the lock, for each
    /// that is the kernel's again, with its number and its position.
    pub(crate) fn give_back(&self, first: u16, buffers: u16, mut publish: impl FnMut(u16, u16)) {
        let (mut one, mut more) = (None, Vec::new()); // mostly it is one: nothing is allocated
        let mut ledger = self.lock();
        let mut buffer = first;
        for _ in 0..buffers {
            let next = ledger.records[usize::from(buffer)].next; // its record begins anew below
            if let Some(position) = ledger.give_back(buffer) {
                publish(buffer, position);
                let waker = ledger.first_in_line();
                if one.is_none() { one = waker } else { more.extend(waker) }
            }
            buffer = next;
        }
        drop(ledger);
        for waker in one.into_iter().chain(more) {
            contain(|| waker.wake()); // one that panics must not keep the others asleep
        }
    }

    /// Waits for a turn to ask the kernel again, which has refused for want of a buffer. Whoever gets one of which
    /// [`others`](Turn::others) would like to have something [passes it on](Self::pass_on) once the kernel was asked.
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>, place: &mut Place) -> Poll<Turn> {
        let mut waker = Some(cx.waker().clone()); // cloned, and dropped, outside of the lock
        if planted!("pool-waits-on-an-old-look") && place.number.is_none() && self.lock().available == 0 {
            let mut ledger = self.lock();
            ledger.next_number += 1;
            place.number = Some(ledger.next_number);
            let number = ledger.next_number;
            ledger.line.extend(waker.map(|waker| (number, waker)));
            return Poll::Pending;
        }
        let mut ledger = self.lock();
        let turn = ledger.poll_turn(&mut waker, place);
        drop(ledger);
        turn
    }

    /// The op of this place has got a buffer, or will not ask any more.
    pub(crate) fn leave(&self, place: &mut Place) {
        place.asked_at = None;
        let Some(number) = place.number.take() else { return };
        let mut ledger = self.lock();
        let found = ledger.find(number);
        let waker = match found {
            Ok(at) => ledger.line.remove(at).map(|(_, waker)| waker),
            Err(_) => None,
        };
        drop(ledger);
        drop(waker);
        if found.is_err() && !planted!("pool-turn-dies-with-its-place") {
            self.pass_on();
        }
    }

    /// Gives the first in line a turn if the kernel has a buffer.
    pub(crate) fn pass_on(&self) {
        let mut ledger = self.lock();
        let waker = if ledger.available > 0 { ledger.first_in_line() } else { None };
        drop(ledger);
        if let Some(waker) = waker {
            contain(|| waker.wake());
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        let ledger = self.lock();
        Figures { available: ledger.available, lowest: ledger.lowest, disowned: ledger.disowned }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

#[cfg(all(test, millstream_loom))]
mod model {
    //! A wake-up between a refusal and the return of a buffer by another thread, in every order.

    use std::future::poll_fn;

    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::thread;

    use super::{Desk, Place};

    /// A pool of one buffer, which a user has.
    fn used_up() -> Arc<Desk> {
        let desk = Desk::new(1, 8, false);
        assert!(desk.claim(0, 8, false).is_some());
        Arc::new(desk)
    }

    /// As an op does that was refused: waits for its turn, asks, and finds that it needs no buffer.
    fn wait(desk: &Desk) {
        let mut place = Place::new();
        if block_on(poll_fn(|cx| desk.poll_turn(cx, &mut place))).others {
            desk.pass_on();
        }
        desk.leave(&mut place);
    }

    #[test]
    fn a_buffer_that_comes_back_meanwhile_is_seen() {
        loom::model(|| {
            let desk = used_up();
            let other = thread::spawn({
                let desk = Arc::clone(&desk);
                move || desk.give_back(0, 1, |_, _| {})
            });
            wait(&desk);
            other.join().unwrap();
        });
    }

    #[test]
    fn one_buffer_serves_two_who_wait() {
        loom::model(|| {
            let desk = used_up();
            let others = [0, 1].map(|who| {
                let desk = Arc::clone(&desk);
                thread::spawn(move || if who == 0 { desk.give_back(0, 1, |_, _| {}) } else { wait(&desk) })
            });
            wait(&desk);
            others.map(|other| other.join().unwrap());
        });
    }

    #[test]
    fn who_gives_up_passes_its_turn_on() {
        loom::model(|| {
            let desk = used_up();
            let mut place = Place::new();
            // In line before anybody else, and never looked at again.
            let pending =
                block_on(poll_fn(|cx| std::task::Poll::Ready(desk.poll_turn(cx, &mut place).is_pending())));
            assert!(pending);
            let others = [0, 1].map(|who| {
                let desk = Arc::clone(&desk);
                thread::spawn(move || if who == 0 { desk.give_back(0, 1, |_, _| {}) } else { wait(&desk) })
            });
            desk.leave(&mut place);
            others.map(|other| other.join().unwrap());
        });
    }
}
