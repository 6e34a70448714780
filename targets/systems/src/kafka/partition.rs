//! One partition of a topic, and the key that names it in a history.

use std::fmt;
use std::sync::Arc;

use duress_history::Scalar;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

use crate::outcome::{CauseKind, RequestError};

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Partition {
    /// The topic.
    pub(crate) topic: Arc<str>,
    /// Its number in the topic, from 0.
    pub(crate) index: i32,
}

impl Partition {
    /// Returns the partition that `key`, of the form `TOPIC-PARTITION`, names.
    ///
    /// # Errors
    /// A definite [`RequestError`] for any other key.
    pub(super) fn of_key(key: &Scalar) -> Result<Self, RequestError> {
        let parsed = match key {
            Scalar::Text(text) => text.rsplit_once('-').and_then(|(topic, index)| {
                let index = index.parse().ok().filter(|index: &i32| *index >= 0)?;
                (!topic.is_empty()).then(|| Self { topic: topic.into(), index })
            }),
            Scalar::Int(_) | Scalar::Other(_) => None,
        };
        parsed.ok_or_else(|| {
            RequestError::definite(
                CauseKind::Rejected,
                format!("{key} names no partition: TOPIC-PARTITION does"),
            )
        })
    }

    /// Returns the key that names it.
    pub(super) fn key(&self) -> Scalar {
        Scalar::from(self.to_string().as_str())
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

/// Returns a string of the protocol.
pub(super) fn text(of: &str) -> StrBytes {
    StrBytes::from_string(of.to_owned())
}

/// Returns a topic's name in the protocol's type.
pub(super) fn topic_name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

/// Partitions by topic, as requests list them.
pub(super) fn by_topic<'a, T>(
    items: impl IntoIterator<Item = (&'a Partition, T)>,
) -> std::collections::BTreeMap<&'a str, Vec<(i32, T)>> {
    let mut topics = std::collections::BTreeMap::<&str, Vec<(i32, T)>>::new();
    for (partition, item) in items {
        topics.entry(&partition.topic).or_default().push((partition.index, item));
    }
    topics
}
