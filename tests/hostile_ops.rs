//! User code that comes back at the worst moment while ops are in flight: from a waker in the middle of a reap, from a
//! destructor while the runtime ends, from `exit`. All of it is safe code; worth running under the sanitizer.

mod support;

use std::future::{Future, pending, poll_fn};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use std::{env, io, process, thread};

use millstream::combinators::{OperationExt, RingOperationExt};
use millstream::ops::Fd;
use millstream::{Operation, Runtime, channel, ops, spawn, time, yield_now};
use support::Watchdog;

type Action = Box<dyn FnOnce() + Send>;

/// Runs its action when it is first woken, or else when its last waker is dropped.
struct Striker(Mutex<Option<Action>>);

impl Striker {
    fn waker(action: impl FnOnce() + Send + 'static) -> Waker {
        Arc::new(Self(Mutex::new(Some(Box::new(action))))).into()
    }

    fn strike(&self) {
        let action = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(action) = action {
            action();
        }
    }
}

impl Wake for Striker {
    fn wake(self: Arc<Self>) {
        self.strike();
    }
}

impl Drop for Striker {
    fn drop(&mut self) {
        self.strike();
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn watched() -> (Watchdog, Runtime) {
    (Watchdog::new(Duration::from_secs(20)), Runtime::builder().no_spin().build().expect("io_uring is there"))
}

fn pipe() -> (Fd, io::PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    (reader.into(), writer)
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn begin<F: Future + Unpin>(mut future: F) -> F {
    assert!(poll_with(&mut future, Waker::noop()).is_pending());
    future
}

/// A read has ended and waits to be claimed when its runtime ends, which disposes of it; and then its future goes, from
/// the waker of another op.
#[test]
fn a_future_may_go_when_its_runtime_has_taken_its_node() {
    let (_watchdog, rt) = watched();
    let ((with_byte, mut writer), (quiet, _quiet_writer)) = (pipe(), pipe());
    writer.write_all(b"xy").unwrap();
    rt.block_on(async {
        let ended = begin(ops::read(&with_byte, vec![0; 1]));
        ops::nop().await.unwrap();
        let waker = Striker::waker(move || drop(ended));
        let mut waits = ops::read(&quiet, vec![0; 1]);
        assert!(poll_with(&mut waits, &waker).is_pending());
        std::mem::forget(waits);
    });
    drop(rt);
    let read = |n| {
        let rt = Runtime::new().unwrap();
        rt.block_on(time::timeout(Duration::from_secs(5), ops::read(&with_byte, vec![0; n])))
    };
    assert_eq!(read(1).expect("no read is in flight").1, b"x");
    assert_eq!(read(1).expect("no read is in flight").1, b"y");
}

#[test]
fn a_future_polled_when_its_runtime_has_taken_its_node_panics() {
    let (_watchdog, rt) = watched();
    let ((with_byte, mut writer), (quiet, _quiet_writer)) = (pipe(), pipe());
    writer.write_all(b"x").unwrap();
    let refused = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&refused);
    rt.block_on(async {
        let mut ended = begin(ops::read(&with_byte, vec![0; 1]));
        let mut in_flight = begin(ops::read(&quiet, vec![0; 1]));
        ops::nop().await.unwrap();
        let waker = Striker::waker(move || {
            for op in [&mut ended, &mut in_flight] {
                let polled = catch_unwind(AssertUnwindSafe(|| poll_with(op, Waker::noop())));
                seen.fetch_add(usize::from(polled.is_err()), Ordering::Relaxed);
            }
        });
        let mut waits = ops::read(&quiet, vec![0; 1]);
        assert!(poll_with(&mut waits, &waker).is_pending());
        std::mem::forget(waits);
    });
    drop(rt);
    assert_eq!(refused.load(Ordering::Relaxed), 2);
}

/// The waker of one op, fired or dropped in the teardown, begins another and forgets it.
#[test]
fn an_op_begun_and_forgotten_in_the_teardown_does_not_hold_it_up() {
    let (_watchdog, rt) = watched();
    let ((quiet, _writer), (other, _other_writer)) = (pipe(), pipe());
    rt.block_on(async {
        let earlier = begin(ops::nop()); // so that the new op takes a node the teardown has passed
        let waker = Striker::waker(move || std::mem::forget(begin(ops::read(other, vec![0; 1]))));
        let mut waits = ops::read(&quiet, vec![0; 1]);
        assert!(poll_with(&mut waits, &waker).is_pending());
        std::mem::forget(waits);
        earlier.await.unwrap();
    });
    assert_eq!(rt.shutdown(), Ok(()));
}

/// What is pushed to another thread while completions are reaped is told before the runtime sleeps.
#[test]
fn a_wake_from_a_reap_reaches_another_thread_before_the_runtime_sleeps() {
    let (_watchdog, rt) = watched();
    let (quiet, _writer) = pipe();
    let (tx, rx) = channel::bounded(1);
    let (seen, saw) = mpsc::channel();
    let popper = thread::spawn(move || seen.send(rx.pop_blocking().map(|()| Instant::now())));
    rt.block_on(async {
        time::sleep(Duration::from_millis(50)).await; // it is parked
        let waker = Striker::waker(move || tx.try_push(()).unwrap());
        let mut op = ops::nop();
        assert!(poll_with(&mut op, &waker).is_pending());
        drop(waker);
        let idle = ops::read(&quiet, vec![0; 1]).timeout(Duration::from_secs(2)).await;
        assert!(idle.is_err());
        drop(op);
    });
    let ended = Instant::now();
    let popped = saw.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
    assert!(ended.duration_since(popped) > Duration::from_secs(1), "told only when the runtime woke up");
    popper.join().unwrap().unwrap();
}

/// What is dropped in flight while completions are reaped is cancelled before the runtime sleeps.
#[test]
fn a_cancel_from_a_reap_is_sent_before_the_runtime_sleeps() {
    let (_watchdog, rt) = watched();
    let (quiet, _writer) = pipe();
    let (_full_reader, full) = io::pipe().unwrap();
    let full = Fd::from(full);
    let held: Arc<[u8]> = vec![0; 1 << 16].into();
    let mine = Arc::clone(&held);
    rt.block_on(async {
        assert_eq!(ops::write(&full, held.clone()).await.0.unwrap(), 1 << 16); // all that a pipe takes
        let victim = begin(ops::write(&full, held.clone()));
        ops::nop().await.unwrap(); // it is in flight
        drop(held);
        let waker = Striker::waker(move || drop(victim));
        let mut op = ops::nop();
        assert!(poll_with(&mut op, &waker).is_pending());
        drop(waker);
        let looks = thread::spawn(move || {
            thread::sleep(Duration::from_secs(1));
            Arc::strong_count(&mine)
        });
        assert!(ops::read(&quiet, vec![0; 1]).timeout(Duration::from_secs(2)).await.is_err());
        drop(op);
        assert_eq!(looks.join().unwrap(), 1, "cancelled only when the runtime woke up");
    });
}

/// The task that a drain held back is told of its end by user code which drops the very op that drained.
#[test]
fn a_drain_may_be_dropped_by_whom_its_end_wakes() {
    let (_watchdog, rt) = watched();
    let (reader, mut writer) = pipe();
    writer.write_all(b"x").unwrap();
    rt.block_on(async {
        let barrier = begin(Box::pin(ops::read(&reader, vec![0; 1]).drain()));
        let mut starved = ops::nop();
        let waker = Striker::waker(move || drop(barrier));
        assert!(poll_with(&mut starved, &waker).is_pending());
        drop(waker);
        let next = time::timeout(Duration::from_secs(5), ops::read(&reader, vec![0; 1])).await;
        assert_eq!(next.expect("the read that drained has ended").1, b"x");
        starved.await.unwrap();
    });
    assert_eq!((rt.stats().nodes, rt.stats().orphans), (0, 0));
}

/// A task that looks again and again while a drain holds its op back is on the list once.
#[test]
fn whoever_waits_for_a_drain_waits_once() {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }
    let (_watchdog, rt) = watched();
    let (quiet, writer) = pipe();
    rt.block_on(async {
        let earlier = begin(ops::read(&quiet, vec![0; 1]));
        let barrier = begin(Box::pin(ops::nop().drain()));
        let nobody = Arc::new(Nobody);
        let waker = Waker::from(Arc::clone(&nobody));
        let mut starved = ops::nop();
        for _ in 0..1000 {
            assert!(poll_with(&mut starved, &waker).is_pending());
        }
        drop(waker);
        assert!(Arc::strong_count(&nobody) <= 2, "{} clones are kept", Arc::strong_count(&nobody));
        drop(writer);
        earlier.await.0.unwrap();
        barrier.await.unwrap();
        starved.await.unwrap();
    });
}

/// A root that is no `async` block lets go of what it holds only when it is dropped.
#[test]
fn the_end_of_what_the_root_held_reaches_other_threads() {
    let (_watchdog, rt) = watched();
    for panics in [false, true] {
        let (tx, rx) = channel::bounded::<()>(1);
        let popper = thread::spawn(move || rx.pop_blocking().is_err());
        thread::sleep(Duration::from_millis(50)); // it is parked
        let run = catch_unwind(AssertUnwindSafe(|| {
            rt.block_on(poll_fn(move |_| {
                let _held = &tx;
                assert!(!panics, "as asked");
                Poll::Ready(())
            }));
        }));
        assert_eq!(run.is_err(), panics);
        assert!(popper.join().unwrap(), "the last sender is gone");
    }
}

/// The root is gone when the tasks that are waited for run on.
#[test]
fn what_the_root_held_ends_before_the_tasks_are_waited_for() {
    let (_watchdog, rt) = watched();
    let (tx, rx) = channel::bounded::<()>(1);
    let ended = rt.spawn(async move { rx.pop().await.is_err() });
    rt.sync_wait(poll_fn(move |_| {
        let _held = &tx;
        Poll::Ready(())
    }));
    assert!(ended.is_finished());
}

/// Destructors may wait for a channel by another executor: the budget is that of a poll, and there is none.
#[test]
fn a_destructor_may_use_channels_without_a_budget() {
    let (_watchdog, rt) = watched();
    let (tx, rx) = channel::bounded(1000);
    let task = rt.spawn(async move {
        let _guard = OnDrop(move || {
            for n in 0..1000 {
                futures::executor::block_on(tx.push(n)).unwrap();
            }
        });
        pending::<()>().await;
    });
    rt.block_on(yield_now());
    drop(rt);
    drop(task);
    assert_eq!(rx.len(), 1000);
}

/// As in `a_destructor_may_use_channels_without_a_budget`, inside a poll.
#[test]
fn another_executor_inside_a_poll_gets_on_when_the_budget_is_spent() {
    let (_watchdog, rt) = watched();
    rt.block_on(async {
        let (tx, rx) = channel::bounded(1000);
        futures::executor::block_on(async {
            for n in 0..1000 {
                tx.push(n).await.unwrap();
            }
        });
        assert_eq!(rx.len(), 1000);
    });
}

/// A request to stop is not lost because no runtime runs just then.
#[test]
fn an_op_can_be_asked_to_stop_between_two_block_ons() {
    let (_watchdog, rt) = watched();
    let (quiet, _writer) = pipe();
    let mut op = ops::read(&quiet, vec![0; 1]);
    rt.block_on(async {
        assert!(poll_with(&mut op, Waker::noop()).is_pending());
        ops::nop().await.unwrap();
    });
    for _ in 0..3 {
        Pin::new(&mut op).request_cancel();
    }
    let (result, _buf) =
        rt.block_on(time::timeout(Duration::from_secs(5), op)).expect("it was asked to stop");
    assert_eq!(result.unwrap_err().raw_os_error(), Some(125));
}

/// `exit` runs the destructors of the thread's locals while the task that called it is still being polled.
#[test]
fn a_task_may_exit_under_a_runtime_in_a_thread_local() {
    const CHILD: &str = "MILLSTREAM_TEST_EXITS";
    thread_local! {
        static RUNTIME: Runtime = Runtime::new().unwrap();
    }
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    let name = "a_task_may_exit_under_a_runtime_in_a_thread_local";
    let Some(how) = env::var_os(CHILD) else {
        for how in ["root", "task"] {
            let run = Command::new(env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(CHILD, how)
                .output()
                .unwrap();
            assert_eq!(run.status.code(), Some(7), "{how}: {run:?}");
        }
        return;
    };
    let exits = async {
        let guard = OnDrop(|| {
            if DROPS.fetch_add(1, Ordering::Relaxed) > 0 {
                process::abort();
            }
        });
        yield_now().await;
        drop(guard);
        process::exit(7);
    };
    RUNTIME.with(|rt| {
        if how == "root" {
            rt.block_on(exits);
        } else {
            rt.spawn(exits).detach();
            rt.run();
        }
    });
}

#[test]
fn a_spawn_from_a_reap_runs() {
    let (_watchdog, rt) = watched();
    rt.block_on(async {
        let (tx, rx) = channel::bounded(1);
        let waker = Striker::waker(move || {
            spawn(async move { tx.push(()).await }).detach();
        });
        let mut op = ops::nop();
        assert!(poll_with(&mut op, &waker).is_pending());
        rx.pop().await.unwrap();
        op.await.unwrap();
    });
}
