//! The committed offsets of groups.

use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::groups::call;
use super::metadata::topic_name;
use crate::broker::Broker;
use crate::bug::Bug;
use crate::coordination::Led;
use crate::group::{Committed, Coordinator, GroupError, Reply, Stability, TopicPartition, partition_of};

const NO_OFFSET: i64 = -1;
/// The first version of OffsetFetch that has an error for the whole answer.
const FETCH_HAS_ERROR: i16 = 2;

/// Answers OffsetCommit.
pub async fn commit(broker: &Broker, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let mut offsets = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let at = TopicPartition { topic: topic.name.to_string(), partition: partition.partition_index };
            let committed = Committed {
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition.committed_metadata.as_ref().map(ToString::to_string),
            };
            offsets.push((at, committed));
        }
    }
    let (group, member) = (request.group_id.to_string(), request.member_id.to_string());
    let generation = request.generation_id_or_member_epoch;
    let commit = move |groups: &mut Coordinator, token, now| {
        groups.commit(&group, &member, generation, offsets, token, now)
    };
    let error = outcome(call(broker, commit).await);
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error)
        });
        OffsetCommitResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// Returns the error code of a commit.
fn outcome(reply: Result<Reply, GroupError>) -> i16 {
    match reply {
        Ok(Reply::Commit(Ok(()))) => 0,
        Ok(Reply::Commit(Err(error))) | Err(error) => error.code().code(),
        Ok(_) => kafka_protocol::ResponseError::UnknownServerError.code(),
    }
}

/// Answers TxnOffsetCommit.
pub async fn commit_in_transaction(
    broker: &Broker,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let mut offsets = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let at = TopicPartition { topic: topic.name.to_string(), partition: partition.partition_index };
            let committed = Committed {
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition.committed_metadata.as_ref().map(ToString::to_string),
            };
            offsets.push((at, committed));
        }
    }
    let (group, member) = (request.group_id.to_string(), request.member_id.to_string());
    let (generation, producer) = (request.generation_id, (request.producer_id.0, request.producer_epoch));
    let commit = move |groups: &mut Coordinator, token, now| {
        groups.commit_in_transaction(&group, &member, generation, producer, offsets, token, now)
    };
    let error = outcome(call(broker, commit).await);
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error)
        });
        TxnOffsetCommitResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

/// Answers OffsetFetch.
pub async fn fetch(broker: &Broker, request: OffsetFetchRequest, version: i16) -> OffsetFetchResponse {
    let asked = request.topics.map(|topics| {
        let of = |name: &TopicName, partition: &i32| TopicPartition {
            topic: name.to_string(),
            partition: *partition,
        };
        topics
            .iter()
            .flat_map(|topic| topic.partition_indexes.iter().map(|partition| of(&topic.name, partition)))
            .collect::<Vec<_>>()
    });
    let group = request.group_id.to_string();
    let stability = if request.require_stable { Stability::Required } else { Stability::Any };
    match known(broker, group, asked.clone(), stability).await {
        Ok(offsets) => {
            let topics = by_topic(offsets.into_iter().map(|(at, committed)| {
                let answer = OffsetFetchResponsePartition::default().with_partition_index(at.partition);
                let answer = match committed {
                    Some(committed) => answer
                        .with_committed_offset(committed.offset)
                        .with_committed_leader_epoch(committed.leader_epoch)
                        .with_metadata(Some(StrBytes::from_string(committed.metadata.unwrap_or_default()))),
                    None => answer
                        .with_committed_offset(NO_OFFSET)
                        .with_committed_leader_epoch(-1)
                        .with_metadata(Some(StrBytes::new())),
                };
                (at.topic, answer)
            }));
            OffsetFetchResponse::default().with_topics(topics)
        }
        Err(error) => {
            let code = error.code().code();
            let topics = by_topic(asked.into_iter().flatten().map(|at| {
                let answer = OffsetFetchResponsePartition::default()
                    .with_partition_index(at.partition)
                    .with_committed_offset(NO_OFFSET)
                    .with_metadata(Some(StrBytes::new()))
                    .with_error_code(code);
                (at.topic, answer)
            }));
            let answer = OffsetFetchResponse::default().with_topics(topics);
            let is_of_all = version >= FETCH_HAS_ERROR && error != GroupError::Unstable;
            if is_of_all { answer.with_error_code(code) } else { answer }
        }
    }
}

/// Returns the coordinator's offsets, if it is certain that it is still the coordinator; with the bug
/// `stale-coordinator`, in any case.
async fn known(
    broker: &Broker,
    group: String,
    asked: Option<Vec<TopicPartition>>,
    stability: Stability,
) -> Result<Vec<(TopicPartition, Option<Committed>)>, GroupError> {
    let number = partition_of(&group, i32::from(broker.config().options.offsets_partitions));
    let look = move |groups: &mut Coordinator, led: &Led| {
        (groups.fetch(&group, asked.as_deref(), stability), led.get(&number).copied())
    };
    let (offsets, led) = broker.groups().look(look).await?;
    let offsets = offsets?;
    if broker.certainly_leads(number, led) || broker.config().has(Bug::StaleCoordinator) {
        Ok(offsets)
    } else {
        Err(GroupError::NotCoordinator)
    }
}

/// Puts partitions of the same topic together, in order of first mention.
fn by_topic(
    partitions: impl Iterator<Item = (String, OffsetFetchResponsePartition)>,
) -> Vec<OffsetFetchResponseTopic> {
    let mut topics: Vec<OffsetFetchResponseTopic> = Vec::new();
    for (name, partition) in partitions {
        match topics.iter_mut().find(|topic| topic.name.as_str() == name) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(
                OffsetFetchResponseTopic::default()
                    .with_name(topic_name(&name))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    topics
}
