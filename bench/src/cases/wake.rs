//! `wake/…`: how long it takes to wake a task of another runtime, and be woken by it.
//!
//! Knows: the floor, millstream. Does not know: sockets, files.

use crate::floor;
use crate::measure::{Case, Clock, FLOOR, Target};

/// A round trip of the design: both sides spinning before they sleep.
const SPINNING: Target = Target::Nanoseconds(2000.0);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for name in ["wake/pingpong/spin", "wake/channel/spin"] {
        cases.push(
            Case::new(name, Clock::Wall, SPINNING).with(FLOOR, |plan| floor::wake::spin(plan.units(300.0))),
        );
    }
    for name in ["wake/pingpong/park", "wake/channel/park"] {
        cases.push(
            Case::new(name, Clock::Wall, Target::None)
                .with(FLOOR, |plan| floor::wake::park(plan.units(30_000.0))),
        );
    }
    cases
}
