//! What the blocking names of channels share: where they may be called, and how long they look before they wait.
//!
//! Knows: how a plain thread waits. Does not know: channels.

use super::sharing::Sharing;
pub(super) use crate::util::parking::{assert_plain_thread, wait};
use crate::util::parking::{spin, spin_with};

/// Refuses to wait for what only the waiting thread could do.
#[track_caller]
pub(super) fn assert_not_alone<S: Sharing>(called: &str) {
    assert!(!S::ONE_THREAD, "`{called}` would wait for ever: all ends of a local channel are on this thread");
}

/// As [`spin`], for who looks at a channel: where that has many slots, with ever longer pauses between, so that the other
/// side gets on.
///
/// Who waits in line is served one value at a time, each with a wake. Who only looks finds a number of them at once, unless
/// he looks so often that he finds each as it comes.
pub(super) fn spin_at(capacity: usize, done: impl FnMut() -> bool) -> bool {
    if capacity > 1 { spin_with(8, 128, done) } else { spin(done) }
}

/// How often a thread that only looks may find that somebody else was faster, before it stands in line like everybody:
/// who is not in line is owed nothing, and could go on losing for ever.
pub(super) const TRIES: u32 = 4;
