//! The effect of a run on the clocks that the target's promise rests on.

use duress_history::ClockBound;
use duress_nemesis::{Fault, ScheduledFault, clock_bound};

/// Describes the promise's demand on clocks, and the faults of `schedule` that exceed it: an anomaly under
/// those is beyond the assumption, and shows that it is one.
#[must_use]
pub fn clock_note(bound: ClockBound, schedule: &[ScheduledFault]) -> String {
    let beyond: Vec<String> = schedule
        .iter()
        .filter(|planned| match planned.fault {
            Fault::Clock { effect, .. } => clock_bound::is_exceeded_by(bound, effect, planned.lasts()),
            _ => false,
        })
        .map(|planned| planned.id.to_string())
        .collect();
    let went = match beyond.as_slice() {
        [] => "no fault of this run goes beyond that".to_owned(),
        [one] => format!("fault {one} goes beyond that"),
        more => format!("faults {} go beyond that", more.join(", ")),
    };
    format!(
        "the promise rests on clocks that fall behind by at most {} ms in {} ms: {went}",
        bound.slack.as_millis(),
        bound.lease.as_millis()
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use duress_history::NodeId;
    use duress_nemesis::clock_fault::ClockEffect;
    use duress_nemesis::selector::Targets;

    use super::*;

    #[test]
    fn faults_beyond_the_bound_are_named() {
        let bound = ClockBound { lease: Duration::from_millis(400), slack: Duration::from_millis(300) };
        let fault = |id, ppb| {
            let targets = Targets::Nodes(vec![NodeId::new("n1")]);
            let fault = Fault::Clock { effect: ClockEffect::Drift { ppb }, targets };
            ScheduledFault { id, start_ms: 0, stop_ms: 1000, on: None, fault }
        };
        let note = clock_note(bound, &[fault(1, -400_000_000), fault(2, -500_000_000)]);
        assert!(note.ends_with("300 ms in 400 ms: fault 2 goes beyond that"), "{note}");
        assert!(
            clock_note(bound, &[fault(1, -1_000_000)]).ends_with("no fault of this run goes beyond that")
        );
    }
}
