//! The work on monoio, with the setup flags the floor has.
//!
//! Knows: monoio. Does not know: other peers.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::{IoUringDriver, Runtime, RuntimeBuilder};

use super::yield_now;
use crate::clock::{Sample, Stopwatch};
use crate::floor::echo::BUFFER;

pub(crate) const NAME: &str = "monoio";

fn runtime() -> io::Result<Runtime<IoUringDriver>> {
    let mut ring = io_uring_of_monoio::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun().setup_taskrun_flag();
    RuntimeBuilder::<IoUringDriver>::new().with_entries(1024).uring_builder(ring).build()
}

/// Times `pass` over a number of units, after a pass over a tenth of them.
fn measure<F: Future<Output = io::Result<()>>>(
    units: u64,
    mut pass: impl FnMut(u64) -> F,
) -> io::Result<Sample> {
    runtime()?.block_on(async {
        pass(units / 10).await?;
        let watch = Stopwatch::start();
        pass(units).await?;
        Ok(watch.stop(units))
    })
}

async fn tasks<F>(count: usize, mut task: impl FnMut() -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let handles: Vec<_> = (0..count).map(|_| monoio::spawn(task())).collect();
    for handle in handles {
        handle.await?;
    }
    Ok(())
}

/// Reads of `size` bytes, `depth` at once.
pub(crate) fn reads(
    file: File,
    size: usize,
    depth: usize,
    units: u64,
    offset: impl FnMut() -> u64 + 'static,
) -> io::Result<Sample> {
    let offset = Rc::new(RefCell::new(offset));
    let mut opened = Some(file);
    let mut file = None;
    measure(units / depth as u64 * depth as u64, move |units| {
        if let Some(opened) = opened.take() {
            file = Some(monoio::fs::File::from_std(opened).map(Rc::new)); // wants to be made inside the runtime
        }
        let file = file.as_ref().expect("opened in the first pass").as_ref().map(Rc::clone);
        let file = file.map_err(|error| io::Error::new(error.kind(), error.to_string()));
        let offset = offset.clone();
        async move {
            let file = file?;
            tasks(depth, move || {
                let (file, offset) = (file.clone(), offset.clone());
                async move {
                    let mut buffer = vec![1; size];
                    for _ in 0..units / depth as u64 {
                        let at = (offset.borrow_mut())();
                        let result;
                        (result, buffer) = file.read_at(buffer, at).await;
                        result?;
                    }
                    Ok(())
                }
            })
            .await
        }
    })
}

pub(crate) fn yields(count: u64, each: u64) -> io::Result<Sample> {
    measure(count * each, move |units| {
        tasks(count as usize, move || async move {
            for _ in 0..units / count {
                yield_now().await;
            }
            Ok(())
        })
    })
}

pub(crate) fn spawns(batch: u64, batches: u64) -> io::Result<Sample> {
    measure(batch * batches, move |units| async move {
        let spawn = |i| {
            monoio::spawn(async move {
                std::hint::black_box(i);
            })
        };
        let mut tasks = Vec::with_capacity(batch as usize);
        for _ in 0..units / batch {
            tasks.extend((0..batch).map(spawn));
            for task in tasks.drain(..) {
                task.await;
            }
        }
        Ok(())
    })
}

/// Serves connections until all are closed.
pub(crate) fn serve(listener: TcpListener, connections: usize) -> io::Result<()> {
    runtime()?.block_on(async {
        let listener = monoio::net::TcpListener::from_std(listener)?;
        let mut sessions = Vec::with_capacity(connections);
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().await?;
            sessions.push(monoio::spawn(async move {
                let mut buffer = Vec::with_capacity(BUFFER);
                loop {
                    let (received, sent);
                    (received, buffer) = stream.read(buffer).await;
                    if received? == 0 {
                        return io::Result::Ok(());
                    }
                    (sent, buffer) = stream.write_all(buffer).await;
                    sent?;
                }
            }));
        }
        for session in sessions {
            session.await?;
        }
        Ok(())
    })
}
