//! What brokers ask each other beside the consensus.

use bytes::Bytes;
use duress_consensus::message;
use serde::{Deserialize, Serialize};

use super::state::{BrokerEpoch, BrokerId, Command, Reply, TopicId, TypeConfig};

/// A request to another broker.
pub type Request = message::Request<TypeConfig, Question>;
/// The answer to it.
pub type Response = message::Response<Answer>;

/// A broker's own request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Question {
    /// Have this change agreed on, if you lead the controllers.
    Propose(Command),
    /// This broker is there, in this life.
    Heartbeat(BrokerId, BrokerEpoch),
    /// Records for a follower.
    Fetch(ReplicaFetch),
}

/// The answer, in the variant of the request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Question::Propose`].
    Proposed(Result<Reply, ProposalFailure>),
    /// To [`Question::Heartbeat`].
    Heartbeat(HeartbeatAnswer),
    /// To [`Question::Fetch`], in the order of the request.
    Fetched(Vec<ReplicaRecords>),
}

/// Why a change was not agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProposalFailure {
    /// Whoever was asked does not lead the controllers; nothing was proposed.
    #[error("no controller leads, or it is another one")]
    NotController,
    /// It may have been agreed on, or may be later.
    #[error("it is not known whether the controllers agreed")]
    Unknown,
}

/// What the leader of the controllers says to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeartbeatAnswer {
    /// It was noted, and a whole session begins: nobody is elected in the broker's place before it ends but by what stands
    /// in the log of the controllers already.
    Noted {
        /// How long ago a majority followed whoever noted it, milliseconds.
        quorum_age_ms: u64,
        /// The last index of that log.
        log_end: u64,
    },
    /// It was noted, but others may have been elected in the broker's place, or are about to be.
    Fenced,
    /// This life of the broker is over; it must register anew.
    StaleBroker,
    /// Somebody else leads.
    NotController,
}

/// A follower asks for what comes next in each of its partitions that one broker leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFetch {
    /// Who asks, and which life of it.
    pub follower: (BrokerId, BrokerEpoch),
    /// How long the leader may wait for something to come, milliseconds.
    pub wait_ms: u32,
    /// What is asked for.
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
    /// The epoch of the last record it has; none if it has none, or does not care.
    pub last_epoch: Option<i32>,
    /// How much it takes at once, bytes.
    pub bytes_max: u32,
}

/// What a leader has for a follower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicaRecords {
    /// What comes next.
    Records {
        /// Whole batches, perhaps none.
        batches: Bytes,
        /// The leader's high watermark.
        high_watermark: i64,
    },
    /// The follower has records that the leader has not.
    Diverging {
        /// The largest epoch the leader knows that is not above the follower's last one.
        epoch: i32,
        /// Where it ended.
        end_offset: i64,
    },
    /// What the follower wants next is gone; the log begins here.
    OutOfRange {
        /// The first offset there is.
        log_start: i64,
    },
    /// This broker does not lead that partition in that epoch, or not yet.
    NotLeader,
    /// The leader's copy was too busy to answer; nothing is known.
    Busy,
}
