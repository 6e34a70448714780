//! The report as a page: one self-contained file, for a reader who was not there.
//!
//! In reading order:
//! - [`history`]: the operations, whatever their vocabulary;
//! - [`bands`]: faults on nodes; [`series`]: figures in slots of time; [`tiles`]: the zoomed-out timeline;
//!   [`columns`]: every operation, packed; [`pack`]: the packing;
//! - [`witness`]: an anomaly, drawn; [`messages`]: the messages around it; [`nodes`] and [`strips`]: the states of nodes;
//!   [`logs`], [`packets`] and [`surroundings`]: the context of an anomaly; [`coverage`]: what was not exercised; [`words`]:
//!   figures in words;
//! - [`page`]: all of it on one page; [`head`]: the head of every page.
//!
//! The page's scripts and styles are in `harness/assets`.

pub mod bands;
pub mod columns;
pub mod coverage;
pub mod head;
pub mod history;
pub mod likelihood;
pub mod logs;
pub mod messages;
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

use crate::judge::HistoryCopy;
use crate::judge::moments::Moments;
use crate::plan::{Plan, PlanError};
use crate::record::curve::Curve;
use crate::record::faults::{FaultRecord, faults};
use crate::record::folder::load;
use crate::record::machine::Machine;
use crate::record::verdict::{VerdictError, VerdictRecord};
use crate::run::observer::{self, Observation};
use bands::Band;
use columns::Columns;
use history::RunHistory;
use messages::Messages;
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
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The page could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// A history and its verdict: all that a page needs, wherever the history comes from.
#[derive(Clone, Debug)]
pub struct HistoryRecord {
    /// The name of the run, or of the history's files.
    pub name: String,
    /// The result, once it was judged.
    pub verdict: Option<VerdictRecord>,
    /// The history.
    pub history: RunHistory,
    /// Figures in slots.
    pub series: Series,
    /// The source of the moments.
    pub moments: Moments,
    /// The command that runs, or checks, it again.
    pub replay: String,
}

/// Everything known of a run.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// The history and the verdict.
    pub record: HistoryRecord,
    /// The plan.
    pub plan: Plan,
    /// `plan.json`.
    pub plan_text: String,
    /// The machine.
    pub machine: Machine,
    /// The faults, node by node.
    pub bands: Vec<Band>,
    /// The observations of the nodes.
    pub observations: Vec<Observation>,
    /// From when on the anomaly was likely, if that was measured.
    pub curve: Option<Curve>,
}

impl HistoryRecord {
    /// Returns the record of a history that was read from anywhere, and its verdict.
    #[must_use]
    pub fn checked(name: String, mut verdict: VerdictRecord, copy: &HistoryCopy) -> Self {
        let mut history = history::read_lines(&copy.lines[..], &[]).expect("memory can be read");
        history.functions.iter_mut().for_each(|name| *name = copy.named(name));
        let figures = std::mem::take(&mut verdict.statistics.by_f);
        verdict.statistics.by_f = figures.into_iter().map(|(f, kind)| (copy.named(&f), kind)).collect();
        // The nemesis's evidence has times of its own, which do not move.
        if copy.moments == (Moments::Recorded { from: 0 }) {
            verdict.faults = faults(&history.nemesis);
        }
        Self {
            name,
            replay: verdict.replay.clone(),
            verdict: Some(verdict),
            series: series::series(&history),
            moments: copy.moments,
            history,
        }
    }

    /// Returns the proofs of an invalid history.
    #[must_use]
    pub fn anomalies(&self) -> &[Anomaly] {
        self.verdict.as_ref().map(|record| record.verdict.anomalies()).unwrap_or_default()
    }

    /// Returns the faults, with their evidence; empty if the run was not judged.
    #[must_use]
    pub fn faults(&self) -> &[FaultRecord] {
        self.verdict.as_ref().map(|record| record.faults.as_slice()).unwrap_or_default()
    }

    /// From the first to the last moment of each anomaly, in nanoseconds.
    fn spans(&self) -> Vec<(u64, u64)> {
        self.anomalies().iter().filter_map(witness::span).collect()
    }

    /// Returns the page.
    #[must_use]
    pub fn page(&self) -> String {
        let embedded = Embedded::new(self, None, &self.spans());
        page::page(self, None, &embedded).into_string()
    }
}

impl RunRecord {
    /// Reads all files of the run in `folder`.
    ///
    /// # Errors
    /// [`HtmlError`] without a plan, or when the history cannot be read.
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
        Ok(Self {
            bands: bands::bands(&history, &plan),
            observations: observer::load(folder),
            curve: Curve::load(folder),
            machine: load(folder, crate::record::machine::FILE).unwrap_or_default(),
            plan_text: plan.to_json(),
            record: HistoryRecord {
                name: plan.name(),
                replay: match &verdict {
                    Some(verdict) if !verdict.replay.is_empty() => verdict.replay.clone(),
                    _ => format!("duress replay {}", folder.display()),
                },
                series: series::series(&history),
                moments: Moments::Recorded { from: 0 },
                verdict,
                history,
            },
            plan,
        })
    }

    /// Like [`HistoryRecord::spans`]; without any anomaly, the edges of the faults.
    fn spans(&self) -> Vec<(u64, u64)> {
        let anomalies = self.record.spans();
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

/// The data of a page, ready to be embedded.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// The data for the scripts, as one value.
    data: Value,
    /// The timeline from afar.
    tiles: String,
    /// The operations.
    columns: Columns,
    /// The sections that need the record of a run; empty for a history alone.
    of_run: Option<EmbeddedRun>,
}

/// The data that only the page of a run has.
#[derive(Clone, Debug)]
pub struct EmbeddedRun {
    /// Logs and the nemesis's events.
    lines: String,
    /// Packets.
    packets: String,
    /// The section on both.
    surroundings: Markup,
    /// The section on gaps in coverage.
    coverage: Markup,
    /// The messages around the anomalies, if any were recorded or captured.
    messages: Option<Messages>,
}

impl Embedded {
    /// Returns the data of `record`; around the times `spans`, values are kept before others.
    fn new(record: &HistoryRecord, run: Option<&RunRecord>, spans: &[(u64, u64)]) -> Self {
        let tiles = tiles::tiles(&record.history);
        Self {
            data: data(record, run, tiles.bin_us),
            tiles: tiles.packed(),
            columns: columns::columns(&record.history, &moments_of(spans)),
            of_run: None,
        }
    }

    /// Returns the messages around the anomalies, if any were recorded or captured.
    fn messages(&self) -> Option<&Messages> {
        self.of_run.as_ref()?.messages.as_ref()
    }
}

/// Returns the edges of `spans`.
fn moments_of(spans: &[(u64, u64)]) -> Vec<u64> {
    spans.iter().flat_map(|(from, to)| [*from, *to]).collect()
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

/// Returns the page of `run`; logs and packets are read from `folder`.
fn render(run: &RunRecord, folder: &Path) -> String {
    let spans = run.spans();
    let history = &run.record.history;
    let logs = logs::logs(folder, &history.nodes, &run.observations, &moments_of(&spans));
    let packets = packets::packets(folder, &spans);
    let of_run = EmbeddedRun {
        lines: pack::deflated(surroundings::lines(&logs, history).to_string().as_bytes()),
        packets: pack::deflated(surroundings::packet_lines(&packets).to_string().as_bytes()),
        surroundings: surroundings::section(&logs, &packets, &history.nodes),
        coverage: coverage::section(run),
        messages: messages::messages(run, folder, &packets.packets),
    };
    let embedded = Embedded { of_run: Some(of_run), ..Embedded::new(&run.record, Some(run), &spans) };
    page::page(&run.record, Some(run), &embedded).into_string()
}

/// Returns the data for the scripts.
fn data(record: &HistoryRecord, run: Option<&RunRecord>, bin_us: u64) -> Value {
    let history = &record.history;
    let observations = run.map(|run| run.observations.as_slice()).unwrap_or_default();
    let lanes: Vec<Value> = history.lanes.iter().map(|lane| json!([lane.process, lane.node])).collect();
    let anomalies: Vec<Value> = record
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
            let seen = observations.iter().filter(|seen| seen.node == *node);
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
        "bands": run.map(|run| run.bands.as_slice()).unwrap_or_default(),
        "anomalies": anomalies,
        "series": record.series,
        "quantiles": series::QUANTILES,
        "clocks": clocks,
    })
}
