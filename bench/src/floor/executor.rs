//! A local executor with nothing a runtime needs: no cancel, no panics caught, no wake from another thread, no ring.
//!
//! Knows: futures. Does not know: the kernel.
//!
//! A waker is the index of a task. Its data word is compared with nothing, so a stale one costs a spurious poll.
#![allow(unsafe_code, reason = "a waker without a reference count is a raw one")]

use std::alloc::{Layout, alloc, handle_alloc_error};
use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

type Task = dyn Future<Output = ()>;

const NOBODY: u32 = u32::MAX;
const LAST: u32 = u32::MAX;
const IDLE: u32 = u32::MAX - 1;

/// What a task lies in, if it fits.
const CELL: Layout = Layout::new::<[u128; 8]>();

struct Slot {
    /// In a cell, so it stays where it is when the table grows under a poll. `None` when it has ended.
    task: Option<NonNull<Task>>,
    joiner: u32,
    /// The task to poll after this one, `LAST` at the end of the queue, `IDLE` outside of it.
    next: u32,
}

/// Everything the executor is. Borrowed neither across a poll nor across a drop of a future.
struct State {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Memory of tasks that have ended, `CELL` each.
    cells: Vec<NonNull<u8>>,
    /// The ends of the queue that runs through the slots.
    first: u32,
    last: u32,
}

thread_local! {
    static CURRENT: Cell<*const UnsafeCell<State>> = const { Cell::new(ptr::null()) };
}

fn state<R>(f: impl FnOnce(&mut State) -> R) -> R {
    let state = CURRENT.get();
    assert!(!state.is_null(), "the floor's executor is not running");
    // SAFETY: the pointer is that of `block_on`'s frame, which resets it before it ends. The borrow ends with `f`, and
    // no `f` in this file polls, wakes, or drops a future.
    f(unsafe { &mut *(*state).get() })
}

impl State {
    #[inline]
    fn wake(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        if slot.next == IDLE {
            slot.next = LAST;
            if self.first == LAST {
                self.first = id;
            } else {
                self.slots[self.last as usize].next = id;
            }
            self.last = id;
        }
    }

    #[inline]
    fn insert<F: Future<Output = ()> + 'static>(&mut self, future: F) -> u32 {
        const { assert!(size_of::<F>() <= CELL.size() && align_of::<F>() <= CELL.align()) };
        let cell = self.cells.pop().unwrap_or_else(|| {
            // SAFETY: the layout's size is not zero.
            NonNull::new(unsafe { alloc(CELL) }).unwrap_or_else(|| handle_alloc_error(CELL))
        });
        let task = cell.cast::<F>();
        // SAFETY: the cell is large enough, as asserted, and holds nothing.
        unsafe { task.write(future) };
        let slot = Slot { task: Some(task), joiner: NOBODY, next: IDLE };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        self.wake(id);
        id
    }

    /// The next task to poll. One that has ended and was still woken is passed over.
    #[inline]
    fn next(&mut self) -> Option<(u32, NonNull<Task>)> {
        while self.first != LAST {
            let id = self.first;
            let slot = &mut self.slots[id as usize];
            self.first = mem::replace(&mut slot.next, IDLE);
            if let Some(task) = slot.task {
                return Some((id, task));
            }
        }
        None
    }

    /// A task has ended and was dropped.
    #[inline]
    fn end(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        self.cells.extend(slot.task.take().map(NonNull::cast));
        if slot.joiner != NOBODY {
            let joiner = slot.joiner;
            self.wake(joiner);
        }
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(
    |data| RawWaker::new(data, &VTABLE),
    |data| state(|state| state.wake(data.addr() as u32)),
    |data| state(|state| state.wake(data.addr() as u32)),
    |_| {},
);

fn waker(id: u32) -> Waker {
    // SAFETY: the functions of the table own nothing and treat the data word as a number. They must not be called on
    // another thread, which has no executor and panics instead.
    unsafe { Waker::from_raw(RawWaker::new(ptr::without_provenance(id as usize), &VTABLE)) }
}

/// Awaits the end of a task.
pub(crate) struct Join {
    id: u32,
    local: PhantomData<*const ()>,
}

impl Future for Join {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        state(|state| {
            let slot = &mut state.slots[self.id as usize];
            if slot.task.is_none() {
                state.free.push(self.id);
                Poll::Ready(())
            } else {
                slot.joiner = cx.waker().data().addr() as u32;
                Poll::Pending
            }
        })
    }
}

/// Starts a task that fits in a cell. The slot is given back when its end is awaited.
#[inline]
pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) -> Join {
    Join { id: state(|state| state.insert(future)), local: PhantomData }
}

/// Lets the tasks that are ready run.
#[inline]
pub(crate) fn yield_now() -> impl Future<Output = ()> {
    struct Yield(bool);
    impl Future for Yield {
        type Output = ();

        #[inline]
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            if mem::replace(&mut self.0, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
    Yield(false)
}

/// Runs until `root` has ended; tasks that have not are leaked, as is all memory of tasks.
pub(crate) fn block_on(root: impl Future<Output = ()> + 'static) {
    let cell = UnsafeCell::new(State {
        slots: Vec::new(),
        free: Vec::new(),
        cells: Vec::new(),
        first: LAST,
        last: LAST,
    });
    CURRENT.set(&cell);
    let root = spawn(Box::pin(root)).id; // whatever its size
    // SAFETY: the borrow ends with the statement, as all others do; between two statements nothing borrows.
    while let Some((id, mut task)) = unsafe { &mut *cell.get() }.next() {
        let waker = ManuallyDrop::new(waker(id)); // its drop would be a call that does nothing
        // SAFETY: the task lies in a cell of its own until it is dropped below, and nobody else uses it: a poll can
        // reach the state, but not what the state points to.
        let ended =
            unsafe { Pin::new_unchecked(task.as_mut()) }.poll(&mut Context::from_waker(&waker)).is_ready();
        if ended {
            // SAFETY: it is dropped once: `end` is about to take it out of its slot.
            unsafe { task.drop_in_place() };
            // SAFETY: as above.
            unsafe { &mut *cell.get() }.end(id);
            if id == root {
                break;
            }
        }
    }
    CURRENT.set(ptr::null());
}
