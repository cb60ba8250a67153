//! The end of the ring that values come out at.
//!
//! Knows: levels and who waits at them, slots. Does not know: futures, rendezvous, the other end.
#![allow(unsafe_code, reason = "empties the slots between what was popped and what was pushed")]

use super::slots::Slots;
use crate::channel::error::TryPopError;
use crate::channel::ring::Leaving;
use crate::channel::wake::{contain, wake_now};
use crate::sync::{Arc, hint};
use crate::util::level::{FIRST, Level, Side, Want};
use crate::util::post::Post;

/// What the popper's side knows. The slots from its head on, `filled` of them, are filled and its own.
pub(super) struct Head<T> {
    post: Post,
    slots: Slots<T>,
    /// How many values were popped, counted from [`FIRST`].
    head: usize,
    /// The slot of the next one.
    at: usize,
    /// How many come out without another look at the tail.
    filled: usize,
    /// Nothing will come after those.
    last: bool,
    /// The last look that a pop took found few.
    found_few: bool,
}

/// Channels with fewer slots are not worth a pause: who pushes would have filled them by the end of it.
const ROOMY: usize = 32;
/// How long a popper that caught up leaves the other side alone: some hundred nanoseconds.
const PAUSES: u32 = 8;

impl<T> Head<T> {
    pub(super) fn new(level: Arc<Level>, slots: Slots<T>) -> Self {
        Self {
            post: Post::new(level, Side::Popper),
            slots,
            head: FIRST,
            at: 0,
            filled: 0,
            last: false,
            found_few: false,
        }
    }

    #[inline]
    pub(super) fn level(&self) -> &Level {
        self.post.level()
    }

    #[inline]
    pub(super) fn post(&mut self) -> &mut Post {
        &mut self.post
    }

    pub(super) fn len(&self) -> usize {
        if self.last { self.filled } else { self.level().tail().wrapping_sub(self.head) }
    }

    /// Whether nothing will ever come out again.
    pub(super) fn has_ended(&self) -> bool {
        self.filled == 0 && (self.last || (self.level().is_closed() && self.len() == 0))
    }

    /// How many values may be popped, as many as `wanted` if possible; 0 is none.
    #[inline]
    pub(super) fn filled(&mut self, wanted: usize) -> usize {
        if self.filled < wanted {
            self.look();
        }
        self.filled
    }

    fn look(&mut self) {
        if self.last {
            return;
        }
        self.filled = self.len();
        if self.filled == 0 && self.level().is_closed() {
            // By the pusher, since otherwise `last` would be set: the tail is its last, which we may have missed above.
            if !planted!("ends-at-the-first-look") {
                self.filled = self.len();
            }
            self.last = true;
        }
    }

    /// Whether a pop would not have to wait, at a look that changes nothing.
    #[inline]
    pub(super) fn looks_ready(&self) -> bool {
        self.filled != 0 || self.last || self.level().is_ready(Side::Popper, Want::Progress)
    }

    /// Whether a pop has not to wait.
    #[inline]
    pub(super) fn is_ready(&mut self) -> bool {
        if self.filled == 0 {
            self.look();
            self.lag_behind();
        }
        self.filled != 0 || self.last
    }

    /// Leaves the pusher a moment when two looks in a row found a few values.
    ///
    /// A popper that is the faster of the two would otherwise look for every value, and each look takes the tail's cache
    /// line away from who is about to write it: both would go at the pace at which that travels. A wait, which is long
    /// enough, begins with a look that finds none, and is not followed by a pause.
    #[inline]
    fn lag_behind(&mut self) {
        let few = (1..self.level().capacity() / 4).contains(&self.filled);
        if few && self.found_few && self.level().capacity() >= ROOMY && self.post.is_far_from_other() {
            (0..PAUSES).for_each(|_| hint::spin_loop());
            self.look();
        }
        self.found_few = few;
    }

    #[inline]
    pub(super) fn try_pop(&mut self) -> Result<T, TryPopError> {
        if self.filled(1) == 0 {
            return Err(self.why_not());
        }
        // SAFETY: (I3) there is a value, and it is taken on the next line.
        let (value, _published) = unsafe { self.pop() };
        Ok(value.value())
    }

    /// Whether a pop finds a value without another look.
    #[inline(always)]
    pub(super) fn has_value(&self) -> bool {
        self.filled != 0
    }

    /// Takes the next value. Its slot is given back when the second part is dropped: after the value was put where it
    /// belongs.
    ///
    /// # Safety
    ///
    /// There is [one](Self::has_value), and it is taken out of the first part before the second is dropped.
    #[inline(always)]
    pub(super) unsafe fn pop(&mut self) -> (Leaving<'_, T>, Published<'_>) {
        let at = self.advance();
        // SAFETY: (I3) by the contract the slot is filled and ours, until it is published that we counted past it.
        (unsafe { self.slots.leave(at) }, Published { post: &mut self.post, head: self.head })
    }

    /// Pops up to `max` values and appends them to `out`.
    pub(super) fn try_pop_many(&mut self, out: &mut Vec<T>, max: usize) -> Result<usize, TryPopError> {
        let most = self.filled(max.min(self.level().capacity())).min(max);
        if most == 0 {
            return if max == 0 { Ok(0) } else { Err(self.why_not()) };
        }
        out.reserve(most);
        for _ in 0..most {
            // SAFETY: (I3) there are so many values.
            out.push(unsafe { self.take() });
        }
        self.publish();
        Ok(most)
    }

    #[cold]
    fn why_not(&self) -> TryPopError {
        if self.last { TryPopError::Closed } else { TryPopError::Empty }
    }

    /// Takes the next value out of its slot, which `publish` gives back.
    ///
    /// # Safety
    ///
    /// There is one.
    #[inline]
    unsafe fn take(&mut self) -> T {
        let at = self.advance();
        // SAFETY: (I3) by the contract the slot is filled and ours; we counted past it.
        unsafe { self.slots.read(at) }
    }

    /// Counts past the next value, and returns the place of its slot.
    #[inline(always)]
    fn advance(&mut self) -> usize {
        let at = self.at;
        self.at = self.slots.after(at);
        self.head = self.head.wrapping_add(1);
        self.filled -= 1;
        at
    }

    #[inline(always)]
    fn publish(&mut self) {
        drop(Published { post: &mut self.post, head: self.head });
    }

    /// Closes the channel; `false` if it was closed.
    pub(super) fn close(&mut self) -> bool {
        if self.last {
            return false;
        }
        let (first, end) = self.level().close_by_popper();
        self.filled = end.wrapping_sub(self.head);
        self.last = true;
        if first && let Some(waker) = self.post.closed() {
            wake_now(waker);
        }
        first
    }
}

/// Gives back the slots of what was popped, when it is dropped.
#[must_use = "it is published when this is dropped"]
pub(super) struct Published<'a> {
    post: &'a mut Post,
    head: usize,
}

impl Drop for Published<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.post.level().set_head(self.head);
        if let Some(waker) = self.post.popped() {
            wake_now(waker);
        }
    }
}

impl<T> Drop for Head<T> {
    fn drop(&mut self) {
        if planted!("consumer-drains-before-it-closes") {
            self.filled = self.len();
        } else {
            self.close();
        }
        while self.filled > 0 {
            // SAFETY: (I3) there is a value.
            let value = unsafe { self.take() };
            contain(|| drop(value)); // the rest is dropped whatever this one does
        }
        self.level().set_head(self.head);
        if planted!("consumer-drains-before-it-closes") {
            self.close();
        }
        self.level().leave(Side::Popper);
    }
}
