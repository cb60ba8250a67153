//! One side of a level, as its party holds it: what it does after a change, and how it waits.
//!
//! Knows: levels, the lookout of this thread if there is one, plain wakers, whether this thread parks. Does not know: what is
//! counted.

use core::task::Waker;

use super::barrier;
use super::contain::contain;
use super::executor;
use super::level::{Level, NOWHERE, Side, Want};
use super::lookout::{UNSTAMPED, key, with};
use super::parking;
use super::plain::Plain;
use super::wait_slot::Armed;
use crate::sync::Arc;
use crate::sync::atomic::{Ordering, fence};

/// One side of a level, as the party on that side holds it.
pub(crate) struct Post {
    pub(super) level: Arc<Level>,
    pub(super) side: Side,
    /// Where it sat last, on whichever thread: right or wrong, the seat knows.
    pub(super) last: u8,
    /// The [stamp](super::lookout::Lookout::stamp) of the poll in which the lookout was told of a change last, if nothing
    /// more has to be done for the changes that follow it there.
    noted: u64,
    /// It waits [heavily](Level::wait_heavily).
    heavily: bool,
}

/// What a wait came to.
#[must_use]
pub(crate) enum Wait {
    /// The waker will be called. It may be remembered if it is plain.
    Pending(Option<Plain>),
    /// What was waited for is there.
    Ready,
}

impl Post {
    pub(crate) fn new(level: Arc<Level>, side: Side) -> Self {
        Self { level, side, last: 0, noted: UNSTAMPED, heavily: false }
    }

    #[inline]
    pub(crate) fn level(&self) -> &Level {
        &self.level
    }

    /// To be called after the pusher has changed the level. Returns whom to wake at once.
    ///
    /// After this returns, a close by the other side is seen by a look at the level, or that close saw the change.
    #[inline(always)]
    pub(crate) fn pushed(&mut self) -> Option<Waker> {
        if self.is_noted() {
            barrier::verified_light();
            return None;
        }
        self.changed()
    }

    /// To be called after the popper has changed the level. Returns whom to wake at once.
    #[inline(always)]
    pub(crate) fn popped(&mut self) -> Option<Waker> {
        if self.is_noted() { None } else { self.changed() }
    }

    /// Whether the end of this poll takes care of whatever changes.
    #[inline(always)]
    fn is_noted(&self) -> bool {
        with(|lookout| lookout.is_some_and(|lookout| lookout.stamp() == self.noted))
    }

    #[inline(never)]
    fn changed(&mut self) -> Option<Waker> {
        with(|lookout| {
            if let Some(lookout) = lookout
                && let Some(seat) = lookout.seat_of(self)
            {
                let first = lookout.note(seat);
                if self.side == Side::Popper {
                    self.noted = lookout.stamp();
                    return None; // a pusher that waits for room can wait: there will be more at the end of this poll
                }
                if barrier::works() == Some(true) {
                    self.noted = lookout.stamp();
                }
                barrier::light();
                // Whoever sleeps over there is woken right at the first value, and gets up while more are pushed.
                if first { self.other_to_wake() } else { None }
            } else {
                self.let_other_see();
                self.other_to_wake()
            }
        })
    }

    /// Either the other side sees the change when it looks, or its slot is armed when we do.
    #[inline]
    fn let_other_see(&self) {
        barrier::verified_light(); // if it waits heavily, that is known to be enough
        if !self.level.waits_heavily(self.side.other()) {
            // ORDERING: pairs with the fence between arming and looking.
            fence(Ordering::SeqCst);
        }
    }

    /// Whom a change of ours is news to. If the popper has closed the level, it is awake and knows what it will find; what
    /// it has left in its slot is of a wait that it gave up.
    fn other_to_wake(&self) -> Option<Waker> {
        let idle = self.side == Side::Pusher && self.level.is_closed();
        if self.other_waits() && !idle { self.take_other() } else { None }
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
        if planted!("close-wakes-nobody") { None } else { self.take_other() }
    }

    /// To be called on a thread that will park if it has to wait, before it changes the level or waits: while that is so, the
    /// other side need not pass a fence after each of its changes.
    #[inline]
    pub(crate) fn wait_heavily(&mut self) {
        if !self.heavily {
            self.begin_heavy_waits();
        }
    }

    #[cold]
    fn begin_heavy_waits(&mut self) {
        match barrier::works() {
            Some(true) => {
                self.heavily = true;
                self.level.wait_heavily(self.side);
            }
            Some(false) => {}
            None => barrier::prepare(),
        }
    }

    /// A lookout arms slots as it is used to.
    fn may_wait_heavily(&self) -> bool {
        parking::waits_here() && with(|lookout| lookout.is_none())
    }

    #[cold]
    fn end_heavy_waits(&mut self) {
        self.heavily = false;
        self.level.wait_lightly(self.side);
    }

    /// Waits: the waker is called once what is wanted is there, unless it is there now. `wake` gets wakers to call and
    /// `discard` such to drop: either may run the user's code.
    #[inline]
    pub(crate) fn wait(&mut self, want: Want, waker: &Waker, wake: fn(Waker), discard: fn(Waker)) -> Wait {
        if self.heavily && !self.may_wait_heavily() {
            self.end_heavy_waits();
        }
        let plain = Plain::of(waker);
        if let Some(plain) = plain
            && with(|lookout| lookout.is_some_and(|lookout| lookout.watch_again(self, want, plain)))
        {
            return Wait::Pending(Some(plain));
        }
        self.wait_anew(want, waker, plain, wake, discard)
    }

    #[inline(never)]
    fn wait_anew(
        &mut self,
        want: Want,
        waker: &Waker,
        plain: Option<Plain>,
        wake: fn(Waker),
        discard: fn(Waker),
    ) -> Wait {
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
            return Wait::Pending(plain);
        }
        self.arm(want, waker, plain, discard)
    }

    #[inline(never)]
    fn arm(&mut self, want: Want, waker: &Waker, plain: Option<Plain>, discard: fn(Waker)) -> Wait {
        self.sit(NOWHERE); // from here on nobody arms but us
        match self.level.slot(self.side).arm(waker, plain) {
            Armed::Yes(old) => old.into_iter().for_each(discard),
            Armed::BeingWoken => {
                waker.wake_by_ref();
                #[cfg(millstream_loom)] // the thread that wakes has to get on
                crate::sync::thread::yield_now();
                return Wait::Pending(plain);
            }
        }
        if self.heavily {
            if !planted!("waits-heavily-without-barrier") {
                barrier::heavy(); // pairs with `let_other_see`, as the fence below
            }
        } else if !planted!("arms-without-fence") {
            // ORDERING: pairs with the fence after a change: its thread sees the slot armed, or we see the change.
            fence(Ordering::SeqCst);
        }
        if self.level.is_ready(self.side, want) && !planted!("arms-without-a-look") {
            self.level.slot(self.side).take().into_iter().for_each(discard);
            Wait::Ready
        } else {
            Wait::Pending(plain)
        }
    }

    /// Moves to another seat, if it is another.
    #[inline]
    pub(super) fn sit(&self, seat: usize) {
        let before = self.level.seat(self.side);
        if before != seat {
            self.leave(before, seat);
        }
    }

    #[cold]
    fn leave(&self, before: usize, seat: usize) {
        self.level.sit(self.side, seat);
        let was_here = with(|lookout| lookout.is_some_and(|lookout| lookout.index(before).is_some()));
        if before != NOWHERE && !was_here {
            // ORDERING: pairs with the `light` barrier in `settle`: that thread sees that we have left, or we see what it
            // changed before.
            barrier::heavy();
        }
    }

    /// Whether an executor with a lookout on another thread polls the other side.
    pub(crate) fn is_far_from_other(&self) -> bool {
        let seat = self.level.seat(self.side.other());
        seat != NOWHERE && with(|lookout| lookout.is_none_or(|lookout| lookout.index(seat).is_none()))
    }

    /// Whether there is something left of a wait for [`stop_waiting`](Self::stop_waiting) to end: not if it was ended by a
    /// wake.
    #[inline]
    pub(crate) fn waits(&self) -> bool {
        with(|lookout| lookout.is_some_and(|lookout| lookout.is_watched(self)))
            || self.level.slot(self.side).is_armed()
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
    pub(super) fn key(&self) -> usize {
        key(&self.level, self.side)
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        if self.level.seat(self.side) != NOWHERE {
            self.level.sit(self.side, NOWHERE);
            with(|lookout| {
                if let Some(lookout) = lookout {
                    lookout.give_up(self);
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
