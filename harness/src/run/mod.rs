//! A run: world up, clients and nemesis side by side, heal, final reads, teardown, check.

mod administrator;
pub mod agenda;
pub mod clock;
pub mod cluster_access;
pub mod comparison;
pub mod conductor;
pub mod dispatcher;
pub mod events;
pub mod exercise;
pub mod live;
pub mod nemesis_thread;
pub mod observer;
pub mod recovery;
mod second_programs;
pub mod sightings;
pub mod world;

use std::sync::Arc;
use std::time::Duration;

use duress_arena::clock::Tracer;
use duress_history::Promise;
use duress_history::recorder::RecordError;
use duress_targets::Deployment;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;

use self::conductor::{Breakage, chain};
use self::dispatcher::Stop;
use self::exercise::Stage;
use self::live::{AtAnomaly, Live};
use self::world::{World, WorldError};
use crate::cli::output::tell;
use crate::plan::Plan;
use crate::record::folder::RunFolder;
use crate::record::live::LiveRecord;
use crate::workload::Workload;
use crate::workload::erased::OptionsError;

/// The results of a run, besides its history.
#[derive(Debug)]
pub struct Outcome {
    /// The reasons why the run proves nothing, if any.
    pub broken: Vec<String>,
    /// Checks that were not made, so that the run cannot be called valid.
    pub undecided: Vec<String>,
    /// How long it took until every node was ready, if it was.
    pub ready_after: Option<Duration>,
    /// Other notes for the reader.
    pub notes: Vec<String>,
    /// When clients stopped and the final phase began.
    pub clients_until: Duration,
    /// How the run was asked to end, if it was.
    pub stop: Stop,
}

impl Outcome {
    /// Notes what went wrong, each reason once: a node that fell over five times is one reason.
    fn broke(&mut self, broken: &[Breakage]) {
        for breakage in broken {
            let reason = chain(breakage);
            if !self.broken.contains(&reason) {
                self.broken.push(reason);
            }
        }
    }
}

/// Why a run could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The runtime could not be started.
    #[error("cannot start the asynchronous runtime")]
    Runtime(#[source] std::io::Error),
    /// The history could not be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The plan's options of the workload are not the workload's.
    #[error(transparent)]
    Options(#[from] OptionsError),
}

/// Runs `plan`, recording into `folder`. Inside the namespaces.
///
/// `tracer` starts nodes with clocks of their own, where the plan has them so. The history is held to `promise` while it grows,
/// as far as it can be.
///
/// # Errors
/// [`RunError`]. Failures of the world or the faults are part of the [`Outcome`]: the run is broken.
pub fn run(
    plan: &Plan,
    workload: &'static dyn Workload,
    deployment: Arc<dyn Deployment>,
    folder: &RunFolder,
    tracer: Option<Tracer>,
    promise: Promise,
    at_anomaly: AtAnomaly,
) -> Result<Outcome, RunError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Runtime)?;
    LocalSet::new()
        .block_on(&runtime, run_plan(plan, workload, deployment, folder, tracer, promise, at_anomaly))
}

async fn run_plan(
    plan: &Plan,
    workload: &'static dyn Workload,
    deployment: Arc<dyn Deployment>,
    folder: &RunFolder,
    tracer: Option<Tracer>,
    promise: Promise,
    at_anomaly: AtAnomaly,
) -> Result<Outcome, RunError> {
    let (stop_tx, stop) = watch::channel(Stop::No);
    let listener = tokio::task::spawn_local(listen(stop_tx.clone()));
    let history = folder.file("history.jsonl");
    let mut outcome = Outcome {
        broken: Vec::new(),
        undecided: Vec::new(),
        ready_after: None,
        notes: Vec::new(),
        clients_until: Duration::ZERO,
        stop: Stop::No,
    };
    let mut early = stop.clone();
    let built = tokio::select! {
        built = World::build(plan, workload, deployment, folder, tracer) => built,
        // The sender lives as long as this function.
        _ = early.changed() => {
            outcome.broken.push("it was stopped before the cluster was ready".to_owned());
            outcome.stop = *early.borrow();
            return Ok(outcome);
        }
    };
    match built {
        Ok(world) => {
            let ready = format!(
                "{} nodes were ready {:.2} s after {}",
                plan.nodes.len(),
                world.ready_after.as_secs_f64(),
                if world.arena.is_some() {
                    "the arena began to be built"
                } else {
                    "the first question to them"
                }
            );
            tracing::info!("{ready}");
            outcome.notes.push(ready);
            outcome.ready_after = Some(world.ready_after);
            let (told, live) = watch::channel(LiveRecord::default());
            let stage =
                Stage { plan, world, history: &history, stop: stop.clone(), live, outcome: &mut outcome };
            let (folder, time_limit) = (folder.clone(), plan.time_limit());
            let live = Live { workload, promise, folder: folder.clone(), time_limit, at_anomaly, told };
            let live = tokio::task::spawn_local(live.watch(stop_tx));
            workload.run(&plan.workload.options, stage).await?;
            live.abort();
            // The verdict takes its place; most runs have none.
            let _ = std::fs::remove_file(folder.file(crate::record::live::FILE));
        }
        Err(error) => outcome.broken.push(world_failure(&error)),
    }
    outcome.stop = *stop.borrow();
    listener.abort();
    Ok(outcome)
}

fn world_failure(error: &WorldError) -> String {
    tracing::error!(error = %chain(error), "no world");
    chain(error)
}

/// Turns the signals that ask a program to end into a [`Stop`]: the first ends the run early, the second at once.
async fn listen(stop: watch::Sender<Stop>) {
    let streams =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()]
            .map(signal);
    let Ok([mut interrupt, mut terminate, mut hangup, mut quit]) = streams
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map(|streams| <[_; 4]>::try_from(streams).expect("as many streams as kinds"))
    else {
        tracing::warn!("signals cannot be listened to: the run can only be ended by killing it");
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
        stop.send_modify(|stop| {
            *stop = match *stop {
                Stop::No => Stop::Early,
                Stop::Early | Stop::Now => Stop::Now,
            };
        });
        match *stop.borrow() {
            Stop::Early => {
                tell("\nending early: healing, reading, checking (interrupt again to leave at once)")
            }
            _ => tell("\nleaving at once; the history is kept"),
        }
    }
}
