//! A run that is still going on: its history is read as it grows.

use std::path::{Path, PathBuf};

use duress_history::jsonl::{Line, LineProcess};
use duress_history::{NemesisAct, OpType};
use serde::Serialize;

use crate::record::folder::load;
use crate::record::live::{self, LiveRecord};
use crate::record::tail::Tail;
use crate::record::verdict::VerdictRecord;

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
    /// What was checked until now, in words; as long as the run goes on, and only of workloads that can be checked so.
    pub checked: Option<String>,
    /// The verdict, once there is one.
    pub verdict: Option<String>,
}

/// A history being followed.
#[derive(Debug)]
pub struct Follower {
    folder: PathBuf,
    history: Tail,
    in_force: Vec<(u32, String)>,
    progress: Progress,
}

impl Follower {
    /// Follows the run in `folder` from its beginning.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            history: Tail::new(&folder.join("history.jsonl")),
            in_force: Vec::new(),
            progress: Progress::default(),
        }
    }

    /// Reads the lines added since the last look, and returns the progress. A history that does not exist yet
    /// is empty. Blocks while it reads.
    pub fn look(&mut self) -> Progress {
        // The verdict first: when it is there, the history is complete.
        let verdict = VerdictRecord::load(&self.folder);
        let Self { history, in_force, progress, .. } = self;
        history.take(&mut |line| {
            if let Ok(line) = serde_json::from_slice::<Line<'_>>(line) {
                progress.add(&line, in_force);
            }
        });
        self.progress.checked = load::<LiveRecord>(&self.folder, live::FILE).map(|live| live.to_string());
        self.progress.verdict = match verdict {
            Ok(record) => record.map(|record| record.verdict.name().to_owned()),
            Err(error) => Some(error.to_string()),
        };
        self.progress.faults = self.in_force.iter().map(|(_, what)| what.clone()).collect();
        self.progress.clone()
    }
}

impl Progress {
    fn add(&mut self, line: &Line<'_>, in_force: &mut Vec<(u32, String)>) {
        self.time_ms = self.time_ms.max(line.time() / 1_000_000);
        match (line.process, line.op_type) {
            (LineProcess::Client(_), OpType::Invoke) => {}
            (LineProcess::Client(_), OpType::Ok) => self.ok += 1,
            (LineProcess::Client(_), OpType::Fail) => self.fail += 1,
            (LineProcess::Client(_), OpType::Info) => self.info += 1,
            (LineProcess::Nemesis, _) => match line.act() {
                Ok(NemesisAct::Started { fault, .. }) => in_force.push((fault.id, fault.what)),
                Ok(NemesisAct::Stopped { fault, .. }) => in_force.retain(|(id, _)| *id != fault.id),
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
        assert_eq!(follower.look().checked, None);
        let live = serde_json::json!({"operations": 12, "left": 0, "anomaly": null});
        std::fs::write(folder.path().join("live.json"), live.to_string()).expect("it is written");
        let progress = follower.look();
        assert_eq!(progress.checked.as_deref(), Some("no anomaly yet in 12 operations"));
        assert_eq!((progress.ok, progress.time_ms, progress.faults), (1, 3, vec!["kill n1".to_owned()]));
        std::fs::write(folder.path().join("verdict.json"), "{\"verdict\":\"valid\"}").expect("it is written");
        assert_eq!(follower.look().verdict.as_deref(), Some("valid"));
    }
}
