//! User code that does the worst it may, where the runtime's unsafe code would notice: destructors and wakers that
//! re-enter, drop and end what is being used above them on the stack. Worth running under the sanitizer.

mod support;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use millstream::{JoinHandle, Runtime, channel, ops, spawn, time, yield_now};
use support::Watchdog;

fn runtime() -> Runtime {
    Runtime::new().expect("io_uring is there")
}

thread_local! {
    /// What a waker or a destructor finds to drop. Wakers must be `Send`, so they cannot hold it themselves.
    static VICTIM: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

thread_local! {
    /// A timer that stays armed though nothing polls it.
    static KEPT: RefCell<Option<Pin<Box<time::Sleep>>>> = const { RefCell::new(None) };
}

fn strike() {
    if let Some(victim) = VICTIM.take() {
        victim();
    }
}

fn aim(victim: impl FnOnce() + 'static) {
    VICTIM.set(Some(Box::new(victim)));
}

/// Strikes when it is dropped, and when it is woken.
struct Striker;

impl Wake for Striker {
    fn wake(self: Arc<Self>) {
        strike();
    }
}

impl Drop for Striker {
    fn drop(&mut self) {
        strike();
    }
}

fn striker() -> Waker {
    Waker::from(Arc::new(Striker))
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn replacing_a_joiners_waker_may_end_the_runtime() {
    let rt = runtime();
    let mut task = rt.spawn(pending::<()>());
    let first = striker();
    assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&first)).is_pending());
    drop(first); // the handle holds the last one
    aim(move || drop(rt));
    let outcome = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
    assert!(
        matches!(outcome, Poll::Ready(Err(error)) if error.is_cancelled()),
        "ended meanwhile, and not missed"
    );
}

#[test]
fn dropping_a_handle_may_end_the_runtime() {
    let rt = runtime();
    let mut task = rt.spawn(pending::<()>());
    let waker = striker();
    assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    aim(move || drop(rt));
    drop(task);
    assert!(VICTIM.take().is_none());
}

#[test]
fn telling_a_joiner_may_drop_the_handle_that_is_told() {
    let rt = runtime();
    let mut task = rt.spawn(async { String::from("never read") });
    let waker = striker();
    assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
    aim(move || drop(task));
    rt.block_on(yield_now());
    drop(waker);
    rt.block_on(yield_now());
}

#[test]
fn a_task_may_own_its_own_handle() {
    let rt = runtime();
    rt.block_on(async {
        for cancel in [false, true] {
            let own: Rc<RefCell<Option<JoinHandle<String>>>> = Rc::default();
            let inner = Rc::clone(&own);
            let task = spawn(async move {
                yield_now().await;
                let handle = inner.take().unwrap();
                if cancel {
                    handle.cancel();
                    yield_now().await; // dropped here, with its handle
                }
                let _until_the_end = handle;
                String::from("dropped with the last hold, which is inside")
            });
            own.replace(Some(task));
            for _ in 0..4 {
                yield_now().await;
            }
        }
    });
    assert_eq!(rt.stats().tasks, 0);
}

#[test]
fn a_handle_may_be_dropped_by_the_output_it_stands_for() {
    struct Output(#[allow(dead_code, reason = "held to be dropped")] Rc<RefCell<Option<JoinHandle<Output>>>>);
    let rt = runtime();
    rt.block_on(async {
        let own: Rc<RefCell<Option<JoinHandle<Output>>>> = Rc::default();
        let inner = Rc::clone(&own);
        let task = spawn(async move { Output(inner) });
        own.replace(Some(task));
        yield_now().await;
        let task = own.take().unwrap(); // breaks the ring
        assert!(task.is_finished());
        own.replace(Some(task));
        let task = own.borrow_mut().take();
        drop(own);
        drop(task);
    });
}

#[test]
fn a_destructor_may_cancel_spawn_and_wake_its_neighbours() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let rt = runtime();
    rt.block_on(async {
        let tasks: Rc<RefCell<Vec<JoinHandle<()>>>> = Rc::default();
        for n in 0..200 {
            let all = Rc::clone(&tasks);
            let task = spawn(async move {
                let _guard = OnDrop(move || {
                    for task in all.borrow().iter() {
                        task.cancel();
                    }
                    for _ in 0..3 {
                        spawn(yield_now()).detach(); // grows the table under the drop
                    }
                });
                if n % 2 == 0 {
                    yield_now().await;
                } else {
                    pending::<()>().await;
                }
            });
            tasks.borrow_mut().push(task);
        }
        for _ in 0..5 {
            yield_now().await;
        }
        for task in tasks.take() {
            let _ = task.await;
        }
    });
}

#[test]
fn a_poll_may_grow_the_table_it_is_polled_from() {
    let rt = runtime();
    rt.sync_wait(async {
        for _ in 0..10 {
            spawn(async {
                let tasks: Vec<_> = (0..5000).map(|n| spawn(async move { n })).collect();
                for (n, task) in tasks.into_iter().enumerate() {
                    assert_eq!(task.await.unwrap(), n);
                }
            })
            .detach();
        }
    });
}

#[test]
fn a_runtime_may_end_while_its_thread_unwinds() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a destructor's panic, while the thread unwinds");
        }
    }
    let unwound = catch_unwind(|| {
        let rt = runtime();
        for _ in 0..3 {
            rt.spawn(async {
                let _bomb = Bomb;
                pending::<()>().await;
            })
            .detach();
        }
        rt.block_on(yield_now());
        panic!("the first");
    });
    assert_eq!(unwound.unwrap_err().downcast_ref::<&str>(), Some(&"the first"));
}

#[test]
fn the_drop_of_the_root_happens_inside_the_runtime() {
    let rt = runtime();
    let spawned = Rc::new(Cell::new(0));
    for fails in [false, true] {
        let inner = Rc::clone(&spawned);
        let run = catch_unwind(AssertUnwindSafe(|| {
            rt.block_on(async {
                let _guard = OnDrop(|| {
                    let inner = Rc::clone(&inner);
                    spawn(async move { inner.set(inner.get() + 1) }).detach();
                });
                assert!(!fails, "as asked");
            });
        }));
        assert_eq!(run.is_err(), fails);
    }
    rt.sync_wait(async {});
    assert_eq!(spawned.get(), 2);
}

#[test]
fn a_timers_waker_may_drop_and_arm_timers() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let rt = runtime();
    rt.block_on(async {
        let due = std::time::Instant::now() + Duration::from_millis(300); // not before both are armed, on any machine
        let mut first = Box::pin(time::sleep_until(due));
        let mut second = Box::pin(time::sleep_until(due));
        let waker = striker();
        assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        aim(move || {
            drop(second); // due in the same tick
            let mut third = Box::pin(time::sleep(Duration::ZERO));
            let _ = third.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let mut fourth = Box::pin(time::sleep(Duration::from_secs(3600)));
            assert!(fourth.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            KEPT.set(Some(fourth));
        });
        time::sleep_until(due + Duration::from_millis(5)).await;
        first.await;
    });
    assert_eq!(rt.stats().timers, 1);
    KEPT.take();
    rt.block_on(time::sleep(Duration::from_millis(1))); // a turn of the loop
    assert_eq!(rt.stats().timers, 0);
}

#[test]
fn replacing_a_timers_waker_may_drop_the_timer_of_another() {
    let rt = runtime();
    rt.block_on(async {
        let mut sleep = Box::pin(time::sleep(Duration::from_secs(3600)));
        let mut other = Box::pin(time::sleep(Duration::from_secs(3600)));
        assert!(other.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let waker = striker();
        assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        aim(move || drop(other));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(rt.stats().timers, 1);
    });
}

#[test]
fn stale_ids_of_every_age_wake_nobody_wrong_and_crash_nothing() {
    let rt = runtime();
    let mut wakers = Vec::new();
    for _ in 0..50 {
        rt.sync_wait(async {
            for _ in 0..100 {
                spawn(poll_fn(|cx| {
                    wakers_push(cx.waker().clone());
                    cx.waker().wake_by_ref();
                    Poll::Ready(())
                }))
                .detach();
            }
        });
        wakers.append(&mut COLLECTED.take());
        rt.block_on(async {
            for waker in &wakers {
                waker.wake_by_ref();
            }
            yield_now().await;
        });
        for waker in &wakers {
            waker.wake_by_ref(); // through the registry: no runtime runs
        }
    }
    assert_eq!(wakers.len(), 5000);
    assert_eq!(rt.stats().tasks, 0);
}

thread_local! {
    static COLLECTED: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

fn wakers_push(waker: Waker) {
    COLLECTED.with_borrow_mut(|wakers| wakers.push(waker));
}

#[test]
fn always_ready_channels_and_yields_starve_neither_tasks_nor_the_ring() {
    let _watchdog = Watchdog::new(Duration::from_secs(60));
    let rt = runtime();
    rt.block_on(async {
        let (tx, rx) = channel::bounded::<u64>(4);
        let producer = spawn(async move {
            let mut n = 0;
            while tx.push(n).await.is_ok() {
                n += 1;
            }
        });
        let consumer = spawn(async move { while rx.pop().await.is_ok() {} });
        let refilled = spawn(async {
            let (tx, rx) = channel::bounded::<u64>(1);
            loop {
                tx.try_push(1).unwrap();
                rx.pop().await.unwrap(); // always ready: only the budget ends its poll
            }
        });
        for _ in 0..200 {
            ops::nop().await.unwrap();
        }
        time::sleep(Duration::from_millis(2)).await;
        refilled.cancel();
        consumer.cancel();
        producer.await.unwrap();
        assert!(refilled.await.unwrap_err().is_cancelled());
    });
}
