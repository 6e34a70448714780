//! The conductor: plays the schedule, one fault at a time, and brings the cluster back at the end.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use duress_history::nemesis::{FaultName, LinkReturn, Occasion, Unjudged};
use duress_history::{NemesisAct, NodeId};
use duress_nemesis::nemesis::{Crash, Healed, Injected, NemesisError, Restart};
use duress_nemesis::selector::Targets;
use duress_nemesis::{Fault, ScheduledFault};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::run::agenda::{Agenda, Cue};
use crate::run::clock::Clock;
use crate::run::cluster_access::ClusterAccess;
use crate::run::comparison::compare;
use crate::run::dispatcher::{NemesisRecord, Stop};
use crate::run::nemesis_thread::NemesisThread;
use crate::run::recovery::{Situation, Watch};
use crate::run::scout::{self, Scout};

/// How many times a node that ended by itself is started again.
const RESTARTS_MAX: usize = 5;
/// How long it may take, once every node was awaited, until it is said what came of each heal: a question to a node takes
/// a second at most.
const LAST_WORDS: Duration = Duration::from_secs(3);
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
    #[error("after all faults were healed, {} did not serve within {} s (see its output in the run's folder)", list(nodes), bound.as_secs_f64())]
    NotRecovered {
        /// Which nodes.
        nodes: Vec<NodeId>,
        /// How long they were awaited.
        bound: Duration,
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
    /// What nodes have to cope with.
    pub situation: Rc<RefCell<Situation>>,
}

/// How the playing of a schedule goes.
struct Course {
    /// What went wrong.
    broken: Vec<Breakage>,
    /// What nodes have to cope with.
    situation: Rc<RefCell<Situation>>,
    /// The heals after which nodes are still awaited.
    recoveries: JoinSet<()>,
}

impl Conductor {
    /// Plays `schedule`, then heals what is in force, starts what is down, and awaits every node; returns what went wrong.
    /// What came back after each heal is recorded.
    ///
    /// A stop ends the playing early, and `Stop::Now` the recovery too.
    pub async fn play(&mut self, schedule: &[ScheduledFault], until: Duration) -> Vec<Breakage> {
        let mut agenda = Agenda::new(schedule, until);
        let mut course = self.course();
        while let Some((at, cue)) = agenda.next() {
            match cue {
                Cue::Start(fault) => {
                    let mut leader = None;
                    if fault.fault.needs_leader() {
                        let ahead = at.saturating_sub(scout::AHEAD);
                        if !self.sleep_until(ahead, &mut course).await {
                            break;
                        }
                        leader = Some(Scout::send(Rc::clone(&self.cluster)));
                    }
                    let handed = at.saturating_sub(HAND_OVER);
                    if !self.sleep_until(handed, &mut course).await {
                        break;
                    }
                    self.inject(fault, at, leader, &mut course).await;
                    agenda.started(fault, self.clock.now());
                }
                Cue::Stop(fault) => {
                    if !self.sleep_until(at, &mut course).await {
                        break;
                    }
                    self.heal(fault, &mut course).await;
                    agenda.stopped(fault);
                }
            }
        }
        self.sleep_until(until, &mut course).await;
        self.recover(schedule, &mut course).await;
        self.end_recoveries(&mut course).await;
        course.broken
    }

    /// Ends all nodes at once, as the fault number `id`, starts them again, and awaits every node; returns what went wrong.
    ///
    /// Nodes whose disks need not hold what they were given are left alone: they may rightly refuse to start.
    pub async fn restart_all(&mut self, id: u32) -> Vec<Breakage> {
        let mut course = self.course();
        let damaged = self.situation.borrow().damaged();
        let nodes: Vec<NodeId> =
            self.cluster.nodes().into_iter().filter(|node| !damaged.contains(node)).collect();
        if nodes.is_empty() {
            return course.broken;
        }
        let (now, fault) = (self.clock.now(), Fault::Kill { targets: Targets::Nodes(nodes) });
        let fault = ScheduledFault { id, start_ms: millis(now), stop_ms: millis(now), hold_ms: 0, fault };
        self.inject(&fault, now, None, &mut course).await;
        self.recover(std::slice::from_ref(&fault), &mut course).await;
        self.end_recoveries(&mut course).await;
        course.broken
    }

    /// Has what every node holds of its own compared and recorded; returns what was not compared until `patience` was over.
    pub async fn compare(&self, occasion: Occasion, patience: Duration) -> Option<String> {
        let damaged = self.situation.borrow().damaged();
        let comparison = compare(&self.cluster, &damaged, occasion, patience).await?;
        let open = comparison.open();
        self.record(NemesisAct::Compared(comparison)).await;
        open
    }

    fn course(&self) -> Course {
        Course { broken: Vec::new(), situation: Rc::clone(&self.situation), recoveries: JoinSet::new() }
    }

    /// Sleeps, looking after the processes meanwhile. False when the run is to end before its time.
    async fn sleep_until(&mut self, at: Duration, course: &mut Course) -> bool {
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
            self.watch(course).await;
        }
    }

    /// Records nodes that ended by themselves.
    async fn watch(&self, course: &mut Course) {
        match self.nemesis.crashes().await {
            Ok(crashes) => {
                for crash in crashes {
                    self.crashed(crash, course).await;
                }
            }
            Err(error) => course.broken.push(error.into()),
        }
    }

    /// Records a crash, and starts the node again as a supervisor would: what a node does after it fell over is worth
    /// seeing too, while a node that falls over again and again is left down.
    ///
    /// A node that a fault has ended, one whose nature that is, does as it should; without such a fault the run is
    /// broken.
    async fn crashed(&self, crash: Crash, course: &mut Course) {
        let Crash { node, status, because, restart } = crash.clone();
        let status = status.to_string();
        self.record(NemesisAct::NodeEnded { node: node.clone(), status, fault: because }).await;
        let before = course
            .broken
            .iter()
            .filter(|breakage| matches!(breakage, Breakage::Crashed { crash } if crash.node == node));
        let again = before.count() < RESTARTS_MAX;
        if because.is_none() {
            course.broken.push(Breakage::Crashed { crash });
        }
        // What a fault in force has ended is started, and awaited, as that is healed.
        if restart == Restart::WhenHealed {
            return;
        }
        course.situation.borrow_mut().ended(node.clone(), self.clock.now());
        if !again {
            course.situation.borrow_mut().lost(node, self.clock.now());
            return;
        }
        match (self.nemesis.start_node(node.clone()).await, because) {
            (Ok(()), Some(fault)) => {
                self.await_return(fault, self.clock.now(), vec![node], Vec::new(), course);
            }
            (Ok(()), None) => {}
            (Err(error), _) => course.broken.push(error.into()),
        }
    }

    /// Injects `fault` at the moment `at`, or at once where that is over.
    async fn inject(&self, fault: &ScheduledFault, at: Duration, scout: Option<Scout>, course: &mut Course) {
        let (id, name) = (fault.id, name(fault));
        let leader = match scout {
            Some(scout) => scout.leader().await,
            None => None,
        };
        self.record(NemesisAct::Starting { fault: name.clone(), leader: leader.clone() }).await;
        course.situation.borrow_mut().begins(id, self.clock.now());
        let due = self.clock.origin() + at;
        match self.nemesis.inject(id, &fault.fault, leader.clone(), due).await {
            Ok(Injected { evidence, since, nodes }) => {
                let since = since.saturating_duration_since(self.clock.origin());
                course.situation.borrow_mut().strikes(id, &fault.fault, nodes, since);
                let late = since.saturating_sub(Duration::from_millis(fault.start_ms));
                let (since_us, late_us) = (micros(since), micros(late));
                self.record(NemesisAct::Started { fault: name, leader, since_us, late_us, evidence }).await;
            }
            Err(source) => {
                let error = chain(&source);
                self.record(NemesisAct::StartFailed { fault: name, leader, error }).await;
                course.broken.push(Breakage::Fault { id, what: "injected", source });
            }
        }
    }

    async fn heal(&self, fault: &ScheduledFault, course: &mut Course) {
        let (id, name) = (fault.id, name(fault));
        self.record(NemesisAct::Stopping { fault: name.clone() }).await;
        match self.nemesis.heal(id).await {
            Ok(Healed { evidence, at, nodes, links }) => {
                let at = at.saturating_duration_since(self.clock.origin());
                course.situation.borrow_mut().healed(id, at);
                self.record(NemesisAct::Stopped { fault: name, evidence }).await;
                self.await_return(id, at, nodes, links, course);
            }
            Err(source) => {
                self.record(NemesisAct::StopFailed { fault: name, error: chain(&source) }).await;
                course.broken.push(Breakage::Fault { id, what: "healed", source });
            }
        }
    }

    /// Has it seen and recorded how long `nodes` take to serve after fault `id` was `healed`, beside what `links` did.
    fn await_return(
        &self,
        id: u32,
        healed: Duration,
        nodes: Vec<NodeId>,
        links: Vec<LinkReturn>,
        course: &mut Course,
    ) {
        let watch = Watch {
            cluster: Rc::clone(&self.cluster),
            situation: Rc::clone(&course.situation),
            clock: self.clock,
            fault: id,
            healed,
        };
        let records = self.records.clone();
        course.recoveries.spawn_local(async move {
            let recovery = watch.recovery(nodes, links).await;
            record(&records, NemesisAct::Recovered(recovery)).await;
        });
    }

    /// Heals, restarts and awaits everything.
    async fn recover(&mut self, schedule: &[ScheduledFault], course: &mut Course) {
        for id in self.nemesis.in_force().await {
            if let Some(fault) = schedule.iter().find(|fault| fault.id == id) {
                self.heal(fault, course).await;
            }
        }
        self.watch(course).await;
        if let Err(error) = self.nemesis.start_nodes().await {
            course.broken.push(error.into());
        }
        let (began, bound) = (self.clock.now(), self.cluster.deployment.recovery_bound());
        let mut late = Vec::new();
        let mut waits = JoinSet::new();
        for node in self.cluster.nodes() {
            let cluster = Rc::clone(&self.cluster);
            waits.spawn_local(async move {
                let ready = cluster.await_ready(&node, bound).await;
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
                () = tokio::time::sleep(WATCH_PERIOD) => self.watch(course).await,
            }
        }
        late.sort();
        let after_ms = millis(self.clock.now() - began);
        self.record(NemesisAct::Settled { after_ms, not_serving: late.clone() }).await;
        if !late.is_empty() {
            course.broken.push(Breakage::NotRecovered { nodes: late, bound });
        }
    }

    /// Awaits what is still to be said of nodes after heals. They were all awaited: what cannot be said a moment later
    /// never can.
    async fn end_recoveries(&mut self, course: &mut Course) {
        let left = *self.stop.borrow() == Stop::Now;
        let (patience, because) = match left {
            true => (Duration::ZERO, Unjudged::RunLeft),
            false => (LAST_WORDS, Unjudged::TooFewNodes),
        };
        // What is in vain is cut off: dropping the set ends it.
        if timeout(patience, finished(&mut course.recoveries)).await.is_err() {
            course.situation.borrow_mut().over(because);
            let _ = timeout(LAST_WORDS, finished(&mut course.recoveries)).await;
        }
    }

    async fn record(&self, act: NemesisAct) {
        record(&self.records, act).await;
    }
}

/// Awaits every task of `tasks`.
async fn finished(tasks: &mut JoinSet<()>) {
    while let Some(task) = tasks.join_next().await {
        if let Err(error) = task {
            std::panic::resume_unwind(error.into_panic());
        }
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
