//! Offsets of a log: its beginning and end, by time, and by epoch.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    TopicName,
};

use super::fetch::isolation;
use super::produce::not_here;
use crate::broker::Broker;
use crate::replica::{Isolation, PartitionHandle, Role, Status};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NONE: i64 = -1;
/// The first version that has leader epochs.
const TELLS_EPOCHS: i16 = 4;
/// The first version that has the error "offset not available".
const KNOWS_NOT_AVAILABLE: i16 = 5;

/// Answers ListOffsets.
pub async fn list(broker: &Broker, request: ListOffsetsRequest, version: i16) -> ListOffsetsResponse {
    let isolation = isolation(request.isolation_level);
    let mut topics = Vec::new();
    for topic in request.topics {
        let mut partitions = Vec::new();
        for asked in topic.partitions {
            let answer = ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            partitions.push(match look_up(broker, &topic.name, &asked, isolation, version).await {
                Ok(found) => answer
                    .with_offset(found.offset)
                    .with_timestamp(found.timestamp)
                    .with_leader_epoch(if version >= TELLS_EPOCHS { found.leader_epoch } else { -1 }),
                Err(error) => answer.with_error_code(error.code()).with_offset(NONE).with_timestamp(NONE),
            });
        }
        topics.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    ListOffsetsResponse::default().with_topics(topics)
}

struct Found {
    offset: i64,
    timestamp: i64,
    leader_epoch: i32,
}

/// Returns the copy of a partition, if this broker leads it, in the client's epoch if the client gives one.
fn leading(
    broker: &Broker,
    topic: &TopicName,
    partition: i32,
    known_epoch: i32,
) -> Result<(PartitionHandle, Status, i32), ResponseError> {
    let copy = broker.replicas().by_name(topic, partition).map_err(not_here)?;
    let status = copy.status();
    let Role::Leader { epoch, .. } = status.role else { return Err(ResponseError::NotLeaderOrFollower) };
    match known_epoch {
        known if known >= 0 && known < epoch => Err(ResponseError::FencedLeaderEpoch),
        known if known > epoch => Err(ResponseError::UnknownLeaderEpoch),
        _ => Ok((copy, status, epoch)),
    }
}

async fn look_up(
    broker: &Broker,
    topic: &TopicName,
    asked: &ListOffsetsPartition,
    isolation: Isolation,
    version: i16,
) -> Result<Found, ResponseError> {
    let (copy, status, leader_epoch) =
        leading(broker, topic, asked.partition_index, asked.current_leader_epoch)?;
    if asked.timestamp == EARLIEST {
        return Ok(Found { offset: status.log_start, timestamp: NONE, leader_epoch });
    }
    // A new leader's high watermark may be behind its predecessor's until it has heard from all followers.
    if let Role::Leader { began_at, .. } = status.role
        && status.high_watermark < began_at
    {
        let knows = version >= KNOWS_NOT_AVAILABLE;
        return Err(if knows {
            ResponseError::OffsetNotAvailable
        } else {
            ResponseError::LeaderNotAvailable
        });
    }
    let end = match isolation {
        Isolation::Uncommitted => status.high_watermark,
        Isolation::Committed => status.last_stable,
    };
    if asked.timestamp == LATEST {
        return Ok(Found { offset: end, timestamp: NONE, leader_epoch });
    }
    if asked.timestamp < 0 {
        return Err(ResponseError::UnsupportedVersion);
    }
    let found = copy.offset_for_time(asked.timestamp).await.map_err(|fault| fault.code())?;
    Ok(match found.filter(|found| found.offset < end) {
        Some(found) => Found { offset: found.offset, timestamp: found.timestamp, leader_epoch },
        None => Found { offset: NONE, timestamp: NONE, leader_epoch: -1 },
    })
}

/// Answers OffsetForLeaderEpoch.
pub async fn epoch_ends(
    broker: &Broker,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut topics = Vec::new();
    for topic in request.topics {
        let mut partitions = Vec::new();
        for asked in topic.partitions {
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            partitions.push(match epoch_end(broker, &topic.topic, &asked).await {
                Ok((epoch, end)) => answer.with_leader_epoch(epoch).with_end_offset(end),
                Err(error) => {
                    answer.with_error_code(error.code()).with_leader_epoch(-1).with_end_offset(NONE)
                }
            });
        }
        topics
            .push(OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions));
    }
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

async fn epoch_end(
    broker: &Broker,
    topic: &TopicName,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ResponseError> {
    let (copy, ..) = leading(broker, topic, asked.partition, asked.current_leader_epoch)?;
    let end = copy.epoch_end(asked.leader_epoch).await.map_err(|fault| fault.code())?;
    Ok(end.map_or((-1, NONE), |end| (end.epoch, end.end_offset)))
}
