//! The observer: asks every node periodically for its role and its leader, and records the answers with the
//! run's clock.
//!
//! It asks from the operator's host, which no fault touches, and sends one request at a time to each node, so
//! that it does not compete with the clients. Its records go to `observations.jsonl`, one line for each node
//! and observation:
//!
//! ```text
//! {"time":250113042,"wall_ns":1795528025836000000,"node":"n1","role":"leader","leader":"n1","term":3,"stdout":0,"stderr":35176}
//! {"time":250113042,"wall_ns":1795528025836000000,"node":"n2","silent":"n2 is not ready: asking for its role failed","stdout":0,"stderr":201}
//! ```
//!
//! If data are partitioned, `leads` lists the partitions that the node claims to lead, with their in-sync
//! replicas: `"leads":[{"partition":"log-0","epoch":3,"replicas":3,"in_sync":["n1","n3"]}]`. The lengths of
//! the node's output files date each line of output, independent of the clock of its time stamp.
//!
//! Faults find their nodes by the latest answers ([`Sightings`]), and each change of the leader is recorded.

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
/// The time between two requests to a node: short, because a fault that strikes the leader must know the
/// present one.
const PERIOD: Duration = Duration::from_millis(100);
/// One in this many answers is recorded.
const NOTED: u64 = 3;
/// The time that a node may take to answer.
const PATIENCE: Duration = Duration::from_millis(200);

/// The observation of one node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observation {
    /// The time just before the node was asked, in nanoseconds since the run began.
    pub time: u64,
    /// The machine's wall clock then, in nanoseconds since 1970.
    pub wall_ns: i64,
    /// The node.
    pub node: String,
    /// The role that it reports; absent if it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The leader that it reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The term, epoch or view in which it names that leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// The partitions that it claims to lead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leads: Vec<LedPartition>,
    /// The reason why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
    /// The lead of its own wall clock over the machine's, if it has one; negative when behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset_ns: Option<i64>,
    /// The length of its standard output so far, in bytes.
    pub stdout: u64,
    /// The length of its standard error so far, in bytes.
    pub stderr: u64,
}

/// A running observer. Dropping it ends the observations.
#[derive(Debug)]
pub struct Observer {
    enough: watch::Sender<bool>,
    looks: JoinSet<io::Result<()>>,
}

/// The state shared by the observations of all nodes.
struct Notebook {
    file: RefCell<File>,
    cluster: Rc<ClusterAccess>,
    sightings: Rc<RefCell<Sightings>>,
    clock: Clock,
    records: mpsc::UnboundedSender<NemesisRecord>,
}

impl Observer {
    /// Starts to observe `cluster`, writing to `folder` and `sightings`; changes of the leader go to
    /// `records`. Must run on a `LocalSet`.
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

    /// Makes a last observation and ends.
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

/// Observes one node periodically.
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
            // A dispatcher that is gone has failed on its own, and reports that.
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
            // Each line is one write, so that a killed run leaves whole lines.
            file.borrow_mut().write_all(line.as_bytes())?;
        }
        if last {
            break;
        }
    }
    Ok(())
}

/// Returns the lengths of a node's output files.
fn lengths(files: &NodeFiles) -> [u64; 2] {
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    [length(&files.stdout), length(&files.stderr)]
}

impl Observation {
    /// Converts a node's answer, or its absence.
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

/// Reads the observations of the run in `folder`, ordered by time. Skips malformed lines; a missing file has
/// no observations.
#[must_use]
pub fn load(folder: &Path) -> Vec<Observation> {
    let text = fs::read_to_string(folder.join(FILE)).unwrap_or_default();
    let mut observations: Vec<Observation> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    // A line is written when its node has answered, so lines can be out of order.
    observations.sort_by_key(|observation| observation.time);
    observations
}
