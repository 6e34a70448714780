//! From a history to a verdict: pairs the operations, and checks them within a time.

pub mod statistics;
pub mod verdict;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, io};

use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex, check_registers};
use duress_checkers::verdict::Verdict;
use duress_history::jsonl::ReadError;
use duress_history::mutex::Mutex;
use duress_history::pairs::{PairError, pair};
use duress_history::register::{CasRegister, Register};
use duress_history::{NemesisEvent, Operation, Payload, Scalar, import};
use duress_targets::{Delivery, Promise};
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::judge::statistics::{RunStatistics, statistics};
use crate::run::clock::nanos;
use crate::workload::WorkloadKind;
use crate::workload::log::mix::LogOptions;
use crate::workload::queue::mix::QueueOptions;
use crate::workload::register::linearizability;
use crate::workload::table::mix::TableOptions;

/// What a history is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Model {
    /// Many registers: read, write and compare-and-set, each value a [key, value].
    Register,
    /// One register, values bare.
    CasRegister,
    /// One lock: acquire and release.
    Mutex,
    /// A log: send, poll, assign, subscribe, …
    Log,
    /// The same operations, and every message is for one member of the group.
    Queue,
    /// A compacted log: put, delete, read-log.
    Table,
}

/// Against what a history is checked.
#[derive(Clone, Debug)]
pub struct Against {
    /// What it holds.
    pub model: Model,
    /// What registers hold at first; of no meaning for others.
    pub initial: Option<Scalar>,
    /// What is promised of delivery; of no meaning for registers and locks.
    pub promise: Delivery,
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
    /// Nothing could be made to end the check in time.
    #[error("cannot watch over the time of the check")]
    Watch(#[source] io::Error),
}

/// Reads the history at `path`, of any format: what the nemesis did, and the clients' operations.
///
/// # Errors
/// [`JudgeError`].
pub fn read<A: Payload>(path: &Path) -> Result<(Vec<NemesisEvent>, Vec<Operation<A>>), JudgeError> {
    let history = import::read_any::<A>(path)?;
    Ok((history.nemesis, pair(history.events)?))
}

/// What a checker said of a history, whichever checker it was, and the words for it.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// What it said.
    pub verdict: Verdict,
    /// What was checked for, as an adjective: `linearizable`.
    pub property: String,
    /// What is so when it holds, as a clause: `every answer fits one order of the operations`.
    pub holds: String,
    /// What is so when it does not: `not linearizable: 1 of 6 keys`.
    pub broken: String,
    /// How much was checked: `1200 operations on 6 keys`.
    pub checked: String,
    /// What else was found out, a line each.
    pub findings: Vec<String>,
    /// What `duress check --model` is to be given to find the same.
    pub model: String,
    /// The checker's whole answer, its verdict among it.
    pub report: Value,
}

/// What a run's history came to.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What the nemesis did.
    pub nemesis: Vec<NemesisEvent>,
    /// Figures.
    pub statistics: RunStatistics,
    /// What the checker said.
    pub judgement: Judgement,
}

/// Judges the history of a run at `path`, whose clients stopped `until` after they began, against what was promised;
/// what is undecided after `limit` is unknown.
///
/// A cluster that never came up leaves no history, and nothing to judge.
///
/// # Errors
/// [`JudgeError`].
pub fn judge_run<W: WorkloadKind>(
    path: &Path,
    promise: Promise,
    until: Duration,
    limit: Duration,
) -> Result<Judged, JudgeError> {
    let (nemesis, operations) = match fs::metadata(path) {
        Ok(metadata) if metadata.len() > 0 => read::<W::Action>(path)?,
        _ => (Vec::new(), Vec::new()),
    };
    let statistics = statistics(&operations, nanos(until));
    let judgement = W::judge(&operations, promise, limit)?;
    Ok(Judged { nemesis, statistics, judgement })
}

/// Checks the history at `path`; what is undecided after `limit`, or when the program is asked to end, is unknown.
///
/// # Errors
/// [`JudgeError`].
pub fn check_file(path: &Path, against: Against, limit: Duration) -> Result<Judgement, JudgeError> {
    let Against { model, initial, promise } = against;
    let budget = Budget::default();
    match model {
        Model::Register => {
            let (_, operations) = read::<Register>(path)?;
            within(limit, |interrupt| check_registers(&operations, initial, &budget, interrupt))
                .map(|report| linearizability(report, "register"))
        }
        Model::CasRegister => {
            let (_, operations) = read::<CasRegister>(path)?;
            within(limit, |interrupt| check_cas_register(&operations, initial, &budget, interrupt))
                .map(|report| linearizability(report, "cas-register"))
        }
        Model::Mutex => {
            let (_, operations) = read::<Mutex>(path)?;
            within(limit, |interrupt| check_mutex(&operations, &budget, interrupt))
                .map(|report| linearizability(report, "mutex"))
        }
        Model::Log => check_messages::<LogOptions>(path, promise, limit),
        Model::Queue => check_messages::<QueueOptions>(path, promise, limit),
        Model::Table => check_messages::<TableOptions>(path, promise, limit),
    }
}

fn check_messages<W: WorkloadKind>(
    path: &Path,
    promise: Delivery,
    limit: Duration,
) -> Result<Judgement, JudgeError> {
    let (_, operations) = read::<W::Action>(path)?;
    W::judge(&operations, Promise::Messages { stored: promise, consumed: promise }, limit)
}

/// Calls `check` with a flag that is raised once `limit` has passed, or when the program is asked to end.
///
/// # Errors
/// [`JudgeError::Watch`].
pub fn within<T>(limit: Duration, check: impl FnOnce(&AtomicBool) -> T) -> Result<T, JudgeError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(JudgeError::Watch)?;
    // Registered before the check begins, so that there is no moment at which a request would be lost.
    let (mut interrupts, mut terminations) = {
        let _inside = runtime.enter();
        let on = |kind| signal(kind).map_err(JudgeError::Watch);
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?)
    };
    let interrupt = AtomicBool::new(false);
    let (done, ended) = oneshot::channel::<()>();
    let watch = async {
        tokio::select! {
            // The check is over, or has panicked: there is nobody to tell.
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
        let result = check(&interrupt);
        drop(done);
        Ok(result)
    })
}
