//! The operations that etcd's robustness tests record: requests and responses of its API, as JSON.
//!
//! Reads and writes of one key are operations on registers. Requests that change no key (leases that are
//! granted, compaction, defragmentation) are left out; other requests that change keys are refused.

use serde_json::{Map, Value};

use super::object::{Object, OperationObject, Outcome};
use crate::error::{ReadError, shortened};

/// Whether `input` is a request to etcd.
pub(super) fn is_request(input: &Map<String, Value>) -> bool {
    input.get("Type").is_some_and(Value::is_string)
        && (input.contains_key("Txn") || input.contains_key("Range"))
}

/// Returns the operation that asked for `input` and was given `output`.
///
/// # Errors
/// [`ReadError::Field`] for a request that registers do not have.
pub(super) fn operation(
    line: u64,
    input: &Map<String, Value>,
    output: &Value,
    base: OperationObject,
) -> Result<Object, ReadError> {
    let refused = || ReadError::Field {
        line,
        field: "Input",
        found: shortened(&Value::Object(input.clone()).to_string()),
        expected: "a read or a write of one key: only those are operations on registers",
    };
    let base = OperationObject { outcome: outcome(output, &base), error: error(output), ..base };
    match input.get("Type").and_then(Value::as_str) {
        Some("defragment" | "compact" | "leaseGrant") => Ok(Object::Irrelevant),
        Some("range") => {
            let range = input.get("Range").ok_or_else(refused)?;
            let latest = range.get("Revision").is_none_or(|revision| *revision == 0);
            let key = one_key(range).filter(|_| latest).ok_or_else(refused)?;
            Ok(read(key, output.get("Range"), base))
        }
        Some("txn") => {
            let txn = input.get("Txn").ok_or_else(refused)?;
            let part = |name| txn.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let [step] = part("OperationsOnSuccess") else { return Err(refused()) };
            if !part("Conditions").is_empty() {
                return Err(refused());
            }
            match step.get("Type").and_then(Value::as_str) {
                Some("range-operation") => {
                    let key = step.get("Range").and_then(one_key).ok_or_else(refused)?;
                    Ok(read(key, output.pointer("/Txn/Results/0"), base))
                }
                Some("put-operation") => {
                    let put = step.get("Put").ok_or_else(refused)?;
                    if put.get("LeaseID").is_some_and(|lease| *lease != 0) {
                        return Err(refused());
                    }
                    let key = put.get("Key").cloned().ok_or_else(refused)?;
                    let value = stored(put.get("Value").ok_or_else(refused)?);
                    Ok(Object::Operation(OperationObject { f: "write".into(), key, value, ..base }))
                }
                _ => Err(refused()),
            }
        }
        _ => Err(refused()),
    }
}

fn outcome(output: &Value, base: &OperationObject) -> Outcome {
    // Persisted without a response: the operation did happen, and its answer is unknown.
    let open = output.get("Persisted") == Some(&Value::Bool(true))
        || output.get("PartialResponse") == Some(&Value::Bool(true))
        || !error(output).is_null();
    if open || base.returned.is_none() { Outcome::Info } else { Outcome::Ok }
}

fn error(output: &Value) -> Value {
    let text = |name| output.get(name).filter(|error| !error.is_null() && **error != "").cloned();
    text("Error").or_else(|| text("ClientError")).unwrap_or_default()
}

/// Returns the key of `range`, unless it is of several.
fn one_key(range: &Value) -> Option<Value> {
    range
        .get("End")
        .is_none_or(|end| end.is_null() || *end == "")
        .then(|| range.get("Start").cloned())
        .flatten()
}

fn read(key: Value, response: Option<&Value>, base: OperationObject) -> Object {
    let answer =
        response.and_then(|response| response.pointer("/KVs/0/Value")).map(stored).unwrap_or_default();
    Object::Operation(OperationObject { f: "read".into(), key, answer, ..base })
}

/// Returns a value, or the hash that stands in for a long one.
fn stored(value: &Value) -> Value {
    match value.get("Hash") {
        Some(hash) if *hash != 0 => serde_json::json!({ "hash": hash }),
        _ => value.get("Value").unwrap_or(value).clone(),
    }
}
