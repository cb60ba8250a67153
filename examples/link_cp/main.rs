//! Copies a file as `cp` does, with chains of a read and a write that share one buffer.
//!
//! ```text
//! cargo run --release --example link_cp -- SOURCE DEST
//! ```
//!
//! `read >> write` enters the kernel in one submission, and the kernel starts the write when the read has succeeded,
//! without coming back to the program in between. Both work on the bytes of one `Relay`, so nothing is copied on the way.
//! Several such chains are in flight at once, each with a block of its own. What breaks a chain, and what is done then,
//! is in `copy.rs`.
//!
//! Holes of the source are holes in the copy, as far as the file system tells (`SEEK_DATA`); zeros that are written out
//! stay written out, which is what `cp --sparse=auto` does. Ctrl-C is a channel: the work races against its closing. What
//! is in flight when that wins is cancelled, and waited for when the runtime is dropped; then the unfinished copy is
//! removed, if there was none before. Only the making of the file is in no race: whoever drops that does not know whether
//! there is a file.

mod arguments;
mod copy;
mod ends;
mod extents;

use std::cell::RefCell;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use millstream::channel::{self, Receiver, Sender};
use millstream::combinators::{OneOf2, adapters};
use millstream::ops::{self, Fd};
use millstream::{Runtime, race, spawn};
use signal_hook::consts::SIGINT;

use crate::arguments::Arguments;
use crate::copy::{Failure, Job};
use crate::ends::{Refusal, quoted, reason};

fn main() -> ExitCode {
    run(Arguments::parse()).unwrap_or_else(|error| {
        complain(format_args!("{error}"));
        ExitCode::FAILURE
    })
}

/// The copy as it is being made: its path, and whether it was made here.
type Unfinished = Rc<RefCell<Option<(PathBuf, bool)>>>;

/// Why there is no copy.
enum Ended {
    Refused(Refusal),
    Interrupted,
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let runtime = Runtime::new()?;
    let interrupts = interrupts().map_err(|error| format!("cannot wait for Ctrl-C: {}", reason(&error)))?;
    let unfinished = Unfinished::default();
    let outcome = runtime.block_on(async {
        let (stop, stopped) = channel::bounded::<()>(1);
        spawn(close_on_interrupt(interrupts, stop)).detach();
        copy_file(arguments, &unfinished, stopped).await
    });
    drop(runtime); // waits for what was in flight: nothing writes to the copy any more
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Ended::Refused(refusal)) => Err(refusal.into()),
        Err(Ended::Interrupted) => {
            clean_up(unfinished.take());
            Ok(ExitCode::from(130))
        }
    }
}

/// What comes of the work, unless Ctrl-C comes first: then it is dropped.
async fn unless<F: Future>(stopped: &Receiver<()>, work: F) -> Result<F::Output, Ended> {
    match race!(adapters::future(work) || stopped.pop()).await {
        OneOf2::A(Ok(outcome)) => Ok(outcome),
        _ => Err(Ended::Interrupted),
    }
}

async fn copy_file(
    arguments: Arguments,
    unfinished: &Unfinished,
    stopped: Receiver<()>,
) -> Result<(), Ended> {
    let Arguments { depth, block, source, dest } = arguments;
    let plan = unless(&stopped, ends::look(&source, &dest)).await??;
    let note = |made| *unfinished.borrow_mut() = Some((plan.dest.clone(), made));
    let to = if plan.exists {
        note(false);
        unless(&stopped, plan.overwrite()).await??
    } else {
        let to = plan.make().await?;
        note(true);
        to
    };
    let ends = plan.ends(&source, to).await?;
    let dest = ends.dest;
    let bar = progress_bar(ends.size);
    let to = ends.to.0.clone();
    let copied = copy::copy(Job {
        from: ends.from,
        to: ends.to,
        size: ends.size,
        sparse: ends.regular,
        block: block.get(),
        depth: depth.get(),
        progress: {
            let bar = bar.clone();
            move |bytes| bar.inc(bytes)
        },
    });
    let copied = unless(&stopped, copied).await?;
    bar.finish_and_clear();
    let finished = match copied {
        Ok(length) if ends.regular => end_at(&to, length).map_err(Failure::Write),
        copied => copied.map(drop),
    };
    // What a disk says late, it says here.
    let closed = ops::close(to).await.map_err(Failure::Write);
    finished.and(closed).map_err(|failure| {
        Ended::Refused(match failure {
            Failure::Read(error) => {
                Refusal::new(format_args!("error reading {}: {}", quoted(&source), reason(&error)))
            }
            Failure::Write(error) => {
                Refusal::new(format_args!("error writing {}: {}", quoted(&dest), reason(&error)))
            }
        })
    })
}

/// Makes the copy as long as the source, which may end in a hole.
fn end_at(to: &Fd, length: u64) -> io::Result<()> {
    let file = File::from(to.as_fd().try_clone_to_owned()?);
    if file.metadata()?.len() < length {
        file.set_len(length)?;
    }
    Ok(())
}

/// After Ctrl-C: a part of a copy is worse than none, but what was there before is not ours to remove.
fn clean_up(unfinished: Option<(PathBuf, bool)>) {
    match unfinished {
        Some((path, true)) => {
            if let Err(error) = fs::remove_file(&path) {
                complain(format_args!("cannot remove {}: {}", quoted(&path), reason(&error)));
            }
        }
        Some((path, false)) => complain(format_args!("interrupted: {} is not complete", quoted(&path))),
        None => {}
    }
}

/// The bar on standard error, if that is a terminal.
fn progress_bar(size: u64) -> ProgressBar {
    let bar = if size > 0 { ProgressBar::new(size) } else { ProgressBar::new_spinner() };
    let template = match size {
        0 => "{bytes}, {bytes_per_sec}, {elapsed}",
        _ => "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta}",
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is well formed"))
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
    let _ = writeln!(io::stderr(), "link_cp: {message}");
}
