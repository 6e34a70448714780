//! Consistency models of transactions, and their implications.
//!
//! Names and implications are Elle's: Adya, "Weak Consistency" (1999); Cerone, Bernardi and Gotsman, "A
//! Framework for Transactional Consistency Models with Atomic Visibility" (CONCUR 2015); Bailis and others,
//! "Highly Available Transactions" (VLDB 2014).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The promise about transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsistencyModel {
    /// PL-1: writes of transactions do not interleave.
    ReadUncommitted,
    /// PL-2: in addition, reads see committed values only.
    ReadCommitted,
    /// In addition, no update is lost.
    CursorStability,
    /// A transaction sees all of another, or nothing of it.
    ReadAtomic,
    /// In addition, it sees everything that causally precedes it. The order of a session is causal.
    Causal,
    /// PL-2+: all values that a transaction reads existed at the same time.
    ConsistentView,
    /// All reads are from one snapshot, and two overlapping transactions never write the same object.
    SnapshotIsolation,
    /// PL-2.99: everything except predicates is serializable.
    RepeatableRead,
    /// PL-3: there is one order of all transactions.
    Serializable,
    /// Read uncommitted, in the order of each process.
    StrongSessionReadUncommitted,
    /// Read committed, in the order of each process.
    StrongSessionReadCommitted,
    /// Snapshot isolation, in the order of each process.
    StrongSessionSnapshotIsolation,
    /// Serializable, in the order of each process.
    StrongSessionSerializable,
    /// Read uncommitted, in the order of real time.
    StrongReadUncommitted,
    /// Read committed, in the order of real time.
    StrongReadCommitted,
    /// Snapshot isolation, in the order of real time.
    StrongSnapshotIsolation,
    /// Serializable, in the order of real time.
    #[default]
    StrictSerializable,
}

use ConsistencyModel as Model;

impl ConsistencyModel {
    /// All models, weaker ones first.
    pub const ALL: [Self; 17] = [
        Self::ReadUncommitted,
        Self::ReadCommitted,
        Self::CursorStability,
        Self::ReadAtomic,
        Self::Causal,
        Self::ConsistentView,
        Self::SnapshotIsolation,
        Self::RepeatableRead,
        Self::Serializable,
        Self::StrongSessionReadUncommitted,
        Self::StrongSessionReadCommitted,
        Self::StrongSessionSnapshotIsolation,
        Self::StrongSessionSerializable,
        Self::StrongReadUncommitted,
        Self::StrongReadCommitted,
        Self::StrongSnapshotIsolation,
        Self::StrictSerializable,
    ];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "read-uncommitted",
            Self::ReadCommitted => "read-committed",
            Self::CursorStability => "cursor-stability",
            Self::ReadAtomic => "read-atomic",
            Self::Causal => "causal",
            Self::ConsistentView => "consistent-view",
            Self::SnapshotIsolation => "snapshot-isolation",
            Self::RepeatableRead => "repeatable-read",
            Self::Serializable => "serializable",
            Self::StrongSessionReadUncommitted => "strong-session-read-uncommitted",
            Self::StrongSessionReadCommitted => "strong-session-read-committed",
            Self::StrongSessionSnapshotIsolation => "strong-session-snapshot-isolation",
            Self::StrongSessionSerializable => "strong-session-serializable",
            Self::StrongReadUncommitted => "strong-read-uncommitted",
            Self::StrongReadCommitted => "strong-read-committed",
            Self::StrongSnapshotIsolation => "strong-snapshot-isolation",
            Self::StrictSerializable => "strict-serializable",
        }
    }

    /// Returns its other names, Adya's first.
    #[must_use]
    pub fn other_names(self) -> &'static [&'static str] {
        match self {
            Self::ReadUncommitted => &["PL-1"],
            Self::ReadCommitted => &["PL-2"],
            Self::CursorStability => &["PL-CS"],
            Self::ConsistentView => &["PL-2+"],
            Self::RepeatableRead => &["PL-2.99"],
            Self::SnapshotIsolation => &["PL-SI"],
            Self::Serializable => &["PL-3", "conflict-serializable"],
            Self::StrictSerializable => &["PL-SS", "strong-serializable"],
            Self::Causal => &["causal-cerone"],
            // If each transaction is one operation.
            Self::StrongSessionSerializable => &["sequential"],
            _ => &[],
        }
    }

    /// Returns the model called `name`, by any of its names.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name || model.other_names().contains(&name))
    }

    /// Returns the models that are directly weaker.
    fn weaker(self) -> &'static [Self] {
        match self {
            Self::ReadUncommitted => &[],
            Self::ReadCommitted => &[Model::ReadUncommitted],
            Self::CursorStability | Self::ReadAtomic => &[Model::ReadCommitted],
            Self::Causal => &[Model::ReadAtomic, Model::StrongSessionReadCommitted],
            Self::ConsistentView | Self::RepeatableRead => &[Model::CursorStability],
            Self::SnapshotIsolation => &[Model::ConsistentView, Model::ReadAtomic],
            Self::Serializable => &[Model::RepeatableRead, Model::SnapshotIsolation],
            Self::StrongSessionReadUncommitted => &[Model::ReadUncommitted],
            Self::StrongSessionReadCommitted => &[Model::ReadCommitted, Model::StrongSessionReadUncommitted],
            Self::StrongSessionSnapshotIsolation => &[Model::SnapshotIsolation, Model::Causal],
            Self::StrongSessionSerializable => &[Model::Serializable, Model::StrongSessionSnapshotIsolation],
            Self::StrongReadUncommitted => &[Model::StrongSessionReadUncommitted],
            Self::StrongReadCommitted => &[Model::StrongSessionReadCommitted, Model::StrongReadUncommitted],
            Self::StrongSnapshotIsolation => {
                &[Model::StrongSessionSnapshotIsolation, Model::StrongReadCommitted]
            }
            Self::StrictSerializable => &[Model::StrongSessionSerializable, Model::StrongSnapshotIsolation],
        }
    }

    /// Returns whether every history that keeps `self` keeps `other` too.
    #[must_use]
    pub fn implies(self, other: Self) -> bool {
        self == other || self.weaker().iter().any(|weaker| weaker.implies(other))
    }
}

impl fmt::Display for ConsistencyModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
