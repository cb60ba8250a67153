//! An operation and a deadline.
//!
//! Knows: [`Operation`], the runtime's timers. Does not know: what the operation is, how timers work.

use core::error::Error;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::combinators::Flaggable;
use crate::combinators::operators::impl_operators;
use crate::operation::Operation;
use crate::ops::EntryFlags;
use crate::runtime::time::Sleep;

pin_project! {
    /// The operation that [`timeout`](super::OperationExt::timeout) and [`deadline`](super::OperationExt::deadline) return.
    ///
    /// ```text
    /// Running ──the deadline passes──▶ Late
    ///    └──asked to stop before──▶ Asked
    /// ```
    #[must_use = "nothing starts until it is awaited"]
    pub struct Timeout<O, T = Sleep> {
        #[pin]
        op: O,
        #[pin]
        timer: T,
        phase: Phase,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// In time so far.
    Running,
    /// The deadline has passed and the operation was asked to stop: whatever it still resolves to is late.
    Late,
    /// The operation was asked to stop before the deadline, which no longer matters.
    Asked,
}

impl<O, T> Timeout<O, T> {
    pub(super) fn new(op: O, timer: T) -> Self {
        Self { op, timer, phase: Phase::Running }
    }
}

impl<O: Operation, T: Operation> Future for Timeout<O, T> {
    type Output = Result<O::Output, Elapsed<O::Output>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if *this.phase != Phase::Late {
            // The operation first: what is there when the deadline passes was in time.
            if let Poll::Ready(output) = this.op.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if *this.phase == Phase::Asked {
                return Poll::Pending;
            }
            ready!(this.timer.poll(cx));
            *this.phase = Phase::Late; // Running -> Late
            this.op.as_mut().request_cancel();
        }
        this.op.poll(cx).map(|outcome| Err(Elapsed { outcome }))
    }
}

impl<O: Operation, T: Operation> Operation for Timeout<O, T> {
    fn request_cancel(self: Pin<&mut Self>) {
        let this = self.project();
        if *this.phase == Phase::Running {
            *this.phase = Phase::Asked; // Running -> Asked
            this.op.request_cancel();
        }
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().op.poll_discard(cx)
    }

    fn commit_on_poll(self: Pin<&mut Self>) {
        self.project().op.commit_on_poll();
    }

    fn is_decided(&self) -> bool {
        self.op.is_decided()
    }

    fn may_resolve(&self) -> bool {
        self.op.may_resolve() || self.phase == Phase::Running && self.timer.may_resolve()
    }

    fn waits(&self) -> bool {
        self.op.waits() && (self.phase != Phase::Running || self.timer.waits())
    }

    fn may_be_put_off(&self) -> bool {
        self.phase == Phase::Running && self.op.may_be_put_off() && self.timer.may_be_put_off()
    }

    fn is_inert(&self) -> bool {
        self.op.is_inert()
    }
}

impl<O: Flaggable, T: Operation> Flaggable for Timeout<O, T> {
    fn add_flags(self: Pin<&mut Self>, flags: EntryFlags) {
        self.project().op.add_flags(flags);
    }
}

impl_operators! { all any: [O: Operation, T: Operation,] Timeout<O, T>; }

impl<O, T> fmt::Debug for Timeout<O, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// The deadline passed first; here is what became of the operation all the same.
///
/// It was asked to stop and waited out, so its buffer or value is in the outcome, and if it had completed by then, so is
/// what it completed with. Nothing of it is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed<T> {
    /// What the stopped operation resolved to.
    pub outcome: T,
}

impl<T> Elapsed<T> {
    /// What the stopped operation resolved to.
    pub fn into_outcome(self) -> T {
        self.outcome
    }
}

impl<T> fmt::Display for Elapsed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline passed before the operation completed")
    }
}

impl<T: fmt::Debug> Error for Elapsed<T> {}

impl<T> From<Elapsed<T>> for std::io::Error {
    fn from(_: Elapsed<T>) -> Self {
        std::io::ErrorKind::TimedOut.into()
    }
}
