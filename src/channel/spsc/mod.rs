//! A channel between one producer and one consumer, without a lock: for pipelines across threads.
//!
//! Knows: `sync`, levels, and for capacity 0 the channel with a lock. Does not know: rings of the kernel, tasks, the
//! runtime.
//!
//! [`spsc`] makes one. Both ends are unique, so their methods take `&mut self`, there is nothing to clone and no weak
//! end to make a strong one from: whoever has the [`Producer`] is the producer.
//!
//! # How it works
//!
//! Values lie in a ring of slots. The producer counts its pushes in the *tail*, the consumer its pops in the *head*, each
//! on a cache line of its own, and each end remembers the other's count from its last look:
//!
//! ```text
//!              head                      tail
//!   slots   ────┬────────────────────────┬──────────────
//!            e  │ filled: the consumer's │ empty: the producer's, up to head + capacity
//!           ────┴────────────────────────┴──────────────
//!    push   write the slot ─▶ tail + 1 (Release) ─▶ closed? ─▶ does the consumer wait?
//!    pop    (Acquire) tail ─▶ read the slot ─▶ head + 1 (Release) ─▶ does the producer wait?
//! ```
//!
//! A push or a pop takes effect inside its own poll and nowhere else, so a dropped future has nothing to give back or to
//! pass on, and all a wait leaves behind is a waker that is called once for nothing at most. That also means that nobody
//! fills a freed slot for a producer that waits: at capacity 1 every value takes a switch more than in a
//! [`bounded`](super::bounded) channel.
//!
//! The two questions at the end are where the time goes. Who waits and how they are answered is described where it is
//! done: a *level* (`src/util/level.rs`) is the two counts, the close and the waiters; a *lookout* (`src/util/lookout.rs`) is
//! what a runtime does so that neither question costs a fence and hardly any wait costs a wake. On another executor and on
//! a plain thread there is none: each push and pop fences, each wait is armed at once.
//!
//! Two sides on two processors that look at each other's counts for every value go at the pace at which a cache line travels.
//! A consumer that is the faster one therefore pauses when it has caught up for the second time, and finds a batch.
//!
//! At capacity 0 nothing is stored and both ends have to agree on each value; that is a [`bounded`](super::bounded)
//! channel of capacity 0 with unique ends.

mod closed;
mod consumer;
mod either;
mod head;
mod inlet;
mod iter;
mod pop;
mod pop_many;
mod producer;
mod push;
mod push_many;
mod reserve;
#[cfg(feature = "sink")]
mod sink;
mod slots;
mod stream;
mod tail;
mod turn;

use crate::sync::Arc;
use crate::util::barrier;
use crate::util::level::Level;
use either::Kind;
use head::Head;
use slots::Slots;
use tail::Tail;

pub use closed::Closed;
pub use consumer::Consumer;
pub use iter::{Drain, IntoIter, Iter, TryIter};
pub use pop::Pop;
pub use pop_many::PopMany;
pub use producer::Producer;
pub use push::Push;
pub use push_many::PushMany;
pub use reserve::{Permit, Reserve};

/// Makes a channel for one producer and one consumer that holds `capacity` values: exactly, and `0` makes every push meet
/// a pop.
///
/// The names and the behaviour are those of [`bounded`](super::bounded); the ends are unique, so what uses one takes
/// `&mut self`. Everything is allocated here; no push or pop allocates later, whether it waits or not.
///
/// # Panics
///
/// If memory for that many values cannot be allocated, or `capacity` exceeds `isize::MAX`.
///
/// # Cost
///
/// A few nanoseconds per value between two runtimes, where a channel with a lock costs several times that. At capacity 0
/// it is such a channel.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use millstream::{Runtime, channel};
///
/// let (mut tx, mut rx) = channel::spsc(64);
/// let producer = std::thread::spawn(move || {
///     Runtime::new()?.block_on(async {
///         for n in 0..1000 {
///             tx.push(n).await?;
///         }
///         Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
///     })
/// });
/// let sum = Runtime::new()?.block_on(async {
///     let mut sum = 0;
///     while let Ok(n) = rx.pop().await {
///         sum += n;
///     }
///     sum
/// });
/// assert_eq!(sum, 499_500);
/// producer.join().unwrap().unwrap();
/// # Ok(())
/// # }
/// ```
///
/// Ends and futures move between threads if the values may:
///
/// ```compile_fail,E0277
/// let (tx, mut rx) = millstream::channel::spsc::<std::rc::Rc<()>>(1);
/// std::thread::spawn(move || rx.pop_blocking());
/// ```
///
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// let (mut tx, rx) = millstream::channel::spsc::<std::rc::Rc<()>>(1);
/// send(tx.push(std::rc::Rc::new(())));
/// ```
#[track_caller]
pub fn spsc<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    if capacity == 0 {
        let (sender, receiver) = super::bounded(0);
        return (Producer { kind: Kind::Meet(sender) }, Consumer { kind: Kind::Meet(receiver) });
    }
    let level = Arc::new(Level::new(capacity));
    let slots = (capacity <= isize::MAX as usize).then(|| Slots::new(capacity, &level)).flatten();
    let Some(slots) = slots else {
        let size = size_of::<T>();
        panic!("a channel of capacity {capacity} (values of {size} bytes) does not fit into memory");
    };
    barrier::prepare();
    let tail = Tail::new(level.clone(), slots.share());
    (Producer { kind: Kind::Ring(tail) }, Consumer { kind: Kind::Ring(Head::new(level, slots)) })
}
