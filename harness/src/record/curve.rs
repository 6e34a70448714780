//! From when on an anomaly was likely: rates by the moment up to which the schedule was kept, saved beside a run.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::trial::Proportion;

/// The file of a curve, in its run's folder.
pub const FILE: &str = "curve.json";
/// The width of the widest bar in text, in characters.
const BAR: usize = 30;

/// A moment at which the schedule is cut, and the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Faults that begin before this moment are kept, in milliseconds since clients began.
    pub at_ms: u64,
    /// The number of faults that are kept.
    pub kept: usize,
    /// The last of them, in words; absent if none is kept.
    pub last: Option<String>,
    /// How often such runs found an anomaly.
    pub rate: Proportion,
}

/// The points, in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Curve {
    /// How long clients run, in milliseconds.
    pub time_limit_ms: u64,
    /// The points.
    pub points: Vec<Point>,
}

impl Curve {
    /// Loads the curve of the run in `folder`, if one was measured.
    #[must_use]
    pub fn load(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join(FILE)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Saves it in the folder of its run.
    ///
    /// # Errors
    /// The system's.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join(FILE), serde_json::to_string_pretty(self)? + "\n")
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Point { at_ms, kept, last, rate } in &self.points {
            let bar = "#".repeat((rate.rate() * BAR as f64).round() as usize);
            let last =
                last.as_ref().map_or_else(|| "no fault is kept".to_owned(), |last| format!("after {last}"));
            writeln!(
                f,
                "{:>7.1} s  {kept:>3} kept  {bar:<BAR$}  {:<26}  {last}",
                *at_ms as f64 / 1000.0,
                rate.words()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_shown_and_read_again() {
        let point = |at_ms, last: Option<&str>| Point {
            at_ms,
            kept: usize::from(last.is_some()),
            last: last.map(str::to_owned),
            rate: Proportion { found: u32::from(last.is_some()) * 3, of: 4 },
        };
        let curve = Curve { time_limit_ms: 9000, points: vec![point(0, None), point(1001, Some("kill n1"))] };
        let text = curve.to_string();
        assert!(text.contains("no fault is kept") && text.contains("after kill n1"), "{text}");
        assert!(text.contains("3/4"), "{text}");
        let folder = tempfile::tempdir().unwrap();
        curve.save(folder.path()).unwrap();
        assert_eq!(Curve::load(folder.path()), Some(curve));
        assert_eq!(Curve::load(&folder.path().join("none")), None);
    }
}
