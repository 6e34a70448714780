//! Turns events as they were recorded into events of a vocabulary.
//!
//! Data irrelevant to the verdict never makes the import fail: an operation that failed, or whose outcome is
//! unknown, keeps its invocation's value, whatever value it was completed with (messages are common there);
//! and an event of type `info` that completes nothing and is not of the vocabulary is left out and counted.

use std::borrow::Cow;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;
use serde_json::value::RawValue;

use super::object::{OperationObject, Outcome};
use super::order::{self, MISSING, Order, Recorded, Sequence};
use super::time::{Clock, Time};
use crate::History;
use crate::edn::plain_text;
use crate::error::{ReadError, shortened};
use crate::event::{Event, Fields, OpError, OpType, Payload, PayloadError, Process, Torn};
use crate::nemesis::{NemesisAct, NemesisEvent};
use crate::node::NodeId;
use crate::scalar::Scalar;

/// The process of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor<'a> {
    /// A client with a number.
    Number(u64),
    /// A client with a name.
    Name(&'a str),
    Nemesis,
}

/// An event before its vocabulary is known.
pub(crate) struct Raw<'a> {
    /// The line of its file.
    pub(crate) line: u64,
    pub(crate) index: Option<u64>,
    pub(crate) time: Option<Time>,
    pub(crate) process: Actor<'a>,
    pub(crate) op_type: OpType,
    /// As JSON; a nemesis's may be anything, or missing.
    pub(crate) f: Option<&'a str>,
    pub(crate) fields: Fields<'a>,
    pub(crate) node: Option<Cow<'a, str>>,
    pub(crate) error: Option<String>,
    pub(crate) error_kind: Option<String>,
    pub(crate) saw: Option<Vec<Scalar>>,
}

/// The open operation of a process.
#[derive(Clone, Copy)]
enum Open {
    Nothing,
    /// The event at this place.
    Event(usize),
    /// Something that was left out.
    LeftOut,
}

struct Client {
    open: Open,
    last_time: i64,
    last_index: u64,
}

/// A process as a file calls it.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Called {
    Number(u64),
    Name(String),
}

/// An operation that was recorded as a whole.
struct Whole<A> {
    client: Option<Called>,
    call: Time,
    returned: Option<Time>,
    asked: A,
    /// The type of its completion, and what that says.
    completion: (OpType, A),
    error: Option<Box<OpError>>,
}

/// Takes what readers find in files: one set of readers serves every vocabulary.
pub(crate) trait Sink {
    /// Begins another file, whose processes are different ones although they may have the same names.
    fn begin_file(&mut self);

    /// Adds what comes next in the file.
    ///
    /// # Errors
    /// [`ReadError`] where it is not of the vocabulary.
    fn push(&mut self, raw: &Raw<'_>) -> Result<(), ReadError>;

    /// Adds an operation that was recorded as a whole, at line `line`.
    ///
    /// # Errors
    /// [`ReadError`] where it is not of the vocabulary.
    fn push_operation(&mut self, line: u64, operation: &OperationObject) -> Result<(), ReadError>;

    /// The last event was cut short.
    fn tear(&mut self);

    /// Whether there has been no event yet.
    fn is_empty(&self) -> bool;
}

/// Turns events as they were recorded into a history.
pub(crate) struct Assembler<A> {
    recorded: Recorded<A>,
    clock: Clock,
    clients: FxHashMap<u64, Client>,
    /// The highest number of a process so far.
    process_max: u64,
    /// The numbers of processes with names, and of those whose number was taken already; in this file, and in
    /// those before it.
    here: FxHashMap<Called, u64>,
    before: FxHashMap<Called, u64>,
    files: u32,
    operations: Vec<Whole<A>>,
    /// Whether events name the objects that they are about; known from the first one on.
    keyed: Option<bool>,
    /// Every node that was named so far: its events share one name.
    nodes: FxHashSet<NodeId>,
}

impl<A: Payload> Sink for Assembler<A> {
    fn begin_file(&mut self) {
        self.files += 1;
        if self.files > 1 {
            self.before.extend(self.here.drain());
            for number in self.clients.keys() {
                self.before.entry(Called::Number(*number)).or_insert(*number);
            }
            self.recorded.sequence.begin_file();
        }
    }

    fn push(&mut self, raw: &Raw<'_>) -> Result<(), ReadError> {
        let time = match raw.time {
            Some(time) => self.clock.read(time, &mut self.recorded.history),
            None => MISSING,
        };
        match raw.process {
            Actor::Nemesis => {
                let index = self.recorded.sequence.follow(raw.line, raw.index, time);
                self.recorded.nemesis_after.push(self.recorded.history.events.len());
                self.recorded.history.nemesis.push(nemesis(raw, index, time)?);
                Ok(())
            }
            Actor::Number(_) | Actor::Name(_) => self.client(raw, time),
        }
    }

    fn push_operation(&mut self, line: u64, operation: &OperationObject) -> Result<(), ReadError> {
        let theirs = operation.f.as_str().unwrap_or_default();
        let f = A::spelled(theirs);
        let json =
            |value: &Value| serde_json::value::to_raw_value(value).ok().filter(|json| json.get() != "null");
        let (key, asked, answer) = (json(&operation.key), json(&operation.value), json(&operation.answer));
        let fields = |value| Fields { value, key: key.as_deref(), from_beginning: false };
        let wrong = |source| ReadError::Payload { line, source };
        if A::is_irrelevant(f, asked.as_deref()) {
            *self.recorded.history.skipped.entry(f.to_owned()).or_default() += 1;
            return Ok(());
        }
        let asked = A::read(OpType::Invoke, f, fields(asked.as_deref()), None).map_err(wrong)?;
        same_naming(&mut self.keyed, line, &asked)?;
        self.recorded.history.note_name(asked.f(), theirs);
        let completion = match operation.outcome {
            Outcome::Ok => {
                (OpType::Ok, A::read(OpType::Ok, f, fields(answer.as_deref()), Some(&asked)).map_err(wrong)?)
            }
            Outcome::Fail => (OpType::Fail, asked.clone()),
            Outcome::Info => (OpType::Info, asked.clone()),
        };
        let client = match &operation.process {
            Value::Null => None,
            Value::Number(number) if number.is_u64() => number.as_u64().map(Called::Number),
            Value::String(name) => {
                Some(name.parse().map_or_else(|_| Called::Name(name.clone()), Called::Number))
            }
            other => Some(Called::Name(other.to_string())),
        };
        let Some(call) = operation.call else { return Ok(()) };
        for time in [Some(call), operation.returned].into_iter().flatten() {
            // The first fraction decides about the unit of all times.
            self.clock.read(time, &mut self.recorded.history);
        }
        let error = json(&operation.error)
            .map(|json| Box::new(OpError { kind: None, text: plain_text(json.get()), saw: None }));
        self.operations.push(Whole { client, call, returned: operation.returned, asked, completion, error });
        Ok(())
    }

    fn tear(&mut self) {
        self.recorded.history.torn = Torn::LastLine;
    }

    fn is_empty(&self) -> bool {
        self.recorded.sequence.entries == 0 && self.operations.is_empty()
    }
}

impl<A: Payload> Assembler<A> {
    pub(crate) fn new() -> Self {
        Self {
            recorded: Recorded {
                history: History::default(),
                nemesis_after: Vec::new(),
                sequence: Sequence::default(),
            },
            clock: Clock::default(),
            clients: FxHashMap::default(),
            process_max: 0,
            here: FxHashMap::default(),
            before: FxHashMap::default(),
            files: 0,
            operations: Vec::new(),
            keyed: None,
            nodes: FxHashSet::default(),
        }
    }

    /// Returns the events in the order in which they happened.
    ///
    /// # Errors
    /// [`ReadError::Order`], [`ReadError::NoCommonOrder`] and [`ReadError::Tied`] where that is unclear.
    pub(crate) fn finish(mut self, order: Order) -> Result<History<A>, ReadError> {
        self.take_apart();
        order::arrange(self.recorded, order)
    }

    /// Makes two events of each operation that was recorded as a whole.
    ///
    /// From here on, overlapping or touching operations of one client belong to different processes.
    fn take_apart(&mut self) {
        self.recorded.sequence.of_operations = !self.operations.is_empty();
        let mut operations = std::mem::take(&mut self.operations).into_iter().map(Some).collect::<Vec<_>>();
        let mut times = Vec::with_capacity(operations.len());
        for (place, whole) in operations.iter().flatten().enumerate() {
            let mut at = |time| self.clock.read(time, &mut self.recorded.history);
            times.push((at(whole.call), place, whole.returned.map(&mut at)));
        }
        times.sort_unstable();
        // By client, each process with the time at which it is free again.
        let mut lanes: FxHashMap<Option<Called>, Vec<(u64, i64)>> = FxHashMap::default();
        for (line, (call, place, returned)) in times.into_iter().enumerate() {
            let whole = operations[place].take().expect("each place is there once");
            let free = returned.unwrap_or(i64::MAX);
            let lanes = lanes.entry(whole.client.clone()).or_default();
            let process = match lanes.iter_mut().find(|(_, free)| *free < call) {
                Some(lane) => {
                    lane.1 = free;
                    lane.0
                }
                None => {
                    let named = match &whole.client {
                        Some(Called::Number(number)) if !self.clients.contains_key(number) => Some(*number),
                        _ => None,
                    };
                    let process =
                        named.unwrap_or(if self.clients.is_empty() { 0 } else { self.process_max + 1 });
                    lanes.push((process, free));
                    process
                }
            };
            self.process_max = self.process_max.max(process);
            self.clients.entry(process).or_insert(Client {
                open: Open::Nothing,
                last_time: MISSING,
                last_index: 0,
            });
            let Whole { asked, completion: (op_type, answer), error, .. } = whole;
            let completed = returned.map(|returned| (returned, op_type, answer, error));
            for (time, op_type, action, error) in
                [(call, OpType::Invoke, asked, None)].into_iter().chain(completed)
            {
                let index = self.recorded.sequence.follow(line as u64, None, time);
                let (time, process) = (time as u64, Process(process));
                let event = Event { index, time, process, op_type, action, node: None, error };
                self.recorded.history.events.push(event);
            }
        }
    }

    fn client(&mut self, raw: &Raw<'_>, time: i64) -> Result<(), ReadError> {
        let process = self.number(raw.process, raw.op_type);
        let open = self.clients.get(&process).map_or(Open::Nothing, |client| client.open);
        let invoked = match open {
            Open::Event(at) if raw.op_type != OpType::Invoke => {
                Some(&self.recorded.history.events[at].action)
            }
            _ => None,
        };
        let theirs = match (raw.f, invoked) {
            (Some(f), _) => unquoted(f),
            (None, Some(invoked)) => invoked.f().into(),
            (None, None) => match A::ONLY_F {
                Some(f) => f.into(),
                None => return Err(ReadError::Missing { line: raw.line, missing: "f", found: Vec::new() }),
            },
        };
        let f = A::spelled(&theirs);
        let read = || A::read(raw.op_type, f, raw.fields, invoked);
        let action = match (raw.op_type, invoked) {
            (OpType::Fail | OpType::Info, Some(invoked)) if invoked.f() == f => Ok(invoked.clone()),
            (OpType::Invoke, _) if A::is_irrelevant(f, raw.fields.value) => {
                return self.leave_out(process, f, Open::LeftOut);
            }
            (OpType::Invoke, _) => read(),
            _ if matches!(open, Open::LeftOut) => return self.leave_out(process, f, Open::Nothing),
            (OpType::Info, _) => match read() {
                // A note between operations, or during one.
                Err(PayloadError::UnknownF { .. }) => return self.leave_out(process, f, open),
                action => action,
            },
            (OpType::Ok | OpType::Fail, _) => read(),
        };
        let action = action.map_err(|source| ReadError::Payload { line: raw.line, source })?;
        same_naming(&mut self.keyed, raw.line, &action)?;
        let Recorded { history, sequence, .. } = &mut self.recorded;
        history.note_name(action.f(), &theirs);
        let index = sequence.follow(raw.line, raw.index, time);
        let open =
            if raw.op_type == OpType::Invoke { Open::Event(history.events.len()) } else { Open::Nothing };
        let client =
            self.clients.entry(process).or_insert(Client { open, last_time: time, last_index: index });
        sequence.follow_process(raw.line, (client.last_index, index), (client.last_time, time));
        *client = Client { open, last_time: client.last_time.max(time), last_index: index };
        let event = Event {
            index,
            time: time as u64,
            process: Process(process),
            op_type: raw.op_type,
            action,
            node: raw.node.as_deref().map(|name| self.node(name)),
            error: raw.error.clone().map(|text| {
                let kind = raw.error_kind.clone().map(Cow::Owned);
                Box::new(OpError { kind, text, saw: raw.saw.as_ref().map(|saw| saw.first().cloned()) })
            }),
        };
        self.recorded.history.events.push(event);
        Ok(())
    }

    /// Counts an event that is left out; after it, its process has `open`.
    fn leave_out(&mut self, process: u64, f: &str, open: Open) -> Result<(), ReadError> {
        let client = self.clients.entry(process);
        client.or_insert(Client { open, last_time: MISSING, last_index: 0 }).open = open;
        *self.recorded.history.skipped.entry(f.to_owned()).or_default() += 1;
        Ok(())
    }

    /// Returns the number of a process, whose next event is of type `op_type`.
    fn number(&mut self, who: Actor<'_>, op_type: OpType) -> u64 {
        if let Actor::Number(number) = who
            && self.files <= 1
            && self.here.is_empty()
        {
            self.process_max = self.process_max.max(number);
            return number;
        }
        if self.here.is_empty() && self.files <= 1 {
            // The first name: from here on, numbers are looked up too.
            self.here.extend(self.clients.keys().map(|number| (Called::Number(*number), *number)));
        }
        let called = match who {
            Actor::Number(number) => Called::Number(number),
            Actor::Name(name) => Called::Name(name.to_owned()),
            Actor::Nemesis => unreachable!("the nemesis has no number"),
        };
        if let Some(known) = self.here.get(&called) {
            return *known;
        }
        let earlier = self.before.get(&called).copied();
        let continues = |number: &u64| {
            op_type != OpType::Invoke
                && self.clients.get(number).is_some_and(|client| !matches!(client.open, Open::Nothing))
        };
        let number = match (&called, earlier) {
            // The operation's invocation ends one file and its completion begins the next.
            (_, Some(earlier)) if continues(&earlier) => earlier,
            (Called::Number(number), None) if !self.clients.contains_key(number) => *number,
            _ if self.clients.is_empty() => 0,
            _ => self.process_max + 1,
        };
        self.process_max = self.process_max.max(number);
        self.here.insert(called, number);
        number
    }

    /// Returns the node that is called `name`.
    fn node(&mut self, name: &str) -> NodeId {
        if let Some(node) = self.nodes.get(name) {
            return node.clone();
        }
        let node = NodeId::new(name);
        self.nodes.insert(node.clone());
        node
    }
}

/// Refuses `action` where it names its object and others before it did not, or the other way around: whether they are
/// about the same object cannot be known.
fn same_naming<A: Payload>(keyed: &mut Option<bool>, line: u64, action: &A) -> Result<(), ReadError> {
    let names = action.key().is_some();
    match *keyed.get_or_insert(names) == names {
        true => Ok(()),
        false => Err(ReadError::Field {
            line,
            field: "key",
            found: action.key().map_or_else(|| "missing".to_owned(), ToString::to_string),
            expected: if names { "none, as in the events before" } else { "a key, as in the events before" },
        }),
    }
}

/// Returns the string encoded by the JSON text `json`, and other JSON unchanged.
pub(super) fn unquoted(json: &str) -> Cow<'_, str> {
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => plain.into(),
        Some(_) => serde_json::from_str(json).map_or(json.into(), |text: String| text.into()),
        None => json.into(),
    }
}

fn nemesis(raw: &Raw<'_>, index: u64, time: i64) -> Result<NemesisEvent, ReadError> {
    let read = |field, json: Option<&str>| match json {
        Some(json) => serde_json::from_str(json).map_err(|_| ReadError::Field {
            line: raw.line,
            field,
            found: shortened(json),
            expected: "a value of less depth",
        }),
        None => Ok(Value::Null),
    };
    let f = read("f", raw.f)?;
    let value = read("value", raw.fields.value.map(RawValue::get))?;
    // Its times count only for our own runs, whose times are not negative.
    let act = NemesisAct::read(time.max(0) as u64, f, value, raw.error.clone());
    Ok(NemesisEvent { index, time: time as u64, act })
}
