//! Both sides as one: who has this has the engine.
//!
//! Knows: the sides, the engine, the lock. Does not know: waiters, endpoints, futures.
#![allow(unsafe_code, reason = "the engine is behind locks that hold no reference to it")]

use core::ops::{Deref, DerefMut};

use super::{PopTerms, PushTerms, Sides};
use crate::channel::engine::Engine;
use crate::channel::lock::{Kept, Lock};
use crate::sync::atomic::Ordering;

/// Has the engine.
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    reason = "public only as far as a sealed trait names it"
)]
pub struct Guard<'a, T> {
    pub(super) sides: &'a Sides<T>,
    pub(super) pushes: Kept<'a, PushTerms<T>>,
    /// There in a channel with two sides.
    pub(super) pops: Kept<'a, PopTerms<T>>,
}

impl<T> Guard<'_, T> {
    /// Takes the pops' lock, too, and enters what the sides did.
    #[inline(never)]
    pub(super) fn unite(&mut self) {
        let sides = self.sides;
        let pops = sides.lock_pops();
        if !sides.is_shut() {
            // SAFETY: (I3) both locks are held, and there were terms, which the sides kept to.
            unsafe { (*sides.engine.0.get()).unite(pops.at, sides.free() + pops.assigned, pops.assigned) };
        }
        self.pops = Lock::keep(pops);
    }

    /// Makes new terms, or none where that is cheaper: as long as somebody waits they permit next to nothing, and who has
    /// both locks as his own has the engine for the asking.
    #[inline(never)]
    fn divide(&mut self) {
        let sides = self.sides;
        if sides.pushes.0.lock.is_own(&self.pushes)
            && sides.pops.0.lock.is_own(&self.pops)
            && self.somebody_waits()
        {
            return self.shut();
        }
        // SAFETY: (I3) both locks are held, and no other reference to what they protect is alive.
        let (engine, pushes, pops) = unsafe {
            (
                &mut *sides.engine.0.get(),
                sides.pushes.0.lock.inside(&mut self.pushes),
                sides.pops.0.lock.inside(&mut self.pops),
            )
        };
        let half = sides.capacity / 2;
        let terms = engine.divide();
        let free = terms.len - terms.assigned;

        pops.slots = terms.slots;
        pops.count = terms.count;
        pops.at = terms.head;
        pops.values = if terms.pops { free.min(half) } else { 0 };
        pops.assigned = terms.assigned;
        pops.pops = terms.pops;
        pops.counted_pops = terms.counted_pops;
        pops.nobody_waits = terms.nobody_waits;
        pops.owes = pops.values > 0;
        if sides.is_shut() {
            sides.set_shut(false);
        }

        pushes.slots = terms.slots;
        pushes.count = terms.count;
        pushes.at = terms.tail;
        pushes.limit = terms.limit;
        pushes.room = terms.limit.saturating_sub(free).min(half);
        pushes.owes = pushes.room > 0;

        // ORDERING: both locks are held; who looks without one may see any number.
        let tail = sides.pushes.0.tail.0.load(Ordering::Relaxed);
        sides.pops.0.taken.0.store(tail.wrapping_sub(free), Ordering::Relaxed);
    }

    /// Makes terms that permit nothing, and leaves the ring to the engine.
    fn shut(&mut self) {
        let sides = self.sides;
        // SAFETY: (I3) both locks are held, and no other reference to what they protect is alive.
        let (pushes, pops) = unsafe {
            (sides.pushes.0.lock.inside(&mut self.pushes), sides.pops.0.lock.inside(&mut self.pops))
        };
        if !sides.is_shut() {
            (pops.values, pops.assigned) = (0, 0);
            (pops.pops, pops.counted_pops, pops.nobody_waits, pops.owes) = (false, false, false, false);
            (pushes.room, pushes.limit, pushes.owes) = (0, 0, false);
            sides.set_shut(true);
        }
        // ORDERING: as in `divide`.
        let tail = sides.pushes.0.tail.0.load(Ordering::Relaxed);
        sides.pops.0.taken.0.store(tail.wrapping_sub(self.free()), Ordering::Relaxed);
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = Engine<T>;

    #[inline]
    fn deref(&self) -> &Engine<T> {
        // SAFETY: (I3) all locks that there are, are held.
        unsafe { &*self.sides.engine.0.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Engine<T> {
        // SAFETY: (I3) as in `deref`, and the guard is borrowed exclusively.
        unsafe { &mut *self.sides.engine.0.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let divided = self.sides.divided;
        if divided {
            self.divide();
        }
        // SAFETY: (I3) held until here, each by this guard alone.
        unsafe {
            if divided {
                self.sides.pops.0.lock.release(&mut self.pops);
            }
            self.sides.pushes.0.lock.release(&mut self.pushes);
        }
    }
}
