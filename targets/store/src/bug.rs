//! Seeded bugs: named defects of the kind real systems have shipped.
//!
//! Each is a plausible way to write one step of the ordinary code path, switched on by name; none corrupts anything at
//! random. Without a name the plain code runs.
//!
//! # How a forgotten vote loses a committed write
//!
//! Three nodes A, B, C; terms grow to the right. B forgets its vote.
//!
//! 1. A leads term 1. A is cut off from B and C. A client of A writes `x`; A appends it at index *i*; no other node has it.
//! 2. B and C elect C for term 2. B now has the vote (2, C). C writes `y` at index *i*, replicates it to B, commits it
//!    with the quorum {B, C} and acknowledges it.
//! 3. B is killed and restarts. With the bug its vote is the initial one again: B does not remember term 2.
//! 4. The network changes: A and B see each other, C is cut off. A still believes that it leads term 1 and sends its
//!    entry `x` for index *i*. A B which remembered (2, C) would answer "higher vote" and A would step down. This B
//!    accepts the vote (1, A), finds a conflict at index *i*, deletes `y`, appends `x` and acknowledges it.
//! 5. A commits `x` with the quorum {A, B}. `y`, acknowledged, is gone from a majority.

use duress_consensus::disk::Syncing;
use std::collections::BTreeMap;

use duress_settings::BugSpec;
use serde::{Deserialize, Serialize};

/// A seeded bug; [`specs`] describes each. Serde's names are those of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    /// A leader that restarts leads on, by the vote it saved.
    LeadershipResumed,
    /// A snapshot lacks the entries that were applied last before it.
    SnapshotLacksLastBatch,
    /// A snapshot has the members of the snapshot before.
    StaleConfiguration,
    /// A lease needs one acknowledgement too few.
    LeaseShortOfQuorum,
    /// A replica that lags is sent the changes from the second one on.
    ReplicaSkipsChange,
    /// Each command of a transaction is ordered by itself.
    ExecPiecewise,
    /// The reads of a transaction are answered before its writes are ordered.
    ExecReadsEarly,
    /// A transaction whose answer was lost is sent again.
    ExecRetried,
    /// Slots that move are served by their new owner before their keys are there.
    ServedBeforeArrival,
    /// Slots that move are served by their old owner until it drops them.
    OldOwnerServes,
    /// An answer that arrives when its slots have begun to move is taken for a refusal.
    RetriedAfterMove,
    /// A shard that gives slots away keeps their keys.
    DroppedKeysStay,
    /// A read repair replaces whatever it finds.
    RepairWritesOlder,
    /// Versions are the time of day.
    LwwByClock,
    /// Hints are kept in memory only.
    HintLostOnRestart,
    /// Anti-entropy leaves tombstones out, and drops them.
    DeletedKeyResurrected,
    /// A merge keeps one value of two copies that had not seen each other.
    SiblingsDropped,
    /// A node counts the writes of a copy that it had forgotten from the beginning again.
    ActorReused,
    /// A vote does not look at how far the candidate is.
    PromotedReplicaBehind,
    /// A primary that has lost its replicas is a majority by itself.
    TwoPrimariesAfterPause,
    /// A replica goes on from its own offset, whatever its last writes are.
    ResyncSkipsRange,
}

/// Returns every seeded bug.
pub(crate) fn specs() -> Vec<BugSpec> {
    let raft = || vec!["raft".to_owned()];
    let ring = || vec!["ring".to_owned()];
    vec![
        BugSpec {
            name: "ack-before-commit".into(),
            defect: "the leader acknowledges an unconditional write once it is in its own log".into(),
            resembles: Some("MongoDB's write concern 1, its default before 5.0; Redis replication".into()),
            anomaly: "acknowledged writes are lost after a failover, or not seen by later reads".into(),
            modes: raft(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "stale-leader-read".into(),
            defect: "a node that believes it is the leader answers reads from its own copy, without asking a quorum".into(),
            resembles: Some("etcd 0.4 and Consul as Jepsen found them in 2014".into()),
            anomaly: "a deposed leader returns values that were overwritten before the read began".into(),
            modes: raft(),
            options: BTreeMap::new(),
            nodes_min: 1,
        }
        .with_option("reads", ["index", "lease"]),
        BugSpec {
            name: "vote-not-persisted".into(),
            defect: "the term and the vote are kept in memory only, and are lost in a restart".into(),
            resembles: Some("a Raft that answers before it saves currentTerm and votedFor".into()),
            anomaly: "acknowledged writes are deleted by a leader of an older term, and replaced values come back".into(),
            modes: raft(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "fsync-skipped".into(),
            defect: "commits are acknowledged before they are durable".into(),
            resembles: Some("Redis with appendfsync everysec; Elasticsearch's asynchronous translog".into()),
            anomaly: "acknowledged writes are lost when enough nodes are killed".into(),
            modes: vec!["raft".into(), "primary".into(), "ring".into()],
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "cas-before-order".into(),
            defect: "a compare-and-set is compared with the state at its arrival; then a blind write is ordered".into(),
            resembles: Some("check-then-act: a condition tested before the order is made".into()),
            anomaly: "two compare-and-sets from the same value both succeed".into(),
            modes: raft(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "leadership-resumed".into(),
            defect: "a leader that restarts continues to lead by the vote it saved, without an election, and answers reads as of the \
                     last committed position that it saved"
                .into(),
            resembles: Some("a Raft that answers reads before the leader has committed an entry of its own term".into()),
            anomaly: "right after a restart, a leader returns values that were overwritten before the restart".into(),
            modes: raft(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "snapshot-lacks-last-batch".into(),
            defect: "a snapshot has the position of now and the contents from before the entries that were applied last"
                .into(),
            resembles: Some(
                "etcd 3.5.0 to 3.5.2, which could save the index of an entry without its changes (issue 13766)".into(),
            ),
            anomaly: "nodes that start from a snapshot lack acknowledged writes, which are lost once such a node leads"
                .into(),
            modes: raft(),
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "stale-configuration".into(),
            defect: "a snapshot keeps the members of the snapshot before it, not those that were added or removed since".into(),
            resembles: Some("a snapshot whose metadata are copied from the one before".into()),
            anomaly: "a node that starts from a snapshot counts on members that are gone; one that joined since never serves again"
                .into(),
            modes: raft(),
            options: BTreeMap::new(),
            nodes_min: 3,
        },
        BugSpec {
            name: "lease-short-of-quorum".into(),
            defect: "with reads=lease, a lease needs one acknowledgement too few, so that a leader keeps it without a quorum"
                .into(),
            resembles: Some("a leader that counts itself twice".into()),
            anomaly: "a leader that is cut off together with a minority returns values that were overwritten".into(),
            modes: raft(),
            options: BTreeMap::new(),
            nodes_min: 4,
        }
        .with_option("reads", ["lease"]),
        BugSpec {
            name: "replica-skips-change".into(),
            defect: "a replica that lags by more than fifty changes is sent those after the next one".into(),
            resembles: Some("an offset taken for a count: the boundary of a batch counted on both sides".into()),
            anomaly: "with read=any, a replica returns an old value for ever, and the replicas never agree".into(),
            modes: vec!["primary".into()],
            options: BTreeMap::new(),
            nodes_min: 2,
        }
        .with_option("read", ["any"]),
        BugSpec {
            name: "exec-piecewise".into(),
            defect: "EXEC has each queued command ordered by itself, so that others come between them".into(),
            resembles: Some("a batch of statements that is sent without a transaction around it".into()),
            anomaly: "reads see half of a transaction (G-single); of two transactions that read and then write the same keys, \
                      each misses the other (lost update, G2-item)"
                .into(),
            modes: vec!["raft".into(), "primary".into()],
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "exec-reads-early".into(),
            defect: "the reads of a transaction are answered from the state at its arrival; its writes are ordered later"
                .into(),
            resembles: Some("snapshot reads without a check for conflicts at the commit".into()),
            anomaly: "two transactions both read the state before the other (G2-item, G-single, lost update)".into(),
            modes: vec!["raft".into(), "primary".into()],
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "exec-retried".into(),
            defect: "a node whose leader changes or is cut off before it has answered a transaction sends it again".into(),
            resembles: Some("MongoDB 4.2.6: Jepsen found duplicate writes in 2020, and MongoDB a bug in its retry of transactions".into()),
            anomaly: "a transaction takes effect twice: duplicate elements of lists, and values that come back".into(),
            modes: raft(),
            options: BTreeMap::new(),
            nodes_min: 2,
        },
        BugSpec {
            name: "served-before-arrival".into(),
            defect: "a move of slots names the new owner, which serves them from then on, before their keys have arrived".into(),
            resembles: Some("a handover that changes the routing table first and copies afterwards".into()),
            anomaly: "reads miss values that were written, and what is written meanwhile is overwritten by the keys that arrive"
                .into(),
            modes: vec!["sharded".into()],
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "old-owner-serves".into(),
            defect: "the old owner of slots that move serves them until it drops them, so that no request has to wait".into(),
            resembles: Some("a migration that copies keys while the source accepts writes, and copies no changes after them".into()),
            anomaly: "writes that were acknowledged after their keys were copied are lost".into(),
            modes: vec!["sharded".into()],
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "retried-after-move".into(),
            defect: "an answer that arrives when its slots have begun to move is taken for a refusal: the request is sent again"
                .into(),
            resembles: Some("a client that follows a redirection for a request that was executed".into()),
            anomaly: "a write takes effect twice: a counter exceeds the sum of what was added".into(),
            modes: vec!["sharded".into()],
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "dropped-keys-stay".into(),
            defect: "a shard that gives slots away keeps their keys, which nothing reads as long as the slots are elsewhere".into(),
            resembles: Some("Elasticsearch's dangling indices, which return with a node that missed their deletion".into()),
            anomaly: "a key that was deleted at its new owner comes back when its slot does".into(),
            modes: vec!["sharded".into()],
            options: BTreeMap::new(),
            nodes_min: 1,
        },
        BugSpec {
            name: "repair-writes-older".into(),
            defect: "a read repair replaces an owner's copy without looking at its version again".into(),
            resembles: Some("check-then-act: a comparison that is out of date when the write arrives".into()),
            anomaly: "an acknowledged write is undone by a read that began before it".into(),
            modes: ring(),
            options: BTreeMap::new(),
            nodes_min: 3,
        }
        .with_option("read_repair", ["sync", "async"]),
        BugSpec {
            name: "lww-by-clock".into(),
            defect: "the version of a write is the time of day of the node that coordinates it".into(),
            resembles: Some("Cassandra's timestamps; Riak's last-write-wins, as Jepsen found it in 2013".into()),
            anomaly: "an acknowledged write loses against an earlier one, by a node whose clock is ahead".into(),
            modes: ring(),
            options: BTreeMap::new(),
            nodes_min: 2,
        }
        .with_option("conflict", ["lww"]),
        BugSpec {
            name: "hint-lost-on-restart".into(),
            defect: "with sloppy=on, a hint is acknowledged when it is in memory".into(),
            resembles: Some("a hinted hand-off whose hints are not synced to disk".into()),
            anomaly: "a write that only stand-ins had acknowledged is lost when they are killed".into(),
            modes: ring(),
            options: BTreeMap::new(),
            nodes_min: 4,
        }
        .with_option("sloppy", ["on"]),
        BugSpec {
            name: "deleted-key-resurrected".into(),
            defect: "anti-entropy compares live keys only, and drops the tombstones on which two owners agree".into(),
            resembles: Some("Cassandra's tombstones, collected after gc_grace_seconds though an owner was away".into()),
            anomaly: "an owner that was away brings deleted values back".into(),
            modes: ring(),
            options: BTreeMap::new(),
            nodes_min: 3,
        },
        BugSpec {
            name: "siblings-dropped".into(),
            defect: "with conflict=siblings, a copy that meets another keeps one of the values that were written without knowledge of \
                     each other"
                .into(),
            resembles: Some("Riak without allow_mult, its default for years, as Jepsen found it in 2013".into()),
            anomaly: "an acknowledged write is lost to one that had not seen it".into(),
            modes: ring(),
            options: BTreeMap::new(),
            nodes_min: 2,
        }
        .with_option("conflict", ["siblings"]),
        BugSpec {
            name: "actor-reused".into(),
            defect: "with conflict=siblings and sloppy=on, a node that has handed a copy off, and forgotten it, counts its next writes of \
                     that key from one again, under the same actor"
                .into(),
            resembles: Some("Riak before 2.1 (riak_kv issue 679): a vnode that had lost a key counted from one again".into()),
            anomaly: "copies take an acknowledged write for one that they have seen and replaced, and drop it".into(),
            modes: ring(),
            options: BTreeMap::new(),
            nodes_min: 4,
        }
        .with_option("conflict", ["siblings"])
        .with_option("sloppy", ["on"]),
        BugSpec {
            name: "promoted-replica-behind".into(),
            defect: "with failover=auto, a node votes for any replica that asks, however far it is behind".into(),
            resembles: Some(
                "PostgreSQL failover managers that promote a replica by its priority, without comparing WAL positions".into(),
            ),
            anomaly: "writes that another replica had acknowledged are lost with the promotion".into(),
            modes: vec!["primary".into()],
            options: BTreeMap::new(),
            nodes_min: 3,
        }
        .with_option("failover", ["auto"])
        .with_option("ack", ["semi", "sync"]),
        BugSpec {
            name: "two-primaries-after-pause".into(),
            defect: "with failover=auto and ack=sync, a primary takes replicas that are out of contact for gone, and itself for a                      majority of those that are left"
                .into(),
            resembles: Some(
                "MySQL's semi-synchronous replication, which falls back to asynchronous without a replica; the split brain that                  Jepsen found in Elasticsearch in 2014"
                    .into(),
            ),
            anomaly: "a primary that was away goes on beside its successor: it acknowledges writes that are lost, and reads of it                       miss the successor's"
                .into(),
            modes: vec!["primary".into()],
            options: BTreeMap::new(),
            nodes_min: 3,
        }
        .with_option("failover", ["auto"])
        .with_option("ack", ["sync"]),
        BugSpec {
            name: "resync-skips-range".into(),
            defect: "with failover=auto, a replica goes on from its own offset under a new primary, though its last writes may be                      others"
                .into(),
            resembles: Some(
                "Kafka before KIP-101, whose followers truncated by the high watermark instead of the leader's epoch".into(),
            ),
            anomaly: "a deposed primary keeps writes that were lost, and lacks as many of its successor's: replicas never agree"
                .into(),
            modes: vec!["primary".into()],
            options: BTreeMap::new(),
            nodes_min: 3,
        }
        .with_option("failover", ["auto"]),
    ]
}

/// When a commit is complete on a node with this bug, or without one.
pub fn syncing(bug: Option<Bug>) -> Syncing {
    match bug {
        Some(Bug::FsyncSkipped) => Syncing::Skipped,
        _ => Syncing::Durable,
    }
}
