//! The bug bank: how surely, and how soon, a seeded bug is found; and that nothing is found without it.
//!
//! For each bug there are three series of trials, with the same seeds and so with the same faults and
//! operations: *trials*, with the bug in its scenario; *controls*, the same without the bug, which must find
//! nothing; *ablations*, with the bug and without faults, which show whether the faults are necessary to find
//! it.

use serde::{Deserialize, Serialize};

use super::cell::BugGate;
use super::detection::Detections;
use super::judgement::{Judgement, found, inconclusive, surprise};
use super::outcome::Outcome;
use crate::trial::Proportion;
use crate::trial::{Finding, Trial};

/// The figures of one bug: kept, and compared with later ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BugRecord {
    /// Its system.
    pub target: String,
    /// Its name.
    pub bug: String,
    /// Trials that found it, of those that proved something.
    pub detection: Proportion,
    /// 95 % interval of that rate, after Wilson.
    pub detection_interval: [f64; 2],
    /// When they did.
    pub time: Detections,
    /// The median of that, where at least half found it.
    pub median_s: Option<f64>,
    /// Controls that found an anomaly, of those that proved something.
    pub false_alarms: Proportion,
    /// Conclusive trials without faults that found it; `None` if the scenario has no faults.
    pub without_faults: Option<Proportion>,
    /// Inconclusive runs of all three series.
    pub inconclusive: u32,
    /// The names of the anomalies found.
    pub anomalies: Vec<String>,
}

/// The three series of a bug.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// With the bug.
    pub trials: Vec<Trial>,
    /// Without it.
    pub controls: Vec<Trial>,
    /// With it, without faults; `None` if the scenario has none.
    pub ablations: Option<Vec<Trial>>,
    /// For how long clients ran.
    pub time_limit_s: f64,
}

/// Whether a rate is to be reached over all trials, or one detection is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// All trials, controls and ablations.
    Whole,
    /// Trials until one finds it, one control, no ablation.
    Fast,
}

impl Series {
    /// Whether `trial` found the bug.
    fn detected(gate: &BugGate, trial: &Trial) -> bool {
        trial.anomalies().iter().any(|found| gate.named.expects(found.kind))
    }

    fn proportion(trials: &[Trial], is: impl Fn(&Trial) -> bool) -> Proportion {
        let conclusive = || trials.iter().filter(|trial| is_conclusive(trial));
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Proportion {
            found: count(conclusive().filter(|trial| is(trial)).count()),
            of: count(conclusive().count()),
        }
    }

    /// Returns the figures of these series.
    #[must_use]
    pub fn record(&self, target: &str, gate: &BugGate) -> BugRecord {
        let detected = |trial: &Trial| Self::detected(gate, trial);
        let detection = Self::proportion(&self.trials, detected);
        let time = Detections::new(
            self.trials.iter().filter(|trial| is_conclusive(trial)).map(|trial| {
                let expected = trial.anomalies().iter().filter(|found| gate.named.expects(found.kind));
                expected.clone().filter_map(|found| found.at_s).min_by(f64::total_cmp).or_else(|| {
                    // Found, without a time: at the latest when clients stopped.
                    expected.clone().next().map(|_| self.time_limit_s)
                })
            }),
            self.time_limit_s,
        );
        let mut anomalies: Vec<String> =
            self.trials.iter().flat_map(Trial::anomalies).map(|found| found.kind.name().to_owned()).collect();
        anomalies.sort();
        anomalies.dedup();
        BugRecord {
            target: target.to_owned(),
            bug: gate.bug.clone(),
            detection,
            detection_interval: detection.wilson(),
            median_s: time.median_s(),
            time,
            false_alarms: Self::proportion(&self.controls, |trial| alarms(gate, trial)),
            without_faults: self.ablations.as_ref().map(|trials| Self::proportion(trials, detected)),
            inconclusive: u32::try_from(self.all().filter(|trial| !is_conclusive(trial)).count())
                .unwrap_or(u32::MAX),
            anomalies,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().chain(&self.controls).chain(self.ablations.iter().flatten())
    }

    /// Compares the series with the gate, and returns the most severe judgement.
    #[must_use]
    pub fn judge(&self, target: &str, gate: &BugGate, depth: Depth) -> Judgement {
        let record = self.record(target, gate);
        let mut judgements = Vec::new();
        if let Some(control) = self.controls.iter().find(|trial| alarms(gate, trial)) {
            judgements.push(Judgement::new(
                Outcome::Anomaly,
                format!(
                    "{} of {} runs without the bug found an anomaly: {}",
                    record.false_alarms.found,
                    record.false_alarms.of,
                    found(control)
                ),
            ));
        }
        let surprises = self.trials.iter().chain(self.ablations.iter().flatten());
        if let Some(message) = surprises.filter_map(|trial| surprise(&gate.named, trial)).next() {
            judgements.push(Judgement::new(Outcome::Anomaly, message));
        }
        let needed = match depth {
            Depth::Whole => gate.minimum_rate,
            Depth::Fast => f64::MIN_POSITIVE,
        };
        if record.detection.of > 0 && record.detection.rate() < needed {
            let wanted = match depth {
                Depth::Whole => format!("at least {:.0} % is required", needed * 100.0),
                Depth::Fast => "one is required".to_owned(),
            };
            judgements.push(Judgement::new(
                Outcome::MissingAnomaly,
                format!("found in {} trials; {wanted}", record.detection.words()),
            ));
        }
        // Whatever number may be inconclusive, a series without a conclusive trial has not passed.
        let empty = record.detection.of == 0 || (!self.controls.is_empty() && record.false_alarms.of == 0);
        if record.inconclusive > gate.inconclusive_allowed || empty {
            let worst = self
                .all()
                .filter(|trial| !is_conclusive(trial))
                .map(|trial| inconclusive(&trial.finding))
                .max_by_key(|judgement| judgement.outcome);
            if let Some(worst) = worst {
                let message = format!("{} runs proved nothing: {}", record.inconclusive, worst.message);
                judgements.push(Judgement::new(worst.outcome, message));
            }
        }
        let passed = Judgement::new(
            Outcome::Passed,
            format!("found in {} trials, median {}", record.detection.words(), record.time.words()),
        );
        let worst = judgements.into_iter().chain([passed]).max_by_key(|judgement| judgement.outcome);
        let mut worst = worst.unwrap_or_else(|| Judgement::new(Outcome::NotRun, "no run was made"));
        worst.bug = Some(record);
        worst
    }

    /// Returns the folders of runs that a person has to look at: those that are not as they should be.
    pub fn remarkable<'a>(&'a self, gate: &'a BugGate) -> impl Iterator<Item = &'a Trial> {
        let trials = self
            .trials
            .iter()
            .filter(|trial| !Self::detected(gate, trial) || surprise(&gate.named, trial).is_some());
        let controls = self.controls.iter().filter(|trial| !is_conclusive(trial) || alarms(gate, trial));
        let ablations = self
            .ablations
            .iter()
            .flatten()
            .filter(|trial| !is_conclusive(trial) || surprise(&gate.named, trial).is_some());
        trials.chain(controls).chain(ablations)
    }
}

/// Whether a control shows what its settings do not entail.
fn alarms(gate: &BugGate, control: &Trial) -> bool {
    control.anomalies().iter().any(|found| !gate.entailed.contains(&found.kind))
}

/// Whether a trial decided anything.
fn is_conclusive(trial: &Trial) -> bool {
    matches!(trial.finding, Finding::Valid | Finding::Invalid { .. })
}

#[cfg(test)]
mod tests {
    use duress_checkers::verdict::AnomalyKind::{LostWrite, StaleRead};

    use super::super::cell::Named;
    use super::super::command::RunCommand;
    use super::super::judgement::tests::{broken, invalid, trial};
    use super::*;

    fn gate(minimum_rate: f64) -> BugGate {
        BugGate {
            bug: "stale-leader-read".to_owned(),
            without: RunCommand::default(),
            published: None,
            named: Named { expected: vec![StaleRead], allowed: Vec::new() },
            entailed: Vec::new(),
            trials: 4,
            controls: 2,
            ablations: 2,
            minimum_rate,
            inconclusive_allowed: 0,
            fast_trials: 3,
        }
    }

    fn valid() -> Trial {
        trial(Finding::Valid)
    }

    fn series(trials: Vec<Trial>, controls: Vec<Trial>) -> Series {
        Series { trials, controls, ablations: Some(vec![valid(), valid()]), time_limit_s: 30.0 }
    }

    #[test]
    fn figures_are_those_of_conclusive_trials() {
        let stale = || invalid(&[StaleRead]);
        let record =
            series(vec![stale(), valid(), stale(), broken()], vec![valid()]).record("store", &gate(0.5));
        assert_eq!(record.detection, Proportion { found: 2, of: 3 });
        assert_eq!(record.false_alarms, Proportion { found: 0, of: 1 });
        assert_eq!(record.without_faults, Some(Proportion { found: 0, of: 2 }));
        assert_eq!((record.inconclusive, record.median_s), (1, Some(2.0)));
        assert_eq!(record.anomalies, ["stale-read"]);
    }

    #[test]
    fn each_gate_fails_in_its_own_way() {
        let stale = || invalid(&[StaleRead]);
        for (trials, controls, rate, outcome) in [
            (vec![stale(), stale()], vec![valid()], 1.0, Outcome::Passed),
            (vec![stale(), valid()], vec![valid()], 0.5, Outcome::Passed),
            (vec![stale(), valid()], vec![valid()], 0.6, Outcome::MissingAnomaly),
            (vec![stale(), stale()], vec![valid(), stale()], 1.0, Outcome::Anomaly),
            (vec![stale(), invalid(&[LostWrite])], vec![valid()], 0.5, Outcome::Anomaly),
            (vec![stale(), broken()], vec![valid()], 1.0, Outcome::Broken),
            (vec![broken()], vec![valid()], 1.0, Outcome::Broken),
            (vec![stale()], vec![broken()], 1.0, Outcome::Broken),
            (vec![valid(), broken()], vec![valid()], 1.0, Outcome::MissingAnomaly),
        ] {
            let judgement =
                series(trials.clone(), controls.clone()).judge("store", &gate(rate), Depth::Whole);
            assert_eq!(judgement.outcome, outcome, "{trials:?} {controls:?}");
            assert!(judgement.bug.is_some());
        }
        // One detection is enough for the fast slice.
        let fast = series(vec![valid(), stale()], vec![valid()]);
        assert_eq!(fast.judge("store", &gate(1.0), Depth::Fast).outcome, Outcome::Passed);
        let none = series(vec![valid(), valid()], vec![valid()]);
        assert_eq!(none.judge("store", &gate(1.0), Depth::Fast).outcome, Outcome::MissingAnomaly);
    }

    #[test]
    fn what_the_settings_entail_is_no_false_alarm() {
        let mut weak = gate(1.0);
        weak.entailed = vec![LostWrite];
        let judged = |control: Trial| {
            series(vec![invalid(&[StaleRead])], vec![control]).judge("store", &weak, Depth::Whole).outcome
        };
        assert_eq!(judged(invalid(&[LostWrite])), Outcome::Passed);
        assert_eq!(judged(invalid(&[LostWrite, StaleRead])), Outcome::Anomaly);
    }

    #[test]
    fn broken_runs_may_be_allowed_but_never_all_of_them() {
        let mut lenient = gate(1.0);
        lenient.inconclusive_allowed = 5;
        let one = series(vec![invalid(&[StaleRead]), broken()], vec![valid()]);
        assert_eq!(one.judge("store", &lenient, Depth::Whole).outcome, Outcome::Passed);
        let all = series(vec![broken(), broken()], vec![valid()]);
        assert_eq!(all.judge("store", &lenient, Depth::Whole).outcome, Outcome::Broken);
    }
}
