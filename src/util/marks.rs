//! Wakers that say which of many operations they woke: one mark per arm of a persistent select, in the order of the wakes.
//!
//! Knows: `sync`, wait slots, thread numbers. Does not know: what the arms are, channels, the runtime.
//!
//! A waker is the address of a mark, and a mark is never freed: like the wakers of a runtime, these are copied and dropped for
//! nothing, fired on any thread at any time, and one that comes late finds a mark of nobody, or of somebody else, who then
//! looks once in vain. What is never freed is used again: there are as many marks as were needed at one time.
//!
//! ```text
//!   a wake on the owner's thread      mark ──▶ lined up (plain list, first in, first out) ──▶ the task, if it waits
//!   a wake on any other thread        mark ──▶ stacked (atomic list) ──▶ the slot of the task
//!   the owner, next()                 the stack, oldest first, onto the line; the first of the line
//! ```
#![allow(
    unsafe_code,
    reason = "wakers that point to what is never freed; cells of one thread behind a shared reference"
)]

use core::cell::{Cell, RefCell};
use core::marker::PhantomData;
use core::ptr;
use core::task::{RawWaker, RawWakerVTable, Waker};

use super::executor;
use super::plain::Plain;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
use super::thread_number;
use super::wait_slot::{Armed, WaitSlot};
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence};

/// The threads of a model are one; which way a wake takes, the model says.
#[cfg(any(millstream_loom, millstream_shuttle))]
mod thread_number {
    pub(super) fn current() -> u64 {
        1
    }

    pub(super) fn if_any() -> u64 {
        1
    }
}

/// One arm's.
struct Mark {
    board: &'static Board,
    index: u32,
    /// In the line. The owner's.
    lined_up: Cell<bool>,
    next_in_line: Cell<Option<&'static Mark>>,
    /// On the stack, or about to be; whoever makes this true puts it there.
    stacked: AtomicBool,
    next_on_stack: AtomicPtr<Mark>,
}

/// What the marks of one owner share. Of its cells, those that are not atomic belong to the thread with the number in
/// `owner`; without an owner, to nobody.
struct Board {
    owner: AtomicU64,
    /// Marks of other threads, newest first.
    stack: AtomicPtr<Mark>,
    /// The task, for other threads to wake.
    remote_task: WaitSlot,
    /// The task, for wakes on the owner's thread: as it last waited, unless its waker had to be given away.
    task: Cell<Option<Waker>>,
    /// It waits.
    waits: Cell<bool>,
    first: Cell<Option<&'static Mark>>,
    last: Cell<Option<&'static Mark>>,
    len: Cell<usize>,
    marks: RefCell<Vec<&'static Mark>>,
}

// SAFETY: (I5) what is not atomic is touched by one thread at a time: by the one whose number is in `owner`, which it alone
// puts there and takes away, and between two owners the board goes through the pool's lock.
unsafe impl Sync for Board {}
// SAFETY: (I5) as for the board it belongs to.
unsafe impl Sync for Mark {}
// SAFETY: (I5) wakers and atomics; nothing of it is bound to a thread while it has no owner.
unsafe impl Send for Board {}

impl Board {
    fn new() -> &'static Self {
        Box::leak(Box::new(Self {
            owner: AtomicU64::new(0),
            stack: AtomicPtr::new(ptr::null_mut()),
            remote_task: WaitSlot::new(),
            task: Cell::new(None),
            waits: Cell::new(false),
            first: Cell::new(None),
            last: Cell::new(None),
            len: Cell::new(0),
            marks: RefCell::new(Vec::new()),
        }))
    }

    /// Whether this thread is the owner's. One that is reads its own last store.
    #[inline]
    fn is_mine(&self) -> bool {
        let here = thread_number::if_any();
        here != 0 && self.owner.load(Ordering::Relaxed) == here
    }

    /// Puts the mark at the end of the line. The owner's thread only.
    #[inline]
    fn line_up(&self, mark: &'static Mark) {
        if mark.lined_up.replace(true) {
            return;
        }
        mark.next_in_line.set(None);
        match self.last.replace(Some(mark)) {
            None => self.first.set(Some(mark)),
            Some(last) => last.next_in_line.set(Some(mark)),
        }
        self.len.set(self.len.get() + 1);
    }

    /// The task's waker: a copy if it can be had for nothing.
    fn tell(&self) -> Option<Waker> {
        let task = self.task.take()?;
        let Some(copy) = executor::copy(&task) else { return Some(task) };
        self.task.set(Some(task));
        Some(copy)
    }

    /// Takes the first out of the line. The owner's thread only.
    #[inline]
    fn pop(&self) -> Option<&'static Mark> {
        let mark = self.first.get()?;
        self.first.set(mark.next_in_line.get());
        if self.first.get().is_none() {
            self.last.set(None);
        }
        mark.lined_up.set(false);
        self.len.set(self.len.get() - 1);
        Some(mark)
    }

    /// Lines up what other threads have stacked, oldest first. The owner's thread only.
    #[inline]
    fn unstack(&self) {
        if !self.stack.load(Ordering::Relaxed).is_null() {
            self.unstack_all();
        }
    }

    #[cold]
    fn unstack_all(&self) {
        // ORDERING: pairs with the exchange in `Mark::stack`: what is behind the top is seen.
        let mut newest = self.stack.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest = ptr::null_mut::<Mark>();
        while !newest.is_null() {
            // SAFETY: (local) marks are never freed.
            let mark = unsafe { &*newest };
            let next = mark.next_on_stack.load(Ordering::Relaxed);
            mark.next_on_stack.store(oldest, Ordering::Relaxed); // nobody else's as long as it counts as stacked
            (oldest, newest) = (newest, next);
        }
        while !oldest.is_null() {
            // SAFETY: (local) as above.
            let mark = unsafe { &*oldest };
            oldest = mark.next_on_stack.load(Ordering::Relaxed);
            self.line_up(mark);
            // ORDERING: an exchange, so that it sees what came before the last wake that found the mark stacked and did
            // nothing: from here on the arm is looked at.
            if planted!("marks-forget-a-second-wake") {
                mark.stacked.store(false, Ordering::Relaxed);
            } else {
                mark.stacked.swap(false, Ordering::AcqRel);
            }
        }
    }
}

impl Mark {
    /// The arm was woken. Who is to be told, if anybody waits.
    #[inline]
    fn set(&'static self) -> Option<Waker> {
        if self.board.is_mine() {
            self.board.line_up(self);
            if self.board.waits.replace(false) { self.board.tell() } else { None }
        } else {
            self.stack()
        }
    }

    #[cold]
    fn stack(&'static self) -> Option<Waker> {
        let board = self.board;
        // ORDERING: `Release` for the one who takes it off, also when it is there already; `Acquire` for its link.
        if self.stacked.swap(true, Ordering::AcqRel) {
            return None; // whoever put it there wakes the task
        }
        let mut top = board.stack.load(Ordering::Relaxed);
        loop {
            self.next_on_stack.store(top, Ordering::Relaxed);
            // ORDERING: pairs with the exchange in `unstack_all`.
            let pushed = board.stack.compare_exchange_weak(
                top,
                ptr::from_ref(self).cast_mut(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            match pushed {
                Ok(_) => break,
                Err(other) => top = other,
            }
        }
        // ORDERING: pairs with the fence in `Marks::wait`: either it sees the stack, or this sees the slot armed.
        fence(Ordering::SeqCst);
        board.remote_task.take()
    }

    fn of(data: *const ()) -> &'static Self {
        // SAFETY: (local) only wakers that `Marks` makes have `VTABLE`; their word is the address of a mark, never freed.
        unsafe { &*data.cast::<Self>() }
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, drop_nothing);

fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

fn wake(data: *const ()) {
    if let Some(task) = Mark::of(data).set() {
        executor::wake(task);
    }
}

fn drop_nothing(_: *const ()) {}

/// A clone, if it is one of these, which own nothing.
#[inline]
pub(crate) fn copy(waker: &Waker) -> Option<Waker> {
    // SAFETY: (I5) wakers with this vtable take the address of any mark, any number of times, on any thread.
    is_mark(waker).then(|| unsafe { Waker::new(waker.data(), &VTABLE) })
}

/// Whether it is one of these: to wake it runs no code of anybody's but, through the executor, the task's own waker.
#[inline]
pub(crate) fn is_mark(waker: &Waker) -> bool {
    ptr::eq(waker.vtable(), &raw const VTABLE)
}

/// Does what [`Waker::wake`] does, for a waker that [is a mark](is_mark), but leaves it to the caller to wake the task.
#[inline]
pub(crate) fn set(waker: &Waker) -> Option<Waker> {
    debug_assert!(is_mark(waker));
    Mark::of(waker.data()).set()
}

/// The marks of one owner, which stays on its thread.
pub(crate) struct Marks {
    board: &'static Board,
    _not_send: PhantomData<*const ()>,
}

impl Marks {
    /// No marks. Takes over those of one that is gone, if there is one.
    pub(crate) fn new() -> Self {
        let board = pool::take().unwrap_or_else(Board::new);
        // ORDERING: read by others only to find that it is not theirs.
        board.owner.store(thread_number::current(), Ordering::Relaxed);
        Self { board, _not_send: PhantomData }
    }

    /// The waker that sets mark `index`.
    pub(crate) fn waker(&self, index: u32) -> Waker {
        let mark = self.mark(index);
        // SAFETY: (I5) as in `copy`.
        unsafe { Waker::new(ptr::from_ref(mark).cast(), &VTABLE) }
    }

    fn mark(&self, index: u32) -> &'static Mark {
        let mut marks = self.board.marks.borrow_mut();
        while marks.len() <= index as usize {
            let next = marks.len() as u32;
            marks.push(Box::leak(Box::new(Mark {
                board: self.board,
                index: next,
                lined_up: Cell::new(false),
                next_in_line: Cell::new(None),
                stacked: AtomicBool::new(false),
                next_on_stack: AtomicPtr::new(ptr::null_mut()),
            })));
        }
        marks[index as usize]
    }

    /// Sets mark `index`, without telling anybody.
    #[inline]
    pub(crate) fn set(&self, waker: &Waker) {
        debug_assert!(is_mark(waker));
        self.board.line_up(Mark::of(waker.data()));
    }

    /// How many marks are set, once those of other threads are counted in.
    #[inline]
    pub(crate) fn gather(&self) -> usize {
        self.board.unstack();
        self.board.len.get()
    }

    /// Clears the mark that was set first, and returns its index.
    #[inline]
    pub(crate) fn next(&self) -> Option<u32> {
        self.board.pop().map(|mark| mark.index)
    }

    /// The next mark that is set wakes this task. `false`: one is set already.
    pub(crate) fn wait(&self, waker: &Waker) -> bool {
        let board = self.board;
        let kept = board.task.take().filter(|kept| kept.will_wake(waker));
        let is_new = kept.is_none();
        board.task.set(Some(kept.unwrap_or_else(|| executor::copy(waker).unwrap_or_else(|| waker.clone()))));
        // A slot that is armed still is armed for whoever comes; if it is being taken, the task is being woken.
        if is_new || !board.remote_task.is_armed() {
            match board.remote_task.arm(waker, Plain::of(waker)) {
                Armed::Yes(old) => drop(old),
                Armed::BeingWoken => return false,
            }
            if !planted!("marks-wait-without-fence") {
                // ORDERING: pairs with the fence in `Mark::stack`.
                fence(Ordering::SeqCst);
            }
            if !planted!("marks-wait-on-an-old-look") {
                board.unstack();
            }
        }
        let waits = board.first.get().is_none();
        board.waits.set(waits);
        waits
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        let board = self.board;
        while board.pop().is_some() {}
        board.waits.set(false);
        let (here, elsewhere) = (board.task.take(), board.remote_task.take());
        board.owner.store(0, Ordering::Relaxed); // from here on every wake takes the way of another thread's
        pool::give(board);
        drop((here, elsewhere));
    }
}

/// Boards without an owner.
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
mod pool {
    use super::Board;
    use crate::sync::{Mutex, PoisonError};
    use crate::util::forks::PerProcess;

    static POOL: PerProcess<Mutex<Vec<&'static Board>>> = PerProcess::new(|| Mutex::new(Vec::new()));

    pub(super) fn take() -> Option<&'static Board> {
        POOL.get().lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(super) fn give(board: &'static Board) {
        POOL.get().lock().unwrap_or_else(PoisonError::into_inner).push(board);
    }
}

/// In a model every execution begins with its own.
#[cfg(any(millstream_loom, millstream_shuttle))]
mod pool {
    use super::Board;

    pub(super) fn take() -> Option<&'static Board> {
        None
    }

    pub(super) fn give(_board: &'static Board) {}
}

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn marks_come_in_the_order_of_the_wakes_and_once() {
        let (marks, bell) = (Marks::new(), Arc::new(Bell::default()));
        let wakers: Vec<_> = (0..4).map(|n| marks.waker(n)).collect();
        assert!(marks.wait(&bell.clone().into()));
        for n in [2, 0, 2, 3] {
            wakers[n].wake_by_ref();
        }
        assert_eq!(bell.0.load(Ordering::SeqCst), 1, "the task is told once");
        assert_eq!(marks.gather(), 3);
        assert_eq!([(); 4].map(|()| marks.next()), [Some(2), Some(0), Some(3), None]);
        assert!(marks.wait(&bell.clone().into()));
        drop(marks);
        assert_eq!(Arc::strong_count(&bell), 1, "nothing is kept of a task");
    }

    #[test]
    fn wakes_of_other_threads_come_too_and_late_ones_do_no_harm() {
        let (marks, bell) = (Marks::new(), Arc::new(Bell::default()));
        let wakers: Vec<_> = (0..3).map(|n| marks.waker(n)).collect();
        assert!(marks.wait(&bell.clone().into()));
        let wakers = std::thread::spawn(move || {
            wakers[1].wake_by_ref();
            wakers[1].wake_by_ref();
            wakers[0].wake_by_ref();
            wakers
        })
        .join()
        .unwrap();
        assert_eq!((bell.0.load(Ordering::SeqCst), marks.gather()), (1, 2));
        assert_eq!([(); 3].map(|()| marks.next()), [Some(1), Some(0), None]);
        drop(marks);
        wakers.iter().for_each(Waker::wake_by_ref);
        let next = Marks::new();
        assert!(next.gather() <= 3, "spurious at most");
    }
}

#[cfg(all(test, millstream_loom))]
mod model {
    use super::*;
    use crate::sync::{Arc, thread};

    /// A task's waker: sets the flag that is its data.
    static FLAG: RawWakerVTable =
        RawWakerVTable::new(|data| RawWaker::new(data, &FLAG), raise, raise, |_| ());

    fn raise(data: *const ()) {
        // SAFETY: (local) the flag of `Task`, which is never freed.
        unsafe { &*data.cast::<AtomicBool>() }.store(true, Ordering::Release);
    }

    struct Task {
        flag: &'static AtomicBool,
    }

    impl Task {
        fn new() -> Self {
            Self { flag: Box::leak(Box::new(AtomicBool::new(false))) }
        }

        fn waker(&self) -> Waker {
            // SAFETY: (local) `FLAG` takes the address of a flag.
            unsafe { Waker::new(ptr::from_ref(self.flag).cast(), &FLAG) }
        }
    }

    /// Another thread gives and wakes twice, beside the owner, who takes and waits: `marks-wait-on-an-old-look`,
    /// `marks-forget-a-second-wake`, `marks-wait-without-fence`.
    #[test]
    fn no_wake_of_another_thread_is_lost() {
        loom::model(|| {
            let (marks, task) = (Marks::new(), Task::new());
            let given = Arc::new(AtomicU64::new(0));
            let (giver, mark) = (given.clone(), marks.mark(0));
            let other = thread::spawn(move || {
                for n in 1..=2 {
                    giver.store(n, Ordering::Relaxed);
                    if let Some(task) = mark.stack() {
                        task.wake();
                    }
                }
            });
            // One pass of a task; it waits only after a look that came after its waker was there.
            let pass = || {
                let mut seen = 0;
                loop {
                    while marks.gather() > 0 {
                        marks.next();
                        seen = given.load(Ordering::Relaxed);
                    }
                    if marks.wait(&task.waker()) {
                        return seen;
                    }
                }
            };
            let mut seen = pass();
            other.join().unwrap();
            if task.flag.load(Ordering::Acquire) {
                seen = seen.max(pass());
            }
            assert_eq!(seen, 2, "waits, and was not woken for what came");
        });
    }
}
