//! Before anything is started, `duress run --dry-run` checks every cell, and returns its plan.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use duress_arena::capabilities::Capabilities;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use super::cell::{Aim, Cell, DEADLINE_MARGIN};
use super::command::RunCommand;
use super::document::DocumentError;
use super::key::{Key, RunOptions, Takes};

/// How many are asked at a time.
const AT_A_TIME: usize = 4;
/// How long an answer may take on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cell that can be run.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The cell.
    pub cell: Cell,
    /// For how long its clients run.
    pub time_limit: Duration,
    /// How many faults its first run has.
    pub faults: usize,
    /// Why this machine cannot run it, if so.
    pub impossible: Option<String>,
}

impl Prepared {
    /// Returns the deadline of a run.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.cell.deadline.unwrap_or(self.time_limit + DEADLINE_MARGIN)
    }
}

/// Why a cell cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// It is not understood.
    #[error(transparent)]
    Wrong(#[from] DocumentError),
    /// The program could not be asked.
    #[error("cannot ask duress run about the cell {cell}")]
    Ask {
        /// The cell.
        cell: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

/// As much of a plan as a matrix needs.
#[derive(Debug, Deserialize)]
struct PlanFile {
    time_limit_ms: u64,
    faults: String,
    schedule: Vec<serde_json::Value>,
    #[serde(default)]
    arena: BTreeMap<String, serde_json::Value>,
}

/// Asks about every cell.
///
/// # Errors
/// [`PreflightError`], pointing at the cell that is not understood.
pub async fn prepare(
    program: &Path,
    file: &Path,
    cells: Vec<Cell>,
    options: &RunOptions,
    machine: &Capabilities,
) -> Result<Vec<Prepared>, PreflightError> {
    let asked = cells.into_iter().map(|cell| one(program, file, cell, options, machine));
    stream::iter(asked).buffered(AT_A_TIME).try_collect().await
}

async fn one(
    program: &Path,
    file: &Path,
    cell: Cell,
    options: &RunOptions,
    machine: &Capabilities,
) -> Result<Prepared, PreflightError> {
    let plan = ask(program, file, &cell, &cell.command, options).await?;
    if let Aim::Bug(gate) = &cell.aim {
        ask(program, file, &cell, &gate.without, options).await?;
    }
    if plan.faults != "none" && plan.schedule.is_empty() {
        let message = format!(
            "no fault of \"{}\" fits into {} s: a longer time-limit or a shorter interval is needed",
            plan.faults,
            plan.time_limit_ms as f64 / 1000.0
        );
        return Err(wrong(file, &cell, &Key::Faults, message).into());
    }
    let impossible = impossible(&cell, &plan, machine);
    Ok(Prepared {
        time_limit: Duration::from_millis(plan.time_limit_ms),
        faults: plan.schedule.len(),
        impossible,
        cell,
    })
}

async fn ask(
    program: &Path,
    file: &Path,
    cell: &Cell,
    command: &RunCommand,
    options: &RunOptions,
) -> Result<PlanFile, PreflightError> {
    let failed = |source| PreflightError::Ask { cell: cell.name.clone(), source };
    let words = command.words(|name| options.takes(name) != Some(Takes::Nothing), cell.seed);
    let mut child = Command::new(program);
    child.args(&words).arg("--dry-run").stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, child.output())
        .await
        .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
        .map_err(failed)?;
    if output.status.success() {
        return serde_json::from_slice(&output.stdout).map_err(|error| failed(error.into()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no output");
    let message = first.trim_start_matches("duress: ").trim_start_matches("error: ");
    // The word that it speaks of, where it names one.
    let key = cell.lines.keys().find(|key| message.contains(&format!("--{key}")));
    let key = key.cloned().unwrap_or(Key::Target);
    Err(wrong(file, cell, &key, format!("duress run does not take {}: {message}", cell.name)).into())
}

fn wrong(file: &Path, cell: &Cell, key: &Key, message: String) -> DocumentError {
    let line = cell.lines.get(key).copied().unwrap_or(cell.line);
    DocumentError::Wrong { path: file.to_owned(), line, message }
}

/// Returns what this machine lacks for a cell, in words.
fn impossible(cell: &Cell, plan: &PlanFile, machine: &Capabilities) -> Option<String> {
    let without = match &cell.aim {
        Aim::Bug(gate) => Some(&gate.without),
        Aim::Verdict(_) => None,
    };
    let system = crate::systems::find(&cell.command.target).ok()?;
    for command in [Some(&cell.command), without].into_iter().flatten() {
        if let Err(missing) = system.available(&command.programs()) {
            return Some(missing.to_string());
        }
    }
    let is = |field: &str, value: &str| plan.arena.get(field).is_some_and(|have| have == value);
    if is("clock", "own") && !machine.ptrace.is_available() {
        return Some("nodes cannot have clocks of their own here".to_owned());
    }
    if is("data", "breakable") && !machine.fuse.is_available() {
        return Some("nodes cannot have disks that break here".to_owned());
    }
    None
}
