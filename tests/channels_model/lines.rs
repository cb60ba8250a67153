//! `bounded` and `local`: one protocol, one model, up to three channels at a time.
//!
//! Knows: the ends and futures of these two. Does not know: what they should do, which is the model's part.

use std::any::Any;
use std::cell::Cell;
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::FusedStream;
use millstream::channel::{
    self, Local, PopError, Push, PushError, Receiver, Sender, Sharing, Threads, TryPopError, TryPushError,
};
use millstream::combinators::{OneOf2, when_any};
use millstream::{Operation, race};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

use crate::channel_model::{Id, Model, Refused};
use crate::check;
use crate::parts::{Census, Held, Mapped, Token, Wakes};

// ---- histories ----

/// One step. Numbers choose among what there is, modulo how much that is.
#[derive(Clone, Debug)]
enum Step {
    Push { channel: u8, end: u8, poll: bool },
    Pop { channel: u8, end: u8, poll: bool },
    Race { arms: Vec<(u8, bool)>, as_pair: bool },
    Poll { task: u8, new_waker: bool },
    Drop { task: u8 },
    CancelPush { task: u8 },
    RequestCancel { task: u8 },
    Discard { task: u8 },
    TryPush { channel: u8, end: u8 },
    TryPop { channel: u8, end: u8 },
    Fill { channel: u8 },
    Drain { channel: u8 },
    NewStream { channel: u8, end: u8 },
    PollStream { stream: u8, new_waker: bool },
    TryPopStream { stream: u8 },
    DropStream { stream: u8 },
    CloneSender { channel: u8 },
    CloneReceiver { channel: u8 },
    DropSender { channel: u8, end: u8 },
    DropReceiver { channel: u8, end: u8 },
    Close { channel: u8, by_receiver: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let (n, flag) = (any::<u8>, any::<bool>);
    prop_oneof![
        8 => (n(), n(), flag()).prop_map(|(channel, end, poll)| Step::Push { channel, end, poll }),
        8 => (n(), n(), flag()).prop_map(|(channel, end, poll)| Step::Pop { channel, end, poll }),
        6 => (vec((n(), flag()), 2..4), flag()).prop_map(|(arms, as_pair)| Step::Race { arms, as_pair }),
        20 => (n(), flag()).prop_map(|(task, new_waker)| Step::Poll { task, new_waker }),
        5 => n().prop_map(|task| Step::Drop { task }),
        3 => n().prop_map(|task| Step::CancelPush { task }),
        3 => n().prop_map(|task| Step::RequestCancel { task }),
        2 => n().prop_map(|task| Step::Discard { task }),
        6 => (n(), n()).prop_map(|(channel, end)| Step::TryPush { channel, end }),
        6 => (n(), n()).prop_map(|(channel, end)| Step::TryPop { channel, end }),
        1 => n().prop_map(|channel| Step::Fill { channel }),
        1 => n().prop_map(|channel| Step::Drain { channel }),
        1 => (n(), n()).prop_map(|(channel, end)| Step::NewStream { channel, end }),
        4 => (n(), flag()).prop_map(|(stream, new_waker)| Step::PollStream { stream, new_waker }),
        1 => n().prop_map(|stream| Step::TryPopStream { stream }),
        1 => n().prop_map(|stream| Step::DropStream { stream }),
        3 => n().prop_map(|channel| Step::CloneSender { channel }),
        3 => n().prop_map(|channel| Step::CloneReceiver { channel }),
        2 => (n(), n()).prop_map(|(channel, end)| Step::DropSender { channel, end }),
        2 => (n(), n()).prop_map(|(channel, end)| Step::DropReceiver { channel, end }),
        1 => (n(), flag()).prop_map(|(channel, by_receiver)| Step::Close { channel, by_receiver }),
    ]
}

fn histories() -> impl Strategy<Value = (Vec<usize>, Vec<Step>)> {
    let capacity = prop_oneof![3 => Just(0), 3 => Just(1), 2 => Just(2), 1 => Just(3), 1 => Just(64)];
    (vec(capacity, 1..4), vec(step(), 1..120))
}

#[test]
fn bounded_does_what_the_model_says() {
    check(5_000, &histories(), |(capacities, steps)| {
        World::<Threads>::new(&capacities, channel::bounded).run(steps);
    });
}

#[test]
fn local_does_what_the_model_says() {
    check(5_000, &histories(), |(capacities, steps)| {
        World::<Local>::new(&capacities, channel::local).run(steps);
    });
}

// ---- the world ----

/// An end that counts itself.
struct Counted<E> {
    end: E,
    alive: Rc<Cell<usize>>,
}

impl<E> Counted<E> {
    fn new(end: E, alive: &Rc<Cell<usize>>) -> Rc<Self> {
        alive.set(alive.get() + 1);
        Rc::new(Self { end, alive: alive.clone() })
    }
}

impl<E> Drop for Counted<E> {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

type Ends<E> = Vec<Rc<Counted<E>>>;
type Pair<S> = (Sender<Token, S>, Receiver<Token, S>);

struct Channel<S: Sharing + 'static> {
    model: Model,
    capacity: usize,
    senders: Ends<Sender<Token, S>>,
    receivers: Ends<Receiver<Token, S>>,
    /// Ends that exist, also those only a future keeps.
    senders_alive: Rc<Cell<usize>>,
    receivers_alive: Rc<Cell<usize>>,
    abandoned: bool,
}

/// What an operation came to.
enum Out {
    Pushed,
    NotPushed(Refused, Token),
    Popped(Token),
    NotPopped(Refused),
    Won(usize, Box<Out>),
}

/// The same, in the model's terms.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Push(Result<(), (Refused, u64)>),
    Pop(Result<u64, Refused>),
    Won(usize, Box<Said>),
}

impl Out {
    fn said(&self) -> Said {
        match self {
            Self::Pushed => Said::Push(Ok(())),
            Self::NotPushed(why, token) => Said::Push(Err((*why, token.id))),
            Self::Popped(token) => Said::Pop(Ok(token.id)),
            Self::NotPopped(why) => Said::Pop(Err(*why)),
            Self::Won(arm, out) => Said::Won(*arm, Box::new(out.said())),
        }
    }
}

fn push_out(result: Result<(), PushError<Token>>) -> Out {
    match result {
        Ok(()) => Out::Pushed,
        Err(PushError::Closed(token)) => Out::NotPushed(Refused::Closed, token),
        Err(PushError::Cancelled(token)) => Out::NotPushed(Refused::Cancelled, token),
        Err(other) => panic!("an error that the documentation does not know: {other}"),
    }
}

fn pop_out(result: Result<Token, PopError>) -> Out {
    match result {
        Ok(token) => Out::Popped(token),
        Err(PopError::Closed) => Out::NotPopped(Refused::Closed),
        Err(PopError::Cancelled) => Out::NotPopped(Refused::Cancelled),
        Err(other) => panic!("an error that the documentation does not know: {other}"),
    }
}

fn try_push_said(result: Result<(), TryPushError<Token>>) -> Said {
    Said::Push(result.map_err(|error| match error {
        TryPushError::Full(token) => (Refused::NotNow, token.id),
        TryPushError::Closed(token) => (Refused::Closed, token.id),
    }))
}

fn try_pop_said(result: Result<Token, TryPopError>) -> Said {
    Said::Pop(result.map(|token| token.id).map_err(|error| match error {
        TryPopError::Empty => Refused::NotNow,
        TryPopError::Closed => Refused::Closed,
    }))
}

type Arm = Pin<Box<dyn Operation<Output = Out>>>;

enum Running<S: Sharing + 'static> {
    Push(Held<Push<'static, Token, S>>),
    Other(Arm),
}

/// A place in a line of one of the models.
#[derive(Clone, Copy)]
struct Place {
    channel: usize,
    id: Id,
    /// The value of a push.
    value: Option<u64>,
}

struct Task<S: Sharing + 'static> {
    running: Running<S>,
    places: Vec<Place>,
    is_race: bool,
    name: usize,
    generation: usize,
    /// What the arms borrow; dropped after them.
    _ends: Vec<Rc<dyn Any>>,
}

struct StreamTask<S: Sharing + 'static> {
    receiver: Receiver<Token, S>,
    channel: usize,
    place: Option<Place>,
    name: usize,
    generation: usize,
    _counted: Rc<Counted<()>>,
}

struct World<S: Sharing + 'static> {
    tasks: Vec<Task<S>>,
    streams: Vec<StreamTask<S>>,
    channels: Vec<Channel<S>>,
    census: Census,
    wakes: Wakes,
    /// Whose place in a line it is.
    owners: HashMap<Id, usize>,
    /// The newest waker of each task, and who may still have an older one: a race that is being polled asks its arms one
    /// after the other.
    generations: HashMap<usize, usize>,
    polled_race: Option<usize>,
    next: usize,
}

fn pick<T>(among: &[T], number: u8) -> Option<usize> {
    (!among.is_empty()).then(|| usize::from(number) % among.len())
}

impl<S: Sharing + 'static> World<S> {
    fn new(capacities: &[usize], make: fn(usize) -> Pair<S>) -> Self {
        let channel = |&capacity: &usize| {
            let (sender, receiver) = make(capacity);
            let (senders_alive, receivers_alive) = (Rc::default(), Rc::default());
            Channel {
                model: Model::new(capacity),
                capacity,
                senders: vec![Counted::new(sender, &senders_alive)],
                receivers: vec![Counted::new(receiver, &receivers_alive)],
                senders_alive,
                receivers_alive,
                abandoned: false,
            }
        };
        Self {
            tasks: Vec::new(),
            streams: Vec::new(),
            channels: capacities.iter().map(channel).collect(),
            census: Census::default(),
            wakes: Wakes::default(),
            owners: HashMap::new(),
            generations: HashMap::new(),
            polled_race: None,
            next: 0,
        }
    }

    fn run(mut self, steps: Vec<Step>) {
        for step in steps {
            self.step(step);
            self.audit();
        }
        while let Some(task) = self.tasks.pop() {
            self.withdraw(&task.places);
            drop(task);
            self.audit();
        }
        while !self.streams.is_empty() {
            self.drop_stream(0);
            self.audit();
        }
        for channel in 0..self.channels.len() {
            self.drain(channel);
            self.audit();
            self.channels[channel].senders.clear();
            self.audit();
            self.channels[channel].receivers.clear();
            self.audit();
        }
        assert_eq!(self.census.alive(), 0, "values are left when nobody is left to have them");
    }

    fn name(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    // ---- steps ----

    fn step(&mut self, step: Step) {
        match step {
            Step::Push { channel, end, poll } => self.new_task(&[(channel, true)], end, false, false, poll),
            Step::Pop { channel, end, poll } => self.new_task(&[(channel, false)], end, false, false, poll),
            Step::Race { arms, as_pair } => self.new_task(&arms, 0, true, as_pair, true),
            Step::Poll { task, new_waker } => self.poll(task, new_waker),
            Step::Drop { task } => {
                if let Some(at) = pick(&self.tasks, task) {
                    let task = self.tasks.swap_remove(at);
                    self.withdraw(&task.places);
                }
            }
            Step::CancelPush { task } => self.cancel_push(task),
            Step::RequestCancel { task } => {
                if let Some(at) = pick(&self.tasks, task) {
                    let task = &mut self.tasks[at];
                    match &mut task.running {
                        Running::Push(push) => push.future.as_mut().request_cancel(),
                        Running::Other(other) => other.as_mut().request_cancel(),
                    }
                    for place in &task.places {
                        self.channels[place.channel].model.request_cancel(place.id);
                    }
                }
            }
            Step::Discard { task } => {
                if let Some(at) = pick(&self.tasks, task) {
                    let mut task = self.tasks.swap_remove(at);
                    let cx = &mut Context::from_waker(std::task::Waker::noop());
                    let discarded = match &mut task.running {
                        Running::Push(push) => push.future.as_mut().poll_discard(cx),
                        Running::Other(other) => other.as_mut().poll_discard(cx),
                    };
                    assert!(discarded.is_ready(), "a channel operation is discarded at once");
                    self.withdraw(&task.places);
                }
            }
            Step::TryPush { channel, end } => {
                let channel = usize::from(channel) % self.channels.len();
                self.try_push(channel, end);
            }
            Step::TryPop { channel, end } => {
                let channel = usize::from(channel) % self.channels.len();
                self.try_pop(channel, end);
            }
            Step::Fill { channel } => {
                let channel = usize::from(channel) % self.channels.len();
                while self.try_push(channel, 0) {}
            }
            Step::Drain { channel } => self.drain(usize::from(channel) % self.channels.len()),
            Step::NewStream { channel, end } => self.new_stream(channel, end),
            Step::PollStream { stream, new_waker } => self.poll_stream(stream, new_waker),
            Step::TryPopStream { stream } => {
                if let Some(at) = pick(&self.streams, stream) {
                    let stream = &mut self.streams[at];
                    let model = &mut self.channels[stream.channel].model;
                    if let Some(place) = stream.place.take() {
                        model.withdraw(place.id);
                    }
                    assert_eq!(try_pop_said(stream.receiver.try_pop()), Said::Pop(model.try_pop()));
                }
            }
            Step::DropStream { stream } => {
                if let Some(at) = pick(&self.streams, stream) {
                    self.drop_stream(at);
                }
            }
            Step::CloneSender { channel } => {
                let channel = usize::from(channel) % self.channels.len();
                let Channel { senders, senders_alive, .. } = &mut self.channels[channel];
                if let Some(first) = senders.first() {
                    let clone = first.end.clone();
                    assert!(clone.same_channel(&first.end));
                    senders.push(Counted::new(clone, senders_alive));
                }
            }
            Step::CloneReceiver { channel } => {
                let channel = usize::from(channel) % self.channels.len();
                let Channel { receivers, receivers_alive, .. } = &mut self.channels[channel];
                if let Some(first) = receivers.first() {
                    let clone = first.end.clone();
                    assert!(clone.same_channel(&first.end));
                    receivers.push(Counted::new(clone, receivers_alive));
                }
            }
            Step::DropSender { channel, end } => {
                let channel = usize::from(channel) % self.channels.len();
                let senders = &mut self.channels[channel].senders;
                if let Some(at) = pick(senders, end) {
                    drop(senders.swap_remove(at));
                }
            }
            Step::DropReceiver { channel, end } => {
                let channel = usize::from(channel) % self.channels.len();
                let receivers = &mut self.channels[channel].receivers;
                if let Some(at) = pick(receivers, end) {
                    drop(receivers.swap_remove(at));
                }
            }
            Step::Close { channel, by_receiver } => {
                let channel = usize::from(channel) % self.channels.len();
                let Channel { model, senders, receivers, .. } = &mut self.channels[channel];
                let closed = match (senders.first(), receivers.first()) {
                    (_, Some(receiver)) if by_receiver => receiver.end.close(),
                    (Some(sender), _) => sender.end.close(),
                    _ => return,
                };
                assert_eq!(closed, model.close());
            }
        }
    }

    /// A push, a pop, or a race of both; polled at once or not yet.
    fn new_task(&mut self, arms: &[(u8, bool)], end: u8, is_race: bool, as_pair: bool, poll: bool) {
        let (mut places, mut ends, mut operations) = (Vec::new(), Vec::new(), Vec::new());
        let mut single = None;
        for &(channel, is_push) in arms {
            let channel = usize::from(channel) % self.channels.len();
            let id = self.name();
            let Channel { model, senders, receivers, .. } = &mut self.channels[channel];
            if is_push {
                let Some(at) = pick(senders, end) else { return self.forget(&places) };
                let token = self.census.token(id as u64);
                let push = Held::new(&senders[at], |sender| sender.end.push(token));
                model.new_push(id, id as u64, is_race);
                places.push(Place { channel, id, value: Some(id as u64) });
                if is_race {
                    ends.push(push.end);
                    operations.push(Box::pin(Mapped::new(push.future, push_out)) as Arm);
                } else {
                    single = Some(push);
                }
            } else {
                let Some(at) = pick(receivers, end) else { return self.forget(&places) };
                let pop = Held::new(&receivers[at], |receiver| receiver.end.pop());
                model.new_pop(id);
                places.push(Place { channel, id, value: None });
                ends.push(pop.end);
                operations.push(Box::pin(Mapped::new(pop.future, pop_out)) as Arm);
            }
        }
        let running = match (single, operations.len()) {
            (Some(push), _) => Running::Push(push),
            (None, 1) => Running::Other(operations.remove(0)),
            (None, 2) if as_pair => {
                let (b, a) = (operations.pop().expect("two"), operations.pop().expect("two"));
                Running::Other(Box::pin(Mapped::new(Box::pin(race!(a || b)), |winner| match winner {
                    OneOf2::A(out) => Out::Won(0, Box::new(out)),
                    OneOf2::B(out) => Out::Won(1, Box::new(out)),
                })))
            }
            _ => Running::Other(Box::pin(Mapped::new(Box::pin(when_any(operations)), |(arm, out)| {
                Out::Won(arm, Box::new(out))
            }))),
        };
        let name = self.name();
        self.owners.extend(places.iter().map(|place| (place.id, name)));
        self.tasks.push(Task { running, places, is_race, name, generation: 0, _ends: ends });
        if poll {
            self.poll_at(self.tasks.len() - 1);
        }
    }

    /// The arms that were made before one could not be.
    fn forget(&mut self, places: &[Place]) {
        self.withdraw(places);
    }

    fn withdraw(&mut self, places: &[Place]) {
        for place in places {
            self.channels[place.channel].model.withdraw(place.id);
        }
    }

    fn poll(&mut self, task: u8, new_waker: bool) {
        if let Some(at) = pick(&self.tasks, task) {
            self.tasks[at].generation += usize::from(new_waker);
            self.poll_at(at);
        }
    }

    fn poll_at(&mut self, at: usize) {
        let task = &mut self.tasks[at];
        self.generations.insert(task.name, task.generation);
        self.polled_race = task.is_race.then_some(task.name);
        let waker = self.wakes.waker(task.name, task.generation);
        let cx = &mut Context::from_waker(&waker);
        let polled = match &mut task.running {
            Running::Push(push) => push.future.as_mut().poll(cx).map(push_out),
            Running::Other(other) => other.as_mut().poll(cx),
        };
        let (places, is_race) = (task.places.clone(), task.is_race);
        let expected = self.expected_of_poll(&places, is_race);
        let said = match &polled {
            Poll::Ready(out) => Some(out.said()),
            Poll::Pending => None,
        };
        assert_eq!(said, expected, "the outcome of a poll");
        if polled.is_ready() {
            drop(self.tasks.swap_remove(at));
        }
    }

    /// Asks the models, arm by arm; once one has won, the others leave their lines.
    fn expected_of_poll(&mut self, places: &[Place], is_race: bool) -> Option<Said> {
        for (arm, place) in places.iter().enumerate() {
            let model = &mut self.channels[place.channel].model;
            let said = match place.value {
                Some(value) => {
                    model.poll_push(place.id).map(|result| Said::Push(result.map_err(|why| (why, value))))
                }
                None => model.poll_pop(place.id).map(Said::Pop),
            };
            let Some(said) = said else { continue };
            for (other, place) in places.iter().enumerate() {
                if other != arm {
                    self.channels[place.channel].model.withdraw(place.id);
                }
            }
            return Some(if is_race { Said::Won(arm, Box::new(said)) } else { said });
        }
        None
    }

    fn cancel_push(&mut self, task: u8) {
        let Some(at) = pick(&self.tasks, task) else { return };
        if let Running::Push(push) = &mut self.tasks[at].running {
            let result = push.future.as_mut().cancel();
            let Place { channel, id, value } = self.tasks[at].places[0];
            let expected = self.channels[channel].model.cancel_push(id);
            let value = value.expect("a push");
            assert_eq!(push_out(result).said(), Said::Push(expected.map_err(|why| (why, value))));
            drop(self.tasks.swap_remove(at));
        }
    }

    /// Whether it was pushed.
    fn try_push(&mut self, channel: usize, end: u8) -> bool {
        let id = self.name() as u64;
        let Channel { model, senders, .. } = &mut self.channels[channel];
        let Some(at) = pick(senders, end) else { return false };
        let said = try_push_said(senders[at].end.try_push(self.census.token(id)));
        assert_eq!(said, Said::Push(model.try_push(id).map_err(|why| (why, id))), "the outcome of try_push");
        said == Said::Push(Ok(()))
    }

    /// Whether a value was popped.
    fn try_pop(&mut self, channel: usize, end: u8) -> bool {
        let Channel { model, receivers, .. } = &mut self.channels[channel];
        let Some(at) = pick(receivers, end) else { return false };
        let said = try_pop_said(receivers[at].end.try_pop());
        assert_eq!(said, Said::Pop(model.try_pop()), "the outcome of try_pop");
        matches!(said, Said::Pop(Ok(_)))
    }

    fn drain(&mut self, channel: usize) {
        while self.try_pop(channel, 0) {}
    }

    // ---- receivers as streams ----

    fn new_stream(&mut self, channel: u8, end: u8) {
        let channel = usize::from(channel) % self.channels.len();
        let name = self.name();
        let Channel { receivers, receivers_alive, .. } = &mut self.channels[channel];
        let Some(at) = pick(receivers, end) else { return };
        let receiver = receivers[at].end.clone();
        let counted = Counted::new((), receivers_alive);
        self.streams.push(StreamTask {
            receiver,
            channel,
            place: None,
            name,
            generation: 0,
            _counted: counted,
        });
    }

    fn poll_stream(&mut self, stream: u8, new_waker: bool) {
        let Some(at) = pick(&self.streams, stream) else { return };
        let id = self.name();
        let stream = &mut self.streams[at];
        stream.generation += usize::from(new_waker);
        self.generations.insert(stream.name, stream.generation);
        let waker = self.wakes.waker(stream.name, stream.generation);
        let polled = Pin::new(&mut stream.receiver).poll_next(&mut Context::from_waker(&waker));

        let model = &mut self.channels[stream.channel].model;
        let place = *stream.place.get_or_insert_with(|| {
            model.new_pop(id);
            self.owners.insert(id, stream.name);
            Place { channel: stream.channel, id, value: None }
        });
        let said = match &polled {
            Poll::Pending => None,
            Poll::Ready(Some(token)) => Some(Ok(token.id)),
            Poll::Ready(None) => Some(Err(Refused::Closed)),
        };
        assert_eq!(said, model.poll_pop(place.id), "the outcome of poll_next");
        if polled.is_ready() {
            stream.place = None;
        }
        assert_eq!(stream.receiver.is_terminated(), model.has_ended());
        assert_eq!(stream.receiver.size_hint(), (0, model.has_ended().then_some(0)));
    }

    fn drop_stream(&mut self, at: usize) {
        let stream = self.streams.swap_remove(at);
        if let Some(place) = stream.place {
            self.channels[place.channel].model.withdraw(place.id);
        }
    }

    // ---- after each step ----

    fn audit(&mut self) {
        let mut expected = Vec::new();
        for channel in &mut self.channels {
            if channel.senders_alive.get() == 0 {
                channel.model.close();
            }
            if channel.receivers_alive.get() == 0 && !channel.abandoned {
                channel.model.abandon();
                channel.abandoned = true;
            }
            expected.extend(channel.model.take_woken().into_iter().map(|id| self.owners[&id]));
            channel.compare();
        }
        let mut woken = Vec::new();
        for (task, generation) in self.wakes.take() {
            let newest = self.generations[&task] == generation || self.polled_race == Some(task);
            assert!(newest, "a waker was called that the task had replaced");
            woken.push(task);
        }
        self.polled_race = None;
        expected.sort_unstable();
        woken.sort_unstable();
        assert_eq!(woken, expected, "the tasks that were woken");
        let values: usize = self.channels.iter().map(|channel| channel.model.values()).sum();
        assert_eq!(self.census.alive(), values, "values that exist");
    }
}

impl<S: Sharing + 'static> Channel<S> {
    /// What its ends say of it, and what the model says.
    fn compare(&self) {
        let model = &self.model;
        let expected = (model.len(), model.len() == 0, model.is_full(), model.is_closed(), self.capacity);
        if let Some(sender) = self.senders.first() {
            let end = &sender.end;
            let seen = (end.len(), end.is_empty(), end.is_full(), end.is_closed(), end.capacity());
            assert_eq!(seen, expected, "what a sender says of the channel");
        }
        if let Some(receiver) = self.receivers.first() {
            let end = &receiver.end;
            let seen = (end.len(), end.is_empty(), end.is_full(), end.is_closed(), end.capacity());
            assert_eq!(seen, expected, "what a receiver says of the channel");
        }
    }
}
