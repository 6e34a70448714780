//! The completed trials, saved as they end, so that an interrupted invocation can be resumed.
//!
//! `state.jsonl` in the output folder has a line for each trial that ended, under a key made of its command,
//! its deadline and the program itself. A rebuilt program, whose lines replace those of the one before, or a
//! changed cell therefore starts over, and nothing else does. Trials that were cut off are not in it. Once
//! everything requested has been run, its lines are removed: the next time everything is run again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::child::{Trial, TrialSpec};

/// The identity of a trial: equal keys mean the same run of the same program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrialKey(String);

/// The identity of the program: its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramKey(u64);

impl ProgramKey {
    /// Returns the key of the program at `path`.
    ///
    /// The hash is the standard library's, which may change with it; but then the program has changed as well.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut reader = BufReader::new(File::open(path)?);
        let mut hasher = DefaultHasher::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(Self(hasher.finish())),
                read => hasher.write(&buffer[..read]),
            }
        }
    }
}

impl TrialKey {
    /// Returns the key of `spec` run by `program` for the cell `owner`; without an owner, cells may share it.
    /// The place of its folder does not matter.
    #[must_use]
    pub fn of(spec: &TrialSpec, owner: Option<&str>, program: ProgramKey) -> Self {
        let mut hasher = DefaultHasher::new();
        for word in owner.into_iter().chain(spec.words.iter().map(String::as_str)) {
            hasher.write(word.as_bytes());
            // So that two words and their concatenation differ.
            hasher.write_u8(0xff);
        }
        // A manifest that was changed describes another system.
        let target = spec.words.get(1).and_then(|target| crate::systems::find(target).ok());
        if let Some(manifest) = target.and_then(|system| system.manifest()) {
            hasher.write(manifest.text.as_bytes());
        }
        hasher.write_u128(spec.deadline.as_nanos());
        hasher.write_u64(program.0);
        Self(format!("{:016x}", hasher.finish()))
    }
}

/// A line of the state file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    program: ProgramKey,
    key: TrialKey,
    trial: Trial,
}

/// The trials that are known, and the file that keeps them.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    program: ProgramKey,
    file: File,
    known: BTreeMap<TrialKey, Trial>,
}

/// Whether earlier results count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Go on where it was interrupted.
    Resume,
    /// Start over.
    Forget,
}

/// The state that cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep the state of the runs in {}", path.display())]
pub struct StateError {
    /// The file.
    path: PathBuf,
    /// The system's error.
    #[source]
    source: io::Error,
}

/// The name of the file.
const FILE: &str = "state.jsonl";

impl State {
    /// Returns the state in `folder`, which exists, as far as it is about `program`.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(folder: &Path, program: ProgramKey, past: Past) -> Result<Self, StateError> {
        let path = folder.join(FILE);
        let failed = |source| StateError { path: path.clone(), source };
        let text = match fs::read_to_string(&path) {
            Ok(text) if past == Past::Resume => text,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => String::new(),
        };
        // A last line may be torn; one that is not understood is of another version, and is run again.
        let known: BTreeMap<TrialKey, Trial> = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok())
            .filter(|line| line.program == program)
            .map(|line| (line.key, line.trial))
            .collect();
        let file = rewrite(&path, program, &known).map_err(failed)?;
        Ok(Self { path, program, file, known })
    }

    /// Returns the known result of a trial.
    #[must_use]
    pub fn get(&self, key: &TrialKey) -> Option<&Trial> {
        self.known.get(key)
    }

    /// How many trials are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no trial is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Saves the result of a trial.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn keep(&mut self, key: TrialKey, trial: Trial) -> Result<(), StateError> {
        let failed = |source| StateError { path: self.path.clone(), source };
        let line = line(self.program, &key, &trial);
        self.file.write_all(line.as_bytes()).map_err(failed)?;
        self.known.insert(key, trial);
        Ok(())
    }

    /// Forgets the trials of a matrix that has been run to its end.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn forget(&mut self, done: &BTreeSet<TrialKey>) -> Result<(), StateError> {
        self.known.retain(|key, _| !done.contains(key));
        let failed = |source| StateError { path: self.path.clone(), source };
        self.file = rewrite(&self.path, self.program, &self.known).map_err(failed)?;
        Ok(())
    }
}

fn line(program: ProgramKey, key: &TrialKey, trial: &Trial) -> String {
    let line = Line { program, key: key.clone(), trial: trial.clone() };
    format!("{}\n", serde_json::to_string(&line).expect("a trial has only keys that are text"))
}

/// Rewrites the file, whole or not at all, and opens it to append.
fn rewrite(path: &Path, program: ProgramKey, known: &BTreeMap<TrialKey, Trial>) -> io::Result<File> {
    let part = path.with_extension("jsonl.part");
    let text: String = known.iter().map(|(key, trial)| line(program, key, trial)).collect();
    fs::write(&part, text)?;
    fs::rename(&part, path)?;
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trial::Finding;

    const THIS: ProgramKey = ProgramKey(1);

    fn spec(words: &[&str], folder: &str) -> TrialSpec {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        TrialSpec { words, seed: 1, folder: folder.into(), deadline: Duration::from_secs(60) }
    }

    fn trial(command: &str) -> Trial {
        Trial {
            command: command.to_owned(),
            seed: 1,
            finding: Finding::Valid,
            seconds: 2.5,
            folder: "there".into(),
            home: "there".into(),
            replay: None,
            situations: Vec::new(),
            operations: 0,
        }
    }

    #[test]
    fn a_key_is_of_the_command_and_the_program_and_not_of_the_folder() {
        let (old, new) = (ProgramKey(1), ProgramKey(2));
        let one = TrialKey::of(&spec(&["run", "store"], "a"), None, old);
        assert_eq!(one, TrialKey::of(&spec(&["run", "store"], "b"), None, old));
        assert_ne!(one, TrialKey::of(&spec(&["run", "store"], "a"), None, new));
        assert_ne!(one, TrialKey::of(&spec(&["runstore"], "a"), None, old));
        let mut longer = spec(&["run", "store"], "a");
        longer.deadline = Duration::from_secs(61);
        assert_ne!(one, TrialKey::of(&longer, None, old));
        assert_ne!(one, TrialKey::of(&spec(&["run", "store"], "a"), Some("cell"), old));
    }

    #[test]
    fn what_was_kept_is_there_again_even_after_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (TrialKey("a".to_owned()), TrialKey("b".to_owned()));
        let mut state = State::open(folder.path(), THIS, Past::Resume).unwrap();
        assert!(state.is_empty());
        state.keep(a.clone(), trial("a")).unwrap();
        state.keep(b.clone(), trial("b")).unwrap();
        drop(state);
        let path = folder.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 5]).unwrap();
        let mut state = State::open(folder.path(), THIS, Past::Resume).unwrap();
        assert_eq!((state.len(), state.get(&a)), (1, Some(&trial("a"))));
        state.keep(b.clone(), trial("b")).unwrap();
        drop(state);
        let mut state = State::open(folder.path(), THIS, Past::Resume).unwrap();
        assert_eq!(state.len(), 2, "the torn line is not in the way of the next");
        state.forget(&BTreeSet::from([a])).unwrap();
        assert_eq!(State::open(folder.path(), THIS, Past::Resume).unwrap().get(&b), Some(&trial("b")));
        assert!(State::open(folder.path(), ProgramKey(2), Past::Resume).unwrap().is_empty());
        assert!(State::open(folder.path(), THIS, Past::Forget).unwrap().is_empty());
    }
}
