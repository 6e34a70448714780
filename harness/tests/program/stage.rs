//! A stage: a folder of its own and the program in it, which does not outlive the test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::record::Record;

/// The variable by which everything that a test started is found, by whatever process it was started.
const MARK: &str = "DURESS_TEST_MARK";

/// A condition is looked at again after this; the condition decides, never the time.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How soon nothing of a run may be left once it has ended, however it did.
pub const VANISHES_WITHIN: Duration = Duration::from_secs(10);

/// Longer than any short run takes, even on a machine busy with other work.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `condition` holds; fails the test if it does not before `deadline` is over.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < deadline, "waited for {deadline:?} in vain until {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// A folder, and the processes started in it.
pub struct Stage {
    folder: TempDir,
    mark: String,
}

impl Stage {
    /// An empty stage.
    pub fn set() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::Builder::new().prefix("duress-").tempdir().unwrap();
        let mark = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self { folder, mark }
    }

    /// Its folder, in which everything is started.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, contents).unwrap();
        path
    }

    /// `duress`, with the words of `line` as its arguments.
    pub fn duress(&self, line: &str) -> Command {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_duress")));
        command.args(line.split_whitespace());
        command
    }

    /// Another program, started as `duress` is.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).env(MARK, &self.mark).env_remove("DURESS_LOG").stdin(Stdio::null());
        command
    }

    /// Starts `command`; what it says is kept.
    pub fn start(&self, mut command: Command) -> Started {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| self.path().join(format!("{name}-{number}")));
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        let words = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {words}: {error}"));
        Started { child, words, stdout, stderr }
    }

    /// Runs `duress` with the words of `line`, and waits for its end.
    #[track_caller]
    pub fn run(&self, line: &str, deadline: Duration) -> Finished {
        self.start(self.duress(line)).wait(deadline)
    }

    /// The record of the latest run, which must exist.
    #[track_caller]
    pub fn latest(&self) -> Record {
        let link = self.path().join("runs/latest");
        let folder = fs::canonicalize(&link).unwrap_or_else(|error| panic!("{}: {error}", link.display()));
        Record::new(folder)
    }

    /// Everything alive that was started here, and what that started in turn. No zombies: they have no environment.
    pub fn members(&self) -> Vec<Pid> {
        let wanted = format!("{MARK}={}", self.mark);
        let mut members = Vec::new();
        for entry in fs::read_dir("/proc").unwrap() {
            let entry = entry.unwrap();
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // Processes come and go; one that has gone is no member.
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()) {
                members.push(Pid::from_raw(pid));
            }
        }
        members
    }

    /// Fails the test unless every process is gone soon, and every mount on the folder with them.
    #[track_caller]
    pub fn assert_vanished(&self) {
        let mut empty_looks = 0;
        // Twice in a row: at the first look, a process might just be forking.
        wait_until("no process is left", VANISHES_WITHIN, || {
            empty_looks = if self.members().is_empty() { empty_looks + 1 } else { 0 };
            empty_looks == 2
        });
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let folder = self.path().to_str().unwrap();
        assert!(!mounts.contains(folder), "something is still mounted in {folder}:\n{mounts}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The safety net of a failed test; each is gone by now after one that passed.
        for member in self.members() {
            let _ = kill(member, Signal::SIGKILL);
        }
    }
}

/// A program that was started.
pub struct Started {
    child: Child,
    words: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Started {
    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Whether it handles `signal` by now, instead of being ended by it.
    pub fn catches(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (signal as u32 - 1)) != 0
    }

    /// What it said on standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap()).into_owned()
    }

    /// Waits for its end; kills it and fails the test if that does not come before `deadline` is over.
    #[track_caller]
    pub fn wait(mut self, deadline: Duration) -> Finished {
        let began = Instant::now();
        let mut status = None;
        while status.is_none() && began.elapsed() < deadline {
            std::thread::sleep(LOOK_AGAIN);
            status = self.child.try_wait().unwrap();
        }
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        let (stdout, stderr) = (read(&self.stdout), read(&self.stderr));
        let words = self.words.clone();
        let Some(status) = status else {
            panic!("{words} had not ended after {deadline:?}\nstdout:\n{stdout}\nstderr:\n{stderr}");
        };
        Finished { words, status, stdout, stderr }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Both fail when, as they should, it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    words: String,
    /// How it ended.
    pub status: ExitStatus,
    /// All that it printed.
    pub stdout: String,
    /// All that it said on standard error.
    pub stderr: String,
}

impl Finished {
    /// Its exit code; -1 when a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Fails the test unless it ended with `code`, and without a panic.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "exit code of {self}");
        assert!(!self.stderr.contains("panicked"), "a panic in {self}");
        self
    }

    /// Fails the test unless standard error is one line of error, and at most one of advice; answers that line.
    #[track_caller]
    pub fn one_error(&self) -> &str {
        let lines: Vec<&str> = self.stderr.lines().collect();
        let fine = match lines[..] {
            [error] => error.starts_with("duress: "),
            [error, hint] => error.starts_with("duress: ") && hint.starts_with("hint: "),
            _ => false,
        };
        assert!(fine, "expected one line of error and at most a hint from {self}");
        lines[0]
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { words, status, stdout, stderr } = self;
        write!(f, "{words} ({status})\nstdout:\n{stdout}\nstderr:\n{stderr}")
    }
}
