//! The members of a group.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::coordinator::Token;

/// A way of assigning partitions that a member knows, with what it says about itself for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// Its name, such as `range`.
    pub name: String,
    /// The member's subscription, opaque to the broker.
    pub metadata: Bytes,
}

/// Whether a new member is told its name before it may join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberIds {
    /// It is, so that a client which never gets the answer does not leave a member behind. From version 4 on.
    Required,
    /// It learns its name with the answer.
    WithAnswer,
}

/// A request to become, or to stay, a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The group.
    pub group: String,
    /// The member's name; empty for a new one.
    pub member_id: String,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it is.
    pub client_host: String,
    /// A member that is not heard of for this long is gone.
    pub session_timeout: Duration,
    /// How long the group waits for the member to join again.
    pub rebalance_timeout: Duration,
    /// The kind of protocols, `consumer` for consumers.
    pub protocol_type: String,
    /// The protocols it knows, the best first.
    pub protocols: Vec<Protocol>,
    /// What a new member gets first.
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
    /// What it is to read in the present generation, opaque to the broker.
    pub(super) assignment: Bytes,
    /// Its JoinGroup that waits for the others.
    pub(super) joining: Option<Token>,
    /// Its SyncGroup that waits for the leader's.
    pub(super) syncing: Option<Token>,
    /// When it is gone unless it is heard of.
    pub(super) session_ends: Instant,
    /// Counts up over the group's members, for who was first.
    pub(super) arrival: u64,
}

impl Member {
    /// The member is there.
    pub(super) fn heard_of(&mut self, now: Instant) {
        self.session_ends = now + self.session_timeout;
    }

    /// Whether it is gone. One that waits for an answer has no reason to say anything.
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

/// What is told of a group.
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

/// What is told of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its name.
    pub member_id: String,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it is.
    pub client_host: String,
    /// Its subscription.
    pub metadata: Bytes,
    /// What it is to read.
    pub assignment: Bytes,
}
