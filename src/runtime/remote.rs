//! Tasks spawned from other threads: how they arrive, and how their outcome travels back.
//!
//! Knows: the core that spawns them. Does not know: how work is sent.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use pin_project_lite::pin_project;

use super::core::Core;
use super::registry::Work;
use super::task::{self, JoinError};
use crate::operation::Operation;
use crate::util::contain::{catch, contain, discard};
use crate::util::executor;

/// What both ends share.
struct Shared<T> {
    /// Looked at by every poll of the task.
    cancelled: AtomicBool,
    state: Mutex<State<T>>,
}

/// ```text
///   Running { task's waker, joiner's waker } ── task ends ──► Ended(outcome) ── handle polled ──► Taken
/// ```
enum State<T> {
    Running { task: Option<Waker>, joiner: Option<Waker> },
    Ended(Result<T, JoinError>),
    Taken,
}

impl<T> Shared<T> {
    /// No user code runs under this lock (I7): wakers and outcomes are moved out and used after.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hold on a task that was spawned from another thread: await it on any executor, or block for it.
///
/// Dropping it detaches the task.
///
/// # Cancel safety
///
/// As for [`JoinHandle`](crate::JoinHandle).
///
/// # Panics
///
/// When polled again after it has given its output.
#[must_use = "dropping it detaches the task: say so with `detach`"]
pub struct RemoteJoinHandle<T> {
    shared: Arc<Shared<T>>,
}

impl<T> RemoteJoinHandle<T> {
    pub(super) fn new() -> Self {
        let state = State::Running { task: None, joiner: None };
        Self { shared: Arc::new(Shared { cancelled: AtomicBool::new(false), state: Mutex::new(state) }) }
    }

    /// The other end. There is one.
    pub(super) fn promise(&self) -> Promise<T> {
        Promise { shared: Arc::clone(&self.shared) }
    }

    /// Asks the task to end: its future is dropped at its next turn, unless it has ended by then.
    pub fn cancel(&self) {
        // ORDERING: the lock below orders it before the task's look, or the wake does.
        self.shared.cancelled.store(true, Ordering::Release);
        let waker = match &mut *self.shared.state() {
            State::Running { task, .. } => task.take(),
            _ => None,
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Lets the task run on by itself; its output is dropped when it ends.
    pub fn detach(self) {}

    /// Whether the task has ended, so that awaiting this gives its output at once.
    pub fn is_finished(&self) -> bool {
        !matches!(*self.shared.state(), State::Running { .. })
    }

    /// Blocks this thread until the task has ended.
    ///
    /// # Errors
    ///
    /// As awaiting it.
    ///
    /// # Panics
    ///
    /// On a thread where a runtime runs: it would stop every task there. Await the handle instead.
    pub fn join_blocking(mut self) -> Result<T, JoinError> {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        assert!(
            !executor::on_runtime_thread(),
            "join_blocking would stop every task of this thread's runtime: await the handle instead"
        );
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut self).poll(&mut cx) {
                return outcome;
            }
            thread::park();
        }
    }
}

impl<T> Future for RemoteJoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A foreign waker's clone and drop are user code: the one before, the other after the lock.
        let mut waker = Some(cx.waker().clone());
        let mut state = self.shared.state();
        if let State::Running { joiner, .. } = &mut *state {
            mem::swap(joiner, &mut waker);
            drop(state);
            drop(waker);
            return Poll::Pending;
        }
        let ended = mem::replace(&mut *state, State::Taken);
        drop(state);
        match ended {
            State::Ended(outcome) => Poll::Ready(outcome),
            _ => panic!("a RemoteJoinHandle was polled after it had given its output"),
        }
    }
}

impl<T> Operation for RemoteJoinHandle<T> {
    fn request_cancel(self: Pin<&mut Self>) {
        self.cancel();
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.cancel();
        self.poll(cx).map(drop)
    }

    fn may_resolve(&self) -> bool {
        self.is_finished()
    }
}

impl<T> Drop for RemoteJoinHandle<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let State::Running { joiner, .. } = &mut *state {
            let joiner = joiner.take();
            drop(state);
            drop(joiner);
        }
    }
}

impl<T> fmt::Debug for RemoteJoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteJoinHandle").field("is_finished", &self.is_finished()).finish()
    }
}

/// The task's end. Dropped before it is kept, it says `Cancelled`.
pub(super) struct Promise<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Promise<T> {
    fn keep(&self, outcome: Result<T, JoinError>) {
        let mut state = self.shared.state();
        if !matches!(*state, State::Running { .. }) {
            drop(state);
            drop(outcome);
            return;
        }
        let State::Running { joiner, task } = mem::replace(&mut *state, State::Ended(outcome)) else {
            unreachable!("looked at above, under the lock")
        };
        drop(state);
        drop(task);
        if let Some(joiner) = joiner {
            contain(|| executor::wake(joiner)); // it may run while a destructor's panic unwinds
        }
    }

    fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Acquire)
    }

    /// Says which waker a cancel is to fire. `false`: it came before.
    fn enlist(&self, waker: &Waker) -> bool {
        let waker = waker.clone();
        if let State::Running { task, .. } = &mut *self.shared.state() {
            *task = Some(waker);
        }
        !self.is_cancelled()
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.keep(Err(JoinError::Cancelled));
    }
}

/// A spawn on its way.
pub(super) struct Job<M, T> {
    make: M,
    promise: Promise<T>,
}

impl<M, T> Job<M, T> {
    pub(super) fn new(make: M, promise: Promise<T>) -> Self {
        Self { make, promise }
    }
}

impl<M, F> Work for Job<M, F::Output>
where
    M: FnOnce() -> F + Send,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    fn run(self: Box<Self>, core: &Core) {
        let Self { make, promise } = *self;
        if promise.is_cancelled() {
            return drop(make);
        }
        match catch(make) {
            Ok(future) => {
                task::spawn(core, RemoteTask { future: Some(future), promise, enlisted: false }).detach()
            }
            Err(payload) => promise.keep(Err(JoinError::Panicked(payload))),
        }
    }
}

pin_project! {
    /// Runs the future and keeps the promise, whatever happens.
    struct RemoteTask<F: Future> {
        #[pin]
        future: Option<F>,
        promise: Promise<F::Output>,
        enlisted: bool,
    }
}

impl<F: Future> Future for RemoteTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let go_on = if *this.enlisted {
            !this.promise.is_cancelled()
        } else {
            *this.enlisted = true;
            this.promise.enlist(cx.waker()) // a task's waker is the same in every poll
        };
        let mut outcome = Err(JoinError::Cancelled);
        if go_on && let Some(future) = this.future.as_mut().as_pin_mut() {
            outcome = match catch(|| future.poll(cx)) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(output)) => Ok(output),
                Err(payload) => Err(JoinError::Panicked(payload)),
            };
        }
        // The future goes before its end is told, so that whoever awaits it finds what it held released.
        if let Err(payload) = catch(|| this.future.set(None)) {
            match mem::replace(&mut outcome, Err(JoinError::Panicked(payload))) {
                Err(JoinError::Panicked(first)) => {
                    if let Err(JoinError::Panicked(second)) =
                        mem::replace(&mut outcome, Err(JoinError::Panicked(first)))
                    {
                        discard(second);
                    }
                }
                Ok(output) => {
                    contain(|| drop(output));
                }
                Err(JoinError::Cancelled) => {}
            }
        }
        this.promise.keep(outcome);
        Poll::Ready(())
    }
}
