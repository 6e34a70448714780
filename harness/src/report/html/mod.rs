//! The report that is a page: one self-contained file, to be read by a person who was not there.
//!
//! In reading order:
//! - [`history`]: the run's operations, whatever their vocabulary;
//! - [`bands`]: faults on nodes; [`series`]: figures in slots of time; [`tiles`]: the timeline from afar;
//!   [`columns`]: every operation, packed; [`pack`]: how things are packed;
//! - [`witness`]: an anomaly, drawn; [`nodes`] and [`strips`]: what nodes were; [`logs`], [`packets`] and
//!   [`surroundings`]: what happened around an anomaly; [`coverage`]: what was not exercised; [`words`]: figures in words;
//! - [`page`]: all of it on one page.
//!
//! The page's scripts and styles are in `harness/assets`.

pub mod bands;
pub mod columns;
pub mod coverage;
pub mod history;
pub mod logs;
pub mod nodes;
pub mod pack;
pub mod packets;
pub mod page;
pub mod partitions;
pub mod series;
pub mod strips;
pub mod surroundings;
pub mod tiles;
pub mod witness;
pub mod words;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use duress_checkers::verdict::Anomaly;
use duress_history::NodeId;
use maud::Markup;
use serde_json::{Value, json};

use crate::plan::{Plan, PlanError};
use crate::record::faults::FaultRecord;
use crate::record::folder::load;
use crate::record::machine::Machine;
use crate::record::verdict::{VerdictError, VerdictRecord};
use crate::run::observer::{self, Observation};
use bands::Band;
use columns::Columns;
use history::RunHistory;
use series::Series;

/// The file in the run's folder.
pub const FILE: &str = "report.html";

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum HtmlError {
    /// The folder is not a run's.
    #[error("{} is not a run's folder: it has no plan.json", folder.display())]
    NoRun {
        /// The folder.
        folder: PathBuf,
    },
    /// The plan cannot be read.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The verdict cannot be read.
    #[error(transparent)]
    Verdict(#[from] VerdictError),
    /// The history could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The page could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Everything known of a run.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// The folder as the user would type it.
    pub folder: String,
    /// What was planned.
    pub plan: Plan,
    /// `plan.json`.
    pub plan_text: String,
    /// What it came to, once it was judged.
    pub verdict: Option<VerdictRecord>,
    /// Where it took place.
    pub machine: Machine,
    /// What happened.
    pub history: RunHistory,
    /// The faults, node by node.
    pub bands: Vec<Band>,
    /// Figures in slots.
    pub series: Series,
    /// What was observed of the nodes.
    pub observations: Vec<Observation>,
    replay: String,
}

impl RunRecord {
    /// Reads everything that the run in `folder` left.
    ///
    /// # Errors
    /// [`HtmlError`] when there is no plan, or the history cannot be read.
    pub fn load(folder: &Path) -> Result<Self, HtmlError> {
        if !folder.join("plan.json").is_file() {
            return Err(HtmlError::NoRun { folder: folder.to_owned() });
        }
        let plan = Plan::load(folder)?;
        let nodes: Vec<String> = plan.node_names().iter().map(NodeId::to_string).collect();
        let path = folder.join("history.jsonl");
        let history =
            history::read(&path, &nodes).map_err(|source| HtmlError::Read { path: path.clone(), source })?;
        let verdict = VerdictRecord::load(folder)?;
        let shown = folder.display().to_string();
        Ok(Self {
            replay: match &verdict {
                Some(verdict) if !verdict.replay.is_empty() => verdict.replay.clone(),
                _ => format!("duress replay {shown}"),
            },
            folder: shown,
            bands: bands::bands(&history, &plan),
            series: series::series(&history),
            observations: observer::load(folder),
            machine: load(folder, crate::record::machine::FILE).unwrap_or_default(),
            plan_text: plan.to_json(),
            plan,
            verdict,
            history,
        })
    }

    /// What the run is called.
    #[must_use]
    pub fn name(&self) -> String {
        self.plan.name()
    }

    /// The proofs of an invalid run.
    #[must_use]
    pub fn anomalies(&self) -> &[Anomaly] {
        self.verdict.as_ref().map(|record| record.verdict.anomalies()).unwrap_or_default()
    }

    /// The faults, with their evidence; none of a run that was not judged.
    #[must_use]
    pub fn faults(&self) -> &[FaultRecord] {
        self.verdict.as_ref().map(|record| record.faults.as_slice()).unwrap_or_default()
    }

    /// The command that runs it again.
    #[must_use]
    pub fn replay(&self) -> &str {
        &self.replay
    }

    /// From the first to the last moment of each anomaly, in nanoseconds; without any, the edges of the faults.
    fn spans(&self) -> Vec<(u64, u64)> {
        let anomalies: Vec<_> = self.anomalies().iter().filter_map(witness::span).collect();
        if !anomalies.is_empty() {
            return anomalies;
        }
        let edges = self.bands.iter().flat_map(|band| [band.from, band.to]);
        let mut edges: Vec<_> = edges.map(|us| (us * 1000, us * 1000)).collect();
        edges.sort_unstable();
        edges.dedup();
        edges
    }
}

/// What a page carries, ready to be embedded.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// What the scripts must know, as one value.
    data: Value,
    /// The timeline from afar.
    tiles: String,
    /// The operations.
    columns: Columns,
    /// Logs and what the nemesis did.
    lines: String,
    /// Packets.
    packets: String,
    /// The section on both.
    surroundings: Markup,
    /// The section on what was not exercised.
    coverage: Markup,
}

/// Writes `report.html` into the run's `folder`, whole or not at all; answers its path.
///
/// # Errors
/// [`HtmlError`].
pub fn write(folder: &Path) -> Result<PathBuf, HtmlError> {
    let run = RunRecord::load(folder)?;
    let text = render(&run, folder);
    let path = folder.join(FILE);
    let part = folder.join("report.html.part");
    fs::write(&part, text)
        .and_then(|()| fs::rename(&part, &path))
        .map_err(|source| HtmlError::Write { path: path.clone(), source })?;
    Ok(path)
}

/// The page of `run`; logs and packets are read from `folder`.
fn render(run: &RunRecord, folder: &Path) -> String {
    let spans = run.spans();
    let moments: Vec<u64> = spans.iter().flat_map(|(from, to)| [*from, *to]).collect();
    let logs = logs::logs(folder, &run.history.nodes, &run.observations, &moments);
    let packets = packets::packets(folder, &spans);
    let tiles = tiles::tiles(&run.history);
    let embedded = Embedded {
        data: data(run, tiles.bin_us),
        tiles: tiles.packed(),
        columns: columns::columns(&run.history, &moments),
        lines: pack::deflated(surroundings::lines(&logs, &run.history).to_string().as_bytes()),
        packets: pack::deflated(surroundings::packet_lines(&packets).to_string().as_bytes()),
        surroundings: surroundings::section(&logs, &packets, &run.history.nodes),
        coverage: coverage::section(run),
    };
    page::page(run, &embedded).into_string()
}

/// What the scripts must know.
fn data(run: &RunRecord, bin_us: u64) -> Value {
    let history = &run.history;
    let lanes: Vec<Value> = history.lanes.iter().map(|lane| json!([lane.process, lane.node])).collect();
    let anomalies: Vec<Value> = run
        .anomalies()
        .iter()
        .enumerate()
        .filter_map(|(at, anomaly)| {
            let (from, to) = witness::span(anomaly)?;
            let operations: Vec<Value> = anomaly
                .operations
                .iter()
                .map(|operation| json!([operation.index, operation.label]))
                .collect();
            Some(json!({
                "number": at + 1, "kind": anomaly.kind, "from": from / 1000, "to": to / 1000, "operations": operations,
            }))
        })
        .collect();
    let clocks: Vec<Value> = history
        .nodes
        .iter()
        .filter_map(|node| {
            let seen = run.observations.iter().filter(|seen| seen.node == *node);
            let offsets: Vec<Value> = seen
                .filter_map(|seen| Some(json!([seen.time / 1000, seen.clock_offset_ns? / 1000])))
                .collect();
            (!offsets.is_empty()).then(|| json!({"node": node, "offsets": offsets}))
        })
        .collect();
    json!({
        "lasted": history.lasted / 1000,
        "nodes": history.nodes,
        "functions": history.functions,
        "errors": history.errors,
        "lanes": lanes,
        "operations": history.operations.len(),
        "bin": bin_us,
        "bins": tiles::BINS,
        "block": columns::BLOCK,
        "bands": run.bands,
        "anomalies": anomalies,
        "series": run.series,
        "quantiles": series::QUANTILES,
        "clocks": clocks,
    })
}
