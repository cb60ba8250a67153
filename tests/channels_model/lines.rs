//! `bounded` and `local`: one protocol, one model, up to three channels at a time.
//!
//! Knows: the ends and futures of these two. Does not know: what they should do, which is the model's part.

mod at_once;
pub(crate) mod steps;

use std::any::Any;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::FusedStream;
use millstream::channel::{
    self, Local, Permit, Push, Receiver, Sender, Sharing, Threads, WeakReceiver, WeakSender,
};
use millstream::combinators::{OneOf2, when_any};
use millstream::{Operation, race};
use steps::{Kind, Step, histories};

use crate::channel_model::{Id, Model, Refused};
use crate::check;
use crate::parts::{Buffer, Census, Counted, Held, Mapped, Token, Wakes};
use crate::said::{self, Said, nothing_now, why_not_popped, why_not_pushed};

#[test]
fn bounded_does_what_the_model_says() {
    check(4_000, &histories(), |(capacities, steps)| {
        World::<Threads>::new(&capacities, channel::bounded).run(steps);
    });
}

#[test]
fn local_does_what_the_model_says() {
    check(4_000, &histories(), |(capacities, steps)| {
        World::<Local>::new(&capacities, channel::local).run(steps);
    });
}

// ---- the world ----

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
    weak: Option<(WeakSender<Token, S>, WeakReceiver<Token, S>)>,
    abandoned: bool,
}

type Out<S> = said::Out<Permit<'static, Token, S>>;
type Arm<S> = Pin<Box<dyn Operation<Output = Out<S>>>>;

enum Running<S: Sharing + 'static> {
    Push(Pin<Box<Push<'static, Token, S>>>),
    Other(Arm<S>),
}

/// A place in a line of one of the models.
#[derive(Clone, Copy)]
struct Place {
    channel: usize,
    id: Id,
    kind: Kind,
}

/// The values of a push of many, or the buffer of a pop of many.
enum Values {
    None,
    ToPush(Buffer<VecDeque<Token>>),
    Popped(Buffer<Vec<Token>>),
}

struct Task<S: Sharing + 'static> {
    running: Running<S>,
    places: Vec<Place>,
    is_race: bool,
    name: usize,
    generation: usize,
    /// What the arms borrow; dropped after them.
    values: Vec<Values>,
    ends: Vec<Rc<dyn Any>>,
}

struct HeldPermit<S: Sharing + 'static> {
    permit: Permit<'static, Token, S>,
    channel: usize,
    _end: Rc<dyn Any>,
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
    permits: Vec<HeldPermit<S>>,
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
                weak: None,
                abandoned: false,
            }
        };
        Self {
            tasks: Vec::new(),
            permits: Vec::new(),
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
            self.finish(task, None);
            self.audit();
        }
        while !self.permits.is_empty() {
            self.use_permit(0, false);
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
            Step::Start { channel, end, kind, poll } => {
                self.start(&[(channel, kind)], end, false, false);
                if poll {
                    self.poll_newest();
                }
            }
            Step::Race { arms, as_pair } => {
                self.start(&arms, 0, true, as_pair);
                self.poll_newest();
            }
            Step::Poll { task, new_waker } => self.poll(task, new_waker),
            Step::Drop { task } => {
                if let Some(at) = pick(&self.tasks, task) {
                    let task = self.tasks.swap_remove(at);
                    self.finish(task, None);
                }
            }
            Step::CancelPush { task } => self.cancel_push(task),
            Step::RequestCancel { task } => {
                if let Some(at) = pick(&self.tasks, task) {
                    let task = &mut self.tasks[at];
                    match &mut task.running {
                        Running::Push(push) => push.as_mut().request_cancel(),
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
                        Running::Push(push) => push.as_mut().poll_discard(cx),
                        Running::Other(other) => other.as_mut().poll_discard(cx),
                    };
                    assert!(discarded.is_ready(), "a channel operation is discarded at once");
                    self.finish(task, None);
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
            Step::Drain { channel, take } => {
                let channel = usize::from(channel) % self.channels.len();
                let Channel { model, receivers, .. } = &mut self.channels[channel];
                let Some(receiver) = receivers.first() else { return };
                let most = model.free().min(usize::from(take));
                let drained: Vec<_> =
                    receiver.end.drain().take(usize::from(take)).map(|token| token.id).collect();
                let expected: Vec<_> = (0..most).map(|_| model.try_pop().expect("free")).collect();
                assert_eq!(drained, expected, "what drain found");
            }
            Step::TryPushMany { channel, count } => self.try_push_many(channel, count),
            Step::TryPopMany { channel, max } => self.try_pop_many(channel, max),
            Step::TryReserve { channel, end } => self.try_reserve(channel, end),
            Step::UsePermit { permit } => {
                if let Some(at) = pick(&self.permits, permit) {
                    self.use_permit(at, true);
                }
            }
            Step::DropPermit { permit } => {
                if let Some(at) = pick(&self.permits, permit) {
                    self.use_permit(at, false);
                }
            }
            Step::NewStream { channel, end } => self.new_stream(channel, end),
            Step::PollStream { stream, new_waker } => self.poll_stream(stream, new_waker),
            Step::TryPopStream { stream } => {
                if let Some(at) = pick(&self.streams, stream) {
                    let stream = &mut self.streams[at];
                    let model = &mut self.channels[stream.channel].model;
                    if let Some(place) = stream.place.take() {
                        model.withdraw(place.id);
                    }
                    let popped = stream.receiver.try_pop().map(|token| token.id).map_err(nothing_now);
                    assert_eq!(popped, model.try_pop(), "the outcome of try_pop on a stream");
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
            Step::Downgrade { channel } => {
                let channel = usize::from(channel) % self.channels.len();
                let Channel { senders, receivers, weak, .. } = &mut self.channels[channel];
                if let (Some(sender), Some(receiver)) = (senders.first(), receivers.first()) {
                    let (tx, rx) = (sender.end.downgrade(), receiver.end.downgrade());
                    assert!(tx.same_channel(&tx.clone()) && rx.same_channel(&rx.clone()));
                    *weak = Some((tx, rx));
                }
            }
            Step::Upgrade { channel, receiver } => {
                let channel = usize::from(channel) % self.channels.len();
                let Channel { senders, receivers, weak, senders_alive, receivers_alive, .. } =
                    &mut self.channels[channel];
                let Some((tx, rx)) = weak else { return };
                if receiver {
                    let strong = rx.upgrade();
                    assert_eq!(strong.is_some(), receivers_alive.get() > 0, "a receiver can be had");
                    receivers.extend(strong.map(|strong| Counted::new(strong, receivers_alive)));
                } else {
                    let strong = tx.upgrade();
                    assert_eq!(strong.is_some(), senders_alive.get() > 0, "a sender can be had");
                    senders.extend(strong.map(|strong| Counted::new(strong, senders_alive)));
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

    /// One operation, or a race of several; not polled yet.
    fn start(&mut self, arms: &[(u8, Kind)], end: u8, is_race: bool, as_pair: bool) {
        let (mut places, mut ends, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let (mut operations, mut single) = (Vec::new(), None);
        for &(channel, kind) in arms {
            let channel = usize::from(channel) % self.channels.len();
            let id = self.name();
            let pushes = match kind {
                Kind::Push | Kind::Reserve | Kind::PushMany { .. } => true,
                Kind::Pop | Kind::PopMany { .. } => false,
                Kind::Closed { by_receiver } => !by_receiver,
            };
            let Channel { model, senders, receivers, .. } = &mut self.channels[channel];
            let (sender, receiver) = (pick(senders, end), pick(receivers, end));
            if pushes && sender.is_none() || !pushes && receiver.is_none() {
                drop(operations); // the arms that were made before one could not be
                return self.withdraw(&places);
            }
            let (sender, receiver) = (sender.map(|at| &senders[at]), receiver.map(|at| &receivers[at]));
            let mut buffer = Values::None;
            let (arm, end): (Option<Arm<S>>, _) = match kind {
                Kind::Push => {
                    let token = self.census.token(id as u64);
                    let push = Held::new(sender.expect("there"), |sender| sender.end.push(token));
                    model.new_push(id, id as u64, is_race);
                    if is_race {
                        let arm =
                            Mapped::new(push.future, |result| Out::Pushed(result.map_err(why_not_pushed)));
                        (Some(Box::pin(arm)), push.end)
                    } else {
                        single = Some(push.future);
                        (None, push.end)
                    }
                }
                Kind::Pop => {
                    let pop = Held::new(receiver.expect("there"), |receiver| receiver.end.pop());
                    model.new_pop(id);
                    let arm = Mapped::new(pop.future, |result| Out::Popped(result.map_err(why_not_popped)));
                    (Some(Box::pin(arm)), pop.end)
                }
                Kind::Reserve => {
                    let reserve = Held::new(sender.expect("there"), |sender| sender.end.reserve());
                    model.new_reserve(id);
                    let arm = Mapped::new(reserve.future, |result| {
                        Out::Reserved(result.map_err(|error| why_not_pushed(error).0))
                    });
                    (Some(Box::pin(arm)), reserve.end)
                }
                Kind::PushMany { count } => {
                    let ids: Vec<_> = (0..u64::from(count)).map(|n| ((id as u64) << 32) | n).collect();
                    let tokens = Buffer::new(ids.iter().map(|id| self.census.token(*id)).collect());
                    let push = Held::with(sender.expect("there"), &tokens, |sender, tokens| {
                        sender.end.push_many(tokens)
                    });
                    model.new_push_many(id, ids);
                    buffer = Values::ToPush(tokens);
                    let arm = Mapped::new(push.future, |result| {
                        Out::PushedMany(result.map_err(|error| why_not_pushed(error).0))
                    });
                    (Some(Box::pin(arm)), push.end)
                }
                Kind::PopMany { max } => {
                    let out = Buffer::new(Vec::with_capacity(usize::from(max) / 2));
                    let pop = Held::with(receiver.expect("there"), &out, |receiver, out| {
                        receiver.end.pop_many(out, usize::from(max))
                    });
                    model.new_pop(id);
                    buffer = Values::Popped(out);
                    let arm =
                        Mapped::new(pop.future, |result| Out::PoppedMany(result.map_err(why_not_popped)));
                    (Some(Box::pin(arm)), pop.end)
                }
                Kind::Closed { by_receiver } => {
                    let closed = match (sender, receiver) {
                        (Some(sender), _) if !by_receiver => Held::new(sender, |sender| sender.end.closed()),
                        (_, receiver) => {
                            Held::new(receiver.expect("there"), |receiver| receiver.end.closed())
                        }
                    };
                    model.new_closed(id);
                    (Some(Box::pin(Mapped::new(closed.future, |()| Out::Closed))), closed.end)
                }
            };
            places.push(Place { channel, id, kind });
            values.push(buffer);
            ends.push(end);
            operations.extend(arm);
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
        self.tasks.push(Task { running, places, is_race, name, generation: 0, values, ends });
    }

    fn withdraw(&mut self, places: &[Place]) {
        for place in places {
            self.channels[place.channel].model.withdraw(place.id);
        }
    }

    /// A task is over, whatever became of it: its buffers are what the models say. `popped` is which pop of many got what.
    fn finish(&mut self, task: Task<S>, popped: Option<(Id, Vec<u64>)>) {
        drop(task.running);
        self.withdraw(&task.places);
        for (place, values) in task.places.iter().zip(task.values) {
            let model = &mut self.channels[place.channel].model;
            let left = model.take_left(place.id);
            match values {
                Values::None => {}
                Values::ToPush(tokens) => {
                    let tokens: Vec<_> = tokens.take().iter().map(|token| token.id).collect();
                    assert_eq!(left, tokens, "what a push of many has not pushed");
                }
                Values::Popped(out) => {
                    let tokens: Vec<_> = out.take().iter().map(|token| token.id).collect();
                    let won = popped.as_ref().filter(|(id, _)| *id == place.id);
                    let expected = won.map(|(_, values)| &values[..]).unwrap_or_default();
                    assert_eq!(tokens, expected, "what a pop of many has popped");
                }
            }
        }
    }

    fn poll(&mut self, task: u8, new_waker: bool) {
        if let Some(at) = pick(&self.tasks, task) {
            self.tasks[at].generation += usize::from(new_waker);
            self.poll_at(at);
        }
    }

    fn poll_newest(&mut self) {
        if let Some(newest) = self.tasks.len().checked_sub(1) {
            self.poll_at(newest);
        }
    }

    fn poll_at(&mut self, at: usize) {
        let task = &mut self.tasks[at];
        self.generations.insert(task.name, task.generation);
        self.polled_race = task.is_race.then_some(task.name);
        let waker = self.wakes.waker(task.name, task.generation);
        let cx = &mut Context::from_waker(&waker);
        let polled = match &mut task.running {
            Running::Push(push) => {
                push.as_mut().poll(cx).map(|result| Out::Pushed(result.map_err(why_not_pushed)))
            }
            Running::Other(other) => other.as_mut().poll(cx),
        };
        let (places, is_race) = (task.places.clone(), task.is_race);
        let (said, count) = match &polled {
            Poll::Ready(out) => (Some(out.said()), out.count()),
            Poll::Pending => (None, 0),
        };
        let (expected, popped) = self.expected_of_poll(&places, is_race, count);
        assert_eq!(said, expected, "the outcome of a poll");
        if let Poll::Ready(out) = polled {
            let task = self.tasks.swap_remove(at);
            let (arm, out) = match out {
                Out::Won(arm, out) => (arm, *out),
                out => (0, out),
            };
            if let Out::Reserved(Ok(permit)) = out {
                let (channel, end) = (task.places[arm].channel, task.ends[arm].clone());
                self.permits.push(HeldPermit { permit, channel, _end: end });
            }
            self.finish(task, popped);
        }
    }

    /// Asks the models, arm by arm; once one has won, the others leave their lines. Beside the outcome, what a pop of
    /// many got.
    fn expected_of_poll(
        &mut self,
        places: &[Place],
        is_race: bool,
        count: usize,
    ) -> (Option<Said>, Option<(Id, Vec<u64>)>) {
        for (arm, place) in places.iter().enumerate() {
            let (model, id) = (&mut self.channels[place.channel].model, place.id);
            let mut popped = None;
            let said = match place.kind {
                Kind::Push => {
                    model.poll_push(id).map(|result| Said::Pushed(result.map_err(|why| (why, id as u64))))
                }
                Kind::Pop => model.poll_pop(id).map(Said::Popped),
                Kind::Reserve => model.poll_reserve(id).map(Said::Reserved),
                Kind::PushMany { .. } => model.poll_push(id).map(Said::PushedMany),
                Kind::PopMany { max } => model.poll_pop_many(id, usize::from(max), count).map(|result| {
                    Said::PoppedMany(result.map(|values| {
                        let count = values.len();
                        popped = Some((id, values));
                        count
                    }))
                }),
                Kind::Closed { .. } => model.poll_closed(id).map(|()| Said::Closed),
            };
            let Some(said) = said else { continue };
            for (other, place) in places.iter().enumerate() {
                if other != arm {
                    self.channels[place.channel].model.withdraw(place.id);
                }
            }
            return (Some(if is_race { Said::Won(arm, Box::new(said)) } else { said }), popped);
        }
        (None, None)
    }

    fn cancel_push(&mut self, task: u8) {
        let Some(at) = pick(&self.tasks, task) else { return };
        if let Running::Push(push) = &mut self.tasks[at].running {
            let said = Out::<S>::Pushed(push.as_mut().cancel().map_err(why_not_pushed)).said();
            let Place { channel, id, .. } = self.tasks[at].places[0];
            let expected = self.channels[channel].model.cancel_push(id);
            assert_eq!(said, Said::Pushed(expected.map_err(|why| (why, id as u64))), "the outcome of cancel");
            let task = self.tasks.swap_remove(at);
            self.finish(task, None);
        }
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
            Place { channel: stream.channel, id, kind: Kind::Pop }
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
            channel.compare(channel.senders_alive.get(), channel.receivers_alive.get());
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
    fn compare(&self, senders: usize, receivers: usize) {
        let model = &self.model;
        let expected = (model.len(), model.len() == 0, model.is_full(), model.is_closed(), self.capacity);
        if let Some(sender) = self.senders.first() {
            let end = &sender.end;
            let seen = (end.len(), end.is_empty(), end.is_full(), end.is_closed(), end.capacity());
            assert_eq!(seen, expected, "what a sender says of the channel");
            assert_eq!((end.sender_count(), end.receiver_count()), (senders, receivers), "ends that exist");
        }
        if let Some(receiver) = self.receivers.first() {
            let end = &receiver.end;
            let seen = (end.len(), end.is_empty(), end.is_full(), end.is_closed(), end.capacity());
            assert_eq!(seen, expected, "what a receiver says of the channel");
            assert_eq!((end.sender_count(), end.receiver_count()), (senders, receivers), "ends that exist");
        }
    }
}
