//! How many requests there were in a second, and how long they took.
//!
//! Knows: rows, tables. Does not know: targets.

use super::Row;
use super::table::Table;

/// A line for each contestant of a case that looked.
pub(super) fn table(rows: &[&Row]) -> Table {
    let mut table = Table::new(["case", "who", "per second>", "p50 µs>", "p99 µs>"]);
    for row in rows {
        for outcome in &row.outcomes {
            if let Some(rate) = outcome.rate() {
                let microseconds = |nanoseconds: f64| format!("{:.1}", nanoseconds / 1000.0);
                let (p50, p99) = (microseconds(rate.latency.p50), microseconds(rate.latency.p99));
                table.push(vec![
                    row.case.clone(),
                    outcome.who.clone(),
                    format!("{:.0}", rate.per_second),
                    p50,
                    p99,
                ]);
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;
    use crate::clock::Latency;
    use crate::measure::{Rate, Target};

    #[test]
    fn only_who_looked_has_a_line_with_the_medians() {
        let mut row = row(Target::None, &[1.0]);
        let rate = |per_second| Rate { per_second, latency: Latency { p50: 1500.0, p99: per_second } };
        row.outcomes[1].rates = [3000.0, 1000.0, 2000.0].map(rate).to_vec();
        let text = table(&[&row]).text();
        assert_eq!(text.lines().count(), 2, "{text}");
        let cells: Vec<_> = text.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(cells, ["op/nop/1", "millstream", "2000", "1.5", "2.0"]);
    }
}
