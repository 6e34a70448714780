//! The handle on one copy of a partition: its requests, and its status.

use std::sync::mpsc::Sender;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::error::PartitionError;
use super::leading::IsrChangeOutcome;
use crate::cluster::message::{ReplicaPosition, ReplicaRecords};
use crate::cluster::state::PartitionState;
use crate::cluster::{BrokerEpoch, BrokerId, TopicId};
use crate::log::{Aborted, EpochEnd, Marker, PartitionLog, TimedOffset};

/// The partition of a copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionName {
    /// The topic's name, for people.
    pub topic: String,
    /// The topic's identity.
    pub id: TopicId,
    /// The partition's number.
    pub number: u32,
}

impl std::fmt::Display for PartitionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.number)
    }
}

/// The role of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader {
        /// The leader epoch.
        epoch: i32,
        /// The end of its log when it began to lead.
        began_at: i64,
    },
    /// It follows the leader, if there is one.
    Follower {
        /// The leader.
        leader: Option<BrokerId>,
        /// The leader epoch.
        epoch: i32,
    },
}

/// The status of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Its role.
    pub role: Role,
    /// The first offset of the log.
    pub log_start: i64,
    /// The offset after the last committed one, as far as the copy knows.
    pub high_watermark: i64,
    /// The offset before which the fate of every record is settled, as far as the copy knows.
    pub last_stable: i64,
    /// The offset of the next record; everything before it is as durable as the options say.
    pub log_end: i64,
    /// The epoch of its last record.
    pub last_epoch: Option<i32>,
}

/// The replicas that a write waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// None.
    None,
    /// The leader.
    Leader,
    /// All replicas in sync.
    All,
}

/// The place of an appended batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// The first offset of the log.
    pub log_start: i64,
}

/// Which records of transactions a consumer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All of them.
    Uncommitted,
    /// Those of committed ones.
    Committed,
}

/// Records for a consumer.
#[derive(Debug, Clone)]
pub struct Records {
    /// Whole batches; may be empty.
    pub batches: Bytes,
    /// The offset after the last committed one.
    pub high_watermark: i64,
    /// The offset before which the fate of every record is settled.
    pub last_stable: i64,
    /// The first offset of the log.
    pub log_start: i64,
    /// With [`Isolation::Committed`], the aborted transactions whose records are among the batches.
    pub aborted: Vec<Aborted>,
}

/// The sender of an answer.
pub(super) type ReplySender<T> = oneshot::Sender<Result<T, PartitionError>>;
/// A function that reads the log, in order with all other messages.
pub(super) type Inspect = Box<dyn FnOnce(&PartitionLog, &Status) + Send>;

/// A message to a copy; messages are handled in order.
pub(super) enum Message {
    /// The controllers agreed on this state.
    Agreed(PartitionState),
    Append {
        batch: Bytes,
        acks: Acks,
        reply: ReplySender<Written>,
    },
    Mark {
        marker: Marker,
        reply: ReplySender<Written>,
    },
    Read {
        from: i64,
        bytes_max: usize,
        isolation: Isolation,
        leader_epoch: Option<i32>,
        reply: ReplySender<Records>,
    },
    FollowerRead {
        follower: (BrokerId, BrokerEpoch),
        position: ReplicaPosition,
        reply: ReplySender<ReplicaRecords>,
    },
    Replicate {
        epoch: i32,
        offset: i64,
        records: ReplicaRecords,
        reply: oneshot::Sender<()>,
    },
    WishCameTo {
        leader_epoch: i32,
        partition_epoch: u32,
        outcome: IsrChangeOutcome,
    },
    Inspect(Inspect),
    Stop,
}

/// A handle on a copy. Cheap to clone; the copy ends with [`PartitionHandle::stop`].
#[derive(Debug, Clone)]
pub struct PartitionHandle {
    pub(super) asks: Sender<Message>,
    pub(super) status: watch::Receiver<Status>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl PartitionHandle {
    /// Returns the present status of the copy.
    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Notifies of every change of the status.
    pub fn changes(&self) -> watch::Receiver<Status> {
        let mut changes = self.status.clone();
        changes.mark_unchanged();
        changes
    }

    async fn ask<T>(&self, ask: impl FnOnce(ReplySender<T>) -> Message) -> Result<T, PartitionError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).map_err(|_| PartitionError::Stopped)?;
        answer.await.unwrap_or(Err(PartitionError::Stopped))
    }

    /// Appends one batch and waits for the replicas of `acks`; with [`Acks::None`], until it was appended.
    ///
    /// # Errors
    /// It was not appended, or it is unknown whether it will survive; see [`PartitionError`].
    pub async fn append(&self, batch: Bytes, acks: Acks) -> Result<Written, PartitionError> {
        self.ask(|reply| Message::Append { batch, acks, reply }).await
    }

    /// As [`append`](Self::append), in two steps: the place of the batch among all others is fixed once this returns, and
    /// the answer is awaited later.
    ///
    /// # Errors
    /// The copy is stopped.
    pub fn begin_append(
        &self,
        batch: Bytes,
        acks: Acks,
    ) -> Result<impl Future<Output = Result<Written, PartitionError>> + use<>, PartitionError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Message::Append { batch, acks, reply }).map_err(|_| PartitionError::Stopped)?;
        Ok(async move { answer.await.unwrap_or(Err(PartitionError::Stopped)) })
    }

    /// Ends a transaction in this partition, once every replica in sync has the marker; the place of the marker among all
    /// batches is fixed once this returns.
    ///
    /// # Errors
    /// The copy is stopped.
    pub fn begin_mark(
        &self,
        marker: Marker,
    ) -> Result<impl Future<Output = Result<Written, PartitionError>> + use<>, PartitionError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Message::Mark { marker, reply }).map_err(|_| PartitionError::Stopped)?;
        Ok(async move { answer.await.unwrap_or(Err(PartitionError::Stopped)) })
    }

    /// Returns whole batches for a consumer, from `from` on.
    ///
    /// # Errors
    /// This broker does not lead, or not in that epoch; or the offset does not exist.
    pub async fn read(
        &self,
        from: i64,
        bytes_max: usize,
        isolation: Isolation,
        leader_epoch: Option<i32>,
    ) -> Result<Records, PartitionError> {
        self.ask(|reply| Message::Read { from, bytes_max, isolation, leader_epoch, reply }).await
    }

    /// Returns whole batches of this copy up to the end of its log, whichever broker leads, and whatever is
    /// committed.
    ///
    /// # Errors
    /// The offset is not in the log, the log failed, or the copy is stopped.
    pub async fn read_copy(&self, from: i64, bytes_max: usize) -> Result<Records, PartitionError> {
        let read = move |log: &PartitionLog, _: &Status| {
            let (end, log_start) = (log.log_end_offset(), log.log_start_offset());
            let batches = log.read(from, bytes_max, end)?;
            Ok(Records { batches, high_watermark: end, last_stable: end, log_start, aborted: Vec::new() })
        };
        self.look(read).await?
    }

    /// Whole batches for a follower.
    ///
    /// # Errors
    /// The log failed or the copy is stopped.
    pub async fn read_for_follower(
        &self,
        follower: (BrokerId, BrokerEpoch),
        position: ReplicaPosition,
    ) -> Result<ReplicaRecords, PartitionError> {
        self.ask(|reply| Message::FollowerRead { follower, position, reply }).await
    }

    /// Hands a follower its leader's answer to a fetch in `epoch` from `offset`; returns once the records are as durable as
    /// the options say, or turned out to be of no use.
    pub async fn replicate(&self, epoch: i32, offset: i64, records: ReplicaRecords) {
        let (reply, done) = oneshot::channel();
        if self.asks.send(Message::Replicate { epoch, offset, records, reply }).is_ok() {
            // A stopped copy drops the message.
            done.await.ok();
        }
    }

    /// Returns the first committed record of that time or later.
    ///
    /// # Errors
    /// This broker does not lead, or does not know yet which records are committed, or the log failed.
    pub async fn offset_for_time(&self, timestamp: i64) -> Result<Option<TimedOffset>, PartitionError> {
        self.look(move |log, _| log.offset_for_time(timestamp)).await?.map_err(PartitionError::from)
    }

    /// Returns the end of an epoch in this log.
    ///
    /// # Errors
    /// The copy is stopped.
    pub async fn epoch_end(&self, epoch: i32) -> Result<Option<EpochEnd>, PartitionError> {
        self.look(move |log, _| log.end_offset_for_epoch(epoch)).await
    }

    /// Reads the log and the status, in order with all other messages.
    ///
    /// # Errors
    /// The copy is stopped.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&PartitionLog, &Status) -> T + Send + 'static,
    ) -> Result<T, PartitionError> {
        let (reply, answer) = oneshot::channel();
        // A caller that gave up has dropped its receiver.
        let look: Inspect = Box::new(move |log, status| drop(reply.send(look(log, status))));
        self.asks.send(Message::Inspect(look)).map_err(|_| PartitionError::Stopped)?;
        answer.await.map_err(|_| PartitionError::Stopped)
    }

    /// Hands the copy the state that the controllers agreed on.
    pub fn agreed(&self, partition: PartitionState) {
        // A stopped copy needs no role.
        self.asks.send(Message::Agreed(partition)).ok();
    }

    /// Hands a leading copy the outcome of its request for another in-sync set.
    pub fn wish_came_to(&self, leader_epoch: i32, partition_epoch: u32, outcome: IsrChangeOutcome) {
        // A stopped copy needs no outcome.
        self.asks.send(Message::WishCameTo { leader_epoch, partition_epoch, outcome }).ok();
    }

    /// Asks the copy to end.
    pub fn stop(&self) {
        // It has ended already.
        self.asks.send(Message::Stop).ok();
    }
}
