//! The loop: poll tasks, look at the inbox and the clock, enter the kernel as seldom as possible, sleep.
//!
//! Knows: all parts of the core. Does not know: ops, channels, what a task does.
//!
//! ```text
//! poll up to TURN tasks
//! inbox: remote wakes, drops, work          timers, if any is armed: read the clock
//! work left?  SUBMIT polls since the last look, or the kernel has something: submit, reap
//! none left?  0. completions left of the last reap: the next batch of them, unless SUBMIT polls have passed
//!             1. send cancels; submit without waiting; reap; runnable now? go on
//!             2. spin on the completion queue and the inbox, as long as that pays
//!             3. announce the sleep, look again, sleep in `enter` until a completion, a signal or a deadline
//!             while completions come in crowds: phase 3 at once, which submits as well
//! ```
//!
//! The submit of phase 1 does not wait: an `enter` that may sleep with a deadline costs a tenth more, and most turns
//! have completions at once. An idle runtime makes no system call between going to sleep and being woken.
#![allow(
    unsafe_code,
    reason = "tasks are polled through their headers; the kernel reads into the registry's entry"
)]

use std::cell::Cell;
use std::io;
use std::task::Context;
use std::time::{Duration, Instant};

use super::core::Core;
use super::driver::Wait;
use super::inbox::Taken;
use super::registry::Remote;
use super::stats::add;
use super::task;
use super::time::after;
use super::timer::TimerKey;
use crate::util::contain::contain;
use crate::util::executor;

/// How many polls may pass before other threads, timers and the kernel's flags are looked at.
const TURN: u32 = 64;
/// How many polls may pass before what is queued is submitted, though the kernel has nothing to say.
const SUBMIT: u32 = 256;
/// How often levels are looked at between two looks at the rest, while the thread spins: the pause there takes longer than
/// a look, and on the other side somebody waits for the answer.
const LOOKS: u32 = 4;
/// The longest pause after an `enter` that failed for the time being.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

impl Core {
    /// Runs tasks until `done`.
    ///
    /// # Panics
    ///
    /// When the ring cannot go on. Tasks, timers and ops are left as they are.
    pub(super) fn run_until(&self, done: impl Fn() -> bool) {
        struct Running<'a>(&'a Cell<bool>);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        self.running.set(true);
        let _running = Running(&self.running);
        if self.entry.inbox.has_work() {
            // A root that is ready at once may end before a turn: many short runs must not starve the other threads.
            self.receive(self.entry.inbox.take());
        }
        while !done() {
            self.poll_tasks(&done);
            if done() {
                return;
            }
            self.turn();
        }
    }

    /// Polls up to a turn's worth of tasks.
    #[inline]
    fn poll_tasks(&self, done: &impl Fn() -> bool) {
        let mut polls = 0;
        while polls < TURN
            && let Some((task, slot, id)) = self.tasks.next_to_run()
        {
            polls += 1;
            executor::begin_poll();
            // SAFETY: (local) in a slot, since `next_to_run` gave it; not being polled, since only this loop polls and
            // it is not entered twice. So the poll that had the waker before is over.
            unsafe { task::poll(self, task, slot, &mut Context::from_waker(self.waker_of(id))) };
            if self.lookout.has_notes() {
                self.lookout.settle(|waker| self.wake(waker));
            }
            if self.interrupted.get() {
                self.interrupted.set(false);
                self.calm_down();
                self.flush_deferred();
                if done() {
                    break;
                }
            }
        }
        executor::end_polls();
        add(&self.counters.polls, polls.into());
        self.since_enter.set(self.since_enter.get() + polls);
    }

    /// Everything between two batches of polls.
    ///
    /// Inlined down to the system call, as is what it calls on the way there: the kernel leaves the processor without
    /// its record of return addresses, so each `ret` on the way back up is a misprediction (5 ns).
    #[inline(always)]
    fn turn(&self) {
        let received = self.entry.inbox.has_work();
        if received {
            self.receive(self.entry.inbox.take());
        }
        if self.timers.armed() > 0 {
            self.fire_timers();
        }
        if self.lookout.has_watches() {
            self.look_out();
        }
        if self.tasks.is_idle() {
            if !received {
                self.idle(); // else `done` has its say first: the message may have been to stop
            }
        } else if self.since_enter.get() >= SUBMIT || self.inflight.needs_enter() {
            self.look_at_ring();
        }
        if !self.deferred.is_empty() {
            self.flush_deferred();
        }
    }

    /// Looks at the levels that tasks wait at. With better things to do it does not come back to them soon, so those that
    /// are not ready have to be woken.
    #[inline(never)]
    fn look_out(&self) {
        let busy = !self.tasks.is_idle();
        if !busy {
            self.lookout.pause();
        }
        self.lookout.look(|waker| self.wake(waker));
        if busy {
            self.lookout.arm(|waker| self.wake(waker));
        }
    }

    /// While tasks are ready: gives the kernel its due without waiting for it.
    fn look_at_ring(&self) {
        self.since_enter.set(0);
        self.inflight.flush_cancels();
        if self.inflight.queued() > 0 || self.inflight.may_need_enter() {
            self.note(self.enter(Wait::Poll));
        }
        self.inflight.reap(self);
    }

    #[inline(always)]
    fn idle(&self) {
        if self.lookout.has_notes() {
            self.lookout.settle(|waker| self.wake(waker)); // messages and timers leave some, too
        }
        if !self.deferred.is_empty() {
            self.flush_deferred();
        }
        // Phase 0.
        if self.inflight.has_known() && self.since_enter.get() < SUBMIT && self.inflight.reap_batch(self) > 0
        {
            return;
        }
        self.inflight.flush_cancels();
        if self.crowd.comes(self.inflight.completions()) && self.may_sleep_at_once() {
            return self.park(self.deadline(), None); // how long it is says nothing about spinning
        }
        // Phase 1.
        if self.inflight.queued() > 0 || self.inflight.needs_enter() {
            let entered = self.enter(Wait::Poll);
            self.inflight.reap_batch(self);
            if self.note(entered) {
                return self.pause();
            }
        } else if self.inflight.has_completion() {
            self.inflight.reap_batch(self);
        }
        if !self.has_work() {
            self.rest();
        }
    }

    #[inline(never)]
    fn rest(&self) {
        // Phase 2.
        let deadline = self.deadline();
        let ring = || self.inflight.has_completion() || self.inflight.needs_enter();
        let look =
            || self.lookout.has_watches() && (0..LOOKS).any(|_| self.lookout.look(|waker| self.wake(waker)));
        if self.spin.run(deadline, || self.entry.inbox.has_work() || ring() || look()) {
            return;
        }
        if self.lookout.has_watches()
            && (self.lookout.linger(|waker| self.wake(waker)) || self.lookout.arm(|waker| self.wake(waker)))
        {
            return;
        }
        self.lookout.sweep();
        if self.has_work() {
            return; // who was woken may have been the user's code
        }
        self.park(deadline, self.spin.sleeps());
    }

    /// When the thread has something to do at the latest.
    fn deadline(&self) -> Option<Instant> {
        earlier(self.timers.next_deadline(), self.inflight.cancel_deadline())
    }

    /// Whether the next `enter` may be the one that sleeps, with whatever is queued: nothing but completions is waited for.
    fn may_sleep_at_once(&self) -> bool {
        self.tasks.is_idle()
            && !self.entry.inbox.has_work()
            && !self.inflight.has_known()
            && !self.inflight.has_cancels()
            && !self.inflight.is_draining()
            && self.deferred.is_empty()
            && !self.lookout.has_notes()
            && !self.lookout.has_watches()
    }

    /// Whether there is something to do before the thread may sleep.
    #[inline(always)]
    fn has_work(&self) -> bool {
        !self.tasks.is_idle()
            || self.entry.inbox.has_work()
            // What was reaped may have led to a new op, to a cancel, to a wake for another thread.
            || self.inflight.queued() > 0
            || self.inflight.has_cancels()
            || self.inflight.has_known()
            || !self.deferred.is_empty()
            || self.lookout.has_notes()
            || self.inflight.needs_enter()
    }

    /// Phase 3. `since`: when it began, if its length matters.
    fn park(&self, deadline: Option<Instant>, since: Option<Instant>) {
        if self.inflight.is_draining() {
            return self.park_beside(deadline, since);
        }
        // SAFETY: (I1) eventfd and count belong to the registry's entry, which is never freed.
        unsafe { self.inflight.arm_wake(self.entry.eventfd(), self.entry.count()) };
        if !self.inflight.is_wake_armed() {
            // No room, although everything was submitted: the kernel is short of memory. Try again later.
            self.note(self.enter(Wait::No));
            return self.pause();
        }
        if !self.entry.inbox.try_sleep() {
            return;
        }
        let entered = self.enter(match self.config.batch {
            None => Wait::Until(deadline),
            Some(batch) => Wait::Batch(batch, deadline),
        });
        // Awake, whatever the outcome: take the announcement back before anything else.
        let taken = self.entry.inbox.take();
        add(&self.counters.parks, 1);
        self.spin.slept(since, !taken.is_empty());
        self.inflight.reap_batch(self);
        self.receive(taken);
        if self.note(entered) {
            self.pause();
        }
    }

    /// Phase 3 while a drain is pending: the eventfd is watched from outside of the ring.
    #[cold]
    fn park_beside(&self, deadline: Option<Instant>, since: Option<Instant>) {
        if !self.entry.inbox.try_sleep() {
            return;
        }
        let waited = self.inflight.wait_beside(self.entry.eventfd(), deadline);
        let taken = self.entry.inbox.take();
        add(&self.counters.parks, 1);
        self.spin.slept(since, !taken.is_empty());
        if !self.inflight.is_wake_armed() {
            self.entry.clear();
        }
        let entered = waited.and_then(|()| self.enter(Wait::Poll));
        self.inflight.reap(self);
        self.receive(taken);
        if self.note(entered) {
            self.pause();
        }
    }

    #[inline(always)]
    fn enter(&self, wait: Wait) -> io::Result<()> {
        add(&self.counters.enters, 1);
        self.since_enter.set(0);
        self.inflight.enter(wait)
    }

    /// Notes how an `enter` went. `true`: it failed, and may go well later.
    ///
    /// # Panics
    ///
    /// When it cannot go well any more.
    #[inline(always)]
    fn note(&self, entered: io::Result<()>) -> bool {
        let Err(error) = entered else {
            self.failures.set(0);
            return false;
        };
        self.note_failure(error)
    }

    #[cold]
    fn note_failure(&self, error: io::Error) -> bool {
        match error.raw_os_error() {
            // Nothing is lost: entries stay queued, completions wait in the kernel.
            Some(libc::EBUSY | libc::EAGAIN | libc::ENOMEM | libc::EINTR) => {
                self.failures.set(self.failures.get().saturating_add(1));
                true
            }
            _ => panic!("the ring of this runtime cannot go on: {error}"),
        }
    }

    /// After a failed `enter`: waits a little, twice as long each time, unless there is something else to do.
    #[cold]
    fn pause(&self) {
        let failures = self.failures.get();
        if failures > 1 && self.tasks.is_idle() && !self.entry.inbox.has_work() {
            let pause = Duration::from_micros(10) * (1 << failures.min(16));
            std::thread::sleep(pause.min(LONGEST_PAUSE));
        }
    }

    /// Does what other threads left word of.
    fn receive(&self, taken: Taken) {
        if taken.is_empty() {
            return;
        }
        self.crowd.disperse();
        self.entry.inbox.wakes(taken, |slot| self.tasks.wake_slot(slot));
        if taken.messages() {
            for message in self.entry.inbox.messages() {
                self.obey(message);
            }
        }
    }

    fn obey(&self, message: Remote) {
        match message {
            Remote::DropNode(key) => self.inflight.remote_drop(key),
            Remote::CancelNode(key) => self.inflight.remote_cancel(key),
            Remote::DropTimer(key) => {
                if let Some(waker) = self.timers.disarm(TimerKey(key)) {
                    self.wake(waker); // its future may have been asked to stop, or its channel closed
                }
            }
            Remote::Work(work) => {
                contain(|| work.run(self));
            }
            Remote::Settle(message) => {
                // SAFETY: (I5) this is the thread whose runtime the message was posted to: in a turn of its loop, or at
                // its end, after it ran for the last time.
                contain(|| unsafe { message.settle() });
            }
            Remote::Stop => self.stop.set(true),
            Remote::AllowExit => self.may_exit.set(true),
        }
    }

    fn fire_timers(&self) {
        self.timers.advance(Instant::now());
        while let Some(waker) = self.timers.pop_due() {
            self.wake(waker);
        }
    }

    /// Drops all tasks, and waits for the kernel (I6). Returns how many ops it had to leave with the kernel.
    ///
    /// The caller has made this core the current one.
    pub(super) fn tear_down(&self) -> usize {
        self.entry.inbox.refuse_work(self.id.as_u64());
        self.receive(self.entry.inbox.take()); // work that was accepted becomes tasks, which are dropped as such
        // Destructors may spawn. Their tasks are dropped, too, but one that always spawns another must not keep the
        // runtime from ending: past this many, what is spawned is leaked.
        self.drop_tasks(self.tasks.alive().saturating_mul(16).saturating_add(1024));
        self.refuses.set(true);
        self.drop_tasks(u32::MAX);
        let mut from = 0;
        while let Some((index, waker)) = self.timers.take_waker(from) {
            contain(|| drop(waker));
            from = index + 1;
        }
        self.flush_deferred();
        // A child process after a fork has nothing in this ring: it would wait for the parent's completions in vain.
        let usable = self.inflight.enter(Wait::No).is_ok();
        let patience = if usable { self.config.shutdown_deadline } else { Duration::ZERO };
        let leaked = self.inflight.shutdown(self, after(patience));
        self.flush_deferred();
        leaked
    }

    /// Takes leave of the other threads. This core is not the current one any more, and never will be: whoever shares
    /// something with it may take that over as soon as a post is refused.
    pub(super) fn take_leave(&self) {
        for message in self.entry.inbox.close() {
            match message {
                Remote::Work(work) => {
                    contain(|| drop(work));
                }
                message => self.obey(message),
            }
        }
    }

    /// Drops the tasks, `most` at most, one after the other: tasks that hold each other's handles are no recursion.
    fn drop_tasks(&self, most: u32) {
        let mut from = 0;
        for _ in 0..most {
            while self.tasks.next_to_run().is_some() {} // a queued slot would not be free after its task
            let (task, slot) = match self.tasks.first_from(from).or_else(|| self.tasks.first_from(0)) {
                Some(found) => found,
                None => break,
            };
            // SAFETY: (I6) in a slot, and not being polled: the loop has ended.
            unsafe { task::cancel(self, task, slot) };
            from = slot + 1;
        }
        self.look_away();
        self.flush_deferred();
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
