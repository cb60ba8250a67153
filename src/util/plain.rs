//! Wakers that own nothing: numbers that fit into one atomic word, and are copied and dropped for nothing.
//!
//! Knows: `Waker`, and through the hooks which wakers the runtime here vouches for. Does not know: what the numbers are.
#![allow(unsafe_code, reason = "builds wakers that their executor vouches for")]

use core::ptr;
use core::task::{RawWakerVTable, Waker};

use super::executor;

/// A waker that owns nothing: a number, and what to do with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain {
    number: u64,
    vtable: &'static RawWakerVTable,
}

impl Plain {
    /// The waker, if a runtime polls here and it is of its kind.
    #[inline]
    pub(crate) fn of(waker: &Waker) -> Option<Self> {
        let vtable = executor::plain()?;
        ptr::eq(waker.vtable(), vtable).then(|| Self { number: waker.data().addr() as u64, vtable })
    }

    /// # Safety
    ///
    /// Both come from one `Plain`, or the vtable is the `Hooks::plain` of a runtime.
    #[inline]
    pub(crate) unsafe fn from_parts(number: u64, vtable: &'static RawWakerVTable) -> Self {
        Self { number, vtable }
    }

    #[inline]
    pub(crate) fn number(self) -> u64 {
        self.number
    }

    #[inline]
    pub(crate) fn vtable(self) -> &'static RawWakerVTable {
        self.vtable
    }

    #[inline]
    pub(crate) fn waker(self) -> Waker {
        // SAFETY: (I5) wakers with this vtable take any number, on any thread, any number of times, as `Hooks::plain`
        // promises.
        unsafe { Waker::new(ptr::without_provenance(self.number as usize), self.vtable) }
    }
}
