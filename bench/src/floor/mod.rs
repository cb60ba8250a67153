//! What millstream is held against: loops written by hand for one purpose each, without anything a library needs.
//!
//! Knows: `io-uring`, libc. Does not know: millstream.

pub(crate) mod echo;
pub(crate) mod echo_bundled;
pub(crate) mod echo_multishot;
pub(crate) mod executor;
pub(crate) mod load;
pub(crate) mod ops;
pub(crate) mod ring;
pub(crate) mod wake;
