//! Kills, ends, pauses and resumes nodes.

use duress_arena::Pid;
use duress_history::nemesis::NodeResumed;
use nix::sys::signal::Signal;

use super::*;
use crate::cluster::ClusterError;

/// The time that a node may take to end after SIGTERM, before it is killed.
const GRACE: Duration = Duration::from_secs(3);

impl Nemesis {
    /// Starts `nodes` and counts the processes of each.
    pub(super) fn start(&mut self, nodes: &[NodeId]) -> Result<Vec<NodeProcesses>, NemesisError> {
        for node in nodes {
            self.cluster.start(node)?;
        }
        self.each(nodes, "look at", |process| Ok(process.alive()?.pids))
    }

    /// Kills every process of `nodes`, on all nodes at once, and verifies that none is left.
    pub(super) fn kill(&mut self, nodes: &[NodeId]) -> Result<(Vec<NodeProcesses>, Instant), NemesisError> {
        let struck = self.strike(nodes, Signal::SIGKILL)?;
        let since = Instant::now();
        let mut seen = self.each(nodes, "kill", |process| Ok(process.kill(SIGNAL_DEADLINE)?.pids))?;
        // Processes that ended between the signal and the count were killed all the same.
        for (seen, struck) in seen.iter_mut().zip(struck) {
            seen.processes = seen.processes.max(struck);
        }
        for node in nodes {
            self.cluster.forget(node);
        }
        Ok((seen, since))
    }

    /// Ends nodes with SIGTERM; processes that do not end in time are killed, and their number is reported.
    pub(super) fn end(&mut self, nodes: &[NodeId]) -> Result<(Vec<NodeProcesses>, Instant), NemesisError> {
        let since = Instant::now();
        self.release_disks();
        let seen = self.each(nodes, "end", |process| {
            match process.terminate(GRACE) {
                Ok(ended) if ended.left == 0 => Ok(1),
                // A node may wait for other nodes before it ends, and those may be down.
                Ok(_) | Err(ControlError::Deadline { .. }) => Ok(1 + process.kill(SIGNAL_DEADLINE)?.pids),
                Err(error) => Err(error),
            }
        })?;
        for node in nodes {
            self.cluster.forget(node);
        }
        Ok((seen, since))
    }

    /// Stops every process of `nodes`, on all nodes at once, and verifies that every thread is stopped.
    pub(super) fn pause(&mut self, nodes: &[NodeId]) -> Result<(Vec<NodeProcesses>, Instant), NemesisError> {
        self.strike(nodes, Signal::SIGSTOP)?;
        let since = Instant::now();
        let seen = self.each(nodes, "pause", |process| Ok(process.pause(SIGNAL_DEADLINE)?.pids))?;
        Ok((seen, since))
    }

    /// Resumes every process on the nodes of `paused` and observes its progress. Each node comes with its
    /// first process at the time of the pause.
    pub(super) fn resume(
        &mut self,
        paused: &[(NodeId, Option<Pid>)],
    ) -> Result<Vec<NodeResumed>, NemesisError> {
        let mut seen = Vec::with_capacity(paused.len());
        for (node, paused) in paused {
            let mut one = NodeResumed {
                node: node.clone(),
                processes: 0,
                stopped: 0,
                continued: 0,
                progressed: 0,
                replaced: true,
            };
            if let Some(process) = self.cluster.process(node)? {
                let failed = |source| ClusterError::Signal { node: node.clone(), what: "resume", source };
                let resumed = process.resume(SIGNAL_DEADLINE).map_err(failed)?;
                let alive = process.alive().map_err(failed)?;
                (one.processes, one.stopped) = (alive.pids, alive.stopped);
                (one.continued, one.progressed) = (resumed.continued, resumed.progressed);
                one.replaced = Some(process.pid()) != *paused;
            }
            seen.push(one);
        }
        Ok(seen)
    }

    /// Returns the first process of each node, or `None` for a node that is not running.
    pub(super) fn pids(&mut self, nodes: &[NodeId]) -> Result<Vec<(NodeId, Option<Pid>)>, NemesisError> {
        let pid =
            |node: &NodeId| Ok((node.clone(), self.cluster.process(node)?.map(|process| process.pid())));
        nodes.iter().map(pid).collect()
    }

    /// Sends `signal` to every process of `nodes`; returns the number of processes on each node.
    pub(super) fn strike(&mut self, nodes: &[NodeId], signal: Signal) -> Result<Vec<usize>, NemesisError> {
        let struck = self.each_signal(nodes, signal)?;
        // A process that waits for its disk ends or stops only when the disk answers.
        self.release_disks();
        Ok(struck)
    }

    /// Does the same, but leaves held fsyncs unanswered.
    pub(super) fn each_signal(
        &mut self,
        nodes: &[NodeId],
        signal: Signal,
    ) -> Result<Vec<usize>, NemesisError> {
        let struck = self.each(nodes, "signal", |process| process.strike(signal))?;
        Ok(struck.into_iter().map(|node| node.processes).collect())
    }

    /// Applies `act` to each of `nodes` that runs. `act` returns the number of processes that it struck.
    fn each(
        &mut self,
        nodes: &[NodeId],
        what: &'static str,
        act: impl Fn(&mut NodeProcess) -> Result<usize, ControlError>,
    ) -> Result<Vec<NodeProcesses>, NemesisError> {
        let mut seen = Vec::with_capacity(nodes.len());
        for node in nodes {
            let processes = match self.cluster.process(node)? {
                Some(process) => act(process).map_err(|source| ClusterError::Signal {
                    node: node.clone(),
                    what,
                    source,
                })?,
                None => 0,
            };
            seen.push(NodeProcesses { node: node.clone(), processes });
        }
        Ok(seen)
    }
}
