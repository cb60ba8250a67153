//! Where the workers work: plain threads, millstream runtimes, and executors that are not ours.
//!
//! Knows: the executors. Does not know: channels.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use millstream::JoinError;

use crate::support::Rng;

/// Who polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// Nobody: the worker blocks its thread.
    Thread,
    Futures,
    Millstream,
    Tokio,
}

impl On {
    pub(crate) fn any(rng: &mut Rng) -> Self {
        [Self::Thread, Self::Futures, Self::Millstream, Self::Tokio][rng.below(4) as usize]
    }

    pub(crate) fn executor(rng: &mut Rng) -> Self {
        [Self::Futures, Self::Millstream, Self::Tokio][rng.below(3) as usize]
    }

    /// Sleeps for at most two milliseconds, by the executor's own clock if it has one.
    pub(crate) async fn nap(self, rng: &mut Rng) {
        let nap = Duration::from_micros(rng.below(2000));
        match self {
            Self::Millstream => millstream::time::sleep(nap).await,
            Self::Tokio => tokio::time::sleep(nap).await,
            Self::Futures | Self::Thread => yields(8).await,
        }
    }
}

/// Pending `times` times.
pub(crate) async fn yields(times: u64) {
    let mut left = times;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A worker; one that is doomed is aborted where its executor can do that, after it was pending a few times.
pub(crate) struct Worker {
    pub(crate) work: Pin<Box<dyn Future<Output = ()>>>,
    pub(crate) doomed: Option<u64>,
}

/// Ends when the worker does, or drops it when its time has come.
async fn doomed(worker: Worker) {
    let Worker { mut work, doomed } = worker;
    let left = Cell::new(doomed.unwrap_or(u64::MAX));
    poll_fn(|cx| {
        if left.get() == 0 {
            return Poll::Ready(());
        }
        left.set(left.get() - 1);
        work.as_mut().poll(cx)
    })
    .await;
}

/// Runs the workers side by side until all have ended.
pub(crate) fn run(on: On, workers: Vec<Worker>) {
    match on {
        On::Thread => {
            for worker in workers {
                worker.work.now_or_never().expect("a worker that blocks is never pending");
            }
        }
        On::Futures => drop(futures::executor::block_on(join_all(workers.into_iter().map(doomed)))),
        On::Millstream => millstream::Runtime::new().expect("a runtime").block_on(async {
            let spawn = |worker: Worker| (worker.doomed, millstream::spawn(worker.work));
            let tasks: Vec<_> = workers.into_iter().map(spawn).collect();
            for (doomed, task) in tasks {
                if let Some(after) = doomed {
                    yields(after).await;
                    task.cancel();
                }
                let ended = task.await;
                let aborted = doomed.is_some() && matches!(ended, Err(JoinError::Cancelled));
                assert!(ended.is_ok() || aborted, "a worker failed: {ended:?}");
            }
        }),
        On::Tokio => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), async {
                let spawn = |worker: Worker| (worker.doomed, tokio::task::spawn_local(worker.work));
                let tasks: Vec<_> = workers.into_iter().map(spawn).collect();
                for (doomed, task) in tasks {
                    if let Some(after) = doomed {
                        yields(after).await;
                        task.abort();
                    }
                    let ended = task.await;
                    let aborted = doomed.is_some() && ended.as_ref().is_err_and(|error| error.is_cancelled());
                    assert!(ended.is_ok() || aborted, "a worker failed: {ended:?}");
                }
            });
        }
    }
}
