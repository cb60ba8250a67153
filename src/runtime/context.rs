//! Which runtime runs on this thread.
//!
//! Knows: that there is a core, the hooks a channel looks at. Does not know: what a core does.
#![allow(unsafe_code, reason = "the current core is found through a thread-local pointer")]

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use super::core::{self, Core};
use crate::util::executor::Polling;
use crate::util::lookout::{self, Lookout};

thread_local! {
    /// Set by [`enter`], whose guard takes it back before the core can go.
    static CURRENT: Cell<*const Core> = const { Cell::new(ptr::null()) };
}

/// Calls `f` with the core that runs on this thread, if one does.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(Option<&Core>) -> R) -> R {
    // SAFETY: (local) `f` cannot keep the reference.
    f(unsafe { current() })
}

/// The core that runs on this thread, if one does: as [`with`], for who must not have a closure between itself and its
/// caller, because that would be a function of its own.
///
/// # Safety
///
/// The reference is not kept longer than the call that asked for it.
#[inline(always)]
pub(crate) unsafe fn current<'a>() -> Option<&'a Core> {
    // SAFETY: null, or set by an `Entered` that borrows the core and is still there: it is dropped in the scope it was
    // made in, which is further up the stack than whoever asks.
    unsafe { CURRENT.get().as_ref() }
}

/// Makes `core` the one that runs on this thread, until the guard is dropped.
pub(crate) fn enter(core: &Core) -> Entered<'_> {
    // A runtime that ends inside of another's task keeps the thread, and waits for what the other may have put off.
    with(|outer| outer.into_iter().for_each(Core::catch_up));
    let core_before = CURRENT.replace(core);
    let polling_before = Polling::new(&core::HOOKS, core.config.poll_budget).install();
    // SAFETY: (local) part of the core, which the guard borrows until it has put back what was there before.
    let lookout_before = unsafe { lookout::install(Some(NonNull::from(&core.lookout))) };
    core.hurried.set(false);
    Entered { core_before, polling_before, lookout_before, core: PhantomData }
}

/// Whose lookout is used from now on: that of the core which runs here, or none.
pub(super) fn look_for(core: Option<&Core>) {
    debug_assert!(core.is_none_or(|core| ptr::eq(core, CURRENT.get())), "another core runs here");
    // SAFETY: (local) the core runs here, so the guard that puts back what was there before it came is still to come.
    unsafe { lookout::install(core.map(|core| NonNull::from(&core.lookout))) };
}

/// The thread is back with what it ran before when this is dropped. Never forgotten: it lives on the stack of `enter`'s
/// callers.
pub(crate) struct Entered<'a> {
    core_before: *const Core,
    polling_before: Polling,
    lookout_before: Option<NonNull<Lookout>>,
    core: PhantomData<&'a Core>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        with(|core| core.into_iter().for_each(Core::look_away));
        // SAFETY: (local) what was there when the guard was made is still there: guards are dropped in reverse order.
        unsafe { lookout::install(self.lookout_before) };
        CURRENT.set(self.core_before);
        self.polling_before.install();
    }
}
