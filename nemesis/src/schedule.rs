//! The schedule: a fault mix expanded, from a seed, into a plain list of timed faults.

use std::time::Duration;

use duress_history::NodeId;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::clock_fault::ClockEffect;
use crate::disk_fault::DiskEffect;
use crate::fault::Fault;
use crate::packet::PacketEffect;
use crate::partition::PartitionShape;
use crate::selector::{Selector, Targets};
use crate::spec::FaultSpec;

/// The random stream that schedules draw from, so that other uses of the seed do not disturb it.
const STREAM: u64 = 1;

/// A fault and when it starts and stops, in milliseconds since clients began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledFault {
    /// Its number in the schedule, from 1.
    #[serde(default)]
    pub id: u32,
    /// When it is injected.
    pub start_ms: u64,
    /// When it is healed; later than `start_ms`.
    pub stop_ms: u64,
    /// What it is.
    #[serde(flatten)]
    pub fault: Fault,
}

/// Whether faults of different kinds may be in force at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// One fault at a time, with a quiet period after each.
    #[default]
    Never,
    /// Each item of the mix has its own sequence of faults.
    Items,
}

/// What a mix is expanded with.
#[derive(Clone, Debug)]
pub struct MixOptions<'a> {
    /// The nodes of the cluster; not empty.
    pub nodes: &'a [NodeId],
    /// The client hosts; not empty.
    pub clients: &'a [NodeId],
    /// The run's seed.
    pub seed: u64,
    /// Mean time from one fault's start to the next one's of the same sequence.
    pub interval: Duration,
    /// No fault starts before this.
    pub warm_up: Duration,
    /// Every fault has stopped by then.
    pub time_limit: Duration,
    /// Whether faults may overlap.
    pub overlap: Overlap,
}

/// A mix that this cluster cannot have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MixError {
    /// The shape needs more nodes.
    #[error(
        "the fault \"{fault}\" needs at least {needed} nodes, and the cluster has {nodes}: give --nodes {needed}"
    )]
    TooFewNodes {
        /// The item.
        fault: String,
        /// The fewest nodes it works with.
        needed: usize,
        /// The nodes there are.
        nodes: usize,
    },
    /// A named node is none of the cluster's.
    #[error("the fault \"{fault}\" names the node {node}, which the cluster does not have (it has {known})")]
    UnknownNode {
        /// The item.
        fault: String,
        /// The name.
        node: NodeId,
        /// The cluster's nodes.
        known: String,
    },
}

/// Expands `mix` into faults, ordered by start.
///
/// The same mix and options give the same schedule, whatever the machine.
///
/// # Errors
/// [`MixError`] for an item that the cluster cannot have.
pub fn expand(mix: &[FaultSpec], options: &MixOptions<'_>) -> Result<Vec<ScheduledFault>, MixError> {
    for spec in mix {
        check(spec, options)?;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    rng.set_stream(STREAM);
    // Rolling isolations leave no quiet period for anything else to stand in, so they have a sequence of their own.
    let (rolling, others): (Vec<_>, Vec<_>) = mix.iter().partition(|spec| is_rolling(spec));
    let mut faults: Vec<ScheduledFault> =
        rolling.chunks(1).flat_map(|item| sequence(item, options, Pace::Rolling, &mut rng)).collect();
    let group = match options.overlap {
        Overlap::Never => others.len().max(1),
        Overlap::Items => 1,
    };
    faults.extend(others.chunks(group).flat_map(|items| sequence(items, options, Pace::Apart, &mut rng)));
    faults.sort_by_key(|fault| (fault.start_ms, fault.stop_ms));
    let mut kept: Vec<ScheduledFault> = Vec::with_capacity(faults.len());
    for fault in faults {
        // Two process faults on one node at once would leave the later one nothing to do, or heal the earlier one.
        let clash = kept.iter().any(|other| {
            fault.start_ms <= other.stop_ms
                && other.fault.fixed_nodes().iter().any(|node| fault.fault.fixed_nodes().contains(node))
        });
        if !clash {
            kept.push(fault);
        }
    }
    for (id, fault) in (1..).zip(&mut kept) {
        fault.id = id;
    }
    Ok(kept)
}

fn check(spec: &FaultSpec, options: &MixOptions<'_>) -> Result<(), MixError> {
    let (needed, named): (usize, &[NodeId]) = match (spec, spec.selector()) {
        (FaultSpec::Partition(Some(PartitionShape::Nodes(nodes))), _) => (2, nodes),
        (FaultSpec::Partition(shape), _) => (shape.as_ref().map_or(2, PartitionShape::nodes_min), &[]),
        (FaultSpec::Packet(..), None) => (2, &[]),
        (FaultSpec::Packet(..), Some(Selector::Nodes(nodes))) => (2, nodes),
        (_, Some(Selector::Nodes(nodes))) => (1, nodes),
        _ => (1, &[]),
    };
    if options.nodes.len() < needed {
        return Err(MixError::TooFewNodes { fault: spec.to_string(), needed, nodes: options.nodes.len() });
    }
    match named.iter().find(|node| !options.nodes.contains(node)) {
        None => Ok(()),
        Some(node) => Err(MixError::UnknownNode {
            fault: spec.to_string(),
            node: node.clone(),
            known: options.nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", "),
        }),
    }
}

fn is_rolling(spec: &FaultSpec) -> bool {
    matches!(spec, FaultSpec::Partition(Some(PartitionShape::RollingLeader)))
}

/// How the faults of one sequence follow each other.
#[derive(Clone, Copy)]
enum Pace {
    /// With a quiet period after each: about half of the time under a fault, half in peace, so that recovery is
    /// exercised too.
    Apart,
    /// Each begins [`HANDOVER_MS`] before the one before it ends.
    Rolling,
}

/// How long two rolling faults are in force together.
const HANDOVER_MS: u64 = 150;

/// Faults one after another, each item of `mix` once before any comes again.
fn sequence(
    mix: &[&FaultSpec],
    options: &MixOptions<'_>,
    pace: Pace,
    rng: &mut ChaCha8Rng,
) -> Vec<ScheduledFault> {
    let interval = millis(options.interval).max(1);
    let limit = millis(options.time_limit);
    let mut faults = Vec::new();
    let mut bag: Vec<&FaultSpec> = Vec::new();
    let mut at = millis(options.warm_up) + rng.random_range(0..=interval / 4);
    while !mix.is_empty() {
        let (lasts, step) = match pace {
            Pace::Apart => {
                let lasts = rng.random_range(interval * 2 / 5..=interval * 3 / 5).max(1);
                (lasts, lasts + rng.random_range(interval * 2 / 5..=interval * 3 / 5).max(1))
            }
            Pace::Rolling => {
                let lasts = rng.random_range(interval * 4 / 5..=interval * 6 / 5).max(2 * HANDOVER_MS);
                (lasts, lasts - HANDOVER_MS)
            }
        };
        if at + lasts > limit {
            break;
        }
        if bag.is_empty() {
            bag = mix.to_vec();
            bag.shuffle(rng);
        }
        if let Some(spec) = bag.pop() {
            let fault = draw(spec, options, rng);
            faults.push(ScheduledFault { id: 0, start_ms: at, stop_ms: at + lasts, fault });
        }
        at += step;
    }
    faults
}

fn draw(spec: &FaultSpec, options: &MixOptions<'_>, rng: &mut ChaCha8Rng) -> Fault {
    fn targets(
        selector: Option<&Selector>,
        otherwise: &[Selector],
        options: &MixOptions<'_>,
        rng: &mut ChaCha8Rng,
    ) -> Targets {
        let drawn = &otherwise[rng.random_range(0..otherwise.len())];
        selector.unwrap_or(drawn).draw(options.nodes, rng)
    }
    // A few nodes, so that the rest can go on; clocks and links have no rest to spare.
    const FEW: [Selector; 3] = [Selector::One, Selector::Minority, Selector::Leader];
    const ANY: [Selector; 4] = [Selector::One, Selector::Minority, Selector::Leader, Selector::All];
    let selector = spec.selector();
    match spec {
        FaultSpec::Partition(shape) => {
            let shape = shape.clone().unwrap_or_else(|| PartitionShape::draw(options.nodes.len(), rng));
            let cut = shape.cut(options.nodes, options.clients, rng);
            Fault::Partition { shape, cut }
        }
        FaultSpec::Packet(effect, _) => {
            let effect = effect.unwrap_or_else(|| PacketEffect::draw(rng));
            Fault::Packet { effect, targets: targets(selector, &ANY, options, rng) }
        }
        FaultSpec::Kill(_) => Fault::Kill { targets: targets(selector, &FEW, options, rng) },
        FaultSpec::Pause(_) => Fault::Pause { targets: targets(selector, &FEW, options, rng) },
        FaultSpec::Restart(_) => Fault::Restart { targets: targets(selector, &FEW, options, rng) },
        FaultSpec::Clock(effect, _) => {
            let effect = effect.unwrap_or_else(|| ClockEffect::draw(rng));
            Fault::Clock { effect, targets: targets(selector, &ANY, options, rng) }
        }
        FaultSpec::Disk(effect, _) => {
            let effect = effect.unwrap_or_else(|| DiskEffect::draw(rng));
            Fault::Disk { effect, targets: targets(selector, &ANY, options, rng) }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::Family;

    fn names(prefix: &str) -> Vec<NodeId> {
        (1..=5).map(|at| NodeId::new(format!("{prefix}{at}"))).collect()
    }

    fn expanded(text: &str, seed: u64, overlap: Overlap) -> Result<Vec<ScheduledFault>, MixError> {
        let (nodes, clients) = (names("n"), names("c"));
        let options = MixOptions {
            nodes: &nodes,
            clients: &clients,
            seed,
            interval: Duration::from_secs(3),
            warm_up: Duration::from_secs(2),
            time_limit: Duration::from_secs(30),
            overlap,
        };
        expand(&FaultSpec::parse_mix(text).expect("a good mix"), &options)
    }

    #[test]
    fn the_seed_decides_everything() {
        let one = expanded("all", 7, Overlap::Never).expect("expands");
        assert_eq!(one, expanded("all", 7, Overlap::Never).expect("expands"));
        assert_ne!(one, expanded("all", 8, Overlap::Never).expect("expands"));
        let json = serde_json::to_string(&one).expect("serializes");
        let back: Vec<ScheduledFault> = serde_json::from_str(&json).expect("deserializes");
        assert_eq!(one, back);
    }

    #[test]
    fn faults_stand_inside_the_run_and_apart() {
        for seed in 0..100 {
            let faults = expanded("partition,kill,pause", seed, Overlap::Never).expect("expands");
            assert!(faults.len() >= 7, "{} faults", faults.len());
            assert!(faults[0].start_ms >= 2000 && faults.iter().all(|fault| fault.stop_ms <= 30_000));
            assert!(faults.windows(2).all(|pair| pair[0].stop_ms < pair[1].start_ms));
            for family in [Family::Partition, Family::Kill, Family::Pause] {
                assert!(faults.iter().any(|fault| fault.fault.family() == family), "no {}", family.name());
            }
        }
    }

    #[test]
    fn overlapping_faults_never_share_a_node_process() {
        for seed in 0..100 {
            let faults = expanded("partition,kill,pause", seed, Overlap::Items).expect("expands");
            for (at, fault) in faults.iter().enumerate() {
                for other in &faults[..at] {
                    let shared =
                        fault.fault.fixed_nodes().iter().any(|node| other.fault.fixed_nodes().contains(node));
                    assert!(!shared || fault.start_ms > other.stop_ms, "{fault:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn rolling_isolations_leave_no_moment_in_peace() {
        let faults = expanded("partition:rolling-leader,kill:follower", 3, Overlap::Never).expect("expands");
        let rolling: Vec<_> =
            faults.iter().filter(|fault| fault.fault.family() == Family::Partition).collect();
        assert!(rolling.len() > 5, "{} isolations", rolling.len());
        assert!(rolling.windows(2).all(|pair| pair[1].start_ms + HANDOVER_MS == pair[0].stop_ms));
        assert!(faults.iter().any(|fault| fault.fault.family() == Family::Kill));
    }

    #[test]
    fn what_the_cluster_lacks_is_said() {
        let error = expanded("kill:n9", 1, Overlap::Never).expect_err("no such node");
        assert!(error.to_string().contains("n9") && error.to_string().contains("n1, n2"), "{error}");
    }
}
