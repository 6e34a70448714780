//! Commands and queries of clients, and the replies to them.
//!
//! A [`Command`] changes the state and must be ordered; a [`Query`] only reads it. A [`Transaction`] is a command made of
//! both. [`crate::key_values`] is the state they act on.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::outcome::Failure;
use crate::sharded::moves::{Chunk, MoveStep, Progress};
use crate::sharded::slots::SlotSet;

/// When a [`Command::Set`] takes effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Always.
    Always,
    /// If the key has no value (`NX`).
    IfAbsent,
    /// If the key has a value (`XX`).
    IfPresent,
    /// If the key has exactly this string (`IFEQ`, compare-and-set).
    IfEqual(Bytes),
}

/// A change to the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Gives a key a string, under a condition.
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
    /// Appends to the list a key holds; a missing key counts as an empty list.
    Append {
        /// The key.
        key: Bytes,
        /// The new last elements, in order.
        elements: Vec<Bytes>,
    },
    /// Executes several commands and queries as one.
    Transaction(Transaction),
    /// A step of a move of slots between shards; no client sends it.
    Move(MoveStep),
}

impl Command {
    /// Returns the condition under which it takes effect, if it may have one.
    pub fn condition(&self) -> Option<&Condition> {
        match self {
            Self::Set { condition, .. } => Some(condition),
            _ => None,
        }
    }

    /// Returns how many commands and queries it is made of.
    pub fn count(&self) -> usize {
        match self {
            Self::Transaction(transaction) => transaction.steps.len(),
            _ => 1,
        }
    }
}

/// Commands and queries that are executed in order, with no other command in between.
///
/// As in Redis, a step that fails changes nothing, and the others are executed nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Keys and their versions ([`Query::Versions`]); if one of them has another version by now, nothing is executed.
    pub watched: Vec<(Bytes, u64)>,
    /// The commands and queries.
    pub steps: Vec<Step>,
}

/// A step of a [`Transaction`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Changes the state.
    Write(Command),
    /// Reads it.
    Read(Query),
}

/// The reply to a [`Command`] that was executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The write took effect.
    Done,
    /// The condition did not hold; nothing changed, and this is the key's value.
    NotDone(Option<Bytes>),
    /// The condition did not hold; nothing changed, and the key's value is a list.
    NotDoneToList,
    /// A count, or the new value of an integer, or the new length of a list.
    Integer(i64),
    /// The value is not an integer in range; nothing changed.
    NotAnInteger,
    /// The sum does not fit 64 bits; nothing changed.
    Overflow,
    /// The command does not apply to a value of this type; nothing changed.
    WrongType,
    /// The replies to the steps of a transaction, in their order.
    Executed(Vec<StepReply>),
    /// A watched key had changed; no step was executed.
    Aborted,
    /// To [`Command::Move`].
    Moved(Progress),
    /// This command alone failed.
    Failed(Failure),
}

/// The reply to a [`Step`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepReply {
    /// To [`Step::Write`].
    Written(Reply),
    /// To [`Step::Read`].
    Read(Answer),
}

/// A read of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// The string of one key.
    Get(Bytes),
    /// The strings of several keys, as of one moment; a list counts as no value.
    GetMany(Vec<Bytes>),
    /// How many of the keys have a value; a key named twice counts twice.
    CountPresent(Vec<Bytes>),
    /// Part of the list of a key; a missing key counts as an empty list.
    Range {
        /// The key.
        key: Bytes,
        /// The first element, counted from 0, or from -1 back from the end.
        start: i64,
        /// The last one, counted likewise.
        stop: i64,
    },
    /// The number of elements in the list of a key; a missing key counts as an empty list.
    Length(Bytes),
    /// The versions of keys. A key's version grows with each change of it; 0 if it has no value.
    Versions(Vec<Bytes>),
    /// The number of keys in slots.
    CountInSlots(SlotSet),
    /// The keys of slots: whole slots, from `first` on, until there are `count` keys or `last` is through.
    Scan {
        /// The first slot.
        first: u16,
        /// The last one.
        last: u16,
        /// About how many keys.
        count: u64,
    },
    /// The next keys of a move of slots between shards; no client asks it.
    HandOver {
        /// The number of the move.
        number: u64,
        /// The key that they come after.
        after: Option<Bytes>,
        /// How many keys at most; fewer, if they are large.
        keys: usize,
    },
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
    /// Elements of a list, in its order.
    Elements(Vec<Bytes>),
    /// Versions, in the order asked.
    Versions(Vec<u64>),
    /// To [`Query::Scan`].
    Scanned {
        /// The slot that comes next; the number of slots if none does.
        next: u16,
        /// The keys.
        keys: Vec<Bytes>,
    },
    /// To [`Query::HandOver`].
    HandedOver(Box<Chunk>),
    /// This query alone failed.
    Failed(Failure),
    /// The query does not apply to a value of this type.
    WrongType,
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

    #[test]
    fn integers_are_those_redis_accepts() {
        for (text, expected) in [("0", Some(0)), ("-12", Some(-12)), ("10", Some(10))] {
            assert_eq!(parse_integer(text.as_bytes()), expected, "{text}");
        }
        for text in ["", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808"] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text:?}");
        }
    }
}
