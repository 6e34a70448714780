//! A cluster of a system that a manifest describes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use duress_arena::ProcessSpec;
use duress_history::{ClockBound, NodeId, Promise};
use duress_settings::{Settings, SettingsError, duration};

use super::document::{Document, Protocol, Ready, RoleTable, Status, Words};
use super::probe::{self, Asked};
use super::problem::{Problem, problem};
use super::template::{Scene, TemplateError, render_values};
use super::{clients, external, launch, layout, promise};
use crate::client::Clients;
use crate::deployment::{Deployment, LaunchError, NodeStatus, NotReady, TimeOuts};
use crate::external::ExternalFault;
use crate::kafka::{NewTopic, USUAL_SESSION, create_topics};
use crate::outcome::{CauseKind, RequestError};
use crate::place::Place;
use crate::postgres::make_tables;
use crate::setup::{Keeps, Setup};
use crate::topology::{NodeFiles, Topology};

/// The replicas of each partition of a topic that a workload asks for, if there are as many nodes.
const REPLICAS: u16 = 3;
/// The pause before a command that prepares the cluster is run again.
const RETRY: Duration = Duration::from_millis(100);

/// A cluster of a system that a manifest describes.
pub(super) struct ManifestCluster {
    document: Arc<Document>,
    folder: PathBuf,
    settings: Settings,
    topology: Topology,
    /// Each node's role, as a place in the manifest's list.
    roles: Vec<usize>,
    /// Each node's role and port.
    places: Vec<(String, u16)>,
    time_outs: TimeOuts,
    clock_bound: Option<ClockBound>,
    ready_bound: Duration,
    recovery_bound: Duration,
    clients: Clients,
    /// Whether clients speak to the nodes of each role, in the manifest's order.
    serves: Vec<bool>,
    /// The faults of a cluster that already runs.
    faults: Option<Vec<ExternalFault>>,
    /// The files of each node, as it was described: readiness and status by log read them.
    files: Mutex<BTreeMap<NodeId, NodeFiles>>,
}

impl ManifestCluster {
    pub(super) fn new(
        document: Arc<Document>,
        folder: &Path,
        settings: &Settings,
        topology: &Topology,
    ) -> Result<Self, Problem> {
        let roles = layout::assign(&document, topology.nodes.len());
        let roles = roles.map_err(|text| Problem::at(["nodes"], text))?;
        let external = external::nodes(&document);
        let place = |(node, role): (usize, &usize)| {
            let role = &document.roles[*role];
            let of_role = || role.port.unwrap_or(document.port);
            (role.name.clone(), external.map_or_else(of_role, |nodes| external::port(&nodes[node])))
        };
        let places: Vec<(String, u16)> = roles.iter().enumerate().map(place).collect();
        let scene = Scene {
            topology,
            roles: &places,
            settings,
            folder,
            node: None,
            places: None,
            files: None,
            operation: &[],
        };
        let time = |at: &[&str], text: &str| -> Result<Duration, Problem> {
            let complete = scene.render(text).map_err(|error| problem(at, error))?;
            duration(&complete).map_err(|error| problem(at, error))
        };
        let given =
            |at: &[&str], text: &Option<String>| text.as_deref().map(|text| time(at, text)).transpose();
        let usual = TimeOuts::default();
        let kafka = document.client.protocol == Protocol::Kafka;
        let time_outs = TimeOuts {
            election: given(&["time-outs", "election"], &document.time_outs.election)?
                .unwrap_or(usual.election),
            session: given(&["time-outs", "session"], &document.time_outs.session)?,
            lease: given(&["time-outs", "lease"], &document.time_outs.lease)?,
            client: given(&["time-outs", "client"], &document.time_outs.client)?
                .or(kafka.then_some(USUAL_SESSION)),
        };
        let of_mode = document.modes.get(&settings.mode).and_then(|mode| mode.clock_bound.as_ref());
        let clock_bound = match (of_mode, &document.clock_bound) {
            (Some(bound), _) => Some((bound, vec!["modes", &settings.mode, "clock-bound"])),
            (None, Some(bound)) => Some((bound, vec!["clock-bound"])),
            (None, None) => None,
        };
        let clock_bound = clock_bound.map(|(bound, at)| {
            let of_key = |key, text: &str| time(&[&at[..], &[key]].concat(), text);
            Ok(ClockBound { lease: of_key("lease", &bound.lease)?, slack: of_key("slack", &bound.slack)? })
        });
        let clock_bound = clock_bound.transpose()?;
        let usual = if external.is_some() { external::READY } else { Duration::from_secs(60) };
        let mut ready_bound = given(&["ready", "deadline"], &document.ready.deadline)?.unwrap_or(usual);
        for (role, table) in document.roles.iter().enumerate() {
            let deadline = table.ready.as_ref().and_then(|ready| ready.deadline.clone());
            let at = ["role", &role.to_string(), "ready", "deadline"];
            ready_bound = ready_bound.max(given(&at, &deadline)?.unwrap_or_default());
        }
        let (nodes, ports) = (topology.clone(), places.clone());
        let address = Arc::new(move |node: &NodeId| {
            let at = nodes.nodes.iter().position(|known| known.name == *node);
            nodes.address(node, at.map_or(0, |at| ports[at].1))
        });
        let clients = clients::clients(&document.client, &scene, address, settings)?;
        let of_node = |node: usize| Scene { node: Some(node), ..scene };
        let scenes: Vec<Scene<'_>> = (0..roles.len()).map(of_node).collect();
        let faults = external.map(|_| external::faults(&document, &scenes)).transpose()?;
        let serves = launch::serves(&scene, &document.roles)?;
        let recovery_bound = given(&["recovery"], &document.recovery)?.unwrap_or(Duration::from_secs(15));
        Ok(Self {
            folder: folder.to_owned(),
            settings: settings.clone(),
            topology: topology.clone(),
            files: Mutex::default(),
            document,
            roles,
            places,
            time_outs,
            clock_bound,
            ready_bound,
            recovery_bound,
            clients,
            serves,
            faults,
        })
    }

    fn scene<'a>(&'a self, node: usize, files: Option<&'a NodeFiles>) -> Scene<'a> {
        Scene {
            topology: &self.topology,
            roles: &self.places,
            settings: &self.settings,
            folder: &self.folder,
            node: Some(node),
            places: files.map(|files| (files.data.as_path(), launch::home(files))),
            files: Some(&self.role(node).files),
            operation: &[],
        }
    }

    fn place(&self, node: &NodeId) -> Result<usize, crate::topology::UnknownNode> {
        self.topology.node(node)?;
        Ok(self.topology.nodes.iter().position(|known| known.name == *node).unwrap_or_default())
    }

    fn role(&self, node: usize) -> &RoleTable {
        &self.document.roles[self.roles[node]]
    }

    /// Whether clients speak to a node.
    fn is_served(&self, node: usize) -> bool {
        self.serves[self.roles[node]]
    }

    /// Returns how a node is ready: by its role's own table, or else by that of all nodes that clients speak to.
    fn readiness(&self, node: usize) -> Option<&Ready> {
        self.role(node).ready.as_ref().or(self.is_served(node).then_some(&self.document.ready))
    }

    /// Returns how a node reports its status, likewise.
    fn status_of(&self, node: usize) -> Option<&Status> {
        self.role(node).status.as_ref().or(self.document.status.as_ref().filter(|_| self.is_served(node)))
    }

    /// Completes every template once, and returns the first that cannot be.
    pub(super) fn try_out(&self) -> Result<(), Problem> {
        let nowhere = PathBuf::from("/nowhere");
        let files = NodeFiles { data: nowhere.clone(), stdout: nowhere.clone(), stderr: nowhere };
        // A node that already runs has no files here.
        let files = self.faults.is_none().then_some(&files);
        for (node, role_at) in self.roles.iter().enumerate() {
            let (role, at) = (self.role(node), role_at.to_string());
            let scene = self.scene(node, files);
            let in_role = |key: &'static str| {
                let at = at.clone();
                move |error: TemplateError| Problem::at(["role", &at, key], error)
            };
            launch::command(&scene, &role.command.list()).map_err(in_role("command"))?;
            launch::files(&scene, role).map_err(in_role("files"))?;
            render_values(&scene, &role.env).map_err(in_role("env"))?;
            let (of_ready, of_status) = (role.ready.is_some(), role.status.is_some());
            let in_table = |own: bool, table: &'static str, key: &'static str| {
                let within: &[&str] = if own { &["role", &at] } else { &[] };
                let path = [within, &[table, key]].concat();
                move |error: TemplateError| problem(&path, error)
            };
            if let Some(Ready { command, http, .. }) = self.readiness(node) {
                let words = command.as_ref().map(Words::list);
                words
                    .map(|words| launch::command(&scene, &words))
                    .transpose()
                    .map_err(in_table(of_ready, "ready", "command"))?;
                let path = http.as_ref().map(|page| scene.render(&page.path)).transpose();
                path.map_err(in_table(of_ready, "ready", "http"))?;
            }
            if let Some(Status { command, http, .. }) = self.status_of(node) {
                let words = command.as_ref().map(Words::list);
                words
                    .map(|words| launch::command(&scene, &words))
                    .transpose()
                    .map_err(in_table(of_status, "status", "command"))?;
                let path = http.as_ref().map(|page| scene.render(&page.path)).transpose();
                path.map_err(in_table(of_status, "status", "http"))?;
            }
        }
        let first = self.scene(0, None);
        for (at, prepare) in self.document.prepares.iter().enumerate() {
            let wrong = |error| Problem::at(["prepare", &at.to_string(), "command"], error);
            launch::command(&first, &prepare.command.list()).map_err(wrong)?;
        }
        super::http_client::try_out(&self.document.client)
    }

    /// Makes the tables of clients that speak SQL, as soon as a node takes them.
    async fn make_tables(&self, from: &dyn Place, end: tokio::time::Instant) -> Result<(), NotReady> {
        let first = &self.topology.nodes[0].name;
        let options = clients::sql_options(&self.document.client, &self.scene(0, None));
        let options = options.map_err(|error| {
            let failure = RequestError::definite(CauseKind::Rejected, error.text);
            NotReady::because(first, "reading the keys of [client]", failure)
        })?;
        let nodes = self.topology.nodes.iter().zip(&self.places).enumerate();
        let nodes = nodes.filter(|(at, _)| self.is_served(*at));
        let nodes: Vec<_> = nodes.map(|(_, (node, (_, port)))| node.at(*port)).collect();
        let speaks = clients::vocabularies(&self.document.client);
        while let Err(failure) = make_tables(from, &nodes, &options, &speaks, end).await {
            if failure.cause.kind == CauseKind::Rejected || tokio::time::Instant::now() + RETRY >= end {
                return Err(NotReady::because(first, "making the tables", failure));
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }

    fn known_files(&self, node: &NodeId) -> Option<NodeFiles> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }
}

#[async_trait]
impl Deployment for ManifestCluster {
    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn promise(&self, workload: &str) -> Promise {
        let client = &self.document.client;
        let sql = (client.protocol == Protocol::Postgres)
            .then(|| clients::sql_options(client, &self.scene(0, None)).ok())
            .flatten();
        promise::of(&self.document, &self.settings, sql.map(|sql| sql.isolation), workload)
    }

    fn serving(&self) -> Vec<NodeId> {
        let nodes = self.topology.nodes.iter().enumerate();
        nodes.filter(|(at, _)| self.is_served(*at)).map(|(_, node)| node.name.clone()).collect()
    }

    fn start_order(&self) -> Vec<Vec<NodeId>> {
        layout::start_order(&self.document, &self.roles, &self.topology)
    }

    fn ready_bound(&self) -> Duration {
        self.ready_bound
    }

    fn tolerates(&self) -> usize {
        let of_mode = self.document.modes.get(&self.settings.mode).and_then(|mode| mode.tolerates.as_ref());
        layout::tolerated(of_mode.or(self.document.tolerates.as_ref()), self.topology.nodes.len())
    }

    fn clock_bound(&self) -> Option<ClockBound> {
        self.clock_bound
    }

    fn time_outs(&self) -> TimeOuts {
        self.time_outs
    }

    fn reports_leader(&self) -> bool {
        (0..self.roles.len()).any(|node| self.status_of(node).is_some())
    }

    fn roles(&self, _: &Setup) -> Vec<String> {
        let alone =
            |role: &&RoleTable| self.places.iter().filter(|(name, _)| *name == role.name).count() == 1;
        self.document.roles.iter().filter(alone).map(|role| role.name.clone()).collect()
    }

    fn external(&self) -> Option<&[ExternalFault]> {
        self.faults.as_deref()
    }

    fn recovery_bound(&self) -> Duration {
        self.recovery_bound
    }

    fn process(&self, node: &NodeId, files: &NodeFiles) -> Result<ProcessSpec, LaunchError> {
        let at = self.place(node)?;
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(node.clone(), files.clone());
        let (scene, role) = (self.scene(at, Some(files)), self.role(at));
        let complete = |error: TemplateError| {
            let owner = self.document.name.clone();
            LaunchError::Settings(SettingsError::Unfit { owner, reason: error.to_string() })
        };
        launch::process(&scene, role, self.settings.programs.get(&role.name), files, complete)
    }

    async fn ready(&self, node: &NodeId, from: &dyn Place, deadline: Duration) -> Result<(), NotReady> {
        let at = self.place(node)?;
        let files = self.known_files(node);
        let asked = Asked { scene: self.scene(at, files.as_ref()), files: files.as_ref(), from };
        let usual = Ready::default();
        let ready = probe::ready(self.readiness(at).unwrap_or(&usual), &asked, deadline).await;
        ready.map_err(|(operation, failure)| NotReady::because(node, operation, failure))
    }

    async fn status(
        &self,
        node: &NodeId,
        from: &dyn Place,
        deadline: Duration,
    ) -> Result<NodeStatus, NotReady> {
        let at = self.place(node)?;
        let files = self.known_files(node);
        let asked = Asked { scene: self.scene(at, files.as_ref()), files: files.as_ref(), from };
        let mut status = match self.status_of(at) {
            Some(status) => probe::status(status, &asked, deadline)
                .await
                .map_err(|failure| NotReady::because(node, "asking for its status", failure))?,
            None => NodeStatus::default(),
        };
        for role in self.roles(&Setup::default()) {
            let holder = self.places.iter().position(|(name, _)| *name == role);
            status.roles.extend(holder.map(|at| (role, self.topology.nodes[at].name.clone())));
        }
        Ok(status)
    }

    async fn prepare(&self, setup: &Setup, from: &dyn Place, deadline: Duration) -> Result<(), NotReady> {
        let end = tokio::time::Instant::now() + deadline;
        let first = &self.topology.nodes[0].name;
        let asked = Asked { scene: self.scene(0, None), files: None, from };
        for prepare in &self.document.prepares {
            // Each by itself: one that has ended well may not bear a second time.
            while let Err(failure) = probe::run(&asked, &prepare.command.list(), end).await {
                if tokio::time::Instant::now() + RETRY >= end {
                    return Err(NotReady::because(first, "a command that prepares the cluster", failure));
                }
                tokio::time::sleep(RETRY).await;
            }
        }
        if self.document.client.protocol == Protocol::Postgres {
            return self.make_tables(from, end).await;
        }
        if setup.topics.is_empty() {
            return Ok(());
        }
        if self.document.client.protocol != Protocol::Kafka {
            // A client program is told the topic with each operation.
            return Ok(());
        }
        let nodes = u16::try_from(self.topology.nodes.len()).unwrap_or(u16::MAX);
        let topic = |topic: &crate::setup::Topic| NewTopic {
            name: topic.name.clone(),
            partitions: topic.partitions,
            replication: REPLICAS.min(nodes),
            config: match topic.keeps {
                Keeps::Everything => BTreeMap::new(),
                Keeps::Latest => BTreeMap::from([("cleanup.policy", "compact".to_owned())]),
            },
        };
        let topics: Vec<NewTopic> = setup.topics.iter().map(topic).collect();
        let nodes = self.topology.nodes.iter().zip(&self.places);
        let brokers: Vec<_> = nodes.map(|(node, (_, port))| node.at(*port)).collect();
        let made = create_topics(from, &brokers, &topics, end).await;
        made.map_err(|failure| NotReady::because(first, "making the topics", failure))
    }

    fn clients(&self) -> &Clients {
        &self.clients
    }
}

/// Returns a failure that says what a template lacks.
pub(super) fn incomplete(error: &TemplateError) -> RequestError {
    RequestError::definite(CauseKind::Rejected, error.to_string())
}
