//! What the flavors have in common, as far as the workers need it.
//!
//! Knows: the ends of every flavor. Does not know: what is done with them.

use std::collections::VecDeque;
use std::pin::Pin;

use futures::stream::FusedStream;
use millstream::Operation;
use millstream::channel::{
    Permit, PopError, Push, PushError, Receiver, Sender, Sharing, TryPopError, TryPushError, spsc,
};

use crate::ledger::Message;

pub(crate) trait Pushing {
    type Push<'a>: Operation<Output = Result<(), PushError<Message>>>
    where
        Self: 'a;
    type Permit<'a>
    where
        Self: 'a;

    fn push(&mut self, message: Message) -> Self::Push<'_>;
    fn cancel(push: Pin<&mut Self::Push<'_>>) -> Result<(), PushError<Message>>;
    fn try_push(&mut self, message: Message) -> Result<(), TryPushError<Message>>;
    fn push_blocking(&mut self, message: Message) -> Result<(), PushError<Message>>;
    fn push_many<'a>(
        &'a mut self,
        messages: &'a mut VecDeque<Message>,
    ) -> impl Operation<Output = Result<(), PushError<()>>>;
    fn try_push_many(&mut self, messages: &mut VecDeque<Message>) -> Result<usize, TryPushError<()>>;
    fn reserve(&mut self) -> impl Operation<Output = Result<Self::Permit<'_>, PushError<()>>>;
    fn redeem(permit: Self::Permit<'_>, message: Message) -> Result<(), PushError<Message>>;
    fn close(&mut self) -> bool;
}

pub(crate) trait Popping: FusedStream<Item = Message> + Unpin {
    type Pop<'a>: Operation<Output = Result<Message, PopError>>
    where
        Self: 'a;

    fn pop(&mut self) -> Self::Pop<'_>;
    fn try_pop(&mut self) -> Result<Message, TryPopError>;
    fn pop_blocking(&mut self) -> Result<Message, PopError>;
    fn pop_many<'a>(
        &'a mut self,
        out: &'a mut Vec<Message>,
        max: usize,
    ) -> impl Operation<Output = Result<usize, PopError>>;
    fn drain(&mut self) -> impl Iterator<Item = Message>;
    fn close(&mut self) -> bool;
}

impl<S: Sharing> Pushing for Sender<Message, S> {
    type Push<'a>
        = Push<'a, Message, S>
    where
        S: 'a;
    type Permit<'a>
        = Permit<'a, Message, S>
    where
        S: 'a;

    fn push(&mut self, message: Message) -> Self::Push<'_> {
        Sender::push(self, message)
    }

    fn cancel(push: Pin<&mut Self::Push<'_>>) -> Result<(), PushError<Message>> {
        push.cancel()
    }

    fn try_push(&mut self, message: Message) -> Result<(), TryPushError<Message>> {
        Sender::try_push(self, message)
    }

    fn push_blocking(&mut self, message: Message) -> Result<(), PushError<Message>> {
        Sender::push_blocking(self, message)
    }

    fn push_many<'a>(
        &'a mut self,
        messages: &'a mut VecDeque<Message>,
    ) -> impl Operation<Output = Result<(), PushError<()>>> {
        Sender::push_many(self, messages)
    }

    fn try_push_many(&mut self, messages: &mut VecDeque<Message>) -> Result<usize, TryPushError<()>> {
        Sender::try_push_many(self, messages)
    }

    fn reserve(&mut self) -> impl Operation<Output = Result<Self::Permit<'_>, PushError<()>>> {
        Sender::reserve(self)
    }

    fn redeem(permit: Self::Permit<'_>, message: Message) -> Result<(), PushError<Message>> {
        permit.push(message)
    }

    fn close(&mut self) -> bool {
        Sender::close(self)
    }
}

impl<S: Sharing> Popping for Receiver<Message, S> {
    type Pop<'a>
        = millstream::channel::Pop<'a, Message, S>
    where
        S: 'a;

    fn pop(&mut self) -> Self::Pop<'_> {
        Receiver::pop(self)
    }

    fn try_pop(&mut self) -> Result<Message, TryPopError> {
        Receiver::try_pop(self)
    }

    fn pop_blocking(&mut self) -> Result<Message, PopError> {
        Receiver::pop_blocking(self)
    }

    fn pop_many<'a>(
        &'a mut self,
        out: &'a mut Vec<Message>,
        max: usize,
    ) -> impl Operation<Output = Result<usize, PopError>> {
        Receiver::pop_many(self, out, max)
    }

    fn drain(&mut self) -> impl Iterator<Item = Message> {
        Receiver::drain(self)
    }

    fn close(&mut self) -> bool {
        Receiver::close(self)
    }
}

impl Pushing for spsc::Producer<Message> {
    type Push<'a> = spsc::Push<'a, Message>;
    type Permit<'a> = spsc::Permit<'a, Message>;

    fn push(&mut self, message: Message) -> Self::Push<'_> {
        spsc::Producer::push(self, message)
    }

    fn cancel(push: Pin<&mut Self::Push<'_>>) -> Result<(), PushError<Message>> {
        push.cancel()
    }

    fn try_push(&mut self, message: Message) -> Result<(), TryPushError<Message>> {
        spsc::Producer::try_push(self, message)
    }

    fn push_blocking(&mut self, message: Message) -> Result<(), PushError<Message>> {
        spsc::Producer::push_blocking(self, message)
    }

    fn push_many<'a>(
        &'a mut self,
        messages: &'a mut VecDeque<Message>,
    ) -> impl Operation<Output = Result<(), PushError<()>>> {
        spsc::Producer::push_many(self, messages)
    }

    fn try_push_many(&mut self, messages: &mut VecDeque<Message>) -> Result<usize, TryPushError<()>> {
        spsc::Producer::try_push_many(self, messages)
    }

    fn reserve(&mut self) -> impl Operation<Output = Result<Self::Permit<'_>, PushError<()>>> {
        spsc::Producer::reserve(self)
    }

    fn redeem(permit: Self::Permit<'_>, message: Message) -> Result<(), PushError<Message>> {
        permit.push(message)
    }

    fn close(&mut self) -> bool {
        spsc::Producer::close(self)
    }
}

impl Popping for spsc::Consumer<Message> {
    type Pop<'a> = spsc::Pop<'a, Message>;

    fn pop(&mut self) -> Self::Pop<'_> {
        spsc::Consumer::pop(self)
    }

    fn try_pop(&mut self) -> Result<Message, TryPopError> {
        spsc::Consumer::try_pop(self)
    }

    fn pop_blocking(&mut self) -> Result<Message, PopError> {
        spsc::Consumer::pop_blocking(self)
    }

    fn pop_many<'a>(
        &'a mut self,
        out: &'a mut Vec<Message>,
        max: usize,
    ) -> impl Operation<Output = Result<usize, PopError>> {
        spsc::Consumer::pop_many(self, out, max)
    }

    fn drain(&mut self) -> impl Iterator<Item = Message> {
        spsc::Consumer::drain(self)
    }

    fn close(&mut self) -> bool {
        spsc::Consumer::close(self)
    }
}
