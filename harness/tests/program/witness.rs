//! A witness held against the history it is about, and against the definition of linearizability.

use std::collections::HashSet;

use serde_json::{Value, json};

/// More operations than this are too many to try every order of.
const OPERATIONS_MAX: usize = 20;

/// Fails the test unless each operation of `anomaly` stands in `history` as it says, and the operations alone, tried in
/// every order that real time allows, are impossible. Answers false where there are too many of them to try.
#[track_caller]
pub fn assert_proves(anomaly: &Value, history: &[Value]) -> bool {
    let operations = anomaly["operations"].as_array().unwrap();
    assert!(!operations.is_empty(), "{anomaly}");
    for operation in operations {
        stands_in_history(operation, &anomaly["objects"][0]["name"], history);
    }
    let label =
        anomaly["contradicts"].as_str().unwrap_or_else(|| panic!("no operation contradicts: {anomaly}"));
    assert!(operations.iter().any(|operation| operation["label"] == label), "{anomaly}");
    if operations.len() > OPERATIONS_MAX {
        return false;
    }
    let starts = match anomaly["start"].get("initial") {
        Some(initial) => vec![initial.clone()],
        // Whatever it held: nothing, a value of these operations, or another.
        None => {
            let values = operations.iter().flat_map(|operation| {
                let (expected, new) = effect(operation["action"].as_str().unwrap());
                [expected, new].into_iter().flatten()
            });
            values.chain([Value::Null, json!("another")]).collect()
        }
    };
    for start in starts {
        assert!(!explained(operations, &start), "from {start} these operations are possible: {anomaly:#}");
    }
    true
}

#[track_caller]
fn stands_in_history(operation: &Value, key: &Value, history: &[Value]) {
    let event = |index: &Value| &history[usize::try_from(index.as_u64().unwrap()).unwrap()];
    let invocation = event(&operation["index"]);
    assert_eq!(invocation["type"], "invoke", "{operation}");
    for field in ["index", "time", "process", "node"] {
        assert_eq!(operation[field], invocation[field], "{field} of {operation}");
    }
    assert_eq!(invocation["value"][0], *key, "{operation}");
    // What was answered, where there is an answer: an invocation does not know what it will read.
    let said = if operation["completion_index"].is_null() {
        assert_eq!(operation["ended"], "info", "{operation}");
        invocation
    } else {
        let completion = event(&operation["completion_index"]);
        assert_eq!(operation["completion_time"], completion["time"], "{operation}");
        assert_eq!(operation["ended"], completion["type"], "{operation}");
        assert_eq!(operation["process"], completion["process"], "{operation}");
        completion
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let value = &said["value"][1];
    let action = match said["f"].as_str() {
        Some("read") => format!("read -> {}", text(value)),
        Some("write") => format!("write {}", text(value)),
        Some("cas") => {
            let refused = said.get("saw").map(|saw| format!(" refused, saw {}", text(&saw[0])));
            format!("cas {} -> {}{}", text(&value[0]), text(&value[1]), refused.unwrap_or_default())
        }
        other => panic!("{other:?} of {operation}"),
    };
    assert_eq!(operation["action"], action.as_str(), "{operation}");
}

/// What the register must hold for an action to answer as it did, if that matters, and what it holds then, if that changes.
fn effect(action: &str) -> (Option<Value>, Option<Value>) {
    let value = |text: &str| text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number));
    let observed = |text: &str| if text == "null" { Value::Null } else { value(text) };
    if let Some(read) = action.strip_prefix("read -> ") {
        return (Some(observed(read)), None);
    }
    if let Some(written) = action.strip_prefix("write ") {
        return (None, Some(value(written)));
    }
    if let Some((_, saw)) = action.split_once(" refused, saw ") {
        return (Some(observed(saw)), None);
    }
    let (old, new) = action.strip_prefix("cas ").and_then(|cas| cas.split_once(" -> ")).unwrap();
    (Some(observed(old)), Some(value(new)))
}

/// Whether some order of `operations`, from `start`, agrees with real time and every answer: each that is ok once, each
/// that is unknown at most once.
pub fn explained(operations: &[Value], start: &Value) -> bool {
    // A comparison that failed and says what it saw is a read.
    let refused = |at: usize| operations[at]["action"].as_str().unwrap().contains(" refused, saw ");
    let ok = |at: usize| operations[at]["ended"] == "ok" || refused(at);
    // What has no end may take effect at any time after it began.
    let end = |at: usize| match ok(at) {
        true => operations[at]["completion_index"].as_u64().unwrap(),
        false => u64::MAX,
    };
    let needed: u32 = (0..operations.len()).filter(|at| ok(*at)).map(|at| 1 << at).sum();
    let mut seen = HashSet::new();
    let mut todo = vec![(0_u32, start.clone())];
    while let Some((done, state)) = todo.pop() {
        if done & needed == needed {
            return true;
        }
        if !seen.insert((done, state.to_string())) {
            continue;
        }
        let open: Vec<usize> = (0..operations.len())
            .filter(|at| done & (1 << at) == 0 && (ok(*at) || operations[*at]["ended"] != "fail"))
            .collect();
        let soonest_end = open.iter().map(|at| end(*at)).min().unwrap_or(u64::MAX);
        for at in open {
            let (expected, new) = effect(operations[at]["action"].as_str().unwrap());
            let began = operations[at]["index"].as_u64().unwrap();
            if began < soonest_end && expected.is_none_or(|expected| expected == state) {
                todo.push((done | (1 << at), new.unwrap_or_else(|| state.clone())));
            }
        }
    }
    false
}
