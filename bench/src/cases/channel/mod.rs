//! `channel/…`: what a message costs, in nanoseconds, through our channels and through everybody else's.
//!
//! Knows: the families of cases. Does not know: any channel.
//!
//! Every channel runs on a runtime of ours, with our wakers; those of other crates also on tokio, as `who@tokio`, and the
//! better of the two is what ours is held against. Which kinds of channels those are is in the target: one that many
//! share is not held against one that only two can have.

mod batch;
mod blocking;
mod cancel;
mod load;
mod pingpong;
mod same;
mod threads;

use std::io;

use crate::clock::Sample;
use crate::measure::{Case, Kind, OURS, OURS_SPSC, Plan, Target};
use crate::peers::channels::Ends;
use crate::peers::executors::Idle;

pub(super) fn cases() -> Vec<Case> {
    let families = [
        same::cases(),
        threads::cases(),
        pingpong::cases(),
        blocking::cases(),
        cancel::cases(),
        batch::cases(),
    ];
    families.into_iter().flatten().collect()
}

/// Channels that many may share: what the bounded one is held against.
const SHARED: &[Kind] = &[Kind::Many, Kind::One];
/// Channels between threads.
const BETWEEN_THREADS: &[Kind] = &[Kind::Many, Kind::One, Kind::Pair];

impl Case {
    /// What our bounded channel may cost of the best shared one.
    fn bounded(self, most: f64) -> Case {
        self.target(OURS, Target::Best(most, SHARED))
    }

    /// What our SPSC channel may cost of the best one between threads.
    fn spsc(self, most: f64) -> Case {
        self.target(OURS_SPSC, Target::Best(most, BETWEEN_THREADS))
    }

    /// Adds a channel on a runtime of ours and, unless it is ours, on tokio's; nothing if it cannot have the capacity.
    fn channel<C: Ends<T>, T>(
        self,
        idle: Idle,
        capacity: usize,
        ours: impl Fn(u64) -> io::Result<Sample> + 'static,
        tokios: impl Fn(u64) -> io::Result<Sample> + 'static,
    ) -> Case {
        if capacity == 0 && !C::RENDEZVOUS {
            return self;
        }
        // Among those that sleep at once, one that spins by itself is shown, and is nobody's measure.
        let spins = idle == Idle::Sleeps && capacity < C::SPINS_BELOW;
        let kind = if spins { Kind::Apart } else { C::KIND };
        let case = self.with_kind(C::NAME, kind, move |plan| paced(plan, &ours));
        if kind == Kind::Ours {
            return case;
        }
        case.with_kind(format!("{}@tokio", C::NAME), kind, move |plan| paced(plan, &tokios))
    }
}

/// What the names of cases begin with.
fn prefix(idle: Idle) -> &'static str {
    match idle {
        Idle::Spins => "channel",
        Idle::Sleeps => "channel/parked",
    }
}

/// The suffix of a case whose messages are not words.
fn suffix<T>() -> String {
    if size_of::<T>() == 8 { String::new() } else { format!("/{}", size_of::<T>()) }
}

/// Measures as many messages as fill a round: between two channels, or between two capacities, the time of one differs by
/// a thousand.
pub(super) fn paced(plan: &Plan, measure: impl Fn(u64) -> io::Result<Sample>) -> io::Result<Sample> {
    let enough = plan.short_round();
    let mut messages = 256;
    loop {
        let sample = measure(messages)?;
        let took = sample.wall * messages as f64;
        if took >= enough {
            return Ok(sample);
        }
        if took >= enough / 16.0 {
            return measure((enough / sample.wall) as u64);
        }
        messages *= 8;
    }
}
