//! What is told at once, and what at the end of a task's poll.
//!
//! Knows: the guide's "What a runtime of this crate adds". Does not know: how wakes travel.

use std::collections::VecDeque;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::executor::block_on;
use millstream::channel::broadcast::Overflow;
use millstream::channel::{self, local};
use millstream::combinators::Select;
use millstream::{Operation, Runtime};

/// A poll that has not ended by then hangs.
const HANG: Duration = Duration::from_secs(20);

/// Runs `task` in a runtime of its own; fails if it hangs.
fn within(task: impl AsyncFnOnce() + Send + 'static) {
    let (done, ended) = std::sync::mpsc::channel();
    thread::spawn(move || {
        Runtime::new().unwrap().block_on(task());
        done.send(()).unwrap();
    });
    ended.recv_timeout(HANG).expect("the poll has ended");
}

/// Lets a thread come to where it waits. When it does not, a test only shows less.
fn let_it_wait() {
    thread::sleep(Duration::from_millis(20));
}

/// A thread that polls `future` under an executor that is not ours.
fn foreign<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let thread = thread::spawn(move || block_on(future));
    let_it_wait();
    thread
}

/// A thread with a runtime of its own.
fn other_runtime<T: Send + 'static>(make: impl AsyncFnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let thread = thread::spawn(move || Runtime::new().unwrap().block_on(make()));
    let_it_wait();
    thread
}

// A push puts off the wake, the close comes while the popper has a value already: who joins it waits for both.

#[test]
fn a_push_then_a_close_end_a_foreign_loop_within_one_poll() {
    for capacity in [0, 1, 4, 64] {
        within(async move || {
            let (tx, rx) = channel::bounded(capacity);
            let thread = foreign(async move {
                let mut seen = Vec::new();
                while let Ok(n) = rx.pop().await {
                    seen.push(n);
                }
                seen
            });
            tx.try_push(1).unwrap();
            drop(tx);
            assert_eq!(thread.join().unwrap(), [1]);
        });
    }
}

#[test]
fn a_push_then_an_explicit_close_end_a_loop_of_another_runtime_within_one_poll() {
    for capacity in [0, 1, 4, 64] {
        within(async move || {
            let (tx, rx) = channel::bounded(capacity);
            let thread = other_runtime(async move || {
                let mut seen = Vec::new();
                while let Ok(n) = rx.pop().await {
                    seen.push(n);
                }
                seen
            });
            tx.try_push(1).unwrap();
            tx.close();
            assert_eq!(thread.join().unwrap(), [1]);
        });
    }
}

#[test]
fn a_push_then_a_close_end_an_spsc_loop_within_one_poll() {
    for capacity in [0, 1, 4, 64] {
        for ours in [false, true] {
            within(async move || {
                let (mut tx, mut rx) = channel::spsc(capacity);
                let consume = async move || {
                    let mut seen = Vec::new();
                    while let Ok(n) = rx.pop().await {
                        seen.push(n);
                    }
                    seen
                };
                let thread = if ours { other_runtime(consume) } else { foreign_of(consume) };
                tx.try_push(1).unwrap();
                drop(tx);
                assert_eq!(thread.join().unwrap(), [1]);
            });
        }
    }
}

/// As [`foreign`], of a closure.
fn foreign_of<T: Send + 'static>(make: impl AsyncFnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let thread = thread::spawn(move || block_on(make()));
    let_it_wait();
    thread
}

/// Two wait; one is given the only value, and the other can only be told of the close when that is taken.
#[test]
fn a_close_behind_a_value_reaches_whoever_waits_behind_it() {
    for ours in [false, true] {
        within(async move || {
            let (tx, rx) = channel::bounded(2);
            let threads = [rx.clone(), rx].map(|rx| {
                let consume = async move || {
                    let mut seen = 0;
                    while rx.pop().await.is_ok() {
                        seen += 1;
                    }
                    seen
                };
                if ours { other_runtime(consume) } else { foreign_of(consume) }
            });
            tx.try_push(()).unwrap();
            drop(tx);
            assert_eq!(threads.map(|thread| thread.join().unwrap()).iter().sum::<i32>(), 1);
        });
    }
}

#[test]
fn a_push_then_a_close_end_a_foreign_stream_within_one_poll() {
    use futures::StreamExt;
    within(async || {
        let (tx, rx) = channel::bounded(4);
        let thread = foreign(rx.collect::<Vec<_>>());
        let mut values = VecDeque::from([1, 2, 3]);
        tx.try_push_many(&mut values).unwrap();
        drop(tx);
        assert_eq!(thread.join().unwrap(), [1, 2, 3]);
    });
}

#[test]
fn a_push_then_a_close_end_a_foreign_batch_loop_within_one_poll() {
    within(async || {
        let (tx, rx) = channel::bounded(4);
        let thread = foreign(async move {
            let mut out = Vec::new();
            while rx.pop_many(&mut out, 8).await.is_ok() {}
            out
        });
        let permit = tx.try_reserve().unwrap();
        permit.push(1).unwrap();
        drop(tx);
        assert_eq!(thread.join().unwrap(), [1]);
    });
}

#[test]
fn a_broadcast_then_a_close_end_foreign_loops_within_one_poll() {
    for overflow in [Overflow::Wait, Overflow::Lag] {
        within(async move || {
            let (tx, rx) = channel::broadcast(2, overflow);
            let threads = [rx.clone(), rx].map(|mut rx| {
                foreign(async move {
                    let mut seen = Vec::new();
                    while let Ok(n) = rx.pop().await {
                        seen.push(n);
                    }
                    seen
                })
            });
            tx.try_push(1).unwrap();
            drop(tx);
            assert_eq!(threads.map(|thread| thread.join().unwrap()), [[1], [1]]);
        });
    }
}

#[test]
fn a_watched_push_then_a_close_end_foreign_loops_within_one_poll() {
    within(async || {
        let (tx, rx) = channel::watch(0);
        let threads = [rx.clone(), rx].map(|mut rx| {
            foreign(async move {
                let mut last = 0;
                while let Ok(n) = rx.pop().await {
                    last = n;
                }
                last
            })
        });
        tx.push(1).unwrap();
        drop(tx);
        assert_eq!(threads.map(|thread| thread.join().unwrap()), [1, 1]);
    });
}

/// A pop frees a slot: the push that waited there has taken effect, and its wake is put off; then the close.
#[test]
fn a_pop_then_a_close_end_a_foreign_pusher_within_one_poll() {
    for ours in [false, true] {
        within(async move || {
            let (tx, rx) = channel::bounded(1);
            let produce = async move || {
                let mut pushed = 0;
                while tx.push(pushed).await.is_ok() {
                    pushed += 1;
                }
                pushed
            };
            let thread = if ours { other_runtime(produce) } else { foreign_of(produce) };
            assert_eq!(rx.try_pop(), Ok(0));
            rx.close();
            let pushed = thread.join().unwrap();
            assert_eq!(rx.try_iter().count(), pushed - 1);
        });
    }
}

#[test]
fn a_pop_then_a_close_end_a_foreign_spsc_pusher_within_one_poll() {
    for capacity in [0, 1, 4] {
        for ours in [false, true] {
            within(async move || {
                let (mut tx, mut rx) = channel::spsc(capacity);
                let produce = async move || {
                    let mut pushed = 0;
                    while tx.push(pushed).await.is_ok() {
                        pushed += 1;
                    }
                    pushed
                };
                let thread = if ours { other_runtime(produce) } else { foreign_of(produce) };
                assert_eq!(rx.try_pop(), Ok(0));
                rx.close();
                let pushed = thread.join().unwrap();
                assert_eq!(rx.try_iter().count(), pushed - 1);
            });
        }
    }
}

/// What waits for the close itself, in every kind of channel.
#[test]
fn closed_is_told_at_once_in_every_kind_of_channel() {
    within(async || {
        let (tx, rx) = channel::bounded::<u8>(1);
        let waits = tx.clone();
        let thread = foreign(async move { waits.closed().await });
        tx.try_push(1).unwrap();
        drop(rx);
        thread.join().unwrap();
    });
    for capacity in [0, 1] {
        within(async move || {
            let (mut tx, mut rx) = channel::spsc::<u8>(capacity);
            let thread = foreign(async move { tx.closed().await });
            rx.close();
            thread.join().unwrap();
            let (mut tx, mut rx) = channel::spsc::<u8>(capacity);
            let thread = foreign(async move { rx.closed().await });
            tx.close();
            thread.join().unwrap();
        });
    }
    within(async || {
        let (tx, rx) = channel::broadcast::<u8>(1, Overflow::Wait);
        let waits = rx.resubscribe();
        let thread = foreign(async move { waits.closed().await });
        tx.try_push(1).unwrap();
        rx.close();
        thread.join().unwrap();
    });
    within(async || {
        let (tx, rx) = channel::watch(1);
        let waits = tx.clone();
        let thread = foreign(async move { waits.closed().await });
        tx.push(2).unwrap();
        rx.close();
        thread.join().unwrap();
    });
    within(async || {
        let (mut tx, rx) = channel::oneshot::<u8>();
        let thread = foreign(async move { tx.closed().await });
        drop(rx);
        thread.join().unwrap();
    });
}

#[test]
fn a_oneshot_is_told_at_once_whatever_it_comes_to() {
    for pushes in [true, false] {
        for ours in [true, false] {
            within(async move || {
                let (tx, rx) = channel::oneshot();
                let thread = if ours { other_runtime(async || rx.await) } else { foreign(rx) };
                if pushes {
                    tx.push(1).unwrap();
                } else {
                    drop(tx);
                }
                assert_eq!(thread.join().unwrap().is_ok(), pushes);
            });
        }
    }
}

/// What blocks in `next_blocking` is a thread in a blocking call, whatever its arms are.
#[test]
fn a_blocking_select_is_told_at_once() {
    /// A thread that waits for one output of what `make` puts into its set.
    fn waits<T: Send + 'static>(make: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let thread = thread::spawn(make);
        let_it_wait();
        thread
    }
    fn one<T>(operation: impl Operation<Output = T>) -> T {
        let mut select = Select::new();
        select.add_once(operation);
        select.next_blocking().unwrap().1
    }
    within(async || {
        let (tx, rx) = channel::bounded(1);
        let thread = waits(move || one(rx.pop()));
        tx.try_push(1).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(1));
    });
    for capacity in [0, 1] {
        within(async move || {
            let (mut tx, mut rx) = channel::spsc(capacity);
            let thread = waits(move || one(rx.pop()));
            match tx.try_push(1) {
                Ok(()) => assert_eq!(thread.join().unwrap(), Ok(1)),
                Err(_) => panic!("at capacity {capacity} there is room, or a pop waits"),
            }
        });
    }
    within(async || {
        let (tx, mut rx) = channel::broadcast(1, Overflow::Wait);
        let thread = waits(move || one(rx.pop()));
        tx.try_push(1).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(1));
    });
    within(async || {
        let (tx, mut rx) = channel::watch(1);
        rx.mark_seen();
        let thread = waits(move || one(rx.pop()));
        tx.push(2).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(2));
    });
    within(async || {
        let (tx, rx) = channel::oneshot();
        let thread = waits(move || one(rx));
        tx.push(1).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(1));
    });
    within(async || {
        let (tx, rx) = channel::bounded(1);
        tx.try_push(1).unwrap();
        let thread = waits(move || one(tx.reserve()).map(|permit| permit.push(2)));
        assert_eq!(rx.try_pop(), Ok(1));
        assert_eq!(thread.join().unwrap(), Ok(Ok(())));
        assert_eq!(rx.try_pop(), Ok(2));
    });
    within(async || {
        let (tx, mut rx) = channel::broadcast(1, Overflow::Wait);
        tx.try_push(1).unwrap();
        let thread = waits(move || one(tx.push(2)));
        assert_eq!(rx.try_pop(), Ok(1));
        assert_eq!(thread.join().unwrap(), Ok(()));
        assert_eq!(rx.try_pop(), Ok(2));
    });
}

/// A permit that goes, a reservation that goes, a receiver of a broadcast that goes: each makes room for a blocked thread.
#[test]
fn a_blocked_pusher_is_told_at_once_whatever_makes_room() {
    within(async || {
        let (tx, rx) = channel::bounded(1);
        let permit = tx.try_reserve().unwrap();
        let thread = thread::spawn({
            let tx = tx.clone();
            move || tx.push_blocking(1)
        });
        let_it_wait();
        drop(permit);
        thread.join().unwrap().unwrap();
        assert_eq!(rx.try_pop(), Ok(1));
    });
    within(async || {
        let (tx, slow) = channel::broadcast(1, Overflow::Wait);
        let mut rx = slow.clone();
        tx.try_push(1).unwrap();
        assert_eq!(rx.try_pop(), Ok(1));
        let thread = thread::spawn({
            let tx = tx.clone();
            move || tx.push_blocking(2)
        });
        let_it_wait();
        drop(slow);
        thread.join().unwrap().unwrap();
        assert_eq!(rx.try_pop(), Ok(2));
    });
    within(async || {
        let (tx, rx) = channel::bounded(0);
        let thread = thread::spawn(move || tx.push_many_blocking(&mut VecDeque::from([1, 2])));
        let_it_wait();
        for n in 1..=2 {
            // A batch acts by itself once a pop waits: here, in the race of a task.
            let mut pop = std::pin::pin!(rx.pop());
            let got = loop {
                if let std::task::Poll::Ready(got) = super::poll(pop.as_mut()) {
                    break got;
                }
                thread::yield_now();
            };
            assert_eq!(got, Ok(n));
        }
        thread.join().unwrap().unwrap();
    });
}

/// Of a local channel both ends are in tasks of one thread; a blocking call that finds what it wants does not wait.
#[test]
fn a_local_channel_does_not_block_off_a_runtime_where_it_need_not_wait() {
    let (tx, rx) = local::<u8>(2);
    tx.push_blocking(1).unwrap();
    tx.push_many_blocking(&mut VecDeque::from([2])).unwrap();
    assert!(super::panics(|| _ = tx.push_blocking(3)));
    assert!(super::panics(|| _ = tx.push_many_blocking(&mut VecDeque::from([4]))));
    // Whoever panicked is not in line any more.
    assert_eq!((rx.try_pop(), rx.try_pop(), rx.len()), (Ok(1), Ok(2), 0));
    assert!(super::panics(|| _ = rx.pop_blocking()));
    assert!(super::panics(|| _ = rx.pop_many_blocking(&mut Vec::new(), 2)));
    assert!(super::panics(|| _ = rx.iter().next()));
    assert_eq!(rx.pop_many_blocking(&mut Vec::new(), 0), Ok(0));
    assert_eq!(tx.push_many_blocking(&mut VecDeque::new()), Ok(()));
    tx.try_push(5).unwrap();
    assert_eq!(rx.try_pop(), Ok(5));
    assert!(tx.close());
    assert!(rx.pop_blocking().is_err());
    assert_eq!(rx.iter().next(), None);
}
