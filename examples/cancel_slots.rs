//! The three ways to cancel through a channel: close it, push into it, drop its last sender.
//!
//! ```text
//! cargo run --example cancel_slots
//! ```
//!
//! A *cancel slot* is a channel whose pop stands beside the work in a race. Whatever makes that pop resolve cancels the
//! work: here an op that waits in the kernel for bytes that never come, and that is over, its buffer given back, when the
//! race has been decided.
#![allow(clippy::print_stdout, reason = "the trace is the output")]

use std::error::Error;
use std::io;
use std::os::unix::net::UnixStream;

use millstream::channel::{self, PopError, Receiver};
use millstream::combinators::OneOf2;
use millstream::ops::{self, Fd};
use millstream::{JoinHandle, race, spawn, yield_now};

#[millstream::main]
async fn main() -> Result<(), Box<dyn Error>> {
    everyone_by_closing().await?;
    one_by_a_value().await?;
    all_that_is_left_by_a_drop().await
}

/// Waits for a byte from nobody, until the slot says otherwise.
async fn wait(slot: Receiver<&'static str>) -> io::Result<String> {
    let (silent, ours) = UnixStream::pair()?;
    let ours = Fd::from(ours);
    let outcome = race!(slot.pop() || ops::recv(&ours, [0; 1])).await;
    drop(silent);
    Ok(match outcome {
        OneOf2::A(Ok(why)) => format!("cancelled: {why}"),
        OneOf2::A(Err(PopError::Closed)) => "cancelled".into(),
        outcome => format!("{outcome:?}"),
    })
}

/// Three tasks that wait, the first of them the first in line.
async fn three_waiting(slot: &Receiver<&'static str>) -> Vec<JoinHandle<io::Result<String>>> {
    let tasks = (0..3).map(|_| spawn(wait(slot.clone()))).collect();
    yield_now().await; // now they are
    tasks
}

async fn report(what: &str, tasks: Vec<JoinHandle<io::Result<String>>>) -> Result<(), Box<dyn Error>> {
    println!("{what}");
    for (n, task) in tasks.into_iter().enumerate() {
        println!("  task {n}: {}", task.await??);
    }
    Ok(())
}

/// A close reaches all that wait, and all that will: the slot stays closed.
async fn everyone_by_closing() -> Result<(), Box<dyn Error>> {
    let (stop, slot) = channel::bounded(1);
    let tasks = three_waiting(&slot).await;
    stop.close(); // from either end: `slot.close()` does the same
    report("closed", tasks).await?;
    report("closed before they began", three_waiting(&slot).await).await
}

/// A value reaches one, the one that has waited longest, and can say why.
async fn one_by_a_value() -> Result<(), Box<dyn Error>> {
    let (stop, slot) = channel::bounded(1);
    let mut tasks = three_waiting(&slot).await;
    let others = tasks.split_off(1);
    stop.push("too slow").await?;
    report("one value", tasks).await?;
    for why in ["too large", "too late"] {
        stop.push(why).await?;
    }
    report("two values", others).await
}

/// When the last sender goes, the channel closes. So whoever holds the sender need not remember to cancel: it happens when
/// it returns, also early and also by a panic.
async fn all_that_is_left_by_a_drop() -> Result<(), Box<dyn Error>> {
    let (stop, slot) = channel::bounded(1);
    let tasks = three_waiting(&slot).await;
    let request = spawn(async move {
        let _stop = stop;
        yield_now().await; // and what else the request takes
    });
    request.await?;
    report("dropped with what they worked for", tasks).await
}
