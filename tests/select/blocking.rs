//! `Select` on plain threads.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use futures::executor::block_on;
use millstream::channel;
use millstream::channel::broadcast::Overflow;
use millstream::combinators::{Select, adapters};
use millstream::ops;

fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("")
}

#[test]
fn what_threads_push_arrives_once_and_in_order_and_ends() {
    const EACH: u64 = 20_000;
    for capacity in [0, 1, 64] {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..5).map(|_| channel::bounded::<u64>(capacity)).unzip();
        thread::scope(|scope| {
            for tx in senders {
                scope.spawn(move || (0..EACH).for_each(|n| tx.push_blocking(n).expect("open")));
            }
            let mut select = Select::new();
            let mut seen: HashMap<_, u64> = receivers.iter().map(|rx| (select.add(|| rx.pop()), 0)).collect();
            while let Some((key, value)) = select.next_blocking() {
                let expected = seen.get_mut(&key).expect("a key of ours");
                assert_eq!(value, *expected, "lost, doubled or out of order");
                *expected += 1;
            }
            assert!(seen.values().all(|&count| count == EACH), "{seen:?}");
        });
    }
}

#[test]
fn two_threads_with_a_set_each_share_the_channels() {
    const EACH: u64 = 20_000;
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| channel::bounded::<u64>(2)).unzip();
    let receivers = &receivers;
    let sums: Vec<u64> = thread::scope(|scope| {
        for tx in senders {
            scope.spawn(move || (1..=EACH).for_each(|n| tx.push_blocking(n).expect("open")));
        }
        let consume = || {
            let mut select = Select::new();
            for rx in receivers {
                select.add(|| rx.pop());
            }
            std::iter::from_fn(|| select.next_blocking()).map(|(_key, n)| n).sum()
        };
        let consumers = [(); 2].map(|()| scope.spawn(consume));
        consumers.into_iter().map(|consumer| consumer.join().expect("no panic")).collect()
    });
    assert_eq!(sums.iter().sum::<u64>(), 3 * EACH * (EACH + 1) / 2);
}

#[test]
fn channels_of_every_kind_and_timers_are_arms() {
    let (mut pipe_tx, mut pipe) = channel::spsc(1);
    let (news_tx, mut news) = channel::broadcast(4, Overflow::Wait);
    let (answer_tx, mut answer) = channel::oneshot();
    let (state_tx, mut state) = channel::watch(0);
    state.mark_seen();
    let mut after = channel::after(Duration::from_millis(1));
    let pushes = thread::spawn(move || {
        pipe_tx.push_blocking(1).expect("open");
        news_tx.push_blocking(2).expect("open");
        answer_tx.push(3).expect("open");
        state_tx.push(4).expect("open");
        (pipe_tx, news_tx, state_tx)
    });
    let mut select = Select::new();
    select.add_once(adapters::future(async { pipe.pop().await.ok() }.boxed_local()));
    select.add_once(adapters::future(async { news.pop().await.ok() }.boxed_local()));
    select.add_once(adapters::future(async { answer.pop().await.ok() }.boxed_local()));
    select.add_once(adapters::future(async { state.pop().await.ok() }.boxed_local()));
    select.add_once(adapters::future(async { after.pop().await.ok().map(|_| 5) }.boxed_local()));
    let came = std::iter::from_fn(|| select.next_blocking());
    let mut came: Vec<i32> = came.map(|(_key, n)| n.expect("not cancelled").expect("open")).collect();
    came.sort_unstable();
    assert_eq!(came, [1, 2, 3, 4, 5]);
    drop(pushes.join().expect("no panic"));
}

#[test]
fn a_wait_that_another_one_began_goes_on() {
    let ((a_tx, a), (b_tx, b)) = (channel::bounded(1), channel::bounded(1));
    let mut select = Select::new();
    let first = select.add(|| a.pop());
    let second = select.add(|| b.pop());
    a_tx.try_push(1).unwrap();
    assert_eq!(block_on(select.next()), Some((first, 1)));
    let pushing = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20)); // long enough for it to park, or the test shows less
        b_tx.push_blocking(2).expect("open");
        b_tx
    });
    assert_eq!(select.next_blocking(), Some((second, 2)));
    a_tx.try_push(3).unwrap();
    assert_eq!(block_on(select.next()), Some((first, 3)));
    drop((a_tx, pushing.join().expect("no panic")));
    assert_eq!(select.next_blocking(), None);
    assert_eq!(select.next_blocking(), None);
}

#[test]
fn a_set_within_a_set_on_one_thread_waits_for_itself_alone() {
    let ((outer_tx, outer), (inner_tx, inner)) = (channel::bounded(1), channel::bounded(1));
    let pushing = thread::spawn(move || {
        thread::sleep(Duration::from_millis(5));
        inner_tx.push_blocking(1).expect("open");
        outer_tx.push_blocking(2).expect("open");
    });
    let mut within = Some(&inner);
    let mut select = Select::new();
    select.add_with(|| {
        if let Some(inner) = within.take() {
            let mut nested = Select::new();
            nested.add(|| inner.pop());
            assert_eq!(nested.next_blocking().map(|(_key, n)| n), Some(1));
        }
        Some(outer.pop())
    });
    assert_eq!(select.next_blocking().map(|(_key, n)| n), Some(Ok(2)));
    pushing.join().expect("no panic");
}

#[test]
fn on_the_thread_of_a_runtime_it_panics_and_says_what_to_use() {
    millstream::Runtime::new().expect("a runtime").block_on(async {
        let (tx, rx) = channel::bounded(1);
        tx.try_push(1).unwrap();
        let mut select = Select::new();
        let key = select.add(|| rx.pop());
        let panicked =
            catch_unwind(AssertUnwindSafe(|| select.next_blocking())).expect_err("it blocks the runtime");
        assert!(message(&*panicked).contains("next().await"), "{}", message(&*panicked));
        assert_eq!(select.next().await, Some((key, 1)), "nothing was lost");
    });
}

#[test]
fn an_op_on_the_ring_panics_where_there_is_no_ring() {
    let mut select = Select::new();
    select.add_once(ops::nop());
    let panicked = catch_unwind(AssertUnwindSafe(|| select.next_blocking())).expect_err("no runtime here");
    assert!(message(&*panicked).contains("runtime"), "{}", message(&*panicked));
}
