//! Every interleaving of the two ends, on plain threads and where a lookout is installed. Each model names the planted bug
//! (`planted!` in the source, a row in `ci/loom.sh`) under which it must fail: by its own assertion, by a cell that
//! two threads are in, or by a thread that sleeps for ever, which loom reports as a deadlock.
#![allow(unsafe_code, reason = "plays a runtime: plain wakers, and a lookout in its place")]

use core::future::Future;
use core::pin::{Pin, pin};
use core::ptr::NonNull;
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use loom::future::block_on;
use loom::sync::{Arc, Notify};
use loom::thread;

use crate::channel::spsc::{Consumer, Producer};
use crate::channel::{PopError, PushError, TryPopError, spsc};
use crate::util::executor::{Hooks, Polling};
use crate::util::lookout::{self, Lookout};

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// For the models with the most steps: one preemption less, where their number is bounded at all.
fn large_model(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.map(|bound| bound.min(2));
    builder.check(model);
}

/// More values than slots, so that either side waits and each slot is used again: `tail-is-relaxed`, `head-is-relaxed`,
/// `arms-without-fence`, `arms-without-a-look`.
fn many_cross(capacity: usize, values: u32) {
    large_model(move || {
        let (mut tx, mut rx) = spsc(capacity);
        let producer = thread::spawn(move || {
            for n in 0..values {
                block_on(tx.push(Box::new(n))).unwrap();
            }
        });
        for n in 0..values {
            assert_eq!(block_on(rx.pop()).map(|n| *n), Ok(n));
        }
        assert_eq!(block_on(rx.pop()), Err(PopError::Closed));
        producer.join().unwrap();
    });
}

#[test]
fn two_cross_through_one_slot() {
    many_cross(1, 2);
}

#[test]
fn three_cross_through_two_slots() {
    many_cross(2, 3);
}

/// Threads park, first with the heavy half of a barrier and, as tasks would, with a fence after that:
/// `waits-heavily-without-barrier`.
#[test]
fn blocking_ends_meet() {
    large_model(|| {
        let (mut tx, mut rx) = spsc(1);
        let producer = thread::spawn(move || {
            tx.push_blocking(1).unwrap();
            tx.push_blocking(2).unwrap();
        });
        assert_eq!(rx.pop_blocking(), Ok(1));
        assert_eq!(block_on(rx.pop()), Ok(2));
        producer.join().unwrap();
    });
}

/// A close beside a pop on its way to sleep: `close-wakes-nobody`.
#[test]
fn close_wakes_a_pop() {
    loom::model(|| {
        let (mut tx, mut rx) = spsc::<u32>(1);
        let consumer = thread::spawn(move || block_on(rx.pop()));
        tx.close();
        assert_eq!(consumer.join().unwrap(), Err(PopError::Closed));
    });
}

/// The last value and the close come between a pop's look at the tail and its look at the close: `ends-at-the-first-look`.
#[test]
fn the_last_value_is_not_overlooked() {
    loom::model(|| {
        let (mut tx, mut rx) = spsc(1);
        let producer = thread::spawn(move || {
            tx.try_push(1).unwrap();
            tx.close();
        });
        let popped = rx.try_pop();
        producer.join().unwrap();
        match popped {
            Err(TryPopError::Empty) => assert_eq!(rx.try_pop(), Ok(1)),
            popped => assert_eq!(popped, Ok(1)),
        }
        assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
    });
}

/// A close beside a push on its way to sleep.
#[test]
fn close_gives_a_push_its_value_back() {
    loom::model(|| {
        let (mut tx, mut rx) = spsc(1);
        tx.try_push(1).unwrap();
        let producer = thread::spawn(move || block_on(tx.push(2)));
        rx.close();
        assert_eq!(producer.join().unwrap(), Err(PushError::Closed(2)));
        assert_eq!((rx.try_pop(), rx.try_pop()), (Ok(1), Err(TryPopError::Closed)));
    });
}

/// Closes while the other end is in the middle of pushes: what was told to be pushed is popped, and nothing else. With
/// `runtimes` the producer runs where no push has a fence.
fn a_push_counts_or_comes_back(runtimes: bool) {
    let _hooks = Hooked::install();
    loom::model(move || {
        let (mut tx, mut rx) = spsc(2);
        let producer = thread::spawn(move || {
            let _runtime = runtimes.then(Runtime::enter);
            let pushed = [1, 2].map(|n| tx.try_push(n).is_ok());
            (pushed, tx.close())
        });
        let closed = rx.close();
        let got: Vec<_> = rx.try_iter().collect();
        assert_eq!(rx.try_pop(), Err(TryPopError::Closed));
        let (pushed, closed_too) = producer.join().unwrap();
        assert_eq!(got, [1, 2][..pushed.iter().filter(|&&pushed| pushed).count()]);
        assert!(closed != closed_too, "one of them closed it");
    });
}

/// `popper-closes-without-barrier`, `a-late-push-counts`.
#[test]
fn a_push_beside_a_close_counts_or_comes_back() {
    a_push_counts_or_comes_back(false);
}

/// `light-is-nothing`.
#[test]
fn a_push_without_a_fence_counts_or_comes_back() {
    a_push_counts_or_comes_back(true);
}

/// The consumer goes beside a push: the value comes back or is dropped, never neither (loom counts the `Arc`s).
/// `consumer-drains-before-it-closes`.
#[test]
fn the_consumer_leaves_nothing_behind() {
    loom::model(|| {
        let value = Arc::new(());
        let (mut tx, rx) = spsc(1);
        let sent = value.clone();
        let producer = thread::spawn(move || {
            drop(tx.try_push(sent));
            tx
        });
        drop(rx);
        let tx = producer.join().unwrap();
        assert!(tx.is_closed());
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

/// The producer goes first, and what it pushed goes with the consumer.
#[test]
fn the_producer_leaves_its_values() {
    loom::model(|| {
        let value = Arc::new(());
        let (mut tx, mut rx) = spsc(2);
        let sent = value.clone();
        let producer = thread::spawn(move || {
            drop(tx.try_push(sent.clone()));
            drop(tx.try_push(sent));
        });
        let got = block_on(rx.pop()).is_ok();
        drop(rx);
        producer.join().unwrap();
        assert!(got);
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

/// A pop is polled with another waker while it is being woken: `arms-while-it-is-woken`.
#[test]
fn a_new_waker_misses_nothing() {
    loom::model(|| {
        let (mut tx, mut rx) = spsc(1);
        let producer = thread::spawn(move || tx.try_push(1).map(|()| tx));
        let mut pop = pin!(rx.pop());
        match poll(pop.as_mut()) {
            Poll::Ready(result) => assert_eq!(result, Ok(1)),
            Poll::Pending => assert_eq!(block_on(pop), Ok(1)),
        }
        producer.join().unwrap().unwrap();
    });
}

// ---- runtimes ----

static PLAIN: RawWakerVTable = RawWakerVTable::new(|data| RawWaker::new(data, &PLAIN), ring, ring, |_| ());

/// Wakes a runtime of the model, which outlives its wakers.
fn ring(data: *const ()) {
    // SAFETY: (local) a waker of `Runtime::run`, of which each model keeps the bell to its end.
    unsafe { &*data.cast::<Notify>() }.notify();
}

/// What wakers are plain is asked in a thread-local of std, which is that of all threads of a model.
struct Hooked(Option<Polling>);

impl Hooked {
    fn install() -> Self {
        static HOOKS: Hooks =
            Hooks { wake: |waker| waker.wake(), deliver: || {}, catch_up: || {}, plain: &PLAIN, clock: None };
        Self(Some(Polling::new(&HOOKS, 1000).install()))
    }
}

impl Drop for Hooked {
    fn drop(&mut self) {
        self.0.take().map(Polling::install);
    }
}

/// What of a runtime concerns a level: a loop around a task, and a lookout.
struct Runtime {
    lookout: NonNull<Lookout>,
    before: Option<NonNull<Lookout>>,
}

impl Runtime {
    fn enter() -> Self {
        let lookout = NonNull::from(Box::leak(Box::new(Lookout::new())));
        // SAFETY: (local) freed when this is dropped, after another one was installed.
        let before = unsafe { lookout::install(Some(lookout)) };
        Self { lookout, before }
    }

    fn lookout(&self) -> &Lookout {
        // SAFETY: (local) freed when this is dropped.
        unsafe { self.lookout.as_ref() }
    }

    fn end_poll(&self) {
        if self.lookout().has_notes() {
            self.lookout().settle(Waker::wake);
        }
    }

    /// As a runtime's loop does, without a spin.
    fn run<F: Future>(&self, bell: &Notify, future: F) -> F::Output {
        let mut future = pin!(future);
        // SAFETY: (local) the functions of `PLAIN` take the address of a bell that is there as long as it is used.
        let waker = unsafe { Waker::new((&raw const *bell).cast(), &PLAIN) };
        loop {
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            self.end_poll();
            if let Poll::Ready(output) = polled {
                return output;
            }
            if self.lookout().look(Waker::wake) || self.lookout().arm(Waker::wake) {
                continue;
            }
            bell.wait();
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.end_poll();
        self.lookout().arm(Waker::wake);
        // SAFETY: (local) what was there when this was made.
        unsafe { lookout::install(self.before) };
        // SAFETY: (local) from `Box::leak`, and installed no more.
        drop(unsafe { Box::from_raw(self.lookout.as_ptr()) });
    }
}

fn produce(mut tx: Producer<u32>, values: u32, bell: &Notify) {
    let runtime = Runtime::enter();
    runtime.run(bell, async {
        for n in 0..values {
            tx.push(n).await.unwrap();
        }
    });
}

fn consume(mut rx: Consumer<u32>, values: u32, bell: &Notify) {
    let runtime = Runtime::enter();
    runtime.run(bell, async {
        for n in 0..values {
            assert_eq!(rx.pop().await, Ok(n));
        }
        assert_eq!(rx.pop().await, Err(PopError::Closed));
    });
}

/// Two runtimes: no push fences, no wait arms at once. `watches-armed-without-fence`, `watches-armed-without-a-look`.
fn runtimes(capacity: usize, values: u32) {
    let _hooks = Hooked::install();
    large_model(move || {
        let bells = Arc::new([Notify::new(), Notify::new()]);
        let (tx, rx) = spsc(capacity);
        let theirs = bells.clone();
        let producer = thread::spawn(move || produce(tx, values, &theirs[0]));
        consume(rx, values, &bells[1]);
        producer.join().unwrap();
    });
}

#[test]
fn one_crosses_between_runtimes() {
    runtimes(1, 1);
}

#[test]
fn two_cross_between_runtimes() {
    runtimes(1, 2);
}

/// A runtime and a plain thread.
#[test]
fn one_crosses_to_a_runtime() {
    let _hooks = Hooked::install();
    loom::model(|| {
        let bell = Arc::new(Notify::new());
        let (mut tx, rx) = spsc(1);
        let producer = thread::spawn(move || block_on(tx.push(0)).unwrap());
        consume(rx, 1, &bell);
        producer.join().unwrap();
    });
}

/// Nothing but the end of a poll tells the producer that there is room: `poll-ends-without-fence`.
#[test]
fn room_is_told_at_the_end_of_the_poll() {
    let _hooks = Hooked::install();
    loom::model(|| {
        let (mut tx, mut rx) = spsc(1);
        tx.try_push(1).unwrap();
        let producer = thread::spawn(move || block_on(tx.push(2)));
        let runtime = Runtime::enter();
        assert_eq!(rx.try_pop(), Ok(1));
        runtime.end_poll();
        producer.join().unwrap().unwrap();
        drop(rx); // a close would wake it, too
    });
}

/// Whatever an earlier poll was settled with, this one's values are told of at its own end: `noted-once-for-ever`.
#[test]
fn each_poll_tells_of_its_values() {
    let _hooks = Hooked::install();
    loom::model(|| {
        let (mut tx, mut rx) = spsc(2);
        let runtime = Runtime::enter();
        tx.try_push(1).unwrap();
        runtime.end_poll();
        let consumer = thread::spawn(move || [block_on(rx.pop()), block_on(rx.pop())]);
        tx.try_push(2).unwrap();
        runtime.end_poll();
        assert_eq!(consumer.join().unwrap(), [Ok(1), Ok(2)]);
        drop(tx); // a close would wake it, too
    });
}

/// The producer sat beside the consumer, where no change is followed by a fence, and has left for another thread:
/// `light-is-nothing`. (That the barrier it passes when it leaves has to be the heavy half no model can show: to the checker
/// either half is a fence.)
#[test]
fn one_that_left_is_seen_leaving() {
    let _hooks = Hooked::install();
    loom::model(|| {
        let (mut tx, mut rx) = spsc(1);
        let runtime = Runtime::enter();
        tx.try_push(1).unwrap();
        runtime.end_poll();
        let elsewhere = thread::spawn(move || block_on(tx.push(2)));
        assert_eq!(rx.try_pop(), Ok(1));
        runtime.end_poll();
        elsewhere.join().unwrap().unwrap();
        drop(rx); // a close would wake it, too
    });
}

/// A consumer waits on one runtime, is given up there, and waits on another thread while the first still arms what it
/// watched: `arms-for-one-that-left`.
#[test]
fn one_that_left_is_armed_no_more() {
    let _hooks = Hooked::install();
    loom::model(|| {
        let bell = Arc::new(Notify::new());
        let (mut tx, mut rx) = spsc(1);
        let runtime = Runtime::enter();
        // SAFETY: (local) as in `run`.
        let waker = unsafe { Waker::new((&raw const *bell).cast(), &PLAIN) };
        {
            let mut pop = Box::pin(rx.pop());
            assert!(pop.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            core::mem::forget(pop); // so that the watch stays behind
        }
        let elsewhere = thread::spawn(move || (block_on(rx.pop()), rx));
        let producer = thread::spawn(move || {
            tx.try_push(1).unwrap();
            tx
        });
        runtime.lookout().arm(Waker::wake);
        let (popped, rx) = elsewhere.join().unwrap();
        assert_eq!(popped, Ok(1));
        drop((rx, producer.join().unwrap(), runtime));
    });
}
