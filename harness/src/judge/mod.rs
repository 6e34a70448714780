//! From a history to a verdict: pairs the operations, and checks them within a time.

pub mod finding;
pub mod floor;
pub mod moments;
pub mod sides;
pub mod statistics;
pub mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

use duress_checkers::CheckReport;
use duress_checkers::bank::BankOptions;
use duress_checkers::verdict::Verdict;
use duress_history::event::Torn;
use duress_history::nemesis::{Comparison, NemesisAct};
use duress_history::pairs::{PairError, pair};
use duress_history::{
    Assumed, History, NemesisEvent, Operation, Payload, Promise, ReadError, Timing, import,
};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;

use self::finding::{Finding, comparisons};
use self::floor::Exercised;
use self::moments::Moments;
use self::statistics::{RunStatistics, statistics};
use crate::run::clock::nanos;

/// The promise and the assumptions for judging a history.
#[derive(Clone, Debug)]
pub struct Question {
    /// The promise about the answers.
    pub promise: Promise,
    /// The promise of a bank.
    pub bank: BankOptions,
    /// The assumptions about registers.
    pub assumed: Assumed,
    /// When everything was healed and the last write was made, in nanoseconds since the run began: reads that
    /// begin later are the final ones. Absent if the history does not record it.
    pub healed_ns: Option<u64>,
    /// Whether the times of the history can be subtracted from each other.
    pub timing: Timing,
}

impl Default for Question {
    /// Everything is promised, and objects are empty at first.
    fn default() -> Self {
        Self {
            promise: Promise::LINEARIZABLE,
            bank: BankOptions::default(),
            assumed: Assumed::default(),
            healed_ns: None,
            timing: Timing::Recorded,
        }
    }
}

/// The history of a completed run, and how to judge it.
#[derive(Clone, Copy, Debug)]
pub struct RecordedRun<'a> {
    /// The history's file.
    pub history: &'a Path,
    /// The promise.
    pub promise: Promise,
    /// When clients stopped and the final phase began.
    pub clients_until: Duration,
    /// How long the check may take.
    pub limit: Duration,
}

/// Why a history cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its events do not pair.
    #[error("the history is malformed")]
    Pair(#[from] PairError),
    /// The check's time limit could not be set up.
    #[error("cannot watch over the time of the check")]
    Watch(#[source] io::Error),
}

/// The place of a history, and how to read it.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Its file or folder, or the logs of several clients.
    pub paths: Vec<PathBuf>,
    /// How it is to be read.
    pub options: import::Options,
    /// Whether to keep what was read.
    pub copying: Copying,
}

/// Whether a check keeps what it read, for a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Copying {
    /// It does not: a history may be large.
    #[default]
    Off,
    /// [`HistoryCopy`].
    On,
}

/// A copy of a history, the same for each format that it may be read from.
#[derive(Clone, Debug)]
pub struct HistoryCopy {
    /// Its events as our JSON lines, by index.
    pub lines: Vec<u8>,
    /// Other names that the file has for operations, by their `f`.
    pub other_names: BTreeMap<&'static str, BTreeSet<String>>,
    /// The source of their times, and of those in the verdict.
    pub moments: Moments,
    /// Figures.
    pub statistics: RunStatistics,
}

impl HistoryCopy {
    /// Returns the name of the operation `f`, with those that the file has for it: `write (put)`.
    #[must_use]
    pub fn named(&self, f: &str) -> String {
        match self.other_names.get(f) {
            Some(names) => format!("{f} ({})", names.iter().cloned().collect::<Vec<_>>().join(", ")),
            None => f.to_owned(),
        }
    }

    /// Moves `history` to moments that can be drawn, and returns a copy of it, still without figures.
    fn of<A: Payload>(history: &mut History<A>) -> Self {
        let moments = Moments::of(history);
        moments.apply(history);
        let mut lines = Vec::new();
        let mut append = |line: &dyn Fn(&mut Vec<u8>) -> serde_json::Result<()>| {
            line(&mut lines).expect("an event has only keys that are strings");
            lines.push(b'\n');
        };
        let mut nemesis = history.nemesis.iter().peekable();
        for event in &history.events {
            while let Some(before) = nemesis.next_if(|other| other.index < event.index) {
                append(&|lines| serde_json::to_writer(lines, before));
            }
            append(&|lines| serde_json::to_writer(lines, event));
        }
        nemesis.for_each(|event| append(&|lines| serde_json::to_writer(lines, event)));
        let other_names = history.other_names.clone();
        Self { lines, other_names, moments, statistics: RunStatistics::default() }
    }
}

impl Recording {
    /// Our own, at `path`.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { paths: vec![path.to_owned()], options: import::Options::default(), copying: Copying::Off }
    }

    /// Reads the nemesis's events and the clients' operations.
    ///
    /// # Errors
    /// [`JudgeError::Read`] and [`JudgeError::Pair`].
    pub fn read<A: Payload>(&self) -> Result<Recorded<A>, JudgeError> {
        let began = Instant::now();
        let mut history = import::read::<A>(&self.paths, &self.options)?;
        let reading = began.elapsed();
        let mut notes = Vec::new();
        if history.torn == Torn::LastLine {
            notes.push("the history was cut short: its last event was left out".to_owned());
        }
        let skipped: Vec<String> = history.skipped.iter().map(|(f, count)| format!("{count} {f}")).collect();
        if !skipped.is_empty() {
            notes.push(format!("events left out, as irrelevant to the model: {}", skipped.join(", ")));
        }
        let timing = match Moments::of(&history) {
            Moments::Recorded { .. } => history.timing,
            Moments::Positions { .. } => Timing::Incomplete,
        };
        let mut copy = (self.copying == Copying::On).then(|| HistoryCopy::of(&mut history));
        let until_ns = history.events.last().map_or(0, |event| event.time);
        let began = Instant::now();
        let operations = pair(history.events)?;
        let times = Times { reading, pairing: began.elapsed(), checking: Duration::ZERO };
        if let Some(copy) = &mut copy {
            copy.statistics = statistics(&operations, until_ns);
        }
        Ok(Recorded { nemesis: history.nemesis, operations, notes, times, timing, copy })
    }
}

/// A history as it was read.
#[derive(Clone, Debug)]
pub struct Recorded<A> {
    /// The nemesis's events.
    pub nemesis: Vec<NemesisEvent>,
    /// The clients' operations, by invocation.
    pub operations: Vec<Operation<A>>,
    /// The omissions, a sentence each.
    pub notes: Vec<String>,
    /// How long it took.
    pub times: Times,
    /// Whether the times of its events can be subtracted from each other.
    pub timing: Timing,
    /// The history itself, if it was to be kept.
    pub copy: Option<HistoryCopy>,
}

/// How long the parts of a check took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Reading the events.
    pub reading: Duration,
    /// Making operations of them.
    pub pairing: Duration,
    /// Deciding them, with the search for a small witness.
    pub checking: Duration,
}

impl<A: Payload> Recorded<A> {
    /// Combines `judge`'s result for the operations with the nemesis's findings about the system; omissions
    /// are among the findings; questions undecided after `limit` are unknown.
    ///
    /// # Errors
    /// [`JudgeError::Watch`].
    pub fn judged(
        self,
        limit: Duration,
        judge: impl FnOnce(&[Operation<A>], &AtomicBool) -> Judgement,
    ) -> Result<Judgement, JudgeError> {
        let began = Instant::now();
        let mut judgement = within(limit, |interrupt| judge(&self.operations, interrupt))?;
        judgement.times = Times { checking: began.elapsed(), ..self.times };
        judgement.copy = self.copy;
        judgement.findings.splice(0..0, self.notes);
        Ok(judgement.beside(&self.nemesis))
    }
}

/// The result of a checker, whichever it was, in words.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The property checked, as an adjective: `linearizable`.
    pub property: String,
    /// The statement if it holds, as a clause: `every answer fits one order of the operations`.
    pub holds: String,
    /// The statement if it does not: `not linearizable: 1 of 6 keys`.
    pub broken: String,
    /// How much was checked: `1200 operations on 6 keys`.
    pub checked: String,
    /// Other findings, a line each.
    pub findings: Vec<String>,
    /// The value of `duress check --model` that repeats the check.
    pub model: String,
    /// The checker's whole answer.
    pub report: CheckReport,
    /// How long it took to give it; zero as far as it was not measured.
    pub times: Times,
    /// The history that it is about, if it was to be kept.
    pub copy: Option<HistoryCopy>,
}

impl Judgement {
    /// Adds the nemesis's findings about the system.
    fn beside(mut self, nemesis: &[NemesisEvent]) -> Self {
        self.findings.extend(comparisons(nemesis).filter_map(Comparison::open));
        let beside = Finding::all(nemesis);
        if let [first, more @ ..] = &beside[..] {
            if !matches!(self.report.verdict, Verdict::Invalid(_)) {
                let more = if more.is_empty() { String::new() } else { format!(", and {} more", more.len()) };
                self.broken = format!("{first}{more}");
            }
            let beside = Verdict::new(beside.iter().map(Finding::anomaly).collect(), Vec::new());
            self.report.verdict = self.report.verdict.merge(beside);
        }
        self
    }
}

/// The result of judging a run's history.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The nemesis's events.
    pub nemesis: Vec<NemesisEvent>,
    /// Figures.
    pub statistics: RunStatistics,
    /// The extent of what the run exercised.
    pub exercised: Exercised,
    /// The checker's result.
    pub judgement: Judgement,
}

/// When everything was healed and every node had been awaited, in nanoseconds since the run began, if the nemesis says.
#[must_use]
pub fn settled(nemesis: &[NemesisEvent]) -> Option<u64> {
    let settled = |event: &&NemesisEvent| matches!(event.act, NemesisAct::Settled { .. });
    nemesis.iter().rfind(settled).map(|event| event.time)
}

/// Judges the history of a run by `judge`; questions undecided after the run's limit are unknown.
///
/// A cluster that never came up leaves no history, and nothing to judge.
///
/// # Errors
/// [`JudgeError`].
pub fn judge_operations<A: Payload>(
    run: &RecordedRun<'_>,
    judge: impl FnOnce(&[Operation<A>], &Question, &AtomicBool) -> Judgement,
) -> Result<Judged, JudgeError> {
    let (nemesis, operations, timing) = match fs::metadata(run.history) {
        Ok(metadata) if metadata.len() > 0 => {
            let recorded = Recording::at(run.history).read::<A>()?;
            (recorded.nemesis, recorded.operations, recorded.timing)
        }
        _ => (Vec::new(), Vec::new(), Timing::Recorded),
    };
    let until = nanos(run.clients_until);
    let statistics = statistics(&operations, until);
    let exercised = Exercised::of(&operations, &nemesis, until);
    let healed_ns = settled(&nemesis).or(Some(until));
    let question = Question { promise: run.promise, healed_ns, timing, ..Question::default() };
    let judgement = within(run.limit, |interrupt| judge(&operations, &question, interrupt))?;
    Ok(Judged { nemesis, statistics, exercised, judgement })
}

/// Calls `check` with a flag that is raised once `limit` has passed, or when the program is asked to end.
///
/// # Errors
/// [`JudgeError::Watch`].
pub fn within<T>(limit: Duration, check: impl FnOnce(&AtomicBool) -> T) -> Result<T, JudgeError> {
    let (mut check, mut result) = (Some(check), None);
    watched(limit, &mut |interrupt| result = check.take().map(|check| check(interrupt)))?;
    Ok(result.expect("it was called"))
}

/// [`within`], once for all that checks return.
fn watched(limit: Duration, check: &mut dyn FnMut(&AtomicBool)) -> Result<(), JudgeError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(JudgeError::Watch)?;
    // Registered before the check begins, so that no request is lost.
    let (mut interrupts, mut terminations) = {
        let _inside = runtime.enter();
        let on = |kind| signal(kind).map_err(JudgeError::Watch);
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?)
    };
    // Without any time nothing is decided, however fast the check would be.
    let interrupt = AtomicBool::new(limit.is_zero());
    let (done, ended) = oneshot::channel::<()>();
    let watch = async {
        tokio::select! {
            // The check is over, or has panicked: there is nothing to interrupt.
            _ = ended => return,
            () = sleep(limit) => {}
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
        }
        interrupt.store(true, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn_scoped(scope, || runtime.block_on(watch))
            .map_err(JudgeError::Watch)?;
        check(&interrupt);
        drop(done);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use duress_history::register::{Register, RegisterOp};
    use duress_history::{Completion, NodeId, OpError, Process};

    use super::*;

    /// Returns nine reads of three nodes in 1.3 s, of which clients ran for 1 s: two fail, and two are of unknown outcome.
    pub(super) fn reads() -> Vec<Operation<Register>> {
        const MS: u64 = 1_000_000;
        let read = Register { key: "x".into(), op: RegisterOp::Read(None) };
        let ok = |ms: u64| Completion::Ok { index: 0, time: ms * MS, answer: read.clone() };
        let fail = |ms: u64, kind: Option<&'static str>| {
            let error = |kind: &'static str| {
                Box::new(OpError {
                    kind: Some(kind.into()),
                    text: format!("{kind}: it was not so"),
                    saw: None,
                })
            };
            Completion::Fail { index: 0, time: ms * MS, error: kind.map(error) }
        };
        let info = |ms: Option<u64>| Completion::Info { at: ms.map(|ms| (0, ms * MS)), error: None };
        let all = [
            ("n1", 10, ok(20)),
            ("n1", 50, ok(150)),
            ("n2", 120, info(Some(250))),
            ("n2", 150, info(None)),
            ("n1", 200, ok(350)),
            ("n1", 210, fail(220, Some("precondition"))),
            ("n3", 400, ok(410)),
            ("n1", 1100, ok(1110)),
            ("n3", 1200, fail(1300, None)),
        ];
        let operation = |(node, ms, completion): (&str, u64, Completion<Register>)| Operation {
            process: Process(0),
            node: Some(NodeId::new(node)),
            index: 0,
            time: ms * MS,
            action: read.clone(),
            completion,
        };
        all.into_iter().map(operation).collect()
    }

    #[test]
    fn a_check_is_told_to_end_when_its_time_is_over() {
        let told = |interrupt: &AtomicBool| interrupt.load(Ordering::Relaxed);
        assert!(within(Duration::ZERO, told).unwrap(), "it has no time at all");
        assert!(!within(Duration::from_secs(3600), told).unwrap());
        let waits = |interrupt: &AtomicBool| {
            while !told(interrupt) {
                std::thread::yield_now();
            }
        };
        within(Duration::from_millis(1), waits).unwrap();
    }
}
