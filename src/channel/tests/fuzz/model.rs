//! When values went in, and in which order they may come out.

use std::collections::HashMap;

use super::super::support::Token;

/// When a value may have entered the channel, and whether it may have done so at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) earliest: u64,
    pub(super) latest: u64,
    pub(super) fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Still in its push, or perhaps pulled.
    Open,
    /// The push said so.
    Pushed,
    /// Dropped with its push, which was parked and may have been pulled before.
    Doubtful,
    /// Given back, or dropped by a push that had not taken effect.
    NotPushed,
    Popped,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) entries: HashMap<u64, Entry>,
    pub(super) now: u64,
    /// The latest `earliest` of everything popped so far.
    frontier: u64,
    pub(super) popped: usize,
}

impl Model {
    pub(super) fn pushed_now(&mut self, id: u64) {
        self.entries.insert(id, Entry { earliest: self.now, latest: self.now, fate: Fate::Pushed });
    }

    pub(super) fn popped(&mut self, token: &Token) {
        let entry = self.entries.get_mut(&token.id).expect("a value nobody pushed");
        assert!(
            matches!(entry.fate, Fate::Open | Fate::Pushed | Fate::Doubtful),
            "popped a value that is {:?}",
            entry.fate
        );
        assert!(
            entry.latest >= self.frontier,
            "value {} was overtaken: {entry:?}, frontier {}",
            token.id,
            self.frontier
        );
        entry.fate = Fate::Popped;
        self.frontier = self.frontier.max(entry.earliest);
        self.popped += 1;
    }
}
