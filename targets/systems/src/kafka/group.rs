//! Membership of a consumer group: the group's coordinator decides who its members are, and its first member,
//! the leader, assigns the partitions.
//!
//! No task runs beside the client: the member sends its heartbeats from within the client's operations. A
//! client that is not used for longer than the session counts as dead, as a consumer that does not poll
//! would.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::time::Instant;

use crate::kafka::assignor;
use crate::kafka::cluster::Cluster;
use crate::kafka::offsets::{self, Coordinates, Member, Refused, Stability};
use crate::kafka::partition::{Partition, text, topic_name};
use crate::kafka::refusal::{Asked, check};
use crate::outcome::{CauseKind, RequestError};

/// After how long without a sign of life a member is taken for dead, unless the user says. The shortest that Kafka's defaults
/// allow.
pub(crate) const USUAL_SESSION: Duration = Duration::from_secs(6);
/// The longest time between two heartbeats of a member.
const HEARTBEAT_MAX: Duration = Duration::from_millis(500);
/// The version of the consumer protocol, within the group protocol, that this client writes.
const CONSUMER_PROTOCOL: i16 = 0;

/// A member of a consumer group, or a client that wants to be one.
pub(super) struct Membership {
    topics: Vec<String>,
    session: Duration,
    member: Member,
    coordinator: Option<SocketAddr>,
    standing: Standing,
}

/// The state of a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// It has to join, for the first time or again.
    Outside,
    /// It belongs to the group's generation, reads these partitions, and last sent a heartbeat at that time.
    Inside { assignment: Vec<Partition>, heartbeat_at: Instant },
}

impl Membership {
    /// Returns a client that wants to consume `topics` as a member of `group`, for which it is dead after so long without a sign
    /// of life.
    pub(super) fn new(group: &'static str, topics: Vec<String>, session: Duration) -> Self {
        let member = Member { group, id: String::new(), generation: -1 };
        Self { topics, session, member, coordinator: None, standing: Standing::Outside }
    }

    /// Returns the partitions that it reads, while it is a member.
    pub(super) fn assignment(&self) -> Option<&[Partition]> {
        match &self.standing {
            Standing::Outside => None,
            Standing::Inside { assignment, .. } => Some(assignment),
        }
    }

    /// Says that it lives, if it is a member and has not said so lately. Whether it still is one shows in
    /// [`Membership::assignment`].
    ///
    /// # Errors
    /// A [`RequestError`] when the coordinator does not answer: it remains a member, for all it knows.
    pub(super) async fn keep_alive(
        &mut self,
        cluster: &mut Cluster,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        match &mut self.standing {
            // Due again from the attempt on, so that a coordinator that is away does not slow down every operation.
            Standing::Inside { heartbeat_at, .. }
                if heartbeat_at.elapsed() >= HEARTBEAT_MAX.min(self.session / 4) =>
            {
                *heartbeat_at = Instant::now();
            }
            _ => return Ok(()),
        }
        let coordinator = self.coordinator(cluster, deadline).await?;
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(self.member.group)))
            .with_generation_id(self.member.generation)
            .with_member_id(text(&self.member.id));
        let answer = cluster.call(coordinator, &request, deadline).await.inspect_err(|_| {
            self.coordinator = None;
        })?;
        self.heed(answer.error_code);
        Ok(())
    }

    /// Joins the group, if it is not a member, and returns whether it had to.
    ///
    /// # Errors
    /// A [`RequestError`] when it is not a member afterwards.
    pub(super) async fn join(
        &mut self,
        cluster: &mut Cluster,
        deadline: Instant,
    ) -> Result<Joined, RequestError> {
        if self.assignment().is_some() {
            return Ok(Joined::Before);
        }
        let joined = self.join_group(cluster, deadline).await?;
        let generation = joined.generation_id;
        let mut assignments = Vec::new();
        if joined.leader == joined.member_id {
            assignments = self.assign(cluster, &joined, deadline).await?;
        }
        let coordinator = self.coordinator(cluster, deadline).await?;
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(self.member.group)))
            .with_generation_id(generation)
            .with_member_id(text(&self.member.id))
            .with_assignments(assignments);
        let answer = cluster.call(coordinator, &request, deadline).await.inspect_err(|_| {
            self.coordinator = None;
        })?;
        self.heed(answer.error_code);
        check(Asked::Other, answer.error_code, "getting the group's assignment")?;
        let assignment = read_assignment(answer.assignment)?;
        // Not before: messages consumed in the last generation may be committed in that one only. By now the
        // partition may be another member's.
        self.member.generation = generation;
        self.standing = Standing::Inside { assignment, heartbeat_at: Instant::now() };
        Ok(Joined::Now)
    }

    /// Joins until the coordinator answers; a member without a name is given one first, and joins with it.
    async fn join_group(
        &mut self,
        cluster: &mut Cluster,
        deadline: Instant,
    ) -> Result<JoinGroupResponse, RequestError> {
        loop {
            let coordinator = self.coordinator(cluster, deadline).await?;
            let protocol = JoinGroupRequestProtocol::default()
                .with_name(text("range"))
                .with_metadata(subscription(&self.topics)?);
            let request = JoinGroupRequest::default()
                .with_group_id(GroupId(text(self.member.group)))
                .with_session_timeout_ms(millis(self.session))
                // How long a rebalance waits for the members of the last generation to join again.
                .with_rebalance_timeout_ms(millis(self.session / 3))
                .with_member_id(text(&self.member.id))
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![protocol]);
            let answer = cluster.call(coordinator, &request, deadline).await.inspect_err(|_| {
                self.coordinator = None;
            })?;
            let unnamed = self.member.id.is_empty();
            if unnamed && answer.error_code == ResponseError::MemberIdRequired.code() {
                self.member.id = answer.member_id.as_str().to_owned();
                continue;
            }
            self.heed(answer.error_code);
            check(Asked::Other, answer.error_code, "joining the group")?;
            self.member.id = answer.member_id.as_str().to_owned();
            return Ok(answer);
        }
    }

    /// Returns the partitions of each member, as the leader assigns them.
    async fn assign(
        &self,
        cluster: &mut Cluster,
        joined: &JoinGroupResponse,
        deadline: Instant,
    ) -> Result<Vec<SyncGroupRequestAssignment>, RequestError> {
        let mut subscriptions = BTreeMap::new();
        for member in &joined.members {
            let topics = read_subscription(member.metadata.clone())?;
            subscriptions.insert(member.member_id.as_str().to_owned(), topics);
        }
        let topics: BTreeSet<&str> = subscriptions.values().flatten().map(String::as_str).collect();
        cluster.refresh(Some(&topics), deadline).await?;
        let partitions: Vec<Partition> = cluster.partitions().cloned().collect();
        let shares = assignor::range(&subscriptions, &partitions);
        shares
            .into_iter()
            .map(|(member, partitions)| {
                Ok(SyncGroupRequestAssignment::default()
                    .with_member_id(text(&member))
                    .with_assignment(assignment(&partitions)?))
            })
            .collect()
    }

    /// Commits `offsets` as a member.
    ///
    /// # Errors
    /// A [`RequestError`], definite if certainly nothing was committed.
    pub(super) async fn commit(
        &mut self,
        cluster: &mut Cluster,
        offsets: &BTreeMap<Partition, u64>,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        if offsets.is_empty() {
            return Ok(());
        }
        if self.member.generation < 0 {
            // Without a generation the coordinator would take it for a client that needs no group.
            return Err(RequestError::definite(CauseKind::Rejected, "no member of the group: not committed"));
        }
        let coordinator =
            self.coordinator(cluster, deadline).await.map_err(super::connection::as_definite)?;
        let committed = offsets::commit(cluster, coordinator, &self.member, offsets, deadline).await;
        committed.map_err(|refused| self.heed_refusal(refused))
    }

    /// Its identity in the group.
    pub(super) fn member(&self) -> &Member {
        &self.member
    }

    /// Asks for the offsets committed in the partitions that it reads.
    ///
    /// # Errors
    /// A [`RequestError`].
    pub(super) async fn committed(
        &mut self,
        cluster: &mut Cluster,
        stability: Stability,
        deadline: Instant,
    ) -> Result<BTreeMap<Partition, u64>, RequestError> {
        let coordinator = self.coordinator(cluster, deadline).await?;
        let partitions = self.assignment().unwrap_or_default();
        let committed = offsets::committed(
            cluster,
            coordinator,
            self.member.group,
            Some(partitions),
            stability,
            deadline,
        )
        .await;
        committed.map_err(|refused| self.heed_refusal(refused))
    }

    /// Leaves the group, so that the others need not wait for the session's end.
    ///
    /// # Errors
    /// A [`RequestError`].
    pub(super) async fn leave(
        mut self,
        cluster: &mut Cluster,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        if self.member.id.is_empty() {
            return Ok(());
        }
        let coordinator = self.coordinator(cluster, deadline).await?;
        let request = LeaveGroupRequest::default()
            .with_group_id(GroupId(text(self.member.group)))
            .with_member_id(text(&self.member.id));
        let answer = cluster.call(coordinator, &request, deadline).await?;
        check(Asked::Other, answer.error_code, "leaving the group")
    }

    /// Returns the group's coordinator.
    ///
    /// # Errors
    /// A [`RequestError`].
    pub(super) async fn coordinator(
        &mut self,
        cluster: &mut Cluster,
        deadline: Instant,
    ) -> Result<SocketAddr, RequestError> {
        if let Some(coordinator) = self.coordinator {
            return Ok(coordinator);
        }
        let found =
            offsets::find_coordinator(cluster, Coordinates::Group, self.member.group, deadline).await?;
        self.coordinator = Some(found);
        Ok(found)
    }

    /// Reacts to a refusal of the coordinator.
    pub(super) fn heed_refusal(&mut self, refused: Refused) -> RequestError {
        match refused.code {
            Some(code) => self.heed(code),
            None => self.coordinator = None,
        }
        refused.error
    }

    /// Reacts to the coordinator's answer.
    fn heed(&mut self, code: i16) {
        match ResponseError::try_from_code(code) {
            Some(ResponseError::RebalanceInProgress | ResponseError::IllegalGeneration) => {
                self.standing = Standing::Outside;
            }
            Some(ResponseError::UnknownMemberId | ResponseError::FencedInstanceId) => {
                self.member.id.clear();
                self.member.generation = -1;
                self.standing = Standing::Outside;
            }
            Some(ResponseError::NotCoordinator | ResponseError::CoordinatorNotAvailable) => {
                self.coordinator = None;
            }
            _ => {}
        }
    }
}

/// When a member joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// Before: its assignment is unchanged.
    Before,
    /// Just now: its assignment is new.
    Now,
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn encoding(cause: impl std::fmt::Display) -> RequestError {
    RequestError::definite(CauseKind::Rejected, format!("encoding the consumer protocol: {cause}"))
}

fn reading(cause: impl std::fmt::Display) -> RequestError {
    RequestError::open(CauseKind::Unreadable, format!("reading the consumer protocol: {cause}"))
}

fn subscription(topics: &[String]) -> Result<Bytes, RequestError> {
    let subscription =
        ConsumerProtocolSubscription::default().with_topics(topics.iter().map(|topic| text(topic)).collect());
    let mut bytes = BytesMut::new();
    bytes.put_i16(CONSUMER_PROTOCOL);
    subscription.encode(&mut bytes, CONSUMER_PROTOCOL).map_err(encoding)?;
    Ok(bytes.freeze())
}

/// Returns the topics of a subscription. Later versions add to the end, so that all can be read as the first.
fn read_subscription(mut bytes: Bytes) -> Result<Vec<String>, RequestError> {
    skip_version(&mut bytes)?;
    let subscription =
        ConsumerProtocolSubscription::decode(&mut bytes, CONSUMER_PROTOCOL).map_err(reading)?;
    Ok(subscription.topics.iter().map(|topic| topic.as_str().to_owned()).collect())
}

fn assignment(partitions: &[Partition]) -> Result<Bytes, RequestError> {
    let topics = super::partition::by_topic(partitions.iter().map(|partition| (partition, ())));
    let topics = topics.into_iter().map(|(topic, indexes)| {
        TopicPartition::default()
            .with_topic(topic_name(topic))
            .with_partitions(indexes.into_iter().map(|(index, ())| index).collect())
    });
    let assignment = ConsumerProtocolAssignment::default().with_assigned_partitions(topics.collect());
    let mut bytes = BytesMut::new();
    bytes.put_i16(CONSUMER_PROTOCOL);
    assignment.encode(&mut bytes, CONSUMER_PROTOCOL).map_err(encoding)?;
    Ok(bytes.freeze())
}

fn read_assignment(mut bytes: Bytes) -> Result<Vec<Partition>, RequestError> {
    // A member that the leader did not know is assigned no partitions.
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    skip_version(&mut bytes)?;
    let assignment = ConsumerProtocolAssignment::decode(&mut bytes, CONSUMER_PROTOCOL).map_err(reading)?;
    let mut partitions: Vec<Partition> = Vec::new();
    for topic in assignment.assigned_partitions {
        let name: std::sync::Arc<str> = topic.topic.0.as_str().into();
        partitions.extend(
            topic
                .partitions
                .iter()
                .map(|index| Partition { topic: std::sync::Arc::clone(&name), index: *index }),
        );
    }
    Ok(partitions)
}

fn skip_version(bytes: &mut Bytes) -> Result<(), RequestError> {
    if bytes.remaining() < 2 {
        return Err(reading("no version"));
    }
    bytes.advance(2);
    Ok(())
}
