//! In the steady state neither an op nor a channel allocates: an op's record, its buffer and what the kernel reads are all
//! there already, and whoever waits at a channel stands in line in its own future.

#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use millstream::channel::broadcast;
use millstream::combinators::Select;
use millstream::ops::{self, BufExt, Fd, IntoResult};
use millstream::{Runtime, channel, select};
use support::TempDir;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: (local) the system allocator does the work; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: (local) the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: (local) as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: (local) as above.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 1_000;

/// Runs `round` a few times for what it needs only once, and then checks that no further one allocates.
fn steady(mut round: impl AsyncFnMut() -> io::Result<()>) {
    let runtime = Runtime::new().expect("a ring");
    let count = runtime.block_on(count(&mut round));
    assert_eq!(count, 0, "allocations in {ROUNDS} rounds");
}

/// As [`steady`], but on another executor.
fn steady_elsewhere(mut round: impl AsyncFnMut() -> io::Result<()>) {
    let count = futures::executor::block_on(count(&mut round));
    assert_eq!(count, 0, "allocations in {ROUNDS} rounds");
}

async fn count(round: &mut impl AsyncFnMut() -> io::Result<()>) -> usize {
    for _ in 0..32 {
        round().await.expect("a round that works");
    }
    let before = COUNT.get();
    for _ in 0..ROUNDS {
        round().await.expect("a round that works");
    }
    COUNT.get() - before
}

#[test]
fn the_count_counts() {
    let before = COUNT.get();
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(COUNT.get() - before, 1);
}

#[test]
fn nop_and_timeout() {
    steady(async || {
        ops::nop().await?;
        ops::timeout(Duration::from_nanos(1)).await
    });
}

#[test]
fn read_and_write_a_file() -> io::Result<()> {
    let dir = TempDir::new();
    let path = dir.join("file");
    let file = std::fs::File::options().create_new(true).read(true).write(true).open(path)?;
    let file = Fd::from(file);
    let mut buf = Some(vec![7_u8; 4096]);
    steady(async || {
        let full = buf.take().expect("it comes back each time");
        let (_, full) = ops::write(&file, full).at(0).await.into_result()?;
        let (n, half) = ops::read(&file, full.slice(..2048)).at(100).await.into_result()?;
        assert_eq!(n, 2048);
        buf = Some(half.into_inner());
        let (_, array) = ops::read(&file, [0_u8; 64]).at(0).await.into_result()?;
        assert_eq!(array, [7; 64]);
        ops::write_all(&file, array).at(0).await.into_result()?;
        Ok(())
    });
    Ok(())
}

#[test]
fn vectored_up_to_eight() -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    let (reader, writer) = (Fd::from(reader), Fd::from(writer));
    let mut bufs = Some(vec![[7_u8; 16]; 8]);
    steady(async || {
        let full = bufs.take().expect("they come back each time");
        let (_, full) = ops::writev(&writer, full).await.into_result()?;
        let (n, full) = ops::readv(&reader, full).await.into_result()?;
        assert_eq!(n, 128);
        bufs = Some(full);
        Ok(())
    });
    Ok(())
}

#[test]
fn send_and_recv() -> io::Result<()> {
    let (a, b) = UnixStream::pair()?;
    let (a, b) = (Fd::from(a), Fd::from(b));
    let mut buf = Some(Vec::with_capacity(64));
    steady(async || {
        ops::send(&a, "sixteen bytes...").await.into_result()?;
        ops::send_all(&a, "and some").await.into_result()?;
        let (_, full) = ops::recv(&b, buf.take().expect("it comes back each time")).await.into_result()?;
        assert_eq!(full.len(), 24);
        buf = Some(full);
        Ok(())
    });
    Ok(())
}

#[test]
fn ops_dropped_in_flight() -> io::Result<()> {
    let (reader, _writer) = io::pipe()?;
    let reader = Fd::from(reader);
    steady(async || {
        let mut op = ops::read(&reader, [0_u8; 64]).at(0);
        let once = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut op).poll(cx).is_pending())
        });
        assert!(once.await);
        drop(op);
        ops::nop().await
    });
    Ok(())
}

/// Polls once, and gives up.
async fn give_up(future: impl Future) {
    let mut future = pin!(future);
    let ready = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await;
    assert!(!ready);
}

/// Everything that can be done to a channel, waiting on either side included.
macro_rules! use_channel {
    ($tx:expr, $rx:expr) => {{
        let (tx, rx) = ($tx, $rx);
        let feed = async {
            for n in 0..8_u64 {
                tx.push(n).await.map_err(io::Error::other)?;
            }
            for n in 8..10 {
                tx.reserve()
                    .await
                    .map_err(|_| io::ErrorKind::BrokenPipe)?
                    .push(n)
                    .map_err(io::Error::other)?;
            }
            Ok::<_, io::Error>(())
        };
        let eat = async {
            let mut sum = 0;
            for _ in 0..10 {
                sum += rx.pop().await.map_err(io::Error::other)?;
            }
            Ok::<_, io::Error>(sum)
        };
        let (fed, sum) = futures::join!(feed, eat);
        fed?;
        assert_eq!(sum?, 45);
        give_up(rx.pop()).await;
        give_up(tx.closed()).await;
        while tx.try_push(1).is_ok() {}
        give_up(tx.push(2)).await;
        give_up(tx.reserve()).await;
        while rx.try_pop().is_ok() {}
        Ok(())
    }};
}

#[test]
fn channels_and_whoever_waits_at_them() {
    for capacity in [0, 1, 16] {
        let (tx, rx) = channel::bounded(capacity);
        steady(async || use_channel!(&tx, &rx));
        steady_elsewhere(async || use_channel!(&tx, &rx));
        let (tx, rx) = channel::local(capacity);
        steady(async || use_channel!(&tx, &rx));
        steady_elsewhere(async || use_channel!(&tx, &rx));
    }
}

#[test]
fn one_producer_and_one_consumer() {
    for capacity in [0, 1, 2, 16] {
        let (mut tx, mut rx) = channel::spsc(capacity);
        let mut round = async || {
            let feed = async {
                for n in 0..8_u64 {
                    tx.push(n).await.map_err(io::Error::other)?;
                }
                for n in 8..10 {
                    let place = tx.reserve().await.map_err(|_| io::ErrorKind::BrokenPipe)?;
                    place.push(n).map_err(io::Error::other)?;
                }
                Ok::<_, io::Error>(())
            };
            let eat = async {
                for n in 0..10 {
                    assert_eq!(rx.pop().await.map_err(io::Error::other)?, n);
                }
                Ok::<_, io::Error>(())
            };
            let (fed, eaten) = futures::join!(feed, eat);
            fed.and(eaten)?;
            give_up(rx.pop()).await;
            give_up(tx.closed()).await;
            give_up(rx.closed()).await;
            while tx.try_push(1).is_ok() {}
            give_up(tx.push(2)).await;
            give_up(tx.reserve()).await;
            assert_eq!(rx.drain().count(), capacity);
            Ok(())
        };
        steady(&mut round);
        steady_elsewhere(&mut round);
    }
}

/// Batches that go through in pieces, and ones that are given up on either side.
macro_rules! use_batches {
    ($tx:expr, $rx:expr, $values:expr, $batch:expr) => {{
        let (tx, rx, values, batch) = ($tx, $rx, $values, $batch);
        values.extend(0..40);
        let eat = async {
            while batch.len() < 40 {
                rx.pop_many(batch, 40).await.map_err(io::Error::other)?;
            }
            Ok::<_, io::Error>(())
        };
        let (pushed, popped) = futures::join!(tx.push_many(values), eat);
        pushed.map_err(|_| io::ErrorKind::BrokenPipe)?;
        popped?;
        batch.clear();
        give_up(rx.pop_many(batch, 40)).await;
        values.extend(0..40);
        give_up(tx.push_many(values)).await;
        values.clear();
        rx.drain().for_each(|value| batch.push(value));
        batch.clear();
        Ok(())
    }};
}

#[test]
fn batches() {
    for capacity in [0, 1, 16] {
        let (mut values, mut batch) = (VecDeque::with_capacity(64), Vec::with_capacity(64));
        let (tx, rx) = channel::bounded::<u64>(capacity);
        steady(async || use_batches!(&tx, &rx, &mut values, &mut batch));
        steady_elsewhere(async || use_batches!(&tx, &rx, &mut values, &mut batch));
        let (tx, rx) = channel::local::<u64>(capacity);
        steady(async || use_batches!(&tx, &rx, &mut values, &mut batch));
        steady_elsewhere(async || use_batches!(&tx, &rx, &mut values, &mut batch));
        let (mut tx, mut rx) = channel::spsc::<u64>(capacity);
        steady(async || use_batches!(&mut tx, &mut rx, &mut values, &mut batch));
        steady_elsewhere(async || use_batches!(&mut tx, &mut rx, &mut values, &mut batch));
    }
}

/// A turn of `select!` that waits, with an arm at a channel of each kind, and one that is ready; and as many of a set.
#[test]
fn selects_over_channels_of_every_kind() {
    let ((line_tx, line), (local_tx, local)) = (channel::bounded(1), channel::local(1));
    let ((mut pair_tx, mut pair), (mut full_tx, _full)) = (channel::spsc(1), channel::spsc(1));
    full_tx.try_push(0).expect("room for one");
    let (news_tx, mut news) = channel::broadcast(2, broadcast::Overflow::Wait);
    let ((state_tx, mut state), (_reply, mut answer)) = (channel::watch(0), channel::oneshot::<u64>());
    let mut hours = channel::tick(Duration::from_secs(3600));
    let mut turn = async |n: u64| {
        state.mark_seen();
        let mut turn = pin!(async {
            select! {
                a = line.pop() => a.ok(),
                b = local.pop() => b.ok(),
                c = pair.pop() => c.ok(),
                d = news.pop() => d.ok(),
                e = state.pop() => e.ok(),
                f = answer.pop() => f.ok(),
                _ = hours.pop() => None,
                _ = full_tx.reserve() => None,
                _ = line_tx.closed() => None,
            }
        });
        assert!(poll_fn(|cx| Poll::Ready(turn.as_mut().poll(cx).is_pending())).await);
        match n {
            0 => drop(line_tx.try_push(n)),
            1 => drop(local_tx.try_push(n)),
            2 => drop(pair_tx.try_push(n)),
            3 => drop(news_tx.try_push(n)),
            _ => drop(state_tx.push(n)),
        }
        assert_eq!(turn.await, Some(n));
    };
    let mut round = async || {
        for n in 0..5 {
            turn(n).await;
        }
        Ok(())
    };
    steady(&mut round);
    steady_elsewhere(&mut round);

    let mut select = Select::new();
    let keys = [select.add(|| line.pop()), select.add(|| local.pop())];
    let mut round = async || {
        give_up(select.next()).await;
        line_tx.push(1).await.map_err(io::Error::other)?;
        assert_eq!(select.next().await, Some((keys[0], 1)));
        give_up(select.next()).await;
        local_tx.push(2).await.map_err(io::Error::other)?;
        assert_eq!(select.next().await, Some((keys[1], 2)));
        Ok(())
    };
    steady(&mut round);
    steady_elsewhere(&mut round);
}

#[test]
fn broadcasts_and_watches() {
    for overflow in [broadcast::Overflow::Wait, broadcast::Overflow::Lag] {
        let (tx, mut one) = channel::broadcast(2, overflow);
        let mut other = tx.subscribe();
        steady(async || {
            let feed = async {
                for n in 0..2_u64 {
                    tx.push(n).await.map_err(io::Error::other)?;
                }
                Ok::<_, io::Error>(())
            };
            for end in [&mut one, &mut other] {
                give_up(end.pop()).await;
            }
            feed.await?;
            for end in [&mut one, &mut other] {
                for n in 0..2 {
                    assert_eq!(end.pop().await.map_err(io::Error::other)?, n);
                }
            }
            Ok(())
        });
    }
    let (tx, mut rx) = channel::watch(0_u64);
    steady(async || {
        rx.mark_seen();
        give_up(rx.pop()).await;
        tx.update(|n| n + 1).map_err(io::Error::other)?;
        rx.pop().await.map(drop).map_err(io::Error::other)
    });
}

#[test]
fn broadcasts_that_are_full() {
    // A push waits for the slowest of two, one of which leaves values behind; all values are overwritten.
    let (tx, mut one) = channel::broadcast(2, broadcast::Overflow::Wait);
    let mut other = tx.subscribe();
    let (overwrite, mut slow) = channel::broadcast(2, broadcast::Overflow::Lag);
    steady_elsewhere(async || {
        let feed = async {
            for n in 0..5_u64 {
                tx.push(n).await.map_err(io::Error::other)?;
                overwrite.push(n).await.map_err(io::Error::other)?;
            }
            Ok::<_, io::Error>(())
        };
        let eat = async {
            for n in 0..5 {
                assert_eq!(one.pop().await.map_err(io::Error::other)?, n);
                assert_eq!(other.pop().await.map_err(io::Error::other)?, n);
            }
            Ok::<_, io::Error>(())
        };
        let (fed, eaten) = futures::join!(feed, eat);
        assert_eq!(slow.pop().await, Err(broadcast::PopError::Lagged(3)));
        assert_eq!((slow.try_pop(), slow.try_pop()), (Ok(3), Ok(4)));
        fed.and(eaten)
    });
}

#[test]
fn a_oneshot_is_one_allocation() {
    let count = || {
        let before = COUNT.get();
        futures::executor::block_on(async {
            let (tx, mut rx) = channel::oneshot();
            give_up(rx.pop()).await;
            let (value, pushed) = futures::join!(rx, async { tx.push([0_u64; 8]) });
            (value.is_ok(), pushed.is_ok())
        });
        COUNT.get() - before
    };
    count(); // what the executor needs
    assert_eq!(count(), 1);
}

#[test]
fn instants_and_whoever_waits_for_them() {
    let mut hours = channel::tick(Duration::from_secs(3600));
    let mut nanos = channel::tick(Duration::from_nanos(1));
    let mut round = async || {
        give_up(hours.pop()).await;
        nanos.pop().await.map_err(io::Error::other)?;
        channel::after(Duration::ZERO).pop().await.map_err(io::Error::other)?;
        Ok(())
    };
    steady(&mut round);
    steady_elsewhere(&mut round);
    let mut soon = channel::tick(Duration::from_micros(100));
    steady_elsewhere(async || soon.pop().await.map(drop).map_err(io::Error::other));
}

#[test]
fn a_zero_copy_send_and_its_buffer_through_a_channel() -> io::Result<()> {
    // Datagrams: a stream's peer may take its time to acknowledge what it has.
    let (socket, peer) =
        (std::net::UdpSocket::bind("127.0.0.1:0")?, std::net::UdpSocket::bind("127.0.0.1:0")?);
    socket.connect(peer.local_addr()?)?;
    let (socket, peer) = (Fd::from(socket), Fd::from(peer));
    let (recycle, buffers) = channel::local(1);
    recycle.try_push(vec![7_u8; 4096]).expect("room for one");
    let mut room = Some(vec![0_u8; 4096]);
    steady(async || {
        let buf = buffers.pop().await.expect("it comes back each time");
        assert_eq!(ops::send_zc(&socket, buf).will_push(recycle.clone()).await?, 4096);
        let recv = ops::recv(&peer, room.take().expect("it comes back each time"));
        room = Some(recv.await.into_result()?.1);
        // Awaited as it is, with a report.
        let buf = buffers.pop().await.expect("it comes back each time");
        let ((n, _usage), buf) = ops::send_zc(&socket, buf).report_usage().await.into_result()?;
        let recv = ops::recv(&peer, room.take().expect("it comes back each time"));
        room = Some(recv.await.into_result()?.1);
        recycle.try_push(buf).expect("room for one");
        assert_eq!(n, 4096);
        Ok(())
    });
    Ok(())
}

#[test]
fn datagrams_and_their_senders() -> io::Result<()> {
    let sockets = [std::net::UdpSocket::bind("127.0.0.1:0")?, std::net::UdpSocket::bind("127.0.0.1:0")?];
    let to = sockets[1].local_addr()?;
    let [a, b] = sockets.map(Fd::from);
    steady(async || {
        ops::send_to(&a, "grain", to).await.into_result()?;
        let ((n, _from), _) = ops::recv_from(&b, [0; 16]).await.into_result()?;
        ops::send_to_zc(&a, "flour", to).await.into_result()?;
        let ((m, _from), _) = ops::recv_from(&b, [0; 16]).await.into_result()?;
        assert_eq!((n, m), (5, 5));
        Ok(())
    });
    Ok(())
}
