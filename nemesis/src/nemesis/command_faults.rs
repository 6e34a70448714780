//! Injects and heals the faults of a cluster that already runs, by the user's own commands.

use duress_history::nemesis::CommandSeen;

use super::*;
use crate::commands::{Answer, CommandError, Struck};

impl Nemesis {
    /// Injects a fault by its commands, on all nodes of `active` at once. Its evidence command must say before that it is not
    /// in force: one that always says yes would prove nothing, and healing would end another's fault.
    pub(super) fn inject_command(
        &mut self,
        id: u32,
        fault: &Fault,
        active: Active,
    ) -> Result<(Evidence, Instant), NemesisError> {
        let Active::Command { name, nodes, .. } = &active else { return Err(NemesisError::NoArena) };
        let (name, nodes) = (name.clone(), nodes.clone());
        let before = self.at_once(id, &name, &nodes, |struck| struck.evidence())?;
        if before.iter().any(|answer| answer.in_force) {
            let nodes = seen(&nodes, &before, &before);
            return Ok((Evidence::Commanded { nodes }, Instant::now()));
        }
        // From here on it may be in force, however the command ends.
        self.active.insert(id, (fault.clone(), active));
        self.at_once(id, &name, &nodes, |struck| struck.inject())?;
        let since = Instant::now();
        let after = self.at_once(id, &name, &nodes, |struck| struck.evidence())?;
        Ok((Evidence::Commanded { nodes: seen(&nodes, &before, &after) }, since))
    }

    /// Heals a fault by its commands. Every node is tried, whatever happens to the others.
    pub(super) fn heal_command(
        &self,
        id: u32,
        name: &str,
        nodes: &[NodeId],
    ) -> Result<Evidence, NemesisError> {
        // A fault that ended by itself is no failure, and neither is a question without an answer: healing counts.
        let before = self.at_once(id, name, nodes, |struck| Ok(struck.evidence().unwrap_or_default()))?;
        self.at_once(id, name, nodes, |struck| struck.heal())?;
        let after = self.at_once(id, name, nodes, |struck| struck.evidence())?;
        Ok(Evidence::Withdrawn { nodes: seen(nodes, &before, &after) })
    }

    /// Heals every fault by commands that is still in force: the last attempt.
    pub(super) fn heal_commands(&mut self) -> Result<(), NemesisError> {
        let mut left = Vec::new();
        for (id, (fault, active)) in std::mem::take(&mut self.active) {
            let Active::Command { name, nodes, .. } = active else { continue };
            // The command may fail because there is nothing to heal: what counts is what is in force.
            let _ = self.at_once(id, &name, &nodes, |struck| struck.heal());
            let after = self.at_once(id, &name, &nodes, |struck| struck.evidence());
            if after.is_ok_and(|after| after.iter().all(|answer| !answer.in_force)) {
                continue;
            }
            let commands = self.commands.iter().filter_map(|commands| commands.faults.get(&name));
            let lines = commands.flat_map(|fault| nodes.iter().filter_map(|node| fault.nodes.get(node)));
            let lines: Vec<String> = lines.map(|commands| commands.heal.to_string()).collect();
            left.push(format!("fault {id} ({fault}), by {}", lines.join(" and ")));
        }
        if left.is_empty() { Ok(()) } else { Err(NemesisError::LeftInForce { left }) }
    }

    /// Applies `act` to each of `nodes`, to all at once, and returns the results in their order, or the first error.
    fn at_once<T: Send>(
        &self,
        id: u32,
        name: &str,
        nodes: &[NodeId],
        act: impl Fn(&Struck<'_>) -> Result<T, CommandError> + Sync,
    ) -> Result<Vec<T>, NemesisError> {
        let none = || NemesisError::NoCommands { fault: name.to_owned() };
        let commands = self.commands.as_ref().ok_or_else(none)?;
        let fault = commands.faults.get(name).ok_or_else(none)?;
        let struck = |node| {
            Some(Struck {
                node,
                commands: fault.nodes.get(node)?,
                deadline: fault.deadline,
                log: commands.folder.join(format!("{id}-{node}.log")),
            })
        };
        let struck: Vec<Struck<'_>> = nodes.iter().map(struck).collect::<Option<_>>().ok_or_else(none)?;
        // All are waited for, so that no command is running when this returns.
        let results: Vec<Result<T, CommandError>> = std::thread::scope(|scope| {
            let running: Vec<_> = struck.iter().map(|struck| scope.spawn(|| act(struck))).collect();
            let joined = running.into_iter().map(|thread| thread.join());
            joined.map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        results.into_iter().map(|result| result.map_err(NemesisError::Command)).collect()
    }
}

/// Pairs the answers about each node.
fn seen(nodes: &[NodeId], before: &[Answer], after: &[Answer]) -> Vec<CommandSeen> {
    let seen = |(node, (before, after)): (&NodeId, (&Answer, &Answer))| CommandSeen {
        node: node.clone(),
        before: before.in_force,
        after: after.in_force,
        said: after.said.clone(),
    };
    nodes.iter().zip(before.iter().zip(after)).map(seen).collect()
}
