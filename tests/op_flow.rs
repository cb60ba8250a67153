//! Holds the eight waypoints of an op: a reader who greps `op-flow` gets its whole life, in order, from the source.
//!
//! Knows: the names of the stops, as `ARCHITECTURE.md` draws them. Does not know: the code at a stop.

mod support;

use support::sources::{assert_none, rust_files};

/// What each stop is called, from 1.
const STOPS: [&str; 8] = [
    "built",
    "wrapped by a combinator",
    "started",
    "node and SQE",
    "entered",
    "CQE dispatched",
    "node result and wake",
    "value, or channel",
];

#[test]
fn every_stop_of_an_op_is_marked_once() {
    let sources = rust_files(&["src"]);
    let mut findings = Vec::new();
    for (index, stop) in STOPS.iter().enumerate() {
        let mark = format!("// op-flow {}/8: ", index + 1);
        let found: Vec<_> = sources
            .iter()
            .flat_map(|source| source.text.lines().enumerate().map(move |line| (source, line)))
            .filter(|(_, (_, line))| line.contains(&mark))
            .map(|(source, (number, _))| format!("{}:{}", source.path, number + 1))
            .collect();
        if found.len() != 1 {
            findings.push(format!(
                "`{}` ({stop}) stands {} times, not once: {found:?}",
                mark.trim(),
                found.len()
            ));
        }
    }
    assert_none(&findings, "the way of an op through the source");
}

#[test]
fn the_architecture_page_draws_the_same_stops() {
    let page =
        std::fs::read_to_string(support::sources::root().join("ARCHITECTURE.md")).expect("the page is there");
    let missing: Vec<_> = STOPS
        .iter()
        .enumerate()
        .filter(|(index, stop)| !page.contains(&format!("{}  {stop}", index + 1)))
        .map(|(index, stop)| format!("{}  {stop}", index + 1))
        .collect();
    assert_none(&missing, "stops the drawing in ARCHITECTURE.md lacks");
}
