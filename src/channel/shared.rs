//! What all ends of one channel share: the engine behind its lock and the counts of ends. Every operation goes
//! through here: lock, let the engine decide, unlock, and only then wake and drop.
//!
//! Knows: the engine, the lock, wakes, the poll budget. Does not know: futures, endpoint types.
#![allow(unsafe_code, reason = "hands waiters that live in futures to the engine")]

mod many;
mod permit;
mod watchers;

use core::fmt;
use core::mem::ManuallyDrop;
use core::task::{Context, Poll, Waker};

use super::engine::{Closed, Engine, Offer, Refused, Step};
use super::error::{PopError, PushError, TryPopError, TryPushError};
use super::ring::Ring;
use super::sharing::{Count, Gate, Means, Sharing, Threads};
use super::waiter::{State, Waiter};
use super::wake::{Keep, contain, deliver, discard};
use crate::util::plain::Plain;
use crate::util::{executor, lookout};

/// One channel.
pub(super) struct Shared<T, S: Sharing> {
    engine: S::Gate<T>,
    capacity: usize,
    senders: S::Count,
    receivers: S::Count,
}

type Guard<'a, T, S> = <<S as Means>::Gate<T> as Gate<T>>::Guard<'a>;

// SAFETY: (I5) values move between threads, hence `T: Send`. The raw links of the engine lead to waiters in pinned
// futures and are followed only under the lock, which whoever unlinks and frees a waiter takes too.
unsafe impl<T: Send> Send for Shared<T, Threads> {}
// SAFETY: (I5) as above; all access through `&Shared` is by the lock or by atomics, and no `&T` is ever handed out.
unsafe impl<T: Send> Sync for Shared<T, Threads> {}

/// The lock after a value was taken out. What follows from that is done when this is dropped: when the value is where it
/// goes, so that it is not put down somewhere on the way there.
struct Settling<'a, T: 'a, S: Sharing>(ManuallyDrop<Guard<'a, T, S>>);

impl<T, S: Sharing> Drop for Settling<'_, T, S> {
    #[inline(always)]
    fn drop(&mut self) {
        let wakes = self.0.settle();
        // SAFETY: (local) not used after this.
        unsafe { ManuallyDrop::drop(&mut self.0) };
        wakes.deliver();
    }
}

/// Waiters told about a close under one hold of the lock.
const END_BATCH: usize = 16;

impl<T, S: Sharing> Shared<T, S> {
    /// A channel with one end of each kind.
    pub(super) fn new(ring: Ring<T>, capacity: usize) -> Self {
        Self {
            engine: S::Gate::new(Engine::new(ring, capacity)),
            capacity,
            senders: S::Count::new(1),
            receivers: S::Count::new(1),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// What `Debug` shows of an end.
    pub(super) fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, closed) = self.look(|engine| (engine.len(), engine.is_closed()));
        let mut out = f.debug_struct(name);
        out.field("capacity", &self.capacity)
            .field("len", &len)
            .field("closed", &closed)
            .finish_non_exhaustive()
    }

    /// Looks at the engine; `f` is ours and short.
    #[inline]
    pub(super) fn look<R>(&self, f: impl FnOnce(&Engine<T>) -> R) -> R {
        f(&self.engine.lock_calmly())
    }

    /// Whether a push would find no room, at a look that disturbs nobody and may be late.
    pub(super) fn looks_full(&self) -> bool {
        self.engine.looks_full()
    }

    /// Whether a pop would have to wait, at a look that disturbs nobody and may be late.
    pub(super) fn looks_empty(&self) -> bool {
        self.engine.looks_empty()
    }

    // ---- push ----

    #[inline]
    pub(super) fn try_push(&self, value: T) -> Result<(), TryPushError<T>> {
        let mut slot = Some(value);
        let Some(mut engine) = self.engine.push_or_lock(&mut slot) else { return Ok(()) };
        let outcome = engine.try_push(&mut slot);
        drop(engine);
        match (outcome, slot) {
            (Err(Refused::Full), Some(value)) => Err(TryPushError::Full(value)),
            (Err(Refused::Closed), Some(value)) => Err(TryPushError::Closed(value)),
            (outcome, _) => {
                deliver(outcome.ok().flatten());
                Ok(())
            }
        }
    }

    /// A push of a thread that will wait, and may look again before: `Err(None)`, and the value stays.
    pub(super) fn try_push_or_look(&self, value: &mut Option<T>) -> Result<(), Option<Closed>> {
        let mut engine = match self.engine.push_or_look(value, || true) {
            Ok(()) => return Ok(()),
            Err(None) => return Err(None),
            Err(Some(engine)) => engine,
        };
        let outcome = engine.try_push(value);
        drop(engine);
        match outcome {
            Ok(popper) => {
                deliver(popper);
                Ok(())
            }
            Err(Refused::Full) => Err(None),
            Err(Refused::Closed) => Err(Some(Closed)),
        }
    }

    /// Polls a push.
    ///
    /// # Safety
    /// The caller owns the waiter, uses it with this channel only, keeps it where it is in memory, and calls
    /// [`withdraw_push`](Self::withdraw_push) before freeing it.
    #[inline(always)]
    pub(super) unsafe fn poll_push(
        &self,
        waiter: &Waiter<Offer<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PushError<T>>> {
        if !waiter.is_idle() {
            // SAFETY: (I3) by this function's contract.
            return unsafe { self.repoll_push(waiter, cx) };
        }
        if !executor::spend(cx) {
            return Poll::Pending;
        }
        // SAFETY: (I3) by this function's contract, and the waiter is idle.
        unsafe { self.poll_idle_push(waiter, cx) }
    }

    /// [`poll_push`](Self::poll_push) of a push that never waited.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push).
    #[inline(always)]
    unsafe fn poll_idle_push(
        &self,
        waiter: &Waiter<Offer<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PushError<T>>> {
        // SAFETY: (I3) never parked: the owner's alone.
        let value = &mut unsafe { waiter.payload() }.value;
        let mut engine = match self.engine.push_or_look(value, || self.may_look_again(waiter, cx)) {
            Ok(()) => {
                waiter.set(State::Finished);
                return Poll::Ready(Ok(()));
            }
            Err(None) => return self.look_again(cx),
            Err(Some(engine)) => engine,
        };
        if let Some(popper) = engine.push_now(value) {
            drop(engine);
            waiter.set(State::Finished);
            deliver(popper);
            return Poll::Ready(Ok(()));
        }
        // SAFETY: (I3) by this function's contract.
        unsafe { self.wait_to_push(engine, waiter, cx) }
    }

    /// [`poll_push`](Self::poll_push) of a push that has begun.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push).
    unsafe fn repoll_push(
        &self,
        waiter: &Waiter<Offer<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PushError<T>>> {
        match waiter.state() {
            // SAFETY: (I3) by this function's contract.
            State::Idle => unsafe { self.poll_idle_push(waiter, cx) },
            // SAFETY: (I3) by this function's contract.
            State::Queued | State::Notified => unsafe { self.attempt_push(self.engine.lock(), waiter, cx) },
            State::Taken | State::Closed | State::Cancelled => {
                // SAFETY: (I3) by this function's contract, and final.
                Poll::Ready(unsafe { resolve(waiter) })
            }
            State::Finished => panic!("a push was polled after it had resolved"),
        }
    }

    /// The part of [`poll_push`](Self::poll_push) of a new push that parks: first what is likely, in a straight line.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push).
    #[inline(never)]
    unsafe fn wait_to_push<'a>(
        &'a self,
        mut engine: Guard<'a, T, S>,
        waiter: &Waiter<Offer<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PushError<T>>> {
        S::Gate::push_waits(&engine);
        if !engine.is_closed()
            && let Some(waker) = executor::copy(cx.waker())
        {
            // SAFETY: (I3) a new push is not in line, and found no room; the rest is this function's contract.
            unsafe { engine.park_push(waiter, waker) };
            return Poll::Pending;
        }
        // SAFETY: (I3) by this function's contract.
        unsafe { self.attempt_push(engine, waiter, cx) }
    }

    /// The general case of [`poll_push`](Self::poll_push).
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push).
    unsafe fn attempt_push<'a>(
        &'a self,
        engine: Guard<'a, T, S>,
        waiter: &Waiter<Offer<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PushError<T>>> {
        // SAFETY: (I3) by this function's contract; an attempt that is over leaves the waiter in a final state.
        unsafe {
            self.attempt(engine, cx, |engine, keep| engine.poll_push(waiter, keep)).map(|_| resolve(waiter))
        }
    }

    /// Withdraws a push: afterwards it is `Taken`, or `Idle`/`Closed`/`Cancelled`/`Finished` with its value (if not
    /// handed out) still in the waiter.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push).
    #[inline]
    pub(super) unsafe fn withdraw_push(&self, waiter: &Waiter<Offer<T>>) -> Option<Waker> {
        if !waiter.waits() {
            return None;
        }
        // SAFETY: (I3) by this function's contract.
        unsafe { self.withdraw_waiting_push(waiter) }
    }

    #[inline(never)]
    unsafe fn withdraw_waiting_push(&self, waiter: &Waiter<Offer<T>>) -> Option<Waker> {
        // SAFETY: (I3) by this function's contract.
        let withdrawn = unsafe { self.engine.lock().withdraw_push(waiter) };
        withdrawn.wakes.deliver();
        withdrawn.own
    }

    /// Makes a push one that only its own poll may complete.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push).
    pub(super) unsafe fn commit_push_on_poll(&self, waiter: &Waiter<Offer<T>>) {
        let parked = (waiter.state() != State::Idle).then(|| self.engine.lock());
        // SAFETY: (I3) never parked, so the owner's alone, or the lock is held.
        unsafe { waiter.payload() }.by_poll = true;
        drop(parked);
    }

    // ---- pop ----

    #[inline]
    pub(super) fn try_pop(&self) -> Result<T, TryPopError> {
        let popped = match self.engine.pop_or_lock() {
            Ok((value, _hold)) => return Ok(value.value()),
            Err(mut engine) => engine.try_pop(),
        };
        match popped {
            Ok((value, wakes)) => {
                wakes.deliver();
                Ok(value)
            }
            Err(Refused::Full) => Err(TryPopError::Empty),
            Err(Refused::Closed) => Err(TryPopError::Closed),
        }
    }

    /// A pop of a thread that will wait, and may look again before: `Err(None)`.
    pub(super) fn try_pop_or_look(&self) -> Result<T, Option<PopError>> {
        let mut engine = match self.engine.pop_or_look(|| true) {
            Ok((value, _hold)) => return Ok(value.value()),
            Err(None) => return Err(None),
            Err(Some(engine)) => engine,
        };
        match engine.try_pop() {
            Ok((value, wakes)) => {
                drop(engine);
                wakes.deliver();
                Ok(value)
            }
            Err(Refused::Full) => Err(None),
            Err(Refused::Closed) => Err(Some(PopError::Closed)),
        }
    }

    /// Polls a pop.
    ///
    /// # Safety
    /// As for [`poll_push`](Self::poll_push), with [`withdraw_pop`](Self::withdraw_pop).
    #[inline(always)]
    pub(super) unsafe fn poll_pop(
        &self,
        waiter: &Waiter<()>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, PopError>> {
        let state = waiter.state();
        if state != State::Idle {
            // SAFETY: (I3) by this function's contract.
            return unsafe { self.repoll_pop(waiter, state, cx) };
        }
        if !executor::spend(cx) {
            return Poll::Pending;
        }
        let mut engine = match self.engine.pop_or_look(|| self.may_look_again(waiter, cx)) {
            Ok((value, _hold)) => {
                waiter.set(State::Finished);
                return Poll::Ready(Ok(value.value()));
            }
            Err(None) => return self.look_again(cx),
            Err(Some(engine)) => engine,
        };
        if <S::Gate<T>>::ONLOOKERS && engine.has_one() {
            S::Gate::calm(&engine); // it leaves now
        }
        if let Some(value) = engine.pop_now() {
            waiter.set(State::Finished);
            return Poll::Ready(Ok(value.value()));
        }
        // SAFETY: (I3) by this function's contract.
        unsafe { self.wait_to_pop(engine, waiter, cx) }
    }

    /// [`poll_pop`](Self::poll_pop) of a pop that has begun.
    ///
    /// # Safety
    /// As for [`poll_pop`](Self::poll_pop).
    #[inline(always)]
    unsafe fn repoll_pop(
        &self,
        waiter: &Waiter<()>,
        state: State,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, PopError>> {
        if state != State::Notified {
            // SAFETY: (I3) by this function's contract.
            return unsafe { self.repoll_idle_pop(waiter, state, cx) };
        }
        let mut engine = match self.engine.pop_counted_or_lock() {
            Ok((value, _hold)) => {
                waiter.set(State::Finished);
                return Poll::Ready(Ok(value.value()));
            }
            Err(engine) => engine,
        };
        if !engine.is_closed()
            && let Some(value) = engine.pop_counted()
        {
            waiter.set(State::Finished);
            return Poll::Ready(Ok(value.value()));
        }
        // SAFETY: (I3) by this function's contract.
        unsafe { self.attempt_pop(engine, waiter, cx) }
    }

    /// One pop that does what the first poll of a future would do, except to wait.
    #[inline]
    pub(super) fn pop_at_once(&self) -> Option<Result<T, PopError>> {
        // Calmly: for a pop, a value less is nothing new.
        let mut engine = match self.engine.pop_or_lock_calmly() {
            Ok((value, _hold)) => return Some(Ok(value.value())),
            Err(engine) => engine?,
        };
        match engine.pop_now() {
            Some(value) => {
                let value = value.value();
                if !engine.may_pop() {
                    S::Gate::calm(&engine);
                }
                Some(Ok(value))
            }
            None => self.pop_otherwise(engine),
        }
    }

    #[inline(never)]
    fn pop_otherwise(&self, mut engine: Guard<'_, T, S>) -> Option<Result<T, PopError>> {
        let Some((value, wakes)) = engine.pop_due() else {
            if !engine.may_pop() {
                S::Gate::calm(&engine);
            }
            return engine.has_ended().then_some(Err(PopError::Closed));
        };
        drop(engine);
        wakes.deliver();
        Some(Ok(value))
    }

    /// [`repoll_pop`](Self::repoll_pop) of one that has nothing counted, or had not when its state was read.
    ///
    /// # Safety
    /// As for [`poll_pop`](Self::poll_pop).
    #[inline(never)]
    unsafe fn repoll_idle_pop(
        &self,
        waiter: &Waiter<()>,
        state: State,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, PopError>> {
        match state {
            // SAFETY: (I3) by this function's contract.
            State::Idle | State::Queued | State::Notified => unsafe {
                self.attempt_pop(self.engine.lock(), waiter, cx)
            },
            State::Closed | State::Cancelled => {
                waiter.set(State::Finished);
                let closed = state == State::Closed;
                Poll::Ready(Err(if closed { PopError::Closed } else { PopError::Cancelled }))
            }
            State::Taken | State::Finished => panic!("a pop was polled after it had resolved"),
        }
    }

    /// The part of [`poll_pop`](Self::poll_pop) of a new pop that did not find a free value at once. That nobody else
    /// waits is likely, and calls nothing.
    ///
    /// # Safety
    /// As for [`poll_pop`](Self::poll_pop).
    #[inline(never)]
    unsafe fn wait_to_pop<'a>(
        &'a self,
        mut engine: Guard<'a, T, S>,
        waiter: &Waiter<()>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, PopError>> {
        if engine.nobody_waits() && self.may_look_again(waiter, cx) {
            S::Gate::calm(&engine);
            drop(engine);
            return self.look_again(cx);
        }
        if engine.nobody_pushes()
            && let Some(waker) = executor::copy(cx.waker())
        {
            // SAFETY: (I3) a new pop is not in line; the rest is this function's contract.
            unsafe { engine.park_pop_alone(waiter, waker) };
            return Poll::Pending;
        }
        // SAFETY: (I3) by this function's contract.
        unsafe { self.pull_or_wait(engine, waiter, cx) }
    }

    /// The part of [`poll_pop`](Self::poll_pop) of a new pop that looks for what others wait with.
    ///
    /// # Safety
    /// As for [`poll_pop`](Self::poll_pop).
    #[inline(never)]
    unsafe fn pull_or_wait<'a>(
        &'a self,
        mut engine: Guard<'a, T, S>,
        waiter: &Waiter<()>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, PopError>> {
        if engine.free() > 0 {
            waiter.set(State::Finished);
            let mut engine = Settling::<T, S>(ManuallyDrop::new(engine));
            return Poll::Ready(Ok(engine.0.pop_unsettled().value()));
        }
        if let Some((value, wakes)) = engine.pull_due() {
            drop(engine);
            waiter.set(State::Finished);
            wakes.deliver();
            return Poll::Ready(Ok(value));
        }
        if !engine.has_ended()
            && let Some(waker) = executor::copy(cx.waker())
        {
            // SAFETY: (I3) a new pop is not in line; the rest is this function's contract.
            let wakes = unsafe { engine.park_pop(waiter, waker) };
            drop(engine);
            wakes.deliver();
            return Poll::Pending;
        }
        // SAFETY: (I3) by this function's contract.
        unsafe { self.attempt_pop(engine, waiter, cx) }
    }

    /// The general case of [`poll_pop`](Self::poll_pop).
    ///
    /// # Safety
    /// As for [`poll_pop`](Self::poll_pop).
    unsafe fn attempt_pop<'a>(
        &'a self,
        engine: Guard<'a, T, S>,
        waiter: &Waiter<()>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, PopError>> {
        let step = self.attempt(engine, cx, |engine, keep| {
            // SAFETY: (I3) by this function's contract.
            unsafe { engine.poll_pop(waiter, keep) }
        });
        step.map(|popped| {
            waiter.set(State::Finished);
            match popped {
                Ok((value, others_ended)) => {
                    if others_ended && !planted!("the-end-is-not-passed-on") {
                        self.end_waiters();
                    }
                    Ok(value)
                }
                Err(Closed) => Err(PopError::Closed),
            }
        })
    }

    /// Withdraws a pop; a value that was counted for it stays in the channel. Returns the pop's own waker if it had
    /// one, for the caller to wake or to drop.
    ///
    /// # Safety
    /// As for [`poll_pop`](Self::poll_pop), except that the caller need not be alone with the waiter as long as nobody
    /// polls it: everything is decided and done under the lock.
    #[inline]
    pub(super) unsafe fn withdraw_pop(&self, waiter: &Waiter<()>) -> Option<Waker> {
        if !waiter.waits() {
            return None;
        }
        // SAFETY: (I3) by this function's contract.
        unsafe { self.withdraw_waiting_pop(waiter) }
    }

    /// [`withdraw_pop`](Self::withdraw_pop) of a pop that waits and will be dropped.
    ///
    /// # Safety
    /// As for [`withdraw_pop`](Self::withdraw_pop).
    #[inline(never)]
    pub(super) unsafe fn leave_pop(&self, waiter: &Waiter<()>) {
        // SAFETY: (I3) by this function's contract.
        discard(unsafe { self.withdraw_waiting_pop(waiter) });
    }

    #[inline(never)]
    unsafe fn withdraw_waiting_pop(&self, waiter: &Waiter<()>) -> Option<Waker> {
        // SAFETY: (I3) by this function's contract.
        let withdrawn = unsafe { self.engine.lock().withdraw_pop(waiter) };
        withdrawn.wakes.deliver();
        withdrawn.own
    }

    /// Asks a pop to stop: one that waits resolves to `Cancelled`, one that has a value counted delivers it.
    ///
    /// # Safety
    /// As for [`poll_pop`](Self::poll_pop).
    pub(super) unsafe fn cancel_pop(&self, waiter: &Waiter<()>) {
        match waiter.state() {
            State::Idle => waiter.set(State::Cancelled),
            State::Queued => {
                let mut engine = self.engine.lock();
                let mut own = None;
                if waiter.state() == State::Queued {
                    // SAFETY: (I3) by this function's contract; a waiter in line has nothing to pass on.
                    own = unsafe { engine.withdraw_pop(waiter) }.own;
                } else if planted!("cancel-keeps-the-value") {
                    waiter.set(State::Cancelled);
                }
                drop(engine);
                deliver(own); // its last poll promised a wake
            }
            _ => {}
        }
    }

    // ---- both ----

    /// Whether an operation that found nothing to do may look again before it waits: for what another thread is to bring, if
    /// that costs no more than a poll, and not too often. On one thread it would only keep the other side waiting.
    #[inline(always)]
    fn may_look_again<P>(&self, waiter: &Waiter<P>, cx: &Context<'_>) -> bool {
        let times = self.engine.looks().times;
        times > 0 && Plain::of(cx.waker()).is_some() && waiter.look_again(times)
    }

    #[cold]
    fn look_again<R>(&self, cx: &Context<'_>) -> Poll<R> {
        match Plain::of(cx.waker()) {
            Some(task) => lookout::look_again(task, self.engine.looks().pauses),
            None => cx.waker().wake_by_ref(),
        }
        Poll::Pending
    }

    /// Whether polling a push or a reservation might resolve it.
    #[inline]
    pub(super) fn may_push(&self, waiter: &Waiter<Offer<T>>) -> bool {
        if waiter.is_idle() { self.look(Engine::may_push) } else { waiter.state() != State::Queued }
    }

    /// Whether polling a pop might resolve it.
    #[inline]
    pub(super) fn may_pop(&self, waiter: &Waiter<()>) -> bool {
        match waiter.state() {
            State::Idle => self.may_pop_now(), // also of one that has looked
            state => state != State::Queued,
        }
    }

    /// Whether polling a new pop might resolve it: mostly without the lock.
    #[inline]
    fn may_pop_now(&self) -> bool {
        self.is_stirred() && self.look_for_pop()
    }

    /// `false`: a new pop would wait. `true`: it might not.
    #[inline(always)]
    pub(super) fn is_stirred(&self) -> bool {
        self.engine.is_stirred()
    }

    #[cold] // out of the way of a `select!` over many channels, of which most have nothing
    fn look_for_pop(&self) -> bool {
        let engine = self.engine.lock_calmly();
        let may_pop = engine.may_pop();
        if !may_pop {
            S::Gate::calm(&engine);
        }
        may_pop
    }

    /// Runs an attempt under the lock; again, with a clone of the waker, if it has to keep one that cannot be copied for
    /// nothing. Cloning and dropping wakers is the user's code, so it is done between.
    fn attempt<'a, R>(
        &'a self,
        mut engine: Guard<'a, T, S>,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&mut Engine<T>, &mut Keep<'_>) -> Step<R>,
    ) -> Poll<R> {
        let mut keep = Keep::new(cx.waker());
        loop {
            let step = attempt(&mut engine, &mut keep);
            drop(engine);
            match step {
                Step::Ready(outcome, wakes) => {
                    wakes.deliver();
                    discard(keep.clone);
                    return Poll::Ready(outcome);
                }
                Step::Parked(wakes) => {
                    wakes.deliver();
                    discard(keep.clone);
                    executor::about_to_wait(cx.waker());
                    return Poll::Pending;
                }
                Step::NeedsWaker => keep.clone = Some(cx.waker().clone()),
            }
            engine = self.engine.lock();
        }
    }

    /// Closes the channel; `false` if it was closed. Whoever waited is awake when it returns, also who was told of a value
    /// before and had that put off: the last thing that happens here is often followed by a join of their thread.
    pub(super) fn close(&self) -> bool {
        let first = self.engine.lock().close();
        if first {
            self.end_waiters();
            if !S::ONE_THREAD {
                executor::deliver();
            }
        }
        first
    }

    /// Tells waiters of a closed channel, a batch at a time: their wakers run outside the lock, and once it is
    /// released a waiter not yet told may be gone, so none can be remembered across it.
    #[cold]
    fn end_waiters(&self) {
        loop {
            let mut wakers = [const { None }; END_BATCH];
            let all = self.engine.lock().end_some(&mut wakers);
            wakers.into_iter().for_each(deliver);
            if all {
                return;
            }
        }
    }

    // ---- counting the ends ----

    pub(super) fn add_sender(&self) {
        self.senders.increment();
    }

    pub(super) fn add_receiver(&self) {
        self.receivers.increment();
    }

    /// One sender more if there is one; `false` otherwise.
    pub(super) fn add_sender_if_any(&self) -> bool {
        self.senders.increment_if_any()
    }

    /// One receiver more if there is one; `false` otherwise.
    pub(super) fn add_receiver_if_any(&self) -> bool {
        self.receivers.increment_if_any()
    }

    /// How many senders there are.
    pub(super) fn senders(&self) -> usize {
        self.senders.get()
    }

    /// How many receivers there are.
    pub(super) fn receivers(&self) -> usize {
        self.receivers.get()
    }

    /// One sender is gone; the last closes.
    pub(super) fn remove_sender(&self) {
        if self.senders.decrement() {
            self.close();
        }
    }

    /// One receiver is gone; the last closes, and drops what nobody can pop any more.
    pub(super) fn remove_receiver(&self) {
        if !self.receivers.decrement() {
            return;
        }
        if !planted!("drains-before-it-closes") {
            self.close();
        }
        let mut queued = self.engine.lock().take_ring();
        if planted!("drains-before-it-closes") {
            self.close();
        }
        while let Some(value) = queued.pop_front() {
            contain(|| drop(value)); // the rest is dropped whatever this one does
        }
    }
}

#[cfg(all(test, not(any(millstream_loom, millstream_shuttle))))]
impl<T, S: Sharing> Shared<T, S> {
    /// Holds the engine to its rules, and who looks without it to what is so: on one thread there is no excuse.
    pub(super) fn audit(&self) {
        self.look(Engine::audit);
        assert!(self.is_stirred() || !self.look(Engine::may_pop), "a pop looks away from what is there");
        if self.capacity < 2 {
            // Each time again: the first look says whether another one is needed.
            let looks = [(); 2].map(|()| (self.looks_full(), self.looks_empty()));
            let is = self.look(|engine| (engine.is_full(), engine.has_nothing()));
            assert_eq!(looks, [is; 2], "full, empty");
        } else {
            let looks = (self.looks_full(), self.looks_empty());
            let (full, free) = self.look(|engine| (engine.is_full(), engine.free()));
            assert!(full || !looks.0, "a push looks away from room");
            assert!(free == 0 || !looks.1, "a pop looks away from a value");
        }
    }
}

/// Hands out the outcome of a push.
///
/// # Safety
/// The caller owns the waiter, which is in a final state other than `Finished`.
pub(super) unsafe fn resolve<T>(waiter: &Waiter<Offer<T>>) -> Result<(), PushError<T>> {
    let state = waiter.state();
    waiter.set(State::Finished);
    // SAFETY: (I3) not `Queued`, and a peer that ended the wait is done with the waiter: the owner's alone.
    let value = unsafe { waiter.payload() }.value.take();
    match value {
        None => Ok(()),
        Some(value) if state == State::Cancelled => Err(PushError::Cancelled(value)),
        Some(value) => Err(PushError::Closed(value)),
    }
}
