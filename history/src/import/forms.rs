//! Events as forms of EDN or JSON: maps, one after the other or in a vector, and vectors `[process type f value]`.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::assemble::{Actor, Raw, Sink, unquoted};
use super::object::{self, FieldMap, Object};
use super::quick;
use super::source::Window;
use super::time::Time;
use crate::edn::plain_text;
use crate::error::{ReadError, shortened};
use crate::event::{Fields, OpType};
use crate::jsonl::Line;
use crate::syntax::SyntaxError;
use crate::syntax::{Forms, Next, quote};

/// The fields that may contain the history in a map with other fields.
const HISTORY: [&str; 5] = ["history", "operations", "ops", "events", "entries"];

/// So many brackets may be open around an event.
const LEVELS_MAX: usize = 8;

/// The form of an event.
const EXPECTED: &str =
    "an event, which is a map {:process …, :type …, :f …, :value …} or a vector [process type f value]";

/// The brackets open around the next event.
#[derive(Clone, Copy)]
enum Level {
    /// A vector or list that ends with this character.
    Sequence(u8),
    /// A map that has the history in one of its fields.
    Wrapper,
}

/// Reads the events in `window`.
///
/// # Errors
/// [`ReadError`].
pub(super) fn read(window: &mut Window<'_>, sink: &mut dyn Sink, fields: &FieldMap) -> Result<(), ReadError> {
    let mut reader =
        Reader { sink, fields, levels: Vec::new(), scratch: String::new(), slots: Slots::default() };
    loop {
        let mut forms = Forms::new(window.text(), window.line());
        let (mut done, mut line) = (0, window.line());
        let stopped = loop {
            let began = forms.clone();
            match reader.step(&mut forms) {
                Ok(true) => (done, line) = (forms.at(), forms.line()),
                Ok(false) => {
                    (done, line) = (forms.at(), forms.line());
                    break None;
                }
                // A missing bracket or quote is noticed only further on.
                Err(ReadError::Syntax { source, .. }) => {
                    break Some(ReadError::Syntax { line: began.next_line(), source });
                }
                Err(error) => break Some(error),
            }
        };
        window.advance(done, line);
        let unfinished = matches!(
            &stopped,
            None | Some(ReadError::Syntax { source: SyntaxError::Unterminated { .. }, .. })
        );
        if !unfinished || window.is_last() {
            return match stopped {
                Some(error) if unfinished && is_torn(window.text()) && !reader.sink.is_empty() => {
                    reader.sink.tear();
                    let _ = error;
                    Ok(())
                }
                Some(error) => Err(error),
                None => {
                    if !reader.levels.is_empty() || window.is_cut() {
                        reader.sink.tear();
                    }
                    Ok(())
                }
            };
        }
        window.more()?;
    }
}

/// Whether `rest`, which begins with an unterminated form, is one event, cut short, and nothing else: if
/// another event begins on a later line, a bracket or a quote is missing in the middle of the history.
fn is_torn(rest: &str) -> bool {
    let begins = |line: &str| {
        let line = line.trim_start();
        line.starts_with("{:") || line.starts_with("{\"") || line.starts_with("#jepsen")
    };
    !rest.trim_start().lines().skip(1).any(begins)
}

/// The place of each field's JSON in the scratch text; empty for a missing field.
#[derive(Clone, Default)]
struct Slots {
    index: Range<usize>,
    time: Range<usize>,
    process: Range<usize>,
    op_type: Range<usize>,
    f: Range<usize>,
    value: Range<usize>,
    key: Range<usize>,
    node: Range<usize>,
    error: Range<usize>,
    error_kind: Range<usize>,
    saw: Range<usize>,
    beginning: Range<usize>,
    /// Why the value cannot be read; it may not matter.
    unreadable: Option<SyntaxError>,
}

impl Slots {
    fn named(&mut self, name: &str) -> Option<&mut Range<usize>> {
        // Keywords may have a namespace: `:op/type`.
        let name = name.rsplit('/').next().unwrap_or(name);
        Some(match name {
            "index" => &mut self.index,
            "time" => &mut self.time,
            "process" => &mut self.process,
            "type" => &mut self.op_type,
            "f" => &mut self.f,
            "value" => &mut self.value,
            "key" => &mut self.key,
            "node" => &mut self.node,
            "error" => &mut self.error,
            "error_kind" => &mut self.error_kind,
            "saw" => &mut self.saw,
            "seek-to-beginning?" => &mut self.beginning,
            _ => return None,
        })
    }
}

struct Reader<'r> {
    sink: &'r mut dyn Sink,
    fields: &'r FieldMap,
    levels: Vec<Level>,
    scratch: String,
    slots: Slots,
}

impl Reader<'_> {
    /// Reads an event, or a bracket around events; returns `false` at the end.
    ///
    /// On failure only `forms` has changed, so that the step can be retried with more of the text.
    fn step(&mut self, forms: &mut Forms<'_>) -> Result<bool, ReadError> {
        let Some(next) = wrapped(forms, |forms| forms.peek())? else { return Ok(false) };
        match self.levels.last() {
            Some(Level::Sequence(closing)) if next == *closing => {
                forms.open();
                self.levels.pop();
                return Ok(true);
            }
            Some(Level::Wrapper) => {
                self.wrapper(forms, next)?;
                return Ok(true);
            }
            _ => {}
        }
        if self.fields.is_empty()
            && next == b'{'
            && (self.quick(forms)? || forms.rest().starts_with("{\"") && self.line(forms)?)
        {
            return Ok(true);
        }
        let began = forms.clone();
        match wrapped(forms, Forms::next)? {
            Some(Next::Map) => self.map(forms, &began)?,
            Some(Next::Sequence(closing)) => {
                let mut inside = forms.clone();
                inside.open();
                let first = wrapped(&mut inside, Forms::next)?;
                let last = wrapped(&mut inside, |forms| forms.peek())?;
                let unfinished = SyntaxError::Unterminated { what: "the history", began: forms.line() };
                let last = last.ok_or(ReadError::Syntax { line: forms.line(), source: unfinished })?;
                if first == Some(Next::Other) && last != closing {
                    self.vector(forms, closing)?;
                } else if self.levels.len() == LEVELS_MAX {
                    return Err(ReadError::Syntax { line: forms.line(), source: SyntaxError::TooDeep });
                } else {
                    forms.open();
                    self.levels.push(Level::Sequence(closing));
                }
            }
            Some(Next::Other) | None => return Err(not_an_event(&began)),
        }
        Ok(true)
    }

    /// Reads an event in the usual form; returns `false`, with nothing read, for any other form.
    fn quick(&mut self, forms: &mut Forms<'_>) -> Result<bool, ReadError> {
        let line = forms.line();
        let Some(quick) = quick::read(forms.rest(), &mut self.scratch) else { return Ok(false) };
        let value = if self.scratch.is_empty() { None } else { Some(raw(line, &self.scratch)?) };
        self.sink.push(&Raw {
            line,
            index: quick.index,
            time: quick.time.map(Time::Whole),
            process: Actor::Number(quick.process),
            op_type: quick.op_type,
            f: Some(quick.f),
            fields: Fields { value, key: None, from_beginning: false },
            node: quick.node.map(Cow::Borrowed),
            saw: None,
            error: None,
            error_kind: None,
        })?;
        forms.step_along(quick.bytes);
        Ok(true)
    }

    /// Reads an object that is a line of our own format; returns `false`, with nothing read, for any other
    /// form.
    fn line(&mut self, forms: &mut Forms<'_>) -> Result<bool, ReadError> {
        let mut lines = serde_json::Deserializer::from_str(forms.rest()).into_iter::<Line<'_>>();
        let Some(Ok(line)) = lines.next() else { return Ok(false) };
        self.sink.push(&line.raw(forms.line()))?;
        forms.step_over(lines.byte_offset());
        Ok(true)
    }

    /// Goes on in a map that has a history in it, where `next` comes next.
    fn wrapper(&mut self, forms: &mut Forms<'_>, next: u8) -> Result<(), ReadError> {
        if next == b'}' {
            forms.open();
            self.levels.pop();
            return Ok(());
        }
        let name = self.field_name(forms)?;
        match (name, wrapped(forms, Forms::next)?) {
            (Some(name), Some(Next::Sequence(closing))) if HISTORY.contains(&name) => {
                forms.open();
                self.levels.push(Level::Sequence(closing));
                Ok(())
            }
            _ => wrapped(forms, |forms| forms.skip("a map")),
        }
    }

    /// Reads the next field's name; `None` if it is something else, which is skipped.
    fn field_name<'a>(&mut self, forms: &mut Forms<'a>) -> Result<Option<&'a str>, ReadError> {
        let name = wrapped(forms, |forms| forms.name())?;
        if name.is_none() {
            wrapped(forms, |forms| forms.skip("a map"))?;
        }
        Ok(name)
    }

    /// Reads the next map, which began, with its tags, at `began`.
    fn map(&mut self, forms: &mut Forms<'_>, began: &Forms<'_>) -> Result<(), ReadError> {
        let line = forms.line();
        forms.open();
        self.scratch.clear();
        self.slots = Slots::default();
        while !wrapped(forms, |forms| forms.close(b'}', "an operation", line))? {
            let name = self.field_name(forms)?;
            match wrapped(forms, Forms::next)? {
                Some(Next::Sequence(closing))
                    if self.levels.is_empty() && name.is_some_and(|name| HISTORY.contains(&name)) =>
                {
                    forms.open();
                    self.levels.extend([Level::Wrapper, Level::Sequence(closing)]);
                    return Ok(());
                }
                Some(_) if forms.rest().starts_with('}') => {
                    return Err(ReadError::Syntax { line: forms.line(), source: SyntaxError::OddMap });
                }
                _ => self.field(forms, name)?,
            }
        }
        let usual = !self.slots.process.is_empty()
            && (op_type(&self.scratch[self.slots.op_type.clone()]).is_some()
                || is_nemesis(&self.scratch[self.slots.process.clone()]));
        if usual && self.fields.is_empty() {
            return self.push(line);
        }
        let mut whole = began.clone();
        let mut json = String::new();
        wrapped(&mut whole, |forms| forms.form("an operation", &mut json))?;
        let Ok(Value::Object(object)) = serde_json::from_str(&json) else { return Err(not_an_event(began)) };
        self.object(line, object)
    }

    /// Keeps the value of the field `name`, which comes next, if it is of interest.
    fn field(&mut self, forms: &mut Forms<'_>, name: Option<&str>) -> Result<(), ReadError> {
        let mut slots = std::mem::take(&mut self.slots);
        let is_value = name == Some("value");
        let result = match name.and_then(|name| slots.named(name)) {
            None => wrapped(forms, |forms| forms.skip("an operation")),
            Some(slot) => {
                let (begin, began) = (self.scratch.len(), forms.clone());
                match forms.form("an operation", &mut self.scratch) {
                    Ok(()) => {
                        *slot = begin..self.scratch.len();
                        Ok(())
                    }
                    Err(source @ SyntaxError::Unterminated { .. }) => {
                        Err(ReadError::Syntax { line: forms.line(), source })
                    }
                    // Programs print values that are not EDN. They are skipped, and their absence is an error
                    // only if they matter.
                    Err(error) => {
                        self.scratch.truncate(begin);
                        *forms = began.clone();
                        let skipped = wrapped(forms, |forms| forms.skip("an operation"));
                        let text = &began.rest()[..forms.at() - began.at()];
                        quote(text.trim(), &mut self.scratch);
                        *slot = begin..self.scratch.len();
                        if is_value {
                            slots.unreadable = Some(error);
                        }
                        skipped
                    }
                }
            }
        };
        self.slots = slots;
        result
    }

    /// Reads the next vector: `[process type f value]`, perhaps with an error behind them.
    fn vector(&mut self, forms: &mut Forms<'_>, closing: u8) -> Result<(), ReadError> {
        let (line, began) = (forms.line(), forms.clone());
        forms.open();
        self.scratch.clear();
        self.slots = Slots::default();
        let mut names = ["process", "type", "f", "value", "error"].into_iter();
        while !wrapped(forms, |forms| forms.close(closing, "a vector", line))? {
            self.field(forms, names.next())?;
        }
        if self.slots.f.is_empty() || op_type(&self.scratch[self.slots.op_type.clone()]).is_none() {
            return Err(not_an_event(&began));
        }
        self.push(line)
    }

    /// Hands on the event in the slots.
    fn push(&mut self, line: u64) -> Result<(), ReadError> {
        let slots = std::mem::take(&mut self.slots);
        let scratch = &self.scratch;
        let text = |slot: &Range<usize>| {
            Some(&scratch[slot.clone()]).filter(|text| !text.is_empty() && *text != "null")
        };
        let process = who(text(&slots.process).unwrap_or("null"));
        let process = process.map_err(|found| field(line, "process", found, "a number or a name"))?;
        let op_type = match process {
            // Jepsen's nemesis also invokes; here all it does is `info`.
            Actor::Nemesis => OpType::Info,
            _ => op_type(&scratch[slots.op_type.clone()]).unwrap_or(OpType::Info),
        };
        let mut value = text(&slots.value).map(|json| raw(line, json)).transpose()?;
        if let (Some(source), Actor::Number(_) | Actor::Name(_)) = (slots.unreadable, process) {
            match op_type {
                OpType::Invoke | OpType::Ok => return Err(ReadError::Syntax { line, source }),
                OpType::Fail | OpType::Info => value = None,
            }
        }
        self.sink.push(&Raw {
            line,
            index: text(&slots.index).and_then(|json| json.parse().ok()),
            time: text(&slots.time).and_then(Time::parse),
            process,
            op_type,
            f: text(&slots.f),
            fields: Fields {
                value,
                key: text(&slots.key).map(|json| raw(line, json)).transpose()?,
                from_beginning: text(&slots.beginning) == Some("true"),
            },
            node: text(&slots.node).map(unquoted),
            error: text(&slots.error).map(plain_text),
            error_kind: text(&slots.error_kind).map(plain_text),
            saw: text(&slots.saw).and_then(|json| serde_json::from_str(json).ok()),
        })
    }

    /// Hands on an object that is not a line of ours.
    fn object(&mut self, line: u64, object: Map<String, Value>) -> Result<(), ReadError> {
        let event = match object::read(line, object, self.fields)? {
            Object::Event(event) => event,
            Object::Operation(operation) => return self.sink.push_operation(line, &operation),
            Object::Irrelevant => return Ok(()),
        };
        let json = |value: &Value| if value.is_null() { None } else { Some(value.to_string()) };
        let (f, value, key) = (json(&event.f), json(&event.value), json(&event.key));
        let (process, node) = (event.process.to_string(), json(&event.node));
        let process = who(&process).map_err(|found| field(line, "process", found, "a number or a name"))?;
        self.sink.push(&Raw {
            line,
            index: event.index,
            time: event.time,
            process,
            op_type: event.op_type,
            f: f.as_deref(),
            fields: Fields {
                value: value.as_deref().map(|json| raw(line, json)).transpose()?,
                key: key.as_deref().map(|json| raw(line, json)).transpose()?,
                from_beginning: event.from_beginning,
            },
            node: node.as_deref().map(unquoted),
            error: json(&event.error).as_deref().map(plain_text),
            error_kind: None,
            saw: None,
        })
    }
}

fn field(line: u64, field: &'static str, found: &str, expected: &'static str) -> ReadError {
    ReadError::Field { line, field, found: shortened(found), expected }
}

fn raw(line: u64, json: &str) -> Result<&RawValue, ReadError> {
    serde_json::from_str(json).map_err(|_| field(line, "value", json, "a value of less depth"))
}

/// Returns the process encoded by the JSON text `json`; `json` itself if it is not one.
pub(super) fn who(json: &str) -> Result<Actor<'_>, &str> {
    let name = match json.as_bytes() {
        [b'"', name @ .., b'"'] if !name.is_empty() => &json[1..=name.len()],
        [b'-' | b'0'..=b'9', ..] => json,
        _ => return Err(json),
    };
    Ok(match name.parse() {
        Ok(number) => Actor::Number(number),
        Err(_) if is_nemesis(json) => Actor::Nemesis,
        Err(_) => Actor::Name(name),
    })
}

fn is_nemesis(json: &str) -> bool {
    json.starts_with("\"nemesis") || json.ends_with("/nemesis\"")
}

/// Returns the event type encoded by the JSON text `json`.
fn op_type(json: &str) -> Option<OpType> {
    match json {
        "\"invoke\"" => Some(OpType::Invoke),
        "\"ok\"" => Some(OpType::Ok),
        "\"fail\"" => Some(OpType::Fail),
        "\"info\"" => Some(OpType::Info),
        other => object::op_type_of(other.trim_matches('"')),
    }
}

fn wrapped<'a, T>(
    forms: &mut Forms<'a>,
    read: impl FnOnce(&mut Forms<'a>) -> Result<T, SyntaxError>,
) -> Result<T, ReadError> {
    read(forms).map_err(|source| ReadError::Syntax { line: forms.line(), source })
}

/// Returns the error for a form in `forms` that is not an event.
fn not_an_event(forms: &Forms<'_>) -> ReadError {
    let mut end = forms.clone();
    let (mut began, skipped) = (forms.clone(), end.skip("an event"));
    if let Err(source @ SyntaxError::Unterminated { .. }) = skipped {
        return ReadError::Syntax { line: end.line(), source };
    }
    let _ = began.peek();
    let text = &began.rest()[..end.at().saturating_sub(began.at())];
    ReadError::NotAnEvent { line: began.line(), expected: EXPECTED, found: shortened(text.trim()) }
}
