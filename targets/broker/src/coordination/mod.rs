//! The tasks of the coordinators: each owns a state machine, restores its state from an internal topic, and appends its
//! records to it.
//!
//! A partition of the internal topic is loaded when this broker becomes its leader and unloaded when it no longer is. A
//! broker that is cut off still believes that it leads, and the state it knows may be old; so what is answered from memory
//! is answered only while it is certain that no other broker has been elected in its place
//! ([`Controller::is_in_session`](crate::cluster::Controller::is_in_session)).
//!
//! - [`groups`]: the group coordinator.
//! - [`transactions`]: the transaction coordinator.
//! - [`markers`]: the ends of transactions, written to the partitions that they are about.

pub mod groups;
pub mod markers;
pub mod transactions;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep_until, timeout};

use crate::cluster::TopicId;
use crate::internal::{Content, Token, WriteId};
use crate::log::{BatchHeader, Marker, build_batch, build_transactional};
use crate::replica::partition::wall_clock_ms;
use crate::replica::{Acks, PartitionError, PartitionHandle, Replicas, Role, Status, Written};

pub use groups::Groups;

/// How long records may take to be replicated, as Kafka's `offsets.commit.timeout.ms`.
const APPEND_MAX: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(1);
const LOAD_BYTES: usize = 1 << 20;
const QUEUE_MAX: usize = 4_096;

/// A state machine whose state is in an internal topic.
pub trait Machine: Send + Sized + 'static {
    /// The internal topic.
    const TOPIC: &'static str;
    /// The answer to a request.
    type Reply: Send + 'static;
    /// An action for this task.
    type Action: Send + 'static;
    /// A partition that is being read.
    type Load: Send + 'static;

    /// This broker leads a partition of the topic now.
    fn begin_load(&mut self, partition: i32) -> Self::Load;
    /// Applies the next batch of a partition; a control batch has its marker.
    ///
    /// # Errors
    /// A description of the first record that cannot be decoded.
    fn replay(
        load: &mut Self::Load,
        header: &BatchHeader,
        batch: &[u8],
        marker: Option<Marker>,
        now: Instant,
    ) -> Result<(), String>;
    /// Everything in the partition has been replayed.
    fn finish_load(&mut self, load: Self::Load, now: Instant) -> Vec<Self::Action>;
    /// This broker no longer leads a partition of the topic.
    fn unload(&mut self, partition: i32) -> Vec<Self::Action>;
    /// Takes note whether an append is in the log and replicated, or may not be.
    fn appended(
        &mut self,
        write: WriteId,
        result: Result<(), PartitionError>,
        now: Instant,
    ) -> Vec<Self::Action>;
    /// Does what time has made due.
    fn tick(&mut self, now: Instant) -> Vec<Self::Action>;
    /// When [`tick`](Self::tick) has something to do next.
    fn due(&self) -> Option<Instant>;
    /// Returns the part of an action that this task carries out; other actions are carried out here.
    fn carry_out(&mut self, action: Self::Action, context: &Context<'_, Self>) -> Step<Self>;
}

/// A part of an action.
pub enum Step<M: Machine> {
    /// Answer a request.
    Reply(Token, M::Reply),
    /// Append a batch to a partition of the internal topic.
    Append(WriteId, i32, Content),
    /// Continue with these actions.
    Next(Vec<M::Action>),
}

/// The surroundings of a state machine.
pub struct Context<'a, M: Machine> {
    /// This broker's copies.
    pub replicas: &'a Replicas,
    /// The partitions that it coordinates.
    pub led: &'a Led,
    /// The handle on this task, unless the broker is being shut down.
    pub service: Option<Service<M>>,
}

type Operate<M> = Box<dyn FnOnce(&mut M, Token, Instant) -> Vec<<M as Machine>::Action> + Send>;
type Tell<M> = Box<dyn FnOnce(&mut M) -> Vec<<M as Machine>::Action> + Send>;
type Inspect<M> = Box<dyn FnOnce(&mut M, &Led) + Send>;

/// The partitions of the internal topic that this broker leads and has loaded or is loading, each with the topic and the
/// leader epoch.
pub type Led = BTreeMap<i32, (TopicId, i32)>;

enum Message<M: Machine> {
    Operate(Operate<M>, oneshot::Sender<M::Reply>),
    Tell(Tell<M>),
    Inspect(Inspect<M>),
    Loaded(M::Load),
    Appended(WriteId, Result<(), PartitionError>),
}

/// A handle on a coordinator. Cheap to clone.
pub struct Service<M: Machine> {
    asks: mpsc::Sender<Message<M>>,
}

impl<M: Machine> Clone for Service<M> {
    fn clone(&self) -> Self {
        Self { asks: self.asks.clone() }
    }
}

/// The task of a coordinator.
pub struct Coordination<M: Machine> {
    machine: M,
    replicas: Replicas,
    queue: mpsc::Receiver<Message<M>>,
    /// For messages to itself.
    asks: mpsc::WeakSender<Message<M>>,
    waiting: BTreeMap<Token, oneshot::Sender<M::Reply>>,
    next_token: u64,
    led: Led,
}

/// The broker is being shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

impl<M: Machine> Service<M> {
    /// Runs an operation of the coordinator and waits for its reply.
    ///
    /// # Errors
    /// The broker is being shut down.
    pub async fn call(
        &self,
        call: impl FnOnce(&mut M, Token, Instant) -> Vec<M::Action> + Send + 'static,
    ) -> Result<M::Reply, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Message::Operate(Box::new(call), reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Runs an operation that has no reply.
    pub async fn tell(&self, tell: impl FnOnce(&mut M) -> Vec<M::Action> + Send + 'static) {
        // A broker that is being shut down needs no news.
        self.asks.send(Message::Tell(Box::new(tell))).await.ok();
    }

    /// Reads the coordinator's state.
    ///
    /// # Errors
    /// The broker is being shut down.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut M, &Led) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        // A caller that gave up has dropped its receiver.
        let look: Inspect<M> = Box::new(move |machine, led| drop(reply.send(look(machine, led))));
        self.asks.send(Message::Inspect(look)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

impl<M: Machine> Coordination<M> {
    /// Returns the task of a coordinator that has no state yet, and its handle.
    pub fn new(machine: M, replicas: Replicas) -> (Service<M>, Self) {
        let (asks, queue) = mpsc::channel(QUEUE_MAX);
        let coordination = Self {
            machine,
            replicas,
            queue,
            asks: asks.downgrade(),
            waiting: BTreeMap::new(),
            next_token: 0,
            led: Led::new(),
        };
        (Service { asks }, coordination)
    }

    /// Coordinates until every handle is dropped.
    pub async fn run(mut self) {
        let mut roles = self.replicas.roles();
        self.follow_roles();
        loop {
            let due = self.machine.due().unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                ask = self.queue.recv() => match ask {
                    Some(ask) => self.execute(ask),
                    None => return,
                },
                changed = roles.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.follow_roles();
                }
                () = sleep_until(due.into()) => {
                    let actions = self.machine.tick(Instant::now());
                    self.act(actions);
                }
            }
        }
    }

    fn execute(&mut self, ask: Message<M>) {
        let now = Instant::now();
        let actions = match ask {
            Message::Operate(call, reply) => {
                let token = Token(self.next_token);
                self.next_token += 1;
                self.waiting.insert(token, reply);
                call(&mut self.machine, token, now)
            }
            Message::Tell(tell) => tell(&mut self.machine),
            Message::Inspect(look) => {
                look(&mut self.machine, &self.led);
                Vec::new()
            }
            Message::Loaded(load) => self.machine.finish_load(load, now),
            Message::Appended(write, result) => self.machine.appended(write, result, now),
        };
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<M::Action>) {
        for action in actions {
            let service = self.asks.upgrade().map(|asks| Service { asks });
            let context = Context { replicas: &self.replicas, led: &self.led, service };
            match self.machine.carry_out(action, &context) {
                Step::Reply(token, reply) => {
                    if let Some(waiting) = self.waiting.remove(&token) {
                        // A client that has disconnected no longer waits.
                        waiting.send(reply).ok();
                    }
                }
                Step::Append(write, partition, content) => self.append(write, partition, &content),
                Step::Next(actions) => self.act(actions),
            }
        }
    }

    fn append(&self, write: WriteId, partition: i32, content: &Content) {
        let Some(asks) = self.asks.upgrade() else { return };
        // Appended here and not in a task, so that batches keep the order of the actions.
        let begun = match self.replicas.by_name(M::TOPIC, partition) {
            Ok(copy) => begin_append(&copy, content),
            Err(_) => Err(PartitionError::NotLeader),
        };
        tokio::spawn(async move {
            let appended = match begun {
                Ok(answer) => timeout(APPEND_MAX, answer).await.unwrap_or(Err(PartitionError::TimedOut)),
                Err(fault) => Err(fault),
            };
            let result = appended.map(drop).inspect_err(|fault| {
                tracing::info!(topic = M::TOPIC, partition, error = %fault, "records were not replicated");
            });
            // A broker that is being shut down needs no result.
            asks.send(Message::Appended(write, result)).await.ok();
        });
    }

    /// Loads the partitions that this broker has begun to lead, and unloads those that it no longer leads.
    fn follow_roles(&mut self) {
        let leads = self.replicas.led(M::TOPIC);
        let lost: Vec<i32> = self
            .led
            .iter()
            .filter(|(number, led)| !leads.iter().any(|now| now.0 == **number && (now.1, now.2) == **led))
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            self.led.remove(&number);
            let actions = self.machine.unload(number);
            self.act(actions);
        }
        for (number, topic, epoch, copy) in leads {
            if self.led.insert(number, (topic, epoch)).is_none() {
                let load = self.machine.begin_load(number);
                tracing::info!(topic = M::TOPIC, partition = number, epoch, "loading");
                if let Some(asks) = self.asks.upgrade() {
                    tokio::spawn(load_all::<M>(copy, number, epoch, load, asks));
                }
            }
        }
    }
}

/// Begins to append a batch.
fn begin_append(
    copy: &PartitionHandle,
    content: &Content,
) -> Result<futures_util::future::BoxFuture<'static, Result<Written, PartitionError>>, PartitionError> {
    let now_ms = wall_clock_ms();
    let batch = match content {
        Content::Records(records) => build_batch(records, now_ms),
        Content::Transactional(records, producer) => build_transactional(records, now_ms, *producer),
        Content::Marker(marker) => return Ok(Box::pin(copy.begin_mark(*marker)?)),
    };
    Ok(Box::pin(copy.begin_append(batch, Acks::All)?))
}

/// Reads the partition into `load`, up to the records that it had when this broker began to lead it: later
/// records come from this coordinator, which accepts none before the partition is loaded.
async fn load_all<M: Machine>(
    copy: PartitionHandle,
    number: i32,
    epoch: i32,
    mut load: M::Load,
    asks: mpsc::Sender<Message<M>>,
) {
    let mut next = copy.status().log_start;
    loop {
        let read = copy.look(move |log, _| log.read(next.max(log.log_start_offset()), LOAD_BYTES, i64::MAX));
        let batches = match read.await {
            Ok(Ok(batches)) => batches,
            Ok(Err(error)) => {
                tracing::error!(topic = M::TOPIC, partition = number, %error, "cannot load");
                return;
            }
            // This broker no longer leads it; the new leader loads it.
            Err(_) => return,
        };
        if batches.is_empty() {
            break;
        }
        next = replay::<M>(&batches, &mut load, number);
    }
    // Records that are not committed yet may be lost under another leader, so they must not be used before.
    let mut changes = copy.changes();
    let settled = changes.wait_for(|status| status.high_watermark >= next || !leads(status, epoch)).await;
    // If this broker no longer leads it, the new leader loads it.
    if !settled.is_ok_and(|status| leads(&status, epoch)) {
        return;
    }
    // A broker that is being shut down needs no state.
    asks.send(Message::Loaded(load)).await.ok();
}

/// Whether a copy leads in that epoch.
fn leads(status: &Status, epoch: i32) -> bool {
    matches!(status.role, Role::Leader { epoch: now, .. } if now == epoch)
}

/// Replays whole batches; returns the offset after them.
fn replay<M: Machine>(batches: &Bytes, load: &mut M::Load, number: i32) -> i64 {
    let mut at = 0;
    let mut next = 0;
    let now = Instant::now();
    while let Ok(header) = BatchHeader::parse(&batches[at..]) {
        let batch = &batches[at..at + header.size];
        if let Err(error) = M::replay(load, &header, batch, Marker::read(&header, batch), now) {
            tracing::error!(topic = M::TOPIC, partition = number, error, "cannot decode a record");
        }
        next = header.next_offset();
        at += header.size;
        if at >= batches.len() {
            break;
        }
    }
    next
}
