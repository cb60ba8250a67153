//! What a channel is to somebody who calls one thing after the other.
//!
//! Knows: the plain model of channels with waiters. Does not know: the crate, threads.

use std::collections::VecDeque;

use crate::channel_model::{Model, Refused, Stage, Value};
use crate::search::Specification;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    TryPush(Value),
    TryPop,
    /// Waits, and gives up when it has waited long enough.
    Push(Value),
    /// As a push in a race: it takes effect only in its own poll.
    Arm(Value),
    Pop,
    Len,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Pushed(Result<(), Refused>),
    Popped(Result<Value, Refused>),
    Len(usize),
    Closed(bool),
}

/// `bounded`: two lines of waiters, and a value that is pushed for one of them is its own.
impl Specification for Model {
    type Call = Call;
    type Reply = Reply;

    fn steps(&self, id: usize, call: &Call) -> Vec<(Self, Option<Reply>)> {
        let mut next = self.clone();
        let step = match *call {
            Call::TryPush(value) => Some(Reply::Pushed(next.try_push(value))),
            Call::TryPop => Some(Reply::Popped(next.try_pop())),
            Call::Len => Some(Reply::Len(next.len())),
            Call::Close => Some(Reply::Closed(next.close())),
            Call::Push(_) | Call::Arm(_) | Call::Pop => return waits(next, id, call),
        };
        next.forget(id);
        vec![(next, step)]
    }
}

fn poll(model: &mut Model, id: usize, call: &Call) -> Option<Reply> {
    let reply = match call {
        Call::Push(_) | Call::Arm(_) => model.poll_push(id).map(Reply::Pushed),
        _ => model.poll_pop(id).map(Reply::Popped),
    };
    model.forget(id);
    reply
}

fn waits(mut next: Model, id: usize, call: &Call) -> Vec<(Model, Option<Reply>)> {
    let stage = if next.waits(id) { Some(next.stage(id)) } else { None };
    match (stage, *call) {
        (None, Call::Push(value)) => next.new_push(id, value, false),
        (None, Call::Arm(value)) => next.new_push(id, value, true),
        (None, _) => next.new_pop(id),
        _ => {}
    }
    let mut steps = Vec::new();
    if matches!(stage, Some(Stage::InLine | Stage::Told)) {
        let mut given_up = next.clone();
        given_up.request_cancel(id);
        let reply = poll(&mut given_up, id, call);
        steps.push((given_up, reply));
    }
    // As long as nobody has told it, it cannot do anything else.
    if stage != Some(Stage::InLine) {
        let reply = poll(&mut next, id, call);
        steps.push((next, reply));
    }
    steps
}

/// `spsc`: a queue. Who waits is nobody's business but its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Queue {
    pub(crate) capacity: usize,
    pub(crate) values: VecDeque<Value>,
    pub(crate) closed: bool,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, values: VecDeque::new(), closed: false }
    }

    fn push(&mut self, value: Value) -> Result<(), Refused> {
        if self.closed {
            Err(Refused::Closed)
        } else if self.values.len() == self.capacity {
            Err(Refused::NotNow)
        } else {
            self.values.push_back(value);
            Ok(())
        }
    }

    fn pop(&mut self) -> Result<Value, Refused> {
        let nothing = if self.closed { Refused::Closed } else { Refused::NotNow };
        self.values.pop_front().ok_or(nothing)
    }
}

impl Specification for Queue {
    type Call = Call;
    type Reply = Reply;

    fn steps(&self, _id: usize, call: &Call) -> Vec<(Self, Option<Reply>)> {
        let mut next = self.clone();
        let reply = match *call {
            Call::TryPush(value) => Reply::Pushed(next.push(value)),
            Call::TryPop => Reply::Popped(next.pop()),
            Call::Len => Reply::Len(next.values.len()),
            Call::Close => Reply::Closed(!std::mem::replace(&mut next.closed, true)),
            // Where there is nothing to do yet it may wait or give up; only the latter is a step.
            Call::Push(value) | Call::Arm(value) => Reply::Pushed(next.push(value).map_err(given_up)),
            Call::Pop => Reply::Popped(next.pop().map_err(given_up)),
        };
        vec![(next, Some(reply))]
    }
}

fn given_up(why: Refused) -> Refused {
    if why == Refused::NotNow { Refused::Cancelled } else { why }
}
