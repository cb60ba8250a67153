//! Who polls, waits and wakes: one runtime per thread.

pub(crate) mod driver;

pub use driver::{BuildError, BuildErrorKind, BuildStep};

/// Faults on demand, for tests of this crate. Not part of its interface.
#[doc(hidden)]
pub mod testing {
    pub use super::driver::fault::{FaultCall, FaultPlan};
}
