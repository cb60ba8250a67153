//! Arms of different types: tuples, kept inline, one pinned struct per arity.
//!
//! Knows: [`Operation`], the `OneOf` enums. Does not know: what a combinator does with its arms.

use core::ops::ControlFlow;
use core::pin::Pin;
use core::time::Duration;

use pin_project_lite::pin_project;

use super::{
    Arms, Ask, FlagSlots, Given, IntoArms, RaceArms, RaceSlots, RingSlots, Slots, Visit, VisitRing,
    entries_of, flag_op, visit_op,
};
use crate::combinators::flags::Flaggable;
use crate::combinators::limit::{LimitArms, Limitable};
use crate::combinators::one_of;
use crate::combinators::slot::Slot;
use crate::operation::Operation;
use crate::ops::{EntryFlags, RingOperation};

impl IntoArms<Given> for () {
    type Arms = Self;

    fn into_arms(self) {}
}

impl Arms for () {
    type Outputs = ();
    type Order = [usize; 0];
    type Slots = ();

    fn into_slots(self) {}
}

impl Slots for () {
    type Outputs = ();
    type Order = [usize; 0];

    fn new_order(&self) -> [usize; 0] {
        []
    }

    fn visit(self: Pin<&mut Self>, _visitor: &mut impl Visit) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn any<Q: Ask>(&self) -> bool {
        false
    }

    fn take(self: Pin<&mut Self>) {}
}

impl RingSlots for () {
    fn visit_ring(self: Pin<&mut Self>, _visitor: &mut impl VisitRing) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn entries(&self) -> usize {
        0
    }
}

impl LimitArms for () {
    type Limited = ();

    fn limit((): (), _after: Duration) {}
}

impl FlagSlots for () {
    fn add_flags(self: Pin<&mut Self>, _flags: EntryFlags) {}
}

/// Arms of one arity: the slots, their order, and the tuple of outputs.
macro_rules! tuple_arms {
    ($Slots:ident: $($T:ident $arm:ident $index:tt),+) => {
        pin_project! {
            /// A tuple of arms, each with room for its output.
            pub struct $Slots<$($T: Operation,)+> {
                $(#[pin] $arm: Slot<$T>,)+
            }
        }

        impl<$($T),+> IntoArms<Given> for ($($T,)+) {
            type Arms = Self;

            fn into_arms(self) -> Self {
                self
            }
        }

        impl<$($T: Operation),+> Arms for ($($T,)+) {
            type Outputs = ($($T::Output,)+);
            type Order = [usize; [$($index),+].len()];
            type Slots = $Slots<$($T),+>;

            fn into_slots(self) -> Self::Slots {
                let ($($arm,)+) = self;
                $Slots { $($arm: Slot::new($arm)),+ }
            }
        }

        impl<$($T: Operation),+> Slots for $Slots<$($T),+> {
            type Outputs = ($($T::Output,)+);
            type Order = [usize; [$($index),+].len()];

            fn new_order(&self) -> Self::Order {
                [0; [$($index),+].len()]
            }

            fn visit(self: Pin<&mut Self>, visitor: &mut impl Visit) -> ControlFlow<()> {
                let slots = self.project();
                $(visitor.visit($index, slots.$arm)?;)+
                ControlFlow::Continue(())
            }

            fn any<Q: Ask>(&self) -> bool {
                false $(|| Q::ask(&self.$arm))+
            }

            fn take(self: Pin<&mut Self>) -> Self::Outputs {
                let slots = self.project();
                ($(slots.$arm.take(),)+)
            }
        }

        impl<$($T: RingOperation),+> RingSlots for $Slots<$($T),+> {
            fn visit_ring(self: Pin<&mut Self>, visitor: &mut impl VisitRing) -> ControlFlow<()> {
                let slots = self.project();
                $(visit_op(slots.$arm, visitor)?;)+
                ControlFlow::Continue(())
            }

            fn entries(&self) -> usize {
                0 $(+ entries_of(&self.$arm))+
            }
        }

        impl<$($T: Flaggable),+> FlagSlots for $Slots<$($T),+> {
            fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
                let slots = self.project();
                $(flag_op(slots.$arm, flags);)+
            }
        }

        impl<$($T: Limitable),+> LimitArms for ($($T,)+) {
            type Limited = ($($T::Limited,)+);

            fn limit(slots: Self::Slots, after: Duration) -> Self::Limited {
                let ($($arm,)+) = slots.into_ops();
                ($($arm.limited(after),)+)
            }
        }

        impl<$($T: Operation),+> $Slots<$($T),+> {
            /// The operations back, to put them into a larger combinator.
            #[track_caller]
            pub(in crate::combinators) fn into_ops(self) -> ($($T,)+) {
                ($(self.$arm.into_op(),)+)
            }
        }
    };
}

/// As above, and two or more can race.
macro_rules! race_arms {
    ($Slots:ident $OneOf:ident: $($T:ident $arm:ident $index:tt),+) => {
        tuple_arms!($Slots: $($T $arm $index),+);

        impl<$($T: Operation),+> RaceArms for ($($T,)+) {
            type Winner = one_of::$OneOf<$($T::Output),+>;
        }

        impl<$($T: Operation),+> RaceSlots for $Slots<$($T),+> {
            type Winner = one_of::$OneOf<$($T::Output),+>;

            fn take_winner(self: Pin<&mut Self>, index: usize) -> Self::Winner {
                let slots = self.project();
                match index {
                    $($index => one_of::$OneOf::$T(slots.$arm.take()),)+
                    _ => unreachable!("the winner is one of the arms"),
                }
            }
        }
    };
}

tuple_arms!(Slots1: A a 0);
race_arms!(Slots2 OneOf2: A a 0, B b 1);
race_arms!(Slots3 OneOf3: A a 0, B b 1, C c 2);
race_arms!(Slots4 OneOf4: A a 0, B b 1, C c 2, D d 3);
race_arms!(Slots5 OneOf5: A a 0, B b 1, C c 2, D d 3, E e 4);
race_arms!(Slots6 OneOf6: A a 0, B b 1, C c 2, D d 3, E e 4, F f 5);
race_arms!(Slots7 OneOf7: A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6);
race_arms!(Slots8 OneOf8: A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7);
race_arms!(Slots9 OneOf9: A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8);
race_arms!(Slots10 OneOf10: A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8, J j 9);
race_arms!(Slots11 OneOf11: A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8, J j 9, K k 10);
race_arms!(Slots12 OneOf12: A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8, J j 9, K k 10, L l 11);
race_arms!(Slots13 OneOf13: A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8, J j 9, K k 10, L l 11, M m 12);
race_arms!(Slots14 OneOf14: A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8, J j 9, K k 10, L l 11, M m 12, N n 13);
race_arms!(Slots15 OneOf15: A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8, J j 9, K k 10, L l 11, M m 12, N n 13, O o 14);
race_arms!(Slots16 OneOf16: A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8, J j 9, K k 10, L l 11, M m 12, N n 13, O o 14, P p 15);
