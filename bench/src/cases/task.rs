//! `task/yield`, `task/spawn`: what a task costs when the kernel has no part in it.
//!
//! Knows: the floor's executor, millstream. Does not know: ops.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use super::alone;
use crate::clock::{Sample, Stopwatch};
use crate::floor::executor;
use crate::measure::{Case, Clock, FLOOR, Target};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for tasks in [1, 1024] {
        cases.push(Case::new(format!("task/yield/{tasks}"), Clock::Cpu, Target::Ratio(1.6)).with(
            FLOOR,
            move |plan| {
                let yields = plan.units(4.0) / tasks;
                on_floor(async move {
                    floor_yields(tasks, yields / 10).await;
                    let watch = Stopwatch::start();
                    floor_yields(tasks, yields).await;
                    watch.stop(tasks * yields)
                })
            },
        ));
    }
    // One after the other, and 64 at once.
    for (name, batch) in [("task/spawn", 1), ("task/spawn/64", 64)] {
        cases.push(Case::new(name, Clock::Cpu, Target::Ratio(1.0)).with(FLOOR, move |plan| {
            let batches = plan.units(15.0) / batch;
            on_floor(async move {
                floor_spawns(batch, batches / 10).await;
                let watch = Stopwatch::start();
                floor_spawns(batch, batches).await;
                watch.stop(batch * batches)
            })
        }));
    }
    cases
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
