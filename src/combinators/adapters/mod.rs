//! Where ops, channels, timers and tasks meet combinators: the only place that may know them all.
//!
//! Knows: everything below the crate root. Does not know: nothing.

mod ext;
mod future;
mod operators;
mod select;
mod timeout;

pub use ext::OperationExt;
pub use future::{Cancelled, Lifted, future};
pub use timeout::{Elapsed, Timeout};
