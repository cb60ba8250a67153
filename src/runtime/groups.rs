//! The numbers of buffer groups: what an entry names a set of provided buffers by.
//!
//! Knows: numbers. Does not know: buffers, rings.

use std::cell::{Cell, RefCell};

/// The first number that is given out. Of the 64 below it, old kernels (6.1) keep a record when a group is taken back, and in
/// it how far they had got with that group's ring: the next group of that number would begin there.
const FIRST: u32 = 64;

/// Gives out each number of one runtime once, until it comes back.
pub(crate) struct Groups {
    /// The numbers from here on were never given out.
    fresh: Cell<u32>,
    back: RefCell<Vec<u16>>,
}

impl Groups {
    pub(super) fn new() -> Self {
        Self { fresh: Cell::new(FIRST), back: RefCell::default() }
    }

    /// A number that no group of the ring has. `None`: all 65,472 are taken.
    pub(crate) fn take(&self) -> Option<u16> {
        if let Some(group) = self.back.borrow_mut().pop() {
            return Some(group);
        }
        let group = u16::try_from(self.fresh.get()).ok()?;
        self.fresh.set(self.fresh.get() + 1);
        Some(group)
    }

    /// The ring has no group with this number any more.
    pub(crate) fn give_back(&self, group: u16) {
        self.back.borrow_mut().push(group);
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST, Groups};

    #[test]
    fn a_number_has_one_owner() {
        let groups = Groups::new();
        let all: Vec<u16> = std::iter::from_fn(|| groups.take()).collect();
        assert_eq!(all, (FIRST as u16..=u16::MAX).collect::<Vec<_>>());
        groups.give_back(7);
        assert_eq!((groups.take(), groups.take()), (Some(7), None));
    }
}
