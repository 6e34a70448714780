//! The quorums of the mode `ring`, and what they promise.

use std::time::Duration;

use duress_history::{Freshness, Promise};
use duress_settings::{Settings, SettingsError};
use serde::Deserialize;

use crate::deployment::TimeOuts;

/// How many owners of a key have to answer, and what is done about those that do not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quorums {
    /// All nodes.
    nodes: usize,
    /// The owners of a key.
    n: usize,
    /// Those that a read asks.
    r: usize,
    /// Those that confirm a write.
    w: usize,
    repair: ReadRepair,
    sloppy: Sloppy,
    conflict: Conflict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReadRepair {
    Sync,
    Async,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Sloppy {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Conflict {
    Lww,
    Siblings,
}

impl Quorums {
    /// Returns those of a cluster of so many nodes.
    ///
    /// # Errors
    /// The settings are not those of the mode, or contradict themselves.
    pub(super) fn of(settings: &Settings, nodes: usize) -> Result<Self, SettingsError> {
        let n: usize = settings.whole("n")?;
        let quorum = |name: &str| {
            let quorum: usize = settings.whole(name)?;
            if quorum > n {
                let (option, given) = (name.to_owned(), format!("{quorum}, with n={n}"));
                return Err(SettingsError::Unreadable { option, given });
            }
            // With fewer nodes all of them own every key.
            Ok(quorum.min(nodes))
        };
        Ok(Self {
            nodes,
            n: n.min(nodes),
            r: quorum("r")?,
            w: quorum("w")?,
            repair: settings.word("read_repair")?,
            sloppy: settings.word("sloppy")?,
            conflict: settings.word("conflict")?,
        })
    }

    /// How many nodes may be away while reads and writes are still answered.
    pub(super) fn tolerates(self) -> usize {
        match self.sloppy {
            Sloppy::Off => self.n - self.r.max(self.w),
            Sloppy::On => self.nodes - self.r.max(self.w),
        }
    }

    /// Returns the time-outs of a node: for a silent connection, and for the owners' answers to a request.
    pub(super) fn time_outs() -> TimeOuts {
        let (silence, request) = (Duration::from_millis(500), Duration::from_millis(1_500));
        TimeOuts { election: silence, session: Some(request), ..TimeOuts::default() }
    }

    /// Whether values that were written without knowledge of each other are kept side by side.
    pub(super) fn keeps_siblings(self) -> bool {
        self.conflict == Conflict::Siblings
    }

    /// Returns the promise about the answers to the workload of this name.
    ///
    /// If read and write quorums meet, each write has a higher version than all writes that had been acknowledged when it
    /// began, and each read sees a version at least as high as theirs: MWR-weak, which [`Freshness::Regular`] is. A read
    /// that returns only what a write quorum has also leaves it for later reads. Otherwise a write may get a lower
    /// version than one that had been acknowledged, and lose against it.
    ///
    /// A set is a value that clients read and write back: of two that do so at once, one loses, whatever the quorums, unless both
    /// values are kept. Then copies come to have every element, in any order.
    pub(super) fn promise(self, workload: &str) -> Promise {
        match (self.r + self.w > self.n && self.sloppy == Sloppy::Off, self.repair) {
            _ if workload == "set" && self.keeps_siblings() => Promise::EVENTUAL,
            _ if workload == "set" || self.keeps_siblings() => Promise::Freshness(Freshness::Written),
            (true, ReadRepair::Sync) => Promise::LINEARIZABLE,
            (true, ReadRepair::Async | ReadRepair::Off) => Promise::Freshness(Freshness::Regular),
            (false, _) => Promise::EVENTUAL,
        }
    }
}
