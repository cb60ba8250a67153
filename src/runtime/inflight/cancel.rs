//! Stopping ops: orphans, cancel requests that are repeated until they are no longer needed, and the end of a runtime.
//!
//! Knows: nodes, the driver's two ways to cancel. Does not know: which op it stops.
//!
//! A cancel is only a request. `EALREADY` leaves an op on a worker thread alive, `ENOENT` may mean a chain member that
//! has not started; so a cancel is sent again, ever more seldom, until the terminal completion is there. It goes by the
//! synchronous register call while a drain is pending: through the queue it would wait behind the very op it shall free.
#![allow(unsafe_code, reason = "nodes are reached by pointer")]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use io_uring::opcode;
use io_uring::squeue::Flags;

use super::super::driver::{Driver, Sqe, Ticket, Wait};
use super::node::{Key, Kind, Node, State, flag, payload};
use super::{Inflight, Wakes};

/// A cancel is sent again after this, and each further time after twice as long.
const FIRST_RETRY: Duration = Duration::from_micros(500);
/// The wait between two repetitions doubles this many times at most: to 64 ms.
const MOST_DOUBLINGS: u8 = 7;
/// How long one wait of a shutdown lasts at most before what is left is cancelled again.
const SHUTDOWN_WAIT: Duration = Duration::from_millis(20);

/// The cancels that are still to be sent, and those to be sent again. Bounded by the nodes in flight.
pub(super) struct Cancels {
    wanted: UnsafeCell<Vec<Key>>,
    /// The earliest first.
    retries: UnsafeCell<BinaryHeap<Reverse<(Instant, Key)>>>,
    repeated: Cell<u64>,
}

impl Cancels {
    pub(super) fn new() -> Self {
        Self {
            wanted: UnsafeCell::new(Vec::new()),
            retries: UnsafeCell::new(BinaryHeap::new()),
            repeated: Cell::new(0),
        }
    }

    pub(super) fn repeated(&self) -> u64 {
        self.repeated.get()
    }

    fn want(&self, key: Key) {
        // SAFETY: (I5, I7) one push; no user code runs and no other borrow is alive.
        unsafe { (*self.wanted.get()).push(key) };
    }

    fn next(&self) -> Option<Key> {
        // SAFETY: (I5, I7) one pop; no user code runs and no other borrow is alive.
        unsafe { (*self.wanted.get()).pop() }
    }

    fn has_wanted(&self) -> bool {
        // SAFETY: (I5, I7) a look at the length.
        unsafe { !(*self.wanted.get()).is_empty() }
    }

    fn retry_at(&self, at: Instant, key: Key) {
        self.repeated.set(self.repeated.get() + 1);
        // SAFETY: (I5, I7) one push; no user code runs and no other borrow is alive.
        unsafe { (*self.retries.get()).push(Reverse((at, key))) };
    }

    fn due(&self) {
        // SAFETY: (I5, I7) the only borrow; the loop runs no user code.
        let retries = unsafe { &mut *self.retries.get() };
        if retries.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(&Reverse((at, key))) = retries.peek() {
            if at > now {
                break;
            }
            retries.pop();
            self.want(key);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        // SAFETY: (I5, I7) a look at the list; no user code runs.
        unsafe { (*self.retries.get()).peek().map(|&Reverse((at, _))| at) }
    }
}

impl Inflight {
    /// Asks the kernel to stop the op; its terminal completion still comes.
    pub(crate) fn request_cancel(&self, node: NonNull<Node>) {
        // SAFETY: (I5) the caller's node is live; shared access only.
        let head = unsafe { node.as_ref() };
        if head.state() != State::Queued || head.has(flag::CANCELLING | flag::NEUTRALIZED | flag::SETTLED) {
            return;
        }
        // A preset answer stands, and so must what its entry says to the chain.
        if !head.has(flag::PRESET) && self.driver().neutralize(Ticket(head.ticket.get())) {
            head.set(flag::NEUTRALIZED);
        } else {
            head.set(flag::CANCELLING);
            head.attempts.set(0);
            self.cancels.want(head.key());
        }
    }

    /// The future of this node is gone: stop the op, and let its maker dispose of what comes (I2).
    pub(crate) fn orphan(&self, node: NonNull<Node>) {
        // SAFETY: (I5) the caller's node is live; shared access only.
        let head = unsafe { node.as_ref() };
        if head.has(flag::ORPHAN) {
            return;
        }
        if head.state() == State::Done {
            self.abandon(node);
            return;
        }
        self.request_cancel(node);
        head.set(flag::ORPHAN);
        self.orphans.set(self.orphans.get() + 1);
        // Not in a child after `fork`, where the end that a request then announces never comes: it is the parent's op.
        if !head.has(flag::NEUTRALIZED) && !head.has(flag::PRESET) && self.driver().same_process() {
            head.set(flag::TOLD);
            if let Some(vtable) = head.vtable.get() {
                // SAFETY: (I1) the request is in the node and stays there; the vtable is its own.
                self.contained(|| unsafe { (vtable.orphaned)(payload(node)) });
            }
        } else if head.has(flag::NEUTRALIZED)
            && let Some(vtable) = head.vtable.get()
        {
            // SAFETY: (I1) as above.
            self.contained(|| unsafe { (vtable.withdrawn)(payload(node)) });
        }
        let waker = head.take_waker();
        self.contained(|| drop(waker));
    }

    /// Offers what an op that nobody awaits has got to the ops in flight. One that takes it need not go on.
    #[cold]
    pub(crate) fn offer(&self, gift: &mut dyn Any) -> bool {
        let mut taken = false;
        self.pool.for_each(|node| {
            // SAFETY: (I5) `for_each` gives a live node; shared access only.
            let head = unsafe { node.as_ref() };
            let ends = flag::ORPHAN | flag::CANCELLING | flag::NEUTRALIZED | flag::PRESET;
            if taken || head.state() != State::Queued || head.has(ends) {
                return;
            }
            if let Some(vtable) = head.vtable.get() {
                // SAFETY: (I1) the request is in the node and stays there; the vtable is its own.
                self.contained(|| taken = unsafe { (vtable.offer)(payload(node), gift) });
            }
            if taken {
                self.request_cancel(node);
            }
        });
        taken
    }

    /// This node has no future, or none that waits for its end: it is not stopped, and its maker disposes of what comes.
    ///
    /// To a node whose terminal completion is still to come.
    pub(crate) fn detach(&self, node: NonNull<Node>) {
        // SAFETY: (I5) the caller's node is live; shared access only.
        let head = unsafe { node.as_ref() };
        debug_assert!(head.state() == State::Queued);
        head.set(flag::ORPHAN);
        self.orphans.set(self.orphans.get() + 1);
        let waker = head.take_waker();
        self.contained(|| drop(waker));
    }

    /// The future of this node was dropped on another thread, which has told us.
    pub(crate) fn remote_drop(&self, key: u64) {
        if let Some(node) = self.pool.find(Key::from_user_data(key)) {
            self.orphan(node);
        }
    }

    /// The future of this node was asked to stop on another thread, or while the runtime did not run.
    pub(crate) fn remote_cancel(&self, key: u64) {
        if let Some(node) = self.pool.find(Key::from_user_data(key)) {
            self.request_cancel(node);
        }
    }

    /// Whether a cancel waits to be sent.
    #[inline]
    pub(crate) fn has_cancels(&self) -> bool {
        self.cancels.has_wanted()
    }

    /// Sends the cancels that are wanted or due again. What finds no room stays wanted.
    #[inline]
    pub(crate) fn flush_cancels(&self) {
        self.cancels.due();
        if self.cancels.has_wanted() {
            self.send_cancels();
        }
    }

    /// When the next cancel is to be sent again.
    pub(crate) fn cancel_deadline(&self) -> Option<Instant> {
        self.cancels.deadline()
    }

    #[cold]
    fn send_cancels(&self) {
        while let Some(key) = self.cancels.next() {
            if self.stoppable_node(key).is_none() {
                continue;
            }
            if self.is_draining() {
                match self.driver().sync_cancel(key.user_data(Kind::Op)) {
                    Ok(()) => continue,
                    Err(error) if error.raw_os_error() != Some(libc::EINVAL) => {
                        self.repeat(key);
                        continue;
                    }
                    Err(_) => {} // Linux 5.19 lacks the call: the queue is the only way
                }
            }
            if self.driver().room() == 0 {
                self.submit();
                if self.driver().room() == 0 {
                    self.cancels.want(key);
                    return;
                }
            }
            // Success is silent: then the target's own completion comes.
            let entry = opcode::AsyncCancel::new(key.user_data(Kind::Op)).build();
            let sqe = Sqe::from(entry).user_data(key.user_data(Kind::Cancel)).flags(Flags::SKIP_SUCCESS);
            // SAFETY: (I1) a cancel points to nothing.
            unsafe { self.driver().push(sqe) };
        }
    }

    /// A cancel did not take: `ENOENT`, `EALREADY`.
    #[cold]
    pub(super) fn cancel_answered(&self, key: Key, res: i32) {
        if res < 0 {
            self.repeat(key);
        }
    }

    fn repeat(&self, key: Key) {
        let Some(node) = self.stoppable_node(key) else { return };
        // SAFETY: (I5) the node is live; shared access only.
        let attempts = unsafe { &node.as_ref().attempts };
        let wait = FIRST_RETRY * (1 << attempts.get().min(MOST_DOUBLINGS));
        attempts.set(attempts.get().saturating_add(1));
        self.cancels.retry_at(Instant::now() + wait, key);
    }

    /// The node, if a cancel can still bring its end nearer.
    fn stoppable_node(&self, key: Key) -> Option<NonNull<Node>> {
        self.pool.find(key).filter(|node| {
            // SAFETY: (I5) `find` gives a live node; shared access only.
            let head = unsafe { node.as_ref() };
            head.state() == State::Queued && !head.has(flag::SETTLED)
        })
    }

    /// Cancels everything and waits for the terminal completions, at most until `deadline`; tells how many ops it had
    /// to leave with the kernel. Their nodes must then be leaked, never freed (I6).
    pub(crate) fn shutdown(&self, tasks: &impl Wakes, deadline: Instant) -> usize {
        self.make_none_again();
        self.reap(tasks);
        self.orphan_all();
        self.disarm_wake();
        while self.in_flight() > 0 || self.is_wake_armed() {
            let now = Instant::now();
            if now >= deadline {
                break;
            }
            self.flush_cancels();
            let mut until = deadline.min(now + SHUTDOWN_WAIT);
            if let Some(retry) = self.cancel_deadline() {
                until = until.min(retry);
            }
            if self.enter(Wait::Until(Some(until))).is_err() {
                // Transient (EBUSY, EAGAIN, ENOMEM): reap and go on; a dead ring: the deadline ends this.
                std::thread::sleep(Duration::from_micros(200));
            }
            self.reap(tasks);
            self.orphan_all(); // user code that ran meanwhile may have started ops, and have forgotten them
        }
        self.in_flight()
    }

    /// Takes every node away from its future, which may live on outside of the runtime.
    fn orphan_all(&self) {
        self.pool.for_each(|node| self.orphan(node));
    }
}
