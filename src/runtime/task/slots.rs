//! The table of task slots and the run queue that runs through it.
//!
//! Knows: headers as opaque pointers, ids. Does not know: how a task is polled or freed.
#![allow(unsafe_code, reason = "the table is reached through an UnsafeCell: no borrow count on the hot path")]

use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;

use super::cell::Header;
use super::pool::Pool;
use crate::runtime::inbox::MAX_SLOTS;
use crate::runtime::waker::{GENERATIONS, TaskId};

/// No slot: the end of the run queue or of the free list.
const NONE: u32 = u32::MAX;
/// The slot is in the run queue.
const QUEUED: u32 = 1 << 31;
/// No task is in the slot.
const VACANT: u32 = 1 << 30;

/// What a wake touches of a task: 16 bytes, beside those of its neighbours.
///
/// ```text
///                insert                       wake
///   VACANT ────────────────► LIVE (gen) ◄──────────────► QUEUED | gen
///   on the free list          │          next_to_run          │
///     ▲    ▲      finish      │                               │ finish while queued
///     │    └──────────────────┘                               ▼
///     └─────────────────────────────────────────── QUEUED | VACANT | gen+1
///                      next_to_run                 still in the run queue
/// ```
///
/// A slot that is queued when its task ends keeps its place until it is popped: `next` serves the run queue until then
/// and the free list only after. A wake needs `mark == generation` exactly, so neither a vacant nor a queued slot is
/// ever pushed.
#[derive(Debug)]
struct Slot {
    task: Cell<Option<NonNull<Header>>>,
    /// Generation in bits 0 to 23, `VACANT`, `QUEUED`.
    mark: Cell<u32>,
    /// The next slot of the run queue or of the free list.
    next: Cell<u32>,
}

/// All tasks of a runtime.
#[derive(Debug)]
pub(crate) struct Tasks {
    /// Grows only in `insert`. No reference into it outlives the method that took it, and no method runs user code, so
    /// the table is never borrowed while it grows.
    slots: UnsafeCell<Vec<Slot>>,
    free: Cell<u32>,
    head: Cell<u32>,
    tail: Cell<u32>,
    alive: Cell<u32>,
    /// Where their cells come from.
    pub(crate) pool: Pool,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self {
            slots: UnsafeCell::new(Vec::new()),
            free: Cell::new(NONE),
            head: Cell::new(NONE),
            tail: Cell::new(NONE),
            alive: Cell::new(0),
            pool: Pool::new(),
        }
    }

    #[inline]
    fn slots(&self) -> &[Slot] {
        // SAFETY: the only `&mut` is in `grow`, which no caller of this one reaches while it holds the slice.
        unsafe { &*self.slots.get() }
    }

    /// How many tasks have not ended.
    #[inline]
    pub(crate) fn alive(&self) -> u32 {
        self.alive.get()
    }

    /// Whether a task waits to be polled.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.head.get() == NONE
    }

    /// Puts a task into a slot and onto the run queue. `grown` is told when the table
    /// grew, and how large it is.
    #[inline]
    pub(crate) fn insert(&self, task: NonNull<Header>, grown: impl FnOnce(u32)) -> u32 {
        let index = match self.free.get() {
            NONE => self.grow(grown),
            index => index,
        };
        let slot = &self.slots()[index as usize];
        self.free.set(slot.next.get());
        slot.task.set(Some(task));
        slot.mark.set(slot.mark.get() & !VACANT | QUEUED);
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
            mark: Cell::new(VACANT),
            next: Cell::new(if index + 1 == len { NONE } else { index + 1 }),
        }));
        grown(len);
        first
    }

    #[inline]
    fn push(&self, slot: &Slot, index: u32) {
        slot.next.set(NONE);
        match self.tail.replace(index) {
            NONE => self.head.set(index),
            tail => self.slots()[tail as usize].next.set(index),
        }
    }

    /// Queues the task `id` names, unless it is queued already or gone.
    #[inline]
    pub(crate) fn wake(&self, id: TaskId) {
        if let Some(slot) = self.slots().get(id.slot() as usize)
            && slot.mark.get() == id.generation()
        {
            slot.mark.set(id.generation() | QUEUED);
            self.push(slot, id.slot());
        }
    }

    /// Queues whichever task is in the slot: what a wake from another thread leaves of its id.
    pub(crate) fn wake_slot(&self, index: u32) {
        if let Some(slot) = self.slots().get(index as usize) {
            let mark = slot.mark.get();
            if mark & (QUEUED | VACANT) == 0 {
                slot.mark.set(mark | QUEUED);
                self.push(slot, index);
            }
        }
    }

    /// Takes the first task off the run queue, with its slot and generation.
    #[inline]
    pub(crate) fn next_to_run(&self) -> Option<(NonNull<Header>, u32, u32)> {
        loop {
            let index = self.head.get();
            if index == NONE {
                return None;
            }
            let slot = &self.slots()[index as usize];
            let next = slot.next.get();
            self.head.set(next);
            if next == NONE {
                self.tail.set(NONE);
            }
            let mark = slot.mark.get() & !QUEUED;
            slot.mark.set(mark);
            match slot.task.get() {
                Some(task) => return Some((task, mark, index)),
                None => self.vacate(slot, index), // it ended while queued
            }
        }
    }

    /// The task in the slot has ended: the slot is free, or will be when it is popped.
    #[inline]
    pub(crate) fn remove(&self, index: u32) {
        let slot = &self.slots()[index as usize];
        debug_assert!(slot.task.get().is_some());
        slot.task.set(None);
        let mark = slot.mark.get();
        slot.mark.set(mark & QUEUED | VACANT | (mark + 1) & (GENERATIONS - 1));
        self.alive.set(self.alive.get() - 1);
        if mark & QUEUED == 0 {
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

    fn task() -> NonNull<Header> {
        NonNull::dangling()
    }

    fn run(tasks: &Tasks) -> Vec<u32> {
        std::iter::from_fn(|| tasks.next_to_run()).map(|(_, _, slot)| slot).collect()
    }

    #[test]
    fn a_wake_queues_once_and_in_order() {
        let tasks = Tasks::new();
        for slot in 0..3 {
            assert_eq!(tasks.insert(task(), |_| {}), slot);
        }
        assert_eq!(run(&tasks), [0, 1, 2]);
        for slot in [2, 0, 2, 1, 0] {
            tasks.wake(TaskId::new(0, 0, slot));
        }
        assert_eq!(run(&tasks), [2, 0, 1]);
    }

    #[test]
    fn an_id_of_an_ended_task_wakes_nobody() {
        let tasks = Tasks::new();
        let slot = tasks.insert(task(), |_| {});
        run(&tasks);
        tasks.remove(slot);
        tasks.wake(TaskId::new(0, 0, slot));
        tasks.wake(TaskId::new(0, 1, slot)); // the generation the vacant slot has
        tasks.wake_slot(slot);
        tasks.wake(TaskId::new(0, 0, 1 << 20));
        assert!(tasks.is_idle());
        assert_eq!(tasks.insert(task(), |_| {}), slot);
        run(&tasks);
        tasks.wake(TaskId::new(0, 0, slot));
        assert!(tasks.is_idle(), "an id from before must not wake the new task");
        tasks.wake(TaskId::new(0, 1, slot));
        assert_eq!(run(&tasks), [slot]);
    }

    #[test]
    fn a_task_that_ends_while_queued_keeps_its_slot_until_popped() {
        let tasks = Tasks::new();
        let a = tasks.insert(task(), |_| {});
        let b = tasks.insert(task(), |_| {});
        tasks.remove(a);
        let c = tasks.insert(task(), |_| {});
        assert_ne!(a, c, "its `next` still serves the run queue");
        assert_eq!(run(&tasks), [b, c]);
        assert_eq!(tasks.insert(task(), |_| {}), a);
        assert_eq!(tasks.alive(), 3);
    }

    #[test]
    fn generations_wrap() {
        let tasks = Tasks::new();
        for _ in 0..GENERATIONS {
            let slot = tasks.insert(task(), |_| {});
            run(&tasks);
            tasks.remove(slot);
        }
        let slot = tasks.insert(task(), |_| {});
        run(&tasks);
        tasks.wake(TaskId::new(0, 0, slot));
        assert_eq!(run(&tasks), [slot]);
    }

    #[test]
    fn the_table_tells_when_it_grows() {
        let tasks = Tasks::new();
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
