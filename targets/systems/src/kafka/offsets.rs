//! A group's committed offsets: committing them, and asking for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use kafka_protocol::messages::find_coordinator_response::FindCoordinatorResponse;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest};
use tokio::time::Instant;

use crate::kafka::cluster::Cluster;
use crate::kafka::metadata::advertised;
use crate::kafka::partition::{Partition, by_topic, text, topic_name};
use crate::kafka::refusal::{Asked, check};
use crate::outcome::{CauseKind, RequestError};

/// The identity of a group's member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// The group.
    pub(super) group: &'static str,
    /// The name that the coordinator gave the member; empty before it did.
    pub(super) id: String,
    /// The generation of the group that it belongs to.
    pub(super) generation: i32,
}

/// Whether committed offsets are wanted that an open transaction may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stability {
    /// No: the request is refused, and may be repeated. OffsetFetch says so from version 7 on.
    Required,
    /// Yes.
    Any,
}

/// The kind of a coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coordinates {
    /// A group, by its name.
    Group,
    /// A transactional id.
    Transactions,
}

/// Asks where the coordinator of a group or of a transactional id is.
///
/// # Errors
/// A [`RequestError`].
pub(super) async fn find_coordinator(
    cluster: &mut Cluster,
    kind: Coordinates,
    name: &str,
    deadline: Instant,
) -> Result<SocketAddr, RequestError> {
    let key_type = match kind {
        Coordinates::Group => 0,
        Coordinates::Transactions => 1,
    };
    let request = FindCoordinatorRequest::default().with_key(text(name)).with_key_type(key_type);
    let answer: FindCoordinatorResponse = cluster.call_any(&request, deadline).await?;
    check(Asked::Other, answer.error_code, "finding the coordinator")?;
    advertised(answer.host.as_str(), answer.port).ok_or_else(|| {
        let text = format!("the coordinator is reported at {}:{}", answer.host.as_str(), answer.port);
        RequestError::open(CauseKind::Unreadable, text)
    })
}

/// Commits `offsets` as `member`.
///
/// # Errors
/// A [`RequestError`], and the error code where the coordinator gave one: of the first partition that was refused. It is
/// open when another partition's offset may have been committed.
pub(super) async fn commit(
    cluster: &mut Cluster,
    coordinator: SocketAddr,
    member: &Member,
    offsets: &BTreeMap<Partition, u64>,
    deadline: Instant,
) -> Result<(), Refused> {
    let topics = by_topic(offsets.iter().map(|(partition, offset)| (partition, *offset)));
    let topics = topics.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(index, offset)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(i64::try_from(offset).unwrap_or(i64::MAX))
        });
        OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(partitions.collect())
    });
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(member.group)))
        .with_member_id(text(&member.id))
        .with_generation_id_or_member_epoch(member.generation)
        .with_topics(topics.collect());
    let answer = cluster.call(coordinator, &request, deadline).await?;
    let codes: Vec<i16> = answer
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|partition| partition.error_code)
        .collect();
    if codes.len() < offsets.len() {
        let text = "a response to OffsetCommit without some of the partitions";
        return Err(RequestError::open(CauseKind::Unreadable, text).into());
    }
    let Some(code) = codes.iter().copied().find(|code| *code != 0) else { return Ok(()) };
    let mut error = check(Asked::OffsetCommit, code, "committing offsets").err();
    if codes.contains(&0)
        && let Some(error) = &mut error
    {
        error.reach = crate::outcome::Reach::Unknown;
    }
    error.map_or(Ok(()), |error| Err(Refused { error, code: Some(code) }))
}

/// Asks for the committed offsets of `group`: of `partitions`, or of all that have one.
///
/// # Errors
/// A [`RequestError`], and the error code where the coordinator gave one.
pub(super) async fn committed(
    cluster: &mut Cluster,
    coordinator: SocketAddr,
    group: &str,
    partitions: Option<&[Partition]>,
    stability: Stability,
    deadline: Instant,
) -> Result<BTreeMap<Partition, u64>, Refused> {
    let topics = partitions.map(|partitions| {
        let topics = by_topic(partitions.iter().map(|partition| (partition, ())));
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetFetchRequestTopic::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(partitions.into_iter().map(|(index, ())| index).collect())
        });
        topics.collect()
    });
    let request = OffsetFetchRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_require_stable(stability == Stability::Required)
        .with_topics(topics);
    let answer = cluster.call(coordinator, &request, deadline).await?;
    let about = "asking for committed offsets";
    let refused = |code| move |error| Refused { error, code: Some(code) };
    check(Asked::Other, answer.error_code, about).map_err(refused(answer.error_code))?;
    let mut committed = BTreeMap::new();
    for topic in &answer.topics {
        for told in &topic.partitions {
            check(Asked::Other, told.error_code, about).map_err(refused(told.error_code))?;
            if let Ok(offset) = u64::try_from(told.committed_offset) {
                let partition =
                    Partition { topic: topic.name.0.as_str().into(), index: told.partition_index };
                committed.insert(partition, offset);
            }
        }
    }
    Ok(committed)
}

/// A request that the coordinator refused, or that did not reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The cause.
    pub(super) error: RequestError,
    /// The coordinator's error code, if it answered.
    pub(super) code: Option<i16>,
}

impl From<RequestError> for Refused {
    fn from(error: RequestError) -> Self {
        Self { error, code: None }
    }
}
