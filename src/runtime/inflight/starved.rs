//! Who waits until an op can be queued: each waker once, in the order in which they came.
//!
//! Knows: wakers. Does not know: what they wait for.

use std::cell::RefCell;
use std::collections::HashSet;
use std::mem;
use std::task::Waker;

/// The list. Bounded by the tasks there are, however often one of them looks again.
pub(super) struct Starved {
    /// No user code runs while it is borrowed (I7): wakers go in and come out by value.
    list: RefCell<List>,
}

#[derive(Default)]
struct List {
    wakers: Vec<Waker>,
    /// Data and vtable of each: what [`Waker::will_wake`] compares.
    known: HashSet<(usize, usize)>,
}

impl Starved {
    pub(super) fn new() -> Self {
        Self { list: RefCell::default() }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.list.borrow().wakers.is_empty()
    }

    /// Puts the waker on the list, or gives it back when an equal one is there.
    pub(super) fn push(&self, waker: Waker) -> Option<Waker> {
        let mut list = self.list.borrow_mut();
        if !list.known.insert((waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr())) {
            return Some(waker);
        }
        list.wakers.push(waker);
        None
    }

    /// Takes all of them.
    pub(super) fn take(&self) -> Vec<Waker> {
        mem::take(&mut *self.list.borrow_mut()).wakers
    }
}
