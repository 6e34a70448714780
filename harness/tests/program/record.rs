//! The files of a run's folder, read as a stranger reads them: as text and JSON.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// How many operations ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub ok: u64,
    pub fail: u64,
    pub info: u64,
}

/// A run's folder.
pub struct Record {
    folder: PathBuf,
}

impl Record {
    /// Returns the record in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Returns one of its files as a string.
    #[track_caller]
    pub fn text(&self, name: &str) -> String {
        let path = self.folder.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Returns a file of it as JSON.
    #[track_caller]
    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Whether the history contains `text` by now: fast, however long it is.
    pub fn has(&self, text: &str) -> bool {
        let bytes = fs::read(self.folder.join("history.jsonl")).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// Returns the whole lines of the history so far; empty before it has begun.
    #[track_caller]
    pub fn history(&self) -> Vec<Value> {
        let bytes = fs::read(self.folder.join("history.jsonl")).unwrap_or_default();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines = std::str::from_utf8(&bytes[..whole]).unwrap().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
            .collect()
    }
}

/// Returns the events of the nemesis whose `f` starts with `prefix`.
pub fn nemesis<'a>(history: &'a [Value], prefix: &str) -> Vec<&'a Value> {
    let by_nemesis = |event: &&Value| {
        event["process"] == "nemesis" && event["f"].as_str().is_some_and(|f| f.starts_with(prefix))
    };
    history.iter().filter(by_nemesis).collect()
}

/// Returns the events of clients.
pub fn clients(history: &[Value]) -> impl Iterator<Item = &Value> {
    history.iter().filter(|event| event["process"] != "nemesis")
}

/// Counts operations by their ends; an invocation without one counts as info.
pub fn counts<'a>(events: impl Iterator<Item = &'a Value>) -> Counts {
    let (mut invoked, mut counts) = (0, Counts::default());
    for event in events {
        match event["type"].as_str() {
            Some("invoke") => invoked += 1,
            Some("ok") => counts.ok += 1,
            Some("fail") => counts.fail += 1,
            Some("info") => counts.info += 1,
            other => panic!("an event of type {other:?}: {event}"),
        }
    }
    let ended = counts.ok + counts.fail + counts.info;
    assert!(ended <= invoked, "{invoked} invocations, and {ended} completions");
    counts.info += invoked - ended;
    counts
}

/// Returns the generator's requests, in order, as `f` and `value`, until clients stopped and the nemesis
/// recovered.
pub fn generated(history: &[Value]) -> Vec<(&Value, &Value)> {
    let end =
        nemesis(history, "recovered").first().map_or(u64::MAX, |event| event["index"].as_u64().unwrap());
    clients(history)
        .filter(|event| event["type"] == "invoke" && event["index"].as_u64().unwrap() < end)
        .map(|event| (&event["f"], &event["value"]))
        .collect()
}
