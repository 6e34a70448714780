//! A workload exercised: clients and nemesis side by side, then the final phase.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use duress_arena::{Capture, CaptureSpec, RunStart};
use duress_history::Recorder;
use duress_history::nemesis::Occasion;
use tokio::sync::{mpsc, watch};

use super::clock::Clock;
use super::cluster_access::ClusterAccess;
use super::conductor::{Conductor, chain};
use super::dispatcher::{AtHeal, Dispatcher, DispatcherParts, Habit, Stays, Stop};
use super::observer::Observer;
use super::recovery::Situation;
use super::world::World;
use super::{Outcome, RunError};
use crate::plan::{CapturePlan, Plan};
use crate::report::progress::Progress;
use crate::workload::generator::Nothing;
use crate::workload::generator::limit::TimeLimit;
use crate::workload::generator::rhythm::Rhythm;
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
    let habits: Vec<Habit> = (0..plan.concurrency).map(|slot| habit::<K>(plan, &cluster, slot)).collect();
    let mut dispatcher = Dispatcher::start(DispatcherParts {
        recorder: Recorder::create(history)?,
        clock,
        habits: habits.clone(),
        make_client: Box::new(move |slot, node| cluster.client(slot, node, habits[slot].timeout)),
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
    let situation = Rc::new(RefCell::new(Situation::new(cluster.deployment.tolerates())));
    let mut conductor =
        Conductor { nemesis, cluster, clock, records: records_tx, stop: stop.clone(), situation };

    let limit = plan.time_limit();
    let mut mix = work.mix(plan.seed);
    let broken = match plan.rate_hz {
        None => {
            let mut generator = TimeLimit::new(Rhythm::new(&mut mix, plan.seed), limit);
            dispatcher.run(&mut generator, Stop::Early, conductor.play(&plan.schedule, limit)).await?
        }
        Some(rate) => {
            let mut generator = TimeLimit::new(Stagger::new(&mut mix, rate), limit);
            dispatcher.run(&mut generator, Stop::Early, conductor.play(&plan.schedule, limit)).await?
        }
    };
    outcome.broke(&broken);
    outcome.clients_until = clock.now().min(limit);

    dispatcher.settle();
    if *stop.borrow() < Stop::Now {
        look::<K>(&mix, &mut dispatcher, &conductor, Occasion::Healed, outcome).await?;
    }
    if plan.final_restart && *stop.borrow() == Stop::No && outcome.broken.is_empty() {
        let id = plan.schedule.iter().map(|fault| fault.id).max().unwrap_or_default() + 1;
        let broken = dispatcher.run(&mut Nothing, Stop::Now, conductor.restart_all(id)).await?;
        outcome.broke(&broken);
        if *stop.borrow() < Stop::Now {
            look::<K>(&mix, &mut dispatcher, &conductor, Occasion::Restarted, outcome).await?;
        }
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

/// How the client of a process slot behaves: of the clients of each node the first stays, and asks anew as faults are healed;
/// the second roams; the third is patient; and so on. The first two do so where their kind keeps nothing from one operation to
/// the next.
fn habit<K: Kind>(plan: &Plan, cluster: &ClusterAccess, slot: usize) -> Habit {
    let (home, timeout) = (cluster.node_of_slot(slot).clone(), plan.operation_timeout());
    let stays = Habit { home, stays: Stays::AtHome, timeout, at_heal: AtHeal::Waits };
    match slot / cluster.nodes().len() % 3 {
        0 if plan.roaming && K::ROAMS => Habit { at_heal: AtHeal::AsksAnew, ..stays },
        1 if plan.roaming && K::ROAMS => Habit { stays: Stays::Nowhere, ..stays },
        2 => Habit { timeout: plan.patience(), ..stays },
        _ => stays,
    }
}

/// The final phase of the workload, and the comparison of what nodes hold.
async fn look<K: Kind>(
    mix: &K::Mix,
    dispatcher: &mut Dispatcher<K::Action>,
    conductor: &Conductor,
    occasion: Occasion,
    outcome: &mut Outcome,
) -> Result<(), RunError> {
    let sound = outcome.broken.is_empty();
    let patience = if sound { K::FINISH } else { FINISH_BROKEN };
    let Ending { undecided } = K::finish(mix, dispatcher, conductor.clock.now() + patience).await?;
    let bound = conductor.cluster.deployment.recovery_bound();
    let patience = if sound { bound } else { FINISH_BROKEN };
    let open = dispatcher.run(&mut Nothing, Stop::Now, conductor.compare(occasion, patience)).await?;
    for what in undecided.into_iter().chain(open) {
        if !outcome.undecided.contains(&what) {
            outcome.undecided.push(what);
        }
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
