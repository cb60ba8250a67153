//! The engine with a source that says what a script says, whatever the kernel did.
//!
//! Knows: the source trait, what the engine gives out. Does not know: any real op.
#![allow(unsafe_code, reason = "implements the unsafe source trait")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use io_uring::opcode;
use io_uring::types::Timespec;

use super::{Came, Multishot, Shot, Source, Then};
use crate::operation::Results;
use crate::ops::fd::salvage::Place;
use crate::ops::features::Feature;
use crate::ops::timeout::timespec;
use crate::runtime::driver::Sqe;
use crate::runtime::{Runtime, time};

#[derive(Clone, Copy, Debug)]
enum Line {
    Item(u32),
    Last(u32),
    Nothing,
    End,
    Fails(i32),
}

/// What happens, and what was seen of it.
#[derive(Default)]
struct Play {
    lines: RefCell<VecDeque<Line>>,
    /// What the entries asked for.
    asked: RefCell<Vec<Shot>>,
    returned: RefCell<Vec<u32>>,
    /// Nothing may be asked while this is false.
    short: Cell<bool>,
    waiter: Cell<Option<Waker>>,
    orphaned: Cell<u32>,
    ended: Cell<u32>,
}

impl Play {
    fn asked(&self) -> usize {
        self.asked.borrow().len()
    }
}

struct Scripted {
    play: Rc<Play>,
    spec: Timespec,
}

// SAFETY: (I1) the entry points to the timespec inside of the source.
unsafe impl Source for Scripted {
    type Item = u32;
    type Home = Rc<Play>;

    const FEATURE: Feature = Feature::RecvMultishot;

    fn prepare(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Place, u32)>> {
        if self.play.short.get() {
            self.play.waiter.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        Poll::Ready(None)
    }

    fn sqe(&mut self, shot: Shot) -> Sqe {
        self.play.asked.borrow_mut().push(shot);
        // With nothing left to say it waits for long.
        let wait = if self.play.lines.borrow().is_empty() { 60_000 } else { 0 };
        self.spec = timespec(Duration::from_millis(wait));
        opcode::Timeout::new(&raw const self.spec).build().into()
    }

    fn came(&mut self, result: io::Result<u32>, _flags: u32) -> Came<u32> {
        if let Err(error) = result
            && error.raw_os_error() == Some(libc::ECANCELED)
        {
            return Came::Failed(error);
        }
        match self.play.lines.borrow_mut().pop_front().expect("a line for every completion") {
            Line::Item(item) => Came::Item(item),
            Line::Last(item) => Came::Last(item),
            Line::Nothing => Came::Nothing,
            Line::End => Came::End,
            Line::Fails(errno) => Came::Failed(io::Error::from_raw_os_error(errno)),
        }
    }

    fn after(&mut self, error: &io::Error) -> Then {
        match error.raw_os_error() {
            Some(libc::ENOBUFS) => {
                self.play.short.set(true);
                Then::WhenReady
            }
            Some(libc::ECONNABORTED) => Then::Again,
            Some(libc::EMFILE) => Then::Later,
            _ => Then::End,
        }
    }

    fn home(&self) -> &Rc<Play> {
        &self.play
    }

    fn give_back(home: &Rc<Play>, item: u32, _place: Option<Place>) {
        home.returned.borrow_mut().push(item);
    }

    fn orphaned(&mut self) {
        self.play.orphaned.set(self.play.orphaned.get() + 1);
    }

    fn ended(home: &Rc<Play>) {
        home.ended.set(home.ended.get() + 1);
    }
}

fn play(lines: &[Line]) -> (Rc<Play>, Multishot<Scripted>) {
    let play = Rc::new(Play { lines: RefCell::new(lines.iter().copied().collect()), ..Play::default() });
    let op = Multishot::new(Scripted { play: Rc::clone(&play), spec: Timespec::new() });
    (play, op)
}

async fn next(op: &mut Multishot<Scripted>) -> ControlFlow<Result<(), Option<i32>>, u32> {
    match poll_fn(|cx| op.poll_next(cx)).await {
        ControlFlow::Continue(item) => ControlFlow::Continue(item),
        ControlFlow::Break(end) => ControlFlow::Break(end.map_err(|error| error.raw_os_error())),
    }
}

async fn is_pending(op: &mut Multishot<Scripted>) -> bool {
    poll_fn(|cx| Poll::Ready(op.poll_next(cx).is_pending())).await
}

/// Some turns of the loop, in which what can be done at once is done.
async fn turns() {
    for _ in 0..3 {
        time::sleep(Duration::from_millis(1)).await;
    }
}

fn on_a_runtime(test: impl Future<Output = ()>) {
    Runtime::new().expect("io_uring").block_on(test);
}

#[test]
fn an_entry_that_ends_with_a_result_is_followed_by_another() {
    on_a_runtime(async {
        let (play, mut op) = play(&[Line::Item(1), Line::Nothing, Line::Item(2), Line::Last(3)]);
        for item in 1..=3 {
            assert_eq!(next(&mut op).await, ControlFlow::Continue(item));
        }
        assert_eq!(next(&mut op).await, ControlFlow::Break(Ok(())));
        assert_eq!(*play.asked.borrow(), [Shot::Multi; 4]);
    });
}

#[test]
fn an_end_without_a_result_is_the_end() {
    on_a_runtime(async {
        let (_play, mut op) = play(&[Line::Item(1), Line::End]);
        assert_eq!(next(&mut op).await, ControlFlow::Continue(1));
        assert_eq!(next(&mut op).await, ControlFlow::Break(Ok(())));
    });
}

#[test]
#[should_panic(expected = "polled after its end")]
fn after_its_end_it_is_not_polled() {
    on_a_runtime(async {
        let (_play, mut op) = play(&[Line::End]);
        assert_eq!(next(&mut op).await, ControlFlow::Break(Ok(())));
        let _ = next(&mut op).await;
    });
}

#[test]
fn an_error_is_the_end_unless_the_source_knows_better() {
    on_a_runtime(async {
        let (play, mut op) = play(&[Line::Item(1), Line::Fails(libc::EIO)]);
        assert_eq!(next(&mut op).await, ControlFlow::Continue(1));
        assert_eq!(next(&mut op).await, ControlFlow::Break(Err(Some(libc::EIO))));
        assert_eq!(play.asked(), 2);
    });
}

#[test]
fn short_of_buffers_it_asks_again_when_one_is_back_and_not_before() {
    on_a_runtime(async {
        let (play, mut op) = play(&[Line::Item(1), Line::Fails(libc::ENOBUFS), Line::Item(2)]);
        assert_eq!(next(&mut op).await, ControlFlow::Continue(1));
        for _ in 0..5 {
            assert!(is_pending(&mut op).await);
            turns().await;
        }
        assert_eq!(play.asked(), 2);
        play.short.set(false);
        let waiter = play.waiter.take().expect("it waits to be told");
        waiter.wake();
        assert_eq!(next(&mut op).await, ControlFlow::Continue(2));
        assert!((3..=4).contains(&play.asked()), "and the one that is out");
    });
}

#[test]
fn short_of_buffers_it_can_be_stopped_dropped_and_discarded() {
    on_a_runtime(async {
        for how in 0..3 {
            let (play, mut op) = play(&[Line::Item(1), Line::Fails(libc::ENOBUFS)]);
            assert_eq!(next(&mut op).await, ControlFlow::Continue(1));
            while !play.short.get() {
                assert!(is_pending(&mut op).await);
                turns().await;
            }
            assert!(is_pending(&mut op).await);
            match how {
                0 => {
                    op.request_cancel();
                    assert_eq!(next(&mut op).await, ControlFlow::Break(Err(Some(libc::ECANCELED))));
                }
                1 => drop(op),
                _ => poll_fn(|cx| op.poll_discard(cx)).await,
            }
            assert_eq!((play.orphaned.get(), play.ended.get()), (0, 0), "nothing was in flight");
        }
    });
}

#[test]
fn what_fails_once_is_asked_again_at_once_and_then_after_a_rest() {
    on_a_runtime(async {
        let aborted = Line::Fails(libc::ECONNABORTED);
        let (_play, mut op) = play(&[aborted, Line::Item(1), aborted, aborted, aborted, Line::Item(2)]);
        assert_eq!(next(&mut op).await, ControlFlow::Continue(1));
        let began = Instant::now();
        assert_eq!(next(&mut op).await, ControlFlow::Continue(2));
        assert!(began.elapsed() >= Duration::from_millis(2 + 4), "it rests from the second failure on");
    });
}

#[test]
fn short_of_something_it_rests_longer_and_longer() {
    on_a_runtime(async {
        let short = Line::Fails(libc::EMFILE);
        let (play, mut op) = play(&[short, short, short, short, short, Line::Item(1)]);
        let began = Instant::now();
        assert_eq!(next(&mut op).await, ControlFlow::Continue(1));
        assert!(began.elapsed() >= Duration::from_millis(1 + 2 + 4 + 8 + 16));
        assert!((6..=7).contains(&play.asked()), "and the one that is out");
    });
}

#[test]
fn resting_it_can_be_stopped() {
    on_a_runtime(async {
        let (play, mut op) = play(&[Line::Fails(libc::EMFILE); 32]);
        while !matches!(op.stage, super::Stage::Resting(..)) {
            assert!(is_pending(&mut op).await);
            turns().await;
        }
        op.request_cancel();
        assert_eq!(next(&mut op).await, ControlFlow::Break(Err(Some(libc::ECANCELED))));
        assert_eq!(play.orphaned.get(), 0);
    });
}

#[test]
fn an_entry_that_is_refused_is_tried_as_a_single_one() {
    let runtime = Runtime::new().expect("io_uring");
    runtime.block_on(async {
        let (refused, mut op) = play(&[Line::Fails(libc::EINVAL), Line::Item(1), Line::Last(2)]);
        assert_eq!(next(&mut op).await, ControlFlow::Continue(1));
        assert_eq!(next(&mut op).await, ControlFlow::Continue(2));
        assert_eq!(*refused.asked.borrow(), [Shot::Multi, Shot::Single, Shot::Single]);
        // The next one on this runtime does not even try.
        let (told, mut op) = play(&[Line::Last(1)]);
        assert_eq!(next(&mut op).await, ControlFlow::Continue(1));
        assert_eq!(*told.asked.borrow(), [Shot::Single]);
    });
    on_a_runtime(async {
        let (other, mut op) = play(&[Line::Last(1)]);
        assert_eq!(next(&mut op).await, ControlFlow::Continue(1));
        assert_eq!(
            *other.asked.borrow(),
            [Shot::Multi],
            "another runtime, another kernel for all that is known"
        );
    });
}

#[test]
fn what_the_single_entry_refuses_as_well_is_the_end() {
    on_a_runtime(async {
        let (play_, mut op) = play(&[Line::Fails(libc::EINVAL), Line::Fails(libc::EINVAL)]);
        assert_eq!(next(&mut op).await, ControlFlow::Break(Err(Some(libc::EINVAL))));
        assert_eq!(*play_.asked.borrow(), [Shot::Multi, Shot::Single]);
        let (other, mut op) = play(&[Line::Last(1)]);
        assert_eq!(next(&mut op).await, ControlFlow::Continue(1));
        assert_eq!(*other.asked.borrow(), [Shot::Multi], "it was not the kernel");
    });
}

#[test]
fn dropped_in_flight_it_tells_the_source_and_gives_back_in_order() {
    on_a_runtime(async {
        let (play, mut op) = play(&[Line::Item(1)]);
        assert_eq!(next(&mut op).await, ControlFlow::Continue(1));
        assert!(is_pending(&mut op).await); // another entry is out
        turns().await;
        op.give_back(1);
        drop(op);
        assert_eq!(play.orphaned.get(), 1);
        while play.ended.get() == 0 {
            turns().await;
        }
        assert_eq!((&*play.returned.borrow(), play.orphaned.get(), play.ended.get()), (&vec![1], 1, 1));
    });
}

#[test]
fn what_is_given_back_is_the_next_one_again() {
    on_a_runtime(async {
        let (_play, mut op) = play(&[Line::Item(1), Line::Item(2), Line::Last(3)]);
        assert_eq!(next(&mut op).await, ControlFlow::Continue(1));
        op.give_back(1);
        for item in 1..=3 {
            assert_eq!(next(&mut op).await, ControlFlow::Continue(item));
        }
        op.give_back(3);
        assert_eq!(next(&mut op).await, ControlFlow::Continue(3));
        assert_eq!(next(&mut op).await, ControlFlow::Break(Ok(())));
    });
}

#[test]
fn never_polled_it_does_nothing() {
    on_a_runtime(async {
        let (play_, op) = play(&[]);
        drop(op);
        assert_eq!((play_.asked(), play_.orphaned.get(), play_.ended.get()), (0, 0, 0));
        let (play_, mut op) = play(&[]);
        op.request_cancel();
        assert_eq!(next(&mut op).await, ControlFlow::Break(Err(Some(libc::ECANCELED))));
        assert_eq!(play_.asked(), 0);
    });
}

#[test]
#[should_panic(expected = "options are set before it is first polled")]
fn options_are_set_before_it_begins() {
    on_a_runtime(async {
        let (_play, mut op) = play(&[]);
        assert!(is_pending(&mut op).await);
        let _ = op.backlog(1);
    });
}
