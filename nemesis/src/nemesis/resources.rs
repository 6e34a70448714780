//! Takes a share of the processor from nodes and gives it back.

use duress_arena::{Pid, Throttle, ThrottleAccount};
use duress_history::nemesis::NodeShare;

use super::*;

/// The time in which a node is to be held often enough to show its share.
const SHARE_DEADLINE: Duration = Duration::from_secs(5);

/// A node that has a share of the processor.
#[derive(Debug)]
pub(super) struct ThrottledNode {
    pub(super) node: NodeId,
    /// Its first process when it was throttled.
    pid: Option<Pid>,
    percent: u8,
    /// `None` for a node that did not run.
    throttle: Option<Throttle>,
}

impl ThrottledNode {
    fn share(&self, account: ThrottleAccount) -> NodeShare {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let ThrottleAccount { holds, held, ran } = account;
        let (held_us, ran_us) = (micros(held), micros(ran));
        NodeShare { node: self.node.clone(), percent: self.percent, holds, held_us, ran_us }
    }
}

impl Nemesis {
    /// Leaves `nodes` this share of the processor, and watches them until each has shown it.
    pub(super) fn throttle(
        &mut self,
        id: u32,
        fault: &Fault,
        percent: u8,
        nodes: &[NodeId],
    ) -> Result<(Evidence, Instant), NemesisError> {
        // A pause would not last, and a tracer that asks a process for its time would lose it.
        self.refuse_stopped(nodes, |active| {
            matches!(active, Active::Throttle { .. } | Active::Pause { .. } | Active::Clock { .. })
        })?;
        // In force even if a node fails. Dropping the throttles of the others lets those go on.
        self.active.insert(id, (fault.clone(), Active::Throttle { nodes: Vec::new() }));
        let mut throttled = Vec::with_capacity(nodes.len());
        for node in nodes {
            let failed = |source| NemesisError::Throttle { node: node.clone(), source };
            let running =
                self.cluster.process(node)?.map(|process| (process.pid(), Arc::clone(process.host())));
            let (pid, host) = running.unzip();
            let throttle = host.map(|host| Throttle::start(host, percent)).transpose().map_err(failed)?;
            throttled.push(ThrottledNode { node: node.clone(), pid, percent, throttle });
        }
        let since = Instant::now();
        let watch = |throttle: &Throttle| throttle.watch(NodeShare::HOLDS_MIN, SHARE_DEADLINE);
        let seen = |one: &ThrottledNode| one.share(one.throttle.as_ref().map(watch).unwrap_or_default());
        let shares = throttled.iter().map(seen).collect();
        self.active.insert(id, (fault.clone(), Active::Throttle { nodes: throttled }));
        Ok((Evidence::Throttled { nodes: shares }, since))
    }

    /// Gives nodes the whole processor again, even if another fails. Returns the first error.
    pub(super) fn unthrottle(&mut self, throttled: Vec<ThrottledNode>) -> Result<Evidence, NemesisError> {
        let (mut nodes, mut held, mut first) = (Vec::new(), Vec::new(), None);
        for mut one in throttled {
            match one.throttle.take().map(Throttle::end_held).transpose() {
                Ok(account) => {
                    nodes.push(one.share(account.unwrap_or_default()));
                    held.push((one.node, one.pid));
                }
                Err(source) => {
                    first.get_or_insert(NemesisError::Throttle { node: one.node, source });
                }
            }
        }
        let resumed = self.resume(&held)?;
        first.map_or(Ok(Evidence::Unthrottled { nodes, resumed }), Err)
    }

    /// Refuses `nodes` whose processes one of `those` faults stops, or must find running.
    pub(super) fn refuse_stopped(
        &self,
        nodes: &[NodeId],
        those: fn(&Active) -> bool,
    ) -> Result<(), NemesisError> {
        for (by, (_, active)) in self.active.iter().filter(|(_, (_, active))| those(active)) {
            if let Some(node) = self.touched(active).into_iter().find(|node| nodes.contains(node)) {
                return Err(NemesisError::ProcessesTaken { node, by: *by });
            }
        }
        Ok(())
    }
}
