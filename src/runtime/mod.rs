//! Who polls, waits and wakes: one runtime per thread.

pub(crate) mod driver;

pub use driver::{BuildError, BuildErrorKind, BuildStep};
