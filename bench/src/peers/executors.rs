//! What runs the tasks of the channel cases: a runtime of ours that spins or parks, or tokio's.
//!
//! Knows: millstream, tokio. Does not know: channels.

use std::io;
use std::time::Duration;

use millstream::Runtime;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// Runs tasks on the calling thread.
pub(crate) trait Executor: Sized + 'static {
    /// Whether it looks for work for a while before it sleeps.
    const SPINS: bool = false;

    fn new() -> io::Result<Self>;

    fn block_on<F: Future>(&self, future: F) -> F::Output;

    /// Starts another task beside the one that calls this; the future waits for its end.
    fn spawn<F: Future + 'static>(future: F) -> impl Future<Output = F::Output>;
}

/// Looks for work for 5 microseconds before it sleeps.
#[derive(Debug)]
pub(crate) struct Spinning(Runtime);

impl Executor for Spinning {
    const SPINS: bool = true;

    fn new() -> io::Result<Self> {
        let builder = Runtime::builder().spin(Duration::from_micros(5));
        Ok(Self(builder.build().map_err(io::Error::other)?))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn spawn<F: Future + 'static>(future: F) -> impl Future<Output = F::Output> {
        let task = millstream::spawn(future);
        async { task.await.expect("a task of a benchmark panicked") }
    }
}

/// Sleeps at once when there is nothing to do.
#[derive(Debug)]
pub(crate) struct Parked(Runtime);

impl Executor for Parked {
    fn new() -> io::Result<Self> {
        Ok(Self(Runtime::builder().no_spin().build().map_err(io::Error::other)?))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn spawn<F: Future + 'static>(future: F) -> impl Future<Output = F::Output> {
        Spinning::spawn(future)
    }
}

/// tokio on one thread, without its drivers: nothing is cheaper there.
#[derive(Debug)]
pub(crate) struct OnTokio(LocalRuntime);

impl Executor for OnTokio {
    fn new() -> io::Result<Self> {
        Ok(Self(Builder::new_current_thread().build_local(LocalOptions::default())?))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    fn spawn<F: Future + 'static>(future: F) -> impl Future<Output = F::Output> {
        let task = tokio::task::spawn_local(future);
        async { task.await.expect("a task of a benchmark panicked") }
    }
}
