//! `wake/…`: how long it takes to wake a task of another runtime, and be woken by it.
//!
//! Knows: the floor, millstream. Does not know: sockets, files.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

use millstream::{Runtime, channel};

use super::{sleepy_runtime, two_threads};
use crate::clock::{Sample, Stopwatch};
use crate::floor;
use crate::measure::{Case, Clock, FLOOR, OURS, Plan, Target};

/// A round trip of the design: both sides spinning before they sleep.
const SPINNING: Target = Target::Nanoseconds(2000.0);

pub(super) fn cases() -> Vec<Case> {
    let spin = |name| {
        Case::new(name, Clock::Wall, SPINNING).with(FLOOR, |plan| floor::wake::spin(trips(plan, true)))
    };
    let park = |name| {
        Case::new(name, Clock::Wall, Target::None).with(FLOOR, |plan| floor::wake::park(trips(plan, false)))
    };
    vec![
        spin("wake/pingpong/spin").with(OURS, |plan| word(trips(plan, true), spinning_runtime)),
        spin("wake/channel/spin").with(OURS, |plan| channels(trips(plan, true), spinning_runtime)),
        park("wake/pingpong/park").with(OURS, |plan| word(trips(plan, false), sleepy_runtime)),
        park("wake/channel/park").with(OURS, |plan| channels(trips(plan, false), sleepy_runtime)),
    ]
}

fn trips(plan: &Plan, spinning: bool) -> u64 {
    plan.units(if spinning { 600.0 } else { 60_000.0 })
}

/// Longer than a round trip on a busy machine, so that neither side sleeps.
fn spinning_runtime() -> io::Result<Runtime> {
    Runtime::builder().spin(Duration::from_millis(1)).build().map_err(io::Error::other)
}

/// Runs both sides in runtimes and on CPUs of their own; `first` is timed.
fn two_runtimes<A, B>(
    trips: u64,
    runtime: fn() -> io::Result<Runtime>,
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> io::Result<Sample>
where
    A: Future<Output = ()> + 'static,
    B: Future<Output = ()> + 'static,
{
    let first = |ready: &Barrier| {
        let runtime = runtime();
        ready.wait();
        let watch = Stopwatch::start();
        runtime?.block_on(first());
        Ok(watch.stop(trips))
    };
    let second = |ready: &Barrier| {
        let runtime = runtime();
        ready.wait();
        runtime?.block_on(second());
        Ok(())
    };
    Ok(two_threads(first, second)?.0)
}

/// A turn that two tasks pass to each other, and how to wake the one whose turn it is. Each says its waker once: that of
/// a task stays the same.
#[derive(Default)]
struct Turns {
    turn: AtomicU64,
    wakers: [OnceLock<Waker>; 2],
}

impl Turns {
    /// Waits until the turn is `turn`, which is `side`'s, and passes it on.
    async fn take(&self, side: usize, turn: u64) {
        poll_fn(|cx| {
            self.wakers[side].get_or_init(|| cx.waker().clone());
            // ORDERING: with the store below. Whoever passes the turn on after this look sees the waker.
            if self.turn.load(Ordering::SeqCst) == turn { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.turn.store(turn + 1, Ordering::SeqCst);
        if let Some(other) = self.wakers[1 - side].get() {
            other.wake_by_ref();
        }
    }
}

fn word(trips: u64, runtime: fn() -> io::Result<Runtime>) -> io::Result<Sample> {
    let turns = Arc::new(Turns::default());
    let side = |side: usize| {
        let turns = turns.clone();
        move || async move {
            for trip in 0..trips {
                turns.take(side, 2 * trip + side as u64).await;
            }
        }
    };
    two_runtimes(trips, runtime, side(0), side(1))
}

fn channels(trips: u64, runtime: fn() -> io::Result<Runtime>) -> io::Result<Sample> {
    let (ping, pings) = channel::bounded::<u64>(1);
    let (pong, pongs) = channel::bounded::<u64>(1);
    let first = move || async move {
        for trip in 0..trips {
            ping.push(trip).await.expect("the other side pops to the end");
            let answer = pongs.pop().await.expect("the other side pushes to the end");
            assert_eq!(answer, trip);
        }
    };
    let second = move || async move {
        while let Ok(trip) = pings.pop().await {
            pong.push(trip).await.expect("the first side pops to the end");
        }
    };
    two_runtimes(trips, runtime, first, second)
}
