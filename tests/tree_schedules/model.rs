//! What trees of combinators mean, written down as an interpreter: the sentences of the documentation, one by one.
//!
//! Knows: the events of leaves. Does not know: the crate.

use crate::leaf::{Event, Outcome, State};
use crate::tree::{Out, Tree};

/// A leaf as the model sees it.
#[derive(Clone, Debug)]
struct LeafModel {
    state: State,
    asked: bool,
    prompt: bool,
    outcome: Option<Outcome>,
    /// The poll whose waker it keeps.
    waker: Option<usize>,
}

/// An arm: running until it has an output or was discarded.
#[derive(Clone, Debug)]
enum Arm {
    Running(Node),
    Done(Out),
    Taken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Fresh,
    Racing,
    Ending(usize),
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(usize),
    All { arms: Vec<Arm>, asked: bool },
    Any { arms: Vec<Arm>, asked: bool, phase: Phase },
    Chain { members: Vec<Arm>, asked: bool, queued: bool },
    ParallelAll { arms: Vec<Arm>, order: Vec<usize>, asked: bool },
    ParallelAny { arms: Vec<Arm>, order: Vec<usize>, asked: bool, others_asked: bool, phase: Phase },
    WithCancel { op: Box<Arm>, slot: Box<Arm>, started: bool, asked: bool },
    Deadline { passed: bool, op: Box<Node>, late: bool, asked: bool },
    Lent(Box<Node>),
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    root: Option<Node>,
    world: World,
}

#[derive(Clone, Debug)]
struct World {
    leaves: Vec<LeafModel>,
    log: Vec<Event>,
    /// The poll that goes on.
    poll: usize,
    /// How often the waker of each poll was woken.
    wakes: Vec<usize>,
}

impl Model {
    pub(crate) fn new(tree: &Tree, prompt: u64) -> Self {
        let leaf = |n| LeafModel {
            state: State::Fresh,
            asked: false,
            prompt: prompt >> (n % 64) & 1 == 1,
            outcome: None,
            waker: None,
        };
        let world =
            World { leaves: (0..tree.leaves()).map(leaf).collect(), log: vec![], poll: 0, wakes: vec![] };
        Self { root: Some(node(tree)), world }
    }

    /// What happened since the last look.
    pub(crate) fn seen(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.world.log)
    }

    pub(crate) fn wakes(&self) -> &[usize] {
        &self.world.wakes
    }

    pub(crate) fn poll(&mut self) -> Option<Out> {
        self.world.new_poll();
        self.world.poll(self.root.as_mut().expect("not dropped"))
    }

    pub(crate) fn discard(&mut self) -> bool {
        self.world.new_poll();
        self.world.discard(self.root.as_mut().expect("not dropped"))
    }

    pub(crate) fn cancel(&mut self) {
        self.world.cancel(self.root.as_mut().expect("not dropped"));
    }

    pub(crate) fn drop(&mut self) {
        let root = self.root.take().expect("dropped once");
        self.world.drop(&root);
    }

    pub(crate) fn end(&mut self, leaf: usize, outcome: Outcome) {
        self.world.end(leaf, outcome);
    }

    /// Whether the leaf may still get an outcome: it has none, and somebody would see it.
    pub(crate) fn can_finish(&self, leaf: usize) -> bool {
        self.world.leaves[leaf].outcome.is_none() && self.world.leaves[leaf].state != State::Over
    }

    /// Whether a request to stop is on its way.
    pub(crate) fn can_stop(&self, leaf: usize) -> bool {
        let leaf = &self.world.leaves[leaf];
        leaf.outcome.is_none() && leaf.state == State::InFlight && leaf.asked
    }
}

fn node(tree: &Tree) -> Node {
    let running = |arms: &[Tree]| arms.iter().map(|arm| Arm::Running(node(arm))).collect::<Vec<_>>();
    match tree {
        Tree::Leaf(number) => Node::Leaf(*number),
        Tree::All(_, arms) => Node::All { arms: running(arms), asked: false },
        Tree::Any(_, arms) => Node::Any { arms: running(arms), asked: false, phase: Phase::Fresh },
        Tree::ParallelAll(_, arms) => Node::ParallelAll { arms: running(arms), order: vec![], asked: false },
        Tree::ParallelAny(_, arms) => Node::ParallelAny {
            arms: running(arms),
            order: vec![],
            asked: false,
            others_asked: false,
            phase: Phase::Fresh,
        },
        Tree::WithCancel(op, slot) => Node::WithCancel {
            op: Box::new(Arm::Running(node(op))),
            slot: Box::new(Arm::Running(node(slot))),
            started: false,
            asked: false,
        },
        Tree::Chain(_, members) => Node::Chain {
            members: members.iter().map(|number| Arm::Running(Node::Leaf(*number))).collect(),
            asked: false,
            queued: false,
        },
        Tree::Deadline(passed, tree) => {
            Node::Deadline { passed: *passed, op: Box::new(node(tree)), late: false, asked: false }
        }
        Tree::Lent(tree) => Node::Lent(Box::new(node(tree))),
    }
}

impl World {
    fn new_poll(&mut self) {
        self.poll = self.wakes.len();
        self.wakes.push(0);
    }

    fn end(&mut self, leaf: usize, outcome: Outcome) {
        self.leaves[leaf].outcome = Some(outcome);
        if let Some(poll) = self.leaves[leaf].waker.take() {
            self.wakes[poll] += 1;
        }
    }

    fn stop(&mut self, leaf: usize) {
        self.leaves[leaf].asked = true;
        if self.leaves[leaf].prompt && self.leaves[leaf].outcome.is_none() {
            self.end(leaf, Outcome::Cancelled);
        }
    }

    /// Arms start in order, at the first poll, and every poll reaches whatever has not ended.
    fn poll(&mut self, node: &mut Node) -> Option<Out> {
        match node {
            Node::Leaf(number) => self.poll_leaf(*number),
            Node::All { arms, .. } => self.poll_all(arms),
            Node::Any { arms, phase, .. } => {
                // Every arm hears of the race before any is polled.
                if *phase == Phase::Fresh {
                    arms.iter_mut().for_each(|arm| self.commit_arm(arm));
                    *phase = Phase::Racing;
                }
                if *phase == Phase::Racing {
                    // The first in order that has completed or decided wins. Those after it are not polled.
                    let decided = |world: &mut Self, arm: &mut Arm| world.poll_arm(arm) || arm.decided();
                    let winner = (0..arms.len()).find(|index| decided(self, &mut arms[*index]))?;
                    *phase = Phase::Ending(winner);
                }
                let Phase::Ending(winner) = *phase else { unreachable!() };
                // The winner and every loser are waited for.
                let mut ended = true;
                for (index, arm) in arms.iter_mut().enumerate() {
                    ended &= if index == winner { self.poll_arm(arm) } else { self.discard_arm(arm) };
                }
                ended.then(|| Out::Any(winner, Box::new(arms[winner].take())))
            }
            Node::Chain { members, queued, .. } => {
                if !std::mem::replace(queued, true) {
                    let leaves = || {
                        members.iter().map(|member| match member {
                            Arm::Running(Node::Leaf(number)) => *number,
                            _ => unreachable!("nothing completes before it is queued"),
                        })
                    };
                    self.log.extend(leaves().map(Event::Prepares));
                    let last = members.len() - 1;
                    for (index, number) in leaves().enumerate() {
                        self.leaves[number].state = State::InFlight;
                        self.log.push(Event::Staged(number, index < last));
                    }
                }
                self.poll_all(members)
            }
            Node::ParallelAll { arms, order, .. } => {
                let ended = self.poll_in_order(arms, order);
                ended.then(|| Out::Ordered(None, order.clone(), arms.iter_mut().map(Arm::take).collect()))
            }
            Node::ParallelAny { arms, order, others_asked, phase, .. } => {
                if *phase == Phase::Fresh {
                    arms.iter_mut().for_each(|arm| self.commit_arm(arm));
                    *phase = Phase::Racing;
                }
                if *phase == Phase::Racing {
                    let winner = (0..arms.len()).find(|index| {
                        let completed = self.poll_arm(&mut arms[*index]);
                        if completed {
                            order.push(*index);
                        }
                        completed || arms[*index].decided()
                    })?;
                    *phase = Phase::Ending(winner);
                }
                let Phase::Ending(winner) = *phase else { unreachable!() };
                // The others are asked to stop, once, and everything they come to is wanted.
                if !std::mem::replace(others_asked, true) {
                    for (index, arm) in arms.iter_mut().enumerate() {
                        if index != winner {
                            self.cancel_arm(arm);
                        }
                    }
                }
                let ended = self.poll_in_order(arms, order);
                ended.then(|| {
                    Out::Ordered(Some(winner), order.clone(), arms.iter_mut().map(Arm::take).collect())
                })
            }
            Node::WithCancel { op, slot, started, asked } => {
                // The slot races, but not against the operation: it takes no effect if that comes first.
                if !std::mem::replace(started, true) && !*asked {
                    self.commit_arm(slot);
                }
                // The slot first, for as long as it matters.
                let open = matches!(**op, Arm::Running(_)) && !*asked;
                if open && self.poll_arm(slot) {
                    *asked = true;
                    self.cancel_arm(op);
                }
                let ended = self.poll_arm(op) && self.discard_arm(slot);
                ended.then(|| op.take())
            }
            Node::Deadline { passed, op, late, asked } => {
                // The operation first: what is there when the deadline passes was in time. Once it was asked to stop
                // the deadline no longer matters.
                if !*late {
                    if let Some(out) = self.poll(op) {
                        return Some(Out::InTime(Box::new(out)));
                    }
                    if !*passed || *asked {
                        return None;
                    }
                    *late = true;
                    self.cancel(op);
                }
                self.poll(op).map(|out| Out::Late(Box::new(out)))
            }
            Node::Lent(op) => self.poll(op),
        }
    }

    fn poll_leaf(&mut self, number: usize) -> Option<Out> {
        let leaf = &mut self.leaves[number];
        if leaf.state == State::Fresh {
            if leaf.asked {
                // One that was never started is not started by a request to stop.
                leaf.state = State::Over;
                return Some(Out::Leaf(number, Outcome::Cancelled));
            }
            leaf.state = State::InFlight;
            self.log.push(Event::Starts(number));
        }
        match leaf.outcome {
            Some(outcome) => {
                leaf.state = State::Over;
                Some(Out::Leaf(number, outcome))
            }
            None => {
                leaf.waker = Some(self.poll);
                None
            }
        }
    }

    fn poll_all(&mut self, arms: &mut [Arm]) -> Option<Out> {
        let mut completed = true;
        for arm in arms.iter_mut() {
            completed &= self.poll_arm(arm);
        }
        completed.then(|| Out::All(arms.iter_mut().map(Arm::take).collect()))
    }

    /// Polls what has not ended, and notes in which order it ends.
    fn poll_in_order(&mut self, arms: &mut [Arm], order: &mut Vec<usize>) -> bool {
        let mut completed = true;
        for (index, arm) in arms.iter_mut().enumerate() {
            if matches!(arm, Arm::Running(_)) {
                if self.poll_arm(arm) {
                    order.push(index);
                } else {
                    completed = false;
                }
            }
        }
        completed
    }

    fn poll_arm(&mut self, arm: &mut Arm) -> bool {
        if let Arm::Running(node) = arm {
            let Some(out) = self.poll(node) else { return false };
            self.drop(node);
            *arm = Arm::Done(out);
        }
        true
    }

    /// A loser is stopped and waited out. What is borrowed is left alone, what never started never does.
    fn discard(&mut self, node: &mut Node) -> bool {
        match node {
            Node::Leaf(number) => self.discard_leaf(*number),
            Node::All { arms, .. }
            | Node::Any { arms, .. }
            | Node::ParallelAll { arms, .. }
            | Node::ParallelAny { arms, .. }
            | Node::Chain { members: arms, .. } => {
                let mut ended = true;
                for arm in arms {
                    ended &= self.discard_arm(arm);
                }
                ended
            }
            Node::WithCancel { op, slot, .. } => self.discard_arm(op) & self.discard_arm(slot),
            Node::Deadline { op, .. } => self.discard(op),
            Node::Lent(_) => true,
        }
    }

    fn discard_leaf(&mut self, number: usize) -> bool {
        if self.leaves[number].state == State::Fresh {
            self.log.push(Event::DiscardedFresh(number));
            self.leaves[number].state = State::Over;
            return true;
        }
        if !self.leaves[number].asked {
            self.log.push(Event::Discarded(number));
            self.stop(number);
        }
        let leaf = &mut self.leaves[number];
        if leaf.outcome.is_none() {
            leaf.waker = Some(self.poll);
            return false;
        }
        if leaf.outcome == Some(Outcome::Value) {
            self.log.push(Event::GivesBack(number));
        }
        leaf.state = State::Over;
        true
    }

    fn discard_arm(&mut self, arm: &mut Arm) -> bool {
        if let Arm::Running(node) = arm {
            if !self.discard(node) {
                return false;
            }
            self.drop(node);
        }
        *arm = Arm::Taken;
        true
    }

    /// Reaches every unfinished leaf, once; of a race that has decided only the winner, the losers were asked already.
    fn cancel(&mut self, node: &mut Node) {
        match node {
            Node::Leaf(number) => {
                self.log.push(Event::Asked(*number));
                self.stop(*number);
            }
            Node::All { arms, asked } | Node::ParallelAll { arms, asked, .. } => {
                if !std::mem::replace(asked, true) {
                    arms.iter_mut().for_each(|arm| self.cancel_arm(arm));
                }
            }
            Node::ParallelAny { arms, asked, others_asked, phase, .. } => {
                if !std::mem::replace(asked, true) {
                    match *phase {
                        Phase::Ending(winner) => self.cancel_arm(&mut arms[winner]),
                        _ => {
                            *others_asked = true;
                            arms.iter_mut().for_each(|arm| self.cancel_arm(arm));
                        }
                    }
                }
            }
            Node::WithCancel { op, asked, .. } => {
                if !std::mem::replace(asked, true) {
                    self.cancel_arm(op);
                }
            }
            Node::Any { arms, asked, phase } => {
                if !std::mem::replace(asked, true) {
                    match *phase {
                        Phase::Ending(winner) => self.cancel_arm(&mut arms[winner]),
                        _ => arms.iter_mut().for_each(|arm| self.cancel_arm(arm)),
                    }
                }
            }
            Node::Chain { members, asked, queued } => {
                if !std::mem::replace(asked, true) {
                    *queued = true; // it never will be, if it is not
                    members.iter_mut().for_each(|member| self.cancel_arm(member));
                }
            }
            Node::Deadline { op, late, asked, .. } => {
                if !*late && !std::mem::replace(asked, true) {
                    self.cancel(op);
                }
            }
            Node::Lent(op) => self.cancel(op),
        }
    }

    fn cancel_arm(&mut self, arm: &mut Arm) {
        if let Arm::Running(node) = arm {
            self.cancel(node);
        }
    }

    /// Every leaf of a race hears of it once. A race inside tells its own arms, a chain has nothing to tell.
    fn commit(&mut self, node: &mut Node) {
        match node {
            Node::Leaf(number) => self.log.push(Event::Races(*number)),
            Node::All { arms, .. } | Node::ParallelAll { arms, .. } => {
                arms.iter_mut().for_each(|arm| self.commit_arm(arm));
            }
            Node::Any { .. } | Node::ParallelAny { .. } | Node::Chain { .. } => {}
            Node::WithCancel { op, .. } => self.commit_arm(op),
            Node::Deadline { op, .. } | Node::Lent(op) => self.commit(op),
        }
    }

    fn commit_arm(&mut self, arm: &mut Arm) {
        if let Arm::Running(node) = arm {
            self.commit(node);
        }
    }

    /// Every arm is dropped, in order.
    fn drop(&mut self, node: &Node) {
        match node {
            Node::Leaf(number) => match self.leaves[*number].state {
                State::Fresh => self.log.push(Event::DroppedFresh(*number)),
                State::InFlight => self.log.push(Event::DroppedInFlight(*number)),
                State::Over => {}
            },
            Node::All { arms, .. }
            | Node::Any { arms, .. }
            | Node::ParallelAll { arms, .. }
            | Node::ParallelAny { arms, .. }
            | Node::Chain { members: arms, .. } => arms.iter().for_each(|arm| self.drop_arm(arm)),
            Node::WithCancel { op, slot, .. } => {
                self.drop_arm(op);
                self.drop_arm(slot);
            }
            Node::Deadline { op, .. } | Node::Lent(op) => self.drop(op),
        }
    }
}

impl World {
    fn drop_arm(&mut self, arm: &Arm) {
        if let Arm::Running(node) = arm {
            self.drop(node);
        }
    }
}

impl Arm {
    fn take(&mut self) -> Out {
        match std::mem::replace(self, Self::Taken) {
            Self::Done(out) => out,
            arm => unreachable!("taken before it completed: {arm:?}"),
        }
    }

    /// The outcome is settled although something is still waited out.
    fn decided(&self) -> bool {
        match self {
            Self::Running(node) => node.decided(),
            Self::Done(_) | Self::Taken => true,
        }
    }
}

impl Node {
    fn decided(&self) -> bool {
        match self {
            Self::Leaf(_) | Self::Chain { .. } => false,
            Self::All { arms, .. } | Self::ParallelAll { arms, .. } => arms.iter().all(Arm::decided),
            Self::Any { phase, .. } | Self::ParallelAny { phase, .. } => matches!(phase, Phase::Ending(_)),
            Self::WithCancel { op, .. } => op.decided(),
            Self::Deadline { op, .. } | Self::Lent(op) => op.decided(),
        }
    }
}
