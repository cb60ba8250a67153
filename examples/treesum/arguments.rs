//! The command line.
//!
//! Knows: `clap`. Does not know: what is done with the answers.

use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

use clap::Parser;

/// Print the SHA-256 of every file below the given paths, as sha256sum does, sorted by path.
///
/// Symbolic links are not followed and only regular files are read, as with `find -type f`. The output is what
/// `find PATH… -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum` prints. The exit status is 1 when something could
/// not be read or written, and 130 after Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "treesum")]
pub(crate) struct Arguments {
    /// Threads that hash, at most 1024
    #[arg(short, long, value_name = "N", default_value_t = processors(), value_parser = jobs)]
    pub(crate) jobs: NonZero<usize>,

    /// Reads in flight per file
    #[arg(short, long, value_name = "N", default_value = "4")]
    pub(crate) depth: NonZero<usize>,

    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

/// More threads than this would only wait for each other, and some systems would refuse them.
fn jobs(text: &str) -> Result<NonZero<usize>, String> {
    match text.parse::<NonZero<usize>>() {
        Ok(jobs) if jobs.get() <= 1024 => Ok(jobs),
        Ok(_) => Err("more than 1024 threads".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn processors() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;

    fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["treesum"].iter().chain(arguments))
    }

    #[test]
    fn the_command_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn more_threads_than_make_sense_are_refused() {
        assert!(parse(&["-j", "1024", "a"]).is_ok());
        let error = parse(&["-j", "100000", "a"]).unwrap_err();
        assert!(error.to_string().contains("more than 1024 threads"), "{error}");
    }

    #[test]
    fn options_and_paths() -> Result<(), clap::Error> {
        let arguments = parse(&["--jobs", "3", "a", "--depth=9", "b"])?;
        assert_eq!((arguments.jobs.get(), arguments.depth.get()), (3, 9));
        assert_eq!(arguments.paths, ["a", "b"].map(PathBuf::from));
        Ok(())
    }

    #[test]
    fn a_path_may_look_like_an_option_after_the_dashes() -> Result<(), clap::Error> {
        assert_eq!(parse(&["--", "--jobs"])?.paths, [PathBuf::from("--jobs")]);
        Ok(())
    }

    #[test]
    fn a_path_need_not_be_text() -> Result<(), clap::Error> {
        let name = OsStr::from_bytes(b"\xff");
        let arguments = Arguments::try_parse_from([OsStr::new("treesum"), name].map(OsString::from))?;
        assert_eq!(arguments.paths, [PathBuf::from(name)]);
        Ok(())
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [&["--jobs", "0", "a"][..], &["--depth", "x", "a"], &[], &["--nonsense", "a"]] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }
}
