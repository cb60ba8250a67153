//! What is held against channels of other crates: the verdicts, and every figure side by side.
//!
//! Knows: rows, tables. Does not know: floors.

use super::table::Table;
use super::{Row, digits};
use crate::measure::{Kind, Outcome, Trouble};

/// Where they come from.
pub(super) const CRATES: &[&str] =
    &["async-channel", "async-unsync", "crossbeam-channel", "crossfire", "flume", "kanal", "tokio", "unsync"];

/// A line for each target.
pub(super) fn verdicts(rows: &[&Row]) -> Table {
    let mut table = Table::new([
        "case",
        "who",
        "median ns>",
        "best of the others",
        "its median>",
        "ratio>",
        "of best>",
        "target>",
        "",
    ]);
    for row in rows {
        for verdict in row.verdicts() {
            let median = |outcome: &Outcome| outcome.median().map_or("-".to_owned(), digits);
            let ratio = |pick: fn((f64, f64)) -> f64| {
                verdict.ratios().map_or(String::new(), |ratios| format!("{:.2}", pick(ratios)))
            };
            table.push(vec![
                row.case.clone(),
                verdict.ours.who.clone(),
                median(verdict.ours),
                verdict.rival.map_or(String::new(), |rival| rival.who.clone()),
                verdict.rival.map_or(String::new(), median),
                ratio(|r| r.0),
                ratio(|r| r.1),
                verdict.target(),
                verdict.says(),
            ]);
        }
    }
    table
}

/// A line for each case, a column for each channel.
pub(super) fn figures(rows: &[&Row]) -> Table {
    let mut columns: Vec<&str> = Vec::new();
    for name in rows.iter().flat_map(|row| &row.outcomes).map(name) {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    let headings: Vec<String> = columns.iter().map(|name| format!("{name}>")).collect();
    let mut table = Table::new(["case"].into_iter().chain(headings.iter().map(|heading| &**heading)));
    for row in rows {
        let cell = |name: &&str| contender(row, name).map_or(String::new(), figure);
        table.push([row.case.clone()].into_iter().chain(columns.iter().map(cell)).collect());
    }
    table
}

/// A channel's name without the executor's.
pub(super) fn name(outcome: &Outcome) -> &str {
    outcome.who.split('@').next().unwrap_or_default()
}

/// How a channel did on the executor it is faster on.
pub(super) fn contender<'a>(row: &'a Row, channel: &str) -> Option<&'a Outcome> {
    let figure = |outcome: &&Outcome| outcome.median().unwrap_or(f64::INFINITY);
    let runs = row.outcomes.iter().filter(|outcome| name(outcome) == channel);
    runs.min_by(|a, b| figure(a).total_cmp(&figure(b)))
}

fn figure(outcome: &Outcome) -> String {
    match (outcome.median(), &outcome.trouble) {
        (Some(median), None) if outcome.kind == Kind::Ours => format!("**{}**", digits(median)),
        (Some(median), None) => digits(median),
        (_, Some(Trouble::Stalled(_))) => "stalls".to_owned(),
        (_, Some(Trouble::Failed(_))) => "fails".to_owned(),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{outcome, row};
    use super::*;
    use crate::measure::{OURS, Target};

    fn channels() -> Row {
        let mut row = row(Target::Best(0.5, &[Kind::Many, Kind::Pair]), &[30.0]);
        row.case = "channel/same/1x/1".to_owned();
        row.outcomes.remove(0);
        row.outcomes.push(outcome("slow@tokio", Kind::Many, &[150.0]));
        row
    }

    #[test]
    fn a_verdict_names_the_best_of_the_others() {
        let text = verdicts(&[&channels()]).text();
        let cells: Vec<_> = text.lines().nth(1).into_iter().flat_map(str::split_whitespace).collect();
        assert_eq!(
            cells,
            ["channel/same/1x/1", OURS, "30.0", "fast", "50.0", "0.60", "0.75", "0.50", "MISSED"]
        );
    }

    #[test]
    fn the_better_executor_counts() {
        let text = figures(&[&channels()]).text();
        let cells: Vec<_> = text.lines().nth(1).into_iter().flat_map(str::split_whitespace).collect();
        assert_eq!(cells, ["channel/same/1x/1", "**30.0**", "150.0", "-", "50.0"]);
    }
}
