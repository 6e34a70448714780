//! The observer: asks every node again and again what it is and who leads, and notes it with the run's clock.
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
//! Where data are partitioned, `leads` has the partitions that the node says it leads, with their replicas in sync:
//! `"leads":[{"partition":"log-0","epoch":3,"replicas":3,"in_sync":["n1","n3"]}]`.
//! The lengths of the node's output files say when a line was written, whatever clock its own time stamp is from.
//!
//! What nodes said last is what faults find their nodes by ([`Sightings`]), and each change of the leader is recorded.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use duress_arena::clock::ClockPage;
use duress_history::{NemesisAct, NodeId};
use duress_targets::{LedPartition, NodeFiles, NodeStatus, NotReady, Role};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::run::clock::{Clock, nanos};
use crate::run::cluster_access::ClusterAccess;
use crate::run::conductor::chain;
use crate::run::dispatcher::NemesisRecord;
use crate::run::sightings::Sightings;

/// The file in the run's folder.
pub const FILE: &str = "observations.jsonl";
/// From one question to a node to the next: a fault that strikes the leader must know who that is by now.
const PERIOD: Duration = Duration::from_millis(100);
/// One in so many answers is noted.
const NOTED: u64 = 3;
/// How long a node may take to answer.
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
    enough: watch::Sender<bool>,
    looks: JoinSet<io::Result<()>>,
}

/// What looks at the nodes share.
struct Notebook {
    file: RefCell<File>,
    cluster: Rc<ClusterAccess>,
    sightings: Rc<RefCell<Sightings>>,
    clock: Clock,
    records: mpsc::UnboundedSender<NemesisRecord>,
}

impl Observer {
    /// Starts to look at `cluster`, noting into `folder` and `sightings`; changes of the leader go to `records`. On a
    /// `LocalSet`.
    ///
    /// # Errors
    /// The system's error on the file.
    pub fn start(
        folder: &Path,
        cluster: Rc<ClusterAccess>,
        mut clocks: BTreeMap<NodeId, Arc<ClockPage>>,
        clock: Clock,
        sightings: Rc<RefCell<Sightings>>,
        records: mpsc::UnboundedSender<NemesisRecord>,
    ) -> io::Result<Self> {
        let file = RefCell::new(File::create(folder.join(FILE))?);
        let (enough, ended) = watch::channel(false);
        let nodes = cluster.nodes();
        let notebook = Rc::new(Notebook { file, cluster, sightings, clock, records });
        let mut looks = JoinSet::new();
        for node in nodes {
            let page = clocks.remove(&node);
            looks.spawn_local(look(Rc::clone(&notebook), node, page, ended.clone()));
        }
        Ok(Self { enough, looks })
    }

    /// Takes a last look, and ends.
    ///
    /// # Errors
    /// The system's error on the file.
    pub async fn finish(self) -> io::Result<()> {
        let Self { enough, mut looks } = self;
        enough.send_replace(true);
        let mut written = Ok(());
        while let Some(look) = looks.join_next().await {
            match look {
                Ok(noted) => written = written.and(noted),
                Err(error) => {
                    if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
        written
    }
}

/// Asks one node again and again.
async fn look(
    notebook: Rc<Notebook>,
    node: NodeId,
    page: Option<Arc<ClockPage>>,
    mut ended: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut looks = tokio::time::interval(PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        let last = tokio::select! {
            _ = looks.tick() => false,
            _ = ended.wait_for(|enough| *enough) => true,
        };
        let Notebook { file, cluster, sightings, clock, records } = &*notebook;
        let (time, wall_ns) = (nanos(clock.now()), wall_ns());
        let lengths = cluster.files.get(&node).map_or([0, 0], lengths);
        let asked = cluster.deployment.status(&node, cluster.operator.as_ref(), PATIENCE).await;
        let change = sightings.borrow_mut().saw(&node, asked.as_ref().ok());
        if let Some(change) = change {
            let (kept, _) = oneshot::channel();
            let act = NemesisAct::Led { node: change.node, before: change.before, term: change.term };
            // A dispatcher that is gone has failed on its own, and says so.
            let _ = records.send(NemesisRecord { act, kept });
        }
        if last || number.is_multiple_of(NOTED) {
            let observation = Observation {
                time,
                wall_ns,
                node: node.to_string(),
                clock_offset_ns: page.as_ref().map(|page| page.setting().offset_at(wall_ns)),
                stdout: lengths[0],
                stderr: lengths[1],
                ..Observation::of(asked)
            };
            let line = serde_json::to_string(&observation).map_err(io::Error::other)? + "\n";
            // One write for a line, so that a run that is killed leaves whole lines.
            file.borrow_mut().write_all(line.as_bytes())?;
        }
        if last {
            break;
        }
    }
    Ok(())
}

/// How long a node's output files are.
fn lengths(files: &NodeFiles) -> [u64; 2] {
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    [length(&files.stdout), length(&files.stderr)]
}

impl Observation {
    /// What a node answered, or that it did not.
    fn of(answer: Result<NodeStatus, NotReady>) -> Self {
        match answer {
            Ok(status) => Self {
                role: Some(status.role),
                leader: status.leader.map(|leader| leader.to_string()),
                term: status.term,
                leads: status.leads,
                ..Self::default()
            },
            Err(error) => Self { silent: Some(chain(&error)), ..Self::default() },
        }
    }
}

/// Returns the machine's wall clock, in nanoseconds since 1970.
fn wall_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Reads the observations of the run in `folder`, by time; lines that are none are passed over, and no file is no line.
#[must_use]
pub fn load(folder: &Path) -> Vec<Observation> {
    let text = fs::read_to_string(folder.join(FILE)).unwrap_or_default();
    let mut observations: Vec<Observation> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    // A line is written when its node has answered.
    observations.sort_by_key(|observation| observation.time);
    observations
}
