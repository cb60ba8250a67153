//! The one place that names atomics, locks and threads, so that loom and shuttle can stand in for std.
//!
//! Knows: std, loom (`--cfg millstream_loom`), shuttle (`--cfg millstream_shuttle`). Does not know: any other
//! module of the crate. The cfg names are our own because a global `--cfg loom` breaks other crates.

#[cfg(millstream_loom)]
pub(crate) use loom_side::*;
#[cfg(millstream_shuttle)]
pub(crate) use shuttle_side::*;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub(crate) use std_side::*;

#[cfg(not(any(millstream_loom, millstream_shuttle)))]
#[allow(unused_imports, reason = "a facade: each engine uses its own part")]
mod std_side {
    pub(crate) use std::hint;
    pub(crate) use std::sync::atomic;
    pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
    pub(crate) use std::thread;
}

#[cfg(millstream_loom)]
#[allow(unused_imports, reason = "a facade: each engine uses its own part")]
mod loom_side {
    pub(crate) use loom::hint;
    pub(crate) use loom::sync::atomic;
    pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(crate) use loom::thread;
}

#[cfg(millstream_shuttle)]
#[allow(unused_imports, reason = "a facade: each engine uses its own part")]
mod shuttle_side {
    pub(crate) use shuttle::hint;
    pub(crate) use shuttle::sync::atomic;
    pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard};
    pub(crate) use shuttle::thread;
}
