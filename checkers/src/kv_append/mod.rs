//! Strings with appends: is there one order of all operations, agreeing with real time, in which every get
//! returns the key's value at that point?
//!
//! Linearizability is local, so each key is decided on its own. Missing keys hold the empty string.
//!
//! In reading order: `model`: the string as a sequential object, which `sequential` decides; `witness`: a violation minimized,
//! and explained in sentences.

mod model;
mod witness;

use std::sync::atomic::AtomicBool;

use duress_history::kv_append::{KvAppend, KvOp};
use duress_history::{Completion, Operation, Scalar};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::linearizable::{Budget, RegisterReport};
use crate::sequential::{Decision, Search};
use crate::verdict::{Anomaly, CheckReport, Details, Reason, Verdict};
use crate::witness::{Describe, Op};
use model::{Call, Effect, observed};

/// Checks each string of `operations`, which are in order of invocation.
///
/// `interrupt` may be set at any time; keys not decided then are `Unknown`.
#[must_use]
pub fn check_kv_append(
    operations: &[Operation<KvAppend>],
    budget: &Budget,
    interrupt: &AtomicBool,
) -> CheckReport {
    let parts = by_key(operations);
    let answers: Vec<Answer> =
        parts.par_iter().map(|(key, ops)| check_key(operations, *key, ops, budget, interrupt)).collect();
    let mut details = RegisterReport::default();
    let (mut anomalies, mut reasons) = (Vec::new(), Vec::new());
    let (mut happened, mut observed) = (0, 0);
    for answer in answers {
        details.statistics.keys_by_search += 1;
        details.statistics.configurations += answer.explored;
        let most = &mut details.statistics.configurations_of_one_key_max;
        *most = (*most).max(answer.explored);
        anomalies.extend(answer.anomaly);
        reasons.extend(answer.reason);
        happened += answer.happened;
        observed += answer.observed;
    }
    let asks = operations.iter().any(|operation| matches!(operation.action.op, KvOp::Get(_)));
    if reasons.is_empty() && (operations.is_empty() || asks) {
        reasons.extend(Reason::nothing_shown(operations.len() as u64, happened, observed));
    }
    CheckReport {
        verdict: Verdict::new(anomalies, reasons),
        keys: parts.len() as u64,
        operations: operations.len() as u64,
        details: Details::Registers(details),
    }
}

/// Returns the operations on each key, in the order of keys.
fn by_key(operations: &[Operation<KvAppend>]) -> Vec<(Option<&Scalar>, Vec<Op>)> {
    let mut places: FxHashMap<Option<&Scalar>, usize> = FxHashMap::default();
    let mut parts: Vec<(Option<&Scalar>, Vec<Op>)> = Vec::new();
    for (op, operation) in operations.iter().enumerate() {
        let key = operation.action.key.as_ref();
        let place = *places.entry(key).or_insert_with(|| {
            parts.push((key, Vec::new()));
            parts.len() - 1
        });
        parts[place].1.push(op as Op);
    }
    parts.sort_unstable_by_key(|(key, _)| *key);
    parts
}

/// The result for one key.
#[derive(Default)]
struct Answer {
    anomaly: Option<Anomaly>,
    reason: Option<Reason>,
    explored: u64,
    happened: u64,
    observed: u64,
}

fn check_key(
    operations: &[Operation<KvAppend>],
    key: Option<&Scalar>,
    ops: &[Op],
    budget: &Budget,
    interrupt: &AtomicBool,
) -> Answer {
    let mut answer = Answer::default();
    let mut calls = Vec::with_capacity(ops.len());
    for op in ops {
        let operation = &operations[*op as usize];
        let (known, complete) = match &operation.completion {
            Completion::Ok { index, answer, .. } => (&answer.op, Some(*index)),
            Completion::Info { .. } => (&operation.action.op, None),
            Completion::Fail { .. } => continue,
        };
        answer.happened += u64::from(complete.is_some());
        let effect = match known {
            KvOp::Put(text) => Effect::Put(text),
            KvOp::Append(text) => Effect::Append(text),
            KvOp::Get(Some(text)) if complete.is_some() => {
                answer.observed += 1;
                Effect::Get(text)
            }
            // Without an answer, it proves nothing.
            KvOp::Get(_) => continue,
        };
        calls.push(Call { effect, invoke: operation.index, complete, op: *op });
    }
    let calls = observed(calls);
    let (decision, explored, reached) = Search::new(budget, interrupt).decide(&calls, String::new());
    answer.explored = explored;
    let reached = Some(reached);
    match decision {
        Decision::Possible => {}
        Decision::Impossible(violation) => {
            answer.anomaly = Some(witness::anomaly(operations, key, &calls, &violation, interrupt));
        }
        Decision::Configurations => {
            answer.reason = Some(Reason::Configurations { key: key.cloned(), explored, reached });
        }
        Decision::Memory => {
            let bytes_max = budget.memory_bytes_max;
            answer.reason = Some(Reason::Memory { key: key.cloned(), explored, reached, bytes_max });
        }
        Decision::Interrupted => {
            answer.reason = Some(Reason::Interrupted { key: key.cloned(), explored, reached })
        }
        Decision::TooManyOpen => {
            answer.reason = Some(Reason::TooLong { key: key.cloned(), operations: calls.len() as u64 });
        }
    }
    answer
}

impl Describe for KvAppend {
    type Focus = ();

    fn describe(&self, (): &()) -> String {
        match &self.op {
            KvOp::Put(text) => format!("put {}", quoted(text)),
            KvOp::Append(text) => format!("append {}", quoted(text)),
            KvOp::Get(Some(text)) => format!("get -> {}", quoted(text)),
            KvOp::Get(None) => "get".to_owned(),
        }
    }
}

/// Returns `text` in quotes, the middle of long ones left out.
fn quoted(text: &str) -> String {
    const SHOWN: usize = 30;
    let count = text.chars().count();
    if count <= 2 * SHOWN + 10 {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(SHOWN).collect();
    let tail: String = text.chars().skip(count - SHOWN).collect();
    format!("{head:?} … {tail:?} ({count} characters)")
}
