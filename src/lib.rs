//! Communicating sequential processes over io_uring.

#[cfg(not(target_os = "linux"))]
compile_error!("millstream is built on io_uring and needs Linux");

mod sync;
mod util;

mod operation;

pub mod channel;

#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub mod combinators;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub mod ops;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub mod runtime;

pub use operation::Operation;
