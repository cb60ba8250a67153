//! async-unsync: many senders, one receiver, one thread.
//!
//! Knows: async-unsync. Does not know: other channels.

use async_unsync::bounded::{Receiver, Sender, channel};

use super::{Answer, Channel, Ends, Message};
use crate::measure::Kind;

#[derive(Debug)]
pub(crate) struct AsyncUnsync;

impl<T: Message> Ends<T> for AsyncUnsync {
    const NAME: &'static str = "async-unsync";
    const KIND: Kind = Kind::Local;
    const RENDEZVOUS: bool = false;
    type Sender = Sender<T>;
    type Receiver = Receiver<T>;
}

impl<T: Message> Channel<T> for AsyncUnsync {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        channel(capacity).into_split()
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Future<Output: Answer<()>> {
        sender.send(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Future<Output: Answer<T>> {
        receiver.recv()
    }
}
