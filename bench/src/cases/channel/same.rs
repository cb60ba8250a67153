//! `channel/same/{pairs}x/{capacity}`: so many producers and as many consumers on one channel, all on one thread.
//!
//! Knows: the load. Does not know: other families.

use std::io;

use super::load::{Tally, consume, pairs, produce, shared, shares};
use super::suffix;
use crate::cases::alone;
use crate::clock::{Sample, Stopwatch};
use crate::measure::{Case, Clock, Kind, OURS_LOCAL, Target};
use crate::peers::channels::{Channel, Message, with_channels};
use crate::peers::executors::{Executor, Idle, OnMillstream, OnTokio};

pub(super) fn cases() -> Vec<Case> {
    // What `local` may cost of the best channel that many share.
    let one = [(0, 0.70), (1, 0.65), (64, 0.50), (1024, 0.45)].map(|(capacity, most)| {
        one_pair::<u64>(capacity).target(OURS_LOCAL, Target::Best(most, &[Kind::Many]))
    });
    let many = [0, 1, 64, 1024]
        .map(|capacity| many_pairs(capacity).target(OURS_LOCAL, Target::Best(0.75, &[Kind::Many])));
    let large = [1, 64, 1024].map(one_pair::<[u64; 32]>);
    one.into_iter().chain(many).chain(large).collect()
}

fn one_pair<T: Message>(capacity: usize) -> Case {
    let name = format!("channel/same/1x/{capacity}{}", suffix::<T>());
    let mut case = Case::new(name, Clock::Cpu, Target::None)
        .bounded(1.15)
        .target(OURS_LOCAL, Target::Best(1.0, &[Kind::Local]));
    with_channels!(local_many many one local_one, C => {
        case = case.channel::<C, T>(
            Idle::Spins, capacity,
            move |messages| run::<OnMillstream, C, T>(pairs(1, || C::new(capacity)), messages),
            move |messages| run::<OnTokio, C, T>(pairs(1, || C::new(capacity)), messages),
        );
    });
    case
}

fn many_pairs(capacity: usize) -> Case {
    let mut case = Case::new(format!("channel/same/64x/{capacity}"), Clock::Cpu, Target::None).bounded(1.15);
    with_channels!(local_many many, C => {
        case = case.channel::<C, u64>(
            Idle::Spins, capacity,
            move |messages| run::<OnMillstream, C, u64>(shared(C::new(capacity), 64, 64), messages),
            move |messages| run::<OnTokio, C, u64>(shared(C::new(capacity), 64, 64), messages),
        );
    });
    case
}

fn run<E: Executor, C: Channel<T>, T: Message>(
    (senders, receivers): (Vec<C::Sender>, Vec<C::Receiver>),
    messages: u64,
) -> io::Result<Sample> {
    alone()?;
    E::new(Idle::Spins)?.block_on(async {
        let watch = Stopwatch::start();
        let shares = shares(messages, senders.len());
        let producers: Vec<_> = senders
            .into_iter()
            .zip(shares)
            .map(|(end, share)| E::spawn(produce::<C, T>(end, share)))
            .collect();
        let consumers: Vec<_> = receivers.into_iter().map(|end| E::spawn(consume::<C, T>(end))).collect();
        for producer in producers {
            producer.await;
        }
        let mut tallies = Vec::new();
        for consumer in consumers {
            tallies.push(consumer.await);
        }
        let sample = watch.stop(messages);
        tallies.into_iter().sum::<Tally>().check(messages)?;
        Ok(sample)
    })
}
