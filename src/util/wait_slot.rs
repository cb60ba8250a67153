//! Who waits, for one waiter at a time: a word that a waker fits into if it is a number, with a place beside it for one
//! that is not.
//!
//! Knows: `sync`, plain wakers. Does not know: what is waited for.
//!
//! One party *arms* the slot, any number of others *take* what is in it; each arming is taken once at most. Nothing is
//! allocated.
//!
//! ```text
//!            arm, a plain waker                    take
//!   NOBODY ─────────────────────▶ its number ──────────────────▶ NOBODY, and wake it
//!     │ ▲                                           take
//!     │ └── disarmed to replace it ── STORED ─────▶ BUSY ──────▶ NOBODY, and wake what was stored
//!     │      arm, any other waker       ▲          (the cell belongs to whoever made it BUSY)
//!     └─────────────────────────────────┘
//! ```
//!
//! In NOBODY and under a number the cell belongs to the party that arms. A slot that is armed while it is BUSY is being
//! woken at that very moment; the arming says so and does nothing.
#![allow(unsafe_code, reason = "a cell that a state word guards")]

use core::ptr;
use core::task::{RawWakerVTable, Waker};

use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::cell::UnsafeCell;
use crate::util::plain::Plain;

const NOBODY: u64 = u64::MAX;
const STORED: u64 = u64::MAX - 1;
const BUSY: u64 = u64::MAX - 2;

/// See the module.
pub(crate) struct WaitSlot {
    word: AtomicU64,
    /// Of every plain waker: there is one kind of them in a process.
    plain: AtomicPtr<RawWakerVTable>,
    cell: UnsafeCell<Option<Waker>>,
}

// SAFETY: (I5) wakers may go anywhere; `word` says who may touch the cell.
unsafe impl Send for WaitSlot {}
// SAFETY: (I5) as above.
unsafe impl Sync for WaitSlot {}

/// What came of an arming.
#[must_use]
pub(crate) enum Armed {
    /// The slot is armed; what it held before is for the caller to drop.
    Yes(Option<Waker>),
    /// A wake is under way: it was not armed, and the waiter counts as woken.
    BeingWoken,
}

impl WaitSlot {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(NOBODY),
            plain: AtomicPtr::new(ptr::null_mut()),
            cell: UnsafeCell::new(None),
        }
    }

    /// Whether somebody may be waiting. A plain load: what comes before it must be ordered by the caller.
    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        self.word.load(Ordering::Relaxed) != NOBODY
    }

    /// Arms the slot; the caller is the only one to do so at this time. Clones the waker if it is not plain, and must
    /// afterwards pass a `SeqCst` fence before it looks whether it has to wait at all.
    pub(crate) fn arm(&self, waker: &Waker, plain: Option<Plain>) -> Armed {
        match plain.and_then(|plain| Some((number(plain)?, plain))) {
            Some((number, plain)) => self.arm_plain(number, plain),
            None => self.arm_stored(waker),
        }
    }

    /// As [`arm`](Self::arm), for a waker that is plain.
    pub(crate) fn arm_with(&self, plain: Plain) -> Armed {
        match number(plain) {
            Some(number) => self.arm_plain(number, plain),
            None => self.arm_stored(&plain.waker()),
        }
    }

    fn arm_plain(&self, number: u64, plain: Plain) -> Armed {
        let Ok(old) = self.clear() else { return Armed::BeingWoken };
        self.plain.store(ptr::from_ref(plain.vtable()).cast_mut(), Ordering::Relaxed);
        // ORDERING: pairs with the exchange in `take`, which then sees `plain`.
        self.word.store(number, Ordering::Release);
        Armed::Yes(old)
    }

    fn arm_stored(&self, waker: &Waker) -> Armed {
        let Ok(old) = self.clear() else { return Armed::BeingWoken };
        let (stored, old) = match old {
            Some(old) if old.will_wake(waker) => (old, None),
            old => (waker.clone(), old), // the user's code runs here: the slot is NOBODY, nothing is held
        };
        // SAFETY: (I5) NOBODY, and the caller alone arms: the cell is its.
        self.cell.with_mut(|cell| unsafe { *cell = Some(stored) });
        // ORDERING: pairs with the exchange in `take`.
        self.word.store(STORED, Ordering::Release);
        Armed::Yes(old)
    }

    /// Brings the slot to NOBODY, and what was stored out of it.
    fn clear(&self) -> Result<Option<Waker>, ()> {
        loop {
            match self.word.load(Ordering::Acquire) {
                NOBODY => return Ok(None),
                BUSY if planted!("arms-while-it-is-woken") => return Ok(None),
                BUSY => return Err(()),
                STORED => {
                    if let Some(stored) = self.take_stored() {
                        return Ok(Some(stored));
                    }
                }
                number => {
                    let _ = self.word.compare_exchange(number, NOBODY, Ordering::AcqRel, Ordering::Relaxed);
                }
            }
        }
    }

    /// Takes the waker out, for the caller to wake: outside of any lock, it may be the user's code.
    pub(crate) fn take(&self) -> Option<Waker> {
        loop {
            match self.word.load(Ordering::Relaxed) {
                NOBODY | BUSY => return None,
                STORED => {
                    if let Some(stored) = self.take_stored() {
                        return Some(stored);
                    }
                }
                number => {
                    // ORDERING: pairs with the store in `arm_plain`.
                    if self.word.compare_exchange(number, NOBODY, Ordering::AcqRel, Ordering::Relaxed).is_ok()
                    {
                        let vtable = self.plain.load(Ordering::Relaxed);
                        // SAFETY: (I5) stored by `arm_plain` with this number, from a `Plain`.
                        return Some(unsafe { Plain::from_parts(number, &*vtable) }.waker());
                    }
                }
            }
        }
    }

    fn take_stored(&self) -> Option<Waker> {
        // ORDERING: pairs with the store in `arm_stored`.
        self.word.compare_exchange(STORED, BUSY, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        // SAFETY: (I5) BUSY by our exchange: the cell is ours until the store below.
        let stored = self.cell.with_mut(|cell| unsafe { (*cell).take() });
        // ORDERING: pairs with the load in `clear`: who arms next finds the cell as we leave it.
        self.word.store(NOBODY, Ordering::Release);
        stored
    }
}

/// What a plain waker is in the word, unless it is one of the three values that mean something else.
fn number(plain: Plain) -> Option<u64> {
    Some(plain.number()).filter(|&number| number < BUSY)
}
