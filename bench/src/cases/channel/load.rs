//! Producers and consumers that lose nothing unnoticed.
//!
//! Knows: the face of channels. Does not know: executors, threads, clocks.

use std::collections::VecDeque;
use std::io;
use std::iter::Sum;
use std::ops::Range;

use crate::peers::channels::{Answer, Blocking, Channel, Message};

/// Which messages arrived: how many, and the sum of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    count: u64,
    sum: u64,
}

impl Tally {
    pub(super) fn enter(&mut self, message: &impl Message) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(message.number());
    }

    /// Whether all messages below `messages` arrived once.
    pub(super) fn check(self, messages: u64) -> io::Result<()> {
        let sum = (u128::from(messages) * u128::from(messages.saturating_sub(1)) / 2) as u64;
        if self == (Tally { count: messages, sum }) {
            return Ok(());
        }
        let Tally { count, .. } = self;
        Err(io::Error::other(format!("of {messages} messages {count} arrived, or others than were sent")))
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Tally>>(tallies: I) -> Tally {
        tallies.fold(Tally::default(), |all, one| Tally {
            count: all.count + one.count,
            sum: all.sum.wrapping_add(one.sum),
        })
    }
}

/// The numbers of each of so many producers: `messages` in all.
pub(super) fn shares(messages: u64, producers: usize) -> impl Iterator<Item = Range<u64>> {
    let cut = move |at: u64| (u128::from(messages) * u128::from(at) / producers as u128) as u64;
    (0..producers as u64).map(move |producer| cut(producer)..cut(producer + 1))
}

/// Sends the numbers; ends early if the channel is closed, which the tally shows.
pub(super) async fn produce<C: Channel<T>, T: Message>(mut sender: C::Sender, numbers: Range<u64>) {
    for number in numbers {
        if C::push(&mut sender, T::new(number)).await.value().is_none() {
            return;
        }
    }
}

/// Takes messages until the last sender is gone.
pub(super) async fn consume<C: Channel<T>, T: Message>(mut receiver: C::Receiver) -> Tally {
    let mut tally = Tally::default();
    while let Some(message) = C::pop(&mut receiver).await.value() {
        tally.enter(&message);
    }
    tally
}

/// [`produce`] in batches.
pub(super) async fn produce_many<C: Channel<T>, T: Message>(
    mut sender: C::Sender,
    numbers: Range<u64>,
    batch: usize,
) {
    let mut values = VecDeque::with_capacity(batch);
    for first in numbers.clone().step_by(batch) {
        values.extend((first..numbers.end.min(first + batch as u64)).map(T::new));
        if C::push_many(&mut sender, &mut values).await.is_none() {
            return;
        }
    }
}

/// [`consume`] in batches.
pub(super) async fn consume_many<C: Channel<T>, T: Message>(
    mut receiver: C::Receiver,
    batch: usize,
) -> Tally {
    let mut tally = Tally::default();
    let mut values = Vec::with_capacity(batch);
    while C::pop_many(&mut receiver, &mut values, batch).await.is_some() {
        values.iter().for_each(|message| tally.enter(message));
        values.clear();
    }
    tally
}

/// [`produce`] on a plain thread.
pub(super) fn produce_blocking<C: Blocking<T>, T: Message>(mut sender: C::Sender, numbers: Range<u64>) {
    for number in numbers {
        if C::push(&mut sender, T::new(number)).value().is_none() {
            return;
        }
    }
}

/// [`consume`] on a plain thread.
pub(super) fn consume_blocking<C: Blocking<T>, T: Message>(mut receiver: C::Receiver) -> Tally {
    let mut tally = Tally::default();
    while let Some(message) = C::pop(&mut receiver).value() {
        tally.enter(&message);
    }
    tally
}

/// The ends of one channel, so many of each.
pub(super) fn shared<S: Clone, R: Clone>(ends: (S, R), senders: usize, receivers: usize) -> (Vec<S>, Vec<R>) {
    (vec![ends.0; senders], vec![ends.1; receivers])
}

/// The ends of so many channels.
pub(super) fn pairs<S, R>(count: usize, ends: impl FnMut() -> (S, R)) -> (Vec<S>, Vec<R>) {
    std::iter::repeat_with(ends).take(count).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_sees_what_is_lost_doubled_or_foreign() {
        let tally = |numbers: &[u64]| {
            let mut tally = Tally::default();
            numbers.iter().for_each(|number| tally.enter(number));
            tally
        };
        assert!(tally(&[2, 0, 1]).check(3).is_ok() && tally(&[]).check(0).is_ok());
        assert!(tally(&[0, 1]).check(3).is_err());
        assert!(tally(&[0, 1, 1]).check(3).is_err());
        assert!(tally(&[0, 1, 2, 0]).check(3).is_err());
        assert!(([tally(&[1]), tally(&[2, 0])].into_iter().sum::<Tally>()).check(3).is_ok());
    }

    #[test]
    fn shares_cover_all_messages_once() {
        for (messages, producers) in [(10, 1), (10, 4), (3, 4), (0, 2)] {
            let numbers: Vec<u64> = shares(messages, producers).flatten().collect();
            assert_eq!(numbers, (0..messages).collect::<Vec<_>>());
        }
    }
}
