//! What runs the tasks of the channel cases: a runtime of ours, or tokio's.
//!
//! Knows: millstream, tokio. Does not know: channels.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use millstream::Runtime;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// What a thread does that has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Looks for work for 5 microseconds, then sleeps.
    Spins,
    /// Sleeps at once.
    Sleeps,
}

/// Runs tasks on the calling thread.
pub(crate) trait Executor: Sized + 'static {
    fn new(idle: Idle) -> io::Result<Self>;

    /// Runs one task and those it starts.
    fn block_on<F: Future>(&self, main: F) -> F::Output;

    /// Starts another task beside the one that calls this; the future waits for its end.
    fn spawn<F: Future + 'static>(future: F) -> impl Future<Output = F::Output>;
}

#[derive(Debug)]
pub(crate) struct OnMillstream(Runtime);

impl Executor for OnMillstream {
    fn new(idle: Idle) -> io::Result<Self> {
        let builder = match idle {
            Idle::Spins => Runtime::builder().spin(Duration::from_micros(5)),
            Idle::Sleeps => Runtime::builder().no_spin(),
        };
        Ok(Self(builder.build().map_err(io::Error::other)?))
    }

    fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.0.block_on(boxed(main))
    }

    fn spawn<F: Future + 'static>(future: F) -> impl Future<Output = F::Output> {
        let task = millstream::spawn(future);
        async { task.await.expect("a task of a benchmark panicked") }
    }
}

/// On one thread, without its drivers: nothing is cheaper there. It always sleeps at once.
#[derive(Debug)]
pub(crate) struct OnTokio(LocalRuntime);

impl Executor for OnTokio {
    fn new(_: Idle) -> io::Result<Self> {
        Ok(Self(Builder::new_current_thread().build_local(LocalOptions::default())?))
    }

    fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.0.block_on(boxed(main))
    }

    fn spawn<F: Future + 'static>(future: F) -> impl Future<Output = F::Output> {
        let task = tokio::task::spawn_local(future);
        async { task.await.expect("a task of a benchmark panicked") }
    }
}

/// The first task mostly waits for the others. In a box, the loop below it is compiled once and not for every case and
/// channel.
fn boxed<'a, F: Future + 'a>(main: F) -> Pin<Box<dyn Future<Output = F::Output> + 'a>> {
    Box::pin(main)
}
