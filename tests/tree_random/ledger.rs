//! What became of every leaf, byte and message of a round.
//!
//! Knows: numbers. Does not know: how anything moves.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// How far a leaf came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Never polled.
    Fresh,
    Started,
    /// It has resolved, and the combinator above has its output.
    Done,
    /// It lost, and has ended.
    Discarded,
    /// It was dropped before it started.
    DroppedFresh,
    /// It was dropped after it had started and before it ended.
    Dropped,
}

/// What a leaf is told by its place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Below a race: it takes effect only in its own poll.
    pub(crate) raced: bool,
    /// The nearest race above discards what is here if it loses.
    pub(crate) exposed: bool,
    /// Below a race, with a node in between that keeps the outputs of some arms while it waits for others: when that
    /// loses, the outputs go with it.
    pub(crate) held: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct LeafRecord {
    pub(crate) what: String,
    pub(crate) place: Place,
    pub(crate) stage: Stage,
    /// Its output was dropped by a combinator, and never came out of the root.
    pub(crate) output_dropped: bool,
    /// Its tree was dropped or discarded by the round, so everything in it may go.
    pub(crate) tree_gone: bool,
    pub(crate) came_out: bool,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// The other side pushed it, and the channel took it.
    Pushed,
    /// In a push of this leaf, or in the channel already.
    WithPush(usize),
    /// The push said so.
    PushedBy(usize),
    /// Popped, by a leaf or the other side.
    Popped,
    /// Given back by a push.
    Back,
}

#[derive(Clone, Debug)]
pub(crate) struct MessageRecord {
    pub(crate) channel: String,
    pub(crate) place: Where,
    /// The leaf that pushes it.
    pub(crate) of: Option<usize>,
    pub(crate) dropped: usize,
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) leaves: RefCell<Vec<LeafRecord>>,
    pub(crate) messages: RefCell<Vec<MessageRecord>>,
    /// Per channel: the messages that the other side pushed, in the order they were popped.
    popped: RefCell<BTreeMap<String, Vec<usize>>>,
    /// Tasks that run.
    pub(crate) tasks_alive: Cell<usize>,
}

impl Ledger {
    pub(crate) fn new_leaf(&self, what: String, place: Place) -> usize {
        let mut leaves = self.leaves.borrow_mut();
        let record = LeafRecord {
            what,
            place,
            stage: Stage::Fresh,
            output_dropped: false,
            tree_gone: false,
            came_out: false,
        };
        leaves.push(record);
        leaves.len() - 1
    }

    pub(crate) fn stage(&self, leaf: usize) -> Stage {
        self.leaves.borrow()[leaf].stage
    }

    pub(crate) fn set_stage(&self, leaf: usize, stage: Stage) {
        self.leaves.borrow_mut()[leaf].stage = stage;
    }

    /// A message, on its way into this channel.
    pub(crate) fn message(self: &Rc<Self>, channel: &str, place: Where) -> Message {
        let mut messages = self.messages.borrow_mut();
        let of = if let Where::WithPush(leaf) = place { Some(leaf) } else { None };
        messages.push(MessageRecord { channel: channel.to_owned(), place, of, dropped: 0 });
        Message { number: messages.len() - 1, ledger: Rc::clone(self) }
    }

    pub(crate) fn moved(&self, message: &Message, to: Where) {
        let mut messages = self.messages.borrow_mut();
        let record = &mut messages[message.number];
        assert!(
            !matches!(record.place, Where::Popped | Where::Back),
            "message {} is {:?} and again {to:?}",
            message.number,
            record.place
        );
        record.place = to;
    }

    /// The message came out of its channel.
    pub(crate) fn popped(&self, message: Message) {
        let (channel, place) = {
            let messages = self.messages.borrow();
            (messages[message.number].channel.clone(), messages[message.number].place)
        };
        if place == Where::Pushed {
            let mut popped = self.popped.borrow_mut();
            let before = popped.entry(channel.clone()).or_default();
            assert!(
                before.last().is_none_or(|last| *last < message.number),
                "{channel}: {} came after {before:?}",
                message.number
            );
            before.push(message.number);
        }
        self.moved(&message, Where::Popped);
    }

    /// After the round, when every channel was drained and everything is gone.
    pub(crate) fn check(&self) {
        let leaves = self.leaves.borrow();
        for (number, record) in self.messages.borrow().iter().enumerate() {
            let MessageRecord { channel, place, of, dropped } = record;
            assert_eq!(*dropped, 1, "{channel}: message {number} was dropped {dropped} times");
            if let (Where::Popped, Some(leaf)) = (place, of) {
                let leaf = &leaves[*leaf];
                let behind = leaf.place.raced && leaf.stage != Stage::Done;
                assert!(!behind, "{channel}: message {number} was pushed behind the race's back: {leaf:?}");
            }
            match place {
                Where::Popped | Where::Back => {}
                Where::Pushed => panic!("{channel}: message {number} was pushed and never popped"),
                Where::PushedBy(leaf) => {
                    panic!("{channel}: message {number} of {:?} was pushed and never popped", leaves[*leaf])
                }
                // Dropped with its push. That one may have lost or been dropped, but not have resolved.
                Where::WithPush(leaf) => {
                    let leaf = &leaves[*leaf];
                    assert!(leaf.stage != Stage::Done, "{channel}: message {number} vanished in {leaf:?}");
                }
            }
        }
        for leaf in leaves.iter() {
            assert!(leaf.stage != Stage::Started, "still in flight: {leaf:?}");
            if leaf.output_dropped {
                assert!(leaf.place.held || leaf.tree_gone, "an output was lost: {leaf:?}");
            }
            if leaf.came_out {
                assert!(leaf.stage == Stage::Done && !leaf.output_dropped, "{leaf:?}");
            }
        }
    }
}

/// A value that knows where it is.
pub(crate) struct Message {
    pub(crate) number: usize,
    ledger: Rc<Ledger>,
}

impl Drop for Message {
    fn drop(&mut self) {
        self.ledger.messages.borrow_mut()[self.number].dropped += 1;
    }
}

/// A leaf's output on its way to the root.
pub(crate) struct Token {
    pub(crate) leaf: usize,
    ledger: Rc<Ledger>,
    arrived: Cell<bool>,
}

impl Token {
    pub(crate) fn new(leaf: usize, ledger: &Rc<Ledger>) -> Self {
        Self { leaf, ledger: Rc::clone(ledger), arrived: Cell::new(false) }
    }

    /// It is in the output of the root.
    pub(crate) fn arrive(&self) {
        let mut leaves = self.ledger.leaves.borrow_mut();
        assert!(!std::mem::replace(&mut leaves[self.leaf].came_out, true), "came out twice");
        self.arrived.set(true);
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.arrived.get() {
            self.ledger.leaves.borrow_mut()[self.leaf].output_dropped = true;
        }
    }
}
