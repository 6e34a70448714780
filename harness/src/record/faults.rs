//! The faults of a run and their evidence, read back from the history.

use std::collections::BTreeMap;
use std::time::Duration;

use duress_history::nemesis::{Proof, Recovery};
use duress_history::{NemesisAct, NemesisEvent, NodeId};
use serde::{Deserialize, Serialize};

use crate::judge::sides::Sides;

/// A fault according to the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultRecord {
    /// Its number in the schedule.
    pub id: u32,
    /// The fault, in words.
    pub what: String,
    /// The node that led when it started.
    pub leader: Option<String>,
    /// The event that it waited for, as it was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The reason why it was not injected, if it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// The succession, if it disabled the leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takeover: Option<Takeover>,
    /// The moment from which it was in force, in milliseconds since clients began.
    pub start_ms: Option<u64>,
    /// The moment at which it was healed, in milliseconds since clients began.
    pub stop_ms: Option<u64>,
    /// The delay with which it came into force, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_us: Option<u64>,
    /// The proof that it took hold.
    pub took_hold: Option<String>,
    /// The proof that it healed.
    pub healed: Option<String>,
    /// Whether another fault hid that it took hold or that it healed, which is then not proven.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// The operations at the nodes that it took away, and at the others; set where the run was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sides: Option<Sides>,
    /// The return of nodes and links after it was healed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recoveries: Vec<Recovery>,
    /// The nodes that ended by themselves because of it, and how.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<(String, String)>,
    /// The errors of its injection or healing.
    pub errors: Vec<String>,
}

/// The succession under a fault that disabled the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "came", rename_all = "kebab-case")]
pub enum Takeover {
    /// Another node became leader before the fault was over, or shortly after.
    By {
        /// The new leader.
        node: String,
        /// The time from when the fault took hold, in milliseconds.
        after_ms: u64,
    },
    /// No other node became leader, so the loss of a leader was not exercised.
    None,
}

/// After this many sufficiently long faults on leaders, a missing takeover is not a coincidence.
const CHANCES: usize = 3;
/// The time after the end of a fault in which an observed takeover still counts.
const SEEN_AFTER_MS: u64 = 300;

impl FaultRecord {
    /// Returns who led and who took over, if it disabled the leader.
    #[must_use]
    pub fn succession(&self) -> Option<String> {
        let leader = self.leader.as_ref()?;
        Some(match self.takeover.as_ref()? {
            Takeover::By { node, after_ms } => format!("{leader} led; {node} took over after {after_ms} ms"),
            Takeover::None => format!("{leader} led, and no other node took over"),
        })
    }

    /// Returns whether it was in force at some time between `from` and `to`, in nanoseconds.
    #[must_use]
    pub fn overlaps(&self, from: u64, to: u64) -> bool {
        let start = self.start_ms.map(|ms| ms * 1_000_000);
        let stop = self.stop_ms.map_or(u64::MAX, |ms| ms * 1_000_000);
        start.is_some_and(|start| start <= to) && stop >= from
    }
}

/// Collects the nemesis's events by fault, in order of the faults' numbers.
#[must_use]
pub fn faults(events: &[NemesisEvent]) -> Vec<FaultRecord> {
    let mut faults: BTreeMap<u32, FaultRecord> = BTreeMap::new();
    for NemesisEvent { time, act, .. } in events {
        let Some(id) = act.fault() else { continue };
        let record = faults.entry(id).or_insert_with(|| FaultRecord { id, ..FaultRecord::default() });
        match act {
            NemesisAct::Starting { fault, leader, event } => {
                fault.what.clone_into(&mut record.what);
                record.leader = leader.as_ref().map(NodeId::to_string);
                record.event.clone_from(event);
            }
            NemesisAct::Skipped { fault, why } => {
                fault.what.clone_into(&mut record.what);
                record.skipped = Some(why.clone());
            }
            NemesisAct::Started { leader, away, since_us, late_us, evidence, .. } => {
                record.start_ms = Some(since_us / 1000);
                if leader.as_ref().is_some_and(|leader| away.contains(leader)) {
                    record.takeover = Some(Takeover::None);
                }
                record.late_us = Some(*late_us);
                record.took_hold = Some(evidence.to_string());
                record.hidden |= evidence.proves() == Proof::Masked;
            }
            NemesisAct::Stopped { evidence, .. } => {
                record.stop_ms = Some(time / 1_000_000);
                record.healed = Some(evidence.to_string());
                record.hidden |= evidence.proves() == Proof::Masked;
            }
            NemesisAct::StartFailed { .. } | NemesisAct::StopFailed { .. } => {
                record.errors.push(act.to_string());
            }
            NemesisAct::Recovered(recovery) => record.recoveries.push(recovery.clone()),
            NemesisAct::NodeEnded { node, status, .. } => {
                record.ended.push((node.to_string(), status.clone()));
            }
            NemesisAct::Stopping { .. }
            | NemesisAct::Led { .. }
            | NemesisAct::Settled { .. }
            | NemesisAct::Compared(_)
            | NemesisAct::Foreign { .. } => {}
        }
    }
    let led: Vec<(u64, &NodeId)> = events
        .iter()
        .filter_map(|event| match &event.act {
            NemesisAct::Led { node, .. } => Some((event.time / 1_000_000, node)),
            _ => None,
        })
        .collect();
    for record in faults.values_mut().filter(|record| record.takeover.is_some()) {
        let (Some(from), Some(old)) = (record.start_ms, record.leader.clone()) else { continue };
        let to = record.stop_ms.map_or(u64::MAX, |stop| stop + SEEN_AFTER_MS);
        let other = led.iter().find(|(at, node)| (from..=to).contains(at) && node.as_str() != old);
        if let Some((at, node)) = other {
            record.takeover = Some(Takeover::By { node: node.to_string(), after_ms: at - from });
        }
    }
    faults.into_values().collect()
}

/// Returns what is missing if several faults disabled a leader for at least `long` and no other node ever
/// took over: the effect of such a fault on the system was then not exercised.
#[must_use]
pub fn without_takeover(faults: &[FaultRecord], long: Duration) -> Option<String> {
    let led = || faults.iter().filter(|fault| fault.takeover.is_some());
    let long_ms = u64::try_from(long.as_millis()).unwrap_or(u64::MAX);
    let lasted = |fault: &FaultRecord| fault.stop_ms.unwrap_or(0).saturating_sub(fault.start_ms.unwrap_or(0));
    let demanded = led().filter(|fault| lasted(fault) >= long_ms).count() >= CHANCES;
    let any = led().any(|fault| matches!(fault.takeover, Some(Takeover::By { .. })));
    let count = led().count();
    (demanded && !any).then(|| {
        format!("under none of the {count} faults that took a leader away did another node take over: that was not exercised")
    })
}

/// Returns how often the leader changed, with or without faults.
#[must_use]
pub fn elections(events: &[NemesisEvent]) -> usize {
    let changed = |event: &&NemesisEvent| matches!(&event.act, NemesisAct::Led { before: Some(_), .. });
    events.iter().filter(changed).count()
}

/// Returns how much later than planned faults came into force, in microseconds: the median, the 99th
/// percentile and the maximum.
#[must_use]
pub fn lateness(faults: &[FaultRecord]) -> Option<[u64; 3]> {
    let mut late: Vec<u64> = faults.iter().filter_map(|fault| fault.late_us).collect();
    late.sort_unstable();
    // The nearest rank: for few faults, the 99th percentile is the maximum.
    let rank = |percent: usize| late.get((late.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some([rank(50)?, rank(99)?, rank(100)?])
}

#[cfg(test)]
mod tests {
    use duress_history::nemesis::{Evidence, FaultName, NodeProcesses};

    use super::*;

    #[test]
    fn a_takeover_is_by_another_node_while_the_leader_is_away() {
        let node = |name: &str| NodeId::new(name);
        let name = |id| FaultName { id, family: "pause".to_owned(), what: "pause leader".to_owned() };
        let processes = |of: &str| vec![NodeProcesses { node: node(of), processes: 1 }];
        let started = |id, leader: &str, struck: &str, ms: u64| NemesisAct::Started {
            fault: name(id),
            leader: Some(node(leader)),
            away: vec![node(struck)],
            since_us: ms * 1000,
            late_us: 0,
            evidence: Evidence::Paused { nodes: processes(struck) },
        };
        let starting = |id, leader: &str| NemesisAct::Starting {
            fault: name(id),
            leader: Some(node(leader)),
            event: None,
        };
        let stopped = |id, of: &str| NemesisAct::Stopped {
            fault: name(id),
            evidence: Evidence::Started { nodes: processes(of) },
        };
        let led = |of: &str, before: Option<&str>| NemesisAct::Led {
            node: node(of),
            before: before.map(node),
            term: None,
        };
        let acts = [
            (50, led("n1", None)),
            (100, starting(1, "n1")),
            (100, started(1, "n1", "n1", 100)),
            (1300, led("n2", Some("n1"))),
            (2000, stopped(1, "n1")),
            // This fault is too short for a takeover, and the later change of the leader is unrelated to it.
            (3000, starting(2, "n2")),
            (3000, started(2, "n2", "n2", 3000)),
            (3100, stopped(2, "n2")),
            (4000, led("n3", Some("n2"))),
            // This fault strikes a node that does not lead.
            (5000, starting(3, "n3")),
            (5000, started(3, "n3", "n1", 5000)),
            (5100, NemesisAct::Skipped { fault: name(4), why: "its event did not come in time".to_owned() }),
        ];
        let events: Vec<NemesisEvent> = (0..)
            .zip(acts)
            .map(|(index, (ms, act))| NemesisEvent { index, time: ms * 1_000_000, act })
            .collect();
        let records = faults(&events);
        let takeovers: Vec<Option<Takeover>> = records.iter().map(|record| record.takeover.clone()).collect();
        let by = Takeover::By { node: "n2".to_owned(), after_ms: 1200 };
        assert_eq!(takeovers, [Some(by), Some(Takeover::None), None, None]);
        assert_eq!(records[3].skipped.as_deref(), Some("its event did not come in time"));
        assert_eq!(elections(&events), 2);
        let second = Duration::from_secs(1);
        assert_eq!(without_takeover(&records, second), None);
        let none = FaultRecord { takeover: Some(Takeover::None), ..records[0].clone() };
        let sentence = without_takeover(&vec![none.clone(); 3], second);
        assert!(sentence.is_some_and(|sentence| sentence.contains("none of the 3 faults")));
        assert_eq!(without_takeover(&[none], second), None, "once may be chance");
        assert_eq!(without_takeover(&records[1..], second), None, "too short for that");
    }
}
