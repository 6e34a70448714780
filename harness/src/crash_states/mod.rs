//! Crash states: the operations of a node on its disk are recorded, states of the disk that a crash may leave are listed
//! and built, and the node is started on each. It must come up, and have the writes that it acknowledged.
//!
//! There is one node and a few clients, each of which writes one value after the other. For each state it is therefore
//! known which writes of each client were acknowledged, and which was the last one begun. Each key, which one client
//! writes, must hold its last acknowledged write, or the write that was in progress; a partition must have every
//! acknowledged message, once and in its client's order, and no gap in its offsets.
//!
//! - `data`: what the clients write and compare: `registers` or `messages`;
//! - `recording`: the run that is recorded;
//! - `trial`: one state, tried;
//! - `report`: the result of all of them.

mod data;
mod messages;
mod recording;
mod registers;
mod report;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use duress_arena::disk::DiskError;
use duress_arena::disk::crash::{BuildError, Recording};
use duress_arena::{
    Arena, ArenaError, ArenaSpec, ControlError, NodeProcess, PortKind, SpawnError, TmpfsError,
};
use duress_history::{NodeId, Payload};
use duress_targets::{Client, ClientError, Deployment, LaunchError, NodeFiles, NotReady, Seat};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

pub use data::Vocabulary;
pub use report::{Failing, Report};
pub use trial::Finding;

use crate::plan::hosts;
use crate::record::folder::{FolderError, RunFolder};

/// The least time that a node has to come up, whatever is on its disk.
const READY_MIN: Duration = Duration::from_secs(20);
/// How long one request for its readiness may take.
const ATTEMPT: Duration = Duration::from_secs(1);
/// The pause before the next such request.
const RETRY: Duration = Duration::from_millis(10);
/// The time-out of an operation.
const OPERATION_MAX: Duration = Duration::from_secs(5);
/// How long a process may take to end once it is killed.
const KILL_MAX: Duration = Duration::from_secs(5);
/// The number of failing states after which no more are tried.
const FAILING_MAX: usize = 5;

/// The extent of an exploration.
#[derive(Clone, Copy, Debug)]
pub struct Exploration {
    /// The number of writes that are recorded.
    pub writes: u64,
    /// The number of clients that share them; at least 1.
    pub clients: u8,
    /// The largest number of states for each moment.
    pub each: usize,
    /// The time after which no more states are tried.
    pub limit: Duration,
}

/// Why crash states could not be explored.
#[derive(Debug, thiserror::Error)]
pub enum ExploreError {
    /// The arena could not be built.
    #[error("cannot build the arena")]
    Arena(#[from] ArenaError),
    /// A folder could not be made or emptied.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A folder could not be emptied.
    #[error("cannot empty the node's data folder")]
    Empty(#[source] std::io::Error),
    /// Data could not be kept in memory.
    #[error("cannot keep the node's data in memory")]
    Tmpfs(#[from] TmpfsError),
    /// The node could not be given a disk that records.
    #[error("cannot give the node a disk that records")]
    Disk(#[from] DiskError),
    /// A state could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The node's command could not be made.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The node could not be started.
    #[error("cannot start the node")]
    Spawn(#[from] SpawnError),
    /// The node could not be controlled.
    #[error("cannot control the node")]
    Control(#[from] ControlError),
    /// There is no client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The node did not come up on an empty disk.
    #[error("on an empty disk, {0}")]
    NotUp(Finding),
    /// The node could not be prepared for the first write.
    #[error("cannot prepare the node")]
    Prepare(#[source] NotReady),
    /// A write of the recorded run was not acknowledged.
    #[error("write {number} of client {} was not acknowledged, although there was no fault: {cause}", client + 1)]
    Write {
        /// The client, from 0.
        client: usize,
        /// The write's number.
        number: u64,
        /// The error that the client received.
        cause: String,
    },
    /// Signals cannot be received.
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
    /// The runtime could not be started.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
}

/// One node in an arena of its own, and its files.
struct Stage {
    arena: Arena,
    deployment: Arc<dyn Deployment>,
    node: NodeId,
    files: NodeFiles,
    vocabulary: Vocabulary,
}

impl Stage {
    fn host(&self, name: &str) -> &Arc<duress_arena::Host> {
        self.arena.host(name).expect("the arena has every host of its specification")
    }

    fn client<A: Payload + Sync + 'static>(&self) -> Result<Box<dyn Client<A>>, ClientError> {
        let place = Arc::clone(self.host("c1"));
        let seat = Seat {
            node: self.node.clone(),
            place,
            timeout: OPERATION_MAX,
            stderr: None,
            scratch: None,
            traffic: None,
        };
        self.deployment.clients().client(seat)
    }

    /// Returns how long the node may take to come up, whatever is on its disk, and to answer.
    fn patience(&self) -> Duration {
        self.deployment.ready_bound().max(READY_MIN)
    }

    /// Waits until the node is ready; returns its failure if it ends or takes too long.
    async fn come_up(&self, process: &mut NodeProcess) -> Result<Option<Finding>, ExploreError> {
        let within = self.patience();
        let end = Instant::now() + within;
        loop {
            let ready = self.deployment.ready(&self.node, self.host("c1").as_ref(), ATTEMPT).await;
            let Err(error) = ready else { return Ok(None) };
            if let Some(status) = process.try_wait()? {
                return Ok(Some(Finding::Ended(status)));
            }
            if Instant::now() >= end {
                return Ok(Some(Finding::NotUp { within, error: error.to_string() }));
            }
            sleep(RETRY).await;
        }
    }

    fn start(&self) -> Result<NodeProcess, ExploreError> {
        let spec = self.deployment.process(&self.node, &self.files)?;
        Ok(self.host(self.node.as_str()).spawn(&spec)?)
    }
}

/// Requests to end early: the signals SIGINT and SIGTERM.
struct Stop {
    signals: [Signal; 2],
    asked: bool,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        let signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        Ok(Self { signals, asked: false })
    }

    /// Returns the result of `work`; `None` if a request comes first.
    async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let [interrupt, terminate] = &mut self.signals;
        tokio::select! {
            result = work => return Some(result),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        self.asked = true;
        None
    }
}

/// Explores the crash states of the only node of `deployment`, and keeps failing ones in `folder`. Call it inside the
/// namespaces.
///
/// # Errors
/// [`ExploreError`]; the node's own failures are in the [`Report`].
pub fn explore(
    exploration: &Exploration,
    deployment: Arc<dyn Deployment>,
    vocabulary: Vocabulary,
    port: PortKind,
    folder: &RunFolder,
) -> Result<Report, ExploreError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ExploreError::Runtime)?;
    runtime.block_on(async {
        let planned = hosts("n", 1, 0).into_iter().chain(hosts("c", 1, 100));
        let hosts = planned.map(|host| host.in_arena()).collect();
        let arena = Arena::build(&ArenaSpec { hosts, port, tcp_rto_max: None })?;
        let node = NodeId::new("n1");
        let home = folder.node(&node);
        let (stdout, stderr) = (home.join("stdout.log"), home.join("stderr.log"));
        let files = NodeFiles { data: folder.data(&node), stdout, stderr };
        let stage = Stage { arena, deployment, node, files, vocabulary };
        let mut stop = Stop::new().map_err(ExploreError::Signals)?;
        let recording = match stop.unless(recording::record(&stage, folder, exploration)).await {
            Some(recording) => recording?,
            None => return Ok(Report::of(&Recording::default())),
        };
        let mut report = Report::of(&recording);
        duress_arena::mount_tmpfs(&stage.files.data)?;
        let end = Instant::now() + exploration.limit;
        // A crash while the node is set up for the first time is left out: an operator sets it up again.
        let states = recording.states(exploration.each).filter(|state| !state.requests.is_empty());
        for (number, state) in (1..).zip(states) {
            report.bounded += u64::from(state.bounded);
            if stop.asked || Instant::now() >= end || report.failing.len() >= FAILING_MAX {
                report.untried += 1;
                continue;
            }
            let Some(finding) = stop.unless(trial::try_state(&stage, &state)).await else {
                report.untried += 1;
                continue;
            };
            if let Some(finding) = finding? {
                let kept = folder.file(&format!("state-{number}"));
                folder.make(&kept)?;
                state.build(&kept)?;
                report.failing.push(Failing::new(number, &state, finding));
            }
            report.tried += 1;
        }
        Ok(report)
    })
}
