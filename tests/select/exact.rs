//! Exactly one arm takes effect, and nothing is lost from the others: random histories, on one thread and on several.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use millstream::channel::{self, Receiver, Sender, Sharing, TryPopError};
use millstream::{Runtime, select, spawn, yield_now};

use crate::support::{Rng, rounds};
use crate::support_stalls::{Stalls, seed};

/// What one turn did.
#[derive(Debug, PartialEq, Eq)]
enum Did {
    Pushed(usize),
    Popped(usize, u64),
}

/// Pushes to one of two channels or pops from one of two others. The value stays in `slot` unless it was pushed.
async fn turn<S: Sharing>(
    tx: &[Sender<u64, S>; 2],
    rx: &[Receiver<u64, S>; 2],
    slot: &mut Option<u64>,
) -> Did {
    let mut spare = *slot;
    let did = select! {
        pushed = tx[0].push_from(slot) => { pushed.expect("open"); Did::Pushed(0) }
        permit = tx[1].reserve() => {
            permit.expect("open").push(spare.take().expect("a value")).expect("open");
            Did::Pushed(1)
        }
        value = rx[0].pop() => Did::Popped(0, value.expect("open")),
        value = rx[1].pop() => Did::Popped(1, value.expect("open")),
    };
    if did == Did::Pushed(1) {
        *slot = None;
    }
    did
}

type Ends<S> = (Sender<u64, S>, Receiver<u64, S>);

/// Selects that are dropped at any moment, over channels that others push to and pop from: every value is where it was put.
fn dropped_at_any_moment<S: Sharing>(make: fn(usize) -> Ends<S>) {
    let (first, stalls) = (seed(), Stalls::watch());
    for n in 0..rounds(400) {
        let seed = first.wrapping_add(n);
        stalls.round(seed);
        let mut rng = Rng::new(seed);
        let (tx, rx): (Vec<_>, Vec<_>) = (0..4).map(|_| make(rng.below(3) as usize)).unzip();
        let [a, b, c, d] = <[_; 4]>::try_from(tx).unwrap_or_else(|_| unreachable!());
        let (out, into) = ([a, b], [c, d]);
        let [a, b, c, d] = <[_; 4]>::try_from(rx).unwrap_or_else(|_| unreachable!());
        let (out_rx, into_rx) = ([a, b], [c, d]);
        let mut next = 0;
        // What is where; each channel in order.
        let mut queued: [Vec<u64>; 4] = Default::default();
        let mut slot = None;
        for _ in 0..60 {
            if slot.is_none() {
                slot = Some(next);
                next += 1;
            }
            let offered = slot;
            let mut did = None;
            {
                let mut turn = pin!(turn(&out, &into_rx, &mut slot));
                for _ in 0..1 + rng.below(4) {
                    if let Poll::Ready(done) = turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                        did = Some(done);
                        break;
                    }
                    match rng.below(4) {
                        at @ 0..=1 => {
                            if into[at as usize].try_push(next).is_ok() {
                                queued[2 + at as usize].push(next);
                                next += 1;
                            }
                        }
                        at => {
                            let at = at as usize - 2;
                            if let Ok(value) = out_rx[at].try_pop() {
                                assert_eq!(value, queued[at].remove(0), "seed {seed}");
                            }
                        }
                    }
                }
            }
            match did {
                None => assert_eq!(slot, offered, "nobody won, and the value is gone: seed {seed}"),
                Some(Did::Pushed(at)) => {
                    assert_eq!(slot, None, "seed {seed}");
                    queued[at].push(offered.expect("a value"));
                }
                Some(Did::Popped(at, value)) => {
                    assert_eq!(slot, offered, "two arms took effect: seed {seed}");
                    assert_eq!(value, queued[2 + at].remove(0), "lost, doubled or out of order: seed {seed}");
                }
            }
        }
        for (rx, queued) in out_rx.iter().chain(&into_rx).zip(&queued) {
            assert!(rx.try_iter().eq(queued.iter().copied()), "seed {seed}");
        }
    }
    stalls.over();
}

#[test]
fn a_select_dropped_at_any_moment_has_done_nothing() {
    dropped_at_any_moment(channel::bounded);
    dropped_at_any_moment(channel::local);
}

/// Several selects on threads of their own, each pushing to and popping from what the others pop from and push to, also at
/// capacity 0: they finish, and every value arrives once.
#[test]
fn selects_that_meet_each_other_neither_stall_nor_lose() {
    let (seed, stalls) = (seed(), Stalls::watch());
    stalls.round(seed);
    let each = rounds(20_000);
    for capacity in [0, 1] {
        let ((tx_a, rx_a), (tx_b, rx_b)) = (channel::bounded(capacity), channel::bounded(capacity));
        let all = Mutex::new(BTreeSet::new());
        thread::scope(|scope| {
            for thread in 0..3_u64 {
                let (tx, rx) = ([tx_a.clone(), tx_b.clone()], [rx_b.clone(), rx_a.clone()]);
                let (all, stalls) = (&all, &stalls);
                scope.spawn(move || {
                    let mut popped = Vec::new();
                    let run = async {
                        let (mut next, mut slot) = (0, None);
                        // A thread that has pushed all of its own goes on popping until nobody pushes any more.
                        while next < each {
                            slot.get_or_insert(thread << 32 | next);
                            match turn(&tx, &rx, &mut slot).await {
                                Did::Pushed(_) => next += 1,
                                Did::Popped(_, value) => popped.push(value),
                            }
                            stalls.progress();
                        }
                        drop(tx);
                        loop {
                            select! {
                                Ok(value) = rx[0].pop() => popped.push(value),
                                Ok(value) = rx[1].pop() => popped.push(value),
                                complete => break,
                            }
                            stalls.progress();
                        }
                    };
                    if thread == 0 {
                        Runtime::new().expect("a runtime").block_on(run)
                    } else {
                        block_on(run)
                    }
                    let mut all = all.lock().expect("nobody panicked");
                    let before = all.len();
                    let count = popped.len();
                    all.extend(popped);
                    assert_eq!(all.len(), before + count, "a value came twice");
                });
            }
            drop((tx_a, tx_b, rx_a, rx_b));
        });
        assert_eq!(
            all.into_inner().expect("nobody panicked").len() as u64,
            3 * each,
            "capacity {capacity}, seed {seed}"
        );
    }
    stalls.over();
}

#[test]
fn two_selects_meet_at_capacity_zero_whoever_comes_first() {
    for pusher_first in [true, false] {
        Runtime::new().expect("a runtime").block_on(async {
            let ((tx, rx), (_keep, never)) = (channel::local(0), channel::local::<u8>(0));
            let never = &never;
            let push = async {
                let mut slot = Some(7);
                select! { pushed = tx.push_from(&mut slot) => pushed.expect("open"), _ = never.pop() => unreachable!() }
                assert_eq!(slot, None);
            };
            let pop = async {
                select! { value = rx.pop() => assert_eq!(value, Ok(7)), _ = never.pop() => unreachable!() }
            };
            if pusher_first {
                futures::join!(push, pop);
            } else {
                futures::join!(pop, push);
            }
        });
    }
}

#[test]
fn a_select_with_both_ends_of_one_rendezvous_meets_itself_and_the_value_waits() {
    block_on(async {
        let (tx, rx) = channel::bounded(0);
        let mut slot = Some(7);
        select! { pushed = tx.push_from(&mut slot) => pushed.unwrap(), _ = rx.pop() => unreachable!() }
        assert_eq!((slot, rx.try_pop()), (None, Ok(7)));
    });
}

#[test]
fn a_push_in_flight_keeps_value_and_place_from_turn_to_turn() {
    block_on(async {
        let ((tx, rx), (ticks_tx, ticks)) = (channel::bounded(1), channel::bounded(8));
        tx.try_push(0).unwrap();
        let mut push = pin!(tx.push(1));
        for n in 0..3 {
            ticks_tx.try_push(n).unwrap();
            select! { biased; tick = ticks.pop() => assert_eq!(tick, Ok(n)), _ = &mut push => unreachable!() }
        }
        assert_eq!(rx.try_pop(), Ok(0));
        select! { pushed = &mut push => pushed.unwrap(), _ = ticks.pop() => unreachable!() }
        assert_eq!(rx.try_pop(), Ok(1));
    });
}

#[test]
fn a_closed_channel_ends_a_push_arm_with_its_value_in_place() {
    block_on(async {
        let ((tx, rx), (_keep, never)) = (channel::bounded::<u8>(1), channel::bounded::<u8>(1));
        drop(rx);
        let mut slot = Some(7);
        let closed =
            select! { pushed = tx.push_from(&mut slot) => pushed, _ = never.pop() => unreachable!() };
        assert!(closed.unwrap_err().is_closed());
        assert_eq!(slot, Some(7));
        // With nothing to push the arm is never ready, not even to say so.
        let mut nothing = None;
        select! { _ = tx.push_from(&mut nothing) => unreachable!(), default => {} }
    });
}

/// A read that stays in flight while messages win: every byte arrives, in order.
#[test]
fn a_recv_in_flight_loses_no_byte_while_other_arms_win() {
    use millstream::ops;

    Runtime::new().expect("a runtime").block_on(async {
        const ALL: usize = 20_000;
        let (here, there) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let (here, there) = (ops::Fd::from(here), ops::Fd::from(there));
        let (tx, rx) = channel::local(4);
        let writer = spawn(async move {
            let mut sent = 0;
            while sent < ALL {
                let part: Vec<u8> = (sent..ALL.min(sent + 37)).map(|n| n as u8).collect();
                let (n, _) = ops::send(&there, part).await;
                sent += n.expect("sent");
                yield_now().await;
            }
        });
        let ticker = spawn(async move {
            for n in 0.. {
                if tx.push(n).await.is_err() {
                    return n;
                }
                yield_now().await;
            }
            0
        });
        let (mut bytes, mut ticks) = (0, 0);
        let mut recv = pin!(ops::recv(&here, Vec::with_capacity(64)));
        loop {
            select! {
                (n, mut buffer) = &mut recv => {
                    if n.expect("received") == 0 {
                        break;
                    }
                    for byte in buffer.drain(..) {
                        assert_eq!(byte, bytes as u8, "byte {bytes}");
                        bytes += 1;
                    }
                    recv.set(ops::recv(&here, buffer));
                }
                tick = rx.pop() => {
                    assert_eq!(tick, Ok(ticks));
                    ticks += 1;
                }
            }
        }
        drop(rx);
        writer.await.expect("no panic");
        assert_eq!(bytes, ALL);
        assert!(ticker.await.expect("no panic") >= ticks && ticks > 0);
    });
}

#[test]
fn timers_joins_and_combinators_are_arms() {
    use millstream::combinators::{OperationExt, adapters, when_all};
    use millstream::time;

    Runtime::new().expect("a runtime").block_on(async {
        let (_keep, never) = channel::local::<u8>(1);
        let answer = spawn(async { 42 });
        let got = select! { n = answer => n.expect("no panic"), _ = never.pop() => unreachable!() };
        assert_eq!(got, 42);
        select! { () = time::sleep(Duration::from_millis(1)) => {}, _ = never.pop() => unreachable!() }
        let late = select! { popped = never.pop().timeout(Duration::from_millis(1)) => popped.is_err() };
        assert!(late);
        let (a, b) = select! {
            both = when_all((adapters::future(async { 1 }), adapters::future(async { 2 }))) => both,
            _ = never.pop() => unreachable!(),
        };
        assert_eq!((a, b), (Ok(1), Ok(2)));
        // A task that lost is cancelled and waited for, also where it was never polled.
        let (tx, rx) = channel::local(1);
        tx.try_push(1_u8).expect("room");
        let held = std::rc::Rc::new(());
        let in_task = std::rc::Rc::clone(&held);
        let task = spawn(async move {
            std::future::pending::<()>().await;
            drop(in_task);
        });
        select! { biased; n = rx.pop() => assert_eq!(n, Ok(1)), _ = task => unreachable!() }
        assert_eq!(std::rc::Rc::strong_count(&held), 1, "the task has ended");
    });
}

#[test]
fn a_loop_of_defaults_lets_the_ring_work() {
    Runtime::new().expect("a runtime").block_on(async {
        let mut timer = pin!(millstream::time::sleep(Duration::from_millis(5)));
        let mut turns = 0_u64;
        loop {
            select! { () = &mut timer => break, default => turns += 1 }
        }
        assert!(turns > 0);
    });
}

/// A push that waits as an arm takes effect in a turn that says so, and never by the hand of a peer that pops meanwhile:
/// wherever it stands, and with a guard as without.
#[test]
fn no_peer_completes_a_push_that_waits_as_an_arm() {
    macro_rules! check {
        (|$push:ident, $idle:ident, $yes:ident| $turn:expr) => {{
            let (tx, rx) = channel::bounded(1);
            let (_open, $idle) = channel::bounded::<u32>(1);
            tx.try_push(6).unwrap();
            let (mut $push, $yes) = (pin!(tx.push(7)), true);
            let mut turn = pin!(async { $turn });
            let mut poll = || turn.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(poll().is_pending());
            assert_eq!(rx.try_pop(), Ok(6));
            assert_eq!(rx.try_pop(), Err(TryPopError::Empty), "no turn has said that it took effect");
            assert_eq!(poll(), Poll::Ready(true));
            assert_eq!(rx.try_pop(), Ok(7));
        }};
    }
    check!(|push, idle, _yes| select! { pushed = push.as_mut() => pushed.is_ok(), _ = idle.pop() => false });
    check!(|push, idle, _yes| select! { _ = idle.pop() => false, pushed = push.as_mut() => pushed.is_ok() });
    check!(|push, idle, yes| select! {
        pushed = push.as_mut(), if yes => pushed.is_ok(),
        _ = idle.pop() => false,
    });
    check!(|push, idle, yes| select! {
        _ = idle.pop() => false,
        pushed = push.as_mut(), if yes => pushed.is_ok(),
    });
}
