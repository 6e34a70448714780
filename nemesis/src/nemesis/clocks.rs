//! Moves the nodes' wall clocks and resets them.

use duress_history::nemesis::{ClockSeen, NodeClock};

use super::*;
use crate::cluster::ClusterError;
use crate::evidence;
use duress_arena::clock::{ClockEvidence, MonotonicClocks};

/// The time that the processes of one node may take to read their clock.
const CLOCK_DEADLINE: Duration = Duration::from_secs(2);
/// The number of readings before a clock counts as not following its setting.
const CLOCK_READINGS: usize = 4;

/// A clock that a fault has moved.
#[derive(Debug)]
pub(super) struct MovedClock {
    pub(super) node: NodeId,
    page: Arc<ClockPage>,
    /// The strobe that still moves it.
    strobe: Option<Strobe>,
}

impl Nemesis {
    pub(super) fn inject_clock(
        &mut self,
        id: u32,
        fault: &Fault,
        effect: ClockEffect,
        nodes: &[NodeId],
    ) -> Result<(Evidence, Instant), NemesisError> {
        let mut pages = Vec::with_capacity(nodes.len());
        for node in nodes {
            let (_, page, _) =
                self.cluster.clock(node).ok_or_else(|| NemesisError::NoClock { node: node.clone() })?;
            // Healing resets a clock entirely, so two faults cannot share one.
            if let Some(by) = self.moved_by(node) {
                return Err(NemesisError::ClockTaken { node: node.clone(), by });
            }
            pages.push((node.clone(), Arc::clone(page)));
        }
        let mut moved = Vec::with_capacity(nodes.len());
        let mut failed = None;
        for (node, page) in pages {
            let set = |source| NemesisError::Clock { node: node.clone(), source };
            let strobe = match effect {
                ClockEffect::Bump { delta_ns } => page.bump(delta_ns).map(|_| None).map_err(set),
                ClockEffect::Drift { ppb } => {
                    page.drift(ppb, MonotonicClocks::KeepPace).map(|_| None).map_err(set)
                }
                ClockEffect::Strobe { delta_ns } => {
                    Strobe::start(Arc::clone(&page), delta_ns, ClockEffect::STROBE_PERIOD)
                        .map(Some)
                        .map_err(|source| NemesisError::Strobe { node: node.clone(), source })
                }
            };
            match strobe {
                Ok(strobe) => moved.push(MovedClock { node, page, strobe }),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let since = Instant::now();
        let seen = moved.iter().map(|clock| (clock.node.clone(), Account::default())).collect();
        // Record the clocks even after a failure, so that healing resets those that were moved.
        self.active.insert(id, (fault.clone(), Active::Clock { clocks: moved }));
        match failed {
            Some(error) => Err(error),
            None => {
                let evidence = Evidence::ClockSet { nodes: self.read_clocks(seen)? };
                Ok((evidence, since))
            }
        }
    }

    /// Returns the fault in force that has moved the clock of `node`.
    fn moved_by(&self, node: &NodeId) -> Option<u32> {
        let moves = |active: &Active| match active {
            Active::Clock { clocks } => clocks.iter().any(|clock| clock.node == *node),
            _ => false,
        };
        self.active.iter().find(|(_, (_, active))| moves(active)).map(|(id, _)| *id)
    }

    /// Resets every clock, even if another fails. Returns the moment, or the first error.
    pub(super) fn heal_clock(
        &mut self,
        clocks: Vec<MovedClock>,
    ) -> Result<(Evidence, Instant), NemesisError> {
        let mut seen = Vec::with_capacity(clocks.len());
        let mut first = None;
        for MovedClock { node, page, strobe } in clocks {
            // Read the clock before the reset, to learn how far a drift went.
            let reached = self.read_clock(&node);
            let steps = strobe.map(|strobe| stop_strobe(&node, strobe)).transpose();
            let reset = page.reset().map_err(|source| NemesisError::Clock { node: node.clone(), source });
            match (reached, steps, reset) {
                (Ok(reached), Ok(steps), Ok(_)) => {
                    let reached_ns = reached.seen.first().map(|seen| seen.delta_ns);
                    seen.push((node, Account { steps, reached_ns }));
                }
                (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
                    first.get_or_insert(error);
                }
            }
        }
        let at = Instant::now();
        match first {
            Some(error) => Err(error),
            None => Ok((Evidence::ClockReset { nodes: self.read_clocks(seen)? }, at)),
        }
    }

    /// Reads the clocks as the processes of each node see them.
    fn read_clocks(&self, nodes: Vec<(NodeId, Account)>) -> Result<Vec<NodeClock>, NemesisError> {
        let mut seen = Vec::with_capacity(nodes.len());
        let down = self.down();
        for (node, Account { steps, reached_ns }) in nodes {
            let mut clock = self.read_clock(&node)?;
            for _ in 1..CLOCK_READINGS {
                if clock.proves() {
                    break;
                }
                // A strobe may have stepped between reading the setting and reading the process.
                clock = self.read_clock(&node)?;
            }
            let away = down.contains(&node);
            seen.push(NodeClock { node, clock, away, steps, reached_ns });
        }
        Ok(seen)
    }

    fn read_clock(&self, node: &NodeId) -> Result<ClockSeen, NemesisError> {
        let (tracer, page, host) =
            self.cluster.clock(node).ok_or_else(|| NemesisError::NoClock { node: node.clone() })?;
        let pids = host.pids().map_err(|source| {
            let action = "look at";
            let source = ControlError::System { action, host: host.name().clone(), source };
            NemesisError::Cluster(ClusterError::Signal { node: node.clone(), what: action, source })
        })?;
        ClockEvidence::gather(tracer, page, &pids, CLOCK_DEADLINE)
            .map(evidence::clock)
            .map_err(|source| NemesisError::ReadClock { node: node.clone(), source })
    }
}

/// The movement of a clock while a fault was in force.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// The number of steps that a strobe made.
    steps: Option<u64>,
    /// Its lead over the machine's clock at the end, in nanoseconds.
    reached_ns: Option<i64>,
}

/// Stops a strobe; returns its number of steps. A strobe that gave up by itself is an error.
fn stop_strobe(node: &NodeId, strobe: Strobe) -> Result<u64, NemesisError> {
    let (account, _) = strobe.stop().map_err(|source| NemesisError::Strobe { node: node.clone(), source })?;
    match account.failure {
        None => Ok(account.steps),
        Some(source) => Err(NemesisError::Strobe { node: node.clone(), source: source.into() }),
    }
}
