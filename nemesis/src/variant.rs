//! The table of fault variants. The command line is parsed with it, `duress faults` prints it, random faults
//! are drawn from it, the report uses it to list the faults that a run did not exercise, and tests iterate
//! over it.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::time::Duration;

use duress_arena::Probability;
use duress_history::NodeId;
use rand::{Rng, RngExt};

use crate::clock_fault::ClockEffect;
use crate::disk_fault::DiskEffect;
use crate::family::Family;
use crate::membership::MemberChange;
use crate::packet::PacketEffect;
use crate::partition::PartitionShape;
use crate::resource_fault::ResourceEffect;
use crate::role;
use crate::selector::Selector;
use crate::upgrade::Upgrade;

/// A variant of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The family.
    pub family: Family,
    /// The variant's name.
    pub name: &'static str,
    /// The name with a typical parameter, as the command line takes it: `delay=50ms`, `power-loss`.
    pub example: String,
    /// Its effect, in one line.
    pub meaning: &'static str,
    /// The frequency with which it is drawn when only the family is given, relative to the family's other
    /// variants. Zero: only when requested by name.
    pub weight: u32,
    /// Its needs of the cluster.
    pub needs: &'static [Need],
}

impl Variant {
    /// Returns the fewest nodes that it works with.
    #[must_use]
    pub fn nodes_min(&self) -> usize {
        nodes_min(self.needs)
    }
}

/// A need of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// At least this many nodes.
    Nodes(usize),
    /// A system that reports its leader; without one, a node drawn from the seed is used instead.
    Leader,
    /// A clock for each node.
    Clock,
    /// A faultable disk for each node.
    Disk,
    /// A cluster whose members can be changed while it serves.
    Members,
    /// A second program to start nodes with.
    SecondProgram,
}

fn nodes_min(needs: &[Need]) -> usize {
    let nodes = needs.iter().map(|need| match need {
        Need::Nodes(nodes) => *nodes,
        Need::Leader | Need::Clock | Need::Disk | Need::Members | Need::SecondProgram => 1,
    });
    nodes.max().unwrap_or(1)
}

/// Returns every variant of every family of [`Family::ALL`], in the order of the documentation.
#[must_use]
pub fn variants() -> &'static [Variant] {
    static ALL: LazyLock<Vec<Variant>> = LazyLock::new(|| {
        let all = Family::ALL.map(|family| match family {
            Family::Partition => erased::<PartitionShape>(family),
            Family::Packet => erased::<PacketEffect>(family),
            Family::Kill | Family::Pause | Family::Restart => erased::<Selector>(family),
            Family::Clock => erased::<ClockEffect>(family),
            Family::Disk => erased::<DiskEffect>(family),
            Family::Resources => erased::<ResourceEffect>(family),
            Family::Membership => erased::<MemberChange>(family),
            Family::Upgrade => erased::<Upgrade>(family),
            // Manifests name these.
            Family::Command => Vec::new(),
        });
        all.concat()
    });
    &ALL
}

fn erased<K: Kind>(family: Family) -> Vec<Variant> {
    let erase = |row: &Row<K>| Variant {
        family,
        name: row.kind.name(),
        example: row.kind.to_string(),
        meaning: row.meaning,
        weight: row.weight,
        needs: row.needs,
    };
    K::rows().iter().map(erase).collect()
}

/// A row of the table, with the family's own type.
pub(crate) struct Row<K> {
    /// The variant, with a typical parameter.
    kind: K,
    meaning: &'static str,
    weight: u32,
    needs: &'static [Need],
}

impl<K> Row<K> {
    /// Returns the variant, with a typical parameter.
    #[cfg(test)]
    pub(crate) fn kind(&self) -> &K {
        &self.kind
    }
}

const fn row<K>(kind: K, weight: u32, needs: &'static [Need], meaning: &'static str) -> Row<K> {
    Row { kind, meaning, weight, needs }
}

/// The property that distinguishes the variants of a family: a shape, an effect, a choice of nodes.
pub(crate) trait Kind: Clone + fmt::Display + Sized + 'static {
    /// Returns the family's rows of the table.
    fn rows() -> &'static [Row<Self>];

    /// Returns the variant's name without its parameter.
    fn name(&self) -> &'static str;

    /// Returns the same variant with the parameter given after `=` on the command line, or without one;
    /// `None` if that is not one of its parameters.
    fn with(self, parameter: Option<&str>) -> Option<Self>;

    /// Returns the same variant with a random parameter, if it takes one.
    fn varied(self, rng: &mut impl Rng) -> Self;

    /// Parses a variant that is a list of names instead of a name of the table.
    fn listed(_: &str) -> Option<Self> {
        None
    }

    /// Parses a variant of the command line.
    fn parse(text: &str) -> Option<Self> {
        let (name, parameter) = match text.split_once('=') {
            Some((name, parameter)) => (name, Some(parameter)),
            None => (text, None),
        };
        match Self::rows().iter().find(|row| row.kind.name() == name) {
            Some(row) => row.kind.clone().with(parameter),
            None => Self::listed(text),
        }
    }

    /// Draws a variant by weight, among those that fit a cluster of `nodes` nodes and satisfy `allowed`. At
    /// least one must.
    fn draw(nodes: usize, allowed: impl Fn(&Self) -> bool, rng: &mut impl Rng) -> Self {
        let fits = |row: &&Row<Self>| nodes_min(row.needs) <= nodes && allowed(&row.kind);
        let rows = || Self::rows().iter().filter(fits);
        let mut at = rng.random_range(0..rows().map(|row| row.weight).sum());
        let mut drawn = None;
        for row in rows() {
            if at < row.weight {
                drawn = Some(row.kind.clone());
                break;
            }
            at -= row.weight;
        }
        drawn.expect("the sum of the weights is above the drawn number").varied(rng)
    }
}

const TWO: &[Need] = &[Need::Nodes(2)];
const ISOLATION: &[Need] = &[Need::Nodes(2), Need::Leader];
const CLOCK: &[Need] = &[Need::Clock];
const DISK: &[Need] = &[Need::Disk];

fn two_names() -> Vec<NodeId> {
    ["n1", "n2"].map(NodeId::new).to_vec()
}

pub(crate) fn partitions() -> &'static [Row<PartitionShape>] {
    use PartitionShape::*;
    static ROWS: LazyLock<[Row<PartitionShape>; 11]> = LazyLock::new(|| {
        [
            row(One, 2, TWO, "one node is cut from all others, or those that @ chooses"),
            row(Majority, 2, TWO, "a minority of random size is cut from the majority"),
            row(Halves, 1, TWO, "two halves, the smaller one rounded down"),
            row(
                MajoritiesRing,
                1,
                &[Need::Nodes(4)],
                "every node sees a majority, and no two nodes see the same one",
            ),
            row(Bridge, 1, &[Need::Nodes(3)], "two halves that only one node, the bridge, can both see"),
            row(OneWay, 2, TWO, "packets cross between a minority and the rest in one direction only"),
            row(
                IsolateLeader,
                8,
                ISOLATION,
                "the node that leads when the fault starts is cut from all others",
            ),
            row(
                LeaderInMinority,
                4,
                &[Need::Nodes(5), Need::Leader],
                "the node that leads then is cut from the majority, with as many others as make a minority",
            ),
            row(
                Flapping(Duration::from_secs(1)),
                1,
                TWO,
                "the links of one of the drawn shapes are cut and open by turns, each for half of the period",
            ),
            row(Clients, 1, &[Need::Nodes(1)], "some client hosts are cut from some nodes"),
            row(
                Nodes(two_names()),
                0,
                TWO,
                "these hosts are cut from all other nodes; a client's host as c1",
            ),
        ]
    });
    &*ROWS
}

pub(crate) const fn percent(percent: u32) -> Probability {
    match Probability::from_millionths(percent * 10_000) {
        Ok(probability) => probability,
        Err(_) => Probability::ALWAYS,
    }
}

pub(crate) const PACKETS: &[Row<PacketEffect>] = &{
    use PacketEffect::*;
    [
        row(Delay(Duration::from_millis(50)), 1, TWO, "every packet arrives this much later"),
        row(
            Jitter(Duration::from_millis(20)),
            1,
            TWO,
            "every packet arrives up to this much later, in order",
        ),
        row(Loss(percent(10)), 1, TWO, "this share of packets is lost"),
        row(Duplicate(percent(10)), 1, TWO, "this share of packets arrives twice"),
        row(Reorder(percent(10)), 1, TWO, "this share of packets is overtaken by later ones"),
        row(
            Corrupt(percent(5)),
            1,
            TWO,
            "this share of packets is damaged, and dropped by the receiving kernel",
        ),
        row(
            CorruptUndetected(percent(5)),
            0,
            TWO,
            "this share of packets is damaged with a matching checksum, and reaches the application",
        ),
        row(Rate(NonZeroU64::new(1_000_000).unwrap()), 1, TWO, "the link carries this many bits a second"),
    ]
};

pub(crate) fn selectors() -> &'static [Row<Selector>] {
    use Selector::*;
    const FOLLOWERS: &[Need] = ISOLATION;
    static ROWS: LazyLock<Vec<Row<Selector>>> = LazyLock::new(|| {
        let role = |name: &str| Role(role::Role::new(name));
        vec![
            row(One, 6, &[], "one node at random"),
            row(Minority, 3, &[], "from one node to the largest number that leaves a majority"),
            row(role(role::Role::LEADER), 8, &[Need::Leader], "the node that leads when the fault starts"),
            row(Majority, 1, &[], "the smallest number of nodes that leaves no majority"),
            row(All, 1, &[], "every node"),
            row(Follower, 3, FOLLOWERS, "one node at random of those that do not lead when the fault starts"),
            row(Followers, 1, FOLLOWERS, "every node but the leader"),
            row(
                role(role::Role::OLD_LEADER),
                2,
                ISOLATION,
                "the node that led before the one that leads then",
            ),
            row(
                role(role::Role::RETURNED),
                3,
                ISOLATION,
                "the node that was started, resumed or joined again last",
            ),
            row(
                role("controller"),
                0,
                &[],
                "a node that has this role then, of those that the target names (duress targets)",
            ),
            row(Nodes(two_names()), 0, &[], "these nodes"),
        ]
    });
    &ROWS
}

pub(crate) const CLOCKS: &[Row<ClockEffect>] = &{
    use ClockEffect::*;
    [
        row(Bump { delta_ns: -2_000_000_000 }, 1, CLOCK, "one step, forward or back"),
        row(Drift { ppb: 20_000_000 }, 1, CLOCK, "a gain or loss in every second"),
        row(Strobe { delta_ns: 200_000_000 }, 1, CLOCK, "steps back and forth, every tenth of a second"),
    ]
};

pub(crate) const DISKS: &[Row<DiskEffect>] = &{
    use DiskEffect::*;
    [
        row(PowerLoss, 3, DISK, "the node's processes are gone, and nothing that was not synced survives"),
        row(Torn, 1, DISK, "as power-loss, but a random part of what was not synced survives"),
        row(LyingFsync, 0, DISK, "fsync answers that it is done, and does nothing; a power loss at the end"),
        row(SlowFsync(Duration::from_millis(20)), 2, DISK, "fsync takes so much longer, up to 10s"),
        row(Eio, 0, DISK, "some writes and fsyncs fail with EIO"),
        row(Enospc, 0, DISK, "the disk is full, except for a few blocks"),
        row(Bitflip, 0, DISK, "the node is killed, and a few bits of its files flip"),
        row(Truncate, 0, DISK, "the node is killed, and its files lose their ends"),
    ]
};

pub(crate) const RESOURCES: &[Row<ResourceEffect>] = &[row(
    ResourceEffect::Cpu { percent: 10 },
    1,
    &[],
    "the node's processes run for this share of the time, and are stopped for the rest",
)];
pub(crate) const MEMBERSHIPS: &[Row<MemberChange>] = &{
    use MemberChange::*;
    const MEMBERS: &[Need] = &[Need::Nodes(3), Need::Members];
    [
        row(Leave, 2, MEMBERS, "a member is removed while it runs, and runs on until it is added again"),
        row(
            Join,
            2,
            MEMBERS,
            "a member is killed and removed, and comes back on its data, which know nothing of it, to join",
        ),
        row(
            Replace,
            3,
            MEMBERS,
            "a member is killed and removed and its data deleted; a fresh one of its name and address joins",
        ),
    ]
};

pub(crate) const UPGRADES: &[Row<Upgrade>] = &{
    use Upgrade::*;
    const PROGRAM: &[Need] = &[Need::SecondProgram];
    [
        row(
            Rolling,
            1,
            PROGRAM,
            "a node is ended and started with the second program for good; the others follow, at the latest in the end",
        ),
        row(Rollback, 0, PROGRAM, "the same, and back to the first program, on what the second has written"),
    ]
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::spec::FaultSpec;

    #[test]
    fn every_example_is_read_as_its_variant_and_printed_as_it_was_read() {
        let mut seen = BTreeSet::new();
        for variant in variants() {
            let item = format!("{}:{}", variant.family.name(), variant.example);
            let spec: FaultSpec = item.parse().expect("an example is a good item");
            assert_eq!(spec.to_string(), item);
            assert_eq!(spec.variant(), Some(variant), "{item}");
            assert!(seen.insert((variant.family, variant.name)), "{item} is there twice");
        }
    }

    #[test]
    fn what_is_drawn_has_a_weight_and_fits_the_cluster() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut drawn = BTreeSet::new();
        for _ in 0..300 {
            drawn.insert(("packet", PacketEffect::draw(5, |_| true, &mut rng).name()));
            drawn.insert(("clock", ClockEffect::draw(5, |_| true, &mut rng).name()));
            drawn.insert(("disk", DiskEffect::draw(5, |_| true, &mut rng).name()));
            drawn.insert(("resources", ResourceEffect::draw(5, |_| true, &mut rng).name()));
            drawn.insert(("partition", PartitionShape::draw(5, |_| true, &mut rng).name()));
            let small = PartitionShape::draw(3, |shape| *shape != PartitionShape::One, &mut rng);
            assert!(!matches!(small, PartitionShape::MajoritiesRing | PartitionShape::One), "{small}");
        }
        let with_weight = variants().iter().filter(|variant| variant.weight > 0);
        let with_weight = with_weight.map(|variant| (variant.family.name(), variant.name));
        drawn.insert(("upgrade", Upgrade::draw(1, |_| true, &mut rng).name()));
        drawn.extend((0..50).map(|_| ("membership", MemberChange::draw(3, |_| true, &mut rng).name())));
        let chosen = ["kill", "pause", "restart"];
        let with_weight: BTreeSet<_> = with_weight.filter(|(family, _)| !chosen.contains(family)).collect();
        assert_eq!(drawn, with_weight);
    }
}
