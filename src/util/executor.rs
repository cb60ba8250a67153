//! What a channel may ask of whoever polls it: put a wake off to the end of the poll, and charge the poll's budget.
//!
//! Knows: `Waker`. Does not know: the runtime, which fills the hooks in while it polls. On a foreign executor and on
//! a plain thread the hooks are empty: wakes are delivered at once and the budget never ends.

use core::cell::Cell;
use core::task::{Context, Waker};

/// What a runtime does for the channels its tasks poll. One static per runtime kind, so filling it in is one store.
pub(crate) struct Hooks {
    /// Delivers the waker at the end of the current poll, once per target.
    pub(crate) wake: fn(Waker),
    /// Takes one unit of the current poll's budget; `false` when it is spent.
    pub(crate) spend: fn() -> bool,
}

thread_local! {
    static HOOKS: Cell<Option<&'static Hooks>> = const { Cell::new(None) };
}

/// Installs the hooks of the runtime that begins to poll on this thread, and returns what was there before.
pub(crate) fn install(hooks: Option<&'static Hooks>) -> Option<&'static Hooks> {
    HOOKS.replace(hooks)
}

/// Wakes: at the end of the poll when a runtime polls here, at once otherwise.
#[inline]
pub(crate) fn wake(waker: Waker) {
    match HOOKS.get() {
        Some(hooks) => (hooks.wake)(waker),
        None => waker.wake(),
    }
}

/// Charges one unit of the poll's budget for a success that did not suspend.
///
/// `false` means the budget is spent: the task has been scheduled again, and the caller returns `Pending`.
#[inline]
pub(crate) fn spend(cx: &mut Context<'_>) -> bool {
    match HOOKS.get() {
        Some(hooks) if !(hooks.spend)() => {
            cx.waker().wake_by_ref();
            false
        }
        _ => true,
    }
}

/// Whether a runtime is polling on this thread, so that blocking it would stop every task on it.
#[inline]
pub(crate) fn on_runtime_thread() -> bool {
    HOOKS.get().is_some()
}
