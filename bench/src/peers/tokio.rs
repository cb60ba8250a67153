//! The work on tokio's runtime of one thread. It has no ring, so there are no ops to compare.
//!
//! Knows: tokio. Does not know: other peers.

use std::io;
use std::net::TcpListener;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use super::yield_now;
use crate::clock::{Sample, Stopwatch};
use crate::floor::echo::BUFFER;

pub(crate) const NAME: &str = "tokio";

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().build()
}

/// Times `pass` over a number of units, after a pass over a tenth of them. A `LocalSet`, as its tasks are the cheaper ones.
fn measure<F: Future<Output = io::Result<()>>>(
    units: u64,
    mut pass: impl FnMut(u64) -> F,
) -> io::Result<Sample> {
    LocalSet::new().block_on(&runtime()?, async {
        pass(units / 10).await?;
        let watch = Stopwatch::start();
        pass(units).await?;
        Ok(watch.stop(units))
    })
}

pub(crate) fn yields(count: u64, each: u64) -> io::Result<Sample> {
    measure(count * each, move |units| async move {
        let task = || async move {
            for _ in 0..units / count {
                yield_now().await;
            }
        };
        let tasks: Vec<_> = (0..count).map(|_| tokio::task::spawn_local(task())).collect();
        for task in tasks {
            task.await?;
        }
        Ok(())
    })
}

pub(crate) fn spawns(batch: u64, batches: u64) -> io::Result<Sample> {
    measure(batch * batches, move |units| async move {
        let spawn = |i| {
            tokio::task::spawn_local(async move {
                std::hint::black_box(i);
            })
        };
        let mut tasks = Vec::with_capacity(batch as usize);
        for _ in 0..units / batch {
            tasks.extend((0..batch).map(spawn));
            for task in tasks.drain(..) {
                task.await?;
            }
        }
        Ok(())
    })
}

/// Serves connections until all are closed.
pub(crate) fn serve(listener: TcpListener, connections: usize) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    runtime()?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut sessions = Vec::with_capacity(connections);
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().await?;
            sessions.push(tokio::spawn(async move {
                let mut buffer = vec![0; BUFFER];
                loop {
                    let received = stream.read(&mut buffer).await?;
                    if received == 0 {
                        return io::Result::Ok(());
                    }
                    stream.write_all(&buffer[..received]).await?;
                }
            }));
        }
        for session in sessions {
            session.await??;
        }
        Ok(())
    })
}
