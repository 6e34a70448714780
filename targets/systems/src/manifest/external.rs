//! Manifests of clusters that already run: where their nodes are, and the commands of their faults.

use std::net::{Ipv4Addr, SocketAddrV6};
use std::time::Duration;

use duress_history::NodeId;
use duress_settings::duration;

use super::check::name;
use super::document::{Document, FaultTable, NodeTable, RoleTable, Words};
use super::launch::{Command, command};
use super::problem::Problem;
use super::template::Scene;
use crate::external::{ExternalCommands, ExternalFault, ExternalNode};
use crate::place::ClientProgram;
use crate::system::KEYS;

/// How long a node may take to answer for the first time: it runs already.
pub(super) const READY: Duration = Duration::from_secs(5);
/// How long a command of a fault may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why the nodes' output answers nothing.
const UNSEEN: &str =
    "duress does not see what the nodes of a cluster that already runs write: use `http` or `command`";

/// Gives `document` a role for every name of a role that only nodes have.
pub(super) fn complete_roles(document: &mut Document) {
    for node in document.cluster.iter().flat_map(|cluster| &cluster.external) {
        if !document.roles.iter().any(|role| role.name == node.role) {
            document.roles.push(RoleTable { name: node.role.clone(), ..RoleTable::default() });
        }
    }
}

/// Returns the nodes of a cluster that already runs; `None` for one that duress starts.
pub(super) fn nodes(document: &Document) -> Option<&[NodeTable]> {
    document.cluster.as_ref().map(|cluster| &cluster.external[..])
}

/// Returns the nodes of the table `nodes`, in their order.
pub(super) fn addressed(nodes: &[NodeTable]) -> Vec<ExternalNode> {
    let node =
        |node: &NodeTable| ExternalNode { name: NodeId::new(&node.name), address: node.address.clone() };
    nodes.iter().map(node).collect()
}

/// Returns the port of a node; the checked manifest has one for each.
pub(super) fn port(node: &NodeTable) -> u16 {
    port_of(&node.address).unwrap_or_default()
}

/// Returns the port of `address`, if that is an IPv4 address, an IPv6 address in brackets, or the name of a host, and a port.
fn port_of(address: &str) -> Option<u16> {
    if let Ok(address) = address.parse::<SocketAddrV6>() {
        // The number of an interface would be lost.
        return (address.scope_id() == 0 && address.port() != 0).then_some(address.port());
    }
    let (host, port) = address.split_once(':')?;
    let part = |part: &str| {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
        !part.is_empty() && part.len() <= 63 && part.chars().all(fits)
    };
    // A host name does not end with a number; an IPv4 address does.
    let is_number = host.rsplit('.').next()?.chars().all(|letter| letter.is_ascii_digit());
    let is_host = if is_number { host.parse::<Ipv4Addr>().is_ok() } else { host.split('.').all(part) };
    let plain = port.chars().all(|letter| letter.is_ascii_digit());
    port.parse().ok().filter(|port| is_host && plain && *port != 0)
}

/// Checks the tables that only one of the two kinds of clusters has.
pub(super) fn check(document: &Document) -> Result<(), Problem> {
    let Some(nodes) = nodes(document) else {
        return match document.faults.is_empty() {
            true => Ok(()),
            false => Err(Problem::at(
                ["fault"],
                "a [[fault]] is for a cluster that already runs, whose nodes [[cluster.external]] lists; --faults strikes others",
            )),
        };
    };
    if nodes.is_empty() {
        return Err(Problem::at(["cluster", "external"], "a cluster has at least one node"));
    }
    for (at, node) in nodes.iter().enumerate() {
        let at = at.to_string();
        let wrong = |key: &str, text: String| Err(Problem::at(["cluster", "external", &at, key], text));
        name(&["cluster", "external", &at, "name"], &node.name)?;
        name(&["cluster", "external", &at, "role"], &node.role)?;
        if !node.name.contains(|letter: char| letter.is_ascii_digit()) || node.name.contains('_') {
            let text = format!(
                "\"{}\" is not a node's name: it has a digit, and no _, as n1 does, so that faults can name it",
                node.name
            );
            return wrong("name", text);
        }
        let same = |of: fn(&NodeTable) -> &String| nodes.iter().filter(|other| of(other) == of(node)).count();
        if same(|node| &node.name) > 1 {
            return wrong("name", format!("another node is called {}", node.name));
        }
        if port_of(&node.address).is_none() {
            let text = format!(
                "\"{}\" is not the address of a host and a port: write 10.0.0.1:7000, [fd00::1]:7000 or db1.example:7000",
                node.address
            );
            return wrong("address", text);
        }
        if same(|node| &node.address) > 1 {
            return wrong("address", format!("another node has the address {}", node.address));
        }
    }
    let of_arena = [
        ("nodes", document.nodes.is_some(), "[[cluster.external]] lists the nodes"),
        ("port", document.port != 0, "each node of [[cluster.external]] has its address"),
        ("programs", !document.programs.is_empty(), "this cluster already runs: nothing is started"),
    ];
    if let Some((key, _, text)) = of_arena.iter().find(|(_, given, _)| *given) {
        return Err(Problem::at([*key], text));
    }
    if document.client.lacks.iter().any(|lacking| lacking == KEYS) {
        let text = "a run on a cluster that already runs has keys of its own, since the cluster keeps what earlier runs wrote";
        return Err(Problem::at(["client", "lacks"], text));
    }
    for (at, role) in document.roles.iter().enumerate() {
        of_role(&at.to_string(), role)?;
        if !nodes.iter().any(|node| node.role == role.name) {
            let text = format!("no node of [[cluster.external]] has the role {}", role.name);
            return Err(Problem::at(["role", &at.to_string(), "name"], text));
        }
    }
    if document.ready.log.is_some() {
        return Err(Problem::at(["ready", "log"], UNSEEN));
    }
    if document.status.as_ref().is_some_and(|status| status.log.is_some()) {
        return Err(Problem::at(["status", "log"], UNSEEN));
    }
    document.faults.iter().enumerate().try_for_each(|(at, fault)| of_fault(document, at, fault))
}

fn of_role(at: &str, role: &RoleTable) -> Result<(), Problem> {
    let given = [
        ("nodes", role.nodes.is_some()),
        ("command", !role.command.list().is_empty()),
        ("env", !role.env.is_empty()),
        ("files", !role.files.is_empty()),
        ("user", role.user.is_some()),
        ("stop-signal", role.stop_signal.is_some()),
        ("start", role.start != 0),
        ("port", role.port.is_some()),
        ("ready", role.ready.as_ref().is_some_and(|ready| ready.log.is_some())),
        ("status", role.status.as_ref().is_some_and(|status| status.log.is_some())),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((key @ ("ready" | "status"), _)) => Err(Problem::at(["role", at, key], UNSEEN)),
        Some((key, _)) => {
            let text =
                "this cluster already runs: [[cluster.external]] lists its nodes, and nothing is started";
            Err(Problem::at(["role", at, key], text))
        }
        None => Ok(()),
    }
}

fn of_fault(document: &Document, at: usize, fault: &FaultTable) -> Result<(), Problem> {
    let index = at.to_string();
    name(&["fault", &index, "name"], &fault.name)?;
    if document.faults[..at].iter().any(|other| other.name == fault.name) {
        let text = format!("another fault is called {}", fault.name);
        return Err(Problem::at(["fault", &index, "name"], text));
    }
    let commands = [("inject", &fault.inject), ("heal", &fault.heal), ("evidence", &fault.evidence)];
    for (key, words) in commands {
        if words.as_ref().is_none_or(|words| words.list().is_empty()) {
            let text = match key {
                "evidence" => {
                    "has no `evidence`, and a fault without evidence never counts: a command that ends with 0 while the fault is \
                     in force, and with 1 while it is not"
                }
                "heal" => "has no `heal`: the command that ends it",
                _ => "has no `inject`: the command that begins it",
            };
            let text = format!("the fault {} {text}", fault.name);
            return Err(Problem::at(["fault", &index, key], text));
        }
    }
    match fault.deadline.as_deref().map(duration) {
        Some(Err(error)) => Err(Problem::at(["fault", &index, "deadline"], error)),
        _ => Ok(()),
    }
}

/// Returns the faults of `document`, with their commands for the node of each of `scenes`.
pub(super) fn faults(document: &Document, scenes: &[Scene<'_>]) -> Result<Vec<ExternalFault>, Problem> {
    let complete = |(at, fault): (usize, &FaultTable)| {
        let line = |scene: &Scene<'_>, key: &'static str, words: &Option<Words>| {
            let words = words.as_ref().map(Words::list).unwrap_or_default();
            let Command { program, args } = command(scene, &words).map_err(|error| {
                let text = format!("the {key} command of the fault {}: {error}", fault.name);
                Problem::at(["fault", &at.to_string(), key], text)
            })?;
            Ok(ClientProgram { program, args, env: Vec::new(), cwd: Some(scene.folder.to_owned()) })
        };
        let of_node = |scene: &Scene<'_>| {
            let node = &scene.topology.nodes[scene.node.unwrap_or_default()];
            let commands = ExternalCommands {
                inject: line(scene, "inject", &fault.inject)?,
                heal: line(scene, "heal", &fault.heal)?,
                evidence: line(scene, "evidence", &fault.evidence)?,
            };
            Ok((node.name.clone(), commands))
        };
        let deadline = fault.deadline.as_deref().and_then(|text| duration(text).ok());
        Ok(ExternalFault {
            name: fault.name.clone(),
            disables: fault.disables,
            deadline: deadline.unwrap_or(DEADLINE),
            nodes: scenes.iter().map(of_node).collect::<Result<_, Problem>>()?,
        })
    };
    document.faults.iter().enumerate().map(complete).collect()
}
