//! `select!`: what it promises, on any executor.
//!
//! Knows: the public API. Does not know: how arms are polled.

mod set;
mod syntax;
