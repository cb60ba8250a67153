//! What is held against a hand-written loop: a line for the floor and each contestant.
//!
//! Knows: rows, tables. Does not know: channels.

use super::table::Table;
use super::{Row, Verdict, digits, ratios};
use crate::measure::{Kind, Outcome, Target};

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
    let verdicts: Vec<_> = row.verdicts().filter(|verdict| verdict.ours.who == outcome.who).collect();
    let named = verdicts.iter().find(|verdict| matches!(verdict.target, Target::Of(..)));
    let first = || row.outcomes.iter().find(|outcome| outcome.kind == Kind::Floor);
    let floor = named.map_or_else(first, |verdict| verdict.rival);
    let ratios = floor.filter(|_| outcome.kind != Kind::Floor).and_then(|floor| ratios(outcome, floor));
    let ratio = |pick: fn((f64, f64)) -> f64| ratios.map_or(String::new(), |r| format!("{:.2}", pick(r)));
    let worst =
        verdicts.iter().max_by(|a, b| a.excess().partial_cmp(&b.excess()).expect("figures are numbers"));
    let says = match (worst, &outcome.trouble) {
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
        verdicts.iter().map(target).collect::<Vec<_>>().join(", "),
        says,
    ]
}

/// The target, and of whose figure it is a multiple where that is not the floor's.
fn target(verdict: &Verdict<'_>) -> String {
    match verdict.rival {
        Some(rival) if rival.kind != Kind::Floor => format!("{} of {}", verdict.target(), rival.who),
        _ => verdict.target(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;
    use crate::measure::OURS;

    #[test]
    fn a_line_shows_ratio_target_and_mark() {
        let row = row(Target::Ratio(1.06), &[99.0, 120.0, 130.0]);
        let text = table(&[&row]).text();
        let cells = |line| text.lines().nth(line).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let ours = ["op/nop/1", "CPU", "millstream", "120.0", "1.20", "1.10", "1.06", "MISSED"];
        assert_eq!(cells(1), Some(vec!["op/nop/1", "CPU", "floor", "100.0"]));
        assert_eq!(cells(2), Some(ours.to_vec()));
    }

    #[test]
    fn of_several_targets_all_are_shown_and_the_worst_counts() {
        let mut row = row(Target::Of(1.3, "slow"), &[120.0]);
        row.targets.push((OURS, Target::Best(1.0, &[Kind::Pair])));
        let text = table(&[&row]).text();
        let ours = text.lines().nth(2).expect("a line for ours");
        assert!(ours.contains("0.60") && ours.contains("1.30 of slow, 1.00 of fast  MISSED"), "{ours}");
    }
}
