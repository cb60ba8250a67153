//! Counts words under tokio: the channels alone, without a runtime of this crate.
//!
//! ```text
//! cargo run --release --example channels_on_tokio -- --top 5 README.md docs/guide.md
//! ```
//!
//! ```text
//!               pieces                  counts
//!   reader ─────────────▶ counters ───────────────▶ main ──▶ standard output
//!   a thread              tasks ▲                   its future
//!                               └── the cancel slot, closed by Ctrl-C
//! ```
//!
//! Both channels are bounded, so however large the input, a few pieces of it are in memory: the reader waits for the
//! counters, the counters for `main`.
//!
//! tokio's `select!` drops the arms that lose, at whatever point they are. A pop may be dropped at any point, so two pops
//! side by side lose nothing: here pieces beside the cancel slot, and counts beside the clock. A push that is dropped is
//! pushed or gone, and one cannot tell; a *permit* takes the push out of the race. A counter first reserves a place for
//! its result, then takes a piece: whoever has taken one can hand its count on at once. In the end every byte that was
//! read has to have been counted.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is how the program talks")]

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use clap::Parser;
use millstream::channel::{self, Receiver, Sender};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Count how often each word occurs
#[derive(Parser)]
struct Arguments {
    /// What to read; standard input if none is given, or for `-`
    files: Vec<PathBuf>,

    /// Show the words that occur most
    #[arg(long, value_name = "N", default_value = "10")]
    top: usize,

    /// Pieces counted at once
    #[arg(long, value_name = "N", default_value = "4")]
    counters: NonZero<u8>,

    /// Say every so many seconds how far it has come
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    progress: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse().map(Duration::try_from_secs_f64) {
        Ok(Ok(duration)) if !duration.is_zero() => Ok(duration),
        _ => Err("a number of seconds above zero is needed".into()),
    }
}

/// How much of the input is read at once. A word longer than that counts as several.
const PIECE: usize = 64 * 1024;

/// What a shell calls a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(code) => code,
        // Whoever read our output has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("channels_on_tokio: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> io::Result<ExitCode> {
    let Arguments { files, top, counters, progress } = arguments;
    let counters = usize::from(counters.get());
    let (piece_tx, pieces) = channel::bounded(counters);
    let (count_tx, counts) = channel::bounded(counters);
    let (stop, stopped) = channel::bounded::<()>(1);

    tokio::spawn(close_on_interrupt(signal(SignalKind::interrupt())?, stop));
    let reader = thread::spawn(move || read_all(&files, &piece_tx));
    for _ in 0..counters {
        tokio::spawn(count(pieces.clone(), count_tx.clone(), stopped.clone()));
    }
    drop((pieces, count_tx)); // the counters have the last ends: when they are done, `counts` closes

    let mut total = Count::default();
    let mut ticks = progress.map_or_else(channel::never, channel::tick);
    loop {
        tokio::select! {
            count = counts.pop() => match count {
                Ok(count) => total.add(count),
                Err(_) => break,
            },
            _ = ticks.pop() => eprintln!("{} words in {} bytes", total.words(), total.bytes),
        }
    }
    print(&total, top)?;
    if stopped.is_closed() {
        eprintln!("channels_on_tokio: interrupted: this is what had been counted");
        return Ok(ExitCode::from(INTERRUPTED)); // the reader may wait for input for ever: it ends with the process
    }
    let input = reader.join().expect("the reader does not panic");
    assert_eq!(input.bytes, total.bytes, "what was read has been counted");
    Ok(if input.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Counts piece after piece, until there are no more or it is to stop.
async fn count(pieces: Receiver<Vec<u8>>, counts: Sender<Count>, stopped: Receiver<()>) {
    while let Ok(place) = counts.reserve().await {
        let piece = tokio::select! {
            piece = pieces.pop() => piece,
            _ = stopped.pop() => return, // the place that was reserved goes to the next
        };
        let Ok(piece) = piece else { return };
        if place.push(Count::of(&piece)).is_err() {
            return; // nobody adds them up any more
        }
    }
}

/// Closes the cancel slot at the first Ctrl-C, and ends the process at the second.
async fn close_on_interrupt(mut interrupts: Signal, stop: Sender<()>) {
    interrupts.recv().await;
    stop.close();
    interrupts.recv().await;
    process::exit(INTERRUPTED.into());
}

/// How often each word occurs.
#[derive(Default)]
struct Count {
    bytes: u64,
    words: HashMap<Vec<u8>, u64>,
}

impl Count {
    fn of(piece: &[u8]) -> Self {
        let mut count = Self { bytes: piece.len() as u64, words: HashMap::new() };
        for word in piece.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            *count.words.entry(word.to_vec()).or_default() += 1;
        }
        count
    }

    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        for (word, times) in other.words {
            *self.words.entry(word).or_default() += times;
        }
    }

    fn words(&self) -> u64 {
        self.words.values().sum()
    }
}

fn print(count: &Count, top: usize) -> io::Result<()> {
    let mut words: Vec<_> = count.words.iter().collect();
    words.sort_unstable_by_key(|&(word, times)| (Reverse(times), word));
    let mut out = io::stdout().lock();
    for (word, times) in words.into_iter().take(top) {
        writeln!(out, "{times:7} {}", String::from_utf8_lossy(word))?;
    }
    out.flush()
}

/// What the reader has seen.
#[derive(Default)]
struct Input {
    bytes: u64,
    failed: bool,
}

/// Reads the files one after the other on a thread of its own, since reading may block for ever.
fn read_all(files: &[PathBuf], pieces: &Sender<Vec<u8>>) -> Input {
    let standard_input = [PathBuf::from("-")];
    let files = if files.is_empty() { &standard_input } else { files };
    let mut input = Input::default();
    for path in files {
        match open(path).and_then(|file| read(file, pieces, &mut input.bytes)) {
            Ok(()) if pieces.is_closed() => break,
            Ok(()) => {}
            Err(error) => {
                eprintln!("channels_on_tokio: {}: {error}", path.display());
                input.failed = true; // the others are counted all the same
            }
        }
    }
    input
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    Ok(if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) })
}

/// Pushes what there is to read, as soon as it is there, in pieces that end where a word ends.
fn read(mut file: impl Read, pieces: &Sender<Vec<u8>>, bytes: &mut u64) -> io::Result<()> {
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        let begun = piece.len();
        piece.resize(PIECE, 0);
        let n = match file.read(&mut piece[begun..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
            Ok(0) => {
                piece.truncate(begun);
                let _ = push(piece, pieces, bytes);
                return Ok(());
            }
            Ok(n) => n,
        };
        piece.truncate(begun + n);
        let end = piece.iter().rposition(u8::is_ascii_whitespace).map_or(0, |at| at + 1);
        let end = if end == 0 && piece.len() == PIECE { PIECE } else { end };
        let mut rest = Vec::with_capacity(PIECE);
        rest.extend_from_slice(&piece[end..]);
        piece.truncate(end);
        if push(piece, pieces, bytes).is_err() {
            return Ok(()); // the counters have stopped
        }
        piece = rest;
    }
}

/// Waits while the channel is full: that is the back-pressure.
fn push(
    piece: Vec<u8>,
    pieces: &Sender<Vec<u8>>,
    bytes: &mut u64,
) -> Result<(), channel::PushError<Vec<u8>>> {
    let n = piece.len() as u64;
    if n > 0 {
        pieces.push_blocking(piece)?;
        *bytes += n;
    }
    Ok(())
}
