//! Tasks: futures the runtime polls, in pooled cells, found through a dense table of slots.
//!
//! Knows: wakers that are ids, the core it wakes through. Does not know: rings, ops, channels.

mod cell;
mod join;
mod pool;
mod root;
mod slots;

pub(crate) use cell::{Header, cancel, leak, poll, spawn};
pub use join::{JoinError, JoinHandle};
pub(crate) use root::Root;
pub(crate) use slots::Tasks;
