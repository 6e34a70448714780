//! Which node has which role, and which are started first.

use std::collections::BTreeMap;

use duress_history::NodeId;

use super::document::{Document, NodeTable, ToleratedShare, Tolerates};
use super::external;
use crate::topology::{Node, Topology};

/// Returns the role of each of `nodes` nodes, as places in the manifest's list: roles in their order, those without a
/// number get the rest.
///
/// # Errors
/// Why they do not fit, in words.
pub(super) fn assign(document: &Document, nodes: usize) -> Result<Vec<usize>, String> {
    if let Some(external) = external::nodes(document) {
        if external.len() != nodes {
            return Err(format!("[[cluster.external]] lists {} nodes, not {nodes}", external.len()));
        }
        let role = |node: &NodeTable| document.roles.iter().position(|role| role.name == node.role);
        return Ok(external.iter().filter_map(role).collect());
    }
    let fixed: usize = document.roles.iter().filter_map(|role| role.nodes).sum();
    let open = document.roles.iter().filter(|role| role.nodes.is_none()).count();
    let fits = if open == 0 { fixed == nodes } else { fixed < nodes };
    if !fits {
        let needs =
            if open == 0 { format!("{fixed} nodes") } else { format!("at least {} nodes", fixed + 1) };
        return Err(format!("its roles need {needs}, not {nodes}"));
    }
    let count = |role: &super::document::RoleTable| role.nodes.unwrap_or(nodes - fixed);
    let each = document.roles.iter().enumerate().flat_map(|(at, role)| std::iter::repeat_n(at, count(role)));
    Ok(each.collect())
}

/// Returns the groups in which nodes are started.
pub(super) fn start_order(document: &Document, roles: &[usize], topology: &Topology) -> Vec<Vec<NodeId>> {
    let mut groups: BTreeMap<u32, Vec<NodeId>> = BTreeMap::new();
    for (node, role) in topology.nodes.iter().zip(roles) {
        groups.entry(document.roles[*role].start).or_default().push(node.name.clone());
    }
    groups.into_values().collect()
}

/// Returns how many of `nodes` nodes may be lost.
pub(super) fn tolerated(tolerates: Option<&Tolerates>, nodes: usize) -> usize {
    let others = nodes.saturating_sub(1);
    match tolerates {
        Some(Tolerates::Nodes(count)) => (*count).min(others),
        Some(Tolerates::Share(ToleratedShare::AllButOne)) => others,
        Some(Tolerates::Share(ToleratedShare::Minority)) | None => others / 2,
    }
}

/// Returns nodes that templates are tried with.
pub(super) fn example(nodes: usize) -> Topology {
    let node = |number: usize| Node {
        name: NodeId::new(format!("n{number}")),
        address: [10, 77, 0, u8::try_from(number).unwrap_or(u8::MAX)].into(),
    };
    Topology { nodes: (1..=nodes).map(node).collect() }
}
