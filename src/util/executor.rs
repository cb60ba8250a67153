//! What a channel may ask of whoever polls it: put a wake off to the end of the poll, charge the poll's budget, copy a
//! waker for nothing, keep a timer.
//!
//! Knows: `Waker`. Does not know: the runtime, which fills the hooks in while it polls. On a foreign executor and on
//! a plain thread there are none: wakes are delivered at once, the budget never ends, every waker is cloned but that of a
//! thread that parks, and timers are kept by a thread of ours.

use core::cell::Cell;
use core::ptr;
use core::task::{Context, RawWakerVTable, Waker};
use std::time::Instant;

use super::marks;
use super::parking;
use super::plain::Plain;

/// What a runtime does for the channels its tasks poll. One static per runtime kind, so filling it in is one store.
pub(crate) struct Hooks {
    /// Delivers the waker at the end of the current poll, once per target. A panic in it is contained.
    pub(crate) wake: fn(Waker),
    /// Delivers now the wakes that were put off to the end of the current poll.
    pub(crate) deliver: fn(),
    /// Does now all that was put off to the end of the current poll, and puts nothing off until then.
    pub(crate) catch_up: fn(),
    /// Wakers with this vtable own nothing and never follow their data word, which is a number: a bitwise copy is a
    /// clone, and need not be dropped.
    pub(crate) plain: &'static RawWakerVTable,
    /// Keeps timers for the tasks polled here.
    pub(crate) clock: Option<&'static Clock>,
}

/// Who keeps timers. What it names it may be asked about on any thread, at any time.
#[derive(Debug)]
pub(crate) struct Clock {
    /// Arms a timer that wakes `waker` at the instant or later, once. `None`: it cannot promise that for this waker.
    pub(crate) arm: fn(Instant, &Waker) -> Option<Timer>,
    /// Whether the timer has not fired and the caller is where it can be kept; if so it is `waker` that it wakes.
    pub(crate) keep: fn(&Timer, &Waker) -> bool,
    /// Disarms the timer if it has not fired. The waker it had, if it can be had at once; otherwise it is called.
    pub(crate) disarm: fn(&Timer) -> Option<Waker>,
}

/// Names a timer to the [`Clock`] that armed it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) instant: Instant,
    /// Which of the clock's owners keeps it.
    pub(crate) owner: u64,
    pub(crate) key: u64,
}

/// Who polls on this thread, and what the present poll may still do.
#[derive(Clone, Copy)]
pub(crate) struct Polling {
    hooks: Option<&'static Hooks>,
    /// What each poll begins with.
    allowance: i64,
    /// What is left of it; below zero, how often more was asked for.
    budget: i64,
}

/// Outside a poll there is no limit.
const UNLIMITED: i64 = i64::MAX;
/// How often one poll is refused a unit before its budget begins anew: it does not return, for what asks is another
/// executor inside it, which would ask for ever.
const MOST_REFUSALS: i64 = 1024;

thread_local! {
    static HOOKS: Cell<Option<&'static Hooks>> = const { Cell::new(None) };
    static ALLOWANCE: Cell<i64> = const { Cell::new(UNLIMITED) };
    static BUDGET: Cell<i64> = const { Cell::new(UNLIMITED) };
}

impl Polling {
    /// A runtime of this kind, outside its polls; each poll may do `allowance` operations that do not suspend.
    pub(crate) fn new(hooks: &'static Hooks, allowance: u32) -> Self {
        Self { hooks: Some(hooks), allowance: allowance.into(), budget: UNLIMITED }
    }

    /// Says who polls on this thread from now on, and returns who did before.
    pub(crate) fn install(self) -> Self {
        Self {
            hooks: HOOKS.replace(self.hooks),
            allowance: ALLOWANCE.replace(self.allowance),
            budget: BUDGET.replace(self.budget),
        }
    }
}

/// A poll begins.
#[inline]
pub(crate) fn begin_poll() {
    BUDGET.set(ALLOWANCE.get());
}

/// No poll follows for now.
#[inline]
pub(crate) fn end_polls() {
    BUDGET.set(UNLIMITED);
}

/// Wakes at the end of the poll, when a runtime polls here; gives the waker back otherwise, to be called now.
#[inline]
pub(crate) fn wake_later(waker: Waker) -> Result<(), Waker> {
    match HOOKS.get() {
        Some(hooks) => {
            (hooks.wake)(waker);
            Ok(())
        }
        None => Err(waker),
    }
}

/// Wakes: at the end of the poll when a runtime polls here, at once otherwise.
pub(crate) fn wake(waker: Waker) {
    if let Err(waker) = wake_later(waker) {
        waker.wake();
    }
}

/// To be called, with no lock held, when something is left waiting with this waker. One that is not the runtime's is
/// another executor's inside of the poll, which may block this thread before the poll ends: whoever it waits for may have
/// to be woken first.
#[inline]
pub(crate) fn about_to_wait(waker: &Waker) {
    if let Some(hooks) = HOOKS.get()
        && !ptr::eq(waker.vtable(), hooks.plain)
        && !marks::is_mark(waker)
    {
        (hooks.catch_up)();
    }
}

/// Delivers now the wakes that were put off to the end of the poll, with no lock held. Later ones are put off as before.
pub(crate) fn deliver() {
    if let Some(hooks) = HOOKS.get() {
        (hooks.deliver)();
    }
}

/// Does now what was put off to the end of the poll, with no lock held, and puts nothing off until then.
pub(crate) fn catch_up() {
    if let Some(hooks) = HOOKS.get() {
        (hooks.catch_up)();
    }
}

/// A clone of the waker, if making and dropping it runs no code of anybody's.
#[inline]
pub(crate) fn copy(waker: &Waker) -> Option<Waker> {
    Plain::of(waker).map(Plain::waker).or_else(|| marks::copy(waker)).or_else(|| parking::copy(waker))
}

/// Which wakers are [`Plain`] here.
#[inline]
pub(crate) fn plain() -> Option<&'static RawWakerVTable> {
    HOOKS.get().map(|hooks| hooks.plain)
}

/// Charges one unit of the poll's budget for a success that did not suspend.
///
/// `false` means the budget is spent: the task has been scheduled again, and the caller returns `Pending`.
#[inline]
pub(crate) fn spend(cx: &mut Context<'_>) -> bool {
    let left = BUDGET.get();
    if left > 0 {
        BUDGET.set(left - 1);
        true
    } else {
        spend_more(cx, left)
    }
}

/// As [`spend`], for who has no task to schedule again: `false` changes nothing.
#[inline]
pub(crate) fn try_spend() -> bool {
    let left = BUDGET.get();
    if left > 0 {
        BUDGET.set(left - 1);
    }
    left > 0
}

/// Whether nothing is left of the poll's budget.
#[inline]
pub(crate) fn is_spent() -> bool {
    BUDGET.get() <= 0
}

#[cold]
fn spend_more(cx: &mut Context<'_>, left: i64) -> bool {
    if left > -MOST_REFUSALS {
        BUDGET.set(left - 1);
        cx.waker().wake_by_ref();
        false
    } else {
        BUDGET.set(ALLOWANCE.get());
        true
    }
}

/// Whether a runtime is polling on this thread, so that blocking it would stop every task on it.
#[inline]
pub(crate) fn on_runtime_thread() -> bool {
    HOOKS.get().is_some()
}

/// Who keeps timers for what is polled here; `None`: nobody does.
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
#[inline]
pub(crate) fn clock() -> Option<&'static Clock> {
    HOOKS.get()?.clock
}
