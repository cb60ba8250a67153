//! A runtime that ends with ten thousand ops in flight: within its deadline, and without freeing anything early.
//!
//! Knows: the public API, and the helpers in `support`. Does not know: nodes; their number is asked for.

mod support;

use std::fs::{self, OpenOptions};
use std::io::{self, PipeWriter, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::time::{Duration, Instant};

use millstream::combinators::RingOperationExt;
use millstream::ops::{self, Fd};
use millstream::{Operation, Runtime, time, yield_now};
use support::quarantine::{self, Quarantine};
use support::{Descriptors, Rng, TempDir, Watchdog, alone, rounds};

#[global_allocator]
static ALLOCATOR: Quarantine = Quarantine;

const DEADLINE: Duration = Duration::from_secs(20);
/// Reads that each block a worker thread of the kernel.
const WORKERS: u64 = 64;

/// Spawns a task that waits for `op` for ever, keeping it in flight until the runtime ends.
fn keep<O: Operation + 'static>(op: O) {
    millstream::spawn(async move {
        let _ = op.await;
        std::future::pending::<()>().await;
    })
    .detach();
}

/// Starts an op and forgets it: no task holds it, only the kernel and its node do.
async fn forget<O: Operation + Unpin>(mut op: O) {
    std::future::poll_fn(|cx| {
        let _ = Pin::new(&mut op).poll(cx);
        std::task::Poll::Ready(())
    })
    .await;
    std::mem::forget(op);
}

/// Puts `count` ops of every kind in flight. The writers are for what comes after the end.
async fn crowd(
    count: u64,
    directory: &TempDir,
    rng: &mut Rng,
) -> io::Result<(Vec<PipeWriter>, Vec<UnixStream>)> {
    let (mut writers, mut peers) = (Vec::new(), Vec::new());
    // A handful of descriptors for many ops each: the limit on descriptors is not what is tested.
    let mut pipes = Vec::new();
    for _ in 0..32 {
        let (reader, writer) = io::pipe()?;
        pipes.push(Fd::from(OwnedFd::from(reader)));
        writers.push(writer);
    }
    let mut sockets = Vec::new();
    for _ in 0..32 {
        let (ours, theirs) = UnixStream::pair()?;
        sockets.push(Fd::from(OwnedFd::from(ours)));
        peers.push(theirs);
    }
    let listener = Fd::from(TcpListener::bind("127.0.0.1:0")?);
    let path = directory.join("direct");
    fs::write(&path, vec![1_u8; 1 << 20])?;
    let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path).map(Fd::from);
    let plain = Fd::from(OpenOptions::new().read(true).write(true).open(&path)?);

    for n in 0..count {
        let pipe = &pipes[rng.below(32) as usize];
        let socket = &sockets[rng.below(32) as usize];
        match n % 8 {
            0 if n / 8 < WORKERS => keep(ops::read(pipe, vec![0_u8; 512]).always_async()),
            0 | 1 => keep(ops::read(pipe, vec![0_u8; 256])),
            2 => keep(ops::accept(&listener)),
            3 => keep(ops::timeout(Duration::from_secs(3600 + rng.below(100)))),
            4 => keep(time::sleep(Duration::from_secs(3600))),
            5 => match &direct {
                // Some file systems have no direct reads; then plain ones take their place.
                Ok(direct) => keep(ops::read(direct, Vec::with_capacity(4096)).at(4096 * rng.below(256))),
                Err(_) => keep(ops::read(&plain, vec![0_u8; 4096]).at(4096 * rng.below(256))),
            },
            6 => keep(ops::poll_add(socket, libc::POLLIN) >> ops::nop() >> ops::nop()),
            _ => forget(ops::recv(socket, vec![0_u8; 1024])).await,
        }
        if rng.one_in(64) {
            yield_now().await;
        }
    }
    for _ in 0..64 {
        yield_now().await;
    }
    time::sleep(Duration::from_millis(20)).await; // all of it is with the kernel now
    Ok((writers, peers))
}

fn end_with(count: u64, rng: &mut Rng) {
    let directory = TempDir::new();
    let runtime =
        Runtime::builder().cq_entries(16_384).shutdown_deadline(DEADLINE).build().expect("a runtime");
    let (writers, peers) =
        runtime.block_on(crowd(count, &directory, rng)).expect("descriptors and files are there");
    let in_flight = runtime.stats().in_flight;
    assert!(in_flight as u64 > count / 2, "only {in_flight} of {count} are in flight");

    let began = Instant::now();
    drop(runtime);
    // Not how fast, but that the deadline was not what ended it: then nothing was leaked.
    assert!(began.elapsed() < DEADLINE, "the runtime gave up on some of {in_flight} ops");

    // Whatever the kernel still held would be written to now.
    for mut writer in writers {
        let _ = writer.write_all(&[0xee; 4096]);
    }
    for mut peer in peers {
        let _ = peer.write_all(&[0xee; 4096]);
    }
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(quarantine::hits(), 0, "the kernel wrote into memory that was given back");
}

#[test]
fn ten_thousand_ops_in_flight_end_with_the_runtime() {
    let _alone = alone();
    require_op!(Read, Accept, Timeout, PollAdd, Recv);
    let _watchdog = Watchdog::new(Duration::from_secs(120));
    let mut rng = Rng::from_env();
    end_with(64, &mut rng); // what the process keeps for good is there from now on
    let before = Descriptors::now();
    let full = rounds(10_000).max(400);
    end_with(full, &mut rng);
    before.assert_same();
    quarantine::assert_clean();
}

#[test]
fn runtimes_come_and_go_and_leave_nothing() {
    let _alone = alone();
    let _watchdog = Watchdog::new(Duration::from_secs(120));
    let mut rng = Rng::from_env();
    end_with(8, &mut rng);
    let before = Descriptors::now();
    for _ in 0..rounds(500).max(5) {
        let runtime = Runtime::builder().sq_entries(8).cq_entries(16).build().expect("a runtime");
        let (reader, _writer) = io::pipe().expect("a pipe");
        runtime.block_on(async {
            forget(ops::read(Fd::from(OwnedFd::from(reader)), vec![0_u8; 64])).await;
            yield_now().await;
        });
    }
    before.assert_same();
    quarantine::assert_clean();
}
