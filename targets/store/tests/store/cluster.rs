//! A cluster of real processes on loopback, whose links go through proxies.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use duress_settings::Request;
use duress_store::{Beginning, Config, Peer, WallClock, offer, serve, serve_with_clock};
use tempfile::TempDir;

use crate::client::Client;
use crate::proxy::{Pass, Proxy};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub const NODE_ARGUMENTS: &str = "STORE_TEST_NODE";

/// How long anything a test waits for may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a node from its arguments, as `Cluster::start` wrote them.
pub fn run_node(arguments: &str) {
    let mut words = arguments.split(' ');
    let mut next = || words.next().unwrap();
    let mut request = Request { mode: Some(next().to_owned()), ..Request::default() };
    let (name, listen, peer_listen, data) = (next(), next(), next(), next());
    let mut peers: Vec<Peer> = Vec::new();
    let (mut clock, mut beginning) = (None, Beginning::Founds);
    for word in words {
        if word == "join" {
            beginning = Beginning::Joins;
        } else if let Some(path) = word.strip_prefix("clock:") {
            clock = Some(Arc::new(SteppedClock { step: path.into() }));
        } else if let Some(bug) = word.strip_prefix("bug:") {
            request.bug = Some(bug.to_owned());
        } else if let Some(option) = word.strip_prefix("option:") {
            let (name, value) = option.split_once('=').unwrap();
            request = request.with_option(name, value);
        } else {
            peers.push(word.parse().unwrap());
        }
    }
    request.nodes = peers.len() + 1;
    let settings = offer().resolve("store", &request, None).unwrap();
    let config = Config::new(
        name.parse().unwrap(),
        listen.parse().unwrap(),
        peer_listen.parse().unwrap(),
        data.into(),
        &settings,
    );
    let config = Config { peers, beginning, ..config.unwrap() };
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info,openraft=off".into());
    let filter: Targets = filter.parse().expect("a filter of levels");
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(filter).with(lines).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let outcome = match clock {
        // Such a node ends when it is killed.
        Some(clock) => runtime.block_on(serve_with_clock(config, clock, std::future::pending())),
        None => runtime.block_on(serve(config)),
    };
    if let Err(error) = outcome {
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            eprintln!("error: {error}");
            cause = error.source();
        }
        std::process::exit(1);
    }
}

/// The machine's time of day and a step, in milliseconds, which a file holds; no step while the file does not
/// exist.
#[derive(Debug)]
struct SteppedClock {
    step: PathBuf,
}

impl WallClock for SteppedClock {
    fn now(&self) -> SystemTime {
        let step = std::fs::read_to_string(&self.step).map_or(0, |text| text.parse::<i64>().unwrap());
        let (now, size) = (SystemTime::now(), Duration::from_millis(step.unsigned_abs()));
        if step < 0 { now - size } else { now + size }
    }
}

/// The source of the nodes' time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocks {
    Machine,
    /// A clock per node that [`Cluster::step_clock`] sets.
    Stepped,
}

struct Node {
    client_port: u16,
    peer_port: u16,
    child: Option<Child>,
}

/// A cluster; its processes are killed when it is dropped.
pub struct Cluster {
    mode: &'static str,
    options: Vec<String>,
    bug: Option<&'static str>,
    clocks: Clocks,
    nodes: Vec<Node>,
    /// The link that `.0` keeps to `.1`.
    proxies: BTreeMap<(usize, usize), Proxy>,
    folder: TempDir,
}

/// Returns a port that no process listens on. It lies below those that the system gives to connections: one
/// of those could be given away before the node is there, or while it is down.
fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Another run of these tests at the same time begins elsewhere.
    let first = std::process::id().wrapping_mul(331);
    loop {
        let place = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        let port = u16::try_from(PORTS.start + place).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Cluster {
    /// Starts nodes `n1`…; the nodes are numbered from 1 here too.
    pub async fn start(mode: &'static str, size: usize, options: &[&str], bug: Option<&'static str>) -> Self {
        Self::start_with_clocks(mode, size, options, bug, Clocks::Machine).await
    }

    pub async fn start_with_clocks(
        mode: &'static str,
        size: usize,
        options: &[&str],
        bug: Option<&'static str>,
        clocks: Clocks,
    ) -> Self {
        let node = || Node { client_port: free_port(), peer_port: free_port(), child: None };
        let nodes: Vec<Node> = (0..size).map(|_| node()).collect();
        let mut proxies = BTreeMap::new();
        for from in 1..=size {
            for to in (1..=size).filter(|to| *to != from) {
                let address = SocketAddr::from(([127, 0, 0, 1], nodes[to - 1].peer_port));
                proxies.insert((from, to), Proxy::start(address).await);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let options = options.iter().map(ToString::to_string).collect();
        let mut cluster = Self { mode, options, bug, clocks, nodes, proxies, folder };
        (1..=size).for_each(|node| cluster.start_node(node));
        cluster
    }

    pub fn data(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("n{node}"))
    }

    pub fn port(&self, node: usize) -> u16 {
        self.nodes[node - 1].client_port
    }

    pub fn start_node(&mut self, node: usize) {
        self.start_node_with(node, "");
    }

    /// Starts a node that, with an empty folder, waits to be added.
    pub fn start_joining(&mut self, node: usize) {
        self.start_node_with(node, " join");
    }

    fn start_node_with(&mut self, node: usize, more: &str) {
        let this = &self.nodes[node - 1];
        let mut arguments = format!(
            "{} n{node} 127.0.0.1:{} 127.0.0.1:{} {}",
            self.mode,
            this.client_port,
            this.peer_port,
            self.data(node).display()
        ) + more;
        for ((_, to), proxy) in self.proxies.range((node, 0)..(node + 1, 0)) {
            arguments += &format!(" n{to}={}", proxy.address);
        }
        for option in &self.options {
            arguments += &format!(" option:{option}");
        }
        if let Some(bug) = self.bug {
            arguments += &format!(" bug:{bug}");
        }
        if self.clocks == Clocks::Stepped {
            arguments += &format!(" clock:{}", self.clock(node).display());
        }
        self.nodes[node - 1].child =
            Some(spawn(&arguments, &self.folder.path().join(format!("n{node}.log"))));
    }

    fn clock(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("n{node}.clock"))
    }

    /// Sets a node's clock this far from the machine's.
    pub fn step_clock(&self, node: usize, milliseconds: i64) {
        // Renamed into its place, so that the node never reads half of it.
        let written = self.clock(node).with_extension("next");
        std::fs::write(&written, milliseconds.to_string()).unwrap();
        std::fs::rename(written, self.clock(node)).unwrap();
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: usize) {
        let mut child = self.nodes[node - 1].child.take().expect("the node runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Another signal, by name.
    pub fn signal(&self, node: usize, signal: &str) {
        let pid = self.nodes[node - 1].child.as_ref().expect("the node runs").id();
        assert!(
            Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().unwrap().success()
        );
    }

    /// SIGSTOP, and returns when no thread of the process runs any more: the signal alone leaves them a moment.
    pub async fn pause(&self, node: usize) {
        self.signal(node, "STOP");
        let pid = self.nodes[node - 1].child.as_ref().expect("the node runs").id();
        let stopped = |task: &Path| {
            let stat = std::fs::read_to_string(task.join("stat")).unwrap();
            // The state comes after the name, which may hold anything.
            stat.rsplit(") ").next().unwrap().starts_with('T')
        };
        let deadline = Instant::now() + PATIENCE;
        let mut poll = tokio::time::interval(Duration::from_millis(1));
        let tasks = || std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        while !tasks().all(|task| stopped(&task.unwrap().path())) {
            assert!(Instant::now() < deadline, "node {node} does not stop");
            poll.tick().await;
        }
    }

    /// Waits for the process to end, and says whether it ended well.
    pub async fn ended(&mut self, node: usize) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let child = self.nodes[node - 1].child.as_mut().expect("the node ran");
        let mut poll = tokio::time::interval(Duration::from_millis(10));
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                self.nodes[node - 1].child = None;
                return status.success();
            }
            assert!(Instant::now() < deadline, "node {node} does not end");
            poll.tick().await;
        }
    }

    /// Cuts or mends the links between two nodes, both ways.
    pub fn set_link(&self, a: usize, b: usize, pass: Pass) {
        self.set_link_of(a, b, pass);
        self.set_link_of(b, a, pass);
    }

    /// Cuts or mends the link that one node keeps to another.
    pub fn set_link_of(&self, from: usize, to: usize, pass: Pass) {
        self.proxies[&(from, to)].set(pass);
    }

    pub fn isolate(&self, node: usize, pass: Pass) {
        for other in (1..=self.nodes.len()).filter(|other| *other != node) {
            self.set_link(node, other, pass);
        }
    }

    /// Returns a connection to a node, as soon as it accepts one.
    pub async fn client(&self, node: usize) -> Client {
        let deadline = Instant::now() + PATIENCE;
        let mut poll = tokio::time::interval(Duration::from_millis(10));
        loop {
            poll.tick().await;
            if let Ok(client) = Client::connect(self.port(node)).await {
                return client;
            }
            assert!(Instant::now() < deadline, "node {node} does not accept clients; {}", self.logs());
        }
    }

    /// Asks a node until the reply is as wanted, and returns it.
    pub async fn until(&self, node: usize, command: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        let mut last = String::new();
        loop {
            let mut client = self.client(node).await;
            while let Ok(reply) = client.ask(command).await {
                if wanted(&reply) {
                    return reply;
                }
                last = reply;
                assert!(Instant::now() < deadline, "{command} at n{node} still says {last}; {}", self.logs());
                poll.tick().await;
            }
            assert!(Instant::now() < deadline, "{command} at n{node} still says {last}; {}", self.logs());
        }
    }

    /// Waits until a node names a leader among `among`, and returns it.
    pub async fn leader(&self, asked: usize, among: &[usize]) -> usize {
        let named = |info: &str| {
            let name = info.lines().find_map(|line| line.strip_prefix("leader:n"))?.trim().parse().ok()?;
            among.contains(&name).then_some(name)
        };
        let info = self.until(asked, "INFO", |info| named(info).is_some()).await;
        named(&info).expect("just seen")
    }

    /// Returns one number of a node's `INFO`.
    pub async fn info(&self, node: usize, key: &str) -> u64 {
        let info = self.client(node).await.ask("INFO").await.unwrap();
        let value = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {key} in {info}")).trim().parse().unwrap()
    }

    fn logs(&self) -> String {
        let read = |node| {
            std::fs::read_to_string(self.folder.path().join(format!("n{node}.log"))).unwrap_or_default()
        };
        (1..=self.nodes.len()).map(|node| format!("--- n{node}\n{}", read(node))).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().filter_map(|node| node.child.as_mut()) {
            // A process that has ended by itself cannot be killed, which is as good.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Starts a node as a process; its standard error goes to the file.
pub fn spawn(arguments: &str, log: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "node_process", "--nocapture"])
        .env(NODE_ARGUMENTS, arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Returns the arguments of a single node of the mode `raft`, its folder, and its client port.
pub fn free_node(name: &str) -> (String, TempDir, u16) {
    let folder = tempfile::tempdir().unwrap();
    let (client, peer) = (free_port(), free_port());
    let data = folder.path().join("data");
    (format!("raft {name} 127.0.0.1:{client} 127.0.0.1:{peer} {}", data.display()), folder, client)
}
