//! What an operation says of itself without being polled, held to what a poll then does: that it may resolve, that it
//! waits, that it can be put off; and what `select!` and races make of it.
//!
//! Knows: the public API. Does not know: who keeps a line, a seat or a timer.

#![allow(unused_mut, reason = "one text for ends that are moved and for ends that are borrowed for a while")]

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use millstream::channel::{self, broadcast, oneshot, watch};
use millstream::combinators::{
    OperationExt, ResultsExt, RingOperationExt, link, parallel_all, parallel_any, when_all, when_any,
};
use millstream::{Operation, Runtime, ops, race, select, spawn, time, yield_now};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(3);

/// One poll, whatever comes of it.
async fn once<O: Operation>(mut operation: Pin<&mut O>) -> Poll<O::Output> {
    poll_fn(|cx| Poll::Ready(operation.as_mut().poll(cx))).await
}

/// Lets the executor have a turn, whichever it is.
async fn turn() {
    let mut over = false;
    poll_fn(|cx| {
        if !std::mem::replace(&mut over, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// Polls until the operation says that it waits: some look more than once before they do.
async fn until_it_waits<O: Operation>(name: &str, mut operation: Pin<&mut O>) {
    for _ in 0..100 {
        assert!(once(operation.as_mut()).await.is_pending(), "{name}: nothing has come yet");
        if operation.waits() {
            assert!(!(*operation).may_resolve(), "{name}: it waits");
            assert!(once(operation.as_mut()).await.is_pending(), "{name}: said that it goes on waiting");
            assert!(operation.waits(), "{name}: a poll is no news");
            return;
        }
        turn().await;
    }
    panic!("{name}: it does not say that it waits");
}

/// An operation that has to wait, and resolves once `event` has happened.
async fn waits_for<O: Operation>(name: &str, operation: O, event: impl AsyncFnOnce()) {
    let mut operation = pin!(operation);
    assert!(!(*operation).may_resolve(), "{name}: there is nothing to resolve it");
    until_it_waits(name, operation.as_mut()).await;
    event().await;
    assert!(!operation.waits(), "{name}: said that it waits, but it need not");
    assert!((*operation).may_resolve(), "{name}: said that it cannot resolve, but it can");
    assert!(once(operation.as_mut()).await.is_ready(), "{name}: it can resolve");
}

/// The same operation, asked to stop while it waits.
async fn can_be_stopped<O: Operation>(name: &str, operation: O) {
    let mut operation = pin!(operation);
    until_it_waits(name, operation.as_mut()).await;
    operation.as_mut().request_cancel();
    assert!(!operation.waits(), "{name}: said that it waits, but it was asked to stop");
    assert!((*operation).may_resolve(), "{name}: it was asked to stop");
    assert!(once(operation.as_mut()).await.is_ready(), "{name}: it stops at once");
}

/// An operation for which everything is there.
async fn is_ready<O: Operation>(name: &str, operation: O) {
    let mut operation = pin!(operation);
    assert!((*operation).may_resolve(), "{name}: said that it cannot resolve, but it can");
    assert!(!operation.waits(), "{name}: it need not wait");
    assert!(once(operation.as_mut()).await.is_ready(), "{name}: it can resolve");
}

/// On a runtime, and on an executor that knows nothing of it.
fn everywhere(test: impl AsyncFn()) {
    Runtime::new().expect("a runtime").block_on(test());
    block_on(test());
}

fn on_runtime(test: impl AsyncFnOnce()) {
    Runtime::new().expect("a runtime").block_on(test());
}

macro_rules! channel_of_many {
    ($name:ident, $make:path, $capacity:expr) => {
        #[test]
        fn $name() {
            everywhere(async || {
                let (name, capacity) = (stringify!($name), $capacity);
                let full = || {
                    let (mut tx, mut rx) = $make(capacity);
                    for n in 0..capacity {
                        tx.try_push(n).expect("room");
                    }
                    (tx, rx)
                };
                {
                    let (mut tx, mut rx) = $make(capacity);
                    waits_for(name, rx.pop(), async || _ = tx.close()).await;
                }
                {
                    let (mut tx, mut rx) = full();
                    waits_for(name, tx.push(9), async || _ = rx.close()).await;
                }
                {
                    let (mut tx, mut rx) = $make(capacity);
                    waits_for(name, rx.closed(), async || _ = tx.close()).await;
                    is_ready(name, rx.closed()).await;
                    is_ready(name, rx.pop()).await;
                }
                {
                    let (mut tx, mut rx) = $make(capacity);
                    waits_for(name, tx.closed(), async || drop(rx)).await;
                    is_ready(name, tx.push(1)).await;
                }
                let (mut tx, mut rx) = full();
                can_be_stopped(name, tx.push(9)).await;
                can_be_stopped(name, tx.closed()).await;
                can_be_stopped(name, rx.closed()).await;
                for _ in 0..capacity {
                    is_ready(name, rx.pop()).await;
                }
                can_be_stopped(name, rx.pop()).await;
                if capacity > 0 {
                    waits_for(name, rx.pop(), async || tx.try_push(1).expect("room")).await;
                    let (mut out, mut values) = (Vec::new(), VecDeque::from([7; 8]));
                    waits_for(name, rx.pop_many(&mut out, 4), async || tx.try_push(1).expect("room")).await;
                    is_ready(name, rx.pop_many(&mut out, 0)).await;
                    can_be_stopped(name, rx.pop_many(&mut out, 4)).await;
                    let (mut tx, mut rx) = full();
                    can_be_stopped(name, tx.push_many(&mut values)).await;
                    waits_for(name, tx.push_many(&mut values), async || _ = rx.close()).await;
                    is_ready(name, tx.push_many(&mut values)).await;
                    let (mut tx, mut rx) = full();
                    waits_for(name, tx.push(9), async || _ = rx.try_pop().expect("a value")).await;
                }
                let (mut tx, mut rx) = full();
                can_be_stopped(name, tx.reserve()).await;
                waits_for(name, tx.reserve(), async || _ = rx.close()).await;
                is_ready(name, tx.reserve()).await;
            });
        }
    };
}

channel_of_many!(bounded_1, channel::bounded::<usize>, 1);
channel_of_many!(bounded_2, channel::bounded::<usize>, 2);
channel_of_many!(local_1, channel::local::<usize>, 1);
channel_of_many!(spsc_1, channel::spsc::<usize>, 1);
channel_of_many!(spsc_2, channel::spsc::<usize>, 2);

#[test]
fn a_push_that_leaves_its_value() {
    everywhere(async || {
        let (tx, rx) = channel::bounded(1);
        tx.try_push(1).expect("room");
        let mut slot = Some(2);
        can_be_stopped("push_from", tx.push_from(&mut slot)).await;
        waits_for("push_from", tx.push_from(&mut slot), async || _ = rx.try_pop()).await;
        slot = Some(3);
        waits_for("push_from", tx.push_from(&mut slot), async || _ = rx.close()).await;
        is_ready("push_from", tx.push_from(&mut slot)).await;
    });
}

#[test]
fn at_capacity_zero() {
    everywhere(async || {
        let (tx, rx) = channel::bounded(0);
        let mut pop = pin!(rx.pop());
        until_it_waits("pop", pop.as_mut()).await;
        is_ready("push", tx.push(1)).await;
        is_ready("pop", pop.as_mut()).await;
        let (mut tx, mut rx) = channel::spsc(0);
        let mut push = pin!(tx.push(1));
        until_it_waits("push", push.as_mut()).await;
        is_ready("pop", rx.pop()).await;
        is_ready("push", push.as_mut()).await;
    });
}

#[test]
fn oneshots() {
    everywhere(async || {
        let (tx, mut rx) = oneshot();
        waits_for("oneshot", rx.pop(), async || _ = tx.push(1)).await;
        is_ready("oneshot, taken", rx.pop()).await;
        let (tx, mut rx) = oneshot::<u8>();
        can_be_stopped("oneshot", rx.pop()).await;
        waits_for("oneshot", rx.pop(), async || drop(tx)).await;
        let (tx, rx) = oneshot();
        waits_for("oneshot receiver", rx, async || _ = tx.push(1)).await;
        let (_tx, rx) = oneshot::<u8>();
        can_be_stopped("oneshot receiver", rx).await;
        let (mut tx, rx) = oneshot::<u8>();
        can_be_stopped("oneshot closed", tx.closed()).await;
        waits_for("oneshot closed", tx.closed(), async || drop(rx)).await;
        is_ready("oneshot closed", tx.closed()).await;
    });
}

#[test]
fn broadcasts() {
    everywhere(async || {
        let (tx, mut rx) = broadcast(1, broadcast::Overflow::Lag);
        waits_for("broadcast", rx.pop(), async || _ = tx.try_push(1)).await;
        can_be_stopped("broadcast", rx.pop()).await;
        tx.try_push(2).expect("it lags");
        tx.try_push(3).expect("it lags");
        is_ready("broadcast, lagging", rx.pop()).await;
        is_ready("broadcast", rx.pop()).await;
        let (tx, mut rx) = broadcast(1, broadcast::Overflow::Wait);
        tx.try_push(1).expect("room");
        let mut push = pin!(tx.push(2));
        until_it_waits("broadcast push", push.as_mut()).await;
        is_ready("broadcast", rx.pop()).await;
        is_ready("broadcast push", push.as_mut()).await;
        can_be_stopped("broadcast push", tx.push(3)).await;
        can_be_stopped("broadcast closed", rx.closed()).await;
        _ = rx.try_pop();
        waits_for("broadcast closed", tx.closed(), async || _ = rx.close()).await;
        is_ready("broadcast closed", tx.closed()).await;
        is_ready("broadcast, closed", rx.pop()).await;
    });
}

#[test]
fn watches() {
    everywhere(async || {
        let (tx, mut rx) = watch(1);
        is_ready("watch", rx.pop()).await;
        can_be_stopped("watch", rx.pop()).await;
        waits_for("watch", rx.pop(), async || _ = tx.push(2)).await;
        can_be_stopped("watch closed", rx.closed()).await;
        waits_for("watch closed", tx.closed(), async || _ = rx.close()).await;
        is_ready("watch closed", tx.closed()).await;
        is_ready("watch, closed", rx.pop()).await;
    });
}

#[test]
fn timers_as_channels() {
    everywhere(async || {
        let (mut soon, mut late) = (channel::after(SOON), channel::after(HOUR));
        waits_for("after", soon.pop(), async || std::thread::sleep(SOON)).await;
        is_ready("after, over", soon.pop()).await;
        can_be_stopped("after", late.pop()).await;
    });
}

#[test]
fn timers() {
    on_runtime(async || {
        waits_for("sleep", time::sleep(SOON), async || time::sleep(2 * SOON).await).await;
        can_be_stopped("sleep", time::sleep(HOUR)).await;
        is_ready("sleep", time::sleep(Duration::ZERO)).await;
        is_ready("sleep", time::sleep_until(Instant::now())).await;
        let mut interval = time::interval(SOON);
        waits_for("tick", interval.tick(), async || time::sleep(2 * SOON).await).await;
    });
}

#[test]
fn joins() {
    on_runtime(async || {
        let (tx, rx) = channel::local::<u8>(1);
        let mut join = pin!(spawn(async move { rx.pop().await }));
        until_it_waits("join", join.as_mut()).await;
        tx.push(1).await.expect("open");
        while join.waits() {
            yield_now().await;
        }
        is_ready("join", join).await;
    });
}

#[test]
fn ops_in_flight() {
    on_runtime(async || {
        let ended = async |op: Pin<&mut dyn Operation<Output = ()>>| {
            for _ in 0..10_000 {
                if !op.waits() {
                    return;
                }
                time::sleep(Duration::from_micros(100)).await; // an older kernel reads a pipe on a thread of its own
            }
            panic!("it waits for what has ended long ago");
        };
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let reader = ops::Fd::from(reader);
        let read = || ops::read(&reader, vec![0; 8]);
        macro_rules! check {
            ($op:expr) => {{
                let mut op = pin!(unit($op));
                assert!(!(*op).may_resolve(), "it was not begun");
                until_it_waits(stringify!($op), op.as_mut()).await;
                writer.write_all(b"12345678").expect("room");
                ended(op.as_mut()).await;
                is_ready(stringify!($op), op).await;
            }};
        }
        check!(read());
        check!(read().timeout(HOUR));
        check!(link((ops::nop(), read())));
        check!(read().link_timeout(HOUR));
        check!(read().latch());
    });
}

/// An operation whose output nobody wants.
fn unit<O: Operation>(op: O) -> impl Operation<Output = ()> {
    pin_project_lite::pin_project! {
        struct Unit<O> {
            #[pin]
            op: O,
        }
    }
    impl<O: Operation> Future for Unit<O> {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            self.project().op.poll(cx).map(drop)
        }
    }
    impl<O: Operation> Operation for Unit<O> {
        fn request_cancel(self: Pin<&mut Self>) {
            self.project().op.request_cancel();
        }

        fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            self.project().op.poll_discard(cx)
        }

        fn may_resolve(&self) -> bool {
            self.op.may_resolve()
        }

        fn waits(&self) -> bool {
            self.op.waits()
        }
    }
    Unit { op }
}

#[test]
fn combinators() {
    on_runtime(async || {
        let ((a_tx, a), (b_tx, b)) = (channel::local(4), channel::local(4));
        let (push_a, push_b) = (|| a_tx.try_push(1).expect("room"), || b_tx.try_push(2).expect("room"));
        waits_for("timeout", a.pop().timeout(HOUR), async || push_a()).await;
        waits_for("timeout", a.pop().timeout(SOON), async || time::sleep(2 * SOON).await).await;
        can_be_stopped("timeout", a.pop().timeout(HOUR)).await;
        is_ready("timeout", a.pop().timeout(Duration::ZERO)).await;
        waits_for("with_cancel", a.pop().with_cancel(b.pop()), async || push_a()).await;
        waits_for("with_cancel", a.pop().with_cancel(b.pop()), async || push_b()).await;
        can_be_stopped("with_cancel", a.pop().with_cancel(b.pop())).await;
        let mut place = None;
        waits_for("lost_into", a.pop().lost_into(&mut place), async || push_a()).await;
        waits_for("latch", a.pop().latch(), async || push_a()).await;
        waits_for("when_any", when_any((a.pop(), b.pop())), async || push_b()).await;
        waits_for("when_any", when_any([a.pop(), b.pop()]), async || push_a()).await;
        waits_for("when_any", when_any(vec![a.pop(), b.pop()]), async || push_a()).await;
        can_be_stopped("when_any", when_any((a.pop(), b.pop()))).await;
        waits_for("parallel_any", parallel_any((a.pop(), b.pop())), async || push_b()).await;
        can_be_stopped("parallel_any", parallel_any((a.pop(), b.pop()))).await;
        let both = async || {
            push_a();
            push_b();
        };
        waits_for("when_all", when_all((a.pop(), b.pop())), both).await;
        waits_for("parallel_all", parallel_all((a.pop(), b.pop())), both).await;
        can_be_stopped("when_all", when_all((a.pop(), b.pop()))).await;
        can_be_stopped("parallel_all", parallel_all((a.pop(), b.pop()))).await;
        // One of two is no end, and yet something for the poll to do.
        push_a();
        let mut all = pin!(when_all((a.pop(), b.pop())));
        assert!(!(*all).may_resolve());
        until_it_waits("when_all", all.as_mut()).await;
        push_b();
        is_ready("when_all", all).await;
        is_ready("when_all of nothing", when_all(())).await;
    });
}

/// Counts how often an operation is polled, and says what it says.
struct Counted<'a, O>(Pin<Box<O>>, &'a Cell<u32>);

impl<O: Operation> Future for Counted<'_, O> {
    type Output = O::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O::Output> {
        self.1.set(self.1.get() + 1);
        self.0.as_mut().poll(cx)
    }
}

impl<O: Operation> Operation for Counted<'_, O> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        self.0.as_mut().request_cancel();
    }

    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll_discard(cx)
    }

    fn may_resolve(&self) -> bool {
        self.0.may_resolve()
    }

    fn waits(&self) -> bool {
        self.0.waits()
    }
}

/// Enough turns for chance to reach every order of two arms.
const TURNS: u64 = 40;

/// `select!` promises that no op is started, no timer armed and no place in line taken beside an arm that is ready.
#[test]
fn a_select_begins_nothing_beside_an_arm_that_is_ready() {
    on_runtime(async || {
        let (tx, rx) = channel::local(1);
        let ((mut spsc_tx, mut spsc), (_one_tx, mut one)) = (channel::spsc::<u8>(1), oneshot::<u8>());
        let (watch_tx, mut watched) = watch(1);
        let (casts, mut cast) = broadcast::<u8>(1, broadcast::Overflow::Wait);
        let mut after = channel::after(HOUR);
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let reader = ops::Fd::from(reader);
        let read = || ops::read(&reader, vec![0; 8]);
        watched.mark_seen();
        macro_rules! check {
            ($op:expr) => {
                let polls = Cell::new(0);
                for n in 0..TURNS {
                    tx.try_push(n).expect("room");
                    select! {
                        popped = rx.pop() => assert_eq!(popped, Ok(n)),
                        _ = Counted(Box::pin($op), &polls) => unreachable!("nothing ends it"),
                    }
                }
                assert_eq!(polls.get(), 0, "{}: begun", stringify!($op));
            };
        }
        check!(read());
        check!(read().timeout(HOUR));
        check!(read().link_timeout(HOUR));
        check!(read().latch());
        check!(link((read(), read())));
        check!(when_any((read(), read())));
        check!(when_all([read(), read()]));
        check!(parallel_any((read(), time::sleep(HOUR))));
        check!(parallel_all((read(), time::sleep(HOUR))));
        check!(read().with_cancel(time::sleep(HOUR)));
        check!(ops::connect_tcp("127.0.0.1:1"));
        check!(time::sleep(HOUR));
        check!(after.pop());
        check!(spsc.pop());
        check!(spsc.closed());
        check!(spsc_tx.closed());
        check!(one.pop());
        check!(watched.pop());
        check!(cast.pop());
        check!(spawn(std::future::pending::<()>()));
        let mut mailbox = ops::Mailbox::new(1).expect("a descriptor");
        check!(mailbox.receive());
        let table = ops::BufferTable::new(1).expect("no table yet");
        let pool = ops::FixedPool::new(&table, 1, 64).expect("memory");
        let _taken = pool.take().await.expect("free");
        check!(pool.take());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let listener = ops::Fd::from(listener);
        let (results, _results) = channel::local(1);
        check!(ops::accept_multishot(&listener).will_push(results.clone()));
        check!(ops::accept_multishot(&listener).will_spawn(async |_connection| {}));
        drop((watch_tx, casts));
    });
}

/// The same in a race, of an arm by reference that waits: it is left alone as long as another one is ready.
#[test]
fn a_race_leaves_alone_what_waits() {
    on_runtime(async || {
        let (tx, rx) = channel::local(1);
        let ((_spsc_tx, mut spsc), (_one_tx, mut one)) = (channel::spsc::<u8>(1), oneshot::<u8>());
        let (_watch_tx, mut watched) = watch(1);
        watched.mark_seen();
        macro_rules! check {
            ($op:expr) => {{
                let polls = Cell::new(0);
                let mut op = Counted(Box::pin($op), &polls);
                tx.try_push(0).expect("room");
                let popped = race!(rx.pop() || &mut op).await.index();
                assert_eq!((popped, polls.get()), (0, 0), "the first that is ready");
                for _ in 0..8 {
                    // fewer than the budget of a poll, at the end of which whatever waits is polled
                    tx.try_push(0).expect("room");
                    let popped = race!(&mut op || rx.pop()).await.index();
                    assert_eq!((popped, polls.get()), (1, 1), "{}: it waits", stringify!($op));
                }
            }};
        }
        check!(time::sleep(HOUR));
        check!(spsc.pop());
        check!(one.pop());
        check!(watched.pop());
    });
}

#[test]
fn a_default_takes_no_timer_that_is_due_for_one_that_is_not() {
    on_runtime(async || {
        let due = Instant::now() + SOON;
        let mut turns = 0_u64;
        loop {
            select! { () = time::sleep_until(due) => break, default => turns += 1 }
        }
        assert!(turns > 0 && Instant::now() >= due);
    });
}
