//! The latest value of something: configuration, progress, state.
//!
//! Knows: its own parts. Does not know: the other channels.
//!
//! The channel always holds one value. A push replaces it, and never waits; receivers get the value that is there when
//! they look, and need not see every one. Each has seen a version or not: a pop waits for one that its receiver has not
//! seen. Values are cloned outside the lock.

mod closed;
mod pop;
mod receiver;
mod sender;
mod shared;

pub use closed::Closed;
pub use pop::Pop;
pub use receiver::Receiver;
pub use sender::Sender;

use crate::sync::Arc;
use shared::Shared;

/// Makes a channel that holds the latest value, at first `initial`.
///
/// The receiver has not seen the initial value: its first pop returns at once. After
/// [`mark_seen`](Receiver::mark_seen) it waits for the first push.
///
/// # Cost
///
/// Two places for values, and one more for each receiver that clones an old one while new ones are pushed. They are used
/// again: in the steady state nothing is allocated.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// let (level, mut seen) = millstream::channel::watch("info");
/// assert_eq!(seen.pop().await?, "info");
/// level.push("warn")?;
/// level.push("debug")?;
/// assert_eq!(seen.pop().await?, "debug");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// Ends move between threads if values may be looked at from several at once:
///
/// ```compile_fail,E0277
/// let (tx, rx) = millstream::channel::watch(std::cell::Cell::new(1));
/// std::thread::spawn(move || drop(rx));
/// ```
#[doc(alias = "state")]
pub fn watch<T>(initial: T) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared::new(initial));
    (Sender::new(shared.clone()), Receiver::new(shared, 0))
}
