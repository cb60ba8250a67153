//! What a thread does for those that wait on it, before it sleeps and before that.
#![allow(unsafe_code, reason = "installs a lookout, and makes wakers that are numbers")]

use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::pin;
use core::ptr::{self, NonNull};
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread;

use crate::channel::spsc;
use crate::util::executor::{Hooks, Polling};
use crate::util::lookout::{self, Lookout};

static PLAIN: RawWakerVTable =
    RawWakerVTable::new(|number| RawWaker::new(number, &PLAIN), |_| {}, |_| {}, |_| {});
static HOOKS: Hooks = Hooks { wake: drop, deliver: || {}, catch_up: || {}, plain: &PLAIN, clock: None };

fn with_lookout(f: impl FnOnce(&Lookout)) {
    let here = Lookout::new();
    // SAFETY: (local) it stays in its place until the other one is installed again, below.
    let before = unsafe { lookout::install(Some(NonNull::from(&here))) };
    let polling = Polling::new(&HOOKS, 1000).install();
    f(&here);
    here.settle(drop);
    polling.install();
    // SAFETY: (local) as it was before.
    unsafe { lookout::install(before) };
}

fn waker(number: usize) -> Waker {
    // SAFETY: (local) its functions do nothing with the number.
    unsafe { Waker::new(ptr::without_provenance(number), &PLAIN) }
}

#[test]
fn a_look_finds_all_that_are_ready_and_no_other() {
    with_lookout(|here| {
        let woken = RefCell::new(vec![]);
        let wake = |waker: Waker| woken.borrow_mut().push(waker.data().addr());
        let looks_after = |change: &mut (dyn FnMut() + Send)| {
            thread::scope(|scope| scope.spawn(change).join()).unwrap();
            assert_eq!(here.look(wake), !woken.borrow().is_empty());
            assert!(!here.look(wake), "who was woken waits no more");
            let mut woken = woken.take();
            woken.sort_unstable(); // they are woken by their seats
            woken
        };
        let (mut tx1, mut rx1) = spsc(1);
        let (mut tx2, mut rx2) = spsc(1);
        let (mut tx3, mut rx3) = spsc(1);
        tx3.try_push(0).unwrap();
        let mut wait1 = pin!(rx1.pop());
        let mut wait2 = pin!(rx2.closed());
        let mut wait3 = pin!(tx3.push(0));
        assert!(wait1.as_mut().poll(&mut Context::from_waker(&waker(1))).is_pending());
        assert!(wait2.as_mut().poll(&mut Context::from_waker(&waker(2))).is_pending());
        assert!(wait3.as_mut().poll(&mut Context::from_waker(&waker(3))).is_pending());
        assert_eq!(looks_after(&mut || tx2.try_push(0).unwrap()), [], "only a close was waited for there");
        assert_eq!(
            looks_after(&mut || {
                tx1.try_push(0).unwrap();
                rx3.try_pop().unwrap();
            }),
            [1, 3]
        );
        assert_eq!(looks_after(&mut || assert!(tx2.close())), [2]);
    });
}

#[test]
fn a_thread_lingers_for_what_comes_from_another_and_for_nothing_else() {
    with_lookout(|here| {
        let waker = waker(1);
        let mut cx = Context::from_waker(&waker);
        let woken = Cell::new(0);
        let wake = |_: Waker| woken.set(woken.get() + 1);

        let (mut tx, mut rx) = spsc(2);
        {
            let mut pop = pin!(rx.pop());
            assert!(pop.as_mut().poll(&mut cx).is_pending());
            assert!(!here.linger(wake), "nothing was there");
            thread::scope(|scope| scope.spawn(|| tx.try_push(1)).join()).unwrap().unwrap();
            assert!(here.linger(wake));
            assert_eq!((woken.get(), pop.poll(&mut cx)), (1, Poll::Ready(Ok(1))));
        }
        {
            let mut pop = pin!(rx.pop());
            assert!(pop.as_mut().poll(&mut cx).is_pending());
            tx.try_push(2).unwrap();
            assert!(!here.linger(wake), "the end of the poll tells of what was done here");
            here.settle(wake);
            assert_eq!((woken.get(), pop.poll(&mut cx)), (2, Poll::Ready(Ok(2))));
        }
    });
}
