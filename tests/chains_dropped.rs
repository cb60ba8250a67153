//! Chains over one buffer that nobody waits for any more: dropped, forgotten, raced or timed out at a random moment.
//!
//! Knows: the public API, and the helpers in `support`. Does not know: nodes; their number is asked for.
//!
//! Under the quarantine allocator, so that a relay the kernel writes into after its last hold was given back is noticed. What
//! comes out at the other end is looked at, too: whole blocks of what was once put in, never what lay in the buffer before.

mod support;

use std::future::poll_fn;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use millstream::combinators::{OperationExt, RingOperationExt, hard_link, when_any};
use millstream::ops::{self, BufExt, Fd, Relay};
use millstream::{Operation, Runtime, time, yield_now};
use support::quarantine::{self, Quarantine};
use support::{Descriptors, Rng, Watchdog, rounds};

#[global_allocator]
static ALLOCATOR: Quarantine = Quarantine;

/// Chains in one life of a runtime. Forgotten ones stay with it until it ends, so this bounds them.
const PER_EPISODE: u64 = 1_000;
const TASKS: u64 = 24;

/// What lies in a relay before anything was read: never to be seen at the other end.
const STALE: u8 = 0xa5;
/// What is put into the source.
const FRESH: u8 = 0x11;

/// A short random while in which the loop may or may not enter the ring.
async fn a_while(rng: &mut Rng) {
    match rng.below(4) {
        0 => {}
        1 => yield_now().await,
        2 => {
            for _ in 0..rng.below(6) {
                yield_now().await;
            }
        }
        _ => time::sleep(Duration::from_micros(rng.below(300))).await,
    }
}

/// Ends a chain in a random way; `feed` is called at a random moment, or never. Returns how many ops stay in flight,
/// since they were forgotten.
async fn end<O: Operation + Unpin>(mut chain: O, ops: u64, feed: impl FnOnce(), rng: &mut Rng) -> u64 {
    let mut feed = Some(feed);
    let when = rng.below(4);
    let mut at = |now| {
        if now == when
            && let Some(feed) = feed.take()
        {
            feed();
        }
    };
    at(0);
    match rng.below(5) {
        0 => {
            let _ = chain.timeout(Duration::from_micros(rng.below(300))).await;
        }
        1 => {
            let _ = when_any((chain, time::sleep(Duration::from_micros(rng.below(300))))).await;
        }
        way => {
            let done = poll_fn(|cx| Poll::Ready(Pin::new(&mut chain).poll(cx).is_ready())).await;
            if done {
                return 0;
            }
            a_while(rng).await;
            at(1);
            a_while(rng).await;
            match way {
                2 => drop(chain),
                3 => {
                    std::mem::forget(chain);
                    at(2);
                    return ops;
                }
                _ => {
                    Pin::new(&mut chain).request_cancel();
                    poll_fn(|cx| Pin::new(&mut chain).poll_discard(cx)).await;
                }
            }
        }
    }
    at(2);
    0
}

/// One chain from a pipe of its own to the common end, one message for each write.
async fn one(to: &Fd, rng: &mut Rng) -> io::Result<u64> {
    let (from, mut feed) = io::pipe()?;
    let from = Fd::from(OwnedFd::from(from));
    let len = 1 + rng.below(3000) as usize;
    let given = if rng.one_in(3) { rng.below(len as u64) as usize } else { len };
    let fill = move || drop(feed.write_all(&vec![FRESH; given]));
    let relay = Relay::new(vec![STALE; len]);
    let taken = relay.take();
    Ok(match rng.below(5) {
        0 => end(ops::read(from, relay) >> ops::write(to, taken), 2, fill, rng).await,
        1 => {
            let chain = (ops::read(from, relay) >> ops::send(to, taken.clone()) >> ops::send(to, taken))
                .always_async();
            end(chain, 3, fill, rng).await
        }
        2 => {
            let half = len / 2;
            let chain = ops::read(from, relay)
                >> ops::send(to, taken.clone().slice(..half))
                >> ops::write(to, taken.slice(half..))
                >> ops::nop();
            end(chain, 4, fill, rng).await
        }
        // A hard link sends what there is; so it is told apart by its length, which is none.
        3 => end(hard_link((ops::read(from, relay), ops::send(to, taken.slice(..0)))), 2, fill, rng).await,
        _ => {
            // The relay is gone with its op, and a take that is not in the chain lives on.
            let left = end(ops::read(from, relay) >> ops::nop(), 2, fill, rng).await;
            a_while(rng).await;
            drop(taken);
            left
        }
    })
}

/// Reads every message there is: all of what was put in, and nothing else.
fn look(end: &UnixDatagram) -> u64 {
    let mut message = [0; 4096];
    let mut seen = 0;
    while let Ok(n) = end.recv(&mut message) {
        assert!(message[..n].iter().all(|&byte| byte == FRESH), "what was in the buffer before was sent");
        seen += 1;
    }
    seen
}

fn episode(rng: &mut Rng) -> u64 {
    let runtime = Runtime::builder().sq_entries(32).cq_entries(1024).build().expect("a runtime");
    let seed = rng.next_u64();
    let (to, end) = UnixDatagram::pair().expect("descriptors are there");
    end.set_nonblocking(true).expect("a socket");
    let to = Fd::from(to);
    let (forgotten, mut seen) = runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (mut rng, to) = (Rng::new(seed ^ task << 48), to.clone());
                millstream::spawn(async move {
                    let mut forgotten = 0;
                    for _ in 0..PER_EPISODE / TASKS {
                        forgotten += one(&to, &mut rng).await.expect("descriptors are there");
                    }
                    forgotten
                })
            })
            .collect();
        let (mut forgotten, mut seen) = (0, 0);
        for task in tasks {
            let mut task = Box::pin(task);
            forgotten += loop {
                // The end is emptied all along, or nobody could send.
                seen += look(&end);
                if let Ok(left) = time::timeout(Duration::from_micros(500), &mut task).await {
                    break left.expect("no task panics");
                }
            };
        }
        (forgotten, seen)
    });
    while runtime.stats().nodes as u64 > forgotten {
        runtime.block_on(time::sleep(Duration::from_micros(200)));
        seen += look(&end);
    }
    runtime.shutdown().expect("nothing is leaked");
    seen + look(&end)
}

#[test]
fn chains_over_one_buffer_that_end_at_any_moment_leave_nothing_behind() {
    require_op!(Read, Write, Send);
    let _watchdog = Watchdog::new(Duration::from_secs(300));
    let mut rng = Rng::from_env();
    episode(&mut rng); // what the process keeps for good (wake-up descriptors) is there from now on
    let before = Descriptors::now();
    let mut seen = 0;
    for _ in 0..rounds(50_000).div_ceil(PER_EPISODE) {
        seen += episode(&mut rng);
        before.assert_same();
        assert_eq!(quarantine::hits(), 0, "the kernel wrote into a buffer that was given back");
    }
    assert!(seen > 0, "some chains have come through");
    quarantine::assert_clean();
}
