//! Measures millstream against hand-written io_uring loops and against other crates.
//!
//! `cargo run --release -p millstream-bench -- --help`; the method is in `docs/benchmarks.md`.
//!
//! Knows: the command line. Does not know: how anything is measured.
#![allow(clippy::print_stdout, reason = "a program of the command line")]

mod cases;
mod clock;
mod floor;
mod measure;
mod peers;
mod report;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use regex::Regex;

use measure::{Limit, Plan};
use report::Row;

/// Measures millstream against hand-written io_uring loops and against other crates.
#[derive(Debug, Parser)]
#[command(version, subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
struct Options {
    /// Runs only the cases whose name matches.
    #[arg(long, value_name = "REGEX", default_value = "")]
    filter: Regex,
    /// Short rounds, few of them: a first look, over within a minute.
    #[arg(long)]
    quick: bool,
    /// Writes every figure to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Puts the tables into this file, each between its comments (`bench:begin` and `bench:end`, and so on).
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Draws the channel cases into this directory, as SVG.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Prints the names of the cases, and who runs them.
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    inner: Option<Inner>,
}

/// What this binary runs itself as.
#[derive(Debug, Subcommand)]
enum Inner {
    /// One round of one contestant; answers on standard output.
    #[command(hide = true)]
    Round {
        case: String,
        who: String,
        #[arg(long)]
        quick: bool,
    },
    /// The server of an echo case; says its port on standard output.
    #[command(hide = true)]
    EchoServer(cases::echo::Server),
    /// The load of an echo case; says the nanoseconds it took on standard output.
    #[command(hide = true)]
    EchoLoad(cases::echo::Load),
}

/// How long `--quick` may take in all.
const QUICK: Duration = Duration::from_secs(55);
/// How much of that is not given out beforehand: a case that begins a round ends it, and the first one is everybody's right.
const SLACK: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match options.inner {
        Some(Inner::Round { case, who, quick }) => {
            measure::answer_round(&cases::all(), &case, &who, Plan { quick });
            Ok(())
        }
        Some(Inner::EchoServer(server)) => server.run(),
        Some(Inner::EchoLoad(load)) => load.run(),
        None => bench(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millstream-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> io::Result<()> {
    let cases: Vec<_> = cases::all().into_iter().filter(|case| options.filter.is_match(&case.name)).collect();
    if options.list {
        for case in &cases {
            println!("{}: {}", case.name, case.contestants().collect::<Vec<_>>().join(", "));
        }
        return Ok(());
    }
    println!("{}", report::machine());
    cases::prepare(&cases, options.quick)?;
    let plan = Plan { quick: options.quick };
    let end = Instant::now() + QUICK;
    let mut rows = Vec::new();
    let mut left = cases.len() as u32;
    for case in cases {
        // On a busy machine every case gets fewer rounds, rather than the last ones none.
        let now = Instant::now();
        let share = end.saturating_duration_since(now).saturating_sub(SLACK) / left;
        let limit = Limit { enough: now + share, end };
        let outcomes = measure::run(&case, plan, options.quick.then_some(limit));
        left -= 1;
        let row = Row { case: case.name, clock: case.clock, targets: case.targets, outcomes };
        println!("{}", report::summary(&row));
        rows.push(row);
    }
    print!("{}", report::text(&rows));
    if let Some(path) = &options.json {
        report::write_json(path, &rows)?;
    }
    let pictures = match &options.plots {
        Some(directory) => report::draw(directory, &rows)?,
        None => Vec::new(),
    };
    if let Some(path) = &options.markdown {
        report::write_markdown(path, &rows, &pictures)?;
    }
    Ok(())
}
