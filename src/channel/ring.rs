//! The memory of a channel: values in a circle of slots, oldest first.
//!
//! Knows: nothing of channels. Does not know: which of its slots are capacity and which are there for values on their
//! way.
//!
//! A large value is copied once on its way in and once on its way out: it is read from where the caller has it, and
//! written to where the caller wants it.
#![allow(
    unsafe_code,
    reason = "moves values between uninitialised slots and their callers without a copy in between"
)]

use core::mem::MaybeUninit;
use core::ptr;
use std::collections::{TryReserveError, VecDeque};

/// A queue of values in slots that are allocated beforehand.
///
/// ```text
///   slots   [ · · · v v v v · · ]       `len` slots from `head` on hold values, around the end and on from the start
///                   ▲       ▲
///                 head      head + len: the next to be filled
/// ```
pub(super) struct Ring<T> {
    slots: Vec<MaybeUninit<T>>,
    head: usize,
    len: usize,
}

impl<T> Ring<T> {
    /// An empty ring with that many slots.
    pub(super) fn try_new(slots: usize) -> Result<Self, TryReserveError> {
        Ok(Self { slots: allocate(slots)?, head: 0, len: 0 })
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more values there are slots for.
    #[inline]
    pub(super) fn vacant(&self) -> usize {
        self.slots.len() - self.len
    }

    /// Where the slots are, how many there are, and which of them is the head.
    pub(super) fn parts(&mut self) -> (*mut T, usize, usize) {
        (self.slots.as_mut_ptr().cast(), self.slots.len(), self.head)
    }

    /// Catches up with what was done to the [parts](Self::parts).
    ///
    /// # Safety
    /// `head` is below the number of slots, or 0, and exactly the first `len` slots from it on, around the end, hold
    /// values.
    pub(super) unsafe fn set(&mut self, head: usize, len: usize) {
        self.head = head;
        self.len = len;
    }

    /// Makes room for exactly `more` values beyond those that are there.
    ///
    /// # Panics
    /// If there is no memory for them.
    #[cold]
    pub(super) fn grow(&mut self, more: usize) {
        let wanted = self.len.checked_add(more).expect("more slots than can be counted");
        let mut grown: Vec<MaybeUninit<T>> = allocate(wanted).expect("no memory for a channel to grow");
        let (front, back) = self.halves();
        // SAFETY: (local) `grown` is other memory, and has room for `len` values; the two halves are all of them.
        unsafe {
            let to = grown.as_mut_ptr();
            ptr::copy_nonoverlapping(front.as_ptr(), to, front.len());
            ptr::copy_nonoverlapping(back.as_ptr(), to.add(front.len()), back.len());
        }
        self.slots = grown; // what was in the old slots has been moved
        self.head = 0;
    }

    /// The slots that hold values: up to the end, and from the start.
    fn halves(&self) -> (&[MaybeUninit<T>], &[MaybeUninit<T>]) {
        let first = self.len.min(self.slots.len() - self.head);
        (&self.slots[self.head..self.head + first], &self.slots[..self.len - first])
    }

    /// The slot `distance` after the head; at most once around.
    #[inline]
    fn slot(&mut self, distance: usize) -> *mut T {
        let slots = self.slots.len();
        let mut at = self.head + distance;
        if at >= slots {
            at -= slots;
        }
        // SAFETY: (local) `head` is below `slots` and `distance` at most `slots`, so `at` is below `slots`.
        unsafe { self.slots.as_mut_ptr().add(at).cast() }
    }

    /// Moves the value out of `from` to the tail; `false` if there is none in it. Without a vacant slot, it makes as many
    /// more as `more` says, at least one.
    ///
    /// # Panics
    /// If there is no memory for more slots.
    #[inline]
    pub(super) fn push_from(&mut self, from: &mut Option<T>, more: impl FnOnce() -> usize) -> bool {
        let Some(value) = from else { return false };
        if self.vacant() == 0 {
            self.grow(more().max(1));
        }
        let slot = self.slot(self.len);
        // SAFETY: (local) the slot is vacant; `from` is overwritten without a drop of the value that was moved out.
        unsafe {
            ptr::copy_nonoverlapping(value, slot, 1);
            ptr::write(from, None);
        }
        self.len += 1;
        true
    }

    /// Takes the oldest value.
    #[inline(always)]
    pub(super) fn pop_front(&mut self) -> Option<T> {
        self.pop_slot().map(Leaving::value)
    }

    /// The oldest value, still in its slot.
    #[inline(always)]
    pub(super) fn pop_slot(&mut self) -> Option<Leaving<'_, T>> {
        if self.is_empty() {
            return None;
        }
        let next = self.head + 1;
        let head = core::mem::replace(&mut self.head, if next == self.slots.len() { 0 } else { next });
        self.len -= 1;
        // SAFETY: (local) the head is below the number of slots, as long as there is any.
        Some(Leaving(unsafe { self.slots.get_unchecked(head) }))
    }

    /// Counts the first `count` slots as vacant: their values have been moved out.
    #[inline]
    fn skip(&mut self, count: usize) {
        self.head += count;
        if self.head >= self.slots.len() {
            self.head -= self.slots.len();
        }
        self.len -= count;
    }

    /// Moves the first `count` of `from` to the tail. There are that many, and as many vacant slots.
    pub(super) fn push_many(&mut self, from: &mut VecDeque<T>, count: usize) {
        assert!(count <= self.vacant() && count <= from.len(), "a batch larger than its room");
        for value in from.drain(..count) {
            let slot = self.slot(self.len);
            // SAFETY: (local) vacant, as asserted.
            unsafe { slot.write(value) };
            self.len += 1;
        }
    }

    /// Moves the first `count` values to the end of `to`. There are that many.
    pub(super) fn pop_many(&mut self, to: &mut Vec<T>, count: usize) {
        assert!(count <= self.len, "more values than there are");
        to.reserve(count);
        let first = count.min(self.slots.len() - self.head);
        // SAFETY: (local) `count` slots from the head on hold values; `to` has room for them, and is other memory. They
        // are counted as vacant before anybody can look.
        unsafe {
            let end = to.as_mut_ptr().add(to.len());
            ptr::copy_nonoverlapping(self.slots.as_ptr().add(self.head).cast::<T>(), end, first);
            ptr::copy_nonoverlapping(self.slots.as_ptr().cast::<T>(), end.add(first), count - first);
            to.set_len(to.len() + count);
        }
        self.skip(count);
    }
}

/// A value whose slot counts as vacant already. Where a large value goes is decided by who takes it out: handed on from
/// function to function it would be copied by most of them.
#[must_use = "the value is lost"]
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    reason = "public only as far as a sealed trait names it"
)]
pub struct Leaving<'a, T>(&'a MaybeUninit<T>);

impl<T> Leaving<'_, T> {
    /// Of a slot among the [parts](Ring::parts) of a ring.
    ///
    /// # Safety
    /// The slot holds a value, which nobody else takes out, and nobody fills it again before this is gone.
    #[inline(always)]
    pub(super) unsafe fn of(slot: *const T) -> Self {
        // SAFETY: (local) a slot of a ring, by this function's contract.
        Self(unsafe { &*slot.cast() })
    }

    /// The value. To be put where it belongs at once, before anything is written to memory.
    #[inline(always)] // by value through registers: read back from memory in wider pieces than it was written, it stalls
    pub(super) fn value(self) -> T {
        // SAFETY: (local) made of a slot that held a value, which is read only here: `self` is used up.
        unsafe { self.0.assume_init_read() }
    }
}

/// A ring without slots: what is left of one that was taken.
impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), head: 0, len: 0 }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        while let Some(value) = self.pop_front() {
            drop(value);
        }
    }
}

fn allocate<T>(count: usize) -> Result<Vec<MaybeUninit<T>>, TryReserveError> {
    let mut slots = Vec::new();
    slots.try_reserve_exact(count)?;
    // SAFETY: (local) as many as were reserved, and `MaybeUninit` need not be initialised.
    unsafe { slots.set_len(count) };
    Ok(slots)
}

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn it_is_a_queue_that_goes_round_and_grows() {
        let (mut ring, mut model) = (Ring::try_new(3).unwrap(), VecDeque::new());
        for round in 0..100 {
            for n in 0..round % 7 {
                let value = Box::new(round * 10 + n);
                assert!(ring.push_from(&mut Some(value.clone()), || round % 3));
                model.push_back(value);
            }
            for _ in 0..round % 5 {
                assert_eq!(ring.pop_front(), model.pop_front());
            }
            assert_eq!((ring.len(), ring.is_empty()), (model.len(), model.is_empty()));
        }
        assert!(!ring.push_from(&mut None, || 0));
        assert!(ring.vacant() < 100);
    }

    #[test]
    fn batches_go_round_the_end() {
        let mut ring = Ring::try_new(5).unwrap();
        let (mut out, mut next) = (Vec::new(), 0..);
        for count in [3, 5, 1, 4, 0, 2, 5] {
            let mut values: VecDeque<_> = next.by_ref().take(count + 1).map(|n: i32| n.to_string()).collect();
            let kept = values.back().cloned();
            ring.push_many(&mut values, count);
            assert_eq!(values.pop_back(), kept);
            let before = out.len();
            ring.pop_many(&mut out, count);
            assert_eq!(out.len(), before + count);
            next = next.start - 1..;
        }
        assert!(out.iter().enumerate().all(|(at, value)| *value == at.to_string()), "{out:?}");
    }

    #[test]
    fn values_without_a_size_are_counted_and_dropped() {
        struct Zero<'a>(&'a Rc<()>);
        let alive = Rc::new(());
        let mut ring = Ring::<()>::try_new(usize::MAX / 2).unwrap();
        assert!(ring.push_from(&mut Some(()), || 1));
        assert_eq!((ring.len(), ring.pop_front(), ring.pop_front()), (1, Some(()), None));
        let mut ring = Ring::try_new(1).unwrap();
        for _ in 0..4 {
            ring.push_from(&mut Some((alive.clone(), Zero(&alive))), || 1);
        }
        assert_eq!(Rc::strong_count(&alive), 5);
        assert!(Rc::ptr_eq(ring.pop_front().unwrap().1.0, &alive));
        drop(ring);
        assert_eq!(Rc::strong_count(&alive), 1);
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        assert!(Ring::<u64>::try_new(usize::MAX / 8).is_err());
    }
}
