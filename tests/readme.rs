//! The README's program is the example `hello`, and prints what the README says.

#[path = "support/example.rs"]
mod example;

use std::io;
use std::process::Command;

const README: &str = include_str!("../README.md");
const HELLO: &str = include_str!("../examples/hello.rs");

/// What stands in the first block of the README that opens with this fence.
fn block(fence: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("\n```{fence}\n")).expect("the README has such a block");
    rest.split_once("\n```").expect("the block ends").0
}

#[test]
fn the_program_is_the_example() {
    let (_, program) = HELLO.split_once("\n\nuse ").expect("the example has imports");
    assert_eq!(block("rust").trim_end(), format!("use {program}").trim_end());
}

#[test]
fn the_output_is_what_it_prints() -> io::Result<()> {
    let output = Command::new(example::path("hello")).current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), block("text").trim_end());
    Ok(())
}

#[test]
fn every_example_is_in_the_index() -> io::Result<()> {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"))? {
        let name = entry?.file_name().into_string().expect("UTF-8");
        let name = name.trim_end_matches(".rs");
        assert!(README.contains(&format!("| [`{name}`](examples/")), "{name} is not in the README's index");
    }
    Ok(())
}
