//! How long to wait before the kernel is asked again, when something was short.
//!
//! Knows: what failed in a row. Does not know: timers, ops.

use std::time::Duration;

use super::source::Then;

/// How long the first rest is; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(1);
/// No rest is longer than this.
const LONGEST: Duration = Duration::from_millis(256);

/// Failures in a row that nothing came between.
#[derive(Debug)]
pub(in crate::ops) struct Rests(u32);

impl Rests {
    pub(in crate::ops) const fn new() -> Self {
        Self(0)
    }

    /// Something has come.
    pub(in crate::ops) fn over(&mut self) {
        self.0 = 0;
    }

    /// It has failed once more: how long to rest; `None`: not at all.
    pub(in crate::ops) fn next(&mut self, then: Then) -> Option<Duration> {
        self.0 = self.0.saturating_add(1);
        let at_once = then == Then::Again && self.0 == 1;
        (!at_once).then(|| FIRST.saturating_mul(1 << (self.0 - 1).min(16)).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_forgiven_and_each_further_one_costs_twice_as_much() {
        let milliseconds = |rest: Option<Duration>| rest.map(|rest| rest.as_millis());
        let mut rests = Rests::new();
        let again: Vec<_> = (0..4).map(|_| milliseconds(rests.next(Then::Again))).collect();
        assert_eq!(again, [None, Some(2), Some(4), Some(8)]);
        rests.over();
        let later: Vec<_> = (0..12).map(|_| milliseconds(rests.next(Then::Later))).collect();
        assert_eq!(later[..3], [Some(1), Some(2), Some(4)]);
        assert_eq!(later[8..], [Some(256); 4]);
        rests.over();
        assert_eq!(rests.next(Then::Again), None);
    }
}
