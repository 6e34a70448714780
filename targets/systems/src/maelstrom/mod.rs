//! Maelstrom's nodes, unmodified: programs that speak JSON messages on their standard streams, one workload each.
//!
//! Each node is a process of this program ([`Relay`]) that runs the user's program in the node's host: what a fault does to the
//! host's processes and packets, it does to the node and its messages. Clients speak to that process.

mod clients;
mod datagrams;
mod log_client;
mod message;
mod record;
mod relay;
mod services;
mod session;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use duress_arena::{ProcessSpec, Signal};
use duress_history::counter::Counter;
use duress_history::echo::Echo;
use duress_history::log::Log;
use duress_history::register::Register;
use duress_history::set::Set;
use duress_history::traffic;
use duress_history::traffic::recorder::Buffering;
use duress_history::txn::{Elements, Held, Txn};
use duress_history::unique_ids::UniqueIds;
use duress_history::{Delivery, NodeId, Payload, Promise};
use duress_settings::{Mode, Offer, Settings, SettingsError, hint, nearest};
use serde::Deserialize;
use tokio::time::Instant;
use toml::de::DeTable;

use self::clients::{CounterClient, EchoClient, IdClient, RegisterClient, SetClient, SetWords, TxnClient};
use self::log_client::{Keys, LogClient};
use self::record::{ClientRecord, Record};
use self::services::Services;
use self::session::Session;
use crate::client::{Client, ClientTraffic, Clients, Seat};
use crate::deployment::{Deployment, LaunchError, NodeStatus, NotReady};
use crate::manifest::{ManifestError, Words, find_program, line, unfit_key};
use crate::place::{Place, open};
use crate::setup::Setup;
use crate::system::{Description, KEYS, ManifestText, MissingSystem, System, USUAL_NODES};
use crate::topology::{NodeFiles, Topology};

pub use self::relay::{Relay, RelayError};

/// The port of a node's process, for clients and for messages of other nodes.
const PORT: u16 = 4000;
/// The socket of the services, beside the output of the node that is started first.
const SOCKET: &str = "services.socket";

/// A workload of Maelstrom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workload {
    Broadcast,
    GSet,
    GCounter,
    PnCounter,
    LinKv,
    UniqueIds,
    Echo,
    Kafka,
    TxnListAppend,
    TxnRwRegister,
}

impl Workload {
    const ALL: [(&'static str, Self); 10] = [
        ("broadcast", Self::Broadcast),
        ("g-set", Self::GSet),
        ("g-counter", Self::GCounter),
        ("pn-counter", Self::PnCounter),
        ("lin-kv", Self::LinKv),
        ("unique-ids", Self::UniqueIds),
        ("echo", Self::Echo),
        ("kafka", Self::Kafka),
        ("txn-list-append", Self::TxnListAppend),
        ("txn-rw-register", Self::TxnRwRegister),
    ];

    /// Returns the workload of this name.
    ///
    /// # Errors
    /// One sentence that lists the names.
    fn named(name: &str) -> Result<Self, String> {
        let names = Self::ALL.map(|(name, _)| name.to_owned());
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, workload)| workload).ok_or_else(
            || {
                let near = hint(nearest(name, &names));
                format!("unknown workload of Maelstrom \"{name}\"{near}; known: {}", names.join(", "))
            },
        )
    }

    /// Returns the vocabulary of its operations here.
    fn vocabulary(self) -> &'static str {
        match self {
            Self::Broadcast | Self::GSet => Set::NAME,
            Self::GCounter | Self::PnCounter => Counter::NAME,
            Self::LinKv => Register::NAME,
            Self::UniqueIds => UniqueIds::NAME,
            Self::Echo => Echo::NAME,
            Self::Kafka => Log::NAME,
            Self::TxnListAppend => Txn::<Elements>::NAME,
            Self::TxnRwRegister => Txn::<Held>::NAME,
        }
    }

    /// Whether the cluster has one object.
    fn is_one_object(self) -> bool {
        matches!(self, Self::Broadcast | Self::GSet | Self::GCounter | Self::PnCounter)
    }

    /// Returns the operations that its clients do not have.
    fn lacks(self) -> &'static [&'static str] {
        match self {
            Self::Kafka => &["subscriptions", "committed"],
            Self::LinKv => &["deletes"],
            one_object if one_object.is_one_object() => &[KEYS],
            _ => &[],
        }
    }

    /// Returns the switches of its vocabulary's workload that are on.
    fn switches(self) -> &'static [&'static str] {
        if self == Self::PnCounter { &["negative"] } else { &[] }
    }

    fn promise(self) -> Promise {
        match self {
            Self::Broadcast | Self::GSet | Self::GCounter | Self::PnCounter => Promise::EVENTUAL,
            Self::LinKv | Self::UniqueIds | Self::Echo => Promise::LINEARIZABLE,
            Self::Kafka => {
                Promise::Messages { stored: Delivery::EXACTLY_ONCE, consumed: Delivery::EXACTLY_ONCE }
            }
            Self::TxnListAppend | Self::TxnRwRegister => Promise::STRICT_SERIALIZABLE,
        }
    }

    fn clients(self, topology: &Topology, keys: &Keys) -> Clients {
        let (topology, count, shared) = (topology.clone(), AtomicU64::new(0), OnceLock::new());
        let session = move |seat: Seat| {
            let to = topology.address(&seat.node, PORT)?;
            let name = format!("c{}", count.fetch_add(1, Ordering::Relaxed) + 1);
            let record = seat.traffic.as_ref().map(|ClientTraffic { process, file }| {
                let record = shared.get_or_init(|| Record::new(file.clone(), Buffering::Full));
                ClientRecord { record: record.clone(), process: *process }
            });
            Ok(Session::new(seat, to, name, record))
        };
        let set = |words| move |session| -> Box<dyn Client<Set>> { Box::new(SetClient(session, words)) };
        let none = Clients::default();
        match self {
            Self::Broadcast => {
                let made = set(SetWords { add: ("broadcast", "message"), elements: "messages" });
                none.with::<Set>(move |seat| session(seat).map(made))
            }
            Self::GSet => {
                let made = set(SetWords { add: ("add", "element"), elements: "value" });
                none.with::<Set>(move |seat| session(seat).map(made))
            }
            Self::GCounter | Self::PnCounter => {
                none.with::<Counter>(move |seat| Ok(Box::new(CounterClient(session(seat)?))))
            }
            Self::LinKv => none.with::<Register>(move |seat| Ok(Box::new(RegisterClient(session(seat)?)))),
            Self::UniqueIds => none.with::<UniqueIds>(move |seat| Ok(Box::new(IdClient(session(seat)?)))),
            Self::Echo => none.with::<Echo>(move |seat| Ok(Box::new(EchoClient(session(seat)?)))),
            Self::Kafka => {
                let keys = keys.clone();
                none.with::<Log>(move |seat| Ok(Box::new(LogClient::new(session(seat)?, keys.clone()))))
            }
            Self::TxnListAppend => {
                none.with::<Txn<Elements>>(move |seat| Ok(Box::new(TxnClient(session(seat)?))))
            }
            Self::TxnRwRegister => {
                none.with::<Txn<Held>>(move |seat| Ok(Box::new(TxnClient(session(seat)?))))
            }
        }
    }
}

/// The manifest of a program that speaks Maelstrom's protocol.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Document {
    /// The workload.
    maelstrom: String,
    /// The program and its arguments.
    command: Words,
    /// The number of nodes of a run that does not say it.
    nodes: Option<usize>,
}

/// A program that speaks Maelstrom's protocol, and its workload.
#[derive(Debug)]
pub struct Maelstrom {
    text: ManifestText,
    description: Description,
    workload: Workload,
    command: Vec<String>,
    /// This program, which runs a [`Relay`] as its subcommand `maelstrom-node`.
    executable: PathBuf,
}

impl Maelstrom {
    /// Returns the manifest of `command`, to be run in `folder` under a workload of Maelstrom.
    #[must_use]
    pub fn manifest_of(command: &str, workload: &str, folder: &Path) -> ManifestText {
        let (command, workload) = (toml::Value::from(command), toml::Value::from(workload));
        let text = format!("maelstrom = {workload}\ncommand = {command}\n");
        ManifestText { path: folder.join(crate::manifest::FILE), text }
    }

    /// Returns the names of Maelstrom's workloads that there are clients of.
    pub fn workloads() -> impl Iterator<Item = &'static str> {
        Workload::ALL.into_iter().map(|(name, _)| name)
    }

    /// Whether `manifest` is one of a program that speaks Maelstrom's protocol.
    #[must_use]
    pub fn is_described_by(manifest: &ManifestText) -> bool {
        DeTable::parse(&manifest.text).is_ok_and(|table| table.get_ref().contains_key("maelstrom"))
    }

    /// Returns the system that `manifest` describes. Its nodes are processes of `executable`, this program.
    ///
    /// # Errors
    /// [`ManifestError`], with the line of the first problem.
    pub fn parse(manifest: &ManifestText, executable: PathBuf) -> Result<Self, ManifestError> {
        let wrong = |line: Option<usize>, problem: String| ManifestError {
            path: manifest.path.clone(),
            line,
            problem,
        };
        let of_toml = |error: toml::de::Error| {
            let at = error.span().map(|span| line(&manifest.text, span.start));
            wrong(at, error.message().to_owned())
        };
        let table = DeTable::parse(&manifest.text).map_err(of_toml)?;
        if let Some((span, problem)) = unfit_key(table.get_ref(), "maelstrom") {
            return Err(wrong(Some(line(&manifest.text, span.start)), problem));
        }
        let document: Document = toml::from_str(&manifest.text).map_err(of_toml)?;
        let of_key = |key: &str, problem: String| {
            let found = table.get_ref().iter().find(|(known, _)| **known.get_ref() == *key);
            wrong(found.map(|(key, _)| line(&manifest.text, key.span().start)), problem)
        };
        let workload =
            Workload::named(&document.maelstrom).map_err(|problem| of_key("maelstrom", problem))?;
        let command = document.command.list();
        let Some(program) = command.first() else {
            return Err(of_key("command", "`command` names no program".to_owned()));
        };
        // The command `python3 node.py` is named after its file, which is in the folder that it runs in.
        let folder = manifest.path.parent().unwrap_or(Path::new("/"));
        let is_beside = |word: &&String| {
            let file = folder.join(word);
            file.starts_with(folder) && file.is_file()
        };
        let named = command.iter().find(is_beside).unwrap_or(program);
        let name = Path::new(named).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let description = Description {
            name,
            summary: format!(
                "a program that speaks Maelstrom's protocol, under its workload {}",
                document.maelstrom
            ),
            offer: Offer {
                modes: vec![Mode {
                    name: document.maelstrom.clone(),
                    summary: "the workload of Maelstrom".to_owned(),
                    promises: format!("{}: {}", workload.vocabulary(), workload.promise()),
                }],
                programs: vec![NODE.to_owned()],
                ..Offer::default()
            },
            vocabularies: vec![workload.vocabulary().to_owned()],
            lacks: workload.lacks().iter().map(ToString::to_string).collect(),
            switches: workload.switches().iter().map(ToString::to_string).collect(),
            scenarios: BTreeMap::new(),
            nodes: document.nodes.unwrap_or(USUAL_NODES),
            durable: false,
            external: None,
        };
        Ok(Self { text: manifest.clone(), description, workload, command, executable })
    }

    fn folder(&self) -> &Path {
        self.text.path.parent().unwrap_or(Path::new("/"))
    }

    /// Returns the program and its arguments.
    fn program(&self, programs: &BTreeMap<String, PathBuf>) -> Result<Vec<OsString>, MissingSystem> {
        let found = match programs.get(NODE) {
            Some(program) => Ok(program.clone()),
            None => find_program(self.folder(), &self.command[0]),
        };
        let program = found.map_err(|reason| MissingSystem {
            system: self.description.name.clone(),
            reason: format!("the program {reason}"),
            remedy: "give the path of an executable file".to_owned(),
        })?;
        let args = self.command[1..].iter().map(OsString::from);
        Ok(std::iter::once(program.into_os_string()).chain(args).collect())
    }
}

/// The name of the nodes' program, for another in its place.
const NODE: &str = "node";

impl System for Maelstrom {
    fn description(&self) -> &Description {
        &self.description
    }

    fn manifest(&self) -> Option<&ManifestText> {
        Some(&self.text)
    }

    fn available(&self, programs: &BTreeMap<String, PathBuf>) -> Result<(), MissingSystem> {
        self.program(programs).map(drop)
    }

    fn deploy(&self, settings: &Settings, topology: &Topology) -> Result<Arc<dyn Deployment>, SettingsError> {
        let keys = Keys::default();
        Ok(Arc::new(Cluster {
            workload: self.workload,
            topology: topology.clone(),
            clients: self.workload.clients(topology, &keys),
            keys,
            command: self.program(&settings.programs),
            folder: self.folder().to_owned(),
            executable: self.executable.clone(),
            services: Mutex::default(),
        }))
    }
}

/// A cluster of nodes, with its services.
struct Cluster {
    workload: Workload,
    topology: Topology,
    clients: Clients,
    /// Those of the workload `kafka`.
    keys: Keys,
    command: Result<Vec<OsString>, MissingSystem>,
    folder: PathBuf,
    executable: PathBuf,
    /// Started with the first node.
    services: Mutex<Option<Services>>,
}

#[async_trait]
impl Deployment for Cluster {
    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn promise(&self, _: &str) -> Promise {
        self.workload.promise()
    }

    fn tolerates(&self) -> usize {
        self.topology.nodes.len().saturating_sub(1) / 2
    }

    fn reports_leader(&self) -> bool {
        false
    }

    fn process(&self, node: &NodeId, files: &NodeFiles) -> Result<ProcessSpec, LaunchError> {
        self.topology.node(node)?;
        let mut kept = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let services = match kept.take() {
            Some(services) => services,
            None => {
                let path = files.stdout.with_file_name(SOCKET);
                let failed = |error: std::io::Error| LaunchError::File {
                    path: path.clone(),
                    reason: error.to_string(),
                };
                Services::start(&path).map_err(failed)?
            }
        };
        let services = kept.insert(services);
        let mut args: Vec<OsString> = vec!["maelstrom-node".into(), "--node".into(), node.as_str().into()];
        for member in &self.topology.nodes {
            args.extend(["--member".into(), format!("{}={}", member.name, member.at(PORT)).into()]);
        }
        args.extend(["--services".into(), services.path().into()]);
        args.extend(["--messages".into(), files.stdout.with_file_name(traffic::FILE).into()]);
        args.extend((self.workload == Workload::Broadcast).then(|| "--topology".into()));
        args.push("--".into());
        args.extend(self.command.clone()?);
        Ok(ProcessSpec {
            program: self.executable.clone(),
            args,
            env: Vec::new(),
            cwd: Some(self.folder.clone()),
            stdout: files.stdout.clone(),
            stderr: files.stderr.clone(),
            stop: Signal::SIGTERM,
            user: None,
        })
    }

    async fn ready(&self, node: &NodeId, from: &dyn Place, deadline: Duration) -> Result<(), NotReady> {
        let to = self.topology.address(node, PORT)?;
        let connected = open(from, to, Instant::now() + deadline).await;
        // The node's process listens once its program has answered.
        connected
            .map(drop)
            .map_err(|failure| NotReady::because(node, "waiting for its program to answer `init`", failure))
    }

    async fn status(&self, _: &NodeId, _: &dyn Place, _: Duration) -> Result<NodeStatus, NotReady> {
        Ok(NodeStatus::default())
    }

    async fn prepare(&self, setup: &Setup, _: &dyn Place, _: Duration) -> Result<(), NotReady> {
        self.keys.prepare(setup);
        Ok(())
    }

    fn clients(&self) -> &Clients {
        &self.clients
    }
}
