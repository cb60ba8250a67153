//! `channel/pingpong/{same,threads}`: a message there and one back, through two channels of capacity 1; a round trip.
//!
//! Knows: the face of channels. Does not know: other families.

use std::io;
use std::sync::Barrier;

use super::prefix;
use crate::cases::{alone, two_threads};
use crate::clock::{Sample, Stopwatch};
use crate::measure::{Case, Clock, Kind, OURS_LOCAL, Target};
use crate::peers::channels::{Answer, Channel, with_channels};
use crate::peers::executors::{Executor, Idle, OnMillstream, OnTokio};

const CAPACITY: usize = 1;

pub(super) fn cases() -> Vec<Case> {
    let same = same().bounded(1.15).target(OURS_LOCAL, Target::Best(1.0, &[Kind::Local]));
    let spinning = threads(Idle::Spins).bounded(1.3).spsc(1.3);
    let parked = threads(Idle::Sleeps).bounded(1.3).spsc(1.3);
    vec![same, spinning, parked]
}

fn same() -> Case {
    let mut case = Case::new("channel/pingpong/same", Clock::Cpu, Target::None);
    with_channels!(local_many many one local_one, C => {
        case = case.channel::<C, u64>(
            Idle::Spins,
            CAPACITY,
            one_thread::<OnMillstream, C>,
            one_thread::<OnTokio, C>,
        );
    });
    case
}

fn threads(idle: Idle) -> Case {
    let mut case = Case::new(format!("{}/pingpong/threads", prefix(idle)), Clock::Wall, Target::None);
    with_channels!(many one, C => {
        case = case.channel::<C, u64>(
            idle,
            CAPACITY,
            move |trips| across::<OnMillstream, C>(idle, trips),
            move |trips| across::<OnTokio, C>(idle, trips),
        );
    });
    case
}

fn one_thread<E: Executor, C: Channel<u64>>(trips: u64) -> io::Result<Sample> {
    alone()?;
    let (ping, pings) = C::new(CAPACITY);
    let (pong, pongs) = C::new(CAPACITY);
    E::new(Idle::Spins)?.block_on(async {
        let back = E::spawn(answer::<C>(pings, pong));
        let there = E::spawn(async move {
            let watch = Stopwatch::start();
            ask::<C>(ping, pongs, trips).await.map(|()| watch.stop(trips))
        });
        let sample = there.await;
        back.await;
        sample
    })
}

fn across<E: Executor, C: Channel<u64, Sender: Send, Receiver: Send>>(
    idle: Idle,
    trips: u64,
) -> io::Result<Sample> {
    let (ping, pings) = C::new(CAPACITY);
    let (pong, pongs) = C::new(CAPACITY);
    let there = |ready: &Barrier| {
        let executor = E::new(idle);
        ready.wait();
        let watch = Stopwatch::start();
        executor?.block_on(async { E::spawn(ask::<C>(ping, pongs, trips)).await })?;
        Ok(watch.stop(trips))
    };
    let back = |ready: &Barrier| {
        let executor = E::new(idle);
        ready.wait();
        executor?.block_on(async { E::spawn(answer::<C>(pings, pong)).await });
        Ok(())
    };
    Ok(two_threads(there, back)?.0)
}

async fn ask<C: Channel<u64>>(mut ping: C::Sender, mut pongs: C::Receiver, trips: u64) -> io::Result<()> {
    for trip in 0..trips {
        let asked = C::push(&mut ping, trip).await.value();
        let answer = C::pop(&mut pongs).await.value();
        if asked.is_none() || answer != Some(!trip) {
            return Err(io::Error::other(format!("the answer to {trip} was {answer:?}")));
        }
    }
    Ok(())
}

async fn answer<C: Channel<u64>>(mut pings: C::Receiver, mut pong: C::Sender) {
    while let Some(trip) = C::pop(&mut pings).await.value() {
        if C::push(&mut pong, !trip).await.value().is_none() {
            return;
        }
    }
}
