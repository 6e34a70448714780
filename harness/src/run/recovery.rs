//! The recovery after every heal, and its duration.
//!
//! Nodes are asked from the operator's host, which no fault touches, until they serve. A node that does not
//! within the target's bound is reported as silent, but only if nothing else explains it. Its silence counts
//! from the latest moment since when
//!
//! - every fault in force only stops nodes, and so leaves the network, the clocks and the disks of the others
//!   alone;
//! - no more nodes are stopped, or damaged for good, than the target tolerates.
//!
//! A node that another fault strikes meanwhile, or struck already, is not judged for the first.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use duress_history::NodeId;
use duress_history::nemesis::{LinkReturn, NodeReturn, Recovery, Return, Unjudged};
use duress_nemesis::Fault;
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::run::clock::Clock;
use crate::run::cluster_access::ClusterAccess;
use crate::run::conductor::chain;

/// The pause before a node that does not serve yet is asked again.
const RETRY: Duration = Duration::from_millis(25);

/// The effect of a fault in force, as far as the return of nodes depends on it.
#[derive(Debug)]
enum Effect {
    /// It stops these nodes, and leaves the others alone.
    Stops(BTreeSet<NodeId>),
    /// It strikes these nodes, and others may feel it.
    Disturbs(BTreeSet<NodeId>),
}

/// The present difficulties of the nodes. Times are since the run began.
#[derive(Debug)]
pub struct Situation {
    tolerated: usize,
    in_force: BTreeMap<u32, Effect>,
    /// Every strike so far: the node, the fault, and when.
    struck: Vec<(NodeId, u32, Duration)>,
    /// The nodes whose disks lost data that they had promised to keep, and the fault.
    damaged: BTreeMap<NodeId, u32>,
    /// When nodes ended by themselves, each the last time.
    ended: BTreeMap<NodeId, Duration>,
    /// Nodes that ended by themselves and were left down.
    lost: BTreeSet<NodeId>,
    /// Since when every node that no fault strikes can be asked to serve.
    calm_since: Option<Duration>,
    /// Why no node is waited for any longer.
    over: Option<Unjudged>,
}

impl Situation {
    /// Returns a situation without difficulties, for a target that tolerates the loss of so many nodes.
    #[must_use]
    pub fn new(tolerated: usize) -> Self {
        Self {
            tolerated,
            in_force: BTreeMap::new(),
            struck: Vec::new(),
            damaged: BTreeMap::new(),
            ended: BTreeMap::new(),
            lost: BTreeSet::new(),
            calm_since: Some(Duration::ZERO),
            over: None,
        }
    }

    /// Records that fault `id` is about to be injected: its targets are not known yet.
    pub fn begins(&mut self, id: u32, now: Duration) {
        self.in_force.insert(id, Effect::Disturbs(BTreeSet::new()));
        self.update(now);
    }

    /// Fault `id` has struck `nodes`.
    pub fn strikes(&mut self, id: u32, fault: &Fault, nodes: Vec<NodeId>, now: Duration) {
        self.struck.extend(nodes.iter().map(|node| (node.clone(), id, now)));
        if fault.damages() {
            self.damaged.extend(nodes.iter().map(|node| (node.clone(), id)));
        }
        let nodes = nodes.into_iter().collect();
        let effect = if fault.only_stops() { Effect::Stops(nodes) } else { Effect::Disturbs(nodes) };
        self.in_force.insert(id, effect);
        self.update(now);
    }

    /// Fault `id` was healed.
    pub fn healed(&mut self, id: u32, now: Duration) {
        self.in_force.remove(&id);
        self.update(now);
    }

    /// `node` has ended by itself.
    pub fn ended(&mut self, node: NodeId, now: Duration) {
        self.ended.insert(node, now);
    }

    /// `node` has ended by itself and is left down.
    pub fn lost(&mut self, node: NodeId, now: Duration) {
        self.lost.insert(node);
        self.update(now);
    }

    /// Returns the nodes that fault `id` has struck.
    #[must_use]
    pub fn struck_by(&self, id: u32) -> Vec<NodeId> {
        let struck = self.struck.iter().filter(|(_, fault, _)| *fault == id);
        struck.map(|(node, ..)| node.clone()).collect()
    }

    /// Returns the nodes whose disks may have lost data.
    #[must_use]
    pub fn damaged(&self) -> BTreeSet<NodeId> {
        self.damaged.keys().cloned().collect()
    }

    /// No node is waited for any longer.
    pub fn over(&mut self, because: Unjudged) {
        self.over = Some(because);
    }

    fn update(&mut self, now: Duration) {
        let mut away: BTreeSet<&NodeId> = self.damaged.keys().chain(&self.lost).collect();
        let mut calm = true;
        for effect in self.in_force.values() {
            match effect {
                Effect::Stops(nodes) => away.extend(nodes),
                Effect::Disturbs(_) => calm = false,
            }
        }
        self.calm_since = match self.calm_since {
            _ if !calm || away.len() > self.tolerated => None,
            since => since.or(Some(now)),
        };
    }

    /// Judges the silence of `node` until `now`, after `fault` was healed at `healed`; `None` while it may
    /// still serve in time.
    fn judge(
        &self,
        fault: u32,
        node: &NodeId,
        healed: Duration,
        now: Duration,
        bound: Duration,
        why: impl FnOnce() -> String,
    ) -> Option<Return> {
        let waited_ms = millis(now.saturating_sub(healed));
        let not_judged = |because| Some(Return::NotJudged { waited_ms, because });
        let strikes = |effect: &Effect| match effect {
            Effect::Stops(nodes) | Effect::Disturbs(nodes) => nodes.contains(node),
        };
        let in_force = self.in_force.iter().find(|(id, effect)| **id != fault && strikes(effect));
        let again = self.struck.iter().find(|(at, id, when)| at == node && *id != fault && *when >= healed);
        if let Some(other) = in_force.map(|(id, _)| *id).or(again.map(|(_, id, _)| *id)) {
            return not_judged(Unjudged::Fault { fault: other });
        }
        if self.ended.get(node).is_some_and(|when| *when > healed) {
            return not_judged(Unjudged::Ended);
        }
        if self.calm_since.is_some_and(|since| now >= since.max(healed) + bound) {
            return match self.damaged.get(node) {
                Some(fault) => not_judged(Unjudged::Damaged { fault: *fault }),
                None => Some(Return::Silent { waited_ms, why: why() }),
            };
        }
        self.over.clone().and_then(not_judged)
    }
}

/// Awaits the nodes of a fault that was healed.
pub struct Watch {
    /// The cluster.
    pub cluster: Rc<ClusterAccess>,
    /// The present difficulties of its nodes.
    pub situation: Rc<RefCell<Situation>>,
    /// The run's clock.
    pub clock: Clock,
    /// The fault's number in the schedule.
    pub fault: u32,
    /// When it was healed.
    pub healed: Duration,
}

impl Watch {
    /// Awaits `nodes`; `links` have been seen already.
    pub async fn recovery(&self, nodes: Vec<NodeId>, links: Vec<LinkReturn>) -> Recovery {
        let returns = nodes.into_iter().map(async |node| {
            let came = self.node(&node).await;
            NodeReturn { node, came }
        });
        Recovery {
            fault: self.fault,
            healed_us: u64::try_from(self.healed.as_micros()).unwrap_or(u64::MAX),
            bound_ms: millis(self.cluster.deployment.recovery_bound()),
            nodes: join_all(returns).await,
            links,
        }
    }

    /// Asks `node` until it serves, or its silence is decided.
    async fn node(&self, node: &NodeId) -> Return {
        let bound = self.cluster.deployment.recovery_bound();
        loop {
            // Without a deadline it is asked once, which itself takes a second at most.
            let answer = self.cluster.await_ready(node, Duration::ZERO).await;
            let now = self.clock.now();
            let Err(error) = answer else {
                return Return::Back { after_ms: millis(now.saturating_sub(self.healed)) };
            };
            let why = || chain(&error);
            let came = self.situation.borrow().judge(self.fault, node, self.healed, now, bound, why);
            if let Some(came) = came {
                return came;
            }
            sleep(RETRY).await;
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use duress_nemesis::disk_fault::DiskEffect;
    use duress_nemesis::packet::PacketEffect;
    use duress_nemesis::selector::Targets;

    use super::*;

    const BOUND: Duration = Duration::from_secs(15);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn nodes(names: &[&str]) -> Vec<NodeId> {
        names.iter().copied().map(NodeId::new).collect()
    }

    fn kill() -> Fault {
        Fault::Kill { targets: Targets::Nodes(Vec::new()) }
    }

    fn slow() -> Fault {
        let effect = PacketEffect::Delay(Duration::from_millis(50));
        Fault::Packet { effect, targets: Targets::Nodes(Vec::new()) }
    }

    /// Returns a target that tolerates one loss, after fault 1 stopped n1 from second 1 to second 10.
    fn after_a_kill() -> Situation {
        let mut situation = Situation::new(1);
        situation.begins(1, at(1));
        situation.strikes(1, &kill(), nodes(&["n1"]), at(1));
        situation.healed(1, at(10));
        situation
    }

    /// Returns the judgement at second `now` on a silence of n1 since second 10.
    fn comes_to(situation: &Situation, now: u64) -> Option<Return> {
        situation.judge(1, &NodeId::new("n1"), at(10), at(now), BOUND, || "no answer".to_owned())
    }

    fn silent(waited_s: u64) -> Option<Return> {
        Some(Return::Silent { waited_ms: waited_s * 1000, why: "no answer".to_owned() })
    }

    fn not_judged(waited_s: u64, because: Unjudged) -> Option<Return> {
        Some(Return::NotJudged { waited_ms: waited_s * 1000, because })
    }

    #[test]
    fn a_node_has_the_bound_and_no_longer() {
        let situation = after_a_kill();
        assert_eq!((comes_to(&situation, 24), comes_to(&situation, 25)), (None, silent(15)));
    }

    #[test]
    fn a_fault_that_stops_no_more_nodes_than_is_tolerated_is_no_excuse() {
        let mut situation = after_a_kill();
        situation.begins(2, at(12));
        situation.strikes(2, &kill(), nodes(&["n2"]), at(12));
        assert_eq!(comes_to(&situation, 25), None, "what a fault strikes is not known at once");
        assert_eq!(comes_to(&situation, 27), silent(17));
        // With two nodes away, the third cannot be judged.
        situation.begins(3, at(20));
        situation.strikes(3, &kill(), nodes(&["n3"]), at(20));
        assert_eq!(comes_to(&situation, 40), None);
        situation.healed(3, at(40));
        assert_eq!((comes_to(&situation, 54), comes_to(&situation, 55)), (None, silent(45)));
    }

    #[test]
    fn whatever_disturbs_others_stops_the_count() {
        let mut situation = after_a_kill();
        situation.begins(2, at(12));
        situation.strikes(2, &slow(), nodes(&["n2"]), at(12));
        assert_eq!(comes_to(&situation, 60), None);
        situation.healed(2, at(60));
        assert_eq!((comes_to(&situation, 74), comes_to(&situation, 75)), (None, silent(65)));
    }

    #[test]
    fn a_node_that_is_struck_again_is_not_judged_for_the_first_fault() {
        let mut situation = after_a_kill();
        situation.begins(2, at(12));
        situation.strikes(2, &slow(), nodes(&["n1", "n2"]), at(13));
        let other = || Unjudged::Fault { fault: 2 };
        assert_eq!(comes_to(&situation, 14), not_judged(4, other()));
        situation.healed(2, at(14));
        assert_eq!(comes_to(&situation, 15), not_judged(5, other()));
        // A fault that began before the heal and is still in force keeps it away too.
        let mut situation = after_a_kill();
        situation.strikes(2, &kill(), nodes(&["n1"]), at(5));
        assert_eq!(comes_to(&situation, 11), not_judged(1, other()));
    }

    #[test]
    fn a_node_whose_disk_broke_its_word_may_stay_away() {
        let mut situation = Situation::new(1);
        let rot = Fault::Disk { effect: DiskEffect::Bitflip, targets: Targets::Nodes(Vec::new()) };
        situation.strikes(1, &rot, nodes(&["n1"]), at(1));
        situation.healed(1, at(10));
        assert_eq!(comes_to(&situation, 25), not_judged(15, Unjudged::Damaged { fault: 1 }));
        // And it counts among those that are away.
        situation.strikes(2, &kill(), nodes(&["n2"]), at(26));
        assert_eq!(situation.calm_since, None);
    }

    #[test]
    fn a_node_that_ended_by_itself_and_a_run_that_was_left_are_not_judged() {
        let mut situation = after_a_kill();
        situation.ended(NodeId::new("n1"), at(9));
        assert_eq!(comes_to(&situation, 12), None, "that was before the heal");
        situation.over(Unjudged::RunLeft);
        assert_eq!(comes_to(&situation, 12), not_judged(2, Unjudged::RunLeft));
        assert_eq!(comes_to(&situation, 25), silent(15), "the time was up before");
        situation.ended(NodeId::new("n1"), at(11));
        assert_eq!(comes_to(&situation, 12), not_judged(2, Unjudged::Ended));
    }
}
