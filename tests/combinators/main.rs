//! Combinators over scripted operations: what is started, stopped, waited for and dropped, and in what order.
//!
//! The numbers in names such as `condy_103` refer to the behaviours of the library this design started from. Where each
//! of them is held says `docs/guide/coming_from_condy.md`, and `condy_table.rs` that nothing is missing there.

mod adapters;
mod arms;
mod channels;
mod fake;
mod flags;
mod link;
mod nesting;
mod operators;
mod parallel;
mod signals;
mod when_all;
mod when_any;
