//! Injects and heals faults of links: partitions and packet effects.

use std::collections::BTreeSet;

use duress_arena::{Train, TrainSeen};
use duress_history::nemesis::{LinkReturn, PacketsSeen, Return, Unjudged};

use super::*;
use crate::partition::PartitionShape;

/// The number of half periods observed before a link counts as not flapping.
const FLAPS_SEEN_MAX: u32 = 24;

/// The largest delay for which a train waits.
const LATENESS_MAX: Duration = Duration::from_secs(2);
/// The number of trains of probes sent along a link before the wanted observation counts as missing.
const TRAINS_MAX: usize = 40;
/// The time after which no further trains are sent.
const SEEING: Duration = Duration::from_secs(6);
/// Links of at most this many bits per second are far slower than the switch, even many at a time.
const SLOW_RATE: u64 = 2_000_000;

/// The observation that probes of an effect should make.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The effect is there.
    Shown,
    /// The effect is gone.
    Gone,
}

/// Returns the links on which a fault affects packets.
fn shaped(active: &Active) -> impl Iterator<Item = &Link> {
    let links = match active {
        Active::Packet { links, .. } => links.as_slice(),
        _ => &[],
    };
    links.iter().map(|(link, _)| link)
}

/// Adds the observations of one train to the figures.
fn add(seen: &mut PacketsSeen, passed: &TrainSeen, effect: PacketEffect, train: Train) {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    seen.sent += passed.sent;
    seen.arrived += passed.arrived;
    seen.dropped += passed.dropped;
    seen.repeated += passed.repeated;
    seen.overtaken += passed.overtaken;
    seen.damaged += passed.damaged;
    seen.refused += passed.refused;
    seen.fastest_us = seen.fastest_us.into_iter().chain(passed.fastest.map(micros)).min();
    seen.slowest_us = seen.slowest_us.max(passed.slowest.map(micros));
    if matches!(effect, PacketEffect::Rate(_)) {
        seen.bits_per_second = seen.bits_per_second.max(passed.bits_per_second(train.bytes));
    }
}

impl Nemesis {
    pub(super) fn inject_partition(
        &mut self,
        id: u32,
        fault: &Fault,
        shape: &PartitionShape,
        links: Vec<Link>,
    ) -> Result<(Evidence, Instant), NemesisError> {
        let mut counted = Vec::with_capacity(links.len());
        for link in &links {
            counted.push((link.clone(), self.dropped(link)?));
        }
        self.active.insert(id, (fault.clone(), Active::Partition { links: counted }));
        for link in &links {
            match shape {
                PartitionShape::Flapping(period) => self.links.flap(link, id, *period),
                _ => self.links.cut(link, id),
            }
        }
        let since = self.switch()?.apply(&self.links.policies(&links))?;
        if let PartitionShape::Flapping(period) = shape {
            return self.see_flapping(&links, since, *period);
        }
        Ok((Evidence::Cut { links: links.len(), probes_dropped: self.probe_cut(&links)? }, since))
    }

    /// Returns on how many of `links` a probe was dropped. On a busy machine a probe may go unseen, and is
    /// sent again.
    fn probe_cut(&self, links: &[Link]) -> Result<usize, NemesisError> {
        let (mut dropped, mut left) = (0, links.to_vec());
        for _ in 0..PROBE_ROUNDS {
            if left.is_empty() {
                break;
            }
            let mut outcomes = self.switch()?.probe(&left, PROBE_DEADLINE)?.into_iter();
            left.retain(|_| match outcomes.next() {
                Some(ProbeOutcome::Dropped) => {
                    dropped += 1;
                    false
                }
                // A probe that arrives crossed a link that is not cut.
                Some(ProbeOutcome::Arrived(_)) | None => false,
                Some(ProbeOutcome::Silent) => true,
            });
        }
        Ok(dropped)
    }

    /// Probes `links`, which flap from the moment `since`, until each was observed in both states. Links that
    /// another partition cuts permanently are skipped.
    fn see_flapping(
        &self,
        all: &[Link],
        since: Instant,
        period: Duration,
    ) -> Result<(Evidence, Instant), NemesisError> {
        let open: Vec<Link> = all.iter().filter(|link| !self.links.is_cut(link)).cloned().collect();
        let links = open.as_slice();
        let (mut seen_cut, mut seen_open) = (BTreeSet::new(), BTreeSet::new());
        let half = period / 2;
        for turn in 0..FLAPS_SEEN_MAX {
            if links.is_empty() {
                break;
            }
            // Send each probe at the start of a half period, so that its outcome falls into the same one.
            let due = since + half * turn;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let probes = self.switch()?.probe(links, half.min(PROBE_DEADLINE))?;
            for (link, outcome) in links.iter().zip(probes) {
                match outcome {
                    ProbeOutcome::Dropped => seen_cut.insert(link),
                    ProbeOutcome::Arrived(_) => seen_open.insert(link),
                    ProbeOutcome::Silent => false,
                };
            }
            if seen_cut.len() == links.len() && seen_open.len() == links.len() {
                break;
            }
        }
        let evidence = Evidence::Flapping {
            links: all.len(),
            cut: all.len() - links.len(),
            seen_cut: seen_cut.len(),
            seen_open: seen_open.len(),
            period_ms: u64::try_from(period.as_millis()).unwrap_or(u64::MAX),
        };
        Ok((evidence, since))
    }

    pub(super) fn heal_partition(
        &mut self,
        id: u32,
        fault: &Fault,
        links: &[(Link, u64)],
    ) -> Result<(Evidence, Instant, Vec<LinkReturn>), NemesisError> {
        let flaps = matches!(fault, Fault::Partition { shape: PartitionShape::Flapping(_), .. });
        let mut packets_dropped = 0;
        let mut all = Vec::with_capacity(links.len());
        for (link, before) in links {
            packets_dropped += self.dropped(link)?.saturating_sub(*before);
            if flaps {
                self.links.unflap(link, id);
            } else {
                self.links.join(link, id);
            }
            all.push(link.clone());
        }
        let at = self.switch()?.apply(&self.links.policies(&all))?;
        let returns = self.probe_open(&all, at)?;
        let (probes_arrived, still_cut) = counted(&returns);
        let evidence = Evidence::Joined { links: all.len(), probes_arrived, still_cut, packets_dropped };
        Ok((evidence, at, returns))
    }

    pub(super) fn inject_packet(
        &mut self,
        id: u32,
        fault: &Fault,
        effect: PacketEffect,
        hosts: &[NodeId],
    ) -> Result<(Evidence, Instant), NemesisError> {
        let mut links = BTreeSet::new();
        for host in hosts {
            for other in self.nodes.iter().filter(|other| *other != host) {
                links.insert((host.clone(), other.clone()));
                links.insert((other.clone(), host.clone()));
            }
        }
        let links: Vec<Link> = links.into_iter().collect();
        let mut counted = Vec::with_capacity(links.len());
        for link in &links {
            counted.push((link.clone(), self.switch()?.counters(link.0.as_str(), link.1.as_str())?));
        }
        self.active.insert(id, (fault.clone(), Active::Packet { effect, links: counted }));
        for link in &links {
            self.links.shape(link, id, effect);
        }
        let since = self.switch()?.apply(&self.links.policies(&links))?;
        let open = self.open(&links);
        let probes = self.see(effect, &open, Wanted::Shown)?;
        let (links, cut) = (links.len(), links.len() - open.len());
        let evidence = Evidence::Shaped { links, cut, touches: effect.touches(), probes };
        Ok((evidence, since))
    }

    /// Returns the `links` that no partition cuts.
    fn open(&self, links: &[Link]) -> Vec<Link> {
        links.iter().filter(|link| self.links.cut_by(link).is_none()).cloned().collect()
    }

    /// Sends trains of probes along `links` until each has shown the `wanted` observation of `effect`, or the
    /// number of trains is used up.
    fn see(&self, effect: PacketEffect, links: &[Link], wanted: Wanted) -> Result<PacketsSeen, NemesisError> {
        let lateness = links.iter().map(|link| self.links.lateness(link)).max().unwrap_or_default();
        let train = effect.train(PROBE_DEADLINE / 10 + lateness.min(LATENESS_MAX));
        // The switch needs longer for packets on many links at once than a single fast link does.
        let at_once = match (effect, wanted) {
            (PacketEffect::Rate(bits), Wanted::Shown) if bits.get() <= SLOW_RATE => links.len(),
            (PacketEffect::Rate(_), _) => 1,
            _ => links.len(),
        };
        let mut seen = PacketsSeen { links: links.len(), ..PacketsSeen::default() };
        let mut left = links.to_vec();
        let began = Instant::now();
        for _ in 0..TRAINS_MAX {
            let mut undecided = Vec::new();
            for group in left.chunks(at_once.max(1)) {
                let trains = self.switch()?.train(group, train)?;
                for (link, passed) in group.iter().zip(&trains) {
                    add(&mut seen, passed, effect, train);
                    let shown = if effect.shows(passed, train) { Wanted::Shown } else { Wanted::Gone };
                    if shown != wanted {
                        undecided.push(link.clone());
                    }
                }
            }
            left = undecided;
            if left.is_empty() || began.elapsed() > SEEING {
                break;
            }
        }
        seen.met = match wanted {
            Wanted::Shown => links.len() - left.len(),
            Wanted::Gone => left.len(),
        };
        Ok(seen)
    }

    pub(super) fn heal_packet(
        &mut self,
        id: u32,
        effect: PacketEffect,
        links: &[(Link, LinkCounters)],
    ) -> Result<(Evidence, Instant, Vec<LinkReturn>), NemesisError> {
        let all: Vec<Link> = links.iter().map(|(link, _)| link.clone()).collect();
        let mut packets_met = self.met(effect, links)?;
        if packets_met == 0 {
            // The target was silent on these links, so probes must show the effect, on links that no
            // partition cuts.
            self.see(effect, &self.open(&all), Wanted::Shown)?;
            packets_met = self.met(effect, links)?;
        }
        for link in &all {
            self.links.unshape(link, id);
        }
        let at = self.switch()?.apply(&self.links.policies(&all))?;
        let returns = self.probe_open(&all, at)?;
        let (probes_arrived, still_cut) = counted(&returns);
        // Packets that another fault also affects cannot show that this one is gone.
        let others: BTreeSet<&Link> = self.active.values().flat_map(|(_, active)| shaped(active)).collect();
        let free: Vec<Link> = self.open(&all).into_iter().filter(|link| !others.contains(link)).collect();
        let after = self.see(effect, &free, Wanted::Gone)?;
        let evidence = Evidence::Unshaped { links: all.len(), probes_arrived, still_cut, packets_met, after };
        Ok((evidence, at, returns))
    }

    fn met(&self, effect: PacketEffect, links: &[(Link, LinkCounters)]) -> Result<u64, NemesisError> {
        let mut met = 0;
        for (link, before) in links {
            met += effect.met(before, &self.switch()?.counters(link.0.as_str(), link.1.as_str())?);
        }
        Ok(met)
    }

    /// Returns when a probe crosses each of `links`, opened at the moment `at`, unless another fault cuts it.
    fn probe_open(&self, links: &[Link], at: Instant) -> Result<Vec<LinkReturn>, NemesisError> {
        let millis = |since: Duration| u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let mut returns = Vec::with_capacity(links.len());
        let mut lost = Vec::new();
        let come = |(from, to): &Link, came| LinkReturn { from: from.clone(), to: to.clone(), came };
        for link in links {
            match self.links.cut_by(link) {
                Some(fault) => {
                    let because = Unjudged::Fault { fault };
                    returns.push(come(link, Return::NotJudged { waited_ms: 0, because }));
                }
                None => lost.push(link.clone()),
            }
        }
        let lateness =
            lost.iter().map(|link| self.links.lateness(link)).max().unwrap_or_default().min(LATENESS_MAX);
        for _ in 0..PROBE_ROUNDS {
            if lost.is_empty() {
                break;
            }
            // A probe is a datagram: under load it may be lost without a cut, so lost ones are sent again.
            let before = at.elapsed();
            let mut outcomes = self.switch()?.probe(&lost, PROBE_DEADLINE + lateness)?.into_iter();
            lost.retain(|link| match outcomes.next() {
                Some(ProbeOutcome::Arrived(after)) => {
                    returns.push(come(link, Return::Back { after_ms: millis(before + after) }));
                    false
                }
                Some(ProbeOutcome::Dropped | ProbeOutcome::Silent) | None => true,
            });
        }
        let waited_ms = millis(at.elapsed());
        let why = || "no probe crossed it".to_owned();
        returns.extend(lost.iter().map(|link| come(link, Return::Silent { waited_ms, why: why() })));
        returns.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
        Ok(returns)
    }

    /// Returns how many packets of the target and the clients the link has dropped so far, without the
    /// nemesis's own probes.
    fn dropped(&self, link: &Link) -> Result<u64, NemesisError> {
        let counters = self.switch()?.counters(link.0.as_str(), link.1.as_str())?;
        Ok(counters.dropped_packets.saturating_sub(counters.dropped_probes))
    }
}

/// Returns how many links a probe has crossed, and how many another fault cuts.
fn counted(returns: &[LinkReturn]) -> (usize, usize) {
    let count = |is: fn(&Return) -> bool| returns.iter().filter(|link| is(&link.came)).count();
    (
        count(|came| matches!(came, Return::Back { .. })),
        count(|came| matches!(came, Return::NotJudged { .. })),
    )
}
