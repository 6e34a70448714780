//! The observer: asks every node a few times a second for its leader, and records the answer with the run's
//! clock.
//!
//! It asks from the operator's host, which no fault touches, and one question at a time to each node, so that
//! it takes nothing from the clients. Its records go to `observations.jsonl`, one line for each node and
//! look:
//!
//! ```text
//! {"time":250113042,"wall_ns":1795528025836000000,"node":"n1","role":"leader","leader":"n1","term":3,"stdout":0,"stderr":35176}
//! {"time":250113042,"wall_ns":1795528025836000000,"node":"n2","silent":"n2 is not ready: asking for its role failed","stdout":0,"stderr":201}
//! ```
//!
//! If data are partitioned, `leads` has the partitions that the node claims to lead, with their replicas in
//! sync: `"leads":[{"partition":"log-0","epoch":3,"replicas":3,"in_sync":["n1","n3"]}]`. The lengths of the
//! node's output files date each line, whatever clock its own time stamp is from.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use duress_arena::clock::ClockPage;
use duress_history::NodeId;
use duress_targets::{LedPartition, NodeFiles, Role};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::run::clock::{Clock, nanos};
use crate::run::cluster_access::ClusterAccess;
use crate::run::conductor::chain;

/// The file in the run's folder.
pub const FILE: &str = "observations.jsonl";
/// From one look to the next.
const PERIOD: Duration = Duration::from_millis(250);
/// How long a node may take to answer: less than the period, so that looks do not pile up.
const PATIENCE: Duration = Duration::from_millis(200);

/// The observation of one node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observation {
    /// The time, in nanoseconds since the run began: before the node was asked.
    pub time: u64,
    /// The machine's wall clock then, in nanoseconds since 1970.
    pub wall_ns: i64,
    /// The node.
    pub node: String,
    /// The role that it reports; absent when it was silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The leader that it reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The term, epoch or view in which it believes that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// The partitions that it says it leads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leads: Vec<LedPartition>,
    /// Why it did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
    /// How far its wall clock is set ahead of the machine's, where it has one of its own; negative when behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset_ns: Option<i64>,
    /// The length of its standard output so far, in bytes.
    pub stdout: u64,
    /// The length of its standard error so far, in bytes.
    pub stderr: u64,
}

/// An observer at work. Dropping it ends the looks.
#[derive(Debug)]
pub struct Observer {
    enough: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Observer {
    /// Starts to look at `cluster`, noting into `folder`. On a `LocalSet`.
    ///
    /// # Errors
    /// The system's error on the file.
    pub fn start(
        folder: &Path,
        cluster: Rc<ClusterAccess>,
        clocks: BTreeMap<NodeId, Arc<ClockPage>>,
        clock: Clock,
    ) -> io::Result<Self> {
        let file = File::create(folder.join(FILE))?;
        let (enough, ended) = oneshot::channel();
        let task = tokio::task::spawn_local(look(file, cluster, clocks, clock, ended));
        Ok(Self { enough, task })
    }

    /// Takes a last look, and ends.
    ///
    /// # Errors
    /// The system's error on the file.
    pub async fn finish(self) -> io::Result<()> {
        let Self { enough, task } = self;
        drop(enough);
        match task.await {
            Ok(written) => written,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Ok(()),
            },
        }
    }
}

async fn look(
    mut file: File,
    cluster: Rc<ClusterAccess>,
    clocks: BTreeMap<NodeId, Arc<ClockPage>>,
    clock: Clock,
    mut ended: oneshot::Receiver<()>,
) -> io::Result<()> {
    let mut looks = tokio::time::interval(PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let last = tokio::select! {
            _ = looks.tick() => false,
            _ = &mut ended => true,
        };
        let now = (nanos(clock.now()), wall_ns());
        let lines = cluster.deployment.topology().nodes.iter().map(|node| {
            let clock = clocks.get(&node.name).map(Arc::as_ref);
            observe(&cluster, &node.name, cluster.files.get(&node.name), clock, now)
        });
        let mut text = String::new();
        for observation in futures_util::future::join_all(lines).await {
            text += &serde_json::to_string(&observation).map_err(io::Error::other)?;
            text.push('\n');
        }
        // One write for a look, so that a run that is killed leaves whole lines.
        file.write_all(text.as_bytes())?;
        if last {
            return Ok(());
        }
    }
}

async fn observe(
    cluster: &ClusterAccess,
    node: &NodeId,
    files: Option<&NodeFiles>,
    clock: Option<&ClockPage>,
    (time, wall_ns): (u64, i64),
) -> Observation {
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let [stdout, stderr] = files.map_or([0, 0], |files| [length(&files.stdout), length(&files.stderr)]);
    let operator = cluster.operator.as_ref();
    let asked = cluster.deployment.status(node, operator, PATIENCE).await;
    let mut observation = Observation {
        time,
        wall_ns,
        node: node.to_string(),
        clock_offset_ns: clock.map(|page| page.setting().offset_at(wall_ns)),
        stdout,
        stderr,
        ..Observation::default()
    };
    match asked {
        Ok(status) => {
            observation.role = Some(status.role);
            observation.leader = status.leader.map(|leader| leader.to_string());
            observation.term = status.term;
            observation.leads = status.leads;
        }
        Err(error) => observation.silent = Some(chain(&error)),
    }
    observation
}

/// Returns the machine's wall clock, in nanoseconds since 1970.
fn wall_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Reads the observations of the run in `folder`; other lines are skipped, and a missing file has no
/// observations.
#[must_use]
pub fn load(folder: &Path) -> Vec<Observation> {
    let text = fs::read_to_string(folder.join(FILE)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
