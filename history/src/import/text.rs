//! Events as lines of text: Jepsen's `history.txt`, and the lines of `jepsen.log` that report one.
//!
//! ```text
//! 0   :invoke   :write   4
//! 1   :info     :cas     [4 1]   :timed-out
//! INFO  jepsen.util - 3   :ok   :read   5
//! ```
//!
//! The words are separated by tabs or other white space. In a table, whose events begin their lines, every
//! line is an event. In a log, lines without an event are left out.

use serde_json::value::RawValue;

use super::assemble::{Actor, Raw, Sink};
use super::forms::who;
use super::object;
use super::source::Window;
use crate::edn::plain_text;
use crate::error::{ReadError, shortened};
use crate::event::{Fields, OpType};
use crate::syntax::{Forms, quote};

const EXPECTED: &str = "process, type, f and value of an event, with tabs between them";

/// Whether `text` consists of lines, not of forms.
pub(super) fn is_lines(text: &str) -> bool {
    let text =
        text.trim_start_matches(|next: char| next.is_whitespace() || next == '\u{feff}' || next == '\0');
    let first_line = text.lines().next().unwrap_or_default();
    match text.as_bytes() {
        [b'{' | b'(' | b';' | b'^', ..] | [] => false,
        [b'#', next, ..] => !(next.is_ascii_alphabetic() || b":_!{^".contains(next)),
        // `[2026-11-23 10:00:00] INFO …` is a log, `[0 :invoke :read nil]` a form.
        [b'[', ..] => first_line.split_once(']').is_some_and(|(before, after)| {
            !before.contains(['{', '(']) && Line::parse(after).is_some_and(|line| line.place == Place::Within)
        }),
        _ => true,
    }
}

/// The place of an event in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the beginning: the file is a table.
    Beginning,
    /// After the prefix that a logger puts before each line.
    Within,
}

/// An event in a line.
struct Line<'a> {
    place: Place,
    process: &'a str,
    op_type: OpType,
    /// `f`, `value` and the error.
    rest: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut before: Option<&str> = None;
        let mut at = 0;
        for (number, token) in line.split(char::is_whitespace).filter(|token| !token.is_empty()).enumerate() {
            // Tokens are slices of the line.
            at += line[at..].find(token)? + token.len();
            let place = if number <= 1 { Place::Beginning } else { Place::Within };
            let word = token.strip_prefix(':');
            // Only at the beginning of a line can words without a colon be distinguished from any others.
            let op_type = word.or((number == 1).then_some(token)).and_then(|word| match word {
                "invoke" | "ok" | "fail" | "info" => object::op_type_of(word),
                _ => None,
            });
            if let (Some(process), Some(op_type)) = (before, op_type) {
                let is_number = process.bytes().all(|byte| byte.is_ascii_digit());
                if is_number || process.starts_with(':') || place == Place::Beginning {
                    return Some(Self { place, process, op_type, rest: &line[at..] });
                }
            }
            before = Some(token);
        }
        None
    }
}

/// Reads the lines in `window`.
///
/// # Errors
/// [`ReadError`].
pub(super) fn read(window: &mut Window<'_>, sink: &mut dyn Sink) -> Result<(), ReadError> {
    let mut found: Option<Place> = None;
    // The first line without an event before any with one: ignored if the file is a log.
    let mut unclear: Option<ReadError> = None;
    loop {
        let Some(end) = window.text().find('\n').or(window.is_last().then_some(window.text().len())) else {
            window.more()?;
            continue;
        };
        if end == 0 && window.text().is_empty() {
            break;
        }
        let number = window.line();
        let line = window.text()[..end].trim_matches(|next: char| next.is_whitespace() || next == '\0');
        let is_last = end == window.text().len();
        match Line::parse(line) {
            Some(event) if found.is_none_or(|place| place == event.place || place == Place::Within) => {
                found.get_or_insert(event.place);
                match push(number, &event, sink) {
                    Err(ReadError::Syntax { .. } | ReadError::Missing { .. }) if is_last => sink.tear(),
                    result => result?,
                }
            }
            _ if found == Some(Place::Within) || line.is_empty() || line.starts_with([';', '#']) => {}
            // The names of columns.
            _ if number == 1 && line.contains("process") => {}
            _ if found.is_some() && is_last => sink.tear(),
            _ => {
                let error =
                    ReadError::NotAnEvent { line: number, expected: EXPECTED, found: shortened(line) };
                if found.is_some() {
                    return Err(error);
                }
                unclear.get_or_insert(error);
            }
        }
        if is_last {
            break;
        }
        window.advance(end + 1, number + 1);
    }
    match unclear {
        Some(error) if found != Some(Place::Within) => Err(error),
        _ => Ok(()),
    }
}

fn push(number: u64, line: &Line<'_>, sink: &mut dyn Sink) -> Result<(), ReadError> {
    let wrong = |source| ReadError::Syntax { line: number, source };
    let mut process = String::new();
    Forms::new(line.process, number).form("a process", &mut process).map_err(wrong)?;
    let process = who(&process).map_err(|found| ReadError::Field {
        line: number,
        field: "process",
        found: shortened(found),
        expected: "a number or a name",
    })?;
    let mut forms = Forms::new(line.rest, number);
    let (mut f, mut value) = (String::new(), String::new());
    if forms.peek().map_err(wrong)?.is_none() {
        return Err(ReadError::Missing { line: number, missing: "f", found: Vec::new() });
    }
    forms.form("an operation", &mut f).map_err(wrong)?;
    let op_type = if process == Actor::Nemesis { OpType::Info } else { line.op_type };
    let behind = forms.rest();
    let mut has_value = true;
    if forms.peek().ok().flatten().is_some() {
        match forms.form("an operation", &mut value) {
            Ok(()) => {}
            // A message in words in the place of an answer.
            Err(_) if matches!(op_type, OpType::Fail | OpType::Info) => has_value = false,
            Err(source) => return Err(wrong(source)),
        }
    }
    let error = if has_value { forms.rest() } else { behind };
    let mut text = String::new();
    if !error.trim().is_empty() {
        quote(error.trim(), &mut text);
    }
    let value: Option<&RawValue> = if has_value { serde_json::from_str(&value).ok() } else { None };
    sink.push(&Raw {
        line: number,
        index: None,
        time: None,
        process,
        op_type,
        f: Some(&f),
        fields: Fields { value, ..Fields::default() },
        node: None,
        error_kind: None,
        saw: None,
        error: Some(text).filter(|text| !text.is_empty()).map(|text| plain_text(&text)),
    })
}
