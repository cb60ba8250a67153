//! What tests of single ops share: an op polled by hand, an error's number, one test at a time.
//!
//! Knows: the public API, and the helpers in `support`. Does not know: what is tested.

#![allow(dead_code, reason = "every test binary compiles this file and uses its own part of it")]

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use millstream::Runtime;

use super::support::{Watchdog, alone};

pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Every test runs alone: some count descriptors. Each runtime leaves one behind, for the next one.
pub(crate) fn begin() -> impl Sized {
    let held = (alone(), Watchdog::new(Duration::from_secs(60)));
    drop((Runtime::new(), Runtime::new()));
    held
}

/// Polls once, and tells whether that was enough.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_ready())).await
}

pub(crate) fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}
