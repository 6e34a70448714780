//! Session guarantees: what a process that reads and writes registers may rely on.
//!
//! Terry and others, "Session Guarantees for Weakly Consistent Replicated Data" (PDIS 1994). A session is the operations of one
//! process, up to the first of unknown outcome.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A guarantee to each session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionGuarantee {
    /// The earlier writes of a session are visible to its reads.
    ReadYourWrites,
    /// The writes that were visible to a read of a session are visible to its later reads.
    MonotonicReads,
    /// The writes of a session take effect in its order, and a read to which one is visible sees those before it.
    MonotonicWrites,
    /// A write takes effect after the writes that were visible to earlier reads of its session, and a read to which it is
    /// visible sees those too.
    WritesFollowReads,
}

impl SessionGuarantee {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::ReadYourWrites, Self::MonotonicReads, Self::MonotonicWrites, Self::WritesFollowReads];

    /// Returns the name, as the command line has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadYourWrites => "read-your-writes",
            Self::MonotonicReads => "monotonic-reads",
            Self::MonotonicWrites => "monotonic-writes",
            Self::WritesFollowReads => "writes-follow-reads",
        }
    }
}

const PRAM: &str = "pram";

/// Guarantees that hold together, in one execution; at least one. Written as names joined by `+`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionGuarantees(u8);

impl SessionGuarantees {
    /// All but writes-follow-reads: PRAM (Lipton and Sandberg 1988), whose writes are in one order for all processes.
    pub const PRAM: Self = Self(0b111);

    /// The guarantees about the order of writes: monotonic-writes and writes-follow-reads.
    pub const OF_WRITES: Self = Self(0b1100);

    /// All four: causal consistency.
    pub const ALL: Self = Self(0b1111);

    /// Returns the guarantees that `names` joins by `+`; `pram` is the first three.
    #[must_use]
    pub fn named(names: &str) -> Option<Self> {
        let named = |name| match name {
            PRAM => Some(Self::PRAM),
            name => SessionGuarantee::ALL.into_iter().find(|one| one.name() == name).map(Self::from),
        };
        names.split('+').try_fold(Self(0), |all, name| named(name).map(|more| Self(all.0 | more.0)))
    }

    /// Whether `guarantee` is one of them.
    #[must_use]
    pub fn has(self, guarantee: SessionGuarantee) -> bool {
        self.implies(guarantee.into())
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub fn implies(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl From<SessionGuarantee> for SessionGuarantees {
    fn from(guarantee: SessionGuarantee) -> Self {
        Self(1 << guarantee as u8)
    }
}

impl fmt::Display for SessionGuarantees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_pram = self.implies(Self::PRAM);
        let others = SessionGuarantee::ALL
            .into_iter()
            .filter(|one| self.has(*one) && !(is_pram && Self::PRAM.has(*one)))
            .map(SessionGuarantee::name);
        f.pad(&is_pram.then_some(PRAM).into_iter().chain(others).collect::<Vec<_>>().join("+"))
    }
}

impl From<SessionGuarantees> for String {
    fn from(guarantees: SessionGuarantees) -> Self {
        guarantees.to_string()
    }
}

/// Not names of session guarantees.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a session guarantee, or several joined by +")]
pub struct SessionGuaranteesError(String);

impl TryFrom<String> for SessionGuarantees {
    type Error = SessionGuaranteesError;

    fn try_from(names: String) -> Result<Self, Self::Error> {
        Self::named(&names).ok_or(SessionGuaranteesError(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_found_by_what_it_is_printed_as() {
        for set in 1..=0b1111 {
            let guarantees = SessionGuarantees(set);
            assert_eq!(SessionGuarantees::named(&guarantees.to_string()), Some(guarantees));
            let saved = serde_json::to_string(&guarantees).unwrap();
            assert_eq!(serde_json::from_str::<SessionGuarantees>(&saved).unwrap(), guarantees);
        }
        assert_eq!(SessionGuarantees(0b1111).to_string(), "pram+writes-follow-reads");
        assert_eq!(SessionGuarantees(0b1010).to_string(), "monotonic-reads+writes-follow-reads");
        for wrong in ["", "+", "pram+", "sequential", "monotonic-reads,pram"] {
            assert_eq!(SessionGuarantees::named(wrong), None, "{wrong}");
        }
    }
}
