//! The situations in which faults met the cluster, by which one sees what a campaign of runs has not tried yet.

use std::fmt;

use duress_nemesis::Family;
use serde::{Deserialize, Serialize};

use super::faults::FaultRecord;

/// For so long after the end of a fault the cluster counts as recovering, in milliseconds.
const RECOVERING_MS: u64 = 1000;

/// A fault's family, its effect on the leader, and what preceded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Situation {
    /// The family.
    pub family: Family,
    /// Whether it disabled the node that led.
    pub leader: bool,
    /// The state in which it found the cluster.
    pub phase: Phase,
}

/// The state of the cluster when a fault comes into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// No fault is in force, and none has just ended.
    Steady,
    /// Another fault is in force.
    Faulty,
    /// A fault ended less than a second ago, and no other is in force.
    Recovering,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Steady, Self::Faulty, Self::Recovering];

    fn words(self) -> &'static str {
        match self {
            Self::Steady => "in a steady state",
            Self::Faulty => "during another fault",
            Self::Recovering => "in a recovery",
        }
    }
}

/// The families whose faults never disable a node.
const HARMLESS: [Family; 4] = [Family::Packet, Family::Clock, Family::Resources, Family::Upgrade];

impl Situation {
    /// Returns every situation that there can be.
    pub fn all() -> impl Iterator<Item = Self> {
        Family::ALL.into_iter().flat_map(|family| {
            [true, false]
                .into_iter()
                .filter(move |leader| !(*leader && HARMLESS.contains(&family)))
                .flat_map(move |leader| Phase::ALL.map(move |phase| Self { family, leader, phase }))
        })
    }

    /// Returns the situation of each of a run's faults that took hold, as was proven.
    #[must_use]
    pub fn of(faults: &[FaultRecord]) -> Vec<Self> {
        let held = || faults.iter().filter(|fault| fault.took_hold.is_some());
        held()
            .filter_map(|fault| {
                let start = fault.start_ms?;
                let others = || held().filter(|other| other.id != fault.id);
                let before = |other: &FaultRecord| other.start_ms.is_some_and(|begun| begun <= start);
                let ended = |other: &FaultRecord| other.stop_ms.unwrap_or(u64::MAX);
                let phase = if others().any(|other| before(other) && start < ended(other)) {
                    Phase::Faulty
                } else if others().any(|other| before(other) && start < ended(other) + RECOVERING_MS) {
                    Phase::Recovering
                } else {
                    Phase::Steady
                };
                let family = Family::named(fault.what.split_whitespace().next()?)?;
                Some(Self { family, leader: fault.takeover.is_some(), phase })
            })
            .collect()
    }
}

impl fmt::Display for Situation {
    /// `pause of the leader during another fault`, `disk elsewhere in a recovery`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, phase) = (self.family.name(), self.phase.words());
        match self.leader {
            true => write!(f, "{family} of the leader {phase}"),
            false if HARMLESS.contains(&self.family) => write!(f, "{family} {phase}"),
            false => write!(f, "{family} elsewhere {phase}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::faults::Takeover;

    #[test]
    fn a_fault_is_told_apart_by_the_leader_and_by_what_came_before() {
        let fault = |id, what: &str, start: u64, stop| FaultRecord {
            id,
            what: what.to_owned(),
            start_ms: Some(start),
            stop_ms: stop,
            took_hold: Some("it did".to_owned()),
            ..FaultRecord::default()
        };
        let deposes = |fault| FaultRecord { takeover: Some(Takeover::None), ..fault };
        let faults = [
            deposes(fault(1, "kill n1", 100, Some(900))),
            fault(2, "packet delay=50ms n2", 300, Some(5000)),
            fault(3, "pause n3", 5900, Some(6000)),
            fault(4, "pause n3", 7000, None),
            deposes(fault(5, "partition isolate-leader", 90_000, Some(90_001))),
            FaultRecord { took_hold: None, ..fault(6, "clock bump=1s n1", 95_000, None) },
        ];
        let words: Vec<String> = Situation::of(&faults).iter().map(Situation::to_string).collect();
        assert_eq!(
            words,
            [
                "kill of the leader in a steady state",
                "packet during another fault",
                "pause elsewhere in a recovery",
                "pause elsewhere in a steady state",
                "partition of the leader during another fault",
            ]
        );
        let all: Vec<Situation> = Situation::all().collect();
        assert_eq!(all.len(), 3 * (2 * (Family::ALL.len() - HARMLESS.len()) + HARMLESS.len()));
        assert!(Situation::of(&faults).iter().all(|situation| all.contains(situation)));
    }
}
