//! The example `cancel_slots` cancels whom it says, and no one else.

#[path = "support/example.rs"]
mod example;

use std::io;
use std::process::Command;

const TRACE: &str = "\
closed
  task 0: cancelled
  task 1: cancelled
  task 2: cancelled
closed before they began
  task 0: cancelled
  task 1: cancelled
  task 2: cancelled
one value
  task 0: cancelled: too slow
two values
  task 0: cancelled: too large
  task 1: cancelled: too late
dropped with what they worked for
  task 0: cancelled
  task 1: cancelled
  task 2: cancelled
";

#[test]
fn each_way_reaches_whom_it_should() -> io::Result<()> {
    let output = Command::new(example::path("cancel_slots")).output()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), TRACE);
    Ok(())
}
