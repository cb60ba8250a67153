//! The gate of a channel between threads: a lock for pushes and one for pops, or one for both.
//!
//! Knows: `sync`, the lock, the engine, what was put off to the end of a poll. Does not know: waiters, endpoints, futures.
//!
//! Pushes and pops of one channel mostly come from different processors. Under one lock they would take turns, and the
//! channel's memory would travel from one processor to the other with each turn. As long as nobody waits they need not:
//! what each side may do by itself is in the engine's [terms](Terms), and both together are the ring of one producer and
//! one consumer, whoever these are at the moment.
//!
//! ```text
//!   a push                                              a pop
//!   lock the pushes                                     lock the pops
//!    ├─ room: fill the slot ─▶ tail + 1 (Release)        ├─ values: empty the slot ─▶ taken + 1 (Release)
//!    └─ none that is known: room = limit - (tail         └─ none that is known: values = (Acquire) tail
//!        │                  - (Acquire) taken)               │                    - taken
//!        └─ none: the pops' lock, too                        └─ none: release; the pushes' lock, then the pops'
//!
//!   whoever has both locks has the engine; what the sides did is entered, the engine decides, new terms are made
//! ```
//!
//! So waiters, permits, the close and everything else that is not a plain push or pop finds the engine as if there were one
//! lock, and leaves behind how far each side may go without it. Nothing that those terms depend on changes before both
//! locks are held again; only the number of free values does, and an old one errs on the safe side: a push knows too many
//! and a pop too few.
//!
//! After a turn with the engine the sides are given no more than half of what there is. When that is used up, the wakes of
//! that turn, which a runtime puts off to the end of the poll, are delivered: whoever waited then comes back while there is
//! still work for the other side, and neither has to stop.
//!
//! Who comes to an end of that, while nobody waits, does not wait at once, where looking again costs little: on a runtime,
//! which polls the task again when it has had its turn, and on a plain thread. To wait would take both locks, and a push or a
//! pop that finds somebody waiting takes them as well; and it would make the locks everybody's that were each one thread's own
//! (`bias`). Some looks later he stands in line like everybody, so nobody looks for ever.
//!
//! While somebody waits, the terms permit next to nothing, and nearly all who come need both locks. Where both are one
//! thread's own, which takes them at hardly any cost, no terms are made for that time: the sides are *shut*, and the engine
//! keeps the ring. Between threads they are made all the same, since a pop that is woken then needs one lock, not two.
//!
//! # Few slots
//!
//! A channel with few slots has no use for two sides: too many of its pushes and pops meet somebody who waits. All of it is
//! behind the pushes' lock; and beside that, on its cache line, is what who only looks has to know. Each word is written by
//! who has the lock, and read by who has not.
//!
//! ```text
//!   stirred for pops     set by pushes and all else but pops; cleared by who sees, with the lock, that a pop would wait
//!   stirred for pushes   set by pops and all else but pushes; cleared by who sees that a push would wait
//!   signed               the thread of the last push
//!   busy                 set by a push that has to wait; some pushes later it is over
//! ```
//!
//! A pop that finds nothing, while nobody waits and the last push came from another thread, looks some times whether it is
//! stirred before it stands in line: a value then costs its way there, and neither a wake nor the turns of two executors.
//! Whoever took the lock meanwhile has stirred, so a look misses nothing that it will not see at the next, and the last one
//! is with the lock. A push stands in line at once: who pops pulls its value in, which is worth more than a look. And where
//! it is busy, so does a pop: in line, it is room for one value more, and each wake then moves three. Not so where each wake
//! would end a sleep, of a runtime that sleeps as soon as it has nothing to do: there a pop looks a few times first, for as long
//! as a small part of such a sleep, and two runtimes that work for each other stay awake.
#![allow(unsafe_code, reason = "values are moved in and out of slots that two sides share")]

mod whole;

use core::cell::UnsafeCell;
use core::mem;
use core::ptr;
use std::collections::VecDeque;

use super::engine::{Engine, Terms};
use super::lock::{self, Kept, Lock, Onlookers};
use super::ring::Leaving;
use super::sharing::{Gate, Looks, Popped};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::util::{executor, lookout, prefetch};

pub(super) use whole::Guard;

/// The least capacity with two sides: with fewer slots somebody waits so often that two locks cost more than they save.
/// Tests, models and debug builds have two wherever a side can do anything alone.
const TWO_SIDES_FROM: usize = if cfg!(any(test, debug_assertions)) { 2 } else { 64 };

/// Where the counts of the two sides begin: in tests, models and debug builds shortly before they wrap.
const FIRST: usize = if cfg!(any(test, debug_assertions)) { usize::MAX - 2 } else { 0 };

/// How an operation looks again before it stands in line. It leaves the other side some hundred nanoseconds each time, enough
/// for a handful of things: looked at without a pause, it would bring one at a time.
const LOOKS: Looks = Looks { times: 8, pauses: 8 };
/// The same where it brings one: who looks at all wants to be there when that comes.
const LOOKS_FOR_ONE: Looks = Looks { times: 32, pauses: 1 };
/// The same where a sleep follows.
const LOOKS_BEFORE_SLEEP: Looks = Looks { times: 16, pauses: 8 };

/// An engine behind one lock or two.
#[repr(C)]
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    reason = "public only as far as a sealed trait names it"
)]
pub struct Sides<T> {
    pushes: Apart<Pushes<T>>,
    pops: Apart<Pops<T>>,
    engine: Apart<UnsafeCell<Engine<T>>>,
    // On a line that is only read, or only one thread's.
    /// Neither side may do anything, and the engine has the ring. Written under both locks.
    shut: AtomicBool,
    capacity: usize,
    divided: bool,
    /// Where the slots were to begin with.
    slots: *const T,
    #[cfg(millstream_loom)]
    marks: Vec<crate::sync::cell::UnsafeCell<()>>,
}

/// On cache lines that are nobody else's, also if the processor fetches them by twos.
#[repr(align(128))]
struct Apart<T>(T);

/// The side of the pushes.
struct Pushes<T> {
    lock: Lock<PushTerms<T>>,
    /// How many values were pushed; to be compared with `taken`, which wraps as well. Written under the lock.
    tail: Apart<AtomicUsize>,
}

/// The side of the pops.
struct Pops<T> {
    lock: Lock<PopTerms<T>>,
    /// As many below `tail` as there are free values. Written under the lock.
    taken: Apart<AtomicUsize>,
}

struct PushTerms<T> {
    slots: *mut T,
    count: usize,
    /// The slot of the next push.
    at: usize,
    /// So many pushes may follow before a look at `taken`.
    room: usize,
    limit: usize,
    /// That look delivers what was put off.
    owes: bool,
}

struct PopTerms<T> {
    slots: *mut T,
    count: usize,
    /// The slot of the next pop.
    at: usize,
    /// So many pops may follow before a look at `tail`.
    values: usize,
    assigned: usize,
    pops: bool,
    counted_pops: bool,
    /// The channel is open, and nobody waits on either side.
    nobody_waits: bool,
    /// That look delivers what was put off.
    owes: bool,
}

// SAFETY: (I5) values move from one side's thread to the other's, hence `T: Send`.
unsafe impl<T: Send> Send for PushTerms<T> {}
// SAFETY: (I5) as above.
unsafe impl<T: Send> Send for PopTerms<T> {}

type PushGuard<'a, T> = lock::Guard<'a, PushTerms<T>>;
type PopGuard<'a, T> = lock::Guard<'a, PopTerms<T>>;

/// The slot after `at`.
#[inline(always)]
fn after(at: usize, count: usize) -> usize {
    if at + 1 == count { 0 } else { at + 1 }
}

impl<T> Sides<T> {
    #[inline(always)]
    fn lock_pushes(&self) -> PushGuard<'_, T> {
        self.pushes.0.lock.lock_calmly()
    }

    #[inline(always)]
    fn lock_pops(&self) -> PopGuard<'_, T> {
        self.pops.0.lock.lock_calmly()
    }

    /// Says that there may be something of interest to whoever looks. The caller has the pushes' lock.
    #[inline(always)]
    fn stir(&self) {
        self.pushes.0.lock.stir(Onlookers::Pops);
        self.pushes.0.lock.stir(Onlookers::Pushes);
    }

    /// Whether the sides may do nothing without each other. For who does not have both locks, a hint.
    #[inline(always)]
    fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed) // ORDERING: known with the locks, a hint without
    }

    fn set_shut(&self, shut: bool) {
        self.shut.store(shut, Ordering::Relaxed); // ORDERING: as in `is_shut`
    }

    /// How many values the pops may take, as it was a moment ago.
    fn free(&self) -> usize {
        // ORDERING: a number to look at; it may be another one already
        let (tail, taken) =
            (self.pushes.0.tail.0.load(Ordering::Relaxed), self.pops.0.taken.0.load(Ordering::Relaxed));
        tail.wrapping_sub(taken)
    }

    /// Tells a model checker that a slot is used.
    #[inline(always)]
    fn mark(&self, _at: usize) {
        #[cfg(millstream_loom)]
        self.marks[_at % self.marks.len()].with_mut(|_| ());
    }

    // ---- one side ----

    /// Looks what room the pops have made.
    #[cold]
    fn look_for_room<'a>(&'a self, mut guard: PushGuard<'a, T>) -> PushGuard<'a, T> {
        if mem::take(&mut guard.owes) {
            drop(guard);
            executor::catch_up();
            guard = self.lock_pushes();
        }
        self.update_room(&mut guard);
        guard
    }

    fn update_room(&self, terms: &mut PushTerms<T>) {
        if terms.limit > 0 {
            // ORDERING: pairs with `popped`: the slots below have been emptied.
            let taken = self.pops.0.taken.0.load(Ordering::Acquire);
            let tail = self.pushes.0.tail.0.load(Ordering::Relaxed); // ORDERING: its lock is held
            terms.room = terms.limit.saturating_sub(tail.wrapping_sub(taken));
        }
    }

    /// Looks what the pushes have brought.
    #[cold]
    fn look_for_values<'a>(&'a self, mut guard: PopGuard<'a, T>) -> PopGuard<'a, T> {
        if mem::take(&mut guard.owes) {
            drop(guard);
            executor::catch_up();
            guard = self.lock_pops();
        }
        self.update_values(&mut guard);
        guard
    }

    fn update_values(&self, terms: &mut PopTerms<T>) {
        if terms.pops {
            // ORDERING: pairs with `pushed`: the slots below have been filled.
            let tail = self.pushes.0.tail.0.load(Ordering::Acquire);
            let taken = self.pops.0.taken.0.load(Ordering::Relaxed); // ORDERING: its lock is held
            terms.values = tail.wrapping_sub(taken);
        }
    }

    /// Says that `count` values more are there.
    #[inline(always)]
    fn pushed(&self, terms: &mut PushTerms<T>, count: usize) {
        terms.room -= count;
        let tail = self.pushes.0.tail.0.load(Ordering::Relaxed); // ORDERING: its lock is held
        // ORDERING: pairs with `update_values`: the slots that the number covers have been filled.
        let filled = if planted!("sides-push-relaxed") { Ordering::Relaxed } else { Ordering::Release };
        self.pushes.0.tail.0.store(tail.wrapping_add(count), filled);
    }

    /// Says that `count` values are there no more.
    #[inline(always)]
    fn popped(&self, terms: &mut PopTerms<T>, count: usize) {
        terms.values -= count;
        let taken = self.pops.0.taken.0.load(Ordering::Relaxed); // ORDERING: its lock is held
        // ORDERING: pairs with `update_room`: the slots that the number covers have been emptied.
        let emptied = if planted!("sides-pop-relaxed") { Ordering::Relaxed } else { Ordering::Release };
        self.pops.0.taken.0.store(taken.wrapping_add(count), emptied);
    }

    /// The value at the head, which leaves.
    ///
    /// # Safety
    /// By the terms there is one.
    #[inline(always)]
    unsafe fn leave<'a>(&'a self, mut pops: PopGuard<'a, T>, free: usize) -> Popped<'a, T, Self> {
        let terms = &mut *pops;
        self.mark(terms.at);
        // SAFETY: (I3) filled, by this function's contract, and this side's until the hold says otherwise.
        let value = unsafe { Leaving::of(terms.slots.add(terms.at)) };
        terms.at = after(terms.at, terms.count);
        (value, Hold { sides: self, pops, free })
    }

    /// Pushes the value in `from`, if the pushes may; otherwise, the engine, unless that can wait and `again` agrees.
    #[inline(always)]
    fn push_alone(
        &self,
        from: &mut Option<T>,
        again: impl FnOnce() -> bool,
    ) -> Result<(), Option<Guard<'_, T>>> {
        let mut guard = self.lock_pushes();
        if guard.room == 0 && !self.is_shut() {
            guard = self.look_for_room(guard);
        }
        let terms = &mut *guard;
        let Some(value) = from.as_mut().filter(|_| terms.room > 0) else {
            if terms.limit > 0 && again() {
                return Err(None);
            }
            self.stir();
            return Err(Some(self.whole(guard)));
        };
        self.mark(terms.at);
        // SAFETY: (I3) there is room, so by the terms the slot is vacant, and this side's until it says otherwise; `from`
        // is overwritten without a drop of the value that was moved out.
        unsafe {
            ptr::copy_nonoverlapping(value, terms.slots.add(terms.at), 1);
            ptr::write(from, None);
        }
        terms.at = after(terms.at, terms.count);
        self.pushed(terms, 1);
        Ok(())
    }

    /// Pops a free value, if the pops may; otherwise, whether the engine can wait.
    #[inline(always)]
    fn pop_alone(&self) -> Result<Popped<'_, T, Self>, bool> {
        if self.is_shut() {
            return Err(false);
        }
        let mut guard = self.lock_pops();
        if guard.values == 0 {
            guard = self.look_for_values(guard);
            if guard.values == 0 {
                return Err(guard.nobody_waits);
            }
        }
        // SAFETY: (I3) a free value is there.
        Ok(unsafe { self.leave(guard, 1) })
    }

    /// Pops a counted value, if the pops may.
    #[inline(always)]
    fn pop_counted_alone(&self) -> Option<Popped<'_, T, Self>> {
        if self.is_shut() {
            return None;
        }
        let mut guard = self.lock_pops();
        if guard.assigned == 0 || !guard.counted_pops {
            return None;
        }
        guard.assigned -= 1;
        // SAFETY: (I3) a counted value is there.
        Some(unsafe { self.leave(guard, 0) })
    }

    /// Moves as many of `values` in as there is known room for.
    fn push_known(&self, terms: &mut PushTerms<T>, values: &mut VecDeque<T>) {
        let count = terms.room.min(values.len());
        for value in values.drain(..count) {
            self.mark(terms.at);
            // SAFETY: (I3) there is room, so by the terms the slot is vacant, and this side's.
            unsafe { terms.slots.add(terms.at).write(value) };
            terms.at = after(terms.at, terms.count);
        }
        self.pushed(terms, count);
    }

    /// Moves up to `most` of the values out that are known. `out` has room for them.
    fn pop_known(&self, terms: &mut PopTerms<T>, out: &mut Vec<T>, most: usize) -> usize {
        let count = terms.values.min(most);
        let first = count.min(terms.count - terms.at);
        (0..count).for_each(|distance| self.mark((terms.at + distance) % terms.count));
        // SAFETY: (I3) by the terms, `count` slots from `at` on hold values, and are this side's; the caller sees to
        // room for them.
        unsafe {
            let end = out.as_mut_ptr().add(out.len());
            ptr::copy_nonoverlapping(terms.slots.add(terms.at), end, first);
            ptr::copy_nonoverlapping(terms.slots, end.add(first), count - first);
            out.set_len(out.len() + count);
        }
        terms.at =
            if first < count || terms.at + first == terms.count { count - first } else { terms.at + first };
        self.popped(terms, count);
        count
    }

    // ---- both ----

    /// The engine, for who has the pushes' lock.
    #[inline(always)]
    fn whole<'a>(&'a self, pushes: PushGuard<'a, T>) -> Guard<'a, T> {
        let mut guard = self.undivided(pushes);
        guard.unite();
        guard
    }

    /// The engine, for who has the pushes' lock, which is the only one.
    #[inline(always)]
    fn undivided<'a>(&'a self, pushes: PushGuard<'a, T>) -> Guard<'a, T> {
        Guard { sides: self, pushes: Lock::keep(pushes), pops: Kept::nothing() }
    }

    /// The engine of a channel with one lock.
    ///
    /// What is behind the lock was last used where the lock was. Asked for at the same time, it all comes at the same time
    /// from there, and one after the other otherwise.
    #[inline(always)]
    fn lock_alone(&self) -> Guard<'_, T> {
        self.pushes.0.lock.fetch();
        Engine::fetch(self.engine.0.get());
        prefetch::to_write(self.slots);
        self.undivided(self.lock_pushes())
    }

    /// The engine of a channel with one lock, or of one with two.
    #[inline(always)]
    fn lock_as(&self, divided: bool) -> Guard<'_, T> {
        let guard = self.lock_calmly_as(divided);
        self.stir();
        guard
    }

    /// The engine of a channel with one lock, for a push.
    #[inline(always)]
    fn lock_to_push(&self) -> Guard<'_, T> {
        let guard = self.lock_alone();
        self.pushes.0.lock.stir(Onlookers::Pops);
        self.pushes.0.lock.sign();
        guard
    }

    /// The same for a pop.
    #[inline(always)]
    fn lock_to_pop(&self) -> Guard<'_, T> {
        let guard = self.lock_alone();
        self.pushes.0.lock.stir(Onlookers::Pushes);
        guard
    }

    /// How one may look again in a channel with one lock.
    #[inline]
    fn looks_for_one(&self) -> Looks {
        if !self.pushes.0.lock.is_busy() {
            LOOKS_FOR_ONE
        } else if lookout::sleeps_at_once() {
            LOOKS_BEFORE_SLEEP
        } else {
            Looks::NONE
        }
    }

    /// How one may look again in a channel with two locks.
    #[cold]
    fn looks_at_sides(&self) -> Looks {
        if self.pushes.0.lock.seems_near() && self.pops.0.lock.seems_near() { Looks::NONE } else { LOOKS }
    }

    /// As [`lock_as`](Self::lock_as), calmly.
    #[inline(always)]
    fn lock_calmly_as(&self, divided: bool) -> Guard<'_, T> {
        if divided { self.whole(self.lock_pushes()) } else { self.lock_alone() }
    }
}

impl<T> Gate<T> for Sides<T> {
    type Guard<'a>
        = Guard<'a, T>
    where
        T: 'a;
    type Hold<'a>
        = Hold<'a, T>
    where
        T: 'a;

    fn new(mut engine: Engine<T>) -> Self {
        let capacity = engine.capacity();
        let Terms { slots, count, .. } = engine.divide(); // to begin with, neither side may do anything
        let pushes = PushTerms { slots, count, at: 0, room: 0, limit: 0, owes: false };
        let pops = PopTerms {
            slots,
            count,
            at: 0,
            values: 0,
            assigned: 0,
            pops: false,
            counted_pops: false,
            nobody_waits: false,
            owes: false,
        };
        Self {
            pushes: Apart(Pushes { lock: Lock::new(pushes), tail: Apart(AtomicUsize::new(FIRST)) }),
            pops: Apart(Pops { lock: Lock::new(pops), taken: Apart(AtomicUsize::new(FIRST)) }),
            engine: Apart(UnsafeCell::new(engine)),
            shut: AtomicBool::new(false),
            capacity,
            divided: capacity >= TWO_SIDES_FROM,
            slots,
            #[cfg(millstream_loom)]
            marks: (0..count.max(1)).map(|_| crate::sync::cell::UnsafeCell::new(())).collect(),
        }
    }

    #[inline]
    fn lock(&self) -> Guard<'_, T> {
        self.lock_as(self.divided)
    }

    #[inline]
    fn lock_calmly(&self) -> Guard<'_, T> {
        self.lock_calmly_as(self.divided)
    }

    #[inline]
    fn is_stirred(&self) -> bool {
        // Free values are all that a side brings about alone, and all that there is of interest about them. (With one lock
        // there are none.)
        self.pushes.0.lock.is_stirred(Onlookers::Pops) || self.free() > 0
    }

    const ONLOOKERS: bool = true;

    #[inline]
    fn push_waits(guard: &Guard<'_, T>) {
        guard.sides.pushes.0.lock.set_busy();
    }

    #[inline]
    fn calm(guard: &Guard<'_, T>) {
        guard.sides.pushes.0.lock.calm(Onlookers::Pops);
    }

    #[inline(always)]
    fn push_or_lock(&self, from: &mut Option<T>) -> Option<Guard<'_, T>> {
        if self.divided { self.push_alone(from, || false).err().flatten() } else { Some(self.lock_to_push()) }
    }

    #[inline(always)]
    fn push_or_look(
        &self,
        from: &mut Option<T>,
        again: impl FnOnce() -> bool,
    ) -> Result<(), Option<Guard<'_, T>>> {
        if self.divided { self.push_alone(from, again) } else { Err(Some(self.lock_to_push())) }
    }

    #[inline(always)]
    fn pop_or_lock(&self) -> Result<Popped<'_, T, Self>, Guard<'_, T>> {
        if self.divided { self.pop_alone().map_err(|_| self.lock_as(true)) } else { Err(self.lock_to_pop()) }
    }

    #[inline(always)]
    fn pop_or_look(&self, again: impl FnOnce() -> bool) -> Result<Popped<'_, T, Self>, Option<Guard<'_, T>>> {
        if self.divided {
            self.pop_alone()
                .map_err(|can_wait| if can_wait && again() { None } else { Some(self.lock_as(true)) })
        } else if !self.pushes.0.lock.is_worth_taking(Onlookers::Pops) && again() {
            Err(None)
        } else {
            Err(Some(self.lock_to_pop()))
        }
    }

    #[inline(always)]
    fn pop_or_lock_calmly(&self) -> Result<Popped<'_, T, Self>, Option<Guard<'_, T>>> {
        if self.divided {
            self.pop_alone().map_err(|_| self.is_stirred().then(|| self.lock_calmly_as(true)))
        } else {
            Err(Some(self.lock_to_pop()))
        }
    }

    #[inline(always)]
    fn pop_counted_or_lock(&self) -> Result<Popped<'_, T, Self>, Guard<'_, T>> {
        if self.divided {
            self.pop_counted_alone().ok_or_else(|| self.lock_as(true))
        } else {
            Err(self.lock_as(false))
        }
    }

    fn push_many_or_lock(&self, values: &mut VecDeque<T>) -> Option<Guard<'_, T>> {
        if !self.divided {
            return Some(self.lock_to_push());
        }
        let mut guard = self.lock_pushes();
        self.push_known(&mut guard, values);
        if !values.is_empty() {
            guard = self.look_for_room(guard);
            self.push_known(&mut guard, values);
        }
        if values.is_empty() {
            return None;
        }
        self.stir();
        Some(self.whole(guard))
    }

    fn pop_many_or_lock(&self, out: &mut Vec<T>, most: usize) -> Result<usize, Guard<'_, T>> {
        if !self.divided {
            return Err(self.lock_as(false));
        }
        let most = most.min(out.capacity() - out.len());
        let mut guard = self.lock_pops();
        let mut popped = self.pop_known(&mut guard, out, most);
        if popped < most {
            guard = self.look_for_values(guard);
            popped += self.pop_known(&mut guard, out, most - popped);
        }
        let mut guard = Some(guard);
        if planted!("the-rest-is-of-two-moments") {
            guard = None;
        }
        let more = self.free(); // with the lock: beside another pop there might seem to be any number
        drop(guard);
        if popped > 0 { Ok(more) } else { Err(self.lock_as(true)) }
    }

    #[inline(always)]
    fn looks(&self) -> Looks {
        if self.divided {
            self.looks_at_sides()
        } else if self.capacity > 0 && self.pushes.0.lock.is_signed_elsewhere() {
            self.looks_for_one()
        } else {
            Looks::NONE
        }
    }

    fn looks_full(&self) -> bool {
        if self.divided {
            return self.free() >= self.capacity;
        }
        if !self.pushes.0.lock.is_stirred(Onlookers::Pushes) {
            return true;
        }
        let engine = self.lock_calmly();
        if !engine.may_push() {
            self.pushes.0.lock.calm(Onlookers::Pushes);
        }
        engine.is_full()
    }

    fn looks_empty(&self) -> bool {
        if self.divided {
            return self.free() == 0;
        }
        if !self.pushes.0.lock.is_stirred(Onlookers::Pops) {
            return true;
        }
        let engine = self.lock_calmly();
        if !engine.may_pop() {
            Self::calm(&engine);
        }
        engine.has_nothing()
    }
}

impl<T> Drop for Sides<T> {
    fn drop(&mut self) {
        drop(self.lock()); // the engine drops what is in the ring, and must know what that is
    }
}

/// Has the pops' lock while a value leaves its slot, and then says that it is gone.
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    reason = "public only as far as a sealed trait names it"
)]
pub struct Hold<'a, T> {
    sides: &'a Sides<T>,
    pops: PopGuard<'a, T>,
    /// How many free values that was.
    free: usize,
}

impl<T> Drop for Hold<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.free > 0 {
            self.sides.popped(&mut self.pops, self.free);
        }
    }
}
