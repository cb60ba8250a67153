//! Receiving and reading again and again into buffers of a pool: order, exhaustion, bundles, buffers used up piece by piece,
//! and what becomes of it all when it is dropped, on this kernel and on older ones.
//!
//! Knows: the public face of the crate. Does not know: arms, ledgers.

mod support;

use std::collections::VecDeque;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::net::UdpSocket;
use std::ops::ControlFlow;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use millstream::ops::{self, BufPool, Bundle, Fd, Feature, PoolBuf};
use millstream::{Results, Runtime, spawn, yield_now};

use support::{Rng, rounds};

type Outcome = Result<(), Box<dyn std::error::Error>>;

async fn next<R: Results>(results: &mut R) -> ControlFlow<R::End, R::Item> {
    poll_fn(|cx| results.poll_next(cx)).await
}

/// Looks for a result, for nobody.
fn look<R: Results>(results: &mut R) -> Poll<ControlFlow<R::End, R::Item>> {
    results.poll_next(&mut Context::from_waker(Waker::noop()))
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn pair() -> io::Result<(UnixStream, Fd)> {
    let (a, b) = UnixStream::pair()?;
    Ok((a, b.into()))
}

async fn settle() {
    for _ in 0..4 {
        yield_now().await;
        let _ = ops::nop().await;
    }
}

fn incremental(buffers: usize, size: usize) -> io::Result<Option<BufPool>> {
    match BufPool::builder().buffers(buffers).size(size).incremental(true).build() {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            support::skip("this kernel has no incremental buffers");
            Ok(None)
        }
        pool => pool.map(Some),
    }
}

/// Runtimes of this kernel, and of kernels that lack one thing after the other.
fn kernels() -> impl Iterator<Item = io::Result<Runtime>> {
    let recv = Feature::RecvMultishot.bit() | Feature::ReadMultishot.bit();
    let bundle = Feature::RecvBundle.bit();
    [0, recv, bundle, recv | bundle]
        .into_iter()
        .map(|without| Runtime::builder().without_features(without).build().map_err(io::Error::other))
}

/// A stream's bytes, by their place in it.
fn pattern(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

fn write_pattern(to: &mut impl Write, bytes: std::ops::Range<usize>) -> io::Result<()> {
    to.write_all(&bytes.map(pattern).collect::<Vec<_>>())
}

/// What is received, one piece or several.
trait Pieces: Send + 'static {
    fn each(self, see: &mut dyn FnMut(PoolBuf));
}

impl Pieces for PoolBuf {
    fn each(self, see: &mut dyn FnMut(PoolBuf)) {
        see(self);
    }
}

impl Pieces for Bundle {
    fn each(self, see: &mut dyn FnMut(PoolBuf)) {
        self.for_each(see);
    }
}

/// Takes everything to the end, and checks that it is the pattern; keeps up to `keep` buffers at a time.
async fn drain<R>(mut results: R, keep: usize) -> io::Result<usize>
where
    R: Results<Item: Pieces, End = io::Result<()>>,
{
    let (mut at, mut kept) = (0, VecDeque::new());
    loop {
        match next(&mut results).await {
            ControlFlow::Continue(piece) => piece.each(&mut |buf| {
                for byte in &buf[..] {
                    assert_eq!(*byte, pattern(at), "byte {at}");
                    at += 1;
                }
                kept.push_back(buf);
                if kept.len() > keep {
                    kept.pop_front();
                }
            }),
            ControlFlow::Break(end) => return end.map(|()| at),
        }
        if at % 7 == 0 {
            yield_now().await;
        }
    }
}

/// KT `mshot recv EOF + bufsel`; B1, B2.
#[test]
fn everything_arrives_in_order_and_then_the_end() -> Outcome {
    for runtime in kernels() {
        runtime?.block_on(async {
            for size in [1, 5, 64, 4096] {
                let pool = BufPool::new(4, size)?;
                let (mut a, b) = pair()?;
                let length = 2000.min(size * 300);
                write_pattern(&mut a, 0..length)?;
                drop(a);
                assert_eq!(drain(ops::recv_multishot(&b, &pool), 2).await?, length);
                assert_eq!(pool.available(), 4);
            }
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn bundles_arrive_in_order_and_then_the_end() -> Outcome {
    for runtime in kernels() {
        runtime?.block_on(async {
            for size in [1, 5, 64, 4096] {
                let pool = BufPool::new(7, size)?;
                let (mut a, b) = pair()?;
                let length = 2000.min(size * 300);
                write_pattern(&mut a, 0..length)?;
                drop(a);
                assert_eq!(drain(ops::recv_multishot(&b, &pool).bundled(), 3).await?, length);
                assert_eq!((pool.available(), pool.disowned()), (7, 0));
            }
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

/// What is the point of a bundle: one completion for all that is there.
#[test]
fn a_bundle_has_as_many_buffers_as_it_takes() -> Outcome {
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let pool = BufPool::new(8, 10)?;
        let (mut a, b) = pair()?;
        write_pattern(&mut a, 0..65)?;
        let bundle = ops::recv_pooled(&b, &pool).bundled().await?;
        if bundle.buffers() == 1 {
            support::skip("this kernel has no bundles");
            return Ok(());
        }
        assert_eq!(
            (bundle.len(), pool.disowned()),
            (bundle.buffers() * 10, 0),
            "whole buffers but for the last"
        );
        let (mut bundle, all) = (bundle, pool.available());
        let (len, buffers) = (bundle.len(), bundle.buffers());
        let third = bundle.by_ref().nth(2).ok_or("a third")?;
        assert_eq!((third.len(), third[0], pool.available()), (10, pattern(20), all + 2));
        assert_eq!((bundle.len(), bundle.buffers()), (len - 30, buffers - 3));
        drop(bundle);
        assert_eq!(pool.available(), 7);
        let mut at = len;
        write_pattern(&mut a, 65..200)?;
        drop(third);
        // In the ring they lie in the order in which they came back now.
        while at < 200 {
            let bundle = ops::recv_pooled(&b, &pool).bundled().await?;
            assert!(!bundle.is_empty() && bundle.len() <= bundle.buffers() * 10);
            let len = bundle.len();
            assert_eq!(bundle.into_vec(), (at..at + len).map(pattern).collect::<Vec<_>>());
            at += len;
        }
        assert_eq!((pool.available(), pool.disowned()), (8, 0));
        Ok(())
    })
}

/// KT `INC buf: 10 of 64B, then EOF`; B8.
#[test]
fn an_incremental_buffer_is_used_up_piece_by_piece() -> Outcome {
    Runtime::new()?.block_on(async {
        let Some(pool) = incremental(2, 64)? else { return Ok(()) };
        let (mut a, b) = pair()?;
        let mut pieces = Vec::new();
        for from in (0..60).step_by(10) {
            write_pattern(&mut a, from..from + 10)?;
            pieces.push(ops::recv_pooled(&b, &pool).await?);
        }
        assert_eq!(pool.available(), 2, "none is used up");
        write_pattern(&mut a, 60..70)?;
        pieces.push(ops::recv_pooled(&b, &pool).await?); // what is left of the first
        pieces.push(ops::recv_pooled(&b, &pool).await?);
        assert_eq!((pieces[6].len(), pieces[7].len(), pool.available()), (4, 6, 1));
        let starts: Vec<_> = pieces.iter().map(|piece| piece.as_ptr().addr()).collect();
        assert_eq!(starts[1] - starts[0], 10, "side by side");
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        assert_eq!(all, (0..70).map(pattern).collect::<Vec<_>>());
        let last = pieces.remove(3);
        pieces.truncate(5); // all but one of the first buffer
        assert_eq!(pool.available(), 1);
        drop(last);
        drop(pieces);
        assert_eq!(pool.available(), 2);
        drop(a);
        assert!(ops::recv_pooled(&b, &pool).await?.is_empty());
        assert_eq!((pool.available(), pool.disowned()), (2, 0));
        Ok(())
    })
}

/// Two descriptors, one buffer: each gets its own part, in whatever order their owners look.
#[test]
fn parts_are_told_apart_by_the_order_of_completions() -> Outcome {
    Runtime::new()?.block_on(async {
        let Some(pool) = incremental(1, 1024)? else { return Ok(()) };
        let ((mut a, b), (mut c, d)) = (pair()?, pair()?);
        let mut first = ops::recv_pooled(&b, &pool);
        let mut second = ops::recv_pooled(&d, &pool);
        assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
        settle().await;
        a.write_all(b"first")?;
        settle().await;
        c.write_all(b"second")?;
        settle().await;
        let second = second.await?; // looked at in the other order
        let first = first.await?;
        assert_eq!((&first[..], &second[..]), (&b"first"[..], &b"second"[..]));
        Ok(())
    })
}

#[test]
fn incremental_buffers_serve_streams_and_bundles() -> Outcome {
    Runtime::new()?.block_on(async {
        for size in [1, 7, 100] {
            let Some(pool) = incremental(5, size)? else { return Ok(()) };
            for bundled in [false, true] {
                let (mut a, b) = pair()?;
                let writer = thread::spawn(move || {
                    let mut rng = Rng::new(7);
                    let mut at = 0;
                    while at < 3000 {
                        let len = rng.below(40) as usize + 1;
                        write_pattern(&mut a, at..at + len)?;
                        at += len;
                    }
                    io::Result::Ok(at)
                });
                let results = ops::recv_multishot(&b, &pool);
                let got =
                    if bundled { drain(results.bundled(), 3).await? } else { drain(results, 3).await? };
                assert_eq!(got, writer.join().expect("no panic")?);
                assert_eq!((pool.available(), pool.disowned()), (5, 0), "size {size}, bundled {bundled}");
            }
        }
        Ok(())
    })
}

/// KT `mshot recv exhausts 2 bufs, 4 msgs`: it ends with `ENOBUFS`, what is left stays in the socket. B3.
#[test]
fn two_buffers_are_enough_for_any_number_of_messages() -> Outcome {
    let messages = rounds(100_000) as usize;
    for runtime in kernels() {
        runtime?.block_on(async {
            let pool = BufPool::new(2, 8)?;
            let (mut a, b) = pair()?;
            let writer =
                thread::spawn(move || (0..messages).try_for_each(|at| write_pattern(&mut a, at..at + 1)));
            assert_eq!(drain(ops::recv_multishot(&b, &pool), 1).await?, messages);
            writer.join().expect("no panic")?;
            assert_eq!(pool.available(), 2);
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

/// B12: one who takes nothing holds its backlog, not the pool.
#[test]
fn a_receiver_that_takes_nothing_does_not_starve_the_others() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(16, 8)?;
        let ((mut a, b), (mut c, d)) = (pair()?, pair()?);
        let mut idle = ops::recv_multishot(&b, &pool).backlog(2);
        assert!(look(&mut idle).is_pending());
        for at in 0..40 {
            write_pattern(&mut a, at * 8..at * 8 + 8)?;
            settle().await;
        }
        assert!(pool.available() >= 8, "{pool:?}");
        for at in 0..100 {
            write_pattern(&mut c, at..at + 1)?;
            assert_eq!(&ops::recv_pooled(&d, &pool).await?[..], [pattern(at)]);
        }
        drop(a);
        assert_eq!(drain(idle, 1).await?, 40 * 8);
        assert_eq!(pool.available(), 16);
        Ok(())
    })
}

/// KT `read mshot`; the end of a pipe uses a buffer up. A file cannot be polled, so it is read once for each entry.
#[test]
fn pipes_and_files_are_read_to_their_end() -> Outcome {
    for runtime in kernels() {
        runtime?.block_on(async {
            let pool = BufPool::new(2, 16)?;
            let (reader, mut writer) = io::pipe()?;
            write_pattern(&mut writer, 0..500)?;
            drop(writer);
            assert_eq!(drain(ops::read_multishot(reader, &pool), 1).await?, 500);
            assert_eq!(pool.available(), 2);
            let file = Fd::from(File::open("Cargo.toml")?);
            let mut file = ops::read_multishot(file, &pool);
            let mut all = Vec::new();
            while let ControlFlow::Continue(buf) = next(&mut file).await {
                all.extend_from_slice(&buf);
            }
            assert_eq!(all, std::fs::read("Cargo.toml")?);
            drop(file);
            settle().await;
            assert_eq!(pool.available(), 2);
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn an_empty_datagram_is_not_the_end() -> Outcome {
    for runtime in kernels() {
        runtime?.block_on(async {
            let pool = BufPool::new(4, 8)?;
            let (a, b) = UnixDatagram::pair()?;
            for message in [&b"one"[..], b"", b"two", b""] {
                a.send(message)?;
            }
            let mut results = ops::recv_multishot(Fd::from(b), &pool);
            for message in [&b"one"[..], b"", b"two", b""] {
                let ControlFlow::Continue(got) = next(&mut results).await else { panic!("ended") };
                assert_eq!(&got[..], message);
            }
            drop(results);
            settle().await;
            assert_eq!(pool.available(), 4);
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

/// I2: dropped with results that nobody took and more on the way, every byte goes to the next receive, in order.
#[test]
fn what_a_dropped_one_had_received_is_next() -> Outcome {
    let rounds = rounds(5_000);
    for runtime in kernels() {
        runtime?.block_on(async {
            let mut rng = Rng::from_env();
            let pool = BufPool::new(8, 4)?;
            let (mut a, b) = pair()?;
            let (mut sent, mut got) = (0, 0);
            let mut check = |bytes: &[u8]| {
                for byte in bytes {
                    assert_eq!(*byte, pattern(got), "byte {got}");
                    got += 1;
                }
                got
            };
            for _ in 0..rounds {
                let mut results = ops::recv_multishot(&b, &pool);
                let mut bundles = ops::recv_multishot(&b, &pool).bundled();
                let bundled = rng.below(2) == 0;
                for _ in 0..rng.below(4) {
                    let behind = sent - check(&[]); // not more than the socket has room for
                    let len = if behind < 500 { rng.below(10) as usize } else { 0 };
                    write_pattern(&mut a, sent..sent + len)?;
                    sent += len;
                    if rng.below(2) == 0 {
                        settle().await;
                    }
                    if bundled {
                        if let Poll::Ready(ControlFlow::Continue(bundle)) = look(&mut bundles) {
                            check(&bundle.into_vec());
                        }
                    } else if let Poll::Ready(ControlFlow::Continue(buf)) = look(&mut results) {
                        if rng.below(4) == 0 {
                            results.give_back(buf);
                            break;
                        } else {
                            check(&buf);
                        }
                    }
                }
                drop((results, bundles));
                if rng.below(8) == 0 && check(&[]) < sent {
                    check(&ops::recv_pooled(&b, &pool).await?);
                }
            }
            while check(&[]) < sent {
                let (n, buf) = ops::recv(&b, vec![0; 7]).await;
                check(&buf[..n?]);
            }
            settle().await;
            assert_eq!((pool.available(), pool.disowned()), (8, 0));
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

/// Everything at once, and in the end every buffer is where it was. B4, B5, L12.
#[test]
fn a_storm_of_drops_and_cancels_leaves_every_buffer_where_it_was() -> Outcome {
    let rounds = rounds(100_000);
    let mut rng = Rng::from_env();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let pools = [BufPool::new(3, 16)?, BufPool::new(8, 5)?];
        let inc = BufPool::builder().buffers(2).size(40).incremental(true).build().ok();
        let pools: Vec<_> = pools.into_iter().chain(inc).collect();
        let streams = (0..6).map(|_| pair()).collect::<io::Result<Vec<_>>>()?;
        for (a, _) in &streams {
            a.set_nonblocking(true)?;
        }
        let mut singles: Vec<ops::requests::RecvPooled> = Vec::new();
        let mut multis: Vec<ops::Multishot<ops::requests::RecvMultishot>> = Vec::new();
        let mut bundles: Vec<ops::Multishot<ops::requests::RecvMultishot<Fd, Bundle>>> = Vec::new();
        let mut held: Vec<PoolBuf> = Vec::new();
        let threads = millstream::channel::bounded::<PoolBuf>(64);
        let dropper = thread::spawn(move || while threads.1.pop_blocking().is_ok() {});
        let elsewhere = threads.0;
        for _ in 0..rounds {
            let pool = &pools[rng.below(pools.len() as u64) as usize];
            let (a, b) = &streams[rng.below(streams.len() as u64) as usize];
            match rng.below(12) {
                0 => singles.push(ops::recv_pooled(b, pool)),
                1 => multis.push(ops::recv_multishot(b, pool).backlog(rng.below(4) as usize + 1)),
                2 => bundles.push(ops::recv_multishot(b, pool).bundled()),
                3 | 4 => drop((&mut &*a).write(&[7; 20][..rng.below(20) as usize + 1])),
                5 => {
                    if let Some(single) = singles.last_mut()
                        && let Poll::Ready(got) = poll_once(single)
                    {
                        held.push(got?);
                        singles.pop();
                    }
                }
                6 => {
                    if let Some(Poll::Ready(ControlFlow::Continue(got))) = multis.last_mut().map(look) {
                        held.push(got);
                    }
                }
                7 => {
                    if let Some(Poll::Ready(ControlFlow::Continue(got))) = bundles.last_mut().map(look) {
                        held.extend(got.take(1));
                    }
                }
                8 => drop(held.pop()),
                9 if !held.is_empty() => {
                    let at = rng.below(held.len() as u64) as usize;
                    drop(elsewhere.push(held.swap_remove(at)).await);
                }
                10 => {
                    let singles_left = rng.below(singles.len() as u64 + 1) as usize;
                    singles.truncate(singles_left);
                    multis.pop();
                    bundles.pop();
                }
                _ => yield_now().await,
            }
            held.truncate(12);
            assert!(held.iter().all(|buf| buf.iter().all(|byte| *byte == 7)));
        }
        drop((singles, multis, bundles, held, elsewhere));
        yield_now().await; // the news of the channel's end goes out at the end of a poll
        dropper.join().expect("no panic");
        settle().await;
        for pool in &pools {
            assert_eq!((pool.available(), pool.disowned()), (pool.capacity(), 0), "{pool:?}");
        }
        io::Result::Ok(())
    })?;
    assert_eq!((runtime.stats().nodes, runtime.stats().orphans), (0, 0));
    Ok(())
}

/// No two guards share a byte, and the kernel writes into none that somebody has: each owner fills its own with its mark while
/// receives run, and finds it as it left it.
#[test]
fn guards_never_alias() -> Outcome {
    let rounds = rounds(50_000);
    let mut rng = Rng::from_env();
    Runtime::new()?.block_on(async {
        let mut pools = vec![BufPool::new(8, 32)?];
        pools.extend(BufPool::builder().buffers(4).size(64).incremental(true).build().ok());
        for pool in pools {
            let (a, b) = UnixStream::pair()?;
            let (a, b) = (Fd::from(a), Fd::from(b));
            let (c, d) = UnixStream::pair()?;
            let (c, d) = (Fd::from(c), Fd::from(d));
            let total = rounds as usize;
            let senders = [a, c].map(|fd| {
                spawn(async move {
                    for at in 0..total {
                        if ops::send_all(&fd, vec![0xCC; at % 40 + 1]).await.0.is_err() {
                            break; // the receiver has seen enough
                        }
                    }
                })
            });
            let mut results = [ops::recv_multishot(&b, &pool).backlog(2), ops::recv_multishot(&d, &pool)];
            let mut held: Vec<(u8, PoolBuf)> = Vec::new();
            for round in 0..rounds {
                if let Poll::Ready(ControlFlow::Continue(mut buf)) = look(&mut results[rng.below(2) as usize])
                {
                    assert!(
                        buf.iter().all(|byte| *byte == 0xCC),
                        "what was sent, and nothing left by others"
                    );
                    let mark = (round % 0xCC) as u8;
                    buf.fill(mark);
                    held.push((mark, buf));
                } else {
                    yield_now().await;
                }
                while held.len() > rng.below(8) as usize {
                    let (mark, buf) = held.swap_remove(rng.below(held.len() as u64) as usize);
                    assert!(buf.iter().all(|byte| *byte == mark), "written to by somebody else");
                }
                let mut ranges: Vec<_> = held.iter().map(|(_, buf)| buf.as_ptr_range()).collect();
                ranges.sort_by_key(|range| range.start);
                assert!(ranges.windows(2).all(|two| two[0].end <= two[1].start), "two share a byte");
            }
            for (mark, buf) in held {
                assert!(buf.iter().all(|byte| *byte == mark), "written to by somebody else");
            }
            drop((results, b, d));
            for sender in senders {
                sender.await?;
            }
            settle().await;
            assert_eq!((pool.available(), pool.disowned()), (pool.capacity(), 0));
        }
        Ok(())
    })
}

/// Bytes and the end in one go, before the kernel has looked: both are seen.
#[test]
fn an_end_right_behind_the_bytes_is_seen() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(8, 64)?;
        for round in 0..rounds(10_000) {
            let (mut a, b) = pair()?;
            let mut results = ops::recv_multishot(&b, &pool);
            assert!(look(&mut results).is_pending());
            let _ = ops::nop().await; // armed
            write_pattern(&mut a, 0..10)?;
            match round % 3 {
                0 => drop(a),
                1 => drop(thread::spawn(move || drop(a))),
                _ => a.shutdown(std::net::Shutdown::Write)?,
            }
            assert_eq!(drain(results, 1).await?, 10);
        }
        Ok(())
    })
}

/// Addresses, descriptors, what is too long, and what nobody took.
#[test]
fn messages_come_with_what_is_beside_them() -> Outcome {
    let without = [0, Feature::RecvmsgMultishot.bit()];
    for without in without {
        Runtime::builder().without_features(without).build()?.block_on(async {
            let pool = BufPool::new(2, 200)?;
            let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
            a.connect(b.local_addr()?)?;
            let b = Fd::from(b);
            let mut messages = ops::recvmsg_multishot(&b, &pool);
            for len in [5, 0, 72, 73, 1] {
                a.send(&vec![len; usize::from(len)])?;
                let ControlFlow::Continue((received, bytes)) = next(&mut messages).await else {
                    panic!("ended")
                };
                assert_eq!(received.from.to_socket_addr()?, a.local_addr()?);
                assert_eq!(bytes.to_vec(), vec![len; usize::from(len.min(72))]);
                assert_eq!(received.flags, if len > 72 { libc::MSG_TRUNC } else { 0 });
            }
            // Dropped with messages that nobody took: the next receive has them, with their addresses.
            for at in 0..4 {
                a.send(&[at; 3])?;
            }
            settle().await;
            let ControlFlow::Continue((_, first)) = next(&mut messages).await else { panic!("ended") };
            assert_eq!(&first[..], [0; 3]);
            drop((messages, first));
            settle().await;
            let (received, bufs) = ops::recvmsg(&b, vec![vec![0; 10]]).await;
            assert_eq!((received?.from.to_socket_addr()?, &bufs[0][..]), (a.local_addr()?, &[1; 3][..]));
            let mut messages = ops::recvmsg_multishot(&b, &pool);
            for at in 2..4 {
                let ControlFlow::Continue((received, bytes)) = next(&mut messages).await else {
                    panic!("ended")
                };
                assert_eq!((received.from.to_socket_addr()?, &bytes[..]), (a.local_addr()?, &[at; 3][..]));
            }
            drop(messages);
            settle().await;
            assert_eq!((pool.available(), pool.disowned()), (2, 0));

            // Descriptors, and the end of a stream.
            let (a, b) = UnixStream::pair()?;
            let (reader, writer) = io::pipe()?;
            let mut control = ops::Control::new();
            control.push_fd(writer)?;
            let a = Fd::from(a);
            ops::sendmsg(&a, vec!["with"]).control(control).await.0?;
            let mut control = ops::Control::new();
            control.push_fd(File::open("/dev/null")?)?;
            ops::sendmsg(&a, vec!["and with"]).control(control).await.0?;
            drop(a);
            let mut messages =
                ops::recvmsg_multishot(Fd::from(b), &pool).control_room(ops::Control::space_for_fds(1));
            let ControlFlow::Continue((mut received, bytes)) = next(&mut messages).await else {
                panic!("ended")
            };
            assert_eq!((&bytes[..], received.control.fds().len()), (&b"with"[..], 1));
            ops::write_all(&received.control.take_fds()[0], "through").await.0?;
            let through = ops::read(reader, vec![0; 16]).await;
            assert_eq!(through.0?, 7);
            drop((received, bytes));
            let ControlFlow::Continue((received, _)) = next(&mut messages).await else { panic!("ended") };
            assert_eq!(received.control.fds().len(), 1, "closed with the message");
            drop(received);
            assert!(matches!(next(&mut messages).await, ControlFlow::Break(Ok(()))));
            drop(messages);
            assert_eq!(pool.available(), 2);
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// A message waits in the socket until a buffer is back, whoever has it. B3.
#[test]
fn messages_wait_for_a_buffer() -> Outcome {
    for without in [0, Feature::RecvmsgMultishot.bit()] {
        Runtime::builder().without_features(without).build()?.block_on(async {
            let pool = BufPool::new(1, 200)?;
            let (a, b) = UnixDatagram::pair()?;
            let mut messages = ops::recvmsg_multishot(Fd::from(b), &pool);
            let mut held = None;
            for n in 0..20 {
                a.send(&[n; 3])?;
                if held.is_some() {
                    settle().await;
                    assert!(look(&mut messages).is_pending(), "there is no buffer for it");
                    settle().await; // it stands in line
                    let elsewhere = n % 2 == 0;
                    let first = held.take();
                    if elsewhere {
                        thread::spawn(move || drop(first)).join().expect("no panic");
                    }
                }
                let ControlFlow::Continue((_, bytes)) = next(&mut messages).await else { panic!("ended") };
                assert_eq!((&bytes[..], pool.available()), (&[n; 3][..], 0));
                held = Some(bytes);
            }
            drop((messages, held));
            settle().await;
            assert_eq!((pool.available(), pool.disowned()), (1, 0));
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// KT `unregister bufring with mshot in flight`: the kernel would end it for want of buffers. So what is in flight has the pool,
/// if nobody else does.
#[test]
fn an_op_in_flight_keeps_its_pool() -> Outcome {
    for runtime in kernels() {
        runtime?.block_on(async {
            let pool = BufPool::new(2, 8)?;
            let (mut a, b) = pair()?;
            let mut results = ops::recv_multishot(&b, &pool);
            assert!(look(&mut results).is_pending());
            settle().await;
            drop(pool);
            settle().await;
            let mut held = None;
            for at in 0..20 {
                write_pattern(&mut a, at..at + 1)?;
                let ControlFlow::Continue(buf) = next(&mut results).await else { panic!("ended") };
                assert_eq!(buf[..], [pattern(at)]);
                held = Some(buf);
            }
            drop(results);
            settle().await;
            assert_eq!(held.as_deref(), Some(&[pattern(19)][..]), "and the buffer has it");
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn messages_need_buffers_that_have_room_for_them() -> Outcome {
    Runtime::new()?.block_on(async {
        let mut pools = vec![BufPool::new(1, 128)?];
        pools.extend(BufPool::builder().buffers(1).size(1000).incremental(true).build().ok());
        for pool in pools {
            let (_a, b) = pair()?;
            let ControlFlow::Break(Err(error)) = next(&mut ops::recvmsg_multishot(&b, &pool)).await else {
                panic!("not refused")
            };
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        Ok(())
    })
}

#[test]
fn a_pool_of_another_runtime_is_refused() -> Outcome {
    let other = Runtime::new()?;
    let pool = other.block_on(async { BufPool::new(1, 16) })?;
    Runtime::new()?.block_on(async {
        let (_a, b) = pair()?;
        let ControlFlow::Break(Err(error)) = next(&mut ops::recv_multishot(&b, &pool)).await else {
            panic!("not refused")
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        Ok(())
    })
}

/// Runtimes that end with all of it in flight.
#[test]
fn a_runtime_ends_with_everything_in_flight() -> Outcome {
    let mut kept = Vec::new();
    for _ in 0..20 {
        let runtime = Runtime::new()?;
        let (pool, ops) = runtime.block_on(async {
            let pool = BufPool::new(2, 16)?;
            let (mut a, b) = pair()?;
            let mut results = ops::recv_multishot(&b, &pool);
            assert!(look(&mut results).is_pending());
            a.write_all(b"some")?;
            settle().await;
            let ControlFlow::Continue(got) = next(&mut results).await else { panic!("ended") };
            a.write_all(b"more")?;
            io::Result::Ok((pool, (results, got, a)))
        })?;
        drop(runtime);
        assert_eq!(&ops.1[..], b"some");
        kept.push((pool, ops));
    }
    drop(kept);
    Ok(())
}
