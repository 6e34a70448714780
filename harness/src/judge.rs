//! From a history to a verdict: pairs the operations, and checks them within a time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use duress_checkers::CheckReport;
use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex, check_registers};
use duress_history::jsonl::ReadError;
use duress_history::mutex::Mutex;
use duress_history::pairs::{PairError, pair};
use duress_history::register::{CasRegister, Register};
use duress_history::{History, Operation, Payload, Scalar, import};

/// What a history is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Model {
    /// Many registers: read, write and compare-and-set, each value a [key, value].
    Register,
    /// One register, values bare.
    CasRegister,
    /// One lock: acquire and release.
    Mutex,
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
}

/// Reads the history at `path`, of any format, and its operations.
///
/// # Errors
/// [`JudgeError`].
pub fn read<A: Payload>(path: &Path) -> Result<(History<A>, Vec<Operation<A>>), JudgeError> {
    let history = import::read_any::<A>(path)?;
    let operations = pair(&history.events)?;
    Ok((history, operations))
}

/// Checks the history at `path` against `model`, from `initial`; what is undecided after `limit` is unknown.
///
/// # Errors
/// [`JudgeError`].
pub fn check_file(
    path: &Path,
    model: Model,
    initial: Option<Scalar>,
    limit: Duration,
) -> Result<CheckReport, JudgeError> {
    let budget = Budget::default();
    Ok(match model {
        Model::Register => {
            let (_, operations) = read::<Register>(path)?;
            within(limit, |interrupt| check_registers(&operations, initial, &budget, interrupt))
        }
        Model::CasRegister => {
            let (_, operations) = read::<CasRegister>(path)?;
            within(limit, |interrupt| check_cas_register(&operations, initial, &budget, interrupt))
        }
        Model::Mutex => {
            let (_, operations) = read::<Mutex>(path)?;
            within(limit, |interrupt| check_mutex(&operations, &budget, interrupt))
        }
    })
}

/// Checks operations on many registers that start without a value.
#[must_use]
pub fn check_run(operations: &[Operation<Register>], limit: Duration) -> CheckReport {
    within(limit, |interrupt| check_registers(operations, None, &Budget::default(), interrupt))
}

/// Calls `check` with a flag that is raised once `limit` has passed.
fn within<T>(limit: Duration, check: impl FnOnce(&AtomicBool) -> T) -> T {
    let interrupt = Arc::new(AtomicBool::new(false));
    let (done, waits) = mpsc::channel::<()>();
    let raised = Arc::clone(&interrupt);
    let watch = std::thread::spawn(move || {
        if waits.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            raised.store(true, Ordering::Relaxed);
        }
    });
    let result = check(&interrupt);
    drop(done);
    if watch.join().is_err() {
        unreachable!("the watch only waits and stores");
    }
    result
}
