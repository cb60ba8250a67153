//! Letting the other tasks have a turn.
//!
//! Knows: wakers. Does not know: the runtime.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Gives way to every task that is ready: this one is polled again after them.
///
/// # Cancel safety
///
/// Nothing is lost.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// millstream::Runtime::new()?.block_on(async {
///     let task = millstream::spawn(async {});
///     millstream::yield_now().await;
///     assert!(task.is_finished());
/// });
/// # Ok(())
/// # }
/// ```
#[inline]
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
