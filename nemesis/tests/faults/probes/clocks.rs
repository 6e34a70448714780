//! Clock faults: the nodes' own processes read their clocks, and print the result.

use std::time::Duration;

use duress_history::NodeId;
use duress_nemesis::Fault;
use duress_nemesis::clock_fault::ClockEffect;

use super::Probe;
use crate::program::{CLOCKS, monotonic_ns, wall_ns};
use crate::stage::{Stage, name, wait_until};

pub const PROBES: &[(&str, Probe)] = &[("bump", bump), ("drift", drift), ("strobe", strobe)];

/// How far a reading may be off, since a process may be interrupted between its looks at two clocks.
const GRAIN_NS: i64 = 10_000_000;

/// A node's reading: the machine's monotonic clock, and how far its wall clock was ahead of the machine's
/// then.
#[derive(Clone, Copy, Debug)]
struct Reading {
    monotonic_ns: i64,
    ahead_ns: i64,
}

/// Returns a node's first reading after `since`, in nanoseconds of the monotonic clock; waits for it.
fn next_reading(stage: &Stage, node: &NodeId, since: i64) -> Reading {
    let machine = wall_ns() - monotonic_ns();
    let mut reading = Reading { monotonic_ns: 0, ahead_ns: 0 };
    wait_until("the node has read its clocks", || {
        if let Some(line) = stage.last_said(node, CLOCKS)
            && let Some((wall, monotonic)) = line.split_once(' ')
        {
            let (wall, monotonic): (i64, i64) =
                (wall.parse().expect("a number"), monotonic.parse().expect("a number"));
            reading = Reading { monotonic_ns: monotonic, ahead_ns: wall - monotonic - machine };
        }
        reading.monotonic_ns > since
    });
    reading
}

/// Waits until the node reads its wall clock `ahead_ns` ahead.
#[track_caller]
fn reads(stage: &Stage, node: &NodeId, ahead_ns: i64) {
    let mut last = None;
    wait_until("the wall clock is as it should be", || {
        let reading = next_reading(stage, node, monotonic_ns());
        last = Some(reading);
        (reading.ahead_ns - ahead_ns).abs() < GRAIN_NS
    });
}

/// Injects `item` on n1 and n3; returns its effect, as the plan has it.
fn inject(stage: &mut Stage, item: &str) -> ClockEffect {
    for node in stage.nodes.clone() {
        reads(stage, &node, 0);
    }
    let item = format!("{item}@n1+n3");
    let Fault::Clock { effect, .. } = stage.fault(&item) else { panic!("{item} is a fault of clocks") };
    stage.inject(1, &item).expect("it takes hold");
    effect
}

fn heal(stage: &mut Stage) {
    reads(stage, &name("n2"), 0);
    stage.heal(1);
    for node in stage.nodes.clone() {
        reads(stage, &node, 0);
    }
}

fn bump(stage: &mut Stage, item: &str) {
    let ClockEffect::Bump { delta_ns } = inject(stage, item) else { panic!("{item}") };
    for node in ["n1", "n3"].map(name) {
        reads(stage, &node, delta_ns);
        // And stays so.
        let since = monotonic_ns() + i64::try_from(Duration::from_millis(300).as_nanos()).expect("small");
        let later = next_reading(stage, &node, since);
        assert!((later.ahead_ns - delta_ns).abs() < 2 * GRAIN_NS, "{later:?}");
    }
    heal(stage);
}

fn drift(stage: &mut Stage, item: &str) {
    let ClockEffect::Drift { ppb } = inject(stage, item) else { panic!("{item}") };
    for node in ["n1", "n3"].map(name) {
        let first = next_reading(stage, &node, monotonic_ns());
        let gained = |reading: Reading| reading.ahead_ns - first.ahead_ns;
        let expected = |reading: Reading| {
            let elapsed = i128::from(reading.monotonic_ns - first.monotonic_ns);
            i64::try_from(elapsed * i128::from(ppb) / 1_000_000_000).expect("below a century")
        };
        // Until it has gained ten times the error of a reading.
        let needed = i128::from(10 * GRAIN_NS) * 1_000_000_000 / i128::from(ppb.abs());
        let later = next_reading(stage, &node, first.monotonic_ns + i64::try_from(needed).expect("seconds"));
        let off = (gained(later) - expected(later)).abs();
        assert!(off < 2 * GRAIN_NS, "{first:?} {later:?}, {} expected", expected(later));
    }
    heal(stage);
}

fn strobe(stage: &mut Stage, item: &str) {
    let ClockEffect::Strobe { delta_ns } = inject(stage, item) else { panic!("{item}") };
    for node in ["n1", "n3"].map(name) {
        // To and fro, several times.
        for _ in 0..3 {
            reads(stage, &node, delta_ns);
            reads(stage, &node, 0);
        }
    }
    heal(stage);
}
