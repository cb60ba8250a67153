//! `Select`: arms that stay, whose number is known at run time.
//!
//! Knows: [`Operation`], marks, how a plain thread waits. Does not know: rings, channels, tasks.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::mem::{self, ManuallyDrop};

use pin_project_lite::pin_project;
use slab::Slab;

use crate::operation::{EndOfChannel, Operation};
use crate::util::executor;
use crate::util::marks::Marks;
use crate::util::parking;

/// A set of operations that are made anew each time they resolve: the form of [`select!`](crate::select) for any number of
/// arms.
///
/// The arms stay in line, or in the ring, from one [`next`](Self::next) to the following one, so a turn costs the same for two
/// arms as for a thousand: it touches the arms that were woken, and no others.
///
/// # Completion
///
/// [`next`](Self::next) resolves with the output of one arm and its [`Key`], and the arm begins anew at the next turn. Arms
/// are served in the order in which they were woken, one output at a time, so none is starved. With no arm left, it resolves
/// with `None`.
///
/// # Cancel safety
///
/// Nothing is in the future of [`next`](Self::next): dropping it loses nothing, and the arms go on waiting. Dropping the set,
/// or [removing](Self::remove) an arm, drops operations, each as safe as it is alone: no message of a channel is lost. A
/// push takes effect only in a turn that says so.
///
/// # Cost
///
/// One allocation per arm, none per turn. A wake on the set's thread is a few plain stores; one from another thread two
/// atomic exchanges. The set stays on its thread, wakes may come from any. May change.
///
/// # Examples
///
/// ```
/// use millstream::channel;
/// use millstream::combinators::Select;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # millstream::Runtime::new()?.block_on(async {
/// let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| channel::bounded(4)).unzip();
/// let mut select = Select::new();
/// let keys: Vec<_> = receivers.iter().map(|rx| select.add(|| rx.pop())).collect();
///
/// senders[2].push("hello").await?;
/// let (key, word) = select.next().await.expect("three arms");
/// assert_eq!((key, word), (keys[2], "hello"));
///
/// drop(senders); // an arm ends with its channel
/// assert!(select.next().await.is_none());
/// # Ok(())
/// # })
/// # }
/// ```
#[doc(alias("FuturesUnordered", "select_all", "StreamMap", "merge"))]
pub struct Select<'a, T> {
    /// Before the marks: what an arm's destructor wakes is still heard.
    arms: Slab<Arm<'a, T>>,
    marks: Marks,
    serial: u64,
}

/// Names an arm of a [`Select`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Tells apart the arms that have the same index one after the other; first, so that keys are ordered by age.
    serial: u64,
    index: u32,
}

struct Arm<'a, T> {
    key: Key,
    /// Sets this arm's mark. It owns nothing.
    waker: ManuallyDrop<Waker>,
    source: Pin<Box<dyn Source<T> + 'a>>,
}

/// Where an arm's outputs come from.
trait Source<T> {
    /// The next one; `None`: there will be no more.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>>;
}

pin_project! {
    /// Operations, made one after the other where they stay.
    struct Remade<M, O, F> {
        make: M,
        finish: F,
        #[pin]
        op: Option<O>,
    }
}

impl<T, M, O, F> Source<T> for Remade<M, O, F>
where
    M: FnMut() -> Option<O>,
    O: Operation,
    F: FnMut(O::Output) -> Option<T>,
{
    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut this = self.project();
        let op = match this.op.as_mut().as_pin_mut() {
            Some(op) => op,
            None => {
                let Some(op) = (this.make)() else { return Poll::Ready(None) };
                this.op.set(Some(op));
                let mut op = this.op.as_mut().as_pin_mut().expect("just made");
                op.as_mut().commit_on_poll();
                op
            }
        };
        let Poll::Ready(output) = op.poll(cx) else { return Poll::Pending };
        this.op.set(None);
        Poll::Ready((this.finish)(output))
    }
}

impl<'a, T: 'a> Select<'a, T> {
    /// A set without arms.
    #[must_use]
    pub fn new() -> Self {
        Self { arms: Slab::new(), marks: Marks::new(), serial: 0 }
    }

    /// Adds the pops of a channel: `select.add(|| receiver.pop())`. The arm ends when the channel is closed and drained.
    ///
    /// For any operation whose errors say no more than that, such as a [`pop`](crate::channel::Receiver::pop) or a
    /// [`pop_many`](crate::channel::Receiver::pop_many). For others see [`add_with`](Self::add_with).
    pub fn add<M, O, E>(&mut self, mut make: M) -> Key
    where
        M: FnMut() -> O + 'a,
        O: Operation<Output = Result<T, E>> + 'a,
        E: EndOfChannel + 'a,
    {
        self.insert(Box::pin(Remade { make: move || Some(make()), finish: Result::ok, op: None }))
    }

    /// Adds an operation that is made anew, from its whole output, as long as `make` makes one.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::combinators::Select;
    /// use millstream::time;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # millstream::Runtime::new()?.block_on(async {
    /// let mut left = 2;
    /// let mut select = Select::new();
    /// select.add_with(|| {
    ///     left -= 1;
    ///     (left >= 0).then(|| time::sleep(Duration::from_millis(1)))
    /// });
    /// assert!(select.next().await.is_some());
    /// assert!(select.next().await.is_some());
    /// assert!(select.next().await.is_none());
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn add_with<M, O>(&mut self, make: M) -> Key
    where
        M: FnMut() -> Option<O> + 'a,
        O: Operation<Output = T> + 'a,
    {
        self.insert(Box::pin(Remade { make, finish: Some, op: None }))
    }

    /// Adds an operation that resolves once; the arm ends with it.
    pub fn add_once<O: Operation<Output = T> + 'a>(&mut self, operation: O) -> Key {
        let mut operation = Some(operation);
        self.add_with(move || operation.take())
    }

    fn insert(&mut self, source: Pin<Box<dyn Source<T> + 'a>>) -> Key {
        let place = self.arms.vacant_entry();
        let index = u32::try_from(place.key()).expect("fewer arms than 2^32");
        let key = Key { serial: self.serial, index };
        self.serial += 1;
        let waker = ManuallyDrop::new(self.marks.waker(index));
        self.marks.set(&waker);
        place.insert(Arm { key, waker, source });
        key
    }

    /// Removes an arm and drops its operation; `false` if it has ended or was removed before.
    pub fn remove(&mut self, key: Key) -> bool {
        let index = key.index as usize;
        let known = self.arms.get(index).is_some_and(|arm| arm.key == key);
        if known {
            drop(self.arms.remove(index));
        }
        known
    }

    /// How many arms have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arms.len()
    }

    /// Whether there is no arm that has not ended: [`next`](Self::next) would be `None`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arms.is_empty()
    }

    /// Waits for the next output, and says which arm it came from. `None` when no arm is left.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    ///
    /// # Panics
    ///
    /// None of its own; a panic of an arm's operation passes through. The arm stays in the set, and is polled again at a later
    /// turn, after those that were woken before.
    #[allow(clippy::should_implement_trait, reason = "as `StreamExt::next` of futures, which is awaited too")]
    pub fn next(&mut self) -> Next<'_, 'a, T> {
        Next { select: self }
    }

    /// As [`next`](Self::next), but blocks the calling thread: for plain threads beside a runtime.
    ///
    /// Its arms may be whatever can wait without a runtime: operations of channels, of all kinds; timers, which a thread of the
    /// crate then keeps; futures of others through [`adapters::future`](crate::combinators::adapters::future).
    ///
    /// # Cancel safety
    ///
    /// It cannot be cancelled, but an arm that ends it can be added: the pop of a cancel slot.
    ///
    /// # Panics
    ///
    /// On a thread where a runtime is polling, since blocking it would stop every task there. An op on the ring panics when it
    /// is polled here, where there is none; a panic of an arm's operation passes through, as from [`next`](Self::next).
    ///
    /// # Cost
    ///
    /// No allocation, except for a thread's first wait. As [`pop_blocking`](crate::channel::Receiver::pop_blocking), it looks
    /// out for a wake some microseconds long before it parks.
    ///
    /// # Examples
    ///
    /// ```
    /// use millstream::channel;
    /// use millstream::combinators::Select;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| channel::bounded(4)).unzip();
    /// let producers: Vec<_> = senders
    ///     .into_iter()
    ///     .map(|tx| std::thread::spawn(move || (1..=10).try_for_each(|n| tx.push_blocking(n))))
    ///     .collect();
    ///
    /// let mut select = Select::new();
    /// for rx in &receivers {
    ///     select.add(|| rx.pop()); // ends with its channel
    /// }
    /// let mut sum = 0;
    /// while let Some((_key, n)) = select.next_blocking() {
    ///     sum += n;
    /// }
    /// assert_eq!(sum, 3 * 55);
    /// # for producer in producers {
    /// #     producer.join().unwrap()?;
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "select_blocking")]
    pub fn next_blocking(&mut self) -> Option<(Key, T)> {
        parking::assert_plain_thread("next_blocking", "next().await");
        parking::wait(self.next())
    }

    #[inline]
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Key, T)>> {
        loop {
            // Those that are marked now, and not those marked meanwhile: an arm that the poll's budget refuses marks itself.
            for _ in 0..self.marks.gather() {
                let Some(index) = self.marks.next() else { break };
                let Some(arm) = self.arms.get_mut(index as usize) else { continue };
                let again = Again { marks: &self.marks, arm: &arm.waker };
                let polled = arm.source.as_mut().poll(&mut Context::from_waker(&arm.waker));
                mem::forget(again);
                match polled {
                    Poll::Pending => {}
                    Poll::Ready(Some(output)) => {
                        self.marks.set(&arm.waker); // it begins anew, behind those that were woken before
                        return Poll::Ready(Some((arm.key, output)));
                    }
                    Poll::Ready(None) => drop(self.arms.remove(index as usize)),
                }
            }
            if self.arms.is_empty() {
                return Poll::Ready(None);
            }
            if self.marks.wait(cx.waker()) {
                executor::about_to_wait(cx.waker());
                return Poll::Pending;
            }
            if !executor::spend(cx) {
                return Poll::Pending;
            }
        }
    }
}

/// Marks an arm again whose poll ends by a panic: it is polled once more at a later turn, rather than never.
struct Again<'m> {
    marks: &'m Marks,
    arm: &'m Waker,
}

impl Drop for Again<'_> {
    #[cold]
    fn drop(&mut self) {
        self.marks.set(self.arm);
    }
}

impl<'a, T: 'a> Default for Select<'a, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Select<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select").field("arms", &self.arms.len()).finish_non_exhaustive()
    }
}

/// The future that [`Select::next`] returns.
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct Next<'s, 'a, T> {
    select: &'s mut Select<'a, T>,
}

impl<'a, T: 'a> Future for Next<'_, 'a, T> {
    type Output = Option<(Key, T)>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().select.poll_next(cx)
    }
}
