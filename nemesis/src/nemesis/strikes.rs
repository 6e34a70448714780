//! Injecting and healing what takes more than a signal: links, clocks and disks.

use std::collections::BTreeSet;

use super::*;
use crate::arena::clock::ClockEvidence;
use crate::arena::disk::{DiskEvidence, Keep};
use crate::disk_fault::Strikes;
use crate::evidence::{CLOCK_TOLERANCE_NS, NodeClock, NodeDisk};

/// How long the processes of one node may take to tell their time.
const CLOCK_DEADLINE: Duration = Duration::from_secs(2);
/// How many times a clock is read before it counts as not showing what it was set to.
const CLOCK_READINGS: usize = 4;
/// A process that waits for its disk does not stop before the disk answers: this is long enough for all others.
const STOP_BEFORE_POWER_LOSS: Duration = Duration::from_millis(50);

impl Nemesis {
    pub(super) fn inject_partition(
        &mut self,
        id: u32,
        fault: &Fault,
        links: Vec<Link>,
    ) -> Result<Evidence, NemesisError> {
        let mut counted = Vec::with_capacity(links.len());
        for link in &links {
            counted.push((link.clone(), self.dropped(link)?));
            self.links.cut(link);
        }
        self.active.insert(id, (fault.clone(), Active::Partition { links: counted }));
        self.switch.apply(self.links.policies(&links))?;
        let probes = self.switch.probe(&links, PROBE_DEADLINE)?;
        let probes_dropped = probes.iter().filter(|probe| probe.outcome == ProbeOutcome::Dropped).count();
        Ok(Evidence::Cut { links: links.len(), probes_dropped })
    }

    pub(super) fn heal_partition(&mut self, links: &[(Link, u64)]) -> Result<Evidence, NemesisError> {
        let mut packets_dropped = 0;
        let mut all = Vec::with_capacity(links.len());
        for (link, before) in links {
            packets_dropped += self.dropped(link)?.saturating_sub(*before);
            self.links.join(link);
            all.push(link.clone());
        }
        self.switch.apply(self.links.policies(&all))?;
        let (probes_arrived, still_cut) = self.probe_open(&all)?;
        Ok(Evidence::Joined { links: all.len(), probes_arrived, still_cut, packets_dropped })
    }

    pub(super) fn inject_packet(
        &mut self,
        id: u32,
        fault: &Fault,
        effect: PacketEffect,
        nodes: &[NodeId],
    ) -> Result<Evidence, NemesisError> {
        let mut links = BTreeSet::new();
        for node in nodes {
            for other in self.nodes.iter().filter(|other| *other != node) {
                links.insert((node.clone(), other.clone()));
                links.insert((other.clone(), node.clone()));
            }
        }
        let links: Vec<Link> = links.into_iter().collect();
        let mut counted = Vec::with_capacity(links.len());
        for link in &links {
            counted.push((link.clone(), self.switch.counters(&link.0, &link.1)?));
            self.links.shape(link, id, effect);
        }
        self.active.insert(id, (fault.clone(), Active::Packet { effect, links: counted }));
        self.switch.apply(self.links.policies(&links))?;
        let mut times: Vec<Duration> = self
            .switch
            .probe(&links, PROBE_DEADLINE)?
            .into_iter()
            .filter_map(|probe| match probe.outcome {
                ProbeOutcome::Arrived(after) => Some(after),
                ProbeOutcome::Dropped | ProbeOutcome::Silent => None,
            })
            .collect();
        times.sort();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let probe_us = u64::try_from(median.as_micros()).unwrap_or(u64::MAX);
        Ok(Evidence::Shaped { links: links.len(), probes_arrived: times.len(), probe_us })
    }

    pub(super) fn heal_packet(
        &mut self,
        id: u32,
        effect: PacketEffect,
        links: &[(Link, LinkCounters)],
    ) -> Result<Evidence, NemesisError> {
        let all: Vec<Link> = links.iter().map(|(link, _)| link.clone()).collect();
        let mut packets_met = self.met(effect, links)?;
        for _ in 0..PROBE_ROUNDS {
            if packets_met > 0 {
                break;
            }
            // The target was silent on these links: probes show that the effect is there.
            self.switch.probe(&all, PROBE_DEADLINE)?;
            packets_met = self.met(effect, links)?;
        }
        for link in &all {
            self.links.unshape(link, id);
        }
        self.switch.apply(self.links.policies(&all))?;
        let (probes_arrived, still_cut) = self.probe_open(&all)?;
        Ok(Evidence::Unshaped { links: all.len(), probes_arrived, still_cut, packets_met })
    }

    fn met(&self, effect: PacketEffect, links: &[(Link, LinkCounters)]) -> Result<u64, NemesisError> {
        let mut met = 0;
        for (link, before) in links {
            met += effect.met(before, &self.switch.counters(&link.0, &link.1)?);
        }
        Ok(met)
    }

    /// How many of `links` a probe crosses, and how many a partition cuts.
    fn probe_open(&self, links: &[Link]) -> Result<(usize, usize), NemesisError> {
        let open: Vec<Link> = links.iter().filter(|link| !self.links.is_cut(link)).cloned().collect();
        let mut lost = open.clone();
        for _ in 0..PROBE_ROUNDS {
            if lost.is_empty() {
                break;
            }
            // A probe is a datagram: under load one may be lost without a cut, so the lost ones are sent again.
            let probes = self.switch.probe(&lost, PROBE_DEADLINE)?;
            lost = probes
                .into_iter()
                .filter(|probe| !matches!(probe.outcome, ProbeOutcome::Arrived(_)))
                .map(|probe| (probe.from, probe.to))
                .collect();
        }
        Ok((open.len() - lost.len(), links.len() - open.len()))
    }

    /// Packets of the target and the clients that the link's policy has dropped so far: all but our own probes.
    fn dropped(&self, link: &Link) -> Result<u64, NemesisError> {
        let counters = self.switch.counters(&link.0, &link.1)?;
        Ok(counters.dropped_packets.saturating_sub(counters.dropped_probes))
    }

    pub(super) fn inject_clock(
        &mut self,
        id: u32,
        fault: &Fault,
        effect: ClockEffect,
        nodes: &[NodeId],
    ) -> Result<Evidence, NemesisError> {
        let mut pages = Vec::with_capacity(nodes.len());
        for node in nodes {
            let (_, page, _) =
                self.cluster.clock(node).ok_or_else(|| NemesisError::NoClock { node: node.clone() })?;
            pages.push((node.clone(), Arc::clone(page)));
        }
        let mut clocks = Vec::with_capacity(nodes.len());
        for (node, page) in pages {
            let set = |source| NemesisError::Clock { node: node.clone(), source };
            let strobe = match effect {
                ClockEffect::Bump { delta_ns } => page.bump(delta_ns).map(|_| None).map_err(set)?,
                ClockEffect::Drift { ppb } => {
                    let monotonic = crate::arena::clock::MonotonicClocks::KeepPace;
                    page.drift(ppb, monotonic).map(|_| None).map_err(set)?
                }
                ClockEffect::Strobe { delta_ns } => {
                    let strobe = Strobe::start(Arc::clone(&page), delta_ns, ClockEffect::STROBE_PERIOD)
                        .map_err(|source| NemesisError::Strobe { node: node.clone(), source })?;
                    Some(strobe)
                }
            };
            clocks.push((node, page, strobe));
        }
        let seen = clocks.iter().map(|(node, ..)| (node.clone(), Moved::default())).collect();
        self.active.insert(id, (fault.clone(), Active::Clock { clocks }));
        self.read_clocks(seen)
    }

    pub(super) fn heal_clock(
        &mut self,
        clocks: Vec<(NodeId, Arc<ClockPage>, Option<Strobe>)>,
    ) -> Result<Evidence, NemesisError> {
        let mut seen = Vec::with_capacity(clocks.len());
        for (node, page, strobe) in clocks {
            // How far it went, before it is set right: what a drift came to.
            let reached_ns = self.read_clock(&node)?.seen.first().map(|seen| seen.delta_ns);
            let steps = match strobe {
                Some(strobe) => {
                    let (account, _) = strobe
                        .stop()
                        .map_err(|source| NemesisError::Strobe { node: node.clone(), source })?;
                    Some(account.steps)
                }
                None => None,
            };
            page.reset().map_err(|source| NemesisError::Clock { node: node.clone(), source })?;
            seen.push((node, Moved { steps, reached_ns }));
        }
        self.read_clocks(seen)
    }

    /// What the processes of each node read.
    fn read_clocks(&self, nodes: Vec<(NodeId, Moved)>) -> Result<Evidence, NemesisError> {
        let mut seen = Vec::with_capacity(nodes.len());
        for (node, Moved { steps, reached_ns }) in nodes {
            let mut clock = self.read_clock(&node)?;
            for _ in 1..CLOCK_READINGS {
                if clock.proves(CLOCK_TOLERANCE_NS) {
                    break;
                }
                // A strobe may have stepped between the look at the setting and the look at the process.
                clock = self.read_clock(&node)?;
            }
            seen.push(NodeClock { node, clock, steps, reached_ns });
        }
        Ok(Evidence::ClockSet { nodes: seen })
    }

    fn read_clock(&self, node: &NodeId) -> Result<ClockEvidence, NemesisError> {
        let (tracer, page, host) =
            self.cluster.clock(node).ok_or_else(|| NemesisError::NoClock { node: node.clone() })?;
        let pids = host.pids().map_err(|source| {
            let action = "look at";
            let source = ControlError::System { action, host: node.clone(), source };
            NemesisError::Cluster(ClusterError::Signal { node: node.clone(), what: action, source })
        })?;
        ClockEvidence::gather(tracer, page, &pids, CLOCK_DEADLINE)
            .map_err(|source| NemesisError::ReadClock { node: node.clone(), source })
    }

    pub(super) fn strike_disks(
        &mut self,
        effect: DiskEffect,
        nodes: &[NodeId],
    ) -> Result<Vec<NodeDisk>, NemesisError> {
        for node in nodes {
            self.disk(node)?;
        }
        let mut seen = match (effect.strikes(), effect.keep()) {
            (Strikes::LiveNode, _) => blank(nodes),
            (Strikes::DeadNode, None) => killed(self.kill(nodes)?),
            (Strikes::DeadNode, Some(keep)) => self.lose_power(nodes, keep)?,
        };
        for NodeDisk { node, disk, .. } in &mut seen {
            for fault in effect.faults() {
                let evidence = self.disk(node)?.inject(&fault);
                disk.push(evidence.map_err(|source| disk_error(node, "strike", source))?);
            }
        }
        Ok(seen)
    }

    pub(super) fn heal_disks(
        &mut self,
        effect: DiskEffect,
        nodes: Vec<NodeId>,
    ) -> Result<Evidence, NemesisError> {
        // A lie only matters when it is found out.
        let mut seen = match effect {
            DiskEffect::LyingFsync => self.lose_power(&nodes, Keep::Nothing)?,
            _ => blank(&nodes),
        };
        for NodeDisk { node, disk, .. } in &mut seen {
            for fault in effect.faults().iter().filter_map(|fault| fault.lasting()) {
                let evidence = self.disk(node)?.heal(fault);
                disk.push(evidence.map_err(|source| disk_error(node, "heal", source))?);
            }
        }
        let dead = effect.strikes() == Strikes::DeadNode || effect == DiskEffect::LyingFsync;
        let started = if dead { nodes } else { Vec::new() };
        self.start(&started)?;
        Ok(Evidence::DiskHealed { nodes: seen, started })
    }

    /// Takes the power from `nodes`, all at once: their processes are gone, and what was not synced is undone.
    fn lose_power(&mut self, nodes: &[NodeId], keep: Keep) -> Result<Vec<NodeDisk>, NemesisError> {
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
        let mut seen = killed(self.kill(nodes)?);
        for NodeDisk { node, disk, .. } in &mut seen {
            let undone = self.disk(node)?.power_loss(keep);
            disk.push(DiskEvidence::Undone(
                undone.map_err(|source| disk_error(node, "take the power from", source))?,
            ));
        }
        Ok(seen)
    }

    fn disk(&self, node: &NodeId) -> Result<&crate::arena::disk::FaultDisk, NemesisError> {
        self.cluster.disk(node).ok_or_else(|| NemesisError::NoDisk { node: node.clone() })
    }
}

/// What a clock did while a fault was in force.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    /// How many steps a strobe made.
    steps: Option<u64>,
    /// How far ahead of the machine's clock it was at the end, in nanoseconds.
    reached_ns: Option<i64>,
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
