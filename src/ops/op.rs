//! The op as a future: built lazily, queued at its first poll, claimed from its node at its last.
//!
//! Knows: requests, nodes, the runtime that polls on this thread. Does not know: which request it carries, combinators.
//!
//! ```text
//!            first poll               first poll after the terminal completion
//!   Built ───────────────▶ Started ──────────────────────────────────────────▶ Finished
//!     │                       ▲ as a member of a chain                            ▲
//!     ├─ known without asking: Answered ──────────────────────────────────────────┤
//!     └─ refused, or cancelled before it was started: Failed ─────────────────────┘
//! ```
#![allow(unsafe_code, reason = "an op reads and writes the request inside its node (I1)")]

mod look;
mod said;

use std::any::Any;
use std::future::Future;
use std::io;
use std::mem::{self, ManuallyDrop, MaybeUninit};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll, ready};

use io_uring::opcode;
use io_uring::squeue::Flags;

use said::{elsewhere, failure, outside, to_result};

use super::chain::{Chain, EntryFlags, Link, RingOperation};
use super::request::{More, Prepared, Request};
use crate::operation::Operation;
use crate::runtime::RuntimeId;
use crate::runtime::context;
use crate::runtime::core::Core;
use crate::runtime::driver::{Sqe, Ticket};
use crate::runtime::inflight::{
    Inflight, Kind, Node, Outcome, Queued, State, TaskNumber, VTable, class_of, flag, payload,
};
use crate::runtime::registry::{self, Remote};
use crate::runtime::waker;

/// One request to the ring, as a future.
///
/// It does nothing until it is polled; the first poll queues it, and the runtime submits everything queued in one call.
/// Combinators take it as it is: `a | b` races two ops, `a >> b` chains them.
///
/// # What the kernel gives up
///
/// What cannot be done at once goes to a worker thread of the kernel. Where none can be made, since a signal comes in between
/// (mostly before Linux 6.14) or for want of threads (`RLIMIT_NPROC`, `pids.max`), the kernel ends the request with
/// `ECANCELED`, not begun. Nobody has asked for that, so the op is handed to the kernel again, up to 32 times, and whoever awaits it
/// learns nothing of it. It does end so
///
/// - in a chain, which the kernel has ended with it;
/// - while a drained op waits, which does not wait for a second attempt;
/// - of a connect, of a timeout, of a send from a queue of buffers or without a copy;
/// - on kernels before 6.1, which did not tell what had been done in part.
///
/// # Cancel safety
///
/// Dropping an op is safe at any time. Never polled, it did nothing. Queued but not yet submitted, it is withdrawn. In
/// flight, it is cancelled, and whatever it holds (buffer, path, descriptor) stays with the runtime until the kernel has
/// let go of it. What the kernel had done all the same is not lost: an accepted connection goes to the next accept on
/// that descriptor, received bytes go to the next read on it, another descriptor is closed.
///
/// # Panics
///
/// Polling panics outside a runtime, on another runtime than the one it was started on, and after it has resolved.
#[must_use = "an op does nothing until it is awaited"]
pub struct Op<R: Request> {
    /// Never dropped as such: `Finished`, in which it ends, has nothing to drop, and `Started` neither. It spares every op
    /// that has resolved the look for what might have to be dropped.
    stage: ManuallyDrop<Stage<R>>,
    flags: EntryFlags,
    /// The runtime was asked by message to stop the op.
    asked: bool,
}

#[repr(u8)] // a tag of its own: one in the niches of the fields takes ten instructions a poll to tell apart
enum Stage<R> {
    Started(Started),
    Built(R),
    /// The request has answered itself: `Answer` or `AnswerShort`.
    Answered(R, Prepared),
    Failed(R, io::Error),
    Finished,
}

/// A node, and the runtime whose it is.
#[derive(Clone, Copy)]
struct Started {
    runtime: RuntimeId,
    key: u64,
    node: NonNull<Node>,
}

// SAFETY: (I5) the node is only touched after comparing its runtime with the one that runs on this thread; on another
// thread an op refuses to be polled and is dropped by message. The request moves with the op only before it is started.
unsafe impl<R: Request + Send> Send for Op<R> {}
// SAFETY: (I5) nothing can be done through a shared reference to an op.
unsafe impl<R: Request + Sync> Sync for Op<R> {}

impl<R: Request> Unpin for Op<R> {}

impl<R: Request> Op<R> {
    /// An op for this request.
    pub fn new(request: R) -> Self {
        // op-flow 1/8: built. A value: no system call, no allocation, nothing queued.
        Self { stage: ManuallyDrop::new(Stage::Built(request)), flags: EntryFlags::default(), asked: false }
    }

    /// The request, to set options on it before the op is started.
    ///
    /// # Panics
    ///
    /// Panics once a poll has queued or answered the request: the kernel may already have it.
    pub fn request_mut(&mut self) -> &mut R {
        match &mut *self.stage {
            Stage::Built(request) => request,
            _ => panic!("an op's options are set before it is first polled"),
        }
    }

    /// The request, unless it was polled.
    pub(super) fn request_if_built(&mut self) -> Option<&mut R> {
        match &mut *self.stage {
            Stage::Built(request) => Some(request),
            _ => None,
        }
    }

    /// The request, to make another op of it.
    ///
    /// # Panics
    ///
    /// As [`request_mut`](Self::request_mut).
    pub(super) fn into_request(mut self) -> R {
        match mem::replace(&mut *self.stage, Stage::Finished) {
            Stage::Built(request) => request,
            other => {
                *self.stage = other;
                panic!("an op's options are set before it is first polled")
            }
        }
    }

    /// Asks the kernel, or answers at once from what is known already.
    #[inline(always)]
    fn poll_start(&mut self, cx: &mut Context<'_>) -> Poll<R::Output> {
        let Stage::Built(request) = &mut *self.stage else { unreachable!("called when Built") };
        let place = ptr::from_mut(request);
        // Also when there was no room the last time: what an older op had received may have come to lie here since.
        let prepared = ready!(request.prepare(cx));
        if prepared != Prepared::Submit {
            self.answer(prepared);
            return self.poll_unstarted();
        }
        // SAFETY: (local) not kept beyond this call.
        let core = unsafe { context::current() }.unwrap_or_else(|| outside());
        // op-flow 3/8: started. The first poll queues the op if the submission queue has room, else waits for it.
        match core.polled(cx.waker()) {
            Some(task) if core.inflight.has_room(1) && self.flags.bits().is_empty() => {
                // SAFETY: (I1) `prepare` leaves the request where it is, in the stage `Built`.
                unsafe { self.start(place, core, Flags::empty(), Some(task)) };
            }
            _ => self.start_slowly(core, cx),
        }
        Poll::Pending
    }

    /// Built -> Started if there is room, or can be made: for whoever awaits the op.
    #[cold]
    fn start_slowly(&mut self, core: &Core, cx: &mut Context<'_>) {
        // First: a foreign waker's clone is user code, and may queue ops that take the room.
        let waker = waker::duplicate(cx.waker());
        let Some(waker) = core.inflight.make_room(1, waker) else { return };
        self.start_for_nobody(core, None);
        if let Stage::Started(started) = &*self.stage
            && let Some(head) = started.head(core)
        {
            let none = match core.polled(cx.waker()) {
                Some(task) => head.put_task(task),
                None => head.put_waker(waker),
            };
            debug_assert!(none.is_none());
        }
    }

    /// Built -> Started: as [`start`](Self::start), and nobody is woken so far.
    #[inline(never)]
    fn start_for_nobody(&mut self, core: &Core, link: Option<Link>) -> Ticket {
        let flags = self.flags.bits() | Link::flags(link);
        let Stage::Built(request) = &mut *self.stage else { unreachable!("the caller has seen it") };
        let place = ptr::from_mut(request);
        // SAFETY: (I1) the request in the stage `Built`.
        unsafe { self.start(place, core, flags, None) }
    }

    /// Built -> Started: moves the request into a node and queues its entry.
    ///
    /// # Safety
    ///
    /// `request` is the one in the stage, which is `Built`.
    #[inline(always)] // the usual way knows what `flags` are, and that there is a task
    unsafe fn start(
        &mut self,
        request: *mut R,
        core: &Core,
        flags: Flags,
        task: Option<TaskNumber>,
    ) -> Ticket {
        let node = core.inflight.take_node(Held::<R>::CLASS);
        // SAFETY: (I1) the node was just taken from a class that fits `R`, and holds nothing. The request is moved out of
        // the stage, which is overwritten without being dropped, by `queue` or the guard: one copy, straight into the node.
        let sqe = unsafe {
            Held::<R>::put(node, request);
            let emptied = Emptied(&mut *self.stage);
            // The request is in place, at its final address, and nothing else looks at it.
            let sqe = (*Held::<R>::at(node)).sqe();
            mem::forget(emptied);
            sqe
        };
        // SAFETY: (I1) the request is in place, and `Request` promises that it owns what the entry points to.
        unsafe { self.queue(core, node, sqe, flags, task) }
    }

    /// Queues the op for nobody: it is not stopped, and what comes goes to [`Request::abandon`]. For what must be done
    /// after the last who could wait for it is gone. Gives the request back when it cannot be queued now.
    pub(super) fn start_detached(request: R, core: &Core) -> Result<(), R> {
        if !core.inflight.has_room(1) {
            return Err(request);
        }
        let mut op = Self::new(request);
        op.start_for_nobody(core, None);
        if let Stage::Started(Started { node, .. }) = *op.stage {
            core.inflight.detach(node);
        }
        *op.stage = Stage::Finished; // the node is on its own
        Ok(())
    }

    /// Started -> Finished, with what is still to come left to [`Request::abandon`]: the op goes on, unstopped, and nobody
    /// waits for its end. For an op whose outcome is known while the kernel still holds the request. `false`, and nothing
    /// was done, of one that is not in flight here.
    pub(super) fn let_go(&mut self) -> bool {
        let Stage::Started(started) = *self.stage else { return false };
        let gone = context::with(|core| {
            let core = core.filter(|core| core.id == started.runtime)?;
            let queued = started.head(core)?.state() == State::Queued;
            queued.then(|| core.inflight.detach(started.node))
        });
        if gone.is_some() {
            *self.stage = Stage::Finished;
        }
        gone.is_some()
    }

    /// Answered -> Started: as [`start`](Self::start), but the entry only keeps the op's place in a chain.
    ///
    /// A way of its own: an entry that may be one of three is put together in memory, and read from there before it has
    /// arrived.
    #[cold]
    fn start_answered(&mut self, core: &Core, link: Option<Link>) -> Ticket {
        let Stage::Answered(request, answer) = mem::replace(&mut *self.stage, Stage::Finished) else {
            unreachable!("the caller has seen it")
        };
        let mut request = ManuallyDrop::new(request);
        let flags = self.flags.bits() | Link::flags(link);
        let node = core.inflight.take_node(Held::<R>::CLASS);
        // SAFETY: (I1) as in `start`.
        unsafe { Held::<R>::put(node, &raw mut *request) };
        let sqe = match answer {
            // A cancel of nothing answers ENOENT, which breaks the chain as the short read would have.
            Prepared::AnswerShort(_) => opcode::AsyncCancel::new(u64::MAX).build().into(),
            _ => opcode::Nop::new().build().into(),
        };
        // SAFETY: (I1) as in `start`; the entry points to nothing.
        let ticket = unsafe { self.queue(core, node, sqe, flags, None) };
        // SAFETY: (I5) the node was just queued by this thread; shared access only.
        let head = unsafe { node.as_ref() };
        head.outcome.set(Outcome::new(answer.result(), 0));
        head.set(flag::PRESET);
        ticket
    }

    /// Finished, or Built and moved out -> Started: queues the entry of a node.
    ///
    /// # Safety
    ///
    /// The request is in the node, and owns what the entry points to. The stage has nothing to drop.
    #[inline(always)]
    unsafe fn queue(
        &mut self,
        core: &Core,
        node: NonNull<Node>,
        sqe: Sqe,
        flags: Flags,
        task: Option<TaskNumber>,
    ) -> Ticket {
        // SAFETY: (I1) by the contract; the vtable is that of the request.
        let Queued { ticket, user_data } =
            unsafe { core.inflight.queue(node, &Held::<R>::VTABLE, sqe, flags, task) };
        if R::NOTES_LAST {
            // SAFETY: (I5) the node was just queued by this thread; shared access only.
            unsafe { node.as_ref() }.set(flag::NOTES_LAST);
        }
        if R::STOPS_OTHERS {
            core.inflight.stops_others(node);
        }
        let started = Started { runtime: core.id, key: user_data, node };
        // SAFETY: (I1) by the contract, nothing is overwritten that would have to be dropped.
        unsafe { ptr::write(&mut *self.stage, Stage::Started(started)) };
        ticket
    }

    #[inline(always)]
    fn poll_claim(&mut self, cx: &mut Context<'_>) -> Poll<R::Output> {
        let Stage::Started(Started { runtime, key, node, .. }) = *self.stage else {
            unreachable!("called when Started")
        };
        // SAFETY: (local) not kept beyond this call.
        let core =
            unsafe { context::current() }.filter(|core| core.id == runtime).unwrap_or_else(|| elsewhere());
        // SAFETY: (I5) nodes live as long as their runtime, which runs on this thread; shared access only.
        let head = unsafe { node.as_ref() };
        if !head.is_done_for(key) {
            self.wait(core, cx);
            return Poll::Pending;
        }
        let (res, flags) = (head.outcome.get().res(), head.outcome.get().flags());
        let result = if res >= 0 { Ok(res as u32) } else { failure(core, head) };
        // SAFETY: (I1) Done: the kernel has let go of the request, which is taken once, before the node is released.
        let request = unsafe { Held::<R>::take(node) };
        core.inflight.release(node, key, Held::<R>::CLASS);
        // Last, so that the drop of the op, which comes next, need not look; nothing above is user code.
        // SAFETY: (local) `Started`, which is overwritten, has nothing to drop.
        unsafe { ptr::write(&mut *self.stage, Stage::Finished) };
        // op-flow 8/8: value. The request reads the result and gives back what it held.
        Poll::Ready(request.finish(result, flags))
    }

    /// Stops an op whose result is not there yet, and leaves the waker with its node. `false`: it takes no effect any more, and
    /// cannot be stopped.
    #[inline(never)] // as `wait`
    fn stop(core: &Core, node: NonNull<Node>, cx: &mut Context<'_>) -> bool {
        // SAFETY: (I5) the caller has a node of this runtime that is Queued; shared access only.
        let head = unsafe { node.as_ref() };
        if head.has(flag::SETTLED) {
            core.inflight.detach(node);
            return false;
        }
        core.inflight.request_cancel(node);
        leave_waker(core, head, cx);
        true
    }

    /// Leaves the waker with the node, whose result is not there yet.
    #[inline(never)] // for the sake of the poll that finds the result
    fn wait(&self, core: &Core, cx: &mut Context<'_>) {
        if let Stage::Started(started) = &*self.stage {
            started.wait(core, cx);
        }
    }

    /// An op whose outcome is there without a node.
    #[cold]
    fn poll_unstarted(&mut self) -> Poll<R::Output> {
        match mem::replace(&mut *self.stage, Stage::Finished) {
            Stage::Answered(request, answer) => {
                Poll::Ready(request.finish(to_result(Outcome::new(answer.result(), 0)), 0))
            }
            Stage::Failed(request, error) => Poll::Ready(request.finish(Err(error), 0)),
            _ => panic!("an op was polled after it had resolved"),
        }
    }

    /// Built -> Answered.
    #[cold]
    fn answer(&mut self, answer: Prepared) {
        if let Stage::Built(request) = mem::replace(&mut *self.stage, Stage::Finished) {
            *self.stage = Stage::Answered(request, answer);
        }
    }

    /// Built -> Failed: it resolves with the error and what it held. One that is answered already keeps its answer:
    /// that is its outcome, whatever else was wanted.
    fn fail(&mut self, error: io::Error) {
        if matches!(*self.stage, Stage::Built(_))
            && let Stage::Built(request) = mem::replace(&mut *self.stage, Stage::Finished)
        {
            *self.stage = Stage::Failed(request, error);
        }
    }
}

impl<R: Request> Future for Op<R> {
    type Output = R::Output;

    /// Inlined wherever the op is awaited, and so are the two ways it takes: a call for each of them costs a nop three
    /// nanoseconds, and what follows the await knows the output.
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Stage::Started(_) = *self.stage {
            self.poll_claim(cx)
        } else if let Stage::Built(_) = *self.stage {
            self.poll_start(cx)
        } else {
            self.poll_unstarted()
        }
    }
}

impl<R: Request> Drop for Op<R> {
    #[inline]
    fn drop(&mut self) {
        if !matches!(*self.stage, Stage::Finished) {
            self.drop_unfinished();
        }
    }
}

impl<R: Request> Op<R> {
    /// The drop of an op that has not resolved.
    #[cold]
    fn drop_unfinished(&mut self) {
        if let Stage::Started(started) = &*self.stage {
            started.abandon();
        } else {
            self.drop_unstarted(); // and leaves it `Finished`
        }
    }

    /// An op that was never queued; but one that was answered already gives the answer back.
    fn drop_unstarted(&mut self) {
        if let Stage::Answered(request, answer) = mem::replace(&mut *self.stage, Stage::Finished) {
            request.abandon(to_result(Outcome::new(answer.result(), 0)), 0, false);
        }
    }
}

/// Leaves the waker with a node whose result is not there yet, unless it has it already.
#[inline]
fn leave_waker(core: &Core, head: &Node, cx: &mut Context<'_>) {
    let old = match core.polled(cx.waker()) {
        Some(task) if head.task() != Some(task) => head.put_task(task),
        None if !head.will_wake(cx.waker()) => head.put_waker(waker::duplicate(cx.waker())),
        _ => return,
    };
    drop(old);
}

impl Started {
    /// The head of the node, unless the runtime, which is about to end, has taken the node away from this op.
    #[inline]
    fn head(&self, core: &Core) -> Option<&Node> {
        debug_assert!(core.id == self.runtime);
        // SAFETY: (I5) nodes live as long as their runtime, which runs on this thread; shared access only.
        let head = unsafe { self.node.as_ref() };
        head.belongs_to(self.key).then_some(head)
    }

    /// Leaves the waker with the node, whose result is not there yet.
    fn wait(&self, core: &Core, cx: &mut Context<'_>) {
        leave_waker(core, self.head(core).unwrap_or_else(|| elsewhere()), cx);
    }

    /// The future is gone. Its runtime stops the op and disposes of the result (I2).
    fn abandon(&self) {
        context::with(|core| match core {
            Some(core) if core.id == self.runtime => {
                if self.head(core).is_some() {
                    core.inflight.orphan(self.node);
                }
            }
            // Another thread, or the runtime is not running: a message. If it is gone, it has waited for the op itself.
            _ => drop(registry::entry_of(self.runtime).post(self.runtime, Remote::DropNode(self.key))),
        });
    }

    /// `asked`: whether the runtime was asked by message already.
    fn request_cancel(&self, asked: &mut bool) {
        context::with(|core| match core {
            Some(core) if core.id == self.runtime => {
                if self.head(core).is_some() {
                    core.inflight.request_cancel(self.node);
                }
            }
            // As in `abandon`, but once: the op may be asked any number of times.
            _ if *asked => {}
            _ => {
                *asked = true;
                drop(registry::entry_of(self.runtime).post(self.runtime, Remote::CancelNode(self.key)));
            }
        });
    }
}

impl<R: Request> Operation for Op<R> {
    fn request_cancel(mut self: Pin<&mut Self>) {
        let op = &mut *self;
        match &*op.stage {
            Stage::Started(started) => started.request_cancel(&mut op.asked),
            Stage::Built(_) => self.fail(io::Error::from_raw_os_error(libc::ECANCELED)),
            Stage::Answered(..) | Stage::Failed(..) | Stage::Finished => {}
        }
    }

    #[inline]
    fn poll_discard(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Stage::Started(Started { runtime, key, node }) = *self.stage else {
            self.drop_unstarted();
            *self.stage = Stage::Finished;
            return Poll::Ready(());
        };
        // SAFETY: (local) not kept beyond this call.
        let core =
            unsafe { context::current() }.filter(|core| core.id == runtime).unwrap_or_else(|| elsewhere());
        // SAFETY: (I5) nodes live as long as their runtime, which runs on this thread; shared access only.
        let head = unsafe { node.as_ref() };
        // Else the runtime, which is about to end, has taken the node away from this op.
        if head.belongs_to(key) {
            if head.state() != State::Done {
                if Self::stop(core, node, cx) {
                    return Poll::Pending;
                }
            } else {
                // By no way through the node's table: so soon after the kernel, the processor does not foresee where an indirect
                // call goes.
                // SAFETY: (I1) Done, and this op's: the kernel has let go of the request, and nobody else takes it.
                core.inflight.contained(|| unsafe { Held::<R>::abandon(&core.inflight, node) });
            }
        }
        // SAFETY: (local) `Started`, which is overwritten, has nothing to drop.
        unsafe { ptr::write(&mut *self.stage, Stage::Finished) };
        Poll::Ready(())
    }

    /// `false` before the first poll, which only submits it.
    fn may_resolve(&self) -> bool {
        !matches!(*self.stage, Stage::Built(_)) && !self.waits()
    }

    #[inline]
    fn waits(&self) -> bool {
        let Stage::Started(Started { runtime, key, node }) = *self.stage else { return false };
        // SAFETY: (local) not kept beyond this call.
        let here = unsafe { context::current() }.is_some_and(|core| core.id == runtime);
        // SAFETY: (I5) nodes live as long as their runtime, which runs on this thread; shared access only.
        here && unsafe { node.as_ref() }.is_plainly_queued_for(key)
    }

    /// So before the first poll: nobody else knows of it.
    fn is_inert(&self) -> bool {
        matches!(*self.stage, Stage::Built(_))
    }
}

impl<R: Request> RingOperation for Op<R> {
    fn entries(&self) -> usize {
        usize::from(matches!(*self.stage, Stage::Built(_) | Stage::Answered(..))) // what is over or in flight adds none
    }

    fn poll_prepare(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Stage::Built(request) = &mut *self.stage {
            let prepared = ready!(request.prepare(cx));
            if prepared != Prepared::Submit {
                self.answer(prepared);
            }
        }
        Poll::Ready(())
    }

    fn stage(mut self: Pin<&mut Self>, chain: &mut Chain<'_>, tail: Option<Link>) {
        // The kernel drains a chain as a whole, and is told so at its head. Told of another member, it drains whatever is
        // submitted after the chain as well, and of that nobody here would know.
        let holds_back = chain.drains(self.flags);
        if holds_back {
            self.flags = self.flags.without_drain();
        }
        match &*self.stage {
            Stage::Built(_) => chain.push(tail, |core, link| self.start_for_nobody(core, link)),
            Stage::Answered(..) => chain.push(tail, |core, link| self.start_answered(core, link)),
            Stage::Started(_) | Stage::Failed(..) | Stage::Finished => return,
        }
        if let Stage::Started(started) = &*self.stage {
            // SAFETY: (I5) the node was just queued by this thread; shared access only.
            let head = unsafe { started.node.as_ref() };
            head.note(flag::CHAINED);
            if holds_back {
                chain.hold_back(head);
            }
        }
    }

    fn poll_ended(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Stage::Started(started) = &*self.stage else { return Poll::Ready(()) };
        context::with(|core| {
            let core = core.filter(|core| core.id == started.runtime).unwrap_or_else(|| elsewhere());
            if started.head(core).is_some_and(|head| head.state() == State::Done) {
                return Poll::Ready(());
            }
            started.wait(core, cx);
            Poll::Pending
        })
    }

    fn refuse(mut self: Pin<&mut Self>, error: &dyn Fn() -> io::Error) {
        self.fail(error());
    }

    fn add_flags(mut self: Pin<&mut Self>, flags: EntryFlags) {
        self.flags = self.flags.with(flags);
    }

    fn drains(self: Pin<&mut Self>) -> bool {
        self.flags.drains()
    }
}

impl<R: Request> std::fmt::Debug for Op<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stage = match &*self.stage {
            Stage::Built(_) => "Built",
            Stage::Answered(..) => "Answered",
            Stage::Failed(..) => "Failed",
            Stage::Started(_) => "Started",
            Stage::Finished => "Finished",
        };
        f.debug_struct("Op").field("request", &std::any::type_name::<R>()).field("stage", &stage).finish()
    }
}

/// A stage whose request was moved out: `Finished`, if whoever puts the entry together unwinds. That is written only then,
/// because otherwise another stage is written a moment later.
struct Emptied<'s, R>(&'s mut Stage<R>);

impl<R> Drop for Emptied<'_, R> {
    fn drop(&mut self) {
        // SAFETY: (I1) the request, all that the stage had to drop, was moved out.
        unsafe { ptr::write(self.0, Stage::Finished) };
    }
}

/// Where a request of type `R` lies in its node: inline if a size class fits, boxed otherwise.
struct Held<R>(std::marker::PhantomData<R>);

impl<R: Request> Held<R> {
    const INLINE: Option<usize> = class_of(size_of::<R>(), align_of::<R>());
    const CLASS: usize = match Self::INLINE {
        Some(class) => class,
        None => match class_of(size_of::<Box<R>>(), align_of::<Box<R>>()) {
            Some(class) => class,
            None => unreachable!(),
        },
    };
    const VTABLE: VTable = VTable {
        orphaned: Self::orphaned,
        withdrawn: Self::withdrawn,
        offer: Self::offer,
        more: Self::more,
        last: Self::last,
        again: if R::REPEATABLE { Some(Self::again) } else { None },
        abandon: Self::abandon,
    };

    /// Moves a request into a node.
    ///
    /// # Safety
    ///
    /// The node was taken from `CLASS` and holds no request; the one at `request` is not used or dropped afterwards.
    #[inline]
    unsafe fn put(node: NonNull<Node>, request: *mut R) {
        let place = payload(node);
        if Self::INLINE.is_some() {
            // SAFETY: (I1) the class fits `R` in size and alignment, and the place holds nothing.
            unsafe { copy_by_words(request, place.cast::<R>()) };
        } else {
            // SAFETY: (I1) as the caller promises, the request is read once.
            let boxed = Box::into_raw(Box::new(unsafe { request.read() }));
            // SAFETY: (I1) the class fits a pointer, and the place holds nothing.
            unsafe { place.cast::<*mut R>().write(boxed) };
        }
    }

    /// # Safety
    ///
    /// The node holds a request put there by `put`.
    #[inline]
    unsafe fn at(node: NonNull<Node>) -> *mut R {
        // SAFETY: (I1) as the caller promises.
        unsafe { Self::locate(payload(node)) }
    }

    /// # Safety
    ///
    /// `place` is the payload of a node that holds a request put there by `put`.
    #[inline]
    unsafe fn locate(place: *mut u8) -> *mut R {
        if Self::INLINE.is_some() {
            place.cast()
        } else {
            // SAFETY: (I1) `put` wrote the pointer.
            unsafe { place.cast::<*mut R>().read() }
        }
    }

    /// # Safety
    ///
    /// The node holds a request put there by `put`, the kernel has let go of it, and it is not used afterwards.
    #[inline]
    unsafe fn take(node: NonNull<Node>) -> R {
        // SAFETY: (I1) as the caller promises.
        let request = unsafe { Self::at(node) };
        if Self::INLINE.is_some() {
            // SAFETY: (I1) read once; the node is released without looking at the place again.
            unsafe { request.read() }
        } else {
            // SAFETY: (I1) the box was made by `put` and is taken once.
            *unsafe { Box::from_raw(request) }
        }
    }

    unsafe fn orphaned(place: *mut u8) {
        // SAFETY: (I1) the dispatcher calls this with the payload of a node of this vtable, while the request is in it.
        // The kernel may touch what the request points to, never the request's own bookkeeping.
        unsafe { (*Self::locate(place)).orphaned() };
    }

    unsafe fn withdrawn(place: *mut u8) {
        // SAFETY: (I1) as in `orphaned`.
        unsafe { (*Self::locate(place)).withdrawn() };
    }

    unsafe fn offer(place: *mut u8, gift: &mut dyn Any) -> bool {
        // SAFETY: (I1) as in `orphaned`.
        unsafe { (*Self::locate(place)).offer(gift) }
    }

    unsafe fn more(place: *mut u8, outcome: Outcome, orphaned: bool) -> More {
        // SAFETY: (I1) as in `orphaned`.
        unsafe { (*Self::locate(place)).more(to_result(outcome), outcome.flags(), orphaned) }
    }

    unsafe fn last(place: *mut u8, outcome: Outcome) {
        // SAFETY: (I1) as in `orphaned`; the kernel has let go of it altogether.
        unsafe { (*Self::locate(place)).last(to_result(outcome), outcome.flags()) };
    }

    unsafe fn again(place: *mut u8) -> Sqe {
        // SAFETY: (I1) as in `last`.
        unsafe { (*Self::locate(place)).sqe() }
    }

    #[inline]
    unsafe fn abandon(inflight: &Inflight, node: NonNull<Node>) {
        // SAFETY: (I5) the dispatcher calls this with a node of this vtable that is Done; shared access only.
        let head = unsafe { node.as_ref() };
        let (outcome, told) = (head.outcome.get(), head.has(flag::TOLD));
        let key = head.key().user_data(Kind::Op);
        // SAFETY: (I1) Done: the kernel has let go of the request, which is taken once, before the node is released.
        let request = unsafe { Self::take(node) };
        inflight.release(node, key, Self::CLASS);
        request.abandon(to_result(outcome), outcome.flags(), told);
    }
}

/// As `copy_nonoverlapping`, but never two words in one load.
///
/// A request was built a moment ago, field by field. A load that spans two of those stores would wait until both have
/// reached the cache: 4 ns of an op.
///
/// # Safety
///
/// As for `copy_nonoverlapping` of one value.
#[inline]
unsafe fn copy_by_words<R>(from: *const R, to: *mut R) {
    type Word = MaybeUninit<*mut ()>;
    let small = align_of::<R>() == align_of::<Word>() && size_of::<R>() <= 16 * size_of::<Word>();
    let words = if small { size_of::<R>() / size_of::<Word>() } else { 0 };
    for word in 0..words {
        // SAFETY: (local) inside both values, aligned as they are. A word of any kind, padding included, is a valid `Word`;
        // volatile, so that the compiler does not join two of them.
        unsafe { to.cast::<Word>().add(word).write_volatile(from.cast::<Word>().add(word).read_volatile()) };
    }
    if words == 0 {
        // SAFETY: (local) as this function's contract says.
        unsafe { ptr::copy_nonoverlapping(from, to, 1) };
    }
}
