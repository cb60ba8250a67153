//! The memory that values lie in between the two ends.
//!
//! Knows: `sync`, the room in a level. Does not know: which slots are filled.
#![allow(unsafe_code, reason = "values are moved in and out of slots that two threads share")]

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::channel::ring::Leaving;
use crate::sync::Arc;
use crate::sync::cell::UnsafeCell;
use crate::util::level::Level;

type Slot<T> = UnsafeCell<MaybeUninit<T>>;

/// As many slots as the capacity says. Both ends hold it, and their level longer than it; it never drops a value.
pub(super) struct Slots<T> {
    /// Where the memory begins; it stays there.
    first: NonNull<Slot<T>>,
    _memory: Arc<Vec<Slot<T>>>,
    capacity: usize,
}

// SAFETY: (I5) values move from one end's thread to the other's, hence `T: Send`. Who may touch which slot when is what
// the callers of `write` and `read` promise.
unsafe impl<T: Send> Send for Slots<T> {}
// SAFETY: (I5) nothing can be done through `&Slots` but to make another one, and to call what is unsafe.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    /// In the level, if there is room for so few; else in memory of their own. `None` if there is none.
    pub(super) fn new(capacity: usize, level: &Level) -> Option<Self> {
        let mut memory = Vec::new();
        let first = match Layout::array::<Slot<T>>(capacity).ok().and_then(|layout| level.near(layout)) {
            Some(near) => near.cast(),
            None => {
                memory.try_reserve_exact(capacity).ok()?;
                #[cfg(not(millstream_loom))]
                // SAFETY: (local) reserved above, and a slot may hold anything.
                unsafe {
                    memory.set_len(capacity);
                }
                #[cfg(millstream_loom)] // whose cells know more than their value
                memory.resize_with(capacity, || Slot::new(MaybeUninit::uninit()));
                NonNull::from(memory.as_slice()).cast()
            }
        };
        Some(Self { first, _memory: Arc::new(memory), capacity })
    }

    /// The other end's.
    pub(super) fn share(&self) -> Self {
        Self { first: self.first, _memory: self._memory.clone(), capacity: self.capacity }
    }

    /// # Safety
    ///
    /// `at` is below the capacity.
    #[inline]
    unsafe fn slot(&self, at: usize) -> &Slot<T> {
        // SAFETY: (local) by the contract; `_memory` keeps it, or the level of the end that holds this.
        unsafe { self.first.add(at).as_ref() }
    }

    /// # Safety
    ///
    /// `at` is below the capacity; the slot is empty and nobody else's until the caller says otherwise.
    #[inline]
    pub(super) unsafe fn write(&self, at: usize, value: T) {
        // SAFETY: (I3) by the contract.
        unsafe { self.slot(at).with_mut(|slot| (*slot).write(value)) };
    }

    /// # Safety
    ///
    /// `at` is below the capacity; the slot is filled, its value is taken once, and it is nobody else's until the caller
    /// says otherwise.
    #[inline]
    pub(super) unsafe fn read(&self, at: usize) -> T {
        // SAFETY: (I3) by the contract.
        unsafe { self.slot(at).with(|slot| (*slot).assume_init_read()) }
    }

    /// As [`read`](Self::read), later: for whoever decides where the value goes.
    ///
    /// # Safety
    ///
    /// As for [`read`](Self::read), until what is returned is gone.
    #[inline(always)]
    pub(super) unsafe fn leave(&self, at: usize) -> Leaving<'_, T> {
        // SAFETY: (I3) by the contract.
        unsafe { self.slot(at).with(|slot| Leaving::of(slot.cast())) }
    }

    /// The place after `at`, at which the ring begins anew after the last.
    #[inline]
    pub(super) fn after(&self, at: usize) -> usize {
        if at + 1 == self.capacity { 0 } else { at + 1 }
    }

    /// The place before `at`.
    #[inline]
    pub(super) fn before(&self, at: usize) -> usize {
        if at == 0 { self.capacity - 1 } else { at - 1 }
    }
}
