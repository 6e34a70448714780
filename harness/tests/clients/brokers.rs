//! Three brokers on loopback, which do not outlive the test.

use std::fs::{File, create_dir};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duress_history::NodeId;
use duress_settings::Request;
use duress_targets::{Broker, Deployment, Node, NodeFiles, OwnNetwork, System, Topology};
use tempfile::TempDir;

/// How long a cluster may take until it serves, on a machine busy with other work.
const PATIENCE: Duration = Duration::from_secs(60);
const ATTEMPT: Duration = Duration::from_secs(2);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(50);

/// A cluster of brokers, started as a run would start it.
pub struct Brokers {
    cluster: Arc<dyn Deployment>,
    /// The nodes' files, in their order.
    files: Vec<NodeFiles>,
    running: Vec<Child>,
    // Removed last, when no broker writes into it any more.
    folder: TempDir,
}

impl Brokers {
    /// Three brokers that serve, with these options. Each cluster of one program has a `subnet` of its own.
    pub fn start(subnet: u8, options: &[(&str, &str)]) -> Self {
        let executable = env!("CARGO_BIN_EXE_duress").into();
        let broker = Broker::new(executable, duress_broker::offer().clone());
        let folder = tempfile::Builder::new().prefix("duress-clients-").tempdir().unwrap();
        // Other runs of this test on the same machine must not share addresses.
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let mut files = Vec::new();
        let nodes = (1..=3).map(|number| {
            let name = NodeId::new(format!("n{number}"));
            let data = folder.path().join(name.as_str());
            create_dir(&data).unwrap();
            let address = Ipv4Addr::new(127, subnet.wrapping_add(high), low, number);
            files.push(NodeFiles { stdout: data.join("stdout"), stderr: data.join("stderr"), data });
            Node { address: address.into(), name }
        });
        let topology = Topology { nodes: nodes.collect() };
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let request = Request { nodes: 3, options: options.collect(), ..Request::default() };
        let cluster = broker.deploy(&broker.resolve(&request).unwrap(), &topology).unwrap();
        let mut brokers = Self { cluster, files, running: Vec::new(), folder };
        for (node, files) in topology.nodes.iter().zip(&brokers.files) {
            let spec = brokers.cluster.process(&node.name, files).unwrap();
            let child = Command::new(&spec.program)
                .args(&spec.args)
                .stdin(Stdio::null())
                .stdout(File::create(&spec.stdout).unwrap())
                .stderr(File::create(&spec.stderr).unwrap())
                .spawn()
                .unwrap();
            brokers.running.push(child);
        }
        brokers.wait();
        brokers
    }

    fn wait(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let until = Instant::now() + PATIENCE;
        for node in &self.cluster.topology().nodes {
            loop {
                let attempt = self.cluster.ready(&node.name, &OwnNetwork, ATTEMPT);
                match runtime.block_on(attempt) {
                    Ok(()) => break,
                    Err(_) if Instant::now() < until => std::thread::sleep(BETWEEN_ATTEMPTS),
                    Err(error) => panic!("{error}: {}\n{}", error.cause, self.words()),
                }
            }
        }
    }

    /// Returns the bootstrap address, in the form that every client library accepts.
    pub fn bootstrap(&self) -> String {
        let addresses = self.cluster.topology().nodes.iter().map(|node| format!("{}:9092", node.address));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// Returns the brokers' output, for finding the cause of a failure.
    pub fn words(&self) -> String {
        let words = self.cluster.topology().nodes.iter().zip(&self.files).map(|(node, files)| {
            let said = std::fs::read_to_string(&files.stderr).unwrap_or_default();
            let from = said.len().saturating_sub(4000);
            let from = (from..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(said.len());
            format!("{} said at last:\n{}", node.name, &said[from..])
        });
        words.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        for child in &mut self.running {
            if let Err(error) = child.kill().and_then(|()| child.wait()) {
                eprintln!("a broker in {} may still run: {error}", self.folder.path().display());
            }
        }
    }
}
