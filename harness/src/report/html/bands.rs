//! Fault bands: which fault was in force on which node, and when.

use std::collections::{BTreeMap, BTreeSet};

use duress_history::NodeId;
use duress_history::nemesis::{Evidence, FaultName, NemesisAct};
use duress_nemesis::{Cut, Fault, RoleMap};
use serde::Serialize;

use super::history::RunHistory;
use crate::plan::Plan;

/// One fault on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Band {
    /// Its number in the schedule.
    pub fault: u32,
    /// Its family: `partition`, `kill`, …
    pub family: String,
    /// The fault, in words.
    pub what: String,
    /// The node's name.
    pub node: String,
    /// When it took hold, in microseconds.
    pub from: u64,
    /// When it was healed, or the run ended, in microseconds.
    pub to: u64,
    /// Whether it struck this node itself; a partition also touches the nodes that others are cut from.
    pub struck: bool,
}

/// A fault that took hold.
struct Held<'a> {
    name: &'a FaultName,
    away: &'a [NodeId],
    evidence: &'a Evidence,
    from: u64,
    to: Option<u64>,
}

/// Returns the bands of a run, by fault and node.
#[must_use]
pub fn bands(history: &RunHistory, plan: &Plan) -> Vec<Band> {
    let mut held: BTreeMap<u32, Held<'_>> = BTreeMap::new();
    for event in &history.nemesis {
        match &event.act {
            NemesisAct::Started { fault, away, since_us, evidence, .. } => {
                held.insert(fault.id, Held { name: fault, away, evidence, from: *since_us, to: None });
            }
            NemesisAct::Stopped { fault, .. } => {
                if let Some(held) = held.get_mut(&fault.id) {
                    held.to = Some(event.time / 1000);
                }
            }
            _ => {}
        }
    }
    let mut bands = Vec::new();
    // A fault that never took hold was not in force.
    for (id, held) in held {
        let to = held.to.unwrap_or(history.lasted / 1000).max(held.from);
        for (node, struck) in places(id, &held, plan) {
            if history.nodes.contains(&node) {
                bands.push(Band {
                    fault: id,
                    family: held.name.family.clone(),
                    what: held.name.what.clone(),
                    node,
                    from: held.from,
                    to,
                    struck,
                });
            }
        }
    }
    bands
}

/// Returns the nodes that a fault struck (true) or touched.
fn places(id: u32, held: &Held<'_>, plan: &Plan) -> BTreeMap<String, bool> {
    let nodes = plan.node_names();
    let scheduled = plan.schedule.iter().find(|scheduled| scheduled.id == id).map(|one| &one.fault);
    match scheduled {
        Some(Fault::Partition { cut: Cut::Links(links), .. }) => return of_links(links),
        // The others are cut off from those that are away.
        Some(Fault::Partition { cut: Cut::Isolate(_), .. }) => {
            return nodes.iter().map(|node| (node.to_string(), held.away.contains(node))).collect();
        }
        _ => {}
    }
    let seen = held.evidence.nodes();
    let struck = match scheduled.and_then(Fault::targets) {
        Some(targets) if seen.is_empty() => targets.resolve(&RoleMap::default(), &[]),
        _ => seen.into_iter().cloned().collect(),
    };
    struck.into_iter().map(|node| (node.to_string(), true)).collect()
}

/// Returns the nodes at the ends of cut links; struck are those that are cut from more nodes than any other
/// is.
fn of_links(links: &[(NodeId, NodeId)]) -> BTreeMap<String, bool> {
    let mut peers: BTreeMap<&NodeId, BTreeSet<&NodeId>> = BTreeMap::new();
    for (from, to) in links {
        peers.entry(from).or_default().insert(to);
        peers.entry(to).or_default().insert(from);
    }
    let most = peers.values().map(BTreeSet::len).max().unwrap_or(0);
    peers.iter().map(|(node, others)| (node.to_string(), others.len() == most)).collect()
}

#[cfg(test)]
mod tests {
    use duress_history::NemesisEvent;
    use duress_history::nemesis::NodeProcesses;

    use super::*;
    use crate::record::example::plan;

    fn name(id: u32, what: &str) -> FaultName {
        FaultName { id, family: "kill".into(), what: what.into() }
    }

    #[test]
    fn a_fault_is_where_its_evidence_saw_it() {
        let node = NodeId::new("n2");
        let evidence = Evidence::Killed { nodes: vec![NodeProcesses { node: node.clone(), processes: 1 }] };
        let (fault, leader) = (name(1, "kill leader"), Some(node));
        let started =
            NemesisAct::Started { fault, leader, away: Vec::new(), since_us: 2_000, late_us: 0, evidence };
        let starting = NemesisAct::Starting { fault: name(2, "kill n1"), leader: None, event: None };
        let history = RunHistory {
            nodes: vec!["n1".into(), "n2".into()],
            nemesis: vec![
                NemesisEvent { index: 0, time: 2_500_000, act: started },
                NemesisEvent { index: 1, time: 3_000_000, act: starting },
            ],
            lasted: 9_000_000,
            ..RunHistory::default()
        };
        let bands = bands(&history, &plan());
        let [band] = &bands[..] else { panic!("{bands:?}") };
        assert_eq!((band.fault, band.node.as_str(), band.from, band.to), (1, "n2", 2000, 9000));
        assert!(band.struck);
    }

    #[test]
    fn the_isolated_side_of_a_partition_is_struck() {
        let links = [("n1", "n2"), ("n2", "n1"), ("n1", "n3"), ("n3", "n1")];
        let links = links.map(|(from, to)| (NodeId::new(from), NodeId::new(to)));
        let places = of_links(&links);
        assert_eq!(places.into_values().collect::<Vec<_>>(), [true, false, false]);
    }
}
