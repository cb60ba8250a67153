//! `when_any`: who wins, who is stopped, who is waited for.

use std::cell::{Cell, RefCell};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use millstream::Operation;
use millstream::combinators::{OneOf2, OneOf3, when_any};

use crate::fake::{Cancelled, Fake, Remote, Step, Value, Wakes, World, discard, panics, poll};

fn three(world: &World) -> ([Fake; 3], [Remote; 3]) {
    let ((a, ra), (b, rb), (c, rc)) = (world.op("a"), world.op("b"), world.op("c"));
    ([a, b, c], [ra.stubborn(), rb.stubborn(), rc.stubborn()])
}

#[test]
fn every_arm_hears_of_the_race_before_any_is_polled() {
    let world = World::new();
    let (arms, _remotes) = three(&world);
    let mut any = pin!(when_any(arms));
    assert_eq!(world.seen(), "");
    assert!(poll(any.as_mut()).is_pending());
    assert_eq!(world.seen(), "a races, b races, c races, a starts, b starts, c starts");
    assert!(poll(any.as_mut()).is_pending());
    assert_eq!(world.seen(), "");
}

#[test]
fn an_arm_that_is_ready_at_once_wins_and_later_arms_are_never_started() {
    let world = World::new();
    let mut any = pin!(when_any((world.op("a").0, world.ready("b", 2), world.ready("c", 3))));
    assert_eq!(poll(any.as_mut()), Poll::Ready(OneOf3::B(Value(2))));
    assert_eq!(
        world.seen(),
        "a races, b races, c races, a starts, b starts, a discarded, c discarded unstarted"
    );
}

#[test]
fn condy_103_losers_are_stopped_at_once_and_waited_out_whoever_wins() {
    for winner in 0..3 {
        for shape in ["tuple", "array", "vec"] {
            let world = World::new();
            let (arms, remotes) = three(&world);
            let losers: Vec<usize> = (0..3).filter(|&arm| arm != winner).collect();
            let check = |mut polled: Box<dyn FnMut() -> Poll<(usize, crate::fake::Outcome)> + '_>| {
                assert!(polled().is_pending());
                world.seen();
                remotes[winner].finish(winner as u32);
                assert!(polled().is_pending(), "the losers have not ended");
                let names = ["a", "b", "c"];
                let asked = losers.iter().map(|&arm| format!("{} discarded", names[arm])).collect::<Vec<_>>();
                assert_eq!(world.seen(), asked.join(", "));
                remotes[losers[1]].stop();
                assert!(polled().is_pending(), "one loser has not ended");
                remotes[losers[0]].stop();
                assert_eq!(polled(), Poll::Ready((winner, Value(winner as u32))));
                assert_eq!(world.seen(), "");
            };
            match shape {
                "tuple" => {
                    let [a, b, c] = arms;
                    let mut any = pin!(when_any((a, b, c)));
                    check(Box::new(|| poll(any.as_mut()).map(|one| (one.index(), one.into_inner()))));
                }
                "array" => {
                    let mut any = pin!(when_any(arms));
                    check(Box::new(|| poll(any.as_mut())));
                }
                _ => {
                    let mut any = pin!(when_any(Vec::from(arms)));
                    check(Box::new(|| poll(any.as_mut())));
                }
            }
        }
    }
}

#[test]
fn a_loser_that_completes_anyway_gives_back_what_it_took() {
    let world = World::new();
    let ([a, b, _], [ra, rb, _]) = three(&world);
    let mut any = pin!(when_any((a, b)));
    assert!(poll(any.as_mut()).is_pending());
    rb.finish(2);
    assert!(poll(any.as_mut()).is_pending());
    world.seen();
    ra.finish(1);
    assert_eq!(poll(any.as_mut()), Poll::Ready(OneOf2::B(Value(2))));
    assert_eq!(world.seen(), "a gives back 1");
}

#[test]
fn of_two_ready_arms_the_first_wins_and_the_other_gives_back_what_it_took() {
    let world = World::new();
    let ([a, b, _], [ra, rb, _]) = three(&world);
    let mut any = pin!(when_any((a, b)));
    assert!(poll(any.as_mut()).is_pending());
    world.seen();
    rb.finish(2);
    ra.finish(1);
    assert_eq!(poll(any.as_mut()), Poll::Ready(OneOf2::A(Value(1))));
    assert_eq!(world.seen(), "b discarded, b gives back 2");
}

#[test]
fn condy_80_a_race_of_nothing_is_an_error_that_says_so() {
    let said = panics(|| when_any(Vec::<Fake>::new())).expect("nothing can decide");
    assert_eq!(said, "`when_any` of nothing: a race needs at least one arm to decide it");
}

#[test]
fn condy_96_of_many_that_are_ready_the_first_wins() {
    let world = World::new();
    let any = when_any(["a", "b", "c", "d", "e"].map(|name| world.ready(name, 0)));
    assert_eq!(poll(pin!(any)), Poll::Ready((0, Value(0))));
}

#[test]
fn a_request_to_stop_reaches_every_arm_once_and_the_first_to_say_so_wins() {
    let world = World::new();
    let ([a, b, c], [_ra, rb, rc]) = three(&world);
    let mut any = pin!(when_any((a, b, c)));
    assert!(poll(any.as_mut()).is_pending());
    world.seen();
    any.as_mut().request_cancel();
    any.as_mut().request_cancel();
    assert_eq!(world.seen(), "a asked to stop, b asked to stop, c asked to stop");
    rb.stop();
    assert!(poll(any.as_mut()).is_pending());
    rc.stop();
    assert!(poll(any.as_mut()).is_pending());
    _ra.stop();
    assert_eq!(poll(any.as_mut()), Poll::Ready(OneOf3::B(Cancelled)));
}

#[test]
fn a_request_to_stop_before_the_first_poll_starts_nothing() {
    let world = World::new();
    let mut any = pin!(when_any((world.op("a").0, world.op("b").0)));
    any.as_mut().request_cancel();
    assert_eq!(poll(any.as_mut()), Poll::Ready(OneOf2::A(Cancelled)));
    let seen = world.seen();
    assert!(!seen.contains("starts"), "{seen}");
}

#[test]
fn a_request_to_stop_after_the_decision_changes_nothing() {
    let world = World::new();
    let ([a, b, _], [ra, rb, _]) = three(&world);
    let mut any = pin!(when_any((a, b)));
    assert!(poll(any.as_mut()).is_pending());
    ra.finish(1);
    assert!(poll(any.as_mut()).is_pending());
    world.seen();
    any.as_mut().request_cancel();
    assert_eq!(world.seen(), "", "the loser was asked when it lost");
    rb.stop();
    assert_eq!(poll(any.as_mut()), Poll::Ready(OneOf2::A(Value(1))));
}

#[test]
fn a_borrowed_arm_that_loses_stays_in_flight() {
    let world = World::new();
    let ([a, b, c], [ra, rb, _rc]) = three(&world);
    let (mut a, mut b) = (Box::pin(a), pin!(b));
    {
        let mut any = pin!(when_any((&mut a, b.as_mut(), c)));
        assert!(poll(any.as_mut()).is_pending());
        rb.finish(2);
        assert!(poll(any.as_mut()).is_pending(), "c is owned and has not ended");
        _rc.stop();
        assert_eq!(poll(any.as_mut()), Poll::Ready(OneOf3::B(Value(2))));
    }
    assert_eq!(
        world.seen(),
        "a races, b races, c races, a starts, b starts, c starts, c discarded",
        "a was neither stopped nor dropped"
    );
    ra.finish(1);
    assert_eq!(poll(a.as_mut()), Poll::Ready(Value(1)));
}

#[test]
fn the_last_waker_is_woken_by_a_loser_that_ends() {
    let world = World::new();
    let ([a, b, _], [ra, rb, _]) = three(&world);
    let mut any = pin!(when_any((a, b)));
    let (old, new) = (Arc::new(Wakes::default()), Arc::new(Wakes::default()));
    let (old_waker, new_waker) = (Waker::from(Arc::clone(&old)), Waker::from(Arc::clone(&new)));
    assert!(any.as_mut().poll(&mut Context::from_waker(&old_waker)).is_pending());
    ra.finish(1);
    assert_eq!(old.count(), 1);
    assert!(any.as_mut().poll(&mut Context::from_waker(&new_waker)).is_pending());
    rb.stop();
    assert_eq!((old.count(), new.count()), (1, 1));
    assert!(any.as_mut().poll(&mut Context::from_waker(&new_waker)).is_ready());
}

#[test]
fn dropped_while_losers_end_it_drops_them_in_flight() {
    let world = World::new();
    {
        let ([a, b, c], [ra, _, _]) = three(&world);
        let mut any = pin!(when_any((a, b, c)));
        assert!(poll(any.as_mut()).is_pending());
        ra.finish(1);
        assert!(poll(any.as_mut()).is_pending());
        world.seen();
    }
    assert_eq!(world.seen(), "b dropped in flight, c dropped in flight");
}

#[test]
fn discarding_a_race_discards_what_it_started() {
    let world = World::new();
    let ([a, b, _], [ra, rb, _]) = three(&world);
    let mut any = pin!(when_any((a, b)));
    assert!(poll(any.as_mut()).is_pending());
    world.seen();
    assert!(discard(any.as_mut()).is_pending());
    assert_eq!(world.seen(), "a discarded, b discarded");
    ra.stop();
    rb.stop();
    assert!(discard(any.as_mut()).is_ready());

    let mut fresh = pin!(when_any((world.op("a").0, world.op("b").0)));
    assert!(discard(fresh.as_mut()).is_ready());
    assert_eq!(world.seen(), "a discarded unstarted, b discarded unstarted");
}

#[test]
fn a_panic_in_a_poll_leaves_later_arms_unstarted_and_everything_is_dropped() {
    let world = World::new();
    {
        let ([a, b, c], [_, rb, _]) = three(&world);
        rb.panic_at(Step::Poll);
        let mut any = pin!(when_any((a, b, c)));
        assert_eq!(panics(|| poll(any.as_mut())).as_deref(), Some("b panics in Poll"));
        assert!(world.seen().ends_with("a starts, b starts"));
    }
    assert_eq!(world.seen(), "a dropped in flight, b dropped in flight, c dropped unstarted");
}

#[test]
fn a_panic_while_a_loser_is_discarded_does_not_lose_the_winner() {
    for step in [Step::Discard, Step::Drop] {
        let world = World::new();
        let ((a, ra), (b, rb), (c, _)) = (world.op("a"), world.op("b"), world.op("c"));
        let mut any = pin!(when_any((a, b, c)));
        assert!(poll(any.as_mut()).is_pending());
        ra.finish(1);
        rb.panic_at(step);
        assert!(panics(|| poll(any.as_mut())).is_some(), "{step:?}");
        assert_eq!(poll(any.as_mut()), Poll::Ready(OneOf3::A(Value(1))), "{step:?}");
        assert!(world.seen().ends_with("a starts, b starts, c starts, b discarded, c discarded"), "{step:?}");
    }
}

#[test]
fn polling_after_completion_panics_with_its_name() {
    let world = World::new();
    let mut any = pin!(when_any((world.ready("a", 1), world.ready("b", 2))));
    assert!(poll(any.as_mut()).is_ready());
    assert_eq!(panics(|| poll(any.as_mut())).as_deref(), Some("`when_any` was polled after completion"));
}

/// Waits until it is told to end, and says so.
#[derive(Default)]
struct Quiet {
    polls: Cell<u32>,
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

struct QuietOp<'a>(&'a Quiet);

impl Future for QuietOp<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.polls.set(self.0.polls.get() + 1);
        self.0.waker.replace(Some(cx.waker().clone()));
        if self.0.over.get() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Operation for QuietOp<'_> {
    fn request_cancel(self: Pin<&mut Self>) {}

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn waits(&self) -> bool {
        self.0.polls.get() > 0 && !self.0.over.get()
    }
}

#[test]
fn an_arm_that_waits_is_left_alone_while_another_is_ready() {
    let (quiet, world) = (Quiet::default(), World::new());
    let mut op = QuietOp(&quiet);
    for n in 1..4 {
        assert_eq!(poll(pin!(when_any((&mut op, world.ready("a", n))))), Poll::Ready(OneOf2::B(Value(n))));
        assert_eq!(quiet.polls.get(), 1, "begun in the first race, and not polled since");
    }
    quiet.over.set(true);
    assert_eq!(poll(pin!(when_any((&mut op, world.ready("a", 0))))), Poll::Ready(OneOf2::A(())));
}

#[test]
fn an_arm_that_was_left_alone_waits_with_the_waker_of_the_last_poll() {
    let (quiet, world) = (Quiet::default(), World::new());
    let mut op = QuietOp(&quiet);
    for shape in ["tuple", "array"] {
        for _ in 0..2 {
            let waker = Waker::from(Arc::new(Wakes::default()));
            let mut cx = Context::from_waker(&waker);
            let waits = match shape {
                "tuple" => pin!(when_any((&mut op, world.op("a").0))).poll(&mut cx).is_pending(),
                _ => pin!(when_any([&mut op])).poll(&mut cx).is_pending(),
            };
            assert!(waits);
            assert!(quiet.waker.borrow().as_ref().is_some_and(|kept| kept.will_wake(&waker)), "{shape}");
        }
    }
}

/// Ends another operation when it is polled.
struct Ends<'a>(&'a Quiet);

impl Future for Ends<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        self.0.over.set(true);
        Poll::Pending
    }
}

impl Operation for Ends<'_> {
    fn request_cancel(self: Pin<&mut Self>) {}

    fn poll_discard(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

#[test]
fn an_arm_that_another_one_has_made_ready_wins_in_the_same_poll() {
    let quiet = Quiet::default();
    let mut op = QuietOp(&quiet);
    assert!(poll(pin!(&mut op)).is_pending());
    assert_eq!(poll(pin!(when_any((&mut op, Ends(&quiet))))), Poll::Ready(OneOf2::A(())));
}
