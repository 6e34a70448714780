//! Changes of programs: the file that /proc shows each node to execute.

use std::collections::BTreeSet;
use std::fs;

use duress_history::NodeId;
use duress_history::nemesis::Proof;

use super::Probe;
use super::processes::all_run;
use crate::program::ASKED_TO_END;
use crate::stage::Stage;

pub const PROBES: &[(&str, Probe)] = &[("rolling", rolling), ("rollback", rollback)];

/// Returns the nodes that execute the second program; all others execute the first.
fn upgraded(stage: &Stage) -> BTreeSet<NodeId> {
    let first = fs::canonicalize(std::env::current_exe().expect("a path")).expect("a file");
    let runs_second = |node: &&NodeId| {
        let pids = stage.host(node).pids().expect("/proc can be read");
        let [pid] = pids[..] else { panic!("{node} has the processes {pids:?}") };
        let file = fs::read_link(format!("/proc/{pid}/exe")).expect("it lives");
        let second = file.ends_with("second-program");
        assert!(second || file == first, "{node} executes {file:?}");
        second
    };
    stage.nodes.iter().filter(runs_second).cloned().collect()
}

fn asked_to_end(stage: &Stage) -> BTreeSet<NodeId> {
    let asked = |node: &&NodeId| stage.said(node).lines().any(|line| line == ASKED_TO_END);
    stage.nodes.iter().filter(asked).cloned().collect()
}

fn rolling(stage: &mut Stage, item: &str) {
    let struck = struck(stage, item);
    assert_eq!(upgraded(stage), struck, "{item}: healed");
    // A node is upgraded once: the next upgrade strikes others.
    stage.inject(2, "upgrade:rolling@leader").expect("it takes hold");
    stage.heal(2);
    assert!(upgraded(stage).len() > struck.len(), "{item}: again");
    stage.nemesis.start_nodes().expect("the others follow");
    assert_eq!(upgraded(stage), stage.nodes.iter().cloned().collect(), "{item}: in the end");
    let nothing = stage.inject(3, item).expect("nothing is left");
    assert_eq!(nothing.evidence.proves(), Proof::Masked, "{}", nothing.evidence);
    stage.heal(3);
    all_run(stage);
}

fn rollback(stage: &mut Stage, item: &str) {
    struck(stage, item);
    assert_eq!(upgraded(stage), BTreeSet::new(), "{item}: healed");
    stage.nemesis.start_nodes().expect("they run");
    assert_eq!(upgraded(stage), BTreeSet::new(), "{item}: in the end");
    all_run(stage);
}

/// Injects and heals it, and returns the nodes that were upgraded.
fn struck(stage: &mut Stage, item: &str) -> BTreeSet<NodeId> {
    all_run(stage);
    assert_eq!(upgraded(stage), BTreeSet::new());
    stage.inject(1, item).expect("it takes hold");
    let struck = upgraded(stage);
    assert!((1..stage.nodes.len()).contains(&struck.len()), "{item}: {struck:?} are upgraded");
    assert_eq!(asked_to_end(stage), struck, "{item}: who was asked to end");
    stage.heal(1);
    struck
}
