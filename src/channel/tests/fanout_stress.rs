//! Many threads around a broadcast or a watched value, async and blocking ends mixed, futures dropped and cancelled at
//! random, receivers that come and go.

use core::pin::pin;
use std::sync::Mutex;
use std::thread;

use futures::executor::block_on;
use futures::stream::StreamExt;

use super::stress::with_patience;
use super::support::{Census, Rng, Token, seed};
use crate::channel::broadcast::{Lagged, Overflow, PopError, Receiver, Sender, TryPopError};
use crate::channel::{broadcast, watch};
use crate::operation::Operation;

const PRODUCERS: u64 = 2;
const PER_PRODUCER: u64 = if cfg!(miri) { 20 } else { 3000 };

struct Value(Token);

impl Clone for Value {
    fn clone(&self) -> Self {
        Self(self.0.census().token(self.0.id))
    }
}

/// What a producer knows of each of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Pushed,
    Back,
    Nothing,
}

fn produce(tx: &Sender<Value>, census: &Census, producer: u64, rng: &mut Rng) -> Vec<Told> {
    let told = |pushed: bool| if pushed { Told::Pushed } else { Told::Back };
    (0..PER_PRODUCER)
        .map(|n| {
            let value = Value(census.token(producer * PER_PRODUCER + n));
            match rng.below(8) {
                0 => told(tx.try_push(value).is_ok()),
                1 | 2 => told(tx.push_blocking(value).is_ok()),
                way => {
                    let mut push = Box::pin(tx.push(value));
                    if way % 2 == 0 {
                        push.as_mut().commit_on_poll();
                    }
                    let patience = rng.below(4);
                    match block_on(with_patience(push.as_mut(), patience)) {
                        Some(result) => told(result.is_ok()),
                        None if way == 3 => Told::Nothing, // dropped: pulled meanwhile or not
                        None if way == 4 => Told::Back,    // dropped, but an arm is never pulled
                        None if way == 5 => told(push.as_mut().cancel().is_ok()),
                        None => {
                            push.as_mut().request_cancel();
                            told(block_on(push).is_ok())
                        }
                    }
                }
            }
        })
        .collect()
}

/// Pops to the end. Returns the values, and how many were missed.
fn consume(mut rx: Receiver<Value>, rng: &mut Rng) -> (Vec<u64>, u64) {
    let (mut got, mut missed) = (Vec::new(), 0);
    loop {
        let popped = match rng.below(6) {
            0 => rx.try_pop().map_err(|error| match error {
                TryPopError::Empty => PopError::Cancelled,
                TryPopError::Closed => PopError::Closed,
                TryPopError::Lagged(missed) => PopError::Lagged(missed),
            }),
            1 => rx.pop_blocking(),
            2 => match block_on(with_patience(pin!(rx.next()), 1)) {
                None => Err(PopError::Cancelled), // it keeps its place, and may be told there
                Some(None) => Err(PopError::Closed),
                Some(Some(item)) => item.map_err(|Lagged(missed)| PopError::Lagged(missed)),
            },
            3 => {
                let mut pop = pin!(rx.pop());
                let popped = block_on(with_patience(pop.as_mut(), 1));
                popped.unwrap_or_else(|| {
                    pop.as_mut().request_cancel();
                    block_on(pop)
                })
            }
            4 => {
                rx = rx.clone();
                continue;
            }
            _ => {
                let patience = rng.below(4);
                block_on(with_patience(pin!(rx.pop()), patience)).unwrap_or(Err(PopError::Cancelled))
            }
        };
        match popped {
            Ok(value) => got.push(value.0.id),
            Err(PopError::Lagged(more)) => missed += more,
            Err(PopError::Cancelled) => {}
            Err(PopError::Closed) => return (got, missed),
        }
    }
}

fn run(capacity: usize, overflow: Overflow, seed: u64) {
    let census = Census::default();
    let (tx, rx) = broadcast(capacity, overflow);
    let (told, arrived) = (Mutex::new(vec![Vec::new(); PRODUCERS as usize]), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let (tx, census, told) = (tx.clone(), census.clone(), &told);
            scope.spawn(move || {
                let told_here = produce(&tx, &census, producer, &mut Rng::new(seed + producer));
                told.lock().unwrap()[producer as usize] = told_here;
            });
        }
        for consumer in 0..2 {
            let (rx, arrived) = (rx.clone(), &arrived);
            scope.spawn(move || {
                let all = consume(rx, &mut Rng::new(!seed - consumer));
                arrived.lock().unwrap().push(all);
            });
        }
        // Receivers that come, hold everybody up, and go.
        scope.spawn(move || {
            let mut rng = Rng::new(seed ^ 0xabc);
            let mut visitor = rx.resubscribe();
            drop(rx);
            while !visitor.is_closed() {
                if rng.chance(4) {
                    visitor = if rng.chance(2) { visitor.resubscribe() } else { visitor.clone() };
                }
                let _ = block_on(with_patience(pin!(visitor.pop()), rng.below(4)));
            }
        });
        drop(tx);
    });
    assert_eq!(census.alive(), 0, "values leaked, MILLSTREAM_SEED={seed}");
    let told: Vec<_> = told.into_inner().unwrap().into_iter().flatten().collect();
    let arrived = arrived.into_inner().unwrap();
    let counts: Vec<u64> = arrived.iter().map(|(got, missed)| got.len() as u64 + missed).collect();
    assert_eq!(counts[0], counts[1], "they count differently, MILLSTREAM_SEED={seed}");
    let sure = told.iter().filter(|told| **told == Told::Pushed).count() as u64;
    let doubtful = told.iter().filter(|told| **told == Told::Nothing).count() as u64;
    assert!((sure..=sure + doubtful).contains(&counts[0]), "{counts:?} of {sure}, MILLSTREAM_SEED={seed}");
    for (got, missed) in &arrived {
        assert!(overflow == Overflow::Lag || *missed == 0);
        let mut last = [None; PRODUCERS as usize];
        for id in got {
            let last = &mut last[(id / PER_PRODUCER) as usize];
            assert!(*last < Some(*id), "out of order or twice, MILLSTREAM_SEED={seed}");
            *last = Some(*id);
            assert_ne!(told[*id as usize], Told::Back, "{id} was given back, MILLSTREAM_SEED={seed}");
        }
    }
    if overflow == Overflow::Wait {
        assert_eq!(arrived[0].0, arrived[1].0, "another order, MILLSTREAM_SEED={seed}");
    }
}

#[test]
fn every_receiver_accounts_for_every_value() {
    for (n, capacity) in [1, 2, 3, 64].into_iter().enumerate() {
        for overflow in [Overflow::Lag, Overflow::Wait] {
            run(capacity, overflow, seed() + 100 * n as u64);
        }
    }
}

/// Senders count up, each its own number; receivers never see one go down, and all see the last state.
#[test]
fn watchers_see_no_number_go_down_and_the_last_one() {
    let seed = seed();
    let census = Census::default();
    #[derive(Clone)]
    struct State(#[allow(dead_code, reason = "counted by its drop")] Value, [u64; PRODUCERS as usize]);
    let (tx, rx) = watch(State(Value(census.token(0)), [0; PRODUCERS as usize]));
    thread::scope(|scope| {
        for producer in 0..PRODUCERS as usize {
            let (tx, census) = (tx.clone(), census.clone());
            scope.spawn(move || {
                for n in 1..=PER_PRODUCER {
                    let next = |state: &State| {
                        let mut numbers = state.1;
                        numbers[producer] = n;
                        State(Value(census.token(n)), numbers)
                    };
                    assert!(tx.update(next).is_ok());
                }
            });
        }
        for consumer in 0..3 {
            let mut rx = rx.clone();
            scope.spawn(move || {
                let mut rng = Rng::new(seed + consumer);
                let mut last = [0; PRODUCERS as usize];
                loop {
                    let state = match rng.below(5) {
                        0 => rx.try_pop().ok(),
                        1 => Some(rx.get()),
                        2 => block_on(with_patience(pin!(rx.next()), 1)).flatten(),
                        3 => {
                            let mut pop = Box::pin(rx.pop());
                            let popped = block_on(with_patience(pop.as_mut(), rng.below(4)));
                            popped.and_then(Result::ok)
                        }
                        _ => match rx.pop_blocking() {
                            Ok(state) => Some(state),
                            Err(_) => break,
                        },
                    };
                    if let Some(State(_, numbers)) = state {
                        assert!(
                            last.iter().zip(numbers).all(|(last, now)| *last <= now),
                            "MILLSTREAM_SEED={seed}"
                        );
                        last = numbers;
                    }
                    if rng.chance(8) {
                        rx = rx.clone();
                    }
                }
                assert_eq!(last, [PER_PRODUCER; PRODUCERS as usize], "MILLSTREAM_SEED={seed}");
            });
        }
        drop((tx, rx));
    });
    assert_eq!(census.alive(), 0, "values leaked, MILLSTREAM_SEED={seed}");
}
