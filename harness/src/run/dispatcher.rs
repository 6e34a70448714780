//! The dispatcher: asks a generator for operations, gives them to free processes, and records everything.
//!
//! It is the only owner of the recorder and of the processes' numbers, and it runs on one thread with its workers. So
//! an invocation is stamped and handed to the system before its worker can learn of it, and a completion is stamped
//! after its worker got the answer: the real-time order in the history is never tighter than it was.

use std::collections::VecDeque;
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
/// For so long after a heal begins, processes rest hardly at all: what a node answers in its first moments matters.
const EAGER: Duration = Duration::from_millis(400);
/// An operation that has waited for so long when a heal begins waits for something that the fault keeps away.
const LONG: Duration = Duration::from_millis(100);
/// How long they rest then.
const EAGER_REST: Duration = Duration::from_millis(5);
/// A client that roams goes to the next node after so many operations, and after each failure.
const ROAMS_AFTER: u32 = 16;
/// How often progress is shown.
const TICK: Duration = Duration::from_millis(250);

/// How a run is asked to end before its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// It is not.
    #[default]
    No,
    /// Begin nothing new; heal, read, check.
    Early,
    /// Leave at once; what was recorded is kept.
    Now,
}

/// Makes the client of a process slot that speaks to a node; called again when its process is retired, or moves on.
pub type MakeClient<A> = Box<dyn Fn(usize, &NodeId) -> Box<dyn Client<A>>>;

/// Where a process slot's client is at home, and how it behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Habit {
    /// The node that it speaks to, at first and at the end.
    pub home: NodeId,
    /// Whether it stays there.
    pub stays: Stays,
    /// When it gives up on an operation, as the client knows it too.
    pub timeout: Duration,
    /// What it does when a fault is about to be healed.
    pub at_heal: AtHeal,
}

/// What a client does when a fault is about to be healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtHeal {
    /// It waits on for its answer.
    Waits,
    /// It gives up what has waited for long, and asks anew: what a node answers as it wakes up, or is reached again, is then
    /// the answer to a request that began only now.
    AsksAnew,
}

/// Whether a client stays at its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// It does.
    AtHome,
    /// It goes from node to node, until the final phase.
    Nowhere,
}

/// Something to record that is not a client's: what the nemesis did.
#[derive(Debug)]
pub struct NemesisRecord {
    /// What it did.
    pub act: NemesisAct,
    /// Told once it is recorded and kept.
    pub kept: oneshot::Sender<()>,
}

/// What a worker is asked to do.
enum Request<A> {
    Invoke(A),
    /// The process was retired, or speaks to another node from now on: it gets a fresh client of this node.
    Renew(NodeId),
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
    habit: Habit,
    /// The node that it speaks to now.
    node: NodeId,
    /// How many operations it has done there.
    operations: u32,
    state: State<A>,
    requests: mpsc::UnboundedSender<Request<A>>,
    /// Has the worker give up the operation that it has begun.
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
    next_tick: Duration,
    /// Until when processes hardly rest.
    eager_until: Duration,
    workers: JoinSet<()>,
}

/// What a dispatcher is made of.
pub struct DispatcherParts<A> {
    /// Where everything is recorded.
    pub recorder: Recorder,
    /// The run's clock.
    pub clock: Clock,
    /// By process slot; there are as many slots as processes at a time.
    pub habits: Vec<Habit>,
    /// Makes clients.
    pub make_client: MakeClient<A>,
    /// What the nemesis wants recorded.
    pub nemesis: mpsc::UnboundedReceiver<NemesisRecord>,
    /// Whether the run is to end before its time.
    pub stop: watch::Receiver<Stop>,
    /// Shows how it goes.
    pub progress: Progress,
}

impl<A: Vocabulary> Dispatcher<A> {
    /// Starts a worker for each slot on the current thread's runtime, inside a `LocalSet`.
    #[must_use]
    pub fn start(parts: DispatcherParts<A>) -> Self {
        let DispatcherParts { recorder, clock, habits, make_client, nemesis, stop, progress } = parts;
        let (ended_tx, ended) = mpsc::unbounded_channel();
        let make_client = std::rc::Rc::new(make_client);
        let mut workers = JoinSet::new();
        let mut slots = Vec::with_capacity(habits.len());
        for (slot, habit) in habits.into_iter().enumerate() {
            let (requests, todo) = mpsc::unbounded_channel();
            let make = std::rc::Rc::clone(&make_client);
            let (node, deadline) = (habit.home.clone(), habit.timeout + WATCHDOG_SLACK);
            let give_up = std::rc::Rc::new(Notify::new());
            let worker = Worker {
                slot,
                node: node.clone(),
                ended: ended_tx.clone(),
                deadline,
                give_up: std::rc::Rc::clone(&give_up),
            };
            workers.spawn_local(worker.work(todo, move |node: &NodeId| make(slot, node)));
            let (process, state) = (Process(slot as u64), State::Free);
            slots.push(Slot { process, habit, node, operations: 0, state, requests, give_up });
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
            next_tick: Duration::ZERO,
            eager_until: Duration::ZERO,
            workers,
        }
    }

    /// Runs `generator` until it is done and every operation has ended, and until `others` (the nemesis's part) is over;
    /// or until the run is stopped: early where `until` says so, at once always.
    ///
    /// # Errors
    /// [`RecordError`] when the history cannot be kept: there is no use in going on.
    pub async fn run<T>(
        &mut self,
        generator: &mut dyn Generator<A>,
        until: Stop,
        others: impl Future<Output = T>,
    ) -> Result<T, RecordError> {
        let mut others = std::pin::pin!(others);
        let mut others_result = None;
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
            // Nothing leaves before its invocation is in the system's hands.
            self.recorder.flush()?;
            for (slot, action) in begun {
                // A worker ends only when its slot is dropped.
                let _ = self.slots[slot].requests.send(Request::Invoke(action));
            }
            let idle = !self.slots.iter().any(|slot| matches!(slot.state, State::Busy(..)));
            if matches!(wake, Wake::Never) && (idle || stop == Stop::Now) && others_result.is_some() {
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
                result = &mut others, if others_result.is_none() => others_result = Some(result),
                Some(ended) = self.ended.recv() => self.complete(ended, generator)?,
                Some(record) = self.nemesis.recv() => self.record_nemesis(record, generator)?,
                Ok(()) = self.stop.changed() => {}
                () = tokio::time::sleep_until(self.clock.instant(at)) => {}
            }
        }
        Ok(others_result.expect("the loop ends only with it"))
    }

    /// Has clients that roam go home, and stay there: from now on each node is asked by the same processes.
    pub fn settle(&mut self) {
        for slot in &mut self.slots {
            slot.habit.stays = Stays::AtHome;
            if slot.node != slot.habit.home {
                slot.node = slot.habit.home.clone();
                // A worker ends only when its slot is dropped.
                let _ = slot.requests.send(Request::Renew(slot.node.clone()));
            }
        }
    }

    /// How many processes live at a time.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The node that each process slot speaks to.
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
        // Those before this one in the queue of free processes were offered, and are not wanted now.
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
        generator.update(&event);
        let moved = self.moves(slot, op_type == OpType::Info || rests);
        if op_type == OpType::Info {
            // What it asked may still happen, so nothing else may ever be said to follow it in its process.
            self.slots[slot].process = Process(self.next_process);
            self.next_process += 1;
        }
        if op_type == OpType::Info || moved {
            let Slot { requests, node, .. } = &self.slots[slot];
            let _ = requests.send(Request::Renew(node.clone()));
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

    /// Moves a client that roams to the next node, after enough operations or a failure; whether it did.
    fn moves(&mut self, slot: usize, failed: bool) -> bool {
        let Slot { habit, operations, node, .. } = &mut self.slots[slot];
        *operations += 1;
        if habit.stays == Stays::AtHome || !(failed || *operations >= ROAMS_AFTER) {
            return false;
        }
        *operations = 0;
        let mut homes: Vec<&NodeId> = Vec::new();
        let here = node.clone();
        for slot in &self.slots {
            if !homes.contains(&&slot.habit.home) {
                homes.push(&slot.habit.home);
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
                        if slot.habit.at_heal == AtHeal::AsksAnew && now >= *since + LONG =>
                    {
                        slot.give_up.notify_waiters();
                    }
                    State::Busy(..) | State::Free => {}
                }
            }
        }
        self.recorder.record_nemesis(nanos(self.clock.now()), act)?;
        self.recorder.flush()?;
        // The nemesis may have been stopped meanwhile; the record stands all the same.
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

/// A client's cause as the history keeps it.
fn error(cause: &Cause) -> OpError {
    OpError { kind: Some(cause.kind.name().into()), text: cause.to_string(), saw: cause.saw.clone() }
}

/// When a generator is to be asked again.
enum Wake {
    At(Duration),
    /// When something ends.
    Event,
    Never,
}

/// A process slot's client at work, one request at a time.
struct Worker<A> {
    slot: usize,
    /// The node that it speaks to.
    node: NodeId,
    ended: mpsc::UnboundedSender<Ended<A>>,
    deadline: Duration,
    give_up: std::rc::Rc<Notify>,
}

impl<A: Vocabulary> Worker<A> {
    async fn work(
        mut self,
        mut todo: mpsc::UnboundedReceiver<Request<A>>,
        make: impl Fn(&NodeId) -> Box<dyn Client<A>>,
    ) {
        let mut client = make(&self.node);
        while let Some(request) = todo.recv().await {
            match request {
                Request::Renew(node) => {
                    client = make(&node);
                    self.node = node;
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
                    // Whatever was asked, even where it changes nothing: the client is replaced, and what it knew (where it
                    // read on, its membership) is gone, so its process must end with it.
                    let outcome = late.unwrap_or_else(|why| {
                        client = make(&self.node);
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
