//! Every channel, ours and other crates', behind one face. Adding one: a short file here, its name in [`with_channels`].
//!
//! Knows: what a channel can be asked for. Does not know: what is measured, the executor.
//!
//! The face hands out a channel's own futures and adds nothing to them: no wrapper, no copy of the message. What a
//! channel cannot do is not made up here; it is left out of the cases that need it.

mod async_channel;
mod async_unsync;
mod crossbeam_channel;
mod crossfire;
mod crossfire_blocking;
mod flume;
mod kanal;
mod ours;
mod std;
mod tokio;
mod unsync;

use ::std::collections::VecDeque;

use crate::measure::Kind;

pub(crate) use self::async_channel::AsyncChannel;
pub(crate) use self::async_unsync::AsyncUnsync;
pub(crate) use self::crossbeam_channel::CrossbeamChannel;
pub(crate) use self::crossfire::{Crossfire, CrossfireSpsc};
pub(crate) use self::crossfire_blocking::{CrossfireBlocking, CrossfireSpscBlocking};
pub(crate) use self::flume::Flume;
pub(crate) use self::kanal::Kanal;
pub(crate) use self::ours::{Bounded, Local, Spsc};
pub(crate) use self::std::Std;
pub(crate) use self::tokio::Tokio;
pub(crate) use self::unsync::Unsync;

/// Repeats an expression for every channel of these sorts, which has the given name in it.
macro_rules! with_channels {
    // Many senders, many receivers, across threads.
    (@many $C:ident => $each:expr) => {
        with_channels!(@each Bounded Kanal Flume AsyncChannel Crossfire, $C => $each)
    };
    // One receiver, across threads.
    (@one $C:ident => $each:expr) => { with_channels!(@each Spsc Tokio CrossfireSpsc, $C => $each) };
    // Within a thread.
    (@local_many $C:ident => $each:expr) => { with_channels!(@each Local, $C => $each) };
    (@local_one $C:ident => $each:expr) => { with_channels!(@each Unsync AsyncUnsync, $C => $each) };
    // Plain threads.
    (@blocking_many $C:ident => $each:expr) => {
        with_channels!(@each Bounded Kanal Flume AsyncChannel CrossfireBlocking CrossbeamChannel, $C => $each)
    };
    (@blocking_one $C:ident => $each:expr) => {
        with_channels!(@each Spsc Std Tokio CrossfireSpscBlocking, $C => $each)
    };

    (@each $($name:ident)*, $C:ident => $each:expr) => {
        $({ type $C = $crate::peers::channels::$name; $each })*
    };
    ($($sort:ident)+, $C:ident => $each:expr) => { $(with_channels!(@$sort $C => $each);)+ };
}
pub(crate) use with_channels;

/// What goes through a channel: it says which one it is.
pub(crate) trait Message: Send + Unpin + 'static {
    fn new(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl Message for u64 {
    fn new(number: u64) -> Self {
        number
    }

    fn number(&self) -> u64 {
        *self
    }
}

/// 256 bytes, of which the first and the last are looked at.
impl Message for [u64; 32] {
    fn new(number: u64) -> Self {
        [number; 32]
    }

    fn number(&self) -> u64 {
        self[0] & self[31]
    }
}

/// What the futures of pushes and pops resolve to.
pub(crate) trait Answer<T> {
    /// `None`: closed.
    fn value(self) -> Option<T>;
}

impl<T, E> Answer<T> for Result<T, E> {
    fn value(self) -> Option<T> {
        self.ok()
    }
}

impl<T> Answer<T> for Option<T> {
    fn value(self) -> Option<T> {
        self
    }
}

/// What all channels have in common. Ends that can be cloned are, and ends that can be sent are: cases ask for that.
pub(crate) trait Ends<T> {
    const NAME: &'static str;
    const KIND: Kind;
    /// Whether capacity 0 makes every push meet a pop.
    const RENDEZVOUS: bool;
    /// Below this capacity a wait begins with a spin of the channel's own, whatever the executor does.
    const SPINS_BELOW: usize = 0;
    type Sender: 'static;
    type Receiver: 'static;
}

/// A channel for tasks.
pub(crate) trait Channel<T: Message>: Ends<T> + 'static {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver);

    fn push(sender: &mut Self::Sender, value: T) -> impl Future<Output: Answer<()>>;

    fn pop(receiver: &mut Self::Receiver) -> impl Future<Output: Answer<T>>;

    /// Pushes all values, at once where the channel can. `None`: closed.
    fn push_many(sender: &mut Self::Sender, values: &mut VecDeque<T>) -> impl Future<Output = Option<()>> {
        async {
            while let Some(value) = values.pop_front() {
                Self::push(sender, value).await.value()?;
            }
            Some(())
        }
    }

    /// Appends up to `most` values, at least one: those that are there, where the channel can say. `None`: closed.
    fn pop_many(
        receiver: &mut Self::Receiver,
        values: &mut Vec<T>,
        most: usize,
    ) -> impl Future<Output = Option<()>> {
        let _ = most;
        async {
            values.push(Self::pop(receiver).await.value()?);
            Some(())
        }
    }
}

/// A channel for plain threads.
pub(crate) trait Blocking<T: Message>: Ends<T> + 'static {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver);

    fn push(sender: &mut Self::Sender, value: T) -> impl Answer<()>;

    fn pop(receiver: &mut Self::Receiver) -> impl Answer<T>;
}
