//! What cannot be an arm of a `select!` by value: a push that carries its value.
//!
//! Knows: the pushes of the crate. Does not know: how arms race.

use super::timeout::Timeout;
use super::with_cancel::WithCancel;
use crate::channel::{Push, Sharing, broadcast, spsc};
use crate::combinators::__select::{CarriesItsValue, Given};
use crate::operation::Operation;

/// Gives the types a method of their own, which goes before that of every other arm.
macro_rules! carries_its_value {
    ($([$($generics:tt)*] $push:ty;)+) => { $(
        impl<$($generics)*> Given<$push> {
            /// Not an arm.
            #[doc(hidden)]
            pub fn arm(self) -> CarriesItsValue<$push> {
                CarriesItsValue(self.0)
            }
        }
    )+ };
}

carries_its_value! {
    ['a, T, S: Sharing] Push<'a, T, S>;
    ['a, T] spsc::Push<'a, T>;
    ['a, T] broadcast::Push<'a, T>;
    ['a, T, S: Sharing, D] Timeout<Push<'a, T, S>, D>;
    ['a, T, D] Timeout<spsc::Push<'a, T>, D>;
    ['a, T, D] Timeout<broadcast::Push<'a, T>, D>;
    ['a, T, S: Sharing, C: Operation] WithCancel<Push<'a, T, S>, C>;
    ['a, T, C: Operation] WithCancel<spsc::Push<'a, T>, C>;
    ['a, T, C: Operation] WithCancel<broadcast::Push<'a, T>, C>;
}
