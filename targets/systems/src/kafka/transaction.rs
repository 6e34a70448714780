//! A transactional producer: what it writes, and the offsets that it commits, count together or not at all.
//!
//! No request is repeated but those that are refused without effect because an earlier transaction is still ending. A
//! producer whose transaction failed has to begin anew, with a new epoch: that aborts what it left open.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, GroupId, InitProducerIdRequest,
    TransactionalId, TxnOffsetCommitRequest,
};
use tokio::time::{Instant, sleep_until};

use crate::kafka::cluster::Cluster;
use crate::kafka::group::Membership;
use crate::kafka::offsets::{self, Coordinates, Refused};
use crate::kafka::partition::{Partition, by_topic, text, topic_name};
use crate::kafka::producer::{Body, Identity, Within, append_in_transaction, encode, sequence_after};
use crate::kafka::refusal::{Asked, check};
use crate::outcome::{CauseKind, RequestError};

/// After how long the coordinator aborts a transaction that its producer does not end.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before a request that was refused for now is repeated.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it counts.
    Commit,
    /// None of it counts.
    Abort,
}

/// A transactional producer.
pub(super) struct Transactional {
    id: String,
    coordinator: Option<SocketAddr>,
    identity: Option<Identity>,
    /// The next sequence number, by partition.
    sequences: BTreeMap<Partition, i32>,
}

/// Whether a refused request may be repeated: it had no effect, and will not be refused for long.
fn may_repeat(code: i16) -> bool {
    matches!(
        ResponseError::try_from_code(code),
        Some(ResponseError::ConcurrentTransactions | ResponseError::CoordinatorLoadInProgress)
    )
}

impl Transactional {
    /// Returns a producer with the transactional id `id` that has not begun yet.
    pub(super) fn new(id: String) -> Self {
        Self { id, coordinator: None, identity: None, sequences: BTreeMap::new() }
    }

    /// The producer begins anew before its next transaction.
    pub(super) fn reset(&mut self) {
        self.identity = None;
        self.sequences.clear();
    }

    fn id(&self) -> TransactionalId {
        TransactionalId(text(&self.id))
    }

    async fn coordinator(
        &mut self,
        cluster: &mut Cluster,
        deadline: Instant,
    ) -> Result<SocketAddr, RequestError> {
        if let Some(coordinator) = self.coordinator {
            return Ok(coordinator);
        }
        let found = offsets::find_coordinator(cluster, Coordinates::Transactions, &self.id, deadline).await?;
        Ok(*self.coordinator.insert(found))
    }

    /// Takes note of an answer of the coordinator, and returns its meaning.
    fn heed(&mut self, asked: Asked, code: i16, about: &str) -> Result<(), RequestError> {
        if let Some(ResponseError::NotCoordinator | ResponseError::CoordinatorNotAvailable) =
            ResponseError::try_from_code(code)
        {
            self.coordinator = None;
        }
        check(asked, code, about)
    }

    /// Begins, unless it has: the transaction that an earlier instance left open is aborted, and that instance is fenced.
    ///
    /// # Errors
    /// A [`RequestError`].
    pub(super) async fn begin(
        &mut self,
        cluster: &mut Cluster,
        deadline: Instant,
    ) -> Result<Identity, RequestError> {
        if let Some(identity) = self.identity {
            return Ok(identity);
        }
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(self.id()))
            .with_transaction_timeout_ms(i32::try_from(TIMEOUT.as_millis()).unwrap_or(i32::MAX))
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        loop {
            let coordinator = self.coordinator(cluster, deadline).await?;
            let answer = cluster.call(coordinator, &request, deadline).await.inspect_err(|_| {
                self.coordinator = None;
            })?;
            let again = Instant::now() + AGAIN_AFTER;
            if may_repeat(answer.error_code) && again < deadline {
                sleep_until(again).await;
                continue;
            }
            self.heed(Asked::Other, answer.error_code, "beginning under the transactional id")?;
            let identity = Identity { id: answer.producer_id.0, epoch: answer.producer_epoch };
            self.sequences.clear();
            return Ok(*self.identity.insert(identity));
        }
    }

    /// Appends the records of each partition within a transaction, which begins with them.
    ///
    /// # Errors
    /// A [`RequestError`].
    pub(super) async fn append(
        &mut self,
        cluster: &mut Cluster,
        records: &BTreeMap<Partition, Vec<Body>>,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let identity = self.begin(cluster, deadline).await?;
        self.add(cluster, identity, records.keys().collect(), deadline).await?;
        for (partition, bodies) in records {
            let sequence = self.sequences.get(partition).copied().unwrap_or(0);
            let batch = encode(bodies, Some((identity, sequence)), Within::Transaction)?;
            append_in_transaction(cluster, &self.id, partition, &batch, deadline).await?;
            self.sequences.insert(partition.clone(), sequence_after(sequence, bodies.len()));
        }
        Ok(())
    }

    async fn add(
        &mut self,
        cluster: &mut Cluster,
        identity: Identity,
        partitions: BTreeSet<&Partition>,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let topics = by_topic(partitions.into_iter().map(|partition| (partition, ())));
        let topics = topics.into_iter().map(|(topic, partitions)| {
            AddPartitionsToTxnTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(partitions.into_iter().map(|(index, ())| index).collect())
        });
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.id())
            .with_v3_and_below_producer_id(identity.id.into())
            .with_v3_and_below_producer_epoch(identity.epoch)
            .with_v3_and_below_topics(topics.collect());
        loop {
            let coordinator = self.coordinator(cluster, deadline).await?;
            let answer = cluster.call(coordinator, &request, deadline).await.inspect_err(|_| {
                self.coordinator = None;
            })?;
            let codes = answer
                .results_by_topic_v3_and_below
                .iter()
                .flat_map(|topic| &topic.results_by_partition)
                .map(|partition| partition.partition_error_code);
            let Some(code) = codes.max_by_key(|code| *code != 0) else {
                let text = "a response to AddPartitionsToTxn about no partition";
                return Err(RequestError::open(CauseKind::Unreadable, text));
            };
            let again = Instant::now() + AGAIN_AFTER;
            if may_repeat(code) && again < deadline {
                sleep_until(again).await;
                continue;
            }
            return self.heed(Asked::Other, code, "adding partitions to the transaction");
        }
    }

    /// Has the transaction commit `offsets` as a member of its group.
    ///
    /// # Errors
    /// A [`RequestError`].
    pub(super) async fn commit_offsets(
        &mut self,
        cluster: &mut Cluster,
        membership: &mut Membership,
        offsets: &BTreeMap<Partition, u64>,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let identity = self.begin(cluster, deadline).await?;
        let group = GroupId(text(membership.member().group));
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(self.id())
            .with_producer_id(identity.id.into())
            .with_producer_epoch(identity.epoch)
            .with_group_id(group.clone());
        let coordinator = self.coordinator(cluster, deadline).await?;
        let answer = cluster.call(coordinator, &request, deadline).await.inspect_err(|_| {
            self.coordinator = None;
        })?;
        self.heed(Asked::Other, answer.error_code, "adding offsets to the transaction")?;

        let topics = by_topic(offsets.iter().map(|(partition, offset)| (partition, *offset)));
        let topics = topics.into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|(index, offset)| {
                TxnOffsetCommitRequestPartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(i64::try_from(offset).unwrap_or(i64::MAX))
            });
            TxnOffsetCommitRequestTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(partitions.collect())
        });
        let member = membership.member();
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.id())
            .with_group_id(group)
            .with_producer_id(identity.id.into())
            .with_producer_epoch(identity.epoch)
            .with_generation_id(member.generation)
            .with_member_id(text(&member.id))
            .with_topics(topics.collect());
        let coordinator = membership.coordinator(cluster, deadline).await?;
        let answer = match cluster.call(coordinator, &request, deadline).await {
            Ok(answer) => answer,
            Err(error) => return Err(membership.heed_refusal(error.into())),
        };
        let codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|told| told.error_code);
        let Some(code) = codes.max_by_key(|code| *code != 0) else {
            let text = "a response to TxnOffsetCommit about no partition";
            return Err(RequestError::open(CauseKind::Unreadable, text));
        };
        check(Asked::Other, code, "committing offsets in the transaction")
            .map_err(|error| membership.heed_refusal(Refused { error, code: Some(code) }))
    }

    /// Ends the transaction.
    ///
    /// # Errors
    /// A [`RequestError`], definite if the request certainly decided nothing.
    pub(super) async fn end(
        &mut self,
        cluster: &mut Cluster,
        outcome: Outcome,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let identity = self.begin(cluster, deadline).await?;
        let request = EndTxnRequest::default()
            .with_transactional_id(self.id())
            .with_producer_id(identity.id.into())
            .with_producer_epoch(identity.epoch)
            .with_committed(outcome == Outcome::Commit);
        let coordinator =
            self.coordinator(cluster, deadline).await.map_err(super::connection::as_definite)?;
        let answer = cluster.call(coordinator, &request, deadline).await.inspect_err(|_| {
            self.coordinator = None;
        })?;
        self.heed(Asked::EndTransaction, answer.error_code, "ending the transaction")
    }
}
