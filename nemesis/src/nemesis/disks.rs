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

/// A process whose disk has failed some of its operations, and is sound again.
#[derive(Debug)]
pub(super) struct Aftermath {
    node: NodeId,
    fault: u32,
    until: Instant,
}

impl Aftermath {
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
        let (mut seen, since) = match (effect.strikes(), effect.keep()) {
            (Strikes::LiveNode, _) => {
                for node in nodes {
                    for fault in effect.faults() {
                        let begun = self.disk(node)?.begin(&fault);
                        begun.map_err(|source| disk_error(node, "strike", source))?;
                    }
                }
                (blank(nodes), Instant::now())
            }
            (Strikes::DeadNode, None) => {
                let (seen, since) = self.kill(nodes)?;
                (killed(seen), since)
            }
            (Strikes::DeadNode, Some(keep)) => self.lose_power(nodes, keep)?,
        };
        for NodeDisk { node, disk, .. } in &mut seen {
            for fault in effect.faults() {
                let struck = self.disk(node)?;
                let evidence =
                    if fault.lasting().is_some() { struck.show(&fault) } else { struck.inject(&fault) };
                let evidence = evidence.map_err(|source| disk_error(node, "strike", source))?;
                disk.push(evidence::disk(evidence));
            }
        }
        Ok((Evidence::DiskStruck { nodes: seen }, since))
    }

    /// Makes every disk sound, whatever goes wrong with another, and starts what the fault has ended; the first error
    /// is told.
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
        let mut first = None;
        for NodeDisk { node, disk, .. } in &mut seen {
            for fault in effect.faults().iter().filter_map(|fault| fault.lasting()) {
                match self.heal_disk(node, fault) {
                    Ok((evidence, own)) => {
                        // What has ended already was taken note of, and what is started in its place has met nothing.
                        if own > 0 && !ended.contains(node) {
                            let until = Instant::now() + ENDING_AFTER_HEAL;
                            self.aftermath.push(Aftermath { node: node.clone(), fault: id, until });
                        }
                        disk.push(evidence::disk(evidence));
                    }
                    Err(error) => _ = first.get_or_insert(error),
                }
            }
        }
        let dead = effect.strikes() == Strikes::DeadNode || effect == DiskEffect::LyingFsync;
        let started = if dead { nodes } else { ended };
        self.start(&started)?;
        match first {
            Some(error) => Err(error),
            None => Ok(Evidence::DiskHealed { nodes: seen, started }),
        }
    }

    /// Heals `fault` on the disk of `node`; also how many operations of the node's own have failed by it.
    fn heal_disk(&self, node: &NodeId, fault: Lasting) -> Result<(DiskEvidence, u64), NemesisError> {
        let failed = |source| disk_error(node, "heal", source);
        let disk = self.disk(node)?;
        // The node asked nothing of its disk, or was lucky: the disk's own probe shows that it fails.
        let probes_met = match fault {
            Lasting::Errors(_) => disk.meet(fault),
            _ => Ok(0),
        };
        // Whatever came of the probes, it is healed, and what it touched until that very moment counts.
        let healed = disk.heal(fault).map_err(failed)?;
        let touched = operations(&healed).saturating_sub(probes_met.map_err(failed)?);
        let own = if matches!(fault, Lasting::Errors(_) | Lasting::NoSpace) { touched } else { 0 };
        Ok((healed, own))
    }

    /// The fault that explains why `node` has just ended by itself: one whose nature it is to end nodes, that is in
    /// force on it, or was until a moment ago, and has failed operations of its own.
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
            let at = self.aftermath.iter().position(|after| after.node == *node && !after.is_over())?;
            let fault = self.aftermath.swap_remove(at).fault;
            // The process that is started in its place has met nothing.
            self.aftermath.retain(|after| after.node != *node);
            Some(fault)
        })
    }

    /// Takes the power from `nodes`, all at once: their processes are gone, and what was not synced is undone.
    fn lose_power(&mut self, nodes: &[NodeId], keep: Keep) -> Result<(Vec<NodeDisk>, Instant), NemesisError> {
        self.strike(nodes, Signal::SIGSTOP)?;
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
            disk.push(evidence::disk(DiskEvidence::Undone(undone)));
        }
        Ok((seen, since))
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
    nodes.iter().map(|node| NodeDisk { node: node.clone(), processes: 0, disk: Vec::new() }).collect()
}

fn killed(seen: Vec<NodeProcesses>) -> Vec<NodeDisk> {
    let disk =
        |seen: NodeProcesses| NodeDisk { node: seen.node, processes: seen.processes, disk: Vec::new() };
    seen.into_iter().map(disk).collect()
}
