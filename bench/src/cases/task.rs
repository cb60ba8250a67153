//! `task/yield`, `task/spawn`: what a task costs when the kernel has no part in it.
//!
//! Knows: the floor's executor, millstream. Does not know: ops.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use super::{alone, default_runtime, on_millstream};
use crate::clock::{Sample, Stopwatch};
use crate::floor::executor;
use crate::measure::{Case, Clock, FLOOR, OURS, Plan, Target};
use crate::peers::{monoio, tokio};

/// The other runtimes take ten to thirty times as long for these: as many units would not end within a round.
const SLOWER: u64 = 16;

pub(super) fn cases() -> Vec<Case> {
    vec![
        yield_case("task/yield/1", 1),
        yield_case("task/yield/1024", 1024),
        // In batches, and one after the other.
        spawn_case("task/spawn", 64),
        spawn_case("task/spawn/1", 1),
    ]
}

fn yield_case(name: &str, tasks: u64) -> Case {
    let each = move |plan: &Plan| plan.units(4.0) / tasks;
    let case = Case::new(name, Clock::Cpu, Target::Ratio(1.6))
        .with(FLOOR, move |plan| {
            let each = each(plan);
            on_floor(async move {
                floor_yields(tasks, each / 10).await;
                let watch = Stopwatch::start();
                floor_yields(tasks, each).await;
                watch.stop(tasks * each)
            })
        })
        .with(OURS, move |plan| {
            on_millstream(default_runtime()?, tasks * each(plan), move |units| {
                super::tasks(tasks as usize, move || our_yields(units / tasks))
            })
        });
    case.with(monoio::NAME, move |plan| alone().and_then(|()| monoio::yields(tasks, each(plan) / SLOWER)))
        .with(tokio::NAME, move |plan| alone().and_then(|()| tokio::yields(tasks, each(plan) / SLOWER)))
}

fn spawn_case(name: &str, batch: u64) -> Case {
    let batches = move |plan: &Plan| plan.units(15.0) / batch;
    let case = Case::new(name, Clock::Cpu, Target::Ratio(1.0))
        .with(FLOOR, move |plan| {
            let batches = batches(plan);
            on_floor(async move {
                floor_spawns(batch, batches / 10).await;
                let watch = Stopwatch::start();
                floor_spawns(batch, batches).await;
                watch.stop(batch * batches)
            })
        })
        .with(OURS, move |plan| {
            on_millstream(default_runtime()?, batch * batches(plan), move |units| {
                our_spawns(batch, units / batch)
            })
        });
    case.with(monoio::NAME, move |plan| alone().and_then(|()| monoio::spawns(batch, batches(plan) / SLOWER)))
        .with(tokio::NAME, move |plan| alone().and_then(|()| tokio::spawns(batch, batches(plan) / SLOWER)))
}

/// Runs a future on the floor's executor, which has no outputs, and hands its output out.
fn on_floor(future: impl Future<Output = Sample> + 'static) -> io::Result<Sample> {
    alone()?;
    let output = Rc::new(Cell::new(None));
    let slot = output.clone();
    executor::block_on(async move { slot.set(Some(future.await)) });
    output.get().ok_or_else(|| io::Error::other("the floor's executor had nothing left to run"))
}

async fn floor_yields(tasks: u64, yields: u64) {
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            executor::spawn(async move {
                for _ in 0..yields {
                    executor::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
}

async fn floor_spawns(batch: u64, batches: u64) {
    let spawn = |i| {
        executor::spawn(async move {
            std::hint::black_box(i);
        })
    };
    if batch == 1 {
        for i in 0..batches {
            spawn(i).await;
        }
        return;
    }
    let mut tasks = Vec::with_capacity(batch as usize);
    for _ in 0..batches {
        tasks.extend((0..batch).map(spawn));
        for task in tasks.drain(..) {
            task.await;
        }
    }
}

async fn our_yields(yields: u64) -> io::Result<()> {
    for _ in 0..yields {
        millstream::yield_now().await;
    }
    Ok(())
}

async fn our_spawns(batch: u64, batches: u64) -> io::Result<()> {
    let spawn = |i| {
        millstream::spawn(async move {
            std::hint::black_box(i);
        })
    };
    if batch == 1 {
        for i in 0..batches {
            assert!(spawn(i).await.is_ok());
        }
        return Ok(());
    }
    let mut tasks = Vec::with_capacity(batch as usize);
    for _ in 0..batches {
        tasks.extend((0..batch).map(spawn));
        for task in tasks.drain(..) {
            assert!(task.await.is_ok());
        }
    }
    Ok(())
}
