//! The first of several operations.
//!
//! Knows: [`Operation`]. Does not know: rings, channels, tasks.

use core::fmt;
use core::future::Future;
use core::ops::ControlFlow;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::arms::{Arms, IntoArms, NoArms, RaceArms, RaceSlots, Slots, Visit};
use super::slot::Slot;
use super::visit::{Cancel, Commit, Discard, MayResolve, all_wait};
use crate::operation::Operation;

/// Runs operations concurrently until one decides; the others are stopped and waited out.
///
/// Takes a tuple of 2 to 16 operations, an array, a `Vec`, or any iterator. `a | b` and `race!(a || b)` are the same, and
/// `a | b | c` races three arms.
///
/// # Completion
///
/// * The first arm to complete decides. Arms are polled in order, and of several that are ready in one poll the first
///   one wins; the others take no effect. So put first what must not starve, such as a signal to stop.
/// * Arms start in order, at the first poll. An arm that is ready at once wins and the arms after it are never started.
/// * A loser is asked to stop and waited out, so when this completes nothing of it is in flight; a join cancels its task.
///   What it had done all the same is not lost: a message stays in its channel, an accepted connection and received bytes go
///   to the next op on their descriptor. To see what a loser comes to, race it by reference.
/// * A loser that is a [`when_all`](super::when_all), of which some arms have completed and some have not, drops the outputs
///   that it has: a message that one of them popped goes with it. [`lost_into`](super::OperationExt::lost_into) and
///   [`parallel_any`](super::parallel_any) keep them. (A chain takes no output before its end.)
/// * An arm by reference (`&mut op`, or `op.as_mut()` of a pinned one) is not stopped: it stays in flight for its owner.
/// * Output: [`OneOf2`](super::OneOf2) … [`OneOf16`](super::OneOf16) for tuples, `(index, output)` for the others.
/// * [`request_cancel`](Operation::request_cancel) reaches every arm; the first to say so is the winner.
///
/// # Cancel safety
///
/// Dropping it drops every arm, and each is as safe to drop as it is alone. Dropped after an arm has decided, while the
/// others are waited out, it drops the winner's output too. A push that lost drops its value: race it by reference to
/// keep it.
///
/// # Panics
///
/// When given an empty `Vec` or iterator: nothing could ever decide. [`try_when_any`] makes an error of that; an empty
/// tuple or array does not compile. Also when polled after completion.
///
/// # Cost
///
/// Tuples and arrays allocate nothing, a `Vec` one block. A poll polls each arm that may be ready, and the others if none is.
/// May change.
///
/// # Examples
///
/// ```
/// use millstream::channel;
/// use millstream::combinators::{OneOf2, when_any};
/// use millstream::ops;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (socket, _peer) = std::os::unix::net::UnixStream::pair()?;
/// let (stop, stopped) = channel::bounded(1);
/// stop.push("enough").await?;
/// match when_any((ops::recv(socket, vec![0; 64]), stopped.pop())).await {
///     OneOf2::A((received, _buffer)) => println!("{} bytes", received?),
///     OneOf2::B(why) => assert_eq!(why?, "enough"), // and the receive is no longer in flight
/// }
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias("select", "race", "select_all", "first"))]
#[must_use = "nothing starts until it is awaited"]
#[track_caller]
pub fn when_any<T: IntoArms<Form, Arms: RaceArms>, Form>(arms: T) -> WhenAny<T::Arms> {
    match try_when_any(arms) {
        Ok(any) => any,
        Err(NoArms) => panic!("`when_any` of nothing: a race needs at least one arm to decide it"),
    }
}

/// [`when_any`] of arms whose number only the data knows: of none, an error.
///
/// # Completion
///
/// What is in the `Ok` is a [`when_any`].
///
/// # Errors
///
/// [`NoArms`], there and then, when there is not a single arm: nothing could ever decide.
///
/// # Examples
///
/// ```
/// use millstream::channel::{Receiver, bounded};
/// use millstream::combinators::{NoArms, try_when_any};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// async fn first_of(feeds: &[Receiver<u8>]) -> Option<u8> {
///     match try_when_any(feeds.iter().map(|feed| feed.pop())) {
///         Ok(race) => race.await.1.ok(),
///         Err(NoArms) => None,
///     }
/// }
///
/// assert_eq!(first_of(&[]).await, None);
/// let ((tx, rx), (_open, other)) = (bounded(1), bounded(1));
/// tx.push(7).await?;
/// assert_eq!(first_of(&[other, rx]).await, Some(7));
/// # Ok(())
/// # })
/// # }
/// ```
pub fn try_when_any<T: IntoArms<Form, Arms: RaceArms>, Form>(arms: T) -> Result<WhenAny<T::Arms>, NoArms> {
    let arms = arms.into_arms();
    if arms.has_arms() { Ok(WhenAny::new(arms)) } else { Err(NoArms) }
}

pin_project! {
    /// The operation that [`when_any`], `|` and `race!` return.
    #[must_use = "nothing starts until it is awaited"]
    pub struct WhenAny<T: Arms> {
        #[pin]
        slots: T::Slots,
        asked_to_stop: bool,
        phase: Phase,
    }
}

/// ```text
/// Fresh ──first poll──▶ Racing ──an arm is ready or decided──▶ Ending ──it and every loser ended──▶ Over
/// ```
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Never polled: no arm knows that it races.
    Fresh,
    /// No arm has decided.
    Racing,
    /// This arm has decided; the others are waited out.
    Ending(usize),
    /// The output was taken.
    Over,
}

impl<T: Arms> WhenAny<T> {
    /// A race of arms of which there is one.
    pub(super) fn new(arms: T) -> Self {
        Self { slots: arms.into_slots(), asked_to_stop: false, phase: Phase::Fresh }
    }

    /// The arms, to be built into a larger combinator.
    pub(super) fn into_slots(self) -> T::Slots {
        self.slots
    }

    /// The arms, where they are.
    pub(super) fn slots(self: Pin<&mut Self>) -> Pin<&mut T::Slots> {
        self.project().slots
    }
}

impl<T: RaceArms> Future for WhenAny<T> {
    type Output = T::Winner;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Winner> {
        let mut this = self.project();
        if let Phase::Fresh = *this.phase {
            let _ = this.slots.as_mut().visit(&mut Commit);
            *this.phase = Phase::Racing; // Fresh -> Racing
        }
        if let Phase::Racing = *this.phase {
            let mut race = Race { cx: &mut *cx, passed_over: 0, winner: None };
            let _ = this.slots.as_mut().visit(&mut race);
            let Race { passed_over, mut winner, .. } = race;
            if winner.is_none() && passed_over != 0 {
                winner = wait(this.slots.as_mut(), passed_over, cx);
            }
            let Some(winner) = winner else { return Poll::Pending };
            *this.phase = Phase::Ending(winner); // Racing -> Ending
        }
        let Phase::Ending(winner) = *this.phase else { panic!("`when_any` was polled after completion") };
        let mut end = End { cx, winner, ended: true };
        let _ = this.slots.as_mut().visit(&mut end);
        if !end.ended {
            return Poll::Pending;
        }
        *this.phase = Phase::Over; // Ending -> Over
        Poll::Ready(this.slots.take_winner(winner))
    }
}

impl<T: RaceArms> Operation for WhenAny<T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.project();
        if !core::mem::replace(this.asked_to_stop, true) {
            // Losers that are being waited out have been asked already.
            let only = if let Phase::Ending(winner) = *this.phase { Some(winner) } else { None };
            let _ = this.slots.visit(&mut Cancel { only });
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Discard::all(self.project().slots, cx)
    }

    // `commit_on_poll` stays empty: the first poll tells every arm, whoever else races.

    fn is_decided(&self) -> bool {
        matches!(self.phase, Phase::Ending(_))
    }

    fn may_resolve(&self) -> bool {
        !matches!(self.phase, Phase::Fresh | Phase::Racing) || self.slots.any::<MayResolve>()
    }

    fn waits(&self) -> bool {
        matches!(self.phase, Phase::Racing) && all_wait(&self.slots)
    }
}

impl<T: Arms> fmt::Debug for WhenAny<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhenAny").field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// Polls arms in order until one decides, but none that is known to wait.
struct Race<'a, 'c> {
    cx: &'a mut Context<'c>,
    /// Those, as far as a word has bits.
    passed_over: u64,
    winner: Option<usize>,
}

impl Visit for Race<'_, '_> {
    #[inline(always)]
    fn visit<O: Operation>(&mut self, index: usize, arm: Pin<&mut Slot<O>>) -> ControlFlow<()> {
        if index < u64::BITS as usize && arm.waits() {
            self.passed_over |= 1 << index;
            return ControlFlow::Continue(());
        }
        // An arm that has decided but is still waiting something out has won: discarding it would lose what it took.
        if arm.settles(self.cx) {
            self.winner = Some(index);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// Nobody was ready: those that were passed over wait with this waker from now on. One may be ready by now.
#[inline(never)]
fn wait(slots: Pin<&mut impl Slots>, passed_over: u64, cx: &mut Context<'_>) -> Option<usize> {
    let mut rest = Rest { cx, passed_over, winner: None };
    let _ = slots.visit(&mut rest);
    rest.winner
}

/// Polls the arms of the mask, in order, until one decides.
struct Rest<'a, 'c> {
    cx: &'a mut Context<'c>,
    passed_over: u64,
    winner: Option<usize>,
}

impl Visit for Rest<'_, '_> {
    fn visit<O: Operation>(&mut self, index: usize, arm: Pin<&mut Slot<O>>) -> ControlFlow<()> {
        let passed_over = index < u64::BITS as usize && self.passed_over & 1 << index != 0;
        if passed_over && arm.settles(self.cx) {
            self.winner = Some(index);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// Waits for the winner and discards the losers. One that never started has nothing to wait out, unless it stands for
/// something that runs already, such as a task.
struct End<'a, 'c> {
    cx: &'a mut Context<'c>,
    winner: usize,
    ended: bool,
}

impl Visit for End<'_, '_> {
    #[inline(always)]
    fn visit<O: Operation>(&mut self, index: usize, arm: Pin<&mut Slot<O>>) -> ControlFlow<()> {
        self.ended &= if index == self.winner {
            arm.peek().is_none() || arm.poll_decided(self.cx).is_ready()
        } else {
            arm.poll_discard(self.cx).is_ready()
        };
        ControlFlow::Continue(())
    }
}
