//! The conductor: plays the schedule, one fault at a time, and brings the cluster back at the end.

use std::rc::Rc;
use std::time::Duration;

use duress_history::nemesis::{FaultName, NodeReturn, Recovery, Return};
use duress_history::{NemesisAct, NodeId};
use duress_nemesis::ScheduledFault;
use duress_nemesis::nemesis::{Crash, Injected, NemesisError, Restart};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::run::agenda::{Agenda, Cue};
use crate::run::clock::Clock;
use crate::run::cluster_access::ClusterAccess;
use crate::run::dispatcher::{NemesisRecord, Stop};
use crate::run::nemesis_thread::NemesisThread;
use crate::run::scout::{self, Scout};

/// How long a node may take to serve again after a fault was healed.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(15);
/// How many times a node that ended by itself is started again.
const RESTARTS_MAX: usize = 5;
/// How often processes are looked after between faults.
const WATCH_PERIOD: Duration = Duration::from_millis(500);
/// How long before its time a fault is recorded and handed to the nemesis, which keeps the time.
const HAND_OVER: Duration = Duration::from_millis(20);

/// Why the run proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum Breakage {
    /// A fault was not injected, or not healed, or left no evidence.
    #[error("fault {id} could not be {what}")]
    Fault {
        /// Its number in the schedule.
        id: u32,
        /// Injected or healed.
        what: &'static str,
        /// Why.
        #[source]
        source: NemesisError,
    },
    /// Nodes did not come back after everything was healed.
    #[error("after all faults were healed, {} did not serve within {} s (see its output in the run's folder)", list(nodes), RECOVERY_DEADLINE.as_secs())]
    NotRecovered {
        /// Which nodes.
        nodes: Vec<NodeId>,
    },
    /// A node ended although nobody killed it.
    #[error("node {} ended by itself with {} (see its output in the run's folder)", crash.node, crash.status)]
    Crashed {
        /// Which node, and how.
        crash: Crash,
    },
    /// The nemesis failed otherwise.
    #[error("the nemesis failed")]
    Nemesis(#[from] NemesisError),
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ")
}

/// Plays a schedule against a cluster.
pub struct Conductor {
    /// Does what the schedule says.
    pub nemesis: NemesisThread,
    /// Speaks to the cluster as an operator would.
    pub cluster: Rc<ClusterAccess>,
    /// The run's clock.
    pub clock: Clock,
    /// Where everything it does is recorded.
    pub records: mpsc::UnboundedSender<NemesisRecord>,
    /// Whether the run is to end before its time.
    pub stop: watch::Receiver<Stop>,
}

impl Conductor {
    /// Plays `schedule`, then heals what is in force, starts what is down, and awaits every node; returns what went wrong.
    ///
    /// A stop ends the playing early, and `Stop::Now` the recovery too.
    pub async fn play(&mut self, schedule: &[ScheduledFault], until: Duration) -> Vec<Breakage> {
        let mut agenda = Agenda::new(schedule, until);
        let mut broken = Vec::new();
        let mut recoveries = JoinSet::new();
        while let Some((at, cue)) = agenda.next() {
            match cue {
                Cue::Start(fault) => {
                    let mut leader = None;
                    if fault.fault.needs_leader() {
                        let ahead = at.saturating_sub(scout::AHEAD);
                        if !self.sleep_until(ahead, &mut broken, &mut recoveries).await {
                            break;
                        }
                        leader = Some(Scout::send(Rc::clone(&self.cluster)));
                    }
                    let handed = at.saturating_sub(HAND_OVER);
                    if !self.sleep_until(handed, &mut broken, &mut recoveries).await {
                        break;
                    }
                    self.inject(fault, at, leader, &mut broken).await;
                    agenda.started(fault, self.clock.now());
                }
                Cue::Stop(fault) => {
                    if !self.sleep_until(at, &mut broken, &mut recoveries).await {
                        break;
                    }
                    self.heal(fault, &mut broken, &mut recoveries).await;
                    agenda.stopped(fault);
                }
            }
        }
        self.sleep_until(until, &mut broken, &mut recoveries).await;
        recoveries.shutdown().await;
        self.recover(schedule, &mut broken).await;
        broken
    }

    /// Sleeps, looking after the processes meanwhile. False when the run is to end before its time.
    async fn sleep_until(
        &mut self,
        at: Duration,
        broken: &mut Vec<Breakage>,
        recoveries: &mut JoinSet<()>,
    ) -> bool {
        loop {
            if *self.stop.borrow_and_update() > Stop::No {
                return false;
            }
            let now = self.clock.now();
            if now >= at {
                return true;
            }
            let wake = self.clock.instant(at.min(now + WATCH_PERIOD));
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                // The sender lives as long as the run.
                Ok(()) = self.stop.changed() => {}
            }
            self.watch(broken, recoveries).await;
        }
    }

    /// Records nodes that ended by themselves.
    async fn watch(&self, broken: &mut Vec<Breakage>, recoveries: &mut JoinSet<()>) {
        match self.nemesis.crashes().await {
            Ok(crashes) => {
                for crash in crashes {
                    self.crashed(crash, broken, recoveries).await;
                }
            }
            Err(error) => broken.push(error.into()),
        }
    }

    /// Records a crash, and starts the node again as a supervisor would: what a node does after it fell over is worth
    /// seeing too, while a node that falls over again and again is left down.
    ///
    /// A node that a fault has ended, one whose nature that is, does as it should; without such a fault the run is
    /// broken.
    async fn crashed(&self, crash: Crash, broken: &mut Vec<Breakage>, recoveries: &mut JoinSet<()>) {
        let Crash { node, status, because, restart } = crash.clone();
        let status = status.to_string();
        self.record(NemesisAct::NodeEnded { node: node.clone(), status, fault: because }).await;
        let before = broken
            .iter()
            .filter(|breakage| matches!(breakage, Breakage::Crashed { crash } if crash.node == node));
        let again = before.count() < RESTARTS_MAX;
        if because.is_none() {
            broken.push(Breakage::Crashed { crash });
        }
        if !again || restart == Restart::WhenHealed {
            return;
        }
        match (self.nemesis.start_node(node.clone()).await, because) {
            (Ok(()), Some(fault)) => self.await_served(fault, node, recoveries),
            (Ok(()), None) => {}
            (Err(error), _) => broken.push(error.into()),
        }
    }

    /// Injects `fault` at the moment `at`, or at once where that is over.
    async fn inject(
        &self,
        fault: &ScheduledFault,
        at: Duration,
        scout: Option<Scout>,
        broken: &mut Vec<Breakage>,
    ) {
        let (id, name) = (fault.id, name(fault));
        let leader = match scout {
            Some(scout) => scout.leader().await,
            None => None,
        };
        self.record(NemesisAct::Starting { fault: name.clone(), leader: leader.clone() }).await;
        let due = self.clock.origin() + at;
        match self.nemesis.inject(id, &fault.fault, leader.clone(), due).await {
            Ok(Injected { evidence, since }) => {
                let since = since.saturating_duration_since(self.clock.origin());
                let late = since.saturating_sub(Duration::from_millis(fault.start_ms));
                let (since_us, late_us) = (micros(since), micros(late));
                self.record(NemesisAct::Started { fault: name, leader, since_us, late_us, evidence }).await;
            }
            Err(source) => {
                let error = chain(&source);
                self.record(NemesisAct::StartFailed { fault: name, leader, error }).await;
                broken.push(Breakage::Fault { id, what: "injected", source });
            }
        }
    }

    async fn heal(&self, fault: &ScheduledFault, broken: &mut Vec<Breakage>, recoveries: &mut JoinSet<()>) {
        let (id, name) = (fault.id, name(fault));
        self.record(NemesisAct::Stopping { fault: name.clone() }).await;
        match self.nemesis.heal(id).await {
            Ok(evidence) => {
                let started = evidence.started();
                self.record(NemesisAct::Stopped { fault: name, evidence }).await;
                for node in started {
                    self.await_served(id, node, recoveries);
                }
            }
            Err(source) => {
                self.record(NemesisAct::StopFailed { fault: name, error: chain(&source) }).await;
                broken.push(Breakage::Fault { id, what: "healed", source });
            }
        }
    }

    /// Sees, and records, how long `node` takes to serve after it was started again because of fault `id`.
    fn await_served(&self, id: u32, node: NodeId, recoveries: &mut JoinSet<()>) {
        let (cluster, records, clock) = (Rc::clone(&self.cluster), self.records.clone(), self.clock);
        recoveries.spawn_local(async move {
            let began = clock.now();
            let outcome = cluster.await_ready(&node, RECOVERY_DEADLINE).await;
            let took_ms = millis(clock.now() - began);
            let came = match outcome {
                Ok(()) => Return::Back { after_ms: took_ms },
                Err(error) => Return::Silent { waited_ms: took_ms, why: chain(&error) },
            };
            let recovery = Recovery {
                fault: id,
                healed_us: micros(began),
                bound_ms: millis(RECOVERY_DEADLINE),
                nodes: vec![NodeReturn { node, came }],
                links: Vec::new(),
            };
            record(&records, NemesisAct::Recovered(recovery)).await;
        });
    }

    /// Heals, restarts and awaits everything.
    async fn recover(&mut self, schedule: &[ScheduledFault], broken: &mut Vec<Breakage>) {
        let mut unwanted = JoinSet::new();
        for id in self.nemesis.in_force().await {
            if let Some(fault) = schedule.iter().find(|fault| fault.id == id) {
                self.heal(fault, broken, &mut unwanted).await;
            }
        }
        self.watch(broken, &mut unwanted).await;
        // The recovery below awaits every node, these too.
        unwanted.shutdown().await;
        if let Err(error) = self.nemesis.start_nodes().await {
            broken.push(error.into());
        }
        let began = self.clock.now();
        let mut late = Vec::new();
        let mut waits = JoinSet::new();
        for node in self.cluster.nodes() {
            let cluster = Rc::clone(&self.cluster);
            waits.spawn_local(async move {
                let ready = cluster.await_ready(&node, RECOVERY_DEADLINE).await;
                (node, ready)
            });
        }
        loop {
            if *self.stop.borrow_and_update() == Stop::Now {
                return;
            }
            tokio::select! {
                joined = waits.join_next() => match joined {
                    Some(Ok((node, Err(error)))) => {
                        tracing::warn!(%node, error = %chain(&error), "did not recover");
                        late.push(node);
                    }
                    Some(Ok((_, Ok(())))) => {}
                    Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                    None => break,
                },
                Ok(()) = self.stop.changed() => {}
            }
        }
        late.sort();
        let after_ms = millis(self.clock.now() - began);
        self.record(NemesisAct::Settled { after_ms, not_serving: late.clone() }).await;
        if !late.is_empty() {
            broken.push(Breakage::NotRecovered { nodes: late });
        }
    }

    async fn record(&self, act: NemesisAct) {
        record(&self.records, act).await;
    }
}

/// Has an event recorded, and waits until it is kept.
async fn record(records: &mpsc::UnboundedSender<NemesisRecord>, act: NemesisAct) {
    let (kept, stands) = oneshot::channel();
    // A dispatcher that is gone has failed on its own, and says so.
    if records.send(NemesisRecord { act, kept }).is_ok() {
        let _ = stands.await;
    }
}

/// The fault as the history names it.
fn name(fault: &ScheduledFault) -> FaultName {
    FaultName { id: fault.id, family: fault.fault.family().name().to_owned(), what: fault.fault.to_string() }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Transparent errors repeat their cause's words.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}
