//! tokio's mpsc: blocks of slots and a semaphore; one receiver. Batches: `reserve_many` and `recv_many`.
//!
//! Knows: tokio. Does not know: other channels.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::{Answer, Blocking, Channel, Ends, Message};
use crate::measure::Kind;

#[derive(Debug)]
pub(crate) struct Tokio;

impl<T: Message> Ends<T> for Tokio {
    const NAME: &'static str = "tokio";
    const KIND: Kind = Kind::One;
    const RENDEZVOUS: bool = false;
    type Sender = mpsc::Sender<T>;
    type Receiver = mpsc::Receiver<T>;
}

impl<T: Message> Channel<T> for Tokio {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        mpsc::channel(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Future<Output: Answer<()>> {
        sender.send(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Future<Output: Answer<T>> {
        receiver.recv()
    }

    async fn push_many(sender: &mut Self::Sender, values: &mut VecDeque<T>) -> Option<()> {
        for (permit, value) in sender.reserve_many(values.len()).await.ok()?.zip(values.drain(..)) {
            permit.send(value);
        }
        Some(())
    }

    async fn pop_many(receiver: &mut Self::Receiver, values: &mut Vec<T>, most: usize) -> Option<()> {
        (receiver.recv_many(values, most).await > 0).then_some(())
    }
}

impl<T: Message> Blocking<T> for Tokio {
    fn new(capacity: usize) -> (Self::Sender, Self::Receiver) {
        mpsc::channel(capacity)
    }

    fn push(sender: &mut Self::Sender, value: T) -> impl Answer<()> {
        sender.blocking_send(value)
    }

    fn pop(receiver: &mut Self::Receiver) -> impl Answer<T> {
        receiver.blocking_recv()
    }
}
