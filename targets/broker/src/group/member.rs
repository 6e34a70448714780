//! The members of a group.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::ConsumerProtocolAssignment;
use kafka_protocol::protocol::Decodable;
use serde::{Deserialize, Serialize};

use super::coordinator::Token;
use super::record::TopicPartition;

/// A way of assigning partitions that a member knows, with its subscription for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// Its name, such as `range`.
    pub name: String,
    /// The member's subscription, opaque to the broker.
    pub metadata: Bytes,
}

/// Whether a new member receives its name before it may join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberIds {
    /// Yes, so that a client which never gets the answer does not leave a member behind. From version 4 on.
    Required,
    /// No: it receives its name with the answer.
    WithAnswer,
}

/// A request to become, or to stay, a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The group.
    pub group: String,
    /// The member's name; empty for a new one.
    pub member_id: String,
    /// The name that the client gives itself.
    pub client_id: String,
    /// The address of the client.
    pub client_host: String,
    /// How long a member may be silent before it is removed.
    pub session_timeout: Duration,
    /// How long the group waits for the member to join again.
    pub rebalance_timeout: Duration,
    /// The kind of protocols, `consumer` for consumers.
    pub protocol_type: String,
    /// The protocols it knows, the best first.
    pub protocols: Vec<Protocol>,
    /// Whether a new member receives its name first.
    pub member_ids: MemberIds,
}

/// A member, as the coordinator knows it.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocols: Vec<Protocol>,
    /// The partitions it is to read in the present generation, opaque to the broker.
    pub(super) assignment: Bytes,
    /// Its JoinGroup that waits for the other members.
    pub(super) joining: Option<Token>,
    /// Its SyncGroup that waits for the leader's assignment.
    pub(super) syncing: Option<Token>,
    /// When it is removed if it stays silent.
    pub(super) session_ends: Instant,
    /// The order in which members arrived.
    pub(super) arrival: u64,
}

impl Member {
    /// The member has sent a request.
    pub(super) fn heard_of(&mut self, now: Instant) {
        self.session_ends = now + self.session_timeout;
    }

    /// Whether its session is over. A member that waits for an answer has no reason to send anything.
    pub(super) fn is_gone(&self, now: Instant) -> bool {
        self.joining.is_none() && self.syncing.is_none() && self.session_ends <= now
    }

    pub(super) fn knows(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|known| known.name == protocol)
    }

    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|known| known.name == protocol)
            .map(|known| known.metadata.clone())
            .unwrap_or_default()
    }
}

/// The description of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The group.
    pub group: String,
    /// `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable` or `Dead`.
    pub state: &'static str,
    /// The kind of protocols; empty if there never was a member.
    pub protocol_type: String,
    /// The protocol chosen; empty if none is.
    pub protocol: String,
    /// Its members in order of their names.
    pub members: Vec<DescribedMember>,
}

/// The description of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its name.
    pub member_id: String,
    /// The name that the client gives itself.
    pub client_id: String,
    /// The address of the client.
    pub client_host: String,
    /// Its subscription.
    pub metadata: Bytes,
    /// The partitions it is to read.
    pub assignment: Bytes,
}

/// Returns the partitions in an assignment, if it is one that consumers use.
pub(super) fn partitions_in(assignment: &Bytes) -> Vec<TopicPartition> {
    let mut rest = assignment.clone();
    let version = rest.split_to(rest.len().min(2));
    let version = <[u8; 2]>::try_from(&version[..]).map(i16::from_be_bytes);
    let decoded =
        version.ok().and_then(|version| ConsumerProtocolAssignment::decode(&mut rest, version).ok());
    let topics = decoded.map(|decoded| decoded.assigned_partitions).unwrap_or_default();
    let of_topic = |topic: kafka_protocol::messages::consumer_protocol_assignment::TopicPartition| {
        let name = topic.topic.to_string();
        topic.partitions.into_iter().map(move |partition| TopicPartition { topic: name.clone(), partition })
    };
    topics.into_iter().flat_map(of_topic).collect()
}
