//! What a channel with waiters is, without futures, locks or threads: a queue, two lines, and two rules.
//!
//! Knows: the documentation of `millstream::channel`. Does not know: the crate. `channels_model` runs it beside the real
//! thing, `channels_linear` asks it which histories there can be.
//!
//! ```text
//!   free = values that are not counted for a pop        room = capacity + waiting pops - free - granted slots
//!
//!   a free value and a waiting pop:   the value is counted as the pop's, which is told
//!   room and a waiting push:          the push's value goes to the tail, and it is told; one that may take effect
//!                                     only in its own poll is granted the slot instead, and told
//! ```
//!
//! Whatever happens is a small change followed by [`settle`](Model::settle), which applies the rules until neither does.

#![allow(dead_code, reason = "every test that includes this file uses its own part of it")]

use std::collections::{BTreeMap, VecDeque};

/// A waiter's name.
pub(crate) type Id = usize;
/// A value's name.
pub(crate) type Value = u64;

/// Why a push or a pop did not take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Refused {
    /// Nothing to do now: full, or empty.
    NotNow,
    Closed,
    Cancelled,
}

/// ```text
///   Fresh ──▶ InLine ──▶ Told (pop: a value is counted; push: a slot is granted) ──▶ Over
///                └─────▶ Pulled | Closed | Cancelled ──────────────────────────────▶ Over
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Fresh,
    InLine,
    Told,
    Pulled,
    Closed,
    Cancelled,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Pop,
    /// What a freed slot pulls in.
    Push,
    /// What a freed slot is granted to: a push that is an arm of a race, a batch, a reservation.
    ByPoll,
    /// Waits for the close.
    Watcher,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Waiter {
    kind: Kind,
    stage: Stage,
    /// What a push holds until it is in the channel.
    values: VecDeque<Value>,
    /// When a push first stood in line; a void grant sends it back to that place.
    ticket: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Model {
    capacity: usize,
    queue: VecDeque<Value>,
    counted: usize,
    granted: usize,
    pushers: Vec<Id>,
    poppers: Vec<Id>,
    watchers: Vec<Id>,
    waiters: BTreeMap<Id, Waiter>,
    /// What those who are over have not pushed.
    left: BTreeMap<Id, VecDeque<Value>>,
    tickets: u64,
    closed: bool,
    woken: Vec<Id>,
}

impl Model {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            queue: VecDeque::new(),
            counted: 0,
            granted: 0,
            pushers: Vec::new(),
            poppers: Vec::new(),
            watchers: Vec::new(),
            waiters: BTreeMap::new(),
            left: BTreeMap::new(),
            tickets: 0,
            closed: false,
            woken: Vec::new(),
        }
    }

    // ---- what can be seen ----

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        !self.has_room()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.closed && self.queue.is_empty()
    }

    pub(crate) fn stage(&self, id: Id) -> Stage {
        self.waiters[&id].stage
    }

    /// Values that exist: in the queue, or still in a push.
    pub(crate) fn values(&self) -> usize {
        self.queue.len() + self.waiters.values().map(|waiter| waiter.values.len()).sum::<usize>()
    }

    /// How many values a newcomer may pop.
    pub(crate) fn free(&self) -> usize {
        self.queue.len() - self.counted
    }

    /// What a waiter that is over has not pushed.
    pub(crate) fn take_left(&mut self, id: Id) -> VecDeque<Value> {
        self.left.remove(&id).unwrap_or_default()
    }

    pub(crate) fn waits(&self, id: Id) -> bool {
        self.waiters.contains_key(&id)
    }

    /// Forgets what was only to be told: who was woken, and what is left of a waiter that is over.
    pub(crate) fn forget(&mut self, id: Id) {
        self.woken.clear();
        self.left.remove(&id);
    }

    /// Who was told since the last call.
    pub(crate) fn take_woken(&mut self) -> Vec<Id> {
        std::mem::take(&mut self.woken)
    }

    // ---- the rules ----

    fn has_room(&self) -> bool {
        self.capacity + self.poppers.len() > self.free() + self.granted
    }

    fn tell(&mut self, id: Id, stage: Stage) {
        self.waiters.get_mut(&id).expect("in line").stage = stage;
        self.woken.push(id);
    }

    fn settle(&mut self) {
        loop {
            if self.free() > 0 && !self.poppers.is_empty() {
                self.counted += 1;
                let id = self.poppers.remove(0);
                self.tell(id, Stage::Told);
            } else if !self.closed && self.has_room() && !self.pushers.is_empty() {
                let id = self.pushers.remove(0);
                if self.waiters[&id].kind == Kind::ByPoll {
                    self.granted += 1;
                    self.tell(id, Stage::Told);
                } else {
                    self.pull(id);
                }
            } else {
                break;
            }
        }
        if self.closed {
            for id in std::mem::take(&mut self.pushers) {
                self.tell(id, Stage::Closed);
            }
            // Not before: a counted value may still be given back to them.
            if self.queue.is_empty() {
                for id in std::mem::take(&mut self.poppers) {
                    self.tell(id, Stage::Closed);
                }
            }
            for id in std::mem::take(&mut self.watchers) {
                self.tell(id, Stage::Closed);
            }
        }
    }

    fn pull(&mut self, id: Id) {
        let value = self.waiters.get_mut(&id).and_then(|waiter| waiter.values.pop_front());
        self.queue.push_back(value.expect("a push in line has its value"));
        self.tell(id, Stage::Pulled);
    }

    // ---- at once ----

    pub(crate) fn try_push(&mut self, value: Value) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if !self.has_room() {
            return Err(Refused::NotNow);
        }
        self.queue.push_back(value);
        self.settle();
        Ok(())
    }

    pub(crate) fn try_pop(&mut self) -> Result<Value, Refused> {
        if self.free() > 0 {
            let value = self.queue.pop_front().expect("free");
            self.settle();
            return Ok(value);
        }
        if self.has_ended() {
            return Err(Refused::Closed);
        }
        // Nobody waits on behalf of this call: a push that only its own poll may complete is passed by.
        let plain = self.pushers.iter().position(|id| self.waiters[id].kind == Kind::Push);
        if let Some(at) = plain
            && self.poppers.is_empty()
        {
            let id = self.pushers.remove(at);
            self.pull(id);
            return Ok(self.queue.pop_front().expect("just pulled"));
        }
        Err(Refused::NotNow)
    }

    /// Whether this call closed it.
    pub(crate) fn close(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.closed, true);
        self.settle();
        first
    }

    /// The last receiver is gone: closed, and what is queued is dropped.
    pub(crate) fn abandon(&mut self) {
        self.close();
        self.queue.clear();
        self.counted = 0;
        self.settle();
    }

    /// Takes a slot, to be redeemed or given back.
    pub(crate) fn try_reserve(&mut self) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if !self.has_room() {
            return Err(Refused::NotNow);
        }
        self.granted += 1;
        Ok(())
    }

    /// A permit is honoured in any case but a close.
    pub(crate) fn redeem(&mut self, value: Value) -> Result<(), Refused> {
        self.granted -= 1;
        if self.closed {
            return Err(Refused::Closed);
        }
        self.queue.push_back(value);
        self.settle();
        Ok(())
    }

    pub(crate) fn give_back(&mut self) {
        self.granted -= 1;
        self.settle();
    }

    // ---- waiting ----

    fn start(&mut self, id: Id, kind: Kind, values: impl IntoIterator<Item = Value>) {
        let values = values.into_iter().collect();
        let waiter = Waiter { kind, stage: Stage::Fresh, values, ticket: None };
        assert!(self.waiters.insert(id, waiter).is_none());
    }

    pub(crate) fn new_push(&mut self, id: Id, value: Value, by_poll: bool) {
        self.start(id, if by_poll { Kind::ByPoll } else { Kind::Push }, [value]);
    }

    pub(crate) fn new_push_many(&mut self, id: Id, values: impl IntoIterator<Item = Value>) {
        self.start(id, Kind::ByPoll, values);
    }

    pub(crate) fn new_reserve(&mut self, id: Id) {
        self.start(id, Kind::ByPoll, []);
    }

    pub(crate) fn new_pop(&mut self, id: Id) {
        self.start(id, Kind::Pop, []);
    }

    pub(crate) fn new_closed(&mut self, id: Id) {
        self.start(id, Kind::Watcher, []);
    }

    fn over<R>(&mut self, id: Id, result: R) -> Option<R> {
        let waiter = self.waiters.remove(&id).expect("not over");
        if !waiter.values.is_empty() {
            self.left.insert(id, waiter.values);
        }
        Some(result)
    }

    fn waiter(&mut self, id: Id) -> &mut Waiter {
        self.waiters.get_mut(&id).expect("not over")
    }

    /// `None` is pending. A push puts its values in as long as there is room; a reservation takes one slot. A refusal
    /// gives back what is left.
    fn poll_pushing(&mut self, id: Id, reserves: bool) -> Option<Result<(), Refused>> {
        let stage = self.stage(id);
        match stage {
            Stage::InLine => return None,
            Stage::Pulled => return self.over(id, Ok(())),
            Stage::Closed => return self.over(id, Err(Refused::Closed)),
            Stage::Cancelled => return self.over(id, Err(Refused::Cancelled)),
            Stage::Fresh if !reserves && self.waiter(id).values.is_empty() => return self.over(id, Ok(())),
            Stage::Told => self.granted -= 1,
            Stage::Fresh | Stage::Over => {}
        }
        if self.closed {
            return self.over(id, Err(Refused::Closed));
        }
        if reserves && self.has_room() {
            self.granted += 1;
            return self.over(id, Ok(()));
        }
        while self.has_room()
            && let Some(value) = self.waiter(id).values.pop_front()
        {
            self.queue.push_back(value);
            self.settle();
        }
        if !reserves && self.waiter(id).values.is_empty() {
            return self.over(id, Ok(()));
        }
        if self.waiter(id).ticket.is_none() {
            self.waiter(id).ticket = Some(self.tickets);
            self.tickets += 1;
        }
        let ticket = self.waiter(id).ticket;
        let behind = |other: &Id| self.waiters[other].ticket > ticket;
        let at = self.pushers.iter().position(behind).unwrap_or(self.pushers.len());
        self.pushers.insert(at, id);
        self.waiter(id).stage = Stage::InLine;
        None
    }

    pub(crate) fn poll_push(&mut self, id: Id) -> Option<Result<(), Refused>> {
        self.poll_pushing(id, false)
    }

    /// After `Ok` there is a slot to be redeemed or given back.
    pub(crate) fn poll_reserve(&mut self, id: Id) -> Option<Result<(), Refused>> {
        self.poll_pushing(id, true)
    }

    /// `None` is pending.
    pub(crate) fn poll_pop(&mut self, id: Id) -> Option<Result<Value, Refused>> {
        match self.stage(id) {
            Stage::InLine => return None,
            Stage::Closed => return self.over(id, Err(Refused::Closed)),
            Stage::Cancelled => return self.over(id, Err(Refused::Cancelled)),
            Stage::Told => {}
            _ if self.free() > 0 => {
                let value = self.queue.pop_front().expect("free");
                self.over(id, ());
                self.settle();
                return Some(Ok(value));
            }
            _ if self.has_ended() => return self.over(id, Err(Refused::Closed)),
            _ => {
                self.poppers.push(id);
                self.waiter(id).stage = Stage::InLine;
                self.settle();
                if self.stage(id) != Stage::Told {
                    return None;
                }
                self.woken.retain(|other| *other != id); // it is being polled
            }
        }
        self.counted -= 1;
        let value = self.queue.pop_front().expect("counted");
        self.over(id, ());
        self.settle();
        Some(Ok(value))
    }

    /// What a pop that came now would get at once.
    fn pop_due(&mut self) -> Option<Value> {
        const NOBODY: Id = Id::MAX;
        let mut trial = self.clone();
        trial.new_pop(NOBODY);
        let value = trial.poll_pop(NOBODY)?.ok()?;
        *self = trial;
        Some(value)
    }

    /// A pop of up to `max` values that got `got` of them, if it got any. It must take the values that are free, and may
    /// take those that come in while it does; which they are is not its choice.
    pub(crate) fn poll_pop_many(
        &mut self,
        id: Id,
        max: usize,
        got: usize,
    ) -> Option<Result<Vec<Value>, Refused>> {
        if max == 0 && self.stage(id) == Stage::Fresh {
            return self.over(id, Ok(Vec::new()));
        }
        let first = match self.poll_pop(id)? {
            Ok(first) => first,
            Err(why) => return Some(Err(why)),
        };
        let most = got.clamp(max.min(1 + self.free()), max);
        Some(Ok(std::iter::once(first).chain(std::iter::from_fn(|| self.pop_due())).take(most).collect()))
    }

    /// `None` is pending.
    pub(crate) fn poll_closed(&mut self, id: Id) -> Option<()> {
        match self.stage(id) {
            Stage::InLine => None,
            Stage::Fresh if !self.closed => {
                self.watchers.push(id);
                self.waiter(id).stage = Stage::InLine;
                None
            }
            _ => self.over(id, ()),
        }
    }

    fn leave_lines(&mut self, id: Id) {
        for line in [&mut self.pushers, &mut self.poppers, &mut self.watchers] {
            line.retain(|other| *other != id);
        }
    }

    /// Takes a waiter out of everything, as its drop does, and says where it stood.
    pub(crate) fn withdraw(&mut self, id: Id) -> Stage {
        let Some(Waiter { kind, stage, .. }) = self.waiters.get(&id).cloned() else { return Stage::Over };
        self.over(id, ());
        self.leave_lines(id);
        if stage == Stage::Told {
            if kind == Kind::Pop {
                self.counted -= 1
            } else {
                self.granted -= 1
            }
            self.settle();
        }
        stage
    }

    /// `Push::cancel`: pushed, or why not.
    pub(crate) fn cancel_push(&mut self, id: Id) -> Result<(), Refused> {
        match self.withdraw(id) {
            Stage::Pulled => Ok(()),
            Stage::Closed => Err(Refused::Closed),
            _ => Err(Refused::Cancelled),
        }
    }

    /// `Operation::request_cancel`: it still resolves, and is told if it was in line. A pop that has a value counted
    /// delivers it; a push that was granted a slot gives it on.
    pub(crate) fn request_cancel(&mut self, id: Id) {
        let Some(Waiter { kind, stage, .. }) = self.waiters.get(&id).cloned() else { return };
        match stage {
            Stage::Fresh => self.waiter(id).stage = Stage::Cancelled,
            Stage::InLine => {
                self.leave_lines(id);
                self.tell(id, Stage::Cancelled);
            }
            Stage::Told if kind != Kind::Pop => {
                self.waiter(id).stage = Stage::Cancelled;
                self.granted -= 1;
                self.settle();
            }
            _ => {}
        }
    }
}
