//! The pool's own books, without a kernel.
#![allow(unsafe_code, reason = "looks into the books")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::ledger::{Clerk, Desk, Part, Place};

fn clerk(desk: &Desk) -> Clerk<'_> {
    // SAFETY: (local) a desk of these tests stays on its test's thread.
    unsafe { desk.clerk() }
}

/// Gives a buffer back and says where in the ring it was put.
fn give_back(desk: &Desk, buffer: u16) -> Vec<(u16, u16)> {
    let mut published = Vec::new();
    clerk(desk).give_back(buffer, 1, |buffer, position| published.push((buffer, position)));
    published
}

/// What of the things that were dropped elsewhere is the kernel's again.
fn clear_tray(desk: &Desk) -> Vec<(u16, u16)> {
    let mut published = Vec::new();
    clerk(desk).clear_tray(|buffer, position| published.push((buffer, position)));
    published
}

fn available(desk: &Desk) -> u32 {
    desk.figures().available
}

/// B5, B7: what the kernel does not have it cannot give.
#[test]
fn a_number_that_the_kernel_does_not_have_is_not_believed() {
    let desk = Desk::new(3, 8, false);
    assert_eq!(clerk(&desk).claim(1, 8, false), Some(Part { buffer: 1, start: 0, len: 8 }));
    for wrong in [1, 3, 4, u16::MAX] {
        assert_eq!(clerk(&desk).claim(wrong, 8, false), None);
        assert_eq!(clerk(&desk).claim_run(wrong, 8, false), None);
    }
    assert_eq!((available(&desk), desk.figures().disowned), (2, 8));
    assert_eq!(give_back(&desk, 1), [(1, 3)]);
    assert!(clerk(&desk).claim(1, 8, false).is_some());
}

/// B9: never more than the buffer has, whatever the result says.
#[test]
fn a_part_is_never_longer_than_its_buffer() {
    let desk = Desk::new(1, 8, false);
    assert_eq!(clerk(&desk).claim(0, 100, false).map(|part| part.len), Some(8));
    give_back(&desk, 0);
    let run = clerk(&desk).claim_run(0, 100, false).expect("the kernel's");
    assert_eq!((run.len, run.buffers), (8, 1), "there is nothing behind it");
}

/// B8.
#[test]
fn a_buffer_is_used_up_part_by_part() {
    let desk = Desk::new(2, 10, true);
    assert_eq!(clerk(&desk).claim(0, 4, true), Some(Part { buffer: 0, start: 0, len: 4 }));
    assert_eq!(clerk(&desk).claim(0, 4, true), Some(Part { buffer: 0, start: 4, len: 4 }));
    assert_eq!(available(&desk), 2);
    assert_eq!(give_back(&desk, 0), [], "the kernel has the rest of it");
    assert_eq!(clerk(&desk).claim(0, 2, false), Some(Part { buffer: 0, start: 8, len: 2 }));
    assert_eq!(available(&desk), 1);
    assert_eq!(give_back(&desk, 0), []);
    assert_eq!(give_back(&desk, 0), [(0, 2)]);
    assert_eq!(
        clerk(&desk).claim(0, 1, true),
        Some(Part { buffer: 0, start: 0, len: 1 }),
        "from the start again"
    );
    // The kernel may let go of one that is not full.
    assert_eq!(clerk(&desk).claim(1, 3, false), Some(Part { buffer: 1, start: 0, len: 3 }));
    assert_eq!(give_back(&desk, 1), [(1, 3)]);
}

/// B6: a run is walked in the order of the ring, not of the numbers.
#[test]
fn a_run_follows_the_ring() {
    let desk = Desk::new(4, 10, false);
    for buffer in [2, 0, 1, 3] {
        assert!(clerk(&desk).claim(buffer, 1, false).is_some());
    }
    for (position, buffer) in (4..).zip([3, 1, 0, 2]) {
        assert_eq!(give_back(&desk, buffer), [(buffer, position)]);
    }
    let run = clerk(&desk).claim_run(3, 25, false).expect("the kernel's");
    assert_eq!((run.buffers, run.len, run.first.len), (3, 25, 10));
    assert_eq!((desk.next(3), desk.next(1)), ((1, 10), (0, 10)));
    assert_eq!(available(&desk), 1);
    let mut back = Vec::new();
    clerk(&desk).give_back(3, 3, |buffer, _| back.push(buffer));
    assert_eq!((back, available(&desk)), (vec![3, 1, 0], 4));
}

#[test]
fn a_run_may_begin_and_end_inside_of_a_buffer() {
    let desk = Desk::new(4, 10, true);
    assert_eq!(clerk(&desk).claim(0, 7, true).map(|part| part.start), Some(0));
    let run = clerk(&desk).claim_run(0, 18, true).expect("the kernel's");
    assert_eq!((run.first, run.buffers, run.len), (Part { buffer: 0, start: 7, len: 3 }, 3, 18));
    let run_behind = clerk(&desk).claim_run(2, 10, true).expect("the kernel's");
    assert_eq!((run_behind.first, run_behind.buffers), (Part { buffer: 2, start: 5, len: 5 }, 2));
    assert_eq!([0, 1, 2].map(|buffer| desk.next(buffer).0), [1, 2, 3]);
    let mut back = Vec::new();
    clerk(&desk).give_back(0, 1, |buffer, _| back.push(buffer)); // the first part
    clerk(&desk).give_back(0, 3, |buffer, _| back.push(buffer));
    assert_eq!(back, [0, 1], "of the third there is another part");
    clerk(&desk).give_back(2, 2, |buffer, _| back.push(buffer));
    assert_eq!(back, [0, 1, 2], "and the fourth is the kernel's");
}

/// Of places in which there are buffers of any size: each is as long as it is, and the order is that in which they came.
#[test]
fn buffers_of_any_size_come_into_places() {
    let mut desk = Desk::without_buffers(3);
    assert_eq!((available(&desk), clerk(&desk).claim(0, 1, false)), (0, None));
    let mut back = Vec::new();
    for (place, size) in [(2, 5), (0, 7), (1, 1)] {
        desk.set_size(place, size);
        back.extend(give_back(&desk, place));
    }
    assert_eq!((back, available(&desk), desk.in_order()), (vec![(2, 0), (0, 1), (1, 2)], 3, vec![2, 0, 1]));
    let run = clerk(&desk).claim_run(2, 100, false).expect("the kernel's");
    assert_eq!((run.first.len, run.len, run.buffers), (5, 13, 3));
    assert_eq!((desk.next(2), desk.next(0), desk.in_order()), ((0, 7), (1, 1), vec![]));
    desk.set_size(0, 9);
    assert_eq!(give_back(&desk, 0), [(0, 3)]);
    assert_eq!(clerk(&desk).claim(0, 100, false).map(|part| part.len), Some(9));
}

/// Positions are counted in 16 bits: around their end everything is as before.
#[test]
fn positions_wrap() {
    let desk = Desk::new(2, 10, false);
    for round in 0..100_000_u32 {
        let first = (round % 2) as u16;
        assert!(!clerk(&desk).has_left(first, round as u16), "round {round}");
        assert!(clerk(&desk).has_left(first, (round + 1) as u16), "round {round}");
        let part = clerk(&desk).claim(first, 5, false).expect("the kernel's");
        assert_eq!(give_back(&desk, part.buffer), [(first, (round + 2) as u16)]);
    }
    let all = Desk::new(32_768, 1, false);
    assert!(!clerk(&all).has_left(0, 0) && clerk(&all).has_left(0, 1) && clerk(&all).has_left(0, 32_768));
    assert!(
        !clerk(&all).has_left(32_767, 0)
            && !clerk(&all).has_left(32_767, 32_767)
            && clerk(&all).has_left(32_767, 32_768)
    );
    assert!(!clerk(&all).has_left(40_000, 50_000));
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn waiter() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count(AtomicUsize::new(0)));
    (Arc::clone(&count), count.into())
}

/// One turn for each buffer that comes back, in order, and none is lost on who does not use it.
#[test]
fn turns_are_taken_in_order_and_passed_on() {
    let desk = Desk::new(2, 8, false);
    let mut places = [const { Place::new() }; 3];
    let wakers = [waiter(), waiter(), waiter()];
    let poll = |places: &mut [Place; 3], who: usize| {
        clerk(&desk).poll_turn(&mut Context::from_waker(&wakers[who].1), &mut places[who], |_, _| {})
    };
    let woken = || wakers.each_ref().map(|(count, _)| count.0.load(Ordering::Relaxed));
    // There are buffers: asked for once more at once. Refused again with none having come back: in line.
    assert!(matches!(poll(&mut places, 0), Poll::Ready(turn) if !turn.others));
    assert!(poll(&mut places, 0).is_pending());
    assert!(poll(&mut places, 0).is_pending());
    clerk(&desk).claim(0, 1, false);
    clerk(&desk).claim(1, 1, false);
    assert!(poll(&mut places, 1).is_pending());
    assert!(poll(&mut places, 2).is_pending());
    give_back(&desk, 0);
    assert_eq!(woken(), [1, 0, 0]);
    assert!(poll(&mut places, 1).is_pending(), "not its turn");
    // The buffer is gone again when it looks: it keeps its place.
    clerk(&desk).claim(0, 1, false);
    assert!(poll(&mut places, 0).is_pending());
    give_back(&desk, 0);
    assert_eq!(woken(), [2, 0, 0]);
    // It gives up: the next.
    desk.leave(&mut places[0]);
    assert_eq!(woken(), [2, 1, 0]);
    assert!(matches!(poll(&mut places, 1), Poll::Ready(turn) if turn.others));
    desk.pass_on();
    assert_eq!(woken(), [2, 1, 1]);
    desk.pass_on();
    desk.leave(&mut places[1]);
    desk.leave(&mut places[2]);
    assert_eq!(woken(), [2, 1, 1], "there is nobody left");
    assert!(wakers.iter().all(|(count, _)| Arc::strong_count(count) == 2), "no waker is kept");
}

#[test]
fn a_wakers_panic_is_nobody_elses() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker's panic");
        }
    }
    let desk = Desk::new(2, 8, false);
    clerk(&desk).claim_run(0, 16, false);
    let (count, waker) = waiter();
    let (mut first, mut second) = (Place::new(), Place::new());
    let panics = Arc::new(Panics).into();
    let poll = |waker: &Waker, place: &mut Place| {
        clerk(&desk).poll_turn(&mut Context::from_waker(waker), place, |_, _| {})
    };
    assert!(poll(&panics, &mut first).is_pending());
    assert!(poll(&waker, &mut second).is_pending());
    clerk(&desk).give_back(0, 2, |_, _| {});
    assert_eq!((count.0.load(Ordering::Relaxed), available(&desk)), (1, 2));
}

/// What is dropped on other threads is booked when the runtime looks, in parts and in runs.
#[test]
fn what_was_brought_is_booked_later() {
    let desk = Desk::new(3, 10, true);
    assert_eq!(clerk(&desk).claim(0, 4, true).map(|part| part.start), Some(0));
    let run = clerk(&desk).claim_run(0, 20, true).expect("the kernel's");
    assert_eq!((run.first, run.buffers), (Part { buffer: 0, start: 4, len: 6 }, 3));
    assert_eq!((available(&desk), desk.figures().lowest), (1, 1), "the third has room left");
    desk.bring(0, 1);
    assert_eq!(clear_tray(&desk), [], "there is another part of it");
    desk.bring(0, 3);
    assert_eq!(available(&desk), 4, "as far as anybody else knows");
    assert_eq!(clear_tray(&desk), [(0, 3), (1, 4)]);
    assert_eq!(clear_tray(&desk), []);
    assert_eq!(available(&desk), 3);
    assert_eq!(clerk(&desk).claim(2, 6, false), Some(Part { buffer: 2, start: 4, len: 6 }));
    // Both of its parts, one here and one elsewhere.
    assert_eq!(clerk(&desk).claim(1, 5, true).map(|part| part.start), Some(0));
    assert_eq!(clerk(&desk).claim(1, 5, false).map(|part| part.start), Some(5));
    desk.bring(1, 1);
    assert_eq!(give_back(&desk, 1), [(1, 5)], "what was brought before goes before");
    assert_eq!(clear_tray(&desk), []);
}

/// What lies on the tray is found before anybody waits for it, and given to who waits already.
#[test]
fn nobody_waits_beside_the_tray() {
    let desk = Desk::new(2, 8, false);
    clerk(&desk).claim_run(0, 16, false);
    let wakers = [waiter(), waiter()];
    let mut places = [const { Place::new() }; 2];
    let mut published = Vec::new();
    let mut poll = |who: usize, place: &mut Place| {
        let cx = &mut Context::from_waker(&wakers[who].1);
        clerk(&desk).poll_turn(cx, place, |buffer, _| published.push(buffer))
    };
    let woken = || wakers.each_ref().map(|(count, _)| count.0.load(Ordering::Relaxed));
    desk.bring(1, 1);
    assert!(poll(0, &mut places[0]).is_ready());
    clerk(&desk).claim(1, 8, false);
    assert!(poll(0, &mut places[0]).is_pending());
    assert!(poll(1, &mut places[1]).is_pending());
    desk.bring(0, 1);
    assert_eq!(woken(), [1, 0]);
    desk.leave(&mut places[0]);
    assert_eq!(woken(), [1, 1], "it is still on the tray");
    assert!(poll(1, &mut places[1]).is_ready());
    assert_eq!(published, [1, 0]);
}
