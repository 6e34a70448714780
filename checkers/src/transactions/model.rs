//! The anomalies that refute each consistency model.
//!
//! Histories do not contain predicates, so repeatable read and serializability differ only in that a
//! transaction must see its own operations. Sources: see [`ConsistencyModel`].

use std::collections::BTreeSet;

use duress_history::ConsistencyModel;

use ConsistencyModel as Model;

use crate::verdict::AnomalyKind;

/// Returns whether `model` forbids anomalies of `kind`.
#[must_use]
pub(super) fn forbids(model: Model, kind: AnomalyKind) -> bool {
    weakest_forbidding(kind).iter().any(|weakest| model.implies(*weakest))
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
        Kind::G2Item | Kind::NotSerializable => &[Model::RepeatableRead],
        Kind::G0Process => &[Model::StrongSessionReadUncommitted],
        Kind::G1cProcess => &[Model::StrongSessionReadCommitted],
        Kind::GSingleProcess | Kind::GNonadjacentProcess => &[Model::StrongSessionSnapshotIsolation],
        Kind::G2ItemProcess | Kind::NotSerializableProcess => &[Model::StrongSessionSerializable],
        Kind::G0Realtime => &[Model::StrongReadUncommitted],
        Kind::G1cRealtime => &[Model::StrongReadCommitted],
        Kind::GSingleRealtime | Kind::GNonadjacentRealtime => &[Model::StrongSnapshotIsolation],
        Kind::G2ItemRealtime | Kind::NotSerializableRealtime => &[Model::StrictSerializable],
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
        Model::ALL.into_iter().partition(|model| kinds.iter().any(|kind| forbids(*model, *kind)));
    let covered = |model: &Model| left.iter().any(|other| other != model && other.implies(*model));
    let strongest = left.iter().copied().filter(|model| !covered(model)).collect();
    // The weakest refuted models determine the others.
    let weakest = |model: &Model| !refuted.iter().any(|other| other != model && model.implies(*other));
    (refuted.iter().copied().filter(weakest).collect(), strongest)
}
