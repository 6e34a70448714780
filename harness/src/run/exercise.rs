//! A workload exercised: clients and nemesis side by side, then the final phase.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use duress_arena::{Capture, CaptureSpec, RunStart};
use duress_history::Recorder;
use tokio::sync::{mpsc, watch};

use super::clock::Clock;
use super::conductor::{Conductor, chain};
use super::dispatcher::{Dispatcher, DispatcherParts, Stop};
use super::events::Events;
use super::observer::Observer;
use super::sightings::Sightings;
use super::world::World;
use super::{Outcome, RunError};
use crate::plan::{CapturePlan, Plan};
use crate::report::progress::Progress;
use crate::workload::generator::limit::TimeLimit;
use crate::workload::generator::stagger::Stagger;
use crate::workload::{Ending, Kind};

/// How long the final phase may take when something is broken already: what still answers is read, and nothing is
/// waited for.
const FINISH_BROKEN: Duration = Duration::from_secs(3);

/// What a workload is exercised on, and what is noted of it.
pub struct Stage<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The arena with the cluster in it.
    pub world: World,
    /// The file of the history.
    pub history: &'a Path,
    /// Whether the run is to end before its time.
    pub stop: watch::Receiver<Stop>,
    /// What the run comes to.
    pub outcome: &'a mut Outcome,
}

/// Clients and nemesis side by side, then the final phase, then teardown.
///
/// # Errors
/// [`RunError`] when the history cannot be kept.
pub async fn exercise<K: Kind>(work: &K, stage: Stage<'_>) -> Result<(), RunError> {
    let Stage { plan, world, history, stop, outcome } = stage;
    let clock = Clock::start();
    let (records_tx, records) = mpsc::unbounded_channel();
    let cluster = Rc::clone(&world.cluster);
    let (answered_tx, answered) = watch::channel(0);
    let mut dispatcher = Dispatcher::start(DispatcherParts {
        recorder: Recorder::create(history)?,
        clock,
        nodes: (0..plan.concurrency).map(|slot| cluster.node_of_slot(slot).clone()).collect(),
        make_client: Box::new(move |slot| cluster.client(slot)),
        operation_timeout: plan.operation_timeout(),
        nemesis: records,
        stop: stop.clone(),
        progress: Progress::new(plan.time_limit()),
        answered: answered_tx,
    });
    let World { arena, nemesis, cluster, clocks, disks, .. } = world;
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
    let sightings = Rc::new(RefCell::new(Sightings::default()));
    let observer = history.parent().map(|folder| {
        let (sightings, records) = (Rc::clone(&sightings), records_tx.clone());
        Observer::start(folder, Rc::clone(&cluster), clocks, clock, sightings, records)
    });
    let observer = match observer.transpose() {
        Ok(observer) => observer,
        Err(error) => {
            outcome.notes.push(format!("nodes were not observed: {}", chain(&error)));
            None
        }
    };
    let (files, switch) = (cluster.files.clone(), arena.switch().clone());
    let events = Events { sightings, answered, files, disks, switch, clock };
    let mut conductor =
        Conductor { nemesis, cluster, events, clock, records: records_tx, stop: stop.clone() };

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
        let patience = if outcome.broken.is_empty() { K::FINISH } else { FINISH_BROKEN };
        let deadline = clock.now() + patience;
        let Ending { undecided } = K::finish(&mix, &mut dispatcher, deadline).await?;
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
