//! The mode and the options that a user can choose from, in their only list; the bugs are listed in [`crate::bug`].

use std::sync::LazyLock;

use duress_settings::{Mode, Offer, OptionSpec, Values};

use crate::bug;

/// Returns the mode, options and seeded bugs of the broker.
pub fn offer() -> &'static Offer {
    static OFFER: LazyLock<Offer> = LazyLock::new(|| Offer {
        programs: Vec::new(),
        modes: vec![mode()],
        options: options(),
        bugs: bug::specs(),
    });
    &OFFER
}

fn mode() -> Mode {
    Mode {
        name: "isr".into(),
        summary: "every partition has a leader and followers, and an in-sync follower succeeds the leader; a majority of \
                  all nodes decides which one"
            .into(),
        promises: "order within a partition; every acknowledged message stored exactly once and consumed at least once. \
                   Without acks=all, or with unclean=on or fsync other than always, messages may be lost; with retries \
                   and without idempotence they may be stored twice; with commit=before each is consumed at most once. Inputs of a \
                   stream are processed exactly once, with processing=at-least-once perhaps more often"
            .into(),
    }
}

fn options() -> Vec<OptionSpec> {
    let option = |name: &str, values, default: &str, summary: &str| OptionSpec {
        name: name.into(),
        values,
        default: default.into(),
        summary: summary.into(),
        modes: vec!["isr".into()],
        drawn: Vec::new(),
    };
    let count = || Values::Whole { min: 1, max: 1_000 };
    let millis = || Values::Whole { min: 1, max: 3_600_000 };
    let whole_or =
        |word: &str| Values::WordsOrWhole { words: vec![word.into()], min: 1, max: 1_000_000_000_000_000 };
    vec![
        option(
            "replication",
            count(),
            "3",
            "how many nodes keep each partition, at most as many as there are, unless the topic sets it",
        ),
        option(
            "min-insync",
            count(),
            "2",
            "with acks=all, how many replicas must be in sync for a message to be accepted, unless the topic sets it; \
             at most as many as keep the partition",
        ),
        option(
            "unclean",
            Values::words(["off", "on"]),
            "off",
            "whether a replica that is not in sync may lead when no other is alive, unless the topic sets it",
        ),
        option(
            "fsync",
            Values::WordsOrWhole { words: vec!["always".into(), "never".into()], min: 1, max: 3_600_000 },
            "always",
            "when messages are made durable: before they are acknowledged, when the kernel writes them back, or this many \
             milliseconds after the last sync",
        ),
        option("partitions", count(), "1", "partitions of a topic that does not say how many"),
        option(
            "offsets-partitions",
            count(),
            "3",
            "partitions of the topic that holds committed offsets, and of that which holds transactions",
        )
        .drawn(["1", "3"]),
        option(
            "auto-create",
            Values::words(["on", "off"]),
            "on",
            "whether a topic is made when a client asks for one that does not exist",
        ),
        option("lag-ms", millis(), "2000", "how long a follower may be behind before it is out of sync")
            .drawn(["1000", "2000", "4000"]),
        // Shorter than most faults last: a fault that goes unnoticed brings no other leader, and puts nothing to the test.
        option(
            "session-ms",
            millis(),
            "1000",
            "how long a broker may be silent before other brokers lead in its place",
        )
        .drawn(["800", "1000", "1500"]),
        option("heartbeat-ms", millis(), "100", "time between the heartbeats of the controllers' leader")
            .drawn(["50", "100"]),
        option(
            "election-min-ms",
            millis(),
            "300",
            "the shortest silence after which a controller stands for election; more than heartbeat-ms",
        )
        .drawn(["250", "300", "400"]),
        option("election-max-ms", millis(), "700", "the longest such silence; more than election-min-ms")
            .drawn(["700", "900"]),
        option(
            "segment-bytes",
            Values::Whole { min: 1, max: 1 << 40 },
            "67108864",
            "size at which a segment of a log is closed, where the topic does not say",
        )
        .drawn(["4096", "65536", "67108864"]),
        option(
            "retention-ms",
            whole_or("-1"),
            "604800000",
            "how long messages are kept, unless the topic sets it; -1 keeps them for ever",
        ),
        option(
            "retention-bytes",
            whole_or("-1"),
            "-1",
            "size beyond which a partition loses its oldest segments, unless the topic sets it; -1 lets it grow",
        ),
        option(
            "cleanup-ms",
            millis(),
            "500",
            "time between two cleanings of the logs: of messages that are too old, too many, or superseded",
        )
        .drawn(["100", "500"]),
        option(
            "rebalance-delay-ms",
            millis(),
            "300",
            "how long a group waits for its first members before partitions are assigned",
        )
        .drawn(["50", "300"]),
    ]
}
