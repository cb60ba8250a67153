//! Small structures without policy, below everything else.
//!
//! Knows: `sync`. Does not know: rings, ops, channels, tasks.

#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub(crate) mod alarm;
pub(crate) mod barrier;
pub(crate) mod biased;
pub(crate) mod contain;
pub(crate) mod executor;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub(crate) mod forks;
pub(crate) mod level;
pub(crate) mod lookout;
#[cfg_attr(millstream_loom, allow(dead_code, reason = "used by combinators, which have no models"))]
pub(crate) mod marks;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub(crate) mod parcel;
pub(crate) mod parking;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub(crate) mod pinned;
pub(crate) mod plain;
pub(crate) mod post;
pub(crate) mod prefetch;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub(crate) mod random;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub(crate) mod thread_number;
#[cfg(not(millstream_shuttle))]
#[cfg_attr(millstream_loom, allow(dead_code, reason = "models use its book alone"))]
pub(crate) mod timer_thread;
pub(crate) mod wait_slot;
