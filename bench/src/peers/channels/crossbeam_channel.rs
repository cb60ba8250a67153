//! crossbeam-channel: a lock-free ring for plain threads.
//!
//! Knows: crossbeam-channel. Does not know: other channels.

use crossbeam_channel::{Receiver, Sender};

use super::{Answer, Blocking, Ends, Message};
use crate::measure::Kind;

#[derive(Debug)]
pub(crate) struct CrossbeamChannel;

impl<T: Message> Ends<T> for CrossbeamChannel {
    const NAME: &'static str = "crossbeam-channel";
    const KIND: Kind = Kind::Many;
    const RENDEZVOUS: bool = true;
    type Sender = Sender<T>;
    type Receiver = Receiver<T>;
}

impl<T: Message> Blocking<T> for CrossbeamChannel {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        crossbeam_channel::bounded(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Answer<()> {
        sender.send(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Answer<T> {
        receiver.recv()
    }
}
