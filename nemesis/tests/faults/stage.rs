//! A cluster of a few nodes and two clients, each node with a clock or a disk of its own where a test needs it.

use duress_testing::{Missing, Need};
use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use duress_arena::clock::{ClockPage, Tracer};
use duress_arena::disk::{DiskOptions, FaultDisk};
use duress_arena::{Arena, ArenaSpec, Host, HostSpec, PortKind, ProbeOutcome, ProcessSpec, Switch};
use duress_history::NodeId;
use duress_history::nemesis::{Comeback, ListedMember};
use duress_nemesis::cluster::{Cluster, Member};
use duress_nemesis::membership::{Administrator, AdministratorError, Joining, Members};
use duress_nemesis::nemesis::{Crash, Injected, Nemesis, NemesisError, Restart};
use duress_nemesis::schedule::{MixOptions, expand};
use duress_nemesis::upgrade::Programs;
use duress_nemesis::{Evidence, Fault, FaultSpec, LossLimit, Role, RoleMap};
use nix::sys::signal::{Signal, kill};
use tempfile::TempDir;

use crate::program::{FILE, JOINED, WRITE};

/// Longer than anything here takes, even on a machine busy with other work.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The resources that this machine allows, or why not.
pub struct Allowed {
    /// Tracers that give nodes clocks of their own, one for each stage.
    pub clocks: Result<Mutex<Vec<Tracer>>, String>,
    pub disks: Result<(), String>,
}

/// The needs of a case beyond namespaces.
#[derive(Clone, Copy)]
pub enum Needs {
    Nothing,
    Clocks,
    Disks,
}

impl Allowed {
    /// Whether what `needs` says can be had.
    pub fn has(&self, needs: Needs) -> Result<(), Missing> {
        let missing = |need| move |reason: &String| Missing::new(need, reason);
        match needs {
            Needs::Nothing => Ok(()),
            Needs::Clocks => self.clocks.as_ref().map(drop).map_err(missing(Need::Ptrace)),
            Needs::Disks => self.disks.as_ref().map(drop).map_err(missing(Need::Fuse)),
        }
    }
}

pub fn name(text: &str) -> NodeId {
    NodeId::new(text)
}

/// Returns another file of this program, in `folder`.
fn second_program(folder: &Path) -> PathBuf {
    let first = std::env::current_exe().expect("a program has a path");
    let second = fs::canonicalize(folder).expect("a folder").join("second-program");
    // A link is faster, and cannot lead to another file system.
    if fs::hard_link(&first, &second).is_err() {
        fs::copy(&first, &second).expect("a copy");
    }
    second
}

/// An administrator whose cluster is a list: the nodes' program knows no members.
struct Register {
    listed: Arc<Mutex<Vec<NodeId>>>,
    /// How each node joins.
    joining: BTreeMap<NodeId, Joining>,
    comeback: Arc<Mutex<Comeback>>,
}

impl Register {
    fn change<T>(&self, change: impl FnOnce(&mut Vec<NodeId>) -> T) -> T {
        change(&mut self.listed.lock().expect("a lock held for a moment"))
    }
}

impl Administrator for Register {
    fn comeback(&self) -> Comeback {
        *self.comeback.lock().expect("a lock held for a moment")
    }

    fn joining(&self, node: &NodeId, listed: &[ListedMember]) -> Result<Joining, AdministratorError> {
        assert!(!listed.is_empty());
        Ok(self.joining[node].clone())
    }

    fn members(&self, _: &[NodeId], _: Duration) -> Result<Vec<ListedMember>, AdministratorError> {
        let listed =
            |node: &NodeId| ListedMember { node: node.clone(), identity: String::new(), votes: true };
        Ok(self.change(|members| members.iter().map(listed).collect()))
    }

    fn remove(&self, node: &NodeId, via: &[NodeId], _: Duration) -> Result<(), AdministratorError> {
        assert!(!via.is_empty() && !via.contains(node), "{node} is removed by way of {via:?}");
        self.change(|members| members.retain(|member| member != node));
        Ok(())
    }

    fn add(&self, node: &NodeId, via: &[NodeId], _: Duration) -> Result<(), AdministratorError> {
        assert!(!via.is_empty() && !via.contains(node), "{node} is added by way of {via:?}");
        self.change(|members| members.push(node.clone()));
        Ok(())
    }

    fn serves(&self, node: &NodeId) -> bool {
        self.change(|members| members.contains(node))
    }
}

/// The cluster, running.
pub struct Stage {
    pub nemesis: Nemesis,
    pub switch: Switch,
    pub pages: Vec<Arc<ClockPage>>,
    pub nodes: Vec<NodeId>,
    pub clients: Vec<NodeId>,
    /// The members, as the administrator has them.
    pub listed: Arc<Mutex<Vec<NodeId>>>,
    /// How removed nodes become members again.
    pub comeback: Arc<Mutex<Comeback>>,
    // Last, so that the hosts and folders outlive what uses them.
    arena: Arena,
    home: TempDir,
}

impl Stage {
    /// Sets the stage with three nodes; with clocks and disks if `needs` lists them.
    pub fn set(allowed: &Allowed, needs: Needs) -> Self {
        Self::of(3, allowed, needs)
    }

    /// Sets the stage with `nodes` nodes.
    pub fn of(nodes: usize, allowed: &Allowed, needs: Needs) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let nodes: Vec<NodeId> = (1..=nodes).map(|number| name(&format!("n{number}"))).collect();
        let clients: Vec<NodeId> = ["c1", "c2"].map(name).to_vec();
        let hosts = nodes.iter().chain(&clients).zip(1..);
        let spec = ArenaSpec {
            hosts: hosts
                .map(|(name, last)| HostSpec {
                    name: name.as_str().into(),
                    address: Ipv4Addr::new(10, 77, 0, last),
                })
                .collect(),
            port: PortKind::best().expect("a kind of port"),
            tcp_rto_max: None,
        };
        let arena = Arena::build(&spec).expect("the arena is built");
        let mut pages = Vec::new();
        let second = second_program(home.path());
        let mut members = Vec::new();
        let mut joining = BTreeMap::new();
        for node in &nodes {
            let folder = home.path().join(node.as_str());
            let data = folder.join("data");
            fs::create_dir_all(&data).expect("a folder");
            let clock =
                matches!(needs, Needs::Clocks).then(|| Arc::new(ClockPage::create().expect("a page")));
            pages.extend(clock.clone());
            let disk = matches!(needs, Needs::Disks).then(|| {
                FaultDisk::mount(&data, &folder.join("backing"), DiskOptions::new(3)).expect("a disk")
            });
            let spec = ProcessSpec {
                program: std::env::current_exe().expect("a program has a path"),
                args: vec![format!("{WRITE}{}", data.display()).into()],
                env: Vec::new(),
                cwd: None,
                stdout: folder.join("stdout"),
                stderr: folder.join("stderr"),
                stop: Signal::SIGTERM,
                user: None,
            };
            let host = Arc::clone(arena.host(node.as_str()).expect("a host of this arena"));
            // It says that it joined, and otherwise does the same.
            let joins = ProcessSpec { env: vec![(JOINED.into(), "1".into())], ..spec.clone() };
            joining.insert(node.clone(), Joining { spec: joins, data: data.clone() });
            members.push(Member { host, spec, clock, disk, upgrade: Some(second.clone()) });
        }
        let tracer = match (needs, &allowed.clocks) {
            (Needs::Clocks, Ok(tracers)) => Some(
                tracers.lock().expect("a lock held for a moment").pop().expect("a tracer for each stage"),
            ),
            _ => None,
        };
        let switch = arena.switch().clone();
        let listed = Arc::new(Mutex::new(nodes.clone()));
        let comeback = Arc::new(Mutex::new(Comeback::Running));
        let register = Register { listed: Arc::clone(&listed), joining, comeback: Arc::clone(&comeback) };
        let mut nemesis = Nemesis::new(switch.clone(), Cluster::new(members, tracer), 5)
            .administered_by(Box::new(register));
        nemesis.start_nodes().expect("the nodes start");
        let mut stage = Self { nemesis, switch, pages, nodes, clients, listed, comeback, arena, home };
        stage.await_written();
        stage
    }

    /// Returns the first fault that `item` of a mix is expanded to.
    pub fn fault(&self, item: &str) -> Fault {
        let options = MixOptions {
            nodes: &self.nodes,
            clients: &self.clients,
            roles: &[Role::new("controller")],
            seed: 11,
            interval: Duration::from_secs(1),
            warm_up: Duration::ZERO,
            time_limit: Duration::from_secs(30),
            time_outs: &[Duration::from_secs(1)],
            client_time_out: None,
            losses: LossLimit::tolerated(self.nodes.len() / 2),
            clock_bound: None,
            members: Members::Changeable,
            programs: Programs::Two,
            commands: None,
        };
        let mix = FaultSpec::parse_mix(item).expect("a good item");
        expand(&mix, &options).expect("an item for this cluster").remove(0).fault
    }

    /// Returns a host of the arena.
    pub fn host(&self, name: &NodeId) -> &Arc<Host> {
        self.arena.host(name.as_str()).expect("a host of this arena")
    }

    /// Returns the folder in which a node keeps its data, on its disk if it has one.
    pub fn data(&self, node: &NodeId) -> PathBuf {
        self.home.path().join(node.as_str()).join("data")
    }

    /// Everything that a node has said so far, in full lines.
    pub fn said(&self, node: &NodeId) -> String {
        let said = fs::read_to_string(self.home.path().join(node.as_str()).join("stdout"));
        let mut said = said.expect("its output is text");
        said.truncate(said.rfind('\n').map_or(0, |end| end + 1));
        said
    }

    /// Returns the last line of a node that begins with `prefix`, without it.
    pub fn last_said(&self, node: &NodeId, prefix: &str) -> Option<String> {
        self.said(node).lines().rev().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned)
    }

    /// Returns the memory maps of each process of the nodes, from /proc.
    pub fn memory_maps(&self) -> Vec<String> {
        let pids =
            self.nodes.iter().flat_map(|node| self.host(node).pids().expect("its processes can be listed"));
        pids.map(|pid| fs::read_to_string(format!("/proc/{pid}/maps")).expect("it lives")).collect()
    }

    /// Injects fault `id`; node n1 leads.
    pub fn inject(&mut self, id: u32, item: &str) -> Result<Injected, NemesisError> {
        self.inject_under(id, item, "n1")
    }

    /// Injects fault `id` while `leader` leads, n2 did before, and n3 is the controller.
    pub fn inject_under(&mut self, id: u32, item: &str, leader: &str) -> Result<Injected, NemesisError> {
        let fault = self.fault(item);
        let roles = [Role::LEADER, Role::OLD_LEADER, "controller"].map(Role::new);
        let led = [leader, "n2", "n3"].map(name);
        let roles: RoleMap = roles.into_iter().zip(led).collect();
        self.nemesis.inject(id, &fault, &roles, Instant::now())
    }

    /// Heals fault `id`.
    pub fn heal(&mut self, id: u32) -> Evidence {
        self.nemesis.heal(id).expect("it heals").evidence
    }

    /// Returns the outcome of a probe along a link.
    pub fn probe(&self, from: &str, to: &str) -> ProbeOutcome {
        let link = [(name(from), name(to))];
        self.switch.probe(&link, PATIENCE).expect("the switch runs")[0]
    }

    /// How long a probe takes along a link that carries it.
    pub fn crossing(&self, from: &str, to: &str) -> Duration {
        match self.probe(from, to) {
            ProbeOutcome::Arrived(after) => after,
            other => panic!("from {from} to {to}: {other:?}"),
        }
    }

    /// How much a node has written by now.
    pub fn written(&self, node: &NodeId) -> u64 {
        fs::metadata(self.data(node).join(FILE)).map_or(0, |metadata| metadata.len())
    }

    /// Waits until every node has written more than it had. Nodes that a fault has ended are started again,
    /// as a supervisor would; no node may end without a fault.
    pub fn await_written(&mut self) {
        let before: Vec<u64> = self.nodes.iter().map(|node| self.written(node)).collect();
        wait_until("every node has written", || {
            for crash in self.nemesis.crashes().expect("the nodes can be looked after") {
                assert!(crash.because.is_some(), "{crash:?}");
                if crash.restart == Restart::Now {
                    self.nemesis.start_node(&crash.node).expect("it starts");
                }
            }
            self.nodes.iter().zip(&before).all(|(node, before)| self.written(node) > *before)
        });
    }

    /// Waits until `node` has ended by itself, whatever happens to others meanwhile.
    pub fn await_crash(&mut self, node: &str) -> Crash {
        let node = name(node);
        let mut found = None;
        wait_until("the node ends", || {
            let crashes = self.nemesis.crashes().expect("the nodes can be looked after");
            found = crashes.into_iter().find(|crash| crash.node == node);
            found.is_some()
        });
        found.expect("it was waited for")
    }

    /// Kills everything on a node behind the nemesis's back.
    pub fn end_by_hand(&self, node: &str) {
        let host = self.host(&name(node));
        for pid in host.pids().expect("/proc can be read") {
            kill(pid, Signal::SIGKILL).expect("a process of this test's");
        }
    }

    /// Asserts that no fault has left anything, and ends everything.
    pub fn close(mut self) {
        assert!(self.nemesis.in_force().is_empty(), "a fault is in force");
        assert_eq!(self.nemesis.running(), self.nodes);
        let hosts: Vec<&NodeId> = self.nodes.iter().chain(&self.clients).collect();
        for from in &hosts {
            for to in hosts.iter().filter(|to| *to != from) {
                // A busy machine may be slow once.
                wait_until("probes are fast again", || {
                    self.crossing(from.as_str(), to.as_str()) < Duration::from_millis(20)
                });
            }
        }
        for page in &self.pages {
            let setting = page.setting();
            assert_eq!((setting.offset_ns, setting.drift_ppb), (0, 0), "a clock is still wrong");
        }
        self.await_written();
        self.nemesis.teardown().expect("everything ends");
        self.arena.close().expect("the network ends");
    }
}

/// Waits until `condition` holds, and fails the test if it does not within [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::yield_now();
    }
}
