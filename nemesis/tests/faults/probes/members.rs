//! Changes of members: what /proc shows of the processes, the folders of the data, and the administrator's list.

use std::collections::BTreeSet;
use std::fs;

use duress_history::NodeId;

use super::Probe;
use super::processes::{all_run, is_gone, nodes_where};
use crate::program::JOINS;
use crate::stage::Stage;

pub const PROBES: &[(&str, Probe)] = &[("leave", leave), ("join", join), ("replace", replace)];

/// Whether a removed node's process and data remain.
struct Left {
    runs: bool,
    data: bool,
}

fn listed(stage: &Stage) -> BTreeSet<NodeId> {
    stage.listed.lock().expect("a lock held for a moment").iter().cloned().collect()
}

fn has_data(stage: &Stage, node: &NodeId) -> bool {
    fs::read_dir(stage.data(node)).expect("a folder").count() > 0
}

fn joined(stage: &Stage, node: &NodeId) -> usize {
    stage.said(node).lines().filter(|line| *line == JOINS).count()
}

fn leave(stage: &mut Stage, item: &str) {
    changed(stage, item, &Left { runs: true, data: true });
}

fn join(stage: &mut Stage, item: &str) {
    changed(stage, item, &Left { runs: false, data: true });
}

fn replace(stage: &mut Stage, item: &str) {
    changed(stage, item, &Left { runs: false, data: false });
}

fn changed(stage: &mut Stage, item: &str, left: &Left) {
    all_run(stage);
    let all: BTreeSet<NodeId> = stage.nodes.iter().cloned().collect();
    stage.inject(1, item).expect("it takes hold");
    let removed: BTreeSet<NodeId> = all.difference(&listed(stage)).cloned().collect();
    assert!((1..=all.len() / 2).contains(&removed.len()), "{item}: {removed:?} are not listed");
    let gone = nodes_where(stage, is_gone);
    assert_eq!(gone, if left.runs { BTreeSet::new() } else { removed.clone() }, "{item}: what runs");
    for node in &removed {
        assert_eq!(has_data(stage, node), left.data, "{item}: the data of {node}");
    }
    assert!(all.difference(&removed).all(|node| has_data(stage, node)), "{item}: the data of the others");
    stage.heal(1);
    assert_eq!(listed(stage), all, "{item}: healed");
    all_run(stage);
    for node in &all {
        let fresh = !left.data && removed.contains(node);
        assert_eq!(joined(stage, node), usize::from(fresh), "{item}: how {node} started");
    }
}
