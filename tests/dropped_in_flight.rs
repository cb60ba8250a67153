//! A hundred thousand ops that nobody waits for any more: dropped, forgotten, raced or timed out at a random moment.
//!
//! Knows: the public API, and the helpers in `support`. Does not know: nodes; their number is asked for.
//!
//! Under the quarantine allocator, so that a buffer the kernel writes into after it was given back is noticed. At the
//! end of every episode descriptors are as before, no node is in use, and no freed block was written to.

mod support;

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::time::Duration;

use millstream::combinators::{OperationExt, RingOperationExt, when_any};
use millstream::ops::{self, Fd};
use millstream::{Operation, Runtime, time, yield_now};
use support::quarantine::{self, Quarantine};
use support::{Descriptors, Rng, Watchdog, rounds};

#[global_allocator]
static ALLOCATOR: Quarantine = Quarantine;

/// Ops in one life of a runtime. Forgotten ones stay with it until it ends, so this bounds them.
const PER_EPISODE: u64 = 2_000;
/// Tasks that work side by side, so that ends, starts and completions of different ops interleave.
const TASKS: u64 = 32;

/// When the other side does what the op waits for, relative to the op's end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    BeforeStart,
    BeforeEnd,
    AfterEnd,
    Never,
}

fn moment(rng: &mut Rng) -> Moment {
    [Moment::BeforeStart, Moment::BeforeEnd, Moment::AfterEnd, Moment::Never][rng.below(4) as usize]
}

/// Polls once, without waiting.
async fn poll_once<F: Future + Unpin>(future: &mut F) {
    std::future::poll_fn(|cx| {
        let _ = Pin::new(&mut *future).poll(cx);
        std::task::Poll::Ready(())
    })
    .await;
}

/// A short random while in which the loop may or may not enter the ring.
async fn a_while(rng: &mut Rng) {
    match rng.below(4) {
        0 => {}
        1 => yield_now().await,
        2 => {
            for _ in 0..rng.below(8) {
                yield_now().await;
            }
        }
        _ => time::sleep(Duration::from_micros(rng.below(300))).await,
    }
}

/// Starts an op, or not, and ends it in a random way. `fire` makes the other side do what the op waits for.
/// Returns 1 if the op was forgotten, and so stays in flight until the runtime ends.
async fn end<O>(op: O, fire: impl FnOnce(), rng: &mut Rng) -> u64
where
    O: Operation + Unpin,
{
    let (mut op, mut fire) = (op, Some(fire));
    let when = moment(rng);
    let mut at = |here| {
        if when == here {
            fire.take().expect("fired once")();
        }
    };
    at(Moment::BeforeStart);
    let mut forgotten = 0;
    match rng.below(6) {
        how @ (0 | 1) => {
            // One that was never started is an ordinary value: forgetting that leaks it, as the word says.
            let started = how == 1 || !rng.one_in(8);
            if started {
                poll_once(&mut op).await;
                a_while(rng).await;
            }
            at(Moment::BeforeEnd);
            if how == 0 {
                drop(op);
            } else {
                std::mem::forget(op);
                forgotten = 1;
            }
        }
        2 => {
            at(Moment::BeforeEnd);
            let _ = when_any((op, time::sleep(Duration::from_micros(rng.below(300))))).await;
        }
        3 => {
            at(Moment::BeforeEnd);
            let _ = op.timeout(Duration::from_micros(rng.below(300))).await;
        }
        4 => {
            poll_once(&mut op).await;
            a_while(rng).await;
            at(Moment::BeforeEnd);
            Pin::new(&mut op).request_cancel();
            std::future::poll_fn(|cx| Pin::new(&mut op).poll_discard(cx)).await;
        }
        _ => {
            // A task that is cancelled drops what it was waiting for.
            poll_once(&mut op).await;
            at(Moment::BeforeEnd);
            let wait = std::cell::Cell::new(Some(op));
            let _ = time::timeout(Duration::from_micros(rng.below(300)), async { drop(wait.take()) }).await;
        }
    }
    at(Moment::AfterEnd);
    forgotten
}

fn buffer(rng: &mut Rng) -> Vec<u8> {
    Vec::with_capacity(1 << (4 + rng.below(10)))
}

/// One random op on descriptors of its own.
async fn one(rng: &mut Rng) -> io::Result<u64> {
    Ok(match rng.below(8) {
        0 => {
            let (ours, mut theirs) = UnixStream::pair()?;
            let recv = ops::recv(Fd::from(OwnedFd::from(ours)), buffer(rng));
            end(recv, || drop(theirs.write_all(b"late bytes")), rng).await
        }
        1 => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let address = listener.local_addr()?;
            end(ops::accept(Fd::from(listener)), || drop(TcpStream::connect(address)), rng).await
        }
        2 => {
            let (reader, mut writer) = io::pipe()?;
            let read = ops::read(Fd::from(OwnedFd::from(reader)), buffer(rng));
            end(read, || drop(writer.write_all(b"late bytes")), rng).await
        }
        3 => end(ops::timeout(Duration::from_micros(rng.below(500))), || (), rng).await,
        4 => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let address = listener.local_addr()?;
            let socket = ops::socket(libc::AF_INET, libc::SOCK_STREAM, 0).await?;
            end(ops::connect(&socket, address), || drop(listener), rng).await
        }
        5 => {
            let (mut ours, mut theirs) = UnixStream::pair()?;
            fill(&mut ours)?;
            let send = ops::send(Fd::from(OwnedFd::from(ours)), vec![7; 1 << (4 + rng.below(10))]);
            end(send, || drop(theirs.read(&mut [0; 1 << 16])), rng).await
        }
        6 => {
            let (reader, mut writer) = io::pipe()?;
            let read = ops::read(Fd::from(OwnedFd::from(reader)), buffer(rng)).always_async();
            end(read, || drop(writer.write_all(b"late bytes")), rng).await
        }
        _ => {
            let (reader, mut writer) = io::pipe()?;
            let buffers = (0..1 + rng.below(5)).map(|_| buffer(rng)).collect::<Vec<_>>();
            let read = ops::readv(Fd::from(OwnedFd::from(reader)), buffers);
            end(read, || drop(writer.write_all(&[1; 4096])), rng).await
        }
    })
}

/// Writes until the socket takes no more, so that a send has to wait.
fn fill(socket: &mut UnixStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    while socket.write(&[0; 1 << 16]).is_ok() {}
    socket.set_nonblocking(false)
}

/// A runtime's life: many ops end in random ways, then the runtime ends too.
fn episode(rng: &mut Rng) {
    let runtime = Runtime::builder().sq_entries(64).build().expect("a runtime");
    let seed = rng.next_u64();
    let forgotten = runtime.block_on(async move {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let mut rng = Rng::new(seed ^ task << 48);
                millstream::spawn(async move {
                    let mut forgotten = 0;
                    for _ in 0..PER_EPISODE / TASKS {
                        forgotten += one(&mut rng).await.expect("descriptors and ports are there");
                    }
                    forgotten
                })
            })
            .collect();
        let mut forgotten = 0;
        for task in tasks {
            forgotten += task.await.expect("no task panics");
        }
        forgotten
    });
    // What was dropped must end without anyone waiting for it; only what was forgotten may stay.
    while runtime.stats().nodes as u64 > forgotten {
        runtime.block_on(time::sleep(Duration::from_micros(200)));
    }
    runtime.shutdown().expect("nothing is leaked");
}

#[test]
fn ops_that_end_at_any_moment_leave_nothing_behind() {
    require_op!(Recv, Accept, Read, Timeout, Connect, Send, Readv, Socket);
    let _watchdog = Watchdog::new(Duration::from_secs(300));
    let mut rng = Rng::from_env();
    episode(&mut rng); // what the process keeps for good (wake-up descriptors) is there from now on
    let before = Descriptors::now();
    for _ in 0..rounds(100_000).div_ceil(PER_EPISODE) {
        episode(&mut rng);
        before.assert_same();
        assert_eq!(quarantine::hits(), 0, "the kernel wrote into a buffer that was given back");
    }
    quarantine::assert_clean();
}
