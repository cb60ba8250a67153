//! `channel/cancel/{waiters}`: a pop of an empty channel, polled once and dropped, while so many others wait there.
//!
//! Knows: the face of channels. Does not know: other families.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

use super::SHARED;
use super::load::{pairs, shared};
use crate::cases::alone;
use crate::clock::{Sample, Stopwatch};
use crate::measure::{Case, Clock, OURS, OURS_LOCAL, Target};
use crate::peers::channels::{Answer, Channel, with_channels};
use crate::peers::executors::{Executor, Idle, OnMillstream, OnTokio};

const CAPACITY: usize = 64;

pub(super) fn cases() -> Vec<Case> {
    vec![alone_there(), among(1), among(63)]
}

fn case(waiters: usize) -> Case {
    Case::new(format!("channel/cancel/{waiters}"), Clock::Cpu, Target::None)
        .target(OURS_LOCAL, Target::Nanoseconds(5.0))
        .target(OURS, Target::Best(1.15, SHARED))
}

fn alone_there() -> Case {
    let mut case = case(0);
    with_channels!(local_many many one local_one, C => {
        case = case.channel::<C, u64>(
            Idle::Spins, CAPACITY,
            |pops| run::<OnMillstream, C>(pairs(1, || C::new(CAPACITY)), pops),
            |pops| run::<OnTokio, C>(pairs(1, || C::new(CAPACITY)), pops),
        );
    });
    case
}

fn among(waiters: usize) -> Case {
    let mut case = case(waiters);
    with_channels!(local_many many, C => {
        case = case.channel::<C, u64>(
            Idle::Spins, CAPACITY,
            move |pops| run::<OnMillstream, C>(shared(C::new(CAPACITY), 1, 1 + waiters), pops),
            move |pops| run::<OnTokio, C>(shared(C::new(CAPACITY), 1, 1 + waiters), pops),
        );
    });
    case
}

fn run<E: Executor, C: Channel<u64>>(
    (mut senders, mut receivers): (Vec<C::Sender>, Vec<C::Receiver>),
    pops: u64,
) -> io::Result<Sample> {
    alone()?;
    let mut sender = senders.pop().expect("there is a sender");
    let mut receiver = receivers.pop().expect("there is a receiver");
    E::new(Idle::Spins)?.block_on(async {
        let wait = |mut receiver| E::spawn(async move { C::pop(&mut receiver).await.value() });
        let waiters: Vec<_> = receivers.into_iter().map(wait).collect();
        E::spawn(async {}).await; // tasks start in order: now they wait
        let watch = Stopwatch::start();
        poll_fn(|cx| {
            for _ in 0..pops {
                let pop = pin!(C::pop(&mut receiver));
                assert!(pop.poll(cx).is_pending(), "an empty channel gave a message");
            }
            Poll::Ready(())
        })
        .await;
        let sample = watch.stop(pops);
        // Whoever waits must not have been forgotten meanwhile.
        for number in 0..waiters.len() as u64 {
            C::push(&mut sender, number).await.value();
        }
        for waiter in waiters {
            waiter.await.ok_or_else(|| io::Error::other("a waiter was not served"))?;
        }
        Ok(sample)
    })
}
