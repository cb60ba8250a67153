//! Receiving and reading from a pool of buffers: what comes, what goes back, what waits.
//!
//! Knows: the public face of the crate. Does not know: how a pool keeps its books.

mod support;

use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use millstream::ops::{self, BufPool, BufQueue, Fd, Feature, PoolBuf, QueueBuf};
use millstream::runtime::testing::FaultPlan;
use millstream::{Operation, Results, Runtime, spawn, time, yield_now};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn pair() -> io::Result<(UnixStream, Fd)> {
    let (a, b) = UnixStream::pair()?;
    Ok((a, b.into()))
}

/// Polls once, for nobody.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Turns of the loop, so that whatever is under way has arrived.
async fn settle() {
    for _ in 0..4 {
        yield_now().await;
        let _ = ops::nop().await;
    }
}

#[test]
fn what_was_sent_arrives_and_the_buffer_goes_back() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(2, 64)?;
        let (mut a, b) = pair()?;
        for round in 0..10_u8 {
            a.write_all(&[round; 10])?;
            let got = ops::recv_pooled(&b, &pool).await?;
            assert_eq!((&got[..], pool.available()), (&[round; 10][..], 1));
        }
        assert_eq!((pool.available(), pool.lowest(), pool.disowned()), (2, 1, 0));
        Ok(())
    })
}

/// KT `recv EOF + bufsel`: no buffer is used up. B6.
#[test]
fn the_end_of_a_stream_holds_no_buffer() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(1, 64)?;
        let (a, b) = pair()?;
        drop(a);
        let ends = [ops::recv_pooled(&b, &pool).await?, ops::recv_pooled(&b, &pool).await?];
        assert!(ends.iter().all(|end| end.is_empty()));
        assert_eq!(pool.available(), 1);
        Ok(())
    })
}

/// KT `pipe read EOF + bufsel`, `file read EOF + bufsel`: a buffer is used up, with nothing in it. B6, B7.
#[test]
fn the_end_of_a_file_or_pipe_gives_its_buffer_back() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(2, 64)?;
        let (reader, mut writer) = io::pipe()?;
        let (pipe, file) = (Fd::from(reader), Fd::from(File::open("/dev/null")?));
        writer.write_all(b"flour")?;
        drop(writer);
        assert_eq!(&ops::read_pooled(&pipe, &pool).await?[..], b"flour");
        for _ in 0..100 {
            assert!(ops::read_pooled(&pipe, &pool).await?.is_empty());
            assert!(ops::read_pooled(&file, &pool).await?.is_empty());
            assert_eq!(pool.available(), 2);
        }
        // The buffers are those the kernel thinks of: what is read is what was written (condy's C2).
        let (mut a, b) = pair()?;
        for round in 0..10_u8 {
            a.write_all(&[round; 3])?;
            assert_eq!(&ops::recv_pooled(&b, &pool).await?[..], &[round; 3]);
        }
        Ok(())
    })
}

/// KT `read ECONNRESET + bufsel`: with a buffer on 6.1, without on others. B7.
#[test]
fn a_reset_gives_its_buffer_back() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(1, 64)?;
        for _ in 0..10 {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            let peer = std::net::TcpStream::connect(listener.local_addr()?)?;
            let (accepted, _) = listener.accept()?;
            let accepted = Fd::from(accepted);
            // Data that was not read makes the close a reset.
            ops::send_all(&accepted, "unread").await.0?;
            (&peer).read_exact(&mut [0; 2])?;
            drop(peer);
            let error = ops::read_pooled(&accepted, &pool).await.expect_err("reset");
            assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
            assert_eq!(pool.available(), 1);
        }
        Ok(())
    })
}

/// KT `bufring empty: recv no data yet`: `ENOBUFS` at once, though there is nothing to put into a buffer. B3.
#[test]
fn an_op_without_a_buffer_waits_for_one() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(1, 64)?;
        let ((mut a, b), (mut c, d)) = (pair()?, pair()?);
        a.write_all(b"first")?;
        let first = ops::recv_pooled(&b, &pool).await?;
        let waits = spawn({
            let (d, pool) = (d.clone(), pool.clone());
            async move { ops::recv_pooled(&d, &pool).await }
        });
        settle().await;
        c.write_all(b"second")?;
        settle().await;
        assert!(!waits.is_finished());
        assert_eq!((&first[..], pool.available(), pool.lowest()), (&b"first"[..], 0, 0));
        drop(first);
        assert_eq!(&waits.await??[..], b"second");
        assert_eq!(pool.available(), 1);
        Ok(())
    })
}

/// Two buffers, many who want them, each message kept for a while: nobody is forgotten. B3, B12.
#[test]
fn a_pool_that_is_far_too_small_serves_everybody() -> Outcome {
    const PEERS: usize = 50;
    let messages = support::rounds(2000) as usize / 10;
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(2, 16)?;
        let mut tasks = Vec::new();
        for peer in 0..PEERS {
            let (a, b) = UnixStream::pair()?;
            let (a, b, pool) = (Fd::from(a), Fd::from(b), pool.clone());
            tasks.push(spawn(async move {
                for round in 0..messages {
                    ops::send_all(&a, [(peer + round) as u8; 16]).await.0?;
                }
                io::Result::Ok(0)
            }));
            tasks.push(spawn(async move {
                let mut got = 0;
                while got < messages * 16 {
                    let buf = ops::recv_pooled(&b, &pool).await?;
                    assert!(!buf.is_empty());
                    for (at, byte) in (got..).zip(&buf[..]) {
                        assert_eq!(*byte, (peer + at / 16) as u8, "peer {peer}, byte {at}");
                    }
                    got += buf.len();
                    if got % 3 == 0 {
                        yield_now().await; // holding it
                    }
                }
                Ok(got)
            }));
        }
        let mut all = 0;
        for task in tasks {
            all += task.await??;
        }
        assert_eq!((all, pool.available(), pool.lowest()), (PEERS * messages * 16, 2, 0));
        Ok(())
    })
}

#[test]
fn one_who_waits_and_gives_up_passes_its_turn_on() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(1, 16)?;
        let pairs = [pair()?, pair()?, pair()?];
        for (a, _) in &pairs {
            (&*a).write_all(b"x")?;
        }
        let held = ops::recv_pooled(&pairs[0].1, &pool).await?;
        let mut first = ops::recv_pooled(&pairs[1].1, &pool);
        // The first one gets in line and is not looked at again.
        for _ in 0..4 {
            assert!(poll_once(&mut first).is_pending());
            settle().await;
        }
        let last = spawn({
            let (fd, pool) = (pairs[2].1.clone(), pool.clone());
            async move { ops::recv_pooled(&fd, &pool).await }
        });
        settle().await;
        drop(held); // its turn
        settle().await;
        assert!(!last.is_finished());
        drop(first);
        assert_eq!(&last.await??[..], b"x");
        assert_eq!(pool.available(), 1);
        Ok(())
    })
}

/// A turn that finds no bytes: the buffer is there, and whoever is behind must learn of it.
#[test]
fn a_turn_that_needs_no_buffer_is_passed_on() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(1, 16)?;
        let pairs = [pair()?, pair()?, pair()?];
        for (a, _) in &pairs {
            (&*a).write_all(b"x")?;
        }
        let held = ops::recv_pooled(&pairs[0].1, &pool).await?;
        let tasks: Vec<_> = pairs[1..]
            .iter()
            .map(|(_, fd)| {
                let (fd, pool) = (fd.clone(), pool.clone());
                spawn(async move { ops::recv_pooled(&fd, &pool).await })
            })
            .collect();
        settle().await;
        // Somebody else takes the bytes of the first in line.
        assert_eq!(ops::recv(&pairs[1].1, vec![0; 1]).await.0?, 1);
        drop(held);
        let mut tasks = tasks.into_iter();
        let (first, second) = (tasks.next().ok_or("two")?, tasks.next().ok_or("two")?);
        assert_eq!(&second.await??[..], b"x");
        assert!(!first.is_finished());
        (&pairs[1].0).write_all(b"y")?;
        assert_eq!(&first.await??[..], b"y");
        assert_eq!(pool.available(), 1);
        Ok(())
    })
}

#[test]
fn cancelled_it_gives_everything_back() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(1, 16)?;
        let (mut a, b) = pair()?;
        let mut op = pin!(ops::recv_pooled(&b, &pool));
        assert!(poll_once(&mut op).is_pending());
        settle().await;
        op.as_mut().request_cancel();
        let error = op.await.expect_err("cancelled");
        assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
        // In line for a buffer, too.
        a.write_all(b"xx")?;
        let held = ops::recv_pooled(&b, &pool).await?;
        a.write_all(b"yy")?;
        let mut op = pin!(ops::recv_pooled(&b, &pool));
        for _ in 0..4 {
            assert!(poll_once(&mut op).is_pending());
            settle().await;
        }
        op.as_mut().request_cancel();
        assert_eq!(op.await.expect_err("cancelled").raw_os_error(), Some(libc::ECANCELED));
        drop(held);
        assert_eq!(&ops::recv_pooled(&b, &pool).await?[..], b"yy");
        assert_eq!(pool.available(), 1);
        Ok(())
    })
}

/// I2: what a dropped receive had got goes to the next one, in order, and its buffer to the pool. L7, L12.
#[test]
fn a_dropped_receive_loses_neither_bytes_nor_buffers() -> Outcome {
    let rounds = support::rounds(20_000);
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(2, 8)?;
        let (mut a, b) = pair()?;
        let mut next = 0_u8;
        for round in 0..rounds {
            let mut dropped = ops::recv_pooled(&b, &pool);
            assert!(poll_once(&mut dropped).is_pending());
            if round % 2 == 0 {
                yield_now().await;
            }
            a.write_all(&[round as u8])?;
            if round % 3 == 0 {
                let _ = ops::nop().await;
            }
            drop(dropped);
            let got = ops::recv_pooled(&b, &pool).await?;
            assert_eq!(&got[..], &[next], "round {round}");
            next = next.wrapping_add(1);
        }
        settle().await;
        assert_eq!(pool.available(), 2);
        Ok(())
    })
}

/// Bytes that a receive without a pool had left, and the other way round.
#[test]
fn it_shares_what_was_left_with_other_ops() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(2, 4)?;
        let (mut a, b) = pair()?;
        let mut dropped = ops::recv(&b, vec![0; 16]);
        assert!(poll_once(&mut dropped).is_pending());
        a.write_all(b"flourish")?;
        settle().await;
        drop(dropped);
        let first = ops::recv_pooled(&b, &pool).await?;
        assert_eq!((&first[..], pool.available()), (&b"flou"[..], 2), "as much as a buffer has room for");
        let second = ops::recv_pooled(&b, &pool).bundled().await?;
        assert_eq!((second.len(), second.into_vec()), (4, b"rish".to_vec()));
        let mut dropped = ops::recv_pooled(&b, &pool);
        assert!(poll_once(&mut dropped).is_pending());
        a.write_all(b"bran")?;
        settle().await;
        assert_eq!(pool.available(), 1);
        drop(dropped);
        assert_eq!(pool.available(), 2);
        let (n, buf) = ops::recv(&b, vec![0; 16]).await;
        assert_eq!((n?, &buf[..]), (4, &b"bran"[..]));
        Ok(())
    })
}

#[test]
fn datagrams_stay_apart() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(4, 4)?;
        let (a, b) = UnixDatagram::pair()?;
        let b = Fd::from(b);
        for message in [&b"one"[..], b"", b"longer than four", b"two"] {
            a.send(message)?;
        }
        let mut got = Vec::new();
        for _ in 0..4 {
            got.push(ops::recv_pooled(&b, &pool).await?.to_vec());
        }
        assert_eq!(got, [&b"one"[..], b"", b"long", b"two"]);
        assert_eq!(pool.available(), 4);
        Ok(())
    })
}

/// B10: a buffer is returned by whoever drops it, and who waits for it is woken across threads.
#[test]
fn buffers_go_back_from_other_threads() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(1, 16)?;
        let (mut a, b) = pair()?;
        for round in 0..support::rounds(1000) {
            a.write_all(&[round as u8; 2])?;
            let mut held = ops::recv_pooled(&b, &pool).await?;
            held.truncate(1);
            assert_eq!(held[0], round as u8);
            let other = thread::spawn(move || {
                if held[0] % 8 == 0 {
                    thread::sleep(Duration::from_micros(100));
                }
                drop(held);
            });
            a.write_all(&[round as u8; 2])?;
            assert_eq!(&ops::recv_pooled(&b, &pool).await?[..], &[round as u8; 2]);
            other.join().expect("no panic");
        }
        assert_eq!(pool.available(), 1);
        a.write_all(b"last")?;
        let held = ops::recv_pooled(&b, &pool).await?;
        thread::spawn(move || drop(held)).join().expect("no panic");
        assert_eq!(pool.available(), 1, "it is counted before an op needs it");
        Ok(())
    })
}

/// B11.
#[test]
fn a_buffer_may_outlive_its_pool_and_its_runtime() -> Outcome {
    let runtime = Runtime::new()?;
    let mut got = runtime.block_on(async {
        let pool = BufPool::new(1, 16)?;
        let (mut a, b) = pair()?;
        a.write_all(b"stays")?;
        ops::recv_pooled(&b, &pool).await
    })?;
    got.make_ascii_uppercase();
    drop(runtime);
    assert_eq!(&got[..], b"STAYS");
    thread::spawn(move || drop(got)).join().expect("no panic");
    // And a pool that outlives its runtime.
    let pool = Runtime::new()?.block_on(async { BufPool::new(1, 16) })?;
    assert_eq!((pool.available(), pool.capacity(), pool.size()), (1, 1, 16));
    Ok(())
}

/// B11, at any moment of it: the last holds go on another thread while the runtime ends, and neither waits for the other.
#[test]
fn buffers_are_dropped_elsewhere_while_their_runtime_ends() -> Outcome {
    for round in 0..support::rounds(500) {
        let (tx, rx) = mpsc::channel::<(PoolBuf, QueueBuf<Vec<u8>>)>();
        let other = thread::spawn(move || {
            let mut seen = 0;
            for (pooled, queued) in rx {
                assert_eq!((&pooled[..], &queued[..]), (&[seen; 8][..], &[seen; 4][..]));
                if seen % 2 == 0 {
                    drop(queued);
                } else {
                    assert_eq!(queued.into_buffer().expect("one"), [seen; 4]);
                }
                seen += 1;
            }
            seen
        });
        let runtime = Runtime::new()?;
        runtime.block_on(async {
            let (pool, empty) = (BufPool::new(3, 8)?, BufQueue::to_fill(3)?);
            (0..3).try_for_each(|_| empty.push(Vec::with_capacity(4)))?;
            let (mut a, b) = pair()?;
            for at in 0..9 {
                a.write_all(&[at; 12])?;
                let pooled = ops::recv_pooled(&b, &pool).await?;
                if empty.is_empty() {
                    let _full = empty.push(Vec::with_capacity(4)); // the other thread has not dropped one yet
                }
                tx.send((pooled, ops::recv_pooled(&b, &empty).await?))?;
            }
            Outcome::Ok(())
        })?;
        if round % 2 == 0 {
            drop((runtime, tx));
        } else {
            drop((tx, runtime));
        }
        assert_eq!(other.join().expect("no panic"), 9);
    }
    Ok(())
}

/// More groups than there are numbers, one after the other: each is taken back, wherever its last hold went.
#[test]
fn a_pool_that_is_gone_has_left_the_ring() -> Outcome {
    let runtime = Runtime::new()?;
    for round in 0..3 {
        runtime.block_on(async {
            for _ in 0..1000 {
                let pool = BufPool::new(1, 16)?;
                match round {
                    0 => drop(pool),
                    1 => thread::spawn(move || drop(pool)).join().expect("no panic"),
                    _ => {
                        let (a, b) = pair()?;
                        let mut op = ops::recv_pooled(&b, &pool);
                        assert!(poll_once(&mut op).is_pending());
                        yield_now().await;
                        drop((pool, a, op));
                    }
                }
                yield_now().await;
            }
            settle().await;
            io::Result::Ok(())
        })?;
    }
    assert_eq!(runtime.stats().nodes, 0);
    Ok(())
}

#[test]
fn a_pool_of_another_runtime_is_refused() -> Outcome {
    let other = Runtime::new()?;
    let pool = other.block_on(async { BufPool::new(1, 16) })?;
    Runtime::new()?.block_on(async {
        let (_a, b) = pair()?;
        let error = ops::recv_pooled(&b, &pool).await.expect_err("elsewhere");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        Ok(())
    })
}

#[test]
fn bounds_are_checked() -> Outcome {
    Runtime::new()?.block_on(async {
        for (buffers, size) in [(0, 16), (32_769, 16), (1, 0), (1, 1 << 31), (usize::MAX, 1)] {
            let error = BufPool::new(buffers, size).expect_err("out of bounds");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{buffers} × {size}");
        }
        assert!(BufPool::new(32_768, 1 << 30).is_err(), "more memory than there are addresses for");
        let pool = BufPool::new(3, 5)?;
        assert_eq!((pool.capacity(), pool.size(), pool.available()), (3, 5, 3));
        Ok(())
    })
}

/// A group that the kernel refuses has a number only until then: there is one for the next, however often.
#[test]
fn a_pool_that_is_refused_leaves_no_group_behind() -> Outcome {
    const REGISTER_PBUF_RING: u32 = 22;
    let plan = FaultPlan::new().without_register(REGISTER_PBUF_RING);
    let runtime = Runtime::builder().faults(&plan).build()?;
    runtime.block_on(async {
        for _ in 0..=1 << 16 {
            let error = BufPool::new(1, 16).expect_err("as on a kernel before 5.19");
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
        }
        Ok(())
    })
}

/// Several ops that receive messages stand in line for two buffers: who has got one says so to the next. B3, B12.
#[test]
fn messages_of_many_share_two_buffers() -> Outcome {
    const PEERS: usize = 4;
    let messages = support::rounds(2000) / 4 + 5;
    let _watchdog = support::Watchdog::new(Duration::from_secs(100));
    for without in [0, Feature::RecvmsgMultishot.bit()] {
        Runtime::builder().without_features(without).build()?.block_on(async {
            let pool = BufPool::new(2, 200)?;
            let mut tasks = Vec::new();
            for _ in 0..PEERS {
                let (a, b) = UnixDatagram::pair()?;
                let (a, b) = (Fd::from(a), Fd::from(b));
                tasks.push(spawn(async move {
                    for n in 0..messages {
                        ops::send(&a, n.to_ne_bytes()).await.0.expect("room, sooner or later");
                    }
                }));
                let mut received = ops::recvmsg_multishot(b, &pool).backlog(1);
                tasks.push(spawn(async move {
                    for n in 0..messages {
                        let next = poll_fn(|cx| received.poll_next(cx)).await;
                        let (_, bytes) = next.continue_value().expect("it goes on");
                        assert_eq!(bytes[..], n.to_ne_bytes());
                        if n % 3 == 0 {
                            yield_now().await; // while others wait for it
                        }
                    }
                }));
            }
            for task in tasks {
                task.await?;
            }
            settle().await;
            assert_eq!((pool.available(), pool.lowest(), pool.disowned()), (2, 0, 0));
            Outcome::Ok(())
        })?;
    }
    Ok(())
}

/// A kernel before 6.12: it is said, and a pool like any other is to be had.
#[test]
fn a_kernel_that_uses_up_only_whole_buffers_is_said_to() -> Outcome {
    let runtime = Runtime::builder().without_features(Feature::IncrementalBuffers.bit()).build()?;
    runtime.block_on(async {
        let builder = BufPool::builder().buffers(2).size(64);
        let error = builder.clone().incremental(true).build().expect_err("it is hidden");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
        let pool = builder.build()?;
        assert!(!pool.is_incremental());
        let (mut a, b) = pair()?;
        a.write_all(b"whole")?;
        assert_eq!(&ops::recv_pooled(&b, &pool).await?[..], b"whole");
        Ok(())
    })
}

/// A link passes over a pooled read as over any other.
#[test]
fn it_can_be_linked() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(2, 11)?;
        let file = Fd::from(File::open("Cargo.toml")?);
        let (first, second) = (ops::read_pooled(&file, &pool) >> ops::read_pooled(&file, &pool).at(0)).await;
        assert_eq!((&first?[..], &second?[..]), (&b"[workspace]"[..], &b"[workspace]"[..]));
        // There is no waiting inside of a chain.
        let held = ops::read_pooled(&file, &pool).at(0).await?;
        let held_too = ops::read_pooled(&file, &pool).at(0).await?;
        let (refused, _) = (ops::read_pooled(&file, &pool).at(0) >> ops::nop()).await;
        assert_eq!(refused.expect_err("no buffer").raw_os_error(), Some(libc::ENOBUFS));
        drop((held, held_too));
        assert_eq!(pool.available(), 2);
        Ok(())
    })
}

#[test]
fn a_race_that_is_lost_leaves_no_trace() -> Outcome {
    Runtime::new()?.block_on(async {
        let pool = BufPool::new(1, 16)?;
        let (mut a, b) = pair()?;
        for round in 0..100_u8 {
            let lost = (ops::recv_pooled(&b, &pool) | ops::timeout(Duration::from_micros(50))).await;
            drop(lost);
            a.write_all(&[round])?;
            let got = ops::recv_pooled(&b, &pool).await?;
            assert_eq!(&got[..], &[round]);
        }
        assert_eq!(pool.available(), 1);
        time::sleep(Duration::ZERO).await;
        Ok(())
    })
}
