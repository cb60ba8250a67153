//! Bounded channels: the core primitive, within a runtime, between runtimes, and with plain threads.
//!
//! Knows: `sync`, `util`, the operation contract. Does not know: rings, ops, tasks, the runtime. Any executor can use
//! it.
//!
//! [`bounded`] makes a multi-producer, multi-consumer channel of exact capacity; `0` is rendezvous. Values come out in
//! the order they went in, waiters are served in the order they came, and no drop of a future, no cancel, no close and
//! no panic loses, duplicates or reorders a value.
//!
//! # How it works
//!
//! One ring, two lines of waiters, one small lock around them. A waiter is part of the future that waits; a value never
//! is in a pop, and is in a push only as long as it is not in the channel.
//!
//! ```text
//!                      room?                                       value?
//!   push ── yes ─▶ to the ring's tail                  pop ── yes ─▶ from the ring's head, then the freed
//!    │             a popper waits: one value                         slot goes to the oldest parked push:
//!    │             is counted as its, wake it                        its value is pulled in, wake it
//!    no                                                no
//!    ▼                                                 ▼
//!   park, value in the waiter                          park
//!    ├─ pulled ────▶ Ok                                ├─ a value is counted ─▶ its poll takes the head
//!    ├─ granted ───▶ its poll pushes (arm of a race)   ├─ closed and drained ─▶ Err
//!    ├─ closed ────▶ Err, value back                   └─ dropped ────────────▶ leaves the line, or passes
//!    └─ dropped ───▶ leaves the line, or passes                                 its count on
//!                    its grant on
//! ```
//!
//! *Counted* is the rule behind the guarantees: a value that was pushed for a waiting pop stays in the ring and is only
//! counted as that pop's, so the pop can go away at any moment without taking a value along. *Pulling* is the rule
//! behind the speed: a freed slot is filled at once from the line, so a full channel moves a whole capacity of values
//! per switch between producer and consumer, and no newcomer can slip in. An arm of a race must not take effect by a
//! peer's hand, so a parked push that is one is *granted* the slot instead, and uses it inside its own poll.
//!
//! A close refuses pushes, parked ones included. Waiting pops are told once the ring is empty, and not before: a counted
//! value may still be given back to them.
//!
//! Wakers and destructors are the user's code and run outside the lock, whatever they do there, and a panic in one of
//! them does not keep the others from running.

mod blocking;
mod engine;
mod error;
mod lock;
mod pop;
mod push;
mod receiver;
mod sender;
mod shared;
mod stream;
mod waiter;
mod wake;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::sync::Arc;
use engine::HAND_OVER;
use shared::Shared;

pub use error::{PopError, PushError, TryPopError, TryPushError};
pub use pop::Pop;
pub use push::Push;
pub use receiver::Receiver;
pub use sender::Sender;

/// Makes a channel that holds `capacity` values: exactly, and `0` makes every push meet a pop.
///
/// The memory for the values is allocated here; no push or pop allocates later (except that a channel grows by one slot
/// for each receiver that waits at the same time, beyond the first few).
///
/// # Panics
///
/// If memory for that many values cannot be allocated, or `capacity` exceeds `isize::MAX`.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// let (tx, rx) = millstream::channel::bounded(16);
/// let produce = async {
///     for n in 0..100 {
///         tx.push(n).await?;
///     }
///     drop(tx);
///     Ok::<_, Box<dyn std::error::Error>>(())
/// };
/// let consume = async {
///     let mut sum = 0;
///     while let Ok(n) = rx.pop().await {
///         sum += n;
///     }
///     sum
/// };
/// let (produced, sum) = futures::join!(produce, consume);
/// produced?;
/// assert_eq!(sum, 4950);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// Ends and futures move between threads if the values may:
///
/// ```compile_fail,E0277
/// let (tx, rx) = millstream::channel::bounded::<std::rc::Rc<()>>(1);
/// std::thread::spawn(move || rx.pop_blocking());
/// ```
///
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// let (tx, rx) = millstream::channel::bounded::<std::rc::Rc<()>>(1);
/// send(tx.push(std::rc::Rc::new(())));
/// ```
#[doc(alias = "channel")]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let mut ring = VecDeque::new();
    if capacity > isize::MAX as usize || ring.try_reserve_exact(capacity.saturating_add(HAND_OVER)).is_err() {
        let size = size_of::<T>();
        panic!("a channel of capacity {capacity} (values of {size} bytes) does not fit into memory");
    }
    let shared = Arc::new(Shared::new(ring, capacity));
    (Sender::new(shared.clone()), Receiver::new(shared))
}
