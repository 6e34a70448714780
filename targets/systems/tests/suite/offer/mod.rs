//! The part of the store's offer that its clients' tests need: the store itself has the whole list.

use duress_settings::{Mode, Offer, OptionSpec, Values};

/// The modes, each with its own options, and the time-outs of elections.
pub fn store_offer() -> Offer {
    let mode = |name: &str| Mode { name: name.to_owned(), summary: String::new(), promises: String::new() };
    let option = |name: &str, values: Values, default: &str, modes: &str| OptionSpec {
        name: name.to_owned(),
        values,
        default: default.to_owned(),
        summary: String::new(),
        modes: modes.split(' ').map(str::to_owned).collect(),
        drawn: Vec::new(),
    };
    Offer {
        modes: vec![mode("raft"), mode("primary"), mode("sharded")],
        options: vec![
            option("reads", Values::words(["index", "local"]), "index", "raft"),
            option("read", Values::words(["primary", "any"]), "primary", "primary"),
            option("ack", Values::words(["async", "semi", "sync"]), "async", "primary"),
            option("failover", Values::words(["off", "auto"]), "off", "primary"),
            option("shards", Values::Whole { min: 1, max: 16 }, "2", "sharded"),
            option("election_min_ms", Values::Whole { min: 1, max: 60_000 }, "300", "raft primary sharded"),
            option("election_max_ms", Values::Whole { min: 1, max: 60_000 }, "700", "raft primary sharded"),
        ],
        ..Offer::default()
    }
}
