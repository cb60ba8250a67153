//! The one small lock of a channel: held for some ten nanoseconds, never while code of the user's runs. As long as one
//! thread alone takes it, taking it is a store.
//!
//! Knows: `sync`, the bias, the futex and membarrier calls. Does not know: what it protects.
#![allow(
    unsafe_code,
    reason = "a lock: hands out exclusive access to what it protects, and sleeps in the kernel"
)]

#[cfg(any(millstream_loom, millstream_shuttle, miri))]
pub(super) use modelled::{Guard, Kept, Lock};
#[cfg(not(any(millstream_loom, millstream_shuttle, miri)))]
pub(super) use real::{Guard, Kept, Lock};

/// Who looks at a lock without taking it.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    any(millstream_loom, millstream_shuttle, miri),
    allow(dead_code, reason = "the models look under the lock")
)]
pub(super) enum Onlookers {
    Pops,
    Pushes,
}

/// For the models of the channel: a lock the checker knows. Exploring ours again in each of them would leave no time
/// for the protocol; ours has a model of its own, below.
#[cfg(any(millstream_loom, millstream_shuttle, miri))]
#[allow(unreachable_pub, missing_docs, reason = "public only as far as a sealed trait names them")]
mod modelled {
    use super::Onlookers;
    use crate::sync::{Mutex, MutexGuard};

    pub type Guard<'a, T> = MutexGuard<'a, T>;

    #[derive(Debug)]
    pub struct Lock<T>(Mutex<T>);

    impl<T> Lock<T> {
        pub(in super::super) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(in super::super) fn lock(&self) -> Guard<'_, T> {
            self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
        }

        pub(in super::super) fn lock_calmly(&self) -> Guard<'_, T> {
            self.lock()
        }

        /// Always: the models look under the lock.
        pub(in super::super) fn is_stirred(&self, _whom: Onlookers) -> bool {
            true
        }

        pub(in super::super) fn stir(&self, _whom: Onlookers) {}

        pub(in super::super) fn calm(&self, _whom: Onlookers) {}

        pub(in super::super) fn seems_near(&self) -> bool {
            true
        }

        pub(in super::super) fn is_worth_taking(&self, _whom: Onlookers) -> bool {
            true
        }

        pub(in super::super) fn fetch(&self) {}

        pub(in super::super) fn sign(&self) {}

        pub(in super::super) fn set_busy(&self) {}

        pub(in super::super) fn is_busy(&self) -> bool {
            false
        }

        pub(in super::super) fn is_signed_elsewhere(&self) -> bool {
            false
        }

        pub(in super::super) fn keep(guard: Guard<'_, T>) -> Kept<'_, T> {
            Kept(Some(guard))
        }

        pub(in super::super) unsafe fn inside<'k>(&'k self, kept: &'k mut Kept<'_, T>) -> &'k mut T {
            kept.0.as_mut().expect("the lock is held")
        }

        pub(in super::super) fn is_own(&self, _kept: &Kept<'_, T>) -> bool {
            false
        }

        pub(in super::super) unsafe fn release(&self, kept: &mut Kept<'_, T>) {
            assert!(kept.0.take().is_some(), "the lock is held");
        }
    }

    pub struct Kept<'a, T>(Option<Guard<'a, T>>);

    impl<T> Kept<'_, T> {
        pub(in super::super) fn nothing() -> Self {
            Self(None)
        }
    }
}

#[cfg(not(any(millstream_loom, millstream_shuttle, miri)))]
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    reason = "public only as far as a sealed trait names them"
)]
mod real {
    use core::cell::{Cell, UnsafeCell};
    use core::marker::PhantomData;
    use core::mem;
    use core::ops::{Deref, DerefMut};

    use super::Onlookers;
    use super::raw::RawLock;
    use crate::channel::bias::{Bias, Entry, Record};
    use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
    use crate::util::{prefetch, thread_number};

    /// How many signatures long it is busy.
    const BUSY: u8 = 32;

    #[repr(C)] // what everybody writes who takes it, together
    pub struct Lock<T> {
        raw: RawLock,
        /// For pops and for pushes, whether anybody has had the lock who may have brought them something since somebody who
        /// had it saw nothing of interest: see [`Gate`](super::super::sharing::Gate).
        stirred: [AtomicBool; 2],
        /// How the lock was taken that is held without a guard. Used by who holds it.
        kept_entry: Cell<Entry>,
        record: Record,
        /// The number of the thread that has signed it; 0: nobody has.
        signed: AtomicU64,
        /// For so many more signatures it is busy.
        busy: AtomicU8,
        data: UnsafeCell<T>,
        bias: Bias,
    }

    // SAFETY: (I5) a lock: the data is used by one thread at a time, and moves between threads, hence `T: Send`.
    unsafe impl<T: Send> Send for Lock<T> {}
    // SAFETY: (I5) as above.
    unsafe impl<T: Send> Sync for Lock<T> {}

    impl<T> Lock<T> {
        pub(in super::super) fn new(value: T) -> Self {
            Self {
                raw: RawLock::new(),
                stirred: [AtomicBool::new(true), AtomicBool::new(true)],
                kept_entry: Cell::new(Entry::ORDINARY),
                record: Record::new(),
                signed: AtomicU64::new(0),
                busy: AtomicU8::new(0),
                data: UnsafeCell::new(value),
                bias: Bias::new(),
            }
        }

        #[inline]
        pub(in super::super) fn lock(&self) -> Guard<'_, T> {
            let guard = self.lock_calmly();
            self.stir(Onlookers::Pops);
            guard
        }

        #[inline]
        pub(in super::super) fn lock_calmly(&self) -> Guard<'_, T> {
            let entry = self.bias.enter(thread_number::if_any());
            if entry == Entry::ORDINARY {
                self.raw.acquire();
                self.bias.taken(&self.record, thread_number::current());
            }
            Guard { lock: self, entry, _exclusive: PhantomData }
        }

        #[inline]
        pub(in super::super) fn is_stirred(&self, whom: Onlookers) -> bool {
            // ORDERING: written by whoever has the lock; who reads it without gets a hint.
            self.stirred[whom as usize].load(Ordering::Relaxed)
        }

        /// Says that there may be something of interest. The caller has the lock.
        #[inline]
        pub(in super::super) fn stir(&self, whom: Onlookers) {
            self.stirred[whom as usize].store(true, Ordering::Relaxed); // ORDERING: as in `is_stirred`
        }

        /// Says that there is nothing of interest. The caller has the lock.
        #[inline]
        pub(in super::super) fn calm(&self, whom: Onlookers) {
            self.stirred[whom as usize].store(false, Ordering::Relaxed); // ORDERING: as in `is_stirred`
        }

        /// Whether no other thread took the lock last, as far as can be seen without it.
        pub(in super::super) fn seems_near(&self) -> bool {
            self.record.is_no_other(thread_number::current())
        }

        /// Whether it is [stirred](Self::is_stirred), and nobody is at it.
        #[inline]
        pub(in super::super) fn is_worth_taking(&self, whom: Onlookers) -> bool {
            self.is_stirred(whom) && self.raw.is_free()
        }

        /// Has the processor bring what is written when the lock is taken.
        #[inline(always)]
        pub(in super::super) fn fetch(&self) {
            prefetch::to_write(&raw const self.raw);
        }

        /// Leaves the number of this thread. The caller has the lock.
        #[inline]
        pub(in super::super) fn sign(&self) {
            // ORDERING: hints, for who does not have the lock.
            self.signed.store(thread_number::if_any(), Ordering::Relaxed);
            let busy = self.busy.load(Ordering::Relaxed);
            if busy > 0 {
                self.busy.store(busy - 1, Ordering::Relaxed);
            }
        }

        /// Says that it is busy here, for as long as it takes to [sign](Self::sign) some times. The caller has the lock.
        #[inline]
        pub(in super::super) fn set_busy(&self) {
            self.busy.store(BUSY, Ordering::Relaxed); // ORDERING: as in `sign`
        }

        /// Whether it was [busy](Self::set_busy) here. For who does not have the lock, a hint.
        #[inline]
        pub(in super::super) fn is_busy(&self) -> bool {
            self.busy.load(Ordering::Relaxed) > 0 // ORDERING: as in `sign`
        }

        /// Whether it was another thread that [signed](Self::sign) last. For who does not have the lock, a hint.
        #[inline]
        pub(in super::super) fn is_signed_elsewhere(&self) -> bool {
            let signed = self.signed.load(Ordering::Relaxed); // ORDERING: a hint
            signed != 0 && signed != thread_number::if_any()
        }

        #[inline]
        fn give_back(&self, entry: Entry) {
            if entry == Entry::ORDINARY {
                self.raw.release();
            } else {
                self.bias.leave(entry);
            }
        }

        /// Leaves the lock held, to be [released](Self::release) by whoever has what this returns.
        #[inline]
        pub(in super::super) fn keep(guard: Guard<'_, T>) -> Kept<'_, T> {
            guard.lock.kept_entry.set(guard.entry);
            mem::forget(guard);
            Kept(PhantomData)
        }

        /// What a kept lock protects.
        ///
        /// # Safety
        /// `kept` is of this lock, which has not been released.
        #[inline]
        pub(in super::super) unsafe fn inside<'k>(&'k self, _kept: &'k mut Kept<'_, T>) -> &'k mut T {
            // SAFETY: the lock is held, and what was kept is borrowed exclusively.
            unsafe { &mut *self.data.get() }
        }

        /// Whether it is the own one of the thread that holds it: to take it again costs a few instructions.
        #[inline]
        pub(in super::super) fn is_own(&self, _kept: &Kept<'_, T>) -> bool {
            self.kept_entry.get() != Entry::ORDINARY
        }

        /// Releases a kept lock.
        ///
        /// # Safety
        /// As for [`inside`](Self::inside).
        #[inline]
        pub(in super::super) unsafe fn release(&self, _kept: &mut Kept<'_, T>) {
            self.give_back(self.kept_entry.get());
        }
    }

    /// A lock that is held without a guard. Nothing is stored: it knows neither which lock, nor whether it was released.
    pub struct Kept<'a, T>(PhantomData<&'a mut T>);

    impl<T> Kept<'_, T> {
        /// Of no lock.
        #[inline]
        pub(in super::super) fn nothing() -> Self {
            Self(PhantomData)
        }
    }

    /// Holds the lock, also through an unwinding.
    pub struct Guard<'a, T> {
        lock: &'a Lock<T>,
        entry: Entry,
        _exclusive: PhantomData<&'a mut T>,
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;

        #[inline]
        fn deref(&self) -> &T {
            // SAFETY: the lock is held for as long as the guard lives.
            unsafe { &*self.lock.data.get() }
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        #[inline]
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: the lock is held for as long as the guard lives, and the guard is borrowed exclusively.
            unsafe { &mut *self.lock.data.get() }
        }
    }

    impl<T> Drop for Guard<'_, T> {
        #[inline]
        fn drop(&mut self) {
            self.lock.give_back(self.entry);
        }
    }
}

#[cfg(not(any(millstream_shuttle, miri)))]
#[cfg_attr(millstream_loom, allow(dead_code, reason = "there, only its own model uses it"))]
mod raw {
    use super::os::{Futex, heavy_barrier, light_barrier};
    use crate::sync::atomic::{AtomicU32, Ordering};
    use crate::sync::{hint, thread};

    const FREE: u32 = 0;
    const HELD: u32 = 1;

    /// Pauses before the first new look at a held lock; doubled, up to `MAX_PAUSES`, each time it is still held.
    const FIRST_PAUSES: u32 = if cfg!(millstream_loom) { 1 } else { 8 };
    const MAX_PAUSES: u32 = 64;
    /// Pauses in all before something else is tried. The holder is usually done long before: it takes longer only if it
    /// was preempted. Looking more often makes the cache line bounce and everybody slower.
    const PAUSE_BUDGET: u32 = if cfg!(millstream_loom) { 1 } else { 300 };
    /// How often the processor is left to others before sleeping: the holder may be waiting for it, and all that it has to
    /// do is what is left of ten nanoseconds.
    const YIELDS: u32 = if cfg!(millstream_loom) { 0 } else { 8 };

    /// Mutual exclusion on a futex.
    ///
    /// ```text
    ///   FREE ── compare-exchange ──▶ HELD ── store ──▶ FREE, then wake one if `sleepers` is not 0
    /// ```
    ///
    /// Releasing is a plain store and a plain load: no read-modify-write, no fence. So that this load cannot miss
    /// somebody who is about to sleep, the sleeper makes every thread of the process pass a barrier between counting
    /// itself and its last look at the word. Sleeping is rare and costs microseconds anyway; releasing is neither.
    pub(super) struct RawLock {
        word: AtomicU32,
        sleepers: AtomicU32,
        futex: Futex,
    }

    impl RawLock {
        pub(super) fn new() -> Self {
            Self { word: AtomicU32::new(FREE), sleepers: AtomicU32::new(0), futex: Futex::new() }
        }

        #[inline]
        pub(super) fn acquire(&self) {
            if !self.try_acquire() {
                self.wait_and_acquire();
            }
        }

        /// Whether nobody seems to have it.
        #[cfg_attr(millstream_loom, allow(dead_code, reason = "its own model asks for the lock"))]
        #[inline]
        pub(super) fn is_free(&self) -> bool {
            self.word.load(Ordering::Relaxed) == FREE // ORDERING: a hint
        }

        #[inline]
        fn try_acquire(&self) -> bool {
            // ORDERING: pairs with the `Release` store in `release`.
            self.word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
        }

        #[cold]
        fn wait_and_acquire(&self) {
            let (mut pauses, mut left) = (FIRST_PAUSES, PAUSE_BUDGET);
            while left > 0 {
                for _ in 0..pauses {
                    hint::spin_loop();
                }
                if self.word.load(Ordering::Relaxed) == FREE && self.try_acquire() {
                    return;
                }
                left = left.saturating_sub(pauses);
                pauses = (pauses * 2).min(MAX_PAUSES);
            }
            for _ in 0..YIELDS {
                thread::yield_now();
                if self.word.load(Ordering::Relaxed) == FREE && self.try_acquire() {
                    return;
                }
            }
            self.sleepers.fetch_add(1, Ordering::Relaxed);
            // ORDERING: pairs with `light_barrier` in `release`: either that load of `sleepers` comes after this
            // barrier and finds us counted, or that store of FREE came before it and is found by the look below.
            let counted = heavy_barrier();
            while !self.try_acquire() {
                // Without the barrier we may be missed, so the sleep is a short nap.
                self.futex.sleep(&self.word, HELD, counted);
            }
            self.sleepers.fetch_sub(1, Ordering::Relaxed);
        }

        /// Releases a lock that the caller holds.
        #[inline]
        pub(super) fn release(&self) {
            // ORDERING: pairs with the `Acquire` in `try_acquire`.
            let release = if planted!("release-is-relaxed") { Ordering::Relaxed } else { Ordering::Release };
            self.word.store(FREE, release);
            light_barrier();
            if self.sleepers.load(Ordering::Relaxed) != 0 && !planted!("release-wakes-nobody") {
                self.futex.wake_one(&self.word);
            }
        }
    }
}

/// What the lock needs from the machine.
#[cfg(not(any(millstream_loom, millstream_shuttle, miri)))]
mod os {
    use core::sync::atomic::{AtomicU32, Ordering, compiler_fence};

    use crate::util::barrier;

    /// How long somebody sleeps whom a release may miss.
    static NAP: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };

    /// Every thread of the process passes a full barrier; `false` if the kernel refuses, or is not ready.
    pub(super) fn heavy_barrier() -> bool {
        barrier::try_heavy()
    }

    #[inline]
    pub(super) fn light_barrier() {
        // ORDERING: keeps the compiler from moving the load up; for the processor the heavy side pays.
        compiler_fence(Ordering::SeqCst);
    }

    /// The kernel keeps the queue of sleepers, by the word's address.
    pub(super) struct Futex;

    impl Futex {
        pub(super) fn new() -> Self {
            Self
        }

        /// Sleeps if `word` is `expected`, until woken, or for a nap if wakes may be missed. Ends early at will.
        pub(super) fn sleep(&self, word: &AtomicU32, expected: u32, counted: bool) {
            let timeout: *const libc::timespec = if counted { core::ptr::null() } else { &NAP };
            let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
            // SAFETY: the word outlives the call; the timeout is null or a static. Whatever comes back, the caller
            // looks again.
            unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), wait, expected, timeout) };
        }

        #[cold]
        pub(super) fn wake_one(&self, word: &AtomicU32) {
            let wake = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
            // SAFETY: the kernel uses the address as a key.
            unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), wake, 1) };
        }
    }
}

/// The same for loom: the kernel's queue is a lock and a condition, the pair of barriers a pair of fences.
#[cfg(millstream_loom)]
#[allow(dead_code, reason = "only the model uses it")]
mod os {
    use crate::sync::atomic::{AtomicU32, Ordering, fence};
    use crate::sync::{Condvar, Mutex};

    pub(super) fn heavy_barrier() -> bool {
        fence(Ordering::SeqCst);
        true
    }

    pub(super) fn light_barrier() {
        if !planted!("release-without-barrier") {
            fence(Ordering::SeqCst);
        }
    }

    pub(super) struct Futex {
        queue: Mutex<()>,
        woken: Condvar,
    }

    impl Futex {
        pub(super) fn new() -> Self {
            Self { queue: Mutex::new(()), woken: Condvar::new() }
        }

        pub(super) fn sleep(&self, word: &AtomicU32, expected: u32, _counted: bool) {
            let queue = self.queue.lock().unwrap();
            if word.load(Ordering::SeqCst) == expected {
                drop(self.woken.wait(queue).unwrap());
            }
        }

        pub(super) fn wake_one(&self, _word: &AtomicU32) {
            let queue = self.queue.lock().unwrap();
            self.woken.notify_one();
            drop(queue);
        }
    }
}

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
mod tests {
    use super::Lock;
    use std::thread;

    /// The lock becomes one thread's own, another one comes at any point of that, and neither loses a step.
    #[test]
    fn threads_exclude_each_other_whosever_own_it_was() {
        for round in 0..400 {
            let lock = Lock::new(0);
            let add = |times| (0..times).for_each(|_| *lock.lock() += 1);
            add(round % 5);
            thread::scope(|scope| {
                scope.spawn(|| add(100));
                add(300);
            });
            assert_eq!(*lock.lock(), 400 + round % 5, "round {round}");
        }
    }
}

#[cfg(all(test, millstream_loom))]
mod model {
    use super::raw::RawLock;
    use crate::sync::{Arc, thread};

    struct Counter {
        lock: RawLock,
        value: loom::cell::UnsafeCell<usize>,
    }

    // SAFETY: a test; loom itself checks that the lock keeps the threads apart.
    unsafe impl Sync for Counter {}

    impl Counter {
        fn add(&self) {
            self.lock.acquire();
            // SAFETY: the lock is held; loom checks it.
            self.value.with_mut(|value| unsafe { *value += 1 });
            self.lock.release();
        }
    }

    fn contend(threads: usize, rounds: usize) {
        loom::model(move || {
            let counter = Arc::new(Counter { lock: RawLock::new(), value: loom::cell::UnsafeCell::new(0) });
            let others: Vec<_> = (1..threads)
                .map(|_| {
                    let counter = counter.clone();
                    thread::spawn(move || (0..rounds).for_each(|_| counter.add()))
                })
                .collect();
            (0..rounds).for_each(|_| counter.add());
            others.into_iter().for_each(|other| other.join().unwrap());
            counter.lock.acquire();
            // SAFETY: as in `add`.
            let total = counter.value.with(|value| unsafe { *value });
            counter.lock.release();
            assert_eq!(total, threads * rounds);
        });
    }

    #[test]
    fn two_threads_exclude_each_other_and_none_sleeps_for_ever() {
        contend(2, 2);
    }

    #[test]
    fn three_threads_do_too() {
        contend(3, 1);
    }
}
