//! `spsc`: up to three channels at a time, whose ends are lent to one future after the other.
//!
//! Knows: the ends and futures of this flavor. Does not know: what they should do, which is `ring`'s part.

mod at_once;
mod ring;

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures::Stream;
use futures::stream::FusedStream;
use millstream::channel::spsc;
use millstream::channel::spsc::{Consumer, Permit, Producer, Push};
use millstream::combinators::{OneOf2, when_any};
use millstream::{Operation, race};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use ring::{Side, Spec};

use crate::channel_model::{Id, Refused};
use crate::check;
use crate::lines::steps::{Kind, capacity, kind};
use crate::parts::{Buffer, Census, Held, Mapped, Token, Wakes};
use crate::said::{self, Said, why_not_popped, why_not_pushed};

/// One step. Numbers choose among what there is, modulo how much that is; a step whose end is lent does nothing.
#[derive(Clone, Debug)]
enum Step {
    Start { channel: u8, kind: Kind, poll: bool },
    Race { arms: Vec<(u8, Kind)>, as_pair: bool },
    Poll { task: u8, new_waker: bool },
    Drop { task: u8 },
    CancelPush { task: u8 },
    RequestCancel { task: u8 },
    Discard { task: u8 },
    TryPush { channel: u8 },
    TryPop { channel: u8 },
    TryPushMany { channel: u8, count: u8 },
    TryPopMany { channel: u8, max: u8 },
    TryReserve { channel: u8 },
    UsePermit { permit: u8 },
    DropPermit { permit: u8 },
    Fill { channel: u8 },
    Drain { channel: u8, take: u8 },
    PollStream { channel: u8, new_waker: bool },
    PollSink { channel: u8, new_waker: bool },
    DropProducer { channel: u8 },
    DropConsumer { channel: u8 },
    Close { channel: u8, by_consumer: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let (n, flag) = (any::<u8>, any::<bool>);
    prop_oneof![
        18 => (n(), kind(), flag()).prop_map(|(channel, kind, poll)| Step::Start { channel, kind, poll }),
        6 => (vec((n(), kind()), 2..4), flag()).prop_map(|(arms, as_pair)| Step::Race { arms, as_pair }),
        20 => (n(), flag()).prop_map(|(task, new_waker)| Step::Poll { task, new_waker }),
        7 => n().prop_map(|task| Step::Drop { task }),
        4 => n().prop_map(|task| Step::CancelPush { task }),
        3 => n().prop_map(|task| Step::RequestCancel { task }),
        3 => n().prop_map(|task| Step::Discard { task }),
        8 => n().prop_map(|channel| Step::TryPush { channel }),
        8 => n().prop_map(|channel| Step::TryPop { channel }),
        2 => n().prop_map(|channel| Step::Fill { channel }),
        2 => (n(), n()).prop_map(|(channel, take)| Step::Drain { channel, take }),
        2 => (n(), 0..8_u8).prop_map(|(channel, count)| Step::TryPushMany { channel, count }),
        2 => (n(), 0..80_u8).prop_map(|(channel, max)| Step::TryPopMany { channel, max }),
        2 => n().prop_map(|channel| Step::TryReserve { channel }),
        4 => n().prop_map(|permit| Step::UsePermit { permit }),
        3 => n().prop_map(|permit| Step::DropPermit { permit }),
        4 => (n(), flag()).prop_map(|(channel, new_waker)| Step::PollStream { channel, new_waker }),
        3 => (n(), flag()).prop_map(|(channel, new_waker)| Step::PollSink { channel, new_waker }),
        1 => n().prop_map(|channel| Step::DropProducer { channel }),
        1 => n().prop_map(|channel| Step::DropConsumer { channel }),
        1 => (n(), flag()).prop_map(|(channel, by_consumer)| Step::Close { channel, by_consumer }),
    ]
}

#[test]
fn spsc_does_what_the_model_says() {
    check(6_000, &(vec(capacity(), 1..4), vec(step(), 1..120)), |(capacities, steps)| {
        World::new(&capacities).run(steps);
    });
}

// ---- the world ----

/// One of the two ends: here, lent, or gone.
struct End<E> {
    here: Option<E>,
    exists: bool,
}

/// Who polls an end itself, as a stream or a sink.
struct Poller {
    name: usize,
    generation: usize,
}

struct Channel {
    spec: Spec,
    capacity: usize,
    producer: End<Producer<Token>>,
    consumer: End<Consumer<Token>>,
    stream: Poller,
    sink: Poller,
    /// The place of the stream among those who wait, at capacity 0, where it keeps one.
    place: Option<Id>,
}

type Out = said::Out<Permit<'static, Token>>;
type Arm = Pin<Box<dyn Operation<Output = Out>>>;

enum Running {
    Push(Pin<Box<Push<'static, Token>>>),
    Other(Arm),
}

/// What a future borrows: an end, and the values of a push of many or the buffer of a pop of many.
enum Lease {
    Producer(Buffer<(Producer<Token>, VecDeque<Token>)>),
    Consumer(Buffer<(Consumer<Token>, Vec<Token>)>),
}

#[derive(Clone, Copy)]
struct Place {
    channel: usize,
    id: Id,
    kind: Kind,
}

struct Task {
    running: Running,
    places: Vec<Place>,
    is_race: bool,
    name: usize,
    generation: usize,
    /// One for each place, unless a permit has it by now; dropped after what borrows it.
    leases: Vec<Option<Lease>>,
}

struct HeldPermit {
    permit: Permit<'static, Token>,
    channel: usize,
    lease: Lease,
}

struct World {
    tasks: Vec<Task>,
    permits: Vec<HeldPermit>,
    channels: Vec<Channel>,
    census: Census,
    wakes: Wakes,
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

impl World {
    fn new(capacities: &[usize]) -> Self {
        let mut world = Self {
            tasks: Vec::new(),
            permits: Vec::new(),
            channels: Vec::new(),
            census: Census::default(),
            wakes: Wakes::default(),
            owners: HashMap::new(),
            generations: HashMap::new(),
            polled_race: None,
            next: 0,
        };
        for &capacity in capacities {
            let (tx, rx) = spsc(capacity);
            assert!(tx.same_channel(&rx) && rx.same_channel(&tx));
            let (stream, sink) = (world.poller(), world.poller());
            world.channels.push(Channel {
                spec: Spec::new(capacity),
                capacity,
                producer: End { here: Some(tx), exists: true },
                consumer: End { here: Some(rx), exists: true },
                stream,
                sink,
                place: None,
            });
        }
        world
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
        for channel in 0..self.channels.len() {
            while self.try_pop(channel) {
                self.audit();
            }
            self.drop_end(channel, Side::Pusher);
            self.audit();
            self.drop_end(channel, Side::Popper);
            self.audit();
        }
        assert_eq!(self.census.alive(), 0, "values are left when nobody is left to have them");
    }

    fn name(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn poller(&mut self) -> Poller {
        let name = self.name();
        self.owners.insert(name, name);
        Poller { name, generation: 0 }
    }

    // ---- steps ----

    fn step(&mut self, step: Step) {
        let channels = self.channels.len();
        let at = |channel: u8| usize::from(channel) % channels;
        match step {
            Step::Start { channel, kind, poll } => {
                if self.start(&[(channel, kind)], false, false) && poll {
                    self.poll_at(self.tasks.len() - 1);
                }
            }
            Step::Race { arms, as_pair } => {
                if self.start(&arms, true, as_pair) {
                    self.poll_at(self.tasks.len() - 1);
                }
            }
            Step::Poll { task, new_waker } => {
                if let Some(at) = pick(&self.tasks, task) {
                    self.tasks[at].generation += usize::from(new_waker);
                    self.poll_at(at);
                }
            }
            Step::Drop { task } => {
                if let Some(at) = pick(&self.tasks, task) {
                    let task = self.tasks.swap_remove(at);
                    self.finish(task, None);
                }
            }
            Step::CancelPush { task } => self.cancel_push(task),
            Step::RequestCancel { task } => self.request_cancel(task),
            Step::Discard { task } => self.discard(task),
            Step::TryPush { channel } => drop(self.try_push(at(channel))),
            Step::TryPop { channel } => drop(self.try_pop(at(channel))),
            Step::TryPushMany { channel, count } => self.try_push_many(at(channel), count),
            Step::TryPopMany { channel, max } => self.try_pop_many(at(channel), max),
            Step::TryReserve { channel } => self.try_reserve(at(channel)),
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
            Step::Fill { channel } => while self.try_push(at(channel)) {},
            Step::Drain { channel, take } => self.drain(at(channel), usize::from(take)),
            Step::PollStream { channel, new_waker } => self.poll_stream(at(channel), new_waker),
            Step::PollSink { channel, new_waker } => self.poll_sink(at(channel), new_waker),
            Step::DropProducer { channel } => self.drop_end(at(channel), Side::Pusher),
            Step::DropConsumer { channel } => self.drop_end(at(channel), Side::Popper),
            Step::Close { channel, by_consumer } => {
                let Channel { spec, producer, consumer, .. } = &mut self.channels[at(channel)];
                let (closed, side) = match (&mut producer.here, &mut consumer.here) {
                    (_, Some(consumer)) if by_consumer => (consumer.close(), Side::Popper),
                    (Some(producer), _) if !by_consumer => (producer.close(), Side::Pusher),
                    _ => return,
                };
                assert_eq!(closed, spec.close(side), "whether it was this call that closed it");
            }
        }
    }

    // ---- operations ----

    /// One operation, or a race of those whose ends are here; not polled yet. Whether there is any.
    fn start(&mut self, arms: &[(u8, Kind)], is_race: bool, as_pair: bool) -> bool {
        let (mut places, mut leases) = (Vec::new(), Vec::new());
        let (mut operations, mut single): (Vec<Arm>, _) = (Vec::new(), None);
        for &(channel, kind) in arms {
            let (channel, id) = (usize::from(channel) % self.channels.len(), self.name());
            let pushes = match kind {
                Kind::Push | Kind::Reserve | Kind::PushMany { .. } => true,
                Kind::Pop | Kind::PopMany { .. } => false,
                Kind::Closed { by_receiver } => !by_receiver,
            };
            if !pushes && !matches!(kind, Kind::Closed { .. }) {
                self.channels[channel].leave_as_stream();
            }
            let Channel { spec, producer, consumer, .. } = &mut self.channels[channel];
            let nobody = Rc::new(()); // the buffer has the end already
            let lease = if pushes {
                let Some(producer) = producer.here.take() else { continue };
                let count = if let Kind::PushMany { count } = kind { u64::from(count) } else { 0 };
                let ids: Vec<_> = (0..count).map(|n| ((id as u64) << 32) | n).collect();
                let tokens = ids.iter().map(|id| self.census.token(*id)).collect();
                let lent = Buffer::new((producer, tokens));
                match kind {
                    Kind::Push => {
                        let token = self.census.token(id as u64);
                        let push =
                            Held::with(&nobody, &lent, |(), (producer, _)| producer.push(token)).future;
                        spec.new_push(id, id as u64, is_race);
                        if is_race {
                            operations.push(Box::pin(Mapped::new(push, |result| {
                                Out::Pushed(result.map_err(why_not_pushed))
                            })));
                        } else {
                            single = Some(push);
                        }
                    }
                    Kind::Reserve => {
                        let reserve =
                            Held::with(&nobody, &lent, |(), (producer, _)| producer.reserve()).future;
                        spec.new_reserve(id);
                        operations.push(Box::pin(Mapped::new(reserve, |result| {
                            Out::Reserved(result.map_err(|error| why_not_pushed(error).0))
                        })));
                    }
                    Kind::PushMany { .. } => {
                        let push =
                            Held::with(&nobody, &lent, |(), (producer, tokens)| producer.push_many(tokens));
                        spec.new_push_many(id, ids);
                        operations.push(Box::pin(Mapped::new(push.future, |result| {
                            Out::PushedMany(result.map_err(|error| why_not_pushed(error).0))
                        })));
                    }
                    _ => {
                        let closed = Held::with(&nobody, &lent, |(), (producer, _)| producer.closed()).future;
                        spec.new_closed(id, Side::Pusher);
                        operations.push(Box::pin(Mapped::new(closed, |()| Out::Closed)));
                    }
                }
                Lease::Producer(lent)
            } else {
                let Some(consumer) = consumer.here.take() else { continue };
                let lent = Buffer::new((consumer, Vec::new()));
                match kind {
                    Kind::Pop => {
                        let pop = Held::with(&nobody, &lent, |(), (consumer, _)| consumer.pop()).future;
                        spec.new_pop(id);
                        operations.push(Box::pin(Mapped::new(pop, |result| {
                            Out::Popped(result.map_err(why_not_popped))
                        })));
                    }
                    Kind::PopMany { max } => {
                        let pop = Held::with(&nobody, &lent, |(), (consumer, out)| {
                            consumer.pop_many(out, usize::from(max))
                        });
                        spec.new_pop(id);
                        operations.push(Box::pin(Mapped::new(pop.future, |result| {
                            Out::PoppedMany(result.map_err(why_not_popped))
                        })));
                    }
                    _ => {
                        let closed = Held::with(&nobody, &lent, |(), (consumer, _)| consumer.closed()).future;
                        spec.new_closed(id, Side::Popper);
                        operations.push(Box::pin(Mapped::new(closed, |()| Out::Closed)));
                    }
                }
                Lease::Consumer(lent)
            };
            places.push(Place { channel, id, kind });
            leases.push(Some(lease));
        }
        let running = match (single, operations.len()) {
            (Some(push), _) => Running::Push(push),
            (None, 0) => return false,
            (None, 1) if !is_race => Running::Other(operations.remove(0)),
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
        self.tasks.push(Task { running, places, is_race, name, generation: 0, leases });
        true
    }

    /// A task is over, whatever became of it: its buffers are what the models say. `popped` is which pop of many got what.
    fn finish(&mut self, task: Task, popped: Option<(Id, Vec<u64>)>) {
        drop(task.running);
        for place in &task.places {
            self.channels[place.channel].spec.withdraw(place.id);
        }
        for (place, lease) in task.places.iter().zip(task.leases) {
            let left = self.channels[place.channel].spec.take_left(place.id);
            match lease.map(|lease| self.channels[place.channel].take_back(lease)) {
                Some(Returned::ToPush(tokens)) if place.kind != Kind::Push => {
                    assert_eq!(left, tokens, "what a push of many has not pushed");
                }
                Some(Returned::Popped(tokens)) => {
                    let won = popped.as_ref().filter(|(id, _)| *id == place.id);
                    let expected = won.map(|(_, values)| &values[..]).unwrap_or_default();
                    assert_eq!(tokens, expected, "what a pop of many has popped");
                }
                _ => {}
            }
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
            let mut task = self.tasks.swap_remove(at);
            let (arm, out) = match out {
                Out::Won(arm, out) => (arm, *out),
                out => (0, out),
            };
            if let Out::Reserved(Ok(permit)) = out {
                let lease = task.leases[arm].take().expect("still lent");
                self.permits.push(HeldPermit { permit, channel: task.places[arm].channel, lease });
            }
            self.finish(task, popped);
        }
    }

    /// Asks the models, arm by arm; once one has won, the others leave. Beside the outcome, what a pop of many got.
    fn expected_of_poll(
        &mut self,
        places: &[Place],
        is_race: bool,
        count: usize,
    ) -> (Option<Said>, Option<(Id, Vec<u64>)>) {
        for (arm, place) in places.iter().enumerate() {
            let (spec, id) = (&mut self.channels[place.channel].spec, place.id);
            let mut popped = None;
            let said = match place.kind {
                Kind::Push => {
                    spec.poll_push(id).map(|result| Said::Pushed(result.map_err(|why| (why, id as u64))))
                }
                Kind::Pop => spec.poll_pop(id).map(Said::Popped),
                Kind::Reserve => spec.poll_reserve(id).map(Said::Reserved),
                Kind::PushMany { .. } => spec.poll_push(id).map(Said::PushedMany),
                Kind::PopMany { max } => spec.poll_pop_many(id, usize::from(max), count).map(|result| {
                    Said::PoppedMany(result.map(|values| {
                        let count = values.len();
                        popped = Some((id, values));
                        count
                    }))
                }),
                Kind::Closed { .. } => spec.poll_closed(id).map(|()| Said::Closed),
            };
            let Some(said) = said else { continue };
            for (other, place) in places.iter().enumerate() {
                if other != arm {
                    self.channels[place.channel].spec.withdraw(place.id);
                }
            }
            return (Some(if is_race { Said::Won(arm, Box::new(said)) } else { said }), popped);
        }
        (None, None)
    }

    fn cancel_push(&mut self, task: u8) {
        let Some(at) = pick(&self.tasks, task) else { return };
        if let Running::Push(push) = &mut self.tasks[at].running {
            let said = Out::Pushed(push.as_mut().cancel().map_err(why_not_pushed)).said();
            let Place { channel, id, .. } = self.tasks[at].places[0];
            let expected = self.channels[channel].spec.cancel_push(id);
            assert_eq!(said, Said::Pushed(expected.map_err(|why| (why, id as u64))), "the outcome of cancel");
            let task = self.tasks.swap_remove(at);
            self.finish(task, None);
        }
    }

    fn request_cancel(&mut self, task: u8) {
        let Some(at) = pick(&self.tasks, task) else { return };
        let task = &mut self.tasks[at];
        match &mut task.running {
            Running::Push(push) => push.as_mut().request_cancel(),
            Running::Other(other) => other.as_mut().request_cancel(),
        }
        for place in &task.places {
            self.channels[place.channel].spec.request_cancel(place.id);
        }
    }

    fn discard(&mut self, task: u8) {
        let Some(at) = pick(&self.tasks, task) else { return };
        let mut task = self.tasks.swap_remove(at);
        let cx = &mut Context::from_waker(Waker::noop());
        let discarded = match &mut task.running {
            Running::Push(push) => push.as_mut().poll_discard(cx),
            Running::Other(other) => other.as_mut().poll_discard(cx),
        };
        assert!(discarded.is_ready(), "a channel operation is discarded at once");
        self.finish(task, None);
    }

    // ---- ends as streams and sinks ----

    fn poll_stream(&mut self, channel: usize, new_waker: bool) {
        let id = self.name();
        let Channel { spec, consumer, stream, place, .. } = &mut self.channels[channel];
        let Some(consumer) = &mut consumer.here else { return };
        stream.generation += usize::from(new_waker);
        let waker = self.wakes.waker(stream.name, stream.generation);
        let polled = Pin::new(&mut *consumer).poll_next(&mut Context::from_waker(&waker));
        let said = match &polled {
            Poll::Pending => None,
            Poll::Ready(Some(token)) => Some(Ok(token.id)),
            Poll::Ready(None) => Some(Err(Refused::Closed)),
        };
        let expected = match spec {
            Spec::Ring(ring) => ring.poll_next(stream.name),
            Spec::Meet(model) => {
                let id = *place.get_or_insert_with(|| {
                    model.new_pop(id);
                    self.owners.insert(id, stream.name);
                    id
                });
                model.poll_pop(id)
            }
        };
        assert_eq!(said, expected, "the outcome of poll_next");
        if said.is_some() {
            *place = None; // what an earlier poll has left behind may still be called, once
        } else {
            self.generations.insert(stream.name, stream.generation);
        }
        let least = if matches!(spec, Spec::Ring(_)) { spec.len() } else { 0 };
        assert_eq!(consumer.is_terminated(), spec.has_ended());
        assert_eq!(consumer.size_hint(), (least, spec.has_ended().then_some(0)));
    }

    /// Not at capacity 0: that sink is the one of `bounded`.
    #[cfg(feature = "sink")]
    fn poll_sink(&mut self, channel: usize, new_waker: bool) {
        use futures::Sink;

        let id = self.name() as u64;
        let Channel { spec, producer, sink, .. } = &mut self.channels[channel];
        let (Some(producer), Spec::Ring(ring)) = (&mut producer.here, &mut *spec) else { return };
        sink.generation += usize::from(new_waker);
        let waker = self.wakes.waker(sink.name, sink.generation);
        let polled = Pin::new(&mut *producer).poll_ready(&mut Context::from_waker(&waker));
        assert_eq!(polled.is_ready(), ring.poll_ready(sink.name), "the outcome of poll_ready");
        if polled.is_pending() {
            self.generations.insert(sink.name, sink.generation);
        }
        if let Poll::Ready(ready) = polled {
            assert!(ready.is_ok(), "it is `start_send` that gives the value back");
            let sent = Pin::new(producer).start_send(self.census.token(id)).map_err(why_not_pushed);
            let expected = spec.try_push(id).map_err(|why| (why, id));
            assert_eq!(Out::Pushed(sent).said(), Said::Pushed(expected), "the outcome of start_send");
        }
    }

    #[cfg(not(feature = "sink"))]
    fn poll_sink(&mut self, channel: usize, new_waker: bool) {
        let sink = &mut self.channels[channel].sink;
        sink.generation += usize::from(new_waker);
    }

    // ---- after each step ----

    fn audit(&mut self) {
        let (mut expected, mut values) = (Vec::new(), 0);
        for channel in &mut self.channels {
            expected.extend(channel.spec.take_woken().into_iter().map(|id| self.owners[&id]));
            values += channel.spec.values();
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
        assert_eq!(self.census.alive(), values, "values that exist");
    }
}

/// What was lent along with an end.
enum Returned {
    ToPush(Vec<u64>),
    Popped(Vec<u64>),
}

impl Channel {
    /// The future that had it is gone.
    fn take_back(&mut self, lease: Lease) -> Returned {
        match lease {
            Lease::Producer(lent) => {
                let (producer, tokens) = lent.take();
                self.producer.here = Some(producer);
                Returned::ToPush(tokens.iter().map(|token| token.id).collect())
            }
            Lease::Consumer(lent) => {
                let (consumer, tokens) = lent.take();
                self.consumer.here = Some(consumer);
                Returned::Popped(tokens.iter().map(|token| token.id).collect())
            }
        }
    }

    /// What its ends say of it, and what the model says.
    fn compare(&mut self) {
        let spec = &mut self.spec;
        let expected = (spec.len(), spec.len() == 0, spec.is_full(), spec.is_closed(), self.capacity);
        let ends = (usize::from(self.producer.exists), usize::from(self.consumer.exists));
        if let Some(end) = &self.producer.here {
            let seen = (end.len(), end.is_empty(), end.is_full(), end.is_closed(), end.capacity());
            assert_eq!(seen, expected, "what the producer says of the channel");
            assert_eq!((end.sender_count(), end.receiver_count()), ends, "ends that exist");
        }
        if let Some(end) = &self.consumer.here {
            let seen = (end.len(), end.is_empty(), end.is_full(), end.is_closed(), end.capacity());
            assert_eq!(seen, expected, "what the consumer says of the channel");
            assert_eq!((end.sender_count(), end.receiver_count()), ends, "ends that exist");
        }
    }
}
