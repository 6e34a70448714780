//! A violation minimized, in sound ways, and explained in sentences.
//!
//! The rest must still be impossible because the whole is, so each change may only allow more orders:
//! - leaving out what began after the get that cannot be explained, and leaving out another get;
//! - turning an operation that happened into one that may have happened;
//! - leaving out all that completed before a put began, and all gets that began before it completed: the
//!   key's value before the put does not matter after it. A get is as good as a put of its answer.

use std::sync::atomic::AtomicBool;

use duress_history::kv_append::{KvAppend, KvOp};
use duress_history::{Operation, Scalar};

use super::model::{Call, Effect, observed};
use super::quoted;
use crate::sequential::{TRIALS_MAX, trial};
use crate::verdict::{Anomaly, AnomalyKind, Object, ObjectKind, RelationKind, Role};
use crate::witness::{Op, Witness, say};

/// The get that cannot be explained.
type Violation = crate::sequential::Violation<String>;

/// The number of the latest operations that are tried as the beginning of a witness.
const BEGINNINGS_MAX: usize = 32;

/// Returns the witness of `violation`, which `calls` have, all on the string `key`.
pub(super) fn anomaly(
    operations: &[Operation<KvAppend>],
    key: Option<&Scalar>,
    calls: &[Call<'_>],
    violation: &Violation,
    interrupt: &AtomicBool,
) -> Anomaly {
    let get = calls[violation.call];
    if let Effect::Get(answer) = get.effect
        && !is_made_of(answer, calls)
    {
        return phantom(operations, key, get.op, answer);
    }
    let (calls, violation) = shrink(calls, violation, interrupt);
    let objects: Vec<Object> = key.map(|key| Object::new(ObjectKind::Key, key)).into_iter().collect();
    let is_shown_get = |op: Op| matches!(operations[op as usize].action.op, KvOp::Get(_));
    let role = |op: Op| if is_shown_get(op) { Role::Evidence } else { Role::Write };
    let roles =
        calls.iter().map(|call| (call.op, if call.op == get.op { Role::Read } else { role(call.op) }));
    let witness = Witness::of(objects, operations, &(), roles);
    let subject = key.map_or_else(|| "the string".to_owned(), Scalar::to_string);
    let read = witness.named(get.op);
    let mut before: Vec<&Call<'_>> =
        calls.iter().filter(|call| call.complete.is_some_and(|complete| complete < get.invoke)).collect();
    before.sort_by_key(|call| call.invoke);
    // A get that replaces a put of its answer comes before everything else.
    let begins =
        before.first().filter(|first| is_shown_get(first.op) && matches!(first.effect, Effect::Put(_)));
    let mut steps = vec![match begins {
        Some(first) => {
            say(format!("{} shows the value of {subject} then.", witness.named(first.op)), &[first.op])
        }
        None => say(format!("At first {subject} is empty."), &[]),
    }];
    for pair in before.windows(2) {
        if pair[0].complete.is_some_and(|complete| complete < pair[1].invoke) {
            steps.push(witness.before(pair[0].op, pair[1].op));
        }
    }
    if let Some(last) = before.iter().max_by_key(|call| call.complete) {
        steps.push(witness.before(last.op, get.op));
    }
    let may: Vec<String> = violation.held.iter().map(|text| quoted(text)).collect();
    let more = violation.held_count - violation.held.len();
    let more = if more > 0 { format!(" or one of {more} others") } else { String::new() };
    let may = format!("{}{more}", may.join(" or "));
    let about: Vec<Op> = calls.iter().map(|call| call.op).collect();
    let mut order = say(
        format!(
            "So in every order of these operations that agrees with real time, {subject} holds {may} when {read} is answered."
        ),
        &about,
    );
    for call in calls.iter().filter(|call| call.op != get.op && !is_shown_get(call.op)) {
        order = order.relates(RelationKind::WriteRead, call.op, get.op);
    }
    steps.push(order);
    let summary = format!("{read} was answered when {subject} can only have held {may}");
    witness.anomaly(AnomalyKind::Nonlinearizable, get.op, summary, steps)
}

/// Returns whether `text` is a concatenation of put and appended strings.
fn is_made_of(text: &str, calls: &[Call<'_>]) -> bool {
    let mut parts: Vec<&str> = calls
        .iter()
        .filter_map(|call| match call.effect {
            Effect::Put(part) | Effect::Append(part) => Some(part),
            Effect::Get(_) => None,
        })
        .filter(|part| !part.is_empty())
        .collect();
    parts.sort_unstable();
    parts.dedup();
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for at in 0..text.len() {
        if reached[at] {
            let rest = &text[at..];
            parts
                .iter()
                .filter(|part| rest.starts_with(**part))
                .for_each(|part| reached[at + part.len()] = true);
        }
    }
    reached[text.len()]
}

fn phantom(operations: &[Operation<KvAppend>], key: Option<&Scalar>, get: Op, answer: &str) -> Anomaly {
    let objects: Vec<Object> = key.map(|key| Object::new(ObjectKind::Key, key)).into_iter().collect();
    let witness = Witness::of(objects, operations, &(), [(get, Role::Read)]);
    let why = format!(
        "{} is not a concatenation of strings that operations may have put or appended",
        quoted(answer)
    );
    let steps = vec![
        say(format!("{} was answered with {}.", witness.named(get), quoted(answer)), &[get]),
        say(format!("But {why}."), &[get]),
    ];
    let summary = format!("{}: {why}", witness.named(get));
    witness.anomaly(AnomalyKind::PhantomRead, get, summary, steps)
}

/// Returns fewer of `calls`, with the same get impossible.
fn shrink<'a>(
    calls: &[Call<'a>],
    violation: &Violation,
    interrupt: &AtomicBool,
) -> (Vec<Call<'a>>, Violation) {
    let get = calls[violation.call];
    let end = get.complete.unwrap_or(u64::MAX);
    let prefix = calls
        .iter()
        .filter(|call| call.invoke <= end)
        .map(|call| Call { complete: call.complete.filter(|complete| *complete <= end), ..*call });
    let mut small = observed(prefix.filter(|call| call.complete.is_some() || !is_get(call)).collect());
    let mut found = Violation { call: 0, held: violation.held.clone(), held_count: violation.held_count };
    let still = |calls: &[Call<'_>]| {
        trial(calls, &String::new(), interrupt).filter(|still| calls[still.call].op == get.op)
    };
    let mut beginnings: Vec<Call<'_>> = small
        .iter()
        .filter(|call| call.complete.is_some_and(|complete| complete < get.invoke))
        .filter(|call| !matches!(call.effect, Effect::Append(_)))
        .copied()
        .collect();
    beginnings.sort_by_key(|call| std::cmp::Reverse(call.complete));
    // Earlier operations are left out: without this get, the key's value would be unknown.
    let mut begins = None;
    for beginning in beginnings.iter().take(BEGINNINGS_MAX) {
        let cut = from(&small, beginning);
        if let Some(violation) = still(&cut) {
            (small, found) = (cut, violation);
            begins = Some(beginning.op);
            break;
        }
    }
    let mut trials = 0;
    let mut at = 0;
    while at < small.len() && trials < TRIALS_MAX {
        let call = small[at];
        if call.op == get.op || begins == Some(call.op) || call.complete.is_none() {
            at += 1;
            continue;
        }
        trials += 1;
        let mut less = small.clone();
        if is_get(&call) {
            less.remove(at);
        } else {
            less[at].complete = None;
        }
        let less = observed(less);
        match still(&less) {
            Some(violation) => (small, found) = (less, violation),
            None => at += 1,
        }
    }
    (small, found)
}

/// Returns `calls` from `beginning` on, a put, or a get as the put of its answer.
fn from<'a>(calls: &[Call<'a>], beginning: &Call<'a>) -> Vec<Call<'a>> {
    let completed = beginning.complete.unwrap_or(u64::MAX);
    let kept = calls.iter().filter(|call| match call.effect {
        _ if call.op == beginning.op => true,
        Effect::Get(_) => call.invoke > completed,
        Effect::Put(_) | Effect::Append(_) => {
            call.complete.is_none_or(|complete| complete > beginning.invoke)
        }
    });
    let begins = |call: &Call<'a>| match call.effect {
        Effect::Get(text) if call.op == beginning.op => Call { effect: Effect::Put(text), ..*call },
        _ => *call,
    };
    observed(kept.map(begins).collect())
}

fn is_get(call: &Call<'_>) -> bool {
    matches!(call.effect, Effect::Get(_))
}
