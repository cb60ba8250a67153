//! The command line.
//!
//! Knows: `clap`. Does not know: what is done with the answers.

use std::num::NonZero;
use std::path::PathBuf;

use clap::Parser;

/// The most chains in flight: each has a block of memory, and two entries of the submission queue's 256.
const MOST_DEPTH: usize = 128;
/// The largest block.
const MOST_BLOCK: usize = 64 << 20;

/// Copy a file with chains of a read and a write that share one buffer.
///
/// As `cp SOURCE DEST` does: a new file gets the mode of the source, less the umask; an existing one is overwritten and
/// keeps its own; into a directory it goes under its own name. Holes stay holes. The exit status is 1 when something could not be read
/// or written, and 130 after Ctrl-C; a file that was made until then is removed again.
#[derive(Debug, Parser)]
#[command(name = "link_cp")]
pub(crate) struct Arguments {
    /// Chains in flight, at most 128
    #[arg(short, long, value_name = "N", default_value = "8", value_parser = depth)]
    pub(crate) depth: NonZero<usize>,

    /// Bytes that one chain moves, at most 64M; K and M stand for 1024 and 1024²
    #[arg(short, long, value_name = "SIZE", default_value = "256K", value_parser = block)]
    pub(crate) block: NonZero<usize>,

    /// What to copy
    #[arg(value_name = "SOURCE")]
    pub(crate) source: PathBuf,

    /// Where to: a file, or a directory
    #[arg(value_name = "DEST")]
    pub(crate) dest: PathBuf,
}

fn depth(text: &str) -> Result<NonZero<usize>, String> {
    match text.parse::<NonZero<usize>>() {
        Ok(depth) if depth.get() <= MOST_DEPTH => Ok(depth),
        Ok(_) => Err(format!("more than {MOST_DEPTH} chains")),
        Err(error) => Err(error.to_string()),
    }
}

fn block(text: &str) -> Result<NonZero<usize>, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let number = digits.parse::<NonZero<usize>>().map_err(|error| error.to_string())?;
    let unit = NonZero::new(unit).unwrap_or(NonZero::<usize>::MIN);
    match number.checked_mul(unit) {
        Some(block) if block.get() <= MOST_BLOCK => Ok(block),
        _ => Err("more than 64M".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["link_cp"].iter().chain(arguments))
    }

    #[test]
    fn the_command_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() -> Result<(), clap::Error> {
        for (text, bytes) in
            [("1", 1), ("512", 512), ("4k", 4096), ("4K", 4096), ("3M", 3 << 20), ("64M", 64 << 20)]
        {
            assert_eq!(parse(&["--block", text, "a", "b"])?.block.get(), bytes, "{text}");
        }
        Ok(())
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            &["a"][..],
            &["a", "b", "c"],
            &["--depth", "0", "a", "b"],
            &["--depth", "129", "a", "b"],
            &["--block", "0", "a", "b"],
            &["--block", "K", "a", "b"],
            &["--block", "", "a", "b"],
            &["--block", "65M", "a", "b"],
            &["--block", "18446744073709551615M", "a", "b"],
            &["--block", "-1", "a", "b"],
        ] {
            let error = parse(arguments).expect_err("nonsense");
            assert_ne!(error.kind(), ErrorKind::DisplayHelp, "{arguments:?}");
        }
    }
}
