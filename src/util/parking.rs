//! Waiting on a plain thread: the same futures, with a waker that unparks.
//!
//! Knows: `sync`, `util::executor`. Does not know: what is waited for.
//!
//! ```text
//!              wake                        take
//!   AWAKE ───────────────▶ WOKEN ───────────────▶ AWAKE      while the thread is up, a wake is one exchange
//!     │                      ▲
//!     └── parks ─▶ PARKED ───┘ wake, and unpark
//! ```
//!
//! The waker is the address of the thread's *parker*, which is never freed but handed on when the thread is gone. So clones
//! are copies and drops nothing: a channel keeps it without calling anything under its lock, and the threads that hand a value
//! over do not pass a count to and fro beside it. A wake that comes late, for an earlier wait or an earlier thread, ends a park
//! early, no more.
#![allow(unsafe_code, reason = "builds wakers from addresses that stay")]

use core::cell::Cell;
use core::future::Future;
use core::pin::{Pin, pin};
use core::ptr;
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::sync::OnceLock; // not `crate::sync`: what it holds is about the machine, and the same in every execution

use crossbeam_utils::CachePadded;

use super::executor;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::hint;
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, MutexGuard};

/// Refuses to block a thread that a runtime polls on.
#[track_caller]
pub(crate) fn assert_plain_thread(called: &str, instead: &str) {
    assert!(
        !executor::on_runtime_thread(),
        "`{called}` on a runtime's thread would stop every task on it: use `{instead}` there"
    );
}

const AWAKE: u8 = 0;
const PARKED: u8 = 1;
const WOKEN: u8 = 2;

/// What wakes a thread.
struct Parker {
    /// On a line that nothing else is on: the thread looks at it while it spins.
    state: CachePadded<AtomicU8>,
    /// Whose it is at the moment.
    thread: Mutex<Thread>,
}

impl Parker {
    fn new() -> &'static Self {
        Box::leak(Box::new(Self {
            state: CachePadded::new(AtomicU8::new(AWAKE)),
            thread: Mutex::new(thread::current()),
        }))
    }

    fn waker(&'static self) -> Waker {
        // SAFETY: (I5) the vtable takes the address of any parker, which stays, any number of times, on any thread.
        unsafe { Waker::new(ptr::from_ref(self).cast(), &VTABLE) }
    }

    fn of(data: *const ()) -> &'static Self {
        // SAFETY: (local) only wakers that `waker` makes have `VTABLE`; their word is the address of a parker, never freed.
        unsafe { &*data.cast::<Self>() }
    }

    fn thread(&self) -> MutexGuard<'_, Thread> {
        self.thread.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether there was a wake since the last time. On its own thread.
    fn take(&self) -> bool {
        // ORDERING: pairs with the `Release` in `wake`: the poll that follows sees what was done before the wake. By an
        // exchange, so that this holds for a second wake, too, that came after the load.
        self.state.load(Ordering::Relaxed) == WOKEN && self.state.swap(AWAKE, Ordering::Acquire) == WOKEN
    }

    /// Returns once there was a wake. On its own thread.
    fn park(&self) {
        // ORDERING: what matters is seen by `take`.
        if self.state.compare_exchange(AWAKE, PARKED, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            while self.state.load(Ordering::Relaxed) == PARKED {
                thread::park();
            }
        }
        self.take();
    }

    fn wake(&self) {
        // ORDERING: pairs with `take`.
        if self.state.swap(WOKEN, Ordering::Release) == PARKED {
            self.unpark();
        }
    }

    /// Its thread is parked, or has just left, and then an unpark too many does no harm, nor one of who has it after that.
    #[cold]
    fn unpark(&self) {
        if !planted!("wake-forgets-to-unpark") {
            self.thread().unpark();
        }
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, drop_nothing);

fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

fn wake(data: *const ()) {
    Parker::of(data).wake();
}

fn drop_nothing(_: *const ()) {}

/// A clone, if it is one of these, which own nothing.
#[inline]
pub(crate) fn copy(waker: &Waker) -> Option<Waker> {
    is_threads(waker).then(|| Parker::of(waker.data()).waker())
}

/// Whether it wakes a thread that waits in a blocking call.
#[inline]
pub(crate) fn is_threads(waker: &Waker) -> bool {
    ptr::eq(waker.vtable(), &raw const VTABLE)
}

/// A parker while a thread or a wait has it; handed on after that.
struct Lent(&'static Parker);

impl Lent {
    /// This thread's, so that waiting allocates once per thread. A wait within a wait (in the user's code) has one of its own.
    fn take() -> Self {
        HERE.try_with(Cell::take).ok().flatten().unwrap_or_else(|| {
            Self(match pool::take() {
                Some(parker) => {
                    *parker.thread() = thread::current();
                    parker
                }
                None => Parker::new(),
            })
        })
    }

    /// Leaves it with this thread, unless that has one, or is about to end.
    fn give_back(self) {
        if pool::KEEP {
            let mut lent = Some(self);
            let _ = HERE.try_with(|here| here.set(lent.take()));
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        pool::give(self.0);
    }
}

std::thread_local! {
    /// This thread's parker, unless a wait has it.
    static HERE: Cell<Option<Lent>> = const { Cell::new(None) };
}

/// Parkers without a thread.
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod pool {
    use super::Parker;
    use crate::sync::{Mutex, PoisonError};
    use crate::util::forks::PerProcess;

    pub(super) const KEEP: bool = true;

    static POOL: PerProcess<Mutex<Vec<&'static Parker>>> = PerProcess::new(|| Mutex::new(Vec::new()));

    pub(super) fn take() -> Option<&'static Parker> {
        POOL.get().lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(super) fn give(parker: &'static Parker) {
        POOL.get().lock().unwrap_or_else(PoisonError::into_inner).push(parker);
    }
}

/// In a model every execution begins with its own.
#[cfg(any(millstream_loom, millstream_shuttle))]
mod pool {
    use super::Parker;

    pub(super) const KEEP: bool = false;

    pub(super) fn take() -> Option<&'static Parker> {
        None
    }

    pub(super) fn give(_parker: &'static Parker) {}
}

/// Pauses before parking: at most some ten microseconds, less than a park and an unpark cost.
const MAX_SPIN: u32 = if cfg!(any(millstream_loom, millstream_shuttle, miri)) { 0 } else { 1024 };
/// At least as long as another thread that is awake takes to answer. With less, a thread that has once been kept waiting
/// would go on to park for every value.
const MIN_SPIN: u32 = MAX_SPIN / 8;
/// How often the processor is left to others after that: what ends the wait may be up to a thread that has none.
const YIELDS: u32 = 8;

std::thread_local! {
    /// How long this thread spins: more while wakes come in that time, less while they do not.
    static SPIN: Cell<u32> = const { Cell::new(MAX_SPIN / 4) };
}

/// Whether what ends a wait cannot come while this thread spins: there is one processor, or a model checker.
fn spinning_is_vain() -> bool {
    static ALONE: OnceLock<bool> = OnceLock::new();
    MAX_SPIN == 0 || *ALONE.get_or_init(|| std::thread::available_parallelism().is_ok_and(|n| n.get() == 1))
}

/// Looks for a while whether it is `done`, if what ends the wait may come that soon.
pub(crate) fn spin(done: impl FnMut() -> bool) -> bool {
    spin_with(1, 1, done)
}

pub(crate) fn spin_with(mut pauses: u32, most: u32, mut done: impl FnMut() -> bool) -> bool {
    if spinning_is_vain() {
        return false;
    }
    let limit = SPIN.get();
    let mut left = limit;
    while left > 0 {
        (0..pauses.min(left)).for_each(|_| hint::spin_loop());
        if done() {
            SPIN.set((limit * 2).min(MAX_SPIN));
            return true;
        }
        left = left.saturating_sub(pauses);
        pauses = (pauses * 2).min(most);
    }
    SPIN.set((limit / 2).max(MIN_SPIN));
    (0..YIELDS).any(|_| {
        thread::yield_now();
        done()
    })
}

#[cfg(not(millstream_loom))]
std::thread_local! {
    /// A wait of this thread is going on.
    static WAITS: Cell<bool> = const { Cell::new(false) };
}
#[cfg(millstream_loom)]
loom::thread_local! {
    static WAITS: Cell<bool> = Cell::new(false);
}

/// Whether what is polled on this thread is waited for by parking it.
pub(crate) fn waits_here() -> bool {
    WAITS.try_with(Cell::get).unwrap_or(false)
}

/// A wait of this thread, for as long as this lives.
struct Wait {
    parker: Option<Lent>,
    /// Whether it is within another one.
    within: bool,
}

impl Wait {
    fn begin() -> Self {
        let within = WAITS.try_with(|waits| waits.replace(true)).unwrap_or(false);
        Self { parker: Some(Lent::take()), within }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.parker.take().into_iter().for_each(Lent::give_back);
        let _ = WAITS.try_with(|waits| waits.set(self.within));
    }
}

/// Runs `future` to its end on this thread, parking while it is pending.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    wait_pinned(pin!(future))
}

fn wait_pinned<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let wait = Wait::begin();
    let parker = wait.parker.as_ref().expect("until it ends").0;
    let waker = parker.waker();
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        if !spin(|| parker.take()) {
            parker.park();
        }
    }
}

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
mod tests {
    use core::future::poll_fn;
    use std::sync::mpsc;

    use super::*;

    /// Waits for so many wakes, and returns how often it was polled.
    fn wait_for(wakes: u32, mut begun: impl FnMut(&Waker)) -> u32 {
        let mut polls = 0;
        wait(poll_fn(|cx| {
            polls += 1;
            begun(cx.waker());
            if polls > wakes { Poll::Ready(()) } else { Poll::Pending }
        }));
        polls
    }

    fn parker_of(waker: &Waker) -> *const () {
        waker.data()
    }

    #[test]
    fn a_wake_of_ones_own_and_of_another_thread_end_a_wait() {
        assert_eq!(wait_for(1, Waker::wake_by_ref), 2);
        let (wakers_tx, wakers) = mpsc::channel::<Waker>();
        let waking = std::thread::spawn(move || wakers.into_iter().for_each(Waker::wake));
        let polls = wait_for(100, |waker| wakers_tx.send(waker.clone()).unwrap());
        assert_eq!(polls, 101);
        drop(wakers_tx);
        waking.join().unwrap();
    }

    #[test]
    fn waits_of_one_thread_have_one_parker_and_a_wait_within_has_another() {
        let mut parkers = Vec::new();
        for _ in 0..2 {
            wait_for(0, |waker| parkers.push(parker_of(waker)));
        }
        assert_eq!(parkers[0], parkers[1]);
        assert!(!waits_here());
        wait_for(1, |outer| {
            outer.wake_by_ref();
            wait_for(1, |inner| {
                assert!(waits_here());
                assert!(!outer.will_wake(inner));
                inner.wake_by_ref();
            });
            assert!(waits_here(), "the outer one goes on");
        });
        assert!(!waits_here());
    }

    #[test]
    fn a_wake_that_comes_late_does_no_harm() {
        let late = std::thread::spawn(|| {
            let mut kept = None;
            wait_for(0, |waker| kept = Some(waker.clone()));
            kept.unwrap()
        });
        let late = late.join().unwrap();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let late = late.clone();
                std::thread::spawn(move || {
                    let (wakers_tx, wakers) = mpsc::channel::<Waker>();
                    let waking = std::thread::spawn(move || {
                        for waker in wakers {
                            late.wake_by_ref();
                            waker.wake();
                        }
                    });
                    // Its parker may be that of the thread that is gone: then it is polled too often at most.
                    wait_for(100, |waker| wakers_tx.send(waker.clone()).unwrap());
                    drop(wakers_tx);
                    waking.join().unwrap();
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_wait_ends_with_a_panic_of_what_is_waited_for() {
        let panicked = std::panic::catch_unwind(|| wait(poll_fn(|_| -> Poll<()> { panic!("polled") })));
        assert!(panicked.is_err() && !waits_here());
        assert_eq!(wait_for(1, Waker::wake_by_ref), 2);
    }
}
