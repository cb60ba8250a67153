//! What a combinator takes: tuples, arrays and `Vec`s of operations, and iterators that yield them.
//!
//! Knows: [`Operation`], [`RingOperation`]. Does not know: what any combinator does with its arms; each
//! is a visitor written once, for every shape of arms.

use core::ops::ControlFlow;
use core::pin::Pin;

use super::flags::Flaggable;
use super::slot::Slot;
use crate::operation::Operation;
use crate::ops::{EntryFlags, RingOperation};

mod collection;
mod tuple;

/// What can be given to [`when_all`]: a tuple of up to 16 operations, an array, a `Vec`, or an iterator of operations.
///
/// Iterators are accepted as the adaptor types of std (`iter.map(…)`, `filter_map`, `chain`, `rev`, …); collect any
/// other into a `Vec`.
///
/// [`when_all`]: super::when_all
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of operations",
    label = "expected a tuple of 1 to 16 operations, an array, a `Vec` or an iterator of operations",
    note = "more than 16 arms: nest combinators, or use a `Vec`",
    note = "a future becomes an operation with `adapters::future(…)`"
)]
pub trait IntoArms {
    /// The arms as the combinator keeps them: the tuple or array itself, a `Vec` for everything that iterates.
    type Arms: Arms;

    /// Lists the arms, in order.
    fn into_arms(self) -> Self::Arms;
}

/// Operations that a combinator can hold. Sealed: tuples, arrays and `Vec`s.
pub trait Arms: Sized {
    /// What all of them together resolve to, each output in its arm's place.
    type Outputs;
    /// The arms, each with room for its output.
    #[doc(hidden)]
    type Slots: Slots<Outputs = Self::Outputs>;

    /// Makes room for the outputs.
    #[doc(hidden)]
    fn into_slots(self) -> Self::Slots;
}

/// Arms that can race: there is at least one, and the winner has a name. Sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot race",
    label = "expected a tuple of 2 to 16 operations, an array or a `Vec`"
)]
pub trait RaceArms: Arms<Slots: RaceSlots<Winner = Self::Winner>> {
    /// The winner's output, and which arm it was: `OneOf2` … `OneOf16` for tuples, `(index, output)` otherwise.
    type Winner;

    /// Whether there is an arm that could decide. What can be known at compile time does not compile otherwise.
    #[doc(hidden)]
    fn has_arms(&self) -> bool {
        true
    }
}

/// Arms that can be linked: each of them is a ring operation. Sealed.
pub trait ChainArms: Arms<Slots: RingSlots> {}

impl<T: Arms<Slots: RingSlots>> ChainArms for T {}

/// Arms that are ring operations, or combinators of nothing else, so that flags reach every entry below. Sealed.
pub trait FlagArms: Arms<Slots: FlagSlots> {}

impl<T: Arms<Slots: FlagSlots>> FlagArms for T {}

/// The arms of a combinator that was started or is about to be. They stay where they are.
pub trait Slots {
    /// What all of them together resolve to.
    type Outputs;

    /// Shows the visitor every arm, in order, until it breaks.
    fn visit(self: Pin<&mut Self>, visitor: &mut impl Visit) -> ControlFlow<()>;

    /// The outputs of arms that have all completed.
    fn take(self: Pin<&mut Self>) -> Self::Outputs;
}

/// The arms of a race.
pub trait RaceSlots: Slots {
    /// The winner's output, and which arm it was.
    type Winner;

    /// The output of arm `index`, which has completed.
    fn take_winner(self: Pin<&mut Self>, index: usize) -> Self::Winner;
}

/// What a combinator does with one arm.
pub trait Visit {
    /// Looks at arm `index`; `Break` spares the rest.
    fn visit<O: Operation>(&mut self, index: usize, arm: Pin<&mut Slot<O>>) -> ControlFlow<()>;
}

/// The arms of a chain.
pub trait RingSlots: Slots {
    /// Shows the visitor every arm, in order, until it breaks.
    fn visit_ring(self: Pin<&mut Self>, visitor: &mut impl VisitRing) -> ControlFlow<()>;

    /// How many entries all arms together will queue.
    fn entries(&self) -> usize;
}

/// What a chain does with one arm.
pub trait VisitRing {
    /// Looks at the next arm, which has not completed; `Break` spares the rest.
    fn visit<O: RingOperation>(&mut self, op: Pin<&mut O>) -> ControlFlow<()>;
}

/// The arms of a combinator whose entries can be flagged.
pub trait FlagSlots: Slots {
    /// Adds the flags to every entry below.
    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags);
}

fn visit_op<O: RingOperation>(arm: Pin<&mut Slot<O>>, visitor: &mut impl VisitRing) -> ControlFlow<()> {
    arm.op().map_or(ControlFlow::Continue(()), |op| visitor.visit(op))
}

fn flag_op<O: Flaggable>(arm: Pin<&mut Slot<O>>, flags: EntryFlags) {
    if let Some(op) = arm.op() {
        op.add_flags(flags);
    }
}

fn entries_of<O: RingOperation>(arm: &Slot<O>) -> usize {
    arm.peek().map_or(0, RingOperation::entries)
}
