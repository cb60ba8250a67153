//! Arms of one type: arrays, kept inline, and `Vec`s, kept in one allocation.
//!
//! Knows: [`Operation`]. Does not know: what a combinator does with its arms.

use core::iter;
use core::ops::ControlFlow;
use core::pin::Pin;

use super::{
    Arms, FlagSlots, IntoArms, RaceArms, RaceSlots, RingSlots, Slots, Visit, VisitRing, entries_of, flag_op,
    visit_op,
};
use crate::combinators::flags::Flaggable;
use crate::combinators::slot::Slot;
use crate::operation::Operation;
use crate::ops::{EntryFlags, RingOperation};
use crate::util::pinned::elements;

impl<O: Operation, const N: usize> IntoArms for [O; N] {
    type Arms = Self;

    fn into_arms(self) -> Self {
        self
    }
}

impl<O: Operation, const N: usize> Arms for [O; N] {
    type Outputs = [O::Output; N];
    type Slots = [Slot<O>; N];

    fn into_slots(self) -> Self::Slots {
        self.map(Slot::new)
    }
}

impl<O: Operation, const N: usize> RaceArms for [O; N] {
    type Winner = (usize, O::Output);

    fn has_arms(&self) -> bool {
        const { assert!(N > 0, "`when_any` of nothing: a race needs at least one arm to decide it") };
        true
    }
}

impl<O: Operation, const N: usize> Slots for [Slot<O>; N] {
    type Outputs = [O::Output; N];

    fn visit(self: Pin<&mut Self>, visitor: &mut impl Visit) -> ControlFlow<()> {
        visit_slice(self, visitor)
    }

    fn take(self: Pin<&mut Self>) -> Self::Outputs {
        let mut slots = elements::<Slot<O>>(self);
        core::array::from_fn(|_| slots.next().expect("as many slots as outputs").take())
    }
}

impl<O: Operation, const N: usize> RaceSlots for [Slot<O>; N] {
    type Winner = (usize, O::Output);

    fn take_winner(self: Pin<&mut Self>, index: usize) -> Self::Winner {
        take_from_slice(self, index)
    }
}

impl<O: RingOperation, const N: usize> RingSlots for [Slot<O>; N] {
    fn visit_ring(self: Pin<&mut Self>, visitor: &mut impl VisitRing) -> ControlFlow<()> {
        elements::<Slot<O>>(self).try_for_each(|slot| visit_op(slot, visitor))
    }

    fn entries(&self) -> usize {
        self.iter().map(entries_of).sum()
    }
}

impl<O: Flaggable, const N: usize> FlagSlots for [Slot<O>; N] {
    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
        elements::<Slot<O>>(self).for_each(|slot| flag_op(slot, flags));
    }
}

impl<O: Operation> IntoArms for Vec<O> {
    type Arms = Self;

    fn into_arms(self) -> Self {
        self
    }
}

impl<O: Operation> Arms for Vec<O> {
    type Outputs = Vec<O::Output>;
    type Slots = Pin<Box<[Slot<O>]>>;

    fn into_slots(self) -> Self::Slots {
        Box::into_pin(self.into_iter().map(Slot::new).collect())
    }
}

impl<O: Operation> RaceArms for Vec<O> {
    type Winner = (usize, O::Output);

    fn has_arms(&self) -> bool {
        !self.is_empty()
    }
}

impl<O: Operation> Slots for Pin<Box<[Slot<O>]>> {
    type Outputs = Vec<O::Output>;

    fn visit(self: Pin<&mut Self>, visitor: &mut impl Visit) -> ControlFlow<()> {
        visit_slice(self.get_mut().as_mut(), visitor)
    }

    fn take(self: Pin<&mut Self>) -> Self::Outputs {
        elements(self.get_mut().as_mut()).map(Slot::take).collect()
    }
}

impl<O: Operation> RaceSlots for Pin<Box<[Slot<O>]>> {
    type Winner = (usize, O::Output);

    fn take_winner(self: Pin<&mut Self>, index: usize) -> Self::Winner {
        take_from_slice(self.get_mut().as_mut(), index)
    }
}

impl<O: RingOperation> RingSlots for Pin<Box<[Slot<O>]>> {
    fn visit_ring(self: Pin<&mut Self>, visitor: &mut impl VisitRing) -> ControlFlow<()> {
        elements(self.get_mut().as_mut()).try_for_each(|slot| visit_op(slot, visitor))
    }

    fn entries(&self) -> usize {
        self.iter().map(entries_of).sum()
    }
}

impl<O: Flaggable> FlagSlots for Pin<Box<[Slot<O>]>> {
    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
        elements(self.get_mut().as_mut()).for_each(|slot| flag_op(slot, flags));
    }
}

fn visit_slice<O: Operation>(slots: Pin<&mut [Slot<O>]>, visitor: &mut impl Visit) -> ControlFlow<()> {
    elements(slots).enumerate().try_for_each(|(index, slot)| visitor.visit(index, slot))
}

fn take_from_slice<O: Operation>(slots: Pin<&mut [Slot<O>]>, index: usize) -> (usize, O::Output) {
    (index, elements(slots).nth(index).expect("the winner is one of the arms").take())
}

/// Iterators of std become a `Vec` of arms. A blanket over `IntoIterator` would forbid tuples, which std might make
/// iterable one day, so the adaptors are listed.
macro_rules! iterator_arms {
    ($({$($generics:tt)*} $iter:ty;)+) => { $(
        impl<$($generics)*> IntoArms for $iter
        where
            Self: Iterator<Item: Operation>,
        {
            type Arms = Vec<<Self as Iterator>::Item>;

            fn into_arms(self) -> Self::Arms {
                self.collect()
            }
        }
    )+ };
}

iterator_arms! {
    {I, F} iter::Map<I, F>;
    {I, F} iter::FilterMap<I, F>;
    {I: Iterator, U: IntoIterator, F} iter::FlatMap<I, U, F>;
    {I: Iterator<Item: IntoIterator>} iter::Flatten<I>;
    {I, J} iter::Chain<I, J>;
    {I} iter::Take<I>;
    {I} iter::Skip<I>;
    {I} iter::Rev<I>;
    {I, P} iter::Filter<I, P>;
    {I, P} iter::TakeWhile<I, P>;
    {F} iter::FromFn<F>;
    {F} iter::RepeatWith<F>;
    {T} std::vec::IntoIter<T>;
    {T} std::vec::Drain<'_, T>;
}
