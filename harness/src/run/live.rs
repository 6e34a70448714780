//! The history checked while it grows, so that a run can end with its first anomaly.
//!
//! Each look judges the whole record until then. The final verdict is that of the whole history, as always: a look only
//! ends the run earlier.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use duress_checkers::verdict::Verdict;
use duress_history::Promise;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::dispatcher::Stop;
use crate::cli::output::tell;
use crate::judge::RecordedRun;
use crate::workload::Workload;

/// The shortest pause before a look.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// A pause is at least so many times as long as the look before it, which bounds the share of the processors.
const PAUSE_PER_LOOK: u32 = 3;
/// Longer than the record can grow during a look.
const FAR: Duration = Duration::from_secs(3600);
/// The longest look; what it has not decided is left to a later one.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// The record of a run that goes on, and what its answers are held to.
pub struct Live {
    /// The clients' workload, whose histories are [closed under prefixes](crate::workload::Kind::PREFIX_CLOSED).
    pub workload: &'static dyn Workload,
    /// The promise.
    pub promise: Promise,
    /// The file of the history.
    pub history: PathBuf,
    /// How long clients run.
    pub time_limit: Duration,
}

impl Live {
    /// Looks again and again, until the clients' time is over. Ends the run early by `stop` when there is an anomaly.
    pub async fn watch(self, stop: watch::Sender<Stop>) {
        let start = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            sleep(pause).await;
            if *stop.borrow() > Stop::No || start.elapsed() > self.time_limit {
                return;
            }
            let began = Instant::now();
            let (workload, promise, history) = (self.workload, self.promise, self.history.clone());
            // No read is a final one: clients go on.
            let clients_until = start.elapsed() + FAR;
            let look = spawn_blocking(move || {
                workload.judge(&RecordedRun { history: &history, promise, clients_until, limit: LOOK_MAX })
            });
            match look.await {
                Ok(Ok(judged)) => {
                    if let Verdict::Invalid(anomalies) = &judged.judgement.report.verdict
                        && let Some(first) = anomalies.first()
                    {
                        tell(format_args!("{}: {}; ending the run", first.kind, first.summary));
                        stop.send_if_modified(|stop| {
                            let ends = *stop == Stop::No;
                            *stop = (*stop).max(Stop::Early);
                            ends
                        });
                        return;
                    }
                }
                // The final check reads the same file, and says what is wrong with it.
                Ok(Err(error)) => tracing::warn!(%error, "the history could not be checked while it grew"),
                Err(error) => tracing::warn!(%error, "a look at the history failed"),
            }
            pause = PAUSE_MIN.max(began.elapsed() * PAUSE_PER_LOOK);
        }
    }
}
