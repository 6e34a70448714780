//! Shares of the processor: how long /proc shows the nodes' threads stopped, read by the test.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use duress_history::NodeId;
use duress_nemesis::Fault;
use duress_nemesis::resource_fault::ResourceEffect;

use super::Probe;
use super::processes::{all_run, is_stopped, states};
use crate::stage::{PATIENCE, Stage, name};

pub const PROBES: &[(&str, Probe)] = &[("cpu", cpu)];

/// Returns the share of `time` in which every thread of `node` is stopped, looked at without pause.
fn stopped_share(stage: &Stage, node: &NodeId, time: Duration) -> f64 {
    let began = Instant::now();
    let (mut last, mut stopped) = (began, Duration::ZERO);
    while last - began < time {
        let is = is_stopped(&states(stage, node));
        let now = Instant::now();
        stopped += if is { now - last } else { Duration::ZERO };
        last = now;
    }
    stopped.as_secs_f64() / (last - began).as_secs_f64()
}

/// Waits for a second in which `node` is stopped for a share of the time in `expected`: on a busy machine, some are others'.
pub fn comes_to(stage: &Stage, node: &NodeId, expected: Range<f64>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let share = stopped_share(stage, node, Duration::from_secs(1));
        if expected.contains(&share) {
            return;
        }
        assert!(Instant::now() < deadline, "{node} is stopped for {share:.2} of the time");
    }
}

fn cpu(stage: &mut Stage, item: &str) {
    all_run(stage);
    let item = format!("{item}@n1+n3");
    let Fault::Resources { effect: ResourceEffect::Cpu { percent }, .. } = stage.fault(&item) else {
        panic!("{item}")
    };
    stage.inject(1, &item).expect("it takes hold");
    let held = 1.0 - f64::from(percent) / 100.0;
    let struck: BTreeSet<NodeId> = ["n1", "n3"].map(name).into();
    for node in stage.nodes.clone() {
        if struck.contains(&node) {
            comes_to(stage, &node, held - 0.1..held + 0.08);
        } else {
            let share = stopped_share(stage, &node, Duration::from_secs(1));
            assert!(share < 0.01, "{node} is stopped for {share:.2} of the time");
        }
    }
    // In its share of the time, it goes on.
    stage.await_written();
    stage.heal(1);
    for node in &struck {
        assert!(stopped_share(stage, node, Duration::from_millis(300)) < 0.01, "{node} is stopped again");
    }
    all_run(stage);
}
