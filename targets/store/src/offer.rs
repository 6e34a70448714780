//! The modes and options that a user can choose from, in their only list; the bugs are listed in [`crate::bug`].

use std::sync::LazyLock;

use duress_settings::{Mode, Offer, OptionSpec, Values};

use crate::bug;

/// Returns the modes, options and seeded bugs of the store.
pub fn offer() -> &'static Offer {
    static OFFER: LazyLock<Offer> = LazyLock::new(|| Offer {
        programs: Vec::new(),
        modes: modes(),
        options: options(),
        bugs: bug::specs(),
    });
    &OFFER
}

fn modes() -> Vec<Mode> {
    vec![
        Mode {
            name: "raft".into(),
            summary: "consensus: every node holds every key, a majority decides".into(),
            promises: "linearizable; progress while a majority is connected. With reads=lease, reads are linearizable \
                       while the leader's wall clock falls behind the others' clocks by no more than drift_bound_ms; \
                       with reads=local they may be stale"
                .into(),
        },
        Mode {
            name: "primary".into(),
            summary: "one node is the primary, the others copy its writes; with failover=auto a replica takes over from it".into(),
            promises: "linearizable with read=primary; with read=any writes are, and reads may be stale. With failover=off no \
                       writes while the primary is away; with failover=auto progress while a majority is connected, if too few \
                       nodes acknowledge a write for every majority to have it (ack=async; ack=semi from five nodes on), \
                       registers alone, and acknowledged writes may be lost: each read returns some value that was written"
                .into(),
        },
        Mode {
            name: "sharded".into(),
            summary: "hash slots as in Redis Cluster, over shards that are each a consensus group of all nodes; slots move between \
                      shards while clients run"
                .into(),
            promises: "linearizable key by key, and transactions on keys of one shard are strictly serializable; MGET, DEL, EXISTS, \
                       DBSIZE and SCAN over several shards are not atomic; progress while a majority is connected"
                .into(),
        },
        Mode {
            name: "ring".into(),
            summary: "consistent hashing: a few nodes own each key, any node takes requests, quorums of owners answer".into(),
            promises: "registers without compare-and-set. With r + w > n and sloppy=off: linearizable with \
                       read_repair=sync, else regular; otherwise eventual: acknowledged writes may be lost to others. With \
                       conflict=siblings instead sets, eventual whatever the quorums: no acknowledged write is lost unless a write \
                       that had seen it replaced it"
                .into(),
        },
    ]
}

fn options() -> Vec<OptionSpec> {
    let option = |modes: &str, name: &str, values, default: &str, summary: &str| OptionSpec {
        name: name.into(),
        values,
        default: default.into(),
        summary: summary.into(),
        modes: modes.split(' ').map(str::to_owned).collect(),
        drawn: Vec::new(),
    };
    let count = || Values::Whole { min: 1, max: 1_000_000_000 };
    let quorum = || Values::Whole { min: 1, max: 9 };
    let millis = || Values::Whole { min: 1, max: 60_000 };
    vec![
        option(
            "primary",
            "read",
            Values::words(["primary", "any"]),
            "primary",
            "the copy that answers a read: the primary's, or that of the requested node",
        ),
        option(
            "primary",
            "log_keep",
            count(),
            "20000",
            "writes the primary keeps for replicas that fall behind; further behind, a replica gets a full copy",
        ).drawn(["5", "100", "20000"]),
        option(
            "primary",
            "ack",
            Values::words(["async", "semi", "sync"]),
            "async",
            "when a write is acknowledged: once it is on the primary's disk; on that of one replica too; or on those of all \
             replicas that have asked for writes in the last 600 ms, with failover=auto of a majority of the nodes at least",
        ),
        option(
            "primary",
            "failover",
            Values::words(["off", "auto"]),
            "off",
            "off: the first node by name is the primary, always; auto: a majority that has lost the primary elects a replica",
        ),
        option(
            "raft sharded",
            "snapshot_every",
            count(),
            "5000",
            "log entries after which a snapshot is taken and the log before it purged",
        ).drawn(["20", "200", "1000", "5000"]),
        option(
            "raft",
            "reads",
            Values::words(["index", "lease", "local"]),
            "index",
            "how a read is served: after a quorum confirms the leader; by the leader while its lease lasts; or by any \
             node from its own copy, which may be stale",
        ),
        option(
            "raft",
            "lease_ms",
            millis(),
            "400",
            "with reads=lease, how long a leader relies on a quorum, by its wall clock",
        ),
        option(
            "raft",
            "drift_bound_ms",
            millis(),
            "300",
            "with reads=lease, how far that clock may fall behind the others' during a lease; together with lease_ms at \
             most election_max_ms, since no other leader is elected for that long",
        ),
        option("ring", "n", quorum(), "3", "how many nodes own a key; all, if there are fewer"),
        option("ring", "r", quorum(), "2", "how many owners a read asks; at most n"),
        option("ring", "w", quorum(), "2", "how many owners have a write on disk when it is acknowledged; at most n"),
        option(
            "ring",
            "read_repair",
            Values::words(["sync", "async", "off"]),
            "sync",
            "how a read repairs older copies: it waits until w owners have the value that it returns; it sends that value to \
             owners that lack it, and does not wait; or it does nothing",
        ),
        option(
            "ring",
            "sloppy",
            Values::words(["off", "on"]),
            "off",
            "whether the next nodes of the ring stand in for owners that cannot be reached, and hand hints off to them later",
        ),
        option(
            "ring",
            "conflict",
            Values::words(["lww", "siblings"]),
            "lww",
            "what becomes of two writes of a key that had not seen each other: the last write wins, that of the higher version; or \
             both values are kept, until a write replaces them that says that it has seen both (RING.GET, RING.SET)",
        ),
        option("ring", "vnodes", Values::Whole { min: 1, max: 1_024 }, "64", "points of each node on the ring")
            .drawn(["1", "16", "64"]),
        option(
            "ring",
            "anti_entropy_ms",
            Values::Whole { min: 10, max: 5_000 },
            "500",
            "time between two comparisons of a node's copies with those of the other owners",
        )
        .drawn(["100", "500", "2000"]),
        option("raft sharded primary", "heartbeat_ms", millis(), "100", "time between the heartbeats of a leader")
            .drawn(["50", "100"]),
        option(
            "raft sharded primary",
            "election_min_ms",
            millis(),
            "300",
            "the shortest silence after which a node stands for election; more than heartbeat_ms",
        ).drawn(["250", "300", "400"]),
        option(
            "raft sharded primary",
            "election_max_ms",
            millis(),
            "700",
            "the longest such silence; more than election_min_ms",
        ).drawn(["700", "900", "1200"]),
        option("sharded", "shards", Values::Whole { min: 1, max: 16 }, "2", "the number of shards")
            .drawn(["1", "2", "3"]),
        option(
            "sharded",
            "rebalance_every_ms",
            Values::Whole { min: 0, max: 60_000 },
            "0",
            "time from one move of some slots to another shard until the next; 0: slots move on request only",
        ).drawn(["0", "200", "500", "2000"]),
        option(
            "sharded",
            "chunk_keys",
            Values::Whole { min: 1, max: 1_024 },
            "128",
            "how many keys of moving slots are handed over at once, as one entry of the log, at most",
        )
        .drawn(["1", "8", "128"]),
    ]
}
