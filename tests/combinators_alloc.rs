//! Tuples and arrays of arms allocate nothing, whatever is done with them, and neither does `select!`.
//!
//! A test binary of its own: it replaces the allocator, to count.
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::{pending, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use millstream::combinators::adapters::future;
use millstream::combinators::{OperationExt, Select, parallel_all, parallel_any, when_all, when_any};
use millstream::{Operation, channel, race, select};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: (local) everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: (local) the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: (local) the caller's promise is passed on.
        unsafe { System.dealloc(address, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(f: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

fn poll<O: Operation>(op: Pin<&mut O>) -> bool {
    op.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn tuples_and_arrays_allocate_nothing_from_start_to_end() {
    let (tx, rx) = channel::bounded::<u32>(4);
    // What a thread's first channel operation sets up once is not the combinators' doing.
    for _ in 0..1_000 {
        tx.try_push(0).unwrap();
        rx.try_pop().unwrap();
    }
    let count = allocations(|| {
        let mut all = pin!(when_all((future(ready(1)), rx.pop(), when_all([rx.pop(), rx.pop()]))));
        assert!(!poll(all.as_mut()));
        for n in 0..3 {
            tx.try_push(n).unwrap();
        }
        assert!(poll(all.as_mut()));

        let mut any =
            pin!(race!(rx.pop() || when_any([future(pending::<()>()), future(pending())]) || rx.pop()));
        assert!(!poll(any.as_mut()));
        tx.try_push(7).unwrap();
        assert!(poll(any.as_mut()));

        let mut stopped = pin!(rx.pop() & (rx.pop() | rx.pop()));
        assert!(!poll(stopped.as_mut()));
        stopped.as_mut().request_cancel();
        assert!(poll(stopped.as_mut()));

        let mut shown = pin!(parallel_all((rx.pop(), parallel_any([rx.pop(), rx.pop()]))));
        assert!(!poll(shown.as_mut()));
        tx.try_push(8).unwrap();
        tx.try_push(9).unwrap();
        assert!(poll(shown.as_mut()));

        let mut lost = None;
        {
            let mut guarded = pin!(race!(rx.pop().lost_into(&mut lost) || rx.pop().with_cancel(rx.pop())));
            assert!(!poll(guarded.as_mut()));
            tx.try_push(10).unwrap();
            assert!(poll(guarded.as_mut()));
        }

        let mut dropped = pin!(rx.pop() | rx.pop() | rx.pop());
        assert!(!poll(dropped.as_mut()));
    });
    assert_eq!(count, 0);
}

#[test]
fn a_vec_is_one_block_for_the_arms_and_one_for_the_outputs() {
    let arms: Vec<_> = (0..100).map(|n| future(ready(n))).collect();
    assert_eq!(allocations(|| assert!(poll(pin!(when_all(arms))))), 2);
    let arms: Vec<_> = (0..100).map(|n| future(ready(n))).collect();
    assert_eq!(allocations(|| assert!(poll(pin!(when_any(arms))))), 1);
    let arms = (0..100).map(|n| future(ready(n)));
    assert_eq!(allocations(|| assert!(poll(pin!(when_all(arms))))), 3, "and one for what an iterator yields");
    let arms: Vec<_> = (0..100).map(|n| future(ready(n))).collect();
    assert_eq!(allocations(|| assert!(poll(pin!(parallel_all(arms))))), 3, "and one for the order");
}

#[test]
fn a_select_allocates_nothing_nor_does_a_set_of_arms_once_it_has_them() {
    let ((tx, rx), (other_tx, other)) = (channel::bounded::<u32>(4), channel::local::<u32>(4));
    for _ in 0..1_000 {
        tx.try_push(0).unwrap();
        rx.try_pop().unwrap();
    }
    let mut slot = Some(1);
    let count = allocations(|| {
        for n in 0..3 {
            let mut turn = pin!(async {
                select! {
                    a = rx.pop() => a.unwrap(),
                    b = other.pop() => b.unwrap(),
                    pushed = tx.push_from(&mut slot), if n == 2 => { pushed.unwrap(); 7 }
                }
            });
            let waits = turn.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
            assert_eq!(waits, n < 2);
            if waits {
                if n == 0 {
                    tx.try_push(n).unwrap()
                } else {
                    other_tx.try_push(n).unwrap()
                }
                assert!(turn.poll(&mut Context::from_waker(Waker::noop())).is_ready());
            }
        }
    });
    assert_eq!((count, slot, rx.try_pop()), (0, None, Ok(1)));

    let mut select = Select::new();
    let keys = [select.add(|| rx.pop()), select.add(|| other.pop())];
    let mut turns = |rounds: u32| {
        for n in 0..rounds {
            let mut next = pin!(select.next());
            assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            if n % 2 == 0 {
                tx.try_push(n).unwrap()
            } else {
                other_tx.try_push(n).unwrap()
            }
            let Poll::Ready(Some((key, value))) = next.poll(&mut Context::from_waker(Waker::noop())) else {
                panic!("it was woken")
            };
            assert_eq!((key, value), (keys[n as usize % 2], n));
        }
    };
    turns(10);
    assert_eq!(allocations(|| turns(100)), 0);
}
