//! One runtime's state: its tasks, timers, ops in flight, and its entry in the registry.
//!
//! Knows: all parts of the runtime, one level deep. Does not know: in which order a turn uses them (`run_loop`).
#![allow(
    unsafe_code,
    reason = "a task is reached through a pointer to its header, the waker of a poll through a cell"
)]

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};
use std::task::Waker;
use std::time::Duration;

use super::clock::CLOCK;
use super::context;
use super::crowd::Crowd;
use super::deferred::Deferred;
use super::driver::{AnyDriver, Batch};
use super::groups::Groups;
use super::inflight::{Inflight, TaskNumber, Wakes};
use super::registry::{Entry, RuntimeId};
use super::spin::Spin;
use super::stats::Counters;
use super::task::{self, Header, Tasks};
use super::timer::Timers;
use super::waker::{self, TaskId};
use crate::util::contain::contain;
use crate::util::executor::Hooks;
use crate::util::lookout::Lookout;
use crate::util::parking;

/// What the builder decides about the loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) poll_budget: u32,
    pub(crate) spin: Duration,
    /// What to wait for when it sleeps, if not for one completion.
    pub(crate) batch: Option<Batch>,
    pub(crate) shutdown_deadline: Duration,
    /// What the ops are to take for missing: see `lacking`.
    pub(crate) hidden_features: u64,
}

/// The heart of one runtime. It stays at one address and on one thread from its making to its end (I5).
pub(crate) struct Core {
    pub(crate) id: RuntimeId,
    pub(crate) entry: &'static Entry,
    pub(crate) tasks: Tasks,
    pub(crate) timers: Timers,
    pub(crate) inflight: Inflight,
    /// Numbers for groups of provided buffers.
    pub(crate) groups: Groups,
    pub(crate) config: Config,
    pub(super) spin: Spin,
    pub(super) crowd: Crowd,
    /// Wakes that leave this runtime, put off to the end of the poll.
    pub(super) deferred: Deferred,
    /// The loop has something to do before the next poll: to deliver `deferred`, or to see whether it is done.
    pub(in crate::runtime) interrupted: Cell<bool>,
    /// Whoever waits within the present poll may block this thread: nothing is put off.
    pub(super) hurried: Cell<bool>,
    /// Looks at levels for the tasks that wait at them.
    pub(super) lookout: Lookout,
    /// The loop is on this thread's stack.
    pub(super) running: Cell<bool>,
    pub(super) counters: Counters,
    /// `run` is to return.
    pub(super) stop: Cell<bool>,
    /// `run` may return when no task is left.
    pub(super) may_exit: Cell<bool>,
    /// The runtime ends and takes no task any more.
    pub(super) refuses: Cell<bool>,
    /// Enters in a row that failed for the time being.
    pub(super) failures: Cell<u32>,
    /// Polls since the last look at the ring.
    pub(super) since_enter: Cell<u32>,
    /// What the ops have found that the kernel lacks: a set of bits that they give their own meanings to.
    pub(crate) lacking: Cell<u64>,
    /// The waker of the task that is polled, or was last. It lies here, so that it is known by where it lies.
    waker: UnsafeCell<ManuallyDrop<Waker>>,
    one_thread: PhantomData<*const ()>,
}

impl Core {
    pub(super) fn new(id: RuntimeId, entry: &'static Entry, driver: AnyDriver, config: Config) -> Self {
        let lookout = Lookout::new();
        lookout.set_sleeps_at_once(config.spin.is_zero());
        Self {
            id,
            entry,
            tasks: Tasks::new(id.index()),
            timers: Timers::new(),
            inflight: Inflight::new(driver),
            groups: Groups::new(),
            config,
            spin: Spin::new(config.spin),
            crowd: Crowd::default(),
            deferred: Deferred::new(),
            interrupted: Cell::new(false),
            hurried: Cell::new(false),
            lookout,
            running: Cell::new(false),
            counters: Counters::default(),
            stop: Cell::new(false),
            may_exit: Cell::new(false),
            refuses: Cell::new(false),
            failures: Cell::new(0),
            since_enter: Cell::new(0),
            lacking: Cell::new(0),
            waker: UnsafeCell::new(ManuallyDrop::new(Waker::noop().clone())),
            one_thread: PhantomData,
        }
    }

    /// What a waker knows this runtime by.
    #[inline]
    pub(crate) fn index(&self) -> u16 {
        self.id.index()
    }

    /// The waker to poll a task with.
    ///
    /// # Safety
    ///
    /// The one that this gave before is not used any more.
    #[inline]
    pub(super) unsafe fn waker_of(&self, id: TaskId) -> &Waker {
        // SAFETY: (I5) by the contract nobody looks at what is overwritten, which is an id and owns nothing.
        unsafe {
            self.waker.get().write(ManuallyDrop::new(id.waker()));
            &*self.waker.get()
        }
    }

    /// The task that is being polled, if this is the waker that the loop polls it with, and no copy: such a one is known
    /// without a look at whose it is.
    #[inline]
    pub(crate) fn polled(&self, waker: &Waker) -> Option<TaskNumber> {
        let own = self.waker.get().cast_const().cast::<Waker>();
        ptr::eq(waker, own).then(|| TaskNumber(TaskId::in_waker(waker).slot()))
    }

    /// Wakes: a task of this runtime by its id, anything else through its vtable, with its panic contained (I7).
    #[inline]
    pub(crate) fn wake(&self, waker: Waker) {
        match TaskId::of(&waker) {
            Some(id) => {
                mem::forget(waker); // an id owns nothing
                self.wake_task(id);
            }
            None => wake_foreign(waker),
        }
    }

    /// Wakes a task of whichever runtime.
    #[inline]
    pub(crate) fn wake_task(&self, id: TaskId) {
        if !self.tasks.wake(id) && id.runtime() != self.index() {
            id.wake_remote();
        }
    }

    /// Wakes at the end of the present poll, once per target; a task of this runtime goes straight onto the run queue.
    #[inline]
    pub(crate) fn wake_later(&self, waker: Waker) {
        match TaskId::of(&waker) {
            Some(id) if self.tasks.wake(id) => mem::forget(waker), // an id owns nothing
            _ => self.put_off(waker),
        }
    }

    /// The poll that was [hurried](Self::catch_up) is over.
    pub(super) fn calm_down(&self) {
        if self.hurried.take() {
            context::look_for(Some(self));
        }
    }

    #[cold]
    #[inline(never)] // nor is `wake_foreign`: what is likely then needs no place on the stack
    fn put_off(&self, waker: Waker) {
        // A thread that is blocked is woken now: the task may be about to wait for it in a way that nobody here sees (to
        // join it), and then this poll has no end.
        if self.hurried.get() || parking::is_threads(&waker) {
            return self.wake(waker);
        }
        self.interrupted.set(true);
        if let Err(waker) = self.deferred.push(waker) {
            self.flush_deferred();
            self.wake(waker);
        }
    }

    /// Delivers the wakes that were put off.
    #[cold]
    pub(crate) fn flush_deferred(&self) {
        while let Some(waker) = self.deferred.pop() {
            self.wake(waker);
        }
    }

    /// Does now what was put off to the end of the poll, and puts nothing off until then.
    pub(super) fn catch_up(&self) {
        self.hurried.set(true);
        self.interrupted.set(true);
        context::look_for(None);
        if self.lookout.has_notes() {
            self.lookout.settle(|waker| self.wake(waker));
        }
        self.flush_deferred();
    }

    /// The thread is about to do something else than to run this loop: who waits at a level must be woken from now on.
    pub(super) fn look_away(&self) {
        // Either may wake whom a waker of the user's stands for, whose code may leave more of both.
        while self.lookout.has_notes() || self.lookout.has_watches() {
            self.lookout.settle(|waker| self.wake(waker));
            self.lookout.arm(|waker| self.wake(waker));
        }
    }

    /// Gives a new task its slot and queues it. `make` makes its header, which says which slot that is.
    #[inline]
    pub(crate) fn admit(&self, task: NonNull<Header>, make: impl FnOnce(u32)) {
        let slot = self.tasks.insert(task, |slots| self.entry.inbox.grow(slots));
        make(slot);
        if self.refuses.get() {
            // SAFETY: (I6) in the slot since the line above, never polled.
            unsafe { task::leak(self, task, slot) };
        }
    }
}

impl Wakes for Core {
    #[inline]
    fn wake(&self, waker: Waker) {
        self.wake(waker); // the inherent one
    }

    #[inline]
    fn wake_task(&self, task: TaskNumber) {
        self.tasks.wake_slot(task.0);
    }
}

#[cold]
#[inline(never)]
fn wake_foreign(waker: Waker) {
    contain(|| waker.wake());
}

/// What channels see of the runtime that polls on this thread.
pub(super) static HOOKS: Hooks = Hooks {
    wake: hook_wake,
    deliver: hook_deliver,
    catch_up: hook_catch_up,
    plain: &waker::VTABLE,
    clock: Some(&CLOCK),
};

fn hook_deliver() {
    context::with(|core| core.into_iter().for_each(Core::flush_deferred));
}

fn hook_catch_up() {
    context::with(|core| core.into_iter().for_each(Core::catch_up));
}

fn hook_wake(waker: Waker) {
    context::with(|core| match core {
        Some(core) => core.wake_later(waker),
        None => wake_foreign(waker),
    });
}
