//! The way to one copy of a partition: what it may be asked, and what it says of itself.

use std::sync::mpsc::Sender;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::fault::Fault;
use super::leading::WishOutcome;
use crate::cluster::message::{ReplicaPosition, ReplicaRecords};
use crate::cluster::state::Partition;
use crate::cluster::{BrokerEpoch, BrokerId, TopicId};
use crate::log::{EpochEnd, PartitionLog, TimedOffset};

/// Which copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionName {
    /// The topic, for people.
    pub topic: String,
    /// The topic, for certain.
    pub id: TopicId,
    /// The partition.
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
        /// In this epoch.
        epoch: i32,
        /// Where its log ended when it began to.
        began_at: i64,
    },
    /// It follows, if anybody leads.
    Follower {
        /// Whom.
        leader: Option<BrokerId>,
        /// In this epoch.
        epoch: i32,
    },
}

/// What a copy tells everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Its role.
    pub role: Role,
    /// The first offset there is.
    pub log_start: i64,
    /// The offset after the last one that is committed, as far as it knows.
    pub high_watermark: i64,
    /// The offset that comes next; everything before it is durable, as far as the options say.
    pub log_end: i64,
    /// The epoch of its last record.
    pub last_epoch: Option<i32>,
}

/// Whom a write waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// Nobody.
    None,
    /// The leader.
    Leader,
    /// Everybody in sync.
    All,
}

/// Where a batch was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// The first offset there is.
    pub log_start: i64,
}

/// What a consumer gets.
#[derive(Debug, Clone)]
pub struct Records {
    /// Whole batches, perhaps none.
    pub batches: Bytes,
    /// The offset after the last one that is committed.
    pub high_watermark: i64,
    /// The first offset there is.
    pub log_start: i64,
}

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Fault>>;
/// A look at the log, in order with everything else.
pub(super) type Look = Box<dyn FnOnce(&PartitionLog, &Status) + Send>;

/// What happens to a copy, in the order of the messages.
pub(super) enum Ask {
    /// The controllers agreed on this.
    Agreed(Partition),
    Append {
        batch: Bytes,
        acks: Acks,
        reply: Reply<Written>,
    },
    Read {
        from: i64,
        bytes_max: usize,
        leader_epoch: Option<i32>,
        reply: Reply<Records>,
    },
    FollowerRead {
        follower: (BrokerId, BrokerEpoch),
        position: ReplicaPosition,
        reply: Reply<ReplicaRecords>,
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
        outcome: WishOutcome,
    },
    Look(Look),
    Stop,
}

/// The way to a copy. Cheap to clone; the copy ends with [`PartitionHandle::stop`].
#[derive(Debug, Clone)]
pub struct PartitionHandle {
    pub(super) asks: Sender<Ask>,
    pub(super) status: watch::Receiver<Status>,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ask")
    }
}

impl PartitionHandle {
    /// What the copy says of itself now.
    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Tells when that changes.
    pub fn changes(&self) -> watch::Receiver<Status> {
        let mut changes = self.status.clone();
        changes.mark_unchanged();
        changes
    }

    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).map_err(|_| Fault::Stopped)?;
        answer.await.unwrap_or(Err(Fault::Stopped))
    }

    /// Appends one batch and waits for whom `acks` says; with [`Acks::None`], until it was appended.
    ///
    /// # Errors
    /// It was not appended, or it is not known what becomes of it; see [`Fault`].
    pub async fn append(&self, batch: Bytes, acks: Acks) -> Result<Written, Fault> {
        self.ask(|reply| Ask::Append { batch, acks, reply }).await
    }

    /// As [`append`](Self::append), in two steps: the batch is in its place among all others once this returns, and the
    /// answer is awaited later.
    ///
    /// # Errors
    /// The copy is stopped.
    pub fn begin_append(
        &self,
        batch: Bytes,
        acks: Acks,
    ) -> Result<impl Future<Output = Result<Written, Fault>> + use<>, Fault> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Append { batch, acks, reply }).map_err(|_| Fault::Stopped)?;
        Ok(async move { answer.await.unwrap_or(Err(Fault::Stopped)) })
    }

    /// Whole batches for a consumer, from `from` on.
    ///
    /// # Errors
    /// This broker does not lead, or not in that epoch; or there is no such offset.
    pub async fn read(
        &self,
        from: i64,
        bytes_max: usize,
        leader_epoch: Option<i32>,
    ) -> Result<Records, Fault> {
        self.ask(|reply| Ask::Read { from, bytes_max, leader_epoch, reply }).await
    }

    /// Whole batches for a follower.
    ///
    /// # Errors
    /// The log failed or the copy is stopped.
    pub async fn read_for_follower(
        &self,
        follower: (BrokerId, BrokerEpoch),
        position: ReplicaPosition,
    ) -> Result<ReplicaRecords, Fault> {
        self.ask(|reply| Ask::FollowerRead { follower, position, reply }).await
    }

    /// Gives a follower what its leader sent, in answer to a question of `epoch` for `offset`; returns once it is
    /// durable, as far as the options say, or of no use.
    pub async fn replicate(&self, epoch: i32, offset: i64, records: ReplicaRecords) {
        let (reply, done) = oneshot::channel();
        if self.asks.send(Ask::Replicate { epoch, offset, records, reply }).is_ok() {
            // A copy that is stopped drops the question.
            done.await.ok();
        }
    }

    /// The first record of that time or later, for consumers.
    ///
    /// # Errors
    /// This broker does not lead, or does not know yet what is committed, or the log failed.
    pub async fn offset_for_time(&self, timestamp: i64) -> Result<Option<TimedOffset>, Fault> {
        self.look(move |log, _| log.offset_for_time(timestamp)).await?.map_err(Fault::from)
    }

    /// Where an epoch ended in this log.
    ///
    /// # Errors
    /// The copy is stopped.
    pub async fn epoch_end(&self, epoch: i32) -> Result<Option<EpochEnd>, Fault> {
        self.look(move |log, _| log.end_offset_for_epoch(epoch)).await
    }

    /// Looks at the log and the status, in order with everything else.
    ///
    /// # Errors
    /// The copy is stopped.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&PartitionLog, &Status) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        // Whoever gave up has dropped its receiver.
        let look: Look = Box::new(move |log, status| drop(reply.send(look(log, status))));
        self.asks.send(Ask::Look(look)).map_err(|_| Fault::Stopped)?;
        answer.await.map_err(|_| Fault::Stopped)
    }

    /// Tells the copy what the controllers agreed on.
    pub fn agreed(&self, partition: Partition) {
        // A copy that is stopped needs no role.
        self.asks.send(Ask::Agreed(partition)).ok();
    }

    /// Tells a leading copy what came of its wish.
    pub fn wish_came_to(&self, leader_epoch: i32, partition_epoch: u32, outcome: WishOutcome) {
        // A copy that is stopped wishes nothing.
        self.asks.send(Ask::WishCameTo { leader_epoch, partition_epoch, outcome }).ok();
    }

    /// Asks the copy to end.
    pub fn stop(&self) {
        // It has ended already.
        self.asks.send(Ask::Stop).ok();
    }
}
