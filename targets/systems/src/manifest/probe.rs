//! Questions to a node: is it ready, which role has it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use duress_history::NodeId;
use hyper::Method;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::cluster::incomplete;
use super::document::{Page, Ready, RoleLines, Status};
use super::launch::{Command, command};
use super::template::Scene;
use super::value::{find, word};
use crate::deployment::{NodeStatus, Role};
use crate::http::HttpConnection;
use crate::outcome::{CauseKind, RequestError};
use crate::place::{self, ClientProgram, Group, Place};
use crate::topology::{Node, NodeFiles};

/// The end of a node's output that is searched for a line.
const LOG_BYTES: u64 = 1 << 20;
/// The longest output of a command that is read.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// Words for the role of a leader.
const LEADERS: [&str; 6] = ["leader", "master", "primary", "leading", "active", "true"];
/// Words for the role of a follower.
const FOLLOWERS: [&str; 8] =
    ["follower", "slave", "replica", "secondary", "standby", "backup", "following", "false"];

/// A node, and the place from which it is asked.
pub(super) struct Asked<'a> {
    pub(super) scene: Scene<'a>,
    pub(super) files: Option<&'a NodeFiles>,
    pub(super) from: &'a dyn Place,
}

impl Asked<'_> {
    fn at(&self, port: Option<u16>) -> SocketAddr {
        let node = self.scene.node.unwrap_or_default();
        self.scene.topology.nodes[node].at(port.unwrap_or(self.scene.roles[node].1))
    }
}

/// Asks whether a node is ready; a failure comes with the attempt that failed.
pub(super) async fn ready(
    ready: &Ready,
    asked: &Asked<'_>,
    deadline: Duration,
) -> Result<(), (&'static str, RequestError)> {
    let deadline = Instant::now() + deadline;
    let lacks = |what: &str| RequestError::definite(CauseKind::Rejected, format!("\"{what}\" is not in it"));
    let contains = |answer: &str| match &ready.contains {
        Some(part) if !answer.contains(part.as_str()) => Err(lacks(part)),
        _ => Ok(()),
    };
    place::open(asked.from, asked.at(ready.port), deadline).await.map_err(|error| ("connecting", error))?;
    if let Some(http) = &ready.http {
        let answer = page(asked, http, deadline).await.map_err(|error| ("asking for its page", error))?;
        contains(&answer).map_err(|error| ("reading its page", error))?;
    }
    if let Some(command) = &ready.command {
        let output = run(asked, &command.list(), deadline).await;
        let output = output.map_err(|error| ("the command that says whether it is ready", error))?;
        contains(&output).map_err(|error| ("reading the command's output", error))?;
    }
    if let Some(part) = &ready.log
        && !has_written(asked, part)
    {
        return Err(("reading its output", lacks(part)));
    }
    Ok(())
}

/// Returns what a node says of itself.
pub(super) async fn status(
    status: &Status,
    asked: &Asked<'_>,
    deadline: Duration,
) -> Result<NodeStatus, RequestError> {
    let deadline = Instant::now() + deadline;
    if let Some(lines) = &status.log {
        return Ok(NodeStatus { role: latest(&log(asked), lines), ..NodeStatus::default() });
    }
    let answer = match (&status.http, &status.command) {
        (Some(http), _) => page(asked, http, deadline).await?,
        (None, Some(command)) => run(asked, &command.list(), deadline).await?,
        (None, None) => return Ok(NodeStatus::default()),
    };
    Ok(read(status, &answer, &asked.scene))
}

/// Reads the role, the leader and the term in `answer`.
fn read(status: &Status, answer: &str, scene: &Scene<'_>) -> NodeStatus {
    let at = |place: &Option<String>| find(answer, place.as_deref()?).as_ref().and_then(word);
    let leader = at(&status.leader).and_then(|name| named(&name, scene));
    let own = scene.node.map(|node| &scene.topology.nodes[node].name);
    let role = match at(&status.role) {
        Some(role) => {
            let is = |words: &[&str]| words.iter().any(|word| role.eq_ignore_ascii_case(word));
            match &status.leads {
                Some(leads) if leads.contains(&role) => Role::Leader,
                Some(_) => Role::Follower,
                None if is(&LEADERS) => Role::Leader,
                None if is(&FOLLOWERS) => Role::Follower,
                None if is(&["candidate"]) => Role::Candidate,
                None => Role::Unknown,
            }
        }
        None => match (&leader, own) {
            (Some(leader), Some(own)) if leader == own => Role::Leader,
            (Some(_), _) => Role::Follower,
            (None, _) => Role::Unknown,
        },
    };
    let term = at(&status.term).and_then(|term| term.parse().ok());
    NodeStatus { role, leader, term, ..NodeStatus::default() }
}

/// Returns the node that is meant by a name, an address or a URL.
fn named(name: &str, scene: &Scene<'_>) -> Option<NodeId> {
    let authority = name.rsplit("//").next().unwrap_or(name).split('/').next().unwrap_or(name);
    // An IPv6 address has colons, and brackets if a port follows.
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((within, _)) => within,
        None if authority.parse::<Ipv6Addr>().is_ok() => authority,
        None => authority.split(':').next().unwrap_or(authority),
    };
    let nodes = || scene.topology.nodes.iter();
    let of_clients = || {
        let at = |(node, (_, port)): &(&Node, &(String, u16))| node.at(*port).to_string() == authority;
        nodes().zip(scene.roles).find(at).map(|(node, _)| node)
    };
    // Nodes of a cluster that already runs may have one address, and another port for each.
    let alone = || {
        let mut same = nodes().filter(|node| node.address.to_string() == host);
        same.next().filter(|_| same.next().is_none())
    };
    let found = nodes().find(|node| node.name.as_str() == host).or_else(of_clients).or_else(alone);
    found.map(|node| node.name.clone())
}

/// Returns the role that the latest of the lines says.
fn latest(lines: &[String], says: &RoleLines) -> Role {
    let role = |line: &String| match (line.contains(&says.leader), line.contains(&says.follower)) {
        (true, _) => Some(Role::Leader),
        (false, true) => Some(Role::Follower),
        (false, false) => None,
    };
    lines.iter().rev().find_map(role).unwrap_or_default()
}

async fn page(asked: &Asked<'_>, page: &Page, deadline: Instant) -> Result<String, RequestError> {
    let path = asked.scene.render(&page.path).map_err(|error| incomplete(&error))?;
    let mut connection = HttpConnection::open(asked.from, asked.at(page.port), deadline).await?;
    let answer = connection.request(&Method::GET, &path, &[], Vec::new(), deadline).await?;
    if !answer.status.is_success() {
        return Err(RequestError::definite(CauseKind::Rejected, format!("it answered {}", answer.status)));
    }
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

/// Runs a command where `asked` is asked from, and returns its standard output.
///
/// # Errors
/// A definite [`RequestError`], when it does not end well within `deadline`; it is then killed, with all that it started.
pub(super) async fn run(
    asked: &Asked<'_>,
    words: &[String],
    deadline: Instant,
) -> Result<String, RequestError> {
    let failed = |text: String| RequestError::definite(CauseKind::Rejected, text);
    let Command { program, args } = command(&asked.scene, words).map_err(|error| incomplete(&error))?;
    let shown = program.display().to_string();
    let cwd = Some(asked.scene.folder.to_owned());
    let program = ClientProgram { program, args, env: Vec::new(), cwd };
    let child =
        asked.from.spawn(&program).map_err(|error| failed(format!("cannot start {shown}: {error}")))?;
    let mut group = Group(child);
    let Group(child) = &mut group;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    drop(child.stdin.take());
    // Waited for last: until then the group can be killed, and no other process has its number.
    let ended = async {
        let (output, errors) = tokio::join!(all(stdout), all(stderr));
        (output, errors, child.wait().await)
    };
    let Ok((output, errors, status)) = timeout_at(deadline, ended).await else {
        return Err(failed(format!("{shown} did not end in time")));
    };
    match status {
        Ok(status) if status.success() => Ok(output),
        Ok(status) => {
            let said = errors.lines().chain(output.lines()).last().unwrap_or("it wrote nothing");
            Err(failed(format!("{shown} ended with {status}: {said}")))
        }
        Err(error) => Err(failed(format!("{shown}: {error}"))),
    }
}

/// Reads a pipe to its end, and keeps the beginning.
async fn all(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut bytes = Vec::new();
    // A pipe that breaks ends the text there, and the command's status decides.
    let _ = (&mut pipe).take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a line of a node's output contains `part`. All of the output is searched, from its beginning: a node that writes
/// much must not stop being ready when the line is long ago.
fn has_written(asked: &Asked<'_>, part: &str) -> bool {
    let Some(files) = asked.files else { return false };
    [&files.stdout, &files.stderr].into_iter().filter_map(|path| File::open(path).ok()).any(|file| {
        let mut lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
        lines.any(|line| String::from_utf8_lossy(&line).contains(part))
    })
}

/// Returns the latest lines of a node's output.
fn log(asked: &Asked<'_>) -> Vec<String> {
    let Some(files) = asked.files else { return Vec::new() };
    [&files.stdout, &files.stderr].into_iter().flat_map(|path| tail(path)).collect()
}

fn tail(path: &Path) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // A node that has not been started has no output yet.
    String::from_utf8_lossy(&read().unwrap_or_default()).lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use duress_settings::Settings;

    use super::*;
    use crate::topology::Topology;

    #[test]
    fn a_leader_is_named_by_its_name_its_address_or_an_address_of_its_own() {
        let name = |addresses: [[u8; 4]; 2], given: &str| {
            let node = |(at, ip): (usize, [u8; 4])| Node {
                name: NodeId::new(format!("n{}", at + 1)),
                address: ip.into(),
            };
            let topology = Topology { nodes: addresses.into_iter().enumerate().map(node).collect() };
            let settings = Settings {
                mode: String::new(),
                options: Default::default(),
                bug: None,
                programs: Default::default(),
                upgrades: Default::default(),
            };
            let scene = Scene {
                topology: &topology,
                roles: &[("node".to_owned(), 7101), ("node".to_owned(), 7102)],
                settings: &settings,
                folder: Path::new("/"),
                node: Some(0),
                places: None,
                files: None,
                operation: &[],
            };
            named(given, &scene).map(|node| node.to_string())
        };
        let (apart, together) = ([[10, 77, 0, 1], [10, 77, 0, 2]], [[127, 0, 0, 1]; 2]);
        for given in ["n2", "10.77.0.2", "http://10.77.0.2:2380/", "10.77.0.2:7102"] {
            assert_eq!(name(apart, given).as_deref(), Some("n2"), "{given}");
        }
        // Two nodes on one machine are told apart by the port of their clients, or not at all.
        assert_eq!(name(together, "http://127.0.0.1:7102/x").as_deref(), Some("n2"));
        assert_eq!(name(together, "127.0.0.1:2380"), None);
    }
}
