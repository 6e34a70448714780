//! A run: world up, clients and nemesis side by side, heal, final reads, teardown, check.

pub mod agenda;
pub mod clock;
pub mod cluster_access;
pub mod conductor;
pub mod dispatcher;
pub mod nemesis_thread;
pub mod observer;
pub mod scout;
pub mod world;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use duress_arena::clock::Tracer;
use duress_arena::{Capture, CaptureSpec, RunStart};
use duress_history::Recorder;
use duress_history::recorder::RecordError;
use duress_targets::System;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::cli::output::tell;
use crate::plan::{CapturePlan, Plan, Workload};
use crate::record::folder::RunFolder;
use crate::report::progress::Progress;
use crate::run::clock::Clock;
use crate::run::conductor::{Conductor, chain};
use crate::run::dispatcher::{Dispatcher, DispatcherParts, Stop};
use crate::run::observer::Observer;
use crate::run::world::{World, WorldError};
use crate::workload::generator::limit::TimeLimit;
use crate::workload::generator::stagger::Stagger;
use crate::workload::{Ending, WorkloadKind};

/// How long the final phase may take when something is broken already: what still answers is read, and nothing is
/// waited for.
const FINISH_BROKEN: Duration = Duration::from_secs(3);

/// What a run left, besides its history.
#[derive(Debug)]
pub struct Outcome {
    /// Why the run proves nothing, if so.
    pub broken: Vec<String>,
    /// What was not looked at, so that the run cannot be called valid.
    pub undecided: Vec<String>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
    /// When clients stopped and the final phase began.
    pub clients_until: Duration,
    /// How the run was asked to end, if it was.
    pub stop: Stop,
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
}

/// Runs `plan`, recording into `folder`. Inside the namespaces.
///
/// `tracer` starts nodes with clocks of their own, where the plan has them so.
///
/// # Errors
/// [`RunError`]. What goes wrong with the world or the faults is part of the [`Outcome`]: the run is broken.
pub fn run(
    plan: &Plan,
    system: &'static dyn System,
    folder: &RunFolder,
    tracer: Option<Tracer>,
) -> Result<Outcome, RunError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Runtime)?;
    LocalSet::new().block_on(&runtime, run_plan(plan, system, folder, tracer))
}

async fn run_plan(
    plan: &Plan,
    system: &'static dyn System,
    folder: &RunFolder,
    tracer: Option<Tracer>,
) -> Result<Outcome, RunError> {
    let (stop_tx, stop) = watch::channel(Stop::No);
    let listener = tokio::task::spawn_local(listen(stop_tx));
    let history = folder.file("history.jsonl");
    let mut outcome = Outcome {
        broken: Vec::new(),
        undecided: Vec::new(),
        notes: Vec::new(),
        clients_until: Duration::ZERO,
        stop: Stop::No,
    };
    let mut early = stop.clone();
    let built = tokio::select! {
        built = World::build(plan, system, folder, tracer) => built,
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
                "{} nodes were ready {:.2} s after the arena began to be built",
                plan.nodes.len(),
                world.ready_after.as_secs_f64()
            );
            tracing::info!("{ready}");
            outcome.notes.push(ready);
            let stop = stop.clone();
            match &plan.workload {
                Workload::Register(work) => exercise(work, plan, world, &history, stop, &mut outcome).await?,
                Workload::Log(work) => exercise(work, plan, world, &history, stop, &mut outcome).await?,
                Workload::Queue(work) => exercise(work, plan, world, &history, stop, &mut outcome).await?,
                Workload::Table(work) => exercise(work, plan, world, &history, stop, &mut outcome).await?,
            }
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

/// Clients and nemesis side by side, then the final phase, then teardown.
async fn exercise<W: WorkloadKind>(
    work: &W,
    plan: &Plan,
    world: World,
    history: &Path,
    stop: watch::Receiver<Stop>,
    outcome: &mut Outcome,
) -> Result<(), RunError> {
    let clock = Clock::start();
    let (records_tx, records) = mpsc::unbounded_channel();
    let cluster = Rc::clone(&world.cluster);
    let mut dispatcher = Dispatcher::start(DispatcherParts {
        recorder: Recorder::create(history)?,
        clock,
        nodes: (0..plan.concurrency).map(|slot| cluster.node_of_slot(slot).clone()).collect(),
        make_client: Box::new(move |slot| W::client(&cluster, slot)),
        operation_timeout: plan.operation_timeout(),
        nemesis: records,
        stop: stop.clone(),
        progress: Progress::new(plan.time_limit()),
    });
    let World { arena, nemesis, cluster, clocks, .. } = world;
    let capture = match arena.switch().capture(
        &capture_spec(plan.arena.capture),
        RunStart::at(clock.origin()),
        &history.with_file_name("network.pcapng"),
    ) {
        Ok(capture) => Some(capture),
        Err(error) => {
            outcome.notes.push(format!("packets were not captured: {}", chain(&error)));
            None
        }
    };
    let observer =
        match history.parent().map(|folder| Observer::start(folder, Rc::clone(&cluster), clocks, clock)) {
            Some(Ok(observer)) => Some(observer),
            Some(Err(error)) => {
                outcome.notes.push(format!("nodes were not observed: {}", chain(&error)));
                None
            }
            None => None,
        };
    let mut conductor = Conductor { nemesis, cluster, clock, records: records_tx, stop: stop.clone() };

    let limit = plan.time_limit();
    let mut mix = work.mix(plan.seed);
    let broken = match plan.rate_hz {
        None => {
            let mut generator = TimeLimit::new(&mut mix, limit);
            dispatcher.run(&mut generator, Stop::Early, conductor.play(&plan.schedule, limit)).await?
        }
        Some(rate) => {
            let mut generator = TimeLimit::new(Stagger::new(&mut mix, rate), limit);
            dispatcher.run(&mut generator, Stop::Early, conductor.play(&plan.schedule, limit)).await?
        }
    };
    for breakage in &broken {
        let reason = chain(breakage);
        // A node that fell over five times is one reason, not five.
        if !outcome.broken.contains(&reason) {
            outcome.broken.push(reason);
        }
    }
    outcome.clients_until = clock.now().min(limit);

    if *stop.borrow() < Stop::Now {
        let patience = if outcome.broken.is_empty() { W::FINISH } else { FINISH_BROKEN };
        let deadline = clock.now() + patience;
        let Ending { notes, undecided } = W::finish(&mix, &mut dispatcher, deadline).await?;
        outcome.notes.extend(notes);
        outcome.undecided.extend(undecided);
    }
    dispatcher.close().await?;
    if let Some(observer) = observer
        && let Err(error) = observer.finish().await
    {
        outcome.notes.push(format!("what was observed of the nodes is not all kept: {}", chain(&error)));
    }
    let Conductor { nemesis, .. } = conductor;
    if let Err(error) = nemesis.close() {
        outcome.broken.push(chain(&error));
    }
    if let Err(error) = arena.close() {
        outcome.broken.push(format!("the network failed: {}", chain(&error)));
    }
    match capture.map(Capture::finish).transpose() {
        Ok(summary) => outcome.notes.extend(summary.flatten().map(|summary| {
            let missing = match summary.missing {
                0 => String::new(),
                missing => format!(" ({missing} more are not in it)"),
            };
            format!("network.pcapng has {} packets{missing}", summary.packets)
        })),
        Err(error) => outcome.notes.push(format!("the packets were not kept: {}", chain(&error))),
    }
    Ok(())
}

fn capture_spec(plan: CapturePlan) -> CaptureSpec {
    match plan {
        CapturePlan::Off => CaptureSpec::OFF,
        CapturePlan::Ring => CaptureSpec::RING,
        CapturePlan::Whole => CaptureSpec::WHOLE,
    }
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
            Stop::Early => tell("\nending early: healing, reading, checking (again to leave at once)"),
            _ => tell("\nleaving at once; the history is kept"),
        }
    }
}
