//! Consumer groups: the coordinator, and membership.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest, FindCoordinatorResponse, GroupId,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, ListGroupsResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::metadata::{host_and_port, wire_broker};
use crate::broker::{Broker, CHANGE_MAX};
use crate::cluster::state::Assignment;
use crate::group::{
    Action, Coordinator, GroupError, JoinRequest, Joined, MemberIds, OFFSETS_TOPIC, Protocol, Reply, Token,
    partition_of,
};
use crate::topic_settings::{CleanupPolicy, TopicSettings};
use crate::transaction::TRANSACTIONS_TOPIC;

const KIND_GROUP: i8 = 0;
const KIND_TRANSACTION: i8 = 1;
/// The first version of JoinGroup in which members receive their names before they may join.
const JOIN_NAMES_FIRST: i16 = 4;
/// The first version of FindCoordinator that has the kind of coordinator.
const FIND_SAYS_KIND: i16 = 1;

fn text(text: String) -> StrBytes {
    StrBytes::from_string(text)
}

/// The client of a request.
#[derive(Debug, Clone)]
pub struct Client {
    /// The name that it gives itself.
    pub id: String,
    /// Its address.
    pub address: SocketAddr,
}

/// Answers FindCoordinator, of a group or a transactional id; makes the internal topic if it does not exist.
pub async fn find_coordinator(
    broker: &Broker,
    request: &FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let refused = |error: ResponseError| {
        FindCoordinatorResponse::default().with_error_code(error.code()).with_node_id(wire_broker(None))
    };
    let kind = if version >= FIND_SAYS_KIND { request.key_type } else { KIND_GROUP };
    let topic = match kind {
        KIND_GROUP => OFFSETS_TOPIC,
        KIND_TRANSACTION => TRANSACTIONS_TOPIC,
        _ => return refused(ResponseError::InvalidRequest),
    };
    ensure_topic(broker, topic).await;
    let number = partition_of(&request.key, i32::from(broker.config().options.offsets_partitions));
    let found = broker.controller().read(|state| {
        let topic = state.topics.get(topic)?;
        let leader = topic.partitions.get(usize::try_from(number).ok()?)?.leader?;
        Some((leader, state.brokers.get(&leader)?.address))
    });
    match found {
        Some((leader, address)) => {
            let (host, port) = host_and_port(address);
            FindCoordinatorResponse::default()
                .with_node_id(wire_broker(Some(leader)))
                .with_host(host)
                .with_port(port)
        }
        None => refused(ResponseError::CoordinatorNotAvailable),
    }
}

async fn ensure_topic(broker: &Broker, topic: &str) {
    if broker.controller().read(|state| state.topics.contains_key(topic)) {
        return;
    }
    let options = &broker.config().options;
    let replication = broker.default_replication();
    let assignment = Assignment::Spread { partitions: options.offsets_partitions.into(), replication };
    let settings = TopicSettings {
        cleanup: CleanupPolicy::Compact,
        retention: None,
        retention_bytes: None,
        ..TopicSettings::of(options, replication)
    };
    let deadline = Instant::now() + CHANGE_MAX;
    if let Err(error) = broker.create_topic(topic, assignment, settings, deadline).await {
        // Another broker was faster, or the client will be asked to retry.
        tracing::debug!(%error, topic, "the internal topic was not made");
    }
}

/// Answers JoinGroup.
pub async fn join(
    broker: &Broker,
    client: &Client,
    request: JoinGroupRequest,
    version: i16,
) -> JoinGroupResponse {
    let millis = |ms: i32| Duration::from_millis(ms.max(0) as u64);
    let session_timeout = millis(request.session_timeout_ms);
    let protocols = request
        .protocols
        .into_iter()
        .map(|protocol| Protocol { name: protocol.name.to_string(), metadata: protocol.metadata });
    let asked = JoinRequest {
        group: request.group_id.to_string(),
        member_id: request.member_id.to_string(),
        client_id: client.id.clone(),
        client_host: client.address.ip().to_string(),
        session_timeout,
        // Version 0 has only one of the two.
        rebalance_timeout: if version == 0 { session_timeout } else { millis(request.rebalance_timeout_ms) },
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.collect(),
        member_ids: if version >= JOIN_NAMES_FIRST { MemberIds::Required } else { MemberIds::WithAnswer },
    };
    let reply = call(broker, move |groups, token, now| groups.join(asked, token, now)).await;
    match reply {
        Ok(Reply::Join(Ok(joined))) => joined_response(joined),
        Ok(Reply::Join(Err(error))) | Err(error) => {
            let member_id = match &error {
                GroupError::MemberIdRequired { member_id } => text(member_id.clone()),
                _ => request.member_id,
            };
            JoinGroupResponse::default()
                .with_error_code(error.code().code())
                .with_generation_id(-1)
                .with_protocol_name(Some(StrBytes::new()))
                .with_member_id(member_id)
        }
        Ok(_) => unexpected(JoinGroupResponse::default(), JoinGroupResponse::with_error_code),
    }
}

/// Runs an operation of the group coordinator.
pub(super) async fn call(
    broker: &Broker,
    call: impl FnOnce(&mut Coordinator, Token, Instant) -> Vec<Action> + Send + 'static,
) -> Result<Reply, GroupError> {
    Ok(broker.groups().call(call).await?)
}

/// Returns the answer where the coordinator gave one of another kind than the request, which it never does.
fn unexpected<T>(answer: T, with_error: impl FnOnce(T, i16) -> T) -> T {
    with_error(answer, ResponseError::UnknownServerError.code())
}

fn joined_response(joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.member_id))
            .with_metadata(member.metadata)
    });
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_name(Some(text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_member_id(text(joined.member_id))
        .with_members(members.collect())
}

/// Answers SyncGroup.
pub async fn sync(broker: &Broker, request: SyncGroupRequest) -> SyncGroupResponse {
    let assignments: BTreeMap<_, _> =
        request.assignments.into_iter().map(|one| (one.member_id.to_string(), one.assignment)).collect();
    let (group, member) = (request.group_id.to_string(), request.member_id.to_string());
    let generation = request.generation_id;
    let reply = call(broker, move |groups, token, now| {
        groups.sync(&group, &member, generation, assignments, token, now)
    })
    .await;
    match reply {
        Ok(Reply::Sync(Ok(assignment))) => SyncGroupResponse::default().with_assignment(assignment),
        Ok(Reply::Sync(Err(error))) | Err(error) => {
            SyncGroupResponse::default().with_error_code(error.code().code())
        }
        Ok(_) => unexpected(SyncGroupResponse::default(), SyncGroupResponse::with_error_code),
    }
}

/// Answers Heartbeat.
pub async fn heartbeat(broker: &Broker, request: HeartbeatRequest) -> HeartbeatResponse {
    let (group, member) = (request.group_id.to_string(), request.member_id.to_string());
    let generation = request.generation_id;
    let reply =
        call(broker, move |groups, token, now| groups.heartbeat(&group, &member, generation, token, now))
            .await;
    match reply {
        Ok(Reply::Heartbeat(Ok(()))) => HeartbeatResponse::default(),
        Ok(Reply::Heartbeat(Err(error))) | Err(error) => {
            HeartbeatResponse::default().with_error_code(error.code().code())
        }
        Ok(_) => unexpected(HeartbeatResponse::default(), HeartbeatResponse::with_error_code),
    }
}

/// Answers LeaveGroup.
pub async fn leave(broker: &Broker, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let (group, member) = (request.group_id.to_string(), request.member_id.to_string());
    let reply = call(broker, move |groups, token, now| groups.leave(&group, &member, token, now)).await;
    match reply {
        Ok(Reply::Leave(Ok(()))) => LeaveGroupResponse::default(),
        Ok(Reply::Leave(Err(error))) | Err(error) => {
            LeaveGroupResponse::default().with_error_code(error.code().code())
        }
        Ok(_) => unexpected(LeaveGroupResponse::default(), LeaveGroupResponse::with_error_code),
    }
}

/// Answers ListGroups: the groups that this broker coordinates.
pub async fn list(broker: &Broker) -> ListGroupsResponse {
    match broker.groups().look(|groups, _| groups.list()).await {
        Ok(Ok(groups)) => {
            let listed = groups.into_iter().map(|group| {
                ListedGroup::default()
                    .with_group_id(GroupId(text(group.group)))
                    .with_protocol_type(text(group.protocol_type))
            });
            ListGroupsResponse::default().with_groups(listed.collect())
        }
        Ok(Err(error)) => ListGroupsResponse::default().with_error_code(error.code().code()),
        Err(stopped) => {
            ListGroupsResponse::default().with_error_code(GroupError::from(stopped).code().code())
        }
    }
}

/// Answers DescribeGroups.
pub async fn describe(broker: &Broker, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let mut groups = Vec::new();
    for id in request.groups {
        let name = id.to_string();
        let answer = DescribedGroup::default().with_group_id(id).with_authorized_operations(i32::MIN);
        let described = broker.groups().look(move |groups, _| groups.describe(&name)).await;
        groups.push(match described.map_err(GroupError::from).and_then(|described| described) {
            Ok(group) => {
                let members = group.members.into_iter().map(|member| {
                    DescribedGroupMember::default()
                        .with_member_id(text(member.member_id))
                        .with_client_id(text(member.client_id))
                        .with_client_host(text(member.client_host))
                        .with_member_metadata(member.metadata)
                        .with_member_assignment(member.assignment)
                });
                answer
                    .with_group_state(StrBytes::from_static_str(group.state))
                    .with_protocol_type(text(group.protocol_type))
                    .with_protocol_data(text(group.protocol))
                    .with_members(members.collect())
            }
            Err(error) => answer.with_error_code(error.code().code()),
        });
    }
    DescribeGroupsResponse::default().with_groups(groups)
}
