//! When the anomaly became likely: the schedule is cut at its events, the rest is drawn anew, and what remains of the
//! rate is measured.
//!
//! A point of the curve keeps the faults that begin before its moment. Its runs draw the later ones anew, each from a seed
//! of its own. Where the rate rises, the faults just before the moment are a part of the cause.

use duress_nemesis::ScheduledFault;

use super::candidates::with_faults;
use crate::plan::Plan;
use crate::record::curve::{Curve, Point};
use crate::trial::Proportion;

/// Cuts the schedule of `plan` before its first fault, after its last one, and at events evenly between: at most at
/// `points` moments, at least at 2. Nothing is measured yet.
#[must_use]
pub fn cut(plan: &Plan, points: usize) -> Curve {
    let schedule = &plan.schedule;
    // A cut between two faults that begin at the same moment would keep neither.
    let mut cuts: Vec<u64> = schedule.iter().map(|fault| fault.start_ms + 1).collect();
    cuts.insert(0, 0);
    cuts.sort_unstable();
    cuts.dedup();
    let wanted = points.clamp(2, cuts.len().max(2));
    let chosen = (0..wanted).filter_map(|point| cuts.get(point * (cuts.len() - 1) / (wanted - 1)));
    let point = |at_ms: &u64| {
        let kept = schedule.iter().filter(|fault| fault.start_ms < *at_ms);
        let last = kept.clone().max_by_key(|fault| fault.start_ms);
        Point {
            at_ms: *at_ms,
            kept: kept.count(),
            last: last.map(|fault| fault.fault.to_string()),
            rate: Proportion::default(),
        }
    };
    Curve { time_limit_ms: plan.time_limit_ms, points: chosen.map(point).collect() }
}

/// Returns `plan` with its faults that begin before `at_ms`, and with those that `draw` returns, given the moment from which
/// they may begin, for the rest.
///
/// # Errors
/// Those of `draw`.
pub fn redrawn<E>(
    plan: &Plan,
    at_ms: u64,
    draw: impl FnOnce(u64) -> Result<Vec<ScheduledFault>, E>,
) -> Result<Plan, E> {
    let mut schedule: Vec<ScheduledFault> =
        plan.schedule.iter().filter(|fault| fault.start_ms < at_ms).cloned().collect();
    if schedule.len() < plan.schedule.len() {
        // Drawn faults do not know the kept ones: they begin when those are over.
        let from = schedule.iter().map(|fault| fault.stop_ms + 1).max().unwrap_or(0).max(at_ms);
        let numbers = schedule.iter().map(|fault| fault.id).max().unwrap_or(0);
        schedule.extend(draw(from)?.into_iter().map(|fault| fault.numbered_after(numbers)));
    }
    Ok(with_faults(plan, &schedule))
}

#[cfg(test)]
mod tests {
    use duress_history::NodeId;
    use duress_nemesis::Fault;
    use duress_nemesis::selector::Targets;

    use super::*;
    use crate::record::example::plan;

    fn with(starts: &[u64]) -> Plan {
        let mut plan = plan();
        plan.time_limit_ms = 60_000;
        plan.schedule = (1..)
            .zip(starts)
            .map(|(id, start_ms)| ScheduledFault {
                id,
                start_ms: *start_ms,
                stop_ms: start_ms + 900,
                on: None,
                fault: Fault::Kill { targets: Targets::Nodes(vec![NodeId::new("n1")]) },
            })
            .collect();
        plan
    }

    #[test]
    fn cuts_are_before_and_after_everything_and_evenly_between() {
        let plan = with(&[1000, 2000, 2000, 3000, 4000, 5000]);
        let cuts = |points| {
            let points = cut(&plan, points).points;
            points.iter().map(|point| (point.at_ms, point.kept)).collect::<Vec<_>>()
        };
        assert_eq!(cuts(2), [(0, 0), (5001, 6)]);
        assert_eq!(cuts(3), [(0, 0), (2001, 3), (5001, 6)]);
        assert_eq!(cuts(99), [(0, 0), (1001, 1), (2001, 3), (3001, 4), (4001, 5), (5001, 6)]);
    }

    #[test]
    fn the_rest_is_drawn_after_the_kept_faults_are_over() {
        let plan = with(&[1000, 2000, 7000]);
        let drawn = with(&[9000]).schedule;
        let mut from = 0;
        let cut = redrawn(&plan, 2001, |at| {
            from = at;
            Ok::<_, ()>(drawn.clone())
        });
        let cut = cut.unwrap();
        assert_eq!(from, 2901);
        let numbers: Vec<(u32, u64)> = cut.schedule.iter().map(|fault| (fault.id, fault.start_ms)).collect();
        assert_eq!(numbers, [(1, 1000), (2, 2000), (3, 9000)]);
        let whole = redrawn(&plan, 7001, |_| Err(())).unwrap();
        assert_eq!(whole.schedule, plan.schedule, "nothing is left to draw");
    }
}
