//! Instants come out when they are due, in step, once; and no timer outlives what waits for it, wherever it is polled.
//!
//! No test asserts how long something took: only order, counts, and that nothing comes early.

use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::Wake;
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::future::join_all;
use futures::stream::{FusedStream, FuturesUnordered, Stream, StreamExt};

use super::support::{Bell, Rng, poll, poll_with, seed};
use crate::channel::time::{self, Receiver};
use crate::channel::{PopError, TryPopError, after, at, never, tick};
use crate::operation::Operation;
use crate::util::timer_thread;
use crate::{Runtime, race};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The timer thread is one for the process: whoever counts its timers must be alone with it, and so must everybody who may
/// arm one, by a poll that is not a runtime's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(timer_thread::armed(), 0, "left behind by the test before");
    alone
}

fn runtime() -> Runtime {
    Runtime::builder().no_spin().build().expect("io_uring is there")
}

fn is_pending(receiver: &mut Receiver) -> bool {
    poll(Pin::new(&mut receiver.pop())).is_pending()
}

// --- what comes out -------------------------------------------------------------------------------------------------

#[test]
fn one_instant_comes_once() {
    let due = Instant::now();
    let mut receiver = at(due);
    assert_eq!(
        (receiver.len(), receiver.capacity(), receiver.is_full(), receiver.is_closed()),
        (1, 1, true, false)
    );
    assert_eq!(receiver.next_due(), Some(due));
    assert_eq!(receiver.try_pop(), Ok(due));
    assert_eq!((receiver.len(), receiver.is_empty(), receiver.is_closed()), (0, true, true));
    assert_eq!(receiver.next_due(), None);
    assert_eq!(receiver.try_pop(), Err(TryPopError::Closed));
    assert_eq!(receiver.pop_blocking(), Err(PopError::Closed));
    assert_eq!(poll(pin!(receiver.pop())), Poll::Ready(Err(PopError::Closed)));
    assert!(!receiver.close());
    let mut ticks = tick(Duration::from_nanos(1));
    while ticks.is_empty() {}
    assert!(ticks.close() && ticks.is_closed() && !ticks.is_terminated());
    assert!(ticks.try_pop().is_ok(), "it was due before the close");
    assert_eq!(ticks.try_pop(), Err(TryPopError::Closed));
    assert!(ticks.is_terminated());
    assert_eq!(after(Duration::ZERO).iter().count(), 1);
}

#[test]
fn nothing_comes_early() {
    let mut receiver = after(MS * 3);
    let due = receiver.next_due().unwrap();
    loop {
        let before = Instant::now();
        match receiver.try_pop() {
            Ok(popped) => break assert_eq!(popped, due),
            Err(error) => {
                assert_eq!(error, TryPopError::Empty);
                assert!(before < due, "it was due");
            }
        }
        assert!(receiver.is_empty() || Instant::now() >= due);
    }
    assert!(Instant::now() >= due);
}

#[test]
fn what_lies_beyond_the_clock_never_comes() {
    for mut receiver in [never(), after(Duration::MAX), tick(Duration::MAX)] {
        assert_eq!((receiver.next_due(), receiver.is_closed()), (None, false));
        assert_eq!(receiver.try_pop(), Err(TryPopError::Empty));
        assert!(is_pending(&mut receiver));
        assert!(receiver.close());
        assert_eq!(receiver.try_pop(), Err(TryPopError::Closed));
    }
}

#[test]
fn a_period_of_zero_is_refused() {
    let payload = catch_unwind(|| tick(Duration::ZERO)).unwrap_err();
    assert!(payload.downcast_ref::<&str>().is_some_and(|text| text.contains("must not be zero")));
}

/// Every tick is on the grid, none comes twice, and none is in neither count.
#[test]
fn ticks_keep_step_whatever_the_popper_does() {
    let _alone = alone();
    let seed = seed();
    let mut rng = Rng::new(seed);
    for period in [Duration::from_nanos(1), Duration::from_nanos(999), MS / 3, MS] {
        let mut ticks = tick(period);
        let start = ticks.next_due().unwrap() - period;
        let (mut popped, mut last) = (0_u64, start);
        for _ in 0..20 {
            if rng.chance(3) {
                thread::sleep(Duration::from_micros(rng.next() % 5000));
            }
            let overdue = ticks.len();
            let expected = ticks.next_due().unwrap();
            let due = match rng.below(3) {
                0 => ticks.pop_blocking().unwrap(),
                1 => block_on(ticks.pop()).unwrap(),
                _ => match ticks.try_pop() {
                    Ok(due) => due,
                    Err(error) => {
                        assert_eq!((error, overdue), (TryPopError::Empty, 0), "seed {seed}");
                        continue;
                    }
                },
            };
            let now = Instant::now();
            popped += 1;
            assert!(due == expected && due > last && due <= now, "seed {seed}");
            let index = (due - start).as_nanos() / period.as_nanos();
            assert_eq!((due - start).as_nanos() % period.as_nanos(), 0, "off the grid, seed {seed}");
            assert!(index >= u128::from(popped), "seed {seed}");
            let next = ticks.next_due().unwrap();
            let ahead = (next - start).as_nanos() / period.as_nanos();
            assert_eq!(
                ahead,
                u128::from(popped + ticks.missed() + 1),
                "a tick is in neither count, seed {seed}"
            );
            last = due;
        }
    }
}

#[test]
fn a_slow_popper_finds_one_overdue_tick() {
    let period = MS * 200; // longer than a slow machine takes for the next lines
    let mut ticks = tick(period);
    let start = ticks.next_due().unwrap() - period;
    thread::sleep(period * 4 + period / 4);
    let before = Instant::now();
    assert_eq!(ticks.len(), 1);
    assert_eq!(ticks.try_pop(), Ok(start + period), "the oldest");
    assert!(ticks.missed() >= 3);
    assert!(ticks.next_due().unwrap() > before, "what was missed is left out");
}

#[test]
fn ends_and_futures_may_go_anywhere() {
    fn check<T: Send + Sync + Unpin>(_: &T) {}
    let mut receiver = never();
    check(&receiver);
    check(&receiver.pop());
}

// --- as an operation ------------------------------------------------------------------------------------------------

#[test]
fn a_cancelled_pop_resolves_and_is_woken_and_takes_nothing() {
    let _alone = alone();
    for mut receiver in [after(HOUR), tick(HOUR), never()] {
        let (bell, waker) = Bell::new();
        let mut pop = receiver.pop();
        assert!(poll_with(Pin::new(&mut pop), &waker).is_pending());
        Pin::new(&mut pop).request_cancel();
        Pin::new(&mut pop).request_cancel();
        assert_eq!(bell.rings(), 1);
        assert_eq!(timer_thread::armed(), 0);
        assert_eq!(poll(Pin::new(&mut pop)), Poll::Ready(Err(PopError::Cancelled)));
        drop(pop);
        assert!(!receiver.is_closed());
    }
    let mut due = at(Instant::now());
    let mut pop = due.pop();
    Pin::new(&mut pop).request_cancel();
    assert_eq!(poll(Pin::new(&mut pop)), Poll::Ready(Err(PopError::Cancelled)));
    drop(pop);
    assert!(due.try_pop().is_ok(), "it is there for the next pop");
}

#[test]
fn a_cancelled_pop_whose_instant_has_come_delivers_it() {
    let _alone = alone();
    let instant = Instant::now() + Duration::from_millis(5);
    let mut receiver = at(instant);
    let mut pop = receiver.pop();
    if poll(Pin::new(&mut pop)).is_pending() {
        thread::sleep(instant.saturating_duration_since(Instant::now()));
        Pin::new(&mut pop).request_cancel();
        assert_eq!(poll(Pin::new(&mut pop)), Poll::Ready(Ok(instant)));
    }
    while timer_thread::armed() > 0 {
        thread::yield_now(); // its thread may be about to fire it
    }
}

#[test]
fn a_pop_that_is_given_up_leaves_no_timer() {
    let _alone = alone();
    let mut receiver = tick(HOUR);
    let mut pop = receiver.pop();
    assert!(poll(Pin::new(&mut pop)).is_pending());
    assert_eq!(timer_thread::armed(), 1);
    assert_eq!(Pin::new(&mut pop).poll_discard(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
    assert_eq!(timer_thread::armed(), 0);
    assert!(
        catch_unwind(AssertUnwindSafe(|| poll(Pin::new(&mut pop)))).is_err(),
        "polled after it had resolved"
    );
    drop(pop);
    let mut pop = receiver.pop();
    assert!(poll(Pin::new(&mut pop)).is_pending());
    drop(pop);
    assert_eq!(timer_thread::armed(), 0);
    assert!(is_pending(&mut never()));
    assert_eq!(timer_thread::armed(), 0, "nothing to wait for, no timer");
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_that_is_called() {
    let _alone = alone();
    let mut delay = MS;
    loop {
        delay *= 2; // a slow machine is late for the polls that are to be early
        let mut receiver = after(delay);
        let mut pop = receiver.pop();
        let (first, old) = Bell::new();
        let (second, new) = Bell::new();
        // Twice the same one, then another.
        let early = [&old, &old, &new].iter().all(|waker| poll_with(Pin::new(&mut pop), waker).is_pending());
        assert!(timer_thread::armed() <= 1);
        if !early {
            continue;
        }
        while second.rings() == 0 {
            thread::yield_now();
        }
        assert!(poll(Pin::new(&mut pop)).is_ready());
        assert_eq!(first.rings(), 0, "nobody polls with that one any more");
        return;
    }
}

#[test]
fn a_stream_ends_when_closed_and_gives_up_its_place() {
    let _alone = alone();
    let mut receiver = tick(HOUR);
    let (bell, waker) = Bell::new();
    let mut cx = Context::from_waker(&waker);
    assert!(receiver.poll_next_unpin(&mut cx).is_pending());
    assert_eq!(timer_thread::armed(), 1);
    assert_eq!(receiver.try_pop(), Err(TryPopError::Empty));
    assert_eq!(timer_thread::armed(), 0, "popped from in another way");
    assert!(receiver.poll_next_unpin(&mut cx).is_pending());
    assert!(receiver.close());
    assert_eq!((bell.rings(), timer_thread::armed()), (1, 0));
    assert_eq!(receiver.poll_next_unpin(&mut cx), Poll::Ready(None));
    assert!(receiver.is_terminated());
    assert_eq!(receiver.size_hint(), (0, Some(0)));
    assert_eq!(after(HOUR).size_hint(), (0, Some(1)));
    assert_eq!(tick(HOUR).size_hint(), (0, None));
    assert_eq!(block_on(after(MS).collect::<Vec<_>>()).len(), 1);
}

// --- who keeps the timer --------------------------------------------------------------------------------------------

#[test]
fn a_runtime_keeps_its_tasks_timers() {
    let _alone = alone();
    let rt = runtime();
    rt.block_on(async {
        let mut ticks = tick(HOUR);
        let mut pop = ticks.pop();
        for _ in 0..3 {
            assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut pop).poll(cx))).await.is_pending());
            assert_eq!((rt.stats().timers, timer_thread::armed()), (1, 0));
        }
        drop(pop);
        assert_eq!(rt.stats().timers, 0);
        let mut soon = tick(MS);
        let first = soon.pop().await.unwrap();
        assert!(soon.pop().await.unwrap() > first);
        race!(soon.pop() || ticks.pop()).await;
        assert_eq!((rt.stats().timers, timer_thread::armed()), (0, 0));
    });
}

/// What in a task has wakers of its own is woken all the same, even if it blocks the runtime's thread.
#[test]
fn other_wakers_inside_a_runtime_are_woken() {
    let _alone = alone();
    runtime().block_on(async {
        let mut receivers = [3, 1, 2].map(|n| after(MS * n));
        let pops: FuturesUnordered<_> = receivers.iter_mut().map(Receiver::pop).collect();
        assert_eq!(pops.filter(|popped| core::future::ready(popped.is_ok())).count().await, 3);
        assert!(block_on(after(MS).pop()).is_ok(), "an executor that blocks the thread");
    });
    assert_eq!(timer_thread::armed(), 0);
}

type Polled = Poll<Result<Instant, PopError>>;

/// Polls once in a task of the runtime.
fn poll_on(rt: &Runtime, pop: &mut time::Pop<'_>) -> Polled {
    rt.block_on(poll_fn(|cx| Poll::Ready(Pin::new(&mut *pop).poll(cx))))
}

#[test]
fn a_timer_moves_with_its_pop() {
    let _alone = alone();
    let (one, other) = (runtime(), runtime());
    let mut receiver = after(HOUR);
    let mut pop = receiver.pop();
    let timers = |one: &Runtime, other: &Runtime| {
        one.block_on(crate::yield_now()); // they hear that a timer was given up
        other.block_on(crate::yield_now());
        (one.stats().timers, other.stats().timers, timer_thread::armed())
    };
    let mut beside = after(HOUR);
    let mut namesake = beside.pop();
    assert!(poll_on(&other, &mut namesake).is_pending());
    assert!(poll_on(&one, &mut pop).is_pending());
    assert_eq!(timers(&one, &other), (1, 1, 0), "two first timers, of one name on two wheels");
    assert!(poll_on(&other, &mut pop).is_pending());
    assert_eq!(timers(&one, &other), (0, 2, 0));
    drop(namesake);
    assert_eq!(timers(&one, &other), (0, 1, 0));
    assert!(poll(Pin::new(&mut pop)).is_pending());
    assert_eq!(timers(&one, &other), (0, 0, 1));
    assert!(poll_on(&one, &mut pop).is_pending());
    let (in_one, in_other, in_thread) = timers(&one, &other);
    assert_eq!((in_one + in_thread, in_other), (1, 0), "one of those that can wake it");
    drop(one); // a runtime that is gone is no harm
    drop(pop);
    assert_eq!((other.stats().timers, timer_thread::armed()), (0, 0));
}

#[test]
fn a_pop_resolves_wherever_it_was_polled_before() {
    let _alone = alone();
    let steps: [fn(&mut time::Pop<'_>) -> Polled; 3] = [
        |pop| poll_on(&runtime(), pop),
        |pop| poll(Pin::new(pop)),
        |pop| thread::scope(|threads| threads.spawn(|| poll_on(&runtime(), pop)).join().unwrap()),
    ];
    let ends: [fn(time::Pop<'_>) -> Result<Instant, PopError>; 2] =
        [|pop| block_on(pop), |pop| runtime().block_on(pop)];
    for (first, second, end) in (0..18).map(|n| (n % 3, n / 3 % 3, n / 9)) {
        let mut receiver = after(MS * 10);
        let due = receiver.next_due().unwrap();
        let mut pop = receiver.pop();
        // On a slow machine it may be due by now.
        let popped = match steps[first](&mut pop) {
            Poll::Pending => match steps[second](&mut pop) {
                Poll::Pending => ends[end](pop),
                Poll::Ready(popped) => popped,
            },
            Poll::Ready(popped) => popped,
        };
        assert_eq!(popped, Ok(due));
    }
    assert_eq!(timer_thread::armed(), 0);
}

#[test]
fn a_timer_of_another_thread_is_given_up_by_message() {
    let rt = runtime();
    let mut receiver = after(HOUR);
    assert!(rt.block_on(poll_fn(|cx| Poll::Ready(receiver.poll_next_unpin(cx)))).is_pending());
    assert_eq!(rt.stats().timers, 1);
    thread::spawn(move || drop(receiver)).join().unwrap();
    rt.block_on(crate::yield_now());
    assert_eq!(rt.stats().timers, 0);
}

/// What waits on a runtime is told of its end also when another thread brings that about: nobody waits out the hour.
#[test]
fn an_end_made_elsewhere_wakes_who_waits() {
    fn end_elsewhere<T: Send>(
        of: T,
        poll: impl Fn(&mut T, &mut Context<'_>) -> bool,
        end: impl FnOnce(&mut T) + Send,
    ) {
        let of = Mutex::new(of);
        let (tell, is_waiting) = mpsc::channel();
        thread::scope(|threads| {
            let of = &of;
            threads.spawn(move || {
                is_waiting.recv().unwrap();
                end(&mut of.lock().unwrap());
            });
            runtime().block_on(poll_fn(|cx| {
                let ready = poll(&mut of.lock().unwrap(), cx);
                if !ready {
                    tell.send(()).unwrap();
                }
                if ready { Poll::Ready(()) } else { Poll::Pending }
            }));
        });
    }
    fn resolved(pop: &mut time::Pop<'_>, cx: &mut Context<'_>) -> bool {
        Pin::new(pop).poll(cx).map(|popped| assert_eq!(popped, Err(PopError::Cancelled))).is_ready()
    }
    for make in [never, || after(HOUR), || tick(HOUR)] {
        end_elsewhere(
            make(),
            |end, cx| end.poll_next_unpin(cx) == Poll::Ready(None),
            |end| assert!(end.close()),
        );
        end_elsewhere(make().pop(), resolved, |pop| Pin::new(pop).request_cancel());
    }
}

#[test]
fn blocking_ends_are_refused_where_a_runtime_polls_and_need_no_timer() {
    let _alone = alone();
    let refused = runtime().block_on(async { catch_unwind(|| after(MS).pop_blocking()).is_err() });
    assert!(refused);
    let (tx, rx) = mpsc::channel();
    let ticking = thread::spawn(move || {
        for due in tick(MS) {
            if tx.send((due, timer_thread::armed())).is_err() {
                break;
            }
        }
    });
    for (due, armed) in rx.into_iter().take(5) {
        assert!(due <= Instant::now());
        assert_eq!(armed, 0);
    }
    ticking.join().unwrap();
}

// --- hostile wakers, and many of them -------------------------------------------------------------------------------

/// Panics when called and when dropped.
struct Bomb;

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        panic!("planted: a waker that panics");
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("planted: a waker that panics when dropped");
        }
    }
}

/// Arms and disarms timers when called and when dropped.
struct Busy(Arc<AtomicUsize>);

impl Wake for Busy {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        assert!(is_pending(&mut after(HOUR)));
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    let _alone = alone();
    let from = Instant::now() + MS * 5;
    let mut bombed = at(from);
    let mut others: Vec<_> = (1..=200).map(|n| at(from + Duration::from_micros(n))).collect();
    let mut pop = bombed.pop();
    if poll_with(Pin::new(&mut pop), &Waker::from(Arc::new(Bomb))).is_pending() {
        assert!(block_on(join_all(others.iter_mut().map(Receiver::pop))).iter().all(Result::is_ok));
    }
    drop(pop);
    let mut again = after(HOUR);
    let mut pop = again.pop();
    let _ = catch_unwind(AssertUnwindSafe(|| poll_with(Pin::new(&mut pop), &Waker::from(Arc::new(Bomb)))));
    drop(pop); // the waker's own panic stays in there
    assert_eq!(timer_thread::armed(), 0);
}

#[test]
fn wakers_may_use_timers_themselves() {
    let _alone = alone();
    let calls = Arc::new(AtomicUsize::new(0));
    for duration in [MS, HOUR] {
        calls.store(0, Ordering::SeqCst);
        let mut receiver = after(duration);
        let mut pop = receiver.pop();
        let waker = Waker::from(Arc::new(Busy(calls.clone())));
        let pending = poll_with(Pin::new(&mut pop), &waker).is_pending();
        drop(waker);
        if duration == HOUR {
            drop(pop); // drops the waker under no lock
            assert_eq!(calls.load(Ordering::SeqCst), 1);
        } else if pending {
            while calls.load(Ordering::SeqCst) < 2 {
                thread::yield_now(); // called, and dropped
            }
        }
    }
    while timer_thread::armed() > 0 {
        thread::yield_now(); // the thread may still be in the drop that it called
    }
}

/// Threads with executors of their own wait, give up, move and pop at random. Nothing hangs, comes early or stays armed.
#[test]
fn random_use_on_many_threads_leaves_nothing_behind() {
    let _alone = alone();
    let seed = seed();
    let (moved_tx, moved) = crate::channel::bounded::<Receiver>(8);
    thread::scope(|threads| {
        for index in 0..4 {
            let (moved_tx, moved) = (moved_tx.clone(), moved.clone());
            threads.spawn(move || {
                let mut rng = Rng::new(seed + index);
                let rt = (index % 2 == 0).then(runtime);
                for _ in 0..150 {
                    let mut receivers: Vec<_> = (0..1 + rng.below(6))
                        .map(|_| match rng.below(8) {
                            0 => after(HOUR),
                            1 => tick(Duration::from_micros(1 + rng.next() % 900)),
                            _ => after(Duration::from_micros(rng.next() % 1500)),
                        })
                        .collect();
                    if let Ok(other) = moved.try_pop() {
                        receivers.push(other); // polled as a stream before, on another thread
                    }
                    receivers.push(after(Duration::from_micros(rng.next() % 300)));
                    let give_up = rng.chance(3);
                    let work = async {
                        let mut pops: Vec<_> = receivers.iter_mut().map(|receiver| receiver.pop()).collect();
                        let popped = poll_fn(|cx| {
                            for pop in &mut pops {
                                if let Poll::Ready(popped) = Pin::new(pop).poll(cx) {
                                    return Poll::Ready(Some(popped));
                                }
                            }
                            if give_up { Poll::Ready(None) } else { Poll::Pending }
                        });
                        if let Some(popped) = popped.await {
                            assert!(popped.unwrap() <= Instant::now(), "early, seed {seed}");
                        }
                        drop(pops);
                        let mut left = receivers.pop().unwrap();
                        let _ = poll_fn(|cx| Poll::Ready(left.poll_next_unpin(cx))).await;
                        left
                    };
                    let left = match &rt {
                        Some(rt) if !rng.chance(4) => rt.block_on(work),
                        _ => block_on(work),
                    };
                    if !left.is_closed() {
                        let _ = moved_tx.try_push(left);
                    }
                }
                if let Some(rt) = rt {
                    rt.block_on(crate::yield_now());
                }
            });
        }
    });
    drop((moved_tx, moved));
    assert_eq!(timer_thread::armed(), 0, "seed {seed}");
    assert!(timer_thread::is_started());
}
