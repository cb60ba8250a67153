//! Random trees of combinators over real pipes, sockets, timers, tasks and channels, interrupted at random: whatever
//! becomes of them, nothing is in flight afterwards and nothing is lost.
//!
//! A round makes a world and runs a few trees over it, one after the other. While a tree runs, the other sides write,
//! read, connect, push and pop at random; then it is awaited, asked to stop, given a deadline, discarded or dropped.
//! After each tree: nothing in flight, no timer, no task, no waker kept. After each round: every byte, connection and
//! message was delivered once, or is still where it came from, or came back; and no descriptor is left.
//!
//! A round that fails or hangs names its seed: `MILLSTREAM_SEED=n` begins with it. How many trees: `MILLSTREAM_TREES`,
//! see `ci/trees.sh`. `MILLSTREAM_TRACE=1` says each tree before it runs.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/stalls.rs"]
mod support_stalls;

mod ledger;
mod raw;
mod tree;
mod world;
mod wrap;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use millstream::combinators::{OperationExt, adapters};
use millstream::{Operation, Runtime, ops, time, yield_now};

use ledger::{Ledger, Stage};
use support::{Descriptors, Rng};
use support_stalls::{Stalls, seed};
use tree::{Builder, Kept, Out};
use world::{Ends, World};

const DEPTH: u64 = 4;

/// Passes wakes on, and says by its count who still has it.
struct Forward(Mutex<Waker>);

impl Wake for Forward {
    fn wake(self: Arc<Self>) {
        let waker = self.0.lock().expect("nobody panics here").clone();
        waker.wake();
    }
}

/// Polls with the waker of the task, or with one that is only for this tree.
fn poll<F: Future + ?Sized>(
    future: Pin<&mut F>,
    forward: Option<&Arc<Forward>>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    let Some(forward) = forward else { return future.poll(cx) };
    forward.0.lock().expect("nobody panics here").clone_from(cx.waker());
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(forward))))
}

/// What becomes of a tree in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Await,
    Cancel,
    Deadline,
    Discard,
    Drop,
}

const ENDS: [End; 5] = [End::Await, End::Cancel, End::Deadline, End::Discard, End::Drop];

/// What the trees of this run were, to see that chance reaches everything.
#[derive(Default, Debug)]
struct Tally {
    trees: u64,
    leaves: u64,
    done: u64,
    discarded: u64,
    dropped: u64,
    ends: [u64; ENDS.len()],
    /// The latest.
    last: String,
}

struct Round<'a> {
    runtime: &'a Runtime,
    stalls: &'a Stalls,
    rng: Rng,
    tally: &'a mut Tally,
    /// Say which trees there are, for one that hangs.
    trace: bool,
}

impl Round<'_> {
    async fn run(mut self) {
        let ledger = Rc::new(Ledger::default());
        let (mut ends, others) = Ends::new();
        {
            let world =
                World::new(&mut ends, others, Rc::clone(&ledger), &mut self.rng).expect("descriptors");
            self.trees(&world).await;
            self.quiet().await;
            world.settle().await;
        }
        ends.settle(&ledger);
        while ledger.tasks_alive.get() > 0 {
            yield_now().await; // they wait at the gate, which is closed
        }
        self.quiet().await;
        ledger.check();
        for leaf in ledger.leaves.borrow().iter() {
            self.tally.leaves += 1;
            match leaf.stage {
                Stage::Done => self.tally.done += 1,
                Stage::Discarded => self.tally.discarded += 1,
                Stage::Dropped => self.tally.dropped += 1,
                _ => {}
            }
        }
    }

    /// Waits until nothing is in flight.
    async fn quiet(&self) {
        while self.runtime.stats().nodes > 0 {
            time::sleep(Duration::from_micros(20)).await;
        }
        assert_eq!(self.runtime.stats().timers, 0, "a timer was left");
    }

    /// A few trees over one world, and an operation that may stay in flight from one to the next.
    async fn trees<'w>(&mut self, world: &'w World<'_>) {
        let ledger = &world.ledger;
        let mut kept: Vec<Kept<'w>> = vec![];
        let count = 1 + self.rng.below(3);
        for nth in 1..=count {
            let is_over = |kept: &Kept<'_>| !matches!(ledger.stage(kept.leaf), Stage::Fresh | Stage::Started);
            kept.retain(|kept| !is_over(kept));
            if kept.is_empty() && self.rng.one_in(4) {
                kept.push(self.builder(world, &[]).keep());
            }
            self.tree(world, &kept, nth == count).await;
        }
        for kept in kept {
            if ledger.stage(kept.leaf) == Stage::Started || ledger.stage(kept.leaf) == Stage::Fresh {
                match self.rng.below(3) {
                    0 => {}
                    1 => poll_fn(|cx| kept.op.borrow_mut().as_mut().poll_discard(cx)).await,
                    _ => {
                        kept.op.borrow_mut().as_mut().request_cancel();
                        let out = poll_fn(|cx| kept.op.borrow_mut().as_mut().poll(cx)).await;
                        out.iter().for_each(ledger::Token::arrive);
                    }
                }
            }
        }
    }

    fn builder<'a, 'w, 'e>(&'a mut self, world: &'w World<'e>, kept: &'a [Kept<'w>]) -> Builder<'a, 'w, 'e> {
        let lent = vec![false; kept.len()];
        Builder { world, rng: &mut self.rng, text: String::new(), kept, lent, keeping: false, accepts: 0 }
    }

    /// Lets the loop, the kernel or the clock go on.
    async fn pass(&mut self) {
        match self.rng.below(4) {
            0 => yield_now().await,
            1 | 2 => ops::nop().await.expect("the smallest op"),
            _ => time::sleep(Duration::from_micros(self.rng.below(150))).await,
        }
    }

    async fn tree<'w>(&mut self, world: &'w World<'_>, kept: &[Kept<'w>], last: bool) {
        let ledger = &world.ledger;
        let stats = self.runtime.stats();
        let idle_before = stats.nodes == 0 && stats.timers == 0;
        let (first, tasks_before) = (ledger.leaves.borrow().len(), ledger.tasks_alive.get());
        let depth = 1 + self.rng.below(DEPTH);
        let mut builder = self.builder(world, kept);
        let built = builder.tree(depth);
        let (text, accepts, borrows) = (builder.text, builder.accepts, builder.lent.contains(&true));
        let mut tree = built.tree;
        let end = self.rng.below(ENDS.len() as u64) as usize;
        self.stalls.progress();
        if self.trace {
            eprintln!("{:?}: {text}", ENDS[end]);
        }
        self.tally.trees += 1;
        self.tally.ends[end] += 1;
        let end = ENDS[end];
        self.tally.last = format!("{end:?}: {text}");
        let forward = self.rng.one_in(2).then(|| Arc::new(Forward(Mutex::new(Waker::noop().clone()))));
        let forward = forward.as_ref();

        let mut out = None;
        for _ in 0..self.rng.below(14) {
            match self.rng.below(5) {
                0 | 1 => {
                    let polled = poll_fn(|cx| Poll::Ready(poll(tree.as_mut(), forward, cx))).await;
                    if let Poll::Ready(resolved) = polled {
                        out = Some(resolved);
                        break;
                    }
                }
                2 | 3 => world.stir(&mut self.rng),
                _ => self.pass().await,
            }
        }
        let mut gone = false;
        if out.is_none() {
            match end {
                End::Await => {
                    if last {
                        world.make_ready(&mut self.rng, accepts);
                    }
                    // A kept pop that nobody polls may have been given a message: then others wait behind it.
                    if !(last && built.ends && kept.is_empty()) {
                        tree.as_mut().request_cancel();
                    }
                    out = Some(poll_fn(|cx| poll(tree.as_mut(), forward, cx)).await);
                }
                End::Cancel => {
                    tree.as_mut().request_cancel();
                    out = Some(poll_fn(|cx| poll(tree.as_mut(), forward, cx)).await);
                }
                End::Deadline => {
                    let limit = Duration::from_micros(self.rng.below(3) * 100);
                    let mut limited = std::pin::pin!(tree.timeout(limit));
                    let done = poll_fn(|cx| poll(limited.as_mut(), forward, cx)).await;
                    out = Some(done.unwrap_or_else(|late| late.into_outcome()));
                    tree = wrap::mapped(adapters::future(std::future::ready(())), |_| Out::new());
                }
                End::Discard => {
                    gone = true;
                    let mut discard = std::pin::pin!(Discarding(tree.as_mut()));
                    poll_fn(|cx| poll(discard.as_mut(), forward, cx)).await;
                }
                End::Drop => gone = true,
            }
        }
        if gone {
            ledger.leaves.borrow_mut()[first..].iter_mut().for_each(|leaf| leaf.tree_gone = true);
        }
        let resolved = out.is_some() || end == End::Discard;
        for token in out.iter().flatten() {
            token.arrive();
        }
        drop(out);
        let idle = resolved && idle_before && kept.is_empty();
        assert!(
            !idle || self.runtime.stats().nodes == 0,
            "a tree has ended and something of it is in flight"
        );
        drop(tree);
        assert!(!idle || self.runtime.stats().timers == 0, "a tree is gone and a timer of it is armed");
        let detached = ledger.leaves.borrow()[first..]
            .iter()
            .filter(|leaf| leaf.what == "join" && matches!(leaf.stage, Stage::Dropped | Stage::DroppedFresh))
            .count();
        assert!(ledger.tasks_alive.get() <= tasks_before + detached, "a task outlives the join that lost");
        if resolved {
            for leaf in &ledger.leaves.borrow()[first..] {
                let ended = matches!(leaf.stage, Stage::Done | Stage::Discarded);
                assert!(
                    ended || leaf.stage == Stage::DroppedFresh,
                    "in flight when the tree had ended: {leaf:?}"
                );
            }
        }
        // Half of the time the next tree finds what this one left in flight.
        let quiet = kept.is_empty() && self.rng.one_in(2);
        if quiet {
            self.quiet().await;
        }
        if let Some(forward) = forward
            && !borrows
            && quiet
        {
            for turn in 0.. {
                if Arc::strong_count(forward) == 1 {
                    break;
                }
                assert!(
                    turn < 1000,
                    "{} wakers of a tree that is gone are kept",
                    Arc::strong_count(forward) - 1
                );
                self.pass().await;
            }
        }
    }
}

/// Drives an operation that lost to its end.
struct Discarding<'a, 'w>(Pin<&'a mut (dyn Operation<Output = Out> + 'w)>);

impl Future for Discarding<'_, '_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll_discard(cx)
    }
}

#[test]
fn random_trees_over_real_objects_lose_nothing() {
    let trees = match std::env::var("MILLSTREAM_TREES") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("MILLSTREAM_TREES={text} is not a number")),
        Err(_) => support::rounds(15_000),
    };
    let trace = std::env::var_os("MILLSTREAM_TRACE").is_some();
    let stalls = Stalls::watch();
    let mut tally = Tally::default();
    let mut rng = Rng::new(seed());
    let mut seed = seed();
    drop(Runtime::new()); // the first runtime of a process makes a descriptor that stays
    while tally.trees < trees {
        // A runtime lives for some rounds: one that is new has not used its nodes before.
        let before = Descriptors::now();
        let runtime = Runtime::new().expect("a ring");
        for _ in 0..20 {
            stalls.round(seed);
            let round =
                Round { runtime: &runtime, stalls: &stalls, rng: Rng::new(seed), tally: &mut tally, trace };
            let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(round.run())));
            if let Err(payload) = result {
                eprintln!("in the tree {}", tally.last);
                eprintln!("replay with MILLSTREAM_SEED={seed}");
                resume_unwind(payload);
            }
            let stats = runtime.stats();
            assert_eq!((stats.tasks, stats.nodes, stats.timers), (0, 0, 0), "MILLSTREAM_SEED={seed}");
            assert_eq!(stats.contained_panics, 0, "MILLSTREAM_SEED={seed}");
            seed = rng.next_u64();
        }
        drop(runtime);
        before.assert_same();
    }
    stalls.over();
    eprintln!("{tally:?}");
    let all = [tally.done, tally.discarded, tally.dropped, tally.ends[0], tally.ends[4]];
    assert!(
        trees < 1000 || all.iter().all(|count| *count > trees / 10),
        "chance does not reach everything: {tally:?}"
    );
}
