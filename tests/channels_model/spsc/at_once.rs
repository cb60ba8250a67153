//! Steps that do not wait: tries, batches of them, permits, and ends that go.
//!
//! Knows: the world of `spsc`. Does not know: futures.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;

use super::ring::{Side, Spec};
use super::{Channel, HeldPermit, Lease, Out, World};
use crate::parts::{Buffer, Held};
use crate::said::{Said, nothing_now, why_not_now, why_not_pushed};

impl World {
    /// Whether it was pushed.
    pub(super) fn try_push(&mut self, channel: usize) -> bool {
        let id = self.name() as u64;
        let Channel { spec, producer, .. } = &mut self.channels[channel];
        let Some(producer) = &mut producer.here else { return false };
        let said = Out::Pushed(producer.try_push(self.census.token(id)).map_err(why_not_now)).said();
        let expected = Said::Pushed(spec.try_push(id).map_err(|why| (why, id)));
        assert_eq!(said, expected, "the outcome of try_push");
        said == Said::Pushed(Ok(()))
    }

    /// Whether a value was popped.
    pub(super) fn try_pop(&mut self, channel: usize) -> bool {
        self.channels[channel].leave_as_stream();
        let Channel { spec, consumer, .. } = &mut self.channels[channel];
        let Some(consumer) = &mut consumer.here else { return false };
        let popped = consumer.try_pop().map(|token| token.id).map_err(nothing_now);
        assert_eq!(popped, spec.try_pop(), "the outcome of try_pop");
        popped.is_ok()
    }

    pub(super) fn drain(&mut self, channel: usize, take: usize) {
        self.channels[channel].leave_as_stream();
        let Channel { spec, consumer, .. } = &mut self.channels[channel];
        let Some(consumer) = &mut consumer.here else { return };
        let drained: Vec<_> = consumer.drain().take(take).map(|token| token.id).collect();
        let most = spec.len().min(take);
        let expected: Vec<_> = (0..most).map(|_| spec.try_pop().expect("there")).collect();
        assert_eq!(drained, expected, "what drain found");
    }

    pub(super) fn try_push_many(&mut self, channel: usize, count: u8) {
        let first = (self.name() as u64) << 32;
        let Channel { spec, producer, .. } = &mut self.channels[channel];
        let Some(producer) = &mut producer.here else { return };
        let ids = first..first + u64::from(count);
        let mut tokens: VecDeque<_> = ids.clone().map(|id| self.census.token(id)).collect();
        let pushed = producer.try_push_many(&mut tokens).map_err(|error| why_not_now(error).0);
        // As many times a `try_push`.
        let (mut some, mut end) = (0, None);
        for id in ids.clone() {
            match spec.try_push(id) {
                Ok(()) => some += 1,
                Err(why) => {
                    end = Some(why);
                    break;
                }
            }
        }
        let expected = end.filter(|_| some == 0).map_or(Ok(some), Err);
        assert_eq!(pushed, expected, "the outcome of try_push_many");
        let left: Vec<_> = tokens.iter().map(|token| token.id).collect();
        assert!(ids.skip(some).eq(left), "what it did not push is still there");
    }

    pub(super) fn try_pop_many(&mut self, channel: usize, max: u8) {
        self.channels[channel].leave_as_stream();
        let Channel { spec, consumer, .. } = &mut self.channels[channel];
        let Some(consumer) = &mut consumer.here else { return };
        let mut out = Vec::new();
        let popped = consumer.try_pop_many(&mut out, usize::from(max)).map_err(nothing_now);
        // As many times a `try_pop`.
        let (mut expected, mut end) = (Vec::new(), None);
        while end.is_none() && expected.len() < usize::from(max) {
            match spec.try_pop() {
                Ok(value) => expected.push(value),
                Err(why) => end = Some(why),
            }
        }
        let found: Vec<_> = out.iter().map(|token| token.id).collect();
        assert_eq!(found, expected, "what try_pop_many found");
        let said = end.filter(|_| expected.is_empty()).map_or(Ok(expected.len()), Err);
        assert_eq!(popped, said, "the outcome of try_pop_many");
    }

    pub(super) fn try_reserve(&mut self, channel: usize) {
        let place = &mut self.channels[channel];
        let Some(producer) = place.producer.here.take() else { return };
        let lent = Buffer::new((producer, VecDeque::new()));
        let reserve = Held::with(&Rc::new(()), &lent, |(), (producer, _)| producer.try_reserve());
        let reserved = (*Pin::into_inner(reserve.future)).map_err(|error| why_not_now(error).0);
        assert_eq!(reserved.as_ref().map(drop).map_err(|why| *why), place.spec.try_reserve());
        let lease = Lease::Producer(lent);
        match reserved {
            Ok(permit) => self.permits.push(HeldPermit { permit, channel, lease }),
            Err(_) => drop(place.take_back(lease)),
        }
    }

    /// Pushes with a permit, or gives it back.
    pub(super) fn use_permit(&mut self, at: usize, push: bool) {
        let id = self.name() as u64;
        let HeldPermit { permit, channel, lease } = self.permits.swap_remove(at);
        let spec = &mut self.channels[channel].spec;
        if push {
            let said = Out::Pushed(permit.push(self.census.token(id)).map_err(why_not_pushed)).said();
            let expected = Said::Pushed(spec.redeem(id).map_err(|why| (why, id)));
            assert_eq!(said, expected, "what a permit came to");
        } else {
            drop(permit);
            spec.give_back();
        }
        self.channels[channel].take_back(lease);
    }

    pub(super) fn drop_end(&mut self, channel: usize, side: Side) {
        let Channel { spec, producer, consumer, place, .. } = &mut self.channels[channel];
        let (here, exists) = match side {
            Side::Pusher => (producer.here.take().map(drop), &mut producer.exists),
            Side::Popper => (consumer.here.take().map(drop), &mut consumer.exists),
        };
        if here.is_some() {
            *exists = false;
            if side == Side::Popper
                && let Some(id) = place.take()
            {
                spec.withdraw(id);
            }
            spec.leave(side);
        }
    }
}

impl Channel {
    /// At capacity 0 a stream keeps its place until the consumer is used in another way, as it is now.
    pub(super) fn leave_as_stream(&mut self) {
        if let (Some(consumer), Spec::Meet(model)) = (&mut self.consumer.here, &mut self.spec)
            && let Some(id) = self.place.take()
        {
            assert_eq!(consumer.try_pop_many(&mut Vec::new(), 0), Ok(0));
            model.withdraw(id);
        }
    }
}
