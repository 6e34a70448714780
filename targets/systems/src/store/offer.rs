//! What the store offers: its modes, options and seeded defects.

use crate::catalogue::{BugSpec, Findable, Mode, OptionSpec, Promise, Scenario, Values};

pub(super) static MODES: [Mode; 2] = [
    Mode {
        name: "raft",
        summary: "consensus: every node holds every key, a majority decides",
        promises: "linearizable; progress while a majority is connected. With reads=lease reads are linearizable while the \
                   leader's wall clock falls behind the others' clocks by no more than drift_bound_ms; with reads=local \
                   they may be stale",
        promise: Promise::Linearizable,
    },
    Mode {
        name: "primary",
        summary: "the first node is the primary, the others copy its writes asynchronously; no failover",
        promises: "linearizable with read=primary; with read=any writes are, and reads may be stale; nothing is written \
                   while the primary is away",
        promise: Promise::Linearizable,
    },
];

pub(super) static OPTIONS: [OptionSpec; 6] = [
    OptionSpec {
        name: "read",
        values: Values::Words(&["primary", "any"]),
        default: "primary",
        summary: "whose copy answers a read: the primary's, or that of whichever node is asked",
        modes: &["primary"],
    },
    OptionSpec {
        name: "log_keep",
        values: Values::Whole { min: 1, max: 1_000_000_000 },
        default: "20000",
        summary: "writes the primary keeps for replicas that fall behind; further behind, a replica gets a full copy",
        modes: &["primary"],
    },
    OptionSpec {
        name: "snapshot_every",
        values: Values::Whole { min: 1, max: 1_000_000_000 },
        default: "5000",
        summary: "log entries after which a snapshot is taken and the log before it purged",
        modes: &["raft"],
    },
    OptionSpec {
        name: "reads",
        values: Values::Words(&["index", "lease", "local"]),
        default: "index",
        summary: "how a read is made sure of: a quorum confirms the leader, or did so within its lease, or nobody does and \
                  each node answers from its own copy",
        modes: &["raft"],
    },
    OptionSpec {
        name: "lease_ms",
        values: Values::Whole { min: 1, max: 699 },
        default: "400",
        summary: "with reads=lease, how long a leader relies on a quorum, by its wall clock",
        modes: &["raft"],
    },
    OptionSpec {
        name: "drift_bound_ms",
        values: Values::Whole { min: 1, max: 699 },
        default: "300",
        summary: "with reads=lease, how far that clock may fall behind the others' during a lease; together at most 700, \
                  since nobody else is elected for so long",
        modes: &["raft"],
    },
];

pub(super) static BUGS: [BugSpec; 5] = [
    BugSpec {
        name: "ack-before-commit",
        defect: "the leader acknowledges a write once it is in its own log, as with MongoDB's write concern 1",
        anomaly: "acknowledged writes are lost after a failover, or not seen by later reads",
        modes: &["raft"],
        scenario: Scenario {
            workload: "register",
            mode: "raft",
            options: &[],
            faults: &["partition:isolate-leader"],
            nodes: 5,
            interval_s: 5,
            time_limit_s: 30,
            timeout_s: None,
        },
        findable: Findable::Now,
    },
    BugSpec {
        name: "stale-leader-read",
        defect: "whoever believes it leads answers reads without asking a quorum, as Consul's default reads do",
        anomaly: "a deposed leader returns values that were overwritten before the read began",
        modes: &["raft"],
        scenario: Scenario {
            workload: "register",
            mode: "raft",
            options: &[],
            faults: &["partition:isolate-leader"],
            nodes: 5,
            interval_s: 5,
            time_limit_s: 30,
            timeout_s: None,
        },
        findable: Findable::Now,
    },
    BugSpec {
        name: "vote-not-persisted",
        defect: "a Raft whose term and vote do not survive a restart",
        anomaly: "acknowledged writes are deleted by a leader of an older term, and values come back that were replaced",
        modes: &["raft"],
        // A deposed leader comes back while its successor is cut off, and meets a follower that was just started again and
        // has forgotten the successor: together they are a majority, and delete what the successor had committed.
        scenario: Scenario {
            workload: "register",
            mode: "raft",
            options: &[],
            faults: &["partition:rolling-leader", "kill:follower"],
            nodes: 3,
            interval_s: 3,
            time_limit_s: 40,
            timeout_s: None,
        },
        findable: Findable::Now,
    },
    BugSpec {
        name: "fsync-skipped",
        defect: "acknowledging before the data is durable, as Redis does with appendfsync everysec",
        anomaly: "acknowledged writes are lost when enough nodes are killed",
        modes: &["raft", "primary"],
        scenario: Scenario {
            workload: "register",
            mode: "raft",
            options: &[],
            faults: &["disk:power-loss@all"],
            nodes: 3,
            interval_s: 3,
            time_limit_s: 30,
            timeout_s: None,
        },
        findable: Findable::Now,
    },
    BugSpec {
        name: "cas-before-order",
        defect: "check-then-act: the comparison of a compare-and-set is made before the write is ordered",
        anomaly: "two compare-and-sets from the same value both succeed",
        modes: &["raft"],
        scenario: Scenario {
            workload: "register",
            mode: "raft",
            options: &[],
            faults: &[],
            nodes: 5,
            interval_s: 3,
            time_limit_s: 20,
            timeout_s: None,
        },
        findable: Findable::Now,
    },
];
