//! A cluster of real processes on loopback, whose links go through proxies.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use duress_broker::{Config, Peer, offer, serve};
use duress_settings::Request;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::client::{Client, Produced, batch};
use crate::proxy::{Pass, Proxy};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub const NODE_ARGUMENTS: &str = "BROKER_TEST_NODE";

/// How long anything a test waits for may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Options that make things happen soon.
pub const QUICK: [&str; 3] = ["lag-ms=800", "session-ms=1200", "cleanup-ms=200"];

/// Runs a broker from its arguments, as `Cluster::start` wrote them.
pub fn run_node(arguments: &str) {
    let mut words = arguments.split(' ');
    let mut next = || words.next().unwrap();
    let (name, listen, peer_listen, data) = (next(), next(), next(), next());
    let mut request = Request::default();
    let mut peers: Vec<Peer> = Vec::new();
    for word in words {
        if let Some(bug) = word.strip_prefix("bug:") {
            request.bug = Some(bug.to_owned());
        } else if let Some(option) = word.strip_prefix("option:") {
            let (name, value) = option.split_once('=').unwrap();
            request = request.with_option(name, value);
        } else {
            peers.push(word.parse().unwrap());
        }
    }
    request.nodes = peers.len() + 1;
    let settings = offer().resolve("broker", &request, None).unwrap();
    let config = Config::new(
        name.parse().unwrap(),
        listen.parse().unwrap(),
        peer_listen.parse().unwrap(),
        data.into(),
        &settings,
    );
    let config = Config { peers, ..config.unwrap() };
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info,openraft=off".into());
    let filter: Targets = filter.parse().expect("a filter of levels");
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(filter).with(lines).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    if let Err(error) = runtime.block_on(serve(config)) {
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            eprintln!("error: {error}");
            cause = error.source();
        }
        std::process::exit(1);
    }
}

struct Node {
    client_port: u16,
    peer_port: u16,
    child: Option<Child>,
}

/// A cluster; its processes are killed when it is dropped.
pub struct Cluster {
    options: Vec<String>,
    bug: Option<&'static str>,
    nodes: Vec<Node>,
    /// The link that `.0` keeps to `.1`.
    proxies: BTreeMap<(usize, usize), Proxy>,
    folder: TempDir,
}

/// A partition's leader and in-sync set, as a broker reports them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Led {
    pub leader: usize,
    pub epoch: i32,
    pub isr: Vec<usize>,
}

/// Returns a port that no process listens on. It lies below those that the system gives to connections: one
/// of those could be given away before the broker is there, or while it is down.
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
    /// Starts brokers `n1`…, numbered from 1 here as in the protocol, and waits until each knows all of them.
    pub async fn start(size: usize, options: &[&str], bug: Option<&'static str>) -> Self {
        let node = || Node { client_port: free_port(), peer_port: free_port(), child: None };
        let nodes: Vec<Node> = (0..size).map(|_| node()).collect();
        let mut proxies = BTreeMap::new();
        for from in 1..=size {
            for to in (1..=size).filter(|to| *to != from) {
                let address = SocketAddr::from(([127, 0, 0, 1], nodes[to - 1].peer_port));
                proxies.insert((from, to), Proxy::start(address).await);
            }
        }
        let options = QUICK.iter().chain(options).map(ToString::to_string).collect();
        let mut cluster = Self { options, bug, nodes, proxies, folder: tempfile::tempdir().unwrap() };
        (1..=size).for_each(|node| cluster.start_node(node));
        for node in 1..=size {
            cluster.active(node, size).await;
        }
        cluster
    }

    pub fn data(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("n{node}"))
    }

    pub fn port(&self, node: usize) -> u16 {
        self.nodes[node - 1].client_port
    }

    pub fn start_node(&mut self, node: usize) {
        let this = &self.nodes[node - 1];
        let mut arguments = format!(
            "n{node} 127.0.0.1:{} 127.0.0.1:{} {}",
            this.client_port,
            this.peer_port,
            self.data(node).display()
        );
        for ((_, to), proxy) in self.proxies.range((node, 0)..(node + 1, 0)) {
            arguments += &format!(" n{to}={}", proxy.address);
        }
        for option in &self.options {
            arguments += &format!(" option:{option}");
        }
        if let Some(bug) = self.bug {
            arguments += &format!(" bug:{bug}");
        }
        self.nodes[node - 1].child =
            Some(spawn(&arguments, &self.folder.path().join(format!("n{node}.log"))));
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: usize) {
        let mut child = self.nodes[node - 1].child.take().expect("the broker runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGSTOP, or SIGCONT.
    pub fn signal(&self, node: usize, signal: Signal) {
        let child = self.nodes[node - 1].child.as_ref().expect("the broker runs");
        nix::sys::signal::kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
    }

    /// Cuts or mends the link that one broker keeps to another, over which it asks and is answered.
    pub fn set_one_way(&self, from: usize, to: usize, pass: Pass) {
        self.proxies[&(from, to)].set(pass);
    }

    /// Cuts or mends the links between two brokers, both ways.
    pub fn set_link(&self, a: usize, b: usize, pass: Pass) {
        self.proxies[&(a, b)].set(pass);
        self.proxies[&(b, a)].set(pass);
    }

    pub fn isolate(&self, node: usize, pass: Pass) {
        for other in (1..=self.nodes.len()).filter(|other| *other != node) {
            self.set_link(node, other, pass);
        }
    }

    /// Returns a connection to a broker, as soon as it accepts one.
    pub async fn client(&self, node: usize) -> Client {
        let deadline = Instant::now() + PATIENCE;
        let mut poll = tokio::time::interval(Duration::from_millis(10));
        loop {
            poll.tick().await;
            if let Ok(client) = Client::connect(self.port(node)).await {
                return client;
            }
            assert!(Instant::now() < deadline, "broker {node} does not accept clients; {}", self.logs());
        }
    }

    /// Waits until a broker knows of that many active brokers.
    pub async fn active(&self, asked: usize, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        let mut client = self.client(asked).await;
        loop {
            poll.tick().await;
            let metadata = client.metadata(&[]).await.unwrap();
            if metadata.brokers.len() == count {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "broker {asked} knows {:?}; {}",
                metadata.brokers,
                self.logs()
            );
        }
    }

    /// Makes a topic of one partition, replicated everywhere, and returns who leads it.
    pub async fn topic(&self, name: &str, configs: &[(&str, &str)]) -> Led {
        let replication = i16::try_from(self.nodes.len()).unwrap();
        let made = self.client(1).await.create(name, 1, replication, configs).await.unwrap();
        assert_eq!(made, 0, "{}", self.logs());
        self.led(1, name, |led| led.isr.len() == self.nodes.len()).await
    }

    /// Makes topics of one partition until one is led and replicated as is wanted: the brokers take turns.
    pub async fn topic_where(&self, wanted: impl Fn(&Led) -> bool) -> (String, Led) {
        for number in 0..self.nodes.len() {
            let name = format!("t{number}");
            let led = self.topic(&name, &[]).await;
            if wanted(&led) {
                return (name, led);
            }
        }
        panic!("no topic is led as is wanted; {}", self.logs());
    }

    /// Returns the leader of the controllers, as a broker knows it.
    pub async fn controller(&self, asked: usize) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        let mut client = self.client(asked).await;
        loop {
            poll.tick().await;
            if let Ok(controller @ 1..) = usize::try_from(client.metadata(&[]).await.unwrap().controller_id.0)
            {
                return controller;
            }
            assert!(Instant::now() < deadline, "{asked} knows of no controller; {}", self.logs());
        }
    }

    /// Waits until a broker's report on partition 0 is as wanted, and returns that.
    pub async fn led(&self, asked: usize, topic: &str, wanted: impl Fn(&Led) -> bool) -> Led {
        let deadline = Instant::now() + PATIENCE;
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        let mut client = self.client(asked).await;
        loop {
            poll.tick().await;
            let metadata = client.metadata(&[topic]).await.unwrap();
            let said = metadata.topics[0].partitions.first().map(|partition| Led {
                leader: usize::try_from(partition.leader_id.0).unwrap_or(0),
                epoch: partition.leader_epoch,
                isr: partition.isr_nodes.iter().map(|id| usize::try_from(id.0).unwrap()).collect(),
            });
            match said {
                Some(led) if wanted(&led) => return led,
                said => {
                    assert!(Instant::now() < deadline, "{asked} still says {said:?}; {}", self.logs());
                }
            }
        }
    }

    /// Waits until another broker than `not` leads, as `asked` knows it.
    pub async fn successor(&self, asked: usize, topic: &str, not: usize) -> Led {
        self.led(asked, topic, |led| led.leader != 0 && led.leader != not).await
    }

    /// Produces one value until a leader takes it; other answers than "not the leader" fail the test.
    pub async fn produce(&self, node: usize, topic: &str, acks: i16, value: &str) -> i64 {
        const NOT_LEADER: i16 = 6;
        const UNKNOWN_TOPIC: i16 = 3;
        let deadline = Instant::now() + PATIENCE;
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        let mut client = self.client(node).await;
        loop {
            poll.tick().await;
            let produced: Produced = client.produce(topic, 0, acks, batch(&[value], None)).await.unwrap();
            match produced {
                Ok(offset) => return offset,
                Err(NOT_LEADER | UNKNOWN_TOPIC) if Instant::now() < deadline => {}
                Err(code) => panic!("{value} is answered with {code}; {}", self.logs()),
            }
        }
    }

    /// Waits until a leader's high watermark is there, and returns all values.
    pub async fn values(&self, node: usize, topic: &str, high_watermark: i64) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        let mut client = self.client(node).await;
        loop {
            poll.tick().await;
            let latest = client.offset(topic, 0, -1).await.unwrap();
            if latest.is_ok_and(|offset| offset >= high_watermark) {
                return client.read_all(topic, 0).await.into_iter().map(|(_, value)| value).collect();
            }
            assert!(Instant::now() < deadline, "the latest offset is {latest:?}; {}", self.logs());
        }
    }

    pub fn logs(&self) -> String {
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

/// Starts a broker as a process; its standard error goes to the file.
fn spawn(arguments: &str, log: &Path) -> Child {
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
