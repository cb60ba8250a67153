//! SHA-256 of every file below the given paths, printed as `sha256sum` prints it, sorted by path.
//!
//! ```text
//! cargo run --release --example treesum -- /usr/share
//! ```
//!
//! Four stations, joined by bounded channels. They share nothing else.
//!
//! ```text
//!             paths               contents                  results
//!   walker ──────────▶ readers ──────────────▶ hashers ─────────────▶ printer ──▶ standard output
//!   a thread ▲         tasks       ▲           a runtime     │        a task │
//!            │         on the ring │           per thread    │               │
//!            │                     └──────── buffers ◀───────┘               │
//!            └──────────────────────────── permits ◀─────────────────────────┘
//! ```
//!
//! Every file has a number, and the printer puts the results back into the order of the numbers; a walker or reader that
//! fails has a result at once. Two channels go the other way and bound the memory: a *permit* lets the walker number a
//! few more files, and comes back when as many have been printed; a *buffer* lets a reader read, and comes back when its
//! bytes have been hashed. Ctrl-C is a channel too: the work races against its closing, and what is in flight when that
//! wins is cancelled.

mod arguments;
mod hasher;
mod names;
mod printer;
mod reader;
mod sequence;
mod stdout;
mod walk;

use std::error::Error;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use clap::Parser;
use millstream::channel::{self, Receiver, Sender};
use millstream::combinators::{OneOf2, adapters};
use millstream::ops::{self, Fd};
use millstream::{Runtime, race, spawn};
use signal_hook::consts::SIGINT;

use crate::arguments::Arguments;
use crate::hasher::hash_files;
use crate::printer::{Printer, Progress};
use crate::reader::Reader;
use crate::walk::Walk;

/// Files that may be on their way at once. A multiple of `BATCH`.
const WINDOW: usize = 4096;
/// Files that one permit admits: few enough to be a small part of the window, enough that the walker, when it sleeps,
/// is not woken for each.
const BATCH: usize = 64;
/// Files that are open at once.
const READERS: usize = 32;
/// Buffers in use, and the bytes one holds.
const BUFFERS: usize = 64;
const PIECE: usize = 128 * 1024;

/// A file on its way through the stations.
struct File {
    number: u64,
    path: PathBuf,
}

/// What became of a file.
struct Outcome {
    file: File,
    digest: io::Result<Digest>,
}

type Digest = [u8; 32];

fn main() -> ExitCode {
    run(Arguments::parse()).unwrap_or_else(|error| {
        complain(format_args!("{error}"));
        ExitCode::FAILURE
    })
}

fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    let runtime = Runtime::new()?;
    let interrupts = interrupts().map_err(|error| format!("cannot wait for Ctrl-C: {error}"))?;

    let (path_tx, paths) = channel::bounded(WINDOW);
    let (permit_tx, permits) = channel::bounded(WINDOW / BATCH);
    let (content_tx, contents) = channel::bounded(READERS);
    let (buffer_tx, buffers) = channel::bounded(BUFFERS);
    let (result_tx, results) = channel::bounded(WINDOW);
    for _ in 0..WINDOW / BATCH {
        permit_tx.try_push(())?;
    }
    for _ in 0..BUFFERS {
        buffer_tx.try_push(Vec::with_capacity(PIECE))?;
    }

    let progress = Progress::new();
    if progress.is_shown() {
        // The walker is only a window ahead of the printer. Somebody else has to count how far it is.
        let (roots, progress) = (arguments.paths.clone(), progress.clone());
        thread::spawn(move || Walk::new(roots).take_while(|_| progress.expect_one()).for_each(drop));
    }
    let walker = {
        let results = result_tx.clone();
        thread::spawn(move || walk_trees(arguments.paths, permits, path_tx, results))
    };
    let hashers = (0..arguments.jobs.get()).map(|_| {
        let (contents, results, buffers) = (contents.clone(), result_tx.clone(), buffer_tx.clone());
        thread::spawn(move || {
            let runtime = Runtime::builder().sq_entries(8).cq_entries(16).build()?; // it waits on channels only
            runtime.sync_wait(hash_files(contents, results, buffers));
            Ok::<_, millstream::runtime::BuildError>(())
        })
    });
    let hashers: Vec<_> = hashers.collect();
    drop(contents); // the hashers have the only ends now: should none of them start, the readers notice

    let reader = Reader {
        paths,
        contents: content_tx,
        results: result_tx,
        buffers,
        used: buffer_tx,
        depth: arguments.depth.get().min(BUFFERS),
    };
    let work = Printer::new(permit_tx, progress)?.run(results);
    let status = runtime.block_on(async move {
        for _ in 0..READERS {
            spawn(reader.clone().run()).detach();
        }
        drop(reader);
        let (stop, stopped) = channel::bounded::<()>(1);
        spawn(close_on_interrupt(interrupts, stop)).detach();
        match race!(adapters::future(work) || stopped.pop()).await {
            OneOf2::A(Ok(status)) => status,
            _ => ExitCode::from(130),
        }
    });
    drop(runtime); // and with it the readers: the channels close, the threads end
    walker.join().expect("the walker does not panic");
    for hasher in hashers {
        hasher.join().expect("a hasher does not panic")?;
    }
    Ok(status)
}

/// The walker: numbers every file below the roots, as fast as permits come back.
fn walk_trees(roots: Vec<PathBuf>, permits: Receiver<()>, paths: Sender<File>, results: Sender<Outcome>) {
    for (number, found) in (0..).zip(Walk::new(roots)) {
        if number % BATCH as u64 == 0 && permits.pop_blocking().is_err() {
            return; // the printer is gone
        }
        let gone = match found {
            Ok(path) => paths.push_blocking(File { number, path }).is_err(),
            Err((path, error)) => {
                results.push_blocking(Outcome { file: File { number, path }, digest: Err(error) }).is_err()
            }
        };
        if gone {
            return;
        }
    }
}

/// A socket that a byte arrives on when Ctrl-C is pressed. Pressed again after that, it ends the program at once.
fn interrupts() -> io::Result<UnixStream> {
    let (interrupts, sender) = UnixStream::pair()?;
    let pressed = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&pressed))?;
    signal_hook::flag::register(SIGINT, pressed)?;
    signal_hook::low_level::pipe::register(SIGINT, sender)?;
    Ok(interrupts)
}

async fn close_on_interrupt(interrupts: UnixStream, stop: Sender<()>) {
    let _ = ops::recv(Fd::from(interrupts), [0; 1]).await;
    stop.close();
}

/// Writes a message as the GNU tools do. There is nobody left to tell when that fails.
fn complain(message: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "treesum: {message}");
}
