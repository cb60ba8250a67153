//! One `select!`: who is asked in which order, and when the block of the winner may run.
//!
//! Knows: the tree of arms, chance, the poll budget. Does not know: what an arm's output becomes, which the macro's
//! closure says.

use core::cell::Cell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::looks::Looks;
use super::tree::Tree;
use crate::util::{executor, random};

/// What one poll of one arm came to.
#[derive(Debug)]
pub enum Polled<T> {
    /// It waits.
    Waits,
    /// It has come to its end, of which an arm `Ok(…)` takes no notice.
    Ended,
    /// It wins, with this.
    Won(T),
}

/// How a `select!` chooses, and what else it can do.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The first of several ready arms wins, not any of them.
    pub biased: bool,
    /// There is a `default`: it does not wait.
    pub default: bool,
}

/// What came of the arms before they were pinned.
#[derive(Clone, Copy, Debug)]
pub enum Before {
    /// Nobody was asked, or not everybody.
    Unasked,
    /// No arm was ready: all that is left is to wait.
    NoneReady,
    /// This arm was chosen, but it must be polled to know.
    First(u32),
}

/// Why no arm won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoArm {
    /// None was ready, and there is a `default`.
    NotReady,
    /// All are disabled or have ended.
    Ended,
}

pin_project! {
    /// The future that the macro awaits.
    ///
    /// ```text
    /// Fresh ─▶ Racing ─┬─ an arm has decided ──▶ Settling(arm) ─┬─ it resolved ──▶ Discarding ──▶ over
    ///            ▲     │                               │        │                     ▲
    ///            │     ├─ an arm resolved, or default ─┼────────┴─────────────────────┤
    ///            │     └─ all have ended ──────────────┼──────────────────────────────┘
    ///            └───────────── it came to its end ────┘
    /// ```
    #[must_use = "nothing starts until it is awaited"]
    #[derive(Debug)]
    pub struct Turn<'a, A, P, T> {
        arms: Pin<&'a mut A>,
        poll: P,
        // The arms that can still win.
        live: u64,
        rules: Rules,
        before: Before,
        looks: Looks,
        phase: Phase<T>,
    }
}

#[derive(Debug)]
enum Phase<T> {
    /// No arm knows that it races.
    Fresh,
    Racing,
    /// This arm has decided and waits something out: no other may take effect meanwhile, so no other is polled.
    Settling(u32),
    /// It is known what comes out; these arms are waited out.
    Discarding(u64, Option<Result<T, NoArm>>),
}

impl<'a, A: Tree, T, P> Turn<'a, A, P, T>
where
    P: FnMut(Pin<&mut A>, u32, &mut Context<'_>) -> Polled<T>,
{
    /// A race of the arms in the mask, each polled by `poll`.
    #[inline]
    pub fn new(arms: Pin<&'a mut A>, live: u64, rules: Rules, before: Before, poll: P) -> Self {
        Self { arms, poll, live, rules, before, looks: Looks::Unbegun, phase: Phase::Fresh }
    }
}

impl<A: Tree, T, P> Future for Turn<'_, A, P, T>
where
    P: FnMut(Pin<&mut A>, u32, &mut Context<'_>) -> Polled<T>,
{
    type Output = Result<T, NoArm>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut race = Race {
            arms: this.arms.as_mut(),
            poll: this.poll,
            live: this.live,
            looks: this.looks,
            rules: *this.rules,
        };
        let result = match this.phase {
            Phase::Fresh => {
                race.arms.as_mut().commit(*race.live);
                *this.phase = Phase::Racing; // Fresh -> Racing
                match *this.before {
                    Before::Unasked => race.run(cx),
                    Before::NoneReady => race.wait(cx),
                    Before::First(arm) => match race.ask(arm, cx) {
                        Some(step) => step,
                        None => race.run(cx),
                    },
                }
            }
            Phase::Racing => race.run(cx),
            Phase::Settling(arm) => race.settle(*arm, cx),
            Phase::Discarding(left, result) => {
                *left = race.arms.discard(*left, cx);
                if *left != 0 {
                    return Poll::Pending;
                }
                return Poll::Ready(result.take().expect("`select!` was polled after completion"));
            }
        };
        let (result, losers) = match result {
            Step::Waits => return Poll::Pending,
            Step::Settles(arm) => {
                *this.phase = Phase::Settling(arm);
                return Poll::Pending;
            }
            Step::Won(arm, output) => (Ok(output), *race.live & !(1 << arm)),
            Step::None(why) => (Err(why), *race.live),
        };
        let left = race.arms.discard(losers, cx);
        if left == 0 {
            return Poll::Ready(result);
        }
        *this.phase = Phase::Discarding(left, Some(result));
        Poll::Pending
    }
}

/// Where a race stands after a poll.
enum Step<T> {
    Waits,
    Settles(u32),
    Won(u32, T),
    None(NoArm),
}

struct Race<'a, A, P> {
    arms: Pin<&'a mut A>,
    poll: &'a mut P,
    live: &'a mut u64,
    looks: &'a mut Looks,
    rules: Rules,
}

impl<A: Tree, P> Race<'_, A, P> {
    #[inline]
    fn run<T>(&mut self, cx: &mut Context<'_>) -> Step<T>
    where
        P: FnMut(Pin<&mut A>, u32, &mut Context<'_>) -> Polled<T>,
    {
        // First those that may be ready, in an order of chance, and none of the others: so nobody begins to wait, and no
        // op is started, beside an arm that is ready.
        let mut hopeful = self.arms.look() & *self.live;
        let none = hopeful == 0;
        while hopeful != 0 {
            let arm = pick(hopeful, A::COUNT, self.rules);
            hopeful &= !(1 << arm);
            if let Some(step) = self.ask(arm, cx) {
                self.looks.found();
                return step;
            }
        }
        // One that is ready may have been refused for lack of budget. It is not less ready for that.
        if !none && executor::is_spent() && !executor::spend(cx) {
            return Step::Waits;
        }
        self.wait(cx)
    }

    /// Nobody was ready.
    #[inline(never)]
    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Step<T>
    where
        P: FnMut(Pin<&mut A>, u32, &mut Context<'_>) -> Polled<T>,
    {
        if *self.live != 0 && self.rules.default {
            // A unit of the poll's budget, so that a loop of these lets other tasks run, and the ring. And had an arm been
            // refused for lack of one, it would not be true that nobody was ready.
            return if executor::spend(cx) { Step::None(NoArm::NotReady) } else { Step::Waits };
        }
        let Self { arms, live, looks, .. } = self;
        if **live != 0 && looks.again(cx, || arms.may_be_put_off(**live)) {
            return Step::Waits; // nobody was begun
        }
        // Everybody waits, with this waker; from a place of chance on, since some may resolve as they begin.
        let first = if self.rules.biased { 0 } else { random::below(A::COUNT) };
        let from_first = u64::MAX << first;
        for mut part in [*self.live & from_first, *self.live & !from_first] {
            while part != 0 {
                let arm = part.trailing_zeros();
                part &= part - 1;
                if let Some(step) = self.ask(arm, cx) {
                    return step;
                }
            }
        }
        if *self.live == 0 { Step::None(NoArm::Ended) } else { Step::Waits }
    }

    /// Polls one arm; `None`: the race goes on.
    #[inline(always)]
    fn ask<T>(&mut self, arm: u32, cx: &mut Context<'_>) -> Option<Step<T>>
    where
        P: FnMut(Pin<&mut A>, u32, &mut Context<'_>) -> Polled<T>,
    {
        match (self.poll)(self.arms.as_mut(), arm, cx) {
            Polled::Won(output) => Some(Step::Won(arm, output)),
            Polled::Ended => {
                *self.live &= !(1 << arm);
                None
            }
            // Discarding it now would lose what it took.
            Polled::Waits => self.arms.is_decided(1 << arm).then_some(Step::Settles(arm)),
        }
    }

    /// Polls the arm that has decided; the race goes on if it comes to its end after all.
    #[cold]
    fn settle<T>(&mut self, arm: u32, cx: &mut Context<'_>) -> Step<T>
    where
        P: FnMut(Pin<&mut A>, u32, &mut Context<'_>) -> Polled<T>,
    {
        match (self.poll)(self.arms.as_mut(), arm, cx) {
            Polled::Won(output) => Step::Won(arm, output),
            Polled::Waits => Step::Settles(arm),
            Polled::Ended => {
                *self.live &= !(1 << arm);
                self.run(cx)
            }
        }
    }
}

/// No arm may be ready, and there is a `default`: whether it runs at once. It takes a unit of the poll's budget, so that a
/// loop of these lets other tasks run, and the ring; without one left, the poll has to end.
#[inline]
pub fn give_up() -> bool {
    executor::try_spend()
}

/// How many arms are tried unseen where most are likely to be ready: with three of four ready, one in sixteen turns has to
/// look at all.
const GUESSES: u32 = 2;

thread_local! {
    /// When this thread last looked at all arms of a `select!`, most were ready, and every guess since then was right.
    static CROWDED: Cell<bool> = const { Cell::new(false) };
}

/// What is tried next of arms that have not been pinned.
#[derive(Clone, Copy, Debug)]
pub enum Try {
    /// This one, unseen.
    One(u32),
    /// Those that look ready.
    All,
    /// Nothing more: no arm is ready.
    None,
}

/// In which order the arms of a `select!` are tried before they are pinned.
///
/// A look at an arm of another thread fetches memory that this thread writes. Who draws from the arms that are ready has to
/// look at all of them; who draws from all arms, and keeps what he drew only if it is ready, chooses among the ready ones
/// just as fairly, and mostly looks at one only where most are ready.
#[derive(Debug)]
pub struct Tries {
    arms: u32,
    guesses: u32,
    looked: bool,
}

impl Tries {
    /// At so many arms.
    #[inline]
    pub fn new(arms: u32, rules: Rules) -> Self {
        let crowded = arms > 1 && !rules.biased && CROWDED.get();
        Self { arms, guesses: if crowded { GUESSES } else { 0 }, looked: false }
    }

    /// What comes next, where nothing has come of what was before.
    #[inline]
    pub fn step(&mut self) -> Try {
        if self.guesses > 0 {
            self.guesses -= 1;
            return Try::One(random::below(self.arms));
        }
        if self.looked {
            return Try::None;
        }
        self.looked = true;
        CROWDED.set(false);
        Try::All
    }
}

/// Adds an arm to the mask.
#[cold]
#[inline(never)] // or it would be no branch, but a computation in which each look waits for the one before it
pub fn found(arms: u64, arm: u64) -> u64 {
    arms | arm
}

/// One of the arms of the mask, which is not empty, of so many: the first, or any, each as likely as any other.
#[inline]
pub fn pick(mut bits: u64, arms: u32, rules: Rules) -> u32 {
    if bits & (bits - 1) != 0 && !rules.biased {
        let count = bits.count_ones();
        CROWDED.set(count > arms / 2);
        for _ in 0..random::below(count) {
            bits &= bits - 1;
        }
    }
    bits.trailing_zeros()
}
