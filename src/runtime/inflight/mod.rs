//! The ops between the runtime and the kernel: queued, in flight, done, orphaned.
//!
//! Knows: the driver, nodes, cancels. Does not know: which op a node is (its vtable does), tasks, channels.
//!
//! From the moment an entry is queued until its terminal completion the node owns everything the kernel may touch
//! (I1). A future that is dropped leaves its node behind: not yet entered, the entry becomes a no-op; in flight, it is
//! cancelled, and whoever made the node disposes of the result (I2). No user code runs while the driver is borrowed (I7).
#![allow(
    unsafe_code,
    reason = "the driver lives in an UnsafeCell that only the runtime's thread touches (I5)"
)]

mod again;
mod cancel;
mod drain;
mod node;
mod pool;
mod posts;
mod starved;
mod tables;

use std::cell::{Cell, UnsafeCell};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::task::Waker;
use std::time::Instant;

use io_uring::squeue::Flags;
use io_uring::{opcode, types};

pub use node::More;
pub(crate) use node::{Key, Kind, Node, State, TaskNumber, VTable, flag, payload};
pub(crate) use pool::class_of;
pub(crate) use posts::{Post, PostKey};

pub(crate) use super::driver::Outcome;
use super::driver::{AnyDriver, Completion, Driver, Known, Sqe, Ticket, Wait, Walk};
use crate::util::contain::contain;
use again::{Again, GIVEN_UP};
use cancel::Cancels;
use drain::Drains;
use pool::Pool;
use posts::Posts;
use starved::Starved;

/// How many completions are handed out before the tasks that they wake have their turn. With hundreds of ops in flight, what
/// a completion touches of its op and its task would else be in no near cache any more when that task is polled.
const BATCH: usize = 32;
/// With more than this left over, they are all handed out: whoever starts ops faster than that gets to them must not have
/// ever more of them lying about.
const BEHIND: u32 = 1024;

/// Who wakes those who wait for finished ops: the loop knows its own tasks, and spares them the indirect call.
pub(crate) trait Wakes {
    fn wake(&self, waker: Waker);
    /// Wakes whichever task of the loop's own has this number.
    fn wake_task(&self, task: TaskNumber);
}

/// An op's entry in the submission queue: where it stands, and what its completion will carry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    pub(crate) ticket: Ticket,
    pub(crate) user_data: u64,
}

/// Counts that tell whether everything came back; see [`crate::runtime::Stats`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InflightStats {
    pub(crate) nodes_in_use: usize,
    pub(crate) in_flight: usize,
    pub(crate) orphans: usize,
    pub(crate) stale_completions: u64,
    pub(crate) completions: u64,
    pub(crate) submitted: u64,
    pub(crate) dropped_completions: u64,
    pub(crate) cancels_repeated: u64,
    pub(crate) ops_repeated: u64,
    pub(crate) contained_panics: u64,
}

/// All ops of one runtime that the kernel has or will have.
pub(crate) struct Inflight {
    driver: UnsafeCell<AnyDriver>,
    /// Leaked by `drop` when ops are left with the kernel.
    pool: ManuallyDrop<Pool>,
    cancels: Cancels,
    again: Again,
    orphans: Cell<usize>,
    drains: Drains,
    wake_armed: Cell<bool>,
    /// The eventfd of the read that `wake_armed` is about.
    eventfd: Cell<RawFd>,
    /// Why no op may be queued now: one for a chain that is being staged (I4), one for each drain.
    closed: Cell<usize>,
    /// Tasks whose op may not be queued now, to be woken when it may.
    starved: Starved,
    /// Whom other rings post to.
    posts: Posts,
    stale: Cell<u64>,
    completions: Cell<u64>,
    contained: Cell<u64>,
}

impl Inflight {
    pub(crate) fn new(driver: AnyDriver) -> Self {
        Self {
            driver: UnsafeCell::new(driver),
            pool: ManuallyDrop::new(Pool::new()),
            cancels: Cancels::new(),
            again: Again::default(),
            orphans: Cell::new(0),
            drains: Drains::default(),
            wake_armed: Cell::new(false),
            eventfd: Cell::new(-1),
            closed: Cell::new(0),
            starved: Starved::new(),
            posts: Posts::default(),
            stale: Cell::new(0),
            completions: Cell::new(0),
            contained: Cell::new(0),
        }
    }

    /// The driver, for the length of one call of it.
    #[inline]
    #[allow(
        clippy::mut_from_ref,
        reason = "see SAFETY: the borrow lasts for one driver call, which runs no user code"
    )]
    fn driver(&self) -> &mut AnyDriver {
        // SAFETY: (I5, I7) `Inflight` is not Sync and stays on its thread; every use is one method call of the driver,
        // none of which calls back into the crate or runs user code, so no two of these borrows overlap.
        unsafe { &mut *self.driver.get() }
    }

    /// Submits what is queued and waits as told; afterwards whoever lacked room is woken.
    #[inline(always)]
    pub(crate) fn enter(&self, wait: Wait) -> io::Result<()> {
        // op-flow 5/8: entered. Everything queued since the last time goes to the kernel in one call.
        let entered = self.driver().enter(wait);
        self.feed_starved();
        entered
    }

    #[inline]
    pub(crate) fn has_completion(&self) -> bool {
        self.driver().has_completion()
    }

    #[inline]
    pub(crate) fn needs_enter(&self) -> bool {
        self.driver().needs_enter()
    }

    pub(crate) fn may_need_enter(&self) -> bool {
        self.driver().may_need_enter()
    }

    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.driver().queued()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.driver().capacity()
    }

    pub(crate) fn supports(&self, opcode: u8) -> bool {
        self.driver().supports(opcode)
    }

    /// Whether sends can take provided buffers, and several at once.
    pub(crate) fn sends_bundles(&self) -> bool {
        self.driver().sends_bundles()
    }

    /// Gives the ring a group of provided buffers: see [`AnyDriver::register_buffers`].
    ///
    /// # Safety
    ///
    /// As there.
    pub(crate) unsafe fn register_buffers(
        &self,
        ring: NonNull<u8>,
        entries: u32,
        group: u16,
        incremental: bool,
    ) -> io::Result<()> {
        // SAFETY: (I1) the contract is the same, and passed on to the caller.
        unsafe { self.driver().register_buffers(ring, entries, group, incremental) }
    }

    /// Takes such a group back: see [`AnyDriver::unregister_buffers`].
    pub(crate) fn unregister_buffers(&self, group: u16) -> io::Result<()> {
        self.driver().unregister_buffers(group)
    }

    /// How far the kernel has got with a group: see [`AnyDriver::buffers_taken`].
    pub(crate) fn buffers_taken(&self, group: u16) -> io::Result<u16> {
        self.driver().buffers_taken(group)
    }

    /// Completions that were handed out so far.
    #[inline]
    pub(crate) fn completions(&self) -> u64 {
        self.completions.get()
    }

    /// Ops whose terminal completion is still to come.
    pub(crate) fn in_flight(&self) -> usize {
        self.pool.count(|node| node.state() == State::Queued)
    }

    pub(crate) fn stats(&self) -> InflightStats {
        InflightStats {
            nodes_in_use: self.pool.count(|_| true),
            in_flight: self.in_flight(),
            orphans: self.orphans.get(),
            stale_completions: self.stale.get(),
            completions: self.completions.get(),
            submitted: self.driver().submitted(),
            dropped_completions: self.driver().dropped().into(),
            cancels_repeated: self.cancels.repeated(),
            ops_repeated: self.again.made(),
            contained_panics: self.contained.get(),
        }
    }

    /// Whether `entries` can be queued now, without an enter between them.
    #[inline]
    pub(crate) fn has_room(&self, entries: usize) -> bool {
        self.driver().room() >= entries && self.closed.get() == 0
    }

    /// Makes sure that `entries` can be queued without an enter between them; submits what is queued if need be.
    ///
    /// The waker comes back if they can. `None`: not now; it is woken when it is worth trying again.
    #[cold]
    pub(crate) fn make_room(&self, entries: usize, waker: Waker) -> Option<Waker> {
        if self.closed.get() == 0 && self.driver().room() < entries {
            self.submit();
        }
        if self.has_room(entries) {
            return Some(waker);
        }
        let double = self.starved.push(waker);
        self.contained(|| drop(double));
        None
    }

    /// Submits what is queued, also in the middle of a walk over completions. An error is the loop's to handle: it enters
    /// again, and sees it again.
    fn submit(&self) {
        let _ = self.driver().enter(Wait::No);
        self.take_severed();
    }

    #[inline(always)]
    fn feed_starved(&self) {
        if !self.starved.is_empty() && self.closed.get() == 0 && self.driver().room() > 0 {
            self.wake_starved();
        }
    }

    #[cold]
    fn wake_starved(&self) {
        for waker in self.starved.take() {
            self.contained(|| waker.wake());
        }
    }

    /// Takes a node for a request of the given class.
    #[inline]
    pub(crate) fn take_node(&self, class: usize) -> NonNull<Node> {
        self.pool.take(class)
    }

    /// Queues the entry of a node whose request is in place, which wakes `task`, if there is one. The caller has made
    /// room.
    ///
    /// # Safety
    ///
    /// The node came from `take_node`, its request is written, `vtable` is the request's, and what the entry points to
    /// is owned by that request.
    #[inline]
    pub(crate) unsafe fn queue(
        &self,
        node: NonNull<Node>,
        vtable: &'static VTable,
        sqe: Sqe,
        flags: Flags,
        task: Option<TaskNumber>,
    ) -> Queued {
        // SAFETY: (I5) nodes live as long as the pool; shared access only.
        let head = unsafe { node.as_ref() };
        let drains = flags.contains(Flags::IO_DRAIN);
        let flags = if drains { self.drain_begins(flags) } else { flags };
        head.vtable.set(Some(vtable));
        let user_data = head.begin(task);
        head.opcode.set(sqe.opcode());
        head.attempts.set(0);
        // op-flow 4/8: node and SQE. The node owns the request from now until the terminal completion.
        let sqe = sqe.user_data(user_data).flags(flags);
        // SAFETY: (I1) the node owns what the entry points to until its terminal completion.
        let ticket = unsafe { self.driver().push(sqe) };
        head.ticket.set(ticket.0);
        if flags.contains(Flags::ASYNC) {
            head.note(flag::ASYNC);
        }
        if drains {
            self.hold_back(head);
        }
        Queued { ticket, user_data }
    }

    /// Marks a chain as being staged, so that no other op gets between its entries; or no longer.
    pub(crate) fn set_staging(&self, staging: bool) {
        let closed = self.closed.get();
        self.closed.set(if staging { closed + 1 } else { closed - 1 });
        self.feed_starved(); // the chain may have staged nothing, so that no enter follows
    }

    /// Cuts the link of the last entry of a chain that came out shorter than announced.
    pub(crate) fn unlink(&self, ticket: Ticket) {
        self.driver().unlink(ticket);
    }

    /// Gives a node of the class back whose request was taken out. `user_data` is what its entry carried.
    #[inline]
    pub(crate) fn release(&self, node: NonNull<Node>, user_data: u64, class: usize) {
        self.pool.put(node, user_data, class);
    }

    /// Queues the read of the eventfd through which other threads wake this one, unless it is in flight already, or
    /// a drain is pending, which would wait for it.
    ///
    /// # Safety
    ///
    /// `word` stays valid for ever, and the descriptor is never closed: both belong to the registry's entry.
    pub(crate) unsafe fn arm_wake(&self, eventfd: RawFd, word: *mut u64) {
        if self.wake_armed.get() || self.is_draining() || self.driver().room() == 0 {
            return;
        }
        self.eventfd.set(eventfd);
        let entry = opcode::Read::new(types::Fd(eventfd), word.cast(), 8).build();
        let sqe = Sqe::from(entry).user_data(Kind::Wake as u64);
        // SAFETY: (I1) the caller vouches for the word and the descriptor.
        unsafe { self.driver().push(sqe) };
        self.wake_armed.set(true);
    }

    /// Whether a write to the eventfd would end a wait.
    pub(crate) fn is_wake_armed(&self) -> bool {
        self.wake_armed.get()
    }

    /// Lets the read of the eventfd end, by giving it something to read: a drain would wait for it for ever, and the
    /// eventfd's next owner must not lose a wake to it.
    fn disarm_wake(&self) {
        if self.wake_armed.get() {
            let one = 1_u64;
            // SAFETY: (I1) the eventfd is never closed, as `arm_wake` was promised; eight readable bytes. The write fails
            // only when the count is at its end, and then there is something to read.
            unsafe { libc::write(self.eventfd.get(), (&raw const one).cast(), 8) };
        }
    }

    /// Waits for a completion or for the eventfd, without an entry of our own in the ring: while a drain is pending, that
    /// would stand in its way or wait behind it.
    pub(crate) fn wait_beside(&self, eventfd: RawFd, deadline: Option<Instant>) -> io::Result<()> {
        self.driver().wait_beside(eventfd, deadline)
    }

    /// Whether completions that the last [`reap`](Self::reap) has seen are not handed out yet.
    #[inline]
    pub(crate) fn has_known(&self) -> bool {
        self.driver().left() > 0
    }

    /// Hands every completion that is there to its node, and tells how many there were.
    #[inline]
    pub(crate) fn reap(&self, tasks: &impl Wakes) -> usize {
        self.reap_up_to(usize::MAX, tasks)
    }

    /// The same for a [`BATCH`] of them: for a thread that has nothing better to do than to come back for the rest.
    #[inline]
    pub(crate) fn reap_batch(&self, tasks: &impl Wakes) -> usize {
        self.reap_up_to(if self.driver().left() > BEHIND { usize::MAX } else { BATCH }, tasks)
    }

    #[inline]
    fn reap_up_to(&self, most: usize, tasks: &impl Wakes) -> usize {
        self.take_severed();
        let mut count = 0;
        while count < most {
            count += match self.driver().walk((most - count).min(u32::MAX as usize) as u32) {
                Walk::Known(known) if known.len() > 0 => self.walk(tasks, known),
                Walk::One(Some(completion)) => {
                    if !self.complete(tasks, completion) {
                        self.dispatch_rare(tasks, completion);
                    }
                    1
                }
                Walk::Known(_) | Walk::One(None) => break,
            };
        }
        if count > 0 {
            self.driver().publish();
            self.completions.set(self.completions.get() + count as u64);
        }
        count
    }

    /// Notes whose entries an `enter` had to part from their chain, before their completions are looked at.
    #[inline]
    fn take_severed(&self) {
        while let Some(user_data) = self.driver().take_severed() {
            self.severed(user_data);
        }
    }

    /// The entry of this op stands in the queue as a no-op: it was behind a part of its chain that the kernel took alone.
    #[cold]
    fn severed(&self, user_data: u64) {
        let node = self.pool.find(Key::from_user_data(user_data));
        if let Some(node) = node.filter(|_| node::kind_of(user_data) == Some(Kind::Op)) {
            // SAFETY: (I5) as in `complete`.
            unsafe { node.as_ref() }.set(flag::NEUTRALIZED);
        }
    }

    /// Hands out what is known up to the first completion that may run foreign code: that code may queue ops, and so
    /// enter the kernel, which is then given the space of what was handed out, and of nothing else.
    #[inline]
    fn walk(&self, tasks: &impl Wakes, mut known: Known) -> usize {
        let before = known.len();
        // SAFETY: (I5, I7) just asked for, in this process; until `hand_out` no foreign code runs, which could fork, and no
        // other call reaches the driver.
        while let Some(completion) = unsafe { known.next() } {
            if !self.complete(tasks, completion) {
                self.driver().hand_out(known);
                self.dispatch_rare(tasks, completion);
                return before - known.len();
            }
        }
        self.driver().hand_out(known);
        before
    }

    /// Completes an op that a task of ours waits for, without a flag, and by its terminal completion: the usual one.
    /// Runs no foreign code. `false`: it is another, and nothing was done.
    #[inline]
    fn complete(&self, tasks: &impl Wakes, completion: Completion) -> bool {
        // op-flow 6/8: CQE dispatched. The key says whose it is; the generation in it, whether it is still awaited.
        let user_data = completion.user_data;
        let key = Key::from_user_data(user_data);
        // Of any other kind it may look like the life of a node that is done, or marked.
        if user_data != key.user_data(Kind::Op) {
            return false;
        }
        let Some(node) = self.pool.at(key) else { return false };
        // SAFETY: (I5) `at` gave an initialised node; shared access only.
        let head = unsafe { node.as_ref() };
        let Completion { outcome, .. } = completion;
        if !head.is_plainly_queued_for(user_data) || outcome.has_more() || outcome.res() == -libc::ECANCELED {
            return false;
        }
        head.outcome.set(outcome);
        head.end_plainly(user_data);
        // op-flow 7/8: node result and wake. The task is queued; its poll takes the result out of the node.
        tasks.wake_task(head.own_task());
        true
    }

    #[inline(never)]
    fn dispatch_rare(&self, tasks: &impl Wakes, completion: Completion) {
        let Completion { user_data, outcome } = completion;
        let key = Key::from_user_data(user_data);
        match node::kind_of(user_data) {
            Some(Kind::Op) => match self.pool.find(key) {
                Some(node) => self.complete_marked(tasks, node, outcome),
                None => self.stale.set(self.stale.get() + 1),
            },
            Some(Kind::Cancel) => self.cancel_answered(key, outcome.res()),
            Some(Kind::Wake) => self.wake_armed.set(false),
            Some(Kind::Posted) => self.posted(user_data),
            Some(Kind::Ignored) => {}
            None => self.stale.set(self.stale.get() + 1),
        }
    }

    /// [`complete`](Self::complete) of a node with flags, by a completion that is not its terminal one, or by one that says
    /// that the op was cancelled.
    fn complete_marked(&self, tasks: &impl Wakes, node: NonNull<Node>, outcome: Outcome) {
        // SAFETY: (I5) as in `complete`.
        let head = unsafe { node.as_ref() };
        if head.state() != State::Queued {
            self.stale.set(self.stale.get() + 1); // a second terminal completion of one op
            return;
        }
        if outcome.has_more() {
            self.another(tasks, node, outcome);
            return;
        }
        if outcome == GIVEN_UP && self.make_again(node) {
            return;
        }
        if head.has(flag::STOPS_OTHERS) {
            self.others_were_stopped();
        }
        // A preset answer stands even when its chain was cut: it was received before the chain began, and is not lost.
        let res = if head.has(flag::PRESET) {
            head.outcome.get().res()
        } else if head.has(flag::NEUTRALIZED) {
            -libc::ECANCELED
        } else {
            outcome.res()
        };
        let outcome = Outcome::new(res, outcome.flags());
        if head.has(flag::NOTES_LAST) && !head.has(flag::PRESET | flag::NEUTRALIZED) {
            self.note_last(node, outcome);
        }
        head.outcome.set(outcome);
        head.end();
        if head.has(flag::BEFORE_DRAIN) {
            self.ended_before_drain();
        }
        let drain = head.has(flag::DRAIN); // the node may be gone after the next lines
        if head.has(flag::ORPHAN) {
            self.orphans.set(self.orphans.get() - 1);
            self.abandon(node);
        } else {
            Self::wake(tasks, head);
        }
        if drain {
            self.drain_ends(); // last: it runs wakers, and one of them may drop the future of this very node
        }
    }

    /// The last completion of a request that wants to know of it at once.
    fn note_last(&self, node: NonNull<Node>, outcome: Outcome) {
        // SAFETY: (I5) as in `complete`.
        let Some(vtable) = (unsafe { node.as_ref() }).vtable.get() else { return };
        // SAFETY: (I1) the request is in the node and stays there; the vtable is its own, and runs no foreign code, which
        // could reach the request.
        self.contained(|| unsafe { (vtable.last)(payload(node), outcome) });
    }

    /// A completion that is not the last one: the kernel still holds the request, which takes note of it.
    fn another(&self, tasks: &impl Wakes, node: NonNull<Node>, outcome: Outcome) {
        // SAFETY: (I5) as in `complete`.
        let head = unsafe { node.as_ref() };
        let Some(vtable) = head.vtable.get() else { return };
        let orphaned = head.has(flag::ORPHAN);
        let mut then = More::Quiet;
        // SAFETY: (I1) the request is in the node and stays there; the vtable is its own. As long as the future is there, this
        // runs no foreign code, which could drop it; once it is gone, nobody else reaches the request.
        self.contained(|| then = unsafe { (vtable.more)(payload(node), outcome, orphaned) });
        match then {
            More::Quiet => return,
            More::Wake => {}
            More::Stop => self.request_cancel(node),
            More::Settled { wake } => {
                head.set(flag::SETTLED);
                if !wake {
                    return;
                }
            }
        }
        Self::wake(tasks, head);
    }

    /// Wakes who awaits the op. The node may be gone after this.
    fn wake(tasks: &impl Wakes, head: &Node) {
        if let Some(task) = head.task() {
            tasks.wake_task(task); // it stays there for the next completion
        } else if let Some(waker) = head.take_waker() {
            tasks.wake(waker);
        }
    }

    /// Lets the maker of a node whose result nobody awaits dispose of it.
    pub(super) fn abandon(&self, node: NonNull<Node>) {
        // SAFETY: (I5) the caller has a live node; shared access only.
        let head = unsafe { node.as_ref() };
        debug_assert!(head.state() == State::Done);
        let Some(vtable) = head.vtable.get() else { return };
        head.set(flag::ORPHAN); // whoever the user code below drops or polls has nothing to claim here any more
        let waker = head.take_waker();
        self.contained(|| drop(waker));
        // SAFETY: (I2) the node is Done, so the kernel has let go of the request, and its vtable is the request's own.
        self.contained(|| unsafe { (vtable.abandon)(self, node) });
    }

    /// Runs user code that must not end the loop, and counts its panics (I7).
    #[inline]
    pub(crate) fn contained(&self, run: impl FnOnce()) {
        if !contain(run) {
            self.contained.set(self.contained.get() + 1);
        }
    }
}

impl Drop for Inflight {
    fn drop(&mut self) {
        if self.pool.count(|_| true) == 0 {
            // SAFETY: (I6) no node is in use, so the kernel holds nothing of the pool; dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.pool) };
        }
    }
}
