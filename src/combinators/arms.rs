//! What a combinator takes: tuples, arrays and `Vec`s of operations, and whatever yields them.
//!
//! Knows: [`Operation`], [`RingOperation`]. Does not know: what any combinator does with its arms; each
//! is a visitor written once, for every shape of arms.

use core::error::Error;
use core::fmt;
use core::ops::ControlFlow;
use core::pin::Pin;

use super::flags::Flaggable;
use super::slot::Slot;
use crate::operation::Operation;
use crate::ops::{EntryFlags, RingOperation};

mod collection;
mod tuple;

/// What can be given to a combinator: a tuple of up to 16 operations, an array, a `Vec`, or any iterator of operations.
///
/// `Form` says which of the two, [`Given`] or [`Yielded`], and is inferred. It is there because the compiler cannot rule
/// out that a tuple becomes an iterator one day. A function of your own that takes arms has it too:
///
/// ```
/// use millstream::combinators::{Arms, IntoArms, WhenAll, when_all};
///
/// fn both<T: IntoArms<Form, Arms: Arms>, Form>(arms: T) -> WhenAll<T::Arms> {
///     when_all(arms)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of operations",
    label = "expected a tuple of 1 to 16 operations, an array, a `Vec` or an iterator of operations",
    note = "more than 16 arms: nest combinators, or use a `Vec`",
    note = "a future becomes an operation with `adapters::future(…)`"
)]
pub trait IntoArms<Form> {
    /// The arms as the combinator keeps them: the tuple, array or `Vec` itself, a `Vec` of what an iterator yields.
    type Arms;

    /// Lists the arms, in order.
    fn into_arms(self) -> Self::Arms;
}

/// The form of arms that are given as they are kept: tuples, arrays and `Vec`s.
#[derive(Debug)]
pub enum Given {}

/// The form of arms that an iterator yields.
#[derive(Debug)]
pub enum Yielded {}

/// Operations that a combinator can hold. Sealed: tuples, arrays and `Vec`s.
pub trait Arms: Sized {
    /// What all of them together resolve to, each output in its arm's place.
    type Outputs;
    /// Their places, in the order in which they completed: `[usize; N]`, or `Vec<usize>` if their number is not known to
    /// the compiler.
    type Order: AsRef<[usize]> + AsMut<[usize]>;
    /// The arms, each with room for its output.
    #[doc(hidden)]
    type Slots: Slots<Outputs = Self::Outputs, Order = Self::Order>;

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

/// There are no arms, so none could ever decide a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoArms;

impl fmt::Display for NoArms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a race of nothing: it needs at least one arm to decide it")
    }
}

impl Error for NoArms {}

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
    /// Room for the places of all arms.
    type Order: AsRef<[usize]> + AsMut<[usize]>;

    /// Room for the places of all arms, with nothing in it yet.
    fn new_order(&self) -> Self::Order;

    /// Shows the visitor every arm, in order, until it breaks.
    fn visit(self: Pin<&mut Self>, visitor: &mut impl Visit) -> ControlFlow<()>;

    /// Whether it is so of any arm: asked in order, until it is.
    fn any<A: Ask>(&self) -> bool;

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

/// What can be asked of an arm where it is, without a poll.
pub trait Ask {
    /// Whether it is so of this arm.
    fn ask<O: Operation>(arm: &Slot<O>) -> bool;
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
