//! Random polls, drops, cancels, waker changes, panicking clones and closes on one thread, each outcome compared with a
//! plain model: a list of what was pushed, and an index into it for each receiver.

use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_core::Stream;

use super::support::{Bell, Census, Rng, Token, poll_with, seed};
use crate::channel::broadcast::{Lagged, Overflow, PopError, Push, Receiver, Sender, TryPopError};
use crate::channel::{PushError, TryPushError, broadcast};
use crate::operation::Operation;

/// A token that can be cloned, unless its clone is armed to panic.
struct Value(Token, Arc<AtomicBool>);

impl Clone for Value {
    fn clone(&self) -> Self {
        if self.1.swap(false, Ordering::SeqCst) {
            std::panic::resume_unwind(Box::new("a clone that panics")); // without the hook's report
        }
        Self(self.0.census().token(self.0.id), self.1.clone())
    }
}

/// What a receiver is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Value(u64),
    Lagged(u64),
    Nothing,
    Closed,
    /// The clone panicked.
    Panic,
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unpolled,
    Waiting,
    Granted,
    Pushed,
    Refused,
    Cancelled,
}

struct PushTask<'a> {
    id: u64,
    arm: bool,
    fate: Fate,
    future: Pin<Box<Push<'a, Value>>>,
    bell: Arc<Bell>,
    /// Whether it was pending when it was last polled, and not woken since.
    sleeps: bool,
}

struct Reader {
    rx: Receiver<Value>,
    next: usize,
    kept: Option<u64>,
    bell: Arc<Bell>,
    sleeps: bool,
}

struct World<'a> {
    rng: Rng,
    context: String,
    census: Census,
    armed: Arc<AtomicBool>,
    tx: &'a Sender<Value>,
    capacity: usize,
    overflow: Overflow,
    pushed: Vec<u64>,
    closed: bool,
    granted: usize,
    line: VecDeque<u64>,
    readers: Vec<Reader>,
    pushes: Vec<PushTask<'a>>,
    next_id: u64,
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.context); // for the panics of the audit
        }
    }
}

impl<'a> World<'a> {
    // ---- the model ----

    /// The oldest value that is still there.
    fn head(&self) -> usize {
        self.pushed.len().saturating_sub(self.capacity)
    }

    fn len(&self) -> usize {
        let slowest = self.readers.iter().map(|reader| reader.next).min().unwrap_or(self.pushed.len());
        self.pushed.len() - slowest.max(self.head())
    }

    fn has_slot(&self) -> bool {
        self.len() + self.granted < self.capacity
    }

    fn has_room(&self) -> bool {
        self.overflow == Overflow::Lag || self.readers.is_empty() || self.has_slot()
    }

    fn accept(&mut self, id: u64) {
        if !self.readers.is_empty() {
            self.pushed.push(id);
        }
    }

    /// Lets pushes in line go on.
    fn settle(&mut self) {
        while let (Some(id), false) = (self.line.front().copied(), self.closed) {
            let at = self.pushes.iter().position(|push| push.id == id).unwrap();
            let (fate, room) = if self.pushes[at].arm {
                (Fate::Granted, self.has_slot())
            } else {
                (Fate::Pushed, self.has_room())
            };
            if !room {
                return;
            }
            self.line.pop_front();
            self.pushes[at].fate = fate;
            match fate {
                Fate::Granted => self.granted += 1,
                _ => self.accept(id),
            }
        }
    }

    fn expect_pop(&mut self, at: usize, armed: bool) -> Told {
        let (head, tail) = (self.head(), self.pushed.len());
        // It is cloned if somebody else still needs it: in the ring, or kept.
        let position = match self.readers[at].kept {
            Some(id) => self.pushed.iter().position(|pushed| *pushed == id).unwrap(),
            None => self.readers[at].next,
        };
        let cloned = self.readers.iter().enumerate().filter(|(other, _)| *other != at).any(|(_, other)| {
            other.next <= position && position >= head
                || other.kept.is_some() && other.kept == self.pushed.get(position).copied()
        });
        let reader = &mut self.readers[at];
        if let Some(id) = reader.kept {
            if armed && cloned {
                return Told::Panic;
            }
            reader.kept = None;
            return Told::Value(id);
        }
        if reader.next < head {
            let missed = head - reader.next;
            reader.next = head;
            return Told::Lagged(missed as u64);
        }
        if reader.next == tail {
            return if self.closed { Told::Closed } else { Told::Nothing };
        }
        let id = self.pushed[reader.next];
        reader.next += 1;
        if armed && cloned {
            reader.kept = Some(id);
        }
        let told = if armed && cloned { Told::Panic } else { Told::Value(id) };
        self.settle();
        told
    }

    // ---- the steps ----

    fn value(&mut self) -> Value {
        self.next_id += 1;
        Value(self.census.token(self.next_id), self.armed.clone())
    }

    fn step(&mut self) {
        match self.rng.below(20) {
            0..=2 => self.try_push(),
            3..=5 => self.new_push(),
            6 | 7 => self.poll_push(),
            8 => self.give_up_push(),
            9 => self.new_reader(),
            10 => {
                if !self.readers.is_empty() && self.rng.chance(3) {
                    let at = self.rng.below(self.readers.len());
                    self.readers.swap_remove(at);
                    self.settle();
                }
            }
            11 => {
                if self.rng.chance(60) {
                    assert_eq!(self.tx.close(), !self.closed, "{}", self.context);
                    self.closed = true;
                    for push in &mut self.pushes {
                        if push.fate == Fate::Waiting {
                            push.fate = Fate::Refused;
                        }
                    }
                    self.line.clear();
                }
            }
            _ => self.pop(),
        }
        self.audit();
    }

    fn try_push(&mut self) {
        let value = self.value();
        let id = value.0.id;
        match self.tx.try_push(value) {
            Ok(()) => {
                assert!(!self.closed && self.line.is_empty() && self.has_room(), "{}", self.context);
                self.accept(id);
            }
            Err(TryPushError::Full(value)) => {
                assert!(!self.closed && (!self.has_room() || !self.line.is_empty()), "{}", self.context);
                assert_eq!(value.0.id, id);
            }
            Err(TryPushError::Closed(_)) => assert!(self.closed, "{}", self.context),
        }
    }

    fn new_push(&mut self) {
        let value = self.value();
        let id = value.0.id;
        let mut future = Box::pin(self.tx.push(value));
        let arm = self.rng.chance(3);
        if arm {
            future.as_mut().commit_on_poll();
        }
        let task = PushTask { id, arm, fate: Fate::Unpolled, future, bell: Bell::new().0, sleeps: false };
        self.pushes.push(task);
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
        let (id, fate) = (self.pushes[at].id, self.pushes[at].fate);
        let expected = match fate {
            Fate::Unpolled if self.closed => Fate::Refused,
            Fate::Unpolled if self.line.is_empty() && self.has_room() => Fate::Pushed,
            Fate::Unpolled => Fate::Waiting,
            Fate::Granted if self.closed => Fate::Refused,
            Fate::Granted => Fate::Pushed,
            other => other,
        };
        if fate == Fate::Granted {
            self.granted -= 1;
        }
        match (fate, expected) {
            (Fate::Unpolled, Fate::Waiting) => self.line.push_back(id),
            (Fate::Unpolled | Fate::Granted, Fate::Pushed) => self.accept(id),
            _ => {}
        }
        let task = &mut self.pushes[at];
        task.fate = expected;
        if self.rng.chance(2) {
            task.bell = Bell::new().0;
        }
        task.bell.rings();
        let waker = Waker::from(task.bell.clone());
        let polled = poll_with(task.future.as_mut(), &waker);
        task.sleeps = polled.is_pending();
        let got = match &polled {
            Poll::Pending => Fate::Waiting,
            Poll::Ready(Ok(())) => Fate::Pushed,
            Poll::Ready(Err(PushError::Closed(value))) if value.0.id == id => Fate::Refused,
            Poll::Ready(Err(PushError::Cancelled(value))) if value.0.id == id => Fate::Cancelled,
            Poll::Ready(Err(_)) => unreachable!("another push's value"),
        };
        assert_eq!(got, expected, "{}", self.context);
        drop(polled);
        if got != Fate::Waiting {
            self.pushes.swap_remove(at);
        }
        self.settle();
    }

    fn give_up_push(&mut self) {
        if self.pushes.is_empty() {
            return;
        }
        let at = self.rng.below(self.pushes.len());
        let task = &mut self.pushes[at];
        let id = task.id;
        self.line.retain(|other| *other != id);
        if task.fate == Fate::Granted {
            self.granted -= 1;
        }
        if matches!(task.fate, Fate::Unpolled | Fate::Waiting | Fate::Granted) {
            task.fate = Fate::Cancelled;
        }
        match self.rng.below(4) {
            0 => task.future.as_mut().request_cancel(),
            way => {
                let mut task = self.pushes.swap_remove(at);
                match way {
                    1 => {
                        let got = match task.future.as_mut().cancel() {
                            Ok(()) => Fate::Pushed,
                            Err(PushError::Closed(_)) => Fate::Refused,
                            Err(PushError::Cancelled(_)) => Fate::Cancelled,
                        };
                        assert_eq!(got, task.fate, "{}", self.context);
                    }
                    2 => {
                        let mut cx = Context::from_waker(Waker::noop());
                        assert!(task.future.as_mut().poll_discard(&mut cx).is_ready());
                    }
                    _ => {}
                }
            }
        }
        self.settle();
    }

    fn new_reader(&mut self) {
        if self.readers.len() > 4 {
            return;
        }
        let (rx, next, kept) = match self.rng.below(3) {
            0 if !self.readers.is_empty() => {
                let other = &self.readers[self.rng.below(self.readers.len())];
                (other.rx.clone(), other.next, other.kept)
            }
            1 if !self.readers.is_empty() => (self.readers[0].rx.resubscribe(), self.pushed.len(), None),
            _ => (self.tx.subscribe(), self.pushed.len(), None),
        };
        self.readers.push(Reader { rx, next, kept, bell: Bell::new().0, sleeps: false });
    }

    fn pop(&mut self) {
        if self.readers.is_empty() {
            return;
        }
        let at = self.rng.below(self.readers.len());
        let armed = self.rng.chance(6);
        let expected = self.expect_pop(at, armed);
        let (way, change) = (self.rng.below(3), self.rng.chance(2));
        let reader = &mut self.readers[at];
        if change {
            reader.bell = Bell::new().0;
        }
        reader.sleeps = false;
        let waker = Waker::from(reader.bell.clone());
        self.armed.store(armed, Ordering::SeqCst);
        let got = catch_unwind(AssertUnwindSafe(|| match way {
            0 => match reader.rx.try_pop() {
                Ok(value) => Told::Value(value.0.id),
                Err(TryPopError::Lagged(missed)) => Told::Lagged(missed),
                Err(TryPopError::Empty) => Told::Nothing,
                Err(TryPopError::Closed) => Told::Closed,
            },
            1 => match poll_with(pin!(reader.rx.pop()), &waker) {
                Poll::Ready(Ok(value)) => Told::Value(value.0.id),
                Poll::Ready(Err(PopError::Lagged(missed))) => Told::Lagged(missed),
                Poll::Ready(Err(PopError::Closed)) => Told::Closed,
                Poll::Ready(Err(PopError::Cancelled)) => unreachable!("nobody cancels it"),
                Poll::Pending => Told::Nothing,
            },
            _ => match Pin::new(&mut reader.rx).poll_next(&mut Context::from_waker(&waker)) {
                Poll::Ready(Some(Ok(value))) => Told::Value(value.0.id),
                Poll::Ready(Some(Err(Lagged(missed)))) => Told::Lagged(missed),
                Poll::Ready(None) => Told::Closed,
                Poll::Pending => {
                    reader.sleeps = true;
                    Told::Nothing
                }
            },
        }));
        self.armed.store(false, Ordering::SeqCst);
        assert_eq!(got.unwrap_or(Told::Panic), expected, "{}", self.context);
        reader.bell.rings();
    }

    fn audit(&mut self) {
        let context = self.context.clone();
        self.tx.audit();
        assert_eq!((self.tx.len(), self.tx.receiver_count()), (self.len(), self.readers.len()), "{context}");
        assert_eq!(self.tx.is_full(), !self.line.is_empty() || !self.has_room(), "{context}");
        let (head, tail) = (self.head(), self.pushed.len());
        for reader in &mut self.readers {
            let ahead = tail - reader.next.max(head) + usize::from(reader.kept.is_some());
            assert_eq!(reader.rx.len(), ahead, "{context}");
            let ready = reader.next < tail || reader.kept.is_some() || self.closed;
            let rang = reader.bell.rings() > 0;
            assert!(!reader.sleeps || rang == ready, "a pop: woken {rang}, ready {ready}: {context}");
            reader.sleeps &= !rang;
        }
        for push in &mut self.pushes {
            let ready = push.fate != Fate::Waiting;
            let rang = push.bell.rings() > 0;
            assert!(!push.sleeps || rang == ready, "a push: woken {rang}, is {:?}: {context}", push.fate);
            push.sleeps &= !rang;
        }
        // One of each value in the ring or kept, and one in each push that has not given it up.
        let in_pushes = self.pushes.iter().filter(|push| push.fate != Fate::Pushed).count();
        let oldest = tail - self.len();
        let mut kept: Vec<_> = self.readers.iter().filter_map(|reader| reader.kept).collect();
        kept.retain(|id| !self.pushed[oldest..].contains(id));
        kept.sort_unstable();
        kept.dedup();
        assert_eq!(self.census.alive(), self.len() + kept.len() + in_pushes, "{context}");
    }
}

fn run(capacity: usize, overflow: Overflow, seed: u64) {
    let census = Census::default();
    let (tx, rx) = broadcast(capacity, overflow);
    {
        let mut world = World {
            rng: Rng::new(seed),
            context: String::new(),
            census: census.clone(),
            armed: Arc::default(),
            tx: &tx,
            capacity,
            overflow,
            pushed: Vec::new(),
            closed: false,
            granted: 0,
            line: VecDeque::new(),
            readers: vec![Reader { rx, next: 0, kept: None, bell: Bell::new().0, sleeps: false }],
            pushes: Vec::new(),
            next_id: 0,
        };
        for step in 0..300 {
            world.context = format!("step {step}, capacity {capacity}, {overflow:?}, MILLSTREAM_SEED={seed}");
            world.step();
        }
    }
    assert_eq!((census.alive(), tx.len()), (0, 0), "MILLSTREAM_SEED={seed}");
}

#[test]
fn random_steps_agree_with_the_model() {
    let rounds = if cfg!(miri) { 3 } else { 400 };
    for round in 0..rounds {
        for overflow in [Overflow::Lag, Overflow::Wait] {
            run(1 + round % 4, overflow, seed() + round as u64);
        }
    }
}
