//! How a matrix goes, on standard error: a live table on a terminal, plain lines elsewhere.

use std::fmt;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::outcome::Outcome;
use super::results::{CellResult, RunResult, SeriesName};
use crate::cli::output::tell;
use crate::trial::{Finding, Trial};

/// How a matrix goes.
#[derive(Debug)]
pub struct Table {
    style: Style,
    cells: usize,
    done: usize,
    failed: usize,
}

#[derive(Debug)]
enum Style {
    Terminal { rows: MultiProgress, whole: ProgressBar },
    Plain,
}

/// The row of a run that is under way.
#[derive(Debug)]
pub struct Row(Option<ProgressBar>);

impl Table {
    /// The table of so many cells, drawn as standard error allows.
    #[must_use]
    pub fn new(cells: usize) -> Self {
        let style = if std::io::stderr().is_terminal() {
            let rows = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(4));
            let whole = rows.add(ProgressBar::new(cells as u64));
            whole.set_style(style("{bar:24} {pos:>3}/{len} cells  {elapsed_precise}  {wide_msg}"));
            whole.enable_steady_tick(Duration::from_millis(500));
            Style::Terminal { rows, whole }
        } else {
            Style::Plain
        };
        Self { style, cells, done: 0, failed: 0 }
    }

    /// A run begins.
    pub fn begin(&mut self, cell: &str, series: SeriesName, seed: u64) -> Row {
        match &self.style {
            Style::Plain => Row(None),
            Style::Terminal { rows, whole } => {
                let row = rows.insert_before(whole, ProgressBar::new_spinner());
                row.set_style(style("  {spinner} {elapsed:>4}  {wide_msg}"));
                row.set_message(format!("{cell}  {} with seed {seed}", series.name()));
                row.enable_steady_tick(Duration::from_millis(500));
                Row(Some(row))
            }
        }
    }

    /// It has ended.
    pub fn end(&mut self, row: Row) {
        if let Row(Some(row)) = row {
            row.finish_and_clear();
        }
    }

    /// One run of many of a cell came to something.
    pub fn trial(&mut self, cell: &str, series: SeriesName, trial: &Trial) {
        let what = match &trial.finding {
            Finding::Valid => "valid".to_owned(),
            Finding::Invalid { .. } => super::judgement::found(trial),
            other => {
                let judgement = super::judgement::inconclusive(other);
                format!("{}: {}", judgement.outcome.words(), judgement.message)
            }
        };
        let name = series.name();
        self.say(format!("        {cell}: {name} with seed {}: {what} ({:.0} s)", trial.seed, trial.seconds));
    }

    /// A cell came to something.
    pub fn cell(&mut self, result: &CellResult) {
        self.done += 1;
        self.failed += usize::from(result.outcome.failed());
        self.say(line(result, self.done, self.cells));
        for lead in leads(result) {
            self.say(format!("        {lead}"));
        }
        if let Style::Terminal { whole, .. } = &self.style {
            whole.set_position(self.done as u64);
            whole.set_message(if self.failed == 0 {
                String::new()
            } else {
                format!("{} failed", self.failed)
            });
        }
    }

    /// Takes the live part away.
    pub fn finish(&mut self) {
        if let Style::Terminal { whole, .. } = &self.style {
            whole.finish_and_clear();
        }
    }

    fn say(&self, line: String) {
        match &self.style {
            // What is printed stays whole above the rows; a terminal that has gone away is no error.
            Style::Terminal { rows, .. } => {
                let _ = rows.println(line);
            }
            Style::Plain => tell(line),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well formed")
}

/// `[ 3/12] passed  store/raft/faults=kill  valid (17 s)`.
fn line(result: &CellResult, done: usize, cells: usize) -> String {
    let width = cells.to_string().len();
    let mark = match result.outcome {
        Outcome::Passed => "ok".to_owned(),
        Outcome::Skipped => "skipped".to_owned(),
        failed => failed.words().to_uppercase(),
    };
    format!("[{done:>width$}/{cells}] {mark}  {}: {} ({:.0} s)", result.name, result.message, result.seconds)
}

/// What a person who looks into a failed cell needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The report of a run, where its folder was kept.
    pub report: Option<PathBuf>,
    /// The command that runs it again.
    pub again: String,
}

impl fmt::Display for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(report) = &self.report {
            write!(f, "report: {}; ", report.display())?;
        }
        write!(f, "again: {}", self.again)
    }
}

/// The leads of a cell: a run each that was kept, or the command of its first. None where it did not fail.
#[must_use]
pub fn leads(result: &CellResult) -> Vec<Lead> {
    if !result.outcome.failed() {
        return Vec::new();
    }
    let of_run = |run: &RunResult| Lead {
        report: Some(run.trial.report()),
        again: run.trial.replay.as_ref().unwrap_or(&run.trial.command).clone(),
    };
    let leads: Vec<Lead> = result.kept().map(of_run).collect();
    if leads.is_empty() { vec![Lead { report: None, again: result.command.clone() }] } else { leads }
}
