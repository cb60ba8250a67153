//! Tests of the channel between two unique ends: its contract, fuzz against a model, threads and runtimes, loom.

#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod contract;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod fuzz;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod lingers;
#[cfg(millstream_loom)]
mod loom;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod operation;
#[cfg(not(any(millstream_loom, millstream_shuttle, miri)))]
mod runtimes;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod stress;
