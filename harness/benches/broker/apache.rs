//! Three nodes of Apache Kafka on loopback, in KRaft mode, from the jars that `ci/install-kafka` fetches.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Any identifier does, the same on every node.
const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";

/// A cluster, which does not outlive the bench.
pub struct Apache {
    running: Vec<Child>,
    // Removed last, when no broker writes into it any more.
    folder: TempDir,
}

fn port(base: u16, node: u16) -> u16 {
    base + node
}

impl Apache {
    /// Where its brokers listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        (1..=3).map(|node| SocketAddr::from(([127, 0, 0, 1], port(29091, node)))).collect()
    }
}

/// Starts three nodes; the caller waits for them.
///
/// # Errors
/// Why there is no Apache Kafka here.
pub fn start() -> io::Result<Apache> {
    let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kafka/libs");
    if !jars.is_dir() {
        let text = format!("there is no {} (sh ci/install-kafka)", jars.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    let mut apache = Apache { running: Vec::new(), folder: tempfile::tempdir()? };
    for node in 1..=3 {
        let home = apache.folder.path().join(node.to_string());
        apache.running.push(launch(&jars, &home, node)?);
    }
    Ok(apache)
}

fn launch(jars: &Path, home: &Path, node: u16) -> io::Result<Child> {
    std::fs::create_dir(home)?;
    let voters: Vec<String> = (1..=3).map(|node| format!("{node}@127.0.0.1:{}", port(29191, node))).collect();
    let properties = home.join("server.properties");
    let (client, peer) = (port(29091, node), port(29191, node));
    std::fs::write(
        &properties,
        format!(
            "process.roles=broker,controller\nnode.id={node}\n\
             listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{peer}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{client}\ncontroller.listener.names=CONTROLLER\n\
             controller.quorum.voters={}\nlog.dirs={}\noffsets.topic.replication.factor=3\n\
             transaction.state.log.replication.factor=3\ntransaction.state.log.min.isr=2\n",
            voters.join(","),
            home.join("data").display(),
        ),
    )?;
    let output = File::create(home.join("output"))?;
    let java = |class: &str| {
        let mut command = Command::new("java");
        command.args(["-Xmx512m", "-cp"]).arg(classpath(jars)).arg(class).stdin(Stdio::null());
        command
    };
    let mut format = java("kafka.tools.StorageTool");
    format.args(["format", "-t", CLUSTER, "-c"]).arg(&properties);
    let formatted = format.stdout(output.try_clone()?).stderr(output.try_clone()?).status()?;
    if !formatted.success() {
        return Err(io::Error::other(format!("formatting its folder: {formatted}")));
    }
    java("kafka.Kafka").arg(&properties).stdout(output.try_clone()?).stderr(output).spawn()
}

fn classpath(jars: &Path) -> PathBuf {
    jars.join("*")
}

impl Drop for Apache {
    fn drop(&mut self) {
        for child in &mut self.running {
            if let Err(error) = child.kill().and_then(|()| child.wait()) {
                eprintln!(
                    "a node of Apache Kafka in {} may still run: {error}",
                    self.folder.path().display()
                );
            }
        }
    }
}
