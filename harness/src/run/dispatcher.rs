//! The dispatcher: asks a generator for operations, gives them to free processes, and records everything.
//!
//! It is the only owner of the recorder and of the processes' numbers, and it runs on one thread with its workers. So
//! an invocation is stamped and handed to the system before its worker can learn of it, and a completion is stamped
//! after its worker got the answer: the real-time order in the history is never tighter than it was.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use duress_history::recorder::RecordError;
use duress_history::{Event, NemesisAct, NodeId, OpError, OpType, Payload, Process, Recorder};
use duress_targets::{Action, Cause, CauseKind, Client, Outcome};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::report::progress::Progress;
use crate::run::clock::{Clock, nanos};
use crate::workload::generator::{Context, Generator, Next};

/// How long a process rests after a failure, so that a dead node is not hammered and does not drown the record.
const REST: Duration = Duration::from_millis(50);
/// A client bounds its own operations; this much later the worker does it for a client that fails to.
const WATCHDOG_SLACK: Duration = Duration::from_secs(2);
/// The time after the start of a heal in which processes hardly rest, because a node's first answers matter.
const EAGER: Duration = Duration::from_millis(400);
/// An operation that is this old when a heal begins is taken to be blocked by the fault.
const LONG: Duration = Duration::from_millis(100);
/// The time that a process rests after a failure during [`EAGER`].
const EAGER_REST: Duration = Duration::from_millis(5);
/// A roaming client goes to the next node after this many operations, and after each failure.
const ROAMS_AFTER: u32 = 16;
/// The time between updates of the progress display.
const TICK: Duration = Duration::from_millis(250);

/// A request to end the run early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// No request.
    #[default]
    No,
    /// Begin no new operations; heal, read, check.
    Early,
    /// Leave at once; the record is kept.
    Now,
}

/// Makes the client of a process slot that speaks to a node for a process; called again when its process is retired, or moves
/// on.
pub type MakeClient<A> = Box<dyn Fn(usize, &NodeId, Process) -> Box<dyn Client<A>>>;

/// The home of a process slot's client, and its behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPolicy {
    /// The node that it speaks to, at first and at the end.
    pub home: NodeId,
    /// Whether it stays at its node.
    pub affinity: NodeAffinity,
    /// When it gives up on an operation. The client has the same time-out.
    pub timeout: Duration,
    /// Its behaviour when a fault is about to be healed.
    pub at_heal: AtHeal,
}

/// The behaviour of a client when a fault is about to be healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtHeal {
    /// It continues to wait for its answer.
    Waits,
    /// It gives up old operations and repeats them. The answer of a node that wakes up, or is reachable
    /// again, then belongs to a request that has only just begun.
    AsksAnew,
}

/// The relation of a client to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAffinity {
    /// It stays.
    Pinned,
    /// It goes from node to node, until the final phase.
    Roaming,
}

/// A record of the nemesis, not of a client.
#[derive(Debug)]
pub struct NemesisRecord {
    /// The nemesis's action.
    pub act: NemesisAct,
    /// Notified once it is recorded and kept.
    pub kept: oneshot::Sender<()>,
}

/// A request to a worker.
enum Request<A> {
    Invoke(A),
    /// Replaces the client with a new one for this node and process: the one before was retired, or moves to the node.
    Renew(NodeId, Process),
}

/// An operation that ended.
struct Ended<A> {
    slot: usize,
    outcome: Outcome<A>,
}

enum State<A> {
    Free,
    /// Since this time.
    Busy(A, Duration),
    /// Free again at this time.
    Resting(Duration),
}

struct Slot<A> {
    process: Process,
    policy: ClientPolicy,
    /// The node that it speaks to now.
    node: NodeId,
    /// The number of operations that it has done at this node.
    operations: u32,
    state: State<A>,
    requests: mpsc::UnboundedSender<Request<A>>,
    /// Makes the worker give up its present operation.
    give_up: std::rc::Rc<Notify>,
}

/// The operations of a workload, as a dispatcher needs them: it hands them to workers and shares them with clients.
pub trait Vocabulary: Payload + Action + Send + Sync + 'static {}

impl<A: Payload + Action + Send + Sync + 'static> Vocabulary for A {}

/// Runs generators against clients of the workload whose operations are `A`s.
pub struct Dispatcher<A> {
    recorder: Recorder,
    clock: Clock,
    slots: Vec<Slot<A>>,
    free: VecDeque<usize>,
    next_process: u64,
    ended: mpsc::UnboundedReceiver<Ended<A>>,
    nemesis: mpsc::UnboundedReceiver<NemesisRecord>,
    stop: watch::Receiver<Stop>,
    progress: Progress,
    answered: watch::Sender<u64>,
    next_tick: Duration,
    /// The end of the time in which processes hardly rest.
    eager_until: Duration,
    workers: JoinSet<()>,
}

/// The parts of a dispatcher.
pub struct DispatcherParts<A> {
    /// The recorder of everything.
    pub recorder: Recorder,
    /// The run's clock.
    pub clock: Clock,
    /// The policies by process slot; there are as many slots as concurrent processes.
    pub policies: Vec<ClientPolicy>,
    /// Makes clients.
    pub make_client: MakeClient<A>,
    /// The nemesis's records.
    pub nemesis: mpsc::UnboundedReceiver<NemesisRecord>,
    /// Whether the run should end early.
    pub stop: watch::Receiver<Stop>,
    /// The display of the progress.
    pub progress: Progress,
    /// Receives the number of answered operations after each one.
    pub answered: watch::Sender<u64>,
}

impl<A: Vocabulary> Dispatcher<A> {
    /// Starts a worker for each slot on the current thread's runtime, inside a `LocalSet`.
    #[must_use]
    pub fn start(parts: DispatcherParts<A>) -> Self {
        let DispatcherParts { recorder, clock, policies, make_client, nemesis, stop, progress, answered } =
            parts;
        let (ended_tx, ended) = mpsc::unbounded_channel();
        let make_client = std::rc::Rc::new(make_client);
        let mut workers = JoinSet::new();
        let mut slots = Vec::with_capacity(policies.len());
        for (slot, policy) in policies.into_iter().enumerate() {
            let (requests, todo) = mpsc::unbounded_channel();
            let make = std::rc::Rc::clone(&make_client);
            let (node, deadline) = (policy.home.clone(), policy.timeout + WATCHDOG_SLACK);
            let give_up = std::rc::Rc::new(Notify::new());
            let process = Process(slot as u64);
            let worker = Worker {
                slot,
                node: node.clone(),
                process,
                ended: ended_tx.clone(),
                deadline,
                give_up: std::rc::Rc::clone(&give_up),
            };
            workers.spawn_local(worker.work(todo, move |node: &NodeId, process| make(slot, node, process)));
            let state = State::Free;
            slots.push(Slot { process, policy, node, operations: 0, state, requests, give_up });
        }
        Self {
            recorder,
            clock,
            free: (0..slots.len()).collect(),
            next_process: slots.len() as u64,
            slots,
            ended,
            nemesis,
            stop,
            progress,
            answered,
            next_tick: Duration::ZERO,
            eager_until: Duration::ZERO,
            workers,
        }
    }

    /// Runs `generator` until it is done and every operation has ended, and until `others` (the nemesis's
    /// part) is over; or until the run is stopped: early if `until` allows it, at once always.
    ///
    /// # Errors
    /// [`RecordError`] when the history cannot be kept: continuing is useless.
    pub async fn run<T>(
        &mut self,
        generator: &mut dyn Generator<A>,
        until: Stop,
        others: impl Future<Output = T>,
    ) -> Result<T, RecordError> {
        let mut result = None;
        {
            let others = std::pin::pin!(async { result = Some(others.await) });
            self.run_beside(generator, until, others).await?;
        }
        Ok(result.expect("it ends only with it"))
    }

    /// [`Self::run`], once for all that run beside it.
    async fn run_beside(
        &mut self,
        generator: &mut dyn Generator<A>,
        until: Stop,
        mut others: Pin<&mut dyn Future<Output = ()>>,
    ) -> Result<(), RecordError> {
        let mut others_over = false;
        loop {
            let stop = *self.stop.borrow_and_update();
            while let Ok(ended) = self.ended.try_recv() {
                self.complete(ended, generator)?;
            }
            while let Ok(record) = self.nemesis.try_recv() {
                self.record_nemesis(record, generator)?;
            }
            let now = self.clock.now();
            self.wake_rested(now);
            let (begun, wake) =
                if stop >= until { (Vec::new(), Wake::Never) } else { self.begin(now, generator)? };
            // No request leaves before its invocation has been handed to the operating system.
            self.recorder.flush()?;
            for (slot, action) in begun {
                // A worker ends only when its slot is dropped.
                let _ = self.slots[slot].requests.send(Request::Invoke(action));
            }
            let idle = !self.slots.iter().any(|slot| matches!(slot.state, State::Busy(..)));
            if matches!(wake, Wake::Never) && (idle || stop == Stop::Now) && others_over {
                break;
            }
            if now >= self.next_tick {
                self.progress.tick(now);
                self.next_tick = now + TICK;
            }
            let mut at = self.next_tick;
            if let Wake::At(due) = wake {
                at = at.min(due);
            }
            if let Some(rested) = self.next_rested() {
                at = at.min(rested);
            }
            tokio::select! {
                biased;
                () = &mut others, if !others_over => others_over = true,
                Some(ended) = self.ended.recv() => self.complete(ended, generator)?,
                Some(record) = self.nemesis.recv() => self.record_nemesis(record, generator)?,
                Ok(()) = self.stop.changed() => {}
                () = tokio::time::sleep_until(self.clock.instant(at)) => {}
            }
        }
        Ok(())
    }

    /// Sends roaming clients home for good: from now on each node is asked by the same processes.
    pub fn settle(&mut self) {
        for slot in &mut self.slots {
            slot.policy.affinity = NodeAffinity::Pinned;
            if slot.node != slot.policy.home {
                slot.node = slot.policy.home.clone();
                // A worker ends only when its slot is dropped.
                let _ = slot.requests.send(Request::Renew(slot.node.clone(), slot.process));
            }
        }
    }

    /// Returns the number of concurrent processes.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Returns the node that each process slot speaks to.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.slots.iter().map(|slot| slot.node.clone()).collect()
    }

    /// Ends the workers and closes the history.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn close(mut self) -> Result<(), RecordError> {
        self.progress.finish();
        self.workers.shutdown().await;
        self.recorder.close()
    }

    /// Begins as many operations as there are free processes; returns them and when to ask again.
    fn begin(
        &mut self,
        now: Duration,
        generator: &mut dyn Generator<A>,
    ) -> Result<(Vec<(usize, A)>, Wake), RecordError> {
        let mut begun = Vec::new();
        // The generator does not want the free processes before this position now.
        let mut offered = 0;
        while let Some(&slot) = self.free.get(offered) {
            let context = Context { now, slot, slots: self.slots.len(), process: self.slots[slot].process };
            match generator.next(&context) {
                Next::Op(action) => {
                    self.free.remove(offered);
                    let event = self.record(slot, OpType::Invoke, action.clone(), None)?;
                    generator.update(&event);
                    self.slots[slot].state = State::Busy(action.clone(), now);
                    begun.push((slot, action));
                }
                Next::At(at) => return Ok((begun, Wake::At(at))),
                Next::Pending => offered += 1,
                Next::Done => return Ok((begun, Wake::Never)),
            }
        }
        Ok((begun, Wake::Event))
    }

    fn complete(&mut self, ended: Ended<A>, generator: &mut dyn Generator<A>) -> Result<(), RecordError> {
        let Ended { slot, outcome } = ended;
        let State::Busy(asked, _) = std::mem::replace(&mut self.slots[slot].state, State::Free) else {
            unreachable!("a worker answers once per request")
        };
        let (op_type, action, cause) = match outcome {
            Outcome::Ok(answer) => (OpType::Ok, answer, None),
            Outcome::Fail(cause) => (OpType::Fail, asked, Some(cause)),
            Outcome::Info(cause) => (OpType::Info, asked, Some(cause)),
        };
        let rests = op_type == OpType::Fail
            && cause.as_ref().is_none_or(|cause| cause.kind != CauseKind::Precondition);
        let event = self.record(slot, op_type, action, cause.as_ref().map(error))?;
        self.progress.count(op_type);
        if op_type == OpType::Ok {
            self.answered.send_modify(|count| *count += 1);
        }
        generator.update(&event);
        let moved = self.moves(slot, op_type == OpType::Info || rests);
        if op_type == OpType::Info {
            // Its request may still be executed, so no other operation may follow it in its process.
            self.slots[slot].process = Process(self.next_process);
            self.next_process += 1;
        }
        if op_type == OpType::Info || moved {
            let Slot { requests, node, process, .. } = &self.slots[slot];
            let _ = requests.send(Request::Renew(node.clone(), *process));
        }
        if rests {
            let now = self.clock.now();
            let rest = if now < self.eager_until { EAGER_REST } else { REST };
            self.slots[slot].state = State::Resting(now + rest);
        } else {
            self.free.push_back(slot);
        }
        Ok(())
    }

    /// Moves a roaming client to the next node after enough operations or a failure; returns whether it
    /// moved.
    fn moves(&mut self, slot: usize, failed: bool) -> bool {
        let Slot { policy, operations, node, .. } = &mut self.slots[slot];
        *operations += 1;
        if policy.affinity == NodeAffinity::Pinned || !(failed || *operations >= ROAMS_AFTER) {
            return false;
        }
        *operations = 0;
        let mut homes: Vec<&NodeId> = Vec::new();
        let here = node.clone();
        for slot in &self.slots {
            if !homes.contains(&&slot.policy.home) {
                homes.push(&slot.policy.home);
            }
        }
        let at = homes.iter().position(|home| **home == here).unwrap_or_default();
        let next = homes[(at + 1) % homes.len()].clone();
        let moved = next != here;
        self.slots[slot].node = next;
        moved
    }

    fn record(
        &mut self,
        slot: usize,
        op_type: OpType,
        action: A,
        error: Option<OpError>,
    ) -> Result<Event<A>, RecordError> {
        let Slot { process, node, .. } = &self.slots[slot];
        let (process, node) = (*process, Some(node.clone()));
        self.recorder.record(nanos(self.clock.now()), process, op_type, action, node, error)
    }

    fn record_nemesis(
        &mut self,
        record: NemesisRecord,
        generator: &mut dyn Generator<A>,
    ) -> Result<(), RecordError> {
        let NemesisRecord { act, kept } = record;
        self.progress.nemesis(&act);
        let now = self.clock.now();
        generator.nemesis(now, &act);
        if matches!(act, NemesisAct::Stopping { .. }) {
            self.eager_until = now + EAGER;
            for slot in &mut self.slots {
                match &mut slot.state {
                    State::Resting(until) => *until = now,
                    State::Busy(_, since)
                        if slot.policy.at_heal == AtHeal::AsksAnew && now >= *since + LONG =>
                    {
                        slot.give_up.notify_waiters();
                    }
                    State::Busy(..) | State::Free => {}
                }
            }
        }
        self.recorder.record_nemesis(nanos(self.clock.now()), act)?;
        self.recorder.flush()?;
        // The nemesis may have been stopped meanwhile; the record is kept all the same.
        let _ = kept.send(());
        Ok(())
    }

    fn wake_rested(&mut self, now: Duration) {
        for (number, slot) in self.slots.iter_mut().enumerate() {
            if matches!(slot.state, State::Resting(until) if until <= now) {
                slot.state = State::Free;
                self.free.push_back(number);
            }
        }
    }

    fn next_rested(&self) -> Option<Duration> {
        let resting = self.slots.iter().filter_map(|slot| match slot.state {
            State::Resting(until) => Some(until),
            _ => None,
        });
        resting.min()
    }
}

/// Returns a client's cause as the history keeps it.
fn error(cause: &Cause) -> OpError {
    OpError { kind: Some(cause.kind.name().into()), text: cause.to_string(), saw: cause.saw.clone() }
}

/// The time to ask a generator again.
enum Wake {
    At(Duration),
    /// When something ends.
    Event,
    Never,
}

/// A process slot's client at work, one request at a time.
struct Worker<A> {
    slot: usize,
    /// The node that it speaks to, and the process that it speaks for.
    node: NodeId,
    process: Process,
    ended: mpsc::UnboundedSender<Ended<A>>,
    deadline: Duration,
    give_up: std::rc::Rc<Notify>,
}

impl<A: Vocabulary> Worker<A> {
    async fn work(
        mut self,
        mut todo: mpsc::UnboundedReceiver<Request<A>>,
        make: impl Fn(&NodeId, Process) -> Box<dyn Client<A>>,
    ) {
        let mut client = make(&self.node, self.process);
        while let Some(request) = todo.recv().await {
            match request {
                Request::Renew(node, process) => {
                    client = make(&node, process);
                    (self.node, self.process) = (node, process);
                }
                Request::Invoke(action) => {
                    let late = tokio::select! {
                        biased;
                        answered = tokio::time::timeout(self.deadline, client.invoke(&action)) => match answered {
                            Ok(outcome) => Ok(outcome),
                            Err(_) => Err("the client kept no deadline"),
                        },
                        () = self.give_up.notified() => Err("given up as a fault was about to be healed"),
                    };
                    // The client is replaced after every unanswered request, even a read: its state (its
                    // positions, its membership) is gone, so its process must end with it.
                    let outcome = late.unwrap_or_else(|why| {
                        client = make(&self.node, self.process);
                        Outcome::Info(Cause::new(CauseKind::Timeout, why))
                    });
                    if self.ended.send(Ended { slot: self.slot, outcome }).is_err() {
                        return;
                    }
                }
            }
        }
    }
}
