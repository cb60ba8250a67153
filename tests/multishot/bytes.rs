//! Bytes into channels: a full one holds up the kernel and not the pool, a closed one leaves the rest to others.
//!
//! Knows: `recv_multishot` and pools. Does not know: other ops (`every_op`), the engine.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use millstream::combinators::{End, ResultsExt};
use millstream::ops::{self, BufPool, Fd, Feature};
use millstream::{Runtime, channel, spawn};

use crate::support::{begin, poll_once, rest, settle, turn, without};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Runs a test with multishot and without, with channels of some capacities.
fn each(test: impl AsyncFn(usize) -> Outcome) -> Outcome {
    let _held = begin();
    for without in [0, Feature::RecvMultishot.bit()] {
        for capacity in [0, 1, 3] {
            let runtime = Runtime::builder().without_features(without).build()?;
            runtime.block_on(test(capacity))?;
            assert_eq!((runtime.stats().nodes, runtime.stats().orphans), (0, 0));
        }
    }
    Ok(())
}

fn pair() -> io::Result<(UnixStream, Fd)> {
    let (a, b) = UnixStream::pair()?;
    Ok((a, b.into()))
}

/// What is sent: four bytes for each message, as many as a buffer has.
fn bytes(messages: std::ops::Range<u8>) -> Vec<u8> {
    messages.flat_map(|n| [n; 4]).collect()
}

/// H12, C3: what is in memory is the capacity of the channel, the backlog, and what was under way.
#[test]
fn a_full_channel_is_room_for_so_much_and_no_more() -> Outcome {
    const MESSAGES: u8 = 50;
    each(async |capacity| {
        for backlog in [1, 4] {
            let pool = BufPool::new(64, 4)?;
            let (mut a, b) = pair()?;
            let (tx, rx) = channel::bounded(capacity);
            let task = spawn(ops::recv_multishot(b, &pool).backlog(backlog).will_push(tx));
            for n in 0..MESSAGES {
                a.write_all(&bytes(n..n + 1))?; // one by one, and it is told of each
                turn().await;
                turn().await;
            }
            settle().await;
            let held = pool.capacity() - pool.available();
            let room = capacity + 1 + backlog; // one is in the hands of who pushes
            assert!(
                (capacity + 1..=room + 2).contains(&held),
                "{held} buffers are held, with room for {room}"
            );
            drop(a);
            let mut all = Vec::new();
            while let Ok(buf) = rx.pop().await {
                all.extend_from_slice(&buf);
            }
            assert_eq!(all, bytes(0..MESSAGES));
            let delivered = task.await?;
            assert_eq!((delivered.count, delivered.end?), (u64::from(MESSAGES), End::Finished));
            assert_eq!((pool.available(), pool.disowned()), (64, 0));
        }
        Ok(())
    })
}

/// H13, C4: it is cancelled, says how many the channel has taken, and what that has not taken is for the next receive; every
/// buffer is back.
#[test]
fn a_closed_channel_leaves_the_rest_to_the_next_receive() -> Outcome {
    const MESSAGES: u8 = 20;
    each(async |capacity| {
        for taken in 0..4 {
            let pool = BufPool::new(32, 4)?;
            let (mut a, b) = pair()?;
            let (tx, rx) = channel::bounded(capacity);
            let task = spawn(ops::recv_multishot(&b, &pool).backlog(4).will_push(tx));
            a.write_all(&bytes(0..MESSAGES))?;
            for n in 0..taken {
                assert_eq!(rx.pop().await?[..], bytes(n..n + 1));
            }
            settle().await;
            drop(rx); // and with it, what is in it
            let delivered = task.await?;
            assert_eq!(delivered.end?, End::Closed);
            let count = delivered.count as u8;
            assert_eq!(usize::from(count), usize::from(taken) + capacity, "the channel was full");
            assert_eq!((pool.available(), pool.disowned()), (32, 0));
            drop(a);
            let mut rest = Vec::new();
            loop {
                let (n, buf) = ops::recv(&b, vec![0; 7]).await;
                match n? {
                    0 => break,
                    n => rest.extend_from_slice(&buf[..n]),
                }
            }
            assert_eq!(rest, bytes(count..MESSAGES));
        }
        Ok(())
    })
}

/// The kernel is woken by the bytes, and by the end right behind them, before it can look for either: of two wakes that it takes for
/// one it must not forget the second.
#[test]
fn the_end_right_behind_the_bytes_is_seen() -> io::Result<()> {
    let _held = begin();
    for runtime in [Runtime::new().expect("io_uring"), without(Feature::RecvMultishot)] {
        for pause in [false, true] {
            runtime.block_on(async {
                let (mut peer, ours) = pair()?;
                let pool = BufPool::new(8, 64)?;
                let mut received = ops::recv_multishot(ours, &pool);
                assert!(poll_once(&mut received).await.is_none());
                settle().await; // it is armed
                peer.write_all(b"all that ")?;
                if pause {
                    thread::sleep(Duration::from_millis(1));
                }
                peer.write_all(b"there is")?;
                peer.shutdown(Shutdown::Write)?;
                let (all, end) = rest(&mut received).await;
                end?;
                let all: Vec<u8> = all.iter().flat_map(|buf| buf.iter().copied()).collect();
                assert_eq!(all, b"all that there is");
                io::Result::Ok(())
            })?;
        }
    }
    Ok(())
}
