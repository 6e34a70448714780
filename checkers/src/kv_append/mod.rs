//! Strings with appends: is there one order of all operations, agreeing with real time, in which every get
//! returns the key's value at that point?
//!
//! Linearizability is local, so each key is decided on its own. Missing keys hold the empty string.
//!
//! In reading order: `model`: the string as a sequential object, which `sequential` decides; `witness`: a violation minimized,
//! and explained in sentences.

mod model;
mod witness;

use std::sync::atomic::{AtomicBool, AtomicUsize};

use duress_history::kv_append::{KvAppend, KvOp};
use duress_history::{Completion, Operation, Scalar};
use rayon::prelude::*;

use crate::linearizable::{Budget, Limits};
use crate::sequential::{Answer, Asked, Decision, by_key, decide, report};
use crate::verdict::CheckReport;
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
    let memory_bytes = AtomicUsize::new(0);
    let limits = Limits { budget, memory_bytes: &memory_bytes, interrupt };
    let answers = by_key(operations, |action| action.key.as_ref())
        .par_iter()
        .map(|(key, ops)| check_key(operations, *key, ops, limits))
        .collect();
    let asks = operations.iter().any(|operation| matches!(operation.action.op, KvOp::Get(_)));
    report(answers, operations.len(), if asks { Asked::Yes } else { Asked::No })
}

fn check_key(
    operations: &[Operation<KvAppend>],
    key: Option<&Scalar>,
    ops: &[Op],
    limits: Limits<'_>,
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
    let (decision, explored) = decide(&calls, String::new(), key, limits);
    answer.explored = explored;
    match decision {
        Decision::Possible => {}
        Decision::Impossible(violation) => {
            answer.anomaly = Some(witness::anomaly(operations, key, &calls, &violation, limits.interrupt));
        }
        Decision::Undecided(reason) => answer.reason = Some(reason),
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
