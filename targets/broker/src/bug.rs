//! Seeded bugs: named defects of the kind real systems have shipped.
//!
//! Each is a different, plausible way to write one step of the ordinary code path, switched on by name; none
//! corrupts anything at random. Without a name the plain code runs.
//!
//! | name | what is wrong | what it resembles | anomaly |
//! |---|---|---|---|
//! | `high-watermark-before-replication` | the leader's high watermark is its own log end, whatever its followers have | acknowledging once the leader has it, whatever the producer asked for | writes acknowledged with `acks=all` are lost after a failover |
//! | `isr-shrink-ignored` | a leader goes on without a follower as soon as it has asked for its removal from the in-sync set, whatever the controller answers | Kafka before KIP-497, where a cut-off leader could shrink the set by itself | acknowledged writes are lost when the controller elects a replica that it still takes for in sync |
//! | `unclean-election` | the first live replica in order of preference leads, in sync or not | Kafka's `unclean.leader.election.enable`, default until 0.11 | acknowledged writes are lost when a replica that lags takes over |
//! | `truncate-to-high-watermark` | a follower cuts its log to its own high watermark instead of where the leader's epoch ended | Kafka before KIP-101 | acknowledged writes are lost: two replicas cut what both had |
//! | `sequence-unchecked` | the sequence numbers of a producer are not looked at | a broker without idempotence | a batch that was sent again is there twice |
//! | `sequence-lost-on-failover` | only the leader keeps account of sequence numbers | state kept beside the log instead of in it | a batch that is sent again after a failover is there twice |
//! | `offset-commit-lost-on-move` | committed offsets stay with the coordinator that took them | a cache that is not rebuilt from its log | committed offsets go back when the coordinator moves |
//! | `offset-committed-before-delivery` | what a member of a group had been given is committed to its end when the member leaves or is gone | a hand-over that takes what was assigned for what was processed; auto-commit on receipt | messages are skipped when a consumer dies |
//! | `compaction-drops-latest` | compaction keeps the first value of a key in the run it cleans, not the last | an offset map that is filled once | a key reads as an older value, or as deleted |
//! | `torn-tail-kept` | what is readable behind a torn place in a log stays, as if nothing were missing | RocksDB's recovery mode `kSkipAnyCorruptedRecords` where `kPointInTimeRecovery` is meant | acknowledged writes are lost when a replica with holes leads |
//! | `fsync-skipped` | syncing trusts the kernel and answers at once | lying about durability, as `fsync=off` or a disk that lies | acknowledged writes are lost when enough brokers lose power |
//! | `fetch-beyond-high-watermark` | consumers are served up to the log end | reading uncommitted data from the leader | consumers see records that later are gone, or others in their place |

use std::fmt;
use std::str::FromStr;

/// A seeded defect. The table at the top of this module says what each one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bug {
    /// The high watermark is the leader's log end.
    HighWatermarkBeforeReplication,
    /// A leader shrinks the in-sync set without the controller's consent.
    IsrShrinkIgnored,
    /// The first live replica leads, in sync or not.
    UncleanElection,
    /// Followers cut their logs to their high watermark.
    TruncateToHighWatermark,
    /// Sequence numbers are not looked at.
    SequenceUnchecked,
    /// Followers keep no account of sequence numbers.
    SequenceLostOnFailover,
    /// A coordinator does not read what its predecessor wrote.
    OffsetCommitLostOnMove,
    /// What a member that is gone had been given is committed to its end.
    OffsetCommittedBeforeDelivery,
    /// Compaction keeps the first value of a key.
    CompactionDropsLatest,
    /// A torn tail stays.
    TornTailKept,
    /// Syncing does nothing.
    FsyncSkipped,
    /// Consumers are served up to the log end.
    FetchBeyondHighWatermark,
}

impl Bug {
    /// Every seeded bug, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::HighWatermarkBeforeReplication,
        Self::IsrShrinkIgnored,
        Self::UncleanElection,
        Self::TruncateToHighWatermark,
        Self::SequenceUnchecked,
        Self::SequenceLostOnFailover,
        Self::OffsetCommitLostOnMove,
        Self::OffsetCommittedBeforeDelivery,
        Self::CompactionDropsLatest,
        Self::TornTailKept,
        Self::FsyncSkipped,
        Self::FetchBeyondHighWatermark,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HighWatermarkBeforeReplication => "high-watermark-before-replication",
            Self::IsrShrinkIgnored => "isr-shrink-ignored",
            Self::UncleanElection => "unclean-election",
            Self::TruncateToHighWatermark => "truncate-to-high-watermark",
            Self::SequenceUnchecked => "sequence-unchecked",
            Self::SequenceLostOnFailover => "sequence-lost-on-failover",
            Self::OffsetCommitLostOnMove => "offset-commit-lost-on-move",
            Self::OffsetCommittedBeforeDelivery => "offset-committed-before-delivery",
            Self::CompactionDropsLatest => "compaction-drops-latest",
            Self::TornTailKept => "torn-tail-kept",
            Self::FsyncSkipped => "fsync-skipped",
            Self::FetchBeyondHighWatermark => "fetch-beyond-high-watermark",
        }
    }

    /// The real defect it resembles, in one sentence.
    pub const fn resembles(self) -> &'static str {
        match self {
            Self::HighWatermarkBeforeReplication => {
                "acknowledging once the leader has it, whatever the producer asked for"
            }
            Self::IsrShrinkIgnored => {
                "a cut-off leader that shrinks its in-sync set by itself, possible in Kafka before KIP-497"
            }
            Self::UncleanElection => {
                "a lagging replica elected, as Kafka did by default until 0.11 when no other was there"
            }
            Self::TruncateToHighWatermark => {
                "followers that cut to their high watermark, Kafka before KIP-101"
            }
            Self::SequenceUnchecked => "a broker that ignores the sequence numbers of producers",
            Self::SequenceLostOnFailover => {
                "producer state that lives beside the log and is not there after a failover"
            }
            Self::OffsetCommitLostOnMove => {
                "a cache of committed offsets that a new coordinator does not rebuild"
            }
            Self::OffsetCommittedBeforeDelivery => {
                "a hand-over that takes what was assigned for what was processed, as auto-commit on receipt does"
            }
            Self::CompactionDropsLatest => "a compaction whose map of keys is filled once",
            Self::TornTailKept => "recovery that trusts whatever is at the end of the file",
            Self::FsyncSkipped => "acknowledging what is in the page cache only",
            Self::FetchBeyondHighWatermark => "serving what is not replicated yet",
        }
    }

    /// The anomaly a client can observe, in one sentence.
    pub const fn anomaly(self) -> &'static str {
        match self {
            Self::HighWatermarkBeforeReplication
            | Self::IsrShrinkIgnored
            | Self::UncleanElection
            | Self::TruncateToHighWatermark => "writes acknowledged with acks=all are lost after a failover",
            Self::SequenceUnchecked => "a batch that a producer sends again is there twice",
            Self::SequenceLostOnFailover => "a batch that is sent again after a failover is there twice",
            Self::OffsetCommitLostOnMove => "committed offsets go back when the coordinator moves",
            Self::OffsetCommittedBeforeDelivery => "messages are never consumed when a consumer dies",
            Self::CompactionDropsLatest => "a key of a compacted topic reads as an older value",
            Self::TornTailKept => "records that cannot be read, or that nobody wrote, after a crash",
            Self::FsyncSkipped => "acknowledged writes are lost when enough brokers lose power",
            Self::FetchBeyondHighWatermark => "consumers see records that later are gone",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A bug name nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown bug \"{given}\"; the bugs of the broker are {}", Bug::ALL.map(Bug::name).join(", "))]
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
