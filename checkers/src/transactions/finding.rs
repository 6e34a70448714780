//! An anomaly that needs no cycle, before it is explained.

use duress_history::Scalar;

use super::facts::Place;
use crate::verdict::AnomalyKind;

/// An anomaly and its places.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) kind: AnomalyKind,
    pub(super) key: u32,
    /// The wrong place, then those that show it.
    pub(super) places: Vec<Place>,
    /// The value concerned.
    pub(super) value: Option<Scalar>,
}

impl Finding {
    pub(super) fn new(kind: AnomalyKind, key: u32, place: Place) -> Self {
        Self { kind, key, places: vec![place], value: None }
    }

    /// Adds another place that shows it.
    pub(super) fn and(mut self, place: impl Into<Option<Place>>) -> Self {
        self.places.extend(place.into());
        self
    }

    /// Sets the value concerned.
    pub(super) fn about(mut self, value: &Scalar) -> Self {
        self.value = Some(value.clone());
        self
    }
}
