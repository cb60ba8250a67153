//! How far two parties are with one another: what one has put in, what the other has taken out, who waits for either to
//! go on, and whether it is over.
//!
//! Knows: `sync`, wait slots, barriers. Does not know: what is counted, where it lies, who looks at the level for a
//! waiter.
//!
//! A level has two sides. The [`Pusher`](Side::Pusher) counts up the tail, the [`Popper`](Side::Popper) the head; each
//! side is one party, wherever it is at the moment, and one waiter at most. Neither ever takes a lock or makes the other
//! wait.
//!
//! # Waiting
//!
//! A waiter arms its slot, passes a `SeqCst` fence and looks at the level once more; whoever changes the level passes a
//! `SeqCst` fence after the change and looks at the other side's slot. One of the two sees the other. When those fences
//! are passed is the caller's choice: after each change, or once for many. On a side that waits *heavily* the waiter passes
//! the heavy half of a [`barrier`] instead, and for whoever changes the level the light half is enough: for a thread that
//! parks, which is rare and costs microseconds in any case.
//!
//! # The end
//!
//! Either side may close the level, also while the other is in the middle of a change, and exactly those pushes must
//! count that the popper will still find. A pusher therefore looks *after* each change whether the level was closed, and
//! if so they agree on the last tail that counts, by one exchange:
//!
//! ```text
//!   popper:  closed = true    heavy barrier           propose the tail it sees  ─┐
//!   pusher:  tail = n         light barrier; closed?  propose n                 ─┴▶ end: UNDECIDED ──▶ n
//! ```
//!
//! Either the popper sees the new tail or the pusher sees the close, so a push beyond the end is known to its pusher,
//! who takes it back. The barrier between a change and that look must not cost anything; see [`barrier`].
#![allow(unsafe_code, reason = "has room for something that it does not know")]

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::task::Waker;

use crossbeam_utils::CachePadded;

use super::barrier;
use super::wait_slot::{Armed, WaitSlot};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::hint;
use crate::sync::thread;
use crate::util::plain::Plain;

/// One of the two parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Pusher = 0,
    Popper = 1,
}

impl Side {
    #[inline]
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Pusher => Self::Popper,
            Self::Popper => Self::Pusher,
        }
    }
}

/// What a party waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Room or a value, or the end.
    Progress,
    /// The end.
    Close,
}

/// Where the counts begin. Both wrap, and nothing but their distance means anything: tests, models and debug builds begin
/// shortly before, so that whatever they do is done across the wrap.
pub(crate) const FIRST: usize = if cfg!(any(test, debug_assertions)) { usize::MAX - 2 } else { 0 };
/// No tail: the counts are there after 2^64 - 1 steps, for the crate refuses targets with a shorter `usize`.
const UNDECIDED: usize = FIRST.wrapping_sub(1);

/// The seat of a side that has none.
pub(crate) const NOWHERE: usize = 0;
/// A seat, while its holder arms the slot. Seats are numbers in which this bit is 0.
const BUSY: usize = 1;

/// Who waits on one side, and who may arm its slot in its stead.
struct Waiting {
    slot: WaitSlot,
    /// Where the side is seated: see [`Level::seat`].
    seat: AtomicUsize,
    /// The party is no more.
    gone: AtomicBool,
    /// Its waits pass the heavy half of a barrier.
    heavily: AtomicBool,
}

/// See the module.
pub(crate) struct Level {
    /// Written by the pusher only.
    tail: CachePadded<Tail>,
    /// Written by the popper only.
    head: CachePadded<AtomicUsize>,
    /// Seldom written by anybody.
    rest: CachePadded<Rest>,
}

/// The tail, and on the same cache line some room for what is counted: where that is all of it, whoever looks at the tail
/// gets it in one go.
#[repr(C)]
struct Tail {
    count: AtomicUsize,
    near: UnsafeCell<MaybeUninit<[usize; NEAR / size_of::<usize>()]>>,
}

/// What is left of a line of 64 bytes.
const NEAR: usize = 56;

struct Rest {
    waiting: [Waiting; 2],
    closed: AtomicBool,
    /// The last tail that counts.
    end: AtomicUsize,
    capacity: usize,
}

// SAFETY: (I5) `near` is not touched here, and those who share it out answer for what they put there.
unsafe impl Sync for Tail {}

impl Level {
    /// Between `0` and `capacity`, which is 1 at least.
    pub(crate) fn new(capacity: usize) -> Self {
        let waiting = || Waiting {
            slot: WaitSlot::new(),
            seat: AtomicUsize::new(NOWHERE),
            gone: AtomicBool::new(false),
            heavily: AtomicBool::new(false),
        };
        Self {
            tail: CachePadded::new(Tail {
                count: AtomicUsize::new(FIRST),
                near: UnsafeCell::new(MaybeUninit::uninit()),
            }),
            head: CachePadded::new(AtomicUsize::new(FIRST)),
            rest: CachePadded::new(Rest {
                waiting: [waiting(), waiting()],
                closed: AtomicBool::new(false),
                end: AtomicUsize::new(UNDECIDED),
                capacity,
            }),
        }
    }

    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.rest.capacity
    }

    /// Room for something of this layout beside the tail, for the two parties to share out. It is there as long as the
    /// level.
    pub(crate) fn near(&self, layout: Layout) -> Option<NonNull<u8>> {
        let fits = layout.size() <= NEAR && layout.align() <= align_of::<usize>();
        // A model checker wants each cell to be one of its own.
        (fits && !cfg!(millstream_loom)).then(|| NonNull::from(&self.tail.near).cast())
    }

    // ---- the counts ----

    /// How much was put in, for the popper: what was put in by then is there to be read.
    #[inline]
    pub(crate) fn tail(&self) -> usize {
        // ORDERING: pairs with `set_tail`.
        self.tail.count.load(Ordering::Acquire)
    }

    /// How much was taken out, for the pusher: what was taken out by then may be written over.
    #[inline]
    pub(crate) fn head(&self) -> usize {
        // ORDERING: pairs with `set_head`.
        self.head.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn set_tail(&self, tail: usize) {
        // ORDERING: pairs with `tail`.
        self.tail
            .count
            .store(tail, if planted!("tail-is-relaxed") { Ordering::Relaxed } else { Ordering::Release });
    }

    #[inline]
    pub(crate) fn set_head(&self, head: usize) {
        // ORDERING: pairs with `head`.
        self.head
            .store(head, if planted!("head-is-relaxed") { Ordering::Relaxed } else { Ordering::Release });
    }

    /// Whether what the side wants is there. A hint, unless it is asked on the side's own thread after a fence.
    #[inline]
    pub(crate) fn is_ready(&self, side: Side, want: Want) -> bool {
        if self.is_closed() {
            return true;
        }
        if want == Want::Close {
            return false;
        }
        // ORDERING: Relaxed: who acts upon the answer looks again, with `tail` or `head`.
        let filled = self.tail.count.load(Ordering::Relaxed).wrapping_sub(self.head.load(Ordering::Relaxed));
        match side {
            Side::Pusher => filled < self.capacity(),
            Side::Popper => filled != 0,
        }
    }

    // ---- the end ----

    /// Whether the level was closed. What the pusher did before it closed it is there to be read.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        // ORDERING: pairs with the swaps in `close`.
        self.rest.closed.load(Ordering::Acquire)
    }

    /// Closes the level at this tail, the last. Whether it was open.
    pub(crate) fn close_by_pusher(&self, tail: usize) -> bool {
        // ORDERING: pairs with `is_closed`.
        let first = !self.rest.closed.swap(true, Ordering::AcqRel);
        self.decide(tail);
        first
    }

    /// Closes the level, and settles which tail is the last. Whether it was open, and that tail.
    pub(crate) fn close_by_popper(&self) -> (bool, usize) {
        // ORDERING: pairs with `is_closed`.
        let first = !self.rest.closed.swap(true, Ordering::AcqRel);
        if first && !planted!("popper-closes-without-barrier") {
            // ORDERING: pairs with the `light` barrier after a push: the pusher sees `closed`, or we see its tail.
            barrier::heavy();
        }
        (first, self.decide(self.tail()))
    }

    /// Proposes a last tail and returns the one that counts.
    #[cold]
    pub(crate) fn decide(&self, tail: usize) -> usize {
        match self.rest.end.compare_exchange(UNDECIDED, tail, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => tail,
            Err(end) => end,
        }
    }

    /// The party on this side is no more.
    pub(crate) fn leave(&self, side: Side) {
        self.waiting(side).gone.store(true, Ordering::Release);
    }

    pub(crate) fn has_left(&self, side: Side) -> bool {
        self.waiting(side).gone.load(Ordering::Acquire)
    }

    // ---- the waiters ----

    #[inline]
    pub(crate) fn slot(&self, side: Side) -> &WaitSlot {
        &self.waiting(side).slot
    }

    /// Who waits on the side for what is there.
    pub(crate) fn take_if_ready(&self, side: Side, want: Want) -> Option<Waker> {
        if self.is_ready(side, want) { self.slot(side).take() } else { None }
    }

    /// Whether the side waits heavily. To be asked after the change, and the light half of a barrier between.
    #[inline]
    pub(crate) fn waits_heavily(&self, side: Side) -> bool {
        // ORDERING: pairs with the barrier in `wait_lightly`.
        self.waiting(side).heavily.load(Ordering::Relaxed)
    }

    /// From now on the party passes the heavy half of a barrier whenever it has armed its slot, and before it looks.
    pub(crate) fn wait_heavily(&self, side: Side) {
        // ORDERING: Relaxed: who does not see it yet passes a fence.
        self.waiting(side).heavily.store(true, Ordering::Relaxed);
    }

    /// From now on the party passes a fence there.
    ///
    /// Who still asked before the barrier, and was told otherwise, has made its change before the barrier, too: the party
    /// finds it when it looks. Who asks after it passes a fence as well.
    pub(crate) fn wait_lightly(&self, side: Side) {
        self.waiting(side).heavily.store(false, Ordering::Relaxed); // ORDERING: the barrier puts it before what follows
        barrier::heavy();
    }

    #[inline]
    fn waiting(&self, side: Side) -> &Waiting {
        &self.rest.waiting[side as usize]
    }

    /// Where the side is seated: the only place from which somebody else may arm the slot in its stead.
    #[inline]
    pub(crate) fn seat(&self, side: Side) -> usize {
        // ORDERING: Relaxed: `arm_from` decides.
        self.waiting(side).seat.load(Ordering::Relaxed) & !BUSY
    }

    /// Moves the side to another seat, or to none; from then on nobody arms from the old one.
    pub(crate) fn sit(&self, side: Side, seat: usize) {
        let at = &self.waiting(side).seat;
        let mut patience = 64;
        loop {
            let old = at.load(Ordering::Relaxed);
            // ORDERING: pairs with the store in `arm_from`: what was armed from there comes before what we arm.
            if old & BUSY == 0 && at.compare_exchange(old, seat, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                return;
            }
            // Somebody arms from there: a few instructions, unless its thread was stopped in the middle.
            patience -= 1;
            if patience == 0 || cfg!(millstream_loom) {
                patience = 64;
                thread::yield_now();
            } else {
                hint::spin_loop();
            }
        }
    }

    /// Arms the slot in the side's stead, if that is still seated there. A `SeqCst` fence and another look must follow.
    pub(crate) fn arm_from(&self, seat: usize, side: Side, waker: Plain) -> Option<Armed> {
        let at = &self.waiting(side).seat;
        if planted!("arms-for-one-that-left") {
            return Some(self.slot(side).arm_with(waker));
        }
        // ORDERING: pairs with the exchange in `sit`.
        at.compare_exchange(seat, seat | BUSY, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let armed = self.slot(side).arm_with(waker);
        at.store(seat, Ordering::Release);
        Some(armed)
    }
}
