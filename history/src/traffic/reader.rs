//! The reader of the files of messages: puts both ends of each message together.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::{Content, End, Missing, Seen, earlier};
use crate::event::Process;

/// Messages sent so long before a window are read too, in nanoseconds: they share their numbers with those of the window.
const BEFORE: i64 = 5_000_000_000;
/// A longer line is not ours.
const LINE_MAX: u64 = 1 << 20;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// Its content.
    pub content: Content,
    /// The process of the client at one end.
    pub process: Option<Process>,
    /// When it was sent, in nanoseconds of the run's clock; only services do not record it.
    pub sent: Option<i64>,
    /// When it arrived, each time that it did.
    pub arrived: Vec<i64>,
    /// Its outcome.
    pub fate: Fate,
}

impl Message {
    /// Returns when it was first seen.
    #[must_use]
    pub fn time(&self) -> i64 {
        self.sent.or_else(|| self.arrived.first().copied()).unwrap_or_default()
    }
}

/// The outcome of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrived.
    Arrived,
    /// It did not arrive.
    Lost,
    /// The receiver did not record then, as services never do.
    Unrecorded,
}

/// Who recorded a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recorded {
    /// A node.
    By(String),
    /// The clients, all in one file.
    ByClients,
}

/// Messages around some moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// By the time at which they were first seen.
    pub messages: Vec<Message>,
    /// How many events could not be written, of all.
    pub missing: u64,
    /// From when on all files are kept, if the beginning of one is not.
    pub kept_from: Option<i64>,
}

/// What a file covers.
struct Covered {
    from: i64,
    gaps: Vec<(i64, i64)>,
}

impl Covered {
    fn has(&self, time: i64) -> bool {
        time >= self.from && !self.gaps.iter().any(|(since, until)| (*since..=*until).contains(&time))
    }
}

/// Reads the messages that were first seen within one of `windows`, in nanoseconds of the run's clock, which began at `origin`,
/// in nanoseconds since 1970. Files that are missing, and lines that are cut short, have no messages.
#[must_use]
pub fn read(files: &[(Recorded, PathBuf)], origin: i64, windows: &[(i64, i64)]) -> Traffic {
    // A message may arrive any time after it was sent.
    let begin = windows.iter().map(|(from, _)| from.saturating_sub(BEFORE)).min().unwrap_or(i64::MAX);
    let mut traffic = Traffic::default();
    let mut covered: BTreeMap<&Recorded, Covered> = BTreeMap::new();
    let mut messages: Vec<Message> = Vec::new();
    let mut sent: HashMap<Name, Vec<usize>> = HashMap::new();
    let mut arrivals: Vec<(Name, i64, Option<Content>)> = Vec::new();
    let mut processes: HashMap<String, Process> = HashMap::new();
    for (by, path) in files {
        let was_cut = earlier(path).exists();
        if !was_cut && !path.exists() {
            continue;
        }
        let mut cover = Covered { from: if was_cut { i64::MAX } else { i64::MIN }, gaps: Vec::new() };
        for path in [earlier(path), path.clone()] {
            each_line(&path, |line| {
                let Some(time) = time(line).map(|time| time.saturating_sub(origin)) else { return };
                cover.from = cover.from.min(time);
                if time < begin && line.contains("\"end\"") {
                    return;
                }
                let Ok(seen) = serde_json::from_str::<Seen<'_>>(line) else {
                    if let Ok(Missing { since, missing, .. }) = serde_json::from_str(line) {
                        traffic.missing = traffic.missing.saturating_add(missing);
                        cover.gaps.push((since.cast_signed().saturating_sub(origin), time));
                    }
                    return;
                };
                let name = Name(seen.from.into_owned(), seen.to.into_owned(), seen.number);
                if let Some(process) = seen.process {
                    let client = if seen.end == End::Sent { &name.0 } else { &name.1 };
                    processes.insert(client.clone(), process);
                }
                match (seen.end, seen.content) {
                    (End::Sent, content) => {
                        sent.entry(name.clone()).or_default().push(messages.len());
                        messages.push(name.message(content.unwrap_or_default(), Some(time)));
                    }
                    (End::Arrived, content) => arrivals.push((name, time, content)),
                }
            });
        }
        if was_cut && cover.from < i64::MAX {
            traffic.kept_from = traffic.kept_from.max(Some(cover.from));
        }
        covered.insert(by, cover);
    }
    arrivals.sort_by_key(|(_, time, _)| *time);
    let mut seen_before: HashMap<Name, usize> = HashMap::new();
    for (name, time, content) in arrivals {
        match (sent.get(&name), content) {
            (Some(sent), _) => {
                // Answers to one request have one number, and come in order.
                let before = seen_before.entry(name).or_default();
                messages[sent[(*before).min(sent.len() - 1)]].arrived.push(time);
                *before += 1;
            }
            (None, Some(content)) => {
                let mut message = name.message(content, None);
                message.arrived.push(time);
                messages.push(message);
            }
            // It was sent before the sender's record begins.
            (None, None) => {}
        }
    }
    let is_within = |message: &Message| {
        let time = message.time();
        windows.iter().any(|(from, to)| (*from..=*to).contains(&time))
    };
    messages.retain(is_within);
    for message in &mut messages {
        message.process = processes.get(&message.from).or_else(|| processes.get(&message.to)).copied();
        let receiver = match processes.contains_key(&message.to) {
            true => Recorded::ByClients,
            false => Recorded::By(message.to.clone()),
        };
        message.fate = match covered.get(&receiver) {
            _ if !message.arrived.is_empty() => Fate::Arrived,
            Some(covered) if covered.has(message.time()) => Fate::Lost,
            _ => Fate::Unrecorded,
        };
    }
    messages.sort_by_key(Message::time);
    traffic.messages = messages;
    traffic
}

/// A message's sender, receiver and number.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Name(String, String, u64);

impl Name {
    fn message(&self, content: Content, sent: Option<i64>) -> Message {
        let (from, to) = (self.0.clone(), self.1.clone());
        Message { from, to, content, process: None, sent, arrived: Vec::new(), fate: Fate::Unrecorded }
    }
}

/// Returns the time of a line, with which it begins, without reading the rest.
fn time(line: &str) -> Option<i64> {
    let digits = line.strip_prefix("{\"time\":")?;
    digits[..digits.find(',')?].parse().ok()
}

/// Hands on each line of the file at `path`, as far as it can be read.
fn each_line(path: &Path, mut to: impl FnMut(&str)) {
    let Ok(file) = File::open(path) else { return };
    let mut file = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        match file.by_ref().take(LINE_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if let Ok(text) = std::str::from_utf8(&line) {
            to(text.trim_end());
        }
    }
}
