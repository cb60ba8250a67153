//! The one place that names atomics, locks and threads, so that loom and shuttle can stand in for std; and the bugs that
//! are planted to see that a model finds them.
//!
//! Knows: std, loom (`--cfg millstream_loom`), shuttle (`--cfg millstream_shuttle`). Does not know: any other
//! module of the crate. The cfg names are our own because a global `--cfg loom` breaks other crates.

/// Whether the bug of this name is in place: `if planted!("…") { wrong } else { right }`.
///
/// `false`, the constant, unless the crate is built for loom, for shuttle or with `--cfg millstream_bug`. There the
/// variable `MILLSTREAM_BUG` of the environment names the one bug of the process, so that a single build serves all of
/// them. `ci/loom.sh` knows every name, with the model that must fail under it.
#[cfg(any(millstream_loom, millstream_shuttle, millstream_bug))]
macro_rules! planted {
    ($name:literal) => {
        $crate::sync::is_planted($name)
    };
}

#[cfg(not(any(millstream_loom, millstream_shuttle, millstream_bug)))]
macro_rules! planted {
    ($name:literal) => {
        false
    };
}

/// What [`planted!`] asks.
#[cfg(any(millstream_loom, millstream_shuttle, millstream_bug))]
pub(crate) fn is_planted(name: &str) -> bool {
    static BUG: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    BUG.get_or_init(|| std::env::var("MILLSTREAM_BUG").ok()).as_deref() == Some(name)
}

#[cfg(millstream_loom)]
pub(crate) use loom_side::*;
#[cfg(millstream_shuttle)]
pub(crate) use shuttle_side::*;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub(crate) use std_side::*;

#[cfg(not(any(millstream_loom, millstream_shuttle)))]
#[allow(unused_imports, reason = "a facade: each engine uses its own part")]
mod std_side {
    pub(crate) use super::plain_cell as cell;
    pub(crate) use std::hint;
    pub(crate) use std::sync::atomic;
    pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
    pub(crate) use std::thread;
}

#[cfg(millstream_loom)]
#[allow(unused_imports, reason = "a facade: each engine uses its own part")]
mod loom_side {
    pub(crate) use loom::cell;
    pub(crate) use loom::hint;
    pub(crate) use loom::sync::atomic;
    pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(crate) use loom::thread;
    pub(crate) use std::sync::PoisonError;
}

#[cfg(millstream_shuttle)]
#[allow(unused_imports, reason = "a facade: each engine uses its own part")]
mod shuttle_side {
    pub(crate) use super::plain_cell as cell;
    pub(crate) use shuttle::hint;
    pub(crate) use shuttle::sync::atomic;
    pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard};
    pub(crate) use shuttle::thread;
}

/// A cell with the face of loom's, which sees two threads in one cell at a time.
#[cfg(not(millstream_loom))]
#[allow(dead_code, reason = "a facade: each engine uses its own part")]
pub(crate) mod plain_cell {
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        /// Calls `f` with where the value is, to read it.
        #[inline]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Calls `f` with where the value is, to write it.
        #[inline]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}
