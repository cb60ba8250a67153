//! Combining operations: all of them, the first of them, one after another in the kernel.
//!
//! Knows: [`Operation`](crate::Operation), and for chains [`RingOperation`](crate::ops::RingOperation). Does not know: rings,
//! channels, timers, tasks; only `adapters` does. So fake operations test everything here, and whatever implements
//! `Operation` composes at once.
//!
//! | | completes | output |
//! |---|---|---|
//! | [`when_all`], `a & b` | when all have | tuple / array / `Vec`, positional |
//! | [`when_any`], `a \| b` | when one has decided and the others have ended | [`OneOf2`] … / `(index, output)` |
//! | [`parallel_all`] | when all have | [`Parallel`]: every output, and the order of completion |
//! | [`parallel_any`] | when one has decided and the others have ended | [`Raced`]: every outcome, who won, and the order |
//! | [`select!`](crate::select) | when one took effect and the others have ended | that of the arm's block |
//! | [`link`], `a >> b` | when all have; a failure cancels the rest | tuple / array / `Vec`, positional |
//! | [`hard_link`] | when all have | tuple / array / `Vec`, positional |
#![forbid(unsafe_code)]

pub mod adapters;
mod arms;
mod flags;
mod limit;
mod link;
#[cfg(feature = "macros")]
mod macros;
mod one_of;
mod operators;
mod order;
mod parallel_all;
mod parallel_any;
mod select;
mod slot;
mod visit;
mod when_all;
mod when_any;

pub use adapters::{
    Delivered, Elapsed, End, Latch, LinkTimeout, LostInto, OperationExt, ResultStream, ResultsExt, Timeout,
    WillPush, WillSpawn, WithCancel,
};
pub use arms::{Arms, ChainArms, FlagArms, Given, IntoArms, NoArms, RaceArms, Yielded};
pub use flags::{Flaggable, RingOperationExt};
pub use limit::{LimitArms, Limitable};
pub use link::{Hard, LinkKind, Linked, Soft, hard_link, link};
#[cfg(feature = "macros")]
#[doc(hidden)]
pub use macros::__combine;
pub use one_of::{
    OneOf2, OneOf3, OneOf4, OneOf5, OneOf6, OneOf7, OneOf8, OneOf9, OneOf10, OneOf11, OneOf12, OneOf13,
    OneOf14, OneOf15, OneOf16,
};
pub use operators::MoreThan16Operands;
pub use parallel_all::{Parallel, ParallelAll, parallel_all};
pub use parallel_any::{ParallelAny, Raced, parallel_any, try_parallel_any};
#[cfg(feature = "macros")]
#[doc(hidden)]
pub use select::__expand_select;
#[doc(hidden)]
pub use select::__select;
pub use select::{Key, Next, Select};
pub use when_all::{WhenAll, when_all};
pub use when_any::{WhenAny, try_when_any, when_any};
