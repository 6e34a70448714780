//! Promises about how old the value of a register may be when it is read.
//!
//! A read is a *version old* for each acknowledged write that began after the write whose value it returned had ended,
//! and that ended before the read began. Its *age* is the time since the first of these ended.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The promise about the age of reads. No read returns a value that was never written, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Freshness {
    /// A read returns the value of a write that overlaps it, or of one that no other had replaced when it began.
    ///
    /// Sources: Lamport, "On interprocess communication", Distributed Computing 1986, for one writer; Shao, Welch,
    /// Pierce, Lee, "Multiwriter consistency conditions for shared memory registers", SIAM J. Comput. 2011, for several:
    /// MWR-weak.
    Regular,
    /// The same for reads that no write overlaps; any other may return anything (Lamport).
    Safe,
    /// A read is at most so many versions old.
    ///
    /// k-atomicity (Aiyer, Alvisi, Bazzi, "On the availability of non-strict quorum systems", DISC 2005), where one
    /// order of the writes must do for all reads, implies it for k - 1 versions.
    Versions(u64),
    /// A read is at most so old in time.
    Age(Duration),
    /// A read may be as old as it likes, or of a write that was lost since.
    Written,
}

/// The name of the promises that have a bound, up to it.
const BOUNDED: &str = "bounded-staleness=";

/// The units of ages, longest first, in nanoseconds.
const UNITS: [(&str, u64); 5] =
    [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];

impl Freshness {
    /// Returns the name, with a placeholder for a bound: `bounded-staleness=VERSIONS`.
    #[must_use]
    pub fn form(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Safe => "safe",
            Self::Versions(_) => "bounded-staleness=VERSIONS",
            Self::Age(_) => "bounded-staleness=DURATION",
            Self::Written => "written",
        }
    }

    /// Whether every system that keeps `self` keeps `other` too.
    #[must_use]
    pub fn implies(self, other: Self) -> bool {
        match (self, other) {
            (Self::Regular, _) => true,
            (Self::Versions(one), Self::Versions(other)) => one <= other,
            (Self::Age(one), Self::Age(other)) => one <= other,
            // Reads that overlap a write may return anything where only `safe` is promised.
            (Self::Versions(_) | Self::Age(_), Self::Written) => true,
            (one, other) => one == other,
        }
    }
}

/// Not the name of such a promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a promise about the age of reads: use regular, safe, written, bounded-staleness=3 or bounded-staleness=500ms"
)]
pub struct FreshnessError(String);

impl FromStr for Freshness {
    type Err = FreshnessError;

    /// Parses `regular`, `safe`, `written`, `bounded-staleness=3` (versions) and `bounded-staleness=500ms` (`us`, `ms`, `s`, `m`, `h`).
    fn from_str(name: &str) -> Result<Self, FreshnessError> {
        let bound = |bound: &str| {
            let split = bound.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(bound.len());
            let (number, unit) = bound.split_at(split);
            let number: u64 = number.parse().ok()?;
            if unit.is_empty() {
                return Some(Self::Versions(number));
            }
            let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
            Some(Self::Age(Duration::from_nanos(number.checked_mul(*nanos)?)))
        };
        match name {
            "regular" => Some(Self::Regular),
            "safe" => Some(Self::Safe),
            "written" => Some(Self::Written),
            _ => name.strip_prefix(BOUNDED).and_then(bound),
        }
        .ok_or_else(|| FreshnessError(name.to_owned()))
    }
}

impl TryFrom<String> for Freshness {
    type Error = FreshnessError;

    fn try_from(name: String) -> Result<Self, FreshnessError> {
        name.parse()
    }
}

impl From<Freshness> for String {
    fn from(freshness: Freshness) -> Self {
        freshness.to_string()
    }
}

impl fmt::Display for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Regular | Self::Safe | Self::Written => f.pad(self.form()),
            Self::Versions(most) => f.pad(&format!("{BOUNDED}{most}")),
            Self::Age(most) => {
                let nanos = most.as_nanos() as u64;
                let whole = |(_, unit): &&(&str, u64)| nanos >= *unit && nanos.is_multiple_of(*unit);
                let (name, unit) = UNITS.iter().find(whole).unwrap_or(&UNITS[4]);
                f.pad(&format!("{BOUNDED}{}{name}", nanos / unit))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for name in [
            "regular",
            "safe",
            "written",
            "bounded-staleness=3",
            "bounded-staleness=500ms",
            "bounded-staleness=90s",
        ] {
            assert_eq!(name.parse::<Freshness>().map(|read| read.to_string()), Ok(name.to_owned()));
        }
        let same: Freshness = "bounded-staleness=2000ms".parse().unwrap();
        assert_eq!(same.to_string(), "bounded-staleness=2s");
        for bad in ["", "=", "=ms", "=-1", "=1.5", "=3 ms", "=3d", "=99999999999999999999", "=9999999999999h"]
        {
            assert!(format!("bounded-staleness{bad}").parse::<Freshness>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lesser_bound_implies_a_greater_one() {
        let of = |name: &str| name.parse::<Freshness>().unwrap();
        let (three, four) = (of("bounded-staleness=3"), of("bounded-staleness=4"));
        assert!(three.implies(four) && !four.implies(three) && !three.implies(of("bounded-staleness=4s")));
        for bounded in [Freshness::Regular, three, of("bounded-staleness=4s")] {
            assert!(bounded.implies(Freshness::Written) && !Freshness::Written.implies(bounded));
        }
        assert!(!Freshness::Safe.implies(Freshness::Written) && !Freshness::Written.implies(Freshness::Safe));
        for weaker in [three, Freshness::Safe, of("bounded-staleness=1ms")] {
            assert!(Freshness::Regular.implies(weaker) && !weaker.implies(Freshness::Regular));
        }
        assert!(!Freshness::Safe.implies(three) && !three.implies(Freshness::Safe));
    }
}
