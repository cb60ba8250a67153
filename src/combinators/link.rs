//! One ring operation after another, in the kernel.
//!
//! Knows: [`RingOperation`]. Does not know: link flags, entries, the ring.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::ops::ControlFlow;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use pin_project_lite::pin_project;

use super::arms::{Arms, ChainArms, IntoArms, RingSlots, Slots, VisitRing};
use super::visit::{Cancel, Discard, MustWait, PollAll, Waits};
use crate::operation::Operation;
use crate::ops::{Chain, EntryFlags, Link, RingOperation};

/// Runs ring operations one after the other, in one submission; a failure cancels the rest.
///
/// Takes a tuple of up to 16 ring operations, an array, a `Vec`, or any iterator. `a >> b` is the same for two, and
/// `a >> b >> c` gives one flat triple. A chain is a ring operation itself: in a longer chain, its members keep their own
/// kind of link among themselves.
///
/// # Completion
///
/// * Ends when every member has completed.
/// * The kernel starts a member when the one before it has succeeded. A failure cancels all that follow it
///   (`ECANCELED`), to the end of the longest chain it is part of. A short read or write counts as a failure: give
///   buffers of the exact length.
/// * All entries are queued side by side and submitted together. If there is no room for the whole chain yet it waits; if
///   there never will be, nothing is queued and every member fails with [`ChainTooLong`](crate::ops::ChainTooLong) in its `io::Error` and gives
///   back what it holds. A kernel short of memory may take only its beginning: the rest then fails with `ECANCELED`,
///   whatever the kind of link, and never runs out of order.
/// * Output: a tuple, array or `Vec` with each output in its member's place. Of no members at all: at once.
/// * [`request_cancel`](Operation::request_cancel) reaches every member that has not completed.
///
/// # Cancel safety
///
/// Dropping it drops every member, and each is as safe to drop as it is alone: those already queued are cancelled.
///
/// # Panics
///
/// When polled outside a runtime, or after completion.
///
/// # Cost
///
/// One submission, whatever the length. Tuples and arrays allocate nothing. May change.
///
/// # Examples
///
/// ```
/// use millstream::combinators::link;
/// use millstream::ops::{self, IntoResult};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (socket, mut peer) = std::os::unix::net::UnixStream::pair()?;
/// let socket = ops::Fd::from(socket);
/// // "bye" goes out before the socket is shut down, in one submission.
/// let (sent, shut) = link((ops::send(&socket, "bye"), ops::shutdown(&socket, std::net::Shutdown::Write))).await;
/// assert_eq!(sent.into_result()?.0, 3);
/// shut?;
/// assert_eq!(std::io::read_to_string(&mut peer)?, "bye");
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias("IOSQE_IO_LINK", "chain", "then"))]
#[must_use = "nothing starts until it is awaited"]
pub fn link<T: IntoArms<Form, Arms: ChainArms>, Form>(members: T) -> Linked<T::Arms, Soft> {
    Linked::new(members.into_arms())
}

/// Runs ring operations one after the other, in one submission, each whatever became of the one before.
///
/// As [`link`] in everything else.
///
/// # Completion
///
/// * Ends when every member has completed. The kernel starts a member when the one before it has ended, whether it
///   succeeded, failed or was cancelled. Only a [`link`] among the members that breaks takes what follows with it.
/// * Output, queueing and cancellation: as [`link`].
///
/// # Cancel safety
///
/// Dropping it drops every member: those already queued are cancelled, and a member the cancellation does not find,
/// because its turn has not come, may still run before it ends.
///
/// # Panics
///
/// When polled outside a runtime, or after completion.
///
/// # Examples
///
/// ```
/// use millstream::combinators::hard_link;
/// use millstream::ops;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let missing = ops::open("/no/such/file");
/// let (opened, went_on) = hard_link((missing, ops::nop())).await;
/// assert!(opened.is_err());
/// went_on?;
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias = "IOSQE_IO_HARDLINK")]
#[must_use = "nothing starts until it is awaited"]
pub fn hard_link<T: IntoArms<Form, Arms: ChainArms>, Form>(members: T) -> Linked<T::Arms, Hard> {
    Linked::new(members.into_arms())
}

/// Links that a failure breaks: what [`link`] makes.
#[derive(Debug)]
pub enum Soft {}

/// Links that hold whatever happens: what [`hard_link`] makes.
#[derive(Debug)]
pub enum Hard {}

/// [`Soft`] or [`Hard`]. Sealed.
pub trait LinkKind: sealed::LinkKind {}

impl<K: sealed::LinkKind> LinkKind for K {}

mod sealed {
    pub trait LinkKind {
        const LINK: super::Link;
    }

    impl LinkKind for super::Soft {
        const LINK: super::Link = super::Link::Soft;
    }

    impl LinkKind for super::Hard {
        const LINK: super::Link = super::Link::Hard;
    }
}

pin_project! {
    /// The operation that [`link`], [`hard_link`] and `>>` return.
    #[must_use = "nothing starts until it is awaited"]
    pub struct Linked<T: Arms, K = Soft> {
        #[pin]
        members: T::Slots,
        asked_to_stop: bool,
        phase: Phase,
        kind: PhantomData<fn() -> K>,
    }
}

/// ```text
/// Waiting ──polled, and room for all──▶ Queued ──all ended──▶ (outputs taken)
///    └──asked to stop, refused, or staged by a longer chain──▶ Queued
/// ```
///
/// No output is taken before every member has ended. So a chain that is given up in the middle has not taken what its
/// first members have brought: it goes back to where it came from, as it does when an op alone is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not polled, or some member cannot be queued yet, or there is no room for all.
    Waiting,
    /// Each member is queued, or resolves by itself without having been queued.
    Queued,
}

impl<T: Arms, K> Linked<T, K> {
    pub(super) fn new(members: T) -> Self {
        Self { members: members.into_slots(), asked_to_stop: false, phase: Phase::Waiting, kind: PhantomData }
    }

    /// The members, to be built into a longer chain.
    pub(super) fn into_slots(self) -> T::Slots {
        self.members
    }
}

impl<T: ChainArms, K: LinkKind> Future for Linked<T, K> {
    type Output = T::Outputs;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Outputs> {
        if self.phase != Phase::Queued {
            ready!(self.as_mut().poll_queue(cx));
        }
        let mut this = self.project();
        if this.members.as_mut().visit_ring(&mut Ended { cx }).is_break() {
            return Poll::Pending;
        }
        let pass = PollAll::pass(this.members.as_mut(), cx);
        if pass.completed { Poll::Ready(this.members.take()) } else { Poll::Pending }
    }
}

impl<T: ChainArms, K: LinkKind> Linked<T, K> {
    /// Queues the whole chain, or refuses it.
    fn poll_queue(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.as_mut().drains() {
            self.as_mut().add_flags(EntryFlags::DRAIN); // it holds back the whole chain, and every member is to know
        }
        ready!(self.as_mut().poll_prepare(cx));
        let entries = self.entries();
        if entries == 0 {
            *self.project().phase = Phase::Queued; // Waiting -> Queued: there is nothing to queue
        } else if let Err(error) = ready!(Chain::open(entries, cx, |chain| self.as_mut().stage(chain, None)))
        {
            self.refuse(&|| error.into());
        }
        Poll::Ready(())
    }
}

impl<T: ChainArms, K: LinkKind> Operation for Linked<T, K> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.project();
        if !core::mem::replace(this.asked_to_stop, true) {
            *this.phase = Phase::Queued; // Waiting -> Queued: members resolve without being queued
            let _ = this.members.visit(&mut Cancel { only: None });
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Discard::all(self.project().members, cx)
    }

    fn may_resolve(&self) -> bool {
        !self.members.any::<MustWait>()
    }

    fn waits(&self) -> bool {
        self.phase == Phase::Queued && self.members.any::<Waits>()
    }
}

impl<T: ChainArms, K: LinkKind> RingOperation for Linked<T, K> {
    fn entries(&self) -> usize {
        self.members.entries()
    }

    fn poll_prepare(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.project().members.visit_ring(&mut Prepare { cx }).is_break() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    fn stage(self: Pin<&mut Self>, chain: &mut Chain<'_>, tail: Option<Link>) {
        let this = self.project();
        *this.phase = Phase::Queued; // Waiting -> Queued
        let left = this.members.entries();
        let _ = this.members.visit_ring(&mut Stage { chain, kind: K::LINK, tail, left });
    }

    fn poll_ended(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.project().members.visit_ring(&mut Ended { cx }).is_break() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    fn refuse(self: Pin<&mut Self>, error: &dyn Fn() -> io::Error) {
        let this = self.project();
        *this.phase = Phase::Queued; // Waiting -> Queued: members resolve with the error
        let _ = this.members.visit_ring(&mut Refuse { error });
    }

    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
        let _ = self.project().members.visit_ring(&mut AddFlags { flags });
    }

    fn drains(self: Pin<&mut Self>) -> bool {
        self.project().members.visit_ring(&mut Drains).is_break()
    }
}

impl<T: Arms, K: LinkKind> fmt::Debug for Linked<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linked").field("kind", &K::LINK).field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// Asks the members in order whether they can be queued, up to the first that cannot.
struct Prepare<'a, 'c> {
    cx: &'a mut Context<'c>,
}

impl VisitRing for Prepare<'_, '_> {
    fn visit<O: RingOperation>(&mut self, op: Pin<&mut O>) -> ControlFlow<()> {
        if op.poll_prepare(self.cx).is_ready() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// Asks the members in order whether they have ended, up to the first that has not.
struct Ended<'a, 'c> {
    cx: &'a mut Context<'c>,
}

impl VisitRing for Ended<'_, '_> {
    fn visit<O: RingOperation>(&mut self, op: Pin<&mut O>) -> ControlFlow<()> {
        if op.poll_ended(self.cx).is_ready() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// Queues the members. Each is tied to the next; the last entry gets the tail, so that a chain in a chain goes on.
struct Stage<'a, 'c> {
    chain: &'a mut Chain<'c>,
    kind: Link,
    tail: Option<Link>,
    /// Entries still to come. A member without entries (an empty chain) must not leave a link dangling before it.
    left: usize,
}

impl VisitRing for Stage<'_, '_> {
    fn visit<O: RingOperation>(&mut self, op: Pin<&mut O>) -> ControlFlow<()> {
        self.left = self.left.saturating_sub(op.entries());
        let tail = if self.left > 0 { Some(self.kind) } else { self.tail };
        op.stage(self.chain, tail);
        ControlFlow::Continue(())
    }
}

/// Makes every member resolve with an error.
struct Refuse<'a> {
    error: &'a dyn Fn() -> io::Error,
}

impl VisitRing for Refuse<'_> {
    fn visit<O: RingOperation>(&mut self, op: Pin<&mut O>) -> ControlFlow<()> {
        op.refuse(self.error);
        ControlFlow::Continue(())
    }
}

/// Looks for a member that drains.
struct Drains;

impl VisitRing for Drains {
    fn visit<O: RingOperation>(&mut self, op: Pin<&mut O>) -> ControlFlow<()> {
        if op.drains() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Flags every entry.
struct AddFlags {
    flags: EntryFlags,
}

impl VisitRing for AddFlags {
    fn visit<O: RingOperation>(&mut self, op: Pin<&mut O>) -> ControlFlow<()> {
        op.add_flags(self.flags);
        ControlFlow::Continue(())
    }
}
