//! Operations that are an arm of a `select!` in their own way: a pop, tried before it is begun; and a push that carries its
//! value, which by value is none.
//!
//! Knows: the pushes and pops of the crate. Does not know: how arms race.

use core::task::Poll;

use super::timeout::Timeout;
use super::with_cancel::WithCancel;
use crate::channel::{Pop, PopError, Push, Sharing, Untried, broadcast, spsc};
use crate::combinators::__select::{CarriesItsValue, Given, MayBeArm, Unpolled};
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

impl<'a, T, S: Sharing> Given<Pop<'a, T, S>> {
    /// The pop as it is before it begins.
    #[doc(hidden)]
    #[inline(always)]
    pub fn arm(self) -> Untried<'a, T, S> {
        Untried::new(self.0)
    }
}

impl<T, S: Sharing> MayBeArm for Untried<'_, T, S> {
    type Unpolled = Self;

    #[inline(always)]
    fn unpolled(self) -> Self {
        self
    }
}

impl<'a, T, S: Sharing> Unpolled for Untried<'a, T, S> {
    type Op = Pop<'a, T, S>;

    #[inline(always)]
    fn may_resolve(&self) -> bool {
        self.may_resolve()
    }

    #[inline(always)]
    fn is_inert(&self) -> bool {
        true
    }

    #[inline(always)]
    fn attempt(&mut self, _looked: bool) -> Option<Poll<Result<T, PopError>>> {
        self.try_now()
    }

    #[inline(always)]
    fn begin(self) -> Pop<'a, T, S> {
        self.begin()
    }
}
