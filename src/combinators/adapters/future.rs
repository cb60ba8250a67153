//! Any future as an operation.
//!
//! Knows: [`Operation`]. Does not know: what the future is.

use core::error::Error;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::combinators::operators::impl_operators;
use crate::operation::Operation;

/// Makes an operation of a future, so that it can be an arm of a combinator: to cancel it is to drop it.
///
/// What dropping does is the future's own affair: an `async` block stops where it waits, and what it held drops. Prefer
/// operations of this crate where there are any: they give back what they held.
///
/// # Completion
///
/// When the future does, with `Ok` of its output, or with [`Cancelled`] once it was asked to stop.
///
/// # Cancel safety
///
/// That of the future: dropping this, or losing a race, drops it.
///
/// # Panics
///
/// When polled after completion.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use millstream::combinators::adapters::{self, Cancelled};
/// use millstream::combinators::{OneOf2, OperationExt};
/// use millstream::{race, time};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let answer = adapters::future(async { 42 });
/// assert_eq!(race!(answer || time::sleep(Duration::from_secs(60))).await, OneOf2::A(Ok(42)));
///
/// let late = adapters::future(std::future::pending::<()>()).timeout(Duration::from_millis(1)).await;
/// assert_eq!(late.unwrap_err().into_outcome(), Err(Cancelled));
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias("lift", "into_operation", "wrap"))]
#[must_use = "nothing starts until it is awaited"]
pub fn future<F: Future>(future: F) -> Lifted<F> {
    Lifted { state: State::Running { future } }
}

pin_project! {
    /// The operation that [`future()`] returns.
    #[must_use = "nothing starts until it is awaited"]
    pub struct Lifted<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    /// ```text
    /// Running ──ready, or discarded──▶ Over
    ///    └──asked to stop──▶ Stopped ──polled──▶ Over
    /// ```
    #[project = Projected]
    enum State<F> {
        Running { #[pin] future: F },
        Stopped,
        Over,
    }
}

impl<F: Future> Future for Lifted<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        let output = match state.as_mut().project() {
            Projected::Running { future } => match future.poll(cx) {
                Poll::Ready(output) => Ok(output),
                Poll::Pending => return Poll::Pending,
            },
            Projected::Stopped => Err(Cancelled),
            Projected::Over => panic!("a lifted future was polled after completion"),
        };
        state.set(State::Over); // Running, Stopped -> Over
        Poll::Ready(output)
    }
}

impl<F: Future> Operation for Lifted<F> {
    fn request_cancel(self: Pin<&mut Self>) {
        let mut state = self.project().state;
        if let Projected::Running { .. } = state.as_mut().project() {
            state.set(State::Stopped); // Running -> Stopped
        }
    }

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        self.project().state.set(State::Over); // any -> Over
        Poll::Ready(())
    }

    fn is_inert(&self) -> bool {
        true // to stop it is to drop it
    }
}

impl_operators! { all any: [F: Future,] Lifted<F>; }

impl<F> fmt::Debug for Lifted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifted").finish_non_exhaustive()
    }
}

/// The operation was asked to stop before it completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancelled before it completed")
    }
}

impl Error for Cancelled {}
