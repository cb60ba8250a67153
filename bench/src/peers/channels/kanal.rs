//! kanal: one lock, values handed from waiter to waiter. Batches: `drain_into`.
//!
//! Knows: kanal. Does not know: other channels.

use kanal::{AsyncReceiver, AsyncSender};

use super::{Answer, Blocking, Channel, Ends, Message};
use crate::measure::Kind;

#[derive(Debug)]
pub(crate) struct Kanal;

impl<T: Message> Ends<T> for Kanal {
    const NAME: &'static str = "kanal";
    const KIND: Kind = Kind::Many;
    const RENDEZVOUS: bool = true;
    type Sender = AsyncSender<T>;
    type Receiver = AsyncReceiver<T>;
}

impl<T: Message> Channel<T> for Kanal {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        kanal::bounded_async(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Future<Output: Answer<()>> {
        sender.send(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Future<Output: Answer<T>> {
        receiver.recv()
    }

    /// All that is there, as it cannot be told how many: up to its capacity at once.
    async fn pop_many(receiver: &mut Self::Receiver, values: &mut Vec<T>, _most: usize) -> Option<()> {
        values.push(receiver.recv().await.ok()?);
        receiver.drain_into(values).ok()?;
        Some(())
    }
}

impl<T: Message> Blocking<T> for Kanal {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        kanal::bounded_async(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Answer<()> {
        sender.as_sync().send(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Answer<T> {
        receiver.as_sync().recv()
    }
}
