//! What io_uring can do: one function per op.

mod request;

pub use request::{Prepared, Request};
