//! How often a `select!` that has nothing ready looks again before it waits.
//!
//! Knows: the hooks of who polls. Does not know: arms.
//!
//! To wait is to stand in line with every arm, and to leave all lines but one again: many times what a look costs. So it
//! pays to look at the end of a turn or two, if by then something is there. Whether it is, the last ones of this thread know:
//!
//! ```text
//!            a look has found something: twice as many, up to MOST
//!         ┌──────────────────────────────────────────────────────────┐
//!         ▼                                                          │
//!   so many looks ── all were in vain: half as many, then none ──▶ NONE ── one, every so many waits ──▶ 1
//! ```
use core::cell::Cell;
use core::task::Context;

use crate::util::lookout;
use crate::util::plain::Plain;

/// The most looks before a wait.
const MOST: u8 = 8;
/// So many waits without a look follow each other, then one looks.
const BLIND: u8 = 64;

/// Some hundred nanoseconds for other threads, if this one has nothing better to do.
const PAUSES: u32 = 8;

thread_local! {
    /// How many looks come before the next wait, and how many waits without one there were.
    static HOPE: Cell<(u8, u8)> = const { Cell::new((1, 0)) };
}

/// The looks of one `select!`.
#[derive(Debug)]
pub(super) enum Looks {
    /// None was taken.
    Unbegun,
    /// So many are left.
    Left(u8),
    /// It waits.
    Over,
}

impl Looks {
    /// Whether to look again at the end of the turn, which has been arranged then; if not, wait. `put_off`: nothing has to be
    /// begun at once.
    #[inline]
    pub(super) fn again(&mut self, cx: &Context<'_>, put_off: impl FnOnce() -> bool) -> bool {
        let left = match *self {
            Self::Over => return false,
            Self::Unbegun => hoped_for(),
            Self::Left(left) => left,
        };
        let task = if left > 0 && put_off() { Plain::of(cx.waker()) } else { None };
        match task {
            Some(task) => {
                *self = Self::Left(left - 1);
                lookout::look_again(task, PAUSES);
                true
            }
            None => {
                if let Self::Left(0) = *self {
                    HOPE.set((HOPE.get().0 / 2, 0)); // all in vain
                }
                *self = Self::Over;
                false
            }
        }
    }

    /// An arm was ready.
    #[inline]
    pub(super) fn found(&self) {
        if let Self::Left(_) = self {
            HOPE.set(((2 * HOPE.get().0).clamp(1, MOST), 0));
        }
    }
}

/// How many looks are worth while now.
fn hoped_for() -> u8 {
    let (looks, blind) = HOPE.get();
    if looks > 0 {
        return looks;
    }
    HOPE.set((0, if blind < BLIND { blind + 1 } else { 0 }));
    u8::from(blind == BLIND)
}
