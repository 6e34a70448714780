//! The moments of a history for a page: other programs' times may begin anywhere, or be of no use.

use duress_history::History;

/// The distance at which events without times are placed, in nanoseconds.
const STEP_NS: u64 = 1_000_000;

/// The source of the moments of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moments {
    /// The recorded times, counted from `from`, in nanoseconds.
    Recorded {
        /// The zero.
        from: u64,
    },
    /// The positions of events, from `from` on, a step each: there are no times, or too few for a picture.
    Positions {
        /// The index at the zero.
        from: u64,
    },
}

impl Moments {
    /// Chooses those of `history`, whose times are still as they were recorded.
    #[must_use]
    pub fn of<A>(history: &History<A>) -> Self {
        let events = &history.events;
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return Self::Recorded { from: 0 };
        };
        let lasted = last.time.saturating_sub(first.time);
        // A page counts microseconds: with fewer of them than events, many would be at the same place.
        if lasted / 1000 < events.len() as u64 / 2 {
            return Self::Positions { from: first.index };
        }
        // Times that begin later than they last count from 1970, or from the start of a machine.
        Self::Recorded { from: if first.time > lasted { first.time } else { 0 } }
    }

    /// Moves everything in `history` to these moments; the order of its events, which alone decides, stays.
    pub fn apply<A>(self, history: &mut History<A>) {
        history.events.iter_mut().for_each(|event| event.time = self.at(event.index, event.time));
        history.nemesis.iter_mut().for_each(|event| event.time = self.at(event.index, event.time));
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
    use duress_history::jsonl;
    use duress_history::register::Register;

    use super::*;

    fn moved(times: [u64; 4]) -> (Moments, Vec<u64>) {
        let types = ["invoke", "ok", "invoke", "ok"];
        let lines: String = (10_u64..)
            .zip(times.iter().zip(types))
            .map(|(index, (time, op_type))| {
                format!(
                    "{{\"index\":{index},\"time\":{time},\"process\":0,\"type\":{op_type:?},\"f\":\"write\",\"value\":[1,1]}}\n"
                )
            })
            .collect();
        let mut history = jsonl::read_from::<Register>(lines.as_bytes()).expect("a history");
        let moments = Moments::of(&history);
        moments.apply(&mut history);
        (moments, history.events.iter().map(|event| event.time).collect())
    }

    #[test]
    fn times_count_from_the_run_whatever_their_zero_is() {
        let times = [5_000, 6_000, 7_000, 90_000];
        assert_eq!(moved(times), (Moments::Recorded { from: 0 }, times.to_vec()));
        let since_1970 = 1_700_000_000_000_000_000;
        let from = since_1970 + 5_000;
        let absolute = times.map(|time| since_1970 + time);
        assert_eq!(moved(absolute), (Moments::Recorded { from }, vec![0, 1_000, 2_000, 85_000]));
    }

    #[test]
    fn without_times_events_follow_each_other_at_equal_steps() {
        let steps = (Moments::Positions { from: 10 }, [0, 1, 2, 3].map(|at| at * STEP_NS).to_vec());
        assert_eq!(moved([0; 4]), steps);
        assert_eq!(moved([1, 2, 3, 4]), steps);
    }
}
