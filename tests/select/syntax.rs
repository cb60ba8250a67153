//! What can be written.

use std::pin::pin;

use futures::executor::block_on;
use millstream::channel::{self, PopError};
use millstream::select;

#[test]
fn blocks_may_break_continue_and_use_what_the_arms_borrowed() {
    block_on(async {
        let (tx, rx) = channel::bounded(4);
        let (_keep, never) = channel::local::<()>(1);
        (0..4).for_each(|n| tx.try_push(n).unwrap());
        let mut seen = Vec::new();
        let last = loop {
            select! {
                n = rx.pop() => {
                    let n = n.unwrap();
                    if n == 0 {
                        continue;
                    }
                    seen.push((n, rx.try_pop().ok())); // the arm's borrow is over
                    if rx.is_empty() {
                        break n;
                    }
                }
                _ = never.pop() => unreachable!(),
            }
        };
        assert_eq!((seen, last), (vec![(1, Some(2)), (3, None)], 3));
    });
}

#[test]
fn a_block_is_an_expression_and_may_use_the_question_mark() {
    async fn sum(rx: &channel::Receiver<u32>) -> Result<u32, PopError> {
        let mut sum = 0;
        loop {
            sum += select! { n = rx.pop() => n?, default => return Ok(sum) };
        }
    }
    block_on(async {
        let (tx, rx) = channel::bounded(4);
        (0..4).for_each(|n| tx.try_push(n).unwrap());
        assert_eq!(sum(&rx).await, Ok(6));
        drop(tx);
        assert_eq!(sum(&rx).await, Err(PopError::Closed));
    });
}

#[test]
fn arms_that_end_are_left_out_until_all_have() {
    block_on(async {
        let ((tx_a, a), (tx_b, b)) = (channel::bounded(4), channel::bounded(4));
        tx_a.try_push(1).unwrap();
        tx_b.try_push(2).unwrap();
        drop(tx_a);
        drop(tx_b);
        let mut seen = Vec::new();
        loop {
            select! {
                Ok(n) = a.pop() => seen.push(n),
                Ok(n) = b.pop() => seen.push(n),
                complete => break,
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
    });
}

#[test]
fn a_guarded_arm_is_not_even_evaluated() {
    block_on(async {
        let none: Option<channel::Receiver<u32>> = None;
        let (tx, rx) = channel::bounded(1);
        tx.try_push(1).unwrap();
        let got = select! {
            n = none.as_ref().unwrap().pop(), if none.is_some() => n,
            n = rx.pop() => n,
        };
        assert_eq!(got, Ok(1));
        let got = select! {
            _ = rx.pop(), if none.is_some() => "an arm",
            complete => "none",
        };
        assert_eq!(got, "none");
    });
}

#[test]
fn the_first_ready_arm_wins_when_biased() {
    block_on(async {
        let ((tx_a, a), (tx_b, b)) = (channel::bounded(64), channel::bounded(64));
        (0..64).for_each(|n| tx_a.try_push(n).unwrap());
        tx_b.try_push(64).unwrap();
        let mut seen = Vec::new();
        for _ in 0..65 {
            select! {
                biased;
                n = a.pop() => seen.push(n.unwrap()),
                n = b.pop() => seen.push(n.unwrap()),
            }
        }
        assert!(seen.into_iter().eq(0..65));
    });
}

#[test]
fn an_arm_by_reference_goes_on_in_the_next_turn() {
    block_on(async {
        let ((tx_a, a), (tx_b, b)) = (channel::bounded(1), channel::local(1));
        let mut pop = pin!(a.pop());
        tx_b.try_push(1).unwrap();
        select! { _ = &mut pop => unreachable!(), n = b.pop() => assert_eq!(n, Ok(1)) }
        tx_a.try_push(2).unwrap();
        select! { n = &mut pop => assert_eq!(n, Ok(2)), _ = b.pop() => unreachable!() }
    });
}

#[test]
fn a_block_may_write_to_what_an_arm_borrowed() {
    block_on(async {
        let ((tx, rx), (_keep, never)) = (channel::bounded(1), channel::bounded::<u8>(1));
        tx.try_push(1).unwrap();
        let mut slot = Some(2);
        for _ in 0..2 {
            select! {
                pushed = tx.push_from(&mut slot) => {
                    pushed.unwrap();
                    slot = Some(3);
                }
                n = rx.pop(), if slot == Some(2) => {
                    assert_eq!(n, Ok(1));
                    slot = slot.take();
                }
                _ = never.pop() => slot = None,
            }
        }
        assert_eq!((slot, rx.try_pop()), (Some(3), Ok(2)));
    });
}
