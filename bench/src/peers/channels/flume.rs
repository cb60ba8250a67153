//! flume: a mutex and queues of reference-counted waiters. Batches: `drain`.
//!
//! Knows: flume. Does not know: other channels.

use super::{Answer, Blocking, Channel, Ends, Message};
use crate::measure::Kind;

#[derive(Debug)]
pub(crate) struct Flume;

impl<T: Message> Ends<T> for Flume {
    const NAME: &'static str = "flume";
    const KIND: Kind = Kind::Many;
    const RENDEZVOUS: bool = true;
    type Sender = flume::Sender<T>;
    type Receiver = flume::Receiver<T>;
}

impl<T: Message> Channel<T> for Flume {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        flume::bounded(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Future<Output: Answer<()>> {
        sender.send_async(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Future<Output: Answer<T>> {
        receiver.recv_async()
    }

    /// All that is there: up to its capacity at once.
    async fn pop_many(receiver: &mut Self::Receiver, values: &mut Vec<T>, _most: usize) -> Option<()> {
        values.push(receiver.recv_async().await.ok()?);
        values.extend(receiver.drain());
        Some(())
    }
}

impl<T: Message> Blocking<T> for Flume {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        flume::bounded(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Answer<()> {
        sender.send(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Answer<T> {
        receiver.recv()
    }
}
