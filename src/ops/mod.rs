//! What io_uring can do: one function per op.

mod buf;
mod chain;
mod op;
mod request;

pub use crate::runtime::driver::Sqe;
pub use buf::{Buf, BufExt, BufMut, IntoResult, Slice};
pub use chain::{Chain, ChainTooLong, EntryFlags, Link, RingOperation};
pub use op::Op;
pub use request::{Prepared, Request};
