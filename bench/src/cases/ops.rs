//! `op/nop`, `op/zero`: what an op costs when the kernel has next to nothing to do.
//!
//! Knows: the floor, millstream. Does not know: files with content.

use std::fs::File;
use std::os::fd::AsRawFd;

use super::alone;
use crate::floor;
use crate::measure::{Case, Clock, FLOOR, Target};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (depth, estimate, most) in [(1, 240.0, 1.06), (64, 65.0, 1.13), (1024, 65.0, 1.13)] {
        cases.push(Case::new(format!("op/nop/{depth}"), Clock::Cpu, Target::Ratio(most)).with(
            FLOOR,
            move |plan| {
                alone()?;
                floor::ops::nop(depth, plan.units(estimate))
            },
        ));
    }
    for (depth, estimate) in [(1, 430.0), (64, 260.0)] {
        cases.push(Case::new(format!("op/zero/{depth}"), Clock::Cpu, Target::Ratio(1.06)).with(
            FLOOR,
            move |plan| {
                alone()?;
                let zero = File::open("/dev/zero")?;
                let buffers = vec![[1]; depth].leak();
                floor::ops::read(zero.as_raw_fd(), buffers, plan.units(estimate), || 0)
            },
        ));
    }
    cases
}
