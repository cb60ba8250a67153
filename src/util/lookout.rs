//! What an executor does for those of its tasks that change levels or wait at them: it passes one fence for all changes
//! of a poll, and looks at levels itself before anybody has to be woken.
//!
//! Knows: levels, plain wakers. Does not know: executors, which call it at four places, and what the levels are of.
//!
//! Arming a wait slot at every empty poll makes two threads run in lockstep: one value, one wake. And a fence after every
//! push costs more than the push. So, where a lookout is installed:
//!
//! - a change only *notes* its level, and [`settle`](Lookout::settle), at the end of the poll, passes one fence and
//!   looks at the other side's slot of each level that was noted;
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
//! A side of a level takes one of a bounded number of seats at its first use here, and keeps it, so that a later use costs
//! a comparison. A seat holds the level. The level knows its seat: a side that has moved to another thread sits there or
//! nowhere, and what is left of it here arms nothing any more. Seats are given up when the side is gone, when it has
//! moved and the executor sleeps, or when another side needs one; with all seats in use the side does without: it fences
//! and arms at once.
#![allow(unsafe_code, reason = "a thread-local pointer to what the executor installed")]

use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::task::Waker;

use super::barrier;
use super::contain::contain;
use super::executor;
use super::level::{Level, NOWHERE, Side, Want};
use super::plain::Plain;
use super::wait_slot::Armed;
use crate::sync::Arc;
use crate::sync::atomic::{Ordering, fence};

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

/// Says who looks for what is polled on this thread from now on, and returns who did before.
///
/// # Safety
///
/// It stays at its place until another is installed.
pub(crate) unsafe fn install(lookout: Option<NonNull<Lookout>>) -> Option<NonNull<Lookout>> {
    HERE.with(|here| here.replace(lookout))
}

#[inline]
fn with<R>(f: impl FnOnce(Option<&Lookout>) -> R) -> R {
    // SAFETY: (local) still in its place, as `install`'s caller promised; `f` cannot keep the reference.
    f(HERE.with(Cell::get).map(|lookout| unsafe { lookout.as_ref() }))
}

/// One side of a level, as the party on that side holds it.
pub(crate) struct Post {
    level: Arc<Level>,
    side: Side,
    /// Where it sat last, on whichever thread: right or wrong, the seat knows.
    last: u8,
}

/// What a wait came to.
#[must_use]
pub(crate) enum Wait {
    /// The waker will be called.
    Pending,
    /// What was waited for is there.
    Ready,
}

impl Post {
    pub(crate) fn new(level: Arc<Level>, side: Side) -> Self {
        Self { level, side, last: 0 }
    }

    #[inline]
    pub(crate) fn level(&self) -> &Level {
        &self.level
    }

    /// To be called after this side has changed the level. Returns whom to wake at once.
    ///
    /// After this returns, a close by the other side is seen by a look at the level, or that close saw the change.
    #[inline]
    pub(crate) fn changed(&mut self) -> Option<Waker> {
        with(|lookout| {
            if let Some(lookout) = lookout
                && let Some(seat) = lookout.seat_of(self)
            {
                let first = lookout.note(seat);
                if self.side == Side::Popper {
                    return None; // a pusher that waits for room can wait: there will be more at the end of this poll
                }
                barrier::light();
                // Whoever sleeps over there is woken right at the first value, and gets up while more are pushed.
                if first && self.other_waits() { self.take_other() } else { None }
            } else {
                // ORDERING: pairs with the fence between arming and looking.
                fence(Ordering::SeqCst);
                if self.other_waits() { self.take_other() } else { None }
            }
        })
    }

    #[inline]
    fn other_waits(&self) -> bool {
        self.level.slot(self.side.other()).is_armed()
    }

    #[cold]
    fn take_other(&self) -> Option<Waker> {
        self.level.slot(self.side.other()).take()
    }

    /// The same for a change that is rare and the last: fences here and now.
    pub(crate) fn closed(&self) -> Option<Waker> {
        // ORDERING: pairs with the fence between arming and looking.
        fence(Ordering::SeqCst);
        if cfg!(millstream_bug = "close-wakes-nobody") { None } else { self.take_other() }
    }

    /// Waits: the waker is called once what is wanted is there, unless it is there now. `wake` gets wakers to call and
    /// `discard` such to drop: either may run the user's code.
    pub(crate) fn wait(&mut self, want: Want, waker: &Waker, wake: fn(Waker), discard: fn(Waker)) -> Wait {
        let plain = Plain::of(waker);
        let watched = with(|lookout| {
            let lookout = lookout?;
            match plain {
                Some(plain) => lookout.watch(self, want, plain, discard),
                None => {
                    // Somebody else polls here, inside a task, and may block this thread before the poll ends.
                    lookout.settle(wake);
                    executor::about_to_wait(waker);
                    lookout.unwatch(self);
                    None
                }
            }
        });
        if watched.is_some() {
            return Wait::Pending;
        }
        self.arm(want, waker, plain, discard)
    }

    #[inline(never)]
    fn arm(&mut self, want: Want, waker: &Waker, plain: Option<Plain>, discard: fn(Waker)) -> Wait {
        if self.level.seat(self.side) != NOWHERE {
            self.level.sit(self.side, NOWHERE); // from here on nobody arms but us
        }
        match self.level.slot(self.side).arm(waker, plain) {
            Armed::Yes(old) => old.into_iter().for_each(discard),
            Armed::BeingWoken => {
                waker.wake_by_ref();
                #[cfg(millstream_loom)] // the thread that wakes has to get on
                crate::sync::thread::yield_now();
                return Wait::Pending;
            }
        }
        if !cfg!(millstream_bug = "arms-without-fence") {
            // ORDERING: pairs with the fence after a change: its thread sees the slot armed, or we see the change.
            fence(Ordering::SeqCst);
        }
        if self.level.is_ready(self.side, want) && !cfg!(millstream_bug = "arms-without-a-look") {
            self.level.slot(self.side).take().into_iter().for_each(discard);
            Wait::Ready
        } else {
            Wait::Pending
        }
    }

    /// Nobody waits on this side any more. Returns what is left of its waker.
    #[inline]
    pub(crate) fn stop_waiting(&mut self) -> Option<Waker> {
        with(|lookout| {
            if let Some(lookout) = lookout {
                lookout.unwatch(self);
            }
        });
        let slot = self.level.slot(self.side);
        if slot.is_armed() { slot.take() } else { None }
    }

    #[inline]
    fn key(&self) -> usize {
        key(&self.level, self.side)
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        if self.level.seat(self.side) != NOWHERE {
            self.level.sit(self.side, NOWHERE);
            with(|lookout| {
                if let Some(lookout) = lookout
                    && let Some(seat) = lookout.find(self)
                {
                    lookout.unwatch(self);
                    lookout.notes.set(lookout.notes.get() | 1 << seat); // settling gives the seat up
                }
            });
        }
        // Left by a wait that was given up without a word. Nobody arms the slot any more, so who drops the level last
        // runs no code of the user's.
        let slot = self.level.slot(self.side);
        if slot.is_armed()
            && let Some(waker) = slot.take()
        {
            contain(|| drop(waker));
        }
    }
}

/// One number for a side of a level. Levels are aligned to more than two bytes.
#[inline]
fn key(level: &Level, side: Side) -> usize {
    ptr::from_ref(level).addr() | side as usize
}

struct Seat {
    /// Whose it is; 0 is nobody's.
    key: Cell<usize>,
    level: Cell<Option<Arc<Level>>>,
    watch: Cell<Option<(Want, Plain)>>,
}

/// See the module. Aligned so that a seat's number fits below its address.
#[repr(align(128))]
pub(crate) struct Lookout {
    /// Seats that are noted.
    notes: Cell<u64>,
    /// Seats that are watched.
    watches: Cell<u64>,
    /// Seats that are taken.
    taken: Cell<u64>,
    /// The seat to be given away next.
    next: Cell<u32>,
    seats: [Seat; SEATS],
}

impl Lookout {
    pub(crate) fn new() -> Self {
        let seat = || Seat { key: Cell::new(0), level: Cell::new(None), watch: Cell::new(None) };
        Self {
            notes: Cell::new(0),
            watches: Cell::new(0),
            taken: Cell::new(0),
            next: Cell::new(0),
            seats: core::array::from_fn(|_| seat()),
        }
    }

    // ---- seats ----

    /// What a level knows a seat by: even, and not `NOWHERE`.
    fn number(&self, seat: usize) -> usize {
        ptr::from_ref(self).addr() | seat << 1
    }

    #[inline]
    fn find(&self, post: &Post) -> Option<usize> {
        let last = usize::from(post.last) % SEATS;
        (self.seats[last].key.get() == post.key()).then_some(last)
    }

    /// The seat of this side, a new one if it has none here.
    #[inline]
    fn seat_of(&self, post: &mut Post) -> Option<usize> {
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
        self.seats[seat].key.set(post.key());
        self.seats[seat].level.set(Some(post.level.clone()));
        self.taken.set(self.taken.get() | 1 << seat);
        post.last = seat as u8;
        post.level.sit(post.side, self.number(seat));
        Some(seat)
    }

    /// Gives a seat up. Whoever sat there finds out when it looks for it.
    fn vacate(&self, seat: usize) {
        self.seats[seat].key.set(0);
        self.seats[seat].watch.set(None);
        self.taken.set(self.taken.get() & !(1 << seat));
        drop(self.seats[seat].level.take()); // no code of the user's: both sides emptied their slots when they went
    }

    /// Calls `f` with the level of a seat that is taken. No user code in `f`.
    #[inline]
    fn at<R>(&self, seat: usize, f: impl FnOnce(&Arc<Level>, Side) -> R) -> Option<R> {
        let key = self.seats[seat].key.get();
        let side = if key & 1 == Side::Pusher as usize { Side::Pusher } else { Side::Popper };
        let level = self.seats[seat].level.take()?;
        let result = f(&level, side);
        self.seats[seat].level.set(Some(level));
        Some(result)
    }

    // ---- changes ----

    #[inline]
    pub(crate) fn has_notes(&self) -> bool {
        self.notes.get() != 0
    }

    /// Whether it is the first note of this seat since the last settling.
    #[inline]
    fn note(&self, seat: usize) -> bool {
        let notes = self.notes.get();
        self.notes.set(notes | 1 << seat);
        notes & 1 << seat == 0
    }

    /// Wakes whoever waits for what was changed since the last time. To be called after each poll that left notes, and
    /// before the thread waits for anything.
    #[cold]
    pub(crate) fn settle(&self, wake: impl Fn(Waker)) {
        if !cfg!(millstream_bug = "poll-ends-without-fence") {
            // ORDERING: pairs with the fence between arming and looking.
            fence(Ordering::SeqCst);
        }
        while self.has_notes() {
            let seat = self.notes.get().trailing_zeros() as usize;
            self.notes.set(self.notes.get() & !(1 << seat));
            let waker = self.at(seat, |level, side| self.waiter_across(level, side)).flatten();
            self.vacate_if_left(seat);
            if let Some(waker) = waker {
                let plain = Plain::of(&waker).is_some();
                wake(waker);
                if !plain {
                    fence(Ordering::SeqCst); // the user's code ran, and may have left more notes
                }
            }
        }
    }

    /// Who waits on the other side for what is there: with its slot armed, or watching from a seat of ours.
    fn waiter_across(&self, level: &Level, side: Side) -> Option<Waker> {
        let other = side.other();
        let slot = level.slot(other);
        if slot.is_armed() {
            // Not ready: it took everything there was, and armed after that.
            return level.take_if_ready(other, Want::Progress);
        }
        let seat = (level.seat(other) ^ ptr::from_ref(self).addr()) >> 1;
        if seat < SEATS && self.seats[seat].key.get() == key(level, other) {
            let (want, plain) = self.seats[seat].watch.get()?;
            if level.is_ready(other, want) {
                self.end_watch(seat);
                return Some(plain.waker());
            }
        }
        None
    }

    fn vacate_if_left(&self, seat: usize) {
        let left = self.at(seat, |level, side| level.seat(side) != self.number(seat));
        if left == Some(true) && (self.notes.get() | self.watches.get()) & 1 << seat == 0 {
            self.vacate(seat);
        }
    }

    // ---- waits ----

    #[inline]
    pub(crate) fn has_watches(&self) -> bool {
        self.watches.get() != 0
    }

    fn watch(&self, post: &mut Post, want: Want, plain: Plain, discard: fn(Waker)) -> Option<()> {
        let seat = self.seat_of(post)?;
        if post.level.seat(post.side) != self.number(seat) {
            post.level.sit(post.side, self.number(seat)); // it was elsewhere since
        }
        let slot = post.level.slot(post.side);
        if slot.is_armed() {
            // An earlier wait's. User code may run, which can take anything here, but not this post's seat's key.
            slot.take().into_iter().for_each(discard);
            if self.find(post) != Some(seat) {
                return None;
            }
        }
        self.seats[seat].watch.set(Some((want, plain)));
        self.watches.set(self.watches.get() | 1 << seat);
        Some(())
    }

    #[inline]
    fn unwatch(&self, post: &Post) {
        if let Some(seat) = self.find(post) {
            self.end_watch(seat);
        }
    }

    #[inline]
    fn end_watch(&self, seat: usize) {
        self.watches.set(self.watches.get() & !(1 << seat));
        self.seats[seat].watch.set(None);
    }

    /// Wakes whoever has what it waits for. Whether there was anybody.
    pub(crate) fn look(&self, wake: impl Fn(Waker)) -> bool {
        let mut found = false;
        let mut watches = self.watches.get();
        while watches != 0 {
            let seat = watches.trailing_zeros() as usize;
            watches &= watches - 1;
            if let Some((want, plain)) = self.seats[seat].watch.get()
                && self.at(seat, |level, side| level.is_ready(side, want)) == Some(true)
            {
                self.end_watch(seat);
                wake(plain.waker()); // plain: no code of the user's
                found = true;
            }
        }
        found
    }

    /// Arms the slots of all who wait, so that the thread may stop looking; who is ready all the same is woken. Whether
    /// there was anybody.
    #[cold]
    pub(crate) fn arm(&self, wake: impl Fn(Waker)) -> bool {
        let mut found = false;
        let mut armed = 0_u64;
        // Who left a watch had emptied its slot, so this stays empty and allocates nothing.
        let mut replaced = Vec::new();
        let mut watches = self.watches.get();
        while watches != 0 {
            let seat = watches.trailing_zeros() as usize;
            watches &= watches - 1;
            let Some((_, plain)) = self.seats[seat].watch.get() else { continue };
            let outcome =
                self.at(seat, |level, side| level.arm_from(self.number(seat), side, plain)).flatten();
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
        if !cfg!(millstream_bug = "watches-armed-without-fence") {
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
                && !cfg!(millstream_bug = "watches-armed-without-a-look")
                // Whoever is in the slot by now: it may have left since, and have armed the slot elsewhere.
                && let Some(waker) = self.at(seat, |level, side| level.take_if_ready(side, want)).flatten()
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
