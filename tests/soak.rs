//! The same mixed work, cycle after cycle: memory, descriptors and nodes must not grow.
//!
//! Knows: the public API. Does not know: where memory goes; only how much the process has.
//!
//! One short pass in `cargo test`; `MILLSTREAM_SOAK=seconds` (`ci/soak.sh`) runs as long as that.

mod support;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use millstream::combinators::{OperationExt, when_all, when_any};
use millstream::ops::{self, Fd, IntoResult};
use millstream::{Runtime, channel, spawn, time, yield_now};
use support::{Descriptors, Rng, Watchdog, rounds};

/// What the resident memory may grow by after warm-up: page-sized noise of the allocator, not a leak per cycle.
const GROWTH: usize = 1 << 20;
const WARM_UP: u64 = 20;

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("proc is mounted");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("statm has pages");
    pages * 4096
}

/// A server and clients on socket pairs, with messages in flight when some of them give up.
async fn echo(rng: &mut Rng) -> io::Result<()> {
    let (results, done) = channel::bounded::<usize>(2);
    for _ in 0..8 {
        let (client, server) = UnixStream::pair()?;
        let server = Fd::from(OwnedFd::from(server));
        spawn(async move {
            loop {
                let Ok((n, mut buffer)) = ops::recv(&server, vec![0_u8; 256]).await.into_result() else {
                    break;
                };
                buffer.truncate(n);
                if n == 0 || ops::send_all(&server, buffer).await.into_result().is_err() {
                    break;
                }
            }
        })
        .detach();
        let client = Fd::from(OwnedFd::from(client));
        let (results, messages) = (results.clone(), 1 + rng.below(20));
        spawn(async move {
            let mut total = 0;
            for _ in 0..messages {
                let sent = ops::send_all(&client, vec![5_u8; 100]).await.into_result();
                let back = ops::recv(&client, vec![0_u8; 256]).timeout(Duration::from_secs(5)).await;
                let (Ok(_), Ok((Ok(n), _))) = (sent, back) else { break };
                total += n;
            }
            let _ = results.push(total).await;
        })
        .detach();
    }
    drop(results);
    while let Ok(total) = done.pop().await {
        assert!(total > 0, "an echo was lost");
    }
    Ok(())
}

/// Things that are given up: races, timers, tasks, a channel with waiters on both sides.
async fn give_up(rng: &mut Rng) -> io::Result<()> {
    let (reader, _writer) = io::pipe()?;
    let pipe = Fd::from(OwnedFd::from(reader));
    for _ in 0..16 {
        let read = ops::read(&pipe, vec![0_u8; 64]);
        let _ = when_any((read, time::sleep(Duration::from_micros(rng.below(100))))).await;
    }
    let (push, pop) = channel::bounded::<Vec<u8>>(1);
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            spawn({
                let pop = pop.clone();
                async move { pop.pop().await.is_ok() }
            })
        })
        .collect();
    yield_now().await;
    push.push(vec![1; 100]).await.expect("open");
    waiting.into_iter().for_each(|task| task.cancel());
    let nops = when_all((0..64).map(|_| ops::nop()).collect::<Vec<_>>()).await;
    assert!(nops.into_iter().all(|nop| nop.is_ok()));
    Ok(())
}

#[test]
fn nothing_grows() {
    let mut rng = Rng::from_env();
    let asked = std::env::var("MILLSTREAM_SOAK").ok().and_then(|seconds| seconds.parse().ok());
    let length = asked.map(Duration::from_secs);
    let _watchdog = Watchdog::new(length.unwrap_or_default() + Duration::from_secs(120));
    let runtime = Runtime::new().expect("a runtime");
    let mut cycle = || {
        runtime.sync_wait(async {
            echo(&mut rng).await.expect("descriptors are there");
            give_up(&mut rng).await.expect("descriptors are there");
        });
    };
    (0..WARM_UP).for_each(|_| cycle());
    let (memory, descriptors, began) = (resident(), Descriptors::now(), Instant::now());
    let mut cycles = 0;
    while length.map_or(cycles < rounds(500), |length| began.elapsed() < length) {
        cycle();
        cycles += 1;
    }
    descriptors.assert_same();
    assert_eq!(runtime.stats().nodes, 0, "{:?}", runtime.stats());
    let grown = resident().saturating_sub(memory);
    eprintln!("{cycles} cycles, memory grew by {grown} bytes");
    assert!(grown <= GROWTH, "memory grew by {grown} bytes in {cycles} cycles");
}
