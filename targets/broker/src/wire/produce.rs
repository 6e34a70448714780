//! Records from producers.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::timeout;

use super::names::is_internal;
use crate::broker::Broker;
use crate::replica::manager::FindError;
use crate::replica::{Acks, PartitionError, Written};

const WAIT_MAX: Duration = Duration::from_secs(60);
const NO_OFFSET: i64 = -1;

/// Returns Kafka's code for a partition without a copy on this broker.
pub fn not_here(error: FindError) -> ResponseError {
    match error {
        FindError::Unknown => ResponseError::UnknownTopicOrPartition,
        FindError::Elsewhere => ResponseError::NotLeaderOrFollower,
    }
}

/// Answers Produce; with `acks=0` returns no answer.
pub async fn produce(broker: &Broker, request: ProduceRequest) -> Option<ProduceResponse> {
    let acks = match request.acks {
        0 => Ok(Acks::None),
        1 => Ok(Acks::Leader),
        -1 => Ok(Acks::All),
        _ => Err(ResponseError::InvalidRequiredAcks),
    };
    let wait = Duration::from_millis(request.timeout_ms.max(0) as u64).min(WAIT_MAX);
    let topics = request.topic_data.into_iter().map(async |topic| {
        let name = topic.name;
        let partitions = topic.partition_data.into_iter().map(|data| one(broker, &name, data, acks, wait));
        let answers = join_all(partitions).await;
        TopicProduceResponse::default().with_name(name.clone()).with_partition_responses(answers)
    });
    // Every batch is handed to its partition in the order of the request before anything is waited for.
    let answers = join_all(topics).await;
    (request.acks != 0).then(|| ProduceResponse::default().with_responses(answers))
}

async fn one(
    broker: &Broker,
    topic: &TopicName,
    data: PartitionProduceData,
    acks: Result<Acks, ResponseError>,
    wait: Duration,
) -> PartitionProduceResponse {
    let index = data.index;
    let answer = PartitionProduceResponse::default()
        .with_index(index)
        .with_base_offset(NO_OFFSET)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(NO_OFFSET);
    match append(broker, topic, index, data.records, acks, wait).await {
        Ok(written) => answer.with_base_offset(written.base_offset).with_log_start_offset(written.log_start),
        Err((error, message)) => {
            tracing::debug!(topic = %topic.as_str(), partition = index, ?error, message, "not produced");
            answer.with_error_code(error.code()).with_error_message(message.map(StrBytes::from_string))
        }
    }
}

async fn append(
    broker: &Broker,
    topic: &TopicName,
    partition: i32,
    records: Option<Bytes>,
    acks: Result<Acks, ResponseError>,
    wait: Duration,
) -> Result<Written, (ResponseError, Option<String>)> {
    let acks = acks.map_err(|error| (error, None))?;
    if is_internal(topic) {
        return Err((ResponseError::InvalidTopicException, None));
    }
    let copy = broker.replicas().by_name(topic, partition).map_err(|error| (not_here(error), None))?;
    let records = records.filter(|records| !records.is_empty());
    let records = records.ok_or((ResponseError::InvalidRecord, Some("no records".to_owned())))?;
    let appended = timeout(wait, copy.append(records, acks)).await.unwrap_or(Err(PartitionError::TimedOut));
    appended.map_err(|fault| (fault.code(), Some(fault.to_string())))
}
