//! `channel/blocking/{p}x{c}/{capacity}`: plain threads, p that push and c that pop, wherever the kernel puts them.
//!
//! Knows: the load. Does not know: other families.

use std::io;
use std::sync::Barrier;
use std::thread;

use super::load::{Tally, consume_blocking, pairs, produce_blocking, shared, shares};
use super::paced;
use crate::clock::{self, Sample, Stopwatch};
use crate::measure::{Case, Clock, Target};
use crate::peers::channels::{Blocking, Ends, with_channels};

pub(super) fn cases() -> Vec<Case> {
    let one = [0, 1, 64, 1024].map(one_pair);
    let two = [1, 64, 1024].map(|capacity| crowd(2, capacity));
    let four = [1, 64, 1024].map(|capacity| crowd(4, capacity));
    one.into_iter().chain(two).chain(four).collect()
}

fn one_pair(capacity: usize) -> Case {
    let mut case = case(1, capacity).spsc(1.3);
    with_channels!(blocking_many blocking_one, C => {
        case = enter::<C>(case, capacity, move |messages| run::<C>(pairs(1, || C::new(capacity)), messages));
    });
    case
}

fn crowd(ends: usize, capacity: usize) -> Case {
    let mut case = case(ends, capacity);
    with_channels!(blocking_many, C => {
        case = enter::<C>(case, capacity, move |messages| run::<C>(shared(C::new(capacity), ends, ends), messages));
    });
    case
}

fn case(ends: usize, capacity: usize) -> Case {
    Case::new(format!("channel/blocking/{ends}x{ends}/{capacity}"), Clock::Wall, Target::None).bounded(1.3)
}

fn enter<C: Ends<u64>>(
    case: Case,
    capacity: usize,
    run: impl Fn(u64) -> io::Result<Sample> + 'static,
) -> Case {
    if capacity == 0 && !C::RENDEZVOUS {
        return case;
    }
    case.with_kind(C::NAME, C::KIND, move |plan| paced(plan, &run))
}

fn run<C: Blocking<u64, Sender: Send, Receiver: Send>>(
    (senders, receivers): (Vec<C::Sender>, Vec<C::Receiver>),
    messages: u64,
) -> io::Result<Sample> {
    clock::two_cpus()?; // on one, this measures the kernel's scheduler
    let all_ready = &Barrier::new(senders.len() + receivers.len() + 1);
    let shares = shares(messages, senders.len());
    thread::scope(|scope| {
        for (sender, share) in senders.into_iter().zip(shares) {
            scope.spawn(move || {
                all_ready.wait();
                produce_blocking::<C, u64>(sender, share);
            });
        }
        let consume = |receiver| {
            scope.spawn(move || {
                all_ready.wait();
                consume_blocking::<C, u64>(receiver)
            })
        };
        let consumers: Vec<_> = receivers.into_iter().map(consume).collect();
        // Before the others go: they may not leave this thread a processor until they are done.
        let watch = Stopwatch::start();
        all_ready.wait();
        let tallies = consumers.into_iter().map(|consumer| consumer.join().expect("a consumer panicked"));
        let tally: Tally = tallies.sum();
        let sample = watch.stop(messages);
        tally.check(messages)?;
        Ok(sample)
    })
}
