//! Small structures without policy, below everything else.
//!
//! Knows: `sync`. Does not know: rings, ops, channels, tasks.

pub(crate) mod biased;
pub(crate) mod contain;
pub(crate) mod executor;
pub(crate) mod pinned;
