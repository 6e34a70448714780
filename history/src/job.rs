//! The `job` vocabulary: a word count by many workers. Documents are loaded, each is a task for a worker, and what the workers
//! wrote is gathered.
//!
//! | `f` | `value` invoked | `value` answered |
//! |---|---|---|
//! | `load` | `[document, text]` | the same |
//! | `count` | `[document, part, null]`, or `[document, part, null, "unwritten"]` or `"unreported"`: the worker ends before it wrote its part, or after it and before it reported that | `[document, part, {word: n, …}]`; null if there was no such document |
//! | `gather` | `[[document, part, null], …]` | `[[document, part, {word: n, …}], …]`; null for a part that was not there |
//!
//! A worker reads the document, counts its words, and writes the counts as the part of this number. Executions of one task that
//! write the same part overwrite each other; parts of different numbers are all gathered. Words are separated by white space.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::{OpType, Payload, PayloadError, parse_json};
use crate::scalar::Scalar;

/// An operation of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Stores the text of a document.
    Load {
        /// The document.
        document: Scalar,
        /// Its text.
        text: String,
    },
    /// A task: counts the words of a document, and writes them as a part.
    Count {
        /// The part; it has counts once the worker wrote it.
        part: Part,
        /// When the worker ends, if it is to end in the midst of the task.
        dies: Option<Dies>,
    },
    /// Reads parts; their counts are those that were found.
    Gather(Vec<Part>),
}

/// A part of the result: the words of one document, as one execution of its task counted them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The document.
    pub document: Scalar,
    /// The part's number, from 1.
    pub number: u32,
    /// The words with their counts; `None` in an invocation, and if the gather found no part.
    pub counts: Option<Counts>,
}

impl Part {
    /// Returns the part `number` of `document`, without its counts.
    #[must_use]
    pub fn asked(document: Scalar, number: u32) -> Self {
        Self { document, number, counts: None }
    }

    /// Whether `other` is the same part, whatever its counts.
    #[must_use]
    pub fn is_part(&self, other: &Self) -> bool {
        self.document == other.document && self.number == other.number
    }
}

/// How often each word occurs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(pub BTreeMap<String, u64>);

impl Counts {
    /// Counts the words of `text`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut counts = BTreeMap::new();
        for word in text.split_whitespace() {
            *counts.entry(word.to_owned()).or_default() += 1;
        }
        Self(counts)
    }

    /// Returns the number of words, repeated ones as often as they occur.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl fmt::Display for Counts {
    /// Formats `fox 1, the 2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.0.iter().map(|(word, count)| format!("{word} {count}"));
        f.write_str(&words.collect::<Vec<_>>().join(", "))
    }
}

/// When a worker ends in the midst of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dies {
    /// After it has read the document, and before it writes its part.
    Unwritten,
    /// After its part was written, and before it tells.
    Unreported,
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.document, self.number, &self.counts).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (document, number, counts) = Deserialize::deserialize(deserializer)?;
        Ok(Self { document, number, counts })
    }
}

impl Payload for Job {
    const NAME: &'static str = "job";

    fn f(&self) -> &'static str {
        match self {
            Self::Load { .. } => "load",
            Self::Count { .. } => "count",
            Self::Gather(_) => "gather",
        }
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Load { document, text } => (document, text).serialize(serializer),
            Self::Count { part, dies: None } => part.serialize(serializer),
            Self::Count { part, dies } => {
                (&part.document, part.number, &part.counts, dies).serialize(serializer)
            }
            Self::Gather(parts) => parts.serialize(serializer),
        }
    }

    fn parse(_: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        match f {
            "load" => {
                let (document, text) = parse_json::<Job, _>("load", value, "[document, text]")?;
                Ok(Self::Load { document, text })
            }
            "count" => {
                let dying = value.and_then(|value| serde_json::from_str(value.get()).ok());
                if let Some((document, number, counts, dies)) = dying {
                    return Ok(Self::Count { part: Part { document, number, counts }, dies: Some(dies) });
                }
                let expected = "[document, part, {word: count, …} or null]";
                Ok(Self::Count { part: parse_json::<Job, _>("count", value, expected)?, dies: None })
            }
            "gather" => {
                let expected = "[[document, part, {word: count, …} or null], …]";
                Ok(Self::Gather(parse_json::<Job, _>("gather", value, expected)?))
            }
            _ => {
                let known = "load, count, gather";
                Err(PayloadError::UnknownF { model: Self::NAME, f: f.to_owned(), known })
            }
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        match (self, completion) {
            (Self::Count { part, .. }, Self::Count { part: answered, .. }) => part.is_part(answered),
            (Self::Gather(parts), Self::Gather(answered)) => {
                parts.len() == answered.len()
                    && parts.iter().zip(answered).all(|(part, answered)| part.is_part(answered))
            }
            (asked, answered) => asked == answered,
        }
    }
}
