//! Every schedule of every small tree of combinators, against a model of what the documentation says.
//!
//! A schedule is a sequence of what can happen to a tree: a poll with a new waker, a leaf that gets its outcome, a
//! request to stop, a discard, the drop. After each step, what was done to the leaves and in which order, who was woken
//! and what came out must be what the model says; and some things must hold whatever the model says. Small trees are
//! gone through exhaustively, large ones by chance (`MILLSTREAM_SEED` replays). No kernel: the leaves are scripted.

#[path = "../support/mod.rs"]
mod support;

mod leaf;
mod model;
mod panics;
mod run;
mod selects;
mod shapes;
mod tree;

use std::time::Duration;

use millstream::Runtime;
use run::{Run, Turn};
use support::{Rng, Watchdog, rounds};
use tree::{SHAPES, Shape, Tree};

/// Runs `f` where there are timers and a ring to ask for room.
fn on_ring<T>(f: impl FnOnce() -> T) -> T {
    Runtime::new().expect("a ring").block_on(async { f() })
}

/// How many nodes of a tree have one arm only.
fn wraps(tree: &Tree) -> usize {
    let arms = tree.arms();
    let one = match tree {
        Tree::Leaf(_) => false,
        Tree::Chain(_, members) => members.len() == 1,
        _ => arms.len() == 1,
    };
    usize::from(one) + arms.into_iter().map(wraps).sum::<usize>()
}

/// Every tree of so many leaves, no deeper than `depth`, with at most `limit` nodes of one arm.
fn trees(leaves: usize, depth: usize, limit: usize) -> Vec<Tree> {
    let mut found = if leaves == 1 { vec![Tree::Leaf(0)] } else { vec![] };
    if depth == 0 {
        return found;
    }
    for hard in [false, true] {
        found.push(Tree::Chain(hard, vec![0; leaves]));
    }
    for tree in trees(leaves, depth - 1, limit.saturating_sub(1)) {
        for wrap in [
            |tree| Tree::All(Shape::Tuple, vec![tree]),
            |tree| Tree::Any(Shape::Array, vec![tree]),
            |tree| Tree::Deadline(false, Box::new(tree)),
            |tree| Tree::Deadline(true, Box::new(tree)),
            |tree| Tree::Lent(Box::new(tree)),
        ] {
            found.push(wrap(tree.clone()));
        }
    }
    for arms in forests(leaves, depth - 1, limit).into_iter().filter(|arms| arms.len() > 1) {
        found.push(Tree::All(Shape::Tuple, arms.clone()));
        found.push(Tree::Any(Shape::Tuple, arms.clone()));
        found.push(Tree::ParallelAll(Shape::Tuple, arms.clone()));
        found.push(Tree::ParallelAny(Shape::Tuple, arms.clone()));
        if let [op, slot] = &arms[..] {
            found.push(Tree::WithCancel(Box::new(op.clone()), Box::new(slot.clone())));
        }
    }
    found.retain(|tree| wraps(tree) <= limit);
    found
}

/// Every way to share the leaves among one or more trees.
fn forests(leaves: usize, depth: usize, limit: usize) -> Vec<Vec<Tree>> {
    let mut found: Vec<_> = trees(leaves, depth, limit).into_iter().map(|tree| vec![tree]).collect();
    for first in 1..leaves {
        let rest = forests(leaves - first, depth, limit);
        for tree in trees(first, depth, limit) {
            for rest in &rest {
                let mut arms = vec![tree.clone()];
                arms.extend(rest.iter().cloned());
                found.push(arms);
            }
        }
    }
    found.retain(|arms| arms.iter().map(wraps).sum::<usize>() <= limit);
    found
}

/// Gives each combinator the next shape, so that all of them occur.
fn reshape(tree: &mut Tree, next: &mut usize) {
    if let Tree::All(shape, _)
    | Tree::Any(shape, _)
    | Tree::ParallelAll(shape, _)
    | Tree::ParallelAny(shape, _) = tree
    {
        *next += 1;
        *shape = SHAPES[*next % SHAPES.len()];
    }
    tree.arms_mut().into_iter().for_each(|arm| reshape(arm, next));
}

/// Goes through every schedule that begins with `turns`, and drops the tree after each.
fn explore(tree: &Tree, prompt: u64, turns: &mut Vec<Turn>, count: &mut u64) {
    let mut run = Run::new(tree, prompt);
    for turn in &*turns {
        run.take(*turn);
    }
    *count += 1;
    let next = run.next_turns();
    run.end();
    for turn in next {
        turns.push(turn);
        explore(tree, prompt, turns, count);
        turns.pop();
    }
}

/// One tree in so many, more in a release build, all of them with `MILLSTREAM_TREES` (see `ci/trees.sh`).
fn share(debug: u64) -> u64 {
    if std::env::var_os("MILLSTREAM_TREES").is_some() {
        1
    } else if rounds(100) == 1 {
        debug * 20 // an emulated processor
    } else if cfg!(debug_assertions) {
        debug
    } else {
        debug.div_ceil(10)
    }
}

fn explore_all(leaves: usize, depth: usize, limit: usize, share: u64) -> (u64, u64) {
    let (mut schedules, mut shape, mut explored) = (0, 0, 0);
    for (nth, mut tree) in trees(leaves, depth, limit).into_iter().enumerate() {
        if !(nth as u64).is_multiple_of(share) {
            continue;
        }
        tree.number(&mut 0);
        reshape(&mut tree, &mut shape);
        // All leaves as the kernel's, all as waiters, and one of each kind.
        for prompt in [0, u64::MAX, 1 << (nth % leaves)] {
            explore(&tree, prompt, &mut vec![], &mut schedules);
        }
        explored += 1;
    }
    (explored, schedules)
}

#[test]
fn every_schedule_of_every_tree_of_one_leaf() {
    let _watchdog = Watchdog::new(Duration::from_secs(if share(2) == 1 { 7200 } else { 200 }));
    let (trees, schedules) = on_ring(|| explore_all(1, 3, 3, 1));
    eprintln!("{trees} trees, {schedules} schedules");
    assert!(trees > 200, "three deep");
}

#[test]
fn every_schedule_of_every_tree_of_two_leaves() {
    let _watchdog = Watchdog::new(Duration::from_secs(if share(2) == 1 { 7200 } else { 200 }));
    let (trees, schedules) = on_ring(|| explore_all(2, 3, 2, share(25)));
    eprintln!("{trees} trees, {schedules} schedules");
    assert!(trees > 40 && schedules > 10_000 || rounds(100) == 1, "{trees}, {schedules}");
}

#[test]
fn every_schedule_of_trees_of_three_leaves() {
    let _watchdog = Watchdog::new(Duration::from_secs(if share(2) == 1 { 7200 } else { 200 }));
    let (trees, schedules) = on_ring(|| explore_all(3, 3, 1, share(200)));
    eprintln!("{trees} trees, {schedules} schedules");
    assert!(trees > 10 && schedules > 100_000 || rounds(100) == 1, "{trees}, {schedules}");
}

/// A tree by chance.
fn random_tree(rng: &mut Rng, depth: u64) -> Tree {
    if depth == 0 || rng.one_in(4) {
        return Tree::Leaf(0);
    }
    let shape = SHAPES[rng.below(4) as usize];
    let arms = |rng: &mut Rng, least: u64| {
        (0..least + rng.below(3)).map(|_| random_tree(rng, depth - 1)).collect::<Vec<_>>()
    };
    match rng.below(12) {
        0..3 => Tree::All(shape, arms(rng, 1)),
        3..6 => Tree::Any(shape, arms(rng, 2)),
        9 => Tree::ParallelAll(shape, arms(rng, 1)),
        10 => Tree::ParallelAny(shape, arms(rng, 2)),
        11 => Tree::WithCancel(Box::new(random_tree(rng, depth - 1)), Box::new(random_tree(rng, depth - 1))),
        6 => Tree::Chain(rng.one_in(2), vec![0; 1 + rng.below(3) as usize]),
        7 => Tree::Deadline(rng.one_in(3), Box::new(random_tree(rng, depth - 1))),
        _ => Tree::Lent(Box::new(random_tree(rng, depth - 1))),
    }
}

#[test]
fn schedules_of_large_trees_by_chance() {
    let _watchdog = Watchdog::new(Duration::from_secs(200));
    let mut rng = Rng::from_env();
    let mut largest = 0;
    on_ring(|| {
        for _ in 0..rounds(100_000) {
            let mut tree = random_tree(&mut rng, 5);
            tree.number(&mut 0);
            largest = largest.max(tree.leaves());
            let mut run = Run::new(&tree, rng.next_u64());
            loop {
                let next = run.next_turns();
                if next.is_empty() || rng.one_in(40) {
                    break;
                }
                // Leaves are many and polls are one: chance would finish everything before it looked.
                let turn = if rng.one_in(3) { next[0] } else { next[rng.below(next.len() as u64) as usize] };
                run.take(turn);
            }
            run.end();
        }
    });
    assert!(largest > 8 || rounds(100) < 10, "{largest} leaves at most");
}
