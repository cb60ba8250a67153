//! A clock that is a channel: the kernel's own timer pushes its periods, and two tasks live on them.
//!
//! ```text
//! cargo run --example ticker -- 5 20     # 5 reports, one every 20 ms
//! ```
//!
//! One entry in the ring ticks for as long as the program runs. A tick is the number of periods that have passed since the
//! last one was taken: whoever keeps up gets ones, whoever is late gets a larger number, and nothing piles up.
//!
//! The reporter takes every tick. The sluggish task needs three periods for each of its turns; its channel holds one tick,
//! so what it misses waits as a number with the timer, and when it looks again it learns how late it is. Both ends count
//! the same periods in the end.

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use millstream::channel::{self, Receiver};
use millstream::combinators::ResultsExt;
use millstream::{ops, spawn, time};

#[millstream::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let reports = number("reports", arguments.next(), 5)?;
    let period = Duration::from_millis(number("milliseconds", arguments.next(), 20)?);

    let (prompt_tx, prompt) = channel::bounded(1);
    let (late_tx, late) = channel::bounded(1);
    let clocks = [
        spawn(ops::timeout_multishot(period).count(reports).will_push(prompt_tx)),
        spawn(ops::timeout_multishot(period).count(reports).will_push(late_tx)),
    ];
    let sluggish = spawn(sluggish(late, 3 * period));

    let mut periods = 0;
    while let Ok(passed) = prompt.pop().await {
        periods += passed;
        writeln!(io::stdout(), "tick {periods}")?;
    }
    let (turns, seen) = sluggish.await?;
    for clock in clocks {
        clock.await?.end?;
    }
    writeln!(io::stdout(), "{periods} periods, {seen} of them seen in {turns} turns")?;
    Ok(())
}

/// An argument, or what it is without one.
fn number(what: &str, text: Option<String>, otherwise: u64) -> Result<u64, String> {
    match text {
        Some(text) => text.parse().map_err(|error| format!("{what}: {text}: {error}")),
        None => Ok(otherwise),
    }
}

/// Takes a tick, and then its time. How many turns that were, and how many periods it was told of.
async fn sluggish(ticks: Receiver<u64>, takes: Duration) -> (u64, u64) {
    let (mut turns, mut seen) = (0, 0);
    while let Ok(passed) = ticks.pop().await {
        turns += 1;
        seen += passed;
        time::sleep(takes).await;
    }
    (turns, seen) // the last sender is gone with its clock: the channel is closed
}
