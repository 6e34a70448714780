//! What one broker holds of its own: its copies of partitions, whichever broker leads them.
//!
//! A fetch by the replica -2, which Kafka calls a debugging consumer, is answered from the copy of the broker that is asked. Two
//! copies that end at one offset, with records of one leader's epoch, must hold the same: a leader gives each offset to one
//! record, and a follower cuts off what its leader does not have before it takes more.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::records::RecordBatchDecoder;
use tokio::time::Instant;

use crate::kafka::connection::Connection;
use crate::kafka::fetch::{data_of, next_batch};
use crate::kafka::partition::{Partition, topic_name};
use crate::kafka::refusal::{Asked, check};
use crate::outcome::{CauseKind, RequestError};
use crate::place::Place;
use crate::replica::ReplicaCopy;
use crate::setup::TABLE_TOPIC;

/// The replica that a client says to be.
const DEBUGGER: i32 = -2;
/// How many bytes one answer may have.
const BYTES_MAX: i32 = 1 << 20;
/// Where a batch has the epoch of the leader that appended it.
const EPOCH: std::ops::Range<usize> = 12..16;

/// The copies of `partitions` that the broker at `to` holds; those that it does not hold are left out.
///
/// # Errors
/// A [`RequestError`], by `deadline`.
pub(crate) async fn copies(
    from: &dyn Place,
    to: SocketAddr,
    partitions: &[Partition],
    deadline: Instant,
) -> Result<Vec<ReplicaCopy>, RequestError> {
    let mut connection = Connection::open(from, to, deadline).await?;
    let mut copies = Vec::new();
    for partition in partitions {
        copies.extend(copy(&mut connection, partition, deadline).await?);
    }
    Ok(copies)
}

async fn copy(
    connection: &mut Connection,
    partition: &Partition,
    deadline: Instant,
) -> Result<Option<ReplicaCopy>, RequestError> {
    let (mut next, mut epoch, mut values) = (0, -1, BTreeMap::new());
    loop {
        let answer = connection.call(&request(partition, next), deadline).await?;
        let nothing = || {
            let text = format!("a response to Fetch without {partition}");
            RequestError::open(CauseKind::Unreadable, text)
        };
        let data = data_of(&answer, partition).ok_or_else(nothing)?;
        match ResponseError::try_from_code(data.error_code) {
            Some(ResponseError::NotLeaderOrFollower | ResponseError::UnknownTopicOrPartition) => {
                return Ok(None);
            }
            _ => check(Asked::Other, data.error_code, &format!("reading the copy of {partition}"))?,
        }
        let (end, before) = (u64::try_from(data.high_watermark).unwrap_or_default(), next);
        let mut rest = data.records.clone().unwrap_or_default();
        while let Some((mut batch, last_offset)) = next_batch(&mut rest) {
            epoch = i32::from_be_bytes(batch[EPOCH].try_into().unwrap_or_default());
            let decoded = RecordBatchDecoder::decode(&mut batch).map_err(|cause| {
                RequestError::open(CauseKind::Unreadable, format!("a batch of {partition}: {cause}"))
            })?;
            for record in decoded.records.into_iter().filter(|record| !record.control) {
                keep(&mut values, partition, record.offset, record.key.as_ref(), record.value.as_ref());
            }
            next = next.max(last_offset + 1);
        }
        // Compaction may have taken what was last of all: then there is nothing more to read below the end.
        if next >= end || next == before {
            let position = format!("{end} in epoch {epoch}");
            let object = Some(partition.to_string());
            return Ok(Some(ReplicaCopy { object, position, digest: String::new(), values }));
        }
    }
}

/// Keeps a record: by its offset, or, where each copy is compacted in its own time, as the latest of its key.
fn keep(
    values: &mut BTreeMap<String, String>,
    partition: &Partition,
    offset: i64,
    key: Option<&Bytes>,
    value: Option<&Bytes>,
) {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    match (&*partition.topic == TABLE_TOPIC, value) {
        (false, value) => {
            let (key, value) = (key.map(text), value.map_or_else(|| "null".to_owned(), text));
            let keyed = key.map_or_else(|| value.clone(), |key| format!("{key}: {value}"));
            values.insert(format!("offset {offset:012}"), keyed);
        }
        (true, Some(value)) => _ = values.insert(key.map(text).unwrap_or_default(), text(value)),
        (true, None) => _ = values.remove(&key.map(text).unwrap_or_default()),
    }
}

fn request(partition: &Partition, next: u64) -> FetchRequest {
    let wanted = FetchPartition::default()
        .with_partition(partition.index)
        .with_current_leader_epoch(-1)
        .with_fetch_offset(i64::try_from(next).unwrap_or(i64::MAX))
        .with_partition_max_bytes(BYTES_MAX);
    let topic = FetchTopic::default().with_topic(topic_name(&partition.topic)).with_partitions(vec![wanted]);
    FetchRequest::default()
        .with_replica_id(DEBUGGER.into())
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(BYTES_MAX)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}
