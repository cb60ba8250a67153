//! What an executor does for those of its tasks that change levels or wait at them: it passes one fence for all changes
//! of a poll, and looks at levels itself before anybody has to be woken.
//!
//! Knows: levels, plain wakers. Does not know: executors, which call it at four places, and what the levels are of.
//!
//! Arming a wait slot at every empty poll makes two threads run in lockstep: one value, one wake. And a fence after every
//! push costs more than the push. So, where a lookout is installed:
//!
//! - a change only *notes* its level, and [`settle`](Lookout::settle), at the end of the poll, passes one fence and
//!   looks at the other side's slot of each level that was noted. The side remembers the [stamp](Lookout::stamp) under
//!   which it was noted, so that for every further change of the poll this is one comparison;
//! - a wait does not arm, it leaves a *watch*: [`look`](Lookout::look), at the end of a turn and while the executor spins,
//!   wakes whoever has what it waits for, and [`arm`](Lookout::arm), before the executor sleeps or when it has had
//!   something better to do for a turn, arms the others, passes one fence, and looks a last time.
//!
//! ```text
//!              change                     settle
//!   SEATED ──────────────▶ NOTED ──────────────────▶ SEATED        the two are independent of each other:
//!              wait                       look, ready               a side may be noted and watched
//!   SEATED ──────────────▶ WATCHED ────────────────▶ SEATED, woken
//!                             │ arm
//!                             └────────────────────▶ SEATED, the slot is armed (or ready after all, and woken)
//! ```
//!
//! Before the executor sleeps it [lingers](Lookout::linger): some looks more, if somebody waits for what another thread is to
//! bring. A sleep, and being woken from it, take ten times as long; so two sides that keep each other busy stay awake.
//!
//! A task that may look again for itself, before it waits for whatever it is, asks for one more poll at the end of the turn
//! ([`look_again`]). If all that the thread has to do is that, for what another one is to bring, it pauses first.
//!
//! A side of a level takes one of a bounded number of seats at its first use here, and keeps it, so that a later use costs
//! a comparison. A seat holds the level. The level knows its seat: a side that has moved to another thread sits there or
//! nowhere, and what is left of it here arms nothing any more. Seats are given up when the side is gone, when it has
//! moved and the executor sleeps, or when another side needs one; with all seats in use the side does without: it fences
//! and arms at once.
#![allow(unsafe_code, reason = "a thread-local pointer to what the executor installed")]

use core::cell::{Cell, UnsafeCell};
use core::ptr::{self, NonNull};
use core::task::Waker;

use super::barrier;
use super::contain::contain;
use super::level::{Level, Side, Want};
use super::plain::Plain;
use super::post::Post;
use super::wait_slot::Armed;
use crate::sync::Arc;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::{Ordering, fence};
use crate::sync::hint;

/// How often a thread that is about to sleep looks once more, and how long it pauses before each time.
const LINGERS: u32 = if cfg!(any(millstream_loom, millstream_shuttle)) { 1 } else { 16 };
const PAUSES: u32 = 8;

/// As many as are polled in a turn.
const GLANCES: usize = 64;

/// As many as a word has bits.
const SEATS: usize = 64;

#[cfg(not(millstream_loom))]
std::thread_local! {
    static HERE: Cell<Option<NonNull<Lookout>>> = const { Cell::new(None) };
}
#[cfg(millstream_loom)]
loom::thread_local! {
    static HERE: Cell<Option<NonNull<Lookout>>> = Cell::new(None);
}

/// No poll's stamp.
pub(super) const UNSTAMPED: u64 = 0;
/// Each lookout takes so many stamps at a time from those there are; few in tests, where none would ever come to their end.
const STAMPS: u64 = if cfg!(any(test, debug_assertions)) { 4 } else { 1 << 32 };

#[cfg(not(any(millstream_loom, millstream_shuttle)))]
fn fresh_stamps() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(STAMPS);
    NEXT.fetch_add(STAMPS, Ordering::Relaxed)
}

/// All threads of a model are one of std's.
#[cfg(any(millstream_loom, millstream_shuttle))]
fn fresh_stamps() -> u64 {
    std::thread_local! {
        static NEXT: Cell<u64> = const { Cell::new(STAMPS) };
    }
    NEXT.with(|next| next.replace(next.get() + STAMPS))
}

/// Says who looks for what is polled on this thread from now on, and returns who did before.
///
/// # Safety
///
/// It stays at its place until another is installed.
pub(crate) unsafe fn install(lookout: Option<NonNull<Lookout>>) -> Option<NonNull<Lookout>> {
    HERE.with(|here| here.replace(lookout))
}

#[inline]
pub(super) fn with<R>(f: impl FnOnce(Option<&Lookout>) -> R) -> R {
    // SAFETY: (local) still in its place, as `install`'s caller promised; `f` cannot keep the reference.
    f(HERE.with(Cell::get).map(|lookout| unsafe { lookout.as_ref() }))
}

/// Has the task polled once more that this waker is of, at the end of the turn: it looks again, for what another thread is to
/// bring, before it waits. If the thread has nothing better to do, it makes so many pauses first.
pub(crate) fn look_again(task: Plain, pauses: u32) {
    with(|lookout| match lookout {
        Some(lookout) => lookout.note_glance(task, pauses),
        None => task.waker().wake(),
    });
}

/// Whether this thread sleeps as soon as it has nothing to do, so that whoever waits has to be woken with it.
pub(crate) fn sleeps_at_once() -> bool {
    with(|lookout| lookout.is_some_and(|lookout| lookout.sleeps_at_once.get()))
}

/// One number for a side of a level. Levels are aligned to more than two bytes.
#[inline]
pub(super) fn key(level: &Level, side: Side) -> usize {
    ptr::from_ref(level).addr() | side as usize
}

struct Seat {
    /// Whose it is; 0 is nobody's.
    key: Cell<usize>,
    level: UnsafeCell<Option<Arc<Level>>>,
    watch: Cell<Option<(Want, Plain)>>,
}

/// See the module. Aligned so that a seat's number fits below its address.
#[repr(align(128))]
pub(crate) struct Lookout {
    /// See [`stamp`](Self::stamp).
    stamp: Cell<u64>,
    /// Seats that are noted.
    notes: Cell<u64>,
    /// Seats that are watched.
    watches: Cell<u64>,
    /// Seats that are taken.
    taken: Cell<u64>,
    /// The seat to be given away next.
    next: Cell<u32>,
    /// Tasks that look again: the first so many.
    glances: [Cell<Option<Plain>>; GLANCES],
    glance_count: Cell<usize>,
    /// What the most patient of them asked for.
    pauses: Cell<u32>,
    /// The thread does not look for long before it sleeps.
    sleeps_at_once: Cell<bool>,
    seats: [Seat; SEATS],
}

impl Lookout {
    pub(crate) fn new() -> Self {
        let seat = || Seat { key: Cell::new(0), level: UnsafeCell::new(None), watch: Cell::new(None) };
        Self {
            stamp: Cell::new(fresh_stamps()),
            notes: Cell::new(0),
            watches: Cell::new(0),
            taken: Cell::new(0),
            next: Cell::new(0),
            glances: core::array::from_fn(|_| Cell::new(None)),
            glance_count: Cell::new(0),
            pauses: Cell::new(0),
            sleeps_at_once: Cell::new(false),
            seats: core::array::from_fn(|_| seat()),
        }
    }

    /// Says whether the thread [sleeps at once](sleeps_at_once).
    pub(crate) fn set_sleeps_at_once(&self, at_once: bool) {
        self.sleeps_at_once.set(at_once);
    }

    // ---- seats ----

    /// What a level knows a seat by: even, and not `NOWHERE`.
    #[inline]
    fn number(&self, seat: usize) -> usize {
        ptr::from_ref(self).addr() | seat << 1
    }

    /// The seat of ours that has this number.
    #[inline]
    pub(super) fn index(&self, number: usize) -> Option<usize> {
        let seat = (number ^ ptr::from_ref(self).addr()) >> 1;
        (seat < SEATS).then_some(seat)
    }

    #[inline]
    pub(super) fn find(&self, post: &Post) -> Option<usize> {
        let last = usize::from(post.last) % SEATS;
        (self.seats[last].key.get() == post.key()).then_some(last)
    }

    /// The seat of this side, a new one if it has none here.
    #[inline]
    pub(super) fn seat_of(&self, post: &mut Post) -> Option<usize> {
        match self.find(post) {
            // It may have been elsewhere meanwhile, and left this seat as it was.
            Some(seat) => Some(seat),
            None => self.take_seat(post),
        }
    }

    #[cold]
    fn take_seat(&self, post: &mut Post) -> Option<usize> {
        let in_use = self.notes.get() | self.watches.get();
        let free = match !self.taken.get() {
            0 => (!in_use).rotate_right(self.next.get()),
            free => free.rotate_right(self.next.get()),
        };
        if free == 0 {
            return None;
        }
        let seat = (self.next.get() + free.trailing_zeros()) as usize % SEATS;
        self.next.set((seat as u32 + 1) % SEATS as u32);
        self.vacate(seat);
        drop(self.replace(seat, Some(post.level.clone())));
        self.seats[seat].key.set(post.key());
        self.taken.set(self.taken.get() | 1 << seat);
        post.last = seat as u8;
        post.sit(self.number(seat));
        Some(seat)
    }

    /// The side is going away for good: settling gives its seat up.
    pub(super) fn give_up(&self, post: &Post) {
        if let Some(seat) = self.find(post) {
            self.end_watch(seat);
            self.notes.set(self.notes.get() | 1 << seat);
        }
    }

    /// Gives a seat up. Whoever sat there finds out when it looks for it.
    fn vacate(&self, seat: usize) {
        self.seats[seat].key.set(0);
        self.taken.set(self.taken.get() & !(1 << seat));
        self.end_watch(seat);
        drop(self.replace(seat, None)); // no code of the user's: both sides emptied their slots when they went
    }

    /// Calls `f` with the level of a seat that is taken, its side, and the number it knows the seat by. `f` runs no code of
    /// the user's.
    #[inline]
    fn at<R>(&self, seat: usize, f: impl FnOnce(&Level, Side, usize) -> R) -> Option<R> {
        let side =
            if self.seats[seat].key.get() & 1 == Side::Pusher as usize { Side::Pusher } else { Side::Popper };
        // SAFETY: (I7) one thread, and only `replace` has a `&mut` to it, to which `f` does not lead.
        let level = unsafe { &*self.seats[seat].level.get() }.as_deref()?;
        Some(f(level, side, self.number(seat)))
    }

    /// Puts another level on a seat, and returns the one that was there.
    fn replace(&self, seat: usize, level: Option<Arc<Level>>) -> Option<Arc<Level>> {
        // SAFETY: (I7) one thread, and no reference from `at` is held while this runs.
        core::mem::replace(unsafe { &mut *self.seats[seat].level.get() }, level)
    }

    // ---- glances ----

    fn note_glance(&self, task: Plain, pauses: u32) {
        let count = self.glance_count.get();
        let Some(place) = self.glances.get(count) else {
            return task.waker().wake(); // it looks a little sooner
        };
        place.set(Some(task));
        self.glance_count.set(count + 1);
        self.pauses.set(self.pauses.get().max(pauses));
    }

    #[inline]
    fn has_glances(&self) -> bool {
        self.glance_count.get() != 0
    }

    /// Leaves other threads a moment, if tasks [look again](look_again) for what these are to bring, and the thread has
    /// nothing better to do.
    #[inline]
    pub(crate) fn pause(&self) {
        (0..self.pauses.get()).for_each(|_| hint::spin_loop());
    }

    /// Wakes all tasks that look again. Whether there was one.
    #[inline]
    fn end_glances(&self, wake: &impl Fn(Waker)) -> bool {
        let any = self.has_glances();
        if any {
            self.pauses.set(0);
            for place in &self.glances[..self.glance_count.replace(0)] {
                place.take().into_iter().for_each(|task| wake(task.waker())); // plain: no code of the user's
            }
        }
        any
    }

    // ---- changes ----

    /// Names the time since a note was last settled, and there is no other of this name, here or elsewhere: what was noted
    /// under it still is.
    #[inline(always)]
    pub(super) fn stamp(&self) -> u64 {
        self.stamp.get()
    }

    #[inline]
    fn renew_stamp(&self) {
        let next = self.stamp.get() + 1;
        self.stamp.set(if next.is_multiple_of(STAMPS) { fresh_stamps() } else { next });
    }

    #[inline]
    pub(crate) fn has_notes(&self) -> bool {
        self.notes.get() != 0
    }

    /// Whether it is the first note of this seat since the last settling.
    #[inline]
    pub(super) fn note(&self, seat: usize) -> bool {
        let notes = self.notes.get();
        self.notes.set(notes | 1 << seat);
        notes & 1 << seat == 0
    }

    /// Wakes whoever waits for what was changed since the last time. To be called after each poll that left notes, and
    /// before the thread waits for anything.
    ///
    /// One fence for all of them; none if all the other sides sit here as well. A side that leaves its seat for another
    /// thread passes the heavy half of a barrier before it waits there, so that what we do not see of its leaving it
    /// sees of our changes.
    #[inline(never)]
    pub(crate) fn settle(&self, wake: impl Fn(Waker)) {
        let mut fenced = planted!("poll-ends-without-fence");
        while self.has_notes() {
            let seat = self.notes.get().trailing_zeros() as usize;
            self.notes.set(self.notes.get() & !(1 << seat));
            if !planted!("noted-once-for-ever") {
                self.renew_stamp();
            }
            let settled = self.at(seat, |level, side, number| {
                let other = side.other();
                let waiter = match self.seat_here(level, other) {
                    Some(across) => self.waiter_here(level, other, across),
                    None => {
                        if !core::mem::replace(&mut fenced, true) {
                            // ORDERING: pairs with the fence between arming and looking.
                            fence(Ordering::SeqCst);
                        }
                        self.waiter_elsewhere(level, other)
                    }
                };
                (waiter, level.seat(side) != number)
            });
            let Some((waker, left)) = settled else { continue };
            if left && self.watches.get() & 1 << seat == 0 {
                self.vacate(seat);
            }
            if let Some(waker) = waker {
                // The user's code may run, and leave more notes.
                fenced &= Plain::of(&waker).is_some();
                wake(waker);
            }
        }
    }

    /// Which of our seats the side is on, if it has not left it by now.
    #[inline]
    fn seat_here(&self, level: &Level, side: Side) -> Option<usize> {
        self.index(level.seat(side))?;
        // ORDERING: pairs with the `heavy` barrier of a side that leaves for another thread.
        barrier::light();
        self.index(level.seat(side))
    }

    /// Who waits on a side that sits elsewhere or nowhere, for what is there.
    #[inline(always)]
    fn waiter_elsewhere(&self, level: &Level, side: Side) -> Option<Waker> {
        if level.slot(side).is_armed() { Self::take_waiter(level, side) } else { None }
    }

    #[cold] // between threads that are awake
    #[inline(never)]
    fn take_waiter(level: &Level, side: Side) -> Option<Waker> {
        // Not ready: it took everything there was, and armed after that.
        level.take_if_ready(side, Want::Progress)
    }

    /// Who waits on a side that sits here: watching, or armed by us.
    fn waiter_here(&self, level: &Level, side: Side, seat: usize) -> Option<Waker> {
        if self.seats[seat].key.get() == key(level, side)
            && self.watches.get() & 1 << seat != 0
            && let Some((want, plain)) = self.seats[seat].watch.get()
            && level.is_ready(side, want)
        {
            self.end_watch(seat);
            return Some(plain.waker());
        }
        self.waiter_elsewhere(level, side)
    }

    fn vacate_if_left(&self, seat: usize) {
        let left = self.at(seat, |level, side, number| level.seat(side) != number);
        if left == Some(true) && (self.notes.get() | self.watches.get()) & 1 << seat == 0 {
            self.vacate(seat);
        }
    }

    // ---- waits ----

    #[inline]
    pub(crate) fn has_watches(&self) -> bool {
        self.watches.get() != 0 || self.has_glances()
    }

    pub(super) fn watch(&self, post: &mut Post, want: Want, plain: Plain, discard: fn(Waker)) -> Option<()> {
        let seat = self.seat_of(post)?;
        post.sit(self.number(seat));
        let slot = post.level.slot(post.side);
        if slot.is_armed() {
            // An earlier wait's. User code may run, which can take anything here, but not this post's seat's key.
            slot.take().into_iter().for_each(discard);
            if self.find(post) != Some(seat) {
                return None;
            }
        }
        self.set_watch(seat, want, plain);
        Some(())
    }

    /// [`watch`](Self::watch) for a side that sits here and has left nothing behind; `false`: there is more to do.
    #[inline]
    pub(super) fn watch_again(&self, post: &Post, want: Want, plain: Plain) -> bool {
        let Some(seat) = self.find(post) else { return false };
        if post.level.seat(post.side) != self.number(seat) || post.level.slot(post.side).is_armed() {
            return false;
        }
        self.set_watch(seat, want, plain);
        true
    }

    #[inline]
    fn set_watch(&self, seat: usize, want: Want, plain: Plain) {
        self.seats[seat].watch.set(Some((want, plain)));
        self.watches.set(self.watches.get() | 1 << seat);
    }

    #[inline]
    pub(super) fn unwatch(&self, post: &Post) {
        if let Some(seat) = self.find(post) {
            self.end_watch(seat);
        }
    }

    #[inline]
    pub(super) fn is_watched(&self, post: &Post) -> bool {
        self.find(post).is_some_and(|seat| self.watches.get() & 1 << seat != 0)
    }

    #[inline]
    fn end_watch(&self, seat: usize) {
        self.watches.set(self.watches.get() & !(1 << seat));
        self.seats[seat].watch.set(None);
    }

    /// Wakes whoever has what it waits for. Whether there was anybody.
    pub(crate) fn look(&self, wake: impl Fn(Waker)) -> bool {
        let mut found = self.end_glances(&wake);
        let watches = self.watches.get();
        // One is looked at where it is acted upon: a branch, which the processor foresees, and goes on before the level is there.
        let mut likely = if watches & watches.wrapping_sub(1) == 0 { watches } else { self.likely(watches) };
        while likely != 0 {
            let seat = likely.trailing_zeros() as usize;
            likely &= likely - 1;
            if let Some((want, plain)) = self.seats[seat].watch.get()
                && self.is_ready(seat, want)
            {
                self.end_watch(seat);
                wake(plain.waker()); // plain: no code of the user's
                found = true;
            }
        }
        found
    }

    /// Which of several watches are ready, as far as a first look tells.
    ///
    /// No branch depends on what it finds, so that all counts that other threads have written come at the same time; what is
    /// done about each of them is a branch that is often not foreseen.
    fn likely(&self, mut watches: u64) -> u64 {
        let mut likely = 0;
        while watches != 0 {
            let seat = watches.trailing_zeros() as usize;
            watches &= watches - 1;
            if let Some((want, _)) = self.seats[seat].watch.get() {
                likely |= u64::from(self.is_ready(seat, want)) << seat;
            }
        }
        likely
    }

    #[inline]
    fn is_ready(&self, seat: usize, want: Want) -> bool {
        self.at(seat, |level, side, _| level.is_ready(side, want)) == Some(true)
    }

    /// Looks some times more, a microsecond or two in all, before the thread sleeps, for what other threads may be about to bring: a
    /// sleep and its end take ten times as long, of both sides. Whether there was anybody.
    #[cold]
    pub(crate) fn linger(&self, wake: impl Fn(Waker)) -> bool {
        self.watches_afar()
            && (0..LINGERS).any(|_| {
                (0..PAUSES).for_each(|_| hint::spin_loop());
                self.look(&wake)
            })
    }

    /// Whether somebody waits for what comes from elsewhere.
    fn watches_afar(&self) -> bool {
        let mut watches = self.watches.get();
        while watches != 0 {
            let seat = watches.trailing_zeros() as usize;
            watches &= watches - 1;
            if let Some((Want::Progress, _)) = self.seats[seat].watch.get()
                && self.at(seat, |level, side, _| self.index(level.seat(side.other())).is_none())
                    == Some(true)
            {
                return true;
            }
        }
        false
    }

    /// Arms the slots of all who wait, so that the thread may stop looking; who is ready all the same is woken. Whether
    /// there was anybody.
    #[cold]
    pub(crate) fn arm(&self, wake: impl Fn(Waker)) -> bool {
        let mut found = self.end_glances(&wake);
        let mut armed = 0_u64;
        // Who left a watch had emptied its slot, so this stays empty and allocates nothing.
        let mut replaced = Vec::new();
        let mut watches = self.watches.get();
        while watches != 0 {
            let seat = watches.trailing_zeros() as usize;
            watches &= watches - 1;
            let Some((_, plain)) = self.seats[seat].watch.get() else { continue };
            let outcome = self.at(seat, |level, side, number| level.arm_from(number, side, plain)).flatten();
            match outcome {
                Some(Armed::Yes(old)) => {
                    armed |= 1 << seat;
                    replaced.extend(old);
                }
                Some(Armed::BeingWoken) => {
                    wake(plain.waker());
                    found = true;
                }
                None => {} // it has left
            }
        }
        if !planted!("watches-armed-without-fence") {
            // ORDERING: pairs with the fence after a change: its thread sees the slot armed, or we see the change.
            fence(Ordering::SeqCst);
        }
        let mut watches = self.watches.replace(0);
        while watches != 0 {
            let seat = watches.trailing_zeros() as usize;
            watches &= watches - 1;
            let watch = self.seats[seat].watch.take();
            if armed & 1 << seat != 0
                && let Some((want, _)) = watch
                && !planted!("watches-armed-without-a-look")
                // Whoever is in the slot by now: it may have left since, and have armed the slot elsewhere.
                && let Some(waker) = self.at(seat, |level, side, _| level.take_if_ready(side, want)).flatten()
            {
                let plain = Plain::of(&waker).is_some();
                wake(waker);
                found |= plain;
            }
        }
        replaced.into_iter().for_each(|waker: Waker| {
            contain(|| drop(waker));
        });
        found
    }

    /// Gives up the seats of those that have left. For a thread that has nothing better to do.
    pub(crate) fn sweep(&self) {
        let mut taken = self.taken.get() & !self.notes.get();
        while taken != 0 {
            let seat = taken.trailing_zeros() as usize;
            taken &= taken - 1;
            self.vacate_if_left(seat);
        }
    }
}
