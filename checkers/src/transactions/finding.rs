//! An anomaly that needs no cycle, before it is explained.

use duress_history::Scalar;

use super::facts::Place;
use crate::verdict::AnomalyKind;

/// What was found, and where.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) kind: AnomalyKind,
    pub(super) key: u32,
    /// The place that is wrong, then those that show it.
    pub(super) places: Vec<Place>,
    /// The value that it is about.
    pub(super) value: Option<Scalar>,
}

impl Finding {
    pub(super) fn new(kind: AnomalyKind, key: u32, place: Place) -> Self {
        Self { kind, key, places: vec![place], value: None }
    }

    /// Shown by what is at `place` too.
    pub(super) fn and(mut self, place: impl Into<Option<Place>>) -> Self {
        self.places.extend(place.into());
        self
    }

    /// About `value`.
    pub(super) fn about(mut self, value: &Scalar) -> Self {
        self.value = Some(value.clone());
        self
    }
}
