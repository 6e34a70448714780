//! The conductor: plays the schedule and restores the cluster at the end.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use duress_history::nemesis::{FaultName, LinkReturn, Occasion, Unjudged};
use duress_history::{NemesisAct, NodeId};
use duress_nemesis::nemesis::{Crash, Healed, Injected, NemesisError, Restart};
use duress_nemesis::selector::Targets;
use duress_nemesis::{Family, Fault, LossLimit, Role, RoleMap, ScheduledFault};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cli::output::tell;
use crate::run::agenda::{Agenda, ScheduleEvent, Seen};
use crate::run::clock::Clock;
use crate::run::cluster_access::ClusterAccess;
use crate::run::comparison::compare;
use crate::run::dispatcher::{NemesisRecord, Stop};
use crate::run::events::Events;
use crate::run::nemesis_thread::NemesisThread;
use crate::run::recovery::{Situation, Watch};
use crate::run::world::quote;

/// The number of times a node that ended by itself is started again.
const RESTARTS_MAX: usize = 5;
/// How long the recoveries after each heal may take to be recorded once every node was awaited. A request to
/// a node takes a second at most.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// The time between checks of the processes.
const WATCH_PERIOD: Duration = Duration::from_millis(500);
/// The time before its start at which a fault is recorded and passed to the nemesis, which waits for the
/// exact moment.
const HAND_OVER: Duration = Duration::from_millis(5);
/// A fault that is late by more than this is left out if its family has been in force already. A machine that
/// is too busy for the schedule would otherwise only meet one fault after the other, and faults whose drawn
/// events came while there was no room for them would take that of the faults planned later.
const TOO_LATE: Duration = Duration::from_secs(1);
/// The role of the node at which an event was observed, for the fault that waited for it.
const OF_EVENT: &str = "node of the event";

/// The reason why the run proves nothing.
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
        /// The nodes.
        nodes: Vec<NodeId>,
        /// The time for which they were awaited.
        bound: Duration,
    },
    /// A node ended although no fault killed it.
    #[error("node {} ended by itself with {}{}{output}", crash.node, crash.status, foreground(crash.status))]
    Crashed {
        /// The node, and how it ended.
        crash: Crash,
        /// The lines that it wrote, quoted, and the file with the rest.
        output: String,
    },
    /// The nemesis failed otherwise.
    #[error("the nemesis failed")]
    Nemesis(#[from] NemesisError),
}

/// Says what to do about a node that ended well, as a program does that goes on in the background.
pub(super) fn foreground(status: ExitStatus) -> &'static str {
    if status.success() { ": its program must stay in the foreground" } else { "" }
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ")
}

/// Plays a schedule against a cluster.
pub struct Conductor {
    /// The nemesis, which carries out the schedule.
    pub nemesis: NemesisThread,
    /// The operator's access to the cluster.
    pub cluster: Rc<ClusterAccess>,
    /// The sources of events and roles.
    pub events: Events,
    /// The run's clock.
    pub clock: Clock,
    /// The channel on which everything it does is recorded.
    pub records: mpsc::UnboundedSender<NemesisRecord>,
    /// Whether the run should end early.
    pub stop: watch::Receiver<Stop>,
    /// The present difficulties of the nodes.
    pub situation: Rc<RefCell<Situation>>,
}

/// The progress of a schedule.
struct Course {
    /// The failures so far.
    broken: Vec<Breakage>,
    /// The present difficulties of the nodes.
    situation: Rc<RefCell<Situation>>,
    /// The pending observations of nodes after heals.
    recoveries: JoinSet<()>,
    /// The pending waits for events.
    waits: JoinSet<(u32, Seen)>,
    /// The families of the faults that were injected.
    families: BTreeSet<Family>,
}

/// The reason why a sleep is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// The time has come.
    Due,
    /// An event that a fault waits for was observed.
    Seen,
    /// The run should end.
    Ends,
}

impl Conductor {
    /// Plays `schedule`, heals the faults in force, starts the nodes that are down, and awaits every node.
    /// Returns the failures. The recovery after each heal is recorded.
    ///
    /// A stop ends the playing early, and `Stop::Now` the recovery too.
    pub async fn play(&mut self, schedule: &[ScheduledFault], until: Duration) -> Vec<Breakage> {
        let losses = LossLimit::tolerated(self.cluster.deployment.tolerates());
        let mut agenda = Agenda::new(schedule, until, self.cluster.nodes(), losses);
        let mut course = self.course();
        while let Some((at, cue)) = agenda.next() {
            let ahead = if matches!(cue, ScheduleEvent::Start(_)) { HAND_OVER } else { Duration::ZERO };
            match self.sleep_until(at.saturating_sub(ahead), &mut agenda, &mut course).await {
                Woken::Due => {}
                Woken::Seen => continue,
                Woken::Ends => break,
            }
            match cue {
                ScheduleEvent::Wait(fault) => self.wait(fault, &mut agenda, &mut course),
                ScheduleEvent::Start(fault) if self.is_too_late(fault, &course) => {
                    let why = "earlier faults, or a busy machine, held it up for too long".to_owned();
                    self.record(NemesisAct::Skipped { fault: name(fault), why }).await;
                    agenda.skipped(fault, self.clock.now());
                }
                ScheduleEvent::Start(fault) => {
                    course.families.insert(fault.fault.family());
                    let since = self.inject(fault, at, agenda.event_of(fault), &mut course).await;
                    agenda.started(fault, since);
                }
                ScheduleEvent::Stop(fault) => {
                    let healed = self.heal(fault, &mut course).await;
                    agenda.stopped(fault, healed);
                }
                ScheduleEvent::Skip(fault, why) => {
                    let (fault_name, why) = (name(fault), why.to_owned());
                    self.record(NemesisAct::Skipped { fault: fault_name, why }).await;
                    agenda.skipped(fault, self.clock.now());
                }
            }
        }
        self.sleep_until(until, &mut agenda, &mut course).await;
        self.recover(schedule, &mut course).await;
        self.end_recoveries(&mut course).await;
        course.broken
    }

    /// Ends all nodes at once, as the fault number `id`, starts them again, and awaits every node; returns
    /// the failures.
    ///
    /// Nodes whose disks may have lost data are left alone: they may rightly refuse to start.
    pub async fn restart_all(&mut self, id: u32) -> Vec<Breakage> {
        let mut course = self.course();
        let damaged = self.situation.borrow().damaged();
        let nodes: Vec<NodeId> =
            self.cluster.nodes().into_iter().filter(|node| !damaged.contains(node)).collect();
        if nodes.is_empty() {
            return course.broken;
        }
        let (now, fault) = (self.clock.now(), Fault::Kill { targets: Targets::Nodes(nodes) });
        let fault = ScheduledFault { id, start_ms: millis(now), stop_ms: millis(now), on: None, fault };
        self.inject(&fault, now, None, &mut course).await;
        self.recover(std::slice::from_ref(&fault), &mut course).await;
        self.end_recoveries(&mut course).await;
        course.broken
    }

    /// Compares and records the copies of every node; returns the comparisons that are missing when
    /// `patience` is over.
    pub async fn compare(&self, occasion: Occasion, patience: Duration) -> Option<String> {
        let damaged = self.situation.borrow().damaged();
        let comparison = compare(&self.cluster, &damaged, occasion, patience).await?;
        let open = comparison.open();
        self.record(NemesisAct::Compared(comparison)).await;
        open
    }

    fn course(&self) -> Course {
        Course {
            broken: Vec::new(),
            situation: Rc::clone(&self.situation),
            recoveries: JoinSet::new(),
            waits: JoinSet::new(),
            families: BTreeSet::new(),
        }
    }

    fn is_too_late(&self, fault: &ScheduledFault, course: &Course) -> bool {
        let Some(due) = fault.late_after() else { return false };
        let late = self.clock.now().saturating_sub(due);
        late > TOO_LATE && course.families.contains(&fault.fault.family())
    }

    /// Starts to wait for the event of `fault`.
    fn wait(&self, fault: &ScheduledFault, agenda: &mut Agenda<'_>, course: &mut Course) {
        agenda.waits(fault, self.clock.now());
        let Some(trigger) = &fault.on else { return };
        let (id, events, event) = (fault.id, self.events.clone(), trigger.event.clone());
        let roles = events.sightings.borrow().roles();
        let nodes = match fault.fault.targets() {
            Some(targets) => targets.resolve(&roles, &[]),
            None => self.cluster.nodes(),
        };
        course.waits.spawn_local(async move { (id, events.wait(event, nodes).await) });
    }

    /// Sleeps until the time has come or an event was observed, and checks the processes meanwhile.
    async fn sleep_until(&mut self, at: Duration, agenda: &mut Agenda<'_>, course: &mut Course) -> Woken {
        let mut watched = self.clock.now();
        loop {
            if *self.stop.borrow_and_update() > Stop::No {
                return Woken::Ends;
            }
            let now = self.clock.now();
            if now >= at {
                return Woken::Due;
            }
            if now >= watched + WATCH_PERIOD {
                watched = now;
                self.watch(course).await;
            }
            let wake = self.clock.instant(at.min(watched + WATCH_PERIOD));
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                // The sender lives as long as the run.
                Ok(()) = self.stop.changed() => {}
                Some(seen) = course.waits.join_next() => match seen {
                    Ok((id, seen)) => {
                        let node = seen.node.clone();
                        if !agenda.seen(id, seen) {
                            self.events.release(node.as_ref());
                        }
                        return Woken::Seen;
                    }
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
            }
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

    /// Records a crash and restarts the node as a supervisor would, since its behaviour after a crash matters
    /// too. A node that crashes repeatedly is left down.
    ///
    /// A node that was ended by a fault that may end nodes behaves correctly; without such a fault the run is
    /// broken.
    async fn crashed(&self, crash: Crash, course: &mut Course) {
        let Crash { node, status, because, restart } = crash.clone();
        let status = status.to_string();
        self.record(NemesisAct::NodeEnded { node: node.clone(), status, fault: because }).await;
        let before = course.broken.iter().filter_map(|breakage| match breakage {
            Breakage::Crashed { crash, output } if crash.node == node => Some(output),
            _ => None,
        });
        let again = before.clone().count() < RESTARTS_MAX;
        if because.is_none() {
            // A node that ends again and again is quoted as it ended first.
            let output = before.clone().next().cloned().unwrap_or_else(|| quote(&self.cluster, &crash.node));
            course.broken.push(Breakage::Crashed { crash, output });
        }
        // Healing a fault in force also starts and awaits the nodes that it ended.
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

    /// Injects `fault` at the moment `at`, or at once if that has passed. Returns the moment from which it is
    /// in force, or the moment of the failure.
    async fn inject(
        &self,
        fault: &ScheduledFault,
        at: Duration,
        event: Option<Seen>,
        course: &mut Course,
    ) -> Duration {
        let (id, name) = (fault.id, name(fault));
        let mut roles = self.events.sightings.borrow().roles();
        let (leader, struck) = (roles.leader().cloned(), aimed(&fault.fault, event.as_ref(), &mut roles));
        let event = event.map(|event| event.what);
        self.record(NemesisAct::Starting { fault: name.clone(), leader: leader.clone(), event }).await;
        course.situation.borrow_mut().begins(id, self.clock.now());
        let due = self.clock.origin() + at;
        match self.nemesis.inject(id, &struck, roles, due).await {
            Ok(Injected { evidence, since, nodes, away }) => {
                let since = since.saturating_duration_since(self.clock.origin());
                course.situation.borrow_mut().strikes(id, &fault.fault, nodes, since);
                // The lateness of a fault that waited for an event counts from the event.
                let planned = if fault.on.is_some() { at } else { Duration::from_millis(fault.start_ms) };
                let (since_us, late_us) = (micros(since), micros(since.saturating_sub(planned)));
                self.record(NemesisAct::Started { fault: name, leader, away, since_us, late_us, evidence })
                    .await;
                since
            }
            Err(source) => {
                let error = chain(&source);
                self.record(NemesisAct::StartFailed { fault: name, leader, error }).await;
                course.broken.push(Breakage::Fault { id, what: "injected", source });
                self.clock.now()
            }
        }
    }

    /// Heals `fault`; returns the moment at which it was healed, or the moment of the failure.
    async fn heal(&self, fault: &ScheduledFault, course: &mut Course) -> Duration {
        let (id, name) = (fault.id, name(fault));
        self.record(NemesisAct::Stopping { fault: name.clone() }).await;
        match self.nemesis.heal(id).await {
            Ok(Healed { evidence, at, nodes, links }) => {
                let at = at.saturating_duration_since(self.clock.origin());
                course.situation.borrow_mut().healed(id, at);
                self.record(NemesisAct::Stopped { fault: name, evidence }).await;
                self.await_return(id, at, nodes, links, course);
                at
            }
            Err(source) => {
                if self.cluster.deployment.external().is_some() {
                    tell(format_args!(
                        "fault {id} ({}) could not be healed, and is tried again at the end",
                        name.what
                    ));
                }
                self.record(NemesisAct::StopFailed { fault: name, error: chain(&source) }).await;
                course.broken.push(Breakage::Fault { id, what: "healed", source });
                let now = self.clock.now();
                if fault.fault.family() == Family::Membership {
                    // Every process runs, and the network is as it was: a silence from now on is the system's own.
                    course.situation.borrow_mut().healed(id, now);
                    let nodes = course.situation.borrow().struck_by(id);
                    self.await_return(id, now, nodes, Vec::new(), course);
                }
                now
            }
        }
    }

    /// Observes and records how long `nodes` take to serve after fault `id` was `healed`, together with the
    /// behaviour of `links`.
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

    /// Awaits the pending recoveries. All nodes were awaited before: a recovery that cannot be judged within
    /// a moment never can.
    async fn end_recoveries(&mut self, course: &mut Course) {
        let left = *self.stop.borrow() == Stop::Now;
        let (patience, because) = match left {
            true => (Duration::ZERO, Unjudged::RunLeft),
            false => (LAST_WORDS, Unjudged::TooFewNodes),
        };
        // Pending recoveries are cut off: dropping the set ends them.
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

/// Records an event, and waits until it is kept.
async fn record(records: &mpsc::UnboundedSender<NemesisRecord>, act: NemesisAct) {
    let (kept, stands) = oneshot::channel();
    // A dispatcher that is gone has failed on its own, and reports that.
    if records.send(NemesisRecord { act, kept }).is_ok() {
        let _ = stands.await;
    }
}

/// Returns the fault as the history names it.
fn name(fault: &ScheduledFault) -> FaultName {
    let what = match &fault.on {
        Some(trigger) => format!("{} @{}", fault.fault, trigger.event),
        None => fault.fault.to_string(),
    };
    FaultName { id: fault.id, family: fault.fault.family().name().to_owned(), what }
}

/// Returns `fault`, aimed at the node at which its event was observed if there is such a node and the fault
/// strikes a single chosen node.
fn aimed(fault: &Fault, event: Option<&Seen>, roles: &mut RoleMap) -> Fault {
    match event.and_then(|event| event.node.clone()) {
        Some(node) => {
            roles.give(Role::new(OF_EVENT), node);
            fault.aimed_at(&Role::new(OF_EVENT))
        }
        None => fault.clone(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Returns an error and its causes in one line.
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
