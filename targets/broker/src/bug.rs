//! Seeded bugs: named defects of the kind real systems have shipped.
//!
//! Each is a plausible way to write one step of the ordinary code path, switched on by name; none corrupts anything at
//! random. Without a name the plain code runs.

use std::collections::BTreeMap;

use duress_settings::BugSpec;
use serde::Deserialize;

/// A seeded bug; [`specs`] describes each. Serde's names are those of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bug {
    /// The high watermark is the leader's log end.
    HighWatermarkBeforeReplication,
    /// A leader shrinks the in-sync set without the controller's consent.
    IsrShrinkIgnored,
    /// The first live replica leads, in sync or not.
    UncleanElection,
    /// Followers cut their logs to their high watermark.
    TruncateToHighWatermark,
    /// Sequence numbers are not checked.
    SequenceUnchecked,
    /// Followers keep no account of sequence numbers.
    SequenceLostOnFailover,
    /// A coordinator does not read what its predecessor wrote.
    OffsetCommitLostOnMove,
    /// The partitions of a member that is gone are committed to their ends.
    OffsetCommittedBeforeDelivery,
    /// Compaction keeps the first value of a key.
    CompactionDropsLatest,
    /// A torn tail stays.
    TornTailKept,
    /// Syncs are skipped.
    FsyncSkipped,
    /// Consumers are served up to the log end.
    FetchBeyondHighWatermark,
    /// A coordinator answers committed offsets whether or not it still is one.
    StaleCoordinator,
    /// A log that is opened knows of no producer.
    SequenceLostOnRestart,
    /// A commit is taken from any generation.
    CommitOfAnyGeneration,
    /// Consumers are not told which transactions were aborted.
    AbortedDataRead,
    /// The last stable offset is the high watermark.
    LastStableOffsetAhead,
    /// Offsets that a transaction commits count at once.
    OffsetsOutsideTransaction,
}

/// Returns every seeded bug.
pub(crate) fn specs() -> Vec<BugSpec> {
    let isr = || vec!["isr".to_owned()];
    vec![
        BugSpec {
            name: "high-watermark-before-replication".into(),
            defect: "the leader's high watermark is the end of its own log, whatever its followers have, so that it acknowledges messages that only it has".into(),
            resembles: None,
            anomaly: "messages acknowledged with acks=all are lost when the leader is replaced".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "isr-shrink-ignored".into(),
            defect: "a leader continues without a follower as soon as it has requested its removal from the in-sync set, whatever the controller answers".into(),
            resembles: Some("Kafka before KIP-497, where a cut-off leader could shrink the in-sync set by itself".into()),
            anomaly: "acknowledged messages are lost when the controller elects a replica that it still considers in sync".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "unclean-election".into(),
            defect: "the first live replica in order of preference is elected, in sync or not".into(),
            resembles: Some("Kafka's unclean.leader.election.enable, on by default until 0.11".into()),
            anomaly: "acknowledged messages are lost when a replica that lags takes over".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "truncate-to-high-watermark".into(),
            defect: "a follower cuts its log to its own high watermark, instead of to the end of the leader's epoch".into(),
            resembles: Some("Kafka before KIP-101".into()),
            anomaly: "acknowledged messages are lost: two replicas cut a message that both had".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "sequence-unchecked".into(),
            defect: "a broker does not check the sequence numbers of producers".into(),
            resembles: None,
            anomaly: "messages that a producer sends again are stored twice".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "sequence-lost-on-failover".into(),
            defect: "only the leader keeps account of sequence numbers, and its successor starts without them".into(),
            resembles: Some("a cache that is kept beside the log and not rebuilt from it".into()),
            anomaly: "messages that a producer sends again after a failover are stored twice".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "offset-commit-lost-on-move".into(),
            defect: "a new coordinator does not read the offsets that were committed with its predecessor".into(),
            resembles: Some("a cache that is not rebuilt from its log".into()),
            anomaly: "committed offsets go back when the coordinator is replaced".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "offset-committed-before-delivery".into(),
            defect: "when a member of a group leaves or dies, everything that it received is committed as consumed".into(),
            resembles: Some("auto-commit on receipt, which counts assigned messages as processed".into()),
            anomaly: "messages are never consumed when a consumer dies".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "compaction-drops-latest".into(),
            defect: "compaction keeps the first message of a key that it meets, not the last".into(),
            resembles: None,
            anomaly: "a key of a table has an older value, or comes back after it was deleted".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "torn-tail-kept".into(),
            defect: "recovery skips a torn place in a log and keeps the records after it, as if none were missing".into(),
            resembles: Some("RocksDB's recovery mode kSkipAnyCorruptedRecords where kPointInTimeRecovery is meant".into()),
            anomaly: "consumers are led past acknowledged messages once a replica with holes is elected".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "fsync-skipped".into(),
            defect: "messages are acknowledged while only the kernel has them".into(),
            resembles: Some("PostgreSQL with fsync=off; a disk that lies about durability".into()),
            anomaly: "acknowledged messages are lost when enough nodes lose power".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "fetch-beyond-high-watermark".into(),
            defect: "consumers are served messages that only the leader has".into(),
            resembles: Some("a read of uncommitted data".into()),
            anomaly: "consumers see messages that later are gone, or others in their places".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "stale-coordinator".into(),
            defect: "a coordinator that is cut off continues to answer committed offsets from memory, although another broker coordinates by now".into(),
            resembles: Some("a cache that is served without asking whether it is still the owner's".into()),
            anomaly: "committed offsets go back for clients that ask the old coordinator".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "sequence-lost-on-restart".into(),
            defect: "a broker's producer state is not rebuilt from its log when the log is opened".into(),
            resembles: Some("a cache that is kept beside the log and not rebuilt from it".into()),
            anomaly: "messages that a producer sends again after a restart are stored twice".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "commit-of-any-generation".into(),
            defect: "a commit of offsets is accepted from any generation, and from removed members too".into(),
            resembles: Some("a Kafka client's commit without member and generation, which no coordinator can fence".into()),
            anomaly: "committed offsets go back when the commit of a member that was replaced arrives late".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "aborted-data-read".into(),
            defect: "a broker does not tell consumers of committed transactions which ones were aborted".into(),
            resembles: Some("the aborted reads that Jepsen found in Redpanda 21.10.1".into()),
            anomaly: "consumers of committed transactions see messages of aborted ones".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "last-stable-offset-ahead".into(),
            defect: "the last stable offset is the high watermark, even while a transaction is open before it".into(),
            resembles: None,
            anomaly: "consumers of committed transactions see messages of open ones, some of which are then aborted".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "offsets-outside-transaction".into(),
            defect: "offsets that are committed in a transaction count at once, whatever becomes of the transaction".into(),
            resembles: Some("a consumer that commits its offsets itself beside a transactional producer".into()),
            anomaly: "messages are never processed when their transaction is aborted".into(),
            modes: isr(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
    ]
}
