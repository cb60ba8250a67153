//! Bounded channels: the core primitive, within a runtime, between runtimes, and with plain threads.
//!
//! Knows: `sync`, `util`, the operation contract. Does not know: rings, ops, tasks, the runtime. Any executor can use
//! it.
//!
//! | | ends | for |
//! |---|---|---|
//! | [`bounded`] | clones, on any thread | the default |
//! | [`spsc()`] | one of each, on any thread | pipelines across threads: no lock |
//! | [`local()`] | clones, on one thread | within a runtime: neither lock nor atomics |
//! | [`oneshot()`] | one of each | a reply |
//! | [`broadcast()`] | clones; every receiver gets every value | fan-out |
//! | [`watch()`] | clones; receivers see the latest value | state, configuration |
//! | [`after`], [`at`], [`tick`], [`never()`] | a receiver | time as an arm of a race |
//!
//! The first three have the same names and behave alike: exact capacity, and `0` is rendezvous. Values come out in the
//! order they went in, waiters are served in the order they came, and no drop of a future, no cancel, no close and no
//! panic loses, duplicates or reorders a value.
//!
//! # How it works
//!
//! One ring, a line of waiters on each side, and a gate: whoever has all of it may change any of it. Within a thread the
//! gate is nothing at all (`sharing`); between threads it is a lock (`lock`), which is a plain store as long as one thread
//! alone takes it (`bias`); and with many slots it is one lock for pushes and one for pops, which go about without each other as
//! long as nobody waits (`sides`). There, whoever finds no room or no value looks a few times more before he waits, as long as
//! nobody else does: so that nobody waits who need not, nobody looks for ever, and nobody in line is overtaken. A waiter is part of the future that waits; a value never
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
//! peer's hand, so a parked push that is one is *granted* the slot instead, and uses it inside its own poll. A
//! reservation waits in the same way, and what it is granted it hands out as a permit: a slot that is taken, without a
//! value yet. So does a batch of pushes, whose values are its caller's until they are in the ring: granted one slot, it
//! fills that and whatever else is free in one poll, and returns to its place in line with the rest.
//!
//! A close refuses pushes, parked ones included. Waiting pops are told once the ring is empty, and not before: a counted
//! value may still be given back to them. Those who wait for the close itself stand in a third line and are told at once.
//!
//! Wakers and destructors are the user's code and run outside the lock, whatever they do there. A panic in one of them
//! does not keep the others from running: the panic hook reports it, and it ends there. That is so of values that go
//! with the channel, or are replaced or overwritten in it; a value that goes with its push is the push's, and its panic
//! comes out where the push is dropped.

#[cfg(not(any(millstream_shuttle, miri)))]
#[cfg_attr(millstream_loom, allow(dead_code, reason = "there, only its own model uses it"))]
mod bias;
mod blocking;
pub mod broadcast;
mod cell;
mod closed;
mod condition;
mod engine;
mod error;
mod inlet;
mod iter;
pub mod local;
mod lock;
pub mod oneshot;
mod pop;
mod pop_many;
mod push;
mod push_from;
mod push_many;
mod receiver;
mod reserve;
mod ring;
mod sender;
mod shared;
mod sharing;
mod sides;
#[cfg(feature = "sink")]
mod sink;
pub mod spsc;
mod stream;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub mod time;
mod waiter;
mod wake;
pub mod watch;
mod weak;

#[cfg(test)]
mod tests;

use engine::HAND_OVER;
use ring::Ring;
use shared::Shared;
use sharing::Pointer;

pub use broadcast::broadcast;
pub use closed::Closed;
pub use error::{PopError, PushError, TryPopError, TryPushError};
pub use inlet::Destination;
#[doc(hidden)]
pub use inlet::Inlet;
pub use iter::{Drain, IntoIter, Iter, TryIter};
pub use oneshot::oneshot;
pub use pop::Pop;
#[doc(hidden)]
pub use pop::Untried;
pub use pop_many::PopMany;
pub use push::Push;
pub use push_from::PushFrom;
pub use push_many::PushMany;
pub use receiver::Receiver;
pub use reserve::{Permit, Reserve};
pub use sender::Sender;
pub use sharing::{Local, Sharing, Threads};
pub use spsc::spsc;
#[cfg(not(any(millstream_loom, millstream_shuttle)))]
pub use time::{after, at, never, tick};
pub use watch::watch;
pub use weak::{WeakReceiver, WeakSender};

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
#[track_caller]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    ends(capacity)
}

/// Makes a channel within one thread: the same ends, with the same names and behaviour, without a lock.
///
/// The ends are not `Send`. Everything said of [`bounded`] holds: the protocol is the same code.
///
/// # Panics
///
/// As [`bounded`]. A blocking call that would have to wait panics, too: whoever could end the wait is on the thread that
/// it would block.
///
/// # Cost
///
/// A fifth less than [`bounded`] costs on one thread, once that has found that it stays on one; until then (some thousand
/// messages), or when it does not, half of it.
///
/// # Examples
///
/// ```
/// # futures::executor::block_on(async {
/// use std::rc::Rc;
///
/// let (tx, rx) = millstream::channel::local(1);
/// tx.push(Rc::new("stays here")).await?;
/// assert_eq!(*rx.pop().await?, "stays here");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// ```compile_fail,E0277
/// let (tx, rx) = millstream::channel::local::<u8>(1);
/// std::thread::spawn(move || tx.try_push(1));
/// ```
#[doc(alias = "unsync")]
#[track_caller]
pub fn local<T>(capacity: usize) -> (local::Sender<T>, local::Receiver<T>) {
    ends(capacity)
}

#[track_caller]
fn ends<T, S: Sharing>(capacity: usize) -> (Sender<T, S>, Receiver<T, S>) {
    let countable = capacity <= isize::MAX as usize;
    let Some(ring) = Ring::try_new(capacity.saturating_add(HAND_OVER)).ok().filter(|_| countable) else {
        let size = size_of::<T>();
        panic!("a channel of capacity {capacity} (values of {size} bytes) does not fit into memory");
    };
    let shared = S::Pointer::new(Shared::new(ring, capacity));
    (Sender::new(shared.clone()), Receiver::new(shared))
}
