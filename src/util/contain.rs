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

/// Drops a panic's payload, whose own `Drop` may panic in turn: such a payload is leaked, there is nobody to tell.
#[cold]
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}
