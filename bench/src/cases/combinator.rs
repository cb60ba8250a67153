//! `combinator/…`: what a combinator costs beside the same done by hand.
//!
//! Knows: the floor, millstream. Does not know: other crates, which have no such combinators over a ring.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

use millstream::channel::{self, Receiver, Sender};
use millstream::combinators::{OneOf2, link, when_all, when_any};
use millstream::ops::{self, Fd};
use millstream::{Operation, yield_now};

use super::{alone, default_runtime, on_millstream};
use crate::clock::Sample;
use crate::floor;
use crate::measure::{Case, Clock, FLOOR, OURS, Plan, Target};

/// The target of all of these.
const MOST: Target = Target::Ratio(1.1);

pub(super) fn cases() -> Vec<Case> {
    vec![all(), any_by_value(), any_by_reference(), chain()]
}

/// Eight nops at once. The floor's are queued by hand.
fn all() -> Case {
    const ESTIMATE: f64 = 650.0;
    Case::new("combinator/when_all/8", Clock::Cpu, MOST)
        .with(FLOOR, |plan| {
            alone()?;
            floor::ops::together(8, false, plan.units(ESTIMATE))
        })
        .with(OURS, |plan| {
            on_millstream(default_runtime()?, plan.units(ESTIMATE), async |units| {
                for _ in 0..units {
                    for done in when_all([(); 8].map(|()| ops::nop())).await {
                        done?;
                    }
                }
                Ok(())
            })
        })
}

/// Four nops in a chain. The floor's are linked by hand.
fn chain() -> Case {
    const ESTIMATE: f64 = 500.0;
    Case::new("combinator/chain/4", Clock::Cpu, MOST)
        .with(FLOOR, |plan| {
            alone()?;
            floor::ops::together(4, true, plan.units(ESTIMATE))
        })
        .with(OURS, |plan| {
            on_millstream(default_runtime()?, plan.units(ESTIMATE), async |units| {
                for _ in 0..units {
                    for done in link([(); 4].map(|()| ops::nop())).await {
                        done?;
                    }
                }
                Ok(())
            })
        })
}

/// A descriptor on which a read never ends, what keeps it open, and a channel.
struct Idle {
    reader: Fd,
    _writer: io::PipeWriter,
    tx: Sender<u64>,
    rx: Receiver<u64>,
}

impl Idle {
    fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let (tx, rx) = channel::bounded(1);
        Ok(Self { reader: reader.into(), _writer: writer, tx, rx })
    }

    /// Makes the channel ready.
    fn feed(&self, value: u64) -> io::Result<()> {
        self.tx.try_push(value).map_err(|error| io::Error::other(error.to_string()))
    }
}

fn against_hand(
    name: &str,
    estimate: f64,
    by_hand: fn(&Plan, f64) -> io::Result<Sample>,
    ours: fn(&Plan, f64) -> io::Result<Sample>,
) -> Case {
    Case::new(name, Clock::Cpu, MOST)
        .with(FLOOR, move |plan| by_hand(plan, estimate))
        .with(OURS, move |plan| ours(plan, estimate))
}

/// A race that the channel wins, over a read that has been queued by then, and is given up. The floor polls, stops and
/// awaits the same operations by hand.
fn any_by_value() -> Case {
    let by_hand = |plan: &Plan, estimate| {
        let idle = Idle::new()?;
        on_millstream(default_runtime()?, plan.units(estimate), async |units| {
            for value in 0..units {
                idle.feed(value)?;
                let mut read = ops::read(&idle.reader, [0; 64]);
                let popped = {
                    let mut pop = pin!(idle.rx.pop());
                    poll_fn(|cx| match pin!(&mut read).poll(cx) {
                        Poll::Pending => pop.as_mut().poll(cx),
                        Poll::Ready(_) => unreachable!("nobody writes"),
                    })
                    .await
                };
                assert_eq!(popped, Ok(value));
                pin!(&mut read).request_cancel();
                drop(read.await);
            }
            Ok(())
        })
    };
    let ours = |plan: &Plan, estimate| {
        let idle = Idle::new()?;
        on_millstream(default_runtime()?, plan.units(estimate), async |units| {
            for value in 0..units {
                idle.feed(value)?;
                match when_any((ops::read(&idle.reader, [0; 64]), idle.rx.pop())).await {
                    OneOf2::B(popped) => assert_eq!(popped, Ok(value)),
                    OneOf2::A(_) => unreachable!("nobody writes"),
                }
            }
            Ok(())
        })
    };
    against_hand("combinator/when_any/value", 350.0, by_hand, ours)
}

/// The same, and the read stays in flight for the next turn.
fn any_by_reference() -> Case {
    let by_hand = |plan: &Plan, estimate| {
        let idle = Idle::new()?;
        on_millstream(default_runtime()?, plan.units(estimate), async |units| {
            let mut read = pin!(ops::read(&idle.reader, vec![0; 64]));
            for value in 0..units {
                idle.feed(value)?;
                let mut pop = pin!(idle.rx.pop());
                let popped = poll_fn(|cx| match read.as_mut().poll(cx) {
                    Poll::Pending => pop.as_mut().poll(cx),
                    Poll::Ready(_) => unreachable!("nobody writes"),
                });
                assert_eq!(popped.await, Ok(value));
            }
            end(read).await
        })
    };
    let ours = |plan: &Plan, estimate| {
        let idle = Idle::new()?;
        on_millstream(default_runtime()?, plan.units(estimate), async |units| {
            let mut read = pin!(ops::read(&idle.reader, vec![0; 64]));
            for value in 0..units {
                idle.feed(value)?;
                match when_any((read.as_mut(), idle.rx.pop())).await {
                    OneOf2::B(popped) => assert_eq!(popped, Ok(value)),
                    OneOf2::A(_) => unreachable!("nobody writes"),
                }
            }
            end(read).await
        })
    };
    against_hand("combinator/when_any/ref", 25.0, by_hand, ours)
}

/// Stops an operation and waits it out.
async fn end<O: Operation>(mut operation: std::pin::Pin<&mut O>) -> io::Result<()> {
    operation.as_mut().request_cancel();
    operation.await;
    yield_now().await;
    Ok(())
}
