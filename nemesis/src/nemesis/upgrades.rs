//! Ends nodes and starts them with another program.

use std::slice;

use duress_history::nemesis::NodeProgram;

use super::*;
use crate::cluster::{ClusterError, Edition};
use crate::upgrade::Upgrade;

impl Nemesis {
    /// Starts those of `nodes` that do not run it yet with their second program, one after the other.
    pub(super) fn inject_upgrade(
        &mut self,
        id: u32,
        fault: &Fault,
        change: Upgrade,
        nodes: &[NodeId],
    ) -> Result<(Evidence, Instant), NemesisError> {
        self.active.insert(id, (fault.clone(), Active::Upgrade { change, nodes: Vec::new() }));
        let seen = self.upgrade(nodes)?;
        let active = Active::Upgrade { change, nodes: seen.clone() };
        self.active.insert(id, (fault.clone(), active));
        Ok((Evidence::Programs { nodes: seen }, Instant::now()))
    }

    /// Returns the programs that upgraded nodes still run, or starts them with the first again.
    pub(super) fn heal_upgrade(
        &mut self,
        change: Upgrade,
        upgraded: Vec<NodeProgram>,
    ) -> Result<Evidence, NemesisError> {
        let mut nodes = Vec::with_capacity(upgraded.len());
        for one in upgraded {
            // Another fault may have ended it meanwhile.
            self.start(slice::from_ref(&one.node))?;
            nodes.push(match (change, one.before) {
                (Upgrade::Rollback, Some(first)) => self.change_program(&one.node, Edition::First, first)?,
                (_, before) => NodeProgram { after: self.program(&one.node)?, before, ..one },
            });
        }
        Ok(Evidence::Programs { nodes })
    }

    /// Starts all nodes with the second program, if one of them runs it.
    pub(super) fn finish_upgrade(&mut self) -> Result<(), NemesisError> {
        let nodes = self.nodes.clone();
        if !nodes.iter().any(|node| self.cluster.is_upgraded(node)) {
            return Ok(());
        }
        let evidence = Evidence::Programs { nodes: self.upgrade(&nodes)? };
        match evidence.proves() {
            Proof::Proven | Proof::Masked => Ok(()),
            Proof::Missing => {
                let fault = "the upgrade of the other nodes".to_owned();
                Err(NemesisError::NoEvidence { fault, evidence: evidence.to_string() })
            }
        }
    }

    fn upgrade(&mut self, nodes: &[NodeId]) -> Result<Vec<NodeProgram>, NemesisError> {
        let mut seen = Vec::new();
        for node in nodes {
            let second = self.cluster.next_program(node).map(|program| program.display().to_string());
            if let Some(second) = second {
                seen.push(self.change_program(node, Edition::Second, second)?);
            }
        }
        Ok(seen)
    }

    /// Asks `node` to end, and starts it with the program of this edition, which /proc should show as `wanted`.
    fn change_program(
        &mut self,
        node: &NodeId,
        edition: Edition,
        wanted: String,
    ) -> Result<NodeProgram, NemesisError> {
        let before = self.program(node)?;
        self.end(slice::from_ref(node))?;
        self.cluster.takes(node, edition)?;
        self.start(slice::from_ref(node))?;
        Ok(NodeProgram { node: node.clone(), before, after: self.program(node)?, wanted })
    }

    /// Returns the file that `node` executes, if it runs.
    fn program(&mut self, node: &NodeId) -> Result<Option<String>, NemesisError> {
        let Some(process) = self.cluster.process(node)? else { return Ok(None) };
        match process.program() {
            Ok(program) => Ok(Some(program.display().to_string())),
            Err(source) => {
                Err(ClusterError::Signal { node: node.clone(), what: "look at the program of", source }
                    .into())
            }
        }
    }
}
