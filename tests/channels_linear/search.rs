//! Whether a history of concurrent calls can be explained: an order of their effects, each between its call and its
//! return, that a sequential specification allows.
//!
//! Knows: histories, and what a specification has to offer. Does not know: channels.
//!
//! The search of Wing and Gong, with the memory of Lowe: try every call that could have taken effect next, remember which
//! situations have led nowhere. A call that waits takes effect twice, when it begins to wait and when it ends (a "dual"
//! data structure, Scherer and Scott): a specification may leave it in the middle.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// One call as it was seen from outside.
#[derive(Clone, Debug)]
pub(crate) struct Event<C, R> {
    #[allow(dead_code, reason = "shown when a history cannot be explained")]
    pub(crate) thread: usize,
    pub(crate) call: C,
    pub(crate) reply: R,
    /// Ticks of one clock for all threads.
    pub(crate) called: u64,
    pub(crate) returned: u64,
}

/// What may happen, one step after the other.
pub(crate) trait Specification: Clone + Eq + Hash {
    type Call: Debug;
    type Reply: PartialEq + Debug;

    /// Everything that call number `id` may do next: the state after it, and the reply if the call is over with it. A
    /// step that changes nothing and ends nothing is left out.
    fn steps(&self, id: usize, call: &Self::Call) -> Vec<(Self, Option<Self::Reply>)>;
}

/// Whether some order of effects explains all replies.
pub(crate) fn is_linearizable<S: Specification>(start: S, history: &[Event<S::Call, S::Reply>]) -> bool {
    assert!(history.len() <= 64, "a bit for each call");
    let mut seen = HashSet::new();
    explain(&start, history, 0, &mut seen)
}

/// `over` has a bit for each call that has returned.
fn explain<S: Specification>(
    state: &S,
    history: &[Event<S::Call, S::Reply>],
    over: u64,
    seen: &mut HashSet<(u64, S)>,
) -> bool {
    let open = || (0..history.len()).filter(|id| over & (1 << id) == 0);
    // Whoever was called after another had returned cannot do anything before it.
    let Some(first_return) = open().map(|id| history[id].returned).min() else { return true };
    if !seen.insert((over, state.clone())) {
        return false;
    }
    open().filter(|id| history[*id].called < first_return).any(|id| {
        let event = &history[id];
        state.steps(id, &event.call).into_iter().any(|(next, reply)| match reply {
            None => explain(&next, history, over, seen),
            Some(reply) => reply == event.reply && explain(&next, history, over | 1 << id, seen),
        })
    })
}
