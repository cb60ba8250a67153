//! async-channel: a lock-free queue and lists of event listeners. No capacity 0, no batches.
//!
//! Knows: async-channel. Does not know: other channels.

use super::{Answer, Blocking, Channel, Ends, Message};
use crate::measure::Kind;

#[derive(Debug)]
pub(crate) struct AsyncChannel;

impl<T: Message> Ends<T> for AsyncChannel {
    const NAME: &'static str = "async-channel";
    const KIND: Kind = Kind::Many;
    const RENDEZVOUS: bool = false;
    type Sender = async_channel::Sender<T>;
    type Receiver = async_channel::Receiver<T>;
}

impl<T: Message> Channel<T> for AsyncChannel {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        async_channel::bounded(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Future<Output: Answer<()>> {
        sender.send(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Future<Output: Answer<T>> {
        receiver.recv()
    }
}

impl<T: Message> Blocking<T> for AsyncChannel {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        async_channel::bounded(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Answer<()> {
        sender.send_blocking(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Answer<T> {
        receiver.recv_blocking()
    }
}
