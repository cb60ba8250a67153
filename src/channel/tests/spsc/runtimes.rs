//! The ends on runtimes: where pushes do not fence and waits are not armed at once.

use core::future::Future;
use core::pin::pin;
use core::task::Poll;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use futures::future::poll_fn;
use futures::stream::{FuturesUnordered, StreamExt};

use super::stress::{compare, consume, produce, with_patience};
use crate::Runtime;
use crate::channel::tests::support::{Census, Rng, poll, seed};
use crate::channel::{PopError, spsc};

const SPINS: [Duration; 2] = [Duration::ZERO, Duration::from_micros(5)];

fn runtime(spin: Duration) -> Runtime {
    Runtime::builder().spin(spin).build().expect("a ring")
}

/// Polls once, with the waker of the task it is in.
async fn once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(core::pin::Pin::new(&mut *future).poll(cx))).await
}

#[test]
fn pairs_on_one_runtime() {
    for pairs in [1, 3, 100] {
        for capacity in [0, 1, 2, 64] {
            let count = 10_000 / pairs;
            runtime(SPINS[0]).sync_wait(async move {
                for _ in 0..pairs {
                    let (mut tx, mut rx) = spsc(capacity);
                    crate::spawn(async move {
                        for n in 0..count {
                            tx.push(n).await.unwrap();
                        }
                    })
                    .detach();
                    crate::spawn(async move {
                        for n in 0..count {
                            assert_eq!(rx.pop().await, Ok(n));
                        }
                        assert_eq!(rx.pop().await, Err(PopError::Closed));
                    })
                    .detach();
                }
            });
        }
    }
}

/// With more pairs than there are seats, some do without.
#[test]
fn pairs_across_two_runtimes() {
    for spin in SPINS {
        for (pairs, capacity) in [(1, 0), (1, 1), (1, 64), (16, 1), (16, 64), (100, 1), (100, 2)] {
            let count = 3_000 / pairs;
            let (mut producers, mut consumers) = (Vec::new(), Vec::new());
            for _ in 0..pairs {
                let (tx, rx) = spsc(capacity);
                producers.push(tx);
                consumers.push(rx);
            }
            let other = thread::spawn(move || {
                runtime(spin).sync_wait(async move {
                    for mut tx in producers {
                        crate::spawn(async move {
                            for n in 0..count {
                                tx.push(n).await.unwrap();
                            }
                        })
                        .detach();
                    }
                });
            });
            runtime(spin).sync_wait(async move {
                for mut rx in consumers {
                    crate::spawn(async move {
                        for n in 0..count {
                            assert_eq!(rx.pop().await, Ok(n));
                        }
                        assert_eq!(rx.pop().await, Err(PopError::Closed));
                    })
                    .detach();
                }
            });
            other.join().unwrap();
        }
    }
}

/// Who runs an end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    Runtime(Duration),
    Foreign,
}

impl Where {
    fn run<F: Future>(self, future: F) -> F::Output {
        match self {
            Self::Runtime(spin) => runtime(spin).block_on(future),
            Self::Foreign => block_on(future),
        }
    }
}

#[test]
fn every_pairing_loses_nothing() {
    let seed = seed();
    eprintln!("MILLSTREAM_SEED={seed}");
    let places = [Where::Runtime(SPINS[0]), Where::Runtime(SPINS[1]), Where::Foreign];
    for there in places {
        for here in places {
            for (round, capacity) in [0, 1, 2, 64].into_iter().enumerate() {
                for enough in [usize::MAX, 100] {
                    let seed = seed + round as u64;
                    let census = Census::default();
                    let (mut tx, mut rx) = spsc(capacity);
                    let theirs = census.clone();
                    let producer = thread::spawn(move || {
                        let mut rng = Rng::new(seed);
                        let blocking = there == Where::Foreign;
                        there.run(async { produce(&mut tx, &theirs, &mut rng, blocking).await })
                    });
                    let mut rng = Rng::new(!seed);
                    let blocking = here == Where::Foreign;
                    let got = here.run(async { consume(&mut rx, &mut rng, blocking, enough).await });
                    let told = producer.join().unwrap();
                    drop(rx);
                    compare(
                        &told,
                        &got,
                        &census,
                        &format!("{there:?} to {here:?}, capacity {capacity}, seed {seed}"),
                    );
                }
            }
        }
    }
}

/// The end is noted for the end of this poll, and elsewhere before it: used there, dropped there.
#[test]
fn an_end_moves_while_it_is_noted() {
    for round in 0..200 {
        let (mut tx, mut rx) = spsc(4);
        let (carry, carried) = mpsc::channel::<crate::channel::spsc::Producer<_>>();
        let other = thread::spawn(move || {
            let mut tx = carried.recv().unwrap();
            if round % 2 == 0 {
                tx.try_push(2).unwrap();
            }
            drop(tx);
        });
        let consumer = thread::spawn(move || rx.iter().collect::<Vec<_>>());
        runtime(SPINS[round % 2]).block_on(async move {
            tx.try_push(1).unwrap();
            carry.send(tx).unwrap();
            if round % 3 == 0 {
                other.join().unwrap(); // the end is gone before this poll ends
            }
        });
        assert_eq!(consumer.join().unwrap(), &[1, 2][..1 + usize::from(round % 2 == 0)]);
    }
}

/// A watch is left behind by an end that waits elsewhere by now.
#[test]
fn an_end_moves_while_it_is_watched() {
    for round in 0..200 {
        let (mut tx, mut rx) = spsc(4);
        let (carry, carried) = mpsc::channel::<crate::channel::spsc::Consumer<_>>();
        let other = thread::spawn(move || {
            let mut rx = carried.recv().unwrap();
            let there = if round % 2 == 0 { Where::Foreign } else { Where::Runtime(SPINS[0]) };
            there.run(async { (rx.pop().await, rx.pop().await) })
        });
        let (start, started) = mpsc::channel();
        let producer = thread::spawn(move || {
            started.recv().unwrap();
            tx.push_blocking(1).unwrap();
            tx.push_blocking(2).unwrap();
            tx
        });
        let (done, mut wait) = spsc::<()>(1);
        runtime(SPINS[0]).block_on(async move {
            if round % 4 < 2 {
                // A wait that nobody ends: a stream has no future that could be dropped.
                assert!(poll_fn(|cx| Poll::Ready(rx.poll_next_unpin(cx).is_pending())).await);
            } else {
                assert!(once(&mut Box::pin(rx.pop())).await.is_pending());
            }
            start.send(()).unwrap();
            carry.send(rx).unwrap();
            crate::spawn(async move { drop(done) }).detach();
            assert_eq!(wait.pop().await, Err(PopError::Closed)); // this thread sleeps now and then
        });
        assert_eq!(other.join().unwrap(), (Ok(1), Ok(2)));
        drop(producer.join().unwrap());
    }
}

#[test]
fn a_runtime_that_ends_leaves_the_ends_usable() {
    for capacity in [1, 4] {
        let (mut tx, mut rx) = spsc(capacity);
        let rt = runtime(SPINS[1]);
        rt.block_on(async {
            tx.try_push(0).unwrap();
            assert_eq!(rx.pop().await, Ok(0));
            assert!(once(&mut Box::pin(rx.pop())).await.is_pending());
        });
        // A task that waits is dropped with the runtime.
        let (mut waits, kept) = spsc::<u8>(capacity);
        rt.spawn(async move {
            let mut kept = kept;
            let _ = kept.pop().await;
        })
        .detach();
        rt.block_on(crate::yield_now());
        drop(rt);
        assert!(waits.try_push(1).is_err(), "its consumer is gone");
        let consumer = thread::spawn(move || rx.pop_blocking());
        tx.push_blocking(7).unwrap();
        assert_eq!(consumer.join().unwrap(), Ok(7));
    }
}

#[test]
fn between_two_runs_a_wait_is_armed() {
    let (mut tx, mut rx) = spsc(1);
    let rt = runtime(SPINS[1]);
    let task = rt.spawn(async move { rx.pop().await });
    rt.block_on(async { crate::yield_now().await });
    let producer = thread::spawn(move || tx.push_blocking(5));
    producer.join().unwrap().unwrap();
    assert_eq!(rt.block_on(task).unwrap(), Ok(5));
}

#[test]
fn a_panic_in_a_poll_keeps_nobody_waiting() {
    let (mut tx, mut rx) = spsc(2);
    let consumer = thread::spawn(move || (rx.pop_blocking(), rx));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        runtime(SPINS[0]).block_on(async {
            tx.try_push(1).unwrap();
            panic!("on purpose");
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(consumer.join().unwrap().0, Ok(1));
}

/// Another executor inside of a task blocks the thread before the poll ends: what was pushed must not wait for that.
#[test]
fn an_executor_within_a_task_is_answered() {
    let (mut ask, mut questions) = spsc(1);
    let (mut answer, mut answers) = spsc(1);
    let other = thread::spawn(move || {
        while let Ok(n) = questions.pop_blocking() {
            answer.push_blocking(n + 1).unwrap();
        }
    });
    runtime(SPINS[0]).block_on(async {
        for n in 0..100 {
            block_on(async {
                ask.push(n).await.unwrap();
                assert_eq!(answers.pop().await, Ok(n + 1));
            });
        }
    });
    drop(ask);
    other.join().unwrap();
}

/// The wakers of such a set are its own, not the task's.
#[test]
fn many_waits_in_one_task() {
    let mut producers = Vec::new();
    let set = FuturesUnordered::new();
    for n in 0..200 {
        let (tx, mut rx) = spsc(1);
        producers.push(tx);
        set.push(async move {
            assert_eq!(rx.pop().await, Ok(n));
        });
    }
    let other = thread::spawn(move || {
        for (n, tx) in producers.iter_mut().enumerate().rev() {
            tx.push_blocking(n).unwrap();
        }
        producers
    });
    let ended = runtime(SPINS[0]).block_on(async { set.count().await });
    assert_eq!(ended, 200);
    drop(other.join().unwrap());
}

/// A task that waits at more levels than there are seats, and gives most of them up again and again.
#[test]
fn more_waits_than_seats() {
    let (mut txs, mut rxs): (Vec<_>, Vec<_>) = (0..150).map(|_| spsc(1)).unzip();
    let producer = thread::spawn(move || {
        for round in 0..20 {
            for tx in &mut txs {
                tx.push_blocking(round).unwrap();
            }
        }
    });
    runtime(SPINS[1]).block_on(async {
        for round in 0..20 {
            for at in 0..rxs.len() {
                for rx in &mut rxs[at + 1..] {
                    let _ = with_patience(pin!(rx.closed()), 0).await;
                }
                assert_eq!(rxs[at].pop().await, Ok(round));
            }
        }
    });
    producer.join().unwrap();
}

#[test]
fn a_cancelled_wait_wakes_its_task() {
    use crate::operation::Operation;
    runtime(SPINS[0]).block_on(async {
        let (_tx, mut rx) = spsc::<u8>(1);
        let mut pop = Box::pin(rx.pop());
        assert!(once(&mut pop).await.is_pending());
        pop.as_mut().request_cancel();
        assert_eq!(pop.await, Err(PopError::Cancelled));
        let (mut tx, _rx) = spsc::<u8>(1);
        tx.try_push(1).unwrap();
        let mut push = Box::pin(tx.push(2));
        assert!(once(&mut push).await.is_pending());
        push.as_mut().request_cancel();
        assert!(poll(push.as_mut()).is_ready());
    });
}

/// As above, by way of other channels: what one kind puts off, a wait at another delivers.
#[test]
fn an_executor_within_a_task_is_answered_by_another_channel() {
    use crate::channel::{Sender, bounded, oneshot};

    runtime(SPINS[0]).block_on(async {
        let (mut ask, mut questions) = spsc::<(u8, Sender<u8>)>(1);
        let other = thread::spawn(move || {
            while let Ok((n, answer)) = questions.pop_blocking() {
                answer.push_blocking(n).unwrap();
            }
        });
        let (answer, answers) = bounded(1);
        for n in 0..100 {
            block_on(async {
                ask.push((n, answer.clone())).await.unwrap();
                assert_eq!(answers.pop().await, Ok(n));
                // The wait comes first, then what it depends on, and then this poll of the executor within ends.
                let asked = ask.push((n, answer.clone()));
                let (answered, asked) = futures::join!(answers.pop(), asked);
                assert_eq!((answered, asked.is_ok()), (Ok(n), true));
            });
        }
        drop(ask);
        other.join().unwrap();

        let (ask, questions) = bounded::<oneshot::Sender<u8>>(1);
        let other = thread::spawn(move || {
            while let Ok(answer) = questions.pop_blocking() {
                answer.push(0).unwrap();
            }
        });
        for _ in 0..100 {
            block_on(async {
                let (answer, answered) = oneshot();
                ask.push(answer).await.unwrap();
                assert_eq!(answered.await, Ok(0));
                let (answer, answered) = oneshot();
                let (answered, asked) = futures::join!(answered, ask.push(answer));
                assert_eq!((answered, asked.is_ok()), (Ok(0), true));
            });
        }
        block_on(async { drop(ask) });
        other.join().unwrap();
    });
}

/// A runtime that ends within a task blocks the thread before the poll ends.
#[test]
fn a_runtime_that_ends_within_a_task_is_answered() {
    struct Waits(mpsc::Receiver<()>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.recv().unwrap();
        }
    }
    for asked_by_spsc in [true, false] {
        let (mut first, mut firsts) = spsc(1);
        let (second, seconds) = crate::channel::bounded(1);
        let (done, wait) = mpsc::channel();
        let (starts, started) = mpsc::channel();
        let other = thread::spawn(move || {
            if asked_by_spsc {
                assert_eq!(firsts.pop_blocking(), Ok(1));
            }
            starts.send(()).unwrap();
            if asked_by_spsc {
                assert_eq!(firsts.pop_blocking(), Ok(2));
            } else {
                assert_eq!(seconds.pop_blocking(), Ok(2));
            }
            done.send(()).unwrap();
        });
        runtime(SPINS[0]).block_on(async {
            if asked_by_spsc {
                first.try_push(1).unwrap();
            }
            started.recv().unwrap();
            thread::sleep(Duration::from_millis(20)); // by then it has most likely gone to sleep
            if asked_by_spsc {
                first.try_push(2).unwrap();
            } else {
                second.try_push(2).unwrap();
            }
            let inner = runtime(SPINS[0]);
            let waits = Waits(wait);
            inner.spawn(async move { drop(waits) }).detach();
            drop(inner);
        });
        other.join().unwrap();
    }
}

/// A waker of the user's, whose drop has consequences and panics.
struct Hostile(Option<crate::channel::Sender<()>>);

impl std::task::Wake for Hostile {
    fn wake(self: std::sync::Arc<Self>) {}
}

impl Drop for Hostile {
    fn drop(&mut self) {
        drop(self.0.take());
        panic!("on purpose");
    }
}

/// An end that goes takes with it the waker of a wait it does not know of any more. The runtime that has seats for it may
/// be the last to hold the level, and gives them up right before it sleeps.
#[test]
fn a_waker_left_behind_is_dropped_with_its_end() {
    let (held, rx) = crate::channel::bounded::<()>(1);
    let (mut tx, mut left) = spsc::<u8>(1);
    runtime(SPINS[0]).block_on(async move {
        tx.try_push(1).unwrap();
        left.try_pop().unwrap();
        crate::yield_now().await; // both sides have seats
        let elsewhere = thread::spawn(move || {
            let waker = std::sync::Arc::new(Hostile(Some(held))).into();
            let mut cx = core::task::Context::from_waker(&waker);
            assert!(left.poll_next_unpin(&mut cx).is_pending());
            drop(waker); // the level has the other
            drop(left);
            tx
        });
        let tx = elsewhere.join().expect("a panic in a waker stays there");
        assert!(rx.try_pop().unwrap_err().is_closed(), "the waker outlived its end");
        drop(tx);
        assert_eq!(rx.pop().await, Err(PopError::Closed));
    });
}
