//! `oneshot` and `broadcast` across threads: the one value arrives or is back; every receiver gets every value, in one
//! order for all, or is told how many it missed.
//!
//! Knows: these two flavors. Does not know: the workers of the others.

use std::pin::pin;
use std::sync::Arc;
use std::thread;

use futures::executor::block_on;
use millstream::channel::broadcast::{self, Overflow};
use millstream::channel::{self, PopError, oneshot};

use crate::crew::yields;
use crate::produce::with_patience;
use crate::support::Rng;
use crate::support_stalls::Stalls;

// ---- oneshot ----

/// What the receiver of a oneshot saw in the end.
#[derive(Debug)]
enum Seen {
    Value(u64),
    Closed,
    /// It went away, with a value or without.
    Nothing,
}

async fn answer(tx: oneshot::Sender<u64>, value: u64, rng: &mut Rng) -> Result<(), Option<u64>> {
    let mut tx = tx;
    match rng.below(6) {
        0 => return Err(None), // dropped without a push
        1 => drop(with_patience(pin!(tx.closed()), rng.below(4)).await),
        2 => tokio::select! {
            () = tx.closed() => {}
            () = yields(rng.below(3)) => {}
        },
        3 => yields(rng.below(3)).await,
        _ => {}
    }
    tx.push(value).map_err(|error| Some(error.into_inner()))
}

async fn ask(mut rx: oneshot::Receiver<u64>, rng: &mut Rng) -> Seen {
    for _ in 0..rng.below(4) {
        let patience = rng.below(4);
        let popped = match rng.below(5) {
            0 => with_patience(pin!(rx.pop()), patience).await,
            1 => tokio::select! {
                popped = rx.pop() => Some(popped),
                () = yields(patience) => None,
            },
            2 => tokio::select! {
                popped = &mut rx => Some(popped),
                () = yields(patience) => None,
            },
            3 => match rx.try_pop() {
                Err(error) if error.is_empty() => None,
                other => Some(other.map_err(|_| PopError::Closed)),
            },
            _ => {
                if rng.one_in(8) {
                    rx.close();
                }
                None
            }
        };
        match popped {
            Some(Ok(value)) => return Seen::Value(value),
            Some(Err(_)) => return Seen::Closed,
            None => {}
        }
    }
    if rng.one_in(4) {
        return Seen::Nothing;
    }
    rx.await.map_or(Seen::Closed, Seen::Value)
}

/// A thousand questions, asked on one thread and answered on another.
pub(crate) fn questions(seed: u64, stalls: &Stalls) -> u64 {
    let mut rng = Rng::new(seed);
    let questions = 1000;
    let (txs, rxs): (Vec<_>, Vec<_>) = (0..questions).map(|_| channel::oneshot()).unzip();
    let (mut theirs, with_runtime) = (Rng::new(!seed), rng.one_in(2));
    let answers: Vec<_> = thread::scope(|scope| {
        let answerer = scope.spawn(move || {
            stalls.guard(|| {
                let all = async {
                    let mut told = Vec::new();
                    for (value, tx) in txs.into_iter().enumerate() {
                        stalls.progress();
                        told.push(answer(tx, value as u64, &mut theirs).await);
                    }
                    told
                };
                if with_runtime {
                    millstream::Runtime::new().expect("a runtime").block_on(all)
                } else {
                    block_on(all)
                }
            })
        });
        let seen = stalls.guard(|| {
            block_on(async {
                let mut seen = Vec::new();
                for rx in rxs {
                    seen.push(ask(rx, &mut rng).await);
                }
                seen
            })
        });
        answerer.join().expect("guarded").into_iter().zip(seen).collect()
    });
    let mut arrived = 0;
    for (value, (told, seen)) in answers.into_iter().enumerate() {
        let value = value as u64;
        match (told, seen) {
            (Ok(()), Seen::Value(other)) => {
                assert_eq!(value, other, "another question's answer");
                arrived += 1;
            }
            (Ok(()), Seen::Nothing) | (Err(None), Seen::Closed | Seen::Nothing) => {}
            (Err(Some(back)), Seen::Closed | Seen::Nothing) => {
                assert_eq!(back, value, "another answer came back")
            }
            (told, seen) => panic!("the pusher of {value} was told {told:?}, and seen was {seen:?}"),
        }
    }
    arrived
}

// ---- broadcast ----

/// Which message, and a share in what counts them all.
type Message = (usize, Arc<()>);

/// What became of the messages of a producer.
async fn push_all(
    tx: broadcast::Sender<Message>,
    ids: std::ops::Range<usize>,
    alive: &Arc<()>,
    rng: &mut Rng,
) -> Vec<Option<bool>> {
    let mut told = Vec::new();
    for id in ids {
        let message = (id, alive.clone());
        let patience = rng.below(4);
        told.push(match rng.below(8) {
            0 => Some(tx.try_push(message).is_ok()),
            1 => with_patience(pin!(tx.push(message)), patience).await.map(|result| result.is_ok()),
            2 => {
                let mut push = pin!(tx.push(message));
                match with_patience(push.as_mut(), patience).await {
                    Some(result) => Some(result.is_ok()),
                    None => Some(push.cancel().is_ok()),
                }
            }
            3 => tokio::select! {
                result = tx.push(message) => Some(result.is_ok()),
                () = yields(patience) => None,
            },
            _ => Some(tx.push(message).await.is_ok()),
        });
    }
    told
}

/// What a receiver got, and how many it missed.
async fn pop_all(
    mut rx: broadcast::Receiver<Message>,
    mut quits: Option<usize>,
    rng: &mut Rng,
) -> (Vec<usize>, u64) {
    let (mut got, mut missed) = (Vec::new(), 0);
    while quits != Some(0) {
        let patience = rng.below(4);
        let popped = match rng.below(4) {
            0 => with_patience(pin!(rx.pop()), patience).await,
            1 => tokio::select! {
                popped = rx.pop() => Some(popped),
                () = yields(patience) => None,
            },
            _ => Some(rx.pop().await),
        };
        match popped {
            Some(Ok((id, _))) => {
                got.push(id);
                quits = quits.map(|left| left - 1);
            }
            Some(Err(broadcast::PopError::Lagged(count))) => missed += count,
            Some(Err(_)) => break,
            None => {}
        }
    }
    (got, missed)
}

pub(crate) fn audiences(seed: u64, stalls: &Stalls) -> u64 {
    let mut rng = Rng::new(seed);
    let (producers, consumers, quota) = (1 + rng.below(3) as usize, 1 + rng.below(3) as usize, 500);
    let overflow = if rng.one_in(3) { Overflow::Lag } else { Overflow::Wait };
    let lags = overflow == Overflow::Lag;
    let (tx, first) = channel::broadcast::<Message>(1 + rng.below(40) as usize, overflow);
    let alive = Arc::new(());
    let receivers: Vec<_> = (1..consumers).map(|_| tx.subscribe()).chain([first]).collect();
    let (told, heard): (Vec<_>, Vec<_>) = thread::scope(|scope| {
        let alive = &alive;
        let listeners: Vec<_> = receivers
            .into_iter()
            .enumerate()
            .map(|(n, rx)| {
                let quits = (n > 0 && rng.one_in(3)).then(|| rng.below(quota as u64) as usize);
                let mut rng = Rng::new(rng.next_u64());
                scope.spawn(move || (quits, stalls.guard(|| block_on(pop_all(rx, quits, &mut rng)))))
            })
            .collect();
        let speakers: Vec<_> = (0..producers)
            .map(|n| {
                let (tx, ids, mut rng) = (tx.clone(), n * quota..(n + 1) * quota, Rng::new(rng.next_u64()));
                scope.spawn(move || stalls.guard(|| block_on(push_all(tx, ids, alive, &mut rng))))
            })
            .collect();
        drop(tx);
        let told = speakers.into_iter().flat_map(|speaker| speaker.join().expect("guarded")).collect();
        (told, listeners.into_iter().map(|listener| listener.join().expect("guarded")).collect())
    });
    stalls.progress();
    assert_eq!(Arc::strong_count(&alive), 1, "messages that nobody has are still there");
    let told: Vec<Option<bool>> = told;
    let sure = told.iter().filter(|told| **told == Some(true)).count();
    let possible = told.iter().filter(|told| **told != Some(false)).count();
    // The first listener stays to the end, and with `Wait` has heard everything, in the one order there is.
    let all: &[usize] = &heard.first().expect("at least one").1.0;
    let mut arrived = 0;
    for (quits, (got, missed)) in &heard {
        arrived += got.len() as u64;
        let mut last = vec![None; producers];
        for id in got {
            assert!(told[*id] != Some(false), "message {id} came back, and was heard");
            let before = last[id / quota].replace(*id);
            assert!(before < Some(*id), "message {id} came after {before:?}");
        }
        if lags {
            let count = got.len() + *missed as usize;
            assert!(quits.is_some() || (sure..=possible).contains(&count), "{count} of {sure} to {possible}");
        } else {
            assert_eq!((*missed, &got[..]), (0, &all[..got.len()]), "one order for all");
            assert!(quits.is_some() || got.len() == all.len(), "everything to everybody");
        }
    }
    if !lags {
        let mut heard = vec![false; told.len()];
        all.iter()
            .for_each(|id| assert!(!std::mem::replace(&mut heard[*id], true), "message {id} came twice"));
        let lost = told.iter().zip(&heard).position(|(told, heard)| *told == Some(true) && !heard);
        assert_eq!(lost, None, "a message that was pushed and never heard");
    }
    arrived
}
