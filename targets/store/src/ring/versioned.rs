//! A copy of a key, and what becomes of two of them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::siblings::Siblings;
use super::vector::VersionVector;
use super::version::Version;

/// A copy of a key, or, with `V = ()`, its stamp: the versions alone. All copies of a cluster are of one kind, by its option
/// `conflict`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioned<V = Bytes> {
    /// The value of the highest version; no value if the key was deleted (a tombstone).
    Last(Version, Option<V>),
    /// All values that no write replaced which had seen them; none is a tombstone too.
    Siblings(Siblings<V>),
}

/// The versions of a copy. Equal stamps have equal values, since no version is given out twice.
pub type Stamp = Versioned<()>;

impl<V: Clone + PartialEq> Versioned<V> {
    /// Returns what a node holds that had one and meets another. Commutative, associative and idempotent.
    pub fn merge(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Siblings(one), Self::Siblings(other)) => Self::Siblings(one.merge(other)),
            (Self::Last(one, _), Self::Last(other, _)) if one >= other => self.clone(),
            (Self::Last(..), _) => other.clone(),
            (Self::Siblings(_), Self::Last(..)) => self.clone(),
        }
    }

    /// Returns what a node holds that meets all of these; `None` if there are none.
    pub fn merge_all<'a>(copies: impl Iterator<Item = &'a Self>) -> Option<Self>
    where
        V: 'a,
    {
        copies.fold(None, |merged, copy| {
            Some(merged.map_or_else(|| copy.clone(), |merged: Self| merged.merge(copy)))
        })
    }

    /// Whether the other has nothing new.
    pub fn covers(&self, other: &Self) -> bool {
        self.merge(other) == *self
    }

    /// Returns the values.
    pub fn values(&self) -> Vec<&V> {
        match self {
            Self::Last(_, value) => value.iter().collect(),
            Self::Siblings(siblings) => siblings.values().collect(),
        }
    }

    /// Returns its stamp.
    pub fn stamp(&self) -> Stamp {
        match self {
            Self::Last(version, value) => Stamp::Last(*version, value.as_ref().map(|_| ())),
            Self::Siblings(siblings) => Stamp::Siblings(siblings.dots()),
        }
    }

    /// Returns the context of a write that replaces all its values; empty where versions decide.
    pub fn context(&self) -> VersionVector {
        match self {
            Self::Last(..) => VersionVector::default(),
            Self::Siblings(siblings) => siblings.seen().clone(),
        }
    }
}

impl Versioned {
    /// Returns the number of bytes of its values.
    pub fn size(&self) -> usize {
        self.values().into_iter().map(Bytes::len).sum()
    }
}
