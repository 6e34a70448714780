//! Fault bands: which fault was in force on which node, and when.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::history::RunHistory;
use super::record::PlanRecord;

/// One fault on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Band {
    /// Its number in the schedule.
    pub fault: u64,
    /// Its family: `partition`, `kill`, …
    pub family: String,
    /// What it was, in words.
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

/// A fault as the history tells it.
#[derive(Default)]
struct Told {
    family: String,
    what: String,
    leader: Option<String>,
    from: Option<u64>,
    to: Option<u64>,
    evidence: Value,
}

/// The bands of a run, by fault and node.
#[must_use]
pub fn bands(history: &RunHistory, plan: &PlanRecord) -> Vec<Band> {
    let mut faults: BTreeMap<u64, Told> = BTreeMap::new();
    for line in &history.nemesis {
        let Some(id) = line.value["fault"].as_u64() else { continue };
        let told = faults.entry(id).or_default();
        if let Some(family) = line.f.strip_prefix("start-") {
            family.clone_into(&mut told.family);
            line.value["what"].as_str().unwrap_or_default().clone_into(&mut told.what);
            told.leader = line.value["leader"].as_str().map(str::to_owned);
            if line.value["evidence"].is_object() {
                told.from = Some(line.time / 1000);
                told.evidence = line.value["evidence"].clone();
            }
        } else if line.f.starts_with("stop-") && line.value["evidence"].is_object() {
            told.to = Some(line.time / 1000);
        }
    }
    let mut bands = Vec::new();
    for (id, told) in faults {
        // What never took hold was in force nowhere.
        let Some(from) = told.from else { continue };
        let to = told.to.unwrap_or(history.lasted / 1000).max(from);
        for (node, struck) in places(id, &told, plan) {
            if history.nodes.contains(&node) {
                bands.push(Band {
                    fault: id,
                    family: told.family.clone(),
                    what: told.what.clone(),
                    node,
                    from,
                    to,
                    struck,
                });
            }
        }
    }
    bands
}

/// The nodes that a fault struck or touched.
fn places(id: u64, told: &Told, plan: &PlanRecord) -> BTreeMap<String, bool> {
    let scheduled = plan.schedule.iter().find(|fault| fault["id"].as_u64() == Some(id));
    let links = scheduled.and_then(|fault| fault["cut"]["links"].as_array());
    if let Some(links) = links {
        let pairs = links.iter().filter_map(|link| Some((link[0].as_str()?, link[1].as_str()?)));
        return of_links(pairs);
    }
    if told.family == "partition" {
        let isolated = told.leader.clone().or_else(|| {
            let otherwise = &scheduled?["cut"]["isolate-leader"]["otherwise"];
            otherwise.as_str().map(str::to_owned)
        });
        return plan
            .node_names()
            .into_iter()
            .map(|node| {
                let struck = isolated.as_ref() == Some(&node);
                (node, struck)
            })
            .collect();
    }
    let seen = told.evidence["nodes"].as_array().into_iter().flatten();
    let seen: BTreeMap<String, bool> = seen
        .filter_map(|node| node["node"].as_str().or(node.as_str()))
        .map(|node| (node.to_owned(), true))
        .collect();
    if !seen.is_empty() {
        return seen;
    }
    let named = scheduled.and_then(|fault| fault["targets"]["nodes"].as_array()).into_iter().flatten();
    let named = named.filter_map(Value::as_str).map(str::to_owned);
    named.chain(told.leader.clone()).map(|node| (node, true)).collect()
}

/// The nodes at the ends of cut links; struck are those that are cut from more nodes than any other is.
fn of_links<'a>(links: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, bool> {
    let mut peers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in links {
        peers.entry(from).or_default().insert(to);
        peers.entry(to).or_default().insert(from);
    }
    let most = peers.values().map(BTreeSet::len).max().unwrap_or(0);
    peers.iter().map(|(node, others)| ((*node).to_owned(), others.len() == most)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::history::NemesisLine;
    use super::*;

    fn said(time: u64, f: &str, value: Value) -> NemesisLine {
        NemesisLine { time, f: f.into(), value, error: None }
    }

    #[test]
    fn a_fault_is_where_its_evidence_saw_it() {
        let evidence = json!({"seen": "killed", "nodes": [{"node": "n2", "processes": 1}]});
        let history = RunHistory {
            nodes: vec!["n1".into(), "n2".into()],
            nemesis: vec![
                said(1_000_000, "start-kill", json!({"fault": 1, "what": "kill leader", "leader": "n2"})),
                said(
                    2_000_000,
                    "start-kill",
                    json!({"fault": 1, "what": "kill leader", "evidence": evidence}),
                ),
                said(3_000_000, "start-pause", json!({"fault": 2, "what": "pause n1"})),
            ],
            lasted: 9_000_000,
            ..RunHistory::default()
        };
        let bands = bands(&history, &PlanRecord::default());
        let [band] = &bands[..] else { panic!("{bands:?}") };
        assert_eq!((band.fault, band.node.as_str(), band.from, band.to), (1, "n2", 2000, 9000));
        assert!(band.struck);
    }

    #[test]
    fn the_isolated_side_of_a_partition_is_struck() {
        let links = [("n1", "n2"), ("n2", "n1"), ("n1", "n3"), ("n3", "n1")];
        let places = of_links(links.into_iter());
        assert_eq!(places.into_values().collect::<Vec<_>>(), [true, false, false]);
    }
}
