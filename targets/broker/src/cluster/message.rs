//! Requests between brokers beside those of the consensus.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::state::{BrokerEpoch, BrokerId, Command, Reply, TopicId};
use crate::log::Marker;

/// A request to another broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PeerRequest {
    /// Have the controllers agree on this change, if the receiver leads them.
    Propose(Command),
    /// A heartbeat of this broker, in this incarnation.
    Heartbeat(BrokerId, BrokerEpoch),
    /// Records for a follower.
    Fetch(ReplicaFetch),
    /// Write a marker to a partition that the receiver leads.
    Mark {
        /// The topic.
        topic: TopicId,
        /// The partition.
        partition: i32,
        /// The marker.
        marker: Marker,
    },
}

/// The answer, in the variant of the request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PeerResponse {
    /// To [`PeerRequest::Propose`].
    Proposed(Result<Reply, ProposalFailure>),
    /// To [`PeerRequest::Heartbeat`].
    Heartbeat(HeartbeatAnswer),
    /// To [`PeerRequest::Fetch`], in the order of the request.
    Fetched(Vec<ReplicaRecords>),
    /// To [`PeerRequest::Mark`]: whether it is certainly written and replicated.
    Marked(bool),
}

/// Why a change was not agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProposalFailure {
    /// The requested broker does not lead the controllers; nothing was proposed.
    #[error("the broker asked does not lead the controllers")]
    NotController,
    /// It may have been agreed on, or may be later.
    #[error("it is not known whether the controllers agreed")]
    Unknown,
}

/// The answer of the controllers' leader to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeartbeatAnswer {
    /// It was noted, and a whole session begins: before it ends, no broker is elected in this one's place except by entries
    /// that are already in the controllers' log.
    Noted {
        /// How long ago a majority followed the leader that noted it, milliseconds.
        quorum_age_ms: u64,
        /// The last index of that log.
        log_end: u64,
    },
    /// It was noted, but other brokers may have been elected in this one's place, or are about to be.
    Fenced,
    /// This incarnation of the broker is over; it must register again.
    StaleBroker,
    /// Another broker leads the controllers.
    NotController,
}

/// A follower's request for the next records of all its partitions that one broker leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFetch {
    /// The follower, and its incarnation.
    pub follower: (BrokerId, BrokerEpoch),
    /// How long the leader may wait for records, milliseconds.
    pub wait_ms: u32,
    /// The follower's position in each partition.
    pub partitions: Vec<ReplicaPosition>,
}

/// How far a follower is in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaPosition {
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub partition: u32,
    /// The leader epoch the follower follows in.
    pub leader_epoch: i32,
    /// The offset it wants next. Everything before it is durable there, as far as the options say.
    pub offset: i64,
    /// The epoch of its last record; `None` if it has no records, or needs no check.
    pub last_epoch: Option<i32>,
    /// The most it accepts at once, bytes.
    pub bytes_max: u32,
}

/// A leader's answer to a follower, for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicaRecords {
    /// The next records.
    Records {
        /// Whole batches; may be empty.
        batches: Bytes,
        /// The leader's high watermark.
        high_watermark: i64,
    },
    /// The follower has records that the leader does not have.
    Diverging {
        /// The leader's largest epoch that is not above the follower's last one.
        epoch: i32,
        /// The offset where it ended.
        end_offset: i64,
    },
    /// The follower's next record has been removed; the log begins later.
    OutOfRange {
        /// The first offset of the log.
        log_start: i64,
    },
    /// This broker does not lead that partition in that epoch, or not yet.
    NotLeader,
    /// The leader's copy was too busy to answer.
    Busy,
}
