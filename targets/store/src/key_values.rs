//! The state that commands and queries act on: keys and their values.
//!
//! Applying a command is deterministic: every node that applies the same commands in the same order has the same state and
//! would give the same replies.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::{Answer, Command, Condition, Query, Reply, Step, StepReply, Transaction, parse_integer};
use crate::sharded::slots::slot_of;

/// The number of the encoding of everything that a node stores, of commands and changes too. It grows with every change
/// of that encoding; values without a type and a version were 1, and keys without slots 2.
pub const FORMAT: u32 = 3;

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// A string of bytes.
    String(Bytes),
    /// A list of such strings; never empty.
    List(Vec<Bytes>),
}

impl Value {
    /// Returns the number of its bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::String(bytes) => bytes.len(),
            Self::List(elements) => elements.iter().map(Bytes::len).sum(),
        }
    }
}

/// The value of one key, and its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// The position, in the order of all writes, of the last one that changed it.
    pub version: u64,
}

/// A change of one key that a command made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// The change of its value.
    pub edit: Edit,
}

/// A change of the value of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Edit {
    /// It becomes this string.
    Put(Bytes),
    /// These elements are appended to its list.
    Append(Vec<Bytes>),
    /// It is removed.
    Remove,
}

impl Edit {
    /// Edits what is held of a key, as the write at position `at`.
    pub fn make(&self, at: u64, held: &mut Option<Entry>) {
        let value = match self {
            Self::Put(value) => Some(Value::String(value.clone())),
            Self::Append(elements) => {
                let mut list = match held.take() {
                    Some(Entry { value: Value::List(list), .. }) => list,
                    _ => Vec::new(),
                };
                list.extend_from_slice(elements);
                Some(Value::List(list))
            }
            Self::Remove => None,
        };
        *held = value.map(|value| Entry { value, version: at });
    }
}

/// The keys and their values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValues {
    entries: BTreeMap<Bytes, Entry>,
}

impl FromIterator<(Bytes, Entry)> for KeyValues {
    fn from_iter<I: IntoIterator<Item = (Bytes, Entry)>>(pairs: I) -> Self {
        Self { entries: pairs.into_iter().collect() }
    }
}

impl KeyValues {
    /// Returns the value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&Value> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns what it holds of all keys, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Entry)> {
        self.entries.iter()
    }

    /// Returns what it holds of a key.
    pub fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Replaces what it holds of a key.
    pub fn put(&mut self, key: Bytes, entry: Option<Entry>) {
        match entry {
            Some(entry) => self.entries.insert(key, entry),
            None => self.entries.remove(&key),
        };
    }

    fn version(&self, key: &[u8]) -> u64 {
        self.entry(key).map_or(0, |entry| entry.version)
    }

    fn list(&self, key: &[u8]) -> Result<&[Bytes], Answer> {
        match self.get(key) {
            None => Ok(&[]),
            Some(Value::List(list)) => Ok(list),
            Some(Value::String(_)) => Err(Answer::WrongType),
        }
    }

    /// Answers a query.
    pub fn answer(&self, query: &Query) -> Answer {
        match query {
            Query::Get(key) => match self.get(key) {
                None => Answer::Value(None),
                Some(Value::String(value)) => Answer::Value(Some(value.clone())),
                Some(Value::List(_)) => Answer::WrongType,
            },
            Query::GetMany(keys) => {
                let string = |key: &Bytes| match self.get(key) {
                    Some(Value::String(value)) => Some(value.clone()),
                    Some(Value::List(_)) | None => None,
                };
                Answer::Values(keys.iter().map(string).collect())
            }
            Query::CountPresent(keys) => {
                Answer::Count(keys.iter().filter(|key| self.entries.contains_key(&key[..])).count() as u64)
            }
            Query::Range { key, start, stop } => self
                .list(key)
                .map_or_else(|error| error, |list| Answer::Elements(range(list, *start, *stop).to_vec())),
            Query::Length(key) => {
                self.list(key).map_or_else(|error| error, |list| Answer::Count(list.len() as u64))
            }
            Query::Versions(keys) => Answer::Versions(keys.iter().map(|key| self.version(key)).collect()),
            Query::CountInSlots(slots) => {
                Answer::Count(self.entries.keys().filter(|key| slots.contains(slot_of(key))).count() as u64)
            }
            Query::Scan { first, last, count } => self.scan(*first..=*last, *count),
            Query::HandOver { .. } => unreachable!("a shard answers it"),
        }
    }

    fn scan(&self, slots: RangeInclusive<u16>, count: u64) -> Answer {
        let mut by_slot: BTreeMap<u16, Vec<Bytes>> = BTreeMap::new();
        for key in self.entries.keys() {
            let slot = slot_of(key);
            if slots.contains(&slot) {
                by_slot.entry(slot).or_default().push(key.clone());
            }
        }
        let mut found = Vec::new();
        for (slot, keys) in by_slot {
            found.extend(keys);
            if found.len() as u64 >= count {
                return Answer::Scanned { next: slot + 1, keys: found };
            }
        }
        Answer::Scanned { next: slots.end() + 1, keys: found }
    }

    /// Changes one key, as part of the write at position `at`.
    fn change(&mut self, at: u64, change: &Change) {
        let mut held = self.entries.remove(&change.key);
        change.edit.make(at, &mut held);
        self.put(change.key.clone(), held);
    }

    /// Executes a command as the write at position `at`, which never goes back; returns its reply and the changes it made,
    /// in order.
    pub fn apply(&mut self, at: u64, command: &Command) -> (Reply, Vec<Change>) {
        if let Command::Transaction(transaction) = command {
            return self.execute(at, transaction);
        }
        let (reply, changes) = self.decide(command);
        changes.iter().for_each(|change| self.change(at, change));
        (reply, changes)
    }

    /// Returns the reply that a command would have if it were applied now; not for transactions.
    pub fn foresee(&self, command: &Command) -> Reply {
        self.decide(command).0
    }

    fn execute(&mut self, at: u64, transaction: &Transaction) -> (Reply, Vec<Change>) {
        if transaction.watched.iter().any(|(key, version)| self.version(key) != *version) {
            return (Reply::Aborted, Vec::new());
        }
        let mut all = Vec::new();
        let replies = transaction.steps.iter().map(|step| match step {
            Step::Read(query) => StepReply::Read(self.answer(query)),
            Step::Write(command) => {
                let (reply, changes) = self.apply(at, command);
                all.extend(changes);
                StepReply::Written(reply)
            }
        });
        (Reply::Executed(replies.collect()), all)
    }

    /// Returns the reply to a command and the changes that it has to make.
    fn decide(&self, command: &Command) -> (Reply, Vec<Change>) {
        let change = |key: &Bytes, edit| vec![Change { key: key.clone(), edit }];
        let refused = |reply| (reply, Vec::new());
        match command {
            Command::Set { key, value, condition } => {
                let current = self.get(key);
                let holds = match (condition, current) {
                    (Condition::Always, _) => true,
                    (Condition::IfAbsent, current) => current.is_none(),
                    (Condition::IfPresent, current) => current.is_some(),
                    (Condition::IfEqual(_), None) => false,
                    (Condition::IfEqual(expected), Some(Value::String(current))) => current == expected,
                    (Condition::IfEqual(_), Some(Value::List(_))) => return refused(Reply::WrongType),
                };
                match current {
                    _ if holds => (Reply::Done, change(key, Edit::Put(value.clone()))),
                    None => refused(Reply::NotDone(None)),
                    Some(Value::String(current)) => refused(Reply::NotDone(Some(current.clone()))),
                    Some(Value::List(_)) => refused(Reply::NotDoneToList),
                }
            }
            Command::Delete { keys } => {
                let mut present: Vec<&Bytes> =
                    keys.iter().filter(|key| self.entries.contains_key(&key[..])).collect();
                present.sort_unstable();
                present.dedup();
                let removed = Reply::Integer(present.len() as i64);
                (removed, present.into_iter().flat_map(|key| change(key, Edit::Remove)).collect())
            }
            Command::Increment { key, by } => {
                let current = match self.get(key) {
                    None => 0,
                    Some(Value::List(_)) => return refused(Reply::WrongType),
                    Some(Value::String(text)) => match parse_integer(text) {
                        Some(number) => number,
                        None => return refused(Reply::NotAnInteger),
                    },
                };
                let Some(sum) = current.checked_add(*by) else { return refused(Reply::Overflow) };
                (Reply::Integer(sum), change(key, Edit::Put(sum.to_string().into())))
            }
            Command::Append { key, elements } => match self.list(key) {
                Err(_) => refused(Reply::WrongType),
                Ok(list) => {
                    let length = (list.len() + elements.len()) as i64;
                    (Reply::Integer(length), change(key, Edit::Append(elements.clone())))
                }
            },
            Command::Transaction(_) => unreachable!("a transaction is executed step by step"),
            Command::Move(_) => unreachable!("a shard executes it"),
        }
    }
}

/// Returns the elements from `start` to `stop`, both included and counted as [`Query::Range`] counts them. As in Redis, a
/// range that reaches beyond the list is cut to it, and one that ends before its start is empty.
fn range(list: &[Bytes], start: i64, stop: i64) -> &[Bytes] {
    let length = list.len() as i64;
    let place = |index: i64| if index < 0 { index.saturating_add(length) } else { index };
    let (start, stop) = (place(start).max(0), place(stop).min(length - 1));
    if start > stop { &[] } else { &list[start as usize..=stop as usize] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &'static str, value: &'static str, condition: Condition) -> Command {
        Command::Set { key: key.into(), value: value.into(), condition }
    }

    fn append(key: &'static str, elements: &[&'static str]) -> Command {
        Command::Append {
            key: key.into(),
            elements: elements.iter().map(|&element| element.into()).collect(),
        }
    }

    fn get(key: &'static str) -> Query {
        Query::Get(key.into())
    }

    fn all(key: &'static str) -> Query {
        Query::Range { key: key.into(), start: 0, stop: -1 }
    }

    fn elements(list: &[&'static str]) -> Answer {
        Answer::Elements(list.iter().map(|&element| element.into()).collect())
    }

    fn string(value: &'static str) -> Answer {
        Answer::Value(Some(value.into()))
    }

    /// Executes a command whose position does not matter.
    fn apply(state: &mut KeyValues, command: &Command) -> Reply {
        state.apply(1, command).0
    }

    #[test]
    fn a_condition_that_does_not_hold_changes_nothing() {
        let mut state = KeyValues::default();
        let not_done = |current: Option<&'static str>| Reply::NotDone(current.map(Bytes::from));
        for (command, reply) in [
            (set("k", "1", Condition::IfPresent), not_done(None)),
            (set("k", "1", Condition::IfEqual("1".into())), not_done(None)),
            (set("k", "1", Condition::IfAbsent), Reply::Done),
            (set("k", "2", Condition::IfAbsent), not_done(Some("1"))),
            (set("k", "2", Condition::IfEqual("0".into())), not_done(Some("1"))),
        ] {
            assert_eq!(apply(&mut state, &command), reply, "{command:?}");
        }
        assert_eq!(state.answer(&get("k")), string("1"));
        assert_eq!(apply(&mut state, &set("k", "2", Condition::IfEqual("1".into()))), Reply::Done);
        assert_eq!(apply(&mut state, &set("k", "3", Condition::IfPresent)), Reply::Done);
        assert_eq!(state.answer(&get("k")), string("3"));
    }

    #[test]
    fn increment_keeps_what_it_cannot_add_to() {
        let mut state = KeyValues::default();
        let increment = |by| Command::Increment { key: "n".into(), by };
        assert_eq!(apply(&mut state, &increment(5)), Reply::Integer(5));
        assert_eq!(apply(&mut state, &increment(-7)), Reply::Integer(-2));
        apply(&mut state, &set("n", "word", Condition::Always));
        assert_eq!(apply(&mut state, &increment(1)), Reply::NotAnInteger);
        assert_eq!(state.answer(&get("n")), string("word"));
        apply(&mut state, &set("n", "9223372036854775807", Condition::Always));
        assert_eq!(apply(&mut state, &increment(1)), Reply::Overflow);
    }

    #[test]
    fn deleting_counts_only_what_was_there() {
        let mut state = KeyValues::default();
        apply(&mut state, &set("a", "1", Condition::Always));
        apply(&mut state, &append("l", &["x"]));
        let delete = Command::Delete { keys: vec!["a".into(), "b".into(), "a".into(), "l".into()] };
        assert_eq!(apply(&mut state, &delete), Reply::Integer(2));
        assert_eq!(state.answer(&Query::CountPresent(vec!["a".into(), "l".into()])), Answer::Count(0));
    }

    #[test]
    fn ranges_are_those_of_redis() {
        let list = ["a", "b", "c"].map(Bytes::from);
        for (start, stop, expected) in [
            (0, -1, "abc"),
            (0, 0, "a"),
            (1, 1, "b"),
            (-2, -1, "bc"),
            (-100, 1, "ab"),
            (1, 100, "bc"),
            (2, 1, ""),
            (3, 5, ""),
            (0, -4, ""),
            (-1, -2, ""),
            (i64::MIN, i64::MAX, "abc"),
            (i64::MAX, i64::MIN, ""),
        ] {
            assert_eq!(range(&list, start, stop).concat(), expected.as_bytes(), "{start} {stop}");
        }
        assert!(range(&[], 0, -1).is_empty());
    }

    #[test]
    fn a_command_for_the_other_type_changes_nothing() {
        let mut state = KeyValues::default();
        assert_eq!(apply(&mut state, &append("l", &["a", "b"])), Reply::Integer(2));
        assert_eq!(apply(&mut state, &append("l", &["c"])), Reply::Integer(3));
        apply(&mut state, &set("s", "v", Condition::Always));
        let before = state.clone();
        let increment = Command::Increment { key: "l".into(), by: 1 };
        for (command, reply) in [
            (append("s", &["a"]), Reply::WrongType),
            (increment, Reply::WrongType),
            (set("l", "v", Condition::IfEqual("a".into())), Reply::WrongType),
            (set("l", "v", Condition::IfAbsent), Reply::NotDoneToList),
        ] {
            assert_eq!(apply(&mut state, &command), reply, "{command:?}");
        }
        assert_eq!(state, before);
        for (query, answer) in [
            (get("l"), Answer::WrongType),
            (all("s"), Answer::WrongType),
            (Query::Length("s".into()), Answer::WrongType),
            (Query::Length("l".into()), Answer::Count(3)),
            (Query::Length("none".into()), Answer::Count(0)),
            (all("none"), elements(&[])),
            (Query::GetMany(vec!["l".into(), "s".into()]), Answer::Values(vec![None, Some("v".into())])),
        ] {
            assert_eq!(state.answer(&query), answer, "{query:?}");
        }
        assert_eq!(apply(&mut state, &set("l", "v", Condition::Always)), Reply::Done);
        assert_eq!(state.answer(&get("l")), string("v"), "a list can be replaced");
    }

    #[test]
    fn a_transaction_reads_its_own_writes_and_its_changes_make_the_same_state_elsewhere() {
        let mut state = KeyValues::default();
        let transaction = Command::Transaction(Transaction {
            watched: Vec::new(),
            steps: vec![
                Step::Read(all("l")),
                Step::Write(append("l", &["a"])),
                Step::Write(append("l", &["b"])),
                Step::Read(all("l")),
                Step::Write(set("s", "v", Condition::Always)),
                Step::Write(append("s", &["a"])),
                Step::Read(get("s")),
                Step::Write(Command::Delete { keys: vec!["s".into()] }),
            ],
        });
        let (reply, changes) = state.apply(7, &transaction);
        let expected = vec![
            StepReply::Read(elements(&[])),
            StepReply::Written(Reply::Integer(1)),
            StepReply::Written(Reply::Integer(2)),
            StepReply::Read(elements(&["a", "b"])),
            StepReply::Written(Reply::Done),
            StepReply::Written(Reply::WrongType),
            StepReply::Read(string("v")),
            StepReply::Written(Reply::Integer(1)),
        ];
        assert_eq!(reply, Reply::Executed(expected));
        let mut copy = KeyValues::default();
        changes.iter().for_each(|change| copy.change(7, change));
        assert_eq!(copy, state);
    }

    #[test]
    fn a_transaction_whose_watched_key_has_changed_is_not_executed() {
        let mut state = KeyValues::default();
        state.apply(3, &append("l", &["a"]));
        let versions = state.answer(&Query::Versions(vec!["l".into(), "none".into()]));
        assert_eq!(versions, Answer::Versions(vec![3, 0]));
        let push = |l: u64, none: u64| {
            Command::Transaction(Transaction {
                watched: vec![("l".into(), l), ("none".into(), none)],
                steps: vec![Step::Write(append("l", &["b"]))],
            })
        };
        let pushed = Reply::Executed(vec![StepReply::Written(Reply::Integer(2))]);
        assert_eq!(state.apply(4, &push(3, 0)).0, pushed);
        assert_eq!(state.apply(5, &push(3, 0)), (Reply::Aborted, Vec::new()), "the list has changed");
        state.apply(6, &set("none", "v", Condition::Always));
        assert_eq!(state.apply(7, &push(4, 0)).0, Reply::Aborted, "the missing key has come into being");
        assert_eq!(state.answer(&all("l")), elements(&["a", "b"]));
    }
}
