//! What the broker offers: its mode, options and seeded defects.

use crate::catalogue::{BugSpec, Delivery, Findable, Mode, OptionSpec, Promise, Scenario, Values};

/// The options that are the clients' alone; the others are the brokers' too.
pub(super) const CLIENT_OPTIONS: [&str; 4] = ["acks", "idempotent", "retries", "commit"];

/// What makes a table's topic be compacted while a run lasts: segments of a dozen records, cleaned when a tenth is new, so
/// that the last record of many a key has been through it.
pub(super) const TABLE_CONFIG: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.bytes", "1024"), ("min.cleanable.dirty.ratio", "0.1")];

const ALL: &[&str] = &["isr"];

pub(super) static MODES: [Mode; 1] = [Mode {
    name: "isr",
    summary: "every partition has a leader and followers, of which those in sync may succeed it; a majority of all nodes \
              decides who that is",
    promises: "order within a partition; every acknowledged message stored exactly once and consumed at least once. \
               Without acks=all, or with unclean=on or fsync=never, messages may be lost; with retries and without \
               idempotence they may be there twice; with commit=before each is consumed at most once",
    promise: Promise::Messages { stored: Delivery::ExactlyOnce, consumed: Delivery::AtLeastOnce },
}];

pub(super) static OPTIONS: [OptionSpec; 11] = [
    OptionSpec {
        name: "acks",
        values: Values::Words(&["all", "1", "0"]),
        default: "all",
        summary: "who must have a message before it is acknowledged: all in sync, the leader, or nobody (it is not)",
        modes: ALL,
    },
    OptionSpec {
        name: "min-insync",
        values: Values::Whole { min: 1, max: 100 },
        default: "2",
        summary: "with acks=all, how many replicas must be in sync for a message to be taken",
        modes: ALL,
    },
    OptionSpec {
        name: "idempotent",
        values: Values::Words(&["on", "off"]),
        default: "on",
        summary: "whether messages bear sequence numbers, by which a broker tells what was sent again (not with acks=0)",
        modes: ALL,
    },
    OptionSpec {
        name: "retries",
        values: Values::Whole { min: 0, max: 1000 },
        default: "0",
        summary: "how often a client sends the same messages again when it does not know what became of them",
        modes: ALL,
    },
    OptionSpec {
        name: "commit",
        values: Values::Words(&["after", "before", "manual"]),
        default: "after",
        summary: "when a member of a group commits what it polled: with the next poll, before it hands it out, or by commit \
                  operations only",
        modes: ALL,
    },
    OptionSpec {
        name: "replication",
        values: Values::Whole { min: 1, max: 100 },
        default: "3",
        summary: "how many nodes keep each partition, at most as many as there are",
        modes: ALL,
    },
    OptionSpec {
        name: "unclean",
        values: Values::Words(&["off", "on"]),
        default: "off",
        summary: "whether a replica that is not in sync may lead when no other is there",
        modes: ALL,
    },
    OptionSpec {
        name: "fsync",
        values: Values::Words(&["always", "never"]),
        default: "always",
        summary: "whether messages are made durable before they are acknowledged, or when the kernel likes",
        modes: ALL,
    },
    OptionSpec {
        name: "lag-ms",
        values: Values::Whole { min: 100, max: 60_000 },
        default: "2000",
        summary: "how long a follower may be behind before it is out of sync",
        modes: ALL,
    },
    // Shorter than most faults last: what is not noticed brings no other leader, and puts nothing to the test.
    OptionSpec {
        name: "session-ms",
        values: Values::Whole { min: 200, max: 60_000 },
        default: "1000",
        summary: "how long a broker may be silent before others lead in its place",
        modes: ALL,
    },
    OptionSpec {
        name: "cleanup-ms",
        values: Values::Whole { min: 10, max: 3_600_000 },
        default: "500",
        summary: "how often logs are looked at for what may go: by age, by size, or because it was superseded",
        modes: ALL,
    },
];

/// Three nodes for half a minute, which is what most defects need.
const BASE: Scenario = Scenario {
    workload: "log",
    mode: "isr",
    options: &[],
    faults: &["partition:isolate-leader"],
    nodes: 3,
    interval_s: 4,
    time_limit_s: 30,
    timeout_s: None,
};

pub(super) static BUGS: [BugSpec; 12] = [
    BugSpec {
        name: "high-watermark-before-replication",
        defect: "the leader acknowledges what it has in its own log, whatever acks says",
        anomaly: "acknowledged messages are lost when the leader is replaced",
        modes: ALL,
        scenario: BASE,
        findable: Findable::Now,
    },
    BugSpec {
        name: "isr-shrink-ignored",
        defect: "a cut-off leader takes its followers out of the in-sync set by itself, as in Kafka before KIP-497",
        anomaly: "acknowledged messages are lost when one of them, still in sync for the controller, is elected",
        modes: ALL,
        // A leader that is alone must be enough for a message to be taken: plain code still waits for the others.
        scenario: Scenario { options: &[("min-insync", "1")], ..BASE },
        findable: Findable::Now,
    },
    BugSpec {
        name: "unclean-election",
        defect: "whoever is alive is elected, in sync or not, as Kafka did by default until 0.11",
        anomaly: "acknowledged messages are lost when a replica that lags takes over",
        modes: ALL,
        // While one leader is cut off, its successor writes; then that one is cut off too, just as the first, which lags,
        // is back: it comes first in the order of preference.
        scenario: Scenario { faults: &["partition:rolling-leader"], interval_s: 5, ..BASE },
        findable: Findable::Now,
    },
    BugSpec {
        name: "truncate-to-high-watermark",
        defect: "a follower cuts its log to its own high watermark, as in Kafka before KIP-101",
        anomaly: "acknowledged messages are lost: both replicas cut what both had",
        modes: ALL,
        scenario: Scenario { faults: &["kill:all", "kill:leader"], interval_s: 3, ..BASE },
        findable: Findable::Now,
    },
    BugSpec {
        name: "sequence-unchecked",
        defect: "a broker does not look at the sequence numbers of producers",
        anomaly: "messages that were sent again are there twice",
        modes: ALL,
        scenario: Scenario { options: &[("retries", "5")], ..BASE },
        findable: Findable::Now,
    },
    BugSpec {
        name: "sequence-lost-on-failover",
        defect: "what a leader knows of sequence numbers does not reach its successor",
        anomaly: "messages that were sent again after a failover are there twice",
        modes: ALL,
        // A client must not give up before there is a new leader to send to again.
        scenario: Scenario {
            options: &[("retries", "100")],
            faults: &["kill:leader"],
            timeout_s: Some(6),
            ..BASE
        },
        findable: Findable::Now,
    },
    BugSpec {
        name: "offset-commit-lost-on-move",
        defect: "a new coordinator does not read the offsets that were committed with its predecessor",
        anomaly: "committed offsets go back when the coordinator is replaced",
        modes: ALL,
        // Whoever commits before handing out must not hand out again.
        scenario: Scenario {
            workload: "queue",
            options: &[("commit", "before")],
            faults: &["kill:one"],
            ..BASE
        },
        findable: Findable::Now,
    },
    BugSpec {
        name: "offset-committed-before-delivery",
        defect: "what a member of a group had been given counts as read once it is gone, and is committed to the end",
        anomaly: "messages are never consumed when a consumer dies",
        modes: ALL,
        scenario: Scenario { workload: "queue", faults: &["kill:one"], ..BASE },
        findable: Findable::Now,
    },
    BugSpec {
        name: "compaction-drops-latest",
        defect: "compaction keeps the first message of a key that it meets, not the last",
        anomaly: "a key of a table has an older value, or comes back after it was deleted",
        modes: ALL,
        scenario: Scenario { workload: "table", faults: &[], time_limit_s: 20, ..BASE },
        findable: Findable::Now,
    },
    BugSpec {
        name: "torn-tail-kept",
        defect: "recovery skips what it cannot read and keeps what stands behind it, as if nothing were missing",
        anomaly: "consumers are led past messages that are there, once a replica with holes is elected",
        modes: ALL,
        // Without syncs there is enough to be torn; one node at a time, so that nothing is lost for good, and leaders,
        // so that one that was torn leads again.
        scenario: Scenario {
            options: &[("fsync", "never")],
            faults: &["disk:torn@leader"],
            interval_s: 3,
            ..BASE
        },
        findable: Findable::Now,
    },
    BugSpec {
        name: "fsync-skipped",
        defect: "messages are acknowledged while only the kernel has them",
        anomaly: "acknowledged messages are lost when enough nodes lose power",
        modes: ALL,
        scenario: Scenario { faults: &["disk:power-loss@all"], interval_s: 3, ..BASE },
        findable: Findable::Now,
    },
    BugSpec {
        name: "fetch-beyond-high-watermark",
        defect: "consumers are given what the leader alone has",
        anomaly: "consumers see messages that later are gone, or others in their places",
        modes: ALL,
        scenario: BASE,
        findable: Findable::Now,
    },
];
