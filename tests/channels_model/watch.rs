//! `watch`: one value, its version, and what each receiver has seen of it.
//!
//! Knows: its ends and futures, and what they should do. Does not know: how they do it.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::FusedStream;
use millstream::Operation;
use millstream::channel::watch::{Pop, Receiver, Sender};
use millstream::channel::{PopError, PushError, TryPopError, watch};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

use crate::check;
use crate::parts::{Census, Lent, Token, Wakes};

#[derive(Clone, Debug)]
enum Step {
    Push,
    Update,
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
    MarkSeen {
        receiver: u8,
    },
    Subscribe,
    CloneReceiver {
        receiver: u8,
    },
    DropReceiver {
        receiver: u8,
    },
    CloneSender,
    DropSender,
    Close {
        by_receiver: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (n, flag) = (any::<u8>, any::<bool>);
    prop_oneof![
        8 => Just(Step::Push),
        2 => Just(Step::Update),
        12 => (n(), flag()).prop_map(|(receiver, new_waker)| Step::Pop { receiver, new_waker }),
        2 => n().prop_map(|receiver| Step::RequestCancelPop { receiver }),
        2 => n().prop_map(|receiver| Step::DropPop { receiver }),
        5 => (n(), flag()).prop_map(|(receiver, new_waker)| Step::PollNext { receiver, new_waker }),
        5 => n().prop_map(|receiver| Step::TryPop { receiver }),
        2 => n().prop_map(|receiver| Step::MarkSeen { receiver }),
        2 => Just(Step::Subscribe),
        2 => n().prop_map(|receiver| Step::CloneReceiver { receiver }),
        3 => n().prop_map(|receiver| Step::DropReceiver { receiver }),
        2 => Just(Step::CloneSender),
        2 => Just(Step::DropSender),
        1 => flag().prop_map(|by_receiver| Step::Close { by_receiver }),
    ]
}

#[test]
fn watch_does_what_the_model_says() {
    check(10_000, &vec(step(), 1..80), |steps| World::new().run(steps));
}

enum Rx {
    Idle(Receiver<Token>),
    Popping(Lent<Pop<'static, Token>, Receiver<Token>>),
    Gone,
}

struct RxTask {
    rx: Rx,
    /// The version it has returned last.
    seen: u64,
    waits: bool,
    /// The pop was asked to stop.
    asked: bool,
    name: usize,
    generation: usize,
}

struct World {
    senders: Vec<Sender<Token>>,
    receivers: Vec<RxTask>,
    /// Versions count from 1, and are the values.
    version: u64,
    closed: bool,
    expected: Vec<(usize, usize)>,
    census: Census,
    wakes: Wakes,
    next: usize,
}

impl World {
    fn new() -> Self {
        let census = Census::default();
        let (tx, rx) = watch(census.token(1));
        let mut world = Self {
            senders: vec![tx],
            receivers: Vec::new(),
            version: 1,
            closed: false,
            expected: Vec::new(),
            census,
            wakes: Wakes::default(),
            next: 0,
        };
        world.add_receiver(rx, 0);
        world
    }

    fn add_receiver(&mut self, rx: Receiver<Token>, seen: u64) {
        self.next += 1;
        let (rx, name) = (Rx::Idle(rx), self.next);
        self.receivers.push(RxTask { rx, seen, waits: false, asked: false, name, generation: 0 });
    }

    fn run(mut self, steps: Vec<Step>) {
        for step in steps {
            self.step(step);
            self.audit();
        }
        while !self.receivers.is_empty() {
            self.step(Step::DropPop { receiver: 0 });
            self.step(Step::DropReceiver { receiver: 0 });
            self.audit();
        }
        self.senders.clear();
        assert_eq!(self.census.alive(), 0, "values are left when nobody is left to have them");
    }

    /// Everybody who waits is told.
    fn tell(&mut self) {
        for task in self.receivers.iter_mut().filter(|task| task.waits) {
            task.waits = false;
            self.expected.push((task.name, task.generation));
        }
    }

    fn close(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.closed, true);
        self.tell();
        first
    }

    fn pushed(&mut self, result: Result<(), PushError<Token>>) {
        if self.closed {
            assert_eq!(result.map_err(|error| error.into_inner().id), Err(self.version + 1));
        } else {
            assert!(result.is_ok(), "a push into an open channel");
            self.version += 1;
            self.tell();
        }
    }

    fn pick(&self, receiver: u8) -> Option<usize> {
        (!self.receivers.is_empty()).then(|| usize::from(receiver) % self.receivers.len())
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push => {
                let Some(sender) = self.senders.first() else { return };
                let result = sender.push(self.census.token(self.version + 1));
                self.pushed(result);
            }
            Step::Update => {
                let Some(sender) = self.senders.last() else { return };
                let mut calls = 0;
                let result = sender.update(|token| {
                    calls += 1;
                    assert_eq!(token.id, self.version, "the value that is replaced");
                    self.census.token(self.version + 1)
                });
                assert_eq!(calls, 1, "nobody pushed meanwhile");
                self.pushed(result);
            }
            Step::Pop { receiver, new_waker } => self.poll_pop(receiver, new_waker),
            Step::RequestCancelPop { receiver } => {
                let Some(at) = self.pick(receiver) else { return };
                let task = &mut self.receivers[at];
                if let Rx::Popping(pop) = &mut task.rx {
                    pop.future().request_cancel();
                    task.asked |= task.seen == self.version; // beside a value it is too late
                    if task.asked && std::mem::take(&mut task.waits) {
                        self.expected.push((task.name, task.generation));
                    }
                }
            }
            Step::DropPop { receiver } => {
                if let Some(at) = self.pick(receiver) {
                    self.end_pop(at);
                }
            }
            Step::PollNext { receiver, new_waker } => self.poll_next(receiver, new_waker),
            Step::TryPop { receiver } => {
                let Some(at) = self.pick(receiver) else { return };
                let task = &mut self.receivers[at];
                if let Rx::Idle(rx) = &mut task.rx {
                    task.waits = false;
                    let nothing = if self.closed { TryPopError::Closed } else { TryPopError::Empty };
                    let expected = if task.seen < self.version { Ok(self.version) } else { Err(nothing) };
                    assert_eq!(rx.try_pop().map(|token| token.id), expected, "the outcome of try_pop");
                    task.seen = self.version;
                }
            }
            Step::MarkSeen { receiver } => {
                let Some(at) = self.pick(receiver) else { return };
                let task = &mut self.receivers[at];
                if let Rx::Idle(rx) = &mut task.rx {
                    rx.mark_seen();
                    (task.waits, task.seen) = (false, self.version);
                }
            }
            Step::Subscribe => {
                if let Some(rx) = self.senders.first().map(Sender::subscribe) {
                    self.add_receiver(rx, 0);
                }
            }
            Step::CloneReceiver { receiver } => {
                let Some(at) = self.pick(receiver) else { return };
                if let Rx::Idle(rx) = &self.receivers[at].rx {
                    let (rx, seen) = (rx.clone(), self.receivers[at].seen);
                    self.add_receiver(rx, seen);
                }
            }
            Step::DropReceiver { receiver } => {
                let Some(at) = self.pick(receiver) else { return };
                if let Rx::Idle(_) = &self.receivers[at].rx {
                    drop(self.receivers.swap_remove(at));
                }
            }
            Step::CloneSender => self.senders.extend(self.senders.first().cloned()),
            Step::DropSender => {
                if self.senders.pop().is_some() && self.senders.is_empty() {
                    self.close();
                }
            }
            Step::Close { by_receiver } => {
                let idle = self.receivers.iter().find_map(|task| match &task.rx {
                    Rx::Idle(rx) if by_receiver => Some(rx),
                    _ => None,
                });
                let closed = match (idle, self.senders.first()) {
                    (Some(rx), _) => rx.close(),
                    (_, Some(sender)) => sender.close(),
                    _ => return,
                };
                assert_eq!(closed, self.close(), "whether this call closed it");
            }
        }
    }

    /// What a pop or a stream comes to now, and whether it waits.
    fn expect_pop(task: &mut RxTask, version: u64, closed: bool) -> Option<Result<u64, PopError>> {
        let now = match task.seen < version {
            true => Some(Ok(version)),
            false => closed.then_some(Err(PopError::Closed)),
        };
        (task.waits, task.seen) = (now.is_none(), version);
        now
    }

    fn poll_pop(&mut self, receiver: u8, new_waker: bool) {
        let Some(at) = self.pick(receiver) else { return };
        let task = &mut self.receivers[at];
        task.rx = match std::mem::replace(&mut task.rx, Rx::Gone) {
            Rx::Idle(rx) => Rx::Popping(Lent::new(rx, |rx| rx.pop())),
            other => other,
        };
        let Rx::Popping(pop) = &mut task.rx else { return };
        task.generation += usize::from(new_waker);
        let waker = self.wakes.waker(task.name, task.generation);
        let said = match pop.future().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => Some(result.map(|token| token.id)),
            Poll::Pending => None,
        };
        let expected = match task.asked {
            true => Some(Err(PopError::Cancelled)),
            false => Self::expect_pop(task, self.version, self.closed),
        };
        assert_eq!(said, expected, "the outcome of a pop");
        if said.is_some() {
            self.end_pop(at);
        }
    }

    fn end_pop(&mut self, at: usize) {
        let task = &mut self.receivers[at];
        task.rx = match std::mem::replace(&mut task.rx, Rx::Gone) {
            Rx::Popping(pop) => {
                task.waits = false;
                Rx::Idle(pop.give_back())
            }
            other => other,
        };
        task.asked = false;
    }

    fn poll_next(&mut self, receiver: u8, new_waker: bool) {
        let Some(at) = self.pick(receiver) else { return };
        let task = &mut self.receivers[at];
        let Rx::Idle(rx) = &mut task.rx else { return };
        task.generation += usize::from(new_waker);
        let waker = self.wakes.waker(task.name, task.generation);
        let said = match Pin::new(rx).poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(next) => Some(next.map(|token| token.id).ok_or(PopError::Closed)),
            Poll::Pending => None,
        };
        assert_eq!(said, Self::expect_pop(task, self.version, self.closed), "the outcome of poll_next");
    }

    fn audit(&mut self) {
        let (mut woken, mut expected) = (self.wakes.take(), std::mem::take(&mut self.expected));
        woken.sort_unstable();
        expected.sort_unstable();
        assert_eq!(woken, expected, "who was woken");
        let any_end = !self.senders.is_empty() || !self.receivers.is_empty();
        assert_eq!(self.census.alive(), usize::from(any_end), "the latest value is there, and no other");
        let counts = (self.senders.len(), self.receivers.len());
        for sender in &self.senders {
            assert_eq!((sender.get().id, sender.is_closed()), (self.version, self.closed));
            assert_eq!((sender.sender_count(), sender.receiver_count()), counts, "ends that exist");
        }
        for task in &self.receivers {
            if let Rx::Idle(rx) = &task.rx {
                let changed = task.seen < self.version;
                assert_eq!((rx.get().id, rx.is_closed()), (self.version, self.closed));
                assert_eq!((rx.has_changed(), rx.is_terminated()), (changed, self.closed && !changed));
                assert_eq!((rx.sender_count(), rx.receiver_count()), counts, "ends that exist");
            }
        }
    }
}
