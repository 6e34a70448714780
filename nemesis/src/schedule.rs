//! The schedule: a fault mix expanded, from a seed, into a plain list of timed faults.

mod draw;

use std::time::Duration;

use duress_history::{ClockBound, NodeId};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use self::draw::draw;
use crate::fault::Fault;
use crate::loss::{Loss, LossLimit};
use crate::partition::PartitionShape;
use crate::selector::Selector;
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
    /// How long it stays in force at least, from when its evidence was complete, in milliseconds: a fault
    /// whose injection took longer than planned is healed later. Never past the end of the clients.
    #[serde(default)]
    pub hold_ms: u64,
    /// The fault.
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

/// The options for expanding a mix.
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
    /// How many nodes randomly drawn faults may disable at once.
    pub losses: LossLimit,
    /// The target's demand on clocks, if its promise rests on them.
    pub clock_bound: Option<ClockBound>,
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
    /// A named node is not in the cluster.
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
pub fn expand(mix: &[FaultSpec], options: &MixOptions<'_>) -> Result<Expansion, MixError> {
    for spec in mix {
        check(spec, options)?;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    rng.set_stream(STREAM);
    // Rolling isolations leave no quiet period for other faults, so they have a sequence of their own.
    let (rolling, others): (Vec<_>, Vec<_>) = mix.iter().partition(|spec| is_rolling(spec));
    let mut faults: Vec<Planned> =
        rolling.chunks(1).flat_map(|item| sequence(item, options, Pace::Rolling, &mut rng)).collect();
    let group = match options.overlap {
        Overlap::Never => others.len().max(1),
        Overlap::Items => 1,
    };
    faults.extend(others.chunks(group).flat_map(|items| sequence(items, options, Pace::Apart, &mut rng)));
    faults.sort_by_key(|planned| (planned.fault.start_ms, planned.fault.stop_ms));
    let mut kept: Vec<Planned> = Vec::with_capacity(faults.len());
    let mut beyond = 0;
    for planned in faults {
        let meanwhile = kept.iter().filter(|other| planned.fault.start_ms <= other.fault.stop_ms);
        match fit(&planned, meanwhile, options) {
            Fit::Fits => kept.push(planned),
            Fit::Clashes => {}
            Fit::TooMany => beyond += 1,
        }
    }
    let mut faults: Vec<ScheduledFault> = kept.into_iter().map(|planned| planned.fault).collect();
    for (id, fault) in (1..).zip(&mut faults) {
        fault.id = id;
    }
    Ok(Expansion { faults, beyond })
}

/// A mix expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expansion {
    /// The faults, ordered by start.
    pub faults: Vec<ScheduledFault>,
    /// How many more there would be if they might disable more nodes at once than [`MixOptions::losses`]
    /// allows.
    pub beyond: usize,
}

/// A fault of a schedule, and whether its size was requested.
struct Planned {
    fault: ScheduledFault,
    size: Size,
}

/// The source of the number of nodes that a fault strikes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    /// The user: `all`, `leader`, `n1+n2`, a shape of a partition.
    Named,
    /// Chance.
    Drawn,
}

/// Whether a fault can be in force together with others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Fits,
    /// It would strike what another strikes.
    Clashes,
    /// Together they would disable too many nodes.
    TooMany,
}

fn fit<'a>(planned: &Planned, meanwhile: impl Iterator<Item = &'a Planned>, options: &MixOptions<'_>) -> Fit {
    let fault = &planned.fault.fault;
    let mut loss = Loss::of(fault, options.nodes);
    let away = !loss.is_none();
    let mut alone = true;
    for other in meanwhile {
        alone = false;
        let other = &other.fault.fault;
        // Two process faults on one node at once would leave the later one without effect, or heal the
        // earlier one.
        let shared = other.fixed_nodes().iter().any(|node| fault.fixed_nodes().contains(node));
        // If a leader decides the node, it is not known beforehand whether it is the same node. A fault that
        // follows the leader avoids nodes that are down, and one of fixed nodes cannot.
        let live = fault.needs_live_nodes() && other.needs_live_nodes();
        let maybe_shared = live && fault.needs_leader() != other.needs_leader();
        // A clock is set right for one fault only.
        let is_clock = |fault: &Fault| matches!(fault, Fault::Clock { .. });
        let same_clock = is_clock(fault) && is_clock(other) && fault.needs_leader();
        if shared || maybe_shared || same_clock {
            return Fit::Clashes;
        }
        loss.add(&Loss::of(other, options.nodes));
    }
    // Alone, each was drawn within the limit.
    let free = alone || !away || planned.size == Size::Named;
    let within = free || loss.nodes() <= options.losses.most(options.nodes.len());
    if within { Fit::Fits } else { Fit::TooMany }
}

fn check(spec: &FaultSpec, options: &MixOptions<'_>) -> Result<(), MixError> {
    let named: &[NodeId] = match (spec, spec.selector()) {
        (FaultSpec::Partition(Some(PartitionShape::Nodes(hosts))), _) | (_, Some(Selector::Nodes(hosts))) => {
            hosts
        }
        _ => &[],
    };
    // A client's links lead to the nodes, one of which is enough.
    let of_clients = match (spec, spec.selector()) {
        (FaultSpec::Packet(..), Some(Selector::Clients)) => true,
        (FaultSpec::Packet(..), Some(Selector::Nodes(hosts))) => {
            !hosts.iter().any(|host| options.nodes.contains(host))
        }
        _ => false,
    };
    let needed = if of_clients { 1 } else { spec.nodes_min() };
    if options.nodes.len() < needed {
        return Err(MixError::TooFewNodes { fault: spec.to_string(), needed, nodes: options.nodes.len() });
    }
    // Links end at clients as well as at nodes.
    let clients = match spec {
        FaultSpec::Partition(_) | FaultSpec::Packet(..) => options.clients,
        _ => &[],
    };
    let hosts = || options.nodes.iter().chain(clients);
    match named.iter().find(|node| !hosts().any(|host| host == *node)) {
        None => Ok(()),
        Some(node) => Err(MixError::UnknownNode {
            fault: spec.to_string(),
            node: node.clone(),
            known: hosts().map(NodeId::as_str).collect::<Vec<_>>().join(", "),
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

/// The longest time for which a fault is held after its evidence, however long that took.
const HOLD_MS_MAX: u64 = 1000;

/// How long two rolling faults are in force together.
const HANDOVER_MS: u64 = 150;

/// Faults one after another, each item of `mix` once before any comes again.
fn sequence(mix: &[&FaultSpec], options: &MixOptions<'_>, pace: Pace, rng: &mut ChaCha8Rng) -> Vec<Planned> {
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
        let Some(spec) = bag.pop() else { break };
        let drawn = draw(spec, options, rng);
        let longer = drawn.lasts_min.map_or(0, millis).saturating_sub(lasts);
        let (lasts, step) = (lasts + longer, step + longer);
        if at + lasts > limit {
            break;
        }
        let size = if spec.names_its_size() { Size::Named } else { Size::Drawn };
        for fault in drawn.faults {
            let hold_ms = HOLD_MS_MAX.min(lasts / 2);
            let fault = ScheduledFault { id: 0, start_ms: at, stop_ms: at + lasts, hold_ms, fault };
            faults.push(Planned { fault, size });
        }
        at += step;
    }
    faults
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock_bound;
    use crate::family::Family;
    use crate::packet::PacketEffect;
    use crate::selector::Targets;
    use crate::variant::Kind;

    fn names(prefix: &str) -> Vec<NodeId> {
        (1..=NODES).map(|at| NodeId::new(format!("{prefix}{at}"))).collect()
    }

    const NODES: usize = 5;

    fn expansion(text: &str, seed: u64, change: impl Fn(&mut MixOptions<'_>)) -> Result<Expansion, MixError> {
        let (nodes, clients) = (names("n"), names("c"));
        let mut options = MixOptions {
            nodes: &nodes,
            clients: &clients,
            seed,
            interval: Duration::from_secs(3),
            warm_up: Duration::from_secs(2),
            time_limit: Duration::from_secs(30),
            overlap: Overlap::Never,
            losses: LossLimit::tolerated(2),
            clock_bound: None,
        };
        change(&mut options);
        expand(&FaultSpec::parse_mix(text).expect("a good mix"), &options)
    }

    fn expanded(text: &str, seed: u64, overlap: Overlap) -> Result<Vec<ScheduledFault>, MixError> {
        Ok(expansion(text, seed, |options| options.overlap = overlap)?.faults)
    }

    /// Returns the most nodes that `faults` disable at any moment.
    fn most_lost(faults: &[ScheduledFault]) -> usize {
        let lost_at = |moment: u64| {
            let mut loss = Loss::default();
            for fault in faults.iter().filter(|fault| (fault.start_ms..=fault.stop_ms).contains(&moment)) {
                loss.add(&Loss::of(&fault.fault, &names("n")));
            }
            loss.nodes()
        };
        faults.iter().map(|fault| lost_at(fault.start_ms)).max().unwrap_or_default()
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
                    let apart = fault.start_ms > other.stop_ms;
                    assert!(!shared || apart, "{fault:?} {other:?}");
                    // The leader may be the node that the other fault strikes.
                    let live = fault.fault.needs_live_nodes() && other.fault.needs_live_nodes();
                    let mixed = fault.fault.needs_leader() != other.fault.needs_leader();
                    assert!(!(live && mixed) || apart, "{fault:?} {other:?}");
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

    #[test]
    fn a_mix_stays_within_what_is_tolerated_unless_more_is_asked_for() {
        for seed in 0..100 {
            for (tolerated, most) in [(2, 2), (1, 1), (0, 1)] {
                let within = |options: &mut MixOptions<'_>| {
                    options.overlap = Overlap::Items;
                    options.losses = LossLimit::tolerated(tolerated);
                };
                let mix = "partition,kill,pause:minority,restart,disk:eio,clock,packet";
                let faults = expansion(mix, seed, within).expect("expands").faults;
                assert!(most_lost(&faults) <= most, "seed {seed}, {tolerated} tolerated");
                // A fault requested by name is as large as the name says.
                let named = expansion("kill:all", seed, within).expect("expands");
                assert_eq!((most_lost(&named.faults), named.beyond), (NODES, 0));
            }
        }
        let beyond = |seed| {
            let change = |options: &mut MixOptions<'_>| options.losses = LossLimit::Beyond;
            most_lost(&expansion("kill", seed, change).expect("expands").faults)
        };
        assert_eq!((0..20).map(beyond).max(), Some(NODES));
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let change = |options: &mut MixOptions<'_>| {
            options.overlap = Overlap::Items;
            options.losses = LossLimit::tolerated(1);
        };
        let expansion = expansion("partition:halves,kill", 1, change).expect("expands");
        assert!(expansion.beyond > 0);
    }

    #[test]
    fn clocks_that_a_promise_rests_on_are_wrong_while_the_leader_is_cut_off() {
        let bound = ClockBound { lease: Duration::from_millis(400), slack: Duration::from_millis(300) };
        let change = |options: &mut MixOptions<'_>| options.clock_bound = Some(bound);
        for (mix, seed) in [("clock", 1), ("clock:drift=-20ms/s", 2), ("clock:bump=-1s@leader", 3)] {
            let faults = expansion(mix, seed, change).expect("expands").faults;
            assert!(faults.len() >= 8, "{} faults", faults.len());
            for pair in faults.chunks(2) {
                let [cut, clock] = pair else { panic!("a fault without its companion: {pair:?}") };
                assert!(matches!(cut.fault, Fault::Partition { shape: PartitionShape::IsolateLeader, .. }));
                assert!(matches!(clock.fault, Fault::Clock { .. }));
                assert_eq!((cut.start_ms, cut.stop_ms), (clock.start_ms, clock.stop_ms));
                assert!(
                    Duration::from_millis(cut.stop_ms - cut.start_ms) >= clock_bound::isolation_min(bound)
                );
            }
        }
        let plain = expanded("clock", 1, Overlap::Never).expect("expands");
        assert!(plain.iter().all(|fault| fault.fault.family() == Family::Clock));
    }

    #[test]
    fn links_of_clients_can_be_named_and_clients_have_nothing_else() {
        let faults = expanded("packet:loss=10%@clients,packet@c2,partition:c1", 1, Overlap::Never);
        let faults = faults.expect("expands");
        let of_all = Fault::Packet {
            effect: PacketEffect::parse("loss=10%").expect("an effect"),
            targets: Targets::Nodes(names("c")),
        };
        assert!(faults.iter().any(|fault| fault.fault == of_all));
        let error = expanded("kill:c1", 1, Overlap::Never).expect_err("no node");
        assert!(error.to_string().contains("c1"), "{error}");
    }
}
