//! Tasks and their handles: what they resolve to, when they are dropped, and that a panic stays where it belongs.

mod support;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use millstream::{JoinError, JoinHandle, Operation, Runtime, spawn, yield_now};
use support::Watchdog;

fn runtime() -> Runtime {
    Runtime::new().expect("io_uring is there")
}

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(60))
}

/// Counts its drops.
#[derive(Clone)]
struct Drops(Rc<Cell<usize>>);

impl Drops {
    fn new() -> (Self, Rc<Cell<usize>>) {
        let count = Rc::new(Cell::new(0));
        (Self(Rc::clone(&count)), count)
    }
}

impl Drop for Drops {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Panics when dropped, unless disarmed by a panic that is on its way.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a destructor's panic");
        }
    }
}

/// Forgets a value where a leak checker can still find it: that it is not freed is what is asked for.
fn forget<T: 'static>(value: T) {
    static FORGOTTEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let at = std::ptr::from_mut(Box::leak(Box::new(value)));
    FORGOTTEN.lock().unwrap().push(at.expose_provenance());
}

fn message<T>(outcome: Result<T, JoinError>) -> String {
    match outcome {
        Err(error) if error.is_panic() => error.message().unwrap_or("?").to_owned(),
        Err(error) => error.to_string(),
        Ok(_) => "an output".to_owned(),
    }
}

#[test]
fn block_on_returns_when_its_future_does_and_tasks_stay_for_the_next() {
    let _watchdog = watchdog();
    let rt = runtime();
    let steps = Rc::new(Cell::new(0));
    let inner = Rc::clone(&steps);
    let task = rt.spawn(async move {
        for _ in 0..10 {
            inner.set(inner.get() + 1);
            yield_now().await;
        }
        inner.get()
    });
    rt.block_on(yield_now());
    let before = steps.get();
    assert!(before < 10);
    assert_eq!(rt.block_on(task).unwrap(), 10);
}

#[test]
fn sync_wait_waits_for_every_task() {
    let _watchdog = watchdog();
    let rt = runtime();
    let ended = Rc::new(Cell::new(0));
    let out = rt.sync_wait(async {
        for n in 0..50 {
            let ended = Rc::clone(&ended);
            spawn(async move {
                for _ in 0..n {
                    yield_now().await;
                }
                spawn(async move { ended.set(ended.get() + 1) }).detach();
            })
            .detach();
        }
        "root"
    });
    assert_eq!((out, ended.get()), ("root", 50));
    assert_eq!(rt.stats().tasks, 0);
}

#[test]
fn tasks_run_in_the_order_they_became_ready() {
    let rt = runtime();
    let log = Rc::new(RefCell::new(Vec::new()));
    rt.sync_wait(async {
        for name in ["a", "b", "c"] {
            let log = Rc::clone(&log);
            spawn(async move {
                for turn in 0..2 {
                    log.borrow_mut().push((name, turn));
                    yield_now().await;
                }
            })
            .detach();
        }
    });
    assert_eq!(*log.borrow(), [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1), ("c", 1)]);
}

#[test]
fn cancel_drops_the_future_at_the_next_turn() {
    let _watchdog = watchdog();
    let rt = runtime();
    rt.block_on(async {
        let (guard, drops) = Drops::new();
        let task = spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        yield_now().await;
        task.cancel();
        task.cancel();
        assert_eq!(drops.get(), 0, "not under the caller's feet");
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(drops.get(), 1);
    });
}

#[test]
fn a_cancel_that_comes_too_late_changes_nothing() {
    let rt = runtime();
    rt.block_on(async {
        let task = spawn(async { 7 });
        yield_now().await;
        assert!(task.is_finished());
        task.cancel();
        assert_eq!(task.await.unwrap(), 7);
    });
}

#[test]
fn a_task_that_cancels_itself_and_ends_keeps_its_output() {
    let rt = runtime();
    rt.block_on(async {
        let own: Rc<RefCell<Option<JoinHandle<u8>>>> = Rc::default();
        let inner = Rc::clone(&own);
        let task = spawn(async move {
            inner.borrow().as_ref().unwrap().cancel();
            5
        });
        *own.borrow_mut() = Some(task);
        yield_now().await;
        let task = own.borrow_mut().take().unwrap();
        assert_eq!(task.await.unwrap(), 5);
    });
}

#[test]
fn a_task_may_be_cancelled_between_two_runs() {
    let rt = runtime();
    let (guard, drops) = Drops::new();
    let task = rt.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    rt.block_on(yield_now());
    task.cancel();
    assert_eq!(drops.get(), 0);
    assert!(rt.block_on(task).unwrap_err().is_cancelled());
    assert_eq!(drops.get(), 1);
}

#[test]
fn dropping_a_handle_detaches() {
    let rt = runtime();
    let ran = Rc::new(Cell::new(false));
    rt.sync_wait(async {
        let ran = Rc::clone(&ran);
        drop(spawn(async move {
            yield_now().await;
            ran.set(true);
        }));
    });
    assert!(ran.get());
}

#[test]
fn as_an_operation_a_handle_stands_for_its_task() {
    let _watchdog = watchdog();
    let rt = runtime();
    rt.block_on(async {
        let (guard, drops) = Drops::new();
        let mut task = spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        yield_now().await;
        poll_fn(|cx| Pin::new(&mut task).poll_discard(cx)).await;
        assert_eq!(drops.get(), 1, "nothing of it is left when the discard is ready");
    });
}

#[test]
fn every_kind_of_panic_reaches_the_handle_and_the_others_go_on() {
    let _watchdog = watchdog();
    let rt = runtime();
    rt.block_on(async {
        let survivor = spawn(async {
            for _ in 0..100 {
                yield_now().await;
            }
            "alive"
        });
        // In the body.
        assert_eq!(message(spawn(async { panic!("in the body") }).await), "in the body");
        let n = 3;
        assert_eq!(message(spawn(async move { panic!("formatted {n}") }).await), "formatted 3");
        // In the destructor of the future, after its output was there.
        struct Holds(Bomb);
        impl Future for Holds {
            type Output = u8;
            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u8> {
                Poll::Ready(1)
            }
        }
        assert_eq!(message(spawn(Holds(Bomb)).await), "a destructor's panic");
        // In the destructor of the future, when cancelled.
        let task = spawn(async {
            let _bomb = Bomb;
            pending::<()>().await;
        });
        yield_now().await;
        task.cancel();
        assert_eq!(message(task.await), "a destructor's panic");
        // In the destructor of an output nobody takes.
        spawn(async { Bomb }).detach();
        yield_now().await;
        // In the destructor of a payload.
        spawn(async { std::panic::panic_any(Bomb) }).detach();
        yield_now().await;
        // With a payload that is no text.
        let outcome = spawn(async { std::panic::panic_any(42_u64) }).await;
        match outcome {
            Err(JoinError::Panicked(payload)) => assert_eq!(*payload.downcast::<u64>().unwrap(), 42),
            other => panic!("{other:?}"),
        }
        assert_eq!(survivor.await.unwrap(), "alive");
    });
}

#[test]
fn dropping_a_finished_handle_frees_the_cell_though_the_output_panics() {
    let rt = runtime();
    rt.block_on(async {
        let task = spawn(async { Bomb });
        yield_now().await;
        assert!(task.is_finished());
        let unwound = catch_unwind(AssertUnwindSafe(|| drop(task)));
        assert!(unwound.is_err());
    });
}

#[test]
fn the_panic_of_the_root_reaches_the_caller_and_the_runtime_goes_on() {
    let rt = runtime();
    let task = rt.spawn(async { 3 });
    let unwound = catch_unwind(AssertUnwindSafe(|| rt.block_on(async { panic!("root") })));
    assert_eq!(unwound.unwrap_err().downcast_ref::<&str>(), Some(&"root"));
    assert_eq!(rt.block_on(task).unwrap(), 3);
    assert_eq!(rt.stats().tasks, 0);
}

#[test]
fn a_waker_that_panics_harms_nobody() {
    struct Angry;
    impl Wake for Angry {
        fn wake(self: Arc<Self>) {
            panic!("an angry waker");
        }
    }
    let _watchdog = watchdog();
    let rt = runtime();
    rt.block_on(async {
        let mut task = spawn(async {
            yield_now().await;
            9
        });
        let angry = Waker::from(Arc::new(Angry));
        assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&angry)).is_pending());
        for _ in 0..3 {
            yield_now().await;
        }
        assert!(task.is_finished(), "its end was told to the angry waker, and then the loop went on");
        assert_eq!(task.await.unwrap(), 9);
    });
}

#[test]
fn a_runtime_in_a_runtime_is_refused() {
    let rt = runtime();
    rt.block_on(async {
        let inner = runtime();
        for nested in [
            catch_unwind(AssertUnwindSafe(|| inner.block_on(async {}))),
            catch_unwind(AssertUnwindSafe(|| inner.run())),
        ] {
            let text = nested.unwrap_err().downcast::<&str>().map(|text| text.to_string()).unwrap();
            assert!(text.contains("a runtime runs on this thread already"), "{text}");
        }
        drop(inner); // with the outer one going on after
        yield_now().await;
        assert_eq!(spawn(async { 1 }).await.unwrap(), 1, "spawn means the outer one again");
    });
    assert_eq!(rt.block_on(async { 4 }), 4);
}

#[test]
fn outside_a_runtime_there_is_nothing_to_spawn_on() {
    let unwound = catch_unwind(|| drop(spawn(async {})));
    let text = unwound.unwrap_err().downcast::<&str>().map(|text| text.to_string()).unwrap();
    assert!(text.contains("outside a millstream runtime"), "{text}");
}

#[test]
fn sixteen_thousand_tasks_half_of_which_wake_themselves_and_end() {
    let _watchdog = watchdog();
    let rt = runtime();
    let ended = Rc::new(Cell::new(0));
    for _ in 0..3 {
        ended.set(0);
        rt.sync_wait(async {
            for n in 0..16_000 {
                let ended = Rc::clone(&ended);
                spawn(async move {
                    yield_now().await;
                    if n % 2 == 0 {
                        poll_fn(|cx| {
                            cx.waker().wake_by_ref(); // queued, and over
                            Poll::Ready(())
                        })
                        .await;
                    }
                    ended.set(ended.get() + 1);
                    if n % 4 == 0 {
                        spawn(async {}).detach(); // takes slots while others are still queued
                    }
                })
                .detach();
            }
        });
        assert_eq!(ended.get(), 16_000);
        assert_eq!(rt.stats().tasks, 0);
    }
}

#[test]
fn futures_of_any_size_and_alignment_stay_whole() {
    #[repr(align(256))]
    #[derive(Clone, Copy)]
    struct Wide(u64);
    let rt = runtime();
    rt.block_on(async {
        macro_rules! sizes {
            ($($n:literal)*) => { $({
                let tasks: Vec<_> = (0..20_u8).map(|i| {
                    let bytes = [i; $n];
                    spawn(async move { yield_now().await; (bytes.iter().map(|b| u64::from(*b)).sum::<u64>(), bytes) })
                }).collect();
                for (i, task) in tasks.into_iter().enumerate() {
                    assert_eq!(task.await.unwrap().0, i as u64 * $n);
                }
            })* };
        }
        sizes!(1 15 63 64 65 200 500 1000 1900 4000 4096 9000 70000);
        let wide = Wide(3);
        let task = spawn(async move {
            yield_now().await;
            assert_eq!((&raw const wide).addr() % 256, 0);
            wide
        });
        assert_eq!(task.await.unwrap().0, 3);
    });
}

#[test]
fn handles_outlive_the_runtime() {
    let (guard, drops) = Drops::new();
    let rt = runtime();
    let pending_task = rt.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    let ended = rt.spawn(async { String::from("kept") });
    let ended_unread = rt.spawn(async { String::from("dropped with its handle") });
    rt.block_on(yield_now());
    drop(rt);
    assert_eq!(drops.get(), 1);
    assert!(pending_task.is_finished() && ended.is_finished());
    pending_task.cancel();
    drop(ended_unread);
    let other = runtime();
    assert!(other.block_on(pending_task).unwrap_err().is_cancelled());
    assert_eq!(other.block_on(ended).unwrap(), "kept");
}

#[test]
fn a_task_joined_from_another_runtime_of_the_thread_wakes_it() {
    let _watchdog = watchdog();
    let (a, b) = (runtime(), runtime());
    let task = a.spawn(pending::<()>());
    task.cancel();
    let mut task = Box::pin(task);
    b.block_on(async { assert!(poll_fn(|cx| Poll::Ready(task.as_mut().poll(cx))).await.is_pending()) });
    a.block_on(yield_now());
    assert!(b.block_on(task).unwrap_err().is_cancelled());
}

#[test]
fn destructors_may_spawn_cancel_and_join_while_the_runtime_ends() {
    struct Respawn(Rc<Cell<usize>>);
    impl Drop for Respawn {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            let again = Respawn(Rc::clone(&self.0));
            spawn(async move {
                let _again = again;
                pending::<()>().await;
            })
            .detach();
        }
    }
    let _watchdog = watchdog();
    let drops = Rc::new(Cell::new(0));
    let rt = runtime();
    let first = Respawn(Rc::clone(&drops));
    rt.spawn(async move {
        let _first = first;
        pending::<()>().await;
    })
    .detach();
    rt.block_on(yield_now());
    drop(rt); // ends, although each destructor spawns the next one
    assert!((2..10_000).contains(&drops.get()), "{}", drops.get());
    forget(drops); // the last one spawned was leaked, and holds it

    // A ring of tasks that hold each other's handles: dropped one by one, without recursion.
    let rt = runtime();
    let mut previous: Option<JoinHandle<()>> = None;
    for _ in 0..100_000 {
        let handle = previous.take();
        previous = Some(rt.spawn(async move {
            let _handle = handle;
            pending::<()>().await;
        }));
    }
    rt.block_on(yield_now());
    drop(rt);
}

#[test]
fn panics_in_destructors_do_not_stop_the_end_of_a_runtime() {
    let (guard, drops) = Drops::new();
    let rt = runtime();
    for n in 0..10 {
        let guard = (n == 9).then(|| guard.clone());
        rt.spawn(async move {
            let _bomb = Bomb;
            let _guard = guard;
            pending::<()>().await;
        })
        .detach();
    }
    drop(guard);
    rt.block_on(yield_now());
    rt.shutdown().unwrap();
    assert_eq!(drops.get(), 2);
}

#[test]
fn forgotten_futures_and_handles_harm_nothing() {
    let rt = runtime();
    rt.block_on(async {
        let task = spawn(async { 1 });
        forget(task);
        let mut sleep = Box::pin(millstream::time::sleep(Duration::from_millis(1)));
        assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx))).await.is_pending());
        forget(sleep);
        millstream::time::sleep(Duration::from_millis(5)).await;
    });
    rt.shutdown().unwrap();
}

#[test]
fn a_boxed_future_may_outlive_the_task_that_polled_it() {
    let _watchdog = watchdog();
    let rt = runtime();
    let shared = Rc::new(RefCell::new(None::<Waker>));
    rt.block_on(async {
        let task = {
            let shared = Rc::clone(&shared);
            spawn(poll_fn(move |cx| {
                *shared.borrow_mut() = Some(cx.waker().clone());
                Poll::Ready(())
            }))
        };
        task.await.unwrap();
        let stale = shared.borrow_mut().take().unwrap();
        let polls = Rc::new(Cell::new(0));
        let next = {
            let polls = Rc::clone(&polls);
            spawn(poll_fn(move |_| {
                polls.set(polls.get() + 1);
                Poll::<()>::Pending
            }))
        };
        yield_now().await;
        assert_eq!(polls.get(), 1);
        stale.wake(); // the slot is the next task's by now
        yield_now().await;
        assert_eq!(polls.get(), 1);
        drop(next);
    });
}

#[test]
fn wakers_work_after_their_runtime_is_gone_and_on_any_thread() {
    let rt = runtime();
    let waker = rt.block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
    drop(rt);
    let other = runtime(); // may have the same registry entry
    waker.wake_by_ref();
    let copy = waker.clone();
    std::thread::spawn(move || copy.wake()).join().unwrap();
    other.block_on(async {
        waker.wake_by_ref();
        yield_now().await;
    });
    waker.wake();
}

#[test]
fn an_always_ready_task_does_not_starve_the_others() {
    let _watchdog = watchdog();
    let rt = runtime();
    let wakes = Arc::new(AtomicUsize::new(0));
    rt.block_on(async {
        let busy = spawn(async {
            loop {
                yield_now().await;
            }
        });
        millstream::time::sleep(Duration::from_millis(3)).await; // a timer fires beside it
        // A wake from another thread arrives beside it.
        let (seen, waker) = (Arc::clone(&wakes), poll_fn(|cx| Poll::Ready(cx.waker().clone())).await);
        let thread = std::thread::spawn(move || {
            seen.store(1, Ordering::Release);
            waker.wake();
        });
        poll_fn(|_| if wakes.load(Ordering::Acquire) == 1 { Poll::Ready(()) } else { Poll::Pending }).await;
        thread.join().unwrap();
        busy.cancel();
    });
}
