//! Where ops, channels, timers and tasks meet combinators: the only place that may know them all.
//!
//! Knows: everything below the crate root. Does not know: nothing.

mod delivered;
mod ext;
mod future;
mod latch;
mod link_timeout;
mod lost_into;
mod operators;
mod result_stream;
mod results_ext;
mod select;
mod timeout;
mod will_push;
mod will_spawn;
mod with_cancel;
mod zero_copy;

pub use delivered::{Delivered, End};
pub use ext::OperationExt;
pub use future::{Cancelled, Lifted, future};
pub use latch::Latch;
pub use link_timeout::LinkTimeout;
pub use lost_into::LostInto;
pub use result_stream::ResultStream;
pub use results_ext::ResultsExt;
pub use timeout::{Elapsed, Timeout};
pub use will_push::WillPush;
pub use will_spawn::WillSpawn;
pub use with_cancel::WithCancel;
pub use zero_copy::{Pushed, Spawned};
