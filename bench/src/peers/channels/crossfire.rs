//! crossfire: lock-free rings per flavor, waiters beside them. No capacity 0, no batches.
//!
//! Knows: crossfire. Does not know: other channels.

use crossfire::{AsyncRx, AsyncTx, MAsyncRx, MAsyncTx, mpmc, spsc};

use super::{Answer, Channel, Ends, Message};
use crate::measure::Kind;

#[derive(Debug)]
pub(crate) struct Crossfire;

impl<T: Message> Ends<T> for Crossfire {
    const NAME: &'static str = "crossfire";
    const KIND: Kind = Kind::Many;
    const RENDEZVOUS: bool = false;
    const SPINS_BELOW: usize = 10;
    type Sender = MAsyncTx<mpmc::Array<T>>;
    type Receiver = MAsyncRx<mpmc::Array<T>>;
}

impl<T: Message> Channel<T> for Crossfire {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        mpmc::bounded_async(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Future<Output: Answer<()>> {
        sender.send(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Future<Output: Answer<T>> {
        receiver.recv()
    }
}

#[derive(Debug)]
pub(crate) struct CrossfireSpsc;

impl<T: Message> Ends<T> for CrossfireSpsc {
    const NAME: &'static str = "crossfire-spsc";
    const KIND: Kind = Kind::Pair;
    const RENDEZVOUS: bool = false;
    const SPINS_BELOW: usize = 10;
    type Sender = AsyncTx<spsc::Array<T>>;
    type Receiver = AsyncRx<spsc::Array<T>>;
}

impl<T: Message> Channel<T> for CrossfireSpsc {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        spsc::bounded_async(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Future<Output: Answer<()>> {
        sender.send(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Future<Output: Answer<T>> {
        receiver.recv()
    }
}
