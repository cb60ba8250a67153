//! What an `spsc` channel is: a queue, and one waiter on each side at most.
//!
//! Knows: the documentation. Does not know: the crate.
//!
//! Nothing happens but in a poll that finishes, so no value is counted and no slot granted for anybody. Each side has one
//! place for a waiter; whatever changes on the other side wakes who stands there, whether it helps or not, and empties it.

use std::collections::{BTreeMap, VecDeque};

use crate::channel_model::{Id, Model, Refused, Value};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Pusher = 0,
    Popper = 1,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Fresh,
    Waiting,
    Cancelled,
}

struct Waiter {
    side: Side,
    stage: Stage,
    /// What a push has not pushed.
    values: VecDeque<Value>,
}

pub(super) struct Ring {
    capacity: usize,
    queue: VecDeque<Value>,
    closed: bool,
    waiters: BTreeMap<Id, Waiter>,
    /// Who is woken by the next change on the other side.
    places: [Option<Id>; 2],
    left: BTreeMap<Id, VecDeque<Value>>,
    woken: Vec<Id>,
}

impl Ring {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            queue: VecDeque::new(),
            closed: false,
            waiters: BTreeMap::new(),
            places: [None; 2],
            left: BTreeMap::new(),
            woken: Vec::new(),
        }
    }

    fn len(&self) -> usize {
        self.queue.len()
    }

    fn is_full(&self) -> bool {
        self.queue.len() == self.capacity
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn has_ended(&self) -> bool {
        self.closed && self.queue.is_empty()
    }

    fn values(&self) -> usize {
        self.queue.len() + self.waiters.values().map(|waiter| waiter.values.len()).sum::<usize>()
    }

    fn take_left(&mut self, id: Id) -> VecDeque<Value> {
        self.left.remove(&id).unwrap_or_default()
    }

    fn take_woken(&mut self) -> Vec<Id> {
        std::mem::take(&mut self.woken)
    }

    /// This side has changed something.
    fn changed(&mut self, side: Side) {
        let other = 1 - side as usize;
        self.woken.extend(self.places[other].take());
    }

    // ---- at once ----

    fn try_push(&mut self, value: Value) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if self.is_full() {
            return Err(Refused::NotNow);
        }
        self.queue.push_back(value);
        self.changed(Side::Pusher);
        Ok(())
    }

    fn try_pop(&mut self) -> Result<Value, Refused> {
        let nothing = if self.closed { Refused::Closed } else { Refused::NotNow };
        let value = self.queue.pop_front().ok_or(nothing)?;
        self.changed(Side::Popper);
        Ok(value)
    }

    fn close(&mut self, side: Side) -> bool {
        let first = !std::mem::replace(&mut self.closed, true);
        if first {
            self.changed(side);
        }
        first
    }

    /// A permit is the producer itself: there is nothing to count.
    fn try_reserve(&mut self) -> Result<(), Refused> {
        match (self.closed, self.is_full()) {
            (true, _) => Err(Refused::Closed),
            (false, true) => Err(Refused::NotNow),
            (false, false) => Ok(()),
        }
    }

    fn redeem(&mut self, value: Value) -> Result<(), Refused> {
        let result = self.try_push(value);
        assert_ne!(result, Err(Refused::NotNow), "nobody else takes the room that a permit is for");
        result
    }

    fn give_back(&mut self) {}

    // ---- waiting ----

    fn start(&mut self, id: Id, side: Side, values: VecDeque<Value>) {
        let waiter = Waiter { side, stage: Stage::Fresh, values };
        assert!(self.waiters.insert(id, waiter).is_none());
    }

    fn new_push_many(&mut self, id: Id, values: Vec<Value>) {
        self.start(id, Side::Pusher, values.into());
    }

    fn new_push(&mut self, id: Id, value: Value, _by_poll: bool) {
        self.new_push_many(id, vec![value]);
    }

    fn new_reserve(&mut self, id: Id) {
        self.start(id, Side::Pusher, VecDeque::new());
    }

    fn new_pop(&mut self, id: Id) {
        self.start(id, Side::Popper, VecDeque::new());
    }

    fn over(&mut self, id: Id) {
        let waiter = self.waiters.remove(&id).expect("not over");
        if waiter.stage == Stage::Waiting {
            self.places[waiter.side as usize] = None;
        }
        if !waiter.values.is_empty() {
            self.left.insert(id, waiter.values);
        }
    }

    fn withdraw(&mut self, id: Id) {
        if self.waiters.contains_key(&id) {
            self.over(id);
        }
    }

    /// Whether it is `ready` or was asked to stop, and is over with that; it waits otherwise.
    fn turn(&mut self, id: Id, ready: bool) -> Option<Result<(), Refused>> {
        let waiter = self.waiters.get_mut(&id).expect("not over");
        if waiter.stage == Stage::Cancelled {
            self.over(id);
            return Some(Err(Refused::Cancelled));
        }
        if ready {
            self.over(id);
            return Some(Ok(()));
        }
        waiter.stage = Stage::Waiting;
        self.places[waiter.side as usize] = Some(id);
        None
    }

    /// `None` is pending.
    fn poll_push(&mut self, id: Id) -> Option<Result<(), Refused>> {
        let waiter = self.waiters.get_mut(&id).expect("not over");
        if waiter.stage != Stage::Cancelled {
            let room = if self.closed { 0 } else { self.capacity - self.queue.len() };
            let some = room.min(waiter.values.len());
            self.queue.extend(waiter.values.drain(..some));
            let is_over = waiter.values.is_empty();
            if some > 0 {
                self.changed(Side::Pusher);
            }
            if self.closed && !is_over {
                self.over(id);
                return Some(Err(Refused::Closed));
            }
            return self.turn(id, is_over);
        }
        self.turn(id, false)
    }

    fn poll_reserve(&mut self, id: Id) -> Option<Result<(), Refused>> {
        let result = self.try_reserve();
        self.turn(id, result != Err(Refused::NotNow)).map(|turn| turn.and(result))
    }

    fn poll_pop(&mut self, id: Id) -> Option<Result<Value, Refused>> {
        let ready = self.closed || !self.queue.is_empty();
        let turn = self.turn(id, ready)?;
        Some(turn.and_then(|()| self.try_pop()))
    }

    /// As many as there are: the consumer is alone, so what it got is no news.
    fn poll_pop_many(&mut self, id: Id, max: usize, _got: usize) -> Option<Result<Vec<Value>, Refused>> {
        let ready = max == 0 || self.closed || !self.queue.is_empty();
        let turn = self.turn(id, ready)?;
        Some(turn.and_then(|()| {
            let popped: Vec<_> = std::iter::from_fn(|| self.try_pop().ok()).take(max).collect();
            if popped.is_empty() && max > 0 { Err(Refused::Closed) } else { Ok(popped) }
        }))
    }

    fn poll_closed(&mut self, id: Id) -> Option<()> {
        self.turn(id, self.closed).map(drop)
    }

    /// The consumer as a stream: each poll is a pop of its own, but its waker stays.
    pub(super) fn poll_next(&mut self, id: Id) -> Option<Result<Value, Refused>> {
        let popped = self.try_pop();
        if popped == Err(Refused::NotNow) {
            self.places[Side::Popper as usize] = Some(id);
            return None;
        }
        Some(popped)
    }

    /// The producer as a sink, likewise.
    #[cfg(feature = "sink")]
    pub(super) fn poll_ready(&mut self, id: Id) -> bool {
        let ready = self.closed || !self.is_full();
        if !ready {
            self.places[Side::Pusher as usize] = Some(id);
        }
        ready
    }

    fn cancel_push(&mut self, id: Id) -> Result<(), Refused> {
        let waited = self.waiters[&id].stage == Stage::Waiting;
        self.over(id);
        Err(if waited && self.closed { Refused::Closed } else { Refused::Cancelled })
    }

    fn request_cancel(&mut self, id: Id) {
        let Some(waiter) = self.waiters.get_mut(&id) else { return };
        if std::mem::replace(&mut waiter.stage, Stage::Cancelled) == Stage::Waiting {
            self.woken.extend(self.places[waiter.side as usize].take());
        }
    }
}

/// What a channel should do: at capacity 0 it is one with two lines of waiters.
pub(super) enum Spec {
    Ring(Ring),
    Meet(Model),
}

macro_rules! both {
    ($(fn $name:ident(&mut self $(, $arg:ident: $type:ty)*) $(-> $result:ty)?;)*) => {$(
        pub(super) fn $name(&mut self, $($arg: $type),*) $(-> $result)? {
            match self {
                Self::Ring(ring) => ring.$name($($arg),*),
                Self::Meet(model) => model.$name($($arg),*),
            }
        }
    )*};
}

impl Spec {
    pub(super) fn new(capacity: usize) -> Self {
        if capacity == 0 { Self::Meet(Model::new(0)) } else { Self::Ring(Ring::new(capacity)) }
    }

    both! {
        fn len(&mut self) -> usize;
        fn is_full(&mut self) -> bool;
        fn is_closed(&mut self) -> bool;
        fn has_ended(&mut self) -> bool;
        fn values(&mut self) -> usize;
        fn take_left(&mut self, id: Id) -> VecDeque<Value>;
        fn take_woken(&mut self) -> Vec<Id>;
        fn try_push(&mut self, value: Value) -> Result<(), Refused>;
        fn try_pop(&mut self) -> Result<Value, Refused>;
        fn try_reserve(&mut self) -> Result<(), Refused>;
        fn redeem(&mut self, value: Value) -> Result<(), Refused>;
        fn give_back(&mut self);
        fn new_push(&mut self, id: Id, value: Value, by_poll: bool);
        fn new_push_many(&mut self, id: Id, values: Vec<Value>);
        fn new_reserve(&mut self, id: Id);
        fn new_pop(&mut self, id: Id);
        fn poll_push(&mut self, id: Id) -> Option<Result<(), Refused>>;
        fn poll_reserve(&mut self, id: Id) -> Option<Result<(), Refused>>;
        fn poll_pop(&mut self, id: Id) -> Option<Result<Value, Refused>>;
        fn poll_pop_many(&mut self, id: Id, max: usize, got: usize) -> Option<Result<Vec<Value>, Refused>>;
        fn poll_closed(&mut self, id: Id) -> Option<()>;
        fn cancel_push(&mut self, id: Id) -> Result<(), Refused>;
        fn request_cancel(&mut self, id: Id);
    }

    pub(super) fn new_closed(&mut self, id: Id, side: Side) {
        match self {
            Self::Ring(ring) => ring.start(id, side, VecDeque::new()),
            Self::Meet(model) => model.new_closed(id),
        }
    }

    /// What it was is forgotten.
    pub(super) fn withdraw(&mut self, id: Id) {
        match self {
            Self::Ring(ring) => ring.withdraw(id),
            Self::Meet(model) => drop(model.withdraw(id)),
        }
    }

    pub(super) fn close(&mut self, side: Side) -> bool {
        match self {
            Self::Ring(ring) => ring.close(side),
            Self::Meet(model) => model.close(),
        }
    }

    /// An end is gone, and the waker it may have left; with the consumer, all that is in the channel.
    pub(super) fn leave(&mut self, side: Side) {
        if let Self::Ring(ring) = self {
            ring.places[side as usize] = None;
        }
        match (self, side) {
            (Self::Meet(model), Side::Popper) => model.abandon(),
            (Self::Ring(ring), Side::Popper) => {
                ring.close(side);
                ring.queue.clear();
            }
            (spec, Side::Pusher) => drop(spec.close(side)),
        }
    }
}
