//! Combinators of channel operations: no message is lost, duplicated or reordered, whoever wins.

use std::pin::{Pin, pin};
use std::task::Poll;

use millstream::channel::{PopError, PushError, bounded};
use millstream::combinators::{OneOf2, OneOf3, OperationExt, adapters, when_all, when_any};
use millstream::{Operation, race};

use crate::fake::{World, poll};

#[test]
fn condy_113_two_pops_complete_together() {
    let ((tx1, rx1), (tx2, rx2)) = (bounded(1), bounded(1));
    let mut both = pin!(rx1.pop() & rx2.pop());
    assert!(poll(both.as_mut()).is_pending());
    tx1.try_push(42).unwrap();
    assert!(poll(both.as_mut()).is_pending());
    tx2.try_push(84).unwrap();
    assert_eq!(poll(both.as_mut()), Poll::Ready((Ok(42), Ok(84))));
}

#[test]
fn condy_114_a_race_of_pops_takes_exactly_one_message() {
    let ((tx1, rx1), (tx2, rx2)) = (bounded(4), bounded(4));
    let mut any = pin!(rx1.pop() | rx2.pop() | adapters::future(std::future::pending::<()>()));
    assert!(poll(any.as_mut()).is_pending());
    tx2.try_push(2).unwrap();
    tx1.try_push(1).unwrap();
    assert_eq!(
        poll(any.as_mut()),
        Poll::Ready(OneOf3::A(Ok(1))),
        "the first in order, of two that are ready"
    );
    assert_eq!((rx1.len(), rx2.len()), (0, 1), "the loser's message is still there");
    assert_eq!(rx2.try_pop(), Ok(2));
}

#[test]
fn two_ready_channels_and_one_taker() {
    let ((tx1, rx1), (tx2, rx2)) = (bounded(4), bounded(4));
    tx1.try_push(1).unwrap();
    tx2.try_push(2).unwrap();
    assert_eq!(poll(pin!(race!(rx1.pop() || rx2.pop()))), Poll::Ready(OneOf2::A(Ok(1))));
    assert_eq!((rx1.len(), rx2.len()), (0, 1));
}

#[test]
fn condy_115_116_a_push_that_loses_was_not_pushed_and_by_reference_is_kept() {
    let (tx, rx) = bounded::<Box<u32>>(0);
    let world = World::new();
    let mut push = pin!(tx.push(Box::new(1)));
    {
        let mut any = pin!(when_any((push.as_mut(), world.ready("nop", 0))));
        assert!(poll(any.as_mut()).is_ready());
    }
    assert!(rx.try_pop().is_err() || rx.is_empty(), "nobody took it by its own hand");
    assert_eq!(push.cancel().unwrap_err().into_inner(), Box::new(1), "the pointer is still the caller's");
}

#[test]
fn a_push_and_a_pop_race_and_one_takes_effect() {
    let ((tx1, rx1), (tx2, rx2)) = (bounded(1), bounded(1));
    tx1.try_push(0).unwrap();
    let mut any = pin!(tx1.push(1) | rx2.pop());
    assert!(poll(any.as_mut()).is_pending());
    assert_eq!(rx1.try_pop(), Ok(0)); // room: the push may go, but only inside its own poll
    tx2.try_push(9).unwrap();
    assert_eq!(poll(any.as_mut()), Poll::Ready(OneOf2::A(Ok(()))));
    assert_eq!((rx1.try_pop(), rx2.try_pop()), (Ok(1), Ok(9)));

    tx1.try_push(0).unwrap();
    let mut any = pin!(rx2.pop() | tx1.push(1));
    assert!(poll(any.as_mut()).is_pending());
    assert_eq!(rx1.try_pop(), Ok(0));
    tx2.try_push(9).unwrap();
    assert_eq!(poll(any.as_mut()), Poll::Ready(OneOf2::A(Ok(9))));
    assert!(rx1.is_empty(), "the push lost, so its value is not in the channel");
}

#[test]
fn a_request_to_stop_says_of_each_arm_what_became_of_it() {
    let (tx, rx) = bounded(1);
    tx.try_push(0).unwrap();
    let (_other_tx, other_rx) = bounded::<u8>(1);
    let mut both = pin!(when_all((tx.push(7), other_rx.pop())));
    assert!(poll(both.as_mut()).is_pending());
    both.as_mut().request_cancel();
    assert_eq!(poll(both.as_mut()), Poll::Ready((Err(PushError::Cancelled(7)), Err(PopError::Cancelled))));
    assert_eq!(rx.len(), 1);
}

#[test]
fn a_message_taken_by_an_inner_race_is_delivered_whatever_else_becomes_ready() {
    let ((tx, rx), (stop_tx, stop)) = (bounded(4), bounded(1));
    let world = World::new();
    let (slow, remote) = world.op("slow");
    let remote = remote.stubborn();
    let mut outer = pin!(when_any((rx.pop() | slow, stop.pop())));
    assert!(poll(outer.as_mut()).is_pending());
    tx.try_push(5).unwrap();
    assert!(poll(outer.as_mut()).is_pending(), "the message is taken, `slow` is waited out");
    stop_tx.try_push(()).unwrap();
    assert!(poll(outer.as_mut()).is_pending());
    remote.stop();
    assert_eq!(poll(outer.as_mut()), Poll::Ready(OneOf2::A(OneOf2::A(Ok(5)))));
    assert_eq!(stop.len(), 1);
}

/// The winning arm, and its message.
type Won = (usize, Result<u64, PopError>);

/// Races of all shapes over three channels, with a loser that may end late, dropped, stopped or awaited at random.
/// Every message is seen exactly once and in order, unless a completed race was thrown away on purpose.
#[test]
fn no_race_loses_duplicates_or_reorders_a_message() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    for _ in 0..2_000 {
        let channels: [_; 3] = std::array::from_fn(|_| bounded::<u64>(2));
        let (mut next, mut seen) = ([0_u64; 3], [0_u64; 3]);
        let mut take = |channel: usize, value: u64| {
            assert_eq!(value, seen[channel], "channel {channel}");
            seen[channel] += 1;
        };
        for _ in 0..8 {
            let [a, b, c] = [0, 1, 2].map(|n: usize| &channels[n].1);
            let mut any: Pin<Box<dyn Operation<Output = Won>>> = match below(3) {
                0 => Box::pin(when_any([a.pop(), b.pop(), c.pop()])),
                1 => Box::pin(when_any(vec![a.pop(), b.pop(), c.pop()])),
                _ => {
                    let mut inner = Box::pin(when_any((a.pop() | b.pop(), c.pop())));
                    while below(3) > 0 {
                        let n = below(3) as usize;
                        next[n] += u64::from(channels[n].0.try_push(next[n]).is_ok());
                        if let Poll::Ready(one) = poll(inner.as_mut()) {
                            match one {
                                OneOf2::A(OneOf2::A(value)) => take(0, value.unwrap()),
                                OneOf2::A(OneOf2::B(value)) => take(1, value.unwrap()),
                                OneOf2::B(value) => take(2, value.unwrap()),
                            }
                            break;
                        }
                    }
                    continue; // whether it completed or is dropped waiting
                }
            };
            for _ in 0..below(6) {
                match below(3) {
                    0 => {
                        if let Poll::Ready((n, value)) = poll(any.as_mut()) {
                            take(n, value.unwrap());
                            break;
                        }
                    }
                    1 => {
                        let n = below(3) as usize;
                        next[n] += u64::from(channels[n].0.try_push(next[n]).is_ok());
                    }
                    _ if below(4) == 0 => {
                        any.as_mut().request_cancel();
                        if let Poll::Ready((n, Ok(value))) = poll(any.as_mut()) {
                            take(n, value);
                        }
                        break;
                    }
                    _ => {}
                }
            }
        }
        for (n, (_, rx)) in channels.iter().enumerate() {
            while let Ok(value) = rx.try_pop() {
                take(n, value);
            }
        }
        assert_eq!(seen, next);
    }
}

/// The price of holding outputs back, and how not to pay it.
#[test]
fn a_pair_that_loses_drops_what_it_holds_unless_it_is_kept() {
    let ((tx, rx), (_keeps_open, other), (stop, stopped)) = (bounded(2), bounded::<u8>(1), bounded(1));
    tx.try_push(1).unwrap();
    tx.try_push(2).unwrap();
    let mut race = pin!(when_any((when_all((rx.pop(), other.pop())), stopped.pop())));
    assert!(poll(race.as_mut()).is_pending());
    stop.try_push(()).unwrap();
    assert_eq!(poll(race.as_mut()), Poll::Ready(OneOf2::B(Ok(()))));
    assert_eq!(rx.len(), 1, "the first message was popped, and went with the pair");

    let mut lost = None;
    {
        let pair = when_all((rx.pop(), other.pop())).lost_into(&mut lost);
        let mut race = pin!(when_any((pair, stopped.pop())));
        assert!(poll(race.as_mut()).is_pending());
        stop.try_push(()).unwrap();
        assert_eq!(poll(race.as_mut()), Poll::Ready(OneOf2::B(Ok(()))));
    }
    assert_eq!(lost, Some((Ok(2), Err(PopError::Cancelled))), "here it is");
}
