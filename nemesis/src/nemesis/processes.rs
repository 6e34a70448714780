//! Killing, ending, pausing and resuming nodes.

use duress_arena::Pid;
use duress_history::nemesis::NodeResumed;
use nix::sys::signal::Signal;

use super::*;

/// How long a node may take to end when it is asked to, before it is killed.
const GRACE: Duration = Duration::from_secs(3);

impl Nemesis {
    /// Starts `nodes`, and sees what lives on each.
    pub(super) fn start(&mut self, nodes: &[NodeId]) -> Result<Vec<NodeProcesses>, NemesisError> {
        for node in nodes {
            self.cluster.start(node)?;
        }
        self.each(nodes, "look at", |process| Ok(process.alive()?.pids))
    }

    /// Kills everything that lives on `nodes`, on all of them at once, and sees it gone.
    pub(super) fn kill(&mut self, nodes: &[NodeId]) -> Result<(Vec<NodeProcesses>, Instant), NemesisError> {
        let struck = self.strike(nodes, Signal::SIGKILL)?;
        let since = Instant::now();
        let mut seen = self.each(nodes, "kill", |process| Ok(process.kill(SIGNAL_DEADLINE)?.pids))?;
        // Processes that ended between the signal and the look at them were killed all the same.
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
                // A node may wait for others before it ends, and those may be away.
                Ok(_) | Err(ControlError::Deadline { .. }) => Ok(1 + process.kill(SIGNAL_DEADLINE)?.pids),
                Err(error) => Err(error),
            }
        })?;
        for node in nodes {
            self.cluster.forget(node);
        }
        Ok((seen, since))
    }

    /// Stops everything that lives on `nodes`, on all of them at once, and sees every thread stopped.
    pub(super) fn pause(&mut self, nodes: &[NodeId]) -> Result<(Vec<NodeProcesses>, Instant), NemesisError> {
        self.strike(nodes, Signal::SIGSTOP)?;
        let since = Instant::now();
        let seen = self.each(nodes, "pause", |process| Ok(process.pause(SIGNAL_DEADLINE)?.pids))?;
        Ok((seen, since))
    }

    /// Lets everything on the nodes of `paused` continue, and sees it go on; beside each node is its process as it was
    /// paused.
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

    /// Returns the first process of each node that runs.
    pub(super) fn pids(&mut self, nodes: &[NodeId]) -> Result<Vec<(NodeId, Option<Pid>)>, NemesisError> {
        let pid =
            |node: &NodeId| Ok((node.clone(), self.cluster.process(node)?.map(|process| process.pid())));
        nodes.iter().map(pid).collect()
    }

    /// Sends `signal` to everything that lives on `nodes`; returns the number of processes of each.
    pub(super) fn strike(&mut self, nodes: &[NodeId], signal: Signal) -> Result<Vec<usize>, NemesisError> {
        let struck = self.each_signal(nodes, signal)?;
        // What waits for its disk neither ends nor stops before that answers.
        self.release_disks();
        Ok(struck)
    }

    /// The same, while disks that are held stay so.
    pub(super) fn each_signal(
        &mut self,
        nodes: &[NodeId],
        signal: Signal,
    ) -> Result<Vec<usize>, NemesisError> {
        let struck = self.each(nodes, "signal", |process| process.strike(signal))?;
        Ok(struck.into_iter().map(|node| node.processes).collect())
    }

    /// Does `act` to each of `nodes` that runs; `act` returns the number of processes that it struck.
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
