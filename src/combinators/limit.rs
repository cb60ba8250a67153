//! A limit of time on everything below, kept by the kernel.
//!
//! Knows: the combinator types. Does not know: how an op is limited, which is its adapter's.

use core::time::Duration;

use super::arms::{Arms, ChainArms, RaceArms};
use super::link::{LinkKind, Linked};
use super::parallel_all::ParallelAll;
use super::parallel_any::ParallelAny;
use super::when_all::WhenAll;
use super::when_any::WhenAny;
use crate::operation::Operation;

/// An op, or a combinator of nothing but ops: what the kernel can be told to stop after a while.
///
/// See [`link_timeout`](super::RingOperationExt::link_timeout).
#[diagnostic::on_unimplemented(
    message = "the kernel cannot limit the time of `{Self}`",
    label = "not an op, and not a combinator of ops alone",
    note = "`link_timeout` stands directly on an op, and once; `timeout` takes any operation"
)]
pub trait Limitable: Operation + Sized {
    /// The operation, each op of which has its limit.
    type Limited: Operation;

    /// Sets the limit, on every op below.
    fn limited(self, after: Duration) -> Self::Limited;
}

/// Arms each of which can be limited. Sealed.
pub trait LimitArms: Arms {
    /// The arms with their limits.
    type Limited: Arms;

    /// Sets the limit, on every op below.
    #[doc(hidden)]
    fn limit(slots: Self::Slots, after: Duration) -> Self::Limited;
}

impl<T: LimitArms> Limitable for WhenAll<T> {
    type Limited = WhenAll<T::Limited>;

    fn limited(self, after: Duration) -> Self::Limited {
        WhenAll::new(T::limit(self.into_slots(), after))
    }
}

impl<T: LimitArms<Limited: RaceArms> + RaceArms> Limitable for WhenAny<T> {
    type Limited = WhenAny<T::Limited>;

    fn limited(self, after: Duration) -> Self::Limited {
        WhenAny::new(T::limit(self.into_slots(), after))
    }
}

impl<T: LimitArms> Limitable for ParallelAll<T> {
    type Limited = ParallelAll<T::Limited>;

    fn limited(self, after: Duration) -> Self::Limited {
        ParallelAll::new(T::limit(self.into_slots(), after))
    }
}

impl<T: LimitArms<Limited: RaceArms> + RaceArms> Limitable for ParallelAny<T> {
    type Limited = ParallelAny<T::Limited>;

    fn limited(self, after: Duration) -> Self::Limited {
        ParallelAny::new(T::limit(self.into_slots(), after))
    }
}

impl<T: LimitArms<Limited: ChainArms> + ChainArms, K: LinkKind> Limitable for Linked<T, K> {
    type Limited = Linked<T::Limited, K>;

    fn limited(self, after: Duration) -> Self::Limited {
        Linked::new(T::limit(self.into_slots(), after))
    }
}
