//! `select!` and `Select`: what they promise, on any executor.
//!
//! Knows: the public API. Does not know: how arms are polled.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/stalls.rs"]
mod support_stalls;

mod blocking;
mod exact;
mod set;
mod syntax;
