//! The channels of this crate: the same names everywhere.
//!
//! Knows: millstream. Does not know: other channels.

use std::collections::VecDeque;

use millstream::channel;

use super::{Answer, Blocking, Channel, Ends, Message};
use crate::measure::{Kind, OURS, OURS_LOCAL, OURS_SPSC};

macro_rules! ours {
    ($($name:ident = $who:expr, $new:path => $sender:path, $receiver:path;)*) => {$(
        #[derive(Debug)]
        pub(crate) struct $name;

        impl<T: Message> Ends<T> for $name {
            const NAME: &'static str = $who;
            const KIND: Kind = Kind::Ours;
            const RENDEZVOUS: bool = true;
            type Sender = $sender;
            type Receiver = $receiver;
        }

        impl<T: Message> Channel<T> for $name {
            fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
                $new(capacity)
            }

            fn push(sender: &mut Self::Sender, value: T) -> impl Future<Output: Answer<()>> {
                sender.push(value)
            }

            fn pop(receiver: &mut Self::Receiver) -> impl Future<Output: Answer<T>> {
                receiver.pop()
            }

            async fn push_many(sender: &mut Self::Sender, values: &mut VecDeque<T>) -> Option<()> {
                sender.push_many(values).await.ok()
            }

            async fn pop_many(receiver: &mut Self::Receiver, values: &mut Vec<T>, most: usize) -> Option<()> {
                receiver.pop_many(values, most).await.ok().map(drop)
            }
        }
    )*};
}

ours! {
    Bounded = OURS, channel::bounded => channel::Sender<T>, channel::Receiver<T>;
    Spsc = OURS_SPSC, channel::spsc => channel::spsc::Producer<T>, channel::spsc::Consumer<T>;
    Local = OURS_LOCAL, channel::local => channel::local::Sender<T>, channel::local::Receiver<T>;
}

macro_rules! blocking {
    ($($name:ident, $new:path;)*) => {$(
        impl<T: Message> Blocking<T> for $name {
            fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
                $new(capacity)
            }

            fn push(sender: &mut Self::Sender, value: T) -> impl Answer<()> {
                sender.push_blocking(value)
            }

            fn pop(receiver: &mut Self::Receiver) -> impl Answer<T> {
                receiver.pop_blocking()
            }
        }
    )*};
}

blocking! {
    Bounded, channel::bounded;
    Spsc, channel::spsc;
}
