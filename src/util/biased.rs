//! A counted pointer whose count is a plain number on the thread of the runtime that uses it, and atomic elsewhere: an
//! atomic clone per op costs 4 % of a cached read.
//!
//! Knows: `sync`, and through [`Home`] which runtime runs here. Does not know: runtimes, descriptors, what it holds.
//!
//! The number of handles is always `local + shared`, and a message on its way to the owner is a handle.
//!
//! ```text
//! shared:  63           2   1        0            owner: 0, or for ever the runtime it was bound to
//!         |  count (±)   | QUEUED | MERGED |      local: belongs to whoever may say `here() == owner`
//!
//!            first clone on a runtime                  local reaches 0, or the owner is gone
//!  UNBOUND ---------------------------> BOUND ---------------------------------------------> MERGED
//!  MERGED set, local 0                  MERGED clear, local >= 1                MERGED set, local 0
//!  frees at shared 0                    | ^                                     frees at shared 0
//!            shared would fall below 0: | | the owner folds what is negative
//!            QUEUED, the handle becomes v | into `local` and drops the handle
//!            a message to the owner     QUEUED
//! ```
//!
//! While BOUND the count of `shared` may be negative: handles that the owner counted were dropped elsewhere. Nothing
//! can be freed then but by the owner, hence the message. It takes the place of the handle, so what it points to
//! cannot be freed while it is under way. QUEUED is also a lock: only its holder touches `local` of an owner that is
//! gone.
#![allow(unsafe_code, reason = "a counted pointer")]

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

#[cfg(millstream_loom)]
use loom::cell::Cell;
#[cfg(not(millstream_loom))]
use std::cell::Cell;

use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};

const MERGED: i64 = 1;
const QUEUED: i64 = 2;
const ONE: i64 = 4;

/// How many handles `shared` counts.
const fn count(shared: i64) -> i64 {
    shared >> 2
}

/// Where the count is plain.
///
/// # Safety
///
/// 1. `here` returns the same number, other than 0, on one thread only, also after the runtime is gone.
/// 2. `post` refuses only when `here` will never return `owner` again, and everything that thread did while it still
///    did happens before the refusal.
/// 3. A message that `post` accepts is settled once, on a thread where `here` returns `owner` or, after it has done
///    so for the last time, on any thread that this happens before. Nothing else is done with `local` then: it is not
///    settled within another call to this module.
/// 4. `thread` returns the same number on one thread only, and never 0.
pub(crate) unsafe trait Home: 'static {
    /// The runtime that runs on this thread, 0 if none.
    fn here() -> u64;

    /// This thread.
    fn thread() -> u64;

    /// Gives a message to a runtime, or back when that runtime is gone.
    fn post(owner: u64, message: Message) -> Result<(), Message>;
}

/// A handle dropped on the wrong thread, on its way to its owner.
#[must_use = "what it holds is released only when it is settled"]
#[derive(Debug)]
pub(crate) struct Message {
    inner: NonNull<()>,
    settle: unsafe fn(NonNull<()>, bool),
}

// SAFETY: (I5) it stands for a handle of a `Biased` whose value is `Send + Sync`: only those make one.
unsafe impl Send for Message {}

impl Message {
    /// Drops the handle, and what it held if it was the last. Runs that value's `Drop`: hold no lock.
    ///
    /// # Safety
    ///
    /// The caller is where clause 3 of [`Home`] wants it.
    pub(crate) unsafe fn settle(self) {
        // SAFETY: (I5) `inner` is what `settle` was made for; the caller may touch `local`.
        unsafe { (self.settle)(self.inner, false) };
    }

    /// As `settle`, for a message that `post` gave back.
    ///
    /// # Safety
    ///
    /// As clause 2 of [`Home`]: the owner is gone.
    unsafe fn settle_for_gone(self) {
        // SAFETY: (I5) `inner` is what `settle` was made for; this message holds QUEUED, so nobody else touches
        // `local`.
        unsafe { (self.settle)(self.inner, true) };
    }
}

struct Inner<T> {
    owner: AtomicU64,
    /// The owner's thread. Written before MERGED is cleared, read after it was seen clear.
    thread: AtomicU64,
    local: Cell<i64>,
    shared: AtomicI64,
    value: T,
}

impl<T> Inner<T> {
    /// Makes up in `local` for what is negative in `shared`, less `dropped` handles; clears QUEUED. With `gone`, and
    /// when nothing is left in `local`, it ends MERGED. Returns the new `shared`, or `None` when it was MERGED before.
    ///
    /// # Safety
    ///
    /// The caller may touch `local`, holds QUEUED, and has as many handles as it says are dropped.
    unsafe fn fold(&self, gone: bool, dropped: i64) -> Option<i64> {
        // ORDERING: Relaxed: the exchange acquires.
        let mut old = self.shared.load(Ordering::Relaxed);
        if old & MERGED != 0 {
            return None;
        }
        // MERGED is only ever set by who may touch `local`: it stays clear below.
        let local = self.local.get();
        loop {
            let handles = local + count(old) - dropped;
            let left = if gone { 0 } else { handles.min(local - dropped) };
            let new = ((handles - left) * ONE) | if left == 0 { MERGED } else { 0 };
            // Before QUEUED is cleared: of an owner that is gone, `local` goes to who sets it next.
            self.local.set(left);
            if planted!("fold-overwrites") {
                self.shared.store(new, Ordering::Release);
                return Some(new);
            }
            // ORDERING: Release gives `local` on to the next holder of QUEUED; Acquire pairs with the drops' Release.
            match self.shared.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(new),
                Err(now) => old = now,
            }
        }
    }
}

/// A counted pointer to a `T`: as `Arc`, but cheap to clone and drop on the runtime that cloned it first.
///
/// A handle that is dropped elsewhere while the owner is alive may be released only when the owner runs next.
pub(crate) struct Biased<T: Send + Sync + 'static, H: Home> {
    inner: NonNull<Inner<T>>,
    holds: PhantomData<(Inner<T>, H)>,
}

// SAFETY: (I5) the value is `Send + Sync`; `local` is touched only as drawn above.
unsafe impl<T: Send + Sync, H: Home> Send for Biased<T, H> {}
// SAFETY: (I5) as above.
unsafe impl<T: Send + Sync, H: Home> Sync for Biased<T, H> {}

impl<T: Send + Sync, H: Home> Biased<T, H> {
    /// The first handle, UNBOUND.
    pub(crate) fn new(value: T) -> Self {
        let inner = Box::new(Inner {
            owner: AtomicU64::new(0),
            thread: AtomicU64::new(0),
            local: Cell::new(0),
            shared: AtomicI64::new(ONE | MERGED),
            value,
        });
        Self { inner: NonNull::from(Box::leak(inner)), holds: PhantomData }
    }

    /// The value, if this is the only handle and this thread can know it: while BOUND only the owner's can.
    pub(crate) fn try_into_inner(self) -> Result<T, Self> {
        if !self.is_only() {
            return Err(self);
        }
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: (I5) no other handle is left, so nobody can make one, and this one is not dropped.
        Ok(unsafe { Box::from_raw(this.inner.as_ptr()) }.value)
    }

    /// Whether this is the only handle, as far as this thread can know.
    fn is_only(&self) -> bool {
        let inner = self.inner();
        // ORDERING: Acquire pairs with the Release of the drops that brought the count down to this, and with `bind`.
        let order = if planted!("only-without-acquire") { Ordering::Relaxed } else { Ordering::Acquire };
        let shared = inner.shared.load(order);
        if shared & MERGED != 0 {
            return count(shared) == 1;
        }
        if H::here() == inner.owner.load(Ordering::Relaxed) {
            return inner.local.get() + count(shared) == 1;
        }
        // The owner's own thread, outside of its loop: `local` is ours once we hold QUEUED, as in `escalate`.
        // ORDERING: Acquire takes `local` over from the last holder of QUEUED.
        let ours = inner.thread.load(Ordering::Relaxed) == H::thread()
            && shared & QUEUED == 0
            && inner
                .shared
                .compare_exchange(shared, shared | QUEUED, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        // SAFETY: (I5) this handle is alive, the caller holds QUEUED and is on the owner's thread.
        ours && unsafe { inner.fold(false, 0) }.is_some_and(|new| inner.local.get() + count(new) == 1)
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: (I5) this handle is counted, so `inner` has not been freed.
        unsafe { self.inner.as_ref() }
    }

    /// UNBOUND -> BOUND: moves this handle's own count to `local`. `false` when another runtime was first.
    #[cold]
    fn bind(&self, here: u64) -> bool {
        let inner = self.inner();
        // ORDERING: Relaxed: only the winner acts on it, and it is the winner's own thread.
        if inner.owner.compare_exchange(0, here, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return false;
        }
        inner.local.set(1);
        inner.thread.store(H::thread(), Ordering::Relaxed);
        // ORDERING: Release publishes `thread` and `local` to whoever sees MERGED clear.
        inner.shared.fetch_sub(ONE | MERGED, Ordering::AcqRel);
        true
    }

    /// Frees the value and the counts.
    ///
    /// # Safety
    ///
    /// The last handle is gone, and its drop, and every one before it, happens before this.
    unsafe fn free(inner: NonNull<Inner<T>>) {
        // SAFETY: (I5) made by `Box::leak`, and nobody is left who could reach it.
        drop(unsafe { Box::from_raw(inner.as_ptr()) });
    }

    /// Drops a handle that `shared` counts, or one that cannot reach `local`.
    ///
    /// # Safety
    ///
    /// `inner` is alive by a handle that the caller gives up.
    #[cold]
    unsafe fn drop_shared(inner: NonNull<Inner<T>>) {
        // SAFETY: (I5) alive by the caller's handle until the exchange below.
        let shared = unsafe { &inner.as_ref().shared };
        let mut old = shared.load(Ordering::Relaxed);
        let new = loop {
            let told = !planted!("owner-is-not-told");
            let queue = old & (MERGED | QUEUED) == 0 && count(old) <= 0 && told;
            let new = if queue { old | QUEUED } else { old - ONE };
            // ORDERING: Release pairs with the Acquire of whoever frees; Acquire with that of `bind` and `settle`.
            match shared.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if queue => break None,
                Ok(_) => break Some(new),
                Err(now) => old = now,
            }
        };
        match new {
            // SAFETY: (I5) the handle was not given up but is now the message's.
            None => unsafe { Self::escalate(inner) },
            Some(new) if new & MERGED != 0 && count(new) == 0 => {
                fence(Ordering::Acquire); // ORDERING: pairs with the Release of the drops before.
                // SAFETY: (I5) MERGED with a count of 0: no handle is left anywhere.
                unsafe { Self::free(inner) };
            }
            Some(_) => {}
        }
    }

    /// BOUND -> QUEUED: gives the handle to the owner, who alone can tell whether it was the last.
    ///
    /// # Safety
    ///
    /// The caller has set QUEUED and gives up a handle.
    unsafe fn escalate(inner: NonNull<Inner<T>>) {
        // SAFETY: (I5) alive by the caller's handle. Bound, since MERGED was clear.
        let (owner, thread) = unsafe {
            let inner = inner.as_ref();
            (inner.owner.load(Ordering::Relaxed), inner.thread.load(Ordering::Relaxed))
        };
        if thread == H::thread() {
            // The owner's own thread, outside of its loop. Waiting for the loop would keep the value for no reason.
            // SAFETY: (I5) if the owner is alive, `local` belongs to this thread; if not, to the holder of QUEUED.
            return unsafe { Self::settle(inner.cast(), false) };
        }
        let message = Message { inner: inner.cast(), settle: Self::settle };
        if let Err(message) = H::post(owner, message) {
            // SAFETY: (I5) refused, so the owner is gone.
            unsafe { message.settle_for_gone() };
        }
    }

    /// QUEUED -> BOUND or MERGED: drops the handle that set QUEUED.
    ///
    /// # Safety
    ///
    /// `inner` is an `Inner<T>`, alive by the handle that set QUEUED, and the caller may touch `local`.
    unsafe fn settle(inner: NonNull<()>, gone: bool) {
        let inner = inner.cast::<Inner<T>>();
        // SAFETY: (I5) alive by the handle the caller gives up; the caller may touch `local` and holds QUEUED.
        match unsafe { inner.as_ref().fold(gone, 1) } {
            // The owner's last handle went while the message was under way.
            // SAFETY: (I5) the handle is given up here and now.
            None => unsafe { Self::drop_shared(inner) },
            // SAFETY: (I5) MERGED with a count of 0: no handle is left anywhere; the exchange acquired their drops.
            Some(MERGED) => unsafe { Self::free(inner) },
            Some(_) => {}
        }
    }

    /// Drops the last handle that `local` counts.
    #[cold]
    fn drop_last_local(&mut self) {
        let inner = self.inner();
        inner.local.set(0);
        // ORDERING: Acquire pairs with the Release of drops elsewhere. Nothing there: nobody else has a handle, so the
        // read-modify-write can be saved.
        let order = if planted!("last-without-acquire") { Ordering::Relaxed } else { Ordering::Acquire };
        let last =
            inner.shared.load(order) == 0 || count(inner.shared.fetch_or(MERGED, Ordering::AcqRel)) == 0;
        if last {
            // SAFETY: (I5) `local` and `shared` are both 0, so no handle is left.
            unsafe { Self::free(self.inner) };
        }
    }
}

impl<T: Send + Sync, H: Home> Clone for Biased<T, H> {
    #[inline]
    fn clone(&self) -> Self {
        let inner = self.inner();
        let here = H::here();
        let owner = inner.owner.load(Ordering::Relaxed);
        // Of a MERGED one `local` is 0, for its owner too.
        let plain =
            here != 0 && ((owner == here && inner.local.get() > 0) || (owner == 0 && self.bind(here)));
        if plain {
            inner.local.set(inner.local.get() + 1);
        } else {
            // ORDERING: Relaxed as in `Arc`: the new handle comes from one that is alive.
            inner.shared.fetch_add(ONE, Ordering::Relaxed);
        }
        Self { inner: self.inner, holds: PhantomData }
    }
}

impl<T: Send + Sync, H: Home> Drop for Biased<T, H> {
    #[inline]
    fn drop(&mut self) {
        let inner = self.inner();
        let here = H::here();
        let local =
            if here != 0 && inner.owner.load(Ordering::Relaxed) == here { inner.local.get() } else { 0 };
        match local {
            // SAFETY: (I5) this handle is given up here and now.
            0 => unsafe { Self::drop_shared(self.inner) },
            1 => self.drop_last_local(),
            _ => inner.local.set(local - 1),
        }
    }
}

impl<T: Send + Sync, H: Home> Deref for Biased<T, H> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner().value
    }
}

#[cfg(test)]
mod tests;
