//! Small structures without policy, below everything else.
//!
//! Knows: `sync`. Does not know: rings, ops, channels, tasks.

#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub(crate) mod alarm;
pub(crate) mod biased;
pub(crate) mod contain;
pub(crate) mod executor;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub(crate) mod pinned;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub(crate) mod timer_thread;
