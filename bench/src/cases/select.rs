//! `select/{arms}/{local,shared}` and `select/8/threads/{capacity}`: what a message costs that is waited for on several
//! channels at once, in nanoseconds.
//!
//! Knows: millstream, the selects of others over their own channels. Does not know: other families.
//!
//! In the first two, one of the channels has a message, another one each time, on one thread: a push and a turn of the
//! select. In the last, a task per channel pushes on a thread of its own, and the select waits. `Select` is ours that
//! keeps its arms, `@tokio` runs on tokio's executor instead of ours.

use std::future::Future;
use std::io;

use futures::{SinkExt, StreamExt};
use millstream::channel::{self, Sharing, Threads};
use millstream::combinators::Select;
use tokio::sync::mpsc;

use super::channel::paced;
use super::{Shuffle, alone, two_threads};
use crate::clock::{Sample, Stopwatch};
use crate::measure::{Case, Clock, Kind, OURS, OURS_LOCAL, Target};
use crate::peers::executors::{Executor, Idle, OnMillstream, OnTokio};

const SET: &str = "millstream Select";
const SET_LOCAL: &str = "millstream-local Select";

/// What is held against what: our `select!` against tokio's.
const TOKIO: &[Kind] = &[Kind::One];
const CAPACITY: usize = 64;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    two::cases(&mut cases, 0.25);
    eight::cases(&mut cases, 0.25);
    sixty_four::cases(&mut cases, 0.1);
    cases.extend([1, 64].map(eight::threads));
    cases
}

/// A push to one of `arms` channels and a turn, so many times.
fn one_ready<E: Executor>(
    arms: usize,
    messages: u64,
    mut push: impl AsyncFnMut(usize, u64),
    mut turn: impl AsyncFnMut() -> u64,
) -> io::Result<Sample> {
    alone()?;
    E::new(Idle::Spins)?.block_on(async {
        let mut shuffle = Shuffle(7);
        let watch = Stopwatch::start();
        let mut sum = 0;
        for message in 0..messages {
            push(shuffle.below(arms as u64) as usize, message).await;
            sum += turn().await;
        }
        check(sum, messages)?;
        Ok(watch.stop(messages))
    })
}

/// Every message came once.
fn check(sum: u64, messages: u64) -> io::Result<()> {
    let all = messages * messages.saturating_sub(1) / 2;
    if sum == all { Ok(()) } else { Err(io::Error::other("a message was lost or doubled")) }
}

/// A producer for each end, on a thread of its own; `consume` takes so many messages on this one.
fn from_threads<E: Executor, P: Future<Output = ()> + 'static, C: Future<Output = u64>>(
    messages: u64,
    producers: impl FnOnce() -> Vec<P> + Send,
    consume: impl FnOnce() -> C + Send,
) -> io::Result<Sample> {
    let (_, sample) = two_threads(
        |ready| {
            E::new(Idle::Spins)?.block_on(async {
                ready.wait();
                let tasks: Vec<_> = producers().into_iter().map(E::spawn).collect();
                for task in tasks {
                    task.await;
                }
            });
            Ok(())
        },
        |ready| {
            E::new(Idle::Spins)?.block_on(async {
                ready.wait();
                let watch = Stopwatch::start();
                let sum = consume().await;
                check(sum, messages)?;
                Ok(watch.stop(messages))
            })
        },
    )?;
    Ok(sample)
}

/// The numbers of producer `at` of so many.
fn numbers(at: usize, arms: usize, messages: u64) -> impl Iterator<Item = u64> {
    (at as u64..messages).step_by(arms)
}

fn ours<S: Sharing>(arms: usize, capacity: usize, make: Make<S>) -> Ends<S> {
    (0..arms).map(|_| make(capacity)).unzip()
}

type Make<S> = fn(usize) -> (channel::Sender<u64, S>, channel::Receiver<u64, S>);
type Ends<S> = (Vec<channel::Sender<u64, S>>, Vec<channel::Receiver<u64, S>>);

/// One module per number of arms: a macro's arms are written, not counted.
macro_rules! arms {
    ($module:ident = $count:literal: $($rx:ident)*) => {
        mod $module {
            use super::*;

            const ARMS: usize = $count;

            async fn our_turn<S: Sharing>(receivers: &[channel::Receiver<u64, S>]) -> u64 {
                let [$($rx),*] = receivers else { unreachable!("as many as were made") };
                millstream::select! { $(value = $rx.pop() => value.expect("open"),)* }
            }

            async fn tokios_turn(receivers: &mut [mpsc::Receiver<u64>]) -> u64 {
                let [$($rx),*] = receivers else { unreachable!("as many as were made") };
                tokio::select! { $(value = $rx.recv() => value.expect("open"),)* }
            }

            async fn futures_turn(receivers: &mut [futures::channel::mpsc::Receiver<u64>]) -> u64 {
                let [$($rx),*] = receivers else { unreachable!("as many as were made") };
                futures::select! { $(value = $rx.next() => value.expect("open"),)* }
            }

            fn ours_alone<S: Sharing>(make: Make<S>, messages: u64) -> io::Result<Sample> {
                let (senders, receivers) = ours(ARMS, CAPACITY, make);
                one_ready::<OnMillstream>(
                    ARMS,
                    messages,
                    async |at, message| senders[at].push(message).await.expect("open"),
                    async || our_turn(&receivers).await,
                )
            }

            fn set_alone<S: Sharing>(make: Make<S>, messages: u64) -> io::Result<Sample> {
                let (senders, receivers) = ours(ARMS, CAPACITY, make);
                let mut select = Select::new();
                for receiver in &receivers {
                    select.add(|| receiver.pop());
                }
                one_ready::<OnMillstream>(
                    ARMS,
                    messages,
                    async |at, message| senders[at].push(message).await.expect("open"),
                    async || select.next().await.expect("open").1,
                )
            }

            fn tokio_alone<E: Executor>(messages: u64) -> io::Result<Sample> {
                let (senders, mut receivers): (Vec<_>, Vec<_>) =
                    (0..ARMS).map(|_| mpsc::channel(CAPACITY)).unzip();
                one_ready::<E>(
                    ARMS,
                    messages,
                    async |at, message| senders[at].send(message).await.expect("open"),
                    async || tokios_turn(&mut receivers).await,
                )
            }

            fn futures_alone<E: Executor>(messages: u64) -> io::Result<Sample> {
                let (mut senders, mut receivers): (Vec<_>, Vec<_>) =
                    (0..ARMS).map(|_| futures::channel::mpsc::channel(CAPACITY)).unzip();
                one_ready::<E>(
                    ARMS,
                    messages,
                    async |at, message| senders[at].send(message).await.expect("open"),
                    async || futures_turn(&mut receivers).await,
                )
            }

            /// Reused, as it is fastest; it blocks its thread where the others wait, and here never has to.
            fn crossbeam_alone(messages: u64) -> io::Result<Sample> {
                let (senders, receivers): (Vec<_>, Vec<_>) =
                    (0..ARMS).map(|_| crossbeam_channel::bounded(CAPACITY)).unzip();
                let mut select = crossbeam_channel::Select::new();
                for receiver in &receivers {
                    select.recv(receiver);
                }
                one_ready::<OnMillstream>(
                    ARMS,
                    messages,
                    async |at, message| senders[at].send(message).expect("open"),
                    async || {
                        let ready = select.select();
                        let at = ready.index();
                        ready.recv(&receivers[at]).expect("open")
                    },
                )
            }

            fn peers(case: Case) -> Case {
                case.with_kind("tokio", Kind::One, |plan| paced(plan, tokio_alone::<OnMillstream>))
                    .with_kind("tokio@tokio", Kind::One, |plan| paced(plan, tokio_alone::<OnTokio>))
                    .with_kind("futures", Kind::Apart, |plan| paced(plan, futures_alone::<OnMillstream>))
                    .with_kind("futures@tokio", Kind::Apart, |plan| paced(plan, futures_alone::<OnTokio>))
                    .with_kind("crossbeam-channel", Kind::Apart, |plan| paced(plan, crossbeam_alone))
            }

            pub(super) fn cases(cases: &mut Vec<Case>, most: f64) {
                let local = Case::new(format!("select/{ARMS}/local"), Clock::Cpu, Target::None)
                    .target(OURS_LOCAL, Target::Best(most, TOKIO))
                    .with_kind(OURS_LOCAL, Kind::Ours, |plan| {
                        paced(plan, |messages| ours_alone(channel::local, messages))
                    })
                    .with_kind(SET_LOCAL, Kind::Ours, |plan| {
                        paced(plan, |messages| set_alone(channel::local, messages))
                    });
                let shared = Case::new(format!("select/{ARMS}/shared"), Clock::Cpu, Target::Best(most, TOKIO))
                    .with_kind(OURS, Kind::Ours, |plan| {
                        paced(plan, |messages| ours_alone(channel::bounded, messages))
                    })
                    .with_kind(SET, Kind::Ours, |plan| {
                        paced(plan, |messages| set_alone(channel::bounded, messages))
                    });
                cases.extend([peers(local), peers(shared)]);
            }

            #[allow(dead_code, reason = "one number of arms is enough across threads")]
            pub(super) fn threads(capacity: usize) -> Case {
                Case::new(format!("select/{ARMS}/threads/{capacity}"), Clock::Wall, Target::Best(0.6, TOKIO))
                    .with_kind(OURS, Kind::Ours, move |plan| {
                        paced(plan, |messages| ours_from_threads(capacity, false, messages))
                    })
                    .with_kind(SET, Kind::Ours, move |plan| {
                        paced(plan, |messages| ours_from_threads(capacity, true, messages))
                    })
                    .with_kind("tokio", Kind::One, move |plan| {
                        paced(plan, |messages| tokio_from_threads::<OnMillstream>(capacity, messages))
                    })
                    .with_kind("tokio@tokio", Kind::One, move |plan| {
                        paced(plan, |messages| tokio_from_threads::<OnTokio>(capacity, messages))
                    })
            }

            fn ours_from_threads(capacity: usize, set: bool, messages: u64) -> io::Result<Sample> {
                let (senders, receivers) = ours::<Threads>(ARMS, capacity, channel::bounded);
                from_threads::<OnMillstream, _, _>(
                    messages,
                    || {
                        let produce = |(at, sender): (usize, channel::Sender<u64>)| async move {
                            for message in numbers(at, ARMS, messages) {
                                sender.push(message).await.expect("open");
                            }
                        };
                        senders.into_iter().enumerate().map(produce).collect()
                    },
                    || async {
                        let receivers = receivers;
                        let mut sum = 0;
                        if set {
                            let mut select = Select::new();
                            for receiver in &receivers {
                                select.add(|| receiver.pop());
                            }
                            while let Some((_, message)) = select.next().await {
                                sum += message;
                            }
                        } else {
                            for _ in 0..messages {
                                let [$($rx),*] = &receivers[..] else { unreachable!("as many as were made") };
                                sum += millstream::select! {
                                    $(Ok(message) = $rx.pop() => message,)*
                                    complete => break,
                                };
                            }
                        }
                        sum
                    },
                )
            }

            fn tokio_from_threads<E: Executor>(capacity: usize, messages: u64) -> io::Result<Sample> {
                let (senders, receivers): (Vec<_>, Vec<_>) =
                    (0..ARMS).map(|_| mpsc::channel(capacity)).unzip();
                from_threads::<E, _, _>(
                    messages,
                    || {
                        let produce = |(at, sender): (usize, mpsc::Sender<u64>)| async move {
                            for message in numbers(at, ARMS, messages) {
                                sender.send(message).await.expect("open");
                            }
                        };
                        senders.into_iter().enumerate().map(produce).collect()
                    },
                    || async {
                        let mut receivers = receivers;
                        let mut sum = 0;
                        for _ in 0..messages {
                            let [$($rx),*] = &mut receivers[..] else { unreachable!("as many as were made") };
                            sum += tokio::select! {
                                $(Some(message) = $rx.recv() => message,)*
                                else => break,
                            };
                        }
                        sum
                    },
                )
            }
        }
    };
}

arms!(two = 2: a0 a1);
arms!(eight = 8: a0 a1 a2 a3 a4 a5 a6 a7);
arms!(sixty_four = 64:
    a0 a1 a2 a3 a4 a5 a6 a7 b0 b1 b2 b3 b4 b5 b6 b7 c0 c1 c2 c3 c4 c5 c6 c7 d0 d1 d2 d3 d4 d5 d6 d7
    e0 e1 e2 e3 e4 e5 e6 e7 f0 f1 f2 f3 f4 f5 f6 f7 g0 g1 g2 g3 g4 g5 g6 g7 h0 h1 h2 h3 h4 h5 h6 h7
);
