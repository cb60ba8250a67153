//! Tables and JSON from outcomes.
//!
//! Knows: outcomes. Does not know: how they came about.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;

use crate::measure::{Clock, FLOOR, OURS, Outcome, Target};

/// Between these two lines of a Markdown file, [`write_markdown`] puts the table.
const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// A case with what became of it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) clock: Clock,
    pub(crate) target: Target,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Row {
    fn outcome(&self, who: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.who == who)
    }

    /// The ratio to the floor by medians, and by the best round of each, which a noisy neighbour moves less.
    fn ratios(&self, outcome: &Outcome) -> Option<(f64, f64)> {
        let floor = self.outcome(FLOOR)?;
        Some((outcome.median()? / floor.median()?, outcome.min()? / floor.min()?))
    }

    /// Whether the target is missed; `None` without a target or without figures.
    fn missed(&self) -> Option<bool> {
        let ours = self.outcome(OURS)?;
        match self.target {
            Target::Ratio(most) => Some(self.ratios(ours)?.0 > most),
            Target::Nanoseconds(most) => Some(ours.median()? > most),
            Target::None => None,
        }
    }

    fn clock(&self) -> &'static str {
        match self.clock {
            Clock::Cpu => "CPU",
            Clock::Wall => "wall",
        }
    }

    /// The columns of the table, one line for the floor and each contestant.
    fn lines(&self) -> Vec<[String; 8]> {
        let line = |outcome: &Outcome| {
            let ours = outcome.who == OURS;
            let ratios = if outcome.who == FLOOR { None } else { self.ratios(outcome) };
            let ratio =
                |pick: fn((f64, f64)) -> f64| ratios.map_or(String::new(), |r| format!("{:.2}", pick(r)));
            let target = match self.target {
                Target::Ratio(most) if ours => format!("{most:.2}"),
                Target::Nanoseconds(most) if ours => format!("{} ns", digits(most)),
                _ => String::new(),
            };
            let verdict = match &outcome.trouble {
                Some(trouble) => trouble.to_string(),
                None if ours && self.missed() == Some(true) => "MISSED".to_owned(),
                None if ours && self.missed() == Some(false) => "ok".to_owned(),
                None => String::new(),
            };
            [
                self.case.clone(),
                self.clock().to_owned(),
                outcome.who.to_owned(),
                outcome.median().map_or("-".to_owned(), digits),
                ratio(|r| r.0),
                ratio(|r| r.1),
                target,
                verdict,
            ]
        };
        self.outcomes.iter().map(line).collect()
    }
}

const HEADINGS: [&str; 8] = ["case", "clock", "who", "median ns", "ratio", "of best", "target", ""];

/// Three significant digits are all a figure is good for.
fn digits(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 10.0 => format!("{ns:.2}"),
        ns if ns < 1000.0 => format!("{ns:.1}"),
        ns => format!("{ns:.0}"),
    }
}

/// The table for the terminal.
pub(crate) fn table(rows: &[Row]) -> String {
    let lines: Vec<[String; 8]> = rows.iter().flat_map(Row::lines).collect();
    let headings = HEADINGS.map(str::to_owned);
    let width =
        |column: usize| lines.iter().chain([&headings]).map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for line in [&headings].into_iter().chain(&lines) {
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            // Names to the left, numbers to the right.
            let _ = match column {
                0..3 | 7 => write!(text, "{cell:<width$}  "),
                _ => write!(text, "{cell:>width$}  "),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// The same as Markdown.
fn markdown(rows: &[Row]) -> String {
    let mut text = format!("| {} |\n|---|---|---|---:|---:|---:|---:|---|\n", HEADINGS.join(" | "));
    for line in rows.iter().flat_map(Row::lines) {
        let _ = writeln!(text, "| {} |", line.join(" | "));
    }
    text
}

/// Puts the table into a Markdown file: between its two markers when it has them, as its whole content when there is
/// no such file.
pub(crate) fn write_markdown(path: &Path, rows: &[Row]) -> io::Result<()> {
    let table = format!("{BEGIN}\n\n{}\n\n{}\n{END}", machine(), markdown(rows));
    let page = match fs::read_to_string(path) {
        Ok(page) => page,
        Err(error) if error.kind() == io::ErrorKind::NotFound => format!("{BEGIN}\n{END}\n"),
        Err(error) => return Err(error),
    };
    let no_markers =
        || io::Error::other(format!("{} has no {BEGIN} and {END} to put the table between", path.display()));
    let (before, rest) = page.split_once(BEGIN).ok_or_else(no_markers)?;
    let (_, after) = rest.split_once(END).ok_or_else(no_markers)?;
    fs::write(path, format!("{before}{table}{after}"))
}

/// One object per case and contestant.
pub(crate) fn write_json(path: &Path, rows: &[Row]) -> io::Result<()> {
    let object = |row: &Row, outcome: &Outcome| {
        json!({
            "case": row.case,
            "who": outcome.who,
            "unit": "ns",
            "clock": row.clock().to_lowercase(),
            "median": outcome.median(),
            "min": outcome.min(),
            "rounds": outcome.figures.len(),
            "trouble": outcome.trouble.as_ref().map(ToString::to_string),
        })
    };
    let objects: Vec<_> = rows.iter().flat_map(|row| row.outcomes.iter().map(|o| object(row, o))).collect();
    fs::write(path, serde_json::to_string_pretty(&objects)? + "\n")
}

/// The machine in one line.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model =
        cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, model)| model);
    let kernel = read("/proc/sys/kernel/osrelease");
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cpus} CPUs, Linux {}", kernel.trim())
}

/// One line while the run goes on.
pub(crate) fn summary(row: &Row) -> String {
    let mut text = row.case.clone();
    for outcome in &row.outcomes {
        let _ = match (&outcome.trouble, outcome.median()) {
            (Some(trouble), _) => write!(text, "  {} {trouble}", outcome.who),
            (None, Some(median)) => write!(text, "  {} {} ns", outcome.who, digits(median)),
            (None, None) => Ok(()),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Trouble;

    fn row(target: Target, ours: &[f64]) -> Row {
        let outcome = |who, figures: &[f64]| Outcome { who, figures: figures.to_vec(), trouble: None };
        let outcomes = vec![outcome(FLOOR, &[90.0, 100.0, 110.0]), outcome(OURS, ours)];
        Row { case: "op/nop/1".to_owned(), clock: Clock::Cpu, target, outcomes }
    }

    #[test]
    fn a_target_is_missed_by_the_median() {
        assert_eq!(row(Target::Ratio(1.06), &[90.0, 106.0, 500.0]).missed(), Some(false));
        assert_eq!(row(Target::Ratio(1.06), &[90.0, 106.1, 107.0]).missed(), Some(true));
        assert_eq!(row(Target::Nanoseconds(106.0), &[107.0]).missed(), Some(true));
        assert_eq!(row(Target::None, &[107.0]).missed(), None);
        assert_eq!(row(Target::Ratio(1.06), &[]).missed(), None);
    }

    #[test]
    fn the_table_shows_ratio_target_and_mark() {
        let table = table(&[row(Target::Ratio(1.06), &[99.0, 120.0, 130.0])]);
        let ours: Vec<_> = table.lines().nth(2).into_iter().flat_map(str::split_whitespace).collect();
        assert_eq!(ours, ["op/nop/1", "CPU", "millstream", "120.0", "1.20", "1.10", "1.06", "MISSED"]);
    }

    #[test]
    fn trouble_is_shown_instead_of_a_verdict() {
        let mut row = row(Target::Ratio(1.06), &[]);
        row.outcomes[1].trouble = Some(Trouble::Failed("no ring".to_owned()));
        assert!(table(&[row]).contains("failed: no ring"));
    }

    #[test]
    fn a_page_keeps_what_is_around_its_table() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("millstream-bench-{}.md", std::process::id()));
        fs::write(&path, format!("before\n{BEGIN}\nold\n{END}\nafter\n"))?;
        write_markdown(&path, &[row(Target::None, &[120.0])])?;
        let page = fs::read_to_string(&path)?;
        fs::write(&path, "no markers")?;
        let refused = write_markdown(&path, &[]);
        fs::remove_file(&path)?;
        assert!(page.starts_with("before\n") && page.ends_with(&format!("{END}\nafter\n")), "{page}");
        assert!(page.contains("| 120.0 | 1.20 |") && !page.contains("old"), "{page}");
        assert!(refused.is_err());
        Ok(())
    }
}
