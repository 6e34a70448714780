//! The options of the broker's clients; those of a node come from the broker itself.

use duress_settings::{OptionSpec, Values};

/// The settings that compact a table's topic during a run: segments of a dozen records, cleaned when a tenth
/// is new, so that compaction has covered the last record of many keys.
pub(super) const TABLE_CONFIG: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.bytes", "1024"), ("min.cleanable.dirty.ratio", "0.1")];

/// The names of the clients' options, in the order in which they are listed.
const NAMES: [&str; 6] = ["acks", "idempotent", "retries", "commit", "processing", "member-session-ms"];

/// Whether `name` is an option of the clients, which nodes do not know.
pub(super) fn is_of_clients(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Returns the clients' options, in all of `modes`.
pub(super) fn client_options(modes: &[String]) -> Vec<OptionSpec> {
    let option = |name: &str, values: Values, default: &str, summary: &str| OptionSpec {
        name: name.to_owned(),
        values,
        default: default.to_owned(),
        summary: summary.to_owned(),
        modes: modes.to_vec(),
        drawn: Vec::new(),
    };
    let [acks, idempotent, retries, commit, processing, session] = NAMES;
    vec![
        option(
            acks,
            Values::words(["all", "1", "0"]),
            "all",
            "which replicas must have a message before it is acknowledged: all in sync, the leader, or none (the client \
             does not wait for an answer)",
        ),
        option(
            idempotent,
            Values::words(["on", "off"]),
            "on",
            "whether messages bear sequence numbers, by which a broker recognises retries (not with acks=0)",
        ),
        option(
            retries,
            Values::Whole { min: 0, max: 1000 },
            "0",
            "how often a client retries messages whose outcome it does not know",
        )
        // A broker must recognise what it has: without retries, its account of sequence numbers would not be exercised.
        .drawn(["0", "3", "10"]),
        option(
            commit,
            Values::words(["after", "before", "manual"]),
            "after",
            "when a member of a group commits polled messages: with the next poll, before it returns them, or by commit \
             operations only",
        ),
        option(
            processing,
            Values::words(["exactly-once", "at-least-once"]),
            "exactly-once",
            "how the workers of a stream process: outputs and offsets in one transaction, or offsets after the outputs",
        ),
        option(
            session,
            // The broker refuses members with a session outside of this range.
            Values::Whole { min: 500, max: 1_800_000 },
            "6000",
            "how long a member of a group may be silent before its partitions are given to others",
        )
        // A short session ends while a client is cut off, and the client returns as a former member.
        .drawn(["1000", "2000", "6000"]),
    ]
}
