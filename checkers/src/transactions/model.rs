//! Consistency models of transactions: their implications, and the anomalies that refute each.
//!
//! Names and implications are Elle's: Adya, "Weak Consistency" (1999); Cerone, Bernardi and Gotsman, "A
//! Framework for Transactional Consistency Models with Atomic Visibility" (CONCUR 2015); Bailis and others,
//! "Highly Available Transactions" (VLDB 2014). Histories do not contain predicates, so repeatable read and
//! serializability differ only in that a transaction must see its own operations.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::verdict::AnomalyKind;

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
    pub fn name(self) -> &'static str {
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

    /// Returns whether it forbids anomalies of `kind`.
    #[must_use]
    pub fn forbids(self, kind: AnomalyKind) -> bool {
        weakest_forbidding(kind).iter().any(|weakest| self.implies(*weakest))
    }
}

impl fmt::Display for ConsistencyModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Returns the weakest models that forbid anomalies of `kind`.
fn weakest_forbidding(kind: AnomalyKind) -> &'static [ConsistencyModel] {
    use AnomalyKind as Kind;
    match kind {
        Kind::G0 | Kind::DuplicateElements | Kind::PhantomRead => &[Model::ReadUncommitted],
        Kind::G1a
        | Kind::G1b
        | Kind::G1c
        | Kind::IncompatibleOrder
        | Kind::DirtyUpdate
        | Kind::CyclicVersions
        | Kind::FutureRead => &[Model::ReadCommitted],
        Kind::LostUpdate => &[Model::CursorStability],
        Kind::Internal | Kind::FracturedRead => &[Model::ReadAtomic],
        Kind::CausalityViolation => &[Model::Causal],
        Kind::GSingle => &[Model::ConsistentView, Model::RepeatableRead],
        Kind::GNonadjacent => &[Model::SnapshotIsolation, Model::RepeatableRead],
        Kind::G2Item => &[Model::RepeatableRead],
        Kind::G0Process => &[Model::StrongSessionReadUncommitted],
        Kind::G1cProcess => &[Model::StrongSessionReadCommitted],
        Kind::GSingleProcess | Kind::GNonadjacentProcess => &[Model::StrongSessionSnapshotIsolation],
        Kind::G2ItemProcess => &[Model::StrongSessionSerializable],
        Kind::G0Realtime => &[Model::StrongReadUncommitted],
        Kind::G1cRealtime => &[Model::StrongReadCommitted],
        Kind::GSingleRealtime | Kind::GNonadjacentRealtime => &[Model::StrongSnapshotIsolation],
        Kind::G2ItemRealtime => &[Model::StrictSerializable],
        _ => &[],
    }
}

/// Returns the weakest models that anomalies of `kinds` refute, and the strongest that they leave.
#[must_use]
pub(super) fn refuted(
    kinds: impl IntoIterator<Item = AnomalyKind>,
) -> (Vec<ConsistencyModel>, Vec<ConsistencyModel>) {
    let kinds: Vec<AnomalyKind> = kinds.into_iter().collect();
    let (refuted, left): (BTreeSet<_>, BTreeSet<_>) =
        Model::ALL.into_iter().partition(|model| kinds.iter().any(|kind| model.forbids(*kind)));
    let covered = |model: &Model| left.iter().any(|other| other != model && other.implies(*model));
    let strongest = left.iter().copied().filter(|model| !covered(model)).collect();
    // The weakest refuted models determine the others.
    let weakest = |model: &Model| !refuted.iter().any(|other| other != model && model.implies(*other));
    (refuted.iter().copied().filter(weakest).collect(), strongest)
}
