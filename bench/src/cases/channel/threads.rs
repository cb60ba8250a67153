//! `channel/threads/…`: producers in one runtime, consumers in another, each on a CPU of its own.
//!
//! Knows: the load. Does not know: other families.
//!
//! `{p}x{c}/{capacity}` is one channel with p producers and c consumers; `16pairs/{capacity}` is sixteen channels with
//! one of each. `channel/parked/threads/…` is the same on runtimes that sleep at once when there is nothing to do.

use std::io;
use std::sync::Barrier;

use super::load::{Tally, consume, pairs, produce, shared, shares};
use super::{parked, suffix};
use crate::cases::two_threads;
use crate::clock::{Sample, Stopwatch};
use crate::measure::{Case, Clock, Target};
use crate::peers::channels::{Channel, Message, with_channels};
use crate::peers::executors::{Executor, OnTokio, Parked, Spinning};

pub(super) fn cases() -> Vec<Case> {
    let spinning = [
        pair::<Spinning, u64>(1, 0).bounded(1.3).spsc(1.3),
        pair::<Spinning, u64>(1, 1).bounded(1.3).spsc(1.0),
        pair::<Spinning, u64>(1, 64).bounded(1.3).spsc(0.4),
        pair::<Spinning, u64>(1, 1024).bounded(1.3).spsc(0.4),
        crowd::<Spinning, u64>(2, 1).bounded(1.3),
        crowd::<Spinning, u64>(2, 64).bounded(1.0),
        crowd::<Spinning, u64>(2, 1024).bounded(1.0),
        crowd::<Spinning, u64>(4, 1).bounded(1.3),
        crowd::<Spinning, u64>(4, 64).bounded(1.0),
        crowd::<Spinning, u64>(4, 1024).bounded(1.0),
        pair::<Spinning, u64>(16, 1).bounded(1.3).spsc(1.0),
        pair::<Spinning, u64>(16, 64).bounded(1.3).spsc(0.6),
        pair::<Spinning, u64>(16, 1024).bounded(1.3).spsc(1.3),
        pair::<Spinning, [u64; 32]>(1, 64).bounded(1.3).spsc(1.3),
        pair::<Spinning, [u64; 32]>(1, 1024).bounded(1.3).spsc(1.3),
        crowd::<Spinning, [u64; 32]>(2, 64).bounded(1.3),
    ];
    let mut cases: Vec<Case> = spinning.into();
    for (pairs, capacities) in [(1, &[0, 1, 64, 1024][..]), (16, &[1, 64, 1024])] {
        cases.extend(capacities.iter().map(|&capacity| {
            let case = pair::<Parked, u64>(pairs, capacity).bounded(1.3);
            // At capacity 1 it cannot pull: a switch for every message.
            if capacity == 1 { case } else { case.spsc(1.3) }
        }));
    }
    for ends in [2, 4] {
        cases.extend([1, 64, 1024].map(|capacity| crowd::<Parked, u64>(ends, capacity).bounded(1.3)));
    }
    cases
}

/// A number of channels with one producer and one consumer each.
fn pair<E: Executor, T: Message>(count: usize, capacity: usize) -> Case {
    let who = if count == 1 { "1x1".to_owned() } else { format!("{count}pairs") };
    let mut case = case::<E, T>(&who, capacity);
    with_channels!(many one, C => {
        case = case.channel::<E, C, T>(
            capacity,
            move |messages| run::<E, C, T>(pairs(count, || C::new(capacity)), messages),
            move |messages| run::<OnTokio, C, T>(pairs(count, || C::new(capacity)), messages),
        );
    });
    case
}

/// One channel with a number of producers and as many consumers.
fn crowd<E: Executor, T: Message>(ends: usize, capacity: usize) -> Case {
    let mut case = case::<E, T>(&format!("{ends}x{ends}"), capacity);
    with_channels!(many, C => {
        case = case.channel::<E, C, T>(
            capacity,
            move |messages| run::<E, C, T>(shared(C::new(capacity), ends, ends), messages),
            move |messages| run::<OnTokio, C, T>(shared(C::new(capacity), ends, ends), messages),
        );
    });
    case
}

fn case<E: Executor, T>(who: &str, capacity: usize) -> Case {
    let name = format!("channel/{}threads/{who}/{capacity}{}", parked::<E>(), suffix::<T>());
    Case::new(name, Clock::Wall, Target::None)
}

fn run<E: Executor, C: Channel<T, Sender: Send, Receiver: Send>, T: Message>(
    (senders, receivers): (Vec<C::Sender>, Vec<C::Receiver>),
    messages: u64,
) -> io::Result<Sample> {
    let shares = shares(messages, senders.len());
    between::<E, _, _>(
        messages,
        senders.into_iter().zip(shares).map(|(end, share)| move || produce::<C, T>(end, share)).collect(),
        receivers.into_iter().map(|end| move || consume::<C, T>(end)).collect(),
    )
}

/// Runs producers in one runtime and consumers in another. The clock runs from when both are there until the last
/// message has arrived.
pub(super) fn between<E: Executor, P, C>(
    messages: u64,
    producers: Vec<impl FnOnce() -> P + Send>,
    consumers: Vec<impl FnOnce() -> C + Send>,
) -> io::Result<Sample>
where
    P: Future<Output = ()> + 'static,
    C: Future<Output = Tally> + 'static,
{
    let consume = |ready: &Barrier| {
        let executor = E::new();
        ready.wait();
        let watch = Stopwatch::start();
        let tally: Tally = executor?.block_on(all::<E, C>(consumers)).into_iter().sum();
        let sample = watch.stop(messages);
        tally.check(messages)?;
        Ok(sample)
    };
    let produce = |ready: &Barrier| {
        let executor = E::new();
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
