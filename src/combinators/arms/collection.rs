//! Arms of one type: arrays, kept inline, `Vec`s, kept in one allocation, and iterators, which fill a `Vec`.
//!
//! Knows: [`Operation`]. Does not know: what a combinator does with its arms.

use core::ops::ControlFlow;
use core::pin::Pin;
use core::time::Duration;

use super::{
    Arms, Ask, FlagSlots, Given, IntoArms, RaceArms, RaceSlots, RingSlots, Slots, Visit, VisitRing, Yielded,
    entries_of, flag_op, visit_op,
};
use crate::combinators::flags::Flaggable;
use crate::combinators::limit::{LimitArms, Limitable};
use crate::combinators::slot::Slot;
use crate::operation::Operation;
use crate::ops::{EntryFlags, RingOperation};
use crate::util::pinned::elements;

impl<O, const N: usize> IntoArms<Given> for [O; N] {
    type Arms = Self;

    fn into_arms(self) -> Self {
        self
    }
}

impl<O: Operation, const N: usize> Arms for [O; N] {
    type Outputs = [O::Output; N];
    type Order = [usize; N];
    type Slots = [Slot<O>; N];

    fn into_slots(self) -> Self::Slots {
        self.map(Slot::new)
    }
}

impl<O: Operation, const N: usize> RaceArms for [O; N] {
    type Winner = (usize, O::Output);

    fn has_arms(&self) -> bool {
        const { assert!(N > 0, "a race of nothing: it needs at least one arm to decide it") };
        true
    }
}

impl<O: Operation, const N: usize> Slots for [Slot<O>; N] {
    type Outputs = [O::Output; N];
    type Order = [usize; N];

    fn new_order(&self) -> [usize; N] {
        [0; N]
    }

    fn visit(self: Pin<&mut Self>, visitor: &mut impl Visit) -> ControlFlow<()> {
        visit_slice(self, visitor)
    }

    fn any<Q: Ask>(&self) -> bool {
        self.iter().any(Q::ask)
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

impl<O: Limitable, const N: usize> LimitArms for [O; N] {
    type Limited = [O::Limited; N];

    fn limit(slots: Self::Slots, after: Duration) -> Self::Limited {
        slots.map(|slot| slot.into_op().limited(after))
    }
}

impl<O> IntoArms<Given> for Vec<O> {
    type Arms = Self;

    fn into_arms(self) -> Self {
        self
    }
}

impl<O: Operation> Arms for Vec<O> {
    type Outputs = Vec<O::Output>;
    type Order = Vec<usize>;
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
    type Order = Vec<usize>;

    fn new_order(&self) -> Vec<usize> {
        vec![0; self.len()]
    }

    fn visit(self: Pin<&mut Self>, visitor: &mut impl Visit) -> ControlFlow<()> {
        visit_slice(self.get_mut().as_mut(), visitor)
    }

    fn any<Q: Ask>(&self) -> bool {
        self.iter().any(Q::ask)
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

impl<O: Limitable + Unpin> LimitArms for Vec<O> {
    type Limited = Vec<O::Limited>;

    fn limit(slots: Self::Slots, after: Duration) -> Self::Limited {
        let slots = Pin::into_inner(slots).into_iter();
        slots.map(|slot| slot.into_op().limited(after)).collect()
    }
}

fn visit_slice<O: Operation>(slots: Pin<&mut [Slot<O>]>, visitor: &mut impl Visit) -> ControlFlow<()> {
    elements(slots).enumerate().try_for_each(|(index, slot)| visitor.visit(index, slot))
}

fn take_from_slice<O: Operation>(slots: Pin<&mut [Slot<O>]>, index: usize) -> (usize, O::Output) {
    (index, elements(slots).nth(index).expect("the winner is one of the arms").take())
}

#[diagnostic::do_not_recommend] // or a number given as arms would be told that it is no iterator
impl<I: Iterator> IntoArms<Yielded> for I {
    type Arms = Vec<I::Item>;

    fn into_arms(self) -> Self::Arms {
        self.collect()
    }
}
