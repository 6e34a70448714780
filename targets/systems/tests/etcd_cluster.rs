//! Three real etcd nodes on loopback. Skipped, with the reason, where etcd is not installed.

use std::fs::File;
use std::future::Future;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duress_history::NodeId;
use duress_history::Scalar;
use duress_history::register::{Register, RegisterOp};
use duress_targets::{
    CauseKind, Node, NotReady, Outcome, OwnNetwork, RegisterClient, Request, Role, Settings, System,
    Topology, find,
};

const DEADLINE: Duration = Duration::from_secs(30);
const ATTEMPT: Duration = Duration::from_secs(1);

/// A cluster whose nodes are killed when it goes out of scope.
struct Cluster {
    etcd: &'static dyn System,
    settings: Settings,
    topology: Topology,
    running: Vec<(NodeId, Child)>,
}

impl Cluster {
    /// Three nodes, started; `None`, with the reason printed, where etcd is missing.
    fn start(folder: &Path, subnet: u8) -> Option<Self> {
        let etcd = find("etcd").unwrap();
        if let Err(missing) = etcd.available() {
            eprintln!("skipped: {missing}");
            return None;
        }
        // Other runs of this test on the same machine must not share addresses.
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let nodes = (1..=3).map(|number| {
            let name = NodeId::new(format!("n{number}"));
            let data = folder.join(name.as_str());
            std::fs::create_dir(&data).unwrap();
            Node {
                address: Ipv4Addr::new(127, subnet.wrapping_add(high), low, number),
                stdout: data.join("stdout"),
                stderr: data.join("stderr"),
                data,
                name,
            }
        });
        let topology = Topology { nodes: nodes.collect(), executable: "unused".into() };
        let settings = etcd.resolve(&Request { nodes: 3, ..Request::default() }).unwrap();
        let mut cluster = Self { etcd, settings, topology, running: Vec::new() };
        for node in cluster.names() {
            cluster.spawn(&node);
        }
        Some(cluster)
    }

    fn names(&self) -> Vec<NodeId> {
        self.topology.nodes.iter().map(|node| node.name.clone()).collect()
    }

    fn spawn(&mut self, node: &NodeId) {
        let spec = self.etcd.process(&self.settings, &self.topology, node).unwrap();
        let append = |path| File::options().create(true).append(true).open(path).unwrap();
        let child = Command::new(&spec.program)
            .args(&spec.args)
            .envs(spec.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(append(&spec.stdout))
            .stderr(append(&spec.stderr))
            .spawn()
            .unwrap();
        self.running.push((node.clone(), child));
    }

    fn kill(&mut self, node: &NodeId) {
        let position = self.running.iter().position(|(name, _)| name == node).expect("it runs");
        let (_, mut child) = self.running.remove(position);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    async fn ready(&self, node: &NodeId) {
        let attempt = || self.etcd.ready(&self.settings, &self.topology, node, &OwnNetwork, ATTEMPT);
        until(attempt, |_| true).await;
    }

    /// The leader that every node of `nodes` agrees on.
    async fn leader(&self, nodes: &[NodeId]) -> NodeId {
        let agreed = || async {
            let mut leaders = Vec::new();
            for node in nodes {
                let status =
                    self.etcd.status(&self.settings, &self.topology, node, &OwnNetwork, ATTEMPT).await?;
                let expected =
                    if status.leader.as_ref() == Some(node) { Role::Leader } else { Role::Follower };
                assert!(status.leader.is_none() || status.role == expected, "{status:?}");
                leaders.push(status.leader);
            }
            leaders.dedup();
            Ok(if let [Some(leader)] = leaders.as_slice() { Some(leader.clone()) } else { None })
        };
        until(agreed, |leader| leader.as_ref().is_some_and(|leader| nodes.contains(leader))).await.unwrap()
    }

    fn client(&self, node: &NodeId, timeout: Duration) -> Box<dyn RegisterClient> {
        self.etcd
            .register_client(&self.settings, &self.topology, node, Arc::new(OwnNetwork), timeout)
            .unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (node, child) in &mut self.running {
            if let Err(error) = child.kill().and_then(|()| child.wait()) {
                eprintln!("{node} may still run: {error}");
            }
        }
    }
}

/// Repeats `attempt` until it succeeds with what `fits`, within the deadline.
async fn until<T, F: Future<Output = Result<T, NotReady>>>(
    attempt: impl Fn() -> F,
    fits: impl Fn(&T) -> bool,
) -> T {
    let began = Instant::now();
    loop {
        let seen = attempt().await;
        match seen {
            Ok(seen) if fits(&seen) => return seen,
            _ if began.elapsed() < DEADLINE => tokio::time::sleep(Duration::from_millis(20)).await,
            Ok(_) => panic!("not so within {DEADLINE:?}"),
            Err(error) => panic!("{error} ({:?}) after {DEADLINE:?}", error.cause),
        }
    }
}

fn read(key: &str) -> Register {
    Register { key: key.into(), op: RegisterOp::Read(None) }
}

fn write(key: &str, value: impl Into<Scalar>) -> Register {
    Register { key: key.into(), op: RegisterOp::Write(value.into()) }
}

fn cas(key: &str, old: Option<i64>, new: i64) -> Register {
    Register { key: key.into(), op: RegisterOp::Cas { old: old.map(Scalar::from), new: new.into() } }
}

fn short(outcome: &Outcome<Register>) -> String {
    match outcome {
        Outcome::Ok(Register { op: RegisterOp::Read(Some(value)), .. }) => format!("ok {value}"),
        Outcome::Ok(Register { op: RegisterOp::Read(None), .. }) => "ok nil".to_owned(),
        Outcome::Ok(_) => "ok".to_owned(),
        Outcome::Fail(cause) => format!("fail {}", cause.kind),
        Outcome::Info(cause) => format!("info {}", cause.kind),
    }
}

/// Does `operation` until it succeeds: an election may be under way.
async fn insist(client: &mut dyn RegisterClient, operation: &Register) {
    let began = Instant::now();
    loop {
        match client.invoke(operation).await {
            Outcome::Ok(_) => return,
            other => assert!(began.elapsed() < DEADLINE, "{operation:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn three_nodes_keep_registers_through_the_loss_of_a_leader() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut cluster) = Cluster::start(folder.path(), 80) else { return };
    let began = Instant::now();
    let names = cluster.names();
    for node in &names {
        cluster.ready(node).await;
    }
    eprintln!("three nodes ready after {:?}", began.elapsed());
    let leader = cluster.leader(&names).await;

    // Every operation and every node; what one node wrote the next one reads.
    let mut clients: Vec<_> = names.iter().map(|node| cluster.client(node, 2 * ATTEMPT)).collect();
    let mut seen = Vec::new();
    for (number, operation) in [
        read("x"),
        cas("x", Some(1), 2),
        cas("x", None, 1),
        cas("x", None, 5),
        read("x"),
        cas("x", Some(1), 2),
        cas("x", Some(1), 3),
        write("x", -4),
        read("x"),
        write("y", "a text, with \"quotes\" and ü"),
        read("y"),
        write("y", ""),
        read("y"),
    ]
    .iter()
    .enumerate()
    {
        seen.push(short(&clients[number % 3].invoke(operation).await));
    }
    let (precondition, text) = ("fail precondition", "ok a text, with \"quotes\" and ü");
    let expected = [
        "ok nil",
        precondition,
        "ok",
        precondition,
        "ok 1",
        "ok",
        precondition,
        "ok",
        "ok -4",
        "ok",
        text,
        "ok",
        "ok ",
    ];
    assert_eq!(seen, expected);

    let operations: u32 = 300;
    let began = Instant::now();
    for number in 0..operations {
        let outcome = clients[number as usize % 3].invoke(&write("z", i64::from(number))).await;
        assert_eq!(short(&outcome), "ok");
    }
    eprintln!("{:?} a write, one after the other", began.elapsed() / operations);

    // A killed leader refuses connections; the others elect another, and go on.
    cluster.kill(&leader);
    let position = names.iter().position(|node| *node == leader).unwrap();
    // The client that was connected to it may see the old connection broken first; nothing was sent on it either way.
    let kept = short(&clients[position].invoke(&write("x", 9)).await);
    assert!(["fail refused", "fail connection-lost"].contains(&kept.as_str()), "{kept}");
    assert_eq!(short(&clients[position].invoke(&write("x", 9)).await), "fail refused");
    let survivors: Vec<NodeId> = names.iter().filter(|node| **node != leader).cloned().collect();
    let successor = cluster.leader(&survivors).await;
    assert_ne!(successor, leader);
    let mut survivor = cluster.client(&survivors[0], 2 * ATTEMPT);
    insist(&mut *survivor, &write("x", 10)).await;

    // Restarted by the same command it comes back with its data, and catches up.
    cluster.spawn(&leader);
    cluster.ready(&leader).await;
    assert_eq!(short(&clients[position].invoke(&read("x")).await), "ok 10");

    // Alone, a node promises nothing: a write to it is open, a read did not happen.
    for node in &survivors {
        cluster.kill(node);
    }
    let mut alone = cluster.client(&leader, ATTEMPT / 2);
    assert_eq!(short(&alone.invoke(&write("x", 11)).await), "info timeout");
    assert_eq!(short(&alone.invoke(&read("x")).await), "fail timeout");
    let lost =
        cluster.etcd.ready(&cluster.settings, &cluster.topology, &leader, &OwnNetwork, ATTEMPT / 2).await;
    assert_eq!(lost.unwrap_err().cause.kind, CauseKind::Timeout);

    for node in &survivors {
        cluster.spawn(node);
    }
    for node in &names {
        cluster.ready(node).await;
    }
    // The open write may have happened or not; nothing else may have.
    let value = short(&clients[position].invoke(&read("x")).await);
    assert!(["ok 10", "ok 11"].contains(&value.as_str()), "{value}");
}
