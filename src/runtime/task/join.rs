//! The handle of a task on its own runtime, and how a task can end.
//!
//! Knows: task cells. Does not know: the run loop.
#![allow(unsafe_code, reason = "a handle owns its part of a type-erased cell")]

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use super::cell::{self, Header};
use crate::operation::Operation;

/// A hold on a spawned task: await it for the task's output.
///
/// It resolves to the output, or to a [`JoinError`] when the task was cancelled or panicked. Dropping it detaches: the
/// task runs on. It may outlive the runtime, which cancels what has not ended.
///
/// A handle stays on the runtime's thread. What [`Handle::spawn`](crate::runtime::Handle::spawn) gives can be sent.
///
/// # Cancel safety
///
/// Awaiting `&mut handle` loses nothing when it is given up. As an arm of a combinator the handle stands for its task:
/// giving it up cancels the task and waits until its future is dropped.
///
/// # Panics
///
/// When polled again after it has given its output.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rt = millstream::Runtime::new()?;
/// let sum = rt.block_on(async {
///     let task = millstream::spawn(async { 1 + 1 });
///     task.await
/// })?;
/// assert_eq!(sum, 2);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "Task")]
pub struct JoinHandle<T> {
    task: NonNull<Header>,
    output: PhantomData<T>,
}

impl<T> JoinHandle<T> {
    /// # Safety
    ///
    /// The header says that a handle exists, this is it, and `T` is the output type of the task's future.
    #[inline]
    pub(super) unsafe fn new(task: NonNull<Header>) -> Self {
        Self { task, output: PhantomData }
    }

    /// Asks the task to end: its future is dropped at its next turn, unless it has ended by then.
    ///
    /// The handle still resolves: to [`JoinError::Cancelled`], or to the output if the task was faster.
    #[doc(alias = "abort")]
    pub fn cancel(&self) {
        // SAFETY: (I5) this handle exists and is not `Send`, so this is the runtime's thread.
        unsafe { cell::request_cancel(self.task) };
    }

    /// Lets the task run on by itself; its output is dropped when it ends.
    pub fn detach(self) {}

    /// Whether the task has ended, so that awaiting this gives its output at once.
    pub fn is_finished(&self) -> bool {
        // SAFETY: (I5) as in `cancel`.
        unsafe { cell::is_finished(self.task) }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: (I5) as in `cancel`; `T` is the task's output type since `new`.
        unsafe { cell::poll_output(self.task, cx) }
    }
}

impl<T> Operation for JoinHandle<T> {
    fn request_cancel(self: Pin<&mut Self>) {
        self.cancel();
    }

    fn poll_discard(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.cancel();
        self.poll(cx).map(drop)
    }

    fn may_resolve(&self) -> bool {
        self.is_finished()
    }

    /// Also of one that was never polled: the task runs without that.
    fn waits(&self) -> bool {
        !self.is_finished()
    }
}

impl<T> Drop for JoinHandle<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: (I5) as in `cancel`; the handle is not used after.
        unsafe { cell::drop_handle(self.task) };
    }
}

impl<T> Unpin for JoinHandle<T> {} // the output is in the cell

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("is_finished", &self.is_finished()).finish()
    }
}

/// Why a task has no output.
pub enum JoinError {
    /// It was cancelled, or its runtime ended first. Its future was dropped.
    Cancelled,
    /// It panicked, or the destructor of its future did. This is the panic's payload.
    Panicked(Box<dyn Any + Send + 'static>),
}

impl JoinError {
    /// Whether the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }

    /// Goes on with the task's panic here.
    ///
    /// # Panics
    ///
    /// Always: with the task's payload, or, when the task was cancelled, saying so.
    pub fn resume_unwind(self) -> ! {
        match self {
            Self::Cancelled => panic!("the task was cancelled, so there is no panic to go on with"),
            Self::Panicked(payload) => std::panic::resume_unwind(payload),
        }
    }

    /// What the task said when it panicked, if that was text.
    pub fn message(&self) -> Option<&str> {
        let Self::Panicked(payload) = self else { return None };
        // A payload's own type may be an error or anything else; `panic!` makes these two.
        payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("Cancelled"),
            Self::Panicked(_) => f.debug_tuple("Panicked").field(&self.message().unwrap_or("..")).finish(),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.message()) {
            (Self::Cancelled, _) => f.write_str("the task was cancelled"),
            (Self::Panicked(_), Some(message)) => write!(f, "the task panicked: {message}"),
            (Self::Panicked(_), None) => f.write_str("the task panicked"),
        }
    }
}

impl Error for JoinError {}

impl From<JoinError> for std::io::Error {
    fn from(error: JoinError) -> Self {
        Self::other(error.to_string()) // the payload is not `Sync` and cannot travel inside
    }
}
