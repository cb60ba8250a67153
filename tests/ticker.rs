//! The example `ticker` tells of every period, to whoever keeps up and to whoever does not.

#[path = "support/example.rs"]
mod example;

use std::io;
use std::process::{Command, Stdio};

#[test]
fn every_period_is_told_once() -> io::Result<()> {
    let output = Command::new(example::path("ticker")).args(["20", "4"]).output()?;
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("ASCII");
    let lines: Vec<_> = said.lines().collect();
    let (last, ticks) = lines.split_last().expect("it says something");
    let ticks: Vec<u64> = ticks
        .iter()
        .map(|line| line.strip_prefix("tick ").expect("a tick").parse().expect("a number"))
        .collect();
    assert!(ticks.is_sorted_by(|before, after| before < after), "{ticks:?}");
    assert_eq!(ticks.last(), Some(&20), "{ticks:?}");
    let numbers: Vec<u64> = last.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [periods, seen, turns] = numbers[..] else { panic!("{last}") };
    assert_eq!((periods, seen), (20, 20), "{last}");
    assert!(turns < 20, "a turn takes three periods, so several come at once: {last}");
    Ok(())
}

#[test]
fn what_is_wrong_is_named() -> io::Result<()> {
    for (arguments, named) in [(&["x"][..], "reports: x: "), (&["5", "-1"], "milliseconds: -1: ")] {
        let output = Command::new(example::path("ticker")).args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(named), "{said}");
    }
    let (reader, writer) = io::pipe()?;
    drop(reader);
    let output = Command::new(example::path("ticker")).stdout(writer).stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("Broken pipe"), "{said}");
    Ok(())
}
