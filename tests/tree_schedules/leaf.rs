//! A scripted leaf: the schedule says what becomes of it, and everything that is done to it is an event.
//!
//! Knows: `Operation`, `RingOperation`. Does not know: what tree it is in.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use millstream::Operation;
use millstream::ops::{Chain, EntryFlags, Link, RingOperation};

/// What was done to the leaf of this number, or what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Races(usize),
    Prepares(usize),
    /// Queued as a member of a chain, with or without a link to the next.
    Staged(usize, bool),
    Starts(usize),
    Asked(usize),
    Discarded(usize),
    DiscardedFresh(usize),
    /// A loser had a value all the same, and put it back.
    GivesBack(usize),
    DroppedFresh(usize),
    DroppedInFlight(usize),
}

/// What a leaf resolves to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Value,
    Cancelled,
}

/// Where a leaf may be told to panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Commit,
    Poll,
    Cancel,
    Discard,
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Fresh,
    InFlight,
    Over,
}

/// The leaves of a tree as the schedule sees them.
pub(crate) struct Stage {
    pub(crate) log: RefCell<Vec<Event>>,
    leaves: Vec<Controls>,
}

struct Controls {
    outcome: Cell<Option<Outcome>>,
    /// A request to stop takes effect at once, as with a waiter; or only when the schedule says so, as with an op that
    /// is in the kernel's hands.
    prompt: bool,
    state: Cell<State>,
    asked: Cell<bool>,
    dropped: Cell<usize>,
    panic_at: Cell<Option<Step>>,
    waker: RefCell<Option<Waker>>,
}

impl Stage {
    /// So many leaves; bit `n` of `prompt` says how leaf `n` takes a request to stop.
    pub(crate) fn new(leaves: usize, prompt: u64) -> Rc<Self> {
        let controls = |n| Controls {
            outcome: Cell::new(None),
            prompt: prompt >> (n % 64) & 1 == 1,
            state: Cell::new(State::Fresh),
            asked: Cell::new(false),
            dropped: Cell::new(0),
            panic_at: Cell::new(None),
            waker: RefCell::new(None),
        };
        Rc::new(Self { log: RefCell::default(), leaves: (0..leaves).map(controls).collect() })
    }

    /// The leaf has its outcome, and whoever polled it last is woken.
    pub(crate) fn end(&self, leaf: usize, outcome: Outcome) {
        self.leaves[leaf].outcome.set(Some(outcome));
        let waker = self.leaves[leaf].waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn outcome(&self, leaf: usize) -> Option<Outcome> {
        self.leaves[leaf].outcome.get()
    }

    pub(crate) fn state(&self, leaf: usize) -> State {
        self.leaves[leaf].state.get()
    }

    pub(crate) fn asked(&self, leaf: usize) -> bool {
        self.leaves[leaf].asked.get()
    }

    /// How often the leaf's destructor ran.
    pub(crate) fn dropped(&self, leaf: usize) -> usize {
        self.leaves[leaf].dropped.get()
    }

    /// The leaf panics once, the next time it gets there.
    pub(crate) fn panic_at(&self, leaf: usize, step: Step) {
        self.leaves[leaf].panic_at.set(Some(step));
    }

    pub(crate) fn panics_ahead(&self, leaf: usize) -> bool {
        self.leaves[leaf].panic_at.get().is_some()
    }

    fn note(&self, event: Event) {
        self.log.borrow_mut().push(event);
    }
}

/// The operation. It is not `Unpin`, so a combinator that moved it after its first poll would not compile.
pub(crate) struct Leaf {
    pub(crate) number: usize,
    pub(crate) stage: Rc<Stage>,
    _pinned: PhantomPinned,
}

impl Leaf {
    pub(crate) fn new(number: usize, stage: &Rc<Stage>) -> Self {
        Self { number, stage: Rc::clone(stage), _pinned: PhantomPinned }
    }

    fn controls(&self) -> &Controls {
        &self.stage.leaves[self.number]
    }

    fn note(&self, event: fn(usize) -> Event) {
        self.stage.note(event(self.number));
    }

    fn maybe_panic(&self, step: Step) {
        if self.controls().panic_at.get() == Some(step) {
            self.controls().panic_at.set(None);
            panic!("leaf {} panics in {step:?}", self.number);
        }
    }

    fn stop(&self) {
        let controls = self.controls();
        controls.asked.set(true);
        if controls.prompt && controls.outcome.get().is_none() {
            self.stage.end(self.number, Outcome::Cancelled);
        }
    }
}

impl Future for Leaf {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let controls = self.controls();
        match controls.state.get() {
            State::Fresh if controls.asked.get() => {
                controls.state.set(State::Over);
                return Poll::Ready(Outcome::Cancelled);
            }
            State::Fresh => {
                controls.state.set(State::InFlight);
                self.note(Event::Starts);
            }
            State::InFlight => {}
            State::Over => panic!("leaf {} was polled after completion", self.number),
        }
        self.maybe_panic(Step::Poll);
        match controls.outcome.get() {
            Some(outcome) => {
                controls.state.set(State::Over);
                Poll::Ready(outcome)
            }
            None => {
                *controls.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Operation for Leaf {
    fn request_cancel(self: Pin<&mut Self>) {
        self.note(Event::Asked);
        self.maybe_panic(Step::Cancel);
        self.stop();
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let controls = self.controls();
        match controls.state.get() {
            State::Fresh => {
                self.note(Event::DiscardedFresh);
                controls.state.set(State::Over);
                return Poll::Ready(());
            }
            State::InFlight => {}
            State::Over => panic!("leaf {} was discarded after its end", self.number),
        }
        if !controls.asked.get() {
            self.note(Event::Discarded);
            self.stop();
        }
        self.maybe_panic(Step::Discard);
        match controls.outcome.get() {
            Some(outcome) => {
                if outcome == Outcome::Value {
                    self.note(Event::GivesBack);
                }
                controls.state.set(State::Over);
                Poll::Ready(())
            }
            None => {
                *controls.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn may_resolve(&self) -> bool {
        self.controls().outcome.get().is_some() || self.controls().asked.get()
    }

    /// Unless that poll is to panic, which is not to wait.
    fn waits(&self) -> bool {
        let Controls { state, outcome, panic_at, .. } = self.controls();
        state.get() == State::InFlight && outcome.get().is_none() && panic_at.get() != Some(Step::Poll)
    }

    fn commit_on_poll(self: Pin<&mut Self>) {
        assert!(self.controls().state.get() == State::Fresh, "told of the race after the first poll");
        self.note(Event::Races);
        self.maybe_panic(Step::Commit);
    }
}

impl RingOperation for Leaf {
    fn entries(&self) -> usize {
        1
    }

    fn poll_prepare(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        self.note(Event::Prepares);
        Poll::Ready(())
    }

    /// Queues nothing: the chain stays open and empty, and the schedule says what the ring would.
    fn stage(self: Pin<&mut Self>, _chain: &mut Chain<'_>, tail: Option<Link>) {
        assert!(self.controls().state.get() == State::Fresh, "staged twice");
        self.controls().state.set(State::InFlight);
        self.stage.note(Event::Staged(self.number, tail.is_some()));
    }

    fn refuse(self: Pin<&mut Self>, error: &dyn Fn() -> io::Error) {
        panic!("there is room for every chain here, and yet: {}", error());
    }

    fn add_flags(self: Pin<&mut Self>, _flags: EntryFlags) {}
}

impl Drop for Leaf {
    fn drop(&mut self) {
        let controls = self.controls();
        controls.dropped.set(controls.dropped.get() + 1);
        match controls.state.get() {
            State::Fresh => self.note(Event::DroppedFresh),
            State::InFlight => self.note(Event::DroppedInFlight),
            State::Over => {}
        }
        self.maybe_panic(Step::Drop);
    }
}

/// A waker that counts. A schedule polls with a new one each time.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
