//! The faults of a run and their evidence, read back from the history.

use std::collections::BTreeMap;

use duress_history::nemesis::Recovery;
use duress_history::{NemesisAct, NemesisEvent, NodeId};
use serde::{Deserialize, Serialize};

/// A fault as the history tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultRecord {
    /// Its number in the schedule.
    pub id: u32,
    /// What it was.
    pub what: String,
    /// The node that led when it started, where it struck by that.
    pub leader: Option<String>,
    /// When it was in force, in milliseconds since clients began.
    pub start_ms: Option<u64>,
    /// When it was healed.
    pub stop_ms: Option<u64>,
    /// How much later than planned it was in force, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_us: Option<u64>,
    /// What proved that it took hold.
    pub took_hold: Option<String>,
    /// What proved that it healed.
    pub healed: Option<String>,
    /// What came back after it was healed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recoveries: Vec<Recovery>,
    /// Nodes that ended because of it, by themselves, and how.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<(String, String)>,
    /// What went wrong with it.
    pub errors: Vec<String>,
}

impl FaultRecord {
    /// Whether it was in force at some time between `from` and `to`, in nanoseconds.
    #[must_use]
    pub fn overlaps(&self, from: u64, to: u64) -> bool {
        let start = self.start_ms.map(|ms| ms * 1_000_000);
        let stop = self.stop_ms.map_or(u64::MAX, |ms| ms * 1_000_000);
        start.is_some_and(|start| start <= to) && stop >= from
    }
}

/// Gathers what the nemesis recorded, fault by fault, in order of their numbers.
#[must_use]
pub fn faults(events: &[NemesisEvent]) -> Vec<FaultRecord> {
    let mut faults: BTreeMap<u32, FaultRecord> = BTreeMap::new();
    for NemesisEvent { time, act, .. } in events {
        let Some(id) = act.fault() else { continue };
        let record = faults.entry(id).or_insert_with(|| FaultRecord { id, ..FaultRecord::default() });
        match act {
            NemesisAct::Starting { fault, leader } => {
                fault.what.clone_into(&mut record.what);
                record.leader = leader.as_ref().map(NodeId::to_string);
            }
            NemesisAct::Started { since_us, late_us, evidence, .. } => {
                record.start_ms = Some(since_us / 1000);
                record.late_us = Some(*late_us);
                record.took_hold = Some(evidence.to_string());
            }
            NemesisAct::Stopped { evidence, .. } => {
                record.stop_ms = Some(time / 1_000_000);
                record.healed = Some(evidence.to_string());
            }
            NemesisAct::StartFailed { .. } | NemesisAct::StopFailed { .. } => {
                record.errors.push(act.to_string());
            }
            NemesisAct::Recovered(recovery) => record.recoveries.push(recovery.clone()),
            NemesisAct::NodeEnded { node, status, .. } => {
                record.ended.push((node.to_string(), status.clone()));
            }
            NemesisAct::Stopping { .. }
            | NemesisAct::Settled { .. }
            | NemesisAct::Compared(_)
            | NemesisAct::Foreign { .. } => {}
        }
    }
    faults.into_values().collect()
}

/// How much later than planned faults were in force, in microseconds: the median, the 99th percentile and the latest.
#[must_use]
pub fn lateness(faults: &[FaultRecord]) -> Option<[u64; 3]> {
    let mut late: Vec<u64> = faults.iter().filter_map(|fault| fault.late_us).collect();
    late.sort_unstable();
    // The nearest rank: of few faults, the 99th percentile is the latest.
    let rank = |percent: usize| late.get((late.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some([rank(50)?, rank(99)?, rank(100)?])
}
