//! The faults of a run and their evidence, read back from the history.

use std::collections::BTreeMap;

use duress_history::NemesisEvent;
use serde::{Deserialize, Serialize};

/// A fault as the history tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// Its number in the schedule.
    pub id: u64,
    /// What it was.
    pub what: String,
    /// The node that led when it started, where it struck by that.
    pub leader: Option<String>,
    /// When it was in force, in milliseconds since clients began.
    pub start_ms: Option<u64>,
    /// When it was healed.
    pub stop_ms: Option<u64>,
    /// How much later than planned it was in force, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_us: Option<u64>,
    /// What proved that it took hold.
    pub took_hold: Option<String>,
    /// What proved that it healed.
    pub healed: Option<String>,
    /// Nodes started again and how long each took until it served, in milliseconds.
    pub served_after_ms: Vec<(String, u64)>,
    /// Nodes that ended because of it, by themselves, and how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<(String, String)>,
    /// What went wrong with it.
    pub errors: Vec<String>,
}

/// Gathers what the nemesis recorded, fault by fault, in order of their numbers.
#[must_use]
pub fn faults(events: &[NemesisEvent]) -> Vec<FaultRecord> {
    let mut faults: BTreeMap<u64, FaultRecord> = BTreeMap::new();
    for event in events {
        let Some(id) = event.value["fault"].as_u64() else { continue };
        let fault = faults.entry(id).or_insert_with(|| FaultRecord { id, ..FaultRecord::default() });
        if let Some(what) = event.value["what"].as_str() {
            what.clone_into(&mut fault.what);
        }
        if let Some(error) = &event.error {
            fault.errors.push(format!("{}: {error}", event.f));
        }
        let summary = event.value["summary"].as_str().map(str::to_owned);
        let at = event.time / 1_000_000;
        if event.f.starts_with("start-") {
            if let Some(leader) = event.value["leader"].as_str() {
                fault.leader = Some(leader.to_owned());
            }
            if summary.is_some() {
                // In force earlier than all the evidence was together.
                let since = event.value["since_us"].as_u64().map_or(at, |since_us| since_us / 1000);
                (fault.start_ms, fault.took_hold) = (Some(since), summary);
                fault.late_us = event.value["late_us"].as_u64();
            }
        } else if event.f.starts_with("stop-") && summary.is_some() {
            (fault.stop_ms, fault.healed) = (Some(at), summary);
        } else if event.f == "ready"
            && event.error.is_none()
            && let (Some(node), Some(after)) =
                (event.value["node"].as_str(), event.value["after_ms"].as_u64())
        {
            fault.served_after_ms.push((node.to_owned(), after));
        } else if event.f == "crash"
            && let (Some(node), Some(status)) = (event.value["node"].as_str(), event.value["status"].as_str())
        {
            fault.ended.push((node.to_owned(), status.to_owned()));
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
