//! A scripted operation: it does what its remote says, and everything that is done to it is written down.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use millstream::ops::{Chain, EntryFlags, Link, RingOperation};
use millstream::{Operation, Runtime};

/// What a fake operation resolves to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Value(u32),
    Cancelled,
    Refused,
}
pub(crate) use Outcome::{Cancelled, Refused, Value};

/// Where a fake operation may be told to panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Poll,
    Cancel,
    Discard,
    Drop,
}

/// The log that all operations of a test write to, in order.
#[derive(Clone, Default)]
pub(crate) struct World {
    log: Rc<RefCell<Vec<String>>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An operation, and the remote that decides what becomes of it.
    pub(crate) fn op(&self, name: &'static str) -> (Fake, Remote) {
        let shared = Rc::new(Shared {
            name,
            log: Rc::clone(&self.log),
            outcome: Cell::new(None),
            stubborn: Cell::new(false),
            unprepared: Cell::new(false),
            entries: Cell::new(1),
            panic_at: Cell::new(None),
            waker: RefCell::new(None),
        });
        let fake = Fake {
            shared: Rc::clone(&shared),
            state: Cell::new(State::Fresh),
            asked: Cell::new(false),
            _pinned: PhantomPinned,
        };
        (fake, Remote { shared })
    }

    /// An operation that is ready at its first poll.
    pub(crate) fn ready(&self, name: &'static str, value: u32) -> Fake {
        let (fake, remote) = self.op(name);
        remote.finish(value);
        fake
    }

    /// What happened since the last look.
    pub(crate) fn seen(&self) -> String {
        std::mem::take(&mut *self.log.borrow_mut()).join(", ")
    }
}

struct Shared {
    name: &'static str,
    log: Rc<RefCell<Vec<String>>>,
    outcome: Cell<Option<Outcome>>,
    stubborn: Cell<bool>,
    unprepared: Cell<bool>,
    entries: Cell<usize>,
    panic_at: Cell<Option<Step>>,
    waker: RefCell<Option<Waker>>,
}

impl Shared {
    fn note(&self, what: impl fmt::Display) {
        self.log.borrow_mut().push(format!("{} {what}", self.name));
    }

    fn maybe_panic(&self, step: Step) {
        if self.panic_at.get() == Some(step) {
            self.panic_at.set(None);
            panic!("{} panics in {step:?}", self.name);
        }
    }

    fn end(&self, outcome: Outcome) {
        self.outcome.set(Some(outcome));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Decides what becomes of a [`Fake`].
pub(crate) struct Remote {
    shared: Rc<Shared>,
}

impl Remote {
    /// The operation completes with `value`.
    pub(crate) fn finish(&self, value: u32) {
        self.shared.end(Value(value));
    }

    /// The cancellation that was asked for takes effect.
    pub(crate) fn stop(&self) {
        self.shared.end(Cancelled);
    }

    /// A request to stop takes effect only with [`Remote::stop`], as with an op that is in the kernel's hands.
    pub(crate) fn stubborn(self) -> Self {
        self.shared.stubborn.set(true);
        self
    }

    /// As a member of a chain, it cannot be queued yet; or now it can.
    pub(crate) fn prepared(&self, prepared: bool) {
        self.shared.unprepared.set(!prepared);
    }

    /// As a member of a chain, it says it will queue this many entries.
    pub(crate) fn entries(&self, entries: usize) {
        self.shared.entries.set(entries);
    }

    pub(crate) fn panic_at(&self, step: Step) {
        self.shared.panic_at.set(Some(step));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    InFlight,
    Over,
}

/// A scripted operation. It is not `Unpin`, so a combinator that moved it after its first poll would not compile.
pub(crate) struct Fake {
    shared: Rc<Shared>,
    state: Cell<State>,
    asked: Cell<bool>,
    _pinned: PhantomPinned,
}

impl Fake {
    fn stop(&self) {
        self.asked.set(true);
        if !self.shared.stubborn.get() && self.shared.outcome.get().is_none() {
            self.shared.end(Cancelled);
        }
    }
}

impl Future for Fake {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = &*self;
        match this.state.get() {
            State::Fresh if this.asked.get() => {
                this.state.set(State::Over);
                return Poll::Ready(Cancelled);
            }
            State::Fresh => {
                this.state.set(State::InFlight);
                this.shared.note("starts");
            }
            State::InFlight => {}
            State::Over => panic!("{} polled after completion", this.shared.name),
        }
        this.shared.maybe_panic(Step::Poll);
        match this.shared.outcome.get() {
            Some(outcome) => {
                this.state.set(State::Over);
                Poll::Ready(outcome)
            }
            None => {
                *this.shared.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Operation for Fake {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = &*self;
        this.shared.note("asked to stop");
        this.shared.maybe_panic(Step::Cancel);
        this.stop();
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &*self;
        if this.state.get() == State::Fresh {
            this.shared.note("discarded unstarted");
            this.state.set(State::Over);
            return Poll::Ready(());
        }
        if !this.asked.get() {
            this.shared.note("discarded");
            this.stop();
        }
        this.shared.maybe_panic(Step::Discard);
        match this.shared.outcome.get() {
            Some(outcome) => {
                if let Value(value) = outcome {
                    this.shared.note(format_args!("gives back {value}"));
                }
                this.state.set(State::Over);
                Poll::Ready(())
            }
            None => {
                *this.shared.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn commit_on_poll(self: Pin<&mut Self>) {
        assert!(self.state.get() != State::Over, "{} told of a race after completion", self.shared.name);
        self.shared.note("races");
    }
}

impl RingOperation for Fake {
    fn entries(&self) -> usize {
        self.shared.entries.get()
    }

    fn poll_prepare(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        self.shared.note("prepares");
        if self.shared.unprepared.get() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Queues nothing: the chain stays open and empty, and the remote says what the ring would.
    fn stage(self: Pin<&mut Self>, _chain: &mut Chain<'_>, tail: Option<Link>) {
        assert!(self.state.get() == State::Fresh, "staged twice");
        self.state.set(State::InFlight);
        self.shared.note(match tail {
            Some(Link::Soft) => "then",
            Some(Link::Hard) => "then anyway",
            None => "last",
        });
    }

    fn refuse(self: Pin<&mut Self>, error: &dyn Fn() -> io::Error) {
        assert!(self.state.get() == State::Fresh, "refused after it was staged");
        self.state.set(State::InFlight);
        self.shared.note(format_args!("refused: {}", error()));
        self.shared.end(Refused);
    }

    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
        self.shared.note(if flags == EntryFlags::DRAIN { "drains" } else { "is async" });
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        match self.state.get() {
            State::Fresh => self.shared.note("dropped unstarted"),
            State::InFlight => self.shared.note("dropped in flight"),
            State::Over => {}
        }
        self.shared.maybe_panic(Step::Drop);
    }
}

/// Polls once with a waker that nobody looks at.
pub(crate) fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls the discarding once.
pub(crate) fn discard<O: Operation + ?Sized>(operation: Pin<&mut O>) -> Poll<()> {
    operation.poll_discard(&mut Context::from_waker(Waker::noop()))
}

/// A waker that counts.
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

/// Whether `f` panicked, and with what words.
pub(crate) fn panics<T>(f: impl FnOnce() -> T) -> Option<String> {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).err()?;
    let words = payload.downcast_ref::<String>().cloned();
    words.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
}

/// Runs `f` where there is a ring, as a chain asks for one.
pub(crate) fn on_ring<T>(f: impl FnOnce() -> T) -> T {
    Runtime::new().expect("a ring").block_on(async { f() })
}
