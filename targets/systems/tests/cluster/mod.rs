//! A cluster of real processes on loopback, and the words its tests are written in.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duress_history::register::{Register, RegisterOp};
use duress_history::{NodeId, Scalar};
use duress_settings::Request;
use duress_targets::{
    Client, Deployment, Node, NodeFiles, NotReady, Outcome, OwnNetwork, Role, Seat, System, Topology,
};

/// How long anything may take that must happen in the end.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// How long one question to a node may take.
pub const ATTEMPT: Duration = Duration::from_secs(1);
/// How long a node is left alone before the next attempt.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);

/// A cluster whose nodes are killed when it goes out of scope.
pub struct Cluster {
    /// How its nodes are started and spoken to.
    pub deployment: Arc<dyn Deployment>,
    files: BTreeMap<NodeId, NodeFiles>,
    running: Vec<(NodeId, Child)>,
}

impl Cluster {
    /// As many nodes as `request` says, started. Each test has a `subnet` of its own.
    pub fn start(system: &dyn System, request: &Request, folder: &Path, subnet: u8) -> Self {
        // Other runs of this test on the same machine must not share addresses.
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let mut files = BTreeMap::new();
        let nodes = (1..=request.nodes).map(|number| {
            let name = NodeId::new(format!("n{number}"));
            let data = folder.join(name.as_str());
            std::fs::create_dir(&data).unwrap();
            let (stdout, stderr) = (data.join("stdout"), data.join("stderr"));
            files.insert(name.clone(), NodeFiles { data, stdout, stderr });
            let address = Ipv4Addr::new(127, subnet.wrapping_add(high), low, number.try_into().unwrap());
            Node { name, address: address.into() }
        });
        let topology = Topology { nodes: nodes.collect() };
        let deployment = system.deploy(&system.resolve(request).unwrap(), &topology).unwrap();
        let mut cluster = Self { deployment, files, running: Vec::new() };
        for node in cluster.names() {
            cluster.spawn(&node);
        }
        cluster
    }

    /// Returns the names of its nodes, in order.
    pub fn names(&self) -> Vec<NodeId> {
        self.deployment.topology().nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// Starts `node`, for the first time or again.
    pub fn spawn(&mut self, node: &NodeId) {
        let spec = self.deployment.process(node, &self.files[node]).unwrap();
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

    /// Kills `node` as `kill -9` does.
    pub fn kill(&mut self, node: &NodeId) {
        let position = self.running.iter().position(|(name, _)| name == node).expect("it runs");
        let (_, mut child) = self.running.remove(position);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until `node` takes part.
    pub async fn ready(&self, node: &NodeId) {
        until(|| self.attempt(node), |()| true).await;
    }

    /// Makes one attempt to see `node` take part.
    pub async fn attempt(&self, node: &NodeId) -> Result<(), NotReady> {
        self.deployment.ready(node, &OwnNetwork, ATTEMPT).await
    }

    /// Returns the leader that every node of `nodes` agrees on.
    pub async fn leader(&self, nodes: &[NodeId]) -> NodeId {
        let agreed = || async {
            let mut leaders = Vec::new();
            for node in nodes {
                let status = self.deployment.status(node, &OwnNetwork, ATTEMPT).await?;
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

    /// Returns a client of `node`.
    pub fn client(&self, node: &NodeId, timeout: Duration) -> Box<dyn Client<Register>> {
        let seat = Seat {
            node: node.clone(),
            place: Arc::new(OwnNetwork),
            timeout,
            stderr: None,
            scratch: None,
            traffic: None,
        };
        self.deployment.clients().client(seat).unwrap()
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
            _ if began.elapsed() < DEADLINE => tokio::time::sleep(BETWEEN_ATTEMPTS).await,
            Ok(_) => panic!("not so within {DEADLINE:?}"),
            Err(error) => panic!("{error} ({:?}) after {DEADLINE:?}", error.cause),
        }
    }
}

/// Reads `key`.
pub fn read(key: &str) -> Register {
    Register { key: key.into(), op: RegisterOp::Read(None) }
}

/// Writes `value` to `key`.
pub fn write(key: &str, value: impl Into<Scalar>) -> Register {
    Register { key: key.into(), op: RegisterOp::Write(value.into()) }
}

/// Deletes `key`.
pub fn delete(key: &str) -> Register {
    Register { key: key.into(), op: RegisterOp::Delete }
}

/// Replaces `old` by `new` at `key`.
pub fn cas(key: &str, old: Option<i64>, new: i64) -> Register {
    Register { key: key.into(), op: RegisterOp::Cas { old: old.map(Scalar::from), new: new.into() } }
}

/// Returns an outcome in short: `ok`, `ok 5`, `ok nil`, `fail precondition`, `info timeout`.
pub fn short(outcome: &Outcome<Register>) -> String {
    match outcome {
        Outcome::Ok(Register { op: RegisterOp::Read(Some(value)), .. }) => format!("ok {value}"),
        Outcome::Ok(Register { op: RegisterOp::Read(None), .. }) => "ok nil".to_owned(),
        Outcome::Ok(_) => "ok".to_owned(),
        Outcome::Fail(cause) => format!("fail {}", cause.kind),
        Outcome::Info(cause) => format!("info {}", cause.kind),
    }
}

/// Repeats `operation` until its outcome is `expected`, in short: an election may be in progress, or a
/// replica behind.
pub async fn insist(client: &mut dyn Client<Register>, operation: &Register, expected: &str) {
    let began = Instant::now();
    loop {
        let outcome = client.invoke(operation).await;
        if short(&outcome) == expected {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{operation:?} never came out as {expected}: {outcome:?}");
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
}

/// Runs a test on a runtime of its own.
pub fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}
