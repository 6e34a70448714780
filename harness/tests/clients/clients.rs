//! The clients that others wrote, where they are installed: `sh ci/install-kafka-clients` installs them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use duress_testing::{Missing, Need};

/// How long a client may take in all.
const PATIENCE: Duration = Duration::from_secs(240);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The program kcat, on librdkafka.
    Kcat,
    /// confluent-kafka-python, on librdkafka.
    Confluent,
    /// kafka-python, which is all Python.
    KafkaPython,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kcat, Self::Confluent, Self::KafkaPython];

    /// Whether it is installed.
    pub fn installed(self) -> Result<Self, Missing> {
        let found = match self {
            Self::Kcat => Command::new("kcat").arg("-V").output().is_ok_and(|output| output.status.success()),
            Self::Confluent => imports("confluent_kafka"),
            Self::KafkaPython => imports("kafka"),
        };
        let reason = || format!("{self:?} is not installed: sh ci/install-kafka-clients");
        found.then_some(self).ok_or_else(|| Missing::new(Need::KafkaClients, reason()))
    }

    /// What the values it sends begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Kcat => "kcat",
            Self::Confluent => "confluent",
            Self::KafkaPython => "kafka-python",
        }
    }
}

/// A client that did not do what it was asked to: everything that is known of it.
#[derive(Debug)]
pub struct Failed(pub String);

/// The Python that has the libraries.
fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kafka-clients/bin/python")
}

fn imports(module: &str) -> bool {
    let tried = Command::new(python()).arg("-c").arg(format!("import {module}")).output();
    tried.is_ok_and(|output| output.status.success())
}

/// Runs the script of `client` and returns what it printed, or everything that is known of why it failed.
pub fn script(client: Client, arguments: &[&str]) -> Result<String, Failed> {
    let name = match client {
        Client::Confluent => "with_confluent.py",
        Client::KafkaPython => "with_kafka_python.py",
        Client::Kcat => panic!("kcat has no script"),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name);
    let mut command = Command::new(python());
    // Without -B Python would write its caches beside the scripts.
    command.arg("-B").arg(script).args(arguments);
    finish(command, "")
}

/// Runs kcat on `input`.
pub fn kcat(arguments: &[&str], input: &str) -> Result<String, Failed> {
    let mut command = Command::new("kcat");
    command.args(arguments);
    finish(command, input)
}

fn finish(mut command: Command, input: &str) -> Result<String, Failed> {
    let folder = tempfile::tempdir().unwrap();
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(std::fs::File::create(&err).unwrap())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > until {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(LOOK_AGAIN);
    };
    let out = std::fs::read_to_string(out).unwrap();
    match status {
        Some(status) if status.success() => Ok(out),
        status => {
            let err = std::fs::read_to_string(err).unwrap();
            let ended =
                status.map_or_else(|| format!("not over in {PATIENCE:?}"), |status| status.to_string());
            Err(Failed(format!("{command:?}: {ended}\n{err}\n{out}")))
        }
    }
}
