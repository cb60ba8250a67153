//! Random polls, drops, waker changes, cancels and closes on one thread, judged by a model of what may happen.
//!
//! The model does not repeat the protocol. It knows when a push may have taken effect (at once, at its own poll, or at
//! any time while it was parked), and demands that values leave in an order some such choice explains, each once, none
//! lost, none that was given back; that nobody is ready without having been woken; and the engine's audit at each step.

mod model;
mod more;

use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_core::Stream;

use model::{Entry, Fate, Model};
use more::More;

use super::support::{Bell, Census, Rng, Token, channel, poll_with, seed};
use crate::channel::waiter::State;
use crate::channel::{
    Local, Pop, PopError, Push, PushError, Receiver, Sender, Sharing, Threads, TryPopError, TryPushError,
};
use crate::operation::Operation;

struct PushTask<'a, S: Sharing> {
    id: u64,
    arm: bool,
    started: bool,
    future: Pin<Box<Push<'a, Token, S>>>,
    bell: Arc<Bell>,
    woken: bool,
}

struct PopTask<'a, S: Sharing> {
    future: Pin<Box<Pop<'a, Token, S>>>,
    bell: Arc<Bell>,
    woken: bool,
    parked_at: Option<u64>,
}

struct World<'a, S: Sharing> {
    rng: Rng,
    census: Census,
    model: Model,
    tx: &'a Sender<Token, S>,
    rx: &'a Receiver<Token, S>,
    stream: Option<(Receiver<Token, S>, Arc<Bell>)>,
    pushes: Vec<PushTask<'a, S>>,
    pops: Vec<PopTask<'a, S>>,
    next_id: u64,
    more: More<'a, S>,
    arms: bool,
    closed: bool,
    /// In this step a pop gave up, perhaps a value, perhaps the room it had brought.
    a_pop_left: bool,
}

impl<S: Sharing> World<'_, S> {
    fn token(&mut self) -> Token {
        self.next_id += 1;
        self.census.token(self.next_id)
    }

    fn step(&mut self) {
        self.model.now += 1;
        self.a_pop_left = false;
        let overdrawn = self.overdrawn();
        match self.rng.below(32) {
            0..=3 => self.new_push(),
            4..=6 => self.new_pop(),
            7..=9 => self.poll_push(),
            10..=12 => self.poll_pop(),
            13 => self.try_push(),
            14 => self.try_pop(),
            15 => self.give_up_push(),
            16 | 17 => self.give_up_pop(),
            18 => self.poll_stream(),
            20.. => self.step_more(),
            _ => {
                if self.rng.chance(40) {
                    self.tx.close();
                    self.closed = true;
                }
            }
        }
        let excused = self.a_pop_left || self.closed;
        assert!(excused || self.overdrawn() <= overdrawn, "a slot was taken that was not there");
        self.audit();
    }

    fn overdrawn(&self) -> usize {
        self.tx.pointer().look(|engine| engine.overdrawn())
    }

    fn new_push(&mut self) {
        let token = self.token();
        let id = token.id;
        let arm = self.arms && self.rng.chance(3);
        let mut future = Box::pin(self.tx.push(token));
        if arm {
            future.as_mut().commit_on_poll();
        }
        self.model.entries.insert(id, Entry { earliest: u64::MAX, latest: u64::MAX, fate: Fate::Open });
        self.pushes.push(PushTask { id, arm, started: false, future, bell: Bell::new().0, woken: true });
        if !self.rng.chance(4) {
            self.poll_push_at(self.pushes.len() - 1);
        }
    }

    fn poll_push(&mut self) {
        if !self.pushes.is_empty() {
            let at = self.rng.below(self.pushes.len());
            self.poll_push_at(at);
        }
    }

    fn poll_push_at(&mut self, at: usize) {
        let change = self.rng.chance(2);
        let task = &mut self.pushes[at];
        if change {
            task.bell = Bell::new().0;
        }
        task.woken = false;
        task.bell.rings();
        let waker = Waker::from(task.bell.clone());
        match poll_with(task.future.as_mut(), &waker) {
            Poll::Pending => {
                let entry = self.model.entries.get_mut(&task.id).unwrap();
                if !task.started {
                    entry.earliest = self.model.now;
                }
                task.started = true;
            }
            Poll::Ready(result) => {
                let task = self.pushes.swap_remove(at);
                self.push_resolved(task.id, task.arm || !task.started, result);
            }
        }
    }

    fn push_resolved(&mut self, id: u64, by_its_own_poll: bool, result: Result<(), PushError<Token>>) {
        match result {
            Ok(()) if by_its_own_poll => self.model.pushed_now(id),
            Ok(()) => {
                let entry = self.model.entries.get_mut(&id).unwrap();
                if entry.fate == Fate::Open {
                    entry.fate = Fate::Pushed;
                    entry.latest = self.model.now;
                }
            }
            Err(error) => {
                assert!(!error.is_closed() || self.closed);
                self.not_pushed(&error.into_inner());
            }
        }
    }

    fn not_pushed(&mut self, token: &Token) {
        let entry = self.model.entries.get_mut(&token.id).unwrap();
        assert_eq!(entry.fate, Fate::Open, "given back a value that is {:?}", entry.fate);
        entry.fate = Fate::NotPushed;
    }

    fn give_up_push(&mut self) {
        if self.pushes.is_empty() {
            return;
        }
        let at = self.rng.below(self.pushes.len());
        match self.rng.below(4) {
            0 => {
                let mut task = self.pushes.swap_remove(at);
                let result = task.future.as_mut().cancel();
                assert!(result.is_err() || (task.started && !task.arm), "cancel must not push");
                self.push_resolved(task.id, false, result);
            }
            1 => self.pushes[at].future.as_mut().request_cancel(),
            way => {
                let mut task = self.pushes.swap_remove(at);
                if way == 2 {
                    assert!(
                        task.future.as_mut().poll_discard(&mut Context::from_waker(Waker::noop())).is_ready()
                    );
                }
                let entry = self.model.entries.get_mut(&task.id).unwrap();
                if entry.fate == Fate::Open {
                    entry.fate = if task.arm || !task.started { Fate::NotPushed } else { Fate::Doubtful };
                    entry.latest = self.model.now;
                }
            }
        }
    }

    fn try_push(&mut self) {
        let token = self.token();
        let id = token.id;
        match self.tx.try_push(token) {
            Ok(()) => self.model.pushed_now(id),
            Err(TryPushError::Full(token)) => drop(token),
            Err(TryPushError::Closed(token)) => {
                assert!(self.closed);
                drop(token);
            }
        }
    }

    fn new_pop(&mut self) {
        let (bell, _) = Bell::new();
        self.pops.push(PopTask { future: Box::pin(self.rx.pop()), bell, woken: true, parked_at: None });
        if !self.rng.chance(4) {
            self.poll_pop_at(self.pops.len() - 1);
        }
    }

    fn poll_pop(&mut self) {
        if !self.pops.is_empty() {
            let at = self.rng.below(self.pops.len());
            self.poll_pop_at(at);
        }
    }

    fn poll_pop_at(&mut self, at: usize) {
        let change = self.rng.chance(2);
        let task = &mut self.pops[at];
        if change {
            task.bell = Bell::new().0;
        }
        task.woken = false;
        task.bell.rings();
        let waker = Waker::from(task.bell.clone());
        match poll_with(task.future.as_mut(), &waker) {
            Poll::Pending => {
                task.parked_at.get_or_insert(self.model.now);
            }
            Poll::Ready(result) => {
                let task = self.pops.swap_remove(at);
                match result {
                    Ok(token) => {
                        self.model.popped(&token);
                        self.nobody_was_overtaken(task.parked_at);
                    }
                    Err(PopError::Closed) => assert!(self.closed && self.rx.is_empty()),
                    Err(PopError::Cancelled) => {}
                }
            }
        }
    }

    /// Of those who wait to pop, nobody has waited longer than who was served just now.
    fn nobody_was_overtaken(&self, parked_at: Option<u64>) {
        let since = parked_at.unwrap_or(u64::MAX);
        let longer = |at: Option<u64>, state| at.is_some_and(|at| at < since) && state == State::Queued;
        let pops = self.pops.iter().map(|task| (task.parked_at, task.future.state()));
        let batches = self.more.pops.iter().map(|task| (task.parked_at, task.future.state()));
        assert!(
            !pops.chain(batches).any(|(at, state)| longer(at, state)),
            "a pop overtook one that waited longer"
        );
    }

    fn give_up_pop(&mut self) {
        self.a_pop_left = true;
        if self.pops.is_empty() {
            return;
        }
        let at = self.rng.below(self.pops.len());
        match self.rng.below(3) {
            0 => self.pops[at].future.as_mut().request_cancel(),
            1 => drop(self.pops.swap_remove(at)),
            _ => {
                let mut task = self.pops.swap_remove(at);
                assert!(
                    task.future.as_mut().poll_discard(&mut Context::from_waker(Waker::noop())).is_ready()
                );
            }
        }
    }

    fn try_pop(&mut self) {
        self.a_pop_left = true;
        let result = match &mut self.stream {
            Some((rx, _)) if self.rng.chance(2) => rx.try_pop(),
            _ => self.rx.try_pop(),
        };
        match result {
            Ok(token) => self.model.popped(&token),
            Err(TryPopError::Empty) => {}
            Err(TryPopError::Closed) => assert!(self.closed && self.rx.is_empty()),
        }
    }

    fn poll_stream(&mut self) {
        self.a_pop_left = true;
        if self.rng.chance(3) {
            self.stream = None;
            return;
        }
        let (mut rx, bell) = self.stream.take().unwrap_or_else(|| (self.rx.clone(), Bell::new().0));
        let waker = Waker::from(bell.clone());
        if let Poll::Ready(Some(token)) = Pin::new(&mut rx).poll_next(&mut Context::from_waker(&waker)) {
            self.model.popped(&token);
        }
        self.stream = Some((rx, bell));
    }

    fn audit(&mut self) {
        self.audit_more();
        for task in &mut self.pushes {
            task.woken |= task.bell.rings() > 0;
            assert!(task.woken || task.future.state() == State::Queued, "a push is ready and was not woken");
        }
        for task in &mut self.pops {
            task.woken |= task.bell.rings() > 0;
            assert!(task.woken || task.future.state() == State::Queued, "a pop is ready and was not woken");
        }
        let in_pushes = self.pushes.iter().filter(|task| task.future.has_value()).count();
        let in_batches: usize = self.more.pushes.iter().map(|task| task.future.left()).sum();
        assert_eq!(self.census.alive(), in_pushes + in_batches + self.tx.len(), "a value is lost or doubled");
    }
}

fn case<S: Sharing>(seed: u64) -> usize {
    let mut rng = Rng::new(seed);
    let (tx, rx) = channel::<_, S>([0, 0, 1, 1, 2, 3][rng.below(6)]);
    let census = Census::default();
    let arms = rng.chance(2);
    let mut world = World {
        rng,
        census: census.clone(),
        model: Model::default(),
        tx: &tx,
        rx: &rx,
        stream: None,
        pushes: Vec::new(),
        pops: Vec::new(),
        next_id: 0,
        more: More::new(&tx),
        arms,
        closed: false,
        a_pop_left: false,
    };
    for _ in 0..160 {
        world.step();
    }
    // Everything still owed comes out: give up the pops, drain by hand, and only what is in pushes remains.
    world.stream = None;
    while let Some(task) = world.pops.pop() {
        drop(task);
        world.audit();
    }
    world.give_up_all();
    while let Some(mut task) = world.pushes.pop() {
        let result = task.future.as_mut().cancel();
        world.push_resolved(task.id, false, result);
        world.audit();
    }
    while let Ok(token) = world.rx.try_pop() {
        world.model.popped(&token);
    }
    let lost = world.model.entries.values().filter(|entry| entry.fate == Fate::Pushed).count();
    assert_eq!(lost, 0, "values were pushed and never came out");
    assert_eq!(census.alive(), 0);
    let (assigned, granted, pushers, poppers) = tx.pointer().look(|engine| engine.counts());
    assert_eq!((assigned, granted, pushers, poppers), (0, 0, 0, 0));
    world.model.popped
}

fn explained<S: Sharing>() {
    let cases = if cfg!(miri) { 10 } else { 4000 };
    let mut popped = 0;
    for seed in (seed()..).take(cases) {
        let outcome = catch_unwind(AssertUnwindSafe(|| case::<S>(seed)));
        popped += outcome.unwrap_or_else(|_| panic!("failed with MILLSTREAM_SEED={seed}"));
    }
    assert!(popped > cases * 10, "the histories are too short to mean anything: {popped}");
}

#[test]
fn random_histories_are_explained_by_the_model() {
    explained::<Threads>();
}

#[test]
fn random_local_histories_are_too() {
    explained::<Local>();
}
