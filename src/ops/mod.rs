//! What io_uring can do: one function per op.

mod buf;
mod request;

pub use buf::{Buf, BufExt, BufMut, IntoResult, Slice};
pub use request::{Prepared, Request};
