//! Objects with other field names, and objects that are a whole operation.
//!
//! An object with the times of a call and of its return is an operation: Porcupine's (`ClientId`, `Input`,
//! `Call`, `Output`, `Return`), those of etcd's robustness tests ([`etcd`](super::etcd)), and those that many
//! programs write for themselves (`client`, `op`, `key`, `value`, `start`, `end`). Names are compared without
//! regard to case, `_` and `-`. A [`FieldMap`] names fields with any other name.

use serde_json::{Map, Value};

use super::etcd;
use super::time::Time;
use crate::error::{ReadError, shortened};
use crate::event::OpType;

/// The fields that an event can have.
const EVENT: [&str; 9] = ["index", "time", "type", "process", "f", "value", "key", "node", "error"];
/// And those that an operation can have beside them.
const OPERATION: [&str; 3] = ["call", "return", "answer"];

const PROCESS: &[&str] =
    &["process", "client", "clientid", "thread", "threadid", "worker", "session", "proc"];
const TYPE: &[&str] = &["type", "kind", "phase", "status", "event"];
const F: &[&str] = &["f", "op", "operation", "function", "action", "method", "command", "cmd"];
const KEY: &[&str] = &["key", "k", "register", "object"];
const VALUE: &[&str] = &["value", "val", "v", "arg", "args", "argument", "new", "newvalue", "to", "data"];
const OLD: &[&str] = &["old", "oldvalue", "expected", "expect", "from", "compare", "prev"];
const NEW: &[&str] = &["new", "newvalue", "to", "update", "value", "val", "v", "swap"];
const ANSWER: &[&str] = &["answer", "value", "val", "v", "result", "read", "data"];
const TIME: &[&str] = &["time", "timestamp", "ts", "at"];
const INDEX: &[&str] = &["index", "idx"];
const ERROR: &[&str] = &["error", "err", "exception"];
const CALL: &[&str] =
    &["call", "start", "begin", "invoke", "invoked", "calltime", "starttime", "begintime", "invocation"];
const RETURN: &[&str] =
    &["return", "end", "finish", "complete", "completed", "returntime", "endtime", "finishtime", "response"];
const INPUT: &[&str] = &["input", "request", "req"];
const OUTPUT: &[&str] = &["output", "response", "resp", "result", "answer"];
/// The fields that hold, as true or false, whether the operation succeeded.
const DONE: &[&str] = &["ok", "success", "succeeded", "swapped", "applied", "done"];
const FOUND: &[&str] = &["exists", "found", "present"];

/// The mapping of an object's fields to ours: `--map THEIRS=OURS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldMap(Vec<(String, &'static str)>);

/// Why a field cannot be named as ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid field mapping {asked:?}: expected THEIRS=OURS, where OURS is one of {}", known.join(", "))]
pub struct FieldMapError {
    asked: String,
    known: Vec<&'static str>,
}

impl FieldMap {
    /// Adds `THEIRS=OURS`; THEIRS may be a path into objects inside the object: `Input.op=f`.
    ///
    /// # Errors
    /// [`FieldMapError`] where OURS is not a field that events or operations have.
    pub fn add(&mut self, asked: &str) -> Result<(), FieldMapError> {
        let known = || EVENT.into_iter().chain(OPERATION);
        let ours = asked.rsplit_once('=').and_then(|(theirs, ours)| {
            let ours = known().find(|name| *name == ours)?;
            (!theirs.is_empty()).then_some((theirs.to_owned(), ours))
        });
        self.0.push(ours.ok_or_else(|| FieldMapError { asked: asked.to_owned(), known: known().collect() })?);
        Ok(())
    }

    /// Whether every field is named as ours.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `object` with the fields that are mapped under our names, and without any other field of those names.
    fn renamed(&self, object: Map<String, Value>) -> Map<String, Value> {
        if self.is_empty() {
            return object;
        }
        let found = |path: &str| {
            path.split('.').try_fold(None, |at: Option<&Value>, name| match at {
                None => object.get(name).map(Some),
                Some(value) => value.get(name).map(Some),
            })
        };
        let named: Vec<(&str, Value)> = self
            .0
            .iter()
            .filter_map(|(theirs, ours)| {
                let whole = object.get(theirs).or_else(|| found(theirs).flatten());
                whole.map(|value| (*ours, value.clone()))
            })
            .collect();
        let mut renamed = object;
        for (theirs, _) in &self.0 {
            renamed.remove(theirs);
        }
        renamed.extend(named.into_iter().map(|(ours, value)| (ours.to_owned(), value)));
        renamed
    }
}

/// The kind of an object.
pub(super) enum Object {
    Event(EventObject),
    Operation(OperationObject),
    /// An operation that is irrelevant to every vocabulary.
    Irrelevant,
}

/// An event, its fields under our names; missing ones are null.
pub(super) struct EventObject {
    pub(super) index: Option<u64>,
    pub(super) time: Option<Time>,
    pub(super) process: Value,
    pub(super) op_type: OpType,
    pub(super) f: Value,
    pub(super) value: Value,
    pub(super) key: Value,
    pub(super) node: Value,
    pub(super) error: Value,
    pub(super) from_beginning: bool,
}

/// A whole operation.
#[derive(Debug, Default)]
pub(super) struct OperationObject {
    /// Null where the client has no name: each such operation is a client's of its own.
    pub(super) process: Value,
    pub(super) call: Option<Time>,
    /// `None` if it never returned.
    pub(super) returned: Option<Time>,
    pub(super) outcome: Outcome,
    pub(super) f: Value,
    pub(super) key: Value,
    pub(super) value: Value,
    pub(super) answer: Value,
    pub(super) error: Value,
}

/// The outcome of an operation that returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Outcome {
    #[default]
    Ok,
    Fail,
    Info,
}

/// Returns the field of `object` that has one of `names`.
fn find<'a>(object: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    let plain = |name: &str| {
        let letters = name.chars().filter(|letter| !matches!(letter, '_' | '-'));
        letters.flat_map(char::to_lowercase).collect::<String>()
    };
    names.iter().find_map(|wanted| {
        let same = |(name, _): &(&String, &Value)| name == wanted || plain(name) == *wanted;
        object.iter().find(same).map(|(_, value)| value)
    })
}

/// Returns the event type that `word` means, if it means one.
pub(super) fn op_type_of(word: &str) -> Option<OpType> {
    Some(match word.to_ascii_lowercase().as_str() {
        "invoke" | "invocation" | "call" => OpType::Invoke,
        "ok" | "return" | "success" => OpType::Ok,
        "fail" | "failed" | "failure" => OpType::Fail,
        "info" | "unknown" | "timeout" => OpType::Info,
        _ => return None,
    })
}

/// Reads the object at line `line`.
///
/// # Errors
/// [`ReadError::Missing`] and [`ReadError::Field`].
pub(super) fn read(line: u64, object: Map<String, Value>, fields: &FieldMap) -> Result<Object, ReadError> {
    let object = fields.renamed(object);
    let types =
        || find(&object, &["type"]).and_then(Value::as_str).is_some_and(|word| op_type_of(word).is_some());
    if find(&object, CALL).is_some()
        && (find(&object, RETURN).is_some() || find(&object, OUTPUT).is_some() || !types())
    {
        return operation(line, &object);
    }
    event(line, object).map(Object::Event)
}

fn event(line: u64, mut object: Map<String, Value>) -> Result<EventObject, ReadError> {
    let names: Vec<String> = object.keys().cloned().collect();
    let missing = |missing| ReadError::Missing { line, missing, found: names.clone() };
    let kind = find(&object, TYPE).cloned();
    // Porcupine's events: false is a call and true is a return, of the value that `Value` has.
    let porcupine = kind.as_ref().and_then(Value::as_bool);
    let process = find(&object, PROCESS).cloned().ok_or_else(|| missing("process"))?;
    let op_type = match (&kind, porcupine) {
        (_, Some(returned)) => {
            if returned {
                OpType::Ok
            } else {
                OpType::Invoke
            }
        }
        _ if process == "nemesis" => OpType::Info,
        (None, _) => return Err(missing("type")),
        (Some(Value::String(word)), _) if op_type_of(word).is_some() => {
            op_type_of(word).unwrap_or(OpType::Info)
        }
        (Some(other), _) => {
            let expected = "invoke, ok, fail or info";
            return Err(ReadError::Field {
                line,
                field: "type",
                found: shortened(&other.to_string()),
                expected,
            });
        }
    };
    if porcupine.is_some()
        && let Some(Value::Object(inner)) = find(&object, &["value"]).cloned()
    {
        object.remove("Value");
        object.extend(inner);
    }
    let taken = |names| find(&object, names).cloned().unwrap_or_default();
    let f = taken(F);
    let value = value(&object, &f, VALUE);
    let answer = find(&object, ANSWER).cloned();
    Ok(EventObject {
        index: find(&object, INDEX).and_then(Value::as_u64),
        time: find(&object, TIME).and_then(|time| Time::parse(&time.to_string())),
        process,
        op_type,
        f,
        value: if op_type == OpType::Ok { answer.unwrap_or(value) } else { value },
        key: taken(KEY),
        node: taken(&["node"]),
        error: taken(ERROR),
        from_beginning: object.get("seek-to-beginning?") == Some(&Value::Bool(true)),
    })
}

/// Returns the request: the value, or, for a compare-and-set whose values have fields of their own, both.
fn value(object: &Map<String, Value>, f: &Value, names: &[&str]) -> Value {
    let cas = f.as_str().is_some_and(|f| f.to_lowercase().starts_with("c"));
    match (find(object, OLD), find(object, NEW)) {
        (Some(old), Some(new)) if cas => Value::Array(vec![old.clone(), new.clone()]),
        _ => find(object, names).cloned().unwrap_or_default(),
    }
}

fn operation(line: u64, object: &Map<String, Value>) -> Result<Object, ReadError> {
    let names = || object.keys().cloned().collect();
    let call = find(object, CALL).and_then(|time| Time::parse(&time.to_string()));
    let call = call.ok_or_else(|| ReadError::Missing { line, missing: "call", found: names() })?;
    // A return at the end of time, or before the call, is how those are written that never returned.
    let returned = find(object, RETURN).and_then(|time| Time::parse(&time.to_string()));
    let returned = returned.filter(|time| match (call, time) {
        (Time::Whole(call), Time::Whole(time)) => call <= *time && *time < i64::MAX,
        (Time::Fraction(call), Time::Fraction(time)) => call <= *time,
        _ => true,
    });
    let base = OperationObject {
        process: find(object, PROCESS).cloned().unwrap_or_default(),
        call: Some(call),
        returned,
        ..OperationObject::default()
    };
    let output = find(object, OUTPUT).cloned().unwrap_or_default();
    match find(object, INPUT) {
        Some(Value::Object(input)) if etcd::is_request(input) => etcd::operation(line, input, &output, base),
        Some(Value::Object(input)) => {
            // Mapped fields beside it come first.
            let mut input = input.clone();
            for ours in ["f", "key", "value"] {
                if let Some(value) = object.get(ours) {
                    input.insert(ours.to_owned(), value.clone());
                }
            }
            answered(line, &input, &output, base)
        }
        _ => answered(line, object, &output, base),
    }
}

/// Returns an operation requested with `input`, whose `output` is the answer, or contains it.
fn answered(
    line: u64,
    input: &Map<String, Value>,
    output: &Value,
    base: OperationObject,
) -> Result<Object, ReadError> {
    let missing = || ReadError::Missing { line, missing: "f", found: input.keys().cloned().collect() };
    let f = find(input, F).or_else(|| find(input, &["type", "kind"])).filter(|f| f.is_string());
    let f = f.cloned().ok_or_else(missing)?;
    let failed = |error: &Value| !matches!(error, Value::Null | Value::Bool(false)) && error != "";
    let nothing = Map::new();
    let inside = output.as_object().unwrap_or(&nothing);
    let error = find(inside, ERROR).or_else(|| find(input, ERROR)).filter(|error| failed(error)).cloned();
    let done = match output {
        Value::Bool(done) => Some(*done),
        _ => find(inside, DONE).or_else(|| find(input, DONE)).and_then(Value::as_bool),
    };
    let unknown = find(inside, &["unknown"]).and_then(Value::as_bool) == Some(true);
    let word = find(input, &["status", "outcome", "type"]).and_then(Value::as_str).and_then(op_type_of);
    let compares = f.as_str().is_some_and(|f| f.to_lowercase().starts_with('c'));
    let outcome = match (word, done) {
        _ if unknown || base.returned.is_none() => Outcome::Info,
        (Some(OpType::Info | OpType::Invoke), _) => Outcome::Info,
        (Some(OpType::Fail), _) => Outcome::Fail,
        // A comparison that failed did not happen; that another operation did not succeed may mean anything.
        (_, Some(false)) if compares => Outcome::Fail,
        (_, Some(false)) => Outcome::Info,
        _ if error.is_some() => Outcome::Info,
        _ => Outcome::Ok,
    };
    let absent = find(inside, FOUND).and_then(Value::as_bool) == Some(false);
    let asked = value(input, &f, VALUE);
    let answer = match output {
        _ if absent => Value::Null,
        Value::Object(_) => find(inside, ANSWER).cloned().unwrap_or_default(),
        // A flat object has one value: the written or the read one.
        Value::Null if find(input, RETURN).is_some() => asked.clone(),
        Value::Bool(_) if compares => Value::Null,
        other => other.clone(),
    };
    let key = find(input, KEY).cloned().unwrap_or_default();
    let error = error.unwrap_or_default();
    Ok(Object::Operation(OperationObject { outcome, f, key, value: asked, answer, error, ..base }))
}
