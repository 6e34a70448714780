//! The history checked while it grows, so that the user sees its first anomaly, and a run can end with it.
//!
//! A workload that has a check for it is [followed](crate::workload::Kind::growing), line by line. Where that shows an anomaly,
//! the whole record until then is judged, as it is at the end, which also names it: nothing else is ever called an anomaly. Of a run
//! that is to end with its first anomaly, what cannot be followed is judged so again and again. The final verdict is that
//! of the whole history, as always.

use std::time::{Duration, Instant};

use duress_checkers::growing::SoFar;
use duress_history::Promise;
use duress_history::jsonl::Line;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::dispatcher::Stop;
use crate::cli::output::tell;
use crate::judge::RecordedRun;
use crate::record::folder::RunFolder;
use crate::record::live::{self, LiveRecord};
use crate::record::tail::Tail;
use crate::workload::{Follow, Workload};

/// The pause before a look.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause after a look at the whole record is at least so many times as long, which bounds the share of the processors.
const PAUSE_PER_LOOK: u32 = 3;
/// Longer than the record can grow during a look.
const FAR: Duration = Duration::from_secs(3600);
/// The longest look at the whole record; what it has not decided is left to a later one.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// What a run does about an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtAnomaly {
    /// It ends early.
    EndsRun,
    /// It says so.
    GoesOn,
}

/// The record of a run that goes on, and what its answers are held to.
pub struct Live {
    /// The clients' workload.
    pub workload: &'static dyn Workload,
    /// The promise.
    pub promise: Promise,
    /// The run's folder.
    pub folder: RunFolder,
    /// How long clients run.
    pub time_limit: Duration,
    /// What to do about an anomaly.
    pub at_anomaly: AtAnomaly,
    /// Receives what was checked.
    pub told: watch::Sender<LiveRecord>,
}

/// A history that is followed.
struct Followed {
    history: Tail,
    check: Box<dyn Follow>,
}

impl Followed {
    /// Takes the lines added since the last time. Blocks while it reads.
    fn go_on(&mut self) -> SoFar {
        let Self { history, check } = self;
        history.take(&mut |line| {
            if let Ok(line) = serde_json::from_slice::<Line<'_>>(line) {
                check.take(&line);
            }
        });
        check.so_far()
    }
}

impl Live {
    /// Looks again and again, until the clients' time is over or there is an anomaly. Ends the run early by `stop` if it is to.
    pub async fn watch(self, stop: watch::Sender<Stop>) {
        let history = self.folder.file("history.jsonl");
        let check = self.workload.follow(self.promise);
        let mut followed = check.map(|check| Followed { history: Tail::new(&history), check });
        let start = Instant::now();
        let mut next_look = Duration::ZERO;
        loop {
            sleep(PAUSE).await;
            if *stop.borrow() > Stop::No || start.elapsed() > self.time_limit {
                return;
            }
            let ends = self.at_anomaly == AtAnomaly::EndsRun;
            let judges = ends && self.workload.prefix_closed();
            let mut suspect = None;
            if let Some(mut following) = followed.take() {
                let read = spawn_blocking(move || (following.go_on(), following));
                let Ok((so_far, following)) = read.await else { return };
                self.tell(so_far.into());
                suspect = so_far.anomaly;
                if suspect.is_none() && (so_far.left == 0 || !judges) {
                    followed = Some(following);
                    continue;
                }
            }
            if suspect.is_none() && !judges {
                return;
            }
            if suspect.is_none() && start.elapsed() < next_look {
                continue;
            }
            let began = Instant::now();
            let looked = self.look(start).await;
            let found = looked.as_ref().and_then(|record| record.anomaly.clone());
            looked.into_iter().for_each(|record| self.tell(record));
            if let Some(found) = found {
                let rest = if ends { "; ending the run" } else { "; the run goes on" };
                tell(format_args!("{found}{rest}"));
                if ends {
                    stop.send_if_modified(|stop| {
                        let ends = *stop == Stop::No;
                        *stop = (*stop).max(Stop::Early);
                        ends
                    });
                }
                return;
            }
            if let Some(index) = suspect {
                tracing::warn!(index, "an anomaly that showed in the history was not confirmed");
                let so_far = self.so_far();
                self.tell(LiveRecord { left: so_far.left + 1, ..so_far });
            }
            next_look = start.elapsed() + began.elapsed() * PAUSE_PER_LOOK;
        }
    }

    /// Judges the whole record until now; returns the result, if the judge came to one.
    async fn look(&self, start: Instant) -> Option<LiveRecord> {
        let (workload, promise, history) = (self.workload, self.promise, self.folder.file("history.jsonl"));
        // No read is a final one: clients go on.
        let clients_until = start.elapsed() + FAR;
        let look = spawn_blocking(move || {
            workload.judge(&RecordedRun { history: &history, promise, clients_until, limit: LOOK_MAX })
        });
        match look.await {
            Ok(Ok(judged)) => {
                let report = judged.judgement.report;
                LiveRecord::of(&report.verdict, report.operations)
            }
            // The final check reads the same file, and says what is wrong with it.
            Ok(Err(error)) => {
                tracing::warn!(%error, "the history could not be checked while it grew");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "a look at the history failed");
                None
            }
        }
    }

    fn so_far(&self) -> LiveRecord {
        // The borrow must be over before anything is sent.
        self.told.borrow().clone()
    }

    fn tell(&self, record: LiveRecord) {
        let text = serde_json::json!(record).to_string();
        if let Err(error) = self.folder.write(live::FILE, &text) {
            tracing::warn!(%error, "the state of the check was not written");
        }
        self.told.send_replace(record);
    }
}
