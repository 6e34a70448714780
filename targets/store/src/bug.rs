//! Seeded bugs: named defects of the kind real systems have shipped.
//!
//! Each is a different, plausible way to write one step of the ordinary code path, switched on by name; none
//! corrupts anything at random. Without a name the plain code runs.
//!
//! | name | modes | what is wrong | what it resembles | anomaly |
//! |---|---|---|---|---|
//! | `ack-before-commit` | raft | the leader answers `OK` to an unconditional `SET` as soon as the entry is durable in its own log | MongoDB's write concern 1, its default before 5.0; Redis replication | acknowledged writes lost after a failover, and reads that do not see an acknowledged write |
//! | `stale-leader-read` | raft | a node that believes it is the leader answers reads from its own state without asking a quorum | etcd 0.4 and Consul as Jepsen found them in 2014: whoever believed to lead answered | stale reads from a deposed leader |
//! | `vote-not-persisted` | raft | the vote (term and candidate) lives in memory only | a Raft that does not save `currentTerm` and `votedFor` before it answers, as the paper's figure 2 demands | committed writes lost: see below |
//! | `fsync-skipped` | raft, primary | commits are not made durable before they are acknowledged | Redis `appendfsync everysec`; Elasticsearch's asynchronous translog | acknowledged writes lost when enough nodes are killed |
//! | `cas-before-order` | raft | `SET key new IFEQ old` is compared with the local state when it arrives, then a blind `SET` is ordered | check-then-act: a condition tested by whoever received the request, not where the order is made | two compare-and-sets from the same value both succeed: lost update |
//!
//! # How a forgotten vote loses a committed write
//!
//! Three nodes A, B, C; terms grow to the right. B is the one that forgets.
//!
//! 1. A leads term 1. A is cut off from B and C. A client of A writes `x`; A appends it at index *i*; nobody else has it.
//! 2. B and C elect C for term 2. B now has the vote (2, C). C writes `y` at index *i*, replicates it to B, commits it
//!    with the quorum {B, C} and acknowledges it.
//! 3. B is killed and restarts. With the bug its vote is the minimal one again: B does not remember term 2.
//! 4. The network changes: A and B see each other, C is cut off. A still believes that it leads term 1 and sends its
//!    entry `x` for index *i*. A B which remembered (2, C) would answer "higher vote" and A would step down. This B
//!    accepts the vote (1, A), finds a conflict at index *i*, deletes `y`, appends `x` and says so.
//! 5. A commits `x` with the quorum {A, B}. `y`, acknowledged, is gone from a majority.

use std::fmt;
use std::str::FromStr;

use duress_consensus::disk::Syncing;

/// A seeded defect. The table at the top of this module says what each one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bug {
    /// The leader acknowledges an unconditional write once it is in its own log.
    AckBeforeCommit,
    /// A node that believes it is the leader answers reads without asking a quorum.
    StaleLeaderRead,
    /// The vote is kept in memory only.
    VoteNotPersisted,
    /// Commits are not made durable before they are acknowledged.
    FsyncSkipped,
    /// The comparison of a compare-and-set happens before the write is ordered.
    CasBeforeOrder,
}

impl Bug {
    /// Every seeded bug, in the order of the table.
    pub const ALL: [Self; 5] = [
        Self::AckBeforeCommit,
        Self::StaleLeaderRead,
        Self::VoteNotPersisted,
        Self::FsyncSkipped,
        Self::CasBeforeOrder,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeCommit => "ack-before-commit",
            Self::StaleLeaderRead => "stale-leader-read",
            Self::VoteNotPersisted => "vote-not-persisted",
            Self::FsyncSkipped => "fsync-skipped",
            Self::CasBeforeOrder => "cas-before-order",
        }
    }

    /// The real defect it resembles, in one sentence.
    pub const fn resembles(self) -> &'static str {
        match self {
            Self::AckBeforeCommit => {
                "write concern 1: acknowledged by the leader alone, MongoDB's default before 5.0"
            }
            Self::StaleLeaderRead => {
                "reads served by whoever believes to lead, as etcd 0.4 and Consul did in 2014"
            }
            Self::VoteNotPersisted => "a Raft whose term and vote do not survive a restart",
            Self::FsyncSkipped => {
                "acknowledging before the data is durable, as Redis does with appendfsync everysec"
            }
            Self::CasBeforeOrder => "check-then-act: the comparison is made before the write is ordered",
        }
    }

    /// The anomaly a client can observe, in one sentence.
    pub const fn anomaly(self) -> &'static str {
        match self {
            Self::AckBeforeCommit => {
                "acknowledged writes are lost after a failover, or not seen by later reads"
            }
            Self::StaleLeaderRead => {
                "a deposed leader returns values that were overwritten before the read began"
            }
            Self::VoteNotPersisted => "a committed write is deleted by a leader of an older term",
            Self::FsyncSkipped => "acknowledged writes are lost when enough nodes are killed",
            Self::CasBeforeOrder => "two compare-and-sets from the same value both succeed",
        }
    }
}

/// When a node with this bug, or none, takes a commit for complete.
pub fn syncing(bug: Option<Bug>) -> Syncing {
    match bug {
        Some(Bug::FsyncSkipped) => Syncing::Skipped,
        _ => Syncing::Durable,
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A bug name nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown bug \"{given}\"; the bugs are {}", Bug::ALL.map(Bug::name).join(", "))]
pub struct ParseBugError {
    given: String,
}

impl FromStr for Bug {
    type Err = ParseBugError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|bug| bug.name() == name)
            .ok_or_else(|| ParseBugError { given: name.into() })
    }
}
