//! The world of a run: the arena, the cluster in it, and the ways to reach both; or a cluster that already runs, without an
//! arena.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duress_arena::clock::{ClockPage, ClockPageError, Tracer};
use duress_arena::disk::{Activity, DiskError, DiskOptions, FaultDisk};
use duress_arena::{Arena, ArenaError, ArenaSpec, Host};
use duress_history::NodeId;
use duress_nemesis::cluster::{Cluster, Member};
use duress_nemesis::commands::{CommandFault, CommandLine, FaultCommands, NodeCommands};
use duress_nemesis::nemesis::{Crash, Nemesis, NemesisError};
use duress_targets::{
    ClientProgram, Deployment, ExternalCommands, ExternalFault, LaunchError, NodeFiles, NotReady, OwnNetwork,
    Place,
};
use tokio::task::JoinSet;

use crate::plan::{ArenaPlan, ClockSource, DataLocation, Plan, PlannedHost, hosts};
use crate::record::folder::{FolderError, RunFolder};
use crate::run::administrator::Operator;
use crate::run::cluster_access::ClusterAccess;
use crate::run::conductor::foreground;
use crate::run::nemesis_thread::NemesisThread;
use crate::run::second_programs::{SecondProgramError, second_programs};
use crate::workload::Workload;
use crate::workload::erased::OptionsError;

/// How long preparing the workload's resources may take.
const PREPARE_DEADLINE: Duration = Duration::from_secs(30);
/// How often starting nodes are looked after.
const WATCH_PERIOD: Duration = Duration::from_millis(50);
/// Lines that an error quotes from the beginning of a node's output, and from its end.
const QUOTED_LINES: usize = 5;
/// The most letters of a line that are quoted.
const QUOTED_LETTERS: usize = 1000;

/// The reason why the world could not be made. The run proves nothing then.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The arena could not be built.
    #[error("cannot build the arena")]
    Arena(#[from] ArenaError),
    /// A folder of the run could not be made.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The nodes' data could not be put into memory.
    #[error("cannot keep the nodes' data in memory (--data disk keeps it in the run's folder)")]
    Data(#[from] duress_arena::TmpfsError),
    /// A disk that can be broken could not be made.
    #[error("cannot mount a faultable disk for node {node} (drop `disk` from --faults to run without one)")]
    Disk {
        /// The node.
        node: NodeId,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// A clock could not be made.
    #[error("cannot give nodes clocks of their own (drop `clock` from --faults to run without them)")]
    Clock(#[from] ClockPageError),
    /// The command of a node could not be made.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A second program cannot be used.
    #[error(transparent)]
    SecondProgram(#[from] Box<SecondProgramError>),
    /// The nodes could not be started.
    #[error("cannot start the cluster")]
    Start(#[from] NemesisError),
    /// The system has no thread left.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The plan's options of the workload are not the workload's.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A node ended before the cluster was ready.
    #[error("node {} ended with {} before the cluster was ready{}{output}", crash.node, crash.status, foreground(crash.status))]
    Crashed {
        /// The node, and how it ended.
        crash: Crash,
        /// An excerpt of its output, with the path of the rest.
        output: String,
    },
    /// A node did not get ready.
    #[error("node {node} was not ready within {} s: {} failed: {}{output}", bound.as_secs_f64(), last.operation, last.cause.text)]
    NotReady {
        /// The node.
        node: NodeId,
        /// The time that it had.
        bound: Duration,
        /// An excerpt of its output, with the path of the rest.
        output: String,
        /// Its last error.
        last: Box<NotReady>,
    },
    /// A node of a cluster that already runs does not answer.
    #[error(
        "node {node} of the cluster, which should already run, was not ready within {} s: {} failed: {}; start the cluster, or mend the node's address in [[cluster.external]]",
        bound.as_secs_f64(), last.operation, last.cause.text
    )]
    Unreachable {
        /// The node.
        node: NodeId,
        /// The time that it had.
        bound: Duration,
        /// Its last error.
        last: Box<NotReady>,
    },
    /// The workload's resources, such as topics, could not be made.
    #[error("the workload's resources could not be made")]
    Prepare(#[source] NotReady),
}

/// The arena and the cluster in it.
pub struct World {
    /// The hosts and the network, unless the cluster already runs.
    pub arena: Option<Arena>,
    /// Breaks and heals.
    pub nemesis: NemesisThread,
    /// Speaks to the cluster.
    pub cluster: Rc<ClusterAccess>,
    /// The clocks of the nodes that have one of their own.
    pub clocks: BTreeMap<NodeId, Arc<ClockPage>>,
    /// The activity of the disks of the nodes that have a faultable one.
    pub disks: BTreeMap<NodeId, Activity>,
    /// How long it took from the beginning until every node was ready.
    pub ready_after: Duration,
}

impl World {
    /// Builds the arena, starts the nodes and awaits them: inside the namespaces, on a `LocalSet`. Of a cluster that already
    /// runs it only awaits the nodes.
    ///
    /// # Errors
    /// [`WorldError`].
    pub async fn build(
        plan: &Plan,
        workload: &dyn Workload,
        deployment: Arc<dyn Deployment>,
        folder: &RunFolder,
        tracer: Option<Tracer>,
    ) -> Result<Self, WorldError> {
        let began = Instant::now();
        let mut world = match &plan.arena {
            Some(planned) => Self::in_arena(plan, planned, deployment, folder, tracer).await?,
            None => Self::running(deployment, folder).await?,
        };
        let setup = workload.setup(&plan.workload.options)?;
        world.cluster.prepare(&setup, PREPARE_DEADLINE).await.map_err(WorldError::Prepare)?;
        world.ready_after = began.elapsed();
        Ok(world)
    }

    /// Finds the nodes of a cluster that already runs.
    async fn running(deployment: Arc<dyn Deployment>, folder: &RunFolder) -> Result<Self, WorldError> {
        let nemesis = Nemesis::of_commands(commands(&*deployment, folder));
        let nemesis = NemesisThread::start(nemesis).map_err(WorldError::Thread)?;
        let here: Arc<dyn Place> = Arc::new(OwnNetwork);
        let cluster = Rc::new(ClusterAccess {
            serving: deployment.serving(),
            client_logs: folder.file("clients"),
            scratch: folder.file("scratch"),
            deployment,
            files: BTreeMap::new(),
            operator: Arc::clone(&here),
            clients: vec![here],
        });
        await_ready(&nemesis, &cluster, cluster.nodes()).await.map_err(|error| match error {
            WorldError::NotReady { node, bound, last, .. } => WorldError::Unreachable { node, bound, last },
            other => other,
        })?;
        let (clocks, disks) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { arena: None, nemesis, cluster, clocks, disks, ready_after: Duration::ZERO })
    }

    async fn in_arena(
        plan: &Plan,
        planned: &ArenaPlan,
        deployment: Arc<dyn Deployment>,
        folder: &RunFolder,
        tracer: Option<Tracer>,
    ) -> Result<Self, WorldError> {
        let operator = hosts("op", 1, 200);
        let arena = Arena::build(&ArenaSpec {
            hosts: plan
                .nodes
                .iter()
                .chain(&plan.clients)
                .chain(&operator)
                .map(PlannedHost::in_arena)
                .collect(),
            port: planned.port,
            tcp_rto_max: planned.tcp_rto_max_ms.map(Duration::from_millis),
        })?;
        let find = |host: &PlannedHost| -> Arc<Host> {
            Arc::clone(arena.host(host.name.as_str()).expect("the arena has every host of its specification"))
        };
        let files = files(plan, planned.data, folder)?;
        let mut upgrades = second_programs(plan, &*deployment, &files).map_err(Box::new)?;
        let mut members = Vec::new();
        for (number, host) in (0..).zip(&plan.nodes) {
            members.push(Member {
                host: find(host),
                spec: deployment.process(&host.name, &files[&host.name])?,
                clock: match planned.clock {
                    ClockSource::Machine => None,
                    ClockSource::Own => Some(Arc::new(ClockPage::create()?)),
                },
                // Each disk has a stream of chance of its own.
                disk: disk(planned.data, folder, &host.name, plan.seed.wrapping_add(number))?,
                upgrade: upgrades.remove(&host.name),
            });
        }
        let clocks = members
            .iter()
            .filter_map(|member| Some((NodeId::new(member.host.name()), Arc::clone(member.clock.as_ref()?))))
            .collect();
        let disks = members
            .iter()
            .filter_map(|member| Some((NodeId::new(member.host.name()), member.disk.as_ref()?.activity())))
            .collect();
        let mut nemesis = Nemesis::new(arena.switch().clone(), Cluster::new(members, tracer), plan.seed);
        if deployment.membership().is_some() {
            let operator = Operator::new(Arc::clone(&deployment), find(&operator[0]), files.clone());
            nemesis = nemesis.administered_by(Box::new(operator.map_err(WorldError::Thread)?));
        }
        let nemesis = NemesisThread::start(nemesis).map_err(WorldError::Thread)?;
        let cluster = Rc::new(ClusterAccess {
            serving: deployment.serving(),
            client_logs: folder.file("clients"),
            scratch: folder.file("scratch"),
            deployment,
            files,
            operator: find(&operator[0]),
            clients: plan.clients.iter().map(|host| find(host) as Arc<dyn Place>).collect(),
        });
        for group in cluster.deployment.start_order() {
            for node in &group {
                nemesis.start_node(node.clone()).await?;
            }
            await_ready(&nemesis, &cluster, group).await?;
        }
        Ok(Self { arena: Some(arena), nemesis, cluster, clocks, disks, ready_after: Duration::ZERO })
    }
}

/// Returns the faults of a cluster that already runs, whose commands write into `folder`.
pub(crate) fn commands(deployment: &dyn Deployment, folder: &RunFolder) -> FaultCommands {
    let line = |command: &ClientProgram| CommandLine {
        program: command.program.clone(),
        args: command.args.clone(),
        cwd: command.cwd.clone().unwrap_or_else(|| PathBuf::from(".")),
    };
    let of_node = |(node, commands): (&NodeId, &ExternalCommands)| {
        let ExternalCommands { inject, heal, evidence } = commands;
        let commands = NodeCommands { inject: line(inject), heal: line(heal), evidence: line(evidence) };
        (node.clone(), commands)
    };
    let fault = |fault: &ExternalFault| {
        let nodes = fault.nodes.iter().map(of_node).collect();
        (fault.name.clone(), CommandFault { deadline: fault.deadline, nodes })
    };
    FaultCommands {
        folder: folder.file("faults"),
        faults: deployment.external().into_iter().flatten().map(fault).collect(),
    }
}

/// Makes the nodes' folders, and puts their data where the plan has it.
fn files(
    plan: &Plan,
    location: DataLocation,
    folder: &RunFolder,
) -> Result<BTreeMap<NodeId, NodeFiles>, WorldError> {
    let mut files = BTreeMap::new();
    for host in &plan.nodes {
        let home = folder.node(&host.name);
        let data = folder.data(&host.name);
        folder.make(&data)?;
        if location == DataLocation::Tmpfs {
            duress_arena::mount_tmpfs(&data)?;
        }
        let (stdout, stderr) = (home.join("stdout.log"), home.join("stderr.log"));
        files.insert(host.name.clone(), NodeFiles { data, stdout, stderr });
    }
    Ok(files)
}

/// Returns the breakable disk of `node`, mounted where its data is, if the data is on one.
fn disk(
    location: DataLocation,
    folder: &RunFolder,
    node: &NodeId,
    seed: u64,
) -> Result<Option<FaultDisk>, WorldError> {
    if location != DataLocation::Breakable {
        return Ok(None);
    }
    let (data, backing) = (folder.data(node), folder.backing(node));
    folder.make(&backing)?;
    duress_arena::mount_tmpfs(&backing)?;
    FaultDisk::mount(&data, &backing, DiskOptions::new(seed))
        .map(Some)
        .map_err(|source| WorldError::Disk { node: node.clone(), source })
}

async fn await_ready(
    nemesis: &NemesisThread,
    cluster: &Rc<ClusterAccess>,
    nodes: Vec<NodeId>,
) -> Result<(), WorldError> {
    let bound = cluster.deployment.ready_bound();
    let mut waits = JoinSet::new();
    for node in nodes {
        let cluster = Rc::clone(cluster);
        waits.spawn_local(async move {
            let ready = cluster.await_ready(&node, bound).await;
            (node, ready)
        });
    }
    loop {
        tokio::select! {
            joined = waits.join_next() => match joined {
                None => return Ok(()),
                Some(Ok((_, Ok(())))) => {}
                Some(Ok((node, Err(last)))) => {
                    let output = quote(cluster, &node);
                    return Err(WorldError::NotReady { node, bound, output, last: Box::new(last) });
                }
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            },
            () = tokio::time::sleep(WATCH_PERIOD) => {
                if let Some(crash) = nemesis.crashes().await?.into_iter().next() {
                    let output = quote(cluster, &crash.node);
                    return Err(WorldError::Crashed { crash, output });
                }
            }
        }
    }
}

/// Returns the first and the last lines that `node` wrote, cut and fit for a terminal, and where the rest is.
pub(super) fn quote(cluster: &ClusterAccess, node: &NodeId) -> String {
    let Some(files) = cluster.files.get(node) else { return String::new() };
    for file in [&files.stderr, &files.stdout] {
        let bytes = fs::read(file).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if !lines.is_empty() {
            let mut quoted = lines[..lines.len().min(QUOTED_LINES)].to_vec();
            if lines.len() > 2 * QUOTED_LINES {
                quoted.push("…");
            }
            quoted.extend(
                &lines[lines.len().saturating_sub(QUOTED_LINES).max(QUOTED_LINES.min(lines.len()))..],
            );
            let printable = |line: &&str| -> String {
                let letters = line.chars().take(QUOTED_LETTERS);
                letters
                    .map(|letter| if letter.is_control() && letter != '\t' { '\u{fffd}' } else { letter })
                    .collect()
            };
            let quoted: Vec<String> = quoted.iter().map(printable).collect();
            return format!("; it wrote ({}):\n  {}", file.display(), quoted.join("\n  "));
        }
    }
    format!("; {} is empty", files.stderr.display())
}
