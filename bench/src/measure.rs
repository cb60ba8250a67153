//! Runs cases: interleaved rounds, one child process each, a watchdog over every one.
//!
//! Knows: cases as names, targets and closures; the clock. Does not know: what a case does.
//!
//! A round is a process of its own, so that no contestant inherits another's heap, caches of free slots or threads,
//! and so that one that stalls can be killed. It is this binary with the hidden command `round`; its answer is one
//! line on its standard output.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::{Latency, Sample};

/// Which clock a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Cpu,
    Wall,
}

/// What a figure of ours is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// At most this many times the floor's.
    Ratio(f64),
    /// At most this many times that of the contestant of this name.
    Of(f64, &'static str),
    /// At most this many times that of the best contestant of these kinds.
    Best(f64, &'static [Kind]),
    /// At most this many nanoseconds.
    Nanoseconds(f64),
    /// Reported only.
    None,
}

/// What a contestant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Floor,
    /// Reported only.
    Apart,
    /// A runtime of others.
    Peer,
    /// A channel with many senders and many receivers.
    Many,
    /// A channel with many senders and one receiver.
    One,
    /// A channel with one sender and one receiver, on threads of their own.
    Pair,
    /// A channel with one receiver, within one thread.
    Local,
}

/// The name millstream's own figures go by; of its channels, the bounded one's.
pub(crate) const OURS: &str = "millstream";
/// Its channel within a thread.
pub(crate) const OURS_LOCAL: &str = "millstream-local";
/// Its channel for two.
pub(crate) const OURS_SPSC: &str = "millstream-spsc";
/// With `no_spin()`, where spinning costs CPU time.
pub(crate) const OURS_SLEEPY: &str = "millstream no_spin";
/// With multishot ops, a pool of buffers and direct descriptors.
pub(crate) const OURS_MULTISHOT: &str = "millstream multishot";
/// With multishot receives of several buffers at once, each bundle sent as one message.
pub(crate) const OURS_BUNDLED: &str = "millstream bundled";
/// The same, sent out of a queue of buffers.
pub(crate) const OURS_QUEUED: &str = "millstream queued";
/// As [`OURS_MULTISHOT`] with a channel between who receives and who sends.
pub(crate) const OURS_CHANNEL: &str = "millstream channel";
/// The name of the hand-written loop.
pub(crate) const FLOOR: &str = "floor";
/// The one with multishot ops, a ring of buffers and the ring's own descriptors.
pub(crate) const FLOOR_MULTISHOT: &str = "floor multishot";
/// The same with receives of several buffers at once, each bundle sent as one message.
pub(crate) const FLOOR_BUNDLED: &str = "floor bundled";

/// What [`Target::Best`] looks for among runtimes.
pub(crate) const PEERS: &[Kind] = &[Kind::Peer];

type Round = Box<dyn Fn(&Plan) -> io::Result<Sample>>;

/// Who runs a case, and how.
struct Contestant {
    who: String,
    kind: Kind,
    round: Round,
}

/// One workload and who runs it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) clock: Clock,
    /// Who of ours is held against what.
    pub(crate) targets: Vec<(&'static str, Target)>,
    contestants: Vec<Contestant>,
}

impl Case {
    /// The target is that of [`OURS`].
    pub(crate) fn new(name: impl Into<String>, clock: Clock, target: Target) -> Case {
        let name = name.into();
        Case { name, clock, targets: Vec::new(), contestants: Vec::new() }.target(OURS, target)
    }

    /// Adds what another one of ours is held against, or something else that the same one is.
    pub(crate) fn target(mut self, who: &'static str, target: Target) -> Case {
        if target != Target::None {
            self.targets.push((who, target));
        }
        self
    }

    /// Adds who runs this case, and how. An error of kind `Unsupported` is a case that cannot run here, not a failure.
    pub(crate) fn with(self, who: &str, round: impl Fn(&Plan) -> io::Result<Sample> + 'static) -> Case {
        let kind = match who {
            FLOOR | FLOOR_MULTISHOT | FLOOR_BUNDLED => Kind::Floor,
            OURS | OURS_SLEEPY | OURS_MULTISHOT | OURS_CHANNEL | OURS_BUNDLED | OURS_QUEUED => Kind::Ours,
            _ => Kind::Apart,
        };
        self.with_kind(who, kind, round)
    }

    /// The same for those that targets look for by what they are.
    pub(crate) fn with_kind(
        mut self,
        who: impl Into<String>,
        kind: Kind,
        round: impl Fn(&Plan) -> io::Result<Sample> + 'static,
    ) -> Case {
        self.contestants.push(Contestant { who: who.into(), kind, round: Box::new(round) });
        self
    }

    pub(crate) fn contestants(&self) -> impl Iterator<Item = &str> {
        self.contestants.iter().map(|contestant| &*contestant.who)
    }
}

/// How much a round does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) quick: bool,
}

impl Plan {
    /// How many units of `estimate` nanoseconds fill a round. The same for every contestant of a case.
    pub(crate) fn units(&self, estimate: f64) -> u64 {
        let budget = if self.quick { 90e6 } else { 600e6 };
        (budget / estimate).max(1.0) as u64
    }

    /// The same where there are many contestants.
    pub(crate) fn units_of_short_round(&self, estimate: f64) -> u64 {
        let budget = if self.quick { 12e6 } else { 400e6 };
        (budget / estimate).max(1.0) as u64
    }

    /// How many nanoseconds a round of a channel takes: there are many, and none needs long.
    pub(crate) fn short_round(&self) -> f64 {
        if self.quick { 12e6 } else { 100e6 }
    }

    fn rounds(&self) -> usize {
        if self.quick { 3 } else { 9 }
    }

    /// How long a round may take before it counts as stalled.
    fn patience(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 30 })
    }
}

/// How one contestant did in one case.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) who: String,
    pub(crate) kind: Kind,
    /// The case's figure in each round, in nanoseconds, sorted.
    pub(crate) figures: Vec<f64>,
    /// What else was seen in each round, where it was looked at.
    pub(crate) rates: Vec<Rate>,
    /// Why there are no (more) figures.
    pub(crate) trouble: Option<Trouble>,
}

/// How many units there were in a second, and how long each took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) latency: Latency,
}

/// Why a round gave no figure.
#[derive(Debug)]
pub(crate) enum Trouble {
    Skipped(String),
    Failed(String),
    Stalled(Duration),
    OutOfTime,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Skipped(why) => write!(f, "skipped: {why}"),
            Trouble::Failed(why) => write!(f, "failed: {why}"),
            Trouble::Stalled(after) => write!(f, "stalled: killed after {after:.1?}"),
            Trouble::OutOfTime => write!(f, "not run: the minute of --quick was over"),
        }
    }
}

impl Outcome {
    pub(crate) fn median(&self) -> Option<f64> {
        median(&self.figures)
    }

    pub(crate) fn min(&self) -> Option<f64> {
        self.figures.first().copied()
    }

    /// The medians of the rates and of each latency.
    pub(crate) fn rate(&self) -> Option<Rate> {
        let median = |part: fn(&Rate) -> f64| {
            let mut parts: Vec<f64> = self.rates.iter().map(part).collect();
            parts.sort_by(f64::total_cmp);
            median(&parts)
        };
        let latency =
            Latency { p50: median(|rate| rate.latency.p50)?, p99: median(|rate| rate.latency.p99)? };
        Some(Rate { per_second: median(|rate| rate.per_second)?, latency })
    }
}

/// The middle of sorted figures, or between the two.
fn median(sorted: &[f64]) -> Option<f64> {
    let n = sorted.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(sorted[n / 2]),
        _ => Some((sorted[n / 2 - 1] + sorted[n / 2]) / 2.0),
    }
}

/// Until when a case may run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// No round begins after this, except the first of each contestant.
    pub(crate) enough: Instant,
    /// No round goes on after this.
    pub(crate) end: Instant,
}

/// Runs all rounds of one case, contestants taking turns, each round begun by the next one.
pub(crate) fn run(case: &Case, plan: Plan, limit: Option<Limit>) -> Vec<Outcome> {
    let nothing_yet = |contestant: &Contestant| Outcome {
        who: contestant.who.clone(),
        kind: contestant.kind,
        figures: Vec::new(),
        rates: Vec::new(),
        trouble: None,
    };
    let mut outcomes: Vec<Outcome> = case.contestants.iter().map(nothing_yet).collect();
    let contestants = outcomes.len();
    for round in 0..plan.rounds() {
        if round > 0 && limit.is_some_and(|limit| Instant::now() > limit.enough) {
            break;
        }
        for turn in 0..contestants {
            let outcome = &mut outcomes[(round + turn) % contestants];
            if outcome.trouble.is_some() {
                continue;
            }
            match run_round(case, &outcome.who, plan, limit) {
                Ok(sample) => {
                    outcome.figures.push(match case.clock {
                        Clock::Cpu => sample.cpu,
                        Clock::Wall => sample.wall,
                    });
                    let rate = |latency| Rate { per_second: 1e9 / sample.wall, latency };
                    outcome.rates.extend(sample.latency.map(rate));
                }
                Err(trouble) => outcome.trouble = Some(trouble),
            }
        }
    }
    for outcome in &mut outcomes {
        outcome.figures.sort_by(f64::total_cmp);
    }
    outcomes
}

/// One round in a child process, not waited for beyond its patience.
fn run_round(case: &Case, who: &str, plan: Plan, limit: Option<Limit>) -> Result<Sample, Trouble> {
    let mut patience = plan.patience();
    if let Some(limit) = limit {
        patience = patience.min(limit.end.saturating_duration_since(Instant::now()));
    }
    if patience.is_zero() {
        return Err(Trouble::OutOfTime);
    }
    let failed = |error: io::Error| Trouble::Failed(error.to_string());

    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["round", &case.name, who]).stdin(Stdio::null()).stdout(Stdio::piped());
    if plan.quick {
        command.arg("--quick");
    }
    let mut child = command.spawn().map_err(failed)?;
    let mut stdout = child.stdout.take().expect("the child's output is piped");
    let (answered, answer) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text);
        let _ = answered.send(read.map(|_| text)); // nobody listens once the round counts as stalled
    });
    let text = match answer.recv_timeout(patience) {
        Ok(text) => text.map_err(failed)?,
        Err(_) => {
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
            return Err(Trouble::Stalled(patience));
        }
    };
    let status = child.wait().map_err(failed)?;
    parse(&text).unwrap_or_else(|| Err(Trouble::Failed(format!("no figure, {status}"))))
}

fn parse(text: &str) -> Option<Result<Sample, Trouble>> {
    let (kind, rest) = text.trim().split_once(' ')?;
    match kind {
        "sample" => Some(Ok(understood(rest)?)),
        "skipped" => Some(Err(Trouble::Skipped(rest.to_owned()))),
        "failed" => Some(Err(Trouble::Failed(rest.to_owned()))),
        _ => None,
    }
}

/// A sample as one process says it to another, which has it [`understood`].
pub(crate) fn says(sample: &Sample) -> String {
    let Sample { cpu, wall, latency } = sample;
    match latency {
        Some(Latency { p50, p99 }) => format!("{cpu} {wall} {p50} {p99}"),
        None => format!("{cpu} {wall}"),
    }
}

/// The sample that somebody said.
pub(crate) fn understood(text: &str) -> Option<Sample> {
    let numbers = text.split_whitespace().map(|number| number.parse().ok()).collect::<Option<Vec<f64>>>()?;
    match numbers[..] {
        [cpu, wall] => Some(Sample { cpu, wall, latency: None }),
        [cpu, wall, p50, p99] => Some(Sample { cpu, wall, latency: Some(Latency { p50, p99 }) }),
        _ => None,
    }
}

/// The child's side of a round: runs it and says the figure.
pub(crate) fn answer_round(cases: &[Case], name: &str, who: &str, plan: Plan) {
    let round = cases
        .iter()
        .find(|case| case.name == name)
        .and_then(|case| case.contestants.iter().find(|contestant| contestant.who == who));
    let result = match round {
        Some(contestant) => (contestant.round)(&plan),
        None => Err(io::Error::other("there is no such case")),
    };
    match result {
        Ok(sample) => println!("sample {}", says(&sample)),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => println!("skipped {error}"),
        Err(error) => println!("failed {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        let outcome = |figures: &[f64]| Outcome {
            who: OURS.to_owned(),
            kind: Kind::Ours,
            figures: figures.to_vec(),
            rates: Vec::new(),
            trouble: None,
        };
        assert_eq!(outcome(&[]).median(), None);
        assert_eq!(outcome(&[1.0, 2.0, 9.0]).median(), Some(2.0));
        assert_eq!(outcome(&[1.0, 2.0, 4.0, 9.0]).median(), Some(3.0));
    }

    #[test]
    fn a_child_answers_in_one_line_or_has_failed() {
        let sample = parse("sample 1.5 2.5\n");
        assert!(matches!(sample, Some(Ok(Sample { cpu: 1.5, wall: 2.5, latency: None }))), "{sample:?}");
        let latency = Some(Latency { p50: 3.5, p99: 4.5 });
        let sample = parse(&format!("sample {}", says(&Sample { cpu: 1.5, wall: 2.5, latency })));
        assert!(matches!(sample, Some(Ok(said)) if said.latency == latency), "{sample:?}");
        assert!(matches!(parse("skipped one CPU"), Some(Err(Trouble::Skipped(why))) if why == "one CPU"));
        assert!(
            matches!(parse("failed no such file"), Some(Err(Trouble::Failed(why))) if why == "no such file")
        );
        assert!(parse("").is_none() && parse("sample 1.5").is_none() && parse("sample a b").is_none());
    }
}
