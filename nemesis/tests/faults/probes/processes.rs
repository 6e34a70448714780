//! Kills, pauses and restarts: what /proc shows of the processes on every host, read by the test.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use duress_history::NodeId;

use crate::program::ASKED_TO_END;
use crate::stage::{Stage, name, wait_until};

/// The condition on the struck nodes, by the name of the choice.
pub const CHOICES: &[(&str, Chosen)] = &[
    ("one", one),
    ("minority", minority),
    ("leader", leader),
    ("majority", majority),
    ("all", all),
    ("follower", follower),
    ("followers", followers),
    ("old-leader", old_leader),
    ("returned", one),
    ("role", controller),
    ("n1+n2", listed),
];

pub type Chosen = fn(&BTreeSet<NodeId>, nodes: usize) -> bool;

fn one(struck: &BTreeSet<NodeId>, _: usize) -> bool {
    struck.len() == 1
}

fn minority(struck: &BTreeSet<NodeId>, nodes: usize) -> bool {
    (1..=(nodes - 1) / 2).contains(&struck.len())
}

fn majority(struck: &BTreeSet<NodeId>, nodes: usize) -> bool {
    struck.len() == nodes / 2 + 1
}

fn all(struck: &BTreeSet<NodeId>, nodes: usize) -> bool {
    struck.len() == nodes
}

/// Node n1 leads.
fn leader(struck: &BTreeSet<NodeId>, _: usize) -> bool {
    *struck == BTreeSet::from([name("n1")])
}

/// Node n2 led before.
fn old_leader(struck: &BTreeSet<NodeId>, _: usize) -> bool {
    *struck == BTreeSet::from([name("n2")])
}

/// Node n3 is the controller.
fn controller(struck: &BTreeSet<NodeId>, _: usize) -> bool {
    *struck == BTreeSet::from([name("n3")])
}

fn follower(struck: &BTreeSet<NodeId>, _: usize) -> bool {
    struck.len() == 1 && !struck.contains(&name("n1"))
}

fn followers(struck: &BTreeSet<NodeId>, nodes: usize) -> bool {
    struck.len() == nodes - 1 && !struck.contains(&name("n1"))
}

fn listed(struck: &BTreeSet<NodeId>, _: usize) -> bool {
    *struck == BTreeSet::from(["n1", "n2"].map(name))
}

/// Returns the states of all threads of all processes on a host, as /proc has them.
pub fn states(stage: &Stage, node: &NodeId) -> Vec<char> {
    let namespace = |path: &str| fs::read_link(path).ok();
    let host = stage.host(node).enter(|| namespace("/proc/thread-self/ns/net"));
    let host = host.expect("a host can be entered").expect("a thread has a namespace");
    let entries = fs::read_dir("/proc").expect("/proc can be read");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pids = names.filter(|name| name.chars().all(|c| c.is_ascii_digit()));
    // This process visits hosts itself.
    let others = pids.filter(|pid| *pid != std::process::id().to_string());
    let on_host = others.filter(|pid| namespace(&format!("/proc/{pid}/ns/net")).as_ref() == Some(&host));
    let mut states = Vec::new();
    for pid in on_host {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let Ok(stat) = fs::read_to_string(thread.path().join("stat")) else { continue };
            states.extend(stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next()));
        }
    }
    states
}

/// Returns the nodes whose threads, as /proc shows them, satisfy `is`.
pub fn nodes_where(stage: &Stage, is: impl Fn(&[char]) -> bool) -> BTreeSet<NodeId> {
    stage.nodes.iter().filter(|node| is(&states(stage, node))).cloned().collect()
}

pub fn is_gone(states: &[char]) -> bool {
    states.iter().all(|state| matches!(state, 'Z' | 'X'))
}

pub fn is_stopped(states: &[char]) -> bool {
    !states.is_empty() && states.iter().all(|state| *state == 'T')
}

fn runs(states: &[char]) -> bool {
    !states.is_empty() && states.iter().all(|state| !matches!(state, 'T' | 'Z' | 'X'))
}

/// Asserts that every node runs and continues to write.
pub fn all_run(stage: &mut Stage) {
    assert_eq!(nodes_where(stage, runs).len(), stage.nodes.len());
    stage.await_written();
}

/// Returns how often each of `nodes` was asked to end.
fn asked(stage: &Stage, nodes: &BTreeSet<NodeId>) -> Vec<usize> {
    nodes.iter().map(|node| stage.said(node).lines().filter(|line| *line == ASKED_TO_END).count()).collect()
}

fn ended(stage: &mut Stage, item: &str, chosen: Chosen, asked_to: usize) {
    all_run(stage);
    stage.inject(1, item).expect("it takes hold");
    let struck = nodes_where(stage, is_gone);
    assert!(chosen(&struck, stage.nodes.len()), "{item}: {struck:?} are gone");
    assert!(asked(stage, &struck).iter().all(|count| *count == asked_to), "{item}: {struck:?}");
    let others = nodes_where(stage, runs);
    assert_eq!(others.len() + struck.len(), stage.nodes.len(), "the others run");
    stage.heal(1);
    all_run(stage);
}

pub fn kill(stage: &mut Stage, item: &str, chosen: Chosen) {
    ended(stage, item, chosen, 0);
}

pub fn restart(stage: &mut Stage, item: &str, chosen: Chosen) {
    ended(stage, item, chosen, 1);
}

pub fn pause(stage: &mut Stage, item: &str, chosen: Chosen) {
    all_run(stage);
    stage.inject(1, item).expect("it takes hold");
    let struck = nodes_where(stage, is_stopped);
    assert!(chosen(&struck, stage.nodes.len()), "{item}: {struck:?} are stopped");
    let written = |stage: &Stage| struck.iter().map(|node| stage.written(node)).collect::<Vec<_>>();
    let before = written(stage);
    let others: BTreeSet<NodeId> =
        stage.nodes.iter().filter(|node| !struck.contains(*node)).cloned().collect();
    let others_before: Vec<u64> = others.iter().map(|node| stage.written(node)).collect();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(100) {
        assert_eq!(written(stage), before, "{item}: a stopped node writes");
        thread::yield_now();
    }
    wait_until("the others have written", || {
        others.iter().zip(&others_before).all(|(node, before)| stage.written(node) > *before)
    });
    stage.heal(1);
    all_run(stage);
}
