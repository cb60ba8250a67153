//! `broadcast`: one log, a position in it for each receiver, and a line of pushes where they wait.
//!
//! Knows: its ends and futures, and what they should do. Does not know: how they do it.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures::Stream;
use futures::stream::FusedStream;
use millstream::Operation;
use millstream::channel::broadcast::{Lagged, Overflow, Pop, PopError, Push, Receiver, Sender, TryPopError};
use millstream::channel::{PushError, TryPushError, broadcast};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};

use crate::channel_model::Refused;
use crate::check;
use crate::parts::{Census, Counted, Held, Lent, Token, Wakes};

#[derive(Clone, Debug)]
enum Step {
    Push {
        end: u8,
        by_poll: bool,
        poll: bool,
    },
    PollPush {
        push: u8,
        new_waker: bool,
    },
    CancelPush {
        push: u8,
    },
    RequestCancelPush {
        push: u8,
    },
    DropPush {
        push: u8,
    },
    TryPush {
        end: u8,
    },
    /// `pop()`: begins, or is polled.
    Pop {
        receiver: u8,
        new_waker: bool,
    },
    RequestCancelPop {
        receiver: u8,
    },
    DropPop {
        receiver: u8,
    },
    /// The receiver as a stream.
    PollNext {
        receiver: u8,
        new_waker: bool,
    },
    TryPop {
        receiver: u8,
    },
    Subscribe,
    Resubscribe {
        receiver: u8,
    },
    CloneReceiver {
        receiver: u8,
    },
    DropReceiver {
        receiver: u8,
    },
    CloneSender,
    DropSender {
        end: u8,
    },
    Close {
        by_receiver: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (n, flag) = (any::<u8>, any::<bool>);
    prop_oneof![
        8 => (n(), flag(), flag()).prop_map(|(end, by_poll, poll)| Step::Push { end, by_poll, poll }),
        8 => (n(), flag()).prop_map(|(push, new_waker)| Step::PollPush { push, new_waker }),
        2 => n().prop_map(|push| Step::CancelPush { push }),
        2 => n().prop_map(|push| Step::RequestCancelPush { push }),
        2 => n().prop_map(|push| Step::DropPush { push }),
        6 => n().prop_map(|end| Step::TryPush { end }),
        12 => (n(), flag()).prop_map(|(receiver, new_waker)| Step::Pop { receiver, new_waker }),
        2 => n().prop_map(|receiver| Step::RequestCancelPop { receiver }),
        2 => n().prop_map(|receiver| Step::DropPop { receiver }),
        5 => (n(), flag()).prop_map(|(receiver, new_waker)| Step::PollNext { receiver, new_waker }),
        8 => n().prop_map(|receiver| Step::TryPop { receiver }),
        2 => n().prop_map(|_| Step::Subscribe),
        1 => n().prop_map(|receiver| Step::Resubscribe { receiver }),
        2 => n().prop_map(|receiver| Step::CloneReceiver { receiver }),
        3 => n().prop_map(|receiver| Step::DropReceiver { receiver }),
        2 => n().prop_map(|_| Step::CloneSender),
        2 => n().prop_map(|end| Step::DropSender { end }),
        1 => flag().prop_map(|by_receiver| Step::Close { by_receiver }),
    ]
}

#[test]
fn broadcast_does_what_the_model_says() {
    let histories = (1..4_usize, any::<bool>(), vec(step(), 1..100));
    check(10_000, &histories, |(capacity, waits, steps)| {
        World::new(capacity, if waits { Overflow::Wait } else { Overflow::Lag }).run(steps);
    });
}

// ---- the model ----

/// As in the model of channels with two lines; a granted slot is never void here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Fresh,
    InLine,
    Granted,
    Pulled,
    Closed,
    Cancelled,
}

struct PushModel {
    stage: Stage,
    by_poll: bool,
}

#[derive(Default)]
struct Model {
    capacity: usize,
    lags: bool,
    /// Everything that was ever pushed to somebody; the channel holds what is from `head` on.
    log: Vec<u64>,
    head: usize,
    /// Where each receiver is.
    positions: BTreeMap<usize, usize>,
    /// Receivers that will be woken by a value, or by the close.
    poppers: Vec<usize>,
    line: VecDeque<usize>,
    pushes: BTreeMap<usize, PushModel>,
    granted: usize,
    closed: bool,
    woken: Vec<usize>,
}

impl Model {
    /// How many values wait for this receiver.
    fn ahead(&self, receiver: usize) -> usize {
        self.log.len() - self.positions[&receiver].max(self.head)
    }

    fn len(&self) -> usize {
        self.log.len() - self.head
    }

    fn has_slot(&self) -> bool {
        self.len() + self.granted < self.capacity
    }

    fn has_room(&self) -> bool {
        self.lags || self.positions.is_empty() || self.has_slot()
    }

    fn is_full(&self) -> bool {
        !self.line.is_empty() || !self.has_room()
    }

    fn enqueue(&mut self, value: u64) {
        if self.positions.is_empty() {
            return; // to nobody
        }
        self.head += usize::from(self.len() == self.capacity);
        self.log.push(value);
    }

    /// What nobody needs leaves, who can go on is told.
    fn settle(&mut self) {
        loop {
            let slowest = self.positions.values().min().copied().unwrap_or(self.log.len());
            self.head = self.head.max(slowest);
            let Some(&first) = self.line.front() else { break };
            let by_poll = self.pushes[&first].by_poll;
            if self.closed || !(if by_poll { self.has_slot() } else { self.has_room() }) {
                break;
            }
            self.line.pop_front();
            self.woken.push(first);
            if by_poll {
                self.granted += 1;
                self.set(first, Stage::Granted);
            } else {
                self.enqueue(first as u64);
                self.set(first, Stage::Pulled);
            }
        }
        if self.closed {
            for push in std::mem::take(&mut self.line) {
                self.set(push, Stage::Closed);
                self.woken.push(push);
            }
        }
        let (positions, tail, closed) = (&self.positions, self.log.len(), self.closed);
        let told = |popper: &usize| closed || positions[popper] < tail;
        self.woken.extend(self.poppers.iter().copied().filter(told));
        self.poppers.retain(|popper| !told(popper));
    }

    fn set(&mut self, push: usize, stage: Stage) {
        self.pushes.get_mut(&push).expect("alive").stage = stage;
    }

    fn try_push(&mut self, value: u64) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if self.is_full() {
            return Err(Refused::NotNow);
        }
        self.enqueue(value);
        self.settle();
        Ok(())
    }

    fn poll_push(&mut self, push: usize) -> Option<Result<(), Refused>> {
        let result = match self.pushes[&push].stage {
            Stage::InLine => return None,
            Stage::Pulled => Ok(()),
            Stage::Closed => Err(Refused::Closed),
            Stage::Cancelled => Err(Refused::Cancelled),
            Stage::Granted => {
                self.granted -= 1;
                if !self.closed {
                    self.enqueue(push as u64);
                }
                if self.closed { Err(Refused::Closed) } else { Ok(()) }
            }
            Stage::Fresh => self.try_push(push as u64),
        };
        if result == Err(Refused::NotNow) {
            self.line.push_back(push);
            self.set(push, Stage::InLine);
            return None;
        }
        self.pushes.remove(&push);
        self.settle();
        Some(result)
    }

    /// The push is asked to stop, or dropped.
    fn leave(&mut self, push: usize) -> Stage {
        let Some(&PushModel { stage, .. }) = self.pushes.get(&push) else { return Stage::Cancelled };
        match stage {
            Stage::InLine => self.line.retain(|other| *other != push),
            Stage::Granted => self.granted -= 1,
            other => return other,
        }
        self.set(push, Stage::Cancelled);
        self.settle();
        stage
    }

    fn take(&mut self, receiver: usize) -> Result<u64, TryPopError> {
        let position = self.positions.get_mut(&receiver).expect("alive");
        if *position < self.head {
            let missed = self.head - *position;
            *position = self.head;
            return Err(TryPopError::Lagged(missed as u64));
        }
        let Some(&value) = self.log.get(*position) else {
            return Err(if self.closed { TryPopError::Closed } else { TryPopError::Empty });
        };
        *position += 1;
        self.settle();
        Ok(value)
    }

    fn close(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.closed, true);
        self.settle();
        first
    }
}

// ---- the world ----

struct PushTask {
    push: Held<Push<'static, Token>>,
    name: usize,
    generation: usize,
}

enum Rx {
    Idle(Receiver<Token>),
    Popping(Lent<Pop<'static, Token>, Receiver<Token>>),
    Gone,
}

struct RxTask {
    rx: Rx,
    /// The pop was asked to stop.
    asked: bool,
    name: usize,
    generation: usize,
}

struct World {
    model: Model,
    overflow: Overflow,
    pushes: Vec<PushTask>,
    receivers: Vec<RxTask>,
    senders: Vec<Rc<Counted<Sender<Token>>>>,
    senders_alive: Rc<Cell<usize>>,
    census: Census,
    wakes: Wakes,
    next: usize,
}

fn pick<T>(among: &[T], number: u8) -> Option<usize> {
    (!among.is_empty()).then(|| usize::from(number) % among.len())
}

fn pushed(result: Result<(), PushError<Token>>) -> Result<(), (Refused, u64)> {
    result.map_err(|error| {
        let why = if error.is_closed() { Refused::Closed } else { Refused::Cancelled };
        (why, error.into_inner().id)
    })
}

/// An empty channel is what a pop waits for; it has no such error.
fn popped(result: Result<Token, PopError>) -> Result<u64, TryPopError> {
    result.map(|token| token.id).map_err(|error| match error {
        PopError::Lagged(missed) => TryPopError::Lagged(missed),
        PopError::Closed => TryPopError::Closed,
        other => panic!("not asked to stop: {other}"),
    })
}

impl World {
    fn new(capacity: usize, overflow: Overflow) -> Self {
        let (tx, rx) = broadcast(capacity, overflow);
        let senders_alive = Rc::default();
        let mut world = Self {
            model: Model { capacity, lags: overflow == Overflow::Lag, ..Model::default() },
            overflow,
            pushes: Vec::new(),
            receivers: Vec::new(),
            senders: vec![Counted::new(tx, &senders_alive)],
            senders_alive,
            census: Census::default(),
            wakes: Wakes::default(),
            next: 0,
        };
        world.add_receiver(rx, 0);
        world
    }

    fn name(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn add_receiver(&mut self, rx: Receiver<Token>, position: usize) {
        let name = self.name();
        self.model.positions.insert(name, position);
        self.receivers.push(RxTask { rx: Rx::Idle(rx), asked: false, name, generation: 0 });
    }

    fn run(mut self, steps: Vec<Step>) {
        for step in steps {
            self.step(step);
            self.audit();
        }
        while !self.pushes.is_empty() {
            self.step(Step::DropPush { push: 0 });
            self.audit();
        }
        while !self.receivers.is_empty() {
            self.step(Step::DropPop { receiver: 0 });
            self.step(Step::DropReceiver { receiver: 0 });
            self.audit();
        }
        self.senders.clear();
        self.audit();
        assert_eq!(self.census.alive(), 0, "values are left when nobody is left to have them");
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push { end, by_poll, poll } => {
                let Some(at) = pick(&self.senders, end) else { return };
                let name = self.name();
                let token = self.census.token(name as u64);
                let mut push = Held::new(&self.senders[at], |sender| sender.end.push(token));
                if by_poll {
                    push.future.as_mut().commit_on_poll();
                }
                self.model.pushes.insert(name, PushModel { stage: Stage::Fresh, by_poll });
                self.pushes.push(PushTask { push, name, generation: 0 });
                if poll {
                    self.poll_push(self.pushes.len() - 1);
                }
            }
            Step::PollPush { push, new_waker } => {
                if let Some(at) = pick(&self.pushes, push) {
                    self.pushes[at].generation += usize::from(new_waker);
                    self.poll_push(at);
                }
            }
            Step::CancelPush { push } => {
                let Some(at) = pick(&self.pushes, push) else { return };
                let mut task = self.pushes.swap_remove(at);
                let said = pushed(task.push.future.as_mut().cancel());
                let expected = match self.model.leave(task.name) {
                    Stage::Pulled => Ok(()),
                    Stage::Closed => Err((Refused::Closed, task.name as u64)),
                    _ => Err((Refused::Cancelled, task.name as u64)),
                };
                assert_eq!(said, expected, "the outcome of cancel");
                self.model.pushes.remove(&task.name);
            }
            Step::RequestCancelPush { push } => {
                let Some(at) = pick(&self.pushes, push) else { return };
                let task = &mut self.pushes[at];
                task.push.future.as_mut().request_cancel();
                match self.model.leave(task.name) {
                    Stage::InLine => self.model.woken.push(task.name),
                    Stage::Fresh => self.model.set(task.name, Stage::Cancelled),
                    _ => {}
                }
            }
            Step::DropPush { push } => {
                let Some(at) = pick(&self.pushes, push) else { return };
                let task = self.pushes.swap_remove(at);
                self.model.leave(task.name);
                self.model.pushes.remove(&task.name);
            }
            Step::TryPush { end } => {
                let Some(at) = pick(&self.senders, end) else { return };
                let id = self.name() as u64;
                let said =
                    self.senders[at].end.try_push(self.census.token(id)).map_err(|error| match error {
                        TryPushError::Full(token) => (Refused::NotNow, token.id),
                        TryPushError::Closed(token) => (Refused::Closed, token.id),
                    });
                assert_eq!(said, self.model.try_push(id).map_err(|why| (why, id)), "the outcome of try_push");
            }
            Step::Pop { receiver, new_waker } => self.poll_pop(receiver, new_waker),
            Step::RequestCancelPop { receiver } => {
                let Some(at) = pick(&self.receivers, receiver) else { return };
                let task = &mut self.receivers[at];
                if let Rx::Popping(pop) = &mut task.rx {
                    pop.future().request_cancel();
                    task.asked |= self.model.ahead(task.name) == 0; // beside a value it is too late
                    if task.asked && self.model.poppers.contains(&task.name) {
                        self.model.poppers.retain(|other| *other != task.name);
                        self.model.woken.push(task.name);
                    }
                }
            }
            Step::DropPop { receiver } => {
                if let Some(at) = pick(&self.receivers, receiver) {
                    self.end_pop(at);
                }
            }
            Step::PollNext { receiver, new_waker } => self.poll_next(receiver, new_waker),
            Step::TryPop { receiver } => {
                let Some(at) = pick(&self.receivers, receiver) else { return };
                let task = &mut self.receivers[at];
                if let Rx::Idle(rx) = &mut task.rx {
                    self.model.poppers.retain(|other| *other != task.name);
                    let said = rx.try_pop().map(|token| token.id);
                    assert_eq!(said, self.model.take(task.name), "the outcome of try_pop");
                }
            }
            Step::Subscribe => {
                if let Some(sender) = self.senders.first() {
                    let rx = sender.end.subscribe();
                    self.add_receiver(rx, self.model.log.len());
                }
            }
            Step::Resubscribe { receiver } => {
                let Some(at) = pick(&self.receivers, receiver) else { return };
                if let Rx::Idle(rx) = &self.receivers[at].rx {
                    let other = rx.resubscribe();
                    self.add_receiver(other, self.model.log.len());
                }
            }
            Step::CloneReceiver { receiver } => {
                let Some(at) = pick(&self.receivers, receiver) else { return };
                if let Rx::Idle(rx) = &self.receivers[at].rx {
                    let (other, position) = (rx.clone(), self.model.positions[&self.receivers[at].name]);
                    self.add_receiver(other, position);
                }
            }
            Step::DropReceiver { receiver } => {
                let Some(at) = pick(&self.receivers, receiver) else { return };
                if let Rx::Idle(_) = &self.receivers[at].rx {
                    let task = self.receivers.swap_remove(at);
                    self.model.poppers.retain(|other| *other != task.name);
                    self.model.positions.remove(&task.name);
                    self.model.settle();
                }
            }
            Step::CloneSender => {
                if let Some(sender) = self.senders.first() {
                    let other = sender.end.clone();
                    self.senders.push(Counted::new(other, &self.senders_alive));
                }
            }
            Step::DropSender { end } => {
                if let Some(at) = pick(&self.senders, end) {
                    drop(self.senders.swap_remove(at));
                }
            }
            Step::Close { by_receiver } => {
                let idle = self.receivers.iter().find_map(|task| match &task.rx {
                    Rx::Idle(rx) if by_receiver => Some(rx),
                    _ => None,
                });
                let closed = match (idle, self.senders.first()) {
                    (Some(rx), _) => rx.close(),
                    (_, Some(sender)) => sender.end.close(),
                    _ => return,
                };
                assert_eq!(closed, self.model.close(), "whether this call closed it");
            }
        }
    }

    fn poll_push(&mut self, at: usize) {
        let task = &mut self.pushes[at];
        let waker = self.wakes.waker(task.name, task.generation);
        let polled = task.push.future.as_mut().poll(&mut Context::from_waker(&waker));
        let name = task.name;
        let expected = self.model.poll_push(name).map(|result| result.map_err(|why| (why, name as u64)));
        let said = match polled {
            Poll::Ready(result) => Some(pushed(result)),
            Poll::Pending => None,
        };
        assert_eq!(said, expected, "the outcome of a push");
        if said.is_some() {
            drop(self.pushes.swap_remove(at));
        }
    }

    /// What a pop or a stream comes to now, and whether it waits.
    fn expect_pop(model: &mut Model, name: usize) -> Option<Result<u64, TryPopError>> {
        model.poppers.retain(|other| *other != name);
        match model.take(name) {
            Err(TryPopError::Empty) => {
                model.poppers.push(name);
                None
            }
            other => Some(other),
        }
    }

    fn poll_pop(&mut self, receiver: u8, new_waker: bool) {
        let Some(at) = pick(&self.receivers, receiver) else { return };
        let task = &mut self.receivers[at];
        task.rx = match std::mem::replace(&mut task.rx, Rx::Gone) {
            Rx::Idle(rx) => Rx::Popping(Lent::new(rx, |rx| rx.pop())),
            other => other,
        };
        let Rx::Popping(pop) = &mut task.rx else { return };
        task.generation += usize::from(new_waker);
        let waker = self.wakes.waker(task.name, task.generation);
        let polled = pop.future().poll(&mut Context::from_waker(&waker));
        if task.asked {
            assert!(matches!(polled, Poll::Ready(Err(PopError::Cancelled))), "a pop that was asked to stop");
            self.end_pop(at);
            return;
        }
        let said = match polled {
            Poll::Ready(result) => Some(popped(result)),
            Poll::Pending => None,
        };
        assert_eq!(said, Self::expect_pop(&mut self.model, task.name), "the outcome of a pop");
        if said.is_some() {
            self.end_pop(at);
        }
    }

    fn end_pop(&mut self, at: usize) {
        let task = &mut self.receivers[at];
        task.rx = match std::mem::replace(&mut task.rx, Rx::Gone) {
            Rx::Popping(pop) => {
                self.model.poppers.retain(|other| *other != task.name);
                Rx::Idle(pop.give_back())
            }
            other => other,
        };
        task.asked = false;
    }

    fn poll_next(&mut self, receiver: u8, new_waker: bool) {
        let Some(at) = pick(&self.receivers, receiver) else { return };
        let task = &mut self.receivers[at];
        let Rx::Idle(rx) = &mut task.rx else { return };
        task.generation += usize::from(new_waker);
        let waker = self.wakes.waker(task.name, task.generation);
        let said = match Pin::new(&mut *rx).poll_next(&mut Context::from_waker(&waker)) {
            Poll::Pending => None,
            Poll::Ready(Some(Ok(token))) => Some(Ok(token.id)),
            Poll::Ready(Some(Err(Lagged(missed)))) => Some(Err(TryPopError::Lagged(missed))),
            Poll::Ready(None) => Some(Err(TryPopError::Closed)),
        };
        assert_eq!(said, Self::expect_pop(&mut self.model, task.name), "the outcome of poll_next");
        let ended = self.model.closed && self.model.positions[&task.name] == self.model.log.len();
        assert_eq!(rx.is_terminated(), ended);
    }

    fn audit(&mut self) {
        if self.senders_alive.get() == 0 {
            self.model.close();
        }
        let mut woken = Vec::new();
        for (name, generation) in self.wakes.take() {
            let push = self.pushes.iter().find(|task| task.name == name).map(|task| task.generation);
            let newest = push
                .or_else(|| self.receivers.iter().find(|task| task.name == name).map(|task| task.generation));
            assert!(
                newest.is_none_or(|newest| newest == generation),
                "a waker was called that had been replaced"
            );
            woken.push(name);
        }
        let mut expected = std::mem::take(&mut self.model.woken);
        woken.sort_unstable();
        expected.sort_unstable();
        assert_eq!(woken, expected, "who was woken");

        let model = &self.model;
        let held = model.pushes.values().filter(|push| push.stage != Stage::Pulled).count();
        assert_eq!(self.census.alive(), model.len() + held, "values that exist");
        let counts = (self.senders_alive.get(), model.positions.len());
        if let Some(sender) = self.senders.first() {
            let end = &sender.end;
            assert_eq!(
                (end.len(), end.is_full(), end.is_closed()),
                (model.len(), model.is_full(), model.closed)
            );
            assert_eq!((end.is_empty(), end.capacity()), (model.len() == 0, model.capacity));
            assert_eq!((end.sender_count(), end.receiver_count()), counts, "ends that exist");
            assert!(end.overflow() == self.overflow);
        }
        for task in &self.receivers {
            if let Rx::Idle(rx) = &task.rx {
                let ahead = model.ahead(task.name);
                assert_eq!((rx.len(), rx.is_empty()), (ahead, ahead == 0), "values that wait for a receiver");
                assert_eq!((rx.is_closed(), rx.capacity()), (model.closed, model.capacity));
                assert_eq!((rx.sender_count(), rx.receiver_count()), counts, "ends that exist");
            }
        }
    }
}

/// Wakers of nobody are as good as any where nothing is to wait.
#[test]
fn a_discarded_push_of_a_broadcast_leaves_the_line() {
    let (tx, mut rx) = broadcast(1, Overflow::Wait);
    tx.try_push(0).expect("room");
    let cx = &mut Context::from_waker(Waker::noop());
    let (mut first, mut second) = (Box::pin(tx.push(1)), Box::pin(tx.push(2)));
    assert!(first.as_mut().poll(cx).is_pending() && second.as_mut().poll(cx).is_pending());
    assert!(first.as_mut().poll_discard(cx).is_ready());
    assert_eq!((rx.try_pop(), rx.try_pop()), (Ok(0), Ok(2)));
}

#[test]
fn a_push_behind_an_arm_that_leaves_the_line_goes_on() {
    let (tx, mut rx) = broadcast(1, Overflow::Wait);
    tx.try_push(0).expect("room");
    let cx = &mut Context::from_waker(Waker::noop());
    let mut arms = [Box::pin(tx.push(1)), Box::pin(tx.push(2))];
    for arm in &mut arms {
        arm.as_mut().commit_on_poll();
        assert!(arm.as_mut().poll(cx).is_pending());
    }
    let mut plain = Box::pin(tx.push(3));
    assert!(plain.as_mut().poll(cx).is_pending());
    assert_eq!(rx.try_pop(), Ok(0)); // the first arm is granted the slot
    drop(rx); // without receivers there is always room, but no slot for the second arm
    let [_granted, waiting] = arms;
    drop(waiting);
    assert!(plain.as_mut().poll(cx).is_ready(), "a push waits beside room");
}
