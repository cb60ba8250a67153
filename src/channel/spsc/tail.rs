//! The end of the ring that values go in at.
//!
//! Knows: levels and who waits at them, slots. Does not know: futures, rendezvous, the other end.
#![allow(unsafe_code, reason = "fills the slots between what was pushed and what was popped")]

use std::collections::VecDeque;

use super::slots::Slots;
use crate::channel::error::TryPushError;
use crate::channel::wake::wake_now;
use crate::sync::Arc;
use crate::util::level::{FIRST, Level, Side, Want};
use crate::util::post::Post;

/// What the pusher's side knows. The slots from its tail on, `room` of them, are empty and its own.
pub(super) struct Tail<T> {
    post: Post,
    slots: Slots<T>,
    /// How many values were pushed, counted from [`FIRST`].
    tail: usize,
    /// The slot of the next one.
    at: usize,
    /// How many go in without another look at the head. None any more once the channel was seen to be closed.
    room: usize,
}

impl<T> Tail<T> {
    pub(super) fn new(level: Arc<Level>, slots: Slots<T>) -> Self {
        let room = level.capacity();
        Self { post: Post::new(level, Side::Pusher), slots, tail: FIRST, at: 0, room }
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
        self.tail.wrapping_sub(self.level().head())
    }

    /// How many values may be pushed, as many as `wanted` if possible; 0 is none.
    #[inline]
    pub(super) fn room(&mut self, wanted: usize) -> usize {
        if self.room < wanted {
            self.look();
        }
        self.room
    }

    fn look(&mut self) {
        self.room = if self.level().is_closed() { 0 } else { self.level().capacity() - self.len() };
    }

    /// Whether a push would not have to wait, at a look that changes nothing.
    #[inline]
    pub(super) fn looks_ready(&self) -> bool {
        self.room != 0 || self.level().is_ready(Side::Pusher, Want::Progress)
    }

    /// Whether a push has not to wait.
    #[inline]
    pub(super) fn is_ready(&mut self) -> bool {
        self.room(1) != 0 || self.level().is_closed()
    }

    #[inline]
    pub(super) fn try_push(&mut self, value: T) -> Result<(), TryPushError<T>> {
        if self.room(1) == 0 {
            return Err(self.why_not(value));
        }
        // SAFETY: (I3) there is room.
        unsafe { self.push(value) }.map_err(TryPushError::Closed)
    }

    #[cold]
    fn why_not(&self, value: T) -> TryPushError<T> {
        if self.level().is_closed() { TryPushError::Closed(value) } else { TryPushError::Full(value) }
    }

    /// Whether a push finds room without another look.
    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        self.room != 0
    }

    /// Pushes a value, or gives it back if the channel is closed.
    ///
    /// # Safety
    ///
    /// There is [room](Self::has_room).
    #[inline(always)]
    pub(super) unsafe fn push(&mut self, value: T) -> Result<(), T> {
        // SAFETY: (I3) there is room.
        unsafe { self.put(value) };
        if self.publish() == 0 {
            return Ok(());
        }
        // SAFETY: (I3) so many were put and are not in the channel.
        Err(unsafe { self.take_back() })
    }

    /// Pushes what there is room for, from the front, and says how much that was.
    pub(super) fn try_push_many(&mut self, values: &mut VecDeque<T>) -> Result<usize, TryPushError<()>> {
        if self.level().is_closed() {
            return if values.is_empty() { Ok(0) } else { Err(TryPushError::Closed(())) };
        }
        let most = self.room(values.len()).min(values.len());
        if most == 0 {
            return if values.is_empty() { Ok(0) } else { Err(TryPushError::Full(())) };
        }
        for value in values.drain(..most) {
            // SAFETY: (I3) there is room.
            unsafe { self.put(value) };
        }
        let back = self.publish();
        for _ in 0..back {
            // SAFETY: (I3) so many were put and are not in the channel.
            values.push_front(unsafe { self.take_back() });
        }
        if back == most { Err(TryPushError::Closed(())) } else { Ok(most - back) }
    }

    /// Puts a value into the next slot, for `publish` to push.
    ///
    /// # Safety
    ///
    /// There is room.
    #[inline]
    unsafe fn put(&mut self, value: T) {
        // SAFETY: (I3) by the contract the slot is empty and ours.
        unsafe { self.slots.write(self.at, value) };
        self.at = self.slots.after(self.at);
        self.tail = self.tail.wrapping_add(1);
        self.room -= 1;
    }

    /// Pushes what was put, and returns how many of the last values did not get in, because the popper closed the channel
    /// in this moment: they are to be taken back.
    #[inline(always)]
    fn publish(&mut self) -> usize {
        self.level().set_tail(self.tail);
        if let Some(waker) = self.post.pushed() {
            wake_now(waker);
        }
        if self.level().is_closed() { self.settle_with_close() } else { 0 }
    }

    #[cold]
    fn settle_with_close(&mut self) -> usize {
        self.room = 0;
        if planted!("a-late-push-counts") {
            return 0;
        }
        self.tail.wrapping_sub(self.level().decide(self.tail))
    }

    /// Takes the last value out again.
    ///
    /// # Safety
    ///
    /// It was put, and `publish` said that it did not get in.
    #[cold]
    unsafe fn take_back(&mut self) -> T {
        self.tail = self.tail.wrapping_sub(1);
        self.at = self.slots.before(self.at);
        self.level().set_tail(self.tail);
        // SAFETY: (I3) filled by `put`, and beyond the end, where the popper never looks.
        unsafe { self.slots.read(self.at) }
    }

    /// Closes the channel; `false` if it was closed.
    pub(super) fn close(&mut self) -> bool {
        self.room = 0; // a push would move the tail, which is the last from here on
        let first = self.level().close_by_pusher(self.tail);
        if first && let Some(waker) = self.post.closed() {
            wake_now(waker);
        }
        first
    }
}

impl<T> Drop for Tail<T> {
    fn drop(&mut self) {
        self.close();
        self.level().leave(Side::Pusher);
    }
}
