//! The count against a home with one owner: on one thread here, under loom in `model`.
#![allow(unsafe_code, reason = "implements the unsafe trait, and settles messages where it wants them")]

#[cfg(millstream_loom)]
mod model;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod plain;
