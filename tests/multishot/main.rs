//! Multishot ops: what comes, in which order, and what becomes of it when nobody wants it.
//!
//! Knows: the public face of the crate, the kernel. Does not know: nodes, arms.

#[path = "../support/mod.rs"]
mod harness;

mod bytes;
mod destinations;
mod endings;
mod engine;
mod every_op;
mod kernel;
mod others;
mod storm;
mod support;
