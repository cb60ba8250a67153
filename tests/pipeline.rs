//! The example `pipeline` prints the golden trace.

#[path = "support/example.rs"]
mod example;

use std::io;
use std::process::Command;

#[test]
fn the_trace_is_the_golden_one() -> io::Result<()> {
    let output = Command::new(example::path("pipeline")).output()?;
    assert!(output.status.success(), "{output:?}");
    let trace: Vec<_> = std::str::from_utf8(&output.stdout).expect("ASCII").split_whitespace().collect();
    assert_eq!(trace.join(" "), "P0 P1 P2 C0 C1 C2 P3 P4 P5 P6 C3 C4 C5 C6 P7 P8 P9 C7 C8 C9");
    Ok(())
}
