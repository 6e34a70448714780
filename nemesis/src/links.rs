//! The links of the arena's network, and the faults in force on each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use duress_history::NodeId;

use crate::packet::PacketEffect;
use crate::partition::Link;
use duress_arena::{LinkPolicy, Passage};

/// The longest time that a packet queues on a link with a limited rate and is still delivered.
const QUEUE: Duration = Duration::from_millis(400);

/// The faults in force on one link: it is open when the last of them heals.
#[derive(Clone, Debug, Default)]
struct LinkState {
    /// The faults whose partitions cut it.
    cuts: BTreeSet<u32>,
    /// The periods with which partitions open and close it, by the number of the fault.
    flaps: BTreeMap<u32, Duration>,
    /// The effects on its packets, by the number of the fault.
    effects: BTreeMap<u32, PacketEffect>,
}

/// Composes partitions and packet faults into one policy for each link.
#[derive(Clone, Debug)]
pub struct Links {
    seed: u64,
    states: BTreeMap<Link, LinkState>,
}

impl Links {
    /// Returns all links open. Random effects on them are drawn from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, states: BTreeMap::new() }
    }

    /// Cuts `link` for fault `id`.
    pub fn cut(&mut self, link: &Link, id: u32) {
        self.states.entry(link.clone()).or_default().cuts.insert(id);
    }

    /// Removes the cut of fault `id` from `link`.
    pub fn join(&mut self, link: &Link, id: u32) {
        self.states.entry(link.clone()).or_default().cuts.remove(&id);
    }

    /// Makes fault `id` open and close `link` with this period.
    pub fn flap(&mut self, link: &Link, id: u32, period: Duration) {
        self.states.entry(link.clone()).or_default().flaps.insert(id, period);
    }

    /// Stops fault `id` from opening and closing `link`.
    pub fn unflap(&mut self, link: &Link, id: u32) {
        self.states.entry(link.clone()).or_default().flaps.remove(&id);
    }

    /// Returns a fault whose partition cuts `link`, permanently or in turn, if there is one.
    #[must_use]
    pub fn cut_by(&self, link: &Link) -> Option<u32> {
        let state = self.states.get(link)?;
        state.cuts.first().or_else(|| state.flaps.keys().next()).copied()
    }

    /// Returns whether a partition cuts `link` all the time.
    #[must_use]
    pub fn is_cut(&self, link: &Link) -> bool {
        self.states.get(link).is_some_and(|state| !state.cuts.is_empty())
    }

    /// Returns the largest delay of a packet on `link` under all effects in force on it.
    #[must_use]
    pub fn lateness(&self, link: &Link) -> Duration {
        let policy = self.policy(link);
        let held = policy.reorder.map_or(Duration::ZERO, |reorder| reorder.hold);
        let queued = policy.bits_per_second.map_or(Duration::ZERO, |_| QUEUE);
        policy.delay + policy.jitter + held + queued
    }

    /// Adds the effect of fault `id` to `link`.
    pub fn shape(&mut self, link: &Link, id: u32, effect: PacketEffect) {
        self.states.entry(link.clone()).or_default().effects.insert(id, effect);
    }

    /// Removes the effect of fault `id` from `link`.
    pub fn unshape(&mut self, link: &Link, id: u32) {
        self.states.entry(link.clone()).or_default().effects.remove(&id);
    }

    /// Returns the policy of `link` now.
    #[must_use]
    pub fn policy(&self, link: &Link) -> LinkPolicy {
        let Some(state) = self.states.get(link) else { return LinkPolicy::OPEN };
        if !state.cuts.is_empty() {
            return LinkPolicy::CUT;
        }
        // If two faults flap the link, the first determines the period, and the second is found to leave no
        // evidence.
        let passage = state.flaps.values().next().map_or(Passage::Open, |period| Passage::Flapping(*period));
        let seed = self.seed ^ fingerprint(link);
        state
            .effects
            .values()
            .fold(LinkPolicy { seed, passage, ..LinkPolicy::OPEN }, |policy, effect| effect.onto(policy))
    }

    /// Returns the policies of `links`, as the switch takes them.
    #[must_use]
    pub fn policies(&self, links: &[Link]) -> Vec<(NodeId, NodeId, LinkPolicy)> {
        links.iter().map(|link| (link.0.clone(), link.1.clone(), self.policy(link))).collect()
    }
}

/// Returns a number for each link, the same on every machine (FNV-1a), so that links of one seed draw
/// different chances.
fn fingerprint(link: &Link) -> u64 {
    let bytes = link.0.as_str().bytes().chain([b'>']).chain(link.1.as_str().bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::Kind;

    #[test]
    fn a_link_forwards_again_when_its_last_cut_heals() {
        let link = (NodeId::new("n1"), NodeId::new("n2"));
        let mut links = Links::new(1);
        let loss = PacketEffect::parse("loss=10%").expect("an effect");
        links.cut(&link, 1);
        links.cut(&link, 2);
        links.shape(&link, 3, loss);
        links.join(&link, 1);
        assert_eq!((links.policy(&link), links.cut_by(&link)), (LinkPolicy::CUT, Some(2)));
        links.join(&link, 2);
        assert_eq!(links.cut_by(&link), None);
        assert_eq!(links.policy(&link).passage, Passage::Open);
        assert_ne!(links.policy(&link).loss, LinkPolicy::OPEN.loss);
        links.unshape(&link, 3);
        assert_eq!(links.policy(&link).loss, LinkPolicy::OPEN.loss);
    }

    #[test]
    fn a_cut_covers_a_link_that_flaps() {
        let link = (NodeId::new("n1"), NodeId::new("n2"));
        let mut links = Links::new(1);
        links.flap(&link, 1, Duration::from_secs(1));
        assert_eq!(links.policy(&link).passage, Passage::Flapping(Duration::from_secs(1)));
        links.cut(&link, 2);
        assert_eq!(links.policy(&link), LinkPolicy::CUT);
        links.join(&link, 2);
        assert_eq!(links.cut_by(&link), Some(1));
        links.unflap(&link, 1);
        assert!(links.cut_by(&link).is_none() && links.policy(&link).passage == Passage::Open);
    }
}
