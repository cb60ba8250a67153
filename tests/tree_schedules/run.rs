//! One schedule, step by step: the tree and the model side by side.
//!
//! Knows: both. Does not know: which schedules there are to go through.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::leaf::{Event, Outcome, Stage, State, Wakes};
use crate::model::Model;
use crate::tree::{Built, Out, Tree, build};

/// What can happen to a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Polled with a waker that it has not seen; discarded, if it is being discarded.
    Poll,
    /// A leaf has its value.
    Finish(usize),
    /// A leaf that was asked to stop has.
    Stop(usize),
    /// The whole is asked to stop, twice.
    Cancel,
    /// From now on the whole is discarded.
    Discard,
}

pub(crate) struct Run<'a> {
    tree: &'a Tree,
    turns: Vec<Turn>,
    stage: Rc<Stage>,
    real: Option<Built>,
    model: Model,
    wakes: Vec<Arc<Wakes>>,
    /// Every event so far.
    events: Vec<Event>,
    /// Nothing happened since the last poll, or since the one before.
    idle_polls: usize,
    cancelled: bool,
    discarding: bool,
    over: bool,
}

impl<'a> Run<'a> {
    pub(crate) fn new(tree: &'a Tree, prompt: u64) -> Self {
        let stage = Stage::new(tree.leaves(), prompt);
        Self {
            tree,
            turns: vec![],
            real: Some(build(tree, &stage)),
            stage,
            model: Model::new(tree, prompt),
            wakes: vec![],
            events: vec![],
            idle_polls: 0,
            cancelled: false,
            discarding: false,
            over: false,
        }
    }

    /// What could happen next. A poll, if it could, is the first.
    pub(crate) fn next_turns(&self) -> Vec<Turn> {
        let mut turns = vec![];
        if self.over {
            return turns;
        }
        // The second one in a row is spurious. Three leaves have schedules enough without.
        if self.idle_polls < if self.tree.leaves() == 3 { 1 } else { 2 } {
            turns.push(Turn::Poll);
        }
        for leaf in 0..self.tree.leaves() {
            if self.model.can_finish(leaf) && self.stage.dropped(leaf) == 0 {
                turns.push(Turn::Finish(leaf));
                if self.model.can_stop(leaf) {
                    turns.push(Turn::Stop(leaf));
                }
            }
        }
        if !self.cancelled && !self.discarding {
            turns.push(Turn::Cancel);
        }
        if !self.discarding {
            turns.push(Turn::Discard);
        }
        turns
    }

    pub(crate) fn take(&mut self, turn: Turn) {
        self.turns.push(turn);
        self.idle_polls = if turn == Turn::Poll { self.idle_polls + 1 } else { 0 };
        match turn {
            Turn::Poll => self.poll(),
            Turn::Finish(leaf) => self.finish(leaf, Outcome::Value),
            Turn::Stop(leaf) => self.finish(leaf, Outcome::Cancelled),
            Turn::Cancel => {
                self.cancelled = true;
                for _ in 0..2 {
                    self.real.as_mut().expect("there").as_mut().request_cancel();
                    self.model.cancel();
                }
                self.compare();
            }
            Turn::Discard => self.discarding = true,
        }
    }

    fn finish(&mut self, leaf: usize, outcome: Outcome) {
        self.stage.end(leaf, outcome);
        self.model.end(leaf, outcome);
        self.compare();
    }

    fn poll(&mut self) {
        let wakes = Arc::new(Wakes::default());
        self.wakes.push(Arc::clone(&wakes));
        let waker = Waker::from(wakes);
        let mut cx = Context::from_waker(&waker);
        let real = self.real.as_mut().expect("there").as_mut();
        let all_ended = (0..self.tree.leaves()).all(|leaf| self.stage.outcome(leaf).is_some());
        let before = self.events.len();
        let out = if self.discarding {
            let ended = real.poll_discard(&mut cx).is_ready();
            assert_eq!(ended, self.model.discard(), "discarded? {self}");
            ended.then_some(None)
        } else {
            let out = match real.poll(&mut cx) {
                Poll::Ready(out) => Some(out),
                Poll::Pending => None,
            };
            let expected = self.model.poll();
            assert_eq!(out, expected, "the output, and then what it should be; {self}");
            out.map(Some)
        };
        self.compare();
        self.check_order(before);
        assert!(out.is_some() || !all_ended, "every leaf has its outcome, and nothing comes of it; {self}");
        if let Some(out) = out {
            self.over = true;
            self.check_end(out.as_ref());
        }
    }

    /// The tree is dropped where it is.
    pub(crate) fn end(mut self) {
        self.real = None;
        self.model.drop();
        self.compare();
        for leaf in 0..self.tree.leaves() {
            assert_eq!(self.stage.dropped(leaf), 1, "the destructor of leaf {leaf} runs once; {self}");
        }
    }

    /// The same events in the same order, and the same wakers woken as often.
    fn compare(&mut self) {
        let seen = self.stage.log.take();
        let expected = self.model.seen();
        assert_eq!(seen, expected, "what happened, and then what should have; {self}");
        self.events.extend(seen);
        for (poll, wakes) in self.wakes.iter().enumerate() {
            assert_eq!(wakes.count(), self.model.wakes()[poll], "wakes of the waker of poll {poll}; {self}");
        }
    }

    // --- what holds whatever the model says -------------------------------------------------------------------------

    /// Within one poll, leaves start in order, and each starts once in its life.
    fn check_order(&self, from: usize) {
        let started = |event: &Event| match event {
            Event::Starts(leaf) | Event::Staged(leaf, _) => Some(*leaf),
            _ => None,
        };
        let now: Vec<_> = self.events[from..].iter().filter_map(started).collect();
        assert!(now.is_sorted_by(|a, b| a < b), "leaves start in order; {self}");
        let mut ever: Vec<_> = self.events.iter().filter_map(started).collect();
        ever.sort_unstable();
        assert!(ever.is_sorted_by(|a, b| a < b), "a leaf starts once; {self}");
    }

    fn count(&self, event: Event) -> usize {
        self.events.iter().filter(|seen| **seen == event).count()
    }

    /// The tree has resolved, or is discarded.
    fn check_end(&self, out: Option<&Out>) {
        let mut outs = vec![];
        if let Some(out) = out {
            out.leaves(&mut outs);
        }
        for leaf in 0..self.tree.leaves() {
            let state = self.stage.state(leaf);
            assert!(state != State::InFlight || self.tree.has_lent(), "leaf {leaf} is in flight; {self}");
            assert!(
                !self.stage.asked(leaf)
                    || self.count(Event::Asked(leaf)) + self.count(Event::Discarded(leaf)) > 0,
                "leaf {leaf} stopped by itself; {self}"
            );
            let delivered =
                outs.iter().filter(|(of, outcome)| *of == leaf && *outcome == Outcome::Value).count();
            let back = self.count(Event::GivesBack(leaf));
            assert!(delivered + back <= 1, "the value of leaf {leaf} came twice; {self}");
            let may_hold =
                if out.is_some() { holds_outputs(self.tree) } else { !matches!(self.tree, Tree::Leaf(_)) };
            if self.stage.outcome(leaf) == Some(Outcome::Value) && state == State::Over && !may_hold {
                let fresh =
                    self.count(Event::DiscardedFresh(leaf)) > 0 || self.count(Event::Starts(leaf)) == 0;
                assert!(fresh || delivered + back == 1, "the value of leaf {leaf} is lost; {self}");
            }
        }
        if !matches!(self.tree, Tree::Leaf(_) | Tree::Lent(_)) {
            for leaf in 0..self.tree.leaves() {
                let asked = self.count(Event::Asked(leaf)) + self.count(Event::Discarded(leaf));
                assert!(asked <= 1, "leaf {leaf} was asked {asked} times; {self}");
            }
        }
    }
}

/// Whether there is a node that keeps the outputs of some arms while it waits for others: if it loses, they go with it.
/// A race that has decided keeps one too, but cannot lose any more; only discarding the whole takes it.
fn holds_outputs(tree: &Tree) -> bool {
    // What a slot resolved to is nobody's.
    let holds =
        matches!(tree, Tree::All(..) | Tree::ParallelAll(..) | Tree::Chain(..) | Tree::WithCancel(..));
    holds || tree.arms().into_iter().any(holds_outputs)
}

impl std::fmt::Display for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tree {:?}, turns {:?}", self.tree, self.turns)
    }
}
