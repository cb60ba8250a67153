//! The count against a home with one owner: on one thread here, under loom in `model`.

#[cfg(millstream_loom)]
mod model;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod plain;
