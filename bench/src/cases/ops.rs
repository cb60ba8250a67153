//! `op/nop`, `op/zero`: what an op costs when the kernel has next to nothing to do.
//!
//! Knows: the floor, millstream. Does not know: files with content.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use millstream::ops::{self, Fd, IntoResult};

use super::{alone, default_runtime, on_millstream, tasks};
use crate::floor;
use crate::measure::{Case, Clock, FLOOR, OURS, Target};
use crate::peers::monoio;

pub(super) fn cases() -> Vec<Case> {
    let nop = [(1, 240.0, 1.06), (64, 65.0, 1.13), (1024, 65.0, 1.13)];
    let zero = [(1, 430.0), (64, 260.0)];
    nop.map(|(depth, estimate, most)| nop_case(depth, estimate, most))
        .into_iter()
        .chain(zero.map(|(depth, estimate)| zero_case(depth, estimate)))
        .collect()
}

fn nop_case(depth: usize, estimate: f64, most: f64) -> Case {
    Case::new(format!("op/nop/{depth}"), Clock::Cpu, Target::Ratio(most))
        .with(FLOOR, move |plan| {
            alone()?;
            floor::ops::nop(depth, plan.units(estimate))
        })
        .with(OURS, move |plan| {
            let each = plan.units(estimate) / depth as u64;
            on_millstream(default_runtime()?, each * depth as u64, move |units| {
                tasks(depth, move || nops(units / depth as u64))
            })
        })
}

/// The offset that stands for the current position: what `ops::read` without `at` asks for.
const CURRENT: u64 = u64::MAX;

fn zero_case(depth: usize, estimate: f64) -> Case {
    let open = || File::open("/dev/zero");
    let case = Case::new(format!("op/zero/{depth}"), Clock::Cpu, Target::Ratio(1.06))
        .with(FLOOR, move |plan| {
            alone()?;
            let (zero, buffers) = (open()?, vec![[1]; depth].leak());
            floor::ops::read(zero.as_raw_fd(), buffers, plan.units(estimate), || CURRENT)
        })
        .with(OURS, move |plan| {
            let each = plan.units(estimate) / depth as u64;
            let zero = Fd::from(open()?);
            on_millstream(default_runtime()?, each * depth as u64, move |units| {
                let zero = zero.clone();
                tasks(depth, move || reads(zero.clone(), units / depth as u64))
            })
        });
    case.with(monoio::NAME, move |plan| {
        alone()?;
        monoio::reads(open()?, 1, depth, plan.units(estimate), || CURRENT)
    })
}

async fn nops(count: u64) -> io::Result<()> {
    for _ in 0..count {
        ops::nop().await?;
    }
    Ok(())
}

async fn reads(zero: Fd, count: u64) -> io::Result<()> {
    let mut buffer = vec![1; 1];
    for _ in 0..count {
        (_, buffer) = ops::read(&zero, buffer).await.into_result()?;
    }
    Ok(())
}
