//! Queues of the user's own buffers: what is sent from them, what is filled, and that nothing of it is lost.
//!
//! Knows: the public face of the crate. Does not know: how a queue keeps its books.

mod fill;
#[path = "../support/mod.rs"]
mod harness;
mod kernel;
mod messages;
mod send;
mod storm;
mod support;
