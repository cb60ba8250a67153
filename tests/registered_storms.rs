//! A hundred thousand ops on registered memory, and as many that open into slots, dropped or stopped at a random moment:
//! every slot of either table is free again, and the kernel has written nothing into memory that was given back.
//!
//! Knows: the public API, and the helpers in `support`. Does not know: nodes; their number is asked for.
//!
//! Under the quarantine allocator, so that registered memory the kernel writes into after it was freed is noticed.

mod support;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use millstream::combinators::{OperationExt, RingOperationExt, when_any};
use millstream::ops::{self, BufExt, BufferTable, Fd, FdTable, FixedBuf, FixedPool};
use millstream::{Operation, Runtime, time, yield_now};
use support::quarantine::{self, Quarantine};
use support::{Descriptors, Rng, Watchdog, rounds};

#[global_allocator]
static ALLOCATOR: Quarantine = Quarantine;

/// Ops in one life of a runtime.
const PER_EPISODE: u64 = 4_000;
/// Tasks that work side by side, so that starts, ends and completions of different ops interleave.
const TASKS: u64 = 16;

/// Polls once, without waiting. Whether it has resolved.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_ready())).await
}

/// A short random while in which the loop may or may not enter the ring.
async fn a_while(rng: &mut Rng) {
    match rng.below(4) {
        0 => {}
        1 => yield_now().await,
        2 => time::sleep(Duration::from_micros(rng.below(100))).await,
        _ => {
            for _ in 0..rng.below(8) {
                yield_now().await;
            }
        }
    }
}

/// Starts an op, or not, and ends it in a random way; `fire` makes the other side do what it waits for, at a random moment
/// or never.
async fn end<O: Operation + Unpin>(mut op: O, fire: impl FnOnce(), rng: &mut Rng) {
    let (moment, mut fire) = (rng.below(4), Some(fire));
    let mut at = |here| {
        if moment == here {
            fire.take().expect("fired once")();
        }
    };
    at(0);
    if !rng.one_in(16) {
        if poll_once(&mut op).await {
            return;
        }
        a_while(rng).await;
    }
    at(1);
    match rng.below(5) {
        0 | 1 => drop(op),
        2 => drop(when_any((op, time::sleep(Duration::from_micros(rng.below(200))))).await),
        3 => drop(op.timeout(Duration::from_micros(rng.below(200))).await),
        _ => {
            Pin::new(&mut op).request_cancel();
            poll_fn(|cx| Pin::new(&mut op).poll_discard(cx)).await;
        }
    }
    at(2);
}

/// A buffer of some kind: all of a slot, a part of one whose other part goes at another moment, or one of a pool.
enum Memory {
    Whole(FixedBuf),
    Part(FixedBuf, FixedBuf),
    None,
}

fn memory(table: &BufferTable, rng: &mut Rng) -> Memory {
    let bytes = vec![7; 16 << rng.below(8)];
    match table.register(bytes) {
        Ok(buf) if rng.one_in(2) => Memory::Whole(buf),
        Ok(buf) => {
            let at = rng.below(buf.capacity() as u64 + 1) as usize;
            let (one, two) = buf.split_at(at);
            Memory::Part(one, two)
        }
        Err(_full) => Memory::None,
    }
}

/// Reads into, or writes from, a registered buffer.
async fn one_on<B: ops::BufMut + 'static>(buf: B, rng: &mut Rng) -> io::Result<()> {
    match rng.below(5) {
        0 => {
            let (reader, mut writer) = io::pipe()?;
            let late = || drop(writer.write_all(b"late bytes"));
            end(ops::read(Fd::from(reader), buf), late, rng).await;
        }
        1 => {
            let (reader, mut writer) = io::pipe()?;
            let late = || drop(writer.write_all(b"late bytes"));
            end(ops::read(Fd::from(reader), buf).always_async(), late, rng).await;
        }
        2 => {
            let (ours, mut theirs) = UnixStream::pair()?;
            let late = || drop(theirs.write_all(b"late bytes"));
            end(ops::recv(Fd::from(ours), buf.slice(..)), late, rng).await;
        }
        3 => {
            let (reader, mut writer) = io::pipe()?;
            let late = || drop(writer.write_all(&[1; 4096]));
            end(ops::readv(Fd::from(reader), vec![buf]), late, rng).await;
        }
        _ => {
            let (mut ours, mut theirs) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            while ours.write(&[0; 1 << 16]).is_ok() {}
            ours.set_nonblocking(false)?;
            let late = || drop(theirs.read(&mut [0; 1 << 16]));
            end(ops::write(Fd::from(OwnedFd::from(ours)), buf), late, rng).await;
        }
    }
    Ok(())
}

async fn in_tasks<F: Future<Output = ()> + 'static>(rng: &mut Rng, task: impl Fn(Rng) -> F) {
    let seed = rng.next_u64();
    let tasks: Vec<_> = (0..TASKS).map(|n| millstream::spawn(task(Rng::new(seed ^ n << 48)))).collect();
    for task in tasks {
        task.await.expect("no task panics");
    }
}

#[test]
fn registered_memory_comes_back_whole_from_ops_that_end_at_any_moment() {
    let (_alone, _watchdog) = (support::alone(), Watchdog::new(Duration::from_secs(300)));
    let mut rng = Rng::from_env();
    for _ in 0..rounds(100_000).div_ceil(PER_EPISODE) {
        let runtime = Runtime::builder().sq_entries(64).build().expect("a ring");
        runtime.block_on(async {
            let table = BufferTable::new(24).expect("no table yet");
            let pool = FixedPool::new(&table, 3, 256).expect("free");
            in_tasks(&mut rng, |mut rng| {
                let (table, pool) = (table.clone(), pool.clone());
                async move {
                    for _ in 0..PER_EPISODE / TASKS {
                        if rng.one_in(3) {
                            let taken = Cell::new(None);
                            end(async_take(&pool, &taken), || (), &mut rng).await;
                            if let Some(buf) = taken.take() {
                                one_on(buf, &mut rng).await.expect("descriptors are there");
                            }
                            continue;
                        }
                        match memory(&table, &mut rng) {
                            Memory::Whole(buf) => one_on(buf, &mut rng).await.expect("descriptors are there"),
                            Memory::Part(buf, other) => {
                                let first = rng.one_in(2);
                                let mut other = Some(other);
                                if first {
                                    drop(other.take());
                                }
                                one_on(buf, &mut rng).await.expect("descriptors are there");
                                drop(other);
                            }
                            Memory::None => yield_now().await,
                        }
                    }
                }
            })
            .await;
            while table.available() < 23 || pool.available() < 3 {
                time::sleep(Duration::from_micros(200)).await;
            }
            drop(pool);
            assert_eq!(table.available(), 24);
        });
        while runtime.stats().nodes > 0 {
            runtime.block_on(time::sleep(Duration::from_micros(200)));
        }
        runtime.shutdown().expect("nothing is leaked");
        assert_eq!(quarantine::hits(), 0, "the kernel wrote into memory that was given back");
    }
    quarantine::assert_clean();
}

/// A wait for a pooled buffer that leaves what it got in a cell.
fn async_take<'t>(
    pool: &FixedPool,
    taken: &'t Cell<Option<ops::FixedPoolBuf>>,
) -> impl Operation<Output = ()> + Unpin + use<'t> {
    Taking { take: pool.take(), taken }
}

struct Taking<'t> {
    take: ops::TakeFixed,
    taken: &'t Cell<Option<ops::FixedPoolBuf>>,
}

impl Future for Taking<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        if self.taken.take().map(|buf| self.taken.set(Some(buf))).is_some() {
            return Poll::Ready(());
        }
        Pin::new(&mut self.take).poll(cx).map(|buf| self.taken.set(buf.ok()))
    }
}

impl Operation for Taking<'_> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        Pin::new(&mut self.take).request_cancel();
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        Pin::new(&mut self.take).poll_discard(cx)
    }
}

/// A socket that nobody else listens on.
fn listener(number: u64) -> io::Result<(UnixListener, SocketAddr)> {
    let address = SocketAddr::from_abstract_name(format!("millstream-{}-{number}", std::process::id()))?;
    Ok((UnixListener::bind_addr(&address)?, address))
}

/// Opens something into a slot, or closes or installs what is in one.
async fn one_into(table: &FdTable, rng: &mut Rng, number: u64) -> io::Result<()> {
    let Ok(slot) = table.reserve() else {
        yield_now().await;
        return Ok(());
    };
    match rng.below(8) {
        0 | 1 => {
            let (listener, address) = listener(number)?;
            let connect = || drop(UnixStream::connect_addr(&address));
            end(ops::accept_direct(Fd::from(listener), slot), connect, rng).await;
        }
        2 => end(ops::open_direct("Cargo.toml", slot), || (), rng).await,
        3 if table.pickable() > 0 => end(ops::open_direct("Cargo.toml", table.pick()), || (), rng).await,
        3 | 4 => end(ops::socket_direct(libc::AF_INET, libc::SOCK_STREAM, 0, slot), || (), rng).await,
        5 => {
            drop(slot);
            if let Ok((reader, writer)) = table.reserve_pair() {
                end(ops::pipe_direct(reader, writer), || (), rng).await;
            }
        }
        6 => {
            ops::open_direct("Cargo.toml", &slot).await?;
            end(ops::close_direct(slot), || (), rng).await;
        }
        _ => {
            ops::open_direct("Cargo.toml", &slot).await?;
            end(ops::fixed_fd_install(slot), || (), rng).await;
        }
    }
    Ok(())
}

#[test]
fn slots_come_back_from_ops_that_end_at_any_moment() {
    require_op!(Accept, OpenAt, Socket, Close);
    let (_alone, _watchdog) = (support::alone(), Watchdog::new(Duration::from_secs(300)));
    let mut rng = Rng::from_env();
    drop(Runtime::new()); // what the process keeps for good (wake-up descriptors) is there from now on
    let before = Descriptors::now();
    for _ in 0..rounds(100_000).div_ceil(PER_EPISODE) {
        let runtime = Runtime::builder().sq_entries(64).build().expect("a ring");
        runtime.block_on(async {
            // The kernel of 5.19 picks from no range.
            let table = FdTable::with_picked(24, 4).or_else(|_| FdTable::new(24));
            let table = match table {
                Ok(table) => table,
                Err(_) => return support::skip("this kernel has no tables of slots"),
            };
            let number = Cell::new(0);
            in_tasks(&mut rng, |mut rng| {
                let (table, first) = (table.clone(), number.replace(number.get() + PER_EPISODE));
                async move {
                    for n in 0..PER_EPISODE / TASKS {
                        one_into(&table, &mut rng, first + n).await.expect("descriptors are there");
                    }
                }
            })
            .await;
            while table.available() < 24 {
                time::sleep(Duration::from_micros(200)).await;
            }
            // All of those that the kernel picks from are free, too.
            let mut picked = Vec::new();
            while picked.len() < table.pickable() {
                match ops::open_direct("Cargo.toml", table.pick()).await {
                    Ok(file) => picked.push(file),
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded, "{error}");
                        time::sleep(Duration::from_micros(200)).await;
                    }
                }
            }
        });
        while runtime.stats().nodes > 0 {
            runtime.block_on(time::sleep(Duration::from_micros(200)));
        }
        runtime.shutdown().expect("nothing is leaked");
        before.assert_same();
    }
    quarantine::assert_clean();
}
