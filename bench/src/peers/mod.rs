//! The same work on other crates, where they can do it. Nobody builds them but this program.
//!
//! Knows: runtimes and channels of other crates. Does not know: what is measured.

pub(crate) mod channels;
pub(crate) mod compio;
pub(crate) mod executors;
pub(crate) mod glommio;
pub(crate) mod monoio;
pub(crate) mod tokio;

use std::future::poll_fn;
use std::task::Poll;

/// Wakes the task that is polled, and is done at the next poll: for peers whose own yield is none, or does more.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
