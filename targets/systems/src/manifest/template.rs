//! Templates: strings in which `{name}` stands for something that is known only when a node or a request is.
//!
//! | placeholder | stands for |
//! |---|---|
//! | `{node}`, `{index}`, `{role}` | the node's name, its number from 1, its role |
//! | `{ip}`, `{port}`, `{address}` | where its clients find it; `{address:n2}`, `{ip:n2}`: another node, or the first of a role |
//! | `{nodes:TEMPLATE}`, `{peers:TEMPLATE}` | the template for each node, or for each other node; `{nodes/ROLE:…}` for those of one role |
//! | `{data}`, `{home}`, `{file:NAME}` | the node's data folder, the folder of its other files, one of its `files` there |
//! | `{folder}` | the folder of the manifest |
//! | `{mode}`, `{option:NAME}` | the run's mode, the value of an option |
//! | `{key}`, `{value}`, `{old}`, `{new}`, `{from}`, `{to}`, `{amount}`, `{lease}` | of the operation, in requests over HTTP |
//!
//! A list that is a whole word of a command, or a whole line of a file, becomes a word or line for each node;
//! elsewhere its items are joined by commas. A brace that no lower-case letter follows stands for itself; `{{`
//! is a brace in any case.

use std::collections::BTreeMap;
use std::path::Path;

use duress_settings::{Settings, hint, nearest};

use crate::topology::{Node, Topology};

/// The placeholders.
pub(super) const NAMES: [&str; 22] = [
    "node", "index", "role", "ip", "port", "address", "nodes", "peers", "data", "home", "file", "folder",
    "mode", "option", "key", "value", "old", "new", "from", "to", "amount", "lease",
];
/// The placeholders of an operation.
pub(super) const OF_OPERATIONS: [&str; 8] = ["key", "value", "old", "new", "from", "to", "amount", "lease"];

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part<'t> {
    Text(&'t str),
    Placeholder { name: &'t str, role: Option<&'t str>, argument: Option<&'t str> },
}

/// Why a template cannot be completed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("the brace of \"{{{0}\" is not closed ({{{{ stands for a brace)")]
    Open(String),
    #[error("unknown placeholder {{{given}}}{}; known: {} ({{{{ stands for a brace)", hint(nearest.as_deref()), NAMES.join(", "))]
    Unknown { given: String, nearest: Option<String> },
    #[error("{{{0}}} is not known here")]
    Elsewhere(String),
    #[error("{{{placeholder}}}: there is no {what} \"{given}\"{}; known: {}", hint(nearest.as_deref()), listed(known))]
    No { placeholder: String, what: &'static str, given: String, known: Vec<String>, nearest: Option<String> },
    #[error("{{{0}}} needs a part after a colon")]
    Incomplete(String),
}

/// The values that placeholders stand for.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) topology: &'a Topology,
    /// Each node's role and port, in the order of the topology.
    pub(super) roles: &'a [(String, u16)],
    pub(super) settings: &'a Settings,
    /// The folder of the manifest.
    pub(super) folder: &'a Path,
    /// The node, by its place in the topology.
    pub(super) node: Option<usize>,
    /// The node's data folder, and the folder of its other files.
    pub(super) places: Option<(&'a Path, &'a Path)>,
    /// The files of the node's role, by name.
    pub(super) files: Option<&'a BTreeMap<String, String>>,
    /// The placeholders of an operation.
    pub(super) operation: &'a [(&'static str, String)],
}

fn parse(text: &str) -> Result<Vec<Part<'_>>, TemplateError> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find('{') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        if let Some(literal) = after.strip_prefix('{') {
            parts.push(Part::Text(&rest[..=at]));
            rest = literal;
            continue;
        }
        if !after.starts_with(|letter: char| letter.is_ascii_lowercase()) {
            parts.push(Part::Text(&rest[..=at]));
            rest = after;
            continue;
        }
        let mut depth = 1_usize;
        let end = after.char_indices().find_map(|(at, letter)| {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(at)
        });
        let end = end.ok_or_else(|| TemplateError::Open(after.chars().take(20).collect()))?;
        let (head, argument) = match after[..end].split_once(':') {
            Some((head, argument)) => (head, Some(argument)),
            None => (&after[..end], None),
        };
        let (name, role) = match head.split_once('/') {
            Some((name, role)) => (name, Some(role)),
            None => (head, None),
        };
        if !NAMES.contains(&name) {
            let nearest = nearest(name, &NAMES).map(str::to_owned);
            return Err(TemplateError::Unknown { given: name.to_owned(), nearest });
        }
        parts.push(Part::Text(before));
        parts.push(Part::Placeholder { name, role, argument });
        rest = &after[end + 1..];
    }
    parts.push(Part::Text(rest));
    parts.retain(|part| !matches!(part, Part::Text("")));
    Ok(parts)
}

impl Scene<'_> {
    /// Completes `text`.
    pub(super) fn render(&self, text: &str) -> Result<String, TemplateError> {
        let mut complete = String::new();
        for part in parse(text)? {
            match part {
                Part::Text(text) => complete.push_str(text),
                Part::Placeholder { name: "nodes" | "peers", .. } => {
                    complete.push_str(&self.list(&part)?.join(","));
                }
                Part::Placeholder { name, role, argument } => {
                    complete.push_str(&self.single(name, role, argument)?);
                }
            }
        }
        Ok(complete)
    }

    /// Completes words or lines; one that is nothing but a list becomes one for each of its items.
    pub(super) fn render_each<'t>(
        &self,
        texts: impl IntoIterator<Item = &'t str>,
    ) -> Result<Vec<String>, TemplateError> {
        let mut all = Vec::new();
        for text in texts {
            match &parse(text)?[..] {
                [list @ Part::Placeholder { name: "nodes" | "peers", .. }] => all.extend(self.list(list)?),
                _ => all.push(self.render(text)?),
            }
        }
        Ok(all)
    }

    fn list(&self, part: &Part<'_>) -> Result<Vec<String>, TemplateError> {
        let Part::Placeholder { name, role, argument } = part else { return Ok(Vec::new()) };
        let template = argument.ok_or_else(|| TemplateError::Incomplete((*name).to_owned()))?;
        if let Some(role) = role
            && !self.roles.iter().any(|(known, _)| known == role)
        {
            let known = self.role_names();
            return Err(no(&format!("{name}/{role}"), "role", role, known));
        }
        let items = (0..self.topology.nodes.len())
            .filter(|at| role.is_none_or(|role| self.roles[*at].0 == role))
            .filter(|at| *name == "nodes" || Some(*at) != self.node);
        items.map(|at| Self { node: Some(at), places: None, files: None, ..*self }.render(template)).collect()
    }

    fn role_names(&self) -> Vec<String> {
        let mut known: Vec<String> = self.roles.iter().map(|(name, _)| name.clone()).collect();
        known.dedup();
        known
    }

    /// Returns the node that a placeholder is about.
    fn node_of(&self, name: &str, argument: Option<&str>) -> Result<usize, TemplateError> {
        let Some(given) = argument else {
            return self.node.ok_or_else(|| TemplateError::Elsewhere(name.to_owned()));
        };
        let named = self.topology.nodes.iter().position(|node| node.name.as_str() == given);
        let first = || self.roles.iter().position(|(role, _)| role == given);
        named.or_else(first).ok_or_else(|| {
            let mut known = self.role_names();
            known.extend(self.topology.nodes.iter().map(|node| node.name.to_string()));
            no(&format!("{name}:{given}"), "node or role", given, known)
        })
    }

    fn single(
        &self,
        name: &str,
        role: Option<&str>,
        argument: Option<&str>,
    ) -> Result<String, TemplateError> {
        let elsewhere = || TemplateError::Elsewhere(name.to_owned());
        if let Some(role) = role {
            return Err(TemplateError::Unknown {
                given: format!("{name}/{role}"),
                nearest: Some("nodes".to_owned()),
            });
        }
        if OF_OPERATIONS.contains(&name) {
            let found = self.operation.iter().find(|(known, _)| *known == name);
            return found.map(|(_, value)| value.clone()).ok_or_else(elsewhere);
        }
        let node = |at: usize| -> (&Node, u16) { (&self.topology.nodes[at], self.roles[at].1) };
        let (data, home) = match self.places {
            Some((data, home)) => (Ok(data), Ok(home)),
            None => (Err(elsewhere()), Err(elsewhere())),
        };
        Ok(match name {
            "mode" => self.settings.mode.clone(),
            "option" => {
                let option = argument.ok_or_else(|| TemplateError::Incomplete(name.to_owned()))?;
                let known = || self.settings.options.keys().cloned().collect();
                let value = self.settings.option(option);
                value.ok_or_else(|| no(&format!("option:{option}"), "option", option, known()))?.to_owned()
            }
            "folder" => self.folder.display().to_string(),
            "data" => data?.display().to_string(),
            "home" => home?.display().to_string(),
            "file" => {
                let file = argument.ok_or_else(|| TemplateError::Incomplete(name.to_owned()))?;
                if let Some(files) = self.files.filter(|files| !files.contains_key(file)) {
                    return Err(no(&format!("file:{file}"), "file", file, files.keys().cloned().collect()));
                }
                home?.join(file).display().to_string()
            }
            "node" => node(self.node_of(name, argument)?).0.name.to_string(),
            "index" => (self.node_of(name, argument)? + 1).to_string(),
            "role" => self.roles[self.node_of(name, argument)?].0.clone(),
            "ip" => node(self.node_of(name, argument)?).0.address.to_string(),
            "port" => node(self.node_of(name, argument)?).1.to_string(),
            _ => {
                let (node, port) = node(self.node_of(name, argument)?);
                node.at(port).to_string()
            }
        })
    }
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

fn no(placeholder: &str, what: &'static str, given: &str, known: Vec<String>) -> TemplateError {
    let nearest = nearest(given, &known).map(str::to_owned);
    TemplateError::No { placeholder: placeholder.to_owned(), what, given: given.to_owned(), known, nearest }
}

/// Completes each value of `table`.
pub(super) fn render_values(
    scene: &Scene<'_>,
    table: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, TemplateError> {
    table.iter().map(|(name, value)| Ok((name.clone(), scene.render(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use duress_history::NodeId;

    use super::*;

    fn check(text: &str) -> Result<Vec<String>, String> {
        let nodes = (1..=3).map(|number| Node {
            name: NodeId::new(format!("n{number}")),
            address: [10, 77, 0, number].into(),
        });
        let topology = Topology { nodes: nodes.collect() };
        let settings = Settings {
            mode: "raft".to_owned(),
            options: BTreeMap::from([("reads".to_owned(), "any".to_owned())]),
            bug: None,
            programs: BTreeMap::new(),
            upgrades: BTreeMap::new(),
        };
        let roles = [("boss".to_owned(), 1), ("worker".to_owned(), 2), ("worker".to_owned(), 2)];
        let scene = Scene {
            topology: &topology,
            roles: &roles,
            settings: &settings,
            folder: Path::new("/m"),
            node: Some(1),
            places: Some((Path::new("/run/n2/data"), Path::new("/run/n2"))),
            files: Some(&BTreeMap::from([("a.conf".to_owned(), String::new())])),
            operation: &[("key", "r0".to_owned())],
        };
        scene.render_each([text]).map_err(|error| error.to_string())
    }

    #[test]
    fn placeholders_stand_for_what_they_say() {
        for (text, complete) in [
            ("{node} {index} {role} {ip} {port} {address}", "n2 2 worker 10.77.0.2 2 10.77.0.2:2"),
            ("{address:n3} {address:boss} {ip:n1}", "10.77.0.3:2 10.77.0.1:1 10.77.0.1"),
            (
                "--cluster={nodes:{node}=http://{ip}:7}",
                "--cluster=n1=http://10.77.0.1:7,n2=http://10.77.0.2:7,n3=http://10.77.0.3:7",
            ),
            ("x {peers/worker:{node}}", "x n3"),
            ("{data} {file:a.conf} {folder}", "/run/n2/data /run/n2/a.conf /m"),
            ("{mode} {option:reads}", "raft any"),
            (r#"{"key": "{key}", "n": {}} {{node}"#, r#"{"key": "r0", "n": {}} {node}"#),
            ("", ""),
        ] {
            assert_eq!(check(text), Ok(vec![complete.to_owned()]), "{text}");
        }
        assert_eq!(check("{peers:--peer={node}}"), Ok(vec!["--peer=n1".to_owned(), "--peer=n3".to_owned()]));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, says) in [
            ("{adress}", "did you mean \"address\"?"),
            ("{option:raeds}", "no option \"raeds\" (did you mean \"reads\"?)"),
            ("{address:n9}", "no node or role \"n9\""),
            ("{nodes/bos:{node}}", "no role \"bos\" (did you mean \"boss\"?)"),
            ("{value}", "{value} is not known here"),
            ("{nodes:{data}}", "{data} is not known here"),
            ("{peers}", "{peers} needs a part after a colon"),
            ("{node", "\"{node\" is not closed"),
            ("{file:b.conf}", "there is no file \"b.conf\" (did you mean \"a.conf\"?)"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
