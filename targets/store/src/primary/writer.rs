//! The primary executes writes: one task, in order, many requests to a durable commit.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::acks::{Acks, CONTACT_MAX};
use super::election::{Lead, View};
use super::epochs::Beginning;
use super::ledger::{Ledger, Write};
use super::rules::Rules;
use crate::command::{Command, Reply};
use crate::config::NodeName;
use crate::key_values::KeyValues;
use crate::outcome::{Failure, NotExecuted, Unknown};
use duress_consensus::disk::DiskError;

const REQUESTS_PER_COMMIT: usize = 512;
const QUEUE_MAX: usize = 4_096;
/// How often the writer looks for replicas that are out of contact, and for requesters that gave up.
const LOOK_EVERY: Duration = Duration::from_millis(CONTACT_MAX.as_millis() as u64 / 6);

/// A request's outcome: its replies, and whether it has changed anything.
#[derive(Debug)]
pub struct Executed {
    /// The replies, one for each command.
    pub replies: Vec<Reply>,
    /// Whether something has changed.
    pub changed: bool,
}

#[derive(Debug)]
struct Request {
    commands: Vec<Command>,
    reply: oneshot::Sender<Result<Executed, Failure>>,
}

/// A request that is on this node's disk, and is answered when writes up to an offset are settled.
struct Waiting {
    until: u64,
    executed: Executed,
    reply: oneshot::Sender<Result<Executed, Failure>>,
}

/// A handle to hand writes to the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Writes {
    queue: mpsc::Sender<Request>,
}

impl Writes {
    /// Executes commands in order, with no other command in between.
    ///
    /// # Errors
    /// This node is not the primary, or was replaced meanwhile; or the writer has stopped.
    pub async fn execute(&self, commands: Vec<Command>) -> Result<Executed, Failure> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Request { commands, reply }).await.map_err(|_| NotExecuted::ShuttingDown)?;
        answer.await.unwrap_or(Err(Unknown::Stopped.into()))
    }
}

/// The executor of writes.
pub struct Writer {
    queue: mpsc::Receiver<Request>,
    ledger: Ledger,
    acks: Acks,
    rules: Rules,
    view: watch::Receiver<View>,
    others: Vec<NodeName>,
}

impl Writer {
    /// Returns a writer and the handle to it.
    pub fn new(
        ledger: Ledger,
        acks: Acks,
        rules: Rules,
        view: watch::Receiver<View>,
        others: Vec<NodeName>,
    ) -> (Writes, Self) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        (Writes { queue: sender }, Self { queue, ledger, acks, rules, view, others })
    }

    /// Refuses requests, as a node that is not the primary; never returns.
    pub async fn refuse(&mut self) {
        while let Some(request) = self.queue.recv().await {
            // A requester that gave up has dropped its receiver.
            request.reply.send(Err(NotExecuted::NotLeader.into())).ok();
        }
        std::future::pending().await
    }

    /// Executes as the primary of an epoch, until the ledger fails, which is returned, every handle is dropped, or this node
    /// is the primary no more.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub async fn lead(&mut self, epoch: u64) -> Result<(), DiskError> {
        self.ledger.found().await?;
        let first = if epoch == 0 { 0 } else { self.ledger.position().offset + 1 };
        self.acks.begin(epoch, first, &self.others);
        if epoch > 0 {
            // A write that changes nothing, so that the epoch is in the history.
            self.ledger.append(vec![Vec::new()], vec![Beginning { epoch, first }]).await?;
        }
        self.acks.settle(epoch);
        // The state that later commands must see while earlier ones are being made durable; clients see the ledger.
        let (mut ahead, mut offset): (KeyValues, u64) =
            self.ledger.look(|values, position| (values.clone(), position.offset));
        let mut waiting: VecDeque<Waiting> = VecDeque::new();
        let (mut settled, mut view) = (self.acks.changes(), self.view.clone());
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut requests = Vec::new();
        while *view.borrow_and_update() == (View { epoch, lead: Lead::Own }) {
            tokio::select! {
                _ = view.changed() => continue,
                _ = settled.changed() => {}
                _ = looks.tick() => {
                    waiting.retain(|waiting| !waiting.reply.is_closed());
                    self.acks.settle(epoch);
                }
                received = self.queue.recv_many(&mut requests, REQUESTS_PER_COMMIT) => {
                    if received == 0 {
                        return Ok(());
                    }
                    let mut writes: Vec<Write> = Vec::new();
                    for Request { commands, reply } in requests.drain(..) {
                        let before = offset;
                        let execute = |command: &Command| {
                            let (reply, changes) = ahead.apply(offset + 1, command);
                            if !changes.is_empty() {
                                offset += 1;
                                writes.push(changes);
                            }
                            reply
                        };
                        let replies: Vec<Reply> = commands.iter().map(execute).collect();
                        let executed = Executed { replies, changed: offset > before };
                        // Without failover what it has seen stays, acknowledged or not.
                        let must_settle = executed.changed || self.rules.survives_failover();
                        let until = if must_settle { offset } else { 0 };
                        waiting.push_back(Waiting { until, executed, reply });
                    }
                    if let Err(error) = self.ledger.append(writes, Vec::new()).await {
                        for Waiting { reply, .. } in waiting {
                            // A requester that gave up has dropped its receiver.
                            reply.send(Err(Unknown::Stopped.into())).ok();
                        }
                        return Err(error);
                    }
                    self.acks.settle(epoch);
                }
            }
            let known = *settled.borrow_and_update();
            let (done, still): (VecDeque<_>, _) = waiting.into_iter().partition(|one| one.until <= known);
            waiting = still;
            for Waiting { executed, reply, .. } in done {
                // As above.
                reply.send(Ok(executed)).ok();
            }
        }
        for Waiting { executed, reply, .. } in waiting {
            let failure =
                if executed.changed { Unknown::LeaderChanged.into() } else { NotExecuted::NotLeader.into() };
            // As above.
            reply.send(Err(failure)).ok();
        }
        Ok(())
    }
}
