//! The history in the form that a report needs: any vocabulary, each operation in one record.
//!
//! Lines are read raw: a report shows requests and answers, and does not interpret them. So it can be made of
//! the history of any workload, and of one that was cut short.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use duress_history::jsonl::{Line, LineProcess};
use duress_history::{NemesisEvent, OpType};
use serde_json::value::RawValue;

/// Values and errors longer than this many bytes are cut; the history file has them whole.
const TEXT_MAX: usize = 400;
/// A longer line is not read: it would have to be kept in memory whole.
const LINE_MAX: u64 = 64 << 20;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It happened.
    Ok = 0,
    /// It did not happen.
    Fail = 1,
    /// It may have happened.
    Info = 2,
    /// The history ends before it did; it may have happened.
    Open = 3,
}

/// One operation of a client.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Index of its invocation in the history.
    pub index: u64,
    /// When it was invoked, in nanoseconds since the run began.
    pub start: u64,
    /// The time of its end; for one that never ended, of its invocation.
    pub end: u64,
    /// Its lane: a position in [`RunHistory::lanes`].
    pub lane: u32,
    /// The operation: a position in [`RunHistory::functions`].
    pub function: u16,
    /// How it ended.
    pub ending: Ending,
    /// Why it failed or is unknown: a position in [`RunHistory::errors`].
    pub error: Option<u32>,
    /// The answer, or else the request, as JSON; cut to [`TEXT_MAX`] bytes.
    pub value: Box<str>,
}

/// A client process and the node it spoke to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// The process's number.
    pub process: u64,
    /// A position in [`RunHistory::nodes`], if the history says to which node it spoke.
    pub node: Option<u16>,
}

/// The history of a run.
#[derive(Clone, Debug, Default)]
pub struct RunHistory {
    /// Operations by invocation.
    pub operations: Vec<Operation>,
    /// Every pair of process and node, by first appearance.
    pub lanes: Vec<Lane>,
    /// The nodes: those of the plan in its order, then any others.
    pub nodes: Vec<String>,
    /// The names of operations, by first appearance.
    pub functions: Vec<String>,
    /// Every reason of failure or doubt.
    pub errors: Vec<String>,
    /// The nemesis's events.
    pub nemesis: Vec<NemesisEvent>,
    /// When the last event was, in nanoseconds since the run began.
    pub lasted: u64,
    /// The number of lines that are not events.
    pub unreadable: u64,
}

/// Texts that come again and again, each kept once.
#[derive(Default)]
struct Interner {
    places: HashMap<String, usize>,
}

impl Interner {
    fn place(&mut self, all: &mut Vec<String>, text: &str) -> usize {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        all.push(text.to_owned());
        self.places.insert(text.to_owned(), all.len() - 1);
        all.len() - 1
    }
}

/// Reads the history at `path`, whose cluster has the nodes `nodes`. A missing history is empty.
///
/// # Errors
/// Any error of reading the file.
pub fn read(path: &Path, nodes: &[String]) -> io::Result<RunHistory> {
    match File::open(path) {
        Ok(file) => read_lines(BufReader::with_capacity(1 << 20, file), nodes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(RunHistory { nodes: nodes.to_vec(), ..RunHistory::default() })
        }
        Err(error) => Err(error),
    }
}

/// Reads the lines in `source`, as [`read`] does a file's.
///
/// # Errors
/// Any error of `source`.
pub fn read_lines(mut source: impl BufRead, nodes: &[String]) -> io::Result<RunHistory> {
    let mut reading = Reading::new(nodes);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        if io::Read::take(&mut source, LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        match serde_json::from_slice::<Line<'_>>(&line) {
            Ok(parsed) => reading.add(&parsed, number),
            // The recorder may have been killed within the last line: that is not an error.
            Err(_) if line.last() != Some(&b'\n') || line.trim_ascii().is_empty() => {}
            Err(_) => reading.history.unreadable += 1,
        }
        number += 1;
    }
    Ok(reading.history)
}

struct Reading {
    history: RunHistory,
    functions: Interner,
    errors: Interner,
    nodes: Interner,
    lanes: HashMap<Lane, u32>,
    pending: HashMap<u64, usize>,
}

impl Reading {
    fn new(known: &[String]) -> Self {
        let mut reading = Self {
            history: RunHistory::default(),
            functions: Interner::default(),
            errors: Interner::default(),
            nodes: Interner::default(),
            lanes: HashMap::new(),
            pending: HashMap::new(),
        };
        for node in known {
            reading.nodes.place(&mut reading.history.nodes, node);
        }
        reading
    }

    fn add(&mut self, line: &Line<'_>, number: u64) {
        self.history.lasted = self.history.lasted.max(line.time());
        let read = match line.process {
            LineProcess::Nemesis => line.act().map(|act| {
                let index = line.index.unwrap_or(number);
                self.history.nemesis.push(NemesisEvent { index, time: line.time(), act });
            }),
            LineProcess::Client(process) if line.op_type == OpType::Invoke => {
                line.f().map(|f| self.invoke(line, process, &f, number))
            }
            LineProcess::Client(process) => {
                self.complete(line, process);
                Ok(())
            }
        };
        if read.is_err() {
            self.history.unreadable += 1;
        }
    }

    fn invoke(&mut self, line: &Line<'_>, process: u64, f: &str, number: u64) {
        let history = &mut self.history;
        let node = line.node().map(|node| {
            let place = self.nodes.place(&mut history.nodes, node);
            u16::try_from(place).unwrap_or(u16::MAX)
        });
        let lane = Lane { process, node };
        let lanes = &mut history.lanes;
        let lane = *self.lanes.entry(lane.clone()).or_insert_with(|| {
            lanes.push(lane);
            u32::try_from(lanes.len() - 1).unwrap_or(u32::MAX)
        });
        let function = self.functions.place(&mut history.functions, f);
        history.operations.push(Operation {
            index: line.index.unwrap_or(number),
            start: line.time(),
            end: line.time(),
            lane,
            function: u16::try_from(function).unwrap_or(u16::MAX),
            ending: Ending::Open,
            error: None,
            value: shown(line),
        });
        self.pending.insert(process, history.operations.len() - 1);
    }

    fn complete(&mut self, line: &Line<'_>, process: u64) {
        let Some(place) = self.pending.remove(&process) else {
            self.history.unreadable += 1;
            return;
        };
        let operation = &mut self.history.operations[place];
        operation.end = line.time().max(operation.start);
        operation.ending = match line.op_type {
            OpType::Ok | OpType::Invoke => Ending::Ok,
            OpType::Fail => Ending::Fail,
            OpType::Info => Ending::Info,
        };
        if line.value.is_some() && operation.ending == Ending::Ok {
            operation.value = shown(line);
        }
        if let Some(error) = &line.error {
            let place = self.errors.place(&mut self.history.errors, cut(error));
            operation.error = u32::try_from(place).ok();
        }
    }
}

/// Returns the value of an event; with its key, if that has a field of its own.
fn shown(line: &Line<'_>) -> Box<str> {
    let value = line.value.map_or("", RawValue::get);
    match line.key {
        Some(key) if key.get() != "null" => {
            let value = if value.is_empty() { "null" } else { value };
            cut(&format!("[{},{value}]", key.get())).into()
        }
        _ => cut(value).into(),
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(text: &str) -> RunHistory {
        read_lines(text.as_bytes(), &["n1".to_owned()]).expect("reads from memory")
    }

    #[test]
    fn operations_of_any_vocabulary_are_paired() {
        let history = history(concat!(
            r#"{"index":0,"time":10,"process":0,"type":"invoke","f":"poll","value":[["poll"]],"node":"n1"}"#,
            "\n",
            r#"{"index":1,"time":11,"process":"nemesis","type":"info","f":"start-kill","value":{"fault":1,"what":"kill n1"}}"#,
            "\n",
            r#"{"index":2,"time":12,"process":1,"type":"invoke","f":"send","value":[["send","t",1]],"node":"n2"}"#,
            "\n",
            r#"{"index":3,"time":20,"process":0,"type":"ok","f":"poll","value":[["poll",{"t":[[0,1]]}]],"node":"n1"}"#,
            "\n",
            r#"{"index":4,"time":30,"process":1,"type":"info","f":"send","error":"timeout: 1 s","node":"n2"}"#,
            "\n",
            r#"{"index":5,"time":31,"process":2,"type":"inv"#,
        ));
        assert_eq!(history.nodes, ["n1", "n2"]);
        assert_eq!(history.functions, ["poll", "send"]);
        assert_eq!((history.lasted, history.unreadable), (30, 0));
        let [poll, send] = &history.operations[..] else { panic!("{:?}", history.operations) };
        assert_eq!((poll.start, poll.end, poll.ending), (10, 20, Ending::Ok));
        assert_eq!(&*poll.value, r#"[["poll",{"t":[[0,1]]}]]"#);
        assert_eq!((send.end, send.ending, send.error), (30, Ending::Info, Some(0)));
        assert_eq!(&*send.value, r#"[["send","t",1]]"#);
        assert_eq!(history.nemesis[0].act.fault(), Some(1));
    }

    #[test]
    fn an_operation_without_end_is_open_and_nonsense_is_counted() {
        let history = history(
            "{\"time\":5,\"process\":3,\"type\":\"invoke\",\"f\":\"read\"}\nnonsense\n\n{\"time\":9,\"process\":7,\"type\":\"ok\",\"f\":\"read\"}\n",
        );
        assert_eq!(history.operations[0].ending, Ending::Open);
        // The nonsense, and an end without a beginning.
        assert_eq!(history.unreadable, 2);
    }

    #[test]
    fn a_key_in_a_field_of_its_own_is_shown_with_the_value() {
        let history = history(concat!(
            r#"{"time":5,"process":3,"type":"invoke","f":"read","key":"x","value":null}"#,
            "\n",
            r#"{"time":9,"process":3,"type":"ok","f":"read","key":"x","value":7}"#,
            "\n",
        ));
        assert_eq!(&*history.operations[0].value, r#"["x",7]"#);
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        assert_eq!(cut(&"ä".repeat(300)).len(), TEXT_MAX);
        assert_eq!(cut(&format!("x{}", "ä".repeat(300))).len(), TEXT_MAX - 1);
    }
}
