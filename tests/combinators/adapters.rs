//! Deadlines and tasks as arms: what comes back, what is stopped.

use std::cell::Cell;
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use millstream::channel::{PopError, PushError, bounded};
use millstream::combinators::{
    Elapsed, OneOf2, OperationExt, RingOperationExt, adapters, link, when_all, when_any,
};
use millstream::ops::{Op, Request};
use millstream::{JoinError, JoinHandle, Operation, Runtime, race, spawn, time, yield_now};

use crate::fake::{Cancelled, Step, Value, World, discard, on_ring, panics, poll};

const NEVER: Duration = Duration::MAX;

#[test]
fn what_is_there_at_the_deadline_was_in_time() {
    on_ring(|| {
        let world = World::new();
        assert_eq!(poll(pin!(world.ready("a", 1).timeout(Duration::ZERO))), Poll::Ready(Ok(Value(1))));
        assert_eq!(poll(pin!(world.ready("a", 1).timeout(NEVER))), Poll::Ready(Ok(Value(1))));
    });
}

#[test]
fn at_the_deadline_the_operation_is_stopped_and_its_outcome_comes_back() {
    on_ring(|| {
        let world = World::new();
        let mut late = pin!(world.op("a").0.timeout(Duration::ZERO));
        assert_eq!(poll(late.as_mut()), Poll::Ready(Err(Elapsed { outcome: Cancelled })));
        assert_eq!(world.seen(), "a starts, a asked to stop");
    });
}

#[test]
fn a_result_that_comes_after_the_deadline_is_late_but_not_lost() {
    on_ring(|| {
        let world = World::new();
        let (a, ra) = world.op("a");
        let ra = ra.stubborn();
        let mut late = pin!(a.timeout(Duration::ZERO));
        assert!(poll(late.as_mut()).is_pending());
        assert!(poll(late.as_mut()).is_pending(), "waited out");
        late.as_mut().request_cancel();
        assert_eq!(world.seen(), "a starts, a asked to stop", "once");
        ra.finish(3);
        assert_eq!(poll(late.as_mut()), Poll::Ready(Err(Elapsed { outcome: Value(3) })));
    });
}

#[test]
fn a_push_that_is_late_gives_its_value_back_and_a_pop_takes_nothing() {
    let (tx, rx) = bounded(1);
    tx.try_push(0).unwrap();
    let (_keeps_open, empty) = bounded::<u8>(1);
    Runtime::new().expect("a ring").block_on(async {
        let wait = Duration::from_millis(1);
        assert_eq!(tx.push(7).timeout(wait).await.unwrap_err().into_outcome(), Err(PushError::Cancelled(7)));
        assert_eq!(empty.pop().timeout(wait).await, Err(Elapsed { outcome: Err(PopError::Cancelled) }));
    });
    assert_eq!((rx.try_pop(), rx.is_empty()), (Ok(0), true));
}

#[test]
fn asked_to_stop_before_the_deadline_it_is_not_late() {
    on_ring(|| {
        let world = World::new();
        let mut op = pin!(world.op("a").0.timeout(NEVER));
        assert!(poll(op.as_mut()).is_pending());
        op.as_mut().request_cancel();
        assert_eq!(poll(op.as_mut()), Poll::Ready(Ok(Cancelled)));
    });
}

#[test]
fn a_deadline_that_loses_a_race_takes_its_operation_along() {
    on_ring(|| {
        let world = World::new();
        let (a, ra) = world.op("a");
        let ra = ra.stubborn();
        let (b, rb) = world.op("b");
        let mut race = pin!(when_any((a.timeout(NEVER), b)));
        assert!(poll(race.as_mut()).is_pending());
        rb.finish(2);
        assert!(poll(race.as_mut()).is_pending());
        assert_eq!(world.seen(), "a races, b races, a starts, b starts, a discarded");
        ra.stop();
        assert_eq!(poll(race.as_mut()), Poll::Ready(OneOf2::B(Value(2))));
        assert!(discard(pin!(world.op("c").0.timeout(NEVER))).is_ready());
        assert_eq!(world.seen(), "c discarded unstarted");
    });
}

#[test]
fn a_deadline_around_a_race_that_has_decided_delivers_it_late() {
    on_ring(|| {
        let world = World::new();
        let (slow, remote) = world.op("slow");
        let remote = remote.stubborn();
        let mut outer = pin!(when_any((world.ready("a", 1), slow)).timeout(NEVER) & world.ready("c", 3));
        assert_eq!(poll(outer.as_mut()), Poll::Ready((Ok(OneOf2::A(Value(1))), Value(3))));
        drop(remote);

        let (tx, rx) = bounded(1);
        let (slow, remote) = world.op("slow");
        let remote = remote.stubborn();
        let mut inner = pin!(when_any((rx.pop(), slow)));
        assert!(poll(inner.as_mut()).is_pending());
        tx.try_push(5).unwrap();
        let mut late = pin!(inner.as_mut().timeout(Duration::ZERO));
        assert!(poll(late.as_mut()).is_pending());
        remote.stop();
        assert_eq!(poll(late.as_mut()), Poll::Ready(Err(Elapsed { outcome: OneOf2::A(Ok(5)) })));
    });
}

#[test]
fn a_panic_in_the_request_to_stop_does_not_repeat_it() {
    on_ring(|| {
        let world = World::new();
        let (a, ra) = world.op("a");
        ra.panic_at(Step::Cancel);
        let mut late = pin!(a.timeout(Duration::ZERO));
        assert!(panics(|| poll(late.as_mut())).is_some());
        ra.finish(1);
        assert_eq!(poll(late.as_mut()), Poll::Ready(Err(Elapsed { outcome: Value(1) })));
        assert_eq!(world.seen(), "a starts, a asked to stop");
    });
}

/// Tells whether the future it is in is still there.
struct Alive(Rc<Cell<bool>>);

impl Alive {
    fn new() -> (Self, Rc<Cell<bool>>) {
        let alive = Rc::new(Cell::new(true));
        (Self(Rc::clone(&alive)), alive)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

fn forever() -> (JoinHandle<()>, Rc<Cell<bool>>) {
    let (guard, alive) = Alive::new();
    let task = spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    (task, alive)
}

#[test]
fn a_task_that_loses_a_race_is_cancelled_even_when_its_arm_was_never_polled() {
    Runtime::new().expect("a ring").block_on(async {
        let (first, first_alive) = forever();
        let (last, last_alive) = forever();
        yield_now().await;
        let winner = race!(first || adapters::future(async { 1 }) || last).await;
        assert_eq!(winner.index(), 1);
        assert!(!first_alive.get() && !last_alive.get(), "both tasks have ended when the race has");
    });
}

#[test]
fn a_task_by_reference_runs_on() {
    Runtime::new().expect("a ring").block_on(async {
        let (mut task, alive) = forever();
        assert!(matches!(race!(time::sleep(Duration::from_millis(1)) || &mut task).await, OneOf2::A(())));
        assert!(matches!((&mut task | time::sleep(Duration::from_millis(1))).await, OneOf2::B(())));
        assert!(alive.get());
        assert!(matches!(
            task.timeout(Duration::ZERO).await,
            Err(Elapsed { outcome: Err(JoinError::Cancelled) })
        ));
        assert!(!alive.get());
    });
}

/// What must hold for any request, checked by the compiler.
#[allow(dead_code, reason = "compiling it is the test")]
fn combinators_of_ops_move_between_threads_and_take_flags<R>(request: R)
where
    R: Request<Output: Send> + Send + Copy,
{
    fn movable<O: Operation + Send + Unpin>(op: O) -> O {
        op
    }
    let op = || Op::new(request);
    let all = movable(op() & op() & link([op(), op()]));
    drop(movable(all.drain().always_async() | op() >> op() >> op()));
    drop(movable(when_all(vec![op() | op()]).drain().timeout(NEVER)));
}
