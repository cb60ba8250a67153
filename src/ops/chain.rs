//! Chains: entries that are queued contiguously, enter in one submission, and start one after the other.
//!
//! Knows: how many entries the submission queue has, link flags. Does not know: which ops are in a chain.
//!
//! All entries of a chain are reserved before the first is queued, and while they are staged nothing else can be: no
//! cancel, no other task's op (I4). A chain that turns out shorter than it said has its last link cut, so that it can
//! never capture an entry that does not belong to it.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use io_uring::squeue::Flags;

use crate::operation::Operation;
use crate::runtime::context;
use crate::runtime::core::Core;
use crate::runtime::driver::Ticket;
use crate::runtime::inflight::Node;
use crate::runtime::waker;

/// An operation that becomes entries of the submission queue, so that it can be linked, drained and made asynchronous.
///
/// Every op is one; `link` and `hard_link` of ring operations are again. Channel operations, timers and joins are not:
/// the kernel does not run them, so it cannot order anything after them. Nor is an op of many completions (a multishot): the
/// kernel starts the next member of a chain at the first of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a ring operation, so it cannot be part of a chain",
    label = "the kernel does not run this, so it cannot start anything after it",
    note = "only ops and chains of ops can be linked; await the others one after the other",
    note = "an op with many completions has no place in a chain: when should the next one start?",
    note = "to limit the time of a member, use `link_timeout`"
)]
pub trait RingOperation: Operation {
    /// How many entries it will queue.
    fn entries(&self) -> usize;

    /// Looks, before the chain is opened, whether the kernel can be asked yet.
    fn poll_prepare(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// Queues exactly `entries` entries. `tail` ties the last of them to what follows in the chain.
    fn stage(self: Pin<&mut Self>, chain: &mut Chain<'_>, tail: Option<Link>);

    /// Looks, once it is staged or refused or asked to stop, whether the next poll will resolve it, and takes nothing of what
    /// that will give.
    ///
    /// A chain takes its members' outputs when all have ended, and no sooner: one that is given up in the middle leaves
    /// what its first members have brought with the runtime, which gives it back (I2). Who cannot tell is ready.
    fn poll_ended(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Ready(())
    }

    /// Resolves with this error instead of being queued, and gives back what it holds.
    fn refuse(self: Pin<&mut Self>, error: &dyn Fn() -> io::Error);

    /// Adds flags to every entry it will queue. Without effect once it is started.
    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags);

    /// Whether an entry that it will queue has [`EntryFlags::DRAIN`], and so holds back the whole chain.
    fn drains(self: Pin<&mut Self>) -> bool {
        false
    }
}

impl<O: RingOperation + Unpin + ?Sized> RingOperation for &mut O {
    fn entries(&self) -> usize {
        (**self).entries()
    }

    fn poll_prepare(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut **self).poll_prepare(cx)
    }

    fn stage(mut self: Pin<&mut Self>, chain: &mut Chain<'_>, tail: Option<Link>) {
        Pin::new(&mut **self).stage(chain, tail);
    }

    fn poll_ended(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut **self).poll_ended(cx)
    }

    fn refuse(mut self: Pin<&mut Self>, error: &dyn Fn() -> io::Error) {
        Pin::new(&mut **self).refuse(error);
    }

    fn add_flags(mut self: Pin<&mut Self>, flags: EntryFlags) {
        Pin::new(&mut **self).add_flags(flags);
    }

    fn drains(mut self: Pin<&mut Self>) -> bool {
        Pin::new(&mut **self).drains()
    }
}

/// How an entry is tied to the next one in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// A failure of this one, a short read included, cancels the rest (`IOSQE_IO_LINK`).
    Soft,
    /// The next one starts whatever became of this one (`IOSQE_IO_HARDLINK`).
    Hard,
}

impl Link {
    pub(super) fn flags(link: Option<Self>) -> Flags {
        match link {
            None => Flags::empty(),
            Some(Self::Soft) => Flags::IO_LINK,
            Some(Self::Hard) => Flags::IO_HARDLINK,
        }
    }
}

/// Flags that a user may add to an entry. The bits are those of the entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryFlags(u8);

impl EntryFlags {
    /// Start only when everything submitted before has completed (`IOSQE_IO_DRAIN`).
    pub const DRAIN: Self = Self(Flags::IO_DRAIN.bits());
    /// Do not try at once: go to a worker thread (`IOSQE_ASYNC`).
    pub const ASYNC: Self = Self(Flags::ASYNC.bits());

    /// Both sets together.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// All but the drain.
    pub(super) fn without_drain(self) -> Self {
        Self((self.bits() - Flags::IO_DRAIN).bits())
    }

    pub(super) fn drains(self) -> bool {
        self.bits().contains(Flags::IO_DRAIN)
    }

    #[inline]
    pub(super) fn bits(self) -> Flags {
        Flags::from_bits_retain(self.0)
    }
}

/// A chain that does not fit into the submission queue, whole as it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainTooLong {
    /// The entries of the chain.
    pub entries: usize,
    /// The entries of the submission queue.
    pub capacity: usize,
}

impl fmt::Display for ChainTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, capacity } = self;
        write!(
            f,
            "a chain of {entries} ops does not fit into the submission queue of {capacity} entries; nothing of it was queued"
        )
    }
}

impl Error for ChainTooLong {}

impl From<ChainTooLong> for io::Error {
    fn from(error: ChainTooLong) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// A chain being staged: room for its entries, and nothing in between.
pub struct Chain<'a> {
    core: &'a Core,
    left: usize,
    /// The last entry staged, and whether it is tied to a next one.
    last: Option<(Ticket, bool)>,
    /// Its head drains.
    drains: bool,
}

impl<'a> Chain<'a> {
    /// Makes room for `entries` and runs `stage` with it. Nothing else gets into the queue meanwhile.
    ///
    /// Pending: no room yet; the task is woken when it is worth trying again, and `stage` was not run.
    ///
    /// # Errors
    ///
    /// [`ChainTooLong`] when no queue of this runtime will ever hold it; `stage` was not run.
    ///
    /// # Panics
    ///
    /// Panics outside a runtime.
    pub fn open(
        entries: usize,
        cx: &mut Context<'_>,
        stage: impl FnOnce(&mut Chain<'_>),
    ) -> Poll<Result<(), ChainTooLong>> {
        context::with(|core| {
            let core =
                core.expect("a chain was polled outside a millstream runtime: there is no ring to ask");
            let capacity = core.inflight.capacity();
            if entries > capacity {
                return Poll::Ready(Err(ChainTooLong { entries, capacity }));
            }
            let Some(waker) = core.inflight.make_room(entries, waker::duplicate(cx.waker())) else {
                return Poll::Pending;
            };
            core.inflight.set_staging(true);
            stage(&mut Chain { core, left: entries, last: None, drains: false });
            drop(waker); // only now: a foreign waker's drop is user code, and may queue ops that take the room
            Poll::Ready(Ok(()))
        })
    }

    /// Nothing else is submitted until this node, which was just queued, has ended.
    pub(super) fn hold_back(&self, node: &Node) {
        self.core.inflight.hold_back(node);
    }

    /// Whether a drain that the entry staged next has among its flags is at the head of its chain already.
    pub(super) fn drains(&mut self, flags: EntryFlags) -> bool {
        if self.last.is_none_or(|(_, tied)| !tied) {
            self.drains = flags.drains();
            return false;
        }
        self.drains && flags.drains()
    }

    /// Queues one entry through `queue`, unless the chain has had all it announced.
    pub(super) fn push(&mut self, link: Option<Link>, queue: impl FnOnce(&Core, Option<Link>) -> Ticket) {
        assert!(self.left > 0, "an operation staged more entries than it had announced");
        self.left -= 1;
        let link = if self.left == 0 { None } else { link };
        let ticket = queue(self.core, link);
        self.last = Some((ticket, link.is_some()));
    }
}

impl fmt::Debug for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Drop for Chain<'_> {
    fn drop(&mut self) {
        if let Some((ticket, true)) = self.last {
            self.core.inflight.unlink(ticket);
        }
        self.core.inflight.set_staging(false); // last: it wakes, and a waker may queue and enter ops of its own
    }
}
