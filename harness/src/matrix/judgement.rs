//! The results of a cell's trials, compared with its expectation.

use super::bank::BugRecord;
use super::cell::{Expectation, Named, names};
use super::outcome::Outcome;
use crate::trial::{Finding, Trial};

/// The outcome of a cell, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The outcome.
    pub outcome: Outcome,
    /// In a sentence.
    pub message: String,
    /// The figures of a bug's trials.
    pub bug: Option<BugRecord>,
}

impl Judgement {
    /// Returns a judgement without figures.
    #[must_use]
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self { outcome, message: message.into(), bug: None }
    }
}

/// Whether another trial may still decide: an anomaly is expected, the last trial showed none, and some are
/// left.
#[must_use]
pub fn goes_on(expectation: &Expectation, trials: &[Trial]) -> bool {
    match expectation {
        Expectation::Valid => trials.is_empty(),
        Expectation::Anomaly { found_within, .. } => {
            trials.len() < *found_within as usize
                && trials.iter().all(|trial| trial.finding == Finding::Valid)
        }
    }
}

/// Judges the trials of a cell, at least one.
#[must_use]
pub fn judge(expectation: &Expectation, trials: &[Trial]) -> Judgement {
    let worst =
        trials.iter().map(|trial| of_trial(expectation, trial)).max_by_key(|judgement| judgement.outcome);
    let Some(worst) = worst else { return Judgement::new(Outcome::NotRun, "no run was made") };
    match (expectation, worst.outcome) {
        // Earlier attempts may have shown nothing; the last one counts.
        (Expectation::Anomaly { .. }, Outcome::MissingAnomaly | Outcome::Passed) => {
            let last = trials.last().map(|trial| of_trial(expectation, trial)).unwrap_or(worst);
            let tries = trials.len();
            match last.outcome {
                Outcome::MissingAnomaly => Judgement::new(
                    Outcome::MissingAnomaly,
                    format!("expected {}, and {} found nothing", expectation.words(), runs(tries)),
                ),
                outcome if tries > 1 => Judgement::new(outcome, format!("{}, in run {tries}", last.message)),
                _ => last,
            }
        }
        _ => worst,
    }
}

fn of_trial(expectation: &Expectation, trial: &Trial) -> Judgement {
    let none = Named::default();
    let named = match expectation {
        Expectation::Valid => &none,
        Expectation::Anomaly { named, .. } => named,
    };
    match (&trial.finding, expectation) {
        (Finding::Valid, Expectation::Valid) => Judgement::new(Outcome::Passed, "valid"),
        (Finding::Valid, Expectation::Anomaly { .. }) => Judgement::new(
            Outcome::MissingAnomaly,
            format!("expected {}, and found nothing", expectation.words()),
        ),
        (Finding::Invalid { .. }, _) => match surprise(named, trial) {
            Some(message) => Judgement::new(Outcome::Anomaly, message),
            None if trial.anomalies().iter().any(|found| named.expects(found.kind)) => {
                Judgement::new(Outcome::Passed, found(trial))
            }
            None => Judgement::new(
                Outcome::MissingAnomaly,
                format!("expected {}, and found only {}", expectation.words(), found(trial)),
            ),
        },
        (finding, _) => inconclusive(finding),
    }
}

/// Returns the judgement for a trial that decided nothing.
#[must_use]
pub fn inconclusive(finding: &Finding) -> Judgement {
    match finding {
        Finding::Unknown { reasons } => Judgement::new(Outcome::Unknown, first_of(reasons)),
        Finding::Broken { reasons } => Judgement::new(Outcome::Broken, first_of(reasons)),
        Finding::Error { message } => Judgement::new(Outcome::Error, message.clone()),
        Finding::Valid | Finding::Invalid { .. } => {
            unreachable!("a verdict of valid or invalid has decided something")
        }
    }
}

/// Returns the anomalies of `trial` that were not expected, in a sentence, if there are any.
#[must_use]
pub fn surprise(named: &Named, trial: &Trial) -> Option<String> {
    let first = trial.anomalies().iter().find(|found| !named.admits(found.kind))?;
    let expected =
        if named.expected.is_empty() { "valid".to_owned() } else { names(&named.expected, " or ") };
    Some(format!("expected {expected}, and found {}: {}", found(trial), first.summary))
}

/// Returns the names of a trial's anomalies, with their numbers.
#[must_use]
pub fn found(trial: &Trial) -> String {
    let each = |found: &crate::trial::Found| match found.count {
        1 => found.kind.name().to_owned(),
        count => format!("{count} × {}", found.kind.name()),
    };
    trial.anomalies().iter().map(each).collect::<Vec<_>>().join(", ")
}

fn first_of(reasons: &[String]) -> String {
    match reasons {
        [] => "no reason was given".to_owned(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

fn runs(count: usize) -> String {
    if count == 1 { "one run".to_owned() } else { format!("{count} runs") }
}

#[cfg(test)]
pub(super) mod tests {
    use duress_checkers::verdict::AnomalyKind;

    use super::*;
    use crate::trial::Found;

    pub fn trial(finding: Finding) -> Trial {
        Trial {
            command: "duress run store".to_owned(),
            seed: 1,
            finding,
            seconds: 1.0,
            folder: "there".into(),
            home: "there".into(),
            replay: None,
            situations: Vec::new(),
            operations: 0,
        }
    }

    pub fn invalid(kinds: &[AnomalyKind]) -> Trial {
        let found =
            |kind: &AnomalyKind| Found { kind: *kind, count: 1, summary: "so".to_owned(), at_s: Some(2.0) };
        trial(Finding::Invalid { anomalies: kinds.iter().map(found).collect() })
    }

    pub fn broken() -> Trial {
        trial(Finding::Broken { reasons: vec!["it fell over".to_owned()] })
    }

    fn stale(found_within: u32) -> Expectation {
        let named =
            Named { expected: vec![AnomalyKind::StaleRead], allowed: vec![AnomalyKind::Nonlinearizable] };
        Expectation::Anomaly { named, found_within }
    }

    #[test]
    fn each_kind_of_failure_is_told_apart() {
        use AnomalyKind::{LostWrite, Nonlinearizable, StaleRead};
        let valid = || trial(Finding::Valid);
        let unknown = || trial(Finding::Unknown { reasons: vec!["no time".to_owned()] });
        let error = || trial(Finding::Error { message: "oh".to_owned() });
        for (expectation, trials, outcome) in [
            (Expectation::Valid, vec![valid()], Outcome::Passed),
            (Expectation::Valid, vec![invalid(&[StaleRead])], Outcome::Anomaly),
            (Expectation::Valid, vec![unknown()], Outcome::Unknown),
            (Expectation::Valid, vec![broken()], Outcome::Broken),
            (Expectation::Valid, vec![error()], Outcome::Error),
            (Expectation::Valid, vec![], Outcome::NotRun),
            (stale(1), vec![invalid(&[StaleRead])], Outcome::Passed),
            (stale(1), vec![invalid(&[StaleRead, Nonlinearizable])], Outcome::Passed),
            (stale(1), vec![valid()], Outcome::MissingAnomaly),
            // Allowed is not expected.
            (stale(1), vec![invalid(&[Nonlinearizable])], Outcome::MissingAnomaly),
            // Another one besides is a surprise, though the expected one is there.
            (stale(1), vec![invalid(&[StaleRead, LostWrite])], Outcome::Anomaly),
            (stale(3), vec![valid(), invalid(&[StaleRead])], Outcome::Passed),
            (stale(3), vec![valid(), valid(), valid()], Outcome::MissingAnomaly),
            (stale(3), vec![valid(), broken()], Outcome::Broken),
            (stale(3), vec![unknown()], Outcome::Unknown),
        ] {
            assert_eq!(judge(&expectation, &trials).outcome, outcome, "{expectation:?} {trials:?}");
        }
    }

    #[test]
    fn further_seeds_are_tried_only_while_nothing_was_seen() {
        let valid = || trial(Finding::Valid);
        assert!(goes_on(&Expectation::Valid, &[]));
        assert!(!goes_on(&Expectation::Valid, &[valid()]));
        assert!(goes_on(&stale(3), &[valid(), valid()]));
        assert!(!goes_on(&stale(3), &[valid(), valid(), valid()]));
        assert!(!goes_on(&stale(3), &[valid(), invalid(&[AnomalyKind::StaleRead])]));
        assert!(!goes_on(&stale(3), &[broken()]), "what is broken is looked at, not tried again");
    }
}
