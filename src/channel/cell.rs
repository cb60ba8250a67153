//! A place for a value that several ends may look at, while none of them holds the lock, and that is used again.
//!
//! Knows: `sync`, the allocator, that user code may panic. Does not know: channels.
#![allow(unsafe_code, reason = "a counted pointer whose last holder gets value and storage back")]

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use super::wake::contain;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::cell::UnsafeCell;

/// Storage and the count of those who hold it.
///
/// ```text
///            fill                share: +1, release: -1
///   Spare ─────────▶ Held ×1 ◀──────────────────────────▶ Held ×n
///     ▲                │
///     └────────────────┘ released by the last holder, who gets the value out
/// ```
///
/// It is what `Arc` is, except that the storage survives the value: a push that finds a spare place allocates nothing.
struct Node<T> {
    holders: AtomicUsize,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// A place without a value.
pub(super) struct Spare<T>(NonNull<Node<T>>);

/// One hold on a place with a value.
pub(super) struct Held<T>(NonNull<Node<T>>);

// SAFETY: (I5) owns memory without a `T` in it.
unsafe impl<T> Send for Spare<T> {}
// SAFETY: (I5) as above, and offers nothing through `&`.
unsafe impl<T> Sync for Spare<T> {}
// SAFETY: (I5) as for `Arc`: holds on several threads give `&T`, and the last one the `T`.
unsafe impl<T: Send + Sync> Send for Held<T> {}
// SAFETY: (I5) as above: `share` makes one from `&Held`.
unsafe impl<T: Send + Sync> Sync for Held<T> {}

impl<T> Spare<T> {
    /// Allocates a place.
    pub(super) fn new() -> Self {
        let node = Node { holders: AtomicUsize::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) };
        Self(NonNull::from(Box::leak(Box::new(node))))
    }

    /// Puts a value there.
    pub(super) fn fill(self, value: T) -> Held<T> {
        let node = self.0;
        core::mem::forget(self);
        // SAFETY: (local) a spare is the only one who knows the place.
        unsafe {
            node.as_ref().value.with_mut(|place| (*place).write(value));
            // ORDERING: nobody else sees the place before the `Held` is handed to them, by way of a lock.
            node.as_ref().holders.store(1, Ordering::Relaxed);
        }
        Held(node)
    }
}

impl<T> Drop for Spare<T> {
    fn drop(&mut self) {
        // SAFETY: (local) leaked in `new`; without a value, and nobody else's.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl<T> Held<T> {
    fn node(&self) -> &Node<T> {
        // SAFETY: (local) freed by nobody as long as somebody holds it.
        unsafe { self.0.as_ref() }
    }

    /// One more hold.
    pub(super) fn share(&self) -> Self {
        // ORDERING: made from one that exists, which keeps the value there. A hold belongs to an end or a call, so there
        // cannot be more than the counted pointers to the channel, whose count aborts first.
        self.node().holders.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }

    /// Calls `f` with the value.
    pub(super) fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        // SAFETY: (local) filled, and moved out by the last holder only.
        self.node().value.with(|place| f(unsafe { (*place).assume_init_ref() }))
    }

    /// Gives up the hold. The last one gets the value and the place.
    pub(super) fn release(self) -> Option<(T, Spare<T>)> {
        let node = self.0;
        core::mem::forget(self);
        // SAFETY: (local) held until the count says otherwise.
        let holders = unsafe { &node.as_ref().holders };
        // ORDERING: `Release` ends this holder's looking at the value; `Acquire` pairs with that of the others, so the
        // last one moves the value after all have looked. Whoever finds itself alone stays so, and need not count.
        let last =
            if planted!("cell-moves-before-all-have-looked") { Ordering::Relaxed } else { Ordering::AcqRel };
        if holders.load(Ordering::Acquire) != 1 && holders.fetch_sub(1, last) != 1 {
            return None;
        }
        // SAFETY: (local) the last holder: the value is there, and the place nobody else's.
        let value = unsafe { node.as_ref().value.with_mut(|place| (*place).assume_init_read()) };
        Some((value, Spare(node)))
    }

    /// As [`release`](Self::release) if nobody else holds it; keeps the hold otherwise.
    pub(super) fn release_if_last(self) -> Result<(T, Spare<T>), Self> {
        // ORDERING: pairs with the `Release` in `release`.
        if self.node().holders.load(Ordering::Acquire) != 1 {
            return Err(self);
        }
        match self.release() {
            Some(freed) => Ok(freed),
            None => unreachable!("the only hold was shared"),
        }
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        if let Some((value, _place)) = Self(self.0).release() {
            contain(|| drop(value));
        }
    }
}

#[cfg(all(test, millstream_loom))]
mod model {
    use super::Spare;
    use crate::sync::{Arc, thread};

    /// Two holders look and let go at once: `cell-moves-before-all-have-looked`.
    #[test]
    fn the_last_holder_moves_what_all_have_looked_at() {
        loom::model(|| {
            let value = Arc::new(7);
            let held = Spare::new().fill(value.clone());
            let other = held.share();
            let thread = thread::spawn(move || {
                assert_eq!(other.with(|value| **value), 7);
                other.release().map(|(value, _)| *value)
            });
            assert_eq!(held.with(|value| **value), 7);
            let here = held.release().map(|(value, _)| *value);
            let there = thread.join().unwrap();
            assert_eq!(here.is_some(), there.is_none());
            assert_eq!((Arc::strong_count(&value), here.or(there)), (1, Some(7)));
        });
    }
}
