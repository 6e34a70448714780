//! A run that is still going on: its history is read as it grows.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use duress_history::jsonl::{Line, LineProcess};
use duress_history::{NemesisAct, OpType};
use serde::Serialize;

use crate::record::verdict::VerdictRecord;

/// No more than this is read at a time.
const READ_MAX: u64 = 16 << 20;

/// The progress of a run so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// The time of the last event, in milliseconds.
    pub time_ms: u64,
    /// Operations that happened.
    pub ok: u64,
    /// That did not.
    pub fail: u64,
    /// That may have.
    pub info: u64,
    /// The faults in force, in words.
    pub faults: Vec<String>,
    /// The verdict, once there is one.
    pub verdict: Option<String>,
}

/// A history being followed.
#[derive(Debug)]
pub struct Follower {
    folder: PathBuf,
    offset: u64,
    torn: Vec<u8>,
    in_force: Vec<(u32, String)>,
    progress: Progress,
}

impl Follower {
    /// Follows the run in `folder` from its beginning.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            offset: 0,
            torn: Vec::new(),
            in_force: Vec::new(),
            progress: Progress::default(),
        }
    }

    /// Reads the lines added since the last look, and returns the progress. A history that does not exist yet
    /// is empty. Blocks while it reads.
    pub fn look(&mut self) -> Progress {
        // The verdict first: when it is there, the history is complete.
        let verdict = VerdictRecord::load(&self.folder);
        while let Some(bytes) = self.more() {
            self.take(&bytes);
        }
        self.progress.verdict = match verdict {
            Ok(record) => record.map(|record| record.verdict.name().to_owned()),
            Err(error) => Some(error.to_string()),
        };
        self.progress.faults = self.in_force.iter().map(|(_, what)| what.clone()).collect();
        self.progress.clone()
    }

    fn more(&mut self) -> Option<Vec<u8>> {
        let mut file = File::open(self.folder.join("history.jsonl")).ok()?;
        file.seek(SeekFrom::Start(self.offset)).ok()?;
        let mut bytes = Vec::new();
        let read = file.take(READ_MAX).read_to_end(&mut bytes).ok()?;
        self.offset += read as u64;
        (read > 0).then_some(bytes)
    }

    fn take(&mut self, bytes: &[u8]) {
        self.torn.extend_from_slice(bytes);
        let Some(end) = self.torn.iter().rposition(|byte| *byte == b'\n') else { return };
        let rest = self.torn.split_off(end + 1);
        let whole = std::mem::replace(&mut self.torn, rest);
        for line in whole.split(|byte| *byte == b'\n') {
            if let Ok(line) = serde_json::from_slice::<Line<'_>>(line) {
                self.add(&line);
            }
        }
    }

    fn add(&mut self, line: &Line<'_>) {
        self.progress.time_ms = self.progress.time_ms.max(line.time() / 1_000_000);
        match (line.process, line.op_type) {
            (LineProcess::Client(_), OpType::Invoke) => {}
            (LineProcess::Client(_), OpType::Ok) => self.progress.ok += 1,
            (LineProcess::Client(_), OpType::Fail) => self.progress.fail += 1,
            (LineProcess::Client(_), OpType::Info) => self.progress.info += 1,
            (LineProcess::Nemesis, _) => match line.act() {
                Ok(NemesisAct::Started { fault, .. }) => self.in_force.push((fault.id, fault.what)),
                Ok(NemesisAct::Stopped { fault, .. }) => self.in_force.retain(|(id, _)| *id != fault.id),
                _ => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_appended_is_counted_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut follower = Follower::new(folder.path());
        assert_eq!(follower.look(), Progress::default());
        let append = |text: &str| {
            let path = folder.path().join("history.jsonl");
            let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file");
            file.write_all(text.as_bytes()).expect("it is written");
        };
        append(
            "{\"time\":1000000,\"process\":1,\"type\":\"invoke\",\"f\":\"read\"}\n{\"time\":2000000,\"proc",
        );
        assert_eq!((follower.look().ok, follower.look().time_ms), (0, 1));
        append("ess\":1,\"type\":\"ok\",\"f\":\"read\"}\n");
        append(
            "{\"time\":3000000,\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"start-kill\",\"value\":{\"fault\":1,\"what\":\"kill n1\",\"evidence\":{\"seen\":\"killed\",\"nodes\":[]}}}\n",
        );
        let progress = follower.look();
        assert_eq!((progress.ok, progress.time_ms, progress.faults), (1, 3, vec!["kill n1".to_owned()]));
        std::fs::write(folder.path().join("verdict.json"), "{\"verdict\":\"valid\"}").expect("it is written");
        assert_eq!(follower.look().verdict.as_deref(), Some("valid"));
    }
}
