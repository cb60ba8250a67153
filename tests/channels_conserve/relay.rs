//! `spsc` across threads: unique ends, which wander from executor to executor while they are used.
//!
//! Knows: the workers, the ends of this flavor. Does not know: what the workers do with them.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::thread;

use futures::StreamExt;
use futures::channel::oneshot;
use futures::executor::block_on;
use futures::stream::FusedStream;
use millstream::channel::{self, spsc};

use crate::consume::{self, consume, consume_blocking};
use crate::crew::On;
use crate::ends::{Popping, Pushing};
use crate::ledger::Message;
use crate::produce::{self, produce, produce_blocking, with_patience};
use crate::support::Rng;
use crate::support_stalls::Stalls;
use crate::{Job, Plan, capacity, staff};

/// One part of what an end goes through: who works with it next, and from whom to whom it goes.
struct Leg<E> {
    on: On,
    doomed: Option<u64>,
    from: oneshot::Receiver<Vec<E>>,
    to: Option<oneshot::Sender<Vec<E>>>,
}

/// As many legs as there are executors in `course`; the first gets `ends`. Each but the last has its successor.
fn legs<E>(ends: Vec<E>, course: Vec<(On, Option<u64>)>) -> Vec<Leg<E>> {
    let (start, mut from) = oneshot::channel();
    let legs = course.len();
    let leg = |(n, (on, doomed))| {
        let (to, next) = oneshot::channel();
        let to = (n + 1 < legs).then_some(to);
        Leg { on, doomed, from: std::mem::replace(&mut from, next), to }
    };
    let legs = course.into_iter().enumerate().map(leg).collect();
    assert!(start.send(ends).is_ok(), "the first leg is there");
    legs
}

type Work<E> = Pin<Box<dyn Future<Output = Vec<E>>>>;

impl<E: Send + 'static> Leg<E> {
    /// Works with the ends once they are here, unless they were lost on the way.
    fn job(self, work: impl FnOnce(Vec<E>) -> Work<E> + Send + 'static) -> Job {
        let Self { on, doomed, from, to } = self;
        let all = move || async move {
            let ends = if on == On::Thread { block_on(from) } else { from.await }.unwrap_or_default();
            let ends = if ends.is_empty() { ends } else { work(ends).await };
            if let Some(to) = to {
                drop(to.send(ends)); // who was aborted takes them along
            }
        };
        Job { on, doomed, make: Box::new(move || Box::pin(all())) }
    }
}

fn producer<P: Pushing + Send + 'static>(leg: Leg<P>, shift: produce::Shift) -> Job {
    let on = leg.on;
    leg.job(move |ends| match on {
        On::Thread => Box::pin(async { produce_blocking(ends, shift) }),
        _ => Box::pin(produce(ends, shift)),
    })
}

fn consumer<R: Popping + Send + 'static>(leg: Leg<R>, shift: consume::Shift) -> Job {
    let on = leg.on;
    leg.job(move |ends| match on {
        On::Thread => Box::pin(async { consume_blocking(ends, shift) }),
        _ => Box::pin(async {
            let ledger = shift.ledger.clone();
            let mut ends = consume(ends, shift).await;
            for end in &mut ends {
                // As a stream it is left waiting here while it is used elsewhere.
                if let Some(Some(message)) = with_patience(pin!(end.next()), 0).await {
                    ledger.arrived(&message);
                }
            }
            ends
        }),
    })
}

/// One channel or two, the ends of both with one worker or with one each, each worker's work in one leg to three.
pub(crate) fn from_hand_to_hand(seed: u64, stalls: &Stalls) -> u64 {
    let mut dice = Rng::new(!seed);
    let channels = 1 + dice.below(2) as usize;
    let (producers, consumers) = (1 + dice.below(channels as u64), 1 + dice.below(channels as u64));
    let quota = 1500;
    let mut plan = Plan::new(seed, stalls, producers as usize, consumers as usize, quota);
    let made = (0..channels).map(|_| channel::spsc::<Message>(capacity(&mut dice)));
    let (txs, rxs): (Vec<_>, Vec<_>) = made.unzip();
    let mut course = |plan: &mut Plan| -> Vec<_> {
        // Any of them may be aborted: `doom(0)` would spare it.
        (0..1 + dice.below(3)).map(|_| (On::any(&mut dice), plan.doom(1))).collect()
    };
    let (mut jobs, mut lost) = (Vec::new(), plan.consumers_quit);
    for (n, ends) in split(txs, producers as usize).into_iter().enumerate() {
        let legs = legs(ends, course(&mut plan));
        let each = quota / legs.len();
        for (leg, part) in legs.into_iter().zip(0..) {
            let mut shift = plan.producer(n, leg.on);
            let first = n * quota + part * each;
            shift.ids = first..first + each;
            jobs.push(producer(leg, shift));
        }
    }
    for (n, ends) in split(rxs, consumers as usize).into_iter().enumerate() {
        for leg in legs(ends, course(&mut plan)) {
            let mut shift = plan.consumer(n, leg.on);
            if leg.to.is_some() {
                shift.quits_after = Some(1 + plan.rng.below(quota as u64 / 2) as usize);
            }
            lost |= leg.doomed.is_some();
            jobs.push(consumer(leg, shift));
        }
    }
    staff(stalls, &mut dice, jobs);
    plan.ledger.judge(lost);
    plan.ledger.count() as u64
}

/// All in one part, or one in each.
fn split<E>(ends: Vec<E>, parts: usize) -> Vec<Vec<E>> {
    if parts == 1 { vec![ends] } else { ends.into_iter().map(|end| vec![end]).collect() }
}

// ---- closed in the middle of a push ----

/// Which message, and a share in what counts them all.
type Counted = (usize, Arc<()>);

/// Pushes until it is told that the channel is closed, in batches large enough for that to happen within one. How many
/// messages it was told are in the channel.
fn push_until_closed(mut tx: spsc::Producer<Counted>, alive: &Arc<()>, rng: &mut Rng) -> usize {
    let mut pushed = 0;
    loop {
        let size = 1 + rng.below(600) as usize;
        let mut batch: VecDeque<_> = (pushed..pushed + size).map(|id| (id, alive.clone())).collect();
        let result = if rng.one_in(4) {
            tx.push_many_blocking(&mut batch).map_err(|error| error.is_closed())
        } else {
            tx.try_push_many(&mut batch).map(drop).map_err(|error| error.is_closed())
        };
        pushed += size - batch.len();
        assert!(batch.iter().map(|(id, _)| *id).eq(pushed..pushed + batch.len()), "what is left of a batch");
        match result {
            Err(true) => return pushed,
            Err(false) => thread::yield_now(), // it is full
            Ok(()) => {}
        }
    }
}

/// Pops a while, closes the channel or goes away, and says what it got, and whether that was all.
fn pop_and_close(mut rx: spsc::Consumer<Counted>, rng: &mut Rng) -> (usize, bool) {
    let (mut got, enough) = (Vec::new(), rng.below(600) as usize);
    while got.len() < enough {
        let _ = rx.try_pop_many(&mut got, 1 + rng.below(600) as usize); // the producer never closes it
    }
    let stays = rng.one_in(2);
    if stays {
        assert!(rx.close(), "nobody else closes it");
        got.extend(rx.try_iter());
        assert!(rx.is_terminated(), "closed and drained");
    }
    assert!(got.iter().map(|(id, _)| *id).eq(0..got.len()), "in order, without a gap");
    (got.len(), stays)
}

/// Many channels, each closed by its consumer while the producer pushes.
pub(crate) fn closed_meanwhile(seed: u64, stalls: &Stalls) -> u64 {
    let mut dice = Rng::new(seed);
    let alive = Arc::new(());
    let channels = (0..300).map(|_| channel::spsc([1, 64, 1024][dice.below(3) as usize]));
    let (txs, rxs): (Vec<_>, Vec<_>) = channels.unzip();
    let (mut theirs, mut ours) = (Rng::new(!seed), Rng::new(seed.rotate_left(32)));
    let (pushed, popped): (Vec<_>, Vec<_>) = thread::scope(|scope| {
        let alive = &alive;
        let producer = scope.spawn(move || {
            stalls.guard(|| {
                let push = |tx| push_until_closed(tx, alive, &mut theirs);
                txs.into_iter().map(push).inspect(|_| stalls.progress()).collect()
            })
        });
        let popped = stalls.guard(|| rxs.into_iter().map(|rx| pop_and_close(rx, &mut ours)).collect());
        (producer.join().expect("guarded"), popped)
    });
    for (n, (pushed, (popped, is_all))) in pushed.iter().zip(&popped).enumerate() {
        let right = if *is_all { popped == pushed } else { popped <= pushed };
        assert!(right, "channel {n}: the producer was told {pushed} messages are in, {popped} came out");
    }
    assert_eq!(Arc::strong_count(&alive), 1, "messages that nobody has are still there");
    popped.iter().map(|(popped, _)| *popped as u64).sum()
}
