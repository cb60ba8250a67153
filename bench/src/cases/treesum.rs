//! `treesum`: SHA-256 of every file of a tree, against `xargs -P2 sha256sum`. A whole process, by the clock on the wall.
//!
//! Knows: the tree, the example `treesum`. Does not know: how rounds are compared.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Shuffle, cache_directory};
use crate::clock::{self, Sample, Stopwatch};
use crate::measure::{Case, Clock, FLOOR, OURS, Plan, Target};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("treesum", Clock::Wall, Target::Ratio(1.0))
            .with(FLOOR, |plan| {
                time(plan, |tree| {
                    let mut shell = Command::new("sh");
                    shell
                        .args(["-c", "find \"$0\" -type f -print0 | xargs -0 -n 64 -P 2 sha256sum"])
                        .arg(tree);
                    Ok(shell)
                })
            })
            .with(OURS, |plan| {
                time(plan, |tree| {
                    let mut treesum = Command::new(example()?);
                    treesum.args(["--jobs", "2"]).arg(tree);
                    Ok(treesum)
                })
            }),
    ]
}

/// The example of that name, which `prepare` has built beside this binary.
fn example() -> io::Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name("examples").join("treesum");
    if binary.exists() {
        return Ok(binary);
    }
    let hint = "it is not built: cargo build --release --example treesum";
    Err(io::Error::new(io::ErrorKind::Unsupported, hint))
}

/// Has cargo build the example, when it was cargo that started us.
fn build_example() -> io::Result<()> {
    let Some(cargo) = std::env::var_os("CARGO") else { return Ok(()) };
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--release", "--example", "treesum", "--manifest-path", manifest]);
    if !build.status()?.success() {
        eprintln!(
            "the example treesum was not built; its case will be skipped, or run what an earlier build left"
        );
    }
    Ok(())
}

/// Runs one whole process over the tree, warm, and checks that it summed every file.
fn time(plan: &Plan, command: impl Fn(&Path) -> io::Result<Command>) -> io::Result<Sample> {
    let (tree, files) = tree(plan.quick)?;
    warm(&tree)?;
    let mut command = command(&tree)?;
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let watch = Stopwatch::start();
    let output = clock::spawn_dependent(&mut command)?.wait_with_output()?;
    let sample = watch.stop(1);
    let lines = output.stdout.iter().filter(|&&byte| byte == b'\n').count();
    if !output.status.success() || lines != files {
        return Err(io::Error::other(format!("{}, {lines} sums of {files} files", output.status)));
    }
    Ok(sample)
}

fn tree(quick: bool) -> io::Result<(PathBuf, usize)> {
    let files = if quick { 400 } else { 4000 };
    Ok((cache_directory()?.join(format!("tree-{files}")), files))
}

/// Reads every file once, so that none of the contestants waits for the device.
fn warm(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            warm(&entry.path())?;
        } else {
            fs::read(entry.path())?;
        }
    }
    Ok(())
}

/// Builds the program and generates the tree: directories of 50 files, from empty to 256 KiB, most of them small.
pub(super) fn prepare(quick: bool) -> io::Result<()> {
    build_example()?;
    let (tree, files) = tree(quick)?;
    if tree.exists() {
        return Ok(());
    }
    let unfinished = tree.with_extension("unfinished");
    fs::create_dir_all(&unfinished)?;
    let mut shuffle = Shuffle(3);
    for file in 0..files {
        let directory = unfinished.join(format!("{:03}", file / 50));
        fs::create_dir_all(&directory)?;
        let magnitude = 6 + shuffle.below(13);
        let size = shuffle.below(1 << magnitude);
        let content: Vec<u8> = (0..size.div_ceil(8)).flat_map(|_| shuffle.next().to_ne_bytes()).collect();
        fs::File::create(directory.join(format!("{file:05}")))?.write_all(&content[..size as usize])?;
    }
    fs::rename(unfinished, tree)
}
