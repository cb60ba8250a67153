//! `a & b`, `a | b`, `a >> b`: the combinators as operators, flat where they repeat.
//!
//! Knows: the combinator types. Does not know: which operations there are; `adapters::operators` gives them theirs.
//!
//! An operator cannot be implemented for "every operation" (its left operand must be a type of this crate), so each
//! operation type gets its own through `impl_operators!`. The combinator that stands on the left grows:
//! `when_all((a, b)) & c` is `when_all((a, b, c))`. What stands on the right is one arm, whatever it is.

use core::marker::PhantomData;
use core::ops::{BitAnd, BitOr, Shr};

use super::arms::{Arms, ChainArms, RaceArms};
use super::link::{Hard, LinkKind, Linked, Soft, link};
use super::parallel_all::ParallelAll;
use super::parallel_any::ParallelAny;
use super::when_all::{WhenAll, when_all};
use super::when_any::{WhenAny, when_any};
use crate::operation::Operation;
use crate::ops::RingOperation;

/// Gives types operators, each of `all` (`&`), `any` (`|`) and `then` (`>>`) that is named, by value and by reference.
///
/// Generic parameters stand in brackets before the type, each with a comma after it:
///
/// ```text
/// impl_operators! { all any then: [R: Request,] Op<R>; }
/// ```
macro_rules! impl_operators {
    ($($which:ident)+ : $([$($generics:tt)*] $ty:ty;)+) => {
        $crate::combinators::operators::impl_operators!(@each [$($which)+] $([[$($generics)*] $ty])+);
    };
    (@each $which:tt $($one:tt)+) => {
        $($crate::combinators::operators::impl_operators!(@one $one $which);)+
    };
    (@one $one:tt [$($which:ident)+]) => {
        $($crate::combinators::operators::impl_operators!(@forms $which $one);)+
    };
    (@forms $which:ident [[$($generics:tt)*] $ty:ty]) => {
        $crate::combinators::operators::impl_operators!(@$which [$($generics)*] $ty);
        $crate::combinators::operators::impl_operators!(@$which ['arm, $($generics)*] &'arm mut $ty);
        $crate::combinators::operators::impl_operators!(@$which ['arm, $($generics)*] ::core::pin::Pin<&'arm mut $ty>);
    };
    (@all [$($generics:tt)*] $ty:ty) => {
        impl<$($generics)* Rhs: $crate::operation::Operation> ::core::ops::BitAnd<Rhs> for $ty
        where
            Self: $crate::operation::Operation,
        {
            type Output = $crate::combinators::WhenAll<(Self, Rhs)>;

            fn bitand(self, rhs: Rhs) -> Self::Output {
                $crate::combinators::when_all((self, rhs))
            }
        }
    };
    (@any [$($generics:tt)*] $ty:ty) => {
        impl<$($generics)* Rhs: $crate::operation::Operation> ::core::ops::BitOr<Rhs> for $ty
        where
            Self: $crate::operation::Operation,
        {
            type Output = $crate::combinators::WhenAny<(Self, Rhs)>;

            fn bitor(self, rhs: Rhs) -> Self::Output {
                $crate::combinators::when_any((self, rhs))
            }
        }
    };
    (@then [$($generics:tt)*] $ty:ty) => {
        impl<$($generics)* Rhs: $crate::ops::RingOperation> ::core::ops::Shr<Rhs> for $ty
        where
            Self: $crate::ops::RingOperation,
        {
            type Output = $crate::combinators::Linked<(Self, Rhs)>;

            fn shr(self, rhs: Rhs) -> Self::Output {
                $crate::combinators::link((self, rhs))
            }
        }
    };
}
pub(in crate::combinators) use impl_operators;

// What does not grow under an operator becomes its first arm.
impl_operators! { any: [T: Arms,] WhenAll<T>; }
impl_operators! { all: [T: RaceArms,] WhenAny<T>; }
impl_operators! { all any: [T: Arms,] ParallelAll<T>; [T: RaceArms,] ParallelAny<T>; }
impl_operators! { all any: [T: ChainArms, K: LinkKind,] Linked<T, K>; }
impl_operators! { then: [T: ChainArms,] Linked<T, Hard>; }
impl_operators! { all: [O: Operation,] WhenAll<Vec<O>>; [O: Operation, const N: usize,] WhenAll<[O; N]>; }
impl_operators! { any: [O: Operation,] WhenAny<Vec<O>>; [O: Operation, const N: usize,] WhenAny<[O; N]>; }
impl_operators! {
    then: [O: RingOperation,] Linked<Vec<O>, Soft>; [O: RingOperation, const N: usize,] Linked<[O; N], Soft>;
}

/// Tuples grow: one more arm at the end.
macro_rules! grow {
    ($($T:ident $arm:ident),+) => {
        impl<$($T: Operation,)+ Rhs: Operation> BitAnd<Rhs> for WhenAll<($($T,)+)> {
            type Output = WhenAll<($($T,)+ Rhs)>;

            #[track_caller]
            fn bitand(self, rhs: Rhs) -> Self::Output {
                let ($($arm,)+) = self.into_slots().into_ops();
                when_all(($($arm,)+ rhs))
            }
        }

        impl<$($T: RingOperation,)+ Rhs: RingOperation> Shr<Rhs> for Linked<($($T,)+), Soft> {
            type Output = Linked<($($T,)+ Rhs), Soft>;

            #[track_caller]
            fn shr(self, rhs: Rhs) -> Self::Output {
                let ($($arm,)+) = self.into_slots().into_ops();
                link(($($arm,)+ rhs))
            }
        }
    };
}

/// As above, for the tuples that race.
macro_rules! grow_race {
    ($($T:ident $arm:ident),+) => {
        grow!($($T $arm),+);

        impl<$($T: Operation,)+ Rhs: Operation> BitOr<Rhs> for WhenAny<($($T,)+)> {
            type Output = WhenAny<($($T,)+ Rhs)>;

            #[track_caller]
            fn bitor(self, rhs: Rhs) -> Self::Output {
                let ($($arm,)+) = self.into_slots().into_ops();
                when_any(($($arm,)+ rhs))
            }
        }
    };
}

grow!(A a);
grow_race!(A a, B b);
grow_race!(A a, B b, C c);
grow_race!(A a, B b, C c, D d);
grow_race!(A a, B b, C c, D d, E e);
grow_race!(A a, B b, C c, D d, E e, F f);
grow_race!(A a, B b, C c, D d, E e, F f, G g);
grow_race!(A a, B b, C c, D d, E e, F f, G g, H h);
grow_race!(A a, B b, C c, D d, E e, F f, G g, H h, I i);
grow_race!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j);
grow_race!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k);
grow_race!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k, L l);
grow_race!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k, L l, M m);
grow_race!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k, L l, M m, N n);
grow_race!(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k, L l, M m, N n, O o);

/// Sixteen operands are full.
macro_rules! full {
    ($($T:ident),+) => {
        impl<$($T: Operation,)+ Rhs> BitAnd<Rhs> for WhenAll<($($T,)+)> {
            type Output = MoreThan16Operands<Self>;

            fn bitand(self, _surplus: Rhs) -> Self::Output {
                MoreThan16Operands(PhantomData)
            }
        }

        impl<$($T: Operation,)+ Rhs> BitOr<Rhs> for WhenAny<($($T,)+)> {
            type Output = MoreThan16Operands<Self>;

            fn bitor(self, _surplus: Rhs) -> Self::Output {
                MoreThan16Operands(PhantomData)
            }
        }

        impl<$($T: RingOperation,)+ Rhs> Shr<Rhs> for Linked<($($T,)+), Soft> {
            type Output = MoreThan16Operands<Self>;

            fn shr(self, _surplus: Rhs) -> Self::Output {
                MoreThan16Operands(PhantomData)
            }
        }
    };
}

full!(A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P);

/// What an operator makes of a 17th operand: neither an operation nor a future, and its name is what the compiler says.
///
/// Nest the operands, `a & b & (c & d & …)`, or give a `Vec` or an iterator to `when_all`, `when_any` or `link`. (Without
/// this type the compiler would say that there is no such operator, and list the sixteen types of its left side.)
#[must_use = "more operands than an operator combines"]
#[derive(Debug)]
pub struct MoreThan16Operands<T>(PhantomData<T>);

impl<T, Rhs> BitAnd<Rhs> for MoreThan16Operands<T> {
    type Output = Self;

    fn bitand(self, _surplus: Rhs) -> Self {
        self
    }
}

impl<T, Rhs> BitOr<Rhs> for MoreThan16Operands<T> {
    type Output = Self;

    fn bitor(self, _surplus: Rhs) -> Self {
        self
    }
}

impl<T, Rhs> Shr<Rhs> for MoreThan16Operands<T> {
    type Output = Self;

    fn shr(self, _surplus: Rhs) -> Self {
        self
    }
}
