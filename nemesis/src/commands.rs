//! Faults of a cluster that already runs: the user's own commands, which strike its nodes from outside.
//!
//! A fault has three commands for each node. `inject` begins it, `heal` ends it, and `evidence` says whether it is in force, as
//! grep and test do: it ends with 0 if it is, and with 1 if it is not. Any other end says nothing. Each has a deadline, after
//! which it is killed with everything that it started. What a command leaves running when it ends by itself is part of the
//! fault, and is left alone.
//!
//! All that the commands of a fault write about a node goes to one file, `FOLDER/FAULT-NODE.log`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use duress_history::NodeId;

/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// The most letters of a command's last line that are kept.
const SAID_LETTERS: usize = 200;
/// The end of its output in which the last line is searched for.
const SAID_BYTES: u64 = 4096;

/// The faults of a cluster, by name, and the folder for what their commands write.
#[derive(Clone, Debug)]
pub struct FaultCommands {
    /// The folder; it is made with the first command.
    pub folder: PathBuf,
    /// The commands of each fault.
    pub faults: BTreeMap<String, CommandFault>,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandFault {
    /// How long each command may take.
    pub deadline: Duration,
    /// Its commands for each node.
    pub nodes: BTreeMap<NodeId, NodeCommands>,
}

/// The commands of a fault for one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCommands {
    /// Begins it.
    pub inject: CommandLine,
    /// Ends it.
    pub heal: CommandLine,
    /// Says whether it is in force.
    pub evidence: CommandLine,
}

impl FaultCommands {
    /// Asks every evidence command whether its fault is in force, one after the other.
    #[must_use]
    pub fn look(&self) -> Vec<Look<'_>> {
        let mut seen = Vec::new();
        for (name, CommandFault { deadline, nodes }) in &self.faults {
            for (node, commands) in nodes {
                let log = self.folder.join(format!("{name}-{node}.log"));
                let answer = Struck { node, commands, deadline: *deadline, log }.evidence();
                seen.push(Look { fault: name, node, answer });
            }
        }
        seen
    }
}

/// A command to carry out on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, without the program's name.
    pub args: Vec<OsString>,
    /// Its working directory.
    pub cwd: PathBuf,
}

impl fmt::Display for CommandLine {
    /// Formats the words as a shell would take them from the working directory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |word: &str| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c))
        };
        let words =
            std::iter::once(self.program.as_os_str()).chain(self.args.iter().map(OsString::as_os_str));
        for (at, word) in words.enumerate() {
            let word = word.to_string_lossy();
            let space = if at == 0 { "" } else { " " };
            match is_plain(&word) {
                true => write!(f, "{space}{word}")?,
                false => write!(f, "{space}'{}'", word.replace('\'', r"'\''"))?,
            }
        }
        Ok(())
    }
}

/// A command that failed.
#[derive(Debug, thiserror::Error)]
#[error("the {step} command for {node} {how}: {line} (its output is in {})", log.display())]
pub struct CommandError {
    /// `inject`, `heal` or `evidence`.
    step: &'static str,
    /// The node.
    node: NodeId,
    /// The command.
    line: String,
    /// The reason, which completes the sentence "the command …".
    how: String,
    /// The file with what it wrote.
    log: PathBuf,
}

/// The answer of an evidence command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whether the fault is in force.
    pub in_force: bool,
    /// The last line that the command wrote; empty if it wrote none.
    pub said: String,
}

/// The answer about a fault and a node.
#[derive(Debug)]
pub struct Look<'a> {
    /// The fault.
    pub fault: &'a str,
    /// The node.
    pub node: &'a NodeId,
    /// The answer, if there is one.
    pub answer: Result<Answer, CommandError>,
}

/// A node that a fault strikes, and where its commands write.
pub(crate) struct Struck<'a> {
    pub(crate) node: &'a NodeId,
    pub(crate) commands: &'a NodeCommands,
    pub(crate) deadline: Duration,
    pub(crate) log: PathBuf,
}

/// How a command ended.
struct Ended {
    status: ExitStatus,
    /// The last line that it wrote; empty if it wrote none.
    said: String,
}

impl Struck<'_> {
    /// Begins the fault.
    pub(crate) fn inject(&self) -> Result<(), CommandError> {
        self.must_succeed("inject", &self.commands.inject)
    }

    /// Ends the fault.
    pub(crate) fn heal(&self) -> Result<(), CommandError> {
        self.must_succeed("heal", &self.commands.heal)
    }

    /// Asks whether the fault is in force, and returns what the command said besides.
    pub(crate) fn evidence(&self) -> Result<Answer, CommandError> {
        let line = &self.commands.evidence;
        let Ended { status, said } = self.run("evidence", line)?;
        match status.code() {
            Some(0) => Ok(Answer { in_force: true, said }),
            Some(1) => Ok(Answer { in_force: false, said }),
            _ => {
                let how = format!(
                    "ended with {status}{}, which says nothing (0 is in force, 1 is not)",
                    quoted(&said)
                );
                Err(self.failed("evidence", line, how))
            }
        }
    }

    fn must_succeed(&self, step: &'static str, line: &CommandLine) -> Result<(), CommandError> {
        let Ended { status, said } = self.run(step, line)?;
        match status.success() {
            true => Ok(()),
            false => Err(self.failed(step, line, format!("ended with {status}{}", quoted(&said)))),
        }
    }

    fn run(&self, step: &'static str, line: &CommandLine) -> Result<Ended, CommandError> {
        run(step, line, &self.log, self.deadline).map_err(|how| self.failed(step, line, how))
    }

    fn failed(&self, step: &'static str, line: &CommandLine, how: String) -> CommandError {
        CommandError { step, node: self.node.clone(), line: line.to_string(), how, log: self.log.clone() }
    }
}

fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" (\"{said}\")") }
}

/// Runs a command to its end, and kills it with everything that it started after `deadline`. Appends what it writes to `log`.
///
/// # Errors
/// Why it did not end by itself, in words.
fn run(step: &str, line: &CommandLine, log: &Path, deadline: Duration) -> Result<Ended, String> {
    let unlogged = |error: io::Error| format!("has no place for its output: {error}");
    let (mut file, stdout, stderr) = opened(log).map_err(unlogged)?;
    writeln!(file, "# {step}: {line}").map_err(unlogged)?;
    let from = file.metadata().map_err(unlogged)?.len();
    let began = Instant::now();
    let mut command = Command::new(&line.program);
    command
        .args(&line.args)
        .current_dir(&line.cwd)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        // A group of its own, so that it can be killed with all that it started, and no key reaches it.
        .process_group(0);
    duress_arena::die_with_parent(&mut command);
    let mut child = command.spawn().map_err(|error| format!("could not be started: {error}"))?;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if began.elapsed() < deadline => std::thread::sleep(LOOK),
            Ok(None) => break Err(format!("did not end within {} s", deadline.as_secs_f64())),
            Err(error) => break Err(format!("could not be waited for: {error}")),
        }
    };
    if status.is_err() {
        duress_arena::kill_group(child.id());
        // It was just killed, and is only to be collected.
        let _ = child.wait();
    }
    let said = last_line(log, from).map_err(unlogged)?;
    let how = match &status {
        Ok(status) => format!("ended with {status}"),
        Err(how) => format!("{how}, and was killed"),
    };
    writeln!(file, "# {step} {how} after {} ms", began.elapsed().as_millis()).map_err(unlogged)?;
    match status {
        Ok(status) => Ok(Ended { status, said }),
        Err(how) => Err(format!("{how}{}", quoted(&said))),
    }
}

/// Opens the file of a command's output three times, to append.
fn opened(log: &Path) -> io::Result<(File, File, File)> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(log)?;
    let (stdout, stderr) = (file.try_clone()?, file.try_clone()?);
    Ok((file, stdout, stderr))
}

/// Returns the last line with letters in `log`, from the byte `from` on, cut and without control characters.
fn last_line(log: &Path, from: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(end.saturating_sub(SAID_BYTES))))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    let letters = line.chars().take(SAID_LETTERS);
    Ok(letters.map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect())
}
