//! The result of a hunt, in words: what was exercised, what was found, and what a quiet hunt excludes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use duress_nemesis::Family;

use super::session::{Ending, Hunted};
use crate::cli::exit::Exit;
use crate::record::situations::Situation;
use crate::trial::{Finding, Trial};

/// The confidence of the exclusion.
const CONFIDENCE: f64 = 0.95;

/// The number of runs by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    quiet: u32,
    found: u32,
    unknown: u32,
    broken: u32,
}

impl Counts {
    fn of(hunted: &Hunted) -> Self {
        let mut counts = Self::default();
        for (_, trial) in &hunted.runs {
            *match trial.finding {
                Finding::Valid => &mut counts.quiet,
                Finding::Invalid { .. } => &mut counts.found,
                Finding::Unknown { .. } => &mut counts.unknown,
                Finding::Broken { .. } | Finding::Error { .. } => &mut counts.broken,
            } += 1;
        }
        counts
    }
}

/// Returns the largest part of runs in which a defect can show that `quiet` of them would still miss with a
/// chance of 5 %: 1 - 0.05^(1/quiet). For many runs that is about 3/quiet, the "rule of three". Source: J. A.
/// Hanley and A. Lippman-Hand, "If Nothing Goes Wrong, Is Everything All Right?", JAMA 249 (1983), 1743–1745.
fn missed_at_most(quiet: u32) -> f64 {
    1.0 - (1.0 - CONFIDENCE).powf(1.0 / f64::from(quiet.max(1)))
}

impl Hunted {
    /// Returns the run that found an anomaly, with its number; the first of them.
    #[must_use]
    pub fn found(&self) -> Option<(u64, &Trial)> {
        let mut found =
            self.runs.iter().filter(|(_, trial)| matches!(trial.finding, Finding::Invalid { .. }));
        found.next().map(|(number, trial)| (*number, trial))
    }

    /// Returns the exit code: an anomaly first; then broken runs, which a person has to look at; a hunt
    /// without a quiet run is not a pass.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let counts = Counts::of(self);
        match self.ending {
            _ if counts.found > 0 => Exit::Anomaly,
            _ if counts.broken > 0 => Exit::Broken,
            _ if counts.quiet > 0 => Exit::Valid,
            Ending::Interrupted => Exit::NotRun,
            _ => Exit::Unknown,
        }
    }

    /// Returns the whole result; several lines.
    #[must_use]
    pub fn words(&self) -> String {
        let counts = Counts::of(self);
        let all = self.runs.len();
        // The sum of nothing is -0.
        let seconds = 0.0 + self.runs.iter().map(|(_, trial)| trial.seconds).sum::<f64>();
        let operations: u64 = self.runs.iter().map(|(_, trial)| trial.operations).sum();
        let mut text = match self.found() {
            Some((number, trial)) => {
                let mut text = format!("FOUND in run {number}:\n");
                for found in trial.anomalies() {
                    let _ = writeln!(text, "  {}: {}", found.kind.name(), found.summary);
                }
                let _ = writeln!(text, "  report: {}", trial.report().display());
                let _ = writeln!(text, "  command: {}", trial.command);
                text
            }
            None => format!("{}\n", self.nothing(counts)),
        };
        let _ = writeln!(
            text,
            "{all} runs, {seconds:.0} s of them: {} quiet, {} unknown, {} broken; {operations} operations",
            counts.quiet, counts.unknown, counts.broken
        );
        let situations = || self.runs.iter().flat_map(|(_, trial)| &trial.situations);
        let mut faults: BTreeMap<Family, u32> = BTreeMap::new();
        for situation in situations() {
            *faults.entry(situation.family).or_default() += 1;
        }
        let faults: Vec<String> =
            faults.iter().map(|(family, count)| format!("{} {count}", family.name())).collect();
        let listed = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
        let _ = writeln!(text, "faults that took hold: {}", listed(&faults));
        let met: BTreeSet<Situation> = situations().copied().collect();
        let missing: Vec<String> =
            Situation::all().filter(|one| !met.contains(one)).map(|one| one.to_string()).collect();
        let _ = writeln!(text, "not met yet: {}", listed(&missing));
        for (number, trial) in &self.runs {
            if let Finding::Broken { reasons } = &trial.finding {
                let _ = writeln!(
                    text,
                    "run {number} is broken: {} ({})",
                    reasons.join("; "),
                    trial.folder.display()
                );
            }
            if let Finding::Error { message } = &trial.finding {
                let _ = writeln!(text, "run {number} failed: {message} ({})", trial.folder.display());
            }
        }
        text
    }

    /// Returns the meaning of a hunt without an anomaly.
    fn nothing(&self, counts: Counts) -> String {
        let why = match self.ending {
            Ending::OutOfBudget => "the budget ran out",
            Ending::Interrupted => "interrupted",
            Ending::InVain => "too many runs in a row were broken",
            Ending::Enough | Ending::Found => "all runs are done",
        };
        if counts.quiet == 0 {
            return format!("NOTHING SHOWN: {why}, and no run was quiet");
        }
        let quiet = counts.quiet;
        let part = missed_at_most(quiet) * 100.0;
        format!(
            "QUIET: {why}. A defect that shows in {part:.1} % of such runs, or more, would have been seen with a probability of \
             95 % or more in {quiet} quiet runs"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::record::situations::Phase;

    fn trial(finding: Finding) -> Trial {
        Trial {
            command: "duress run store".to_owned(),
            seed: 1,
            finding,
            seconds: 2.0,
            folder: PathBuf::from("there"),
            home: PathBuf::from("there"),
            replay: None,
            situations: [Phase::Faulty, Phase::Recovering]
                .map(|phase| Situation { family: Family::Kill, leader: true, phase })
                .to_vec(),
            operations: 10,
        }
    }

    fn hunted(findings: Vec<Finding>, ending: Ending) -> Hunted {
        Hunted { runs: (1..).zip(findings.into_iter().map(trial)).collect(), ending }
    }

    #[test]
    fn a_quiet_hunt_says_what_it_excludes() {
        let hunted = hunted(vec![Finding::Valid; 59], Ending::OutOfBudget);
        assert_eq!(hunted.exit(), Exit::Valid);
        // Worked out by hand: 0.95^59 is 0.0485.
        assert!(hunted.words().contains("shows in 5.0 % of such runs"), "{}", hunted.words());
        assert!(hunted.words().contains("faults that took hold: kill 118"), "{}", hunted.words());
        let missing =
            hunted.words().lines().find_map(|line| line.strip_prefix("not met yet: ").map(str::to_owned));
        let missing = missing.expect("a line of what was not met");
        assert!(missing.contains(", kill of the leader in a steady state, kill elsewhere"), "{missing}");
        assert!(!missing.contains("kill of the leader during"), "{missing}");
    }

    #[test]
    fn what_proves_nothing_is_no_pass() {
        let broken = Finding::Broken { reasons: vec!["no".to_owned()] };
        let unknown = Finding::Unknown { reasons: vec!["no".to_owned()] };
        for (findings, ending, exit) in [
            (vec![], Ending::OutOfBudget, Exit::Unknown),
            (vec![], Ending::Interrupted, Exit::NotRun),
            (vec![unknown.clone()], Ending::Enough, Exit::Unknown),
            (vec![broken.clone(), unknown.clone()], Ending::Enough, Exit::Broken),
            (vec![Finding::Valid, broken.clone()], Ending::OutOfBudget, Exit::Broken),
            (vec![Finding::Valid, unknown.clone()], Ending::Interrupted, Exit::Valid),
            (vec![broken, Finding::Invalid { anomalies: Vec::new() }], Ending::Found, Exit::Anomaly),
        ] {
            assert_eq!(hunted(findings.clone(), ending).exit(), exit, "{findings:?}");
        }
    }
}
