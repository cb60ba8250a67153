//! Steps that do not wait: tries, batches of them, permits.
//!
//! Knows: the world of channels with lines. Does not know: futures.

use std::collections::VecDeque;
use std::pin::Pin;

use millstream::channel::Sharing;

use super::{Channel, HeldPermit, Out, World, pick};
use crate::parts::Held;
use crate::said::{Said, nothing_now, why_not_now, why_not_pushed};

impl<S: Sharing + 'static> World<S> {
    /// Whether it was pushed.
    pub(super) fn try_push(&mut self, channel: usize, end: u8) -> bool {
        let id = self.name() as u64;
        let Channel { model, senders, .. } = &mut self.channels[channel];
        let Some(at) = pick(senders, end) else { return false };
        let pushed = senders[at].end.try_push(self.census.token(id)).map_err(why_not_now);
        let said = Out::<S>::Pushed(pushed).said();
        assert_eq!(
            said,
            Said::Pushed(model.try_push(id).map_err(|why| (why, id))),
            "the outcome of try_push"
        );
        said == Said::Pushed(Ok(()))
    }

    /// Whether a value was popped.
    pub(super) fn try_pop(&mut self, channel: usize, end: u8) -> bool {
        let Channel { model, receivers, .. } = &mut self.channels[channel];
        let Some(at) = pick(receivers, end) else { return false };
        let popped = receivers[at].end.try_pop().map(|token| token.id).map_err(nothing_now);
        assert_eq!(popped, model.try_pop(), "the outcome of try_pop");
        popped.is_ok()
    }

    pub(super) fn drain(&mut self, channel: usize) {
        while self.try_pop(channel, 0) {}
    }

    pub(super) fn try_push_many(&mut self, channel: u8, count: u8) {
        let channel = usize::from(channel) % self.channels.len();
        let first = (self.name() as u64) << 32;
        let Channel { model, senders, .. } = &mut self.channels[channel];
        let Some(sender) = senders.first() else { return };
        let ids = first..first + u64::from(count);
        let mut tokens: VecDeque<_> = ids.clone().map(|id| self.census.token(id)).collect();
        let pushed = sender.end.try_push_many(&mut tokens).map_err(|error| why_not_now(error).0);
        let mut expected = Ok(0);
        for (n, id) in ids.clone().enumerate() {
            match model.try_push(id) {
                Ok(()) => expected = Ok(n + 1),
                Err(why) if n == 0 => expected = Err(why),
                Err(_) => break,
            }
            if expected.is_err() {
                break;
            }
        }
        assert_eq!(pushed, expected, "the outcome of try_push_many");
        let left: Vec<_> = tokens.iter().map(|token| token.id).collect();
        assert!(ids.skip(pushed.unwrap_or(0)).eq(left), "what it did not push is still there");
    }

    pub(super) fn try_pop_many(&mut self, channel: u8, max: u8) {
        let channel = usize::from(channel) % self.channels.len();
        let Channel { model, receivers, .. } = &mut self.channels[channel];
        let Some(receiver) = receivers.first() else { return };
        let mut out = Vec::new();
        let popped = receiver.end.try_pop_many(&mut out, usize::from(max)).map_err(nothing_now);
        // As many times a `try_pop`.
        let (mut expected, mut end) = (Vec::new(), None);
        while end.is_none() && expected.len() < usize::from(max) {
            match model.try_pop() {
                Ok(value) => expected.push(value),
                Err(why) => end = Some(why),
            }
        }
        let found: Vec<_> = out.iter().map(|token| token.id).collect();
        assert_eq!(found, expected, "what try_pop_many found");
        let said = end.filter(|_| expected.is_empty()).map_or(Ok(expected.len()), Err);
        assert_eq!(popped, said, "the outcome of try_pop_many");
    }

    pub(super) fn try_reserve(&mut self, channel: u8, end: u8) {
        let channel = usize::from(channel) % self.channels.len();
        let Channel { model, senders, .. } = &mut self.channels[channel];
        let Some(at) = pick(senders, end) else { return };
        let reserve = Held::new(&senders[at], |sender| sender.end.try_reserve());
        let reserved = (*Pin::into_inner(reserve.future)).map_err(|error| why_not_now(error).0);
        assert_eq!(reserved.as_ref().map(drop).map_err(|why| *why), model.try_reserve());
        self.permits.extend(reserved.ok().map(|permit| HeldPermit { permit, channel, _end: reserve.end }));
    }

    /// Pushes with a permit, or gives it back.
    pub(super) fn use_permit(&mut self, at: usize, push: bool) {
        let id = self.name() as u64;
        let HeldPermit { permit, channel, _end } = self.permits.swap_remove(at);
        let model = &mut self.channels[channel].model;
        if push {
            let said = Out::<S>::Pushed(permit.push(self.census.token(id)).map_err(why_not_pushed)).said();
            assert_eq!(
                said,
                Said::Pushed(model.redeem(id).map_err(|why| (why, id))),
                "what a permit came to"
            );
        } else {
            drop(permit);
            model.give_back();
        }
    }
}
