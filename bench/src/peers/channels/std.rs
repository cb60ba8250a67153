//! std's `sync_channel`: one receiver, plain threads.
//!
//! Knows: std. Does not know: other channels.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Answer, Blocking, Ends, Message};
use crate::measure::Kind;

#[derive(Debug)]
pub(crate) struct Std;

impl<T: Message> Ends<T> for Std {
    const NAME: &'static str = "std";
    const KIND: Kind = Kind::One;
    const RENDEZVOUS: bool = true;
    type Sender = SyncSender<T>;
    type Receiver = Receiver<T>;
}

impl<T: Message> Blocking<T> for Std {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        sync_channel(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Answer<()> {
        sender.send(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Answer<T> {
        receiver.recv()
    }
}
