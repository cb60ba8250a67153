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
#![forbid(unsafe_code)]

mod arms;
mod one_of;
mod slot;
mod visit;
mod when_all;
mod when_any;

pub use arms::{Arms, IntoArms, RaceArms};
pub use one_of::{
    OneOf2, OneOf3, OneOf4, OneOf5, OneOf6, OneOf7, OneOf8, OneOf9, OneOf10, OneOf11, OneOf12, OneOf13,
    OneOf14, OneOf15, OneOf16,
};
pub use when_all::{WhenAll, when_all};
pub use when_any::{WhenAny, when_any};

pub mod adapters {
    //! The only place where ops, channels and tasks meet.
}
