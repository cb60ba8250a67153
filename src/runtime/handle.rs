//! A runtime as other threads see it: send it work, stop it.
//!
//! Knows: the registry. Does not know: the core, except in work that runs there.

use std::error::Error;
use std::fmt;
use std::future::Future;

use super::context;
use super::registry::{RuntimeId, entry_of};
use super::remote::{Job, RemoteJoinHandle};

/// A handle to a runtime for other threads. It may outlive the runtime.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rt = millstream::Runtime::new()?;
/// let handle = rt.handle();
/// let thread = std::thread::spawn(move || {
///     let sum = handle.spawn(async { 1 + 1 }).map(|task| task.join_blocking());
///     handle.stop();
///     sum
/// });
/// rt.run();
/// assert_eq!(thread.join().unwrap()??, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    runtime: RuntimeId,
}

impl Handle {
    pub(super) fn new(runtime: RuntimeId) -> Self {
        Self { runtime }
    }

    /// The runtime that runs on this thread, if one does.
    pub fn current() -> Option<Self> {
        context::with(|core| core.map(|core| Self::new(core.id)))
    }

    /// Spawns a task there.
    ///
    /// Nothing bounds how many tasks wait to be taken over but their senders: use a channel for a stream of work.
    ///
    /// # Errors
    ///
    /// [`SpawnError`] with the future when the runtime was told to stop or is gone. What was accepted is run as far as
    /// the runtime runs; if that ends first, the handle resolves to [`Cancelled`](crate::JoinError::Cancelled).
    pub fn spawn<F>(&self, future: F) -> Result<RemoteJoinHandle<F::Output>, SpawnError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.send(future, |future| move || future)
    }

    /// Spawns the future that `make` builds there. It need not be `Send`.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn), with the closure.
    pub fn spawn_with<M, F>(&self, make: M) -> Result<RemoteJoinHandle<F::Output>, SpawnError<M>>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        self.send(make, |make| make)
    }

    fn send<W, M, F>(&self, work: W, maker: fn(W) -> M) -> Result<RemoteJoinHandle<F::Output>, SpawnError<W>>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let handle = RemoteJoinHandle::new();
        let promise = handle.promise();
        let sent = entry_of(self.runtime)
            .send(self.runtime, (work, promise), |(work, promise)| Box::new(Job::new(maker(work), promise)));
        match sent {
            Ok(()) => Ok(handle),
            Err((work, _)) => Err(SpawnError(work)),
        }
    }

    /// Tells the runtime to stop: [`Runtime::run`](crate::Runtime::run) returns after the tasks' present turn, and
    /// whatever is spawned from other threads from now on comes back.
    ///
    /// This is for good. Tasks that have not ended can still be run by `block_on` or `sync_wait`, which do not stop.
    pub fn stop(&self) {
        entry_of(self.runtime).stop(self.runtime);
    }

    /// Lets [`Runtime::run`](crate::Runtime::run) return when no task is left.
    pub fn allow_exit(&self) {
        entry_of(self.runtime).allow_exit(self.runtime);
    }

    /// Whether the runtime still takes work: it was not told to stop and is not gone.
    pub fn is_open(&self) -> bool {
        entry_of(self.runtime).inbox.takes_work(self.runtime.as_u64())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}

/// The runtime was told to stop or is gone; this is the work that was meant for it.
pub struct SpawnError<W>(W);

impl<W> SpawnError<W> {
    /// The future or closure, as it was.
    pub fn into_inner(self) -> W {
        self.0
    }
}

impl<W> fmt::Debug for SpawnError<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpawnError(..)")
    }
}

impl<W> fmt::Display for SpawnError<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the runtime was told to stop or is gone, and takes no new task")
    }
}

impl<W> Error for SpawnError<W> {}
