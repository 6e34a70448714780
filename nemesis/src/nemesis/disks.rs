//! Makes the nodes' disks fail and repairs them; explains nodes that end because of it.

use duress_history::nemesis::NodeDisk;
use nix::sys::signal::Signal;

use super::*;
use crate::cluster::ClusterError;
use crate::evidence;
use duress_arena::disk::{DiskError, DiskEvidence, FaultDisk, Keep, Lasting};

/// A process that waits for its disk stops only when the disk answers. This time suffices for all other
/// processes.
const STOP_BEFORE_POWER_LOSS: Duration = Duration::from_millis(50);
/// The time that a node that met a failing disk may take to end, even after the disk is repaired.
const ENDING_AFTER_HEAL: Duration = Duration::from_secs(3);

/// The number of probes of a slow disk before it counts as still slow.
const SOUND_TRIES: u64 = 20;
/// The number of probes that must succeed before a disk that failed at random counts as repaired. At 5 % for each of
/// two operations, remaining errors are missed once in five million times.
const SOUND_BY_CHANCE: u64 = 150;
/// The number of bytes that the probe requests: more than a full disk has left.
const PROBED_SPACE: u64 = 64 * 1024;

/// A node whose disk failed some of its operations and has been repaired.
#[derive(Debug)]
pub(super) struct HealedDisk {
    node: NodeId,
    fault: u32,
    until: Instant,
}

impl HealedDisk {
    /// Returns whether the node would have ended by now, if at all.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

impl Nemesis {
    pub(super) fn strike_disks(
        &mut self,
        effect: DiskEffect,
        nodes: &[NodeId],
    ) -> Result<(Evidence, Instant), NemesisError> {
        for node in nodes {
            self.disk(node)?;
        }
        let (mut seen, since) = match (effect.target_state(), effect.keep()) {
            (TargetState::LiveNode, _) => {
                for node in nodes {
                    for fault in effect.faults() {
                        let begun = self.disk(node)?.begin(&fault);
                        begun.map_err(|source| disk_error(node, "strike", source))?;
                    }
                }
                (blank(nodes), Instant::now())
            }
            (TargetState::DeadNode, None) => {
                let (seen, since) = self.kill(nodes)?;
                (killed(seen), since)
            }
            (TargetState::DeadNode, Some(keep)) => self.lose_power(nodes, keep)?,
        };
        for NodeDisk { node, disk, .. } in &mut seen {
            for fault in effect.faults() {
                let struck = self.disk(node)?;
                let evidence =
                    if fault.lasting().is_some() { struck.show(&fault) } else { struck.inject(&fault) };
                let evidence = evidence.map_err(|source| disk_error(node, "strike", source))?;
                disk.push(evidence::disk(evidence, Some(&fault)));
            }
        }
        Ok((Evidence::DiskStruck { nodes: seen }, since))
    }

    /// Repairs every disk, even if another fails, and starts the nodes that the fault has ended; returns the
    /// first error.
    pub(super) fn heal_disks(
        &mut self,
        id: u32,
        effect: DiskEffect,
        nodes: Vec<NodeId>,
        ended: Vec<NodeId>,
    ) -> Result<Evidence, NemesisError> {
        // A lying fsync only matters once unsynced data is lost.
        let mut seen = match effect {
            DiskEffect::LyingFsync => self.lose_power(&nodes, Keep::Nothing)?.0,
            _ => blank(&nodes),
        };
        let (mut first, mut ending) = (None, Vec::new());
        for NodeDisk { node, disk, .. } in &mut seen {
            for fault in effect.faults() {
                let Some(lasting) = fault.lasting() else { continue };
                match self.disk(node)?.heal(lasting).map_err(|source| disk_error(node, "heal", source)) {
                    Ok(evidence) => {
                        // Nodes that have ended already are known, and the processes that replaced them have
                        // not met a failure.
                        let may_end = matches!(lasting, Lasting::Errors(_) | Lasting::NoSpace);
                        if may_end && operations(&evidence) > 0 && !ended.contains(node) {
                            ending.push(node.clone());
                        }
                        disk.push(evidence::disk(evidence, Some(&fault)));
                    }
                    Err(error) => _ = first.get_or_insert(error),
                }
            }
        }
        for seen in &mut seen {
            match self.see_sound(effect, seen.clone()) {
                Ok(sound) => *seen = sound,
                Err(error) => _ = first.get_or_insert(error),
            }
        }
        // Count from here: the disk checks take a while, and crashes were not watched meanwhile.
        let until = Instant::now() + ENDING_AFTER_HEAL;
        self.healed_disks.extend(ending.into_iter().map(|node| HealedDisk { node, fault: id, until }));
        let dead = effect.target_state() == TargetState::DeadNode || effect == DiskEffect::LyingFsync;
        let started = self.start(if dead { &nodes } else { &ended })?;
        match first {
            Some(error) => Err(error),
            None => Ok(Evidence::DiskHealed { nodes: seen, started }),
        }
    }

    /// Probes whether the disk is sound after `effect`.
    fn see_sound(&self, effect: DiskEffect, mut seen: NodeDisk) -> Result<NodeDisk, NemesisError> {
        let disk = self.disk(&seen.node)?;
        let others = self.active.values().filter_map(|(_, active)| match active {
            Active::Disk { effect, nodes, .. } if nodes.contains(&seen.node) => Some(effect.faults()),
            _ => None,
        });
        seen.others = others.flatten().filter_map(|fault| evidence::lasting(&fault)).collect();
        let (wanted, tries_max) = match effect {
            // A busy machine may make an fsync as slow as the fault did.
            DiskEffect::SlowFsync(_) => (1, SOUND_TRIES),
            // A single probe would meet remaining errors only one time in ten.
            DiskEffect::Eio => (SOUND_BY_CHANCE, SOUND_BY_CHANCE),
            _ => (1, 1),
        };
        let mut sound = 0;
        while sound < wanted && seen.probes < tries_max {
            let probe = disk.probe(PROBED_SPACE).map_err(|source| disk_error(&seen.node, "probe", source))?;
            seen.after = Some(evidence::disk_probe(probe));
            seen.probes += 1;
            sound += u64::from(seen.is_sound());
            if !seen.is_sound() && wanted > 1 {
                break;
            }
        }
        Ok(seen)
    }

    /// Returns the fault that explains why `node` has just ended by itself: a fault that may end nodes, is in
    /// force on the node or was until recently, and has failed some of its operations.
    pub(super) fn explains(&mut self, node: &NodeId) -> Option<u32> {
        let in_force = self.active.iter().find_map(|(id, (_, active))| match active {
            Active::Disk { effect, nodes, .. } if effect.may_end_node() && nodes.contains(node) => {
                let disk = self.cluster.disk(node)?;
                let met = effect
                    .faults()
                    .iter()
                    .filter_map(|fault| fault.lasting())
                    .any(|fault| disk.touched(fault).is_ok_and(|touched| operations(&touched) > 0));
                met.then_some(*id)
            }
            _ => None,
        });
        in_force.or_else(|| {
            let at = self.healed_disks.iter().position(|after| after.node == *node && !after.is_over())?;
            let fault = self.healed_disks.swap_remove(at).fault;
            // The process that replaces it has not met a failure.
            self.healed_disks.retain(|after| after.node != *node);
            Some(fault)
        })
    }

    /// Cuts the power of `nodes`, all at once: kills their processes and discards unsynced data.
    fn lose_power(&mut self, nodes: &[NodeId], keep: Keep) -> Result<(Vec<NodeDisk>, Instant), NemesisError> {
        self.each_signal(nodes, Signal::SIGSTOP)?;
        // The nodes do nothing from here on, and data that their disks have not made durable is lost.
        let since = Instant::now();
        for node in nodes {
            if let Some(process) = self.cluster.process(node)? {
                match process.pause(STOP_BEFORE_POWER_LOSS) {
                    // A process that waits for its disk has received the signal. It stops before it can see
                    // an error.
                    Ok(_) | Err(ControlError::Deadline { .. }) => {}
                    Err(source) => {
                        return Err(ClusterError::Signal { node: node.clone(), what: "stop", source }.into());
                    }
                }
            }
        }
        for node in nodes {
            self.disk(node)?.cut_power();
        }
        let mut seen = killed(self.kill(nodes)?.0);
        for NodeDisk { node, disk, .. } in &mut seen {
            let undone = self.disk(node)?.power_loss(keep);
            let undone = undone.map_err(|source| disk_error(node, "take the power from", source))?;
            disk.push(evidence::disk(DiskEvidence::Undone(undone), None));
        }
        Ok((seen, since))
    }

    /// Answers every fsync that a disk holds until a fault strikes.
    pub(super) fn release_disks(&self) {
        for disk in self.nodes.iter().filter_map(|node| self.cluster.disk(node)) {
            disk.activity().release_held();
        }
    }

    fn disk(&self, node: &NodeId) -> Result<&FaultDisk, NemesisError> {
        self.cluster.disk(node).ok_or_else(|| NemesisError::NoDisk { node: node.clone() })
    }
}

/// Returns the number of operations that a lasting fault has affected.
fn operations(evidence: &DiskEvidence) -> u64 {
    match evidence {
        DiskEvidence::Touched { operations, .. } => *operations,
        _ => 0,
    }
}

fn disk_error(node: &NodeId, what: &'static str, source: DiskError) -> NemesisError {
    NemesisError::Disk { node: node.clone(), what, source }
}

fn blank(nodes: &[NodeId]) -> Vec<NodeDisk> {
    nodes.iter().map(|node| untouched(node.clone(), 0)).collect()
}

fn killed(seen: Vec<NodeProcesses>) -> Vec<NodeDisk> {
    seen.into_iter().map(|seen| untouched(seen.node, seen.processes)).collect()
}

fn untouched(node: NodeId, processes: usize) -> NodeDisk {
    NodeDisk { node, processes, disk: Vec::new(), after: None, probes: 0, others: Vec::new() }
}
