//! A plan performed: in the arena's namespaces, into a folder of its own, to a verdict.

use std::fs::{self, File, TryLockError};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use duress_arena::Role;
use duress_arena::clock::Tracer;
use duress_checkers::verdict::Verdict;
use duress_history::recorder::RecordError;
use duress_nemesis::Family;
use duress_targets::System;

use super::run::Planned;
use super::words::duration;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::judge::finding::{Finding, comparisons};
use crate::judge::floor::Floor;
use crate::judge::verdict::RunVerdict;
use crate::judge::{Judged, RecordedRun};
use crate::plan::{ArenaPlan, ClockSource, DataLocation, Plan};
use crate::record::faults::{FaultRecord, elections, faults, without_takeover};
use crate::record::folder::RunFolder;
use crate::record::machine::{self, Machine};
use crate::record::verdict::{self, CheckRecord, VerdictRecord};
use crate::report::clocks::clock_note;
use crate::report::html;
use crate::report::text::RunReport;
use crate::run::conductor::chain;
use crate::run::dispatcher::Stop;
use crate::run::live::AtAnomaly;
use crate::run::{Outcome, RunError};

/// The folder of a run, and the limit of its check.
#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// The folder for run folders
    #[arg(long, value_name = "FOLDER", default_value = "runs")]
    runs: PathBuf,
    /// Keep a copy of every node's data in the run's folder
    #[arg(long)]
    keep_data: bool,
    /// End the run with the first anomaly: check the history while it grows
    #[arg(long)]
    stop_at_first_anomaly: bool,
    /// Stop checking after this and report the rest as unknown
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    check_limit: Duration,
}

impl OutputArgs {
    /// Returns the folder for run folders.
    pub(super) fn runs(&self) -> &Path {
        &self.runs
    }
}

/// Moves into the arena's namespaces, completes the plan there, and performs it. A plan without an arena is performed here.
pub(super) fn isolated(
    mut planned: Planned,
    complete: impl FnOnce(&mut ArenaPlan) -> Result<(), Failure>,
    perform: impl FnOnce(&Planned) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let Some(arena) = &mut planned.plan.arena else {
        let _lock = alone(&planned.plan)?;
        return perform(&planned);
    };
    let role = duress_arena::isolate().map_err(|error| Failure {
        exit: Exit::Broken,
        error: error.into(),
        hint: Some("`duress doctor` reports what this machine allows".to_owned()),
    })?;
    match role {
        Role::Outer(status) => outer(status),
        Role::Runner => {
            complete(arena)?;
            perform(&planned)
        }
    }
}

/// Keeps other runs off a cluster that already runs, for as long as the file lives: they would take the faults of this one for
/// failures of the cluster. Runs elsewhere, and of other manifests, are not seen.
fn alone(plan: &Plan) -> Result<Option<File>, Failure> {
    let Some(path) = plan.manifest.as_ref().map(|manifest| &manifest.path) else { return Ok(None) };
    // A plan may outlive its manifest.
    let Ok(file) = File::open(path) else { return Ok(None) };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Failure {
            exit: Exit::Broken,
            error: anyhow::anyhow!("another run has this cluster: it has locked {}", path.display()),
            hint: Some("wait for its end: two runs at a time would strike each other's nodes".to_owned()),
        }),
        // Some file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(file)),
    }
}

/// Ends the outer process as the runner ended.
pub(super) fn outer(status: ExitStatus) -> Result<Exit, Failure> {
    if let Some(exit) = status.code().and_then(Exit::of) {
        return Ok(exit);
    }
    let how = match status.signal() {
        Some(signal) => format!("was killed by signal {signal}"),
        None => format!("ended unexpectedly ({status})"),
    };
    Err(Failure::internal(anyhow::anyhow!("the run {how}; its folder has the record until then")))
}

/// Runs a plan and judges the run.
pub(super) fn perform(planned: &Planned, output: &OutputArgs) -> Result<Exit, Failure> {
    let Planned { plan, workload, deployment, .. } = planned;
    let promise = plan.promise.unwrap_or_else(|| deployment.promise(&plan.workload.name));
    let follows = workload.prefix_closed() || workload.follow(promise).is_some();
    if output.stop_at_first_anomaly && !follows {
        let error =
            anyhow::anyhow!("--stop-at-first-anomaly does not go with the workload {}", workload.name());
        return Err(
            Failure::usage(error).hint("its messages may be late, and are judged at the end of the run")
        );
    }
    let stamp = chrono::Local::now().format("%Y%m%dT%H%M%S").to_string();
    let folder = RunFolder::create(&output.runs, &plan.name(), &stamp).map_err(Failure::internal)?;
    folder.write("plan.json", &plan.to_json()).map_err(Failure::internal)?;
    let machine = serde_json::json!(Machine::here());
    folder.write(machine::FILE, &format!("{machine:#}\n")).map_err(Failure::internal)?;
    crate::cli::log::to_file(&folder.file("duress.log"))
        .map_err(|error| Failure::internal(anyhow::Error::new(error).context("cannot write duress.log")))?;
    let shown = shown(folder.path());
    tell(format_args!(
        "{}: {} nodes, {} processes, {} s, faults {} ({} planned), seed {}\nrecording into {shown}",
        plan.name(),
        plan.nodes.len(),
        plan.concurrency,
        plan.time_limit().as_secs_f64(),
        plan.faults,
        plan.schedule.len(),
        plan.seed,
    ));
    if let Some(lacks) = without_arena(plan) {
        tell(&lacks);
    }
    // Forked here, while there is one thread.
    let tracer = match plan.arena.as_ref().map(|arena| arena.clock) {
        None | Some(ClockSource::Machine) => None,
        Some(ClockSource::Own) => Some(Tracer::start().map_err(|error| Failure {
            exit: Exit::Broken,
            error: anyhow::Error::new(error).context("cannot give nodes clocks of their own"),
            hint: Some("`duress doctor` reports what this machine allows".to_owned()),
        })?),
    };
    let at_anomaly = if output.stop_at_first_anomaly { AtAnomaly::EndsRun } else { AtAnomaly::GoesOn };
    let outcome =
        crate::run::run(plan, *workload, Arc::clone(deployment), &folder, tracer, promise, at_anomaly)
            .map_err(|error| run_failure(error, &shown))?;
    if let (true, Some(arena)) = (output.keep_data, &plan.arena) {
        keep_data(plan, arena, &folder)?;
    }
    let report = judge_run(planned, &folder, outcome, output, shown)?;
    folder
        .write(verdict::FILE, &report.record.to_json())
        .and_then(|()| folder.write("report.txt", &report.to_string()))
        .map_err(Failure::internal)?;
    print(&report)?;
    // The verdict is final, whatever happens to its page.
    match html::write(folder.path()) {
        Ok(path) => tell(format_args!("report: {}", self::shown(&path))),
        Err(error) => tell(format_args!("report.html was not written: {}", chain(&error))),
    }
    Ok(report.record.verdict.exit())
}

/// Returns what a run on a cluster that already runs lacks, in a sentence.
fn without_arena(plan: &Plan) -> Option<String> {
    let families = Family::ALL.map(Family::name).join(", ");
    plan.arena.is_none().then(|| {
        format!(
            "the cluster already runs: faults of the families {families}, stories, a restart of all nodes at the end, a capture of \
             packets and the nodes' output cannot be had, only the faults that its manifest names"
        )
    })
}

pub(super) fn run_failure(error: RunError, shown: &str) -> Failure {
    let full = matches!(&error, RunError::Record(RecordError::Append { .. }));
    let failure = Failure::internal(error);
    if full {
        failure.hint(format!("make room, then check the record: duress check {shown}"))
    } else {
        failure
    }
}

fn judge_run(
    planned: &Planned,
    folder: &RunFolder,
    outcome: Outcome,
    output: &OutputArgs,
    shown: String,
) -> Result<RunReport, Failure> {
    let Planned { plan, system, workload, deployment } = planned;
    let history = folder.file("history.jsonl");
    let mut broken = outcome.broken;
    let promised = deployment.promise(&plan.workload.name);
    let promise = plan.promise.unwrap_or(promised);
    let run = RecordedRun {
        history: &history,
        promise,
        clients_until: outcome.clients_until,
        limit: output.check_limit,
    };
    let judged = workload.judge(&run).map_err(Failure::internal)?;
    let Judged { nemesis: events, statistics: figures, exercised, judgement } = judged;
    if figures.counts.ok == 0 && broken.is_empty() {
        let first = figures.reasons.first().and_then(|(reason, _)| figures.first_words.get_key_value(reason));
        let why = first.map(|(reason, words)| format!(" ({reason}: {words})")).unwrap_or_default();
        broken.push(format!(
            "no operation succeeded{why}: `duress try` shows the first ones of this target, and why"
        ));
    }
    let mut notes = outcome.notes;
    let mut undecided = outcome.undecided;
    let floor = Floor::of(plan, deployment.serving());
    undecided.extend(exercised.missing(&floor));
    notes.push(format!("exercised: {exercised}; the floor: {floor}"));
    if let Some(first) = figures.first_ok_ms {
        notes.push(format!("the first operation was answered within {} ms of the clients' start", first + 1));
    }
    match outcome.stop {
        Stop::No => {}
        Stop::Early => notes.push("the run was ended early; the record until then was checked".to_owned()),
        Stop::Now => undecided.push("the run was aborted, without final reads".to_owned()),
    }
    notes.extend(without_arena(plan));
    notes.extend(deployment.clock_bound().map(|bound| clock_note(bound, &plan.schedule)));
    let mut faults = faults(&events);
    for under in exercised.faults {
        if let Some(fault) = faults.iter_mut().find(|fault| fault.id == under.fault) {
            fault.sides = under.sides;
        }
    }
    if deployment.tolerates() > 0 && plan.floor_percent > 0 {
        undecided.extend(without_takeover(&faults, deployment.time_outs().election * 2));
    }
    notes.push(format!("another node was seen to lead {} times", elections(&events)));
    let planned = |fault: &&FaultRecord| plan.schedule.iter().any(|planned| planned.id == fault.id);
    let injected = faults.iter().filter(planned).count();
    if outcome.stop == Stop::No && injected < plan.schedule.len() && broken.is_empty() {
        broken.push(format!("only {injected} of {} planned faults were injected", plan.schedule.len()));
    }
    let subject = format!(
        "{} ({}{}{}), {} nodes, workload {}, faults {}",
        plan.target,
        plan.settings.mode,
        plan.settings
            .options
            .iter()
            .filter(|(key, value)| !is_default(*system, key, value))
            .map(|(key, value)| format!(", {key}={value}"))
            .collect::<String>(),
        plan.settings.bug.as_ref().map(|bug| format!(", bug {bug}")).unwrap_or_default(),
        plan.nodes.len(),
        plan.workload.name,
        plan.faults,
    );
    notes.extend(comparisons(&events).map(|comparison| format!("copies: {comparison}")));
    let findings = Finding::all(&events);
    let beside = Verdict::new(findings.iter().map(Finding::anomaly).collect(), Vec::new());
    let found = judgement.report.verdict.clone().merge(beside);
    if !found.anomalies().is_empty() {
        notes.splice(0..0, broken.iter().map(|reason| format!("besides, the run is broken: {reason}")));
    }
    let record = VerdictRecord {
        version: verdict::VERSION,
        verdict: RunVerdict::new(&found, broken, undecided),
        subject,
        promise: match plan.promise {
            Some(held_to) if held_to != promised => format!("{promised}; held to {held_to}"),
            _ => promised.to_string(),
        },
        seed: plan.seed,
        replay: format!("duress replay {shown}"),
        check: CheckRecord::of(&judgement.report),
        findings,
        statistics: figures,
        faults,
        notes,
    };
    Ok(RunReport { record, judgement, folder: shown })
}

/// Whether an option of the target has its default value.
fn is_default(system: &dyn System, key: &str, value: &str) -> bool {
    system.description().offer.options.iter().any(|option| option.name == key && option.default == value)
}

/// Copies the nodes' data out of memory, before it is gone with the namespaces.
fn keep_data(plan: &Plan, arena: &ArenaPlan, folder: &RunFolder) -> Result<(), Failure> {
    for host in &plan.nodes {
        let home = folder.node(&host.name);
        let data = match arena.data {
            DataLocation::Breakable => folder.backing(&host.name).join("files"),
            DataLocation::Tmpfs | DataLocation::Disk => folder.data(&host.name),
        };
        copy_tree(&data, &home.join("kept-data")).map_err(|error| {
            let context = format!("cannot keep the data of node {}", host.name);
            Failure::internal(anyhow::Error::new(error).context(context))
        })?;
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// `path` as the user would type it from here.
pub(super) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}
