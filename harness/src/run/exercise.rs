//! A workload exercised: clients and nemesis side by side, then the final phase.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use duress_arena::{Arena, Capture, CaptureSpec, RunStart};
use duress_history::nemesis::Occasion;
use duress_history::{Process, Recorder};
use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};

use super::clock::Clock;
use super::cluster_access::ClusterAccess;
use super::conductor::{Conductor, chain};
use super::dispatcher::{
    AtHeal, ClientPolicy, Dispatcher, DispatcherParts, NemesisRecord, NodeAffinity, Stop,
};
use super::events::Events;
use super::observer::Observer;
use super::recovery::Situation;
use super::sightings::Sightings;
use super::world::World;
use super::{Outcome, RunError};
use crate::plan::{CapturePlan, Plan};
use crate::record::live::LiveRecord;
use crate::report::progress::Progress;
use crate::workload::generator::limit::TimeLimit;
use crate::workload::generator::rhythm::Rhythm;
use crate::workload::generator::stagger::Stagger;
use crate::workload::generator::{Generator, Nothing};
use crate::workload::{Ending, Kind};

/// How long the final phase may take in a run that is broken already: nodes that still answer are read,
/// without waiting for the others.
const FINISH_BROKEN: Duration = Duration::from_secs(3);

/// The resources of a workload's run, and its notes.
pub struct Stage<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The arena with the cluster in it.
    pub world: World,
    /// The file of the history.
    pub history: &'a Path,
    /// Whether the run should end early.
    pub stop: watch::Receiver<Stop>,
    /// What was checked of the history until now.
    pub live: watch::Receiver<LiveRecord>,
    /// The result of the run.
    pub outcome: &'a mut Outcome,
}

/// Runs clients and nemesis side by side, then the final phase, then the teardown.
///
/// # Errors
/// [`RunError`] when the history cannot be kept.
pub async fn exercise<K: Kind>(work: &K, stage: Stage<'_>) -> Result<(), RunError> {
    let Stage { plan, world, history, stop, live, outcome } = stage;
    let cluster = Rc::clone(&world.cluster);
    let policies: Vec<ClientPolicy> =
        (0..plan.concurrency).map(|slot| policy::<K>(plan, &cluster, slot)).collect();
    let mut clients: Vec<_> = policies
        .iter()
        .enumerate()
        .map(|(slot, policy)| {
            cluster.client::<K::Action>(slot, &policy.home, Process(slot as u64), policy.timeout)
        })
        .collect();
    let warm = join_all(clients.iter_mut().map(|client| client.warm_up())).await;
    drop(clients);
    if let Some(hopeless) = warm.into_iter().find_map(Result::err) {
        outcome.broken.push(format!("clients cannot do anything: {hopeless}"));
        return Ok(());
    }
    let clock = Clock::start();
    let (records, recorded) = mpsc::unbounded_channel();
    let (answered_tx, answered) = watch::channel(0);
    let mut dispatcher = Dispatcher::start(DispatcherParts {
        recorder: Recorder::create(history)?,
        clock,
        policies: policies.clone(),
        make_client: Box::new(move |slot, node, process| {
            cluster.client(slot, node, process, policies[slot].timeout)
        }),
        nemesis: recorded,
        stop: stop.clone(),
        progress: Progress::new(plan.time_limit(), live),
        answered: answered_tx,
    });
    let mut around =
        Surroundings::of(Surrounded { plan, world, history, clock, records, answered, stop: &stop }, outcome);
    let conductor = &mut around.conductor;

    let limit = plan.time_limit();
    let mut mix = work.mix(plan.seed);
    if let Some(prefix) = &plan.key_prefix {
        K::rename(&mut mix, prefix);
    }
    let mut paced: Box<dyn Generator<K::Action> + '_> = match plan.rate_hz {
        None => Box::new(Rhythm::new(&mut mix, plan.seed)),
        Some(rate) => Box::new(Stagger::new(&mut mix, rate)),
    };
    let mut generator = TimeLimit::new(&mut *paced, limit);
    let broken = dispatcher.run(&mut generator, Stop::Early, conductor.play(&plan.schedule, limit)).await?;
    drop(paced);
    outcome.broke(&broken);
    outcome.clients_until = clock.now().min(limit);

    dispatcher.settle();
    if *stop.borrow() < Stop::Now {
        look::<K>(&mut mix, &mut dispatcher, conductor, Occasion::Healed, outcome).await?;
    }
    if plan.final_restart && *stop.borrow() == Stop::No && outcome.broken.is_empty() {
        let id = plan.schedule.iter().map(|fault| fault.id).max().unwrap_or_default() + 1;
        let broken = dispatcher.run(&mut Nothing, Stop::Now, conductor.restart_all(id)).await?;
        outcome.broke(&broken);
        if *stop.borrow() < Stop::Now {
            look::<K>(&mut mix, &mut dispatcher, conductor, Occasion::Restarted, outcome).await?;
        }
    }
    dispatcher.close().await?;
    around.close(outcome).await;
    Ok(())
}

/// The parts of [`Surroundings`].
struct Surrounded<'a> {
    plan: &'a Plan,
    world: World,
    history: &'a Path,
    clock: Clock,
    records: mpsc::UnboundedSender<NemesisRecord>,
    answered: watch::Receiver<u64>,
    stop: &'a watch::Receiver<Stop>,
}

/// The nemesis, the network and their observers run beside the clients; this is the same for every vocabulary.
struct Surroundings {
    conductor: Conductor,
    arena: Option<Arena>,
    capture: Option<Capture>,
    observer: Option<Observer>,
}

impl Surroundings {
    /// Begins to capture packets and to observe the nodes.
    fn of(surrounded: Surrounded<'_>, outcome: &mut Outcome) -> Self {
        let Surrounded { plan, world, history, clock, records, answered, stop } = surrounded;
        let World { arena, nemesis, cluster, clocks, disks, .. } = world;
        let captured = arena.as_ref().zip(plan.arena.as_ref()).map(|(arena, planned)| {
            arena.switch().capture(
                &capture_spec(planned.capture),
                RunStart::at(clock.origin()),
                &history.with_file_name("network.pcapng"),
            )
        });
        let capture = match captured.transpose() {
            Ok(capture) => capture,
            Err(error) => {
                outcome.notes.push(format!("packets were not captured: {}", chain(&error)));
                None
            }
        };
        let sightings = Rc::new(RefCell::new(Sightings::default()));
        let observer = history.parent().map(|folder| {
            let (sightings, records) = (Rc::clone(&sightings), records.clone());
            Observer::start(folder, Rc::clone(&cluster), clocks, clock, sightings, records)
        });
        let observer = match observer.transpose() {
            Ok(observer) => observer,
            Err(error) => {
                outcome.notes.push(format!("nodes were not observed: {}", chain(&error)));
                None
            }
        };
        let (files, switch) = (cluster.files.clone(), arena.as_ref().map(|arena| arena.switch().clone()));
        let events = Events { sightings, answered, files, disks, switch, clock };
        let situation = Rc::new(RefCell::new(Situation::new(cluster.deployment.tolerates())));
        let conductor = Conductor { nemesis, cluster, events, clock, records, stop: stop.clone(), situation };
        Self { conductor, arena, capture, observer }
    }

    /// Ends all of it.
    async fn close(self, outcome: &mut Outcome) {
        let Self { conductor, arena, capture, observer } = self;
        if let Some(observer) = observer
            && let Err(error) = observer.finish().await
        {
            outcome.notes.push(format!("some observations of the nodes were not kept: {}", chain(&error)));
        }
        let Conductor { nemesis, .. } = conductor;
        if let Err(error) = nemesis.close() {
            outcome.broken.push(chain(&error));
        }
        if let Some(Err(error)) = arena.map(Arena::close) {
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
    }
}

/// Returns the policy of the client of a process slot. Among the clients of each node, the first stays there
/// and repeats its requests when faults are healed, the second roams, the third is patient, and so on. The
/// first two do so only if their workload keeps no state between operations.
fn policy<K: Kind>(plan: &Plan, cluster: &ClusterAccess, slot: usize) -> ClientPolicy {
    let (home, timeout) = (cluster.node_of_slot(slot).clone(), plan.operation_timeout());
    let pinned = ClientPolicy { home, affinity: NodeAffinity::Pinned, timeout, at_heal: AtHeal::Waits };
    match slot / cluster.serving.len() % 3 {
        0 if plan.roaming && K::ROAMS => ClientPolicy { at_heal: AtHeal::AsksAnew, ..pinned },
        1 if plan.roaming && K::ROAMS => ClientPolicy { affinity: NodeAffinity::Roaming, ..pinned },
        2 => ClientPolicy { timeout: plan.patience(), ..pinned },
        _ => pinned,
    }
}

/// Runs the final phase of the workload and compares the nodes' copies.
async fn look<K: Kind>(
    mix: &mut K::Mix,
    dispatcher: &mut Dispatcher<K::Action>,
    conductor: &Conductor,
    occasion: Occasion,
    outcome: &mut Outcome,
) -> Result<(), RunError> {
    let sound = outcome.broken.is_empty();
    let bound = conductor.cluster.deployment.recovery_bound();
    // Replicas that lag have as long as nodes have to come back.
    let patience = if sound { K::FINISH.max(bound) } else { FINISH_BROKEN };
    let patience_of_copies = if sound { bound } else { FINISH_BROKEN };
    let comparing = async |dispatcher: &mut Dispatcher<K::Action>| {
        dispatcher.run(&mut Nothing, Stop::Now, conductor.compare(occasion, patience_of_copies)).await
    };
    let mut finishing = async |dispatcher: &mut Dispatcher<K::Action>| {
        K::finish(mix, dispatcher, conductor.clock.now() + patience).await
    };
    let (open, Ending { undecided }) = if conductor.cluster.deployment.converges() {
        // The last reads see the copies that nodes have come to agree on.
        let open = comparing(dispatcher).await?;
        (open, finishing(dispatcher).await?)
    } else {
        let ending = finishing(dispatcher).await?;
        (comparing(dispatcher).await?, ending)
    };
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
