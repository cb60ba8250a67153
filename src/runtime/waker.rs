//! Wakers that are ids: a word that names a runtime and a task slot, not a pointer.
//!
//! Knows: the registry, the current core. Does not know: what a task is.
//!
//! Cloning and dropping one does nothing, so whoever stores wakers stores them for free, and one can be fired on any
//! thread at any time, also after its runtime is gone. An id that was reused causes a spurious poll at most.
#![allow(unsafe_code, reason = "a waker is built from a raw vtable")]

use std::ptr;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::context;
use super::registry;

/// Names a task slot of a runtime at one time. It fills the data word of a waker, on the 64-bit targets that there is a crate
/// for.
///
/// ```text
/// 63          40 39           24 23           0
/// | generation  | runtime index | slot         |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId(u64);

/// Generations wrap here.
#[cfg(test)]
pub(crate) const GENERATIONS: u32 = 1 << 24;

impl TaskId {
    /// The id of the first task in a slot.
    pub(crate) fn first(runtime: u16, slot: u32) -> Self {
        debug_assert!(slot < 1 << 24);
        Self(u64::from(runtime) << 24 | u64::from(slot))
    }

    /// The id of the next task in the same slot.
    #[inline]
    pub(crate) fn next(self) -> Self {
        Self(self.0.wrapping_add(1 << 40))
    }

    #[cfg(test)]
    pub(crate) fn new(runtime: u16, generation: u32, slot: u32) -> Self {
        debug_assert!(generation < GENERATIONS);
        Self(u64::from(generation) << 40 | Self::first(runtime, slot).0)
    }

    #[inline]
    pub(crate) fn runtime(self) -> u16 {
        (self.0 >> 24) as u16
    }

    #[inline]
    pub(crate) fn slot(self) -> u32 {
        self.0 as u32 & 0x00FF_FFFF
    }

    /// The waker that carries this id.
    #[inline]
    pub(crate) fn waker(self) -> Waker {
        // SAFETY: the functions of `VTABLE` never follow the data word, so any value upholds the waker's contract on
        // any thread.
        unsafe { Waker::new(ptr::without_provenance(self.0 as usize), &VTABLE) }
    }

    /// The id in a waker of ours, of whichever runtime; `None` for any other waker.
    #[inline]
    pub(crate) fn of(waker: &Waker) -> Option<Self> {
        ptr::eq(waker.vtable(), &raw const VTABLE).then(|| Self(waker.data().addr() as u64))
    }

    /// The id in a waker that is known to be one of ours.
    #[inline]
    pub(super) fn in_waker(waker: &Waker) -> Self {
        debug_assert!(ptr::eq(waker.vtable(), &raw const VTABLE), "a waker of somebody else's holds no id");
        Self(waker.data().addr() as u64)
    }

    /// Wakes the task: onto the run queue of the runtime that runs on this thread, or through the registry.
    #[inline]
    pub(crate) fn wake(self) {
        context::with(|core| match core {
            Some(core) => core.wake_task(self),
            None => self.wake_remote(),
        });
    }

    /// Wakes a task of a runtime that does not run on this thread.
    #[cold]
    pub(crate) fn wake_remote(self) {
        if let Some(entry) = registry::entry(self.runtime()) {
            entry.wake(self.slot());
        }
    }
}

/// A clone, if it is one of ours, so that making it runs nobody's code.
#[inline]
pub(crate) fn copy(waker: &Waker) -> Option<Waker> {
    TaskId::of(waker).map(TaskId::waker)
}

/// A clone, without a call through the vtable when it is one of ours.
#[inline]
pub(crate) fn duplicate(waker: &Waker) -> Waker {
    copy(waker).unwrap_or_else(|| waker.clone())
}

/// Of every waker that carries an id: it owns nothing.
pub(super) static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, drop);

fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

fn wake(data: *const ()) {
    TaskId(data.addr() as u64).wake();
}

fn drop(_: *const ()) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_the_way_through_a_waker() {
        let id = TaskId::new(0xFEDC, 0xABCDEF, 0x123456);
        let waker = id.waker();
        let copy = waker.clone();
        assert!(waker.will_wake(&copy));
        assert_eq!(TaskId::of(&copy), Some(id));
        assert_eq!((id.runtime(), id.slot()), (0xFEDC, 0x123456));
    }

    #[test]
    fn the_next_id_differs_in_its_generation_and_wraps() {
        let id = TaskId::new(0xFEDC, GENERATIONS - 2, 0x123456);
        assert_eq!(id.next(), TaskId::new(0xFEDC, GENERATIONS - 1, 0x123456));
        assert_eq!(id.next().next(), TaskId::first(0xFEDC, 0x123456));
    }

    #[test]
    fn a_foreign_waker_is_not_looked_into() {
        assert_eq!(TaskId::of(Waker::noop()), None);
    }

    #[test]
    fn an_id_of_a_runtime_that_never_was_wakes_nobody() {
        TaskId::new(u16::MAX, 7, 7).waker().wake();
    }
}
