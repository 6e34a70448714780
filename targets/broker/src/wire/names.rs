//! Valid names of topics.

use crate::group::OFFSETS_TOPIC;
use crate::transaction::TRANSACTIONS_TOPIC;

/// Whether a topic may have that name: Kafka's rule.
pub fn is_valid_topic(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Whether that topic is an internal one of the brokers.
pub fn is_internal(name: &str) -> bool {
    name == OFFSETS_TOPIC || name == TRANSACTIONS_TOPIC
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_paths() {
        assert!(is_valid_topic("t0-2_a.b"));
        for name in ["", ".", "..", "a/b", "ä", "a b", &"x".repeat(250)] {
            assert!(!is_valid_topic(name), "{name}");
        }
    }
}
