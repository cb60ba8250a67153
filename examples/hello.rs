//! The program of the README: a task, two ops, a channel and a race.
//!
//! ```text
//! cargo run --example hello
//! ```
#![allow(clippy::print_stdout, reason = "the output is the point")]

use std::error::Error;
use std::time::Duration;

use millstream::combinators::OneOf2::{A, B};
use millstream::ops::{self, IntoResult};
use millstream::{channel, race, spawn, time};

#[millstream::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (words_tx, words) = channel::bounded(2);
    let reader = spawn(async move {
        let file = ops::open("LICENSE-MIT").await?;
        let (n, text) = ops::read(&file, vec![0; 11]).await.into_result()?; // the buffer goes in and comes back
        for word in text[..n].split(|&byte| byte == b' ') {
            words_tx.push(String::from_utf8_lossy(word).into_owned()).await?;
        }
        Ok::<_, Box<dyn Error>>(()) // the last sender goes, and the channel closes behind the last word
    });
    loop {
        match race!(words.pop() || time::sleep(Duration::from_secs(5))).await {
            A(Ok(word)) => println!("{word}"),
            A(Err(_)) => break, // closed, and everything in it has been popped
            B(()) => println!("nothing for five seconds"),
        }
    }
    reader.await?
}
