//! The time until an anomaly could be seen.
//!
//! The time of a detection is that at which the first witness was complete: the latest time in the witness,
//! counted from the start of the clients. Checking comes after the run, so this measures the system, not the
//! checker's speed. A trial without an anomaly shows only that the time is longer than its clients ran: it is
//! censored there.

use serde::{Deserialize, Serialize};

/// Times to detection over several trials that ran for the same time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detections {
    /// When each that found something did, in seconds, the shortest first.
    pub found_s: Vec<f64>,
    /// The number of trials that found nothing.
    pub censored: u32,
    /// After how long those were given up, in seconds.
    pub censored_at_s: f64,
}

impl Detections {
    /// Returns the detections of trials, each with its time or `None`, whose clients ran for `limit_s`.
    pub fn new(trials: impl IntoIterator<Item = Option<f64>>, limit_s: f64) -> Self {
        let mut detections = Self { censored_at_s: limit_s, ..Self::default() };
        for trial in trials {
            match trial {
                Some(time) => detections.found_s.push(time),
                None => detections.censored += 1,
            }
        }
        detections.found_s.sort_by(f64::total_cmp);
        detections
    }

    /// Returns the median time, `None` if fewer than half found anything: then it is longer than the
    /// trials ran.
    ///
    /// Kaplan and Meier's: the first time at which the part not yet found is at most one half. All are censored at one
    /// time, after every detection, so that this is the ⌈n/2⌉-th time of n trials.
    /// Source: E. L. Kaplan and P. Meier, "Nonparametric Estimation from Incomplete Observations", Journal of the American
    /// Statistical Association 53 (1958), 457–481.
    #[must_use]
    pub fn median_s(&self) -> Option<f64> {
        let trials = self.found_s.len() + self.censored as usize;
        let half = trials.div_ceil(2);
        half.checked_sub(1).and_then(|at| self.found_s.get(at)).copied()
    }

    /// `4.2 s`, `over 30 s`, or `–` without trials.
    #[must_use]
    pub fn words(&self) -> String {
        match self.median_s() {
            Some(median) => format!("{median:.1} s"),
            None if self.censored > 0 => format!("over {:.0} s", self.censored_at_s),
            None => "–".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_counts_those_who_found_nothing() {
        for (trials, median) in [
            (vec![Some(3.0), Some(1.0), Some(2.0)], Some(2.0)),
            (vec![Some(3.0), Some(1.0), None], Some(3.0)),
            (vec![Some(1.0), None, None], None),
            (vec![Some(4.0), None], Some(4.0)),
            (vec![None], None),
            (vec![], None),
        ] {
            assert_eq!(Detections::new(trials.clone(), 30.0).median_s(), median, "{trials:?}");
        }
        assert_eq!(Detections::new([None], 30.0).words(), "over 30 s");
        assert_eq!(Detections::new([Some(4.25)], 30.0).words(), "4.2 s");
        assert_eq!(Detections::default().words(), "–");
    }
}
