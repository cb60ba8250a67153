//! `channel/batch/{n}`: messages in batches of n, one producer and one consumer at capacity 1024, in two runtimes;
//! `channel/batch/same/{n}`: in one.
//!
//! Knows: the load. Does not know: other families.
//!
//! A channel without operations on batches pushes and pops one by one.

use std::io;

use super::SHARED;
use super::load::{consume_many, produce_many};
use super::threads::between;
use crate::cases::alone;
use crate::clock::{Sample, Stopwatch};
use crate::measure::{Case, Clock, OURS, OURS_SPSC, Target};
use crate::peers::channels::{Channel, with_channels};
use crate::peers::executors::{Executor, Idle, OnMillstream, OnTokio};

const CAPACITY: usize = 1024;
const BATCH: usize = 32;

pub(super) fn cases() -> Vec<Case> {
    vec![threads(), same()]
}

fn threads() -> Case {
    let mut case = Case::new(format!("channel/batch/{BATCH}"), Clock::Wall, Target::None)
        .target(OURS, Target::Best(0.4, SHARED))
        .target(OURS_SPSC, Target::Nanoseconds(2.5));
    with_channels!(many one, C => {
        case = case.channel::<C, u64>(Idle::Spins, CAPACITY, across::<OnMillstream, C>, across::<OnTokio, C>);
    });
    case
}

fn same() -> Case {
    let mut case = Case::new(format!("channel/batch/same/{BATCH}"), Clock::Cpu, Target::None).bounded(1.15);
    with_channels!(local_many many one local_one, C => {
        case = case.channel::<C, u64>(Idle::Spins, CAPACITY, one_thread::<OnMillstream, C>, one_thread::<OnTokio, C>);
    });
    case
}

fn across<E: Executor, C: Channel<u64, Sender: Send, Receiver: Send>>(messages: u64) -> io::Result<Sample> {
    let (sender, receiver) = C::new(CAPACITY);
    between::<E, _, _>(
        Idle::Spins,
        messages,
        vec![move || produce_many::<C, u64>(sender, 0..messages, BATCH)],
        vec![move || consume_many::<C, u64>(receiver, BATCH)],
    )
}

fn one_thread<E: Executor, C: Channel<u64>>(messages: u64) -> io::Result<Sample> {
    alone()?;
    let (sender, receiver) = C::new(CAPACITY);
    E::new(Idle::Spins)?.block_on(async {
        let watch = Stopwatch::start();
        let producer = E::spawn(produce_many::<C, u64>(sender, 0..messages, BATCH));
        let consumer = E::spawn(consume_many::<C, u64>(receiver, BATCH));
        producer.await;
        let tally = consumer.await;
        let sample = watch.stop(messages);
        tally.check(messages)?;
        Ok(sample)
    })
}
