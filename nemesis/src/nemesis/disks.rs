//! Striking the nodes' disks and making them sound again; nodes that end because of it.

use duress_history::nemesis::NodeDisk;
use nix::sys::signal::Signal;

use super::*;
use crate::evidence;
use duress_arena::disk::{DiskEvidence, FaultDisk, Keep, Lasting};

/// A process that waits for its disk does not stop before the disk answers: this is long enough for all others.
const STOP_BEFORE_POWER_LOSS: Duration = Duration::from_millis(50);
/// A node that met a failing disk may take so long to end, even after the disk is sound again.
const ENDING_AFTER_HEAL: Duration = Duration::from_secs(3);

/// How often a disk that was slow is probed before it counts as still slow.
const SOUND_TRIES: u64 = 20;
/// How many probes must meet no error before a disk that failed some by chance counts as sound: at 5 % for each of two
/// operations, errors that are still there are missed once in five million.
const SOUND_BY_CHANCE: u64 = 150;
/// How many bytes that probe asks for: more than is left of a disk that is full.
const PROBED_SPACE: u64 = 64 * 1024;

/// A node whose disk failed some of its operations, and is sound again.
#[derive(Debug)]
pub(super) struct HealedDisk {
    node: NodeId,
    fault: u32,
    until: Instant,
}

impl HealedDisk {
    /// Whether the node would have ended by now, if it was to.
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

    /// Makes every disk sound, even if another fails, and starts the nodes that the fault has ended; returns
    /// the first error.
    pub(super) fn heal_disks(
        &mut self,
        id: u32,
        effect: DiskEffect,
        nodes: Vec<NodeId>,
        ended: Vec<NodeId>,
    ) -> Result<Evidence, NemesisError> {
        // A lie only matters when it is found out.
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
                        // Nodes that have ended already are known, and the processes started in their place
                        // have met no failure.
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
        // Counted from here: checking the disks takes a while, and no crash was looked for meanwhile.
        let until = Instant::now() + ENDING_AFTER_HEAL;
        self.healed_disks.extend(ending.into_iter().map(|node| HealedDisk { node, fault: id, until }));
        let dead = effect.target_state() == TargetState::DeadNode || effect == DiskEffect::LyingFsync;
        let started = self.start(if dead { &nodes } else { &ended })?;
        match first {
            Some(error) => Err(error),
            None => Ok(Evidence::DiskHealed { nodes: seen, started }),
        }
    }

    /// Has the disk's own probe look whether the disk is sound after `effect`.
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
            // One probe in ten would meet errors that are still there.
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

    /// Returns the fault that explains why `node` has just ended by itself: one that may end nodes, that is
    /// in force on it, or was until a moment ago, and has failed operations of it.
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
            // The process that is started in its place has met no failure.
            self.healed_disks.retain(|after| after.node != *node);
            Some(fault)
        })
    }

    /// Takes the power from `nodes`, all at once: their processes are killed, and unsynced data is undone.
    fn lose_power(&mut self, nodes: &[NodeId], keep: Keep) -> Result<(Vec<NodeDisk>, Instant), NemesisError> {
        self.each_signal(nodes, Signal::SIGSTOP)?;
        // From here on the nodes do nothing any more, and what their disks have not made durable is lost.
        let since = Instant::now();
        for node in nodes {
            if let Some(process) = self.cluster.process(node)? {
                match process.pause(STOP_BEFORE_POWER_LOSS) {
                    // One that waits for its disk was sent the signal, and will see no error: it stops first.
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

    /// Has every fsync answered that is held for a fault to strike.
    pub(super) fn release_disks(&self) {
        for disk in self.nodes.iter().filter_map(|node| self.cluster.disk(node)) {
            disk.activity().release_held();
        }
    }

    fn disk(&self, node: &NodeId) -> Result<&FaultDisk, NemesisError> {
        self.cluster.disk(node).ok_or_else(|| NemesisError::NoDisk { node: node.clone() })
    }
}

/// How many operations a lasting fault has touched.
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
