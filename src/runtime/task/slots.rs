//! The table of task slots and the run queue that runs through it.
//!
//! Knows: headers as opaque pointers, ids. Does not know: how a task is polled or freed.
#![allow(
    unsafe_code,
    reason = "the table is reached through an UnsafeCell, and by indices of its own without a check"
)]

use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;

use super::cell::Header;
use super::pool::Pool;
use crate::runtime::inbox::MAX_SLOTS;
use crate::runtime::waker::TaskId;

/// No slot comes after this one, in the run queue or in the free list.
const LAST: u32 = u32::MAX;
/// The slot is in neither list: its task waits to be woken, or is being polled.
const RESTING: u32 = u32::MAX - 1;

/// What a wake touches of a task: 24 bytes, beside those of its neighbours.
///
/// ```text
///              insert                     wake
///   free ────────────────► queued ◄────────────────── resting
///   no task, free list       │  ─────────────────────►   │
///     ▲    ▲                 │ remove next_to_run        │ remove
///     │    └─────────────────┼───────────────────────────┘
///     │     next_to_run      ▼
///     └──────────────── no task, but still in the run queue
/// ```
///
/// A slot that is queued when its task ends keeps its place until it is popped: `next` serves the run queue until then
/// and the free list only after. Only a slot whose `next` says `RESTING` is ever pushed, so none is pushed twice.
#[derive(Debug)]
struct Slot {
    task: Cell<Option<NonNull<Header>>>,
    /// What the task's wakers carry. Its generation grows when the task ends: older ids wake nobody.
    id: Cell<TaskId>,
    /// The next slot of the run queue or of the free list, `LAST`, or `RESTING`.
    next: Cell<u32>,
}

/// All tasks of a runtime.
#[derive(Debug)]
pub(crate) struct Tasks {
    /// Grows only in `insert`. No reference into it outlives the method that took it, and no method runs user code, so
    /// the table is never borrowed while it grows.
    slots: UnsafeCell<Vec<Slot>>,
    free: Cell<u32>,
    /// The ends of the run queue. `tail` means nothing while `head` is `LAST`.
    head: Cell<u32>,
    tail: Cell<u32>,
    alive: Cell<u32>,
    runtime: u16,
    /// Where their cells come from.
    pub(crate) pool: Pool,
}

impl Tasks {
    /// An empty table of the runtime with this index.
    pub(crate) fn new(runtime: u16) -> Self {
        Self {
            slots: UnsafeCell::new(Vec::new()),
            free: Cell::new(LAST),
            head: Cell::new(LAST),
            tail: Cell::new(LAST),
            alive: Cell::new(0),
            runtime,
            pool: Pool::new(),
        }
    }

    #[inline]
    fn slots(&self) -> &[Slot] {
        // SAFETY: the only `&mut` is in `grow`, which no caller of this one reaches while it holds the slice.
        unsafe { &*self.slots.get() }
    }

    /// A slot by an index that is known to be one: checking it would be a tenth of a spawn.
    ///
    /// # Safety
    ///
    /// The index was that of a slot at some time. The table never shrinks.
    #[inline]
    unsafe fn slot(&self, index: u32) -> &Slot {
        debug_assert!((index as usize) < self.slots().len());
        // SAFETY: by the contract.
        unsafe { self.slots().get_unchecked(index as usize) }
    }

    /// How many tasks have not ended.
    #[inline]
    pub(crate) fn alive(&self) -> u32 {
        self.alive.get()
    }

    /// Whether a task waits to be polled.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.head.get() == LAST
    }

    /// Puts a task into a slot and onto the run queue, and returns which slot that is. `grown` is told when the table
    /// grew, and how large it is.
    #[inline]
    pub(crate) fn insert(&self, task: NonNull<Header>, grown: impl FnOnce(u32)) -> u32 {
        let index = match self.free.get() {
            LAST => self.grow(grown),
            index => index,
        };
        // SAFETY: (local) from the free list, which leads from slot to slot and ends with `LAST`.
        let slot = unsafe { self.slot(index) };
        self.free.set(slot.next.get());
        slot.task.set(Some(task));
        self.alive.set(self.alive.get() + 1);
        self.push(slot, index);
        index
    }

    /// Doubles the table, and returns the first of the new slots, all of which are on the free list.
    #[cold]
    fn grow(&self, grown: impl FnOnce(u32)) -> u32 {
        // SAFETY: no slice from `slots` is held: this is called before one is taken, and runs no user code.
        let slots = unsafe { &mut *self.slots.get() };
        let first = slots.len() as u32;
        let len = if first == 0 { 64 } else { first * 2 };
        assert!(len <= MAX_SLOTS, "{first} tasks are alive on one runtime: an id has no room for more");
        slots.extend((first..len).map(|index| Slot {
            task: Cell::new(None),
            id: Cell::new(TaskId::first(self.runtime, index)),
            next: Cell::new(if index + 1 == len { LAST } else { index + 1 }),
        }));
        grown(len);
        first
    }

    /// Appends a slot, which is in no list, to the run queue.
    #[inline]
    fn push(&self, slot: &Slot, index: u32) {
        slot.next.set(LAST);
        if self.head.get() == LAST {
            self.head.set(index);
        } else {
            // SAFETY: (local) the queue is not empty, so this is the slot that was pushed last.
            unsafe { self.slot(self.tail.get()) }.next.set(index);
        }
        self.tail.set(index);
    }

    /// Queues the task `id` names, unless it is queued already. `false`: no task of this runtime has this id.
    #[inline]
    pub(crate) fn wake(&self, id: TaskId) -> bool {
        let Some(slot) = self.slots().get(id.slot() as usize) else { return false };
        if slot.id.get() != id {
            return false;
        }
        if slot.next.get() == RESTING {
            self.push(slot, id.slot());
        }
        true
    }

    /// Queues whichever task is in the slot: what a wake from another thread leaves of its id.
    #[inline]
    pub(crate) fn wake_slot(&self, index: u32) {
        if let Some(slot) = self.slots().get(index as usize)
            && slot.next.get() == RESTING
        {
            self.push(slot, index);
        }
    }

    /// Takes the first task off the run queue, with its slot and its id.
    #[inline]
    pub(crate) fn next_to_run(&self) -> Option<(NonNull<Header>, u32, TaskId)> {
        loop {
            let index = self.head.get();
            if index == LAST {
                return None;
            }
            // SAFETY: (local) from the run queue, which leads from slot to slot and ends with `LAST`.
            let slot = unsafe { self.slot(index) };
            self.head.set(slot.next.replace(RESTING));
            match slot.task.get() {
                Some(task) => return Some((task, index, slot.id.get())),
                None => self.vacate(slot, index), // it ended while queued
            }
        }
    }

    /// The task in the slot has ended: the slot is free, or will be when it is popped.
    ///
    /// # Safety
    ///
    /// `insert` returned this index.
    #[inline]
    pub(crate) unsafe fn remove(&self, index: u32) {
        // SAFETY: by the contract.
        let slot = unsafe { self.slot(index) };
        debug_assert!(slot.task.get().is_some());
        slot.task.set(None);
        slot.id.set(slot.id.get().next());
        self.alive.set(self.alive.get() - 1);
        if slot.next.get() == RESTING {
            self.vacate(slot, index);
        }
    }

    #[inline]
    fn vacate(&self, slot: &Slot, index: u32) {
        slot.next.set(self.free.replace(index));
    }

    /// Any task from slot `from` on, for tearing down.
    pub(crate) fn first_from(&self, from: u32) -> Option<(NonNull<Header>, u32)> {
        let rest = self.slots().get(from as usize..)?;
        let offset = rest.iter().position(|slot| slot.task.get().is_some())?;
        let index = from + offset as u32;
        self.slots()[index as usize].task.get().map(|task| (task, index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::waker::GENERATIONS;

    fn task() -> NonNull<Header> {
        NonNull::dangling()
    }

    fn id(generation: u32, slot: u32) -> TaskId {
        TaskId::new(7, generation, slot)
    }

    fn remove(tasks: &Tasks, slot: u32) {
        // SAFETY: (local) every test here got its slots from `insert`.
        unsafe { tasks.remove(slot) };
    }

    fn run(tasks: &Tasks) -> Vec<u32> {
        std::iter::from_fn(|| tasks.next_to_run()).map(|(_, slot, _)| slot).collect()
    }

    #[test]
    fn a_wake_queues_once_and_in_order() {
        let tasks = Tasks::new(7);
        for slot in 0..3 {
            assert_eq!(tasks.insert(task(), |_| {}), slot);
        }
        assert_eq!(run(&tasks), [0, 1, 2]);
        for slot in [2, 0, 2, 1, 0] {
            tasks.wake(id(0, slot));
        }
        assert_eq!(run(&tasks), [2, 0, 1]);
    }

    #[test]
    fn an_id_of_an_ended_task_wakes_nobody() {
        let tasks = Tasks::new(7);
        let slot = tasks.insert(task(), |_| {});
        run(&tasks);
        remove(&tasks, slot);
        assert!(!tasks.wake(id(0, slot)));
        tasks.wake(id(1, slot)); // the generation the vacant slot has
        tasks.wake_slot(slot);
        assert!(!tasks.wake(id(0, 1 << 20)));
        assert!(tasks.is_idle());
        assert_eq!(tasks.insert(task(), |_| {}), slot);
        run(&tasks);
        assert!(!tasks.wake(id(0, slot)), "an id from before must not wake the new task");
        assert!(!tasks.wake(TaskId::new(8, 1, slot)), "nor that of another runtime's task");
        assert!(tasks.is_idle());
        assert!(tasks.wake(id(1, slot)));
        assert_eq!(run(&tasks), [slot]);
    }

    #[test]
    fn a_task_that_ends_while_queued_keeps_its_slot_until_popped() {
        let tasks = Tasks::new(7);
        let a = tasks.insert(task(), |_| {});
        let b = tasks.insert(task(), |_| {});
        remove(&tasks, a);
        let c = tasks.insert(task(), |_| {});
        assert_ne!(a, c, "its `next` still serves the run queue");
        assert_eq!(run(&tasks), [b, c]);
        assert_eq!(tasks.insert(task(), |_| {}), a);
        assert_eq!(tasks.alive(), 3);
    }

    #[test]
    fn generations_wrap() {
        let tasks = Tasks::new(7);
        for _ in 0..GENERATIONS {
            let slot = tasks.insert(task(), |_| {});
            run(&tasks);
            remove(&tasks, slot);
        }
        let slot = tasks.insert(task(), |_| {});
        run(&tasks);
        tasks.wake(id(0, slot));
        assert_eq!(run(&tasks), [slot]);
    }

    #[test]
    fn the_table_tells_when_it_grows() {
        let tasks = Tasks::new(7);
        let mut sizes = Vec::new();
        for _ in 0..130 {
            tasks.insert(task(), |len| sizes.push(len));
        }
        assert_eq!(sizes, [64, 128, 256]);
        assert_eq!(run(&tasks).len(), 130);
        assert_eq!(tasks.first_from(0).map(|(_, slot)| slot), Some(0));
        assert_eq!(tasks.first_from(130), None);
    }
}
