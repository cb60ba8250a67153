//! The steps of a history, and how histories are drawn.
//!
//! Knows: what can be done to a channel. Does not know: how, and what comes of it.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// One step. Numbers choose among what there is, modulo how much that is.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Start { channel: u8, end: u8, kind: Kind, poll: bool },
    Race { arms: Vec<(u8, Kind)>, as_pair: bool },
    Poll { task: u8, new_waker: bool },
    Drop { task: u8 },
    CancelPush { task: u8 },
    RequestCancel { task: u8 },
    Discard { task: u8 },
    TryPush { channel: u8, end: u8 },
    TryPop { channel: u8, end: u8 },
    TryPushMany { channel: u8, count: u8 },
    TryPopMany { channel: u8, max: u8 },
    TryReserve { channel: u8, end: u8 },
    UsePermit { permit: u8 },
    DropPermit { permit: u8 },
    Fill { channel: u8 },
    Drain { channel: u8, take: u8 },
    NewStream { channel: u8, end: u8 },
    PollStream { stream: u8, new_waker: bool },
    TryPopStream { stream: u8 },
    DropStream { stream: u8 },
    CloneSender { channel: u8 },
    CloneReceiver { channel: u8 },
    DropSender { channel: u8, end: u8 },
    DropReceiver { channel: u8, end: u8 },
    Downgrade { channel: u8 },
    Upgrade { channel: u8, receiver: bool },
    Close { channel: u8, by_receiver: bool },
}

/// What may wait, alone or as an arm of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Push,
    Pop,
    Reserve,
    PushMany { count: u8 },
    PopMany { max: u8 },
    Closed { by_receiver: bool },
}

pub(crate) fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        8 => Just(Kind::Push),
        8 => Just(Kind::Pop),
        2 => Just(Kind::Reserve),
        2 => (0..6_u8).prop_map(|count| Kind::PushMany { count }),
        2 => prop_oneof![4 => 0..6_u8, 1 => 30..90_u8].prop_map(|max| Kind::PopMany { max }),
        1 => any::<bool>().prop_map(|by_receiver| Kind::Closed { by_receiver }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let (n, flag) = (any::<u8>, any::<bool>);
    prop_oneof![
        18 => (n(), n(), kind(), flag())
            .prop_map(|(channel, end, kind, poll)| Step::Start { channel, end, kind, poll }),
        6 => (vec((n(), kind()), 2..4), flag()).prop_map(|(arms, as_pair)| Step::Race { arms, as_pair }),
        20 => (n(), flag()).prop_map(|(task, new_waker)| Step::Poll { task, new_waker }),
        5 => n().prop_map(|task| Step::Drop { task }),
        3 => n().prop_map(|task| Step::CancelPush { task }),
        3 => n().prop_map(|task| Step::RequestCancel { task }),
        2 => n().prop_map(|task| Step::Discard { task }),
        6 => (n(), n()).prop_map(|(channel, end)| Step::TryPush { channel, end }),
        6 => (n(), n()).prop_map(|(channel, end)| Step::TryPop { channel, end }),
        1 => n().prop_map(|channel| Step::Fill { channel }),
        1 => (n(), n()).prop_map(|(channel, take)| Step::Drain { channel, take }),
        1 => (n(), 0..8_u8).prop_map(|(channel, count)| Step::TryPushMany { channel, count }),
        1 => (n(), 0..80_u8).prop_map(|(channel, max)| Step::TryPopMany { channel, max }),
        2 => (n(), n()).prop_map(|(channel, end)| Step::TryReserve { channel, end }),
        3 => n().prop_map(|permit| Step::UsePermit { permit }),
        2 => n().prop_map(|permit| Step::DropPermit { permit }),
        1 => (n(), n()).prop_map(|(channel, end)| Step::NewStream { channel, end }),
        4 => (n(), flag()).prop_map(|(stream, new_waker)| Step::PollStream { stream, new_waker }),
        1 => n().prop_map(|stream| Step::TryPopStream { stream }),
        1 => n().prop_map(|stream| Step::DropStream { stream }),
        3 => n().prop_map(|channel| Step::CloneSender { channel }),
        3 => n().prop_map(|channel| Step::CloneReceiver { channel }),
        2 => (n(), n()).prop_map(|(channel, end)| Step::DropSender { channel, end }),
        2 => (n(), n()).prop_map(|(channel, end)| Step::DropReceiver { channel, end }),
        1 => n().prop_map(|channel| Step::Downgrade { channel }),
        1 => (n(), flag()).prop_map(|(channel, receiver)| Step::Upgrade { channel, receiver }),
        1 => (n(), flag()).prop_map(|(channel, by_receiver)| Step::Close { channel, by_receiver }),
    ]
}

pub(crate) fn capacity() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0), 3 => Just(1), 2 => Just(2), 1 => Just(3), 1 => Just(64)]
}

pub(super) fn histories() -> impl Strategy<Value = (Vec<usize>, Vec<Step>)> {
    (vec(capacity(), 1..4), vec(step(), 1..120))
}
