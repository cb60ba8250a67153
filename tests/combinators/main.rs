//! Combinators over scripted operations: what is started, stopped, waited for and dropped, and in what order.
//!
//! The numbers in names such as `condy_103` refer to the behaviours of the library this design started from.

mod adapters;
mod channels;
mod fake;
mod flags;
mod link;
mod nesting;
mod operators;
mod when_all;
mod when_any;
