//! The cell of a task: a header and, after it, the future and later its output, in one block.
//!
//! Knows: the pool, the slot table, join errors. Does not know: the run loop.
#![allow(unsafe_code, reason = "a cell is type-erased: its future is reached through a vtable")]

use std::alloc::Layout;
use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::{self, needs_drop};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll, Waker};

use super::join::{JoinError, JoinHandle};
use super::pool::{BlockLayout, Class, free_block};
use crate::runtime::context;
use crate::runtime::core::Core;
use crate::runtime::waker;
use crate::util::contain::{catch, contain, discard};

/// A `JoinHandle` exists.
const HANDLE: u8 = 1;
/// The body holds the output, or nothing any more (`TAKEN`), and the slot is given up.
const COMPLETE: u8 = 1 << 1;
/// The output was moved out.
const TAKEN: u8 = 1 << 2;
/// `joiner` may hold a waker; without this it holds none.
const AWAITED: u8 = 1 << 3;
const HANDLE_AWAITED: u8 = HANDLE | AWAITED;

/// What the run loop and a handle know of a task.
///
/// ```text
///   state            body      who frees the block
///   0                future    nobody yet
///   COMPLETE         output    the handle; without HANDLE it is freed on the way here
///   COMPLETE|TAKEN   empty     the handle
/// ```
///
/// All of it happens on the runtime's thread: a handle is not `Send`.
pub(crate) struct Header {
    /// Another one after a request to cancel.
    vtable: Cell<&'static Vtable>,
    /// Valid while the task is not `COMPLETE`: a runtime completes all its tasks before it goes.
    core: *const Core,
    /// Who awaits the handle.
    joiner: Cell<Option<Waker>>,
    slot: Cell<u32>,
    state: Cell<u8>,
    /// The list of the pool that takes the block back.
    class: Class,
}

/// What differs between cells.
pub(super) struct Vtable {
    /// Polls the future; `true`: it has ended and the body holds the output. Does not unwind.
    pub(super) poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> bool,
    /// What takes the place of this one when the task is asked to end: its `poll` drops the future, and makes
    /// `Cancelled` the output.
    pub(super) cancelled: Option<&'static Vtable>,
    /// Leaks the future and makes `Cancelled` the output.
    pub(super) leak: unsafe fn(NonNull<Header>),
    /// Drops the output; may unwind.
    pub(super) drop_output: unsafe fn(NonNull<Header>),
    /// The block to give back when the body is empty; `None`: the cell is its owner's.
    pub(super) block: Option<&'static BlockLayout>,
}

impl Header {
    /// The header of a task without a handle, in a block of its owner's.
    pub(super) fn unowned(vtable: &'static Vtable, core: &Core) -> Self {
        Self::new(vtable, core, u32::MAX, 0, Class::NONE)
    }

    #[inline]
    fn new(vtable: &'static Vtable, core: &Core, slot: u32, state: u8, class: Class) -> Self {
        Self {
            vtable: Cell::new(vtable),
            core,
            joiner: Cell::new(None),
            slot: Cell::new(slot),
            state: Cell::new(state),
            class,
        }
    }

    fn has(&self, bit: u8) -> bool {
        self.state.get() & bit != 0
    }

    fn set(&self, bit: u8) {
        self.state.set(self.state.get() | bit);
    }

    /// Says who awaits the task. The cell holds no waker now.
    #[inline]
    fn set_joiner(&self, waker: Waker) {
        let none = self.joiner.replace(Some(waker));
        debug_assert!(none.is_none());
        mem::forget(none); // spares the look whether there is something to drop
        self.set(AWAITED);
    }

    /// Makes the next poll drop the future.
    fn cancel(&self) {
        if let Some(cancelled) = self.vtable.get().cancelled {
            self.vtable.set(cancelled);
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.has(COMPLETE)
    }

    pub(super) fn slot(&self) -> u32 {
        self.slot.get()
    }

    /// Says which slot the task was put into.
    pub(super) fn set_slot(&self, slot: u32) {
        self.slot.set(slot);
    }
}

/// Polls the task, and ends it when its future has ended or is to be dropped. The header may be gone after this.
///
/// # Safety
///
/// The task is in this slot of `core`, and is not being polled.
#[inline(always)] // one call less per poll; the loop has only this one place
pub(crate) unsafe fn poll(core: &Core, task: NonNull<Header>, slot: u32, cx: &mut Context<'_>) {
    // SAFETY: in a slot, so not complete and its block still there; shared, since a handle may look at it meanwhile.
    let header = unsafe { task.as_ref() };
    // SAFETY: not complete, so the body holds the future; not being polled.
    if unsafe { (header.vtable.get().poll)(task, cx) } {
        // SAFETY: the body holds the output, still in its slot.
        unsafe { finish(core, task, slot) };
    }
}

/// Drops the task's future and ends it.
///
/// # Safety
///
/// As for [`poll`].
#[cold]
pub(crate) unsafe fn cancel(core: &Core, task: NonNull<Header>, slot: u32) {
    // SAFETY: by the contract, as in `poll`.
    unsafe {
        task.as_ref().cancel();
        poll(core, task, slot, &mut Context::from_waker(Waker::noop()));
    }
}

/// Leaks the task's future and ends it.
///
/// # Safety
///
/// As for [`poll`].
pub(crate) unsafe fn leak(core: &Core, task: NonNull<Header>, slot: u32) {
    // SAFETY: by the contract, as in `poll`.
    unsafe {
        (task.as_ref().vtable.get().leak)(task);
        finish(core, task, slot);
    }
}

/// The body holds the output: gives up the slot and tells the handle, or frees the cell when there is none.
///
/// # Safety
///
/// The task is in this slot of `core`, and its body holds the output.
#[inline(always)] // as `poll`, for which it is
unsafe fn finish(core: &Core, task: NonNull<Header>, slot: u32) {
    // SAFETY: the block is there: freed only at the end, or by the handle once `COMPLETE` is seen.
    let header = unsafe { task.as_ref() };
    // SAFETY: by the contract.
    unsafe { core.tasks.remove(slot) };
    match header.state.get() {
        HANDLE => header.state.set(HANDLE | COMPLETE),
        HANDLE_AWAITED => {
            header.state.set(HANDLE | COMPLETE);
            if let Some(joiner) = header.joiner.take() {
                core.wake(joiner); // may run foreign code that drops the handle: the header is not touched after this
            }
        }
        _ => {
            header.set(COMPLETE);
            // SAFETY: the body holds the output, and with no handle and no slot nobody else has the cell.
            unsafe { free_unawaited(task) };
        }
    }
}

/// The end of a task whose output nobody wants.
///
/// # Safety
///
/// The body holds the output, and nobody else has the cell.
#[cold]
unsafe fn free_unawaited(task: NonNull<Header>) {
    // SAFETY: by the contract.
    unsafe {
        contain(|| (task.as_ref().vtable.get().drop_output)(task));
        free(task);
    }
}

// ---- the handle's side ----

/// Whether the task has ended.
///
/// # Safety
///
/// For this and all of the handle's side: `task` belongs to a handle that exists, on the runtime's thread.
pub(super) unsafe fn is_finished(task: NonNull<Header>) -> bool {
    // SAFETY: a cell with a handle is freed by the handle.
    unsafe { task.as_ref() }.is_complete()
}

/// Asks the task to end: its future is dropped at its next turn.
///
/// # Safety
///
/// As for [`is_finished`].
pub(super) unsafe fn request_cancel(task: NonNull<Header>) {
    // SAFETY: a cell with a handle is freed by the handle.
    let header = unsafe { task.as_ref() };
    if !header.is_complete() {
        header.cancel();
        // SAFETY: not complete, so the core is there, on this thread.
        unsafe { &*header.core }.tasks.wake_slot(header.slot.get());
    }
}

/// Moves the output out when the task has ended; else leaves the waker to be told.
///
/// # Safety
///
/// As for [`is_finished`]; `T` is the output type of the task's future.
#[inline]
pub(super) unsafe fn poll_output<T>(
    task: NonNull<Header>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, JoinError>> {
    // SAFETY: a cell with a handle is freed by the handle.
    let header = unsafe { task.as_ref() };
    let state = header.state.get();
    if state == HANDLE
        && let Some(waker) = waker::copy(cx.waker())
    {
        header.set_joiner(waker);
        return Poll::Pending;
    }
    // SAFETY: the same contract.
    if state != HANDLE | COMPLETE && !unsafe { is_ready(task, cx) } {
        return Poll::Pending;
    }
    header.set(TAKEN);
    // SAFETY: complete and not taken, so the body holds an output, of this type by the contract.
    Poll::Ready(unsafe { output_of::<T>(task).read() })
}

/// Whether the output of a task is there, asked by a foreign waker, or again before the task has ended, or after it gave
/// its output. Leaves the waker if not.
///
/// # Safety
///
/// As for [`is_finished`].
#[cold]
unsafe fn is_ready(task: NonNull<Header>, cx: &mut Context<'_>) -> bool {
    // SAFETY: a cell with a handle is freed by the handle.
    let header = unsafe { task.as_ref() };
    assert!(!header.has(TAKEN), "a JoinHandle was polled after it had given its output");
    // User code (the clone and the drop of a foreign waker) runs while the cell holds no waker: nothing is borrowed.
    let waker = match header.joiner.take() {
        Some(waker) if waker.will_wake(cx.waker()) => waker,
        _ => cx.waker().clone(),
    };
    header.set_joiner(waker);
    header.is_complete() // by now: foreign code above may have gone as far as to drop the runtime (I7)
}

/// The handle goes: the task runs on by itself, or, when it has ended, its output is dropped and its cell freed.
///
/// # Safety
///
/// As for [`is_finished`]; the handle is not used after.
#[inline]
pub(super) unsafe fn drop_handle(task: NonNull<Header>) {
    // SAFETY: a cell with a handle is freed by the handle.
    let header = unsafe { task.as_ref() };
    if header.state.get() == HANDLE | COMPLETE | TAKEN {
        // SAFETY: complete, the body empty, no joiner, and the handle, its last owner, is going.
        unsafe { free(task) };
    } else {
        // SAFETY: by the contract.
        unsafe { drop_unread(task) };
    }
}

/// [`drop_handle`] of a task that runs, or whose output nobody took.
unsafe fn drop_unread(task: NonNull<Header>) {
    /// Frees the block also when the output's destructor unwinds.
    struct Free(NonNull<Header>);
    impl Drop for Free {
        fn drop(&mut self) {
            // SAFETY: complete, the body empty, and the handle, its last owner, is going.
            unsafe { free(self.0) };
        }
    }
    // SAFETY: a cell with a handle is freed by the handle.
    let header = unsafe { task.as_ref() };
    if !header.is_complete() {
        header.state.set(header.state.get() & !(HANDLE | AWAITED));
        drop(header.joiner.take()); // by value: the cell may end, but not be freed, while a foreign waker is dropped
        return;
    }
    let _free = Free(task);
    drop(header.joiner.take());
    if !header.has(TAKEN) {
        header.set(TAKEN);
        // SAFETY: complete and not taken: the body holds the output.
        unsafe { (header.vtable.get().drop_output)(task) };
    }
}

// ---- cells of spawned futures ----

/// A header, and behind it the future, later its output, each at the first place that is aligned for it.
struct TaskCell<F: Future>(PhantomData<F>);

/// Moves the future into a cell, the cell into a slot, and the slot onto the run queue.
#[inline]
pub(crate) fn spawn<F>(core: &Core, future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let block = &TaskCell::<F>::BLOCK;
    let task = core.tasks.pool.allocate(block).cast::<Header>();
    // SAFETY: a block for this very type. The fields are written in place, so that a large future is copied once.
    core.admit(task, |slot| unsafe {
        task.write(Header::new(&TaskCell::<F>::VTABLE, core, slot, HANDLE, block.class()));
        TaskCell::<F>::future(task).write(future);
    });
    // SAFETY: the header says that a handle exists: this one; the output type is the future's.
    unsafe { JoinHandle::new(task) }
}

impl<F: Future> TaskCell<F> {
    const BLOCK: BlockLayout = {
        let (future, output) = (Layout::new::<F>(), Layout::new::<Result<F::Output, JoinError>>());
        let ends =
            [behind_header(future.align()) + future.size(), behind_header(output.align()) + output.size()];
        let aligns = [future.align(), output.align(), align_of::<Header>()];
        let mut align = 1;
        let mut i = 0;
        while i < aligns.len() {
            align = if aligns[i] > align { aligns[i] } else { align };
            i += 1;
        }
        let size = if ends[0] > ends[1] { ends[0] } else { ends[1] };
        match Layout::from_size_align(size, align) {
            Ok(layout) => BlockLayout::of(layout),
            Err(_) => panic!("a future this large fits into no block"),
        }
    };

    const VTABLE: Vtable = Vtable { poll: Self::poll, cancelled: Some(&Self::CANCELLED), ..Self::CANCELLED };

    const CANCELLED: Vtable = Vtable {
        poll: Self::cancel,
        cancelled: None,
        leak: Self::leak,
        drop_output: Self::drop_output,
        block: Some(&Self::BLOCK),
    };

    /// # Safety
    ///
    /// For this and the next ones: `task` is the header of a cell of this type.
    #[inline]
    unsafe fn future(task: NonNull<Header>) -> *mut F {
        // SAFETY: by the contract; a place is computed, nothing is read.
        unsafe { task.as_ptr().byte_add(behind_header(align_of::<F>())).cast() }
    }

    #[inline]
    unsafe fn output(task: NonNull<Header>) -> *mut Result<F::Output, JoinError> {
        // SAFETY: as in `future`.
        unsafe { output_of(task) }
    }

    unsafe fn poll(task: NonNull<Header>, cx: &mut Context<'_>) -> bool {
        // SAFETY: the body holds the future, and nobody else is polling it. It is pinned: it stays in the block until
        // it is dropped there.
        let (future, output) = unsafe { (Self::future(task), Self::output(task)) };
        let polled = catch(|| {
            // SAFETY: as above.
            unsafe { Pin::new_unchecked(&mut *future) }.poll(cx)
        });
        // SAFETY: from the drop of the future on the body is empty, and has room for the output. Each case writes its own:
        // in one place for all of them, the parts of those that did not happen would be written as well.
        unsafe {
            match polled {
                Ok(Poll::Pending) => return false,
                Ok(Poll::Ready(value)) => match drop_future(future) {
                    Ok(()) => output.write(Ok(value)),
                    Err(payload) => {
                        contain(|| drop(value));
                        output.write(Err(JoinError::Panicked(payload)));
                    }
                },
                Err(payload) => {
                    if let Err(second) = drop_future(future) {
                        discard(second);
                    }
                    output.write(Err(JoinError::Panicked(payload)));
                }
            }
        }
        true
    }

    unsafe fn cancel(task: NonNull<Header>, _: &mut Context<'_>) -> bool {
        // SAFETY: the body holds the future; after the drop it is empty and has room for the output.
        unsafe {
            let result = match drop_future(Self::future(task)) {
                Ok(()) => Err(JoinError::Cancelled),
                Err(payload) => Err(JoinError::Panicked(payload)),
            };
            Self::output(task).write(result);
        }
        true
    }

    unsafe fn leak(task: NonNull<Header>) {
        // SAFETY: the body holds a future that was never polled, so its place may be used again without dropping it.
        unsafe { Self::output(task).write(Err(JoinError::Cancelled)) };
    }

    unsafe fn drop_output(task: NonNull<Header>) {
        // SAFETY: as in `take`.
        unsafe { ptr::drop_in_place(Self::output(task)) };
    }
}

/// Where the output of a task lies in its cell: right behind the header, wherever the future is, so that a handle finds
/// it without asking the cell.
///
/// # Safety
///
/// `task` is the header of a cell whose future has this output.
#[inline]
unsafe fn output_of<T>(task: NonNull<Header>) -> *mut Result<T, JoinError> {
    // SAFETY: by the contract; the block has room for the output there.
    unsafe { task.as_ptr().byte_add(behind_header(align_of::<Result<T, JoinError>>())).cast() }
}

const fn behind_header(align: usize) -> usize {
    size_of::<Header>().next_multiple_of(align)
}

/// Gives the cell's block back.
///
/// # Safety
///
/// The body is empty and nobody uses the cell any more.
#[inline]
unsafe fn free(task: NonNull<Header>) {
    // SAFETY: by the contract. The header's only field that could own something, the joiner, was taken on every way here.
    let class = unsafe { task.as_ref() }.class;
    let kept = context::with(|core| {
        // SAFETY: by the contract, and the class is the block's.
        core.is_some_and(|core| unsafe { core.tasks.pool.keep(task.cast(), class) })
    });
    if !kept {
        // SAFETY: by the contract, and the pool did not take it.
        unsafe { free_unpooled(task) };
    }
}

/// Gives a block to the allocator, if it is not its owner's: a large one, or one that outlived its runtime.
///
/// # Safety
///
/// As for [`free`].
#[cold]
unsafe fn free_unpooled(task: NonNull<Header>) {
    // SAFETY: by the contract; the block was allocated with this layout.
    unsafe {
        if let Some(block) = task.as_ref().vtable.get().block {
            free_block(task.cast(), block);
        }
    }
}

/// Drops a future in its place and hands back the panic of its destructor.
///
/// # Safety
///
/// The place holds a future, and is not looked at as one after this.
#[inline]
unsafe fn drop_future<F>(future: *mut F) -> Result<(), Box<dyn Any + Send>> {
    if !needs_drop::<F>() {
        return Ok(());
    }
    // SAFETY: by the contract.
    catch(|| unsafe { ptr::drop_in_place(future) })
}
