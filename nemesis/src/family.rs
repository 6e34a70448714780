//! Families of faults: their names on the command line, and what each must prove.

use serde::{Deserialize, Serialize};

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
    /// The disks of nodes lose what was not synced, lie, fail, fill up or rot.
    Disk,
}

/// What there is to know about a family.
struct Entry {
    family: Family,
    name: &'static str,
    does: &'static str,
    evidence: &'static str,
    heals: &'static str,
    variants: &'static str,
}

const SELECTORS: &str = "one, minority, majority, all, leader, follower, followers, or nodes as n1+n2";

const ENTRIES: [Entry; 7] = [
    Entry {
        family: Family::Partition,
        name: "partition",
        does: "cuts directed links between hosts: packets are dropped in the switch",
        evidence: "a probe on each cut link is dropped (one that flaps: dropped and let through), and the packets the cut swallowed are counted",
        heals: "the links forward again: a probe crosses each of them",
        variants: "one, majority, halves, majorities-ring, bridge, one-way, isolate-leader, rolling-leader, flapping or flapping=400ms (cut and open by turns), clients, or hosts as n1+n2 or c1",
    },
    Entry {
        family: Family::Packet,
        name: "packet",
        does: "makes the links between chosen nodes and all others delay, lose, duplicate, reorder, damage or hold up packets",
        evidence: "the switch counts the packets that met the effect",
        heals: "the links are open again: a probe crosses each of them",
        variants: "delay=50ms, jitter=20ms, loss=10%, duplicate=10%, reorder=10%, corrupt=5% (bad checksum), corrupt-undetected=5%, rate=1mbit; @nodes chooses, as for kill, and so do @clients and @c1",
    },
    Entry {
        family: Family::Kill,
        name: "kill",
        does: "kills every process of the chosen nodes with SIGKILL",
        evidence: "the processes are gone from the node's namespace",
        heals: "the node is started again on its data, and is awaited until it serves",
        variants: SELECTORS,
    },
    Entry {
        family: Family::Pause,
        name: "pause",
        does: "stops every process of the chosen nodes with SIGSTOP",
        evidence: "every thread of the node is in state T",
        heals: "SIGCONT: no thread is in state T",
        variants: SELECTORS,
    },
    Entry {
        family: Family::Restart,
        name: "restart",
        does: "asks the chosen nodes to end with SIGTERM",
        evidence: "the node's process has ended",
        heals: "the node is started again on its data, and is awaited until it serves",
        variants: SELECTORS,
    },
    Entry {
        family: Family::Clock,
        name: "clock",
        does: "steps the wall clock of the chosen nodes, makes it drift, or swings it to and fro",
        evidence: "the node's own processes read the time as it was set",
        heals: "the clock is set right in one step: the processes read the machine's time",
        variants: "bump=500ms, bump=-2s, drift=20ms/s, drift=-20ms/s, strobe=200ms; @nodes chooses, as for kill. Where the promise rests on clocks, the leader is cut off meanwhile",
    },
    Entry {
        family: Family::Disk,
        name: "disk",
        does: "takes the power from the chosen nodes, or makes their disks lie, fail, fill up, slow down or rot",
        evidence: "the bytes and operations undone, delayed, failed or changed; the disk's own probe meets the fault",
        heals: "the disk's own probe meets nothing; a node without power is started again and awaited",
        variants: "power-loss, torn, lying-fsync, slow-fsync=20ms (10s at most), eio, enospc, bitflip, truncate; @nodes chooses, as for kill",
    },
];

impl Family {
    /// Every family, in the order of the documentation.
    pub const ALL: [Self; 7] =
        [Self::Partition, Self::Packet, Self::Kill, Self::Pause, Self::Restart, Self::Clock, Self::Disk];

    fn entry(self) -> &'static Entry {
        ENTRIES.iter().find(|entry| entry.family == self).expect("every family has an entry")
    }

    /// The family called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        ENTRIES.iter().find(|entry| entry.name == name).map(|entry| entry.family)
    }

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// What it does, how it proves that it did, and how it heals: one sentence each.
    #[must_use]
    pub fn describe(self) -> [&'static str; 3] {
        let Entry { does, evidence, heals, .. } = self.entry();
        [does, evidence, heals]
    }

    /// The variants that may follow the name after a colon.
    #[must_use]
    pub fn variants(self) -> &'static str {
        self.entry().variants
    }
}
