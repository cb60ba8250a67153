//! What became of results that had a destination.
//!
//! Knows: `core`, the pair of result and value. Does not know: destinations.

use std::io;

use crate::ops::IntoResult;

/// How many results reached their destination, and why there will be no more.
#[derive(Debug)]
#[must_use = "it may have ended with an error"]
pub struct Delivered {
    /// How many results the destination has taken.
    pub count: u64,
    /// Why it is over; an error is the op's. `ECANCELED` when it was asked to stop.
    pub end: io::Result<End>,
}

/// Why an op that went on giving results is over, without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is nothing more to come: the end of a stream, the last of a count.
    Finished,
    /// The destination takes nothing more: its channel is closed. Results that had come and that it did not take went where
    /// the results of a dropped op go.
    Closed,
}

impl IntoResult for Delivered {
    type Output = u64;

    /// How many results reached their destination.
    ///
    /// # Errors
    ///
    /// That of [`end`](Delivered::end).
    fn into_result(self) -> io::Result<u64> {
        self.end.map(|_| self.count)
    }
}
