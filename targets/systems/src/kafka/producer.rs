//! Appends records to partitions.
//!
//! A batch is sent once, unless the user asks for retries. A retry sends the same batch again, byte for byte: with
//! idempotence its sequence numbers let the broker see that it has it already; without, it may append it twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use duress_history::log::Offset;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use crate::kafka::cluster::{Cluster, share};
use crate::kafka::connection::as_definite;
use crate::kafka::partition::{Partition, text, topic_name};
use crate::kafka::refusal::{Asked, check, refusal};
use crate::outcome::{CauseKind, Reach, RequestError};

/// How long to wait before a batch is sent again; twice as long every time, up to the longest.
const RETRY_BACKOFF: Duration = Duration::from_millis(50);
/// The longest such wait.
const RETRY_BACKOFF_MAX: Duration = Duration::from_millis(400);

/// The work of a leader before it acknowledges a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Acks {
    /// Nothing: it does not answer at all.
    #[serde(rename = "0")]
    None,
    /// It has appended the batch to its own log.
    #[serde(rename = "1")]
    Leader,
    /// Every replica in sync has.
    #[serde(rename = "all")]
    All,
}

/// Whether batches bear sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idempotence {
    /// They do.
    On,
    /// They do not.
    Off,
}

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// Its key, if it has one.
    pub(super) key: Option<Bytes>,
    /// Its value; `None` deletes the key in a compacted topic.
    pub(super) value: Option<Bytes>,
}

/// A producer.
pub(super) struct Producer {
    acks: Acks,
    idempotence: Idempotence,
    retries: u32,
    identity: Option<Identity>,
    /// The next sequence number, by partition.
    sequences: BTreeMap<Partition, i32>,
}

/// The identity of an idempotent producer in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The producer's number.
    pub(super) id: i64,
    /// Its epoch.
    pub(super) epoch: i16,
}

/// Whether a batch is part of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// It is not.
    Nothing,
    /// It is.
    Transaction,
}

impl Producer {
    /// Returns a producer whose batches are acknowledged by `acks` and sent again up to `retries` times.
    pub(super) fn new(acks: Acks, idempotence: Idempotence, retries: u32) -> Self {
        // No broker answers a batch of acks=0, so that its producer could never know which sequence number is next.
        let idempotence = if acks == Acks::None { Idempotence::Off } else { idempotence };
        Self { acks, idempotence, retries, identity: None, sequences: BTreeMap::new() }
    }

    /// Appends `bodies`, in this order and side by side, to `partition`. Returns the offset of the first, where the
    /// broker tells.
    ///
    /// # Errors
    /// A [`RequestError`], definite if no attempt can have had an effect.
    pub(super) async fn append(
        &mut self,
        cluster: &mut Cluster,
        partition: &Partition,
        bodies: &[Body],
        deadline: Instant,
    ) -> Result<Option<Offset>, RequestError> {
        let identity = self.identity(cluster, deadline).await.map_err(as_definite)?;
        let sequence = self.sequences.get(partition).copied().unwrap_or(0);
        let batch = encode(bodies, identity.map(|identity| (identity, sequence)), Within::Nothing)?;
        let mut retries_left = self.retries;
        let mut reach = Reach::Nothing;
        let mut backoff = RETRY_BACKOFF;
        loop {
            let attempt_deadline = share(deadline, retries_left as usize + 1);
            let failure = match self.attempt(cluster, partition, &batch, attempt_deadline).await {
                Ok(offset) => {
                    let next = sequence_after(sequence, bodies.len());
                    self.sequences.insert(partition.clone(), next);
                    return Ok(offset);
                }
                Err(failure) => failure,
            };
            if failure.error.reach == Reach::Unknown {
                reach = Reach::Unknown;
            }
            cluster.doubt(partition);
            let again = Instant::now() + backoff;
            if retries_left == 0 || failure.again == Again::Useless || again >= deadline {
                if reach == Reach::Unknown || failure.again == Again::Useless {
                    // The next sequence number is unknown: the next batch begins with a new identity.
                    self.identity = None;
                    self.sequences.clear();
                }
                return Err(RequestError { reach, ..failure.error });
            }
            if failure.again == Again::MayHelp {
                retries_left -= 1;
            }
            backoff = (backoff * 2).min(RETRY_BACKOFF_MAX);
            sleep_until(again).await;
        }
    }

    /// Returns the identity that this producer's batches bear, requested once.
    async fn identity(
        &mut self,
        cluster: &mut Cluster,
        deadline: Instant,
    ) -> Result<Option<Identity>, RequestError> {
        if self.idempotence == Idempotence::Off || self.identity.is_some() {
            return Ok(self.identity);
        }
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id(NO_PRODUCER_ID.into())
            .with_producer_epoch(NO_PRODUCER_EPOCH);
        // Getting an identity twice does no harm, so that the request may be repeated while the cluster
        // recovers.
        let wait_until = share(deadline, 2);
        loop {
            let answer = cluster.call_any(&request, deadline).await?;
            let again = Instant::now() + RETRY_BACKOFF;
            if Again::of(answer.error_code) == Again::Useless || again >= wait_until {
                check(Asked::Other, answer.error_code, "getting a producer id")?;
                self.identity = Some(Identity { id: answer.producer_id.0, epoch: answer.producer_epoch });
                return Ok(self.identity);
            }
            sleep_until(again).await;
        }
    }

    /// Sends `batch` to the leader of `partition` once.
    async fn attempt(
        &self,
        cluster: &mut Cluster,
        partition: &Partition,
        batch: &Bytes,
        deadline: Instant,
    ) -> Result<Option<Offset>, Failure> {
        let mut leader = cluster.leader(partition, deadline).await?;
        if self.acks == Acks::None && cluster.was_closed(leader.address) {
            // A broker's only way to report that a batch of acks=0 was not for it.
            cluster.doubt(partition);
            leader = cluster.leader(partition, deadline).await?;
        }
        let request = self.request(partition, batch, deadline);
        if self.acks == Acks::None {
            let mut connection = cluster.take(leader.address, deadline).await?;
            connection.send(&request, deadline).await?;
            cluster.keep(leader.address, connection);
            return Ok(None);
        }
        produce(cluster, leader.address, &request, partition, deadline).await
    }

    fn request(&self, partition: &Partition, batch: &Bytes, deadline: Instant) -> ProduceRequest {
        request(partition, batch, deadline).with_acks(match self.acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        })
    }
}

/// Sends one request about one batch, which has an answer.
async fn produce(
    cluster: &mut Cluster,
    leader: SocketAddr,
    request: &ProduceRequest,
    partition: &Partition,
    deadline: Instant,
) -> Result<Option<Offset>, Failure> {
    let answer = cluster.call(leader, request, deadline).await?;
    let answer =
        answer.responses.iter().flat_map(|topic| &topic.partition_responses).next().ok_or_else(|| {
            RequestError::open(CauseKind::Unreadable, "a response to Produce about no partition")
        })?;
    match answer.error_code {
        0 => Ok(u64::try_from(answer.base_offset).ok().map(Offset)),
        // It was there already, and the broker does not remember where: only this producer has this number.
        code if code == ResponseError::DuplicateSequenceNumber.code() => Ok(None),
        code => Err(Failure {
            error: refusal(Asked::Produce, code, &format!("sending to {partition}")),
            again: Again::of(code),
        }),
    }
}

fn request(partition: &Partition, batch: &Bytes, deadline: Instant) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition.index).with_records(Some(batch.clone()));
    let topic =
        TopicProduceData::default().with_name(topic_name(&partition.topic)).with_partition_data(vec![data]);
    let left_ms = deadline.saturating_duration_since(Instant::now()).as_millis();
    ProduceRequest::default()
        .with_timeout_ms(i32::try_from(left_ms).unwrap_or(i32::MAX))
        .with_topic_data(vec![topic])
}

/// Appends a batch to `partition` within the transaction of `id`, once every replica in sync has it.
///
/// # Errors
/// A [`RequestError`].
pub(super) async fn append_in_transaction(
    cluster: &mut Cluster,
    id: &str,
    partition: &Partition,
    batch: &Bytes,
    deadline: Instant,
) -> Result<(), RequestError> {
    let leader = cluster.leader(partition, deadline).await?;
    let request =
        request(partition, batch, deadline).with_acks(-1).with_transactional_id(Some(text(id).into()));
    let appended = produce(cluster, leader.address, &request, partition, deadline).await;
    if appended.is_err() {
        cluster.doubt(partition);
    }
    appended.map(drop).map_err(|failure| failure.error)
}

/// An attempt that failed.
struct Failure {
    error: RequestError,
    again: Again,
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let again = if error.reach == Reach::Nothing { Again::NotSentYet } else { Again::MayHelp };
        Self { error, again }
    }
}

/// Whether sending the same batch again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// It was not sent at all: a client that may send it again may wait for a broker to send it to.
    NotSentYet,
    /// It may.
    MayHelp,
    /// It would be refused again.
    Useless,
}

impl Again {
    /// Returns whether `code` is retriable, as Kafka's documentation says.
    fn of(code: i16) -> Self {
        match ResponseError::try_from_code(code) {
            Some(error) if error.is_retriable() => Self::MayHelp,
            _ => Self::Useless,
        }
    }
}

/// Returns the batch of `bodies`, which bears an identity and a first sequence number if it is an idempotent
/// producer's.
pub(super) fn encode(
    bodies: &[Body],
    identity: Option<(Identity, i32)>,
    within: Within,
) -> Result<Bytes, RequestError> {
    let (identity, first_sequence) =
        identity.unwrap_or((Identity { id: NO_PRODUCER_ID, epoch: NO_PRODUCER_EPOCH }, NO_SEQUENCE));
    let records: Vec<Record> = (0..)
        .zip(bodies)
        .map(|(place, body): (i32, _)| {
            Record {
                transactional: within == Within::Transaction,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
                producer_id: identity.id,
                producer_epoch: identity.epoch,
                timestamp_type: TimestampType::Creation,
                offset: place.into(),
                // The codec makes one batch of records whose sequence numbers follow each other like their
                // offsets, and writes the first only.
                sequence: first_sequence.wrapping_add(place),
                timestamp: now_ms(),
                key: body.key.clone(),
                value: body.value.clone(),
                headers: Default::default(),
            }
        })
        .collect();
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut batch, &records, &options).map_err(|cause| {
        RequestError::definite(CauseKind::Rejected, format!("encoding a batch of records: {cause}"))
    })?;
    Ok(batch.freeze())
}

/// Returns the sequence number `count` after `sequence`: after the largest comes 0.
pub(super) fn sequence_after(sequence: i32, count: usize) -> i32 {
    let period = i64::from(i32::MAX) + 1;
    let count = i64::try_from(count).unwrap_or_default();
    i32::try_from((i64::from(sequence) + count) % period).unwrap_or_default()
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
