//! Requirements on every anomaly's witness, whatever its kind.

use duress_checkers::verdict::{Anomaly, RelationKind};

/// Asserts that labels name operations that are shown, that an operation contradicts, and that real time is right.
pub fn assert_well_formed(anomaly: &Anomaly) {
    let find = |label: &String| {
        let operation = anomaly.operations.iter().find(|operation| operation.label == *label);
        operation.unwrap_or_else(|| panic!("{label} is not shown: {anomaly:#?}"))
    };
    for label in anomaly.steps.iter().flat_map(|step| &step.labels) {
        find(label);
    }
    assert!(anomaly.contradicting().is_some(), "no operation contradicts: {anomaly:#?}");
    assert!(anomaly.operations.is_sorted_by_key(|operation| operation.index), "{anomaly:#?}");
    for relation in &anomaly.relations {
        let (from, to) = (find(&relation.from), find(&relation.to));
        assert_ne!(from.label, to.label, "{anomaly:#?}");
        assert!(!relation.because.is_empty(), "{anomaly:#?}");
        if relation.kind == RelationKind::RealTime {
            let ended = from.completion_index.unwrap_or_else(|| panic!("it never ended: {anomaly:#?}"));
            assert!(ended < to.index, "{} had not ended: {anomaly:#?}", from.label);
        }
    }
    let saved = serde_json::to_string(anomaly).expect("an anomaly is saved");
    assert_eq!(serde_json::from_str::<Anomaly>(&saved).expect("and read again"), *anomaly);
}
