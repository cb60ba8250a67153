//! Random histories of every channel, step by step against plain models of what it promises.
//!
//! Knows: the public API, and `proptest`, which shrinks a history that fails. Does not know: how channels work.
//!
//! On one thread and with the test's own wakers nothing about a channel is left to chance, so a model says of each step
//! exactly what it results in and whom it wakes: nobody is ready without having been woken, and nobody is woken for
//! nothing (but once where a flavor says so). `MILLSTREAM_SEED=n` replays; histories that once failed are in `regressions.txt` and run first.

mod broadcast;
#[path = "../support/channel_model.rs"]
mod channel_model;
mod lines;
mod oneshot;
mod parts;
mod said;
mod spsc;
#[path = "../support/mod.rs"]
mod support;
mod watch;

use std::cell::Cell;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use proptest::strategy::Strategy;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
};
use support::{Rng, rounds};

/// Runs `history` on `rounds(cases)` histories drawn from `strategy`; the one that fails is shrunk and shown.
pub(crate) fn check<S: Strategy>(cases: u64, strategy: &S, history: impl Fn(S::Value))
where
    S::Value: Debug,
{
    let mut rng = Rng::from_env();
    let mut seed = [0; 32];
    seed.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.next_u64().to_le_bytes()));
    let config = Config {
        cases: u32::try_from(rounds(cases)).expect("not that many"),
        max_shrink_iters: 20_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/channels_model/regressions.txt",
        ))),
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    quiet_when_asked();
    let outcome = runner.run(strategy, |steps| {
        QUIET.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| history(steps)));
        QUIET.set(false);
        outcome.map_err(|payload| {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
            TestCaseError::fail(text.unwrap_or_default())
        })
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, steps)) => {
            panic!("{reason}\nthe shortest history that fails:\n{steps:#?}")
        }
        Err(error) => panic!("{error}"),
    }
}

thread_local! {
    /// Shrinking runs into the same failure hundreds of times; only the last one is worth reading.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn quiet_when_asked() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let speak = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                speak(panic);
            }
        }));
    });
}
