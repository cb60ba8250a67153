//! `channel/threads/…`: producers in one runtime, consumers in another, each on a CPU of its own.
//!
//! Knows: the load. Does not know: other families.
//!
//! `{p}x{c}/{capacity}` is one channel with p producers and c consumers; `16pairs/{capacity}` is sixteen channels with
//! one of each. `channel/parked/threads/…` is the same on runtimes that sleep at once when there is nothing to do.

use std::io;
use std::sync::Barrier;

use super::load::{Tally, consume, pairs, produce, shared, shares};
use super::{prefix, suffix};
use crate::cases::two_threads;
use crate::clock::{Sample, Stopwatch};
use crate::measure::{Case, Clock, Target};
use crate::peers::channels::{Channel, Message, with_channels};
use crate::peers::executors::{Executor, Idle, OnMillstream, OnTokio};

pub(super) fn cases() -> Vec<Case> {
    let spinning = [
        pair::<u64>(Idle::Spins, 1, 0).bounded(1.3).spsc(1.3),
        pair::<u64>(Idle::Spins, 1, 1).bounded(1.3).spsc(1.0),
        pair::<u64>(Idle::Spins, 1, 64).bounded(1.3).spsc(0.4),
        pair::<u64>(Idle::Spins, 1, 1024).bounded(1.3).spsc(0.4),
        crowd::<u64>(Idle::Spins, 2, 1).bounded(1.3),
        crowd::<u64>(Idle::Spins, 2, 64).bounded(1.0),
        crowd::<u64>(Idle::Spins, 2, 1024).bounded(1.0),
        crowd::<u64>(Idle::Spins, 4, 1).bounded(1.3),
        crowd::<u64>(Idle::Spins, 4, 64).bounded(1.0),
        crowd::<u64>(Idle::Spins, 4, 1024).bounded(1.0),
        pair::<u64>(Idle::Spins, 16, 1).bounded(1.3).spsc(1.0),
        pair::<u64>(Idle::Spins, 16, 64).bounded(1.3).spsc(0.6),
        pair::<u64>(Idle::Spins, 16, 1024).bounded(1.3).spsc(1.3),
        pair::<[u64; 32]>(Idle::Spins, 1, 64).bounded(1.3).spsc(1.3),
        pair::<[u64; 32]>(Idle::Spins, 1, 1024).bounded(1.3).spsc(1.3),
        crowd::<[u64; 32]>(Idle::Spins, 2, 64).bounded(1.3),
    ];
    let mut cases: Vec<Case> = spinning.into();
    for (pairs, capacities) in [(1, &[0, 1, 64, 1024][..]), (16, &[1, 64, 1024])] {
        cases.extend(capacities.iter().map(|&capacity| {
            let case = pair::<u64>(Idle::Sleeps, pairs, capacity).bounded(1.3);
            // At capacity 1 it cannot pull: a switch for every message.
            if capacity == 1 { case } else { case.spsc(1.3) }
        }));
    }
    for ends in [2, 4] {
        cases.extend([1, 64, 1024].map(|capacity| crowd::<u64>(Idle::Sleeps, ends, capacity).bounded(1.3)));
    }
    cases
}

/// A number of channels with one producer and one consumer each.
fn pair<T: Message>(idle: Idle, count: usize, capacity: usize) -> Case {
    let who = if count == 1 { "1x1".to_owned() } else { format!("{count}pairs") };
    let mut case = case::<T>(idle, &who, capacity);
    with_channels!(many one, C => {
        case = case.channel::<C, T>(
            idle, capacity,
            move |messages| run::<OnMillstream, C, T>(idle, pairs(count, || C::new(capacity)), messages),
            move |messages| run::<OnTokio, C, T>(idle, pairs(count, || C::new(capacity)), messages),
        );
    });
    case
}

/// One channel with a number of producers and as many consumers.
fn crowd<T: Message>(idle: Idle, ends: usize, capacity: usize) -> Case {
    let mut case = case::<T>(idle, &format!("{ends}x{ends}"), capacity);
    with_channels!(many, C => {
        case = case.channel::<C, T>(
            idle, capacity,
            move |messages| run::<OnMillstream, C, T>(idle, shared(C::new(capacity), ends, ends), messages),
            move |messages| run::<OnTokio, C, T>(idle, shared(C::new(capacity), ends, ends), messages),
        );
    });
    case
}

fn case<T>(idle: Idle, who: &str, capacity: usize) -> Case {
    let name = format!("{}/threads/{who}/{capacity}{}", prefix(idle), suffix::<T>());
    Case::new(name, Clock::Wall, Target::None)
}

fn run<E: Executor, C: Channel<T, Sender: Send, Receiver: Send>, T: Message>(
    idle: Idle,
    (senders, receivers): (Vec<C::Sender>, Vec<C::Receiver>),
    messages: u64,
) -> io::Result<Sample> {
    let shares = shares(messages, senders.len());
    between::<E, _, _>(
        idle,
        messages,
        senders.into_iter().zip(shares).map(|(end, share)| move || produce::<C, T>(end, share)).collect(),
        receivers.into_iter().map(|end| move || consume::<C, T>(end)).collect(),
    )
}

/// Runs producers in one runtime and consumers in another. The clock runs from when both are there until the last
/// message has arrived.
pub(super) fn between<E: Executor, P, C>(
    idle: Idle,
    messages: u64,
    producers: Vec<impl FnOnce() -> P + Send>,
    consumers: Vec<impl FnOnce() -> C + Send>,
) -> io::Result<Sample>
where
    P: Future<Output = ()> + 'static,
    C: Future<Output = Tally> + 'static,
{
    let consume = |ready: &Barrier| {
        let executor = E::new(idle);
        ready.wait();
        let watch = Stopwatch::start();
        let tally: Tally = executor?.block_on(all::<E, C>(consumers)).into_iter().sum();
        let sample = watch.stop(messages);
        tally.check(messages)?;
        Ok(sample)
    };
    let produce = |ready: &Barrier| {
        let executor = E::new(idle);
        ready.wait();
        executor?.block_on(all::<E, P>(producers));
        Ok(())
    };
    Ok(two_threads(consume, produce)?.0)
}

/// Runs tasks to their ends.
async fn all<E: Executor, F: Future + 'static>(tasks: Vec<impl FnOnce() -> F>) -> Vec<F::Output> {
    let tasks: Vec<_> = tasks.into_iter().map(|task| E::spawn(task())).collect();
    let mut outputs = Vec::with_capacity(tasks.len());
    for task in tasks {
        outputs.push(task.await);
    }
    outputs
}
