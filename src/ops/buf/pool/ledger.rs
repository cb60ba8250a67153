//! Who has which buffer of a pool, and who waits for one.
//!
//! Knows: numbers, one lock, wakers. Does not know: memory, rings, ops, which thread is whose; loom explores it without them.
//!
//! ```text
//!                    a completion names it, with bytes in it
//!   with the kernel ─────────────────────────────────────────▶ parts with the user
//!       ▲    ▲          (one that is incremental stays here,              │
//!       │    └──────────  with more parts, until it is full)              │
//!       │                                                                 │
//!       └──────────────── the last of its parts is dropped ◀──────────────┤
//!       └──── Tray ◀───── a part is dropped on another thread ◀───────────┘
//! ```
//!
//! The kernel takes buffers in the order in which they lie in its ring, but names them in completions that may come in
//! another order: worker threads take one early. So a completion's number is what counts. It is believed only when the
//! ledger says that the kernel has that buffer; one that it has not is counted, and left alone.
//!
//! The books are kept on one thread: that of the pool's runtime, where completions come and most parts are dropped. There a
//! buffer costs no lock and no atomic read-modify-write. What is dropped elsewhere is put onto the tray, under the lock, and
//! booked when that thread looks: at the next completion, and in any case before an op waits.
//!
//! An op that was refused for want of a buffer waits in a line. Each buffer that comes back gives the first in line a
//! turn. Whoever has a turn and does not use it passes it on; and since an op that has used its turn to ask the kernel may
//! find that it needs no buffer, it passes the turn on all the same, once the kernel has answered or not:
//!
//! > while a buffer is with the kernel, or on the tray, and somebody waits, a turn is under way.
//!
//! Only the thread of the books stands in line, so that it knows without the lock whether anybody does.
#![allow(unsafe_code, reason = "books that only one thread looks into, which the caller vouches for")]

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::task::{Context, Poll, Waker};

use crate::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use crate::sync::cell::UnsafeCell;
use crate::sync::{Mutex, MutexGuard};
use crate::util::contain::contain;

/// The most buffers that one ring can have.
pub(crate) const MAX_BUFFERS: u32 = 1 << 15;

/// The books, and what other threads may touch.
pub struct Desk {
    /// Looked into through a [`Clerk`] alone.
    books: UnsafeCell<Books>,
    counts: Counts,
    /// The buffer behind each one in its run: written when the run is booked, and left alone until its end.
    behind: Box<[AtomicU16]>,
    /// How many bytes each buffer has: its owner's to write, who then gives it back.
    sizes: Box<[AtomicU32]>,
    /// How many buffers are on the tray, and how many ops in line. Written under the lock.
    on_tray: AtomicU32,
    in_line: AtomicU32,
    hall: Mutex<Hall>,
}

// SAFETY: (I5) the books are looked into only by a clerk, of whom there is none on two threads at a time.
unsafe impl Sync for Desk {}

/// Where the books are kept.
#[derive(Clone, Copy, Debug)]
pub struct Clerk<'d> {
    desk: &'d Desk,
    one_thread: PhantomData<*const ()>,
}

struct Books {
    /// A buffer may be used up by several completions.
    incremental: bool,
    records: Box<[Record]>,
    /// Which buffer lies where in the ring, as far as the kernel may still be asking for it.
    order: Box<[u16]>,
    /// Where the next buffer is put.
    tail: u16,
    /// How many have come back so far.
    returned: u64,
}

/// What others may ask. Written by the clerk only, so that a load and a store are enough.
struct Counts {
    /// How many buffers are with the kernel.
    available: AtomicU32,
    /// The least that ever were.
    lowest: AtomicU32,
    /// How often the kernel named a buffer that it did not have.
    disowned: AtomicU64,
}

/// What is under the lock. No user code runs while it is held (I7).
struct Hall {
    /// Who waits, by their numbers, which grow.
    line: VecDeque<(u64, Waker)>,
    next_number: u64,
    tray: Tray,
}

/// What was dropped on other threads. It has room for everything from the beginning.
struct Tray {
    buffers: Vec<u16>,
    /// Of each buffer, how many parts.
    parts: Box<[u32]>,
}

#[derive(Clone, Copy)]
struct Record {
    /// Where in the ring it lay, or lies.
    position: u16,
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
pub struct Figures {
    pub(crate) available: u32,
    pub(crate) lowest: u32,
    pub(crate) disowned: u64,
}

/// The place of one op in the line. Whoever has one [leaves](Desk::leave) the line in the end.
#[derive(Debug)]
pub struct Place {
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
pub struct Turn {
    pub(crate) others: bool,
}

impl Counts {
    /// ORDERING: Relaxed, here and below: numbers for who asks. A turn that is passed on looks at `available` under the lock,
    /// under which it was last changed before that turn was given.
    fn available(&self) -> u32 {
        self.available.load(Ordering::Relaxed)
    }

    fn set_available(&self, available: u32) {
        self.available.store(available, Ordering::Relaxed);
        if available < self.lowest.load(Ordering::Relaxed) {
            self.lowest.store(available, Ordering::Relaxed);
        }
    }

    fn disown(&self) {
        self.disowned.store(self.disowned.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

impl Books {
    fn part(&mut self, counts: &Counts, buffer: u16, len: u32, goes_on: bool) -> Option<Part> {
        let incremental = self.incremental;
        let Some(record) = self.records.get_mut(usize::from(buffer)).filter(|record| record.with_kernel)
        else {
            counts.disown();
            return None;
        };
        let start = record.used;
        let len = len.min(record.size - start);
        record.used += len;
        record.parts += 1;
        if !(incremental && goes_on && record.used < record.size) {
            record.with_kernel = false;
            counts.set_available(counts.available() - 1);
        }
        Some(Part { buffer, start, len })
    }

    fn slot(&self, position: u16) -> usize {
        usize::from(position) & (self.order.len() - 1)
    }

    /// So many parts of a buffer, which has `size` bytes, are not needed any more. Says where in the ring it was put, if those
    /// were its last.
    fn give_back(&mut self, counts: &Counts, buffer: u16, size: u32, parts: u32) -> Option<u16> {
        let position = self.tail;
        let record = &mut self.records[usize::from(buffer)];
        record.parts -= parts;
        if record.parts > 0 || record.with_kernel {
            return None;
        }
        *record = Record { position, with_kernel: true, size, used: 0, parts: 0 };
        let slot = self.slot(position);
        self.order[slot] = buffer;
        self.tail = self.tail.wrapping_add(1);
        self.returned += 1;
        counts.set_available(counts.available() + 1);
        Some(position)
    }

    /// As [`Desk::claim_run`]. `follow` notes which buffer is behind which.
    fn run(
        &mut self,
        counts: &Counts,
        buffer: u16,
        len: u32,
        goes_on: bool,
        follow: impl Fn(u16, u16),
    ) -> Option<Run> {
        let mut position = self.records.get(usize::from(buffer)).map_or(0, |record| record.position);
        // What is behind a buffer was put there later, so all but the last are full.
        let mut rest = len;
        let mut take = |books: &mut Self, buffer: u16| {
            let left = books.records.get(usize::from(buffer)).map_or(0, |record| record.size - record.used);
            let part = books.part(counts, buffer, rest, goes_on && rest < left)?;
            rest -= part.len;
            Some((part, rest))
        };
        let (first, mut left) = take(self, buffer)?;
        let mut run = Run { first, buffers: 1, len: first.len as usize };
        let mut before = buffer;
        while left > 0 {
            position = position.wrapping_add(1);
            let next = self.order[self.slot(position)];
            let lies_there = self.records[usize::from(next)].position == position;
            if !lies_there {
                counts.disown();
                break;
            }
            let Some((part, rest)) = take(self, next) else { break };
            follow(before, next);
            run.buffers += 1;
            run.len += part.len as usize;
            (before, left) = (next, rest);
        }
        Some(run)
    }
}

impl Hall {
    /// Where in the line a number stands, or would.
    fn find(&self, number: u64) -> Result<usize, usize> {
        self.line.binary_search_by_key(&number, |(other, _)| *other)
    }

    /// `waker` is left with what is to be dropped outside of the lock.
    fn poll_turn(
        &mut self,
        waker: &mut Option<Waker>,
        place: &mut Place,
        available: u32,
        returned: u64,
    ) -> Poll<Turn> {
        let number = match place.number {
            Some(number) => match self.find(number) {
                Ok(at) => {
                    if let Some(new) = waker.take_if(|new| !self.line[at].1.will_wake(new)) {
                        *waker = Some(std::mem::replace(&mut self.line[at].1, new));
                    }
                    return Poll::Pending;
                }
                // Our turn; and if another was faster, we keep our place.
                Err(_) if available > 0 => return self.turn(place, returned),
                Err(_) => number,
            },
            // Nobody is to be overtaken, and the kernel has not said no to the very buffers it has now.
            None if self.line.is_empty() && available > 0 && place.asked_at != Some(returned) => {
                return self.turn(place, returned);
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

    fn turn(&self, place: &mut Place, returned: u64) -> Poll<Turn> {
        *place = Place { number: None, asked_at: Some(returned) };
        Poll::Ready(Turn { others: !self.line.is_empty() })
    }
}

impl Desk {
    /// The books of so many buffers, all of them with the kernel in the order of their numbers.
    pub(crate) fn new(buffers: u32, size: u32, incremental: bool) -> Self {
        assert!(size > 0);
        let record = |position| Record { position, with_kernel: true, size, used: 0, parts: 0 };
        Self::of((0..buffers as u16).map(record).collect(), buffers, incremental)
    }

    /// The books of places for so many buffers, none of which is there: whoever has a place puts one into it, says [how long it
    /// is](Self::set_size), and gives it back.
    pub(crate) fn without_buffers(places: u32) -> Self {
        let record = Record { position: 0, with_kernel: false, size: 0, used: 0, parts: 1 };
        Self::of((0..places).map(|_| record).collect(), 0, false)
    }

    /// The books of buffers of which the first `available` are with the kernel, in the order of their numbers.
    fn of(records: Box<[Record]>, available: u32, incremental: bool) -> Self {
        assert!((1..=MAX_BUFFERS as usize).contains(&records.len()));
        let buffers = records.len();
        let mut order: Box<[u16]> = (0..buffers.next_power_of_two()).map(|_| 0).collect();
        (0..available as u16).for_each(|buffer| order[usize::from(buffer)] = buffer);
        let sizes = records.iter().map(|record| AtomicU32::new(record.size)).collect();
        let books = Books { incremental, records, order, tail: available as u16, returned: 0 };
        let counts = Counts {
            available: AtomicU32::new(available),
            lowest: AtomicU32::new(available),
            disowned: AtomicU64::new(0),
        };
        let tray = Tray { buffers: Vec::with_capacity(buffers), parts: (0..buffers).map(|_| 0).collect() };
        Self {
            books: UnsafeCell::new(books),
            counts,
            behind: (0..buffers).map(|_| AtomicU16::new(0)).collect(),
            sizes,
            on_tray: AtomicU32::new(0),
            in_line: AtomicU32::new(0),
            hall: Mutex::new(Hall { line: VecDeque::new(), next_number: 0, tray }),
        }
    }

    /// Where the books are kept.
    ///
    /// # Safety
    ///
    /// As long as there is one of these, there is none on another thread; and those on one thread happen before those on the
    /// next.
    #[inline]
    pub(crate) unsafe fn clerk(&self) -> Clerk<'_> {
        Clerk { desk: self, one_thread: PhantomData }
    }

    fn lock(&self) -> MutexGuard<'_, Hall> {
        self.hall.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) // no step under it can be left half done
    }

    /// The buffer behind this one in its run, and how many bytes it has.
    pub(crate) fn next(&self, buffer: u16) -> (u16, u32) {
        let next = self.behind(buffer);
        (next, self.size(next))
    }

    fn behind(&self, buffer: u16) -> u16 {
        // ORDERING: Relaxed: whoever has the run has got it from the thread that wrote this.
        self.behind[usize::from(buffer)].load(Ordering::Relaxed)
    }

    /// The buffer in this place, which is the caller's, has so many bytes from now on.
    pub(crate) fn set_size(&self, buffer: u16, size: u32) {
        // ORDERING: Relaxed, here and below: read by who has got the buffer from its owner, through the books or the tray.
        self.sizes[usize::from(buffer)].store(size, Ordering::Relaxed);
    }

    fn size(&self, buffer: u16) -> u32 {
        self.sizes[usize::from(buffer)].load(Ordering::Relaxed)
    }

    /// The buffers that are with the kernel, in the order in which it takes them.
    pub(crate) fn in_order(&mut self) -> Vec<u16> {
        // SAFETY: (I5) borrowed exclusively: there is no other clerk.
        let clerk = unsafe { self.clerk() };
        clerk.clear_tray(|_, _| {});
        clerk.books(|books| {
            let mut found: Vec<_> = (0..books.records.len() as u16)
                .map(|buffer| (books.records[usize::from(buffer)], buffer))
                .filter(|(record, _)| record.with_kernel)
                .map(|(record, buffer)| (record.position.wrapping_sub(books.tail), buffer))
                .collect();
            found.sort_unstable();
            found.into_iter().map(|(_, buffer)| buffer).collect()
        })
    }

    /// As [`Clerk::give_back`], anywhere: puts them onto the tray.
    #[cold]
    pub(crate) fn bring(&self, first: u16, buffers: u16) {
        let mut buffer = first;
        for _ in 0..buffers {
            let next = self.behind(buffer);
            let mut hall = self.lock();
            let parts = &mut hall.tray.parts[usize::from(buffer)];
            *parts += 1;
            if *parts == 1 {
                hall.tray.buffers.push(buffer);
            }
            self.on_tray.store(hall.tray.buffers.len() as u32, Ordering::Relaxed);
            let waker = self.first_in_line(&mut hall);
            drop(hall);
            wake(waker.filter(|_| !planted!("pool-tray-wakes-nobody")));
            buffer = next;
        }
    }

    fn first_in_line(&self, hall: &mut Hall) -> Option<Waker> {
        let first = hall.line.pop_front();
        self.note_line(hall);
        first.map(|(_, waker)| waker)
    }

    fn note_line(&self, hall: &Hall) {
        // ORDERING: Relaxed: the clerk's thread alone makes the line longer, and so misses nobody.
        self.in_line.store(hall.line.len() as u32, Ordering::Relaxed);
    }

    /// The op of this place has got a buffer, or will not ask any more.
    #[inline]
    pub(crate) fn leave(&self, place: &mut Place) {
        place.asked_at = None;
        if let Some(number) = place.number.take() {
            self.leave_line(number);
        }
    }

    #[cold]
    fn leave_line(&self, number: u64) {
        let mut hall = self.lock();
        let found = hall.find(number);
        let waker = match found {
            Ok(at) => hall.line.remove(at).map(|(_, waker)| waker),
            Err(_) => None,
        };
        self.note_line(&hall);
        drop(hall);
        drop(waker);
        if found.is_err() && !planted!("pool-turn-dies-with-its-place") {
            self.pass_on();
        }
    }

    /// Gives the first in line a turn if there is a buffer to be had.
    pub(crate) fn pass_on(&self) {
        let mut hall = self.lock();
        let some = self.counts.available() > 0 || !hall.tray.buffers.is_empty();
        let waker = if some { self.first_in_line(&mut hall) } else { None };
        drop(hall);
        wake(waker);
    }

    /// A buffer on the tray counts as available: of one that is used up piece by piece, that may be too early.
    pub(crate) fn figures(&self) -> Figures {
        let hall = self.lock();
        let counts = &self.counts;
        Figures {
            available: counts.available() + hall.tray.buffers.len() as u32,
            lowest: counts.lowest.load(Ordering::Relaxed),
            disowned: counts.disowned.load(Ordering::Relaxed),
        }
    }
}

impl Clerk<'_> {
    #[inline]
    fn books<R>(self, look: impl FnOnce(&mut Books) -> R) -> R {
        // SAFETY: (I5) on the only thread that has a clerk; `look` is of this module, and none of them looks for the books
        // again or runs foreign code.
        self.desk.books.with_mut(|books| look(unsafe { &mut *books }))
    }

    /// Books what is on the tray. `publish` is called for each buffer that is the kernel's again, with its number and its
    /// position.
    #[inline]
    pub(crate) fn clear_tray(self, publish: impl FnMut(u16, u16)) {
        // ORDERING: Relaxed: a hint. What must not be missed is looked for under the lock.
        if self.desk.on_tray.load(Ordering::Relaxed) > 0 {
            self.book_tray(&mut self.desk.lock(), publish);
        }
    }

    #[cold]
    fn book_tray(self, hall: &mut Hall, mut publish: impl FnMut(u16, u16)) {
        let Tray { buffers, parts } = &mut hall.tray;
        for buffer in buffers.drain(..) {
            let parts = std::mem::take(&mut parts[usize::from(buffer)]);
            let back =
                self.books(|books| books.give_back(&self.desk.counts, buffer, self.desk.size(buffer), parts));
            if let Some(position) = back {
                publish(buffer, position);
            }
        }
        self.desk.on_tray.store(0, Ordering::Relaxed);
    }

    /// A completion names a buffer and says how many bytes are new in it; `goes_on`: the kernel keeps the rest of it. `None`:
    /// it is not the kernel's to name.
    #[inline]
    pub(crate) fn claim(self, buffer: u16, len: u32, goes_on: bool) -> Option<Part> {
        self.books(|books| books.part(&self.desk.counts, buffer, len, goes_on))
    }

    /// The same of one that says how many bytes are new in this buffer and those behind it in the ring.
    pub(crate) fn claim_run(self, buffer: u16, len: u32, goes_on: bool) -> Option<Run> {
        let behind = &self.desk.behind;
        let follow = |before: u16, next| behind[usize::from(before)].store(next, Ordering::Relaxed);
        self.books(|books| books.run(&self.desk.counts, buffer, len, goes_on, follow))
    }

    /// Whether a buffer that a failed completion names has left the ring, of which the kernel has taken `taken` so far.
    pub(crate) fn has_left(self, buffer: u16, taken: u16) -> bool {
        let beyond =
            |record: &Record| (1..=MAX_BUFFERS as u16).contains(&taken.wrapping_sub(record.position));
        self.books(|books| books.records.get(usize::from(buffer)).is_some_and(beyond))
    }

    /// A completion named a buffer, and the kernel has kept it.
    pub(crate) fn disown(self) {
        self.desk.counts.disown();
    }

    /// `buffers` of a run that begins with `first` are not needed any more. `publish` is called for each that is the
    /// kernel's again, with its number and its position.
    #[inline]
    pub(crate) fn give_back(self, first: u16, buffers: u16, mut publish: impl FnMut(u16, u16)) {
        self.clear_tray(&mut publish); // what was brought before goes before
        let desk = self.desk;
        let mut back = 0;
        let mut buffer = first;
        for left in (0..buffers).rev() {
            let size = desk.size(buffer);
            if let Some(position) = self.books(|books| books.give_back(&desk.counts, buffer, size, 1)) {
                publish(buffer, position);
                back += 1;
            }
            if left > 0 {
                buffer = desk.behind(buffer);
            }
        }
        // ORDERING: Relaxed: as in `note_line`.
        if back > 0 && self.desk.in_line.load(Ordering::Relaxed) > 0 {
            self.wake_first(back);
        }
    }

    #[cold]
    fn wake_first(self, count: usize) {
        for _ in 0..count {
            let waker = self.desk.first_in_line(&mut self.desk.lock());
            wake(waker);
        }
    }

    /// Waits for a turn to ask the kernel again, which has refused for want of a buffer. Whoever gets one of which
    /// [`others`](Turn::others) would like to have something [passes it on](Desk::pass_on) once the kernel was asked.
    ///
    /// `publish` as in [`clear_tray`](Self::clear_tray).
    #[cold]
    pub(crate) fn poll_turn(
        self,
        cx: &mut Context<'_>,
        place: &mut Place,
        publish: impl FnMut(u16, u16),
    ) -> Poll<Turn> {
        let desk = self.desk;
        let mut waker = Some(cx.waker().clone()); // cloned, and dropped, outside of the lock
        let mut hall = desk.lock();
        // Not a moment before we stand in line: what is brought from here on finds us there.
        self.book_tray(&mut hall, publish);
        if planted!("pool-waits-on-an-old-look") {
            drop(hall);
            hall = desk.lock();
        }
        let returned = self.books(|books| books.returned);
        let turn = hall.poll_turn(&mut waker, place, desk.counts.available(), returned);
        desk.note_line(&hall);
        drop(hall);
        turn
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        contain(|| waker.wake()); // one that panics must not keep the others asleep
    }
}

#[cfg(all(test, millstream_loom))]
mod model {
    //! A wake-up between a refusal and the return of a buffer by another thread, in every order. This thread has the books.

    use std::future::poll_fn;
    use std::task::Poll;

    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::thread;

    use super::{Clerk, Desk, Place, Turn};

    /// A pool of one buffer, which a user has.
    fn used_up() -> Arc<Desk> {
        let desk = Desk::new(1, 8, false);
        assert!(clerk(&desk).claim(0, 8, false).is_some());
        Arc::new(desk)
    }

    fn clerk(desk: &Desk) -> Clerk<'_> {
        // SAFETY: (local) only ever on the model's first thread.
        unsafe { desk.clerk() }
    }

    /// As an op does that was refused.
    fn turn(desk: &Desk, place: &mut Place) -> Turn {
        block_on(poll_fn(|cx| clerk(desk).poll_turn(cx, place, |_, _| {})))
    }

    /// Waits for its turn, asks, and finds that it needs no buffer.
    fn wait(desk: &Desk) {
        let mut place = Place::new();
        if turn(desk, &mut place).others {
            desk.pass_on();
        }
        desk.leave(&mut place);
    }

    /// In line before anybody else, and never looked at again.
    fn in_line(desk: &Desk) -> Place {
        let mut place = Place::new();
        let look = |cx: &mut std::task::Context<'_>| {
            Poll::Ready(clerk(desk).poll_turn(cx, &mut place, |_, _| {}).is_pending())
        };
        assert!(block_on(poll_fn(look)));
        place
    }

    #[test]
    fn a_buffer_that_comes_back_meanwhile_is_seen() {
        loom::model(|| {
            let desk = used_up();
            let other = thread::spawn({
                let desk = Arc::clone(&desk);
                move || desk.bring(0, 1)
            });
            wait(&desk);
            other.join().unwrap();
            assert_eq!(desk.figures().available, 1);
        });
    }

    #[test]
    fn one_buffer_serves_two_who_wait() {
        loom::model(|| {
            let desk = used_up();
            let other = thread::spawn({
                let desk = Arc::clone(&desk);
                move || desk.bring(0, 1)
            });
            let (mut places, mut had) = ([Place::new(), Place::new()], [false; 2]);
            block_on(poll_fn(|cx| {
                for (place, had) in places.iter_mut().zip(&mut had).filter(|(_, had)| !**had) {
                    if let Poll::Ready(turn) = clerk(&desk).poll_turn(cx, place, |_, _| {}) {
                        *had = true;
                        if turn.others {
                            desk.pass_on();
                        }
                        desk.leave(place);
                    }
                }
                if had == [true; 2] { Poll::Ready(()) } else { Poll::Pending }
            }));
            other.join().unwrap();
        });
    }

    #[test]
    fn who_gives_up_passes_its_turn_on() {
        loom::model(|| {
            let desk = used_up();
            let mut place = in_line(&desk);
            let others = [true, false].map(|brings| {
                let desk = Arc::clone(&desk);
                let mut place =
                    if brings { Place::new() } else { std::mem::replace(&mut place, Place::new()) };
                thread::spawn(move || if brings { desk.bring(0, 1) } else { desk.leave(&mut place) })
            });
            wait(&desk);
            others.map(|other| other.join().unwrap());
        });
    }

    #[test]
    fn a_turn_that_was_given_here_is_passed_on_from_elsewhere() {
        loom::model(|| {
            let desk = used_up();
            let mut first = in_line(&desk);
            let mut second = in_line(&desk);
            let other = thread::spawn({
                let desk = Arc::clone(&desk);
                move || desk.leave(&mut first)
            });
            clerk(&desk).give_back(0, 1, |_, _| {});
            turn(&desk, &mut second);
            desk.leave(&mut second);
            other.join().unwrap();
        });
    }

    #[test]
    fn what_is_brought_while_a_completion_is_booked_is_booked_once() {
        loom::model(|| {
            let desk = Desk::new(2, 8, false);
            assert!(clerk(&desk).claim(0, 8, false).is_some());
            let desk = Arc::new(desk);
            let other = thread::spawn({
                let desk = Arc::clone(&desk);
                move || desk.bring(0, 1)
            });
            let mut published = Vec::new();
            clerk(&desk).clear_tray(|buffer, position| published.push((buffer, position)));
            assert!(clerk(&desk).claim(1, 8, false).is_some());
            clerk(&desk).give_back(1, 1, |buffer, position| published.push((buffer, position)));
            other.join().unwrap();
            clerk(&desk).clear_tray(|buffer, position| published.push((buffer, position)));
            assert!(matches!(published[..], [(0, 2), (1, 3)] | [(1, 2), (0, 3)]), "{published:?}");
            assert_eq!((desk.figures().available, desk.figures().lowest <= 1), (2, true));
        });
    }
}
