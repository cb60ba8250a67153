//! `Select`: arms that stay.

use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use futures::executor::block_on;
use millstream::channel::{self, TryPopError};
use millstream::combinators::Select;
use millstream::ops;

/// A waker that counts.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<F: Future>(future: F, waker: &Waker) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(waker))
}

#[test]
fn a_turn_polls_the_arms_that_were_woken_and_no_others() {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..64).map(|_| channel::local(4)).unzip();
    let made = std::cell::Cell::new(0);
    let mut select = Select::new();
    let keys: Vec<_> = receivers
        .iter()
        .map(|rx| {
            select.add(|| {
                made.set(made.get() + 1);
                rx.pop()
            })
        })
        .collect();
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    assert!(poll(select.next(), &waker).is_pending());
    assert_eq!(made.get(), 64);
    for at in [7, 3, 60] {
        senders[at].try_push(at).unwrap();
    }
    assert_eq!(bell.0.load(Ordering::SeqCst), 1, "a task that was told is not told again");
    for at in [7, 3, 60] {
        assert_eq!(
            poll(select.next(), &waker),
            Poll::Ready(Some((keys[at], at))),
            "in the order of the wakes"
        );
    }
    assert!(poll(select.next(), &waker).is_pending());
    assert_eq!(made.get(), 64 + 3, "only what had resolved was made anew");
}

#[test]
fn an_arm_that_is_always_ready_starves_nobody() {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| channel::bounded(64)).unzip();
    senders.iter().for_each(|tx| (0..64).for_each(|n| tx.try_push(n).unwrap()));
    let mut select = Select::new();
    for rx in &receivers {
        select.add(|| rx.pop());
    }
    let order: Vec<_> = (0..192).map(|_| block_on(select.next()).expect("three arms")).collect();
    for three in order.chunks(3) {
        assert!(three[0].0 < three[1].0 && three[1].0 < three[2].0, "in turns: {three:?}");
        assert_eq!([three[0].1, three[1].1], [three[2].1; 2], "each channel in order");
    }
}

#[test]
fn arms_end_with_their_channels_and_are_removed_by_key() {
    let ((tx_a, a), (tx_b, b)) = (channel::bounded(4), channel::bounded(4));
    let mut select = Select::new();
    let first = select.add(|| a.pop());
    let second = select.add(|| b.pop());
    tx_a.try_push(1).unwrap();
    drop(tx_a);
    assert_eq!(block_on(select.next()), Some((first, 1)));
    tx_b.try_push(2).unwrap();
    assert_eq!(block_on(select.next()), Some((second, 2)));
    assert!(poll(select.next(), Waker::noop()).is_pending());
    assert_eq!(select.len(), 1, "the first has ended");
    assert!(!select.remove(first));
    let third = select.add(|| b.pop());
    assert!(!select.remove(first), "an old key is not the key of who came after");
    assert!(select.remove(second) && !select.remove(second));
    tx_b.try_push(3).unwrap();
    assert_eq!(block_on(select.next()), Some((third, 3)));
    assert!(select.remove(third));
    assert_eq!(block_on(select.next()), None);
    tx_b.try_push(4).unwrap();
    assert_eq!(b.try_pop(), Ok(4), "a removed arm holds nothing back");
}

#[test]
fn what_a_dropped_set_was_woken_for_goes_to_others() {
    for capacity in [0, 1, 4] {
        let (tx, rx) = channel::bounded(capacity);
        let mut select = Select::new();
        select.add(|| rx.pop());
        let bell = Arc::new(Bell::default());
        assert!(poll(select.next(), &bell.clone().into()).is_pending());
        tx.try_push(7).unwrap();
        assert_eq!(bell.0.load(Ordering::SeqCst), 1);
        let other = rx.clone();
        drop(select);
        assert_eq!(other.try_pop(), Ok(7));
        assert_eq!(Arc::strong_count(&bell), 1, "no waker is kept");
    }
}

#[test]
fn the_waker_of_the_last_poll_is_woken() {
    let (tx, rx) = channel::bounded(1);
    let mut select = Select::new();
    select.add(|| rx.pop());
    let [old, new] = [(); 2].map(|()| Arc::new(Bell::default()));
    for bell in [&old, &new] {
        assert!(poll(select.next(), &bell.clone().into()).is_pending());
    }
    let thread = thread::spawn(move || tx.try_push(1).map(|()| tx));
    let tx = thread.join().unwrap().unwrap();
    assert_eq!([&old, &new].map(|bell| bell.0.load(Ordering::SeqCst)), [0, 1]);
    assert!(matches!(poll(select.next(), &old.clone().into()), Poll::Ready(Some((_, 1)))));
    assert!(poll(select.next(), &old.clone().into()).is_pending());
    tx.try_push(2).unwrap();
    assert_eq!([&old, &new].map(|bell| bell.0.load(Ordering::SeqCst)), [1, 1]);
}

fn from_threads(capacity: usize, run: impl FnOnce(std::pin::Pin<Box<dyn Future<Output = ()> + '_>>)) {
    const EACH: u64 = 20_000;
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..5).map(|_| channel::bounded::<u64>(capacity)).unzip();
    thread::scope(|scope| {
        for tx in senders {
            scope.spawn(move || (0..EACH).for_each(|n| tx.push_blocking(n).expect("open")));
        }
        run(Box::pin(async {
            let mut select = Select::new();
            let mut seen: HashMap<_, u64> = receivers.iter().map(|rx| (select.add(|| rx.pop()), 0)).collect();
            while let Some((key, value)) = select.next().await {
                let expected = seen.get_mut(&key).expect("a key of ours");
                assert_eq!(value, *expected, "lost, doubled or out of order");
                *expected += 1;
            }
            assert!(seen.values().all(|&count| count == EACH), "{seen:?}");
        }));
    });
}

#[test]
fn pushes_of_other_threads_all_arrive() {
    for capacity in [0, 1, 64] {
        from_threads(capacity, |set| millstream::Runtime::new().expect("a runtime").block_on(set));
        from_threads(capacity, |set| block_on(set));
    }
}

#[test]
fn a_ring_op_is_made_anew_each_time() {
    millstream::Runtime::new().expect("a runtime").block_on(async {
        let (here, there) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let (here, there) = (ops::Fd::from(here), ops::Fd::from(there));
        let mut select = Select::new();
        let bytes = select.add_with(|| Some(ops::recv(&here, Vec::with_capacity(16))));
        for n in 0..3_u8 {
            let (sent, _) = ops::send(&there, vec![n; 4]).await;
            assert_eq!(sent.expect("sent"), 4);
            let (key, (received, buffer)) = select.next().await.expect("an arm");
            assert_eq!((key, received.expect("received"), buffer), (bytes, 4, vec![n; 4]));
        }
    });
}

#[test]
fn an_arm_that_panics_stays_in_the_set() {
    let ((ready_tx, ready), (tx, rx)) = (channel::bounded(1), channel::bounded(1));
    ready_tx.try_push(1).unwrap();
    let panics = Cell::new(true);
    let mut select = Select::new();
    let panicking = select.add(|| {
        assert!(!panics.take(), "the arm panics");
        ready.pop()
    });
    let popping = select.add(|| rx.pop());
    let poll_next = |select: &mut Select<'_, u32>| poll(select.next(), Waker::noop());
    let panicked = catch_unwind(AssertUnwindSafe(|| poll_next(&mut select)));
    assert!(panicked.is_err());
    tx.try_push(2).unwrap();
    assert_eq!(poll_next(&mut select), Poll::Ready(Some((popping, 2))), "it was marked first");
    assert_eq!(poll_next(&mut select), Poll::Ready(Some((panicking, 1))), "and the other after it");
}

#[test]
fn no_peer_completes_a_push_that_waits_in_a_set() {
    let (tx, rx) = channel::bounded(1);
    tx.try_push(6).unwrap();
    let mut select = Select::new();
    select.add_once(tx.push(7));
    assert!(poll(select.next(), Waker::noop()).is_pending());
    assert_eq!(rx.try_pop(), Ok(6));
    assert_eq!(rx.try_pop(), Err(TryPopError::Empty), "no turn has said that it took effect");
    assert!(poll(select.next(), Waker::noop()).is_ready());
    assert_eq!(rx.try_pop(), Ok(7));
}
