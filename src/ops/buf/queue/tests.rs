//! The line of what is to be sent, against a model of it; places.
#![allow(unsafe_code, reason = "takes buffers out of places that it has filled")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use proptest::prelude::*;

use super::outbox::{InFlight, Outbox, Piece};
use super::slots::Slots;

const PLACES: u32 = 6;

#[derive(Clone, Copy, Debug)]
enum Step {
    Put {
        len: usize,
    },
    Lend {
        pieces: usize,
        bytes: usize,
    },
    /// Of what was lent, so many thousandths; more than a thousand: more than was lent, which is not believed.
    Settle {
        thousandths: usize,
    },
    TakeBack,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop_oneof![Just(0), 1..20_usize].prop_map(|len| Step::Put { len }),
        2 => (0..4_usize, 1..60_usize).prop_map(|(pieces, bytes)| Step::Lend { pieces, bytes }),
        2 => prop_oneof![Just(0), Just(1000), 0..1000_usize, Just(5000)]
            .prop_map(|thousandths| Step::Settle { thousandths }),
        1 => Just(Step::TakeBack),
    ]
}

/// A line is what it says: bytes, each of a buffer, and an order.
#[derive(Default)]
struct Model {
    /// Place, length, how many bytes are gone.
    line: VecDeque<(u16, usize, usize)>,
    /// How many buffers were lent, and how many bytes.
    lent: Option<(usize, usize)>,
}

impl Model {
    fn lend(&mut self, mut pieces: usize, mut bytes: usize) -> Vec<Piece> {
        let (mut lent, mut buffers, mut all) = (Vec::new(), 0, 0);
        for (place, len, gone) in self.line.iter().copied() {
            let rest = len - gone;
            if rest > 0 && (pieces == 0 || bytes == 0) {
                break;
            }
            buffers += 1;
            if rest > 0 {
                let start = usize::from(place) * 100 + gone;
                lent.push(Piece { place, start, len: rest.min(bytes) });
                pieces -= 1;
                all += rest.min(bytes);
                if rest > bytes {
                    break;
                }
                bytes -= rest;
            }
        }
        self.lent = Some((buffers, all));
        lent
    }

    fn settle(&mut self, mut sent: usize) -> Vec<u16> {
        let Some((buffers, bytes)) = self.lent.take() else { return Vec::new() };
        sent = sent.min(bytes);
        let mut done = Vec::new();
        for _ in 0..buffers {
            let (place, len, gone) = self.line.front_mut().expect("what was lent is in line");
            if sent < *len - *gone {
                *gone += sent;
                break;
            }
            sent -= *len - *gone;
            done.push(*place);
            self.line.pop_front();
        }
        done
    }
}

proptest! {
    #[test]
    fn a_line_is_what_its_model_is(steps in prop::collection::vec(step(), 1..200)) {
        let mut outbox = Outbox::new(PLACES);
        let mut model = Model::default();
        let mut free: Vec<u16> = (0..PLACES as u16).collect();
        for step in steps {
            match step {
                Step::Put { len } => {
                    let Some(place) = free.pop() else { continue };
                    outbox.put(place, usize::from(place) * 100, len);
                    model.line.push_back((place, len, 0));
                }
                Step::Lend { pieces, bytes } => {
                    let mut lent = Vec::new();
                    let result = outbox.lend(pieces, bytes, |piece| lent.push(piece));
                    if model.lent.is_some() {
                        prop_assert_eq!(result, Err(InFlight));
                    } else {
                        prop_assert_eq!(lent, model.lend(pieces, bytes));
                    }
                }
                Step::Settle { thousandths } => {
                    let lent = model.lent.map(|(_, bytes)| bytes);
                    let sent = lent.unwrap_or(7) * thousandths / 1000;
                    let settled = outbox.settle(sent);
                    let mut places = Vec::new();
                    let mut place = settled.sent.first;
                    for _ in 0..settled.sent.buffers {
                        places.push(place);
                        place = outbox.next(place);
                    }
                    prop_assert_eq!(settled.all, lent.is_some_and(|lent| sent >= lent));
                    prop_assert_eq!(&places, &model.settle(sent));
                    free.extend(places);
                }
                Step::TakeBack => {
                    let lent = model.lent.map_or(0, |(buffers, _)| buffers);
                    let expected = if model.line.len() > lent { model.line.pop_back() } else { None };
                    let place = outbox.take_back();
                    prop_assert_eq!(place, expected.map(|(place, ..)| place));
                    free.extend(place);
                }
            }
            let gone = model.line.front().map_or(0, |(_, _, gone)| *gone);
            prop_assert_eq!((outbox.len(), outbox.gone()), (model.line.len(), gone));
            prop_assert_eq!(outbox.is_lent(), model.lent.is_some());
            prop_assert_eq!(outbox.has_no_bytes(), model.line.iter().all(|(_, len, gone)| len == gone));
        }
    }
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Who waits for a send is told when it has ended, once, however often it has asked.
#[test]
fn the_end_of_a_send_is_told_to_who_waits() {
    let mut outbox = Outbox::new(1);
    outbox.put(0, 0, 10);
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    assert!(outbox.poll_turn(&mut Some(waker.clone())).is_ready());
    assert_eq!(outbox.lend(1, 10, |_| {}), Ok(()));
    for _ in 0..3 {
        assert!(outbox.poll_turn(&mut Some(waker.clone())).is_pending());
    }
    let settled = outbox.settle(4);
    assert_eq!((settled.wake.len(), settled.all), (1, false));
    settled.wake.into_iter().for_each(Waker::wake);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(outbox.poll_turn(&mut Some(waker)).is_ready());
}

/// A place has one owner: whoever has filled it, until the buffer is taken.
#[test]
fn places_are_used_again_and_what_is_left_is_dropped() {
    let there = Arc::new(());
    let slots = Slots::new(3);
    let mut places: Vec<u16> =
        (0..3).map(|_| slots.fill(Arc::clone(&there)).expect("there is room")).collect();
    assert!(slots.fill(Arc::clone(&there)).is_err());
    places.sort_unstable();
    assert_eq!((places, slots.free(), slots.count()), (vec![0, 1, 2], 0, 3));
    // SAFETY: (local) this test has filled it, and takes it once.
    drop(unsafe { slots.take(1) });
    assert_eq!((slots.fill(Arc::clone(&there)).ok(), slots.free()), (Some(1), 0));
    // SAFETY: (local) as above.
    drop(unsafe { slots.take(2) });
    assert_eq!(Arc::strong_count(&there), 3);
    drop(slots);
    assert_eq!(Arc::strong_count(&there), 1);
}
