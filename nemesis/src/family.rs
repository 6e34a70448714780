//! Families of faults: their names on the command line, and what each must prove.

use serde::{Deserialize, Serialize};

use crate::variant::{Variant, variants};

/// A kind of fault, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Links between hosts are cut.
    Partition,
    /// Links delay, lose, duplicate, reorder, damage or hold up packets.
    Packet,
    /// Processes get SIGKILL, and are started again on the same data.
    Kill,
    /// Processes get SIGSTOP, and later SIGCONT.
    Pause,
    /// Processes get SIGTERM, and are started again on the same data.
    Restart,
    /// The wall clocks of nodes step or drift.
    Clock,
    /// The disks of nodes lose unsynced data, lie, fail, fill up or rot.
    Disk,
    /// Processes get a share of a resource of the machine.
    Resources,
    /// Members of the cluster are removed, and added again.
    Membership,
    /// Processes are ended, and started again with another program.
    Upgrade,
    /// The user's own commands strike nodes of a cluster that already runs.
    Command,
}

/// The properties of a family.
struct Entry {
    family: Family,
    name: &'static str,
    does: &'static str,
    evidence: &'static str,
    heals: &'static str,
}

const ENTRIES: [Entry; 11] = [
    Entry {
        family: Family::Partition,
        name: "partition",
        does: "cuts directed links between hosts: packets are dropped in the switch",
        evidence: "a probe on each cut link is dropped (one that flaps: dropped and let through), and the packets the cut swallowed are counted",
        heals: "the links forward again: a probe crosses each of them",
    },
    Entry {
        family: Family::Packet,
        name: "packet",
        does: "makes the links between chosen nodes and all others delay, lose, duplicate, reorder, damage or hold up packets",
        evidence: "probes along each link meet the effect at its far end: late, lost, duplicated, overtaken, damaged or slow as requested",
        heals: "probes cross each link and no longer meet the effect",
    },
    Entry {
        family: Family::Kill,
        name: "kill",
        does: "kills every process of the chosen nodes with SIGKILL",
        evidence: "the processes are gone from the node's namespace",
        heals: "the node is started again on its data: its processes live, and it is awaited until it serves",
    },
    Entry {
        family: Family::Pause,
        name: "pause",
        does: "stops every process of the chosen nodes with SIGSTOP",
        evidence: "every thread of the node is in state T, or in D and stops before it goes on",
        heals: "SIGCONT: no thread is in state T, and the stopped processes use a processor again",
    },
    Entry {
        family: Family::Restart,
        name: "restart",
        does: "asks the chosen nodes to end with SIGTERM",
        evidence: "the node's process has ended",
        heals: "the node is started again on its data: its processes live, and it is awaited until it serves",
    },
    Entry {
        family: Family::Clock,
        name: "clock",
        does: "steps the wall clock of the chosen nodes, makes it drift, or swings it back and forth; if the promise rests on clocks, the leader is cut off meanwhile",
        evidence: "the node's own processes read the time that was set",
        heals: "the clock is set right in one step: the processes read the machine's time",
    },
    Entry {
        family: Family::Disk,
        name: "disk",
        does: "takes the power from the chosen nodes, or makes their disks lie, fail, fill up, slow down or rot",
        evidence: "the bytes and operations undone, delayed, failed or changed; the disk's own probe meets the fault",
        heals: "the disk's own probe writes, syncs and reads as before, and as fast; a node without power is started again and awaited",
    },
    Entry {
        family: Family::Resources,
        name: "resources",
        does: "leaves the processes of the chosen nodes a share of the processor: all of them are stopped for the rest of the time, about ten times a second",
        evidence: "every thread of the node is in state T, or in D and stops before it goes on, for the rest of the time that was watched",
        heals: "SIGCONT for good: no thread is in state T, and the processes use a processor again",
    },
    Entry {
        family: Family::Membership,
        name: "membership",
        does: "has the cluster's administrator remove the chosen nodes from it; the process of each goes on, or has ended before, with its data or without",
        evidence: "the cluster itself listed the nodes before, and does not list them any more; the files deleted, if the data are",
        heals: "the nodes are started again where they ended, and added: the cluster lists each with a vote, and it answers requests",
    },
    Entry {
        family: Family::Upgrade,
        name: "upgrade",
        does: "asks the chosen nodes to end, one after the other, and starts each again on its data with another program, that of --upgrade-to",
        evidence: "the file that the node's process executes, as /proc shows it, was another before and is the given one",
        heals: "the node still executes it, and is awaited until it serves; a rollback: it executes the first one again",
    },
    Entry {
        family: Family::Command,
        name: "command",
        does: "strikes nodes of a cluster that already runs by the commands of its manifest, which names the variants",
        evidence: "the fault's own evidence command ends with 1 before the injection and with 0 after it",
        heals: "the heal command: the evidence command ends with 1 again",
    },
];

impl Family {
    /// Every family that a cluster in an arena can have, in the order of the documentation: all but commands, which are for
    /// clusters that already run.
    pub const ALL: [Self; 10] = [
        Self::Partition,
        Self::Packet,
        Self::Kill,
        Self::Pause,
        Self::Restart,
        Self::Clock,
        Self::Disk,
        Self::Resources,
        Self::Membership,
        Self::Upgrade,
    ];

    fn entry(self) -> &'static Entry {
        ENTRIES.iter().find(|entry| entry.family == self).expect("every family has an entry")
    }

    /// Returns the family called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        ENTRIES.iter().find(|entry| entry.name == name).map(|entry| entry.family)
    }

    /// Returns the name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// Returns its effect, its evidence and its healing: one sentence each.
    #[must_use]
    pub fn describe(self) -> [&'static str; 3] {
        let Entry { does, evidence, heals, .. } = self.entry();
        [does, evidence, heals]
    }

    /// Returns the variants that may follow the name after a colon.
    pub fn variants(self) -> impl Iterator<Item = &'static Variant> {
        variants().iter().filter(move |variant| variant.family == self)
    }

    /// How the command line chooses the nodes that it strikes, where the variants do something else.
    #[must_use]
    pub fn chooses(self) -> Option<&'static str> {
        match self {
            Self::Partition => Some("one@ and a choice as for kill"),
            Self::Kill | Self::Pause | Self::Restart => None,
            Self::Packet => Some("@ and a choice as for kill, @clients, or a client's host as @c1"),
            Self::Clock | Self::Disk | Self::Resources | Self::Membership | Self::Upgrade | Self::Command => {
                Some("@ and a choice as for kill")
            }
        }
    }

    /// Whether its variants only choose nodes: the effect on them is always the same.
    #[must_use]
    pub fn varies_by_nodes_only(self) -> bool {
        matches!(self, Self::Kill | Self::Pause | Self::Restart)
    }
}
