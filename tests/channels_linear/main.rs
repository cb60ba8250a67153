//! Linearizability: what several threads saw of a channel can be explained by one call after the other.
//!
//! Knows: the public API, the plain model of it. Does not know: how channels work.
//!
//! Runs are small, two to four threads with a few calls each, and there are many. Each is recorded with one clock for all
//! threads and then explained, or not. `MILLSTREAM_SEED` makes the same calls in the first run; what the scheduler makes
//! of them is its own.

#[path = "../support/channel_model.rs"]
mod channel_model;
mod search;
mod specs;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/stalls.rs"]
mod support_stalls;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use channel_model::{Model, Refused, Value};
use millstream::Operation;
use millstream::channel::{self, PopError, PushError, Receiver, Sender, TryPopError, TryPushError, spsc};
use search::{Event, Specification, is_linearizable};
use specs::{Call, Queue, Reply};
use support::{Rng, rounds};
use support_stalls::{Stalls, seed};

type History = Vec<Event<Call, Reply>>;

// ---- what is called ----

/// One thread's hold on a channel.
trait Caller: Send {
    /// The calls it can make.
    fn calls(&self) -> &'static [Call];
    /// A call that waits gives up after it was pending `patience` times.
    fn call(&mut self, call: Call, patience: u64) -> Reply;
}

const EVERYTHING: &[Call] = &[
    Call::TryPush(0),
    Call::TryPush(0),
    Call::TryPop,
    Call::TryPop,
    Call::Push(0),
    Call::Push(0),
    Call::Arm(0),
    Call::Pop,
    Call::Pop,
    Call::Len,
    Call::Close,
];

fn wait<O: Operation>(operation: O, patience: u64) -> O::Output {
    let (mut operation, mut cx) = (pin!(operation), Context::from_waker(Waker::noop()));
    for _ in 0..=patience {
        if let Poll::Ready(output) = operation.as_mut().poll(&mut cx) {
            return output;
        }
        thread::yield_now();
    }
    operation.as_mut().request_cancel();
    match operation.poll(&mut cx) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("an operation that was asked to stop is pending"),
    }
}

fn pushed(result: Result<(), PushError<Value>>) -> Reply {
    Reply::Pushed(result.map_err(|e| if e.is_closed() { Refused::Closed } else { Refused::Cancelled }))
}

fn popped(result: Result<Value, PopError>) -> Reply {
    Reply::Popped(result.map_err(|e| if e.is_closed() { Refused::Closed } else { Refused::Cancelled }))
}

fn pushed_now(result: Result<(), TryPushError<Value>>) -> Reply {
    Reply::Pushed(result.map_err(|e| if e.is_closed() { Refused::Closed } else { Refused::NotNow }))
}

fn popped_now(result: Result<Value, TryPopError>) -> Reply {
    Reply::Popped(result.map_err(|e| if e.is_closed() { Refused::Closed } else { Refused::NotNow }))
}

struct Ends(Sender<Value>, Receiver<Value>);

impl Caller for Ends {
    fn calls(&self) -> &'static [Call] {
        EVERYTHING
    }

    fn call(&mut self, call: Call, patience: u64) -> Reply {
        match call {
            Call::TryPush(value) => pushed_now(self.0.try_push(value)),
            Call::TryPop => popped_now(self.1.try_pop()),
            Call::Push(value) => pushed(wait(self.0.push(value), patience)),
            Call::Arm(value) => {
                let mut push = pin!(self.0.push(value));
                push.as_mut().commit_on_poll();
                pushed(wait(push, patience))
            }
            Call::Pop => popped(wait(self.1.pop(), patience)),
            Call::Len => Reply::Len(self.1.len()),
            Call::Close => Reply::Closed(self.0.close()),
        }
    }
}

const PRODUCERS: &[Call] =
    &[Call::TryPush(0), Call::TryPush(0), Call::Push(0), Call::Push(0), Call::Arm(0), Call::Len, Call::Close];

impl Caller for spsc::Producer<Value> {
    fn calls(&self) -> &'static [Call] {
        PRODUCERS
    }

    fn call(&mut self, call: Call, patience: u64) -> Reply {
        match call {
            Call::TryPush(value) => pushed_now(self.try_push(value)),
            Call::Push(value) => pushed(wait(self.push(value), patience)),
            Call::Arm(value) => {
                let mut push = pin!(self.push(value));
                push.as_mut().commit_on_poll();
                pushed(wait(push, patience))
            }
            Call::Len => Reply::Len(self.len()),
            Call::Close => Reply::Closed(self.close()),
            Call::TryPop | Call::Pop => unreachable!("not among its calls"),
        }
    }
}

const CONSUMERS: &[Call] = &[Call::TryPop, Call::TryPop, Call::Pop, Call::Pop, Call::Len, Call::Close];

impl Caller for spsc::Consumer<Value> {
    fn calls(&self) -> &'static [Call] {
        CONSUMERS
    }

    fn call(&mut self, call: Call, patience: u64) -> Reply {
        match call {
            Call::TryPop => popped_now(self.try_pop()),
            Call::Pop => popped(wait(self.pop(), patience)),
            Call::Len => Reply::Len(self.len()),
            Call::Close => Reply::Closed(self.close()),
            Call::TryPush(_) | Call::Push(_) | Call::Arm(_) => unreachable!("not among its calls"),
        }
    }
}

// ---- recording ----

/// Every caller on a thread of its own, all at once.
fn record(callers: Vec<Box<dyn Caller + '_>>, rng: &mut Rng) -> History {
    let most = 12 / callers.len() as u64; // the search is exponential in what overlaps
    let (clock, ready) = (AtomicU64::new(0), AtomicUsize::new(callers.len()));
    let history = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (thread, mut caller) in callers.into_iter().enumerate() {
            let count = 1 + rng.below(most);
            let calls: Vec<_> = (0..count)
                .map(|n| {
                    let among = caller.calls();
                    let value = thread as u64 * 100 + n;
                    let call = match among[rng.below(among.len() as u64) as usize] {
                        Call::TryPush(_) => Call::TryPush(value),
                        Call::Push(_) => Call::Push(value),
                        Call::Arm(_) => Call::Arm(value),
                        // One in ten would end most runs before they begin.
                        Call::Close if !rng.one_in(4) => Call::Len,
                        other => other,
                    };
                    (call, rng.below(4), rng.one_in(4))
                })
                .collect();
            let (clock, ready, history) = (&clock, &ready, &history);
            threads.push(scope.spawn(move || {
                // ORDERING: all at once, as nearly as can be; the clock is what events are ordered by.
                ready.fetch_sub(1, Ordering::SeqCst);
                while ready.load(Ordering::SeqCst) > 0 {
                    thread::yield_now();
                }
                for (call, patience, pauses) in calls {
                    if pauses {
                        thread::yield_now();
                    }
                    let called = clock.fetch_add(1, Ordering::SeqCst);
                    let reply = caller.call(call, patience);
                    let returned = clock.fetch_add(1, Ordering::SeqCst);
                    let event = Event { thread, call, reply, called, returned };
                    history.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
                caller
            }));
        }
        // Nobody goes before all have made their calls: the last end of a side closes the channel.
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Result<Vec<_>, _>>()
    })
    .expect("a caller does not panic");
    let mut history = history.into_inner().unwrap_or_else(PoisonError::into_inner);
    history.sort_by_key(|event| event.called);
    history
}

/// Records runs and explains each; `make` gives the callers of one run and the specification.
fn explain_runs<S>(runs: u64, make: impl Fn(&mut Rng) -> (Vec<Box<dyn Caller>>, S))
where
    S: Specification<Call = Call, Reply = Reply>,
{
    let (first, stalls) = (seed(), Stalls::watch());
    let mut overlapping = 0;
    for run in 0..rounds(runs) {
        let seed = first.wrapping_add(run);
        stalls.round(seed);
        let mut rng = Rng::new(seed);
        let (callers, specification) = make(&mut rng);
        let history = record(callers, &mut rng);
        overlapping += history.windows(2).filter(|two| two[1].called < two[0].returned).count();
        assert!(
            is_linearizable(specification, &history),
            "no order of these calls explains what they returned, MILLSTREAM_SEED={seed}\n{history:#?}"
        );
    }
    stalls.over();
    eprintln!("{overlapping} calls overlapped the one before");
}

#[test]
fn bounded_channels_are_linearizable() {
    explain_runs(30_000, |rng| {
        let capacity = rng.below(3) as usize;
        let (tx, rx) = channel::bounded(capacity);
        let callers =
            (0..2 + rng.below(3)).map(|_| Box::new(Ends(tx.clone(), rx.clone())) as Box<dyn Caller>);
        (callers.collect(), Model::new(capacity))
    });
}

fn both_ends(capacity: usize) -> Vec<Box<dyn Caller>> {
    let (tx, rx) = channel::spsc(capacity);
    vec![Box::new(tx), Box::new(rx)]
}

#[test]
fn spsc_channels_are_linearizable() {
    explain_runs(30_000, |rng| {
        let capacity = 1 + rng.below(2) as usize;
        (both_ends(capacity), Queue::new(capacity))
    });
}

#[test]
fn spsc_channels_without_slots_are_linearizable() {
    explain_runs(10_000, |_| (both_ends(0), Model::new(0)));
}

// ---- the checker checked ----

fn event(called: u64, returned: u64, call: Call, reply: Reply) -> Event<Call, Reply> {
    Event { thread: 0, call, reply, called, returned }
}

const PUSHED: Reply = Reply::Pushed(Ok(()));
const FULL: Reply = Reply::Pushed(Err(Refused::NotNow));
const EMPTY: Reply = Reply::Popped(Err(Refused::NotNow));
const ENDED: Reply = Reply::Popped(Err(Refused::Closed));

fn popped_value(value: Value) -> Reply {
    Reply::Popped(Ok(value))
}

#[test]
fn histories_that_cannot_be_are_rejected() {
    use Call::{Close, Len, Pop, Push, TryPop, TryPush};
    let bad: &[(&str, &[Event<Call, Reply>])] = &[
        (
            "popped before it was pushed",
            &[event(0, 1, TryPop, popped_value(1)), event(2, 3, TryPush(1), PUSHED)],
        ),
        (
            "popped twice",
            &[
                event(0, 1, TryPush(1), PUSHED),
                event(2, 4, TryPop, popped_value(1)),
                event(3, 5, TryPop, popped_value(1)),
            ],
        ),
        (
            "overtaken",
            &[
                event(0, 1, TryPush(1), PUSHED),
                event(2, 3, TryPush(2), PUSHED),
                event(4, 5, TryPop, popped_value(2)),
                event(6, 7, TryPop, popped_value(1)),
            ],
        ),
        ("lost", &[event(0, 1, TryPush(1), PUSHED), event(2, 3, TryPop, EMPTY)]),
        (
            "more than fit",
            &[
                event(0, 1, TryPush(1), PUSHED),
                event(2, 3, TryPush(2), PUSHED),
                event(4, 5, TryPush(3), PUSHED),
            ],
        ),
        ("full without reason", &[event(0, 1, TryPush(1), FULL)]),
        (
            "pushed after the close",
            &[event(0, 1, Close, Reply::Closed(true)), event(2, 3, TryPush(1), PUSHED)],
        ),
        ("closed twice", &[event(0, 2, Close, Reply::Closed(true)), event(1, 3, Close, Reply::Closed(true))]),
        (
            "ended with a value in it",
            &[event(0, 1, Push(1), PUSHED), event(2, 3, Close, Reply::Closed(true)), event(4, 5, Pop, ENDED)],
        ),
        ("counted wrongly", &[event(0, 1, TryPush(1), PUSHED), event(2, 3, Len, Reply::Len(0))]),
    ];
    for (what, history) in bad {
        assert!(!is_linearizable(Model::new(2), history), "bounded: {what}");
        assert!(!is_linearizable(Queue::new(2), history), "spsc: {what}");
    }
}

#[test]
fn histories_that_can_be_are_explained() {
    use Call::{Len, Pop, Push, TryPop, TryPush};
    let good: &[&[Event<Call, Reply>]] = &[
        &[event(0, 3, TryPop, popped_value(1)), event(1, 2, TryPush(1), PUSHED)],
        // Two at once may have been in either order.
        &[
            event(0, 2, TryPush(1), PUSHED),
            event(1, 3, TryPush(2), PUSHED),
            event(4, 5, TryPop, popped_value(2)),
            event(6, 7, TryPop, popped_value(1)),
        ],
        &[event(0, 5, Pop, popped_value(1)), event(1, 2, Push(1), PUSHED), event(3, 4, Len, Reply::Len(0))],
    ];
    for history in good {
        assert!(is_linearizable(Model::new(2), history), "bounded: {history:#?}");
        assert!(is_linearizable(Queue::new(2), history), "spsc: {history:#?}");
    }
    // What waits has a value to itself, so there is one, and nobody else gets it.
    let counted = [
        event(0, 9, Pop, popped_value(1)),
        event(1, 2, TryPush(1), PUSHED),
        event(3, 4, TryPop, EMPTY),
        event(5, 6, Len, Reply::Len(1)),
    ];
    assert!(is_linearizable(Model::new(1), &counted));
    assert!(!is_linearizable(Queue::new(1), &counted), "a plain queue knows no waiting");
}

/// A queue that looks and acts under two locks.
struct Broken<'a> {
    values: &'a Mutex<VecDeque<Value>>,
    capacity: usize,
}

impl Caller for Broken<'_> {
    fn calls(&self) -> &'static [Call] {
        &[Call::TryPush(0), Call::TryPop, Call::Len]
    }

    fn call(&mut self, call: Call, _patience: u64) -> Reply {
        let lock = || self.values.lock().expect("no panic");
        match call {
            Call::TryPush(value) => {
                let full = lock().len() == self.capacity;
                thread::yield_now(); // here somebody else takes the last slot
                if full {
                    return FULL;
                }
                lock().push_back(value);
                PUSHED
            }
            Call::TryPop => {
                let first = lock().front().copied();
                thread::yield_now(); // and here somebody else takes the same value
                lock().pop_front();
                first.map_or(EMPTY, popped_value)
            }
            _ => Reply::Len(lock().len()),
        }
    }
}

#[test]
fn a_broken_queue_is_found_out() {
    let (mut rng, stalls) = (Rng::new(seed()), Stalls::watch());
    let mut runs = 0;
    loop {
        let values = Mutex::new(VecDeque::new());
        let caller = || Box::new(Broken { values: &values, capacity: 1 }) as Box<dyn Caller + '_>;
        let history = record(vec![caller(), caller(), caller()], &mut rng);
        runs += 1;
        if !is_linearizable(Queue::new(1), &history) {
            break;
        }
    }
    stalls.over();
    eprintln!("found out in run {runs}");
}
