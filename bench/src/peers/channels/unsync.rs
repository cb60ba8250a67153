//! unsync's spsc: one sender, one receiver, one thread.
//!
//! Knows: unsync. Does not know: other channels.

use unsync::spsc::{Receiver, Sender, channel};

use super::{Answer, Channel, Ends, Message};
use crate::measure::Kind;

#[derive(Debug)]
pub(crate) struct Unsync;

impl<T: Message> Ends<T> for Unsync {
    const NAME: &'static str = "unsync";
    const KIND: Kind = Kind::Local;
    const RENDEZVOUS: bool = false;
    type Sender = Sender<T>;
    type Receiver = Receiver<T>;
}

impl<T: Message> Channel<T> for Unsync {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        channel(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Future<Output: Answer<()>> {
        sender.send(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Future<Output: Answer<T>> {
        receiver.recv()
    }
}
