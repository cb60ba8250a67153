//! What the two ends share: a word of flags, a cell for the value, a seat for the waker of either end. Lock-free.
//!
//! Knows: `sync`, wakers. Does not know: futures, errors.
#![allow(unsafe_code, reason = "memory that two ends share without a lock and the second of them frees")]

use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::task::{Context, Poll, Waker};

use crate::channel::wake::discard;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::cell::UnsafeCell;
use crate::util::executor;

/// The value is in its cell, and from then on the receiver's.
const VALUE: u8 = 1 << 0;
/// The sender has pushed or is gone: whatever was to come has come.
const TX_DONE: u8 = 1 << 1;
/// The receiver has closed or is gone: nothing is accepted any more.
const RX_DONE: u8 = 1 << 2;
/// There is a waker in the receiver's seat.
const RX_WAITS: u8 = 1 << 3;
/// There is a waker in the sender's seat.
const TX_WAITS: u8 = 1 << 4;
/// The sender touches this memory no more.
const TX_OUT: u8 = 1 << 5;
/// The receiver touches this memory no more.
const RX_OUT: u8 = 1 << 6;

/// The shared memory.
///
/// ```text
///            push
///   0 ────────────────▶ VALUE | TX_DONE ── the receiver takes the value, or drops it with itself
///   │  drop of the sender
///   ├─────────────────▶ TX_DONE         ── pop: closed
///   │  close, drop of the receiver
///   └─────────────────▶ RX_DONE         ── push: the value back; `closed()` resolves
///
///   RX_WAITS   set by the receiver after it has put its waker into its seat. The waker is the sender's if the flag was
///              there when the sender set TX_DONE, and the receiver's again if the receiver clears the flag before that.
///   TX_WAITS   the same with the roles changed, for RX_DONE
///   *_OUT      set by each end as the last thing it does here; who finds the other's there frees the memory
/// ```
///
/// Every change of the word is one read-modify-write, so of a push and a close one is first, and of a push and a park.
/// What is written to a cell is published by the flag set after it.
struct Shared<T> {
    word: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
    receiver: UnsafeCell<MaybeUninit<Waker>>,
    sender: UnsafeCell<MaybeUninit<Waker>>,
    /// Tells a model checker when this is not freed.
    #[cfg(millstream_loom)]
    _freed: crate::sync::Arc<()>,
}

/// Where a channel is, from the receiver's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A value may still be pushed.
    Open,
    /// The value is or was there.
    Pushed,
    /// No value was pushed, and none will be.
    Closed,
}

/// One end's way to the shared memory.
pub(super) struct End<T> {
    shared: NonNull<Shared<T>>,
    side: Side,
    /// Whether this end has put a waker into its seat and not taken it back. The sender of a done channel may have
    /// taken it: the word says.
    seated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Sender,
    Receiver,
}

impl Side {
    /// The flag of a waker in this side's seat.
    fn waits(self) -> u8 {
        match self {
            Self::Sender => TX_WAITS,
            Self::Receiver => RX_WAITS,
        }
    }

    /// The flag with which the other side ends a wait of this one.
    fn awaited(self) -> u8 {
        match self {
            Self::Sender => RX_DONE,
            Self::Receiver => TX_DONE,
        }
    }

    fn out(self) -> u8 {
        match self {
            Self::Sender => TX_OUT,
            Self::Receiver => RX_OUT,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Sender => Self::Receiver,
            Self::Receiver => Self::Sender,
        }
    }
}

// SAFETY: (I5) an end moves the value and wakers to another thread, hence `T: Send`; what both ends touch at once is
// the word only.
unsafe impl<T: Send> Send for End<T> {}
// SAFETY: (I5) through `&End` only the word is read.
unsafe impl<T: Send> Sync for End<T> {}

pub(super) fn new<T>() -> (End<T>, End<T>) {
    let shared = NonNull::from(Box::leak(Box::new(Shared {
        word: AtomicU8::new(0),
        value: UnsafeCell::new(MaybeUninit::uninit()),
        receiver: UnsafeCell::new(MaybeUninit::uninit()),
        sender: UnsafeCell::new(MaybeUninit::uninit()),
        #[cfg(millstream_loom)]
        _freed: crate::sync::Arc::new(()),
    })));
    let end = |side| End { shared, side, seated: false };
    (end(Side::Sender), end(Side::Receiver))
}

impl<T> End<T> {
    fn shared(&self) -> &Shared<T> {
        // SAFETY: (local) the memory is freed by the second end that is out, and this one is not.
        unsafe { self.shared.as_ref() }
    }

    /// The word, with everything that was published by it.
    fn word(&self) -> u8 {
        // ORDERING: pairs with the `Release` of whoever set the flags that are found.
        self.shared().word.load(Ordering::Acquire)
    }

    fn seat(&self, side: Side) -> &UnsafeCell<MaybeUninit<Waker>> {
        match side {
            Side::Sender => &self.shared().sender,
            Side::Receiver => &self.shared().receiver,
        }
    }

    /// Where the channel is.
    pub(super) fn stage(&self) -> Stage {
        let word = self.word();
        if word & VALUE != 0 {
            Stage::Pushed
        } else if word & (TX_DONE | RX_DONE) != 0 {
            Stage::Closed
        } else {
            Stage::Open
        }
    }

    /// Copies the waker out of a seat.
    ///
    /// # Safety
    /// There is a waker in the seat, and it is the caller's.
    unsafe fn take_waker(&self, side: Side) -> Waker {
        // A read: its owner may be comparing it with another one at the same time.
        // SAFETY: (local) initialised, and handed out once, by this function's contract.
        self.seat(side).with(|waker| unsafe { (*waker).assume_init_read() })
    }

    // ---- waiting ----

    /// Whether this end is in its seat, as far as it knows.
    pub(super) fn is_seated(&self) -> bool {
        self.seated
    }

    /// Whether the wait is over: the sender is done, for the receiver; the receiver is, for the sender.
    pub(super) fn is_over(&self) -> bool {
        self.word() & self.side.awaited() != 0
    }

    /// Waits, unless it is over: takes the seat with the newest waker. The caller has just looked in vain.
    pub(super) fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        executor::about_to_wait(cx.waker());
        if self.is_seated_as(cx.waker()) {
            return Poll::Pending;
        }
        let waker = cx.waker().clone(); // the user's code: before anything changes
        let was_seated = self.seated;
        let old = self.rise();
        // Told meanwhile: the other end is at the seat to fetch the old waker, and it is over.
        let told = was_seated && old.is_none() && !planted!("oneshot-sits-beside-the-sender");
        discard(old);
        let refused = if told { Some(waker) } else { self.sit(waker).err() };
        let over = refused.is_some();
        discard(refused);
        if over { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether the waker in the seat would wake whom `waker` wakes.
    fn is_seated_as(&self, waker: &Waker) -> bool {
        // SAFETY: (local) seated, hence initialised, and nobody else writes to this seat. The other end may have copied
        // the waker out, and even dropped it: only the two words of it are compared.
        self.seated
            && self.seat(self.side).with(|seated| unsafe { (*seated).assume_init_ref().will_wake(waker) })
    }

    /// Puts `waker` into the empty seat. If the wait is over meanwhile, the waker comes back.
    fn sit(&mut self, waker: Waker) -> Result<(), Waker> {
        debug_assert!(!self.seated, "the seat is taken");
        self.seat(self.side).with_mut(|seat| {
            // SAFETY: (local) not seated: the other end has not been told of a waker here, or is done with it.
            unsafe { (*seat).write(waker) };
        });
        // ORDERING: `Release` publishes the waker, pairs with the `Acquire` in `end`; `Acquire` pairs with its
        // `Release`, since what it published may be used next.
        let before = self.shared().word.fetch_or(self.side.waits(), Ordering::AcqRel);
        if before & self.side.awaited() != 0 && !planted!("oneshot-parks-on-an-old-look") {
            // SAFETY: (local) the other end was done before it could see this waker: nobody else's.
            return Err(unsafe { self.take_waker(self.side) });
        }
        self.seated = true;
        Ok(())
    }

    /// Leaves the seat, and returns the waker unless the other end has taken it.
    pub(super) fn rise(&mut self) -> Option<Waker> {
        if !core::mem::take(&mut self.seated) {
            return None;
        }
        // ORDERING: `Acquire` pairs with the `Release` in `end`, as in `sit`. What this end wrote to the seat it may
        // read without help.
        let before = self.shared().word.fetch_and(!self.side.waits(), Ordering::Acquire);
        if before & self.side.awaited() != 0 && !planted!("oneshot-takes-its-waker-twice") {
            return None;
        }
        // SAFETY: (local) the flag was cleared before the other end was done, so it will not look into the seat.
        Some(unsafe { self.take_waker(self.side) })
    }

    // ---- ending ----

    /// Sets this side's flag (the one the other side awaits) and `more`, unless `unless` is set: then `None`. Otherwise
    /// the waker that is to be called, if the other end waits.
    ///
    /// With `leave`, and nobody waiting, this end is out already: `self` must not be used again.
    fn end(&self, more: u8, unless: u8, leave: bool) -> Option<Ended> {
        let done = self.side.other().awaited();
        let waits = self.side.other().waits();
        let word = &self.shared().word;
        let mut before = word.load(Ordering::Relaxed);
        loop {
            if before & unless != 0 {
                return None;
            }
            // Who waits is told once: by whoever sets the flag.
            let told = before & waits != 0 && before & done == 0;
            // Without a waker to fetch, nothing is left to do here. (If the other end is out, the memory is ours to
            // free, and `go` does.)
            let out = leave && !told && before & self.side.other().out() == 0;
            let after = before | done | more | if out { self.side.out() } else { 0 };
            // ORDERING: `Release` publishes the value, pairs with `word`, `sit` and `rise`; and, when out, everything
            // done here, pairs with `go`. `Acquire` pairs with `sit`, whose waker may be fetched.
            let publish =
                if planted!("oneshot-publishes-nothing") { Ordering::Acquire } else { Ordering::AcqRel };
            match word.compare_exchange_weak(before, after, publish, Ordering::Relaxed) {
                Ok(_) => {
                    // SAFETY: (local) the flag was there when this end became done: the waker is this end's now.
                    let waker = told.then(|| unsafe { self.take_waker(self.side.other()) });
                    return Some(Ended { waker, out, first: before & (TX_DONE | RX_DONE) == 0 });
                }
                Err(now) => before = now,
            }
        }
    }

    /// The last thing an end does here.
    ///
    /// # Safety
    /// It is not out, and is not used again.
    unsafe fn go(&self) {
        let other = self.side.other().out();
        // ORDERING: `Acquire` pairs with the `Release` of the other end's leaving: freeing comes after all it did.
        let alone = self.word() & other != 0
            || self.shared().word.fetch_or(self.side.out(), Ordering::AcqRel) & other != 0
                && !planted!("oneshot-frees-at-the-first-look");
        if alone {
            // SAFETY: (local) made by `Box::leak`; the other end is out and this one is not used again.
            drop(unsafe { Box::from_raw(self.shared.as_ptr()) });
        }
    }

    /// Leaves for good: ends this side first. Returns the waker that is to be called.
    ///
    /// # Safety
    /// As for [`go`](Self::go), and the end has risen.
    pub(super) unsafe fn leave(&self) -> Option<Waker> {
        let alone = self.word() & self.side.other().out() != 0;
        let ended = if alone { None } else { self.end(0, 0, true) };
        if !ended.as_ref().is_some_and(|ended| ended.out) {
            // SAFETY: (local) by this function's contract.
            unsafe { self.go() };
        }
        ended?.waker
    }

    /// The receiver closes. Returns whether the channel was open, and the waker that is to be called.
    pub(super) fn close(&self) -> (bool, Option<Waker>) {
        self.end(0, 0, false).map_or((false, None), |ended| (ended.first, ended.waker))
    }

    // ---- the value ----

    /// The sender pushes and leaves; or the receiver is done, and the value comes back.
    ///
    /// # Safety
    /// This is the sender's end, which has risen and did not push before. After `Ok` it is not used again.
    pub(super) unsafe fn push(&self, value: T) -> Result<Option<Waker>, T> {
        // SAFETY: (local) without VALUE the cell is the sender's.
        self.shared().value.with_mut(|cell| unsafe { (*cell).write(value) });
        let unless = if planted!("oneshot-pushes-into-a-closed-channel") { 0 } else { RX_DONE };
        match self.end(VALUE, unless, true) {
            Some(ended) => {
                if !ended.out {
                    // SAFETY: (local) not out, and not used again by this function's contract.
                    unsafe { self.go() };
                }
                Ok(ended.waker)
            }
            // SAFETY: (local) written above, and VALUE was not set.
            None => Err(unsafe { self.take_value() }),
        }
    }

    /// # Safety
    /// The value is there and the caller's: at [`Stage::Pushed`] the receiver's; handed out once.
    pub(super) unsafe fn take_value(&self) -> T {
        // SAFETY: (local) by this function's contract.
        self.shared().value.with(|cell| unsafe { (*cell).assume_init_read() })
    }
}

struct Ended {
    waker: Option<Waker>,
    out: bool,
    /// Whether neither side was done before.
    first: bool,
}
