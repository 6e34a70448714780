//! A history taken apart by object, and the answers for its objects added up.

use duress_history::{Operation, Scalar};
use rustc_hash::FxHashMap;

use crate::linearizable::RegisterReport;
use crate::verdict::{Anomaly, CheckReport, Details, Reason, Verdict};
use crate::witness::Op;

/// The result for one object.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) anomaly: Option<Anomaly>,
    pub(crate) reason: Option<Reason>,
    pub(crate) algorithm: Algorithm,
    /// How many configurations were explored.
    pub(crate) explored: u64,
    /// How many operations succeeded, and how many of their answers show the object's state.
    pub(crate) happened: u64,
    pub(crate) observed: u64,
}

/// How an object was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// By the search.
    #[default]
    Search,
    /// By an algorithm of its own, in near-linear time.
    NearLinear,
}

/// Whether the clients asked for the state of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// They did, or every operation does.
    Yes,
    /// They did not: the history leaves no question unanswered.
    No,
}

/// Returns the operations on each object, which `key` names, in the order of keys.
pub(crate) fn by_key<A>(
    operations: &[Operation<A>],
    key: impl Fn(&A) -> Option<&Scalar>,
) -> Vec<(Option<&Scalar>, Vec<Op>)> {
    let mut parts: FxHashMap<Option<&Scalar>, Vec<Op>> = FxHashMap::default();
    for (op, operation) in operations.iter().enumerate() {
        parts.entry(key(&operation.action)).or_default().push(op as Op);
    }
    let mut parts: Vec<(Option<&Scalar>, Vec<Op>)> = parts.into_iter().collect();
    parts.sort_unstable_by_key(|(key, _)| *key);
    parts
}

/// Adds up the `answers` for the objects of a history of so many `operations`.
pub(crate) fn report(answers: Vec<Answer>, operations: usize, asked: Asked) -> CheckReport {
    let (keys, operations) = (answers.len() as u64, operations as u64);
    let mut details = RegisterReport::default();
    let (mut anomalies, mut reasons) = (Vec::new(), Vec::new());
    let (mut happened, mut observed) = (0, 0);
    for answer in answers {
        match answer.algorithm {
            Algorithm::Search => details.statistics.keys_by_search += 1,
            Algorithm::NearLinear => details.statistics.keys_by_chains += 1,
        }
        details.statistics.configurations += answer.explored;
        let most = &mut details.statistics.configurations_of_one_key_max;
        *most = (*most).max(answer.explored);
        anomalies.extend(answer.anomaly);
        reasons.extend(answer.reason);
        happened += answer.happened;
        observed += answer.observed;
    }
    if reasons.is_empty() && (operations == 0 || asked == Asked::Yes) {
        reasons.extend(Reason::nothing_shown(operations, happened, observed));
    }
    CheckReport {
        verdict: Verdict::new(anomalies, reasons),
        keys,
        operations,
        details: Details::Registers(details),
    }
}
