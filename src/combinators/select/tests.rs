//! Chance, from known seeds.

use core::cell::Cell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::rc::Rc;

use futures::executor::block_on;

use crate::channel;
use crate::combinators::adapters;
use crate::operation::Operation;
use crate::util::random;

/// Chi-square of counts that should be equal: its mean is the degrees of freedom, its variance twice that. Six sigmas.
fn assert_equal_chances(counts: &[u32], what: &str) {
    let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
    let chi: f64 = counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    let freedom = (counts.len() - 1) as f64;
    assert!(chi <= freedom + 6.0 * (2.0 * freedom).sqrt(), "{what}: {counts:?}");
}

#[test]
fn every_ready_arm_is_as_likely_as_any_other() {
    // Whichever are ready: arms behind idle ones do not inherit their chances. Where most are, arms are guessed.
    let which =
        [&[0, 1, 2, 3, 4, 5, 6, 7][..], &[2, 5], &[0, 1, 7], &[6, 7], &[0, 1, 2, 4, 7], &[1, 3, 4, 5, 6, 7]];
    for (seed, ready) in which.into_iter().enumerate() {
        random::seed(seed as u64);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..8).map(|_| channel::bounded(1)).unzip();
        let [a, b, c, d, e, f, g, h] = &receivers[..] else { unreachable!() };
        let mut counts = [0; 8];
        for _ in 0..1000 * ready.len() {
            for &at in ready {
                let _ = senders[at].try_push(at);
            }
            let at = block_on(async {
                crate::select! {
                    n = a.pop() => n, n = b.pop() => n, n = c.pop() => n, n = d.pop() => n,
                    n = e.pop() => n, n = f.pop() => n, n = g.pop() => n, n = h.pop() => n,
                }
            });
            counts[at.unwrap()] += 1;
        }
        let of_ready: Vec<_> = ready.iter().map(|&at| counts[at]).collect();
        assert_equal_chances(&of_ready, "by value");
    }
}

/// An arm that is always ready, and counts how often it is looked at.
struct Counted<'a>(&'a Cell<u32>);

impl Future for Counted<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        unreachable!("tried before it is polled")
    }
}

impl Operation for Counted<'_> {
    fn request_cancel(self: Pin<&mut Self>) {}

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn may_resolve(&self) -> bool {
        self.0.set(self.0.get() + 1);
        true
    }

    fn try_now(&mut self) -> Option<()> {
        Some(())
    }

    fn is_inert(&self) -> bool {
        true
    }
}

#[test]
fn where_all_are_ready_a_turn_looks_at_one() {
    let looks = &Cell::new(0);
    let turn = || {
        block_on(async {
            crate::select! {
                _ = Counted(looks) => (), _ = Counted(looks) => (), _ = Counted(looks) => (), _ = Counted(looks) => (),
            }
        });
        looks.take()
    };
    turn();
    assert_eq!([(); 4].map(|()| turn()), [1; 4]);
    // Those of another `select!` are not: it looks at all, and so does the next one.
    let (_tx, rx) = channel::bounded::<()>(1);
    let idle = || {
        block_on(async {
            crate::select! { _ = rx.pop() => 0, _ = rx.pop() => 1, default => 2 }
        })
    };
    assert_eq!(idle(), 2);
    assert_eq!([turn(), turn()], [4, 1]);
}

#[test]
fn arms_that_must_be_polled_to_know_have_the_same_chance() {
    random::seed(7);
    let (tx, rx) = channel::bounded(1);
    let mut counts = [0; 3];
    for _ in 0..3000 {
        let _ = tx.try_push(());
        let mut again = std::pin::pin!(adapters::future(std::future::ready(())));
        let at = block_on(async {
            crate::select! {
                _ = rx.pop() => 0,
                _ = adapters::future(std::future::ready(())) => 1,
                _ = &mut again => 2,
            }
        });
        counts[at] += 1;
    }
    assert_equal_chances(&counts, "a channel, a future, a future by reference");
}

#[test]
fn timers_that_have_passed_have_the_same_chance() {
    random::seed(7);
    let mut counts = [0; 2];
    crate::Runtime::new().unwrap().block_on(async {
        for _ in 0..2000 {
            let at = crate::select! {
                _ = crate::time::sleep_until(std::time::Instant::now()) => 0,
                _ = crate::time::sleep_until(std::time::Instant::now()) => 1,
            };
            counts[at] += 1;
        }
    });
    assert_equal_chances(&counts, "timers that have passed");
}

/// Is ready when it has been told so, or polled; counts how often it was looked at, and polled while it was not ready.
#[derive(Default)]
struct Later {
    ready: Cell<bool>,
    looks: Cell<u32>,
    begun: Cell<u32>,
}

struct LaterOp<'a>(&'a Later);

impl Future for LaterOp<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.ready.replace(true) {
            return Poll::Ready(());
        }
        self.0.begun.set(self.0.begun.get() + 1);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Operation for LaterOp<'_> {
    fn request_cancel(self: Pin<&mut Self>) {}

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn may_resolve(&self) -> bool {
        self.0.looks.set(self.0.looks.get() + 1);
        self.0.ready.get()
    }

    fn may_be_put_off(&self) -> bool {
        true
    }

    fn is_inert(&self) -> bool {
        true
    }
}

/// How often one `select!` looks, and whether it begins to wait. `told`: there is something at the end of the turn.
async fn one(later: &Rc<Later>, told: bool) -> (u32, u32) {
    later.ready.set(false);
    if told {
        let later = Rc::clone(later);
        crate::spawn(async move { later.ready.set(true) }).detach();
    }
    crate::select! { () = LaterOp(later) => {} }
    (later.looks.take(), later.begun.take())
}

#[test]
fn it_looks_again_before_it_waits_as_long_as_that_has_paid() {
    let later = Rc::new(Later::default());
    crate::Runtime::new().unwrap().block_on(async {
        assert_eq!(one(&later, true).await, (2, 0), "the second look finds it, and nobody has begun to wait");
        // From now on in vain: a look before the wait, one after it, and as many more as there is hope for.
        for more in [2, 1, 0, 0] {
            assert_eq!(one(&later, false).await, (2 + more, 1));
        }
        let mut waits = 2;
        while one(&later, false).await == (2, 1) {
            waits += 1;
        }
        assert_eq!(waits, 64, "so many without a look, then one that tries");
        assert_eq!(one(&later, false).await, (2, 1));
    });
    // Elsewhere there is no end of a turn.
    assert_eq!(block_on(one(&later, false)), (2, 1));
}
