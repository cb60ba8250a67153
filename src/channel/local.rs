//! Channels within one thread.
//!
//! Knows: the ends, how they are shared. Does not know: the protocol.

use super::sharing::Local;

/// The pushing end of a [`local`](super::local()) channel.
pub type Sender<T> = super::Sender<T, Local>;

/// The popping end of a [`local`](super::local()) channel.
pub type Receiver<T> = super::Receiver<T, Local>;

/// A sender that does not keep its channel open.
pub type WeakSender<T> = super::WeakSender<T, Local>;

/// A receiver that does not keep its channel open.
pub type WeakReceiver<T> = super::WeakReceiver<T, Local>;
