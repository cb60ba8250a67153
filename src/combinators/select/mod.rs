//! `select!`: one of several operations takes effect, and its block runs.
//!
//! Knows: [`Operation`], chance. Does not know: rings, channels, tasks; how the macro's text is split, which is the macro
//! crate's.

mod looks;
mod set;
#[cfg(all(test, feature = "macros"))]
mod tests;
mod tree;
mod turn;

pub use set::{Key, Next, Select};

#[cfg(feature = "macros")]
#[doc(hidden)]
pub use millstream_macros::__select as __expand_select;

/// What the expansion of `select!` is made of.
#[doc(hidden)]
pub mod __select {
    use core::future::Future;
    use core::task::Poll;

    pub use super::tree::{Guarded, Leaf, Pair};
    pub use super::turn::{Before, NoArm, Polled, Rules, Tries, Try, Turn, found, give_up, pick};
    use crate::operation::{EndOfChannel, Operation};

    /// An operation that is to be an arm. Its method `arm` is chosen by its type: see [`Arm`].
    #[derive(Debug)]
    pub struct Given<O>(pub O);

    /// An operation that may be an arm.
    #[derive(Debug)]
    pub struct Safe<O>(O);

    /// A push that carries its value, which would be dropped when another arm wins.
    #[derive(Debug)]
    pub struct CarriesItsValue<O>(pub O);

    /// Any operation may be an arm, unless [`Given`] has a method of its own for its type, which then goes first.
    pub trait Arm: Sized {
        /// What it is.
        type Op;

        /// The operation, if it may be an arm.
        fn arm(self) -> Safe<Self::Op>;
    }

    impl<O> Arm for Given<O> {
        type Op = O;

        #[inline(always)]
        fn arm(self) -> Safe<O> {
            Safe(self.0)
        }
    }

    /// What `arm` may come to.
    #[diagnostic::on_unimplemented(
        message = "the value of this push would be lost when another arm wins",
        label = "a push that carries its value cannot be given up without losing it",
        note = "keep the value until it is pushed: `pushed = sender.push_from(&mut option) => …`",
        note = "or make it when there is room: `permit = sender.reserve() => permit?.push(value)?`",
        note = "or keep the push for the next turn: `pushed = &mut push => …`, where `push` is pinned"
    )]
    pub trait MayBeArm {
        /// The operation, which has not been polled.
        type Unpolled: Unpolled;

        /// The operation.
        fn unpolled(self) -> Self::Unpolled;
    }

    impl<O: Operation> MayBeArm for Safe<O> {
        type Unpolled = Leaf<O>;

        #[inline(always)]
        fn unpolled(self) -> Leaf<O> {
            Leaf { op: self.0 }
        }
    }

    /// An arm: checked here, so that an error points at it.
    #[inline(always)]
    pub fn operation<A: MayBeArm>(arm: A) -> A::Unpolled {
        arm.unpolled()
    }

    /// An arm `Ok(…)`: the same, and that its error can be left out.
    #[inline(always)]
    pub fn operation_that_ends<V, E: EndOfChannel, A>(arm: A) -> A::Unpolled
    where
        A: MayBeArm<Unpolled: Unpolled<Op: Operation<Output = Result<V, E>>>>,
    {
        arm.unpolled()
    }

    /// An arm that has not been polled: it can be looked at and tried where it is, and pinned afterwards.
    pub trait Unpolled {
        /// The operation.
        type Op: Operation;

        /// As [`Operation::may_resolve`].
        fn may_resolve(&self) -> bool;

        /// As [`Operation::is_inert`].
        fn is_inert(&self) -> bool;

        /// As [`Operation::try_now`], or `Pending` if it would have to wait; `None`: it must be polled to know. `looked`: it has
        /// been found that it may resolve.
        fn attempt(&mut self, looked: bool) -> Option<Poll<<Self::Op as Future>::Output>>;

        /// The operation, to be pinned and polled.
        fn begin(self) -> Self::Op;
    }

    impl<O: Operation> Unpolled for Leaf<O> {
        type Op = O;

        #[inline(always)]
        fn may_resolve(&self) -> bool {
            self.op.may_resolve()
        }

        #[inline(always)]
        fn is_inert(&self) -> bool {
            self.op.is_inert()
        }

        #[inline(always)]
        fn attempt(&mut self, looked: bool) -> Option<Poll<O::Output>> {
            if !looked && !self.op.may_resolve() {
                return Some(Poll::Pending);
            }
            self.op.try_now().map(Poll::Ready)
        }

        #[inline(always)]
        fn begin(self) -> O {
            self.op
        }
    }

    /// One arm, with or without a guard, in both of its lives.
    pub trait Place {
        /// What it resolves to.
        type Output;
        /// Its place among the arms that are pinned.
        type Pinned;

        /// Whether it may resolve now.
        fn look(&self) -> bool;

        /// Whether it may be dropped as it is.
        fn is_inert(&self) -> bool;

        /// As [`Unpolled::attempt`].
        fn attempt(&mut self, looked: bool) -> Option<Poll<Self::Output>>;

        /// To be pinned.
        fn begin(self) -> Self::Pinned;
    }

    /// An arm without a guard.
    #[derive(Debug)]
    pub struct Always<U>(pub U);

    impl<U: Unpolled> Place for Always<U> {
        type Output = <U::Op as Future>::Output;
        type Pinned = Leaf<U::Op>;

        #[inline(always)]
        fn look(&self) -> bool {
            self.0.may_resolve()
        }

        #[inline(always)]
        fn is_inert(&self) -> bool {
            self.0.is_inert()
        }

        #[inline(always)]
        fn attempt(&mut self, looked: bool) -> Option<Poll<Self::Output>> {
            self.0.attempt(looked)
        }

        #[inline(always)]
        fn begin(self) -> Self::Pinned {
            Leaf { op: self.0.begin() }
        }
    }

    /// An arm with a guard; without an operation where that was false.
    #[derive(Debug)]
    pub struct When<U>(pub Option<U>);

    impl<U: Unpolled> Place for When<U> {
        type Output = <U::Op as Future>::Output;
        type Pinned = Guarded<U::Op>;

        #[inline(always)]
        fn look(&self) -> bool {
            self.0.as_ref().is_some_and(Unpolled::may_resolve)
        }

        #[inline(always)]
        fn is_inert(&self) -> bool {
            self.0.as_ref().is_none_or(Unpolled::is_inert)
        }

        #[inline(always)]
        fn attempt(&mut self, looked: bool) -> Option<Poll<Self::Output>> {
            self.0.as_mut().and_then(|arm| arm.attempt(looked))
        }

        #[inline(always)]
        fn begin(self) -> Self::Pinned {
            Guarded { op: self.0.map(Unpolled::begin) }
        }
    }

    /// An arm whose whole outcome is wanted.
    #[inline(always)]
    pub fn won<V, T>(polled: Poll<V>, outcome: impl FnOnce(V) -> T) -> Polled<T> {
        match polled {
            Poll::Ready(value) => Polled::Won(outcome(value)),
            Poll::Pending => Polled::Waits,
        }
    }

    /// An arm `Ok(…)`, of which only values are wanted.
    #[inline(always)]
    pub fn unless_ended<V, E, T>(polled: Poll<Result<V, E>>, outcome: impl FnOnce(V) -> T) -> Polled<T> {
        match polled {
            Poll::Ready(Ok(value)) => Polled::Won(outcome(value)),
            Poll::Ready(Err(_)) => Polled::Ended,
            Poll::Pending => Polled::Waits,
        }
    }

    /// Where the macro has seen to it that nobody comes.
    #[cold]
    pub fn never() -> ! {
        unreachable!("a `select!` without arms that can win")
    }
}

/// Waits for several operations at once, lets one of them take effect, and runs its block.
///
/// ```text
/// select! {
///     biased;                                       // optional: the first ready arm, not any
///     pattern = operation => block,                 // up to 64 arms
///     pattern = operation, if condition => block,   // a guard, where tokio has it
///     Ok(pattern) = receiver.pop() => block,        // left out once the channel is closed and drained
///     pattern = &mut operation => block,            // stays in flight for the next turn
///     default => block,                             // optional: do not wait
///     complete => block,                            // optional: every arm is disabled
/// }
/// ```
///
/// It is an expression of the surrounding `async` code, not a closure and not a task: blocks may use `?`, `break` (with a
/// value), `continue`, `return` and `.await`, and all have one type. Commas are as in `match`. When a block runs, the
/// operations of all arms are gone, so it may use what they borrowed.
///
/// # Completion
///
/// * Exactly one arm takes effect. Which one is drawn by chance, each ready arm as likely as any other; with `biased` it is
///   the first. An arm that is ready wins over one that must wait first: operations on the ring are started, timers armed
///   and places in line taken only when no arm is ready.
/// * An arm is an [`Operation`](crate::Operation): an op, a channel operation, a timer, a join, a combinator; another future
///   through [`adapters::future`](crate::combinators::adapters::future). Guards are evaluated first, all of them, then the
///   operations whose guards are true, in order; the others are not even evaluated.
/// * The losers are asked to stop and waited out, as by [`when_any`](crate::combinators::when_any): nothing of them is in
///   flight when the block runs, and what they had done is not lost. By value, a message stays in its channel, an accepted
///   connection and received bytes go to the next op on their descriptor; a join cancels its task.
/// * An arm by reference (`&mut operation`, or `operation.as_mut()` of a pinned one) is not stopped: it keeps its place in
///   line, or in the ring, for the next turn of a loop.
/// * A pattern must match whatever comes, as in `let`. `Ok(pattern)` is the one exception, for channels: the
///   [`PopError`](crate::channel::PopError) of a channel that is closed and drained *disables* the arm, and the others go on.
///   Any other error does not compile there, for it would be lost.
/// * `complete` runs when every arm is disabled, by its guard or by the end of its channel. Where that can be, there must be
///   a `complete` or a `default`; where it cannot, a `complete` does not compile.
/// * `default` runs when no arm is ready. An operation by value that would have to be started first, such as an op on the
///   ring, is not ready: give it by reference, and it is in flight from the first turn on. A `default` takes one unit of the
///   poll's budget: a loop of them lets other tasks run now and then.
///
/// # Pushes
///
/// A push by value would drop its value when another arm wins, so it does not compile. The value stays with its owner in
/// one of three ways:
///
/// * `pushed = tx.push_from(&mut slot) => …` takes it out of an `Option` when it wins
///   ([`push_from`](crate::channel::Sender::push_from));
/// * `permit = tx.reserve() => permit?.push(value)?` waits for room and makes the value then
///   ([`reserve`](crate::channel::Sender::reserve));
/// * `pushed = &mut push => …` keeps the push, value and place in line for the next turn.
///
/// In a race, pushes and pops take effect only in a poll of their own. So a `select!` that pushes and one that pops meet at
/// capacity 0 when both wait, and a `default` on one side never meets the other. A push that won at capacity 0 because a
/// pop of another race waited may find that race decided for another arm: its value then waits in the channel for
/// the next pop. A `select!` that both pushes and pops one channel of capacity 0 meets itself in this way.
///
/// # Errors
///
/// None of its own.
///
/// # Cancel safety
///
/// Dropped while it waits, every arm is dropped, each as safe as it is alone, and none has taken effect. Dropped after an arm
/// has won, while losers are waited out, it drops the winner's output too; with channel operations alone there is no such
/// moment.
///
/// # Panics
///
/// None of its own. A panic in an operation passes through, and drops the arms.
///
/// # Cost
///
/// No allocation. A turn looks at every arm once (at `pop` and `push` without a lock), and polls only those that may
/// be ready; only when there is none is every arm polled. On a runtime, a `select!` over pops may look again at the
/// end of a few turns first, as long as that has paid lately: to wait is to stand in every line. Where most arms were
/// ready the last time, an arm drawn at random is tried unseen: if it is ready it wins, which is as fair as to draw
/// from those that are ready, and the others are not looked at. For a number of arms known at run time there is
/// [`Select`](crate::combinators::Select), whose cost does not grow with it. May change.
///
/// # Examples
///
/// ```
/// use millstream::{channel, select};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let ((words_tx, words), (numbers_tx, numbers)) = (channel::bounded(4), channel::bounded(4));
/// words_tx.push("one").await?;
/// numbers_tx.push(2).await?;
/// drop((words_tx, numbers_tx));
///
/// let mut seen = Vec::new();
/// loop {
///     select! {
///         Ok(word) = words.pop() => seen.push(word.to_string()),
///         Ok(number) = numbers.pop() => seen.push(number.to_string()),
///         complete => break,
///     }
/// }
/// seen.sort();
/// assert_eq!(seen, ["2", "one"]);
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias("race", "when_any", "select_biased", "alt"))]
#[macro_export]
macro_rules! select {
    ($($arms:tt)*) => { $crate::combinators::__expand_select!([$crate::combinators::__select] $($arms)*) };
}
