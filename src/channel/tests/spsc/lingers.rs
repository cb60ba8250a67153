//! What a thread does for those that wait on it, before it sleeps.
#![allow(unsafe_code, reason = "installs a lookout, and makes wakers that are numbers")]

use core::cell::Cell;
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

#[test]
fn a_thread_lingers_for_what_comes_from_another_and_for_nothing_else() {
    let here = Lookout::new();
    // SAFETY: (local) it stays in its place until the other one is installed again, below.
    let before = unsafe { lookout::install(Some(NonNull::from(&here))) };
    let polling = Polling::new(&HOOKS, 1000).install();
    // SAFETY: (local) its functions do nothing with the number.
    let waker = unsafe { Waker::new(ptr::without_provenance(1), &PLAIN) };
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
    drop((tx, rx));
    here.settle(wake);
    polling.install();
    // SAFETY: (local) as it was before.
    unsafe { lookout::install(before) };
}
