//! Other threads: remote spawns, wakes, drops and stops, with nothing lost on either side.

mod support;

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use millstream::{Handle, JoinError, RemoteJoinHandle, Runtime, channel, spawn, time, yield_now};
use support::{Watchdog, rounds};

fn runtime() -> Runtime {
    Runtime::new().expect("io_uring is there")
}

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(100))
}

/// A runtime that runs on a thread of its own until it is stopped.
fn running(spin: bool) -> (Handle, thread::JoinHandle<()>) {
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let builder = Runtime::builder();
        let rt = if spin { builder } else { builder.no_spin() }.build().expect("io_uring is there");
        tell.send(rt.handle()).unwrap();
        rt.run();
    });
    (told.recv().unwrap(), thread)
}

#[test]
fn a_remote_task_gives_its_output_back() {
    let _watchdog = watchdog();
    let (handle, thread) = running(true);
    let here = thread::current().id();
    let task = handle.spawn(async move { thread::current().id() != here }).unwrap();
    assert!(task.join_blocking().unwrap());
    // A future that is not `Send`, built over there.
    let task = handle
        .spawn_with(|| async {
            let local = Rc::new(Cell::new(1));
            yield_now().await;
            local.set(local.get() + 1);
            local.get()
        })
        .unwrap();
    assert_eq!(task.join_blocking().unwrap(), 2);
    // Awaited on another runtime.
    let task = handle.spawn(async { "there" }).unwrap();
    assert_eq!(runtime().block_on(task).unwrap(), "there");
    handle.stop();
    thread.join().unwrap();
}

#[test]
fn remote_panics_and_cancels_are_told() {
    let _watchdog = watchdog();
    let (handle, thread) = running(false);
    let task = handle.spawn(async { panic!("there") }).unwrap();
    assert_eq!(task.join_blocking().unwrap_err().message(), Some("there"));
    fn no_future() -> std::future::Ready<()> {
        panic!("no future")
    }
    let task = handle.spawn_with(no_future).unwrap();
    assert_eq!(task.join_blocking().unwrap_err().message(), Some("no future"));
    let held = Arc::new(());
    let inner = Arc::clone(&held);
    let task = handle
        .spawn(async move {
            let _inner = inner;
            pending::<()>().await;
        })
        .unwrap();
    task.cancel();
    assert!(task.join_blocking().unwrap_err().is_cancelled());
    assert_eq!(Arc::strong_count(&held), 1, "its future is dropped before its end is told");
    handle.stop();
    thread.join().unwrap();
}

#[test]
fn work_for_a_stopped_or_dropped_runtime_comes_back() {
    let rt = runtime();
    let handle = rt.handle();
    assert!(handle.is_open());
    handle.stop();
    handle.stop();
    assert!(!handle.is_open());
    let error = handle.spawn_with(|| std::future::ready(5)).unwrap_err();
    assert_eq!(rt.block_on(error.into_inner()()), 5);
    rt.run(); // returns at once
    drop(rt);
    let error = handle.spawn(std::future::ready(6)).unwrap_err();
    assert_eq!(runtime().block_on(error.into_inner()), 6);
    handle.stop();
    handle.allow_exit();
}

#[test]
fn accepted_work_of_a_runtime_that_never_runs_is_told_cancelled() {
    let _watchdog = watchdog();
    let rt = runtime();
    let held = Arc::new(());
    let inner = Arc::clone(&held);
    let task = rt.handle().spawn(async move { drop(inner) }).unwrap();
    drop(rt);
    assert!(task.join_blocking().unwrap_err().is_cancelled());
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn allow_exit_returns_when_no_task_is_left() {
    let _watchdog = watchdog();
    let rt = runtime();
    let ended = Rc::new(Cell::new(false));
    let inner = Rc::clone(&ended);
    rt.spawn(async move {
        time::sleep(Duration::from_millis(5)).await;
        inner.set(true);
    })
    .detach();
    rt.handle().allow_exit();
    rt.run();
    assert!(ended.get());
}

/// Every spawn of a storm that a stop and a drop cut short ran, was told cancelled, or came back.
#[test]
fn a_storm_of_spawns_while_stopping_loses_nothing() {
    const THREADS: usize = 3;
    let _watchdog = watchdog();
    for round in 0..rounds(200) {
        let ran = Arc::new(AtomicUsize::new(0));
        let start = Arc::new(Barrier::new(THREADS + 1));
        let (tell, told) = mpsc::channel();
        let runtime_thread = thread::spawn(move || {
            let rt = runtime();
            tell.send(rt.handle()).unwrap();
            rt.run();
            if round % 2 == 0 {
                rt.sync_wait(async {}); // what was accepted can still be run
            }
        });
        let handle = told.recv().unwrap();
        let senders: Vec<_> = (0..THREADS)
            .map(|_| {
                let (ran, start) = (Arc::clone(&ran), Arc::clone(&start));
                thread::spawn(move || {
                    start.wait();
                    let (mut accepted, mut refused) = (Vec::new(), 0);
                    while refused < 5 {
                        let ran = Arc::clone(&ran);
                        let work = async move { ran.fetch_add(1, Ordering::Relaxed) };
                        match handle.spawn(work) {
                            Ok(task) => accepted.push(task),
                            Err(error) => {
                                drop(error.into_inner());
                                refused += 1;
                            }
                        }
                    }
                    let outcomes = accepted.into_iter().map(RemoteJoinHandle::join_blocking);
                    let (ran, cancelled): (Vec<_>, Vec<_>) = outcomes.partition(Result::is_ok);
                    assert!(cancelled.iter().all(|outcome| matches!(outcome, Err(JoinError::Cancelled))));
                    (ran.len(), cancelled.len())
                })
            })
            .collect();
        start.wait();
        thread::sleep(Duration::from_micros(round % 50 * 20));
        handle.stop();
        let told: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        runtime_thread.join().unwrap();
        assert_eq!(told.iter().map(|(ran, _)| ran).sum::<usize>(), ran.load(Ordering::Relaxed));
        if round % 2 == 0 {
            assert_eq!(told.iter().map(|(_, cancelled)| cancelled).sum::<usize>(), 0);
        }
    }
}

/// A value that two threads pass to and fro, each waking the other.
#[derive(Default)]
struct Ball {
    side: AtomicUsize,
    wakers: [Mutex<Option<Waker>>; 2],
}

impl Ball {
    async fn play(&self, me: usize, turns: usize) {
        for _ in 0..turns {
            poll_fn(|cx| {
                *self.wakers[me].lock().unwrap() = Some(cx.waker().clone());
                if self.side.load(Ordering::Acquire) == me { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            self.side.store(1 - me, Ordering::Release);
            let waker = self.wakers[1 - me].lock().unwrap().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

#[test]
fn no_wake_between_runtimes_is_lost_spinning_or_asleep() {
    let _watchdog = watchdog();
    for spin in [true, false] {
        let turns = rounds(20_000) as usize;
        let ball = Arc::new(Ball::default());
        let (handle, thread) = running(spin);
        let theirs = Arc::clone(&ball);
        let there = handle.spawn(async move { theirs.play(1, turns).await }).unwrap();
        let rt = if spin { Runtime::builder() } else { Runtime::builder().no_spin() }.build().unwrap();
        rt.block_on(async {
            ball.play(0, turns).await;
            there.await.unwrap();
        });
        handle.stop();
        thread.join().unwrap();
    }
}

/// Many tasks, more than the near words of the bitmap hold, woken by plain threads at random.
#[test]
fn no_wake_from_a_plain_thread_is_lost() {
    const TASKS: usize = 3000;
    let _watchdog = watchdog();
    let rt = Runtime::builder().no_spin().build().unwrap();
    let wakers: Arc<Vec<Mutex<Option<Waker>>>> = Arc::new((0..TASKS).map(|_| Mutex::new(None)).collect());
    let flags: Arc<Vec<AtomicBool>> = Arc::new((0..TASKS).map(|_| AtomicBool::new(false)).collect());
    let turns = rounds(20);
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2)
        .map(|n| {
            let (wakers, flags, stop) = (Arc::clone(&wakers), Arc::clone(&flags), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for i in (n..TASKS).step_by(2) {
                        let waker = wakers[i].lock().unwrap().take();
                        if let Some(waker) = waker {
                            flags[i].store(true, Ordering::Relaxed); // the wake publishes it
                            waker.wake();
                        }
                    }
                }
            })
        })
        .collect();
    rt.sync_wait(async {
        for i in 0..TASKS {
            let (wakers, flags) = (Arc::clone(&wakers), Arc::clone(&flags));
            spawn(async move {
                for _ in 0..turns {
                    poll_fn(|cx| {
                        if flags[i].swap(false, Ordering::Relaxed) {
                            return Poll::Ready(());
                        }
                        *wakers[i].lock().unwrap() = Some(cx.waker().clone());
                        Poll::Pending
                    })
                    .await;
                }
            })
            .detach();
        }
    });
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_timer_dropped_on_another_thread_is_disarmed() {
    let _watchdog = watchdog();
    let rt = runtime();
    rt.block_on(async {
        let mut sleep = Box::pin(time::sleep(Duration::from_secs(3600)));
        assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await);
        thread::spawn(move || drop(sleep)).join().unwrap();
        time::sleep(Duration::from_millis(1)).await; // a turn of the loop
    });
    assert_eq!(rt.stats().timers, 0);
}

#[test]
fn a_timer_that_moves_to_another_runtime_fires_there() {
    let _watchdog = watchdog();
    let rt = runtime();
    let mut sleep = Box::pin(time::sleep(Duration::from_millis(5)));
    let deadline = sleep.deadline();
    rt.block_on(async { assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await) });
    thread::spawn(move || runtime().block_on(sleep)).join().unwrap();
    assert!(std::time::Instant::now() >= deadline);
    rt.block_on(time::sleep(Duration::from_millis(1))); // a turn of the loop
    assert_eq!(rt.stats().timers, 0);
    let mut sleep = Box::pin(time::sleep(Duration::from_millis(5)));
    rt.block_on(async { assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await) });
    drop(rt);
    runtime().block_on(sleep); // armed on one that is gone
}

#[test]
fn an_output_may_have_a_foreign_waker_that_runs_anything() {
    // The joiner's waker drops the handle of another task, and spawns nothing under anyone's lock.
    struct Drops(Mutex<Option<RemoteJoinHandle<()>>>);
    impl std::task::Wake for Drops {
        fn wake(self: Arc<Self>) {
            drop(self.0.lock().unwrap().take());
        }
    }
    let _watchdog = watchdog();
    let (handle, thread) = running(true);
    let (open, gate) = channel::bounded::<()>(1);
    let mut task = handle
        .spawn(async move {
            let _ = gate.pop().await;
        })
        .unwrap();
    let other = handle.spawn(pending::<()>()).unwrap();
    let waker = Waker::from(Arc::new(Drops(Mutex::new(Some(other)))));
    assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(open);
    task.join_blocking().unwrap();
    handle.stop();
    thread.join().unwrap();
}

#[test]
fn blocking_for_a_task_on_a_runtime_thread_is_refused() {
    let rt = runtime();
    let task = rt.handle().spawn(async {}).unwrap();
    let refused = rt.block_on(async {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task.join_blocking())).unwrap_err()
    });
    assert!(refused.downcast_ref::<&str>().unwrap().contains("await the handle instead"));
}

#[test]
fn many_short_runs_take_over_what_other_threads_send() {
    let runtime = Runtime::new().unwrap();
    let sent = runtime.handle().spawn(async { 7 }).unwrap();
    for _ in 0..10 {
        runtime.block_on(yield_now());
    }
    assert!(sent.is_finished());
}
