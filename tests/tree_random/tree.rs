//! Random trees over real objects: leaves that keep accounts, combinators of every kind and shape.
//!
//! Knows: ops, channels, timers, tasks, combinators. Does not know: what the other sides do.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use millstream::channel::{PopError, PushError};
use millstream::combinators::{
    OperationExt, RingOperationExt, adapters, hard_link, link, parallel_all, parallel_any, when_all, when_any,
};
use millstream::ops::{self, Address, Fd};
use millstream::{JoinError, Operation, select, spawn, time, yield_now};

use crate::ledger::{Ledger, Message, Place, Stage, Token, Where};
use crate::raw::unconnected;
use crate::support::Rng;
use crate::world::{Queue, World};
use crate::wrap::{Borrowed, Tracked, mapped};

/// What a tree resolves to: the leaves that came out.
pub(crate) type Out = Vec<Token>;
pub(crate) type Tree<'w> = Pin<Box<dyn Operation<Output = Out> + 'w>>;

/// An operation that stays in flight from tree to tree.
pub(crate) struct Kept<'w> {
    pub(crate) op: Rc<RefCell<Tree<'w>>>,
    pub(crate) leaf: usize,
}

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_micros(200);

/// Builds one tree.
pub(crate) struct Builder<'a, 'w, 'e> {
    pub(crate) world: &'w World<'e>,
    pub(crate) rng: &'a mut Rng,
    /// The tree in words, for messages.
    pub(crate) text: String,
    /// What is borrowed instead of owned.
    pub(crate) kept: &'a [Kept<'w>],
    /// Whether each of `kept` is an arm already, or over.
    pub(crate) lent: Vec<bool>,
    /// What is built is to be kept.
    pub(crate) keeping: bool,
    /// Connections that the accepts would take.
    pub(crate) accepts: usize,
}

/// A tree, and whether it ends by itself once everything is ready that can be.
pub(crate) struct Built<'w> {
    pub(crate) tree: Tree<'w>,
    pub(crate) ends: bool,
}

const TOP: Place = Place { raced: false, held: false, exposed: false };

impl<'w, 'e: 'w> Builder<'_, 'w, 'e> {
    pub(crate) fn tree(&mut self, depth: u64) -> Built<'w> {
        self.node(depth, TOP)
    }

    fn say(&mut self, words: impl std::fmt::Display) {
        let _ = write!(self.text, "{words}");
    }

    fn node(&mut self, depth: u64, place: Place) -> Built<'w> {
        if depth == 0 || self.rng.one_in(6) {
            return self.leaf(place);
        }
        let held = Place { held: place.held || place.exposed, ..place };
        match self.rng.below(19) {
            0..4 => {
                let arms = self.arms("all", depth, held, 1, 3);
                self.all(arms)
            }
            4..10 => {
                let inside = Place { raced: true, exposed: true, ..place };
                let arms = self.arms("any", depth, inside, 2, 3);
                self.any(arms)
            }
            10 => {
                let arms = self.arms("parallel_all", depth, held, 1, 3);
                let ends = arms.iter().all(|arm| arm.ends);
                let arms: Vec<_> = arms.into_iter().map(|arm| arm.tree).collect();
                Built { tree: mapped(parallel_all(arms), |done| flat(done.outputs)), ends }
            }
            11 => {
                // Every outcome comes out, so nothing is discarded: the losers are asked to stop.
                let inside = Place { raced: true, ..place };
                let arms = self.arms("parallel_any", depth, inside, 2, 3);
                let ends = arms.iter().any(|arm| arm.ends);
                let arms: Vec<_> = arms.into_iter().map(|arm| arm.tree).collect();
                Built { tree: mapped(parallel_any(arms), |raced| flat(raced.outputs)), ends }
            }
            12 | 13 => {
                let (limit, name) = match self.rng.below(3) {
                    0 => (Duration::ZERO, "at once"),
                    1 => (SOON, "soon"),
                    _ => (HOUR, "late"),
                };
                self.say(format_args!("deadline {name} ("));
                let inner = self.node(depth - 1, place);
                self.say(")");
                let tree = mapped(inner.tree.timeout(limit), |result| match result {
                    Ok(out) => out,
                    Err(late) => late.into_outcome(),
                });
                Built { tree, ends: inner.ends || limit < HOUR }
            }
            16 => {
                self.say("with_cancel(");
                let op = self.node(depth - 1, place);
                self.say(" until ");
                // The slot races with the operation, and what it resolved to is nobody's.
                let slot = self.node(depth - 1, Place { raced: true, held: true, exposed: true });
                self.say(")");
                Built { tree: mapped(op.tree.with_cancel(slot.tree), |out| out), ends: op.ends || slot.ends }
            }
            17 => {
                self.say("lost_into(");
                // If it loses, what is in it is asked to stop and resolves.
                let inner = self.node(depth - 1, Place { exposed: false, ..place });
                self.say(")");
                let lost = Box::leak(Box::new(None));
                Built { tree: mapped(inner.tree.lost_into(lost), |out| out), ends: inner.ends }
            }
            18 => {
                self.say("deadline at (");
                let inner = self.node(depth - 1, place);
                self.say(")");
                let at = Instant::now() + Duration::from_micros(self.rng.below(300));
                let tree = mapped(inner.tree.deadline(at), |result| match result {
                    Ok(out) => out,
                    Err(late) => late.into_outcome(),
                });
                Built { tree, ends: true }
            }
            14 => self.lend().unwrap_or_else(|| self.leaf(place)),
            _ => self.chain(held),
        }
    }

    fn arms(&mut self, name: &str, depth: u64, place: Place, least: u64, most: u64) -> Vec<Built<'w>> {
        self.say(format_args!("{name}("));
        let count = least + self.rng.below(most - least + 1);
        let arms = (0..count)
            .map(|n| {
                if n > 0 {
                    self.say(", ");
                }
                self.node(depth - 1, place)
            })
            .collect();
        self.say(")");
        arms
    }

    fn all(&mut self, arms: Vec<Built<'w>>) -> Built<'w> {
        let ends = arms.iter().all(|arm| arm.ends);
        let mut arms: Vec<_> = arms.into_iter().map(|arm| arm.tree).collect();
        let tree = match (self.rng.below(4), arms.len()) {
            (0, 1) => mapped(when_all((arms.remove(0),)), |(a,)| a),
            (0, 2) => {
                let b = arms.remove(1);
                mapped(when_all((arms.remove(0), b)), |(a, b)| flat([a, b]))
            }
            (0, 3) => {
                let (c, b) = (arms.remove(2), arms.remove(1));
                mapped(when_all((arms.remove(0), b, c)), |(a, b, c)| flat([a, b, c]))
            }
            (1, 2) => mapped(when_all(<[_; 2]>::try_from(arms).ok().expect("two")), flat),
            (1, 3) => mapped(when_all(<[_; 3]>::try_from(arms).ok().expect("three")), flat),
            (2, _) => mapped(when_all(arms.into_iter()), flat),
            _ => mapped(when_all(arms), flat),
        };
        Built { tree, ends }
    }

    fn any(&mut self, arms: Vec<Built<'w>>) -> Built<'w> {
        let ends = arms.iter().any(|arm| arm.ends);
        let mut arms: Vec<_> = arms.into_iter().map(|arm| arm.tree).collect();
        let tree = match (self.rng.below(4), arms.len()) {
            (0, 2) => {
                let b = arms.remove(1);
                mapped(when_any((arms.remove(0), b)), |one| one.into_inner())
            }
            (0, 3) => {
                let (c, b) = (arms.remove(2), arms.remove(1));
                mapped(when_any((arms.remove(0), b, c)), |one| one.into_inner())
            }
            (1, 2) => mapped(when_any(<[_; 2]>::try_from(arms).ok().expect("two")), |(_, out)| out),
            (1, 3) => mapped(when_any(<[_; 3]>::try_from(arms).ok().expect("three")), |(_, out)| out),
            (2, _) => mapped(when_any(arms.into_iter()), |(_, out)| out),
            _ => mapped(when_any(arms), |(_, out)| out),
        };
        Built { tree, ends }
    }

    /// One of the operations that somebody else owns, if there is one that is not an arm yet.
    fn lend(&mut self) -> Option<Built<'w>> {
        let which = self.lent.iter().position(|lent| !lent)?;
        self.lent[which] = true;
        self.say(format_args!("kept {which}"));
        Some(Built {
            tree: Box::pin(Borrowed { kept: Rc::clone(&self.kept[which].op), over: false }),
            ends: false,
        })
    }

    /// Ring operations one after the other. A failing member breaks a soft chain.
    fn chain(&mut self, place: Place) -> Built<'w> {
        let ledger = &self.world.ledger;
        let count = 1 + self.rng.below(3) as usize;
        let leaves: Vec<usize> =
            (0..count).map(|_| ledger.new_leaf("chained nop".to_owned(), place)).collect();
        leaves.iter().for_each(|leaf| ledger.set_stage(*leaf, Stage::Discarded)); // a chain keeps the accounts of one
        let leaf = ledger.new_leaf("chain".to_owned(), place);
        let hard = self.rng.one_in(2);
        self.say(if hard { "hard chain" } else { "chain" });
        let broken = self.rng.one_in(3);
        let members: Vec<_> = (0..count).map(|_| ops::timeout(if broken { HOUR } else { SOON })).collect();
        let check = |results: Vec<io::Result<()>>| {
            for result in results {
                assert!(result.is_ok() || result.is_err_and(cancelled), "a timer fails in no other way");
            }
        };
        let tree = match (hard, self.rng.one_in(4)) {
            (true, false) => self.tracked(leaf, hard_link(members), check),
            (true, true) => self.tracked(leaf, hard_link(members).always_async(), check),
            (false, false) => self.tracked(leaf, link(members), check),
            (false, true) => self.tracked(leaf, link(members).always_async(), check),
        };
        Built { tree, ends: !broken }
    }

    fn leaf(&mut self, place: Place) -> Built<'w> {
        let world = self.world;
        for _ in 0..20 {
            let pick = |rng: &mut Rng, count: usize| (count > 0).then(|| rng.below(count as u64) as usize);
            let built = match self.rng.below(19) {
                0 | 1 => pick(self.rng, world.incoming.len()).map(|n| self.read(n, place)),
                2 => pick(self.rng, world.outgoing.len()).map(|n| self.write(n, place)),
                3 => pick(self.rng, world.listening.len()).map(|n| self.accept(n, place)),
                4 => pick(self.rng, world.called.len()).map(|n| self.connect(n, place)),
                5 => Some(self.timer(place)),
                6 | 7 => Some(self.push(place)),
                8 | 9 => Some(self.pop(place)),
                10 => self.end(place),
                11 => Some(self.join(place)),
                12 => pick(self.rng, world.listening.len()).map(|n| self.accept(n, place)),
                13 | 14 => Some(self.select(place)),
                15 => Some(self.reserve(place)),
                16 | 17 => pick(self.rng, world.incoming.len()).map(|n| self.chained_read(n, place)),
                _ => Some(self.lifted(place)),
            };
            if let Some(built) = built {
                return built;
            }
        }
        self.timer(place)
    }

    fn new_leaf(&mut self, what: &str, place: Place) -> usize {
        self.say(what);
        self.world.ledger.new_leaf(what.to_owned(), place)
    }

    fn tracked<O: Operation + 'w>(&self, leaf: usize, op: O, keep: impl FnMut(O::Output) + 'w) -> Tree<'w> {
        let ledger = Rc::clone(&self.world.ledger);
        Box::pin(Tracked {
            op: Box::pin(op),
            leaf,
            ledger,
            kept: self.keeping,
            begin: Box::new(|| {}),
            keep: Box::new(keep),
        })
    }

    fn read(&mut self, number: usize, place: Place) -> Built<'w> {
        let stream = &self.world.incoming[number];
        let len = 1 + self.rng.below(8) as usize;
        let leaf = self.new_leaf(&format!("read {len} of {number}"), place);
        let keep = move |(result, buf): (io::Result<usize>, Vec<u8>)| {
            assert!(buf.capacity() >= len, "the buffer comes back");
            match result {
                Ok(n) => stream.deliver(&buf[..n]),
                Err(error) => assert!(cancelled(error)),
            }
        };
        let buf = vec![0; len];
        let tree = if stream.is_socket {
            self.reader(number, leaf, ops::recv(&stream.fd, buf), keep)
        } else {
            self.reader(number, leaf, ops::read(&stream.fd, buf), keep)
        };
        Built { tree, ends: true }
    }

    /// A leaf that reads this stream, and says so when it starts.
    fn reader<O: Operation + 'w>(
        &self,
        number: usize,
        leaf: usize,
        op: O,
        keep: impl FnMut(O::Output) + 'w,
    ) -> Tree<'w> {
        let stream = &self.world.incoming[number];
        stream.readers.borrow_mut().push(leaf);
        let ledger = Rc::clone(&self.world.ledger);
        let begin = Box::new(move || stream.begin(&ledger));
        let ledger = Rc::clone(&self.world.ledger);
        Box::pin(Tracked { op: Box::pin(op), leaf, ledger, kept: self.keeping, begin, keep: Box::new(keep) })
    }

    /// A receive at the end of a chain, or with a limit that the kernel keeps.
    fn chained_read(&mut self, number: usize, place: Place) -> Built<'w> {
        let stream = &self.world.incoming[number];
        let len = 1 + self.rng.below(8) as usize;
        let leaf = self.new_leaf(&format!("read {len} of {number} in a chain"), place);
        let keep = move |(result, buf): (io::Result<usize>, Vec<u8>)| match result {
            Ok(n) => stream.deliver(&buf[..n]),
            Err(error) => assert!(cancelled(error)),
        };
        let read = || ops::read(&stream.fd, vec![0; len]);
        let tree = match self.rng.below(3) {
            0 => self.reader(number, leaf, link((ops::nop(), read())), move |(_, read)| keep(read)),
            1 => self
                .reader(number, leaf, hard_link((ops::timeout(SOON), read())), move |(_, read)| keep(read)),
            _ => self.reader(number, leaf, read().link_timeout(SOON), move |result| match result {
                Ok(read) => keep(read),
                Err(late) => keep(late.into_outcome()),
            }),
        };
        Built { tree, ends: true }
    }

    /// Waits for room, and pushes into it or gives it up.
    fn reserve(&mut self, place: Place) -> Built<'w> {
        let number = self.rng.below(self.world.queues.len() as u64) as usize;
        let queue = &self.world.queues[number];
        let name = queue.name(number);
        let leaf = self.new_leaf(&format!("reserve {name}"), place);
        let ledger = &self.world.ledger;
        let gives_up = self.rng.one_in(3);
        macro_rules! keep {
            () => {
                move |result: Result<_, PushError<()>>| {
                    if let Ok(permit) = result
                        && !gives_up
                    {
                        let message = ledger.message(&name, Where::Pushed);
                        if let Err(error) = permit.push(message) {
                            ledger.moved(&error.into_inner(), Where::Back);
                        }
                    }
                }
            };
        }
        let tree = match queue {
            Queue::Bounded(tx, _) => self.tracked(leaf, tx.reserve(), keep!()),
            Queue::Local(tx, _) => self.tracked(leaf, tx.reserve(), keep!()),
        };
        Built { tree, ends: true }
    }

    fn write(&mut self, number: usize, place: Place) -> Built<'w> {
        let stream = &self.world.outgoing[number];
        let len = 1 + self.rng.below(16) as usize;
        let leaf = self.new_leaf(&format!("write {len} to {number}"), place);
        let bytes = stream.stamp(leaf, len);
        let keep = move |(result, buf): (io::Result<usize>, Vec<u8>)| {
            assert_eq!(buf.len(), len, "the buffer comes back");
            stream.wrote(leaf, result.unwrap_or_else(|error| if cancelled(error) { 0 } else { usize::MAX }));
        };
        let tree = if stream.is_socket {
            self.tracked(leaf, ops::send(&stream.fd, bytes), keep)
        } else {
            self.tracked(leaf, ops::write(&stream.fd, bytes), keep)
        };
        Built { tree, ends: true }
    }

    fn accept(&mut self, number: usize, place: Place) -> Built<'w> {
        let listener = &self.world.listening[number];
        let leaf = self.new_leaf("accept", place);
        self.accepts += 1;
        let keep = move |result: io::Result<Fd>| match result {
            Ok(connection) => listener.accepted(connection),
            Err(error) => assert!(cancelled(error)),
        };
        Built { tree: self.tracked(leaf, ops::accept(&listener.fd), keep), ends: true }
    }

    fn connect(&mut self, number: usize, place: Place) -> Built<'w> {
        let called = &self.world.called[number];
        let leaf = self.new_leaf("connect", place);
        let socket = Fd::from(unconnected());
        let address = Address::unix_abstract(&called.name).expect("short enough");
        let keep = move |result: io::Result<()>| match result {
            Ok(()) => called.stand.set(called.stand.get() + 1),
            Err(error) => assert!(cancelled(error)),
        };
        Built { tree: self.tracked(leaf, ops::connect(socket, address), keep), ends: true }
    }

    fn timer(&mut self, place: Place) -> Built<'w> {
        let (limit, name) = match self.rng.below(4) {
            0 => (Duration::ZERO, "zero"),
            1 => (SOON, "soon"),
            2 => (2 * SOON, "soon after"),
            _ => (HOUR, "an hour"),
        };
        let tree = match self.rng.below(3) {
            0 => {
                let leaf = self.new_leaf(&format!("sleep {name}"), place);
                self.tracked(leaf, time::sleep(limit), |()| {})
            }
            1 => {
                let leaf = self.new_leaf(&format!("timeout {name}"), place);
                let keep = |result: io::Result<()>| assert!(result.is_ok() || result.is_err_and(cancelled));
                self.tracked(leaf, ops::timeout(limit), keep)
            }
            _ => {
                let leaf = self.new_leaf("nop", place);
                let keep = |result: io::Result<()>| assert!(result.is_ok() || result.is_err_and(cancelled));
                return Built { tree: self.tracked(leaf, ops::nop(), keep), ends: true };
            }
        };
        Built { tree, ends: limit < HOUR }
    }

    fn push(&mut self, place: Place) -> Built<'w> {
        let number = self.rng.below(self.world.queues.len() as u64) as usize;
        let queue = &self.world.queues[number];
        let name = queue.name(number);
        let leaf = self.new_leaf(&format!("push {name}"), place);
        let ledger = &self.world.ledger;
        let message = ledger.message(&name, Where::WithPush(leaf));
        let id = message.number;
        let keep = move |result: Result<(), PushError<Message>>| pushed(ledger, leaf, id, result);
        let tree = match queue {
            Queue::Bounded(tx, _) => self.tracked(leaf, tx.push(message), keep),
            Queue::Local(tx, _) => self.tracked(leaf, tx.push(message), keep),
        };
        Built { tree, ends: true }
    }

    fn pop(&mut self, place: Place) -> Built<'w> {
        let number = self.rng.below(self.world.queues.len() as u64) as usize;
        let queue = &self.world.queues[number];
        let leaf = self.new_leaf(&format!("pop {}", queue.name(number)), place);
        let tree = match queue {
            Queue::Bounded(_, rx) => self.tracked(leaf, rx.pop(), keep_message(&self.world.ledger)),
            Queue::Local(_, rx) => self.tracked(leaf, rx.pop(), keep_message(&self.world.ledger)),
        };
        Built { tree, ends: true }
    }

    /// An operation on an end that only one can use, if one is left.
    fn end(&mut self, place: Place) -> Option<Built<'w>> {
        let world = self.world;
        let ledger = &world.ledger;
        let tree = match self.rng.below(3) {
            0 => {
                let producer = world.producers.borrow_mut().pop()?;
                let leaf = self.new_leaf("push spsc", place);
                let message = ledger.message("spsc out", Where::WithPush(leaf));
                let id = message.number;
                let keep = move |result| pushed(ledger, leaf, id, result);
                self.tracked(leaf, producer.push(message), keep)
            }
            1 => {
                let consumer = world.consumers.borrow_mut().pop()?;
                let leaf = self.new_leaf("pop spsc", place);
                self.tracked(leaf, consumer.pop(), keep_message(ledger))
            }
            _ => {
                let receiver = world.receivers.borrow_mut().pop()?;
                let leaf = self.new_leaf("pop oneshot", place);
                self.tracked(leaf, receiver.pop(), keep_message(ledger))
            }
        };
        Some(Built { tree, ends: true })
    }

    /// A task that waits at the gate.
    fn join(&mut self, place: Place) -> Built<'w> {
        let leaf = self.new_leaf("join", place);
        let ledger = Rc::clone(&self.world.ledger);
        let gate = self.world.gate.1.clone();
        let alive = Alive::new(&ledger);
        let turns = self.rng.below(3);
        let task = spawn(async move {
            let _alive = alive;
            for _ in 0..turns {
                yield_now().await;
            }
            let _ = gate.pop().await;
            17
        });
        let keep = |result: Result<i32, JoinError>| match result {
            Ok(seventeen) => assert_eq!(seventeen, 17),
            Err(error) => assert!(error.is_cancelled()),
        };
        Built { tree: self.tracked(leaf, task, keep), ends: true }
    }

    /// A `select!` over two pops and a timer, as an arm like any other.
    fn select(&mut self, place: Place) -> Built<'w> {
        let count = self.world.queues.len() as u64;
        let (a, b) = (self.rng.below(count) as usize, self.rng.below(count) as usize);
        let (Queue::Bounded(_, a), Queue::Bounded(_, b)) = (&self.world.queues[a], &self.world.queues[b])
        else {
            return self.lifted(place);
        };
        let biased = self.rng.one_in(2);
        let limit = if self.rng.one_in(2) { SOON } else { HOUR };
        let turns = 1 + self.rng.below(3);
        let leaf = self.new_leaf("select", place);
        let ledger = Rc::clone(&self.world.ledger);
        // A message that was popped is accounted for at once: the next turn may be dropped.
        let future = async move {
            for _ in 0..turns {
                let popped = if biased {
                    select! {
                        biased;
                        popped = a.pop() => popped,
                        () = time::sleep(limit) => break,
                        popped = b.pop() => popped,
                    }
                } else {
                    select! {
                        popped = a.pop() => popped,
                        popped = b.pop() => popped,
                        () = time::sleep(limit) => break,
                    }
                };
                match popped {
                    Ok(message) => ledger.popped(message),
                    Err(_) => break,
                }
            }
        };
        Built { tree: self.tracked(leaf, adapters::future(future), drop), ends: true }
    }

    /// A future of somebody else's.
    fn lifted(&mut self, place: Place) -> Built<'w> {
        let turns = self.rng.below(4);
        let number = self.rng.below(self.world.queues.len() as u64) as usize;
        if let (true, Queue::Bounded(_, rx)) = (self.rng.one_in(2), &self.world.queues[number]) {
            let leaf = self.new_leaf("lifted pop", place);
            let future = async move {
                for _ in 0..turns {
                    yield_now().await;
                }
                rx.pop().await
            };
            let mut keep = keep_message(&self.world.ledger);
            let keep = move |result: Result<_, adapters::Cancelled>| {
                if let Ok(popped) = result {
                    keep(popped);
                }
            };
            return Built { tree: self.tracked(leaf, adapters::future(future), keep), ends: true };
        }
        let leaf = self.new_leaf("lifted turns", place);
        let future = async move {
            for _ in 0..turns {
                yield_now().await;
            }
        };
        Built { tree: self.tracked(leaf, adapters::future(future), drop), ends: true }
    }

    /// An operation that is never an arm by value: a pop or a read that stays in flight from tree to tree.
    pub(crate) fn keep(&mut self) -> Kept<'w> {
        // Every tree that borrows it may throw its output away, and not every one is a race.
        let place = Place { raced: false, held: true, exposed: true };
        self.keeping = true;
        let built = match self.rng.below(3) {
            0 if !self.world.incoming.is_empty() => self.read(0, place),
            1 => self.push(place),
            _ => self.pop(place),
        };
        Kept { op: Rc::new(RefCell::new(built.tree)), leaf: self.world.ledger.leaves.borrow().len() - 1 }
    }
}

fn cancelled(error: io::Error) -> bool {
    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED), "{error}");
    true
}

/// Notes what a push said of its message.
fn pushed(ledger: &Rc<Ledger>, leaf: usize, id: usize, result: Result<(), PushError<Message>>) {
    match result {
        Ok(()) => {
            let mut messages = ledger.messages.borrow_mut();
            match messages[id].place {
                Where::WithPush(_) => messages[id].place = Where::PushedBy(leaf),
                Where::Popped => {} // faster than its push could say
                place => panic!("{place:?} after its push said it is in the channel"),
            }
        }
        Err(error) => {
            let message = error.into_inner();
            assert_eq!(message.number, id, "the message that comes back is the one that went in");
            ledger.moved(&message, Where::Back);
        }
    }
}

fn keep_message(ledger: &Rc<Ledger>) -> impl FnMut(Result<Message, PopError>) + use<> {
    let ledger = Rc::clone(ledger);
    move |result| {
        if let Ok(message) = result {
            ledger.popped(message);
        }
    }
}

fn flat(outs: impl IntoIterator<Item = Out>) -> Out {
    outs.into_iter().flatten().collect()
}

/// Says that a task is there.
struct Alive(Rc<Ledger>);

impl Alive {
    fn new(ledger: &Rc<Ledger>) -> Self {
        ledger.tasks_alive.set(ledger.tasks_alive.get() + 1);
        Self(Rc::clone(ledger))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.tasks_alive.set(self.0.tasks_alive.get() - 1);
    }
}
