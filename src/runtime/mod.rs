//! Who polls, waits and wakes: one runtime per thread.
//!
//! Knows: the driver, ops in flight as nodes. Does not know: op kinds, channels.

mod builder;
mod clock;
pub(crate) mod context;
pub(crate) mod core;
mod crowd;
mod deferred;
pub(crate) mod driver;
mod groups;
mod handle;
mod inbox;
pub(crate) mod inflight;
pub(crate) mod registry;
mod remote;
mod run_loop;
#[allow(clippy::module_inception, reason = "the type `Runtime`, beside its parts")]
mod runtime;
mod spin;
mod stats;
mod task;
pub mod time;
mod timer;
pub(crate) mod waker;
mod yield_now;

pub use builder::Builder;
pub use driver::{BuildError, BuildErrorKind, BuildStep};
pub use handle::{Handle, SpawnError};
pub(crate) use registry::RuntimeId;
pub use remote::RemoteJoinHandle;
pub(crate) use runtime::try_spawn;
pub use runtime::{Leaked, Runtime, spawn};
pub use stats::Stats;
pub use task::{JoinError, JoinHandle};
pub use yield_now::{YieldNow, yield_now};

/// Faults on demand, for tests of this crate. Not part of its interface.
#[doc(hidden)]
pub mod testing {
    pub use super::driver::fault::{FaultCall, FaultPlan};
}
