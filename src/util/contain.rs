//! Containing a panic of user code where the loop must go on (I7).
//!
//! Knows: unwinding. Does not know: whose code it runs.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs user code and keeps a panic of it from the caller. `false` when it panicked; the panic hook has reported it.
#[inline]
pub(crate) fn contain(run: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(()) => true,
        Err(payload) => {
            discard(payload);
            false
        }
    }
}

/// Runs user code and hands its panic back instead of unwinding.
///
/// What the user's code left half-changed is dropped by the caller, not used again.
#[inline]
pub(crate) fn catch<R>(run: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(run))
}

/// Drops a panic's payload, whose own `Drop` may panic in turn: such a payload is leaked, there is nobody to tell.
#[cold]
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}
