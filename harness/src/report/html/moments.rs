//! The moments of a history that other programs recorded: their times may begin anywhere, or be of no use.

use duress_checkers::verdict::Anomaly;

use super::history::RunHistory;
use crate::judge::verdict::RunVerdict;

/// The distance at which events without times are drawn, in nanoseconds.
const STEP_NS: u64 = 1_000_000;

/// The source of the moments at which events are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moments {
    /// The recorded times, counted from `from`, in nanoseconds.
    Recorded {
        /// The zero of the page.
        from: u64,
    },
    /// The positions of events, from `from` on, a step each: there are no times, or too few for a picture.
    Positions {
        /// The index at the zero of the page.
        from: u64,
    },
}

impl Moments {
    /// Chooses those of `history`, whose times are still as they were recorded.
    #[must_use]
    pub fn of(history: &RunHistory) -> Self {
        let operations = &history.operations;
        let first = operations.iter().map(|operation| operation.start).min().unwrap_or(0);
        let lasted = history.lasted.saturating_sub(first);
        // A page counts microseconds: with fewer of them than operations, most would be at the same place.
        if lasted / 1000 < operations.len() as u64 {
            return Self::Positions { from: operations.first().map_or(0, |operation| operation.index) };
        }
        // A run that begins later than it lasts counts from 1970, or from the start of its machine.
        Self::Recorded { from: if first > lasted { first } else { 0 } }
    }

    /// Moves everything in `history`, and the witnesses of `verdict`, to these moments.
    pub fn apply(self, history: &mut RunHistory, verdict: &mut RunVerdict) {
        let mut lasted = 0;
        for operation in &mut history.operations {
            operation.start = self.at(operation.index, operation.start);
            operation.end = self.at(operation.end_index, operation.end).max(operation.start);
            lasted = lasted.max(operation.end);
        }
        for event in &mut history.nemesis {
            event.time = self.at(event.index, event.time);
            lasted = lasted.max(event.time);
        }
        history.lasted = lasted;
        if let RunVerdict::Invalid { anomalies } = verdict {
            anomalies.iter_mut().for_each(|anomaly| self.apply_to(anomaly));
        }
    }

    fn apply_to(self, anomaly: &mut Anomaly) {
        for operation in &mut anomaly.operations {
            operation.time = self.at(operation.index, operation.time);
            let completion = operation.completion_time.zip(operation.completion_index);
            operation.completion_time = completion.map(|(time, index)| self.at(index, time));
        }
    }

    fn at(self, index: u64, time: u64) -> u64 {
        match self {
            Self::Recorded { from } => time.saturating_sub(from),
            Self::Positions { from } => index.saturating_sub(from).saturating_mul(STEP_NS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::read_lines;
    use super::*;

    fn drawn(times: [u64; 4]) -> (Moments, Vec<(u64, u64)>) {
        let types = ["invoke", "ok", "invoke", "ok"];
        let lines: String = (10_u64..)
            .zip(times.iter().zip(types))
            .map(|(index, (time, op_type))| {
                format!("{{\"index\":{index},\"time\":{time},\"process\":0,\"type\":{op_type:?},\"f\":\"read\"}}\n")
            })
            .collect();
        let mut history = read_lines(lines.as_bytes(), &[]).expect("reads from memory");
        let moments = Moments::of(&history);
        moments.apply(&mut history, &mut RunVerdict::Valid);
        (moments, history.operations.iter().map(|operation| (operation.start, operation.end)).collect())
    }

    #[test]
    fn times_count_from_the_run_whatever_their_zero_is() {
        let (relative, same) = drawn([5_000, 6_000, 7_000, 90_000]);
        assert_eq!((relative, same), (Moments::Recorded { from: 0 }, vec![(5_000, 6_000), (7_000, 90_000)]));
        let since_1970 = 1_700_000_000_000_000_000;
        let (absolute, moved) = drawn([5_000, 6_000, 7_000, 90_000].map(|time| since_1970 + time));
        assert_eq!(absolute, Moments::Recorded { from: since_1970 + 5_000 });
        assert_eq!(moved, [(0, 1_000), (2_000, 85_000)]);
    }

    #[test]
    fn without_times_events_follow_each_other_at_equal_steps() {
        let steps = vec![(0, STEP_NS), (2 * STEP_NS, 3 * STEP_NS)];
        assert_eq!(drawn([0; 4]), (Moments::Positions { from: 10 }, steps.clone()));
        assert_eq!(drawn([1, 2, 3, 4]).1, steps);
    }
}
