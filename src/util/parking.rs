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

use core::cell::Cell;
use core::future::Future;
use core::ops::Deref;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, OnceLock}; // not `crate::sync`: `Wake` is about this `Arc`
use std::task::Wake;

use super::executor;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::hint;
use crate::sync::thread::{self, Thread};

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

/// Wakes a thread.
struct Parker {
    thread: Thread,
    state: AtomicU8,
}

impl Parker {
    fn new() -> Arc<Self> {
        Arc::new(Self { thread: thread::current(), state: AtomicU8::new(AWAKE) })
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
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ORDERING: pairs with `take`.
        let parked = self.state.swap(WOKEN, Ordering::Release) == PARKED;
        if parked && !planted!("wake-forgets-to-unpark") {
            self.thread.unpark();
        }
    }
}

std::thread_local! {
    /// This thread's parker, unless a wait has it.
    static PARKER: Cell<Option<(Arc<Parker>, Waker)>> = const { Cell::new(None) };
}

/// Not under a model checker: what it made must not outlive the execution.
const KEEP: bool = !cfg!(any(millstream_loom, millstream_shuttle));

/// The parker of this thread while a wait uses it, so that waiting allocates once per thread. A wait within a wait (in the
/// user's code) makes its own. A wake that comes late, for an earlier wait, ends the next one's park early, no more.
struct Lent(Option<(Arc<Parker>, Waker)>);

impl Lent {
    fn new() -> Self {
        let kept = if KEEP { PARKER.try_with(Cell::take).ok().flatten() } else { None };
        Self(kept.or_else(|| {
            let parker = Parker::new();
            Some((parker.clone(), Waker::from(parker)))
        }))
    }
}

impl Deref for Lent {
    type Target = (Arc<Parker>, Waker);

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("empty only when it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if KEEP {
            let _ = PARKER.try_with(|parker| parker.set(self.0.take()));
        }
    }
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

/// A wait goes on for as long as this lives.
struct Waiting {
    before: bool,
}

impl Waiting {
    fn begin() -> Self {
        Self { before: WAITS.try_with(|waits| waits.replace(true)).unwrap_or(false) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = WAITS.try_with(|waits| waits.set(self.before));
    }
}

/// Runs `future` to its end on this thread, parking while it is pending.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    wait_pinned(pin!(future))
}

fn wait_pinned<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let _waiting = Waiting::begin();
    let lent = Lent::new();
    let (parker, waker) = &*lent;
    let mut cx = Context::from_waker(waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        if !spin(|| parker.take()) {
            parker.park();
        }
    }
}
