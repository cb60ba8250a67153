//! Where ops, channels, timers and tasks meet combinators: the only place that may know them all.
//!
//! Knows: everything below the crate root. Does not know: nothing.

mod ext;
mod future;
mod latch;
mod link_timeout;
mod lost_into;
mod operators;
mod select;
mod sending_end;
mod timeout;
mod with_cancel;
mod zero_copy;

pub use ext::OperationExt;
pub use future::{Cancelled, Lifted, future};
pub use latch::Latch;
pub use link_timeout::LinkTimeout;
pub use lost_into::LostInto;
pub use sending_end::SendingEnd;
pub use timeout::{Elapsed, Timeout};
pub use with_cancel::WithCancel;
pub use zero_copy::{Pushed, Spawned};
