//! Tables, pictures and JSON from outcomes.
//!
//! Knows: outcomes, targets. Does not know: how they came about.

mod channels;
mod floors;
mod page;
mod pictures;
mod rates;
mod table;

use std::fmt::Write as _;
use std::fs;

use crate::measure::{Clock, Kind, Outcome, Target, Trouble};

pub(crate) use page::{write_json, write_markdown};
pub(crate) use pictures::draw;

/// A case with what became of it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) clock: Clock,
    pub(crate) targets: Vec<(&'static str, Target)>,
    pub(crate) outcomes: Vec<Outcome>,
}

/// One of ours held against one target.
#[derive(Debug)]
struct Verdict<'a> {
    ours: &'a Outcome,
    target: Target,
    /// Whose figure the target is a multiple of.
    rival: Option<&'a Outcome>,
}

impl Row {
    fn is_channel(&self) -> bool {
        self.case.starts_with("channel/")
    }

    fn outcome(&self, who: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.who == who)
    }

    /// The best of some kinds, by its median.
    fn best(&self, kinds: &[Kind]) -> Option<&Outcome> {
        let figure = |outcome: &&Outcome| outcome.median().unwrap_or(f64::INFINITY);
        let of_kind = self.outcomes.iter().filter(|outcome| kinds.contains(&outcome.kind));
        of_kind.min_by(|a, b| figure(a).total_cmp(&figure(b))).filter(|best| best.median().is_some())
    }

    /// Every target there is somebody to hold against.
    fn verdicts(&self) -> impl Iterator<Item = Verdict<'_>> {
        self.targets.iter().filter_map(|&(who, target)| {
            let rival = match target {
                Target::Ratio(_) => Some(self.best(&[Kind::Floor])?),
                Target::Of(_, who) => Some(self.outcome(who)?),
                Target::Best(_, kinds) => Some(self.best(kinds)?),
                Target::Nanoseconds(_) | Target::None => None,
            };
            Some(Verdict { ours: self.outcome(who)?, target, rival })
        })
    }

    fn clock(&self) -> &'static str {
        match self.clock {
            Clock::Cpu => "CPU",
            Clock::Wall => "wall",
        }
    }
}

impl Verdict<'_> {
    fn ratios(&self) -> Option<(f64, f64)> {
        ratios(self.ours, self.rival?)
    }

    /// How many times the target it is: above 1 is missed. `None` without figures.
    fn excess(&self) -> Option<f64> {
        match self.target {
            Target::Ratio(most) | Target::Of(most, _) | Target::Best(most, _) => {
                Some(self.ratios()?.0 / most)
            }
            Target::Nanoseconds(most) => Some(self.ours.median()? / most),
            Target::None => None,
        }
    }

    /// Whether it is above its target, or has failed where others have not.
    fn missed(&self) -> bool {
        match (&self.ours.trouble, self.excess()) {
            (Some(Trouble::Failed(_) | Trouble::Stalled(_)), _) => true,
            (_, excess) => excess.is_some_and(|excess| excess > 1.0),
        }
    }

    fn target(&self) -> String {
        match self.target {
            Target::Ratio(most) | Target::Of(most, _) | Target::Best(most, _) => format!("{most:.2}"),
            Target::Nanoseconds(most) => format!("{} ns", digits(most)),
            Target::None => String::new(),
        }
    }

    fn says(&self) -> String {
        match (&self.ours.trouble, self.excess()) {
            (Some(trouble), _) => trouble.to_string(),
            (None, Some(_)) if self.missed() => "MISSED".to_owned(),
            (None, Some(_)) => "ok".to_owned(),
            (None, None) => String::new(),
        }
    }
}

/// The ratio by medians, and by the best round of each, which a noisy neighbour moves less.
fn ratios(outcome: &Outcome, rival: &Outcome) -> Option<(f64, f64)> {
    Some((outcome.median()? / rival.median()?, outcome.min()? / rival.min()?))
}

/// Three significant digits are all a figure is good for.
fn digits(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 10.0 => format!("{ns:.2}"),
        ns if ns < 1000.0 => format!("{ns:.1}"),
        ns => format!("{ns:.0}"),
    }
}

/// The tables for the terminal, and what missed its target.
pub(crate) fn text(rows: &[Row]) -> String {
    let (channels, floors): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.is_channel());
    let tables = [floors::table(&floors), rates::table(&floors), channels::verdicts(&channels)];
    let mut text: String =
        tables.iter().filter(|table| !table.is_empty()).map(|table| format!("\n{}", table.text())).collect();
    let excess = |(_, verdict): &(&Row, Verdict<'_>)| verdict.excess().unwrap_or(f64::INFINITY);
    let mut missed: Vec<_> =
        rows.iter().flat_map(|row| row.verdicts().map(move |verdict| (row, verdict))).collect();
    let all = missed.len();
    missed.retain(|(_, verdict)| verdict.missed());
    missed.sort_by(|a, b| excess(b).total_cmp(&excess(a)));
    let _ = writeln!(text, "\n{} of {all} targets missed, the worst first:", missed.len());
    for (row, verdict) in missed {
        let excess =
            verdict.excess().map_or("no figure".to_owned(), |excess| format!("{excess:.2} times it"));
        let _ = writeln!(text, "  {}  {}: {excess}", row.case, verdict.ours.who);
    }
    text
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

/// The crates measured, each with its version: figures without would say nothing in a year.
fn versions(crates: &[&str]) -> String {
    let lock = include_str!("../../../Cargo.lock");
    let version = |name: &&str| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(format!("{name} {}", rest.split('"').next()?))
    };
    crates.iter().filter_map(version).collect::<Vec<_>>().join(", ")
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
    use crate::measure::{FLOOR, OURS};

    pub(super) fn outcome(who: &str, kind: Kind, figures: &[f64]) -> Outcome {
        Outcome { who: who.to_owned(), kind, figures: figures.to_vec(), rates: Vec::new(), trouble: None }
    }

    pub(super) fn row(target: Target, ours: &[f64]) -> Row {
        let outcomes = vec![
            outcome(FLOOR, Kind::Floor, &[90.0, 100.0, 110.0]),
            outcome(OURS, Kind::Ours, ours),
            outcome("slow", Kind::Many, &[190.0, 200.0, 210.0]),
            outcome("lost", Kind::Many, &[]),
            outcome("fast", Kind::Pair, &[40.0, 50.0, 60.0]),
        ];
        Row { case: "op/nop/1".to_owned(), clock: Clock::Cpu, targets: vec![(OURS, target)], outcomes }
    }

    fn missed(target: Target, ours: &[f64]) -> Option<bool> {
        row(target, ours).verdicts().next()?.excess().map(|excess| excess > 1.0)
    }

    #[test]
    fn a_target_is_missed_by_the_median() {
        assert_eq!(missed(Target::Ratio(1.06), &[90.0, 106.0, 500.0]), Some(false));
        assert_eq!(missed(Target::Ratio(1.06), &[90.0, 106.1, 107.0]), Some(true));
        assert_eq!(missed(Target::Nanoseconds(106.0), &[107.0]), Some(true));
        assert_eq!(missed(Target::None, &[107.0]), None);
        assert_eq!(missed(Target::Ratio(1.06), &[]), None);
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        let versions = versions(&["kanal", "no such crate", "flume"]);
        assert!(versions.starts_with("kanal 0.") && versions.contains(", flume 0."), "{versions}");
    }

    #[test]
    fn the_best_is_looked_for_among_the_kinds_of_the_target() {
        assert_eq!(missed(Target::Best(1.0, &[Kind::Many]), &[200.0]), Some(false));
        assert_eq!(missed(Target::Best(1.0, &[Kind::Many]), &[200.1]), Some(true));
        assert_eq!(missed(Target::Best(1.0, &[Kind::Many, Kind::Pair]), &[50.1]), Some(true));
        assert_eq!(missed(Target::Best(1.0, &[Kind::Local]), &[200.0]), None, "nobody to hold it against");
    }

    #[test]
    fn what_has_no_figure_counts_as_missed() {
        let mut row = row(Target::Ratio(1.06), &[]);
        row.outcomes[1].trouble = Some(Trouble::Failed("no ring".to_owned()));
        let text = text(&[row]);
        assert!(text.contains("failed: no ring") && text.contains("1 of 1 targets missed"), "{text}");
    }
}
