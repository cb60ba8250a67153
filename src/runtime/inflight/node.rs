//! The node: the pooled, address-stable record of one op from submission to its last completion.
//!
//! Knows: states, results, whom to wake, and the functions of whoever made it. Does not know: which op it is.
//!
//! ```text
//!            push                 terminal completion             claim
//!   Free ───────────▶ Queued ──────────────────────────▶ Done ───────────▶ Free
//!                       │                                  │
//!                       │ the future is dropped:           │ the future is dropped:
//!                       │   not entered yet: NEUTRALIZED   │   abandon
//!                       │   in flight: ORPHAN, cancel      ▼
//!                       └──── terminal completion ──▶ abandon ──▶ Free
//! ```
//!
//! `user_data` of an entry, and the key of a node everywhere else:
//!
//! ```text
//!   63            32 31             3 2    0
//!  ┌────────────────┬────────────────┬──────┐
//!  │   generation   │     index      │ kind │
//!  └────────────────┴────────────────┴──────┘
//! ```
//!
//! The generation grows each time a node is freed, so a completion that comes late or twice finds nobody.
#![allow(
    unsafe_code,
    reason = "whom a node wakes lies in an UnsafeCell that only the runtime's thread touches (I5)"
)]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::mem::{self, ManuallyDrop};
use std::ptr::NonNull;
use std::task::Waker;

use super::Inflight;
use crate::util::plain::Plain;

/// What a completion's `user_data` stands for: its lowest three bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Kind {
    /// An op's node.
    Op = 0,
    /// The answer to a cancel; the rest of the key is the target's.
    Cancel = 1,
    /// The read of the eventfd through which other threads wake this one.
    Wake = 2,
    /// An entry whose completion means nothing to anybody.
    Ignored = 3,
}

const KIND_BITS: u32 = 3;
const KIND_MASK: u64 = (1 << KIND_BITS) - 1;

/// The key of a node: `user_data` without the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(u64);

impl Key {
    /// The first key of the node with this index.
    pub(super) fn first(index: u32) -> Self {
        Self(u64::from(index) << KIND_BITS)
    }

    /// The key of the node's next use: the generation grows, and wraps without touching the index.
    #[inline]
    pub(super) fn next(self) -> Self {
        Self(self.0.wrapping_add(1 << 32))
    }

    /// The key in a completion's `user_data`, or in a message from another thread.
    #[inline]
    pub(crate) fn from_user_data(user_data: u64) -> Self {
        Self(user_data & !KIND_MASK)
    }

    /// What an entry about this node carries.
    #[inline]
    pub(crate) fn user_data(self, kind: Kind) -> u64 {
        self.0 | kind as u64
    }

    #[inline]
    pub(super) fn index(self) -> usize {
        (self.0 as u32 >> KIND_BITS) as usize
    }
}

/// The kind in a completion's `user_data`; `None` for a value this crate never writes.
#[inline]
pub(super) fn kind_of(user_data: u64) -> Option<Kind> {
    match user_data & KIND_MASK {
        0 => Some(Kind::Op),
        1 => Some(Kind::Cancel),
        2 => Some(Kind::Wake),
        3 => Some(Kind::Ignored),
        _ => None,
    }
}

/// How many nodes a runtime can have: what the key has bits for.
pub(super) const MAX_NODES: usize = 1 << (32 - KIND_BITS);

/// Where a node is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// In the pool's free list.
    Free,
    /// Its entry is in the submission queue or with the kernel; the terminal completion is still to come.
    Queued,
    /// The terminal completion is here, and the future has not claimed it yet.
    Done,
}

/// One bit each; see the drawing above. They share a word with the state, so that one look tells the usual case, which
/// has none of them, from all others.
pub(crate) mod flag {
    /// The future is gone: nobody claims the result.
    pub(crate) const ORPHAN: u16 = 1 << 2;
    /// The entry was made one that does nothing before the kernel saw it: whatever completes, the op was cancelled.
    pub(crate) const NEUTRALIZED: u16 = 1 << 3;
    /// A cancel was asked for; it is repeated until the terminal completion.
    pub(crate) const CANCELLING: u16 = 1 << 4;
    /// The entry carries `IOSQE_IO_DRAIN`.
    pub(crate) const DRAIN: u16 = 1 << 5;
    /// The answer was known before: the entry only keeps the op's place in a chain, and `res` is set already.
    pub(crate) const PRESET: u16 = 1 << 6;
    /// The request was told that it is an orphan.
    pub(crate) const TOLD: u16 = 1 << 7;
    /// Whom to wake is not a task of ours: it is a waker of somebody else's, or nobody.
    pub(crate) const OTHER: u16 = 1 << 8;
    /// The request takes note of its last completion as soon as that is there.
    pub(crate) const NOTES_LAST: u16 = 1 << 9;
    /// The op has done all it will: only the word that the kernel has let go of the request is still to come, and no
    /// cancel brings that sooner.
    pub(crate) const SETTLED: u16 = 1 << 10;
}

/// The bits of a status that are the state; the others are flags.
const STATE: u16 = 3;

/// What is to be done after a completion that was not the last of its op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Nothing: whoever awaits the op need not look yet.
    Quiet,
    /// Whoever awaits the op is woken.
    Wake,
    /// As `Wake`, and the kernel is asked to stop: enough has come.
    Stop,
    /// The op has done all it will, and only the word that the kernel has let go of the request is still to come. Nothing
    /// brings that sooner, so that from now on the op is not stopped, only let go. `wake`: as `Wake`, else as `Quiet`.
    Settled {
        /// Whether whoever awaits the op is woken.
        wake: bool,
    },
}

/// What the maker of a node does with it when nobody awaits it. The dispatcher knows no op; it calls these.
pub(crate) struct VTable {
    /// The future is gone while the kernel works on the request.
    pub(crate) orphaned: unsafe fn(*mut u8),
    /// Lets the request take a gift, if that answers it; the kernel works on it.
    pub(crate) offer: unsafe fn(*mut u8, &mut dyn Any) -> bool,
    /// Hands the request a completion that is not its last: result, flags, and whether the future is gone.
    pub(crate) more: unsafe fn(*mut u8, i32, u32, bool) -> More,
    /// Tells a request with `NOTES_LAST` of its last completion, before whoever awaits it looks: result and flags.
    pub(crate) last: unsafe fn(*mut u8, i32, u32),
    /// Takes the request out of the node, releases the node, and disposes of the request and its result.
    pub(crate) abandon: unsafe fn(&Inflight, NonNull<Node>),
}

/// Whom a node wakes. A task of ours takes no look to be woken: not whether there is one, nor whose the waker is, and
/// nothing has to be cleared.
#[repr(C)]
union Awaiter {
    task: Plain,
    other: ManuallyDrop<Option<Waker>>,
}

/// The head of a node; the request follows it at [`PAYLOAD`]. Only the runtime's thread touches it (I5).
#[repr(C)]
pub(crate) struct Node {
    /// The maker's functions; set while not `Free`.
    pub(super) vtable: Cell<Option<&'static VTable>>,
    /// Whom to wake at the terminal completion; `OTHER` says which it is.
    awaiter: UnsafeCell<Awaiter>,
    /// Its place in the pool's table, and the count of its uses, by which a late completion is recognised.
    pub(super) key: Cell<Key>,
    /// The result, meaningful when `Done`, or before when `PRESET`, and above it `IORING_CQE_F_*` of the terminal
    /// completion: one word, because they come as one.
    outcome: Cell<u64>,
    /// Where the entry stands in the submission queue.
    pub(super) ticket: Cell<u64>,
    /// The next free node, while `Free`.
    pub(super) next: Cell<Option<NonNull<Node>>>,
    /// The state, and the flags beside it.
    status: Cell<u16>,
    /// `IORING_OP_*`, to name an op the kernel does not know.
    pub(crate) opcode: Cell<u8>,
    /// How often its cancel was sent, which spaces the repetitions.
    pub(super) attempts: Cell<u8>,
    /// Its size class.
    pub(super) class: u8,
}

// A head is one cache line: the request begins on the next.
const _: () = assert!(size_of::<Node>() <= 64);

/// Where the request begins, in bytes from the node's start.
pub(crate) const PAYLOAD: usize = 64;

impl Node {
    pub(super) fn new(index: u32, class: u8) -> Self {
        Self {
            vtable: Cell::new(None),
            awaiter: UnsafeCell::new(Awaiter { other: ManuallyDrop::new(None) }),
            key: Cell::new(Key::first(index)),
            class,
            outcome: Cell::new(0),
            ticket: Cell::new(0),
            next: Cell::new(None),
            status: Cell::new(State::Free as u16 | flag::OTHER),
            opcode: Cell::new(0),
            attempts: Cell::new(0),
        }
    }

    /// The node's key, as long as it is not freed.
    #[inline]
    pub(crate) fn key(&self) -> Key {
        self.key.get()
    }

    /// The result.
    #[inline]
    pub(crate) fn res(&self) -> i32 {
        self.outcome.get() as i32
    }

    /// `IORING_CQE_F_*` of the terminal completion.
    #[inline]
    pub(crate) fn cqe_flags(&self) -> u32 {
        (self.outcome.get() >> 32) as u32
    }

    #[inline]
    pub(crate) fn set_outcome(&self, res: i32, cqe_flags: u32) {
        self.outcome.set(u64::from(res as u32) | u64::from(cqe_flags) << 32);
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        match self.status.get() & STATE {
            0 => State::Free,
            1 => State::Queued,
            _ => State::Done,
        }
    }

    /// Whether it is in this state, and has no flags.
    #[inline]
    pub(super) fn is_plainly(&self, state: State) -> bool {
        self.status.get() == state as u16
    }

    /// Changes the state, and leaves the flags.
    #[inline]
    pub(super) fn set_state(&self, state: State) {
        self.status.set(self.status.get() & !STATE | state as u16);
    }

    /// Changes the state, and takes the flags away.
    #[inline]
    pub(super) fn begin(&self, state: State) {
        self.status.set(state as u16);
    }

    /// Whether the future that was given `user_data` finds its result here.
    #[inline]
    pub(crate) fn is_done_for(&self, user_data: u64) -> bool {
        self.key().user_data(Kind::Op) == user_data
            && self.status.get() & (STATE | flag::ORPHAN) == State::Done as u16
    }

    /// Whether the future that was given `user_data` may still claim this node: not once a runtime that ends has
    /// orphaned it on its own, or has released it since.
    #[inline]
    pub(crate) fn belongs_to(&self, user_data: u64) -> bool {
        self.key().user_data(Kind::Op) == user_data && !self.has(flag::ORPHAN)
    }

    #[inline]
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.status.get() & flag != 0
    }

    #[inline]
    pub(crate) fn set(&self, flag: u16) {
        self.status.set(self.status.get() | flag);
    }

    /// Changes the state, takes the flags away, and says whom to wake. To a node that holds no waker.
    #[inline]
    pub(super) fn begin_for(&self, state: State, task: Option<Plain>) {
        match task {
            Some(task) => {
                self.begin(state);
                // SAFETY: (I5) only the runtime's thread gets here, and no reference into the cell outlives a call. What is
                // overwritten owns nothing, as this method asks.
                unsafe { self.awaiter.get().write(Awaiter { task }) };
            }
            None => {
                self.status.set(state as u16 | flag::OTHER);
                // SAFETY: (I5) as above.
                unsafe { self.awaiter.get().write(Awaiter { other: ManuallyDrop::new(None) }) };
            }
        }
    }

    /// The task to wake, of a node without `OTHER`.
    #[inline]
    pub(super) fn task(&self) -> Plain {
        debug_assert!(!self.has(flag::OTHER));
        // SAFETY: (I5) as in `begin_for`; without the flag it is a task of ours.
        unsafe { (*self.awaiter.get()).task }
    }

    /// Takes out whom to wake: nobody after this.
    pub(crate) fn take_waker(&self) -> Option<Waker> {
        let waker = if self.has(flag::OTHER) {
            // SAFETY: (I5) as in `begin_for`; with the flag it is a waker or none, and the copy taken here is overwritten
            // without a drop below.
            unsafe { ManuallyDrop::take(&mut (*self.awaiter.get()).other) }
        } else {
            Some(self.task().waker())
        };
        self.set(flag::OTHER);
        // SAFETY: (I5) as in `begin_for`: what was there was taken.
        unsafe { self.awaiter.get().write(Awaiter { other: ManuallyDrop::new(None) }) };
        waker
    }

    /// Puts a waker in, and returns the one that was there: its drop is user code, for the caller to run.
    pub(crate) fn put_waker(&self, waker: Waker) -> Option<Waker> {
        let old = self.take_waker();
        let awaiter = match Plain::of(&waker) {
            Some(task) => {
                mem::forget(waker); // a plain one owns nothing
                self.status.set(self.status.get() & !flag::OTHER);
                Awaiter { task }
            }
            None => Awaiter { other: ManuallyDrop::new(Some(waker)) },
        };
        // SAFETY: (I5) as in `begin_for`: what was there was taken.
        unsafe { self.awaiter.get().write(awaiter) };
        old
    }

    /// Whether waking the stored waker wakes the same task as `waker`.
    #[inline]
    pub(crate) fn will_wake(&self, waker: &Waker) -> bool {
        if !self.has(flag::OTHER) {
            return self.task().waker().will_wake(waker);
        }
        // SAFETY: (I5) as in `begin_for`; with the flag it is a waker or none. A shared look for the length of a
        // comparison of two pointers; no user code runs.
        unsafe { (*self.awaiter.get()).other.as_ref().is_some_and(|own| own.will_wake(waker)) }
    }
}

/// The request of a node.
#[inline]
pub(crate) fn payload(node: NonNull<Node>) -> *mut u8 {
    node.as_ptr().cast::<u8>().wrapping_add(PAYLOAD)
}
