//! The task of the group coordinator: it owns the state machine, restores groups from the internal topic, and appends
//! their records to it.
//!
//! A partition of the internal topic is loaded when this broker becomes its leader and unloaded when it no longer is. A
//! broker that is cut off still believes that it leads, and the offsets it knows may be old; so it answers only while it
//! is certain that no other broker has been elected in its place ([`Controller::is_in_session`]).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep_until, timeout};

use crate::bug::Bug;
use crate::cluster::TopicId;
use crate::config::Config;
use crate::group::{
    Action, CommitFence, Coordinator, Departure, GroupError, GroupOptions, Load, OFFSETS_TOPIC,
    OffsetsOnLoad, Reply, Token, TopicPartition, WriteId,
};
use crate::log::{BatchHeader, OwnRecord, build_batch, records};
use crate::replica::partition::wall_clock_ms;
use crate::replica::{Acks, PartitionError, PartitionHandle, Replicas, Role, Status};

/// How long records of groups may take to be replicated, as Kafka's `offsets.commit.timeout.ms`.
const APPEND_MAX: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(1);
const LOAD_BYTES: usize = 1 << 20;
const QUEUE_MAX: usize = 4_096;

type Operate = Box<dyn FnOnce(&mut Coordinator, Token, Instant) -> Vec<Action> + Send>;
type Inspect = Box<dyn FnOnce(&Coordinator, &Led) + Send>;

/// The partitions of the internal topic that this broker leads and whose groups it has loaded or is loading, each with the
/// topic and the leader epoch.
pub type Led = BTreeMap<i32, (TopicId, i32)>;

enum Message {
    Operate(Operate, oneshot::Sender<Reply>),
    Inspect(Inspect),
    Loaded(Load),
    Appended(WriteId, Result<(), GroupError>),
}

/// A handle on the coordinator. Cheap to clone.
#[derive(Clone)]
pub struct Groups {
    asks: mpsc::Sender<Message>,
}

/// The task of the coordinator.
pub struct Coordination {
    coordinator: Coordinator,
    replicas: Replicas,
    queue: mpsc::Receiver<Message>,
    /// For messages to itself.
    asks: mpsc::WeakSender<Message>,
    waiting: BTreeMap<Token, oneshot::Sender<Reply>>,
    next_token: u64,
    led: Led,
}

impl Groups {
    /// Runs an operation of the coordinator and waits for its reply.
    ///
    /// # Errors
    /// The broker is being shut down.
    pub async fn call(
        &self,
        call: impl FnOnce(&mut Coordinator, Token, Instant) -> Vec<Action> + Send + 'static,
    ) -> Result<Reply, GroupError> {
        let (reply, answer) = oneshot::channel();
        let ask = Message::Operate(Box::new(call), reply);
        self.asks.send(ask).await.map_err(|_| GroupError::NotCoordinator)?;
        answer.await.map_err(|_| GroupError::NotCoordinator)
    }

    /// Reads the coordinator's state.
    ///
    /// # Errors
    /// The broker is being shut down.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Coordinator, &Led) -> T + Send + 'static,
    ) -> Result<T, GroupError> {
        let (reply, answer) = oneshot::channel();
        // A caller that gave up has dropped its receiver.
        let look: Inspect = Box::new(move |coordinator, led| drop(reply.send(look(coordinator, led))));
        self.asks.send(Message::Inspect(look)).await.map_err(|_| GroupError::NotCoordinator)?;
        answer.await.map_err(|_| GroupError::NotCoordinator)
    }
}

impl Coordination {
    /// A coordinator without groups, and its handle. `names` distinguishes this start of this broker from all others.
    pub fn new(config: &Config, replicas: Replicas, names: String) -> (Groups, Self) {
        let options = GroupOptions {
            partitions: i32::from(config.options.offsets_partitions),
            session_timeout_min: Duration::from_millis(500),
            session_timeout_max: Duration::from_secs(30 * 60),
            initial_delay: config.options.rebalance_delay,
            names,
            departure: if config.has(Bug::OffsetCommittedBeforeDelivery) {
                Departure::CommitsHighWatermarks
            } else {
                Departure::LeavesOffsets
            },
            offsets_on_load: if config.has(Bug::OffsetCommitLostOnMove) {
                OffsetsOnLoad::Forgotten
            } else {
                OffsetsOnLoad::Replayed
            },
            commit_fence: if config.has(Bug::CommitOfAnyGeneration) {
                CommitFence::None
            } else {
                CommitFence::Generation
            },
        };
        let (asks, queue) = mpsc::channel(QUEUE_MAX);
        let coordination = Self {
            coordinator: Coordinator::new(options),
            replicas,
            queue,
            asks: asks.downgrade(),
            waiting: BTreeMap::new(),
            next_token: 0,
            led: Led::new(),
        };
        (Groups { asks }, coordination)
    }

    /// Coordinates until every handle is dropped.
    pub async fn run(mut self) {
        let mut roles = self.replicas.roles();
        self.follow_roles();
        loop {
            let due = self.coordinator.due().unwrap_or_else(|| Instant::now() + IDLE);
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
                    let actions = self.coordinator.tick(Instant::now());
                    self.act(actions);
                }
            }
        }
    }

    fn execute(&mut self, ask: Message) {
        let now = Instant::now();
        let actions = match ask {
            Message::Operate(call, reply) => {
                let token = Token(self.next_token);
                self.next_token += 1;
                self.waiting.insert(token, reply);
                call(&mut self.coordinator, token, now)
            }
            Message::Inspect(look) => {
                look(&self.coordinator, &self.led);
                Vec::new()
            }
            Message::Loaded(load) => {
                self.coordinator.finish_load(load, now);
                Vec::new()
            }
            Message::Appended(write, Ok(())) => self.coordinator.appended(write, now),
            Message::Appended(write, Err(error)) => self.coordinator.append_failed(write, &error, now),
        };
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Reply(token, reply) => {
                    if let Some(waiting) = self.waiting.remove(&token) {
                        // A client that has disconnected no longer waits.
                        waiting.send(reply).ok();
                    }
                }
                Action::Append { write, partition, records } => self.append(write, partition, &records),
                Action::FindHighWatermarks { group, partitions } => {
                    let ends = self.high_watermarks(partitions);
                    let actions = self.coordinator.commit_departed(&group, ends);
                    self.act(actions);
                }
            }
        }
    }

    fn append(&self, write: WriteId, partition: i32, records: &[OwnRecord]) {
        let Some(asks) = self.asks.upgrade() else { return };
        // Appended here and not in a task, so that records keep the order of the actions.
        let begun = match self.replicas.by_name(OFFSETS_TOPIC, partition) {
            Ok(copy) => copy.begin_append(build_batch(records, wall_clock_ms()), Acks::All),
            Err(_) => Err(PartitionError::NotLeader),
        };
        tokio::spawn(async move {
            let appended = match begun {
                Ok(answer) => timeout(APPEND_MAX, answer).await.unwrap_or(Err(PartitionError::TimedOut)),
                Err(fault) => Err(fault),
            };
            let result = appended.map(drop).map_err(|fault| {
                tracing::info!(partition, error = %fault, "records of a group were not replicated");
                match fault {
                    PartitionError::NotLeader => GroupError::NotCoordinator,
                    _ => GroupError::NotReplicated,
                }
            });
            // A broker that is being shut down needs no result.
            asks.send(Message::Appended(write, result)).await.ok();
        });
    }

    /// The high watermarks of the partitions that this broker has a copy of, as it knows them.
    fn high_watermarks(&self, partitions: Vec<TopicPartition>) -> Vec<(TopicPartition, i64)> {
        let end = |at: TopicPartition| {
            let copy = self.replicas.by_name(&at.topic, at.partition).ok()?;
            Some((at, copy.status().high_watermark))
        };
        partitions.into_iter().filter_map(end).collect()
    }

    /// Loads the partitions that this broker has begun to lead, and unloads those that it no longer leads.
    fn follow_roles(&mut self) {
        let leads = self.replicas.led(OFFSETS_TOPIC);
        let lost: Vec<i32> = self
            .led
            .iter()
            .filter(|(number, led)| !leads.iter().any(|now| now.0 == **number && (now.1, now.2) == **led))
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            self.led.remove(&number);
            let actions = self.coordinator.unload(number);
            self.act(actions);
        }
        for (number, topic, epoch, copy) in leads {
            if self.led.insert(number, (topic, epoch)).is_none() {
                let load = self.coordinator.begin_load(number);
                tracing::info!(partition = number, epoch, "loading the groups");
                if let Some(asks) = self.asks.upgrade() {
                    tokio::spawn(load_all(copy, number, epoch, load, asks));
                }
            }
        }
    }
}

/// Reads the partition into `load`, up to the records that it had when this broker began to lead it: later records come
/// from this coordinator, which accepts nothing before the partition is loaded.
async fn load_all(
    copy: PartitionHandle,
    number: i32,
    epoch: i32,
    mut load: Load,
    asks: mpsc::Sender<Message>,
) {
    let mut next = copy.status().log_start;
    loop {
        let read = copy.look(move |log, _| log.read(next.max(log.log_start_offset()), LOAD_BYTES, i64::MAX));
        let batches = match read.await {
            Ok(Ok(batches)) => batches,
            Ok(Err(error)) => {
                tracing::error!(partition = number, %error, "cannot load the groups");
                return;
            }
            // This broker no longer leads it; the new leader loads it.
            Err(_) => return,
        };
        if batches.is_empty() {
            break;
        }
        next = replay(&batches, &mut load, number);
    }
    // Records that are not committed yet may be lost under another leader, so they must not be used before.
    let mut changes = copy.changes();
    let settled = changes.wait_for(|status| status.high_watermark >= next || !leads(status, epoch)).await;
    // Where this broker no longer leads it, the new leader loads it.
    if !settled.is_ok_and(|status| leads(&status, epoch)) {
        return;
    }
    // A broker that is being shut down needs no groups.
    asks.send(Message::Loaded(load)).await.ok();
}

/// Whether a copy leads in that epoch.
fn leads(status: &Status, epoch: i32) -> bool {
    matches!(status.role, Role::Leader { epoch: now, .. } if now == epoch)
}

/// Replays whole batches; returns the offset after them.
fn replay(batches: &Bytes, load: &mut Load, number: i32) -> i64 {
    let mut at = 0;
    let mut next = 0;
    let now = Instant::now();
    while let Ok(header) = BatchHeader::parse(&batches[at..]) {
        let batch = &batches[at..at + header.size];
        for record in records(&header, batch) {
            let replayed = record.map_err(|error| error.to_string()).and_then(|record| {
                let offset = header.base_offset + i64::from(record.offset_delta);
                let key = record.key.unwrap_or_default();
                load.replay(key, record.value, offset, now).map_err(|error| error.to_string())
            });
            if let Err(error) = replayed {
                tracing::error!(partition = number, error, "cannot decode a record of a group");
            }
        }
        next = header.next_offset();
        at += header.size;
        if at >= batches.len() {
            break;
        }
    }
    next
}
