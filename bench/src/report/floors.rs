//! What is held against a hand-written loop: a line for the floor and each contestant.
//!
//! Knows: rows, tables. Does not know: channels.

use super::table::Table;
use super::{Row, digits, ratios};
use crate::measure::{Kind, Outcome};

pub(super) fn table(rows: &[&Row]) -> Table {
    let mut table = Table::new(["case", "clock", "who", "median ns>", "ratio>", "of best>", "target>", ""]);
    for row in rows {
        for outcome in &row.outcomes {
            table.push(line(row, outcome));
        }
    }
    table
}

fn line(row: &Row, outcome: &Outcome) -> Vec<String> {
    let floor = row.best(&[Kind::Floor]).filter(|_| outcome.kind != Kind::Floor);
    let ratios = floor.and_then(|floor| ratios(outcome, floor));
    let ratio = |pick: fn((f64, f64)) -> f64| ratios.map_or(String::new(), |r| format!("{:.2}", pick(r)));
    let verdict = row.verdicts().find(|verdict| verdict.ours.who == outcome.who);
    let says = match (&verdict, &outcome.trouble) {
        (Some(verdict), _) => verdict.says(),
        (None, Some(trouble)) => trouble.to_string(),
        (None, None) => String::new(),
    };
    vec![
        row.case.clone(),
        row.clock().to_owned(),
        outcome.who.clone(),
        outcome.median().map_or("-".to_owned(), digits),
        ratio(|r| r.0),
        ratio(|r| r.1),
        verdict.map_or(String::new(), |verdict| verdict.target()),
        says,
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;
    use crate::measure::Target;

    #[test]
    fn a_line_shows_ratio_target_and_mark() {
        let row = row(Target::Ratio(1.06), &[99.0, 120.0, 130.0]);
        let text = table(&[&row]).text();
        let cells = |line| text.lines().nth(line).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let ours = ["op/nop/1", "CPU", "millstream", "120.0", "1.20", "1.10", "1.06", "MISSED"];
        assert_eq!(cells(1), Some(vec!["op/nop/1", "CPU", "floor", "100.0"]));
        assert_eq!(cells(2), Some(ours.to_vec()));
    }
}
