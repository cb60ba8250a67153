//! The list of cases.
//!
//! Knows: every case. Does not know: how rounds are run.

mod channel;
mod combinator;
pub(crate) mod echo;
mod file;
mod ops;
mod select;
mod task;
mod treesum;
mod wake;
mod zc;

use std::io;
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;

use millstream::Runtime;

use crate::clock::{self, Sample, Stopwatch};
use crate::measure::Case;

/// Every case, in the order of the table.
pub(crate) fn all() -> Vec<Case> {
    let families = [
        ops::cases(),
        file::cases(),
        task::cases(),
        echo::cases(),
        treesum::cases(),
        wake::cases(),
        zc::cases(),
        channel::cases(),
        select::cases(),
        combinator::cases(),
    ];
    families.into_iter().flatten().collect()
}

/// Makes the files that the chosen cases read, unless they are there from an earlier run.
pub(crate) fn prepare(cases: &[Case], quick: bool) -> io::Result<()> {
    let chosen = |prefix: &str| cases.iter().any(|case| case.name.starts_with(prefix));
    if chosen("file/") {
        file::prepare(quick)?;
    }
    if chosen("treesum") {
        treesum::prepare(quick)?;
    }
    Ok(())
}

/// Where generated files are kept between runs: beside the binary's profile directory, so `cargo clean` removes them.
fn cache_directory() -> io::Result<PathBuf> {
    let binary = std::env::current_exe()?;
    let target = binary.ancestors().nth(2).ok_or_else(|| io::Error::other("this binary has no directory"))?;
    let directory = target.join("bench-cache");
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Pins a case of one thread to the last CPU, away from where the parent and most of the machine's interrupts are.
fn alone() -> io::Result<()> {
    match clock::cpus()?.last() {
        Some(&cpu) => clock::pin(cpu),
        None => Ok(()),
    }
}

/// Runs two sides on threads and CPUs of their own. Each meets the other at the barrier, once, when it has made ready.
fn two_threads<A: Send, B: Send>(
    first: impl FnOnce(&Barrier) -> io::Result<A> + Send,
    second: impl FnOnce(&Barrier) -> io::Result<B> + Send,
) -> io::Result<(A, B)> {
    let (one, other) = clock::two_cpus()?;
    let both_ready = &Barrier::new(2);
    thread::scope(|scope| {
        let first = scope.spawn(move || {
            let pinned = clock::pin(one);
            first(both_ready).and_then(|result| pinned.map(|()| result))
        });
        let second = scope.spawn(move || {
            let pinned = clock::pin(other);
            second(both_ready).and_then(|result| pinned.map(|()| result))
        });
        let first = first.join().expect("the first side panicked")?;
        Ok((first, second.join().expect("the second side panicked")?))
    })
}

/// Times `pass` over a number of units in a runtime of ours, after a pass over a tenth of them.
fn on_millstream<F: Future<Output = io::Result<()>>>(
    runtime: Runtime,
    units: u64,
    mut pass: impl FnMut(u64) -> F,
) -> io::Result<Sample> {
    alone()?;
    runtime.block_on(async {
        pass(units / 10).await?;
        let watch = Stopwatch::start();
        pass(units).await?;
        Ok(watch.stop(units))
    })
}

/// The runtime a program gets that asks for nothing.
fn default_runtime() -> io::Result<Runtime> {
    Runtime::new().map_err(io::Error::other)
}

/// The one that sleeps at once when there is nothing to do.
fn sleepy_runtime() -> io::Result<Runtime> {
    Runtime::builder().no_spin().build().map_err(io::Error::other)
}

/// Runs a number of tasks and awaits them all.
async fn tasks<F>(count: usize, mut task: impl FnMut() -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let handles: Vec<_> = (0..count).map(|_| millstream::spawn(task())).collect();
    for handle in handles {
        handle.await.map_err(|error| io::Error::other(format!("{error:?}")))??;
    }
    Ok(())
}

/// Numbers without order, from a seed (splitmix64).
struct Shuffle(u64);

impl Shuffle {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, without a division: the bias is far below what a benchmark can see.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}
