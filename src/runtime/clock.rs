//! The runtime's timers for futures that belong to no runtime: a channel's, which any executor may poll.
//!
//! Knows: timers of the runtime, the registry. Does not know: who awaits a timer.
//!
//! Such a future asks whoever polls it to keep its timer. The runtime does that for the wakers of its own tasks. Another
//! waker may belong to an executor inside a task, which blocks this thread: the wheel would not turn, and so the timer is
//! not for it to keep.

use std::task::Waker;
use std::time::Instant;

use super::context;
use super::core::Core;
use super::registry::{self, Remote, RuntimeId};
use super::timer::TimerKey;
use super::waker::TaskId;
use crate::util::executor::{Clock, Timer};

/// The wheel of the runtime that polls on this thread, as one who keeps timers.
pub(super) static CLOCK: Clock = Clock { arm, keep, disarm };

fn is_ours(core: &Core, waker: &Waker) -> bool {
    TaskId::of(waker).is_some_and(|id| id.runtime() == core.index())
}

fn arm(instant: Instant, waker: &Waker) -> Option<Timer> {
    context::with(|core| {
        let core = core.filter(|core| is_ours(core, waker))?;
        let key = core.timers.arm(instant, waker.clone());
        Some(Timer { instant, owner: core.id.as_u64(), key: key.0 })
    })
}

fn keep(timer: &Timer, waker: &Waker) -> bool {
    context::with(|core| {
        core.is_some_and(|core| {
            core.id.as_u64() == timer.owner
                && is_ours(core, waker)
                && core.timers.poll(TimerKey(timer.key), waker)
        })
    })
}

fn disarm(timer: &Timer) -> Option<Waker> {
    disarm_on(RuntimeId::from_u64(timer.owner), TimerKey(timer.key))
}

/// Takes a timer back, from whichever thread; the waker it had, if the runtime is this thread's. Another runtime wakes it
/// itself, in case somebody who waits is to see an end.
pub(super) fn disarm_on(id: RuntimeId, key: TimerKey) -> Option<Waker> {
    context::with(|core| match core {
        Some(core) if core.id == id => core.timers.disarm(key),
        _ => {
            // A runtime that is gone has no timers any more.
            let _ = registry::entry_of(id).post(id, Remote::DropTimer(key.0));
            None
        }
    })
}
