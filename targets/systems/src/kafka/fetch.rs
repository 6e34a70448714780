//! Reads partitions from given positions: one request to each leader, all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use duress_history::log::Offset;
use futures_util::future::join_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse, ListOffsetsRequest};
use kafka_protocol::records::RecordBatchDecoder;
use tokio::time::Instant;

use crate::kafka::cluster::{Cluster, Leader, share};
use crate::kafka::partition::{Partition, by_topic, topic_name};
use crate::kafka::refusal::{Asked, check, refusal};
use crate::outcome::{CauseKind, RequestError};

/// How long a broker may wait for records when it has none.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// How long to wait for a partition to have a leader: the others have something to read meanwhile.
const ELECTION_PATIENCE: Duration = Duration::from_millis(500);
/// How many bytes of one partition a broker may send, unless its first batch is longer.
const PARTITION_BYTES_MAX: i32 = 64 << 10;
/// How many bytes a broker may send.
const RESPONSE_BYTES_MAX: i32 = 1 << 20;
/// How many records of one partition are handed out at once; the rest is fetched again.
const PARTITION_RECORDS_MAX: usize = 500;
/// A batch's header, in bytes, up to and including its last offset.
const HEADER_BYTES: usize = 27;

/// The place of a batch's attributes, and two of them; the place of its producer's id.
const ATTRIBUTES: Range<usize> = 21..23;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const PRODUCER: Range<usize> = 43..51;

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    /// Its offset.
    pub(super) offset: Offset,
    /// Its key.
    pub(super) key: Option<Bytes>,
    /// Its value.
    pub(super) value: Option<Bytes>,
}

/// The records read from one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Portion {
    /// The records, in the order of their offsets.
    pub(super) records: Vec<Fetched>,
    /// The next position.
    pub(super) next: u64,
}

/// Which records of transactions are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    /// All of them.
    Uncommitted,
    /// Those of committed ones, up to the first whose transaction is open.
    Committed,
}

/// Reads each partition from its position on; partitions without records are not in the result.
///
/// A position before the beginning of a log, whose head was deleted, moves to the beginning. One past its end
/// stays: a client that has returned records that the log has lost must not silently return others in their
/// places, and a leader that only lags behind must not make a consumer begin again.
///
/// # Errors
/// The first [`RequestError`], when nothing was read and a request failed.
pub(super) async fn fetch(
    cluster: &mut Cluster,
    positions: &BTreeMap<Partition, u64>,
    isolation: Isolation,
    deadline: Instant,
) -> Result<BTreeMap<Partition, Portion>, RequestError> {
    let mut portions = BTreeMap::new();
    let mut failures = Vec::new();
    let mut by_leader: BTreeMap<SocketAddr, Vec<(&Partition, u64, Leader)>> = BTreeMap::new();
    let mut left = positions.len() + 1;
    for (partition, position) in positions {
        let patience = share(deadline, left).min(Instant::now() + ELECTION_PATIENCE);
        match cluster.leader(partition, patience).await {
            Ok(leader) => by_leader.entry(leader.address).or_default().push((partition, *position, leader)),
            Err(failure) => failures.push(failure),
        }
        left -= 1;
    }

    // A leader that does not answer must not keep what others have from being handed out in time.
    let patience = if by_leader.len() > 1 { share(deadline, 2) } else { deadline };
    let exchanges: Vec<_> = by_leader
        .into_iter()
        .map(|(address, wanted)| {
            let connection = cluster.take(address, patience);
            async move {
                let answer = async {
                    let mut connection = connection.await?;
                    let answer = connection.call(&request(&wanted, isolation, patience), patience).await?;
                    Ok((connection, answer))
                };
                (address, answer.await, wanted)
            }
        })
        .collect();
    let mut out_of_range = Vec::new();
    for (address, answer, wanted) in join_all(exchanges).await {
        let answer = match answer {
            Ok((connection, answer)) => {
                cluster.keep(address, connection);
                answer
            }
            Err(failure) => {
                wanted.iter().for_each(|(partition, ..)| cluster.doubt(partition));
                failures.push(failure);
                continue;
            }
        };
        for (partition, position, _) in wanted {
            let Some(data) = data_of(&answer, partition) else {
                let text = format!("a response to Fetch without {partition}");
                failures.push(RequestError::open(CauseKind::Unreadable, text));
                continue;
            };
            if data.error_code == ResponseError::OffsetOutOfRange.code() {
                out_of_range.push((partition, position, address));
                continue;
            }
            match portion(partition, position, data) {
                Ok(portion) if portion.next > position => {
                    portions.insert(partition.clone(), portion);
                }
                Ok(_) => {}
                Err(failure) => {
                    cluster.doubt(partition);
                    failures.push(failure);
                }
            }
        }
    }
    for (partition, position, leader) in out_of_range {
        match beginning(cluster, partition, leader, deadline).await {
            Ok(beginning) if position < beginning => {
                portions.insert(partition.clone(), Portion { records: Vec::new(), next: beginning });
            }
            Ok(_) => {
                cluster.doubt(partition);
                let code = ResponseError::OffsetOutOfRange.code();
                failures.push(refusal(Asked::Other, code, &format!("reading {partition} from {position}")));
            }
            Err(failure) => failures.push(failure),
        }
    }
    match failures.into_iter().next() {
        Some(failure) if portions.is_empty() => Err(failure),
        _ => Ok(portions),
    }
}

fn request(wanted: &[(&Partition, u64, Leader)], isolation: Isolation, deadline: Instant) -> FetchRequest {
    let items = wanted.iter().map(|(partition, position, leader)| (*partition, (*position, leader.epoch)));
    let topics = by_topic(items).into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(index, (position, epoch))| {
            FetchPartition::default()
                .with_partition(index)
                .with_current_leader_epoch(epoch)
                .with_fetch_offset(i64::try_from(position).unwrap_or(i64::MAX))
                .with_partition_max_bytes(PARTITION_BYTES_MAX)
        });
        FetchTopic::default().with_topic(topic_name(topic)).with_partitions(partitions.collect())
    });
    // The answer must have time to arrive.
    let left = deadline.saturating_duration_since(Instant::now()) / 2;
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(i32::try_from(WAIT_MAX.min(left).as_millis()).unwrap_or_default())
        .with_min_bytes(1)
        .with_max_bytes(RESPONSE_BYTES_MAX)
        .with_session_epoch(-1)
        .with_isolation_level(i8::from(isolation == Isolation::Committed))
        .with_topics(topics.collect())
}

pub(super) fn data_of<'a>(answer: &'a FetchResponse, partition: &Partition) -> Option<&'a PartitionData> {
    answer
        .responses
        .iter()
        .filter(|topic| topic.topic.0.as_str() == &*partition.topic)
        .flat_map(|topic| &topic.partitions)
        .find(|data| data.partition_index == partition.index)
}

/// Returns the records of `data` from `position` on.
fn portion(partition: &Partition, position: u64, data: &PartitionData) -> Result<Portion, RequestError> {
    check(Asked::Other, data.error_code, &format!("reading {partition} from {position}"))?;
    let mut portion = Portion { records: Vec::new(), next: position };
    let mut rest = data.records.clone().unwrap_or_default();
    let mut aborted = Aborted::new(data);
    while let Some((mut batch, last_offset)) = next_batch(&mut rest) {
        let counts = aborted.counts(&batch, last_offset);
        if last_offset < position {
            continue;
        }
        if !counts {
            portion.next = portion.next.max(last_offset + 1);
            continue;
        }
        let decoded = RecordBatchDecoder::decode(&mut batch).map_err(|cause| {
            RequestError::open(CauseKind::Unreadable, format!("a batch of {partition}: {cause}"))
        })?;
        for record in decoded.records {
            let Ok(offset) = u64::try_from(record.offset) else { continue };
            if record.control || offset < portion.next {
                continue;
            }
            if portion.records.len() == PARTITION_RECORDS_MAX {
                return Ok(portion);
            }
            portion.records.push(Fetched { offset: Offset(offset), key: record.key, value: record.value });
            portion.next = offset + 1;
        }
        // Compaction may have removed the last records of a batch: there is nothing to wait for at their
        // offsets.
        portion.next = portion.next.max(last_offset + 1);
    }
    Ok(portion)
}

/// The aborted transactions that records are part of, as a broker tells with them.
struct Aborted {
    /// Each transaction's producer and first offset, by offset; the next one last.
    begin: Vec<(i64, i64)>,
    /// The producers that are in the midst of one.
    within: BTreeSet<i64>,
}

impl Aborted {
    /// Returns those of an answer; none unless committed records were asked for.
    fn new(data: &PartitionData) -> Self {
        let told = data.aborted_transactions.iter().flatten();
        let mut begin: Vec<(i64, i64)> = told.map(|one| (one.first_offset, one.producer_id.0)).collect();
        begin.sort_unstable_by(|one, other| other.cmp(one));
        Self { begin, within: BTreeSet::new() }
    }

    /// Takes note of the next batch, and returns whether its records count.
    fn counts(&mut self, batch: &[u8], last_offset: u64) -> bool {
        while let Some((_, producer)) =
            self.begin.pop_if(|(first, _)| u64::try_from(*first).is_ok_and(|first| first <= last_offset))
        {
            self.within.insert(producer);
        }
        let field = |at: Range<usize>| batch.get(at).unwrap_or_default();
        let attributes = field(ATTRIBUTES).try_into().map_or(0, i16::from_be_bytes);
        let producer = field(PRODUCER).try_into().map_or(-1, i64::from_be_bytes);
        let is_part = attributes & TRANSACTIONAL != 0 && self.within.contains(&producer);
        if attributes & CONTROL != 0 {
            // A producer has one transaction at a time, and this is its marker.
            self.within.remove(&producer);
        }
        !is_part
    }
}

/// Splits off the next batch, with its last offset. Bytes after the last whole batch were cut off by the size
/// limit.
pub(super) fn next_batch(rest: &mut Bytes) -> Option<(Bytes, u64)> {
    let header = rest.get(..HEADER_BYTES)?;
    let base_offset = i64::from_be_bytes(header[..8].try_into().ok()?);
    let length = i32::from_be_bytes(header[8..12].try_into().ok()?);
    let last_delta = i32::from_be_bytes(header[23..27].try_into().ok()?);
    let whole = usize::try_from(length).ok()?.checked_add(12)?;
    if rest.len() < whole {
        return None;
    }
    let last_offset = u64::try_from(base_offset.checked_add(last_delta.into())?).ok()?;
    Some((rest.split_to(whole), last_offset))
}

/// The end of a log to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The offset of the first record there is.
    Beginning,
    /// The offset after the last record that can be read.
    End,
}

async fn beginning(
    cluster: &mut Cluster,
    partition: &Partition,
    leader: SocketAddr,
    deadline: Instant,
) -> Result<u64, RequestError> {
    let request = list_offsets(End::Beginning, &[(partition, -1)]);
    let answer = cluster.call(leader, &request, deadline).await?;
    let told = answer.topics.iter().flat_map(|topic| &topic.partitions).next().ok_or_else(nothing_told)?;
    check(Asked::Other, told.error_code, &format!("asking for the beginning of {partition}"))?;
    u64::try_from(told.offset).map_err(|_| nothing_told())
}

fn nothing_told() -> RequestError {
    RequestError::open(CauseKind::Unreadable, "a response to ListOffsets without an offset")
}

fn list_offsets(end: End, partitions: &[(&Partition, i32)]) -> ListOffsetsRequest {
    let items = partitions.iter().map(|(partition, epoch)| (*partition, *epoch));
    let topics = by_topic(items).into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(index, epoch)| {
            ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_current_leader_epoch(epoch)
                .with_timestamp(match end {
                    End::Beginning => -2,
                    End::End => -1,
                })
        });
        ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(partitions.collect())
    });
    ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(topics.collect())
}

/// Returns the end of each partition: the offset after its last readable record.
///
/// # Errors
/// The first [`RequestError`]: the result has all ends or none.
pub(super) async fn ends(
    cluster: &mut Cluster,
    partitions: &[Partition],
    deadline: Instant,
) -> Result<BTreeMap<Partition, u64>, RequestError> {
    let mut by_leader: BTreeMap<SocketAddr, Vec<(&Partition, i32)>> = BTreeMap::new();
    for partition in partitions {
        let leader = cluster.leader(partition, deadline).await?;
        by_leader.entry(leader.address).or_default().push((partition, leader.epoch));
    }
    let mut ends = BTreeMap::new();
    for (leader, wanted) in by_leader {
        let doubt = |cluster: &mut Cluster| wanted.iter().for_each(|(partition, _)| cluster.doubt(partition));
        let answer = cluster.call(leader, &list_offsets(End::End, &wanted), deadline).await;
        let answer = answer.inspect_err(|_| doubt(cluster))?;
        for (partition, _) in &wanted {
            let told = answer
                .topics
                .iter()
                .filter(|topic| topic.name.0.as_str() == &*partition.topic)
                .flat_map(|topic| &topic.partitions)
                .find(|told| told.partition_index == partition.index)
                .ok_or_else(nothing_told)?;
            check(Asked::Other, told.error_code, &format!("asking for the end of {partition}"))
                .inspect_err(|_| doubt(cluster))?;
            let end = u64::try_from(told.offset).map_err(|_| nothing_told())?;
            ends.insert((*partition).clone(), end);
        }
    }
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use bytes::BytesMut;
    use kafka_protocol::messages::fetch_response::AbortedTransaction;
    use kafka_protocol::records::{
        Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
    };

    use super::*;

    /// A batch of one record of a transaction of `producer`: with a value, or a marker.
    fn batch(producer: i64, offset: i64, value: Option<&'static str>) -> Result<BytesMut, Box<dyn Error>> {
        let record = Record {
            transactional: true,
            control: value.is_none(),
            delete_horizon: false,
            partition_leader_epoch: 0,
            producer_id: producer,
            producer_epoch: 0,
            timestamp_type: TimestampType::Creation,
            offset,
            sequence: 0,
            timestamp: 0,
            key: None,
            value: Some(Bytes::from_static(value.unwrap_or("marker").as_bytes())),
            headers: Default::default(),
        };
        let mut encoded = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut encoded, &[record], &options)?;
        Ok(encoded)
    }

    #[test]
    fn records_of_aborted_transactions_do_not_count_and_later_ones_of_their_producer_do()
    -> Result<(), Box<dyn Error>> {
        let mut log = BytesMut::new();
        let batches = [
            (1, Some("aborted")),
            (2, Some("committed")),
            (1, Some("aborted too")),
            (1, None),
            (1, Some("committed later")),
            (2, None),
            (1, None),
        ];
        for (offset, (producer, value)) in (0..).zip(batches) {
            log.unsplit(batch(producer, offset, value)?);
        }
        let aborted = AbortedTransaction::default().with_producer_id(1.into()).with_first_offset(0);
        let data = PartitionData::default()
            .with_records(Some(log.freeze()))
            .with_aborted_transactions(Some(vec![aborted]));
        let portion = portion(&Partition { topic: "t".into(), index: 0 }, 0, &data)
            .map_err(|error| format!("{error:?}"))?;
        let read: Vec<(u64, &[u8])> = portion
            .records
            .iter()
            .map(|record| (record.offset.0, record.value.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(read, [(1, &b"committed"[..]), (4, b"committed later")]);
        assert_eq!(portion.next, 7);
        Ok(())
    }
}
