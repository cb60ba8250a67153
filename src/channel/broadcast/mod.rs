//! Every receiver gets every value: events, fan-out, invalidations.
//!
//! Knows: its own parts. Does not know: the other channels.
//!
//! One ring for all receivers; each has a position in it, and a value leaves the ring with the last receiver that had
//! still to pop it. What happens when the slowest receiver is a whole capacity behind, the maker of the channel chooses:
//! see [`Overflow`].
//!
//! Values are cloned for all receivers but the last, outside the lock. A `clone` that panics loses nothing: the receiver
//! keeps the value, and tries again with its next pop.

mod closed;
mod engine;
mod error;
mod pop;
mod push;
mod receiver;
mod sender;
mod shared;

pub use closed::Closed;
pub use engine::Overflow;
pub use error::{Lagged, PopError, TryPopError};
pub use pop::Pop;
pub use push::Push;
pub use receiver::Receiver;
pub use sender::Sender;

use crate::sync::Arc;
use shared::Shared;

/// Makes a channel whose every value goes to every receiver, and that keeps `capacity` values for those who are slow.
///
/// A receiver gets what is pushed from when it was made: by this function, by [`Sender::subscribe`], or beside another
/// one by `clone`. Without receivers, values are pushed to nobody: that is not an error, since others may subscribe.
///
/// # Panics
///
/// If `capacity` is 0: a value needs a place until all have seen it. If memory for that many slots cannot be allocated.
///
/// # Cost
///
/// A slot is two words. Places for values are allocated while the channel first fills, and used again: after that neither
/// pushing nor popping allocates.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use millstream::channel::broadcast::{Overflow, PopError};
/// use millstream::channel::{self, broadcast};
///
/// let (tx, mut fast) = channel::broadcast(2, Overflow::Lag);
/// let mut slow = tx.subscribe();
/// for n in 0..3 {
///     tx.push(n).await?;
///     assert_eq!(fast.pop().await, Ok(n));
/// }
/// assert_eq!(slow.pop().await, Err(PopError::Lagged(1)));
/// assert_eq!(slow.pop().await, Ok(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// Ends move between threads if values may be looked at from several at once:
///
/// ```compile_fail,E0277
/// use millstream::channel::{broadcast, broadcast::Overflow};
/// let (tx, rx) = broadcast::<std::cell::Cell<u8>>(1, Overflow::Lag);
/// std::thread::spawn(move || drop(rx));
/// ```
#[track_caller]
pub fn broadcast<T>(capacity: usize, overflow: Overflow) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a broadcast needs a capacity of at least 1: a value stays until all have seen it");
    let Some(shared) = Shared::try_new(capacity, overflow) else {
        panic!("a broadcast of capacity {capacity} does not fit into memory");
    };
    let shared = Arc::new(shared);
    (Sender::new(shared.clone()), Receiver::new(shared, 0))
}
