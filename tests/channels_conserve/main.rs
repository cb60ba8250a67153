//! Whatever is cancelled, dropped, outrun, aborted or closed, across threads and executors: every message is received
//! exactly once, is still in the channel, or is back with its pusher, and each producer's messages arrive in order.
//!
//! Knows: the public API, and executors that are not ours. Does not know: how channels work.
//!
//! Each round draws a flavor, a capacity, who pushes and pops in which of all ways, and who leaves early. Rounds go on
//! until a million messages have arrived (a fifth of that in a debug build); `MILLSTREAM_CONSERVE=100000000`, which
//! `ci/conserve.sh` says, asks for more. A round that fails or hangs names its seed, and `MILLSTREAM_SEED` makes it the
//! first to run; what the scheduler did cannot be replayed.

mod consume;
mod crew;
mod ends;
mod ledger;
mod produce;
mod relay;
mod special;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/stalls.rs"]
mod support_stalls;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;

use crew::{On, Worker};
use ends::Popping;
use futures::FutureExt;
use ledger::{Ledger, Message};
use millstream::channel;
use support::{Rng, rounds};
use support_stalls::{Stalls, seed};

/// Messages that have to arrive in all rounds of one flavor together, of `share` in a million.
fn target(share: u64) -> u64 {
    let asked = std::env::var("MILLSTREAM_CONSERVE").ok().and_then(|text| text.parse::<u64>().ok());
    asked.unwrap_or_else(|| rounds(1_000_000)) / 1000 * share / 1000
}

/// Runs rounds with fresh seeds until enough messages have arrived.
fn conserve(share: u64, round: impl Fn(u64, &Stalls) -> u64) {
    let (first, target, stalls) = (seed(), target(share), Stalls::watch());
    let (mut arrived, mut rounds) = (0, 0);
    while arrived < target {
        let seed = first.wrapping_add(rounds);
        stalls.round(seed);
        let outcome = catch_unwind(AssertUnwindSafe(|| round(seed, &stalls)));
        arrived += outcome.unwrap_or_else(|panic| {
            eprintln!("round {rounds} failed: replay with MILLSTREAM_SEED={seed}");
            resume_unwind(panic)
        });
        rounds += 1;
    }
    stalls.over();
    eprintln!("{arrived} messages in {rounds} rounds");
}

/// What the seed of a round decides before anybody works.
struct Plan {
    rng: Rng,
    stalls: Stalls,
    ledger: Arc<Ledger>,
    producers: usize,
    consumers: usize,
    quota: usize,
    /// Consumers leave before everything is there, and what is left is dropped with the channel.
    consumers_quit: bool,
    /// Somebody closes a channel while the others work.
    closes: bool,
    /// Workers beyond the first of a kind may be aborted.
    aborts: bool,
}

impl Plan {
    fn new(seed: u64, stalls: &Stalls, producers: usize, consumers: usize, quota: usize) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            stalls: stalls.clone(),
            ledger: Ledger::new(producers * quota),
            producers,
            consumers,
            quota,
            consumers_quit: rng.one_in(6),
            closes: rng.one_in(6),
            aborts: rng.one_in(3),
            rng,
        }
    }

    fn producer(&mut self, n: usize, on: On) -> produce::Shift {
        let closes = n == 0 && self.closes && self.rng.one_in(2);
        produce::Shift {
            on,
            ids: n * self.quota..(n + 1) * self.quota,
            ledger: self.ledger.clone(),
            rng: Rng::new(self.rng.next_u64()),
            stalls: self.stalls.clone(),
            closes_after: closes.then(|| self.rng.below(self.quota as u64) as usize),
        }
    }

    fn consumer(&mut self, n: usize, on: On) -> consume::Shift {
        let share = (self.producers * self.quota / self.consumers) as u64;
        let closes = n == 0 && self.closes && self.rng.one_in(2);
        consume::Shift {
            on,
            ledger: self.ledger.clone(),
            rng: Rng::new(self.rng.next_u64()),
            stalls: self.stalls.clone(),
            quits_after: self.consumers_quit.then(|| 1 + self.rng.below(share) as usize),
            closes_after: closes.then(|| 1 + self.rng.below(share) as usize),
            quota: self.quota,
        }
    }

    /// When a worker is aborted, if it is.
    fn doom(&mut self, n: usize) -> Option<u64> {
        (self.aborts && n > 0 && self.rng.one_in(2)).then(|| self.rng.below(1000))
    }

    /// The receivers that will look for what was left, unless the consumers are to be the last.
    fn keepers<R>(&self, receivers: Vec<R>) -> Vec<R> {
        if self.consumers_quit { Vec::new() } else { receivers }
    }

    /// Everybody has gone: what the receivers kept for this find in the channels, then the verdict.
    fn judge<R: Popping>(&self, keepers: Vec<R>) -> u64 {
        let left = keepers.is_empty();
        for mut keeper in keepers {
            let mut last = vec![None; self.producers];
            while let Ok(message) = keeper.try_pop() {
                self.ledger.arrived(&message);
                let before = last[message.id / self.quota].replace(message.id);
                assert!(before < Some(message.id), "left in the channel: {} after {before:?}", message.id);
            }
        }
        self.ledger.judge(left);
        self.ledger.count() as u64
    }
}

/// A worker that is sent to the thread on which it will work.
struct Job {
    on: On,
    doomed: Option<u64>,
    make: Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>,
}

/// Runs all of them, some threads with an executor that several share.
fn staff(stalls: &Stalls, dice: &mut Rng, mut jobs: Vec<Job>) {
    jobs.sort_by_key(|job| job.on as u8);
    thread::scope(|scope| {
        while let Some(job) = jobs.pop() {
            let on = job.on;
            let mut together = vec![job];
            while jobs.last().is_some_and(|other| other.on == on && on != On::Thread) && dice.one_in(2) {
                together.extend(jobs.pop());
            }
            scope.spawn(move || {
                let worker = |job: Job| Worker { work: (job.make)(), doomed: job.doomed };
                stalls.guard(|| crew::run(on, together.into_iter().map(worker).collect()));
            });
        }
    });
}

fn capacity(dice: &mut Rng) -> usize {
    [0, 1, 2, 3, 64, 1024][dice.below(6) as usize]
}

/// Many to many, across threads, over one channel or two.
fn across_threads(seed: u64, stalls: &Stalls) -> u64 {
    let mut dice = Rng::new(!seed);
    let (producers, consumers) = (1 + dice.below(4) as usize, 1 + dice.below(4) as usize);
    let mut plan = Plan::new(seed, stalls, producers, consumers, 1500);
    let channels = (0..1 + dice.below(2)).map(|_| channel::bounded::<Message>(capacity(&mut dice)));
    let (senders, receivers): (Vec<_>, Vec<_>) = channels.unzip();
    let mut jobs = Vec::new();
    for n in 0..producers {
        let (on, ends) = (On::any(&mut dice), senders.clone());
        let (shift, doomed) = (plan.producer(n, on), plan.doom(n));
        jobs.push(Job {
            on,
            doomed,
            make: Box::new(move || match on {
                On::Thread => Box::pin(async { drop(produce::produce_blocking(ends, shift)) }),
                _ => Box::pin(produce::produce(ends, shift).map(drop)),
            }),
        });
    }
    for n in 0..consumers {
        let (on, ends) = (On::any(&mut dice), receivers.clone());
        let (shift, doomed) = (plan.consumer(n, on), plan.doom(n));
        jobs.push(Job {
            on,
            doomed,
            make: Box::new(move || match on {
                On::Thread => Box::pin(async { drop(consume::consume_blocking(ends, shift)) }),
                _ => Box::pin(consume::consume(ends, shift).map(drop)),
            }),
        });
    }
    drop(senders);
    let keepers = plan.keepers(receivers);
    staff(stalls, &mut dice, jobs);
    plan.judge(keepers)
}

/// Many to many on one thread.
fn within_a_thread(seed: u64, stalls: &Stalls) -> u64 {
    let mut dice = Rng::new(!seed);
    let (producers, consumers) = (1 + dice.below(4) as usize, 1 + dice.below(4) as usize);
    let mut plan = Plan::new(seed, stalls, producers, consumers, 1500);
    let on = On::executor(&mut dice);
    let channels = (0..1 + dice.below(2)).map(|_| channel::local::<Message>(capacity(&mut dice)));
    let (senders, receivers): (Vec<_>, Vec<_>) = channels.unzip();
    let mut workers = Vec::new();
    for n in 0..producers {
        let (ends, shift, doomed) = (senders.clone(), plan.producer(n, on), plan.doom(n));
        workers.push(Worker { work: Box::pin(produce::produce(ends, shift).map(drop)), doomed });
    }
    for n in 0..consumers {
        let (ends, shift, doomed) = (receivers.clone(), plan.consumer(n, on), plan.doom(n));
        workers.push(Worker { work: Box::pin(consume::consume(ends, shift).map(drop)), doomed });
    }
    drop(senders);
    let keepers = plan.keepers(receivers);
    crew::run(on, workers);
    plan.judge(keepers)
}

#[test]
fn bounded_channels_conserve_messages() {
    conserve(350_000, across_threads);
}

#[test]
fn spsc_channels_conserve_messages() {
    conserve(150_000, relay::from_hand_to_hand);
}

#[test]
fn spsc_channels_closed_meanwhile_conserve_messages() {
    conserve(100_000, relay::closed_meanwhile);
}

#[test]
fn local_channels_conserve_messages() {
    conserve(150_000, within_a_thread);
}

#[test]
fn oneshots_conserve_their_message() {
    conserve(100_000, special::questions);
}

#[test]
fn broadcasts_give_every_message_to_everybody() {
    conserve(150_000, special::audiences);
}
