//! Two tasks and a channel of two places: what a bounded channel does to the order of things.
//!
//! ```text
//! cargo run --example pipeline
//! ```
//!
//! `P3` is printed before the number 3 is pushed, `C3` after it has been popped. The producer runs until the channel
//! is full and the third push waits. The consumer takes the two, which makes room: the push that waited takes effect
//! there and then, so the consumer finds a third number before it has to wait itself. By then the producer is due, and
//! from here on each side gets four numbers done per turn, two in the channel and one in either hand over.
#![allow(clippy::print_stdout, reason = "the trace is the output")]

use std::error::Error;

use millstream::channel::{self, PushError, Receiver, Sender};
use millstream::spawn;

const NUMBERS: u32 = 10;

#[millstream::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (numbers_tx, numbers) = channel::bounded(2);
    let producer = spawn(produce(numbers_tx));
    let consumer = spawn(consume(numbers));
    producer.await??;
    consumer.await?;
    Ok(())
}

async fn produce(numbers: Sender<u32>) -> Result<(), PushError<u32>> {
    for n in 0..NUMBERS {
        println!("P{n}");
        numbers.push(n).await?;
    }
    Ok(()) // the last sender goes: the channel closes, and what is in it can still be popped
}

async fn consume(numbers: Receiver<u32>) {
    while let Ok(n) = numbers.pop().await {
        println!("C{n}");
    }
}
