//! Commands and queries, and the state they act on.
//!
//! A [`Command`] changes the state and must be ordered; a [`Query`] only reads it. Applying a command is
//! deterministic: every node that applies the same commands in the same order has the same state and would give
//! the same replies.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// When a [`Command::Set`] takes effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Always.
    Always,
    /// If the key has no value (`NX`).
    IfAbsent,
    /// If the key has a value (`XX`).
    IfPresent,
    /// If the key has exactly this value (`IFEQ`, compare-and-set).
    IfEqual(Bytes),
}

/// A change to the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Gives a key a value, under a condition.
    Set {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// When it takes effect.
        condition: Condition,
    },
    /// Removes keys.
    Delete {
        /// The keys; one that has no value is skipped.
        keys: Vec<Bytes>,
    },
    /// Adds to the decimal integer a key holds; a missing key counts as 0.
    Increment {
        /// The key.
        key: Bytes,
        /// The number to add.
        by: i64,
    },
}

impl Command {
    /// The keys it may change.
    pub fn keys(&self) -> &[Bytes] {
        match self {
            Self::Set { key, .. } | Self::Increment { key, .. } => std::slice::from_ref(key),
            Self::Delete { keys } => keys,
        }
    }
}

/// The reply to a [`Command`] that was executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The write took effect.
    Done,
    /// The condition did not hold; nothing changed, and this is what the key has.
    NotDone(Option<Bytes>),
    /// A count, or the new value of an integer.
    Integer(i64),
    /// The value is not an integer in range; nothing changed.
    NotAnInteger,
    /// The sum does not fit 64 bits; nothing changed.
    Overflow,
}

/// A read of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// The value of one key.
    Get(Bytes),
    /// The values of several keys, as of one moment.
    GetMany(Vec<Bytes>),
    /// How many of the keys have a value; a key named twice counts twice.
    CountPresent(Vec<Bytes>),
}

/// The answer to a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// One value, or none.
    Value(Option<Bytes>),
    /// Several, in the order asked.
    Values(Vec<Option<Bytes>>),
    /// A count.
    Count(u64),
}

/// The keys and their values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValues {
    values: BTreeMap<Bytes, Bytes>,
}

impl KeyValues {
    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&Bytes> {
        self.values.get(key)
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Answers a query.
    pub fn answer(&self, query: &Query) -> Answer {
        match query {
            Query::Get(key) => Answer::Value(self.get(key).cloned()),
            Query::GetMany(keys) => Answer::Values(keys.iter().map(|key| self.get(key).cloned()).collect()),
            Query::CountPresent(keys) => {
                Answer::Count(keys.iter().filter(|key| self.values.contains_key(&key[..])).count() as u64)
            }
        }
    }

    /// Gives a key a value, or removes it, whatever it had.
    pub fn put(&mut self, key: Bytes, value: Option<Bytes>) {
        match value {
            Some(value) => self.values.insert(key, value),
            None => self.values.remove(&key),
        };
    }

    /// All keys and their values, in order of key.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.values.iter()
    }

    /// Executes a command.
    pub fn apply(&mut self, command: &Command) -> Reply {
        match command {
            Command::Set { key, value, condition } => {
                let current = self.get(key);
                let holds = match condition {
                    Condition::Always => true,
                    Condition::IfAbsent => current.is_none(),
                    Condition::IfPresent => current.is_some(),
                    Condition::IfEqual(expected) => current == Some(expected),
                };
                if !holds {
                    return Reply::NotDone(current.cloned());
                }
                self.values.insert(key.clone(), value.clone());
                Reply::Done
            }
            Command::Delete { keys } => {
                let mut removed = 0;
                for key in keys {
                    removed += i64::from(self.values.remove(&key[..]).is_some());
                }
                Reply::Integer(removed)
            }
            Command::Increment { key, by } => {
                let current = match self.get(key) {
                    None => 0,
                    Some(text) => match parse_integer(text) {
                        Some(number) => number,
                        None => return Reply::NotAnInteger,
                    },
                };
                let Some(sum) = current.checked_add(*by) else { return Reply::Overflow };
                self.values.insert(key.clone(), Bytes::from(sum.to_string()));
                Reply::Integer(sum)
            }
        }
    }
}

/// Parses a 64-bit decimal integer as Redis does: an optional minus, no plus, no spaces, no leading zeros.
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [] => false,
        [b'0'] => digits.len() == text.len(),
        [first, ..] => *first != b'0' && digits.iter().all(u8::is_ascii_digit),
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &'static str, value: &'static str, condition: Condition) -> Command {
        Command::Set {
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
            condition,
        }
    }

    #[test]
    fn a_condition_that_does_not_hold_changes_nothing() {
        let mut state = KeyValues::default();
        let not_done = |current: Option<&'static str>| Reply::NotDone(current.map(Bytes::from));
        assert_eq!(state.apply(&set("k", "1", Condition::IfPresent)), not_done(None));
        assert_eq!(state.apply(&set("k", "1", Condition::IfEqual("1".into()))), not_done(None));
        assert_eq!(state.len(), 0);
        assert_eq!(state.apply(&set("k", "1", Condition::IfAbsent)), Reply::Done);
        assert_eq!(state.apply(&set("k", "2", Condition::IfAbsent)), not_done(Some("1")));
        assert_eq!(state.apply(&set("k", "2", Condition::IfEqual("0".into()))), not_done(Some("1")));
        assert_eq!(state.get(b"k").unwrap(), "1");
        assert_eq!(state.apply(&set("k", "2", Condition::IfEqual("1".into()))), Reply::Done);
        assert_eq!(state.apply(&set("k", "3", Condition::IfPresent)), Reply::Done);
        assert_eq!(state.get(b"k").unwrap(), "3");
    }

    #[test]
    fn increment_keeps_what_it_cannot_add_to() {
        let mut state = KeyValues::default();
        let increment = |by| Command::Increment { key: "n".into(), by };
        assert_eq!(state.apply(&increment(5)), Reply::Integer(5));
        assert_eq!(state.apply(&increment(-7)), Reply::Integer(-2));
        state.apply(&set("n", "word", Condition::Always));
        assert_eq!(state.apply(&increment(1)), Reply::NotAnInteger);
        assert_eq!(state.get(b"n").unwrap(), "word");
        state.apply(&set("n", "9223372036854775807", Condition::Always));
        assert_eq!(state.apply(&increment(1)), Reply::Overflow);
    }

    #[test]
    fn integers_are_those_redis_accepts() {
        for (text, expected) in [("0", Some(0)), ("-12", Some(-12)), ("10", Some(10))] {
            assert_eq!(parse_integer(text.as_bytes()), expected, "{text}");
        }
        for text in ["", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808"] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn deleting_counts_only_what_was_there() {
        let mut state = KeyValues::default();
        state.apply(&set("a", "1", Condition::Always));
        assert_eq!(
            state.apply(&Command::Delete { keys: vec!["a".into(), "b".into(), "a".into()] }),
            Reply::Integer(1)
        );
        assert_eq!(state.answer(&Query::CountPresent(vec!["a".into()])), Answer::Count(0));
    }
}
