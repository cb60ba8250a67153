//! A panic of any leaf at any step, anywhere in a schedule: it comes through, nothing is dropped twice or kept, and what
//! is polled on gives nothing twice.
//!
//! Knows: trees and leaves. Does not know: the model; after a panic only what must always hold is asked for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::leaf::{Outcome, Stage, State, Step, Wakes};
use crate::support::{Rng, Watchdog, rounds};
use crate::tree::{Tree, build};
use crate::{on_ring, random_tree, trees};

/// The words of a panic; none if there was none.
fn words<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    })
}

/// Runs a schedule by chance in which `leaf` panics once at `step`, and goes on after it or not.
fn round(tree: &Tree, leaf: usize, step: Step, rng: &mut Rng) -> bool {
    let count = tree.leaves();
    let stage = Stage::new(count, rng.next_u64());
    let mut operation = Some(build(tree, &stage));
    stage.panic_at(leaf, step);
    let what = format!("leaf {leaf} panics in {step:?}");
    let say = || format!("{what}, tree {tree:?}");
    let mut panicked = 0;
    let mut outs = vec![];
    let mut discarding = false;
    let goes_on = rng.one_in(2);
    let mut left = 4 + rng.below(30);
    while left > 0 {
        left -= 1;
        let op = operation.as_mut().expect("there").as_mut();
        let result = match rng.below(8) {
            0 if !discarding => words(|| op.request_cancel()).map(|()| false),
            1 => {
                discarding |= rng.one_in(4);
                continue;
            }
            2..5 => {
                let n = rng.below(count as u64) as usize;
                if stage.outcome(n).is_none() && stage.state(n) != State::Over && stage.dropped(n) == 0 {
                    let stopped = stage.asked(n) && rng.one_in(2);
                    stage.end(n, if stopped { Outcome::Cancelled } else { Outcome::Value });
                }
                continue;
            }
            _ => {
                let waker = Waker::from(Arc::new(Wakes::default()));
                let mut cx = Context::from_waker(&waker);
                words(|| match discarding {
                    true => op.poll_discard(&mut cx).is_ready(),
                    false => match op.poll(&mut cx) {
                        Poll::Ready(out) => {
                            out.leaves(&mut outs);
                            true
                        }
                        Poll::Pending => false,
                    },
                })
            }
        };
        match result {
            Ok(true) => break,
            Ok(false) => {}
            Err(said) => {
                panicked += 1;
                assert_eq!((said.as_str(), panicked), (what.as_str(), 1), "{}", say());
                if !goes_on {
                    break;
                }
            }
        }
    }
    for n in 0..count {
        let delivered = outs.iter().filter(|(of, outcome)| *of == n && *outcome == Outcome::Value).count();
        let back =
            stage.log.borrow().iter().filter(|event| **event == crate::leaf::Event::GivesBack(n)).count();
        assert!(delivered + back <= 1, "the value of leaf {n} came twice; {}", say());
    }
    let dropped = words(|| drop(operation.take()));
    if let Err(said) = dropped {
        panicked += 1;
        assert_eq!((said.as_str(), panicked), (what.as_str(), 1), "{}", say());
    }
    for n in 0..count {
        assert_eq!(stage.dropped(n), 1, "the destructor of leaf {n} runs once; {}", say());
    }
    assert_eq!(panicked == 1, !stage.panics_ahead(leaf), "a panic is not swallowed; {}", say());
    panicked == 1
}

const STEPS: [Step; 5] = [Step::Commit, Step::Poll, Step::Cancel, Step::Discard, Step::Drop];

/// The panics are expected: keeps their words from filling the output of a test that fails for another reason.
fn quietly<T>(f: impl FnOnce() -> T) -> T {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let scripted =
                info.payload().downcast_ref::<String>().is_some_and(|words| words.starts_with("leaf "));
            if !scripted || !words_are_scripted(info.payload().downcast_ref::<String>()) {
                others(info);
            }
        }));
    });
    f()
}

fn words_are_scripted(words: Option<&String>) -> bool {
    words.is_some_and(|words| words.contains(" panics in "))
}

#[test]
fn a_panic_at_any_step_of_any_leaf_of_small_trees() {
    let _watchdog = Watchdog::new(Duration::from_secs(200));
    let mut rng = Rng::from_env();
    let mut reached = [0; STEPS.len()];
    quietly(|| {
        on_ring(|| {
            for leaves in 1..=3 {
                for mut tree in trees(leaves, 3, 1) {
                    tree.number(&mut 0);
                    for leaf in 0..leaves {
                        for (nth, step) in STEPS.into_iter().enumerate() {
                            for _ in 0..rounds(10) {
                                reached[nth] += u64::from(round(&tree, leaf, step, &mut rng));
                            }
                        }
                    }
                }
            }
        });
    });
    assert!(reached.iter().all(|count| *count > 50 || rounds(100) < 10), "{reached:?}");
}

#[test]
fn a_panic_in_large_trees_by_chance() {
    let _watchdog = Watchdog::new(Duration::from_secs(200));
    let mut rng = Rng::from_env();
    quietly(|| {
        on_ring(|| {
            for _ in 0..rounds(50_000) {
                let mut tree = random_tree(&mut rng, 4);
                tree.number(&mut 0);
                let leaf = rng.below(tree.leaves() as u64) as usize;
                let step = STEPS[rng.below(5) as usize];
                round(&tree, leaf, step, &mut rng);
            }
        });
    });
}
