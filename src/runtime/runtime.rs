//! The runtime as its user sees it: run futures, spawn tasks, end.
//!
//! Knows: the core. Does not know: what its parts do.
#![allow(unsafe_code, reason = "the core is shared by pointer with its tasks, so it cannot be a Box")]

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::pin;
use std::ptr::NonNull;

use super::builder::Builder;
use super::context;
use super::core::Core;
use super::driver::BuildError;
use super::handle::Handle;
use super::registry;
use super::stats::Stats;
use super::task::{self, JoinHandle, Root};
use crate::util::contain::contain;
use crate::util::executor;

/// One ring, its tasks and timers, on the thread that made it.
///
/// A runtime does nothing by itself: it runs while [`block_on`](Self::block_on), [`sync_wait`](Self::sync_wait) or
/// [`run`](Self::run) does, and tasks that did not end by then go on the next time.
///
/// Dropping it drops its tasks, cancels every op, and waits until the kernel has let go of them: see
/// [`shutdown`](Self::shutdown).
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use millstream::Runtime;
///
/// let rt = Runtime::new()?;
/// let text = rt.block_on(async {
///     let task = millstream::spawn(async { "from a task" });
///     task.await
/// })?;
/// assert_eq!(text, "from a task");
/// # Ok(())
/// # }
/// ```
pub struct Runtime {
    /// From `Box::into_raw`; freed by `end`. The pointer also keeps the runtime on its thread: `!Send`, `!Sync`.
    core: NonNull<Core>,
}

impl Runtime {
    /// A runtime with the defaults of [`Builder`].
    ///
    /// # Errors
    ///
    /// [`BuildError`] says what forbids or lacks io_uring, and what to do about it.
    pub fn new() -> Result<Self, BuildError> {
        Self::builder().build()
    }

    /// Chooses sizes, spinning, budgets and deadlines.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(super) fn with_core(core: Core) -> Self {
        Self { core: NonNull::from(Box::leak(Box::new(core))) }
    }

    fn core(&self) -> &Core {
        // SAFETY: (I6) freed only by `end`, which the runtime does not outlive.
        unsafe { self.core.as_ref() }
    }

    /// Runs `future`, and tasks beside it, until it is ready.
    ///
    /// Other tasks stay for the next call. What their ops began goes on in the kernel meanwhile.
    ///
    /// # Panics
    ///
    /// - With the panic of `future`.
    /// - When a runtime runs on this thread already: await the future, or spawn it.
    /// - When the ring cannot go on, also in a child process after `fork`.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.run_root(future, |_| true)
    }

    /// As [`block_on`](Self::block_on), and then runs until every task has ended, those that a [`Handle`] has sent by
    /// then included.
    ///
    /// # Panics
    ///
    /// As `block_on`.
    pub fn sync_wait<F: Future>(&self, future: F) -> F::Output {
        // Work that was accepted is a task, too.
        self.run_root(future, |core| core.tasks.alive() == 0 && !core.entry.inbox.has_work())
    }

    /// Runs tasks until a [`Handle`] says [`stop`](Handle::stop), or until none is left after
    /// [`allow_exit`](Handle::allow_exit).
    ///
    /// # Panics
    ///
    /// As [`block_on`](Self::block_on).
    pub fn run(&self) {
        refuse_nesting();
        let core = self.core();
        let _entered = context::enter(core);
        core.run_until(|| {
            core.stop.get()
                || (core.may_exit.get() && core.tasks.alive() == 0 && !core.entry.inbox.has_work())
        });
    }

    fn run_root<F: Future>(&self, future: F, and: impl Fn(&Core) -> bool) -> F::Output {
        refuse_nesting();
        let core = self.core();
        let _entered = context::enter(core); // first, so that the future is dropped inside
        let future = pin!(Some(future));
        let root = Root::new(core, future);
        let seat = root.sit(core);
        core.run_until(|| seat.is_complete() && and(core));
        drop(seat);
        match root.take() {
            Some(Ok(output)) => output,
            Some(Err(payload)) => std::panic::resume_unwind(payload),
            None => unreachable!("the loop ends when the root has ended"),
        }
    }

    /// Spawns a task from outside of it. It runs when the runtime does.
    ///
    /// Inside a task, [`spawn`] does the same.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        task::spawn(self.core(), future)
    }

    /// A handle for other threads.
    pub fn handle(&self) -> Handle {
        Handle::new(self.core().id)
    }

    /// What the runtime did so far and has in hand.
    pub fn stats(&self) -> Stats {
        Stats::of(self.core())
    }

    /// Ends the runtime, as dropping it does, and says whether it got everything back.
    ///
    /// All tasks are dropped, every op is cancelled, and the kernel's answers are awaited, because it may write to a
    /// buffer until it has answered. Past the deadline of [`Builder::shutdown_deadline`] the memory and descriptors of
    /// what is left are leaked.
    ///
    /// # Errors
    ///
    /// [`Leaked`] when ops were left with the kernel.
    pub fn shutdown(self) -> Result<(), Leaked> {
        let mut this = mem::ManuallyDrop::new(self);
        match this.end() {
            0 => Ok(()),
            ops => Err(Leaked { ops }),
        }
    }

    /// Called once: by `shutdown` or by `drop`.
    fn end(&mut self) -> usize {
        let core = self.core();
        if core.running.get() {
            // `exit` was called in a task, and drops the locals of its thread. Nothing comes back to that task, but what
            // it uses is in use for good.
            return 0;
        }
        let (entry, leaked) = {
            let _entered = context::enter(core);
            (core.entry, core.tear_down())
        };
        core.take_leave();
        if leaked == 0 && !core.inflight.is_wake_armed() {
            registry::release(entry);
        }
        // SAFETY: (I6) made by `with_core` from a Box, and used by nobody any more: no task is left, a handle of one
        // looks at the core only while the task has not ended, and the thread-local pointer is back at what it was.
        let core = unsafe { Box::from_raw(self.core.as_ptr()) };
        contain(|| drop(core));
        leaked
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[track_caller]
fn refuse_nesting() {
    assert!(
        !executor::on_runtime_thread(),
        "a runtime runs on this thread already, and blocking it would stop its tasks: await the future, or spawn it"
    );
}

/// Ops that a runtime had to leave with the kernel when it ended: their memory and descriptors are leaked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaked {
    ops: usize,
}

impl Leaked {
    /// How many ops.
    pub fn ops(self) -> usize {
        self.ops
    }
}

impl fmt::Display for Leaked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ops had not ended at the shutdown deadline, and were leaked", self.ops)
    }
}

impl Error for Leaked {}

/// Spawns a task on the runtime that runs on this thread.
///
/// It is polled after the tasks that are ready now, for the first time too. It need not be `Send`.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rt = millstream::Runtime::new()?;
/// rt.sync_wait(async {
///     for i in 0..3 {
///         millstream::spawn(async move { println!("task {i}") }).detach();
///     }
/// });
/// # Ok(())
/// # }
/// ```
#[doc(alias = "go")]
#[track_caller]
#[inline]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    #[cold]
    #[track_caller]
    fn outside() -> ! {
        panic!(
            "spawn was called outside a millstream runtime: call it from a task, or use `Runtime::spawn` or `Handle::spawn`"
        )
    }
    // The panic is raised out here, where the caller's place in the source is known.
    match context::with(|core| core.map(NonNull::from)) {
        // SAFETY: (local) the core that runs on this thread, just above this frame.
        Some(core) => task::spawn(unsafe { core.as_ref() }, future),
        None => outside(),
    }
}

/// As [`spawn`], for a task that must not be lost: gives the future back outside a runtime, and on one that ends.
pub(crate) fn try_spawn<F>(future: F) -> Result<JoinHandle<F::Output>, F>
where
    F: Future + 'static,
    F::Output: 'static,
{
    match context::with(|core| core.filter(|core| !core.refuses.get()).map(NonNull::from)) {
        // SAFETY: (local) the core that runs on this thread, just above this frame.
        Some(core) => Ok(task::spawn(unsafe { core.as_ref() }, future)),
        None => Err(future),
    }
}
