//! Timers: never early, in order, however far, and free when cancelled; and an idle runtime that rests.

mod support;

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use millstream::{Operation, Runtime, channel, ops, spawn, time};
use support::Watchdog;

fn runtime() -> Runtime {
    Runtime::builder().no_spin().build().expect("io_uring is there")
}

fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(60))
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn no_sleep_ends_early_and_all_end_in_order() {
    let _watchdog = watchdog();
    let rt = runtime();
    let order = Rc::new(RefCell::new(Vec::new()));
    rt.sync_wait(async {
        let from = Instant::now() + MS * 100; // after the last of them began to sleep, on a slow machine too
        for n in [9_u32, 3, 70, 1, 30, 0, 65, 5] {
            let order = Rc::clone(&order);
            spawn(async move {
                let sleep = time::sleep_until(from + MS * n);
                let deadline = sleep.deadline();
                sleep.await;
                assert!(Instant::now() >= deadline);
                order.borrow_mut().push(n);
            })
            .detach();
        }
    });
    assert_eq!(*order.borrow(), [0, 1, 3, 5, 9, 30, 65, 70]);
    assert_eq!(rt.stats().timers, 0);
}

#[test]
fn who_gathers_is_not_late_for_timers_and_waits_for_nothing_that_is_there() {
    let _watchdog = watchdog();
    let hour = Duration::from_secs(3600);
    let rt = Runtime::builder().gather(64, hour).build().expect("io_uring is there");
    rt.block_on(async {
        time::sleep(MS * 3).await;
        ops::nop().await.expect("a no-op");
    });
}

#[test]
fn who_gathers_is_patient_only_so_long() {
    let _watchdog = watchdog();
    let rt = Runtime::builder().gather(64, MS).build().expect("io_uring is there");
    let (tx, rx) = channel::bounded(1);
    let sender = thread::spawn(move || {
        for n in 0..5 {
            thread::sleep(MS * 2);
            tx.push_blocking(n).expect("somebody pops");
        }
    });
    rt.block_on(async {
        for n in 0..5 {
            assert_eq!(rx.pop().await, Ok(n));
        }
    });
    sender.join().expect("the sender ends");
}

#[test]
fn far_deadlines_are_kept_and_cost_nothing_when_dropped() {
    let rt = runtime();
    rt.block_on(async {
        let mut far: Vec<_> =
            [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(3600 * 24 * 365 * 50), MS * 3]
                .map(|d| Box::pin(time::sleep(d)))
                .into();
        for sleep in &mut far {
            assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await);
        }
        assert_eq!(rt.stats().timers, 4);
        time::sleep(MS * 10).await;
        assert_eq!(rt.stats().timers, 3);
        for sleep in &mut far[..3] {
            assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await);
        }
    });
    assert_eq!(rt.stats().timers, 0);
}

#[test]
fn a_timeout_drops_what_it_gave_up() {
    let _watchdog = watchdog();
    let rt = runtime();
    rt.block_on(async {
        let held = Rc::new(());
        let inner = Rc::clone(&held);
        let mut late = Box::pin(time::timeout(MS, async move {
            let _inner = inner;
            pending::<()>().await;
        }));
        assert!(late.as_mut().await.is_err());
        assert_eq!(Rc::strong_count(&held), 1, "dropped with the expiry, not with the timeout");
        assert_eq!(time::timeout(Duration::from_secs(3600), async { 8 }).await, Ok(8));
        assert_eq!(time::timeout(Duration::ZERO, async { 8 }).await, Ok(8), "ready in the same poll");
        assert_eq!(rt.stats().timers, 0);
    });
}

#[test]
fn a_cancelled_timer_resolves_at_once_and_wakes() {
    let _watchdog = watchdog();
    let rt = runtime();
    rt.block_on(async {
        let mut sleep = Box::pin(time::sleep(Duration::from_secs(3600)));
        assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await);
        sleep.as_mut().request_cancel();
        assert_eq!(rt.stats().timers, 0);
        sleep.await;
        let mut timeout = Box::pin(time::timeout(Duration::from_secs(3600), pending::<()>()));
        assert!(poll_fn(|cx| Poll::Ready(timeout.as_mut().poll(cx).is_pending())).await);
        timeout.as_mut().request_cancel();
        assert!(timeout.await.is_err());
        let mut fresh = Box::pin(time::sleep(Duration::from_secs(3600)));
        fresh.as_mut().request_cancel();
        fresh.await;
    });
}

#[test]
fn an_interval_leaves_out_what_was_missed() {
    let _watchdog = watchdog();
    let rt = runtime();
    rt.block_on(async {
        let period = MS * 50; // longer than a slow machine takes for the next lines
        let mut interval = time::interval(period);
        let in_step = |a: Instant, b: Instant| (b - a).as_nanos().is_multiple_of(period.as_nanos());
        let first = interval.tick().await;
        let mut given_up = interval.tick();
        Pin::new(&mut given_up).request_cancel();
        let announced = given_up.await;
        assert!(announced > first && in_step(first, announced));
        std::thread::sleep(period * 5);
        let before = Instant::now();
        assert_eq!(interval.tick().await, announced, "the tick that was due is told late, once");
        let third = interval.tick().await;
        assert!(third > before && in_step(first, third), "what was missed meanwhile is left out");
        assert!(Instant::now() >= third);
    });
}

#[test]
fn many_timers_of_all_lengths_fire_each_once() {
    let _watchdog = watchdog();
    let rt = runtime();
    let fired = Rc::new(RefCell::new(0));
    rt.sync_wait(async {
        for n in 0..5000_u64 {
            let fired = Rc::clone(&fired);
            spawn(async move {
                let mut sleep = time::sleep(Duration::from_micros(n * 37 % 150_000));
                if n % 3 == 0 {
                    // Armed, and moved.
                    poll_fn(|cx| Poll::Ready(Pin::new(&mut sleep).poll(cx).is_pending())).await;
                    sleep.reset(Instant::now() + MS * (n % 50) as u32);
                }
                let deadline = sleep.deadline();
                sleep.await;
                assert!(Instant::now() >= deadline);
                *fired.borrow_mut() += 1;
            })
            .detach();
        }
    });
    assert_eq!(*fired.borrow(), 5000);
    assert_eq!(rt.stats().timers, 0);
}

#[test]
fn an_idle_runtime_makes_no_system_call() {
    let _watchdog = watchdog();
    let rt = runtime();
    rt.block_on(time::sleep(MS * 5)); // the eventfd's read is armed
    let before = rt.stats();
    rt.block_on(async {
        let sleep = time::sleep(MS * 200);
        spawn(pending::<()>()).detach();
        sleep.await;
    });
    let after = rt.stats();
    // One sleep to the deadline, and one for each level of the wheel the timer came down.
    assert!(after.enters - before.enters <= 4, "{before:?} {after:?}");
    assert_eq!(after.enters - before.enters, after.parks - before.parks, "no enter that does not sleep");
    assert_eq!(after.signals, 0);
}

#[test]
fn a_sleeper_is_signalled_once_and_its_eventfd_armed_again() {
    let _watchdog = watchdog();
    let rt = runtime();
    let handle = rt.handle();
    let thread = std::thread::spawn(move || {
        for _ in 0..20 {
            std::thread::sleep(MS * 2);
            handle.spawn(async {}).unwrap().join_blocking().unwrap();
        }
        handle.stop();
    });
    rt.run();
    thread.join().unwrap();
    let stats = rt.stats();
    assert!(stats.signals <= 21, "{stats:?}");
    assert!(stats.parks >= stats.signals, "{stats:?}");
}

#[test]
fn a_timer_outside_a_runtime_says_so() {
    let mut sleep = Box::pin(time::sleep(MS));
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = sleep.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    }));
    let payload = unwound.unwrap_err();
    let text =
        payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    assert!(text.is_some_and(|text| text.contains("outside a millstream runtime")), "{text:?}");
    assert!(std::panic::catch_unwind(|| drop(time::interval(Duration::ZERO))).is_err());
}
