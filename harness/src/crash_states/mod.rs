//! Crash states: what a node's disk did is recorded, every disk that a crash may have left is built, and the node is started
//! on it. It must come up, and have what it had acknowledged.
//!
//! One node, one client, one write after the other: so it is known of each state which writes had been acknowledged, and
//! which was the last one begun. Read through the same client, each key must hold its last acknowledged write, or the one
//! that was under way.
//!
//! - `recording`: the run that is recorded;
//! - `trial`: one state tried;
//! - `report`: what came of all of them.

mod recording;
mod report;
mod trial;

use std::sync::Arc;
use std::time::{Duration, Instant};

use duress_arena::disk::DiskError;
use duress_arena::disk::crash::BuildError;
use duress_arena::{Arena, ArenaError, ArenaSpec, ControlError, HostSpec, PortKind, SpawnError, TmpfsError};
use duress_history::NodeId;
use duress_history::register::Register;
use duress_targets::{Client, ClientError, Deployment, LaunchError, NodeFiles, NotReady, Seat};

pub use report::{Failing, Report};
pub use trial::Finding;

use crate::plan::hosts;
use crate::record::folder::{FolderError, RunFolder};

/// How long a node may take to come up, whatever it finds.
const READY_MAX: Duration = Duration::from_secs(20);
/// How long one question to it may take.
const ATTEMPT: Duration = Duration::from_secs(1);
/// A node that was not ready is asked again after this.
const RETRY: Duration = Duration::from_millis(10);
/// When the client gives up on an operation.
const OPERATION_MAX: Duration = Duration::from_secs(5);
/// How long a process may take to be gone once it is killed.
const KILL_MAX: Duration = Duration::from_secs(5);
/// After so many failing states, no more are tried.
const FAILING_MAX: usize = 5;

/// How crash states are explored.
#[derive(Clone, Copy, Debug)]
pub struct Exploration {
    /// How many writes are recorded.
    pub writes: u64,
    /// At most so many states are tried for each moment.
    pub each: usize,
    /// No state is tried after so long.
    pub limit: Duration,
}

/// Why crash states could not be explored. Nothing is proved then.
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
    /// The node could not be killed or looked after.
    #[error("cannot control the node")]
    Control(#[from] ControlError),
    /// There is no client of registers.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The node did not come up on an empty disk.
    #[error("the node did not come up on an empty disk")]
    NotReady(#[source] NotReady),
    /// A write of the recorded run was not acknowledged.
    #[error("write {number} was not acknowledged while nothing was broken: {cause}")]
    Write {
        /// Which one.
        number: u64,
        /// What the client was answered.
        cause: String,
    },
    /// The runtime could not be started.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
}

/// One node in an arena of its own, and where its files are.
struct Stage {
    arena: Arena,
    deployment: Arc<dyn Deployment>,
    node: NodeId,
    files: NodeFiles,
}

impl Stage {
    fn host(&self, name: &str) -> &Arc<duress_arena::Host> {
        self.arena.host(name).expect("the arena has every host of its specification")
    }

    fn client(&self) -> Result<Box<dyn Client<Register>>, ClientError> {
        let place = Arc::clone(self.host("c1"));
        self.deployment.clients().client(Seat { node: self.node.clone(), place, timeout: OPERATION_MAX })
    }

    fn start(&self) -> Result<duress_arena::NodeProcess, ExploreError> {
        let spec = self.deployment.process(&self.node, &self.files)?;
        Ok(self.host(self.node.as_str()).spawn(&spec)?)
    }
}

/// Explores the crash states of the one node of `deployment`, into `folder`. Inside the namespaces.
///
/// # Errors
/// [`ExploreError`]; what the node does wrong is in the [`Report`].
pub fn explore(
    exploration: &Exploration,
    deployment: Arc<dyn Deployment>,
    port: PortKind,
    folder: &RunFolder,
) -> Result<Report, ExploreError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ExploreError::Runtime)?;
    runtime.block_on(async {
        let planned = hosts("n", 1, 0).into_iter().chain(hosts("c", 1, 100));
        let spec = |host: crate::plan::PlannedHost| HostSpec {
            name: host.name.as_str().into(),
            address: host.address,
        };
        let arena = Arena::build(&ArenaSpec { hosts: planned.map(spec).collect(), port, tcp_rto_max: None })?;
        let node = NodeId::new("n1");
        let home = folder.node(&node);
        let (stdout, stderr) = (home.join("stdout.log"), home.join("stderr.log"));
        let files = NodeFiles { data: folder.data(&node), stdout, stderr };
        let stage = Stage { arena, deployment, node, files };
        let recording = recording::record(&stage, folder, exploration.writes).await?;
        let mut report = Report::of(&recording);
        duress_arena::mount_tmpfs(&stage.files.data)?;
        let began = Instant::now();
        // Not while the node is being set up: what is half made for the first time, an operator makes again.
        let states = recording.states(exploration.each).filter(|state| state.begun > 0);
        for (number, state) in (1..).zip(states) {
            if began.elapsed() >= exploration.limit || report.failing.len() >= FAILING_MAX {
                report.untried += 1;
                continue;
            }
            if let Some(finding) = trial::try_state(&stage, &state).await? {
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
