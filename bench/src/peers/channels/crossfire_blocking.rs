//! crossfire's ends for plain threads, which are types of their own.
//!
//! Knows: crossfire. Does not know: other channels.

use crossfire::{MRx, MTx, Rx, Tx, mpmc, spsc};

use super::{Answer, Blocking, Ends, Message};
use crate::measure::Kind;

#[derive(Debug)]
pub(crate) struct CrossfireBlocking;

impl<T: Message> Ends<T> for CrossfireBlocking {
    const NAME: &'static str = "crossfire";
    const KIND: Kind = Kind::Many;
    const RENDEZVOUS: bool = false;
    type Sender = MTx<mpmc::Array<T>>;
    type Receiver = MRx<mpmc::Array<T>>;
}

impl<T: Message> Blocking<T> for CrossfireBlocking {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        mpmc::bounded_blocking(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Answer<()> {
        sender.send(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Answer<T> {
        receiver.recv()
    }
}

#[derive(Debug)]
pub(crate) struct CrossfireSpscBlocking;

impl<T: Message> Ends<T> for CrossfireSpscBlocking {
    const NAME: &'static str = "crossfire-spsc";
    const KIND: Kind = Kind::Pair;
    const RENDEZVOUS: bool = false;
    type Sender = Tx<spsc::Array<T>>;
    type Receiver = Rx<spsc::Array<T>>;
}

impl<T: Message> Blocking<T> for CrossfireSpscBlocking {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        spsc::bounded_blocking(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Answer<()> {
        sender.send(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Answer<T> {
        receiver.recv()
    }
}
