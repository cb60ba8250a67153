//! Methods that every operation has.
//!
//! Knows: the adapters. Does not know: what the operation is.

use core::time::Duration;

use super::timeout::Timeout;
use crate::operation::Operation;
use crate::runtime::time;

/// Methods of every operation.
pub trait OperationExt: Operation {
    /// Gives the operation this long, counted from this call; then it is stopped and waited out.
    ///
    /// # Completion
    ///
    /// * `Ok` of the output when the operation completes in time. What is there when the deadline passes was in time.
    /// * When the deadline passes, the operation is asked to stop and waited out, and whatever it resolves to comes as
    ///   [`Elapsed`](super::Elapsed): its buffer or value back, or its result if it completed all the same. So a timeout
    ///   loses nothing. It may take longer than the deadline: as long as the operation takes to stop.
    /// * [`request_cancel`](Operation::request_cancel) asks the operation to stop; its outcome comes as `Ok`.
    ///
    /// # Cancel safety
    ///
    /// That of the operation: dropping this drops it.
    ///
    /// # Panics
    ///
    /// When polled outside a runtime, or after completion.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use millstream::channel::{self, PushError};
    /// use millstream::combinators::OperationExt;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// let (tx, _rx) = channel::bounded(1);
    /// tx.push("first").await?;
    /// let late = tx.push("second").timeout(Duration::from_millis(1)).await.unwrap_err();
    /// assert_eq!(late.into_outcome(), Err(PushError::Cancelled("second"))); // nobody took it, here it is
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    #[doc(alias("deadline", "within"))]
    #[must_use = "nothing starts until it is awaited"]
    fn timeout(self, limit: Duration) -> Timeout<Self>
    where
        Self: Sized,
    {
        Timeout::new(self, time::sleep(limit))
    }
}

impl<O: Operation + ?Sized> OperationExt for O {}
