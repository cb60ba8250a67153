//! The printer: results back in order, lines on standard output, messages and the progress bar on standard error.
//!
//! Knows: the ring, `indicatif`, what a line looks like. Does not know: how a result came about.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use millstream::channel::{Receiver, Sender};
use millstream::ops::{self, Fd};

use crate::names::{push_line, quoted};
use crate::sequence::Sequence;
use crate::stdout::was_closed;
use crate::{BATCH, Outcome, complain};

/// What one write takes. A pipe takes that much whole or not at all, so Ctrl-C never leaves half a line in it.
const ATOMIC: usize = libc::PIPE_BUF;

pub(crate) struct Printer {
    out: Fd,
    /// Whether somebody watches, who wants to see a line when it is there.
    watched: bool,
    /// Lines not yet written.
    lines: Vec<u8>,
    permits: Sender<()>,
    progress: Progress,
}

impl Printer {
    pub(crate) fn new(permits: Sender<()>, progress: Progress) -> io::Result<Self> {
        let stdout = io::stdout();
        Ok(Self {
            out: stdout.as_fd().try_clone_to_owned()?.into(),
            watched: stdout.is_terminal(),
            lines: Vec::new(),
            permits,
            progress,
        })
    }

    /// Prints until there are no more results, or nobody takes them. Gives the status that the program ends with.
    pub(crate) async fn run(mut self, results: Receiver<Outcome>) -> ExitCode {
        let ended = self.print(results).await;
        self.progress.finish();
        ended.unwrap_or_else(|error| {
            complain(format_args!("write error: {}", reason(&error)));
            ExitCode::FAILURE
        })
    }

    async fn print(&mut self, results: Receiver<Outcome>) -> io::Result<ExitCode> {
        let mut status = ExitCode::SUCCESS;
        let mut sequence = Sequence::new();
        let mut printed = 0;
        while let Ok(outcome) = results.pop().await {
            sequence.insert(outcome.file.number, outcome);
            while let Some(Outcome { file, digest }) = sequence.next() {
                let path = file.path.as_os_str().as_bytes();
                match digest {
                    Ok(digest) => self.line(&digest, path).await?,
                    Err(error) => {
                        status = ExitCode::FAILURE;
                        self.progress
                            .hide_for(|| complain(format_args!("{}: {}", quoted(path), reason(&error))));
                    }
                }
                self.progress.printed();
                printed += 1;
                if printed % BATCH == 0 {
                    let _ = self.permits.try_push(()); // there is room for every permit there is
                }
            }
            if self.watched && results.is_empty() {
                self.flush().await?;
            }
        }
        self.flush().await?;
        Ok(status)
    }

    /// Adds a line, after writing those before it if they would not fit into one write together.
    async fn line(&mut self, digest: &[u8], path: &[u8]) -> io::Result<()> {
        let before = self.lines.len();
        push_line(&mut self.lines, digest, path);
        if self.lines.len() > ATOMIC {
            let line = self.lines.split_off(before);
            self.flush().await?;
            self.lines.extend(line);
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        if was_closed() {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        let (outcome, mut lines) = ops::write_all(&self.out, std::mem::take(&mut self.lines)).await;
        lines.clear();
        self.lines = lines;
        outcome.map(drop)
    }
}

/// What the C library calls the error, without the number that Rust adds.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(code) => text.replace(&format!(" (os error {code})"), ""),
        None => text,
    }
}

/// The bar on standard error, if that is a terminal. A terminal that shows the lines needs no bar among them.
#[derive(Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new() -> Self {
        let target = match io::stdout().is_terminal() {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} files, {elapsed}")
            .expect("the template is well formed");
        Self(ProgressBar::with_draw_target(Some(0), target).with_style(style))
    }

    /// Whether anybody sees it.
    pub(crate) fn is_shown(&self) -> bool {
        !self.0.is_hidden()
    }

    /// One more file will be printed. `false` when the bar is not needed any more.
    pub(crate) fn expect_one(&self) -> bool {
        self.0.inc_length(1);
        !self.0.is_finished()
    }

    fn printed(&self) {
        self.0.inc(1);
    }

    fn hide_for(&self, message: impl FnOnce()) {
        self.0.suspend(message);
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}
