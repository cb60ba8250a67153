//! Who may hold the ends of a channel: the tasks and threads of a process, or the tasks of one thread.
//!
//! Knows: `sync`, the engine. Does not know: how it is locked between threads, what is counted or pointed to.
//!
//! The protocol is one; what differs between [`bounded`](super::bounded) and [`local`](super::local) is the pointer to
//! the channel, the lock around it and how ends are counted. The traits here name these three, and nothing else.
#![allow(unsafe_code, reason = "the lock of a channel that never leaves its thread is none")]

use core::cell::{Cell, UnsafeCell};
use core::convert::Infallible;
use core::fmt::Debug;
use core::ops::{Deref, DerefMut};
use std::collections::VecDeque;
use std::rc::Rc;

use super::engine::Engine;
use super::ring::Leaving;
use super::sides::Sides;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Where the ends of a channel may be. Sealed: [`Threads`] and [`Local`].
pub trait Sharing: Means {}

/// Ends may be on any thread: the channel is behind a small lock.
#[derive(Debug, Clone, Copy)]
pub enum Threads {}

/// All ends are on one thread: no lock, no atomic read-modify-write. The ends are not `Send`.
#[derive(Debug, Clone, Copy)]
pub enum Local {}

impl Sharing for Threads {}
impl Sharing for Local {}

/// What a channel is made of. Not part of the interface: nobody outside can name it.
pub trait Means: Debug + Sized + 'static {
    /// From an end to what all ends share.
    type Pointer<T>: Pointer<T>;
    /// Around what only one end may touch at a time.
    type Gate<T>: Gate<T>;
    /// How many ends there are.
    type Count: Count;
    /// Whether an end that blocks its thread can be waited for by nobody but itself.
    const ONE_THREAD: bool;
}

impl Means for Threads {
    type Pointer<T> = Arc<T>;
    type Gate<T> = Sides<T>;
    type Count = AtomicUsize;
    const ONE_THREAD: bool = false;
}

impl Means for Local {
    type Pointer<T> = Rc<T>;
    type Gate<T> = NoLock<T>;
    type Count = Cell<usize>;
    const ONE_THREAD: bool = true;
}

/// A counted pointer.
pub trait Pointer<T>: Deref<Target = T> + Clone + Unpin {
    fn new(value: T) -> Self;
    fn same(&self, other: &Self) -> bool;
}

impl<T> Pointer<T> for Arc<T> {
    fn new(value: T) -> Self {
        Arc::new(value)
    }

    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(self, other)
    }
}

impl<T> Pointer<T> for Rc<T> {
    fn new(value: T) -> Self {
        Rc::new(value)
    }

    fn same(&self, other: &Self) -> bool {
        Rc::ptr_eq(self, other)
    }
}

/// How to look for something before one waits for it.
#[derive(Debug, Clone, Copy)]
pub struct Looks {
    /// How often.
    pub(super) times: u8,
    /// How long the thread does nothing between, if it has nothing to do.
    pub(super) pauses: u32,
}

impl Looks {
    pub(super) const NONE: Self = Self { times: 0, pauses: 0 };
}

/// Exclusive access to an engine, for as long as a guard lives. No code of the user's runs meanwhile (I7), and nobody
/// who has a guard asks for another of the same gate.
///
/// Beside the engine is something for pops to look at without a guard: whether it is *stirred*. Whoever has the engine stirs
/// it, unless he took it calmly because he changes nothing that would interest the onlookers, or to pop; and who sees with his
/// guard that there is nothing for them calms it. So calm is a promise as long as nobody has the engine, and stirred is none.
pub trait Gate<T>: Sized {
    type Guard<'a>: DerefMut<Target = Engine<T>>
    where
        Self: 'a,
        T: 'a;

    /// For as long as it lives, the slot stays as it is that a value leaves without the engine.
    type Hold<'a>
    where
        Self: 'a,
        T: 'a;

    fn new(engine: Engine<T>) -> Self;
    /// Takes the engine, and stirs.
    fn lock(&self) -> Self::Guard<'_>;
    /// Takes the engine, for who makes nothing of interest come up.
    fn lock_calmly(&self) -> Self::Guard<'_>;
    /// `false`: there was nothing of interest when somebody looked, and nobody who could change that has come since.
    fn is_stirred(&self) -> bool;
    /// Says that there is nothing of interest.
    fn calm(guard: &Self::Guard<'_>);
    /// Whether pops [look](Self::looks) before they wait: then who takes the last value calms.
    const ONLOOKERS: bool = false;
    /// Says that a push is about to wait.
    #[inline(always)]
    fn push_waits(_guard: &Self::Guard<'_>) {}

    // What follows is done without the engine where that can be.

    /// Pushes the value in `from`; the engine, if that takes more than a slot at the tail.
    #[inline(always)]
    fn push_or_lock(&self, _from: &mut Option<T>) -> Option<Self::Guard<'_>> {
        Some(self.lock())
    }

    /// As [`push_or_lock`](Self::push_or_lock), where it may pay to look again before one waits: if there is no more to it
    /// than that the slots are full, and `again` agrees.
    #[inline(always)]
    fn push_or_look(
        &self,
        from: &mut Option<T>,
        _again: impl FnOnce() -> bool,
    ) -> Result<(), Option<Self::Guard<'_>>> {
        self.push_or_lock(from).map_or(Ok(()), |guard| Err(Some(guard)))
    }

    /// Pops a free value; the engine, if that takes more than the head.
    #[inline(always)]
    fn pop_or_lock(&self) -> Result<Popped<'_, T, Self>, Self::Guard<'_>> {
        Err(self.lock())
    }

    /// As [`pop_or_lock`](Self::pop_or_lock), where it may pay to look again before one waits: if there is no more to it
    /// than that the slots are empty, and `again` agrees.
    #[inline(always)]
    fn pop_or_look(
        &self,
        _again: impl FnOnce() -> bool,
    ) -> Result<Popped<'_, T, Self>, Option<Self::Guard<'_>>> {
        self.pop_or_lock().map_err(Some)
    }

    /// How an operation that finds nothing to do may look again before it stands in line: for what another thread is to
    /// bring. On one thread it would only keep the other side waiting.
    #[inline(always)]
    fn looks(&self) -> Looks {
        Looks::NONE
    }

    /// As [`pop_or_lock`](Self::pop_or_lock); the engine is taken calmly, and not at all if it is easily seen without that
    /// there is nothing of interest.
    #[inline(always)]
    fn pop_or_lock_calmly(&self) -> Result<Popped<'_, T, Self>, Option<Self::Guard<'_>>> {
        Err(Some(self.lock_calmly()))
    }

    /// Pops for a popper for which a value is counted; the engine, if that takes more than the head.
    #[inline(always)]
    fn pop_counted_or_lock(&self) -> Result<Popped<'_, T, Self>, Self::Guard<'_>> {
        Err(self.lock())
    }

    /// Pushes from the front of `values`; the engine, if there are some left.
    #[inline(always)]
    fn push_many_or_lock(&self, _values: &mut VecDeque<T>) -> Option<Self::Guard<'_>> {
        Some(self.lock())
    }

    /// Pops up to `most` free values, as far as `out` has room, and returns how many more there may be; the engine, if
    /// that takes more than the head.
    #[inline(always)]
    fn pop_many_or_lock(&self, _out: &mut Vec<T>, _most: usize) -> Result<usize, Self::Guard<'_>> {
        Err(self.lock())
    }

    /// Whether a push seems to find no room. It may be otherwise, also for a while, where permits are out.
    fn looks_full(&self) -> bool {
        self.lock_calmly().is_full()
    }

    /// Whether a pop seems to find no value. It may be otherwise, also for a while, in a closed channel.
    fn looks_empty(&self) -> bool {
        self.lock_calmly().has_nothing()
    }
}

/// A value on its way out, and what keeps its slot.
pub(super) type Popped<'a, T, G> = (Leaving<'a, T>, <G as Gate<T>>::Hold<'a>);

/// The lock that one thread needs: none. A second guard beside the first would be a mistake in this module's users,
/// which debug builds catch.
#[allow(missing_debug_implementations, reason = "public only as far as a sealed trait names it")]
pub struct NoLock<T> {
    #[cfg(debug_assertions)]
    held: Cell<bool>,
    stirred: Cell<bool>,
    engine: UnsafeCell<Engine<T>>,
}

impl<T> Gate<T> for NoLock<T> {
    type Guard<'a>
        = NoGuard<'a, T>
    where
        T: 'a;
    type Hold<'a>
        = Infallible
    where
        T: 'a;

    fn new(engine: Engine<T>) -> Self {
        Self {
            #[cfg(debug_assertions)]
            held: Cell::new(false),
            stirred: Cell::new(true),
            engine: UnsafeCell::new(engine),
        }
    }

    #[inline]
    fn lock(&self) -> NoGuard<'_, T> {
        self.stirred.set(true);
        self.lock_calmly()
    }

    #[inline]
    fn is_stirred(&self) -> bool {
        self.stirred.get()
    }

    #[inline]
    fn calm(guard: &NoGuard<'_, T>) {
        guard.0.stirred.set(false);
    }

    #[inline]
    fn lock_calmly(&self) -> NoGuard<'_, T> {
        #[cfg(debug_assertions)]
        assert!(!self.held.replace(true), "a channel was entered twice");
        NoGuard(self)
    }
}

/// Access to what a [`NoLock`] holds.
#[allow(missing_debug_implementations, reason = "public only as far as a sealed trait names it")]
pub struct NoGuard<'a, T>(&'a NoLock<T>);

impl<T> Deref for NoGuard<'_, T> {
    type Target = Engine<T>;

    #[inline]
    fn deref(&self) -> &Engine<T> {
        // SAFETY: (I7) the only guard, by the contract of `Gate`: between the making of a guard and its end runs
        // no code but this crate's, which makes no second one; and other threads cannot, since `UnsafeCell` is not `Sync`.
        unsafe { &*self.0.engine.get() }
    }
}

impl<T> DerefMut for NoGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Engine<T> {
        // SAFETY: (I7) as in `deref`, and the guard is borrowed exclusively.
        unsafe { &mut *self.0.engine.get() }
    }
}

#[cfg(debug_assertions)]
impl<T> Drop for NoGuard<'_, T> {
    fn drop(&mut self) {
        self.0.held.set(false);
    }
}

/// How many ends of one kind there are.
pub trait Count {
    fn new(count: usize) -> Self;
    fn get(&self) -> usize;
    /// One more, made from one that exists.
    fn increment(&self);
    /// One more, unless there is none any more: `false`.
    fn increment_if_any(&self) -> bool;
    /// One less; `true` for the last.
    fn decrement(&self) -> bool;
}

impl Count for AtomicUsize {
    fn new(count: usize) -> Self {
        AtomicUsize::new(count)
    }

    fn get(&self) -> usize {
        self.load(Ordering::Relaxed) // ORDERING: a number to look at; it may be another one already
    }

    fn increment(&self) {
        // ORDERING: a new end comes from a living one, which keeps the count from reaching zero meanwhile. The pointer
        // cloned beside it aborts long before this count could overflow.
        self.fetch_add(1, Ordering::Relaxed);
    }

    fn increment_if_any(&self) -> bool {
        if planted!("upgrade-looks-then-counts") {
            let any = self.load(Ordering::SeqCst) > 0;
            if any {
                self.increment();
            }
            return any;
        }
        // ORDERING: as for `increment`; what the new end sees of the channel it sees through its lock.
        self.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count > 0).then_some(count + 1))
            .is_ok()
    }

    fn decrement(&self) -> bool {
        if planted!("ends-counted-apart") {
            let before = self.load(Ordering::SeqCst);
            self.store(before - 1, Ordering::SeqCst);
            return before == 1;
        }
        // ORDERING: `AcqRel` chains the ends' drops, so the last one comes after everything the others did.
        self.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

impl Count for Cell<usize> {
    fn new(count: usize) -> Self {
        Cell::new(count)
    }

    fn get(&self) -> usize {
        self.get()
    }

    fn increment(&self) {
        self.set(self.get() + 1);
    }

    fn increment_if_any(&self) -> bool {
        let any = self.get() > 0;
        if any {
            self.increment();
        }
        any
    }

    fn decrement(&self) -> bool {
        self.set(self.get() - 1);
        self.get() == 0
    }
}
