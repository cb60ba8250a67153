//! Counts of what a runtime did, for tests, dashboards and curiosity.
//!
//! Knows: the parts that count. Does not know: what the counts are good for.

use std::cell::Cell;

use super::core::Core;

/// What the loop counts itself.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(super) polls: Cell<u64>,
    pub(super) enters: Cell<u64>,
    pub(super) parks: Cell<u64>,
}

/// Adds to a counter of this thread.
#[inline]
pub(super) fn add(counter: &Cell<u64>, n: u64) {
    counter.set(counter.get() + n);
}

/// A look at a runtime: see [`Runtime::stats`](crate::Runtime::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that have not ended, the future of a `block_on` among them.
    pub tasks: usize,
    /// How often a task was polled.
    pub polls: u64,
    /// How often the kernel was entered by the loop.
    pub enters: u64,
    /// How often the thread slept, or was ready to, in the kernel.
    pub parks: u64,
    /// How often another thread had to wake this one from its sleep by a system call.
    pub signals: u64,
    /// Timers that have not fired.
    pub timers: usize,
    /// Ops that were handed to the kernel, or are queued for it, and have not ended.
    pub in_flight: usize,
    /// Of these, the ones whose future is gone.
    pub orphans: usize,
    /// Records of ops that are in use: in flight, or ended and not yet awaited.
    pub nodes: usize,
    /// Ops that were queued so far.
    pub submitted: u64,
    /// Completions that the kernel delivered so far.
    pub completions: u64,
    /// Completions that belonged to no op in flight, and were dropped.
    pub stale_completions: u64,
    /// Completions that the kernel could not keep. Stays 0: kernels that lose completions are refused.
    pub dropped_completions: u64,
    /// How often a cancel had to be sent again.
    pub cancels_repeated: u64,
    /// How often an op was handed to the kernel again, which had given it up by itself: see [`Op`](crate::ops::Op).
    pub ops_repeated: u64,
    /// Panics of wakers and destructors that had nobody to go to, and were kept from the loop.
    pub contained_panics: u64,
}

impl Stats {
    pub(super) fn of(core: &Core) -> Self {
        let inflight = core.inflight.stats();
        Self {
            tasks: core.tasks.alive() as usize,
            polls: core.counters.polls.get(),
            enters: core.counters.enters.get(),
            parks: core.counters.parks.get(),
            signals: core.entry.signals(),
            timers: core.timers.armed(),
            in_flight: inflight.in_flight,
            orphans: inflight.orphans,
            nodes: inflight.nodes_in_use,
            submitted: inflight.submitted,
            completions: inflight.completions,
            stale_completions: inflight.stale_completions,
            dropped_completions: inflight.dropped_completions,
            cancels_repeated: inflight.cancels_repeated,
            ops_repeated: inflight.ops_repeated,
            contained_panics: inflight.contained_panics,
        }
    }
}
