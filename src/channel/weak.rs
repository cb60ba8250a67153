//! Handles that do not keep a channel open.
//!
//! Knows: the ends and what they share. Does not know: the protocol, locks.

use core::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::receiver::Receiver;
use super::sender::Sender;
use super::shared::Shared;
use super::sharing::{Pointer, Sharing, Threads};

impl<T, S: Sharing> Sender<T, S> {
    /// A handle that can become a sender again as long as there is one, and does not count as one.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = millstream::channel::bounded(1);
    /// let weak = tx.downgrade();
    /// weak.upgrade().ok_or("no sender left")?.try_push(1)?;
    /// assert_eq!(rx.try_pop()?, 1);
    /// drop(tx);
    /// assert!(rx.is_closed() && weak.upgrade().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn downgrade(&self) -> WeakSender<T, S> {
        WeakSender { shared: self.pointer().clone() }
    }
}

impl<T, S: Sharing> Receiver<T, S> {
    /// A handle that can become a receiver again as long as there is one, and does not count as one.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = millstream::channel::bounded(1);
    /// let weak = rx.downgrade();
    /// tx.try_push(1)?;
    /// assert_eq!(weak.upgrade().ok_or("no receiver left")?.try_pop()?, 1);
    /// drop(rx);
    /// assert!(tx.is_closed() && weak.upgrade().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn downgrade(&self) -> WeakReceiver<T, S> {
        WeakReceiver { shared: self.pointer().clone() }
    }
}

/// A sender that does not keep its channel open: what [`Sender::downgrade`] returns.
///
/// It keeps no values either, only the bare record of the channel.
pub struct WeakSender<T, S: Sharing = Threads> {
    shared: S::Pointer<Shared<T, S>>,
}

/// A receiver that does not keep its channel open: what [`Receiver::downgrade`] returns.
///
/// It keeps no values either, only the bare record of the channel.
pub struct WeakReceiver<T, S: Sharing = Threads> {
    shared: S::Pointer<Shared<T, S>>,
}

impl<T, S: Sharing> WeakSender<T, S> {
    /// A sender, unless the last one is gone. It is one of a closed channel if that was closed by other means.
    pub fn upgrade(&self) -> Option<Sender<T, S>> {
        self.shared.add_sender_if_any().then(|| Sender::new(self.shared.clone()))
    }

    /// Whether both belong to one channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        self.shared.same(&other.shared)
    }
}

impl<T, S: Sharing> WeakReceiver<T, S> {
    /// A receiver, unless the last one is gone. It is one of a closed channel if that was closed by other means.
    pub fn upgrade(&self) -> Option<Receiver<T, S>> {
        self.shared.add_receiver_if_any().then(|| Receiver::new(self.shared.clone()))
    }

    /// Whether both belong to one channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        self.shared.same(&other.shared)
    }
}

// As for the ends.
impl<T, S: Sharing> UnwindSafe for WeakSender<T, S> {}
impl<T, S: Sharing> RefUnwindSafe for WeakSender<T, S> {}
impl<T, S: Sharing> UnwindSafe for WeakReceiver<T, S> {}
impl<T, S: Sharing> RefUnwindSafe for WeakReceiver<T, S> {}

impl<T, S: Sharing> Clone for WeakSender<T, S> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T, S: Sharing> Clone for WeakReceiver<T, S> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T, S: Sharing> fmt::Debug for WeakSender<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe("WeakSender", f)
    }
}

impl<T, S: Sharing> fmt::Debug for WeakReceiver<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe("WeakReceiver", f)
    }
}
